//! What can be wrong with a log.

use std::{io, path::PathBuf};

use crate::JournalError;

/// Why the log could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The journal beneath it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A system call on a file failed.
    #[error("could not {act} {}", path.display())]
    File {
        /// Such as `write`.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key's file.
    #[error("the checkpoint key in {} {wrong}; bring the right file back, or correct the configuration", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: String,
    },
    /// The checkpoint's file is missing, or is not what this log signed.
    #[error("the checkpoint {} {wrong}; bring the directory back from a copy of it, such as a backup", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: String,
    },
    /// The journal's records are not those that were signed.
    #[error(
        "the journal was altered: {} what the checkpoint in {} covers ({size} records). Nothing was changed. \
         `journal verify` names the first record that differs; bring the journal back from a copy of it",
        index.map_or_else(|| "its records are not".to_owned(), |index| format!("record {index} is not")),
        directory.display()
    )]
    Altered {
        /// The log's directory.
        directory: PathBuf,
        /// How many records the checkpoint covers.
        size: u64,
        /// The record, when it is known.
        index: Option<u64>,
    },
    /// A tile that should be there.
    #[error("{0}; restart, tiles are cut anew from the journal")]
    Tile(String),
    /// The process's own key.
    #[error("the checkpoint could not be signed: {0}")]
    Sign(String),
}

impl LogError {
    /// Whether it is of the disk, so that it may go by itself.
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_of_disk(),
            Self::File { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source }
    }
}
