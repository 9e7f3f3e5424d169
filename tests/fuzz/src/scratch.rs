//! A directory for the doors that read files, in memory where the system has such a place.

use std::{path::Path, sync::OnceLock};

use tempfile::TempDir;

/// The process's own directory. It is removed when the system is done with it: libFuzzer ends without destructors, so the
/// runner removes what is left.
pub(crate) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    let made = || match std::env::var_os(crate::SCRATCH) {
        Some(place) => TempDir::new_in(place),
        None if Path::new("/dev/shm").is_dir() => TempDir::new_in("/dev/shm"),
        None => TempDir::new(),
    };
    DIRECTORY.get_or_init(|| made().expect("a temporary directory")).path()
}
