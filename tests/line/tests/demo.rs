//! The demo as a person sees it: what it prints, what it leaves, and that it leaves nothing else.
//!
//! Needs the workspace's binaries: `cargo build --workspace --bins`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The whole demo takes seconds; this is for a machine that does much else.
const MOST: Duration = Duration::from_secs(180);

/// A demo that runs, killed on drop.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    heard: String,
}

impl Demo {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.arg("--directory").arg(directory).args(arguments);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (heard, lines) = mpsc::channel();
        let (stdout, stderr) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        for output in [Box::new(stdout) as Box<dyn std::io::Read + Send>, Box::new(stderr)] {
            let heard = heard.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = heard.send(line);
                }
            });
        }
        Self { process, lines, heard: String::new() }
    }

    /// Reads until a line that contains `words`.
    fn await_line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + MOST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{words:?} never came; heard:\n{}", self.heard);
            };
            self.heard += &format!("{line}\n");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Reads to the end; how it ended and all that it said.
    fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + MOST;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.heard += &format!("{line}\n");
        }
        assert!(Instant::now() < deadline, "the demo did not end; heard:\n{}", self.heard);
        (self.process.wait().unwrap(), std::mem::take(&mut self.heard))
    }

    /// Every process that came from it: its number, and when it began, as numbers are given out again.
    fn offspring(&self) -> BTreeSet<(u32, String)> {
        let mut found = BTreeSet::new();
        let mut parents = vec![self.process.id()];
        while let Some(parent) = parents.pop() {
            for tasks in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(tasks.path().join("children")).unwrap_or_default();
                for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                    found.insert((child, begun(child).unwrap_or_default()));
                    parents.push(child);
                }
            }
        }
        found
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// When a process began, in ticks since boot (proc(5), stat field 22); `None` when it is gone or a zombie.
fn begun(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (fields[0] != "Z").then(|| fields[19].to_owned())
}

/// None of `offspring` runs any more.
fn assert_gone(offspring: &BTreeSet<(u32, String)>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let runs = |(process, since): &&(u32, String)| begun(*process).as_ref() == Some(since);
    while let Some((process, _)) = offspring.iter().find(runs) {
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        assert!(Instant::now() < deadline, "still runs: {}", command.replace('\0', " "));
        thread::sleep(Duration::from_millis(10));
    }
}

fn place() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("demo");
    (root, directory)
}

/// `--once` verifies four devices, says so in the table, leaves their files and neither lock nor hardware.
#[test]
fn once_verifies_every_device() {
    let (root, directory) = place();
    let (status, heard) = Demo::start(&directory, &["--once", "--port", "0"]).end();
    assert!(status.success(), "{heard}");
    for number in 1..=4 {
        let row = heard.lines().find(|line| line.starts_with(&format!("fixture-{number}  DEMO-"))).expect(&heard);
        assert!(row.contains(&format!("DEMO-000{number}.ca")) && row.contains("  yes  "), "{row}");
        for file in ["certificate.pem", "chain.pem", "bundle.pem"] {
            assert!(directory.join(format!("devices/DEMO-000{number}/{file}")).is_file(), "{number} {file}");
        }
    }
    assert!(!root.path().join("demo.lock").exists());
    assert!(!fs::read_link(directory.join("hardware")).unwrap().exists());
}

/// While a demo serves, a second one in its place is refused, its page is on the port after one that is in use, and
/// SIGTERM ends it in order with every process it started.
#[test]
fn serves_alone_until_told_to_stop() {
    let (_root, directory) = place();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut demo = Demo::start(&directory, &["--port", &port]);
    demo.await_line(&format!("(port {port} is in use)"));
    let page = demo.await_line("page is at");
    let address = page.rsplit_once("http://").unwrap().1;
    let mut browser = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(
        &mut browser,
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("DEMO-0003"), "{answer}");

    let (status, heard) = Demo::start(&directory, &["--once"]).end();
    assert_eq!(status.code(), Some(1), "{heard}");
    assert!(heard.contains(&format!("another demo (process {}) runs in", demo.process.id())), "{heard}");

    let offspring = demo.offspring();
    assert!(offspring.len() >= 5, "{offspring:?}");
    demo.signal(Signal::TERM);
    let (status, heard) = demo.end();
    assert!(status.success(), "{heard}");
    assert_gone(&offspring);
}

/// The issuances begin without the CA, wait, and are verified after it started.
#[test]
fn goes_on_when_the_ca_comes_late() {
    let (_root, directory) = place();
    let (status, heard) = Demo::start(&directory, &["--once", "--port", "0", "--ca-late", "3"]).end();
    assert!(status.success(), "{heard}");
    assert_eq!(heard.matches("  yes  ").count(), 4, "{heard}");
}

/// When the station dies while the demo serves, the demo says so with its log, stops the rest, and fails.
#[test]
fn a_dead_station_ends_the_demo() {
    let (_root, directory) = place();
    let mut demo = Demo::start(&directory, &["--port", "0"]);
    demo.await_line("Serving until");
    let offspring = demo.offspring();
    let station = offspring.iter().map(|(process, _)| *process).find(|process| {
        let command = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        command.contains("station-agent\0serve")
    });
    let station = Pid::from_raw(station.unwrap().try_into().unwrap()).unwrap();
    kill_process(station, Signal::KILL).unwrap();
    let (status, heard) = demo.end();
    assert_eq!(status.code(), Some(1), "{heard}");
    assert!(heard.contains("station-agent ended") && heard.contains("logs/station-agent.log"), "{heard}");
    assert_gone(&offspring);
}

/// A demo that is killed takes its processes with it, and the next one removes what it left and runs.
#[test]
fn a_killed_demo_leaves_no_process() {
    let (_root, directory) = place();
    let mut demo = Demo::start(&directory, &["--port", "0"]);
    demo.await_line("Serving until");
    let offspring = demo.offspring();
    let hardware = fs::read_link(directory.join("hardware")).unwrap();
    demo.signal(Signal::KILL);
    let _ = demo.end();
    assert_gone(&offspring);
    assert!(hardware.exists());

    let mut next = Demo::start(&directory, &["--port", "0"]);
    next.await_line("station        https://");
    assert!(!hardware.exists());
    let offspring = next.offspring();
    next.signal(Signal::INT);
    let (status, heard) = next.end();
    assert_eq!(status.code(), Some(130), "{heard}");
    assert_gone(&offspring);
}
