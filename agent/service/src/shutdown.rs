//! Orderly shutdown: one token that everything long-lived waits for.
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

/// From the request to the end of the process. A certificate takes seconds to write, a last sync and checkpoint as
/// well; systemd's default patience is 90 s.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The exit code after the deadline: as that of timeout(1).
pub const EXIT_DEADLINE: i32 = 124;

/// The exit code after a second signal: 128 and SIGINT, as shells report it.
pub const EXIT_AT_ONCE: i32 = 130;

/// Whether the process is to end. Clones are the same token.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A token that signals do not touch: for tests, and for parts that end on their own.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
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
        self.0.send_replace(true);
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it is requested, at once when it was.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        // The token is held as well: a receiver whose senders are gone would wait in vain.
        let (token, mut requested) = (self.0.clone(), self.0.subscribe());
        async move {
            let _ = requested.wait_for(|requested| *requested).await;
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
        signal = signals.next() => {
            info!(signal, "shutting down; a second signal ends the process at once");
            shutdown.request();
        }
        () = shutdown.requested() => info!("shutting down"),
    }
    tokio::select! {
        signal = signals.next() => {
            warn!(signal, "a second signal; ending at once");
            process::exit(EXIT_AT_ONCE);
        }
        () = time::sleep(deadline) => {
            error!(?deadline, "the shutdown did not finish in time; ending now");
            process::exit(EXIT_DEADLINE);
        }
    }
}

#[cfg(test)]
mod tests;
