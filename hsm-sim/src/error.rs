//! What can keep a simulated device from running.

use std::{io, path::PathBuf, time::Duration};

/// Why a simulated device could not be made, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A program or library that the simulation is made of is not installed.
    #[error("{program} is not installed; run `make deps`, or install the Debian package {package}")]
    Missing {
        /// The program's or library's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A library of this workspace is not beside the program that needs it.
    #[error("{library} is not built; run `cargo build --package {package}`")]
    NotBuilt {
        /// The library's file name.
        library: &'static str,
        /// The workspace member that it is built from.
        package: &'static str,
    },
    /// A file or directory could not be made, read or removed.
    #[error("could not {act} {}", path.display())]
    Io {
        /// What was tried, such as "write".
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program could not be started or waited for.
    #[error("could not run {program}")]
    Run {
        /// The program.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}); its last words{}:\n{words}", in_log(.log))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// Where its whole output is, when that outlives this error.
        log: Option<PathBuf>,
        /// The end of its output.
        words: String,
    },
    /// A program did not do in time what it was started for.
    #[error("{program} was not ready after {} s; its last words:\n{words}", after.as_secs())]
    Late {
        /// The program.
        program: String,
        /// How long it was given.
        after: Duration,
        /// The end of its output.
        words: String,
    },
    /// The directory's path does not leave room for a socket in it.
    #[error(
        "the path {} is too long for a Unix socket (at most {most} bytes); use a shorter directory or set TMPDIR to one",
        path.display()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
        /// The most that fits, in bytes.
        most: usize,
    },
    /// A token's label or PIN that SoftHSM would not take.
    #[error("{what} must be {must}")]
    Unfit {
        /// What it is: "label" or "PIN".
        what: &'static str,
        /// What it must be.
        must: &'static str,
    },
}

fn in_log(log: &Option<PathBuf>) -> String {
    log.as_ref().map(|path| format!(" ({})", path.display())).unwrap_or_default()
}

impl SimError {
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}
