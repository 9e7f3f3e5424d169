//! A directory for the doors that read files, in memory where the system has such a place.

use std::{path::Path, sync::OnceLock};

use tempfile::TempDir;

/// The process's own directory. It is removed when the process ends in order; libFuzzer does not, and its runner removes what it
/// leaves.
pub(crate) fn directory() -> &'static Path {
    DIRECTORY
        .get_or_init(|| {
            let made = match std::env::var_os(crate::SCRATCH) {
                Some(place) => TempDir::new_in(place),
                None if Path::new("/dev/shm").is_dir() => TempDir::new_in("/dev/shm"),
                None => TempDir::new(),
            };
            // SAFETY: the function takes and gives nothing, and does not unwind.
            unsafe { libc::atexit(remove) };
            made.expect("a temporary directory")
        })
        .path()
}

static DIRECTORY: OnceLock<TempDir> = OnceLock::new();

/// Statics are not dropped.
extern "C" fn remove() {
    if let Some(directory) = DIRECTORY.get() {
        let _ = std::fs::remove_dir_all(directory.path());
    }
}
