//! Logs to standard error, and a process that leaves no core dump: secrets live in its memory.

use std::{env, io, panic};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::{debug, error, warn};
use tracing_subscriber::EnvFilter;

/// What to log, as `tracing_subscriber::EnvFilter` reads it: `debug`, or `info,service=debug`.
pub const FILTER_VARIABLE: &str = "STATION_LOG";

/// Logs to standard error from now on, one event a line, as JSON if asked; panics are logged as well. Hardens the
/// process ([`harden`]). `STATION_LOG` chooses what is logged; `info` when unset or not understood.
///
/// To be called once, first thing in `main`; a second call changes nothing but says so.
pub fn init(program: &str, json: bool) {
    let hardened = harden();
    let (filter, not_understood) = match env::var(FILTER_VARIABLE) {
        Err(_) => (EnvFilter::new("info"), None),
        Ok(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("info"), Some(error)),
        },
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(true);
    let set = if json { logs.json().flatten_event(true).try_init() } else { logs.with_ansi(false).try_init() };
    if let Err(error) = set {
        return warn!(program, %error, "logs were set up before; they stay as they are");
    }
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panicked: {}", message.unwrap_or("without a message"));
    }));
    if let Some(error) = not_understood {
        warn!(%error, "{FILTER_VARIABLE} is not understood; logging at info");
    }
    if let Err(error) = hardened {
        warn!(%error, "could not switch off core dumps; a crash could write secrets to the disk");
    }
    debug!(program, version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "starting");
}

/// Switches off core dumps, and with them tracing by other processes of the same user. [`init`] does it; a process that
/// does not log (a keystore worker, say) calls it itself, since the second half does not survive `exec`.
///
/// # Errors
/// The system refused; the process may go on.
pub fn harden() -> io::Result<()> {
    // The limit alone does not hold where core_pattern is a pipe, core(5): systemd-coredump's is.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    /// After `harden`, the kernel says that this process has no core dump, by either way.
    #[test]
    fn hardening_holds() {
        harden().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    /// Says what this test binary is to log when it is started as a process of its own.
    const PART: &str = "STATION_TEST_TELEMETRY_PART";

    /// Not a test of its own: the process that logs for the test below.
    #[test]
    fn part() {
        let Ok(part) = env::var(PART) else { return };
        init("part", part == "json");
        init("again", false);
        tracing::info!("an event");
        tracing::debug!("a detail");
        panic!("on purpose");
    }

    /// What such a process writes to standard error.
    fn logged(part: &str, filter: &str) -> Vec<String> {
        let output = std::process::Command::new(env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::part", "--nocapture"])
            .env(PART, part)
            .env(FILTER_VARIABLE, filter)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
    }

    /// Events, panics and a second `init` are logged, one a line, as text and as JSON; details only when asked for, and a
    /// filter that is not understood is said and falls back to `info`.
    #[test]
    fn logs_go_to_standard_error() {
        for (part, filter, details) in
            [("text", "info", 0), ("text", "debug", 1), ("json", "info", 0), ("text", "=/=", 0)]
        {
            let lines = logged(part, filter);
            let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
            assert_eq!(count("an event"), 1, "{lines:#?}");
            assert_eq!(count("panicked: on purpose"), 1, "{lines:#?}");
            assert_eq!(count("logs were set up before"), 1, "{lines:#?}");
            assert_eq!(count("a detail"), details, "{lines:#?}");
            assert_eq!(count("not understood"), usize::from(filter == "=/="), "{lines:#?}");
            assert_eq!(part == "json", lines.iter().all(|line| line.starts_with('{')), "{lines:#?}");
        }
    }
}
