//! The token, and the real signals in a process of their own.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{EXIT_AT_ONCE, EXIT_DEADLINE, Shutdown};

/// Waiting ends with the request, and at once after it; every clone sees it.
#[tokio::test]
async fn waiting_ends_with_the_request() {
    let shutdown = Shutdown::new();
    let (clone, waiting) = (shutdown.clone(), shutdown.requested());
    assert!(!clone.is_requested());
    drop(shutdown);
    clone.request();
    clone.request();
    assert!(clone.is_requested());
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), clone.requested()).await.unwrap();
}

/// Nobody's dropping of tokens is a request.
#[tokio::test]
async fn a_dropped_token_requests_nothing() {
    let waiting = Shutdown::new().requested();
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
}

/// Says what this test binary is to play when it is started as a process of its own.
const PART: &str = "STATION_TEST_SHUTDOWN_PART";

/// Not a test of its own: the process that the tests below send signals to.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    let deadline = if part == "late" { Duration::from_millis(50) } else { Duration::from_secs(60) };
    let shutdown = Shutdown::listen_with(deadline).unwrap();
    if part == "late" {
        shutdown.request();
    }
    println!("\nlistening");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(shutdown.requested());
    println!("\nrequested");
    match part.as_str() {
        "orderly" => std::process::exit(0),
        // The main thread hangs.
        _ => std::thread::sleep(Duration::from_secs(60)),
    }
}

struct Process(Child, BufReader<std::process::ChildStdout>);

impl Process {
    fn start(part: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::part", "--nocapture"])
            .env(PART, part)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    /// Reads until the line; the process ends by itself in a minute, and with it the reading.
    fn wait_for(&mut self, line: &str) {
        let found = (&mut self.1).lines().map_while(Result::ok).any(|found| found == line);
        assert!(found, "no line {line:?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(30) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            std::thread::yield_now();
        }
        self.0.kill().unwrap();
        panic!("the process did not end");
    }
}

/// Either signal is a request, and the process ends in its own way.
#[test]
fn a_signal_is_a_request() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start("orderly");
        process.wait_for("listening");
        process.signal(signal);
        process.wait_for("requested");
        assert_eq!(process.end().code(), Some(0));
    }
}

/// With the main thread hanging, a second signal still ends the process.
#[test]
fn a_second_signal_ends_at_once() {
    let mut process = Process::start("hanging");
    process.wait_for("listening");
    process.signal(Signal::TERM);
    process.wait_for("requested");
    process.signal(Signal::INT);
    let status = process.end();
    assert_eq!((status.code(), status.signal()), (Some(EXIT_AT_ONCE), None));
}

/// With the main thread hanging, the deadline still ends the process.
#[test]
fn the_deadline_ends_the_process() {
    let process = Process::start("late");
    assert_eq!(process.end().code(), Some(EXIT_DEADLINE));
}
