//! Orderly shutdown: one token that everything long-lived waits for, whether the process is to end or to start anew.
//!
//! The first SIGTERM or SIGINT requests it; a second one exits at once, and so does the process when it is not done
//! after [`DEADLINE`]. Signals are taken on a thread of their own, so that both hold even when the main runtime hangs.

use std::{future::Future, io, process, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time,
};
use tracing::{error, info, warn};

use crate::restart;

/// From the request to the end of the process. A certificate takes seconds to write, a last sync and checkpoint as
/// well; systemd's default patience is 90 s.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The exit code after the deadline: as that of timeout(1).
pub const EXIT_DEADLINE: i32 = 124;

/// The exit code after a second signal: 128 and SIGINT, as shells report it.
pub const EXIT_AT_ONCE: i32 = 130;

/// Whether the process is to end. Clones are the same token.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// To end, and to begin again as [`restart`] does it.
    Restarting,
    Stopping,
}

impl Shutdown {
    /// A token that signals do not touch: for tests, and for parts that end on their own.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Running)))
    }

    /// A token that SIGTERM and SIGINT request. To be called once in a process. The process exits when it is not done
    /// [`DEADLINE`] after the request, whoever made it.
    ///
    /// # Errors
    /// No thread could be started, or the signals could not be taken.
    pub fn listen() -> io::Result<Self> {
        Self::listen_with(DEADLINE)
    }

    fn listen_with(deadline: Duration) -> io::Result<Self> {
        let shutdown = Self::new();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? }
        };
        let token = shutdown.clone();
        thread::Builder::new()
            .name("shutdown".to_owned())
            .spawn(move || runtime.block_on(watch_over(token, signals, deadline)))?;
        Ok(shutdown)
    }

    /// Requests it. A second request changes nothing.
    pub fn request(&self) {
        self.go_to(Phase::Stopping);
    }

    /// Requests that the process ends its work in order and starts anew, unless it is ending already. Who ends the process
    /// asks [`is_restart`](Self::is_restart) then. A signal still ends it for good.
    pub fn request_restart(&self) {
        self.go_to(Phase::Restarting);
    }

    fn go_to(&self, next: Phase) {
        self.0.send_if_modified(|phase| {
            let first = *phase == Phase::Running;
            if first {
                *phase = next;
            }
            first
        });
    }

    /// Whether it was requested, to end or to start anew.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() != Phase::Running
    }

    /// Whether the process is to start anew.
    pub fn is_restart(&self) -> bool {
        *self.0.borrow() == Phase::Restarting
    }

    /// Ends when it is requested, at once when it was.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        // The token is held as well: a receiver whose senders are gone would wait in vain.
        let (token, mut requested) = (self.0.clone(), self.0.subscribe());
        async move {
            let _ = requested.wait_for(|phase| *phase != Phase::Running).await;
            drop(token);
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn watch_over(shutdown: Shutdown, mut signals: Signals, deadline: Duration) {
    tokio::select! {
        signal = signals.next() => shutdown.end_by(signal),
        () = shutdown.requested() => info!(anew = shutdown.is_restart(), "shutting down"),
    }
    loop {
        tokio::select! {
            signal = signals.next() => {
                if shutdown.is_restart() {
                    shutdown.end_by(signal);
                    continue;
                }
                warn!(signal, "a second signal; ending at once");
                process::exit(EXIT_AT_ONCE);
            }
            () = time::sleep(deadline) => {
                if shutdown.is_restart() {
                    let failed = restart::exec();
                    error!(%failed, "could not start anew");
                }
                error!(?deadline, "the shutdown did not finish in time; ending now");
                process::exit(EXIT_DEADLINE);
            }
        }
    }
}

impl Shutdown {
    /// A person's word goes before a restart.
    fn end_by(&self, signal: &str) {
        info!(signal, "shutting down; a second signal ends the process at once");
        self.0.send_replace(Phase::Stopping);
    }
}

#[cfg(test)]
mod tests;
