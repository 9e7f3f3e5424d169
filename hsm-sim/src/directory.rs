//! Where a simulated device lives.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use crate::SimError;

/// A Unix socket's address has 108 bytes with the closing zero (unix(7)).
pub(crate) const SOCKET_PATH_MOST: usize = 107;
/// Leaves room in a socket's path for our directory's name and the longest socket name.
const TEMPORARY_ROOT_MOST: usize = SOCKET_PATH_MOST - 27;

/// A directory that is removed with its last owner, or one that the caller looks after.
#[derive(Debug, Clone)]
pub(crate) enum Directory {
    Ours(Arc<TempDir>),
    Callers(PathBuf),
}

impl Directory {
    /// A new directory under TMPDIR, or under /tmp when TMPDIR's path is too long for a socket.
    pub(crate) fn temporary() -> Result<Self, SimError> {
        let mut root = env::temp_dir();
        if root.as_os_str().len() > TEMPORARY_ROOT_MOST {
            root = PathBuf::from("/tmp");
        }
        let made = tempfile::Builder::new().prefix("hsm-sim-").tempdir_in(&root);
        made.map(|made| Self::Ours(Arc::new(made))).map_err(SimError::io("make a directory in", root))
    }

    /// `path`, made when it is not there, and not removed.
    pub(crate) fn at(path: &Path) -> Result<Self, SimError> {
        std::fs::create_dir_all(path).map_err(SimError::io("make", path))?;
        // The programs we start run elsewhere.
        let path = path.canonicalize().map_err(SimError::io("find", path))?;
        Ok(Self::Callers(path))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Ours(directory) => directory.path(),
            Self::Callers(path) => path,
        }
    }
}
