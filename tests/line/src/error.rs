//! What can keep a line from running.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why a line could not be made, started or stopped. Says where the log is.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// A simulated device.
    #[error("could not start the device {name}")]
    Device {
        /// The device.
        name: String,
        /// Why.
        #[source]
        source: hsm_sim::SimError,
    },
    /// A file of the line.
    #[error("could not {act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A certificate of the control plane.
    #[error("could not make the control plane's certificate for {name}")]
    Certificate {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A binary that the line runs is not beside the one that runs it.
    #[error("{program} is not in {}; build it first: cargo build --workspace --bins", directory.display())]
    NotBuilt {
        /// The binary.
        program: &'static str,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A process could not be started, signalled or waited for.
    #[error("could not {act} {name}")]
    Process {
        /// What was tried.
        act: &'static str,
        /// The process.
        name: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A process ended that should have gone on, or ended with an error.
    #[error("{name} ended ({status}); its log is {}, and ends with:\n{words}", log.display())]
    Ended {
        /// The process.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        words: String,
    },
    /// A process was not ready, or not done, in time.
    #[error("{name} was not ready after {} s ({last}); its log is {}, and ends with:\n{words}", after.as_secs(), log.display())]
    Late {
        /// The process.
        name: &'static str,
        /// How long it was given.
        after: Duration,
        /// What the last attempt to reach it said.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        words: String,
    },
    /// A process did not stop when asked and was killed.
    #[error("{name} did not stop within {} s and was killed; its log is {}", after.as_secs(), log.display())]
    Stubborn {
        /// The process.
        name: &'static str,
        /// How long it was given.
        after: Duration,
        /// Its log.
        log: PathBuf,
    },
    /// No port could be bound.
    #[error("no free port on 127.0.0.1 was found")]
    NoPort(#[source] io::Error),
    /// A client could not be made.
    #[error("could not make the client {name}")]
    Client {
        /// The caller.
        name: String,
        /// Why.
        #[source]
        source: service::tls::TlsError,
    },
    /// What was asked for is not part of this line.
    #[error("this line has no {0}")]
    Absent(String),
}

impl LineError {
    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }
}
