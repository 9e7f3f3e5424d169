//! A TLS configuration that follows its files.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{TlsError, TlsFiles};

/// Three `stat` calls a second cost nothing; a renewed certificate need not wait longer.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Builds a configuration from files.
pub(super) type Build<C> = fn(&TlsFiles) -> Result<C, TlsError>;

/// The newest good configuration of some files.
pub(super) struct Reloading<C> {
    files: TlsFiles,
    build: Build<C>,
    look_every: Duration,
    state: Mutex<State<C>>,
}

struct State<C> {
    current: Arc<C>,
    /// Of the files when they were last read, for better or worse.
    stamps: [Option<Stamp>; 3],
    looked: Instant,
}

/// What a changed file differs in. The change time catches a replaced file with its old modification time, and a
/// permission that was put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<C> Reloading<C> {
    pub(super) fn new(files: &TlsFiles, look_every: Duration, build: Build<C>) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        let state = State { current: Arc::new(build(files)?), stamps, looked: Instant::now() };
        Ok(Self { files: files.clone(), build, look_every, state: Mutex::new(state) })
    }

    /// The configuration for the next connection. Blocks for three `stat` calls at most once per `look_every`, and for
    /// reading three small files when they changed.
    pub(super) fn current(&self) -> Arc<C> {
        // The state is whole after every statement, so a panic elsewhere does not spoil it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= self.look_every {
            state.looked = Instant::now();
            // Taken before the files are read: a change in between is seen at the next look.
            let stamps = stamps(&self.files);
            if stamps != state.stamps {
                state.stamps = stamps;
                let certificate = self.files.certificate.display();
                match (self.build)(&self.files) {
                    Ok(config) => {
                        state.current = Arc::new(config);
                        info!(%certificate, "TLS files changed and were read again");
                    }
                    Err(error) => {
                        warn!(%certificate, "TLS files changed but cannot be used; the old ones stay: {}", crate::in_full(&error));
                    }
                }
            }
        }
        state.current.clone()
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 3] {
    [Some(files.certificate.as_path()), files.key.file(), Some(&files.trust)].map(|path| path.and_then(stamp))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
