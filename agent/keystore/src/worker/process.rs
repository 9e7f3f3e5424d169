//! The child process, seen from its parent.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    frame::{self, Limit},
    message::Response,
    settings::WorkerSettings,
};

/// An idle child ends at once when its socket closes: it only shuts its device down.
const FAREWELL: Duration = Duration::from_secs(2);
/// A killed process is gone within milliseconds, unless the kernel itself is stuck in its device.
const REAP: Duration = Duration::from_secs(1);

/// A running child and the socket to it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// `None` once it was told to end.
    stream: Option<UnixStream>,
}

impl Process {
    pub(super) fn start(settings: &WorkerSettings, deadline: Instant) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&settings.program);
        // The child says nothing on its standard output: there it holds the lock, which ends with it and with nothing else.
        let held = settings.lock.as_deref().map(|path| lock(path, deadline)).transpose()?;
        command
            .args(&settings.arguments)
            .stdin(OwnedFd::from(theirs))
            .stdout(held.map_or_else(Stdio::null, Stdio::from));
        if std::env::var_os("TSS2_LOG").is_none() {
            // libtss2 writes to stderr, for a person: faults carry what it says.
            command.env("TSS2_LOG", "all+none");
        }
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        prepare(&mut command);
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", settings.program.display())))?;
        Ok(Self { child, stream: Some(stream) })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn send(&mut self, frame: &[u8], deadline: Instant) -> io::Result<()> {
        frame::send(self.stream()?, frame, Some(deadline))
    }

    pub(super) fn receive(&mut self, limit: Limit, deadline: Instant) -> io::Result<Response> {
        let content = frame::receive(self.stream()?, limit, Some(deadline))?;
        frame::decode(&content.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    /// SIGKILL, and how it ended.
    pub(super) fn kill(mut self) -> String {
        self.stream = None;
        // A child that has just died by itself tells more by its own status than by ours.
        let _ = self.child.kill();
        self.await_end(REAP).unwrap_or_else(|| "it does not even end when killed".to_owned())
    }

    fn stream(&self) -> io::Result<&UnixStream> {
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn await_end(&mut self, patience: Duration) -> Option<String> {
        const PAUSE: Duration = Duration::from_millis(2);
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.to_string()),
                Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
                Ok(None) => return None,
                Err(error) => return Some(error.to_string()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stream.take().is_some() && self.await_end(FAREWELL).is_none() {
            let _ = self.child.kill();
            let _ = self.await_end(REAP);
        }
    }
}

/// Locks a device for one child (flock(2): the lock is the open file's, which the child alone will have).
fn lock(path: &Path, deadline: Instant) -> io::Result<File> {
    const PAUSE: Duration = Duration::from_millis(10);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(named)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let words = format!("{}: another worker still has the device", path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, words));
            }
            Err(error) => return Err(named(error.into())),
        }
    }
}

/// Ctrl-C reaches the whole foreground group and systemd's SIGTERM the whole unit, but a child must not go before its
/// parent is done with the device: it goes when its socket closes.
#[expect(unsafe_code, reason = "pre_exec: between fork and exec, only async-signal-safe calls")]
fn prepare(command: &mut Command) {
    let before_exec = || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            // SAFETY: signal(2) with SIG_IGN is async-signal-safe and touches no memory of ours. What is ignored stays
            // ignored over exec.
            if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes the system calls above and nothing else: it takes no lock and does not allocate.
    unsafe { command.pre_exec(before_exec) };
}
