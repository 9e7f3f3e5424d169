//! Starting anew in the same process: what a person would do once the disk has room again, without the person.
//!
//! The program replaces itself by execve(2): same process id, arguments and environment, and nothing of what stood in
//! memory, which may be ahead of a disk that failed. What was open is closed by the kernel. So there is one recovery, the
//! one after a crash.

use std::{
    env, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tracing::{info, warn};

use crate::shutdown::Shutdown;

/// In the environment of a process that started anew.
const VARIABLE: &str = "STATION_AGENT_RESTARTED";

/// The first pause before a probe, doubled after each up to [`PAUSE_MOST`].
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// An operator who made room looks up after some ten seconds; a probe writes 4 MiB, which every disk bears so often.
pub const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Probes with growing pauses until `probe` finds nothing wrong, then requests that the process starts anew. Ends as well
/// when shutdown is requested otherwise. `probe` may block.
pub async fn once_well(shutdown: &Shutdown, probe: impl Fn() -> Result<(), String> + Clone + Send + 'static) {
    probing(shutdown, probe, PAUSE_FIRST).await;
}

async fn probing(
    shutdown: &Shutdown,
    probe: impl Fn() -> Result<(), String> + Clone + Send + 'static,
    mut pause: Duration,
) {
    let mut said = String::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match tokio::task::spawn_blocking(probe.clone()).await {
            Ok(Ok(())) => {
                info!("what was wrong has passed: starting anew");
                return shutdown.request_restart();
            }
            Ok(Err(wrong)) => {
                if wrong != said {
                    warn!(wrong, "not well yet; looking again by itself");
                }
                said = wrong;
            }
            Err(_) => warn!("looking whether things are well ended unexpectedly"),
        }
        pause = PAUSE_MOST.min(pause * 2);
    }
}

/// Whether this process has started anew by itself, at least once.
pub fn is_restarted() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Starts anew at once. Returns only when that fails, and why.
pub fn exec() -> io::Error {
    let program = match env::current_exe() {
        Ok(program) if program.is_file() => program,
        // An update has replaced it: this one goes on as it is.
        Ok(_) => PathBuf::from("/proc/self/exe"),
        Err(error) => return error,
    };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| Path::new(&program).into());
    Command::new(program).arg0(name).args(arguments).env(VARIABLE, "1").exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that this test binary is the process of the test below.
    const PART: &str = "STATION_TEST_RESTART_PART";

    /// Not a test of its own: starts anew once what it probes is well, the third time, and says its process id each time.
    #[test]
    fn part() {
        let Some(place) = env::var_os(PART).map(PathBuf::from) else { return };
        eprintln!("process {} {}", std::process::id(), if is_restarted() { "again" } else { "first" });
        if is_restarted() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shutdown = Shutdown::new();
        let probe = move || {
            let probes = std::fs::read(&place).unwrap_or_default().len() + 1;
            std::fs::write(&place, vec![0; probes]).unwrap();
            if probes < 3 { Err("not yet".to_owned()) } else { Ok(()) }
        };
        runtime.block_on(probing(&shutdown, probe, Duration::from_millis(1)));
        assert!(shutdown.is_restart() && shutdown.is_requested());
        panic!("{}", exec());
    }

    /// A process that is well at the third look starts anew then: the same process, with the same arguments.
    #[test]
    fn a_process_starts_anew_once_all_is_well() {
        let place = tempfile::tempdir().unwrap();
        let probes = place.path().join("probes");
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "restart::tests::part", "--nocapture"])
            .env(PART, &probes)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("process ")).collect();
        let [first, again] = lines[..] else { panic!("{said}") };
        assert_eq!(first.strip_suffix(" first"), again.strip_suffix(" again"), "{said}");
        assert_eq!(std::fs::read(probes).unwrap().len(), 3);
        assert!(output.status.success());
    }

    /// What ends the process for good is not made a restart, and a restart is made an end by a signal only.
    #[test]
    fn an_end_is_no_restart() {
        let shutdown = Shutdown::new();
        shutdown.request();
        shutdown.request_restart();
        assert!(shutdown.is_requested() && !shutdown.is_restart());
        let shutdown = Shutdown::new();
        shutdown.request_restart();
        shutdown.request();
        assert!(shutdown.is_restart());
    }
}
