//! Child processes that do not outlive the process that needs them.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, getpid, getppid, kill_process, kill_process_group, pidfd_open,
        set_parent_process_death_signal, setsid,
    },
};

/// How much of a log an error shows.
const LAST_WORDS_BYTES: u64 = 4096;
const LAST_WORDS_LINES: usize = 15;

/// Starts `command` as a child that the kernel kills when this process ends, however it ends.
///
/// The child leads a session of its own: a Ctrl-C in the terminal reaches only us, and we stop our children in order.
pub fn spawn(command: Command) -> io::Result<Child> {
    // PR_SET_PDEATHSIG acts when the *thread* that forked ends (prctl(2)), so one thread that never ends forks for all.
    type Order = (Command, Sender<io::Result<Child>>);
    static FORKS: OnceLock<Sender<Order>> = OnceLock::new();
    let forks = FORKS.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(bind_to_us(&mut command).spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts children is gone");
    forks.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// Starts `command` as a process that outlives us, in a session of its own.
pub fn spawn_detached(mut command: Command) -> io::Result<Child> {
    // SAFETY: between fork and exec only the async-signal-safe setsid(2) is called.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) }.spawn()
}

fn bind_to_us(command: &mut Command) -> &mut Command {
    let parent = getpid();
    // SAFETY: between fork and exec only the async-signal-safe prctl(2), getppid(2) and setsid(2) are called.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            setsid()?;
            Ok(())
        })
    }
}

/// Waits at most `most` for `child` to end; `None` when it still runs.
pub fn wait_at_most(child: &mut Child, most: Duration) -> io::Result<Option<ExitStatus>> {
    match child.try_wait()? {
        Some(status) => Ok(Some(status)),
        None if wait_for_end(pid_of(child), most)? => child.wait().map(Some),
        None => Ok(None),
    }
}

/// Whether `child`, which nobody has waited for yet, has ended. It is not waited for, so that its number and that of its
/// process group stay its own.
pub fn has_ended(child: &Child) -> io::Result<bool> {
    wait_for_end(pid_of(child), Duration::ZERO)
}

/// Sends SIGTERM to `child`, which nobody has waited for yet, and waits at most `patience`; then SIGKILL to it and to what
/// it left in its process group. `None` when its patience ended before it did.
pub fn terminate_group(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = pid_of(child);
    kill_process(pid, Signal::TERM)?;
    let ended = wait_for_end(pid, patience)?;
    let status = kill_group(child)?;
    Ok(ended.then_some(status))
}

/// Sends SIGKILL to `child`, which nobody has waited for yet, and to its process group, and waits for it.
pub fn kill_group(child: &mut Child) -> io::Result<ExitStatus> {
    kill_process_group(pid_of(child), Signal::KILL)?;
    child.wait()
}

/// Sends SIGKILL to `child` alone and waits for it.
pub fn kill(child: &mut Child) -> io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}

/// Sends `signal` to `child`; nothing when it has ended.
pub fn signal(child: &mut Child, signal: Signal) -> io::Result<()> {
    match child.try_wait()? {
        Some(_) => Ok(()),
        None => Ok(kill_process(pid_of(child), signal)?),
    }
}

/// Sends SIGTERM to the process `pid`, not necessarily a child, then SIGKILL after `patience`, and waits for its end.
pub fn end_process(pid: u32, patience: Duration) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    for (signal, most) in [(Signal::TERM, patience), (Signal::KILL, patience)] {
        match kill_process(pid, signal) {
            Err(Errno::SRCH) => return Ok(()),
            sent => sent?,
        }
        if wait_for_end(pid, most)? {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The end of a log file, for an error message; empty when there is none.
pub fn last_words(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    let end = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
}

fn wait_for_end(pid: Pid, most: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + most;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(true),
        opened => opened?,
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child started by a thread that ends at once lives on: it is bound to the process, not to that thread.
    #[test]
    fn outlives_the_thread_that_asked() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut child = thread::spawn(move || spawn(command)).join().unwrap().unwrap();
        assert_eq!(wait_at_most(&mut child, Duration::from_millis(200)).unwrap(), None);
        assert!(!terminate_group(&mut child, Duration::from_secs(5)).unwrap().unwrap().success());
    }

    /// A process that ignores SIGTERM is killed when patience ends, and with it what it started.
    #[test]
    fn kills_what_does_not_listen() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let mut command = Command::new("sh");
        let script = "trap '' TERM; sleep 300 & echo $! > \"$1\"; while :; do sleep 1; done";
        command.args(["-c", script, "sh"]).arg(&ready);
        let mut child = spawn(command).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let grandchild = loop {
            assert!(Instant::now() < deadline, "the shell did not start");
            let text = fs::read_to_string(&ready).unwrap_or_default();
            match text.trim().parse::<i32>() {
                Ok(pid) if text.ends_with('\n') => break Pid::from_raw(pid).unwrap(),
                _ => thread::yield_now(),
            }
        };
        assert_eq!(terminate_group(&mut child, Duration::from_millis(100)).unwrap(), None);
        assert!(wait_for_end(grandchild, Duration::from_secs(5)).unwrap(), "{grandchild:?} still runs");
    }
}
