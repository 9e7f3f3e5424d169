//! The child process, seen from its parent.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
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
    pub(super) fn start(settings: &WorkerSettings) -> io::Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        if std::env::var_os("TSS2_LOG").is_none() {
            // libtss2 writes to stderr, for a person: faults carry what it says.
            command.env("TSS2_LOG", "all+none");
        }
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        prepare(&mut command);
        Ok(Self { child: spawn(command)?, stream: Some(stream) })
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

/// Ctrl-C reaches the whole foreground group and systemd's SIGTERM the whole unit, but a child must not go before its
/// parent is done with the device; it goes when its socket closes, and at the latest when its parent is gone.
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
        // One prctl(2), without allocation.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: the closure makes the system calls above and nothing else: it takes no lock and does not allocate.
    unsafe { command.pre_exec(before_exec) };
}

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a child from a thread that never ends: the kernel sends the parent-death signal when the *thread* that started
/// a child ends (prctl(2)), and a worker may outlive the thread of its first call.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts workers has ended");
    let starter = STARTER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        let work = move || {
            for (mut command, reply) in received {
                let _ = reply.send(command.spawn());
            }
        };
        if let Err(error) = thread::Builder::new().name("worker-starter".into()).spawn(work) {
            tracing::error!(%error, "could not start the thread that starts workers");
        }
        orders
    });
    let (reply, answer) = mpsc::sync_channel(1);
    starter.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
