//! Where a log is, and who signs it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{CHECKPOINT, LogError, read_checkpoint};
use crate::tree::note::Signer;

/// Where the log is, and who signs it.
#[derive(Clone)]
pub struct LogOptions {
    /// The directory of checkpoint and tiles.
    pub directory: PathBuf,
    /// The Ed25519 key, as `PRIVATE+KEY+name+id+key`; made at the first start. What verifies it stands beside it, with the
    /// ending `.vkey`.
    pub key_file: PathBuf,
    /// Time between two checkpoints; a tenth of a second at least.
    pub interval: Duration,
    /// Who signs checkpoints besides: a TPM's or an HSM's key. One that does not sign is told, and stops nothing.
    pub signers: Vec<Arc<dyn Signer>>,
}

impl LogOptions {
    /// A checkpoint every minute: what a witness has seen is at most so much behind.
    pub const INTERVAL: Duration = Duration::from_secs(60);

    /// The log in `tlog` below the journal's directory, and its key beside that directory: a copy of the journal holds no key.
    #[must_use]
    pub fn beside(journal: &Path) -> Self {
        let mut key_file = journal.as_os_str().to_owned();
        key_file.push(".key");
        Self {
            directory: journal.join("tlog"),
            key_file: key_file.into(),
            interval: Self::INTERVAL,
            signers: Vec::new(),
        }
    }

    /// Where the public half of the hardware key is kept, when there is one: beside the log's own, with the ending
    /// `.hardware.vkey`.
    #[must_use]
    pub fn hardware_key_file(&self) -> PathBuf {
        self.key_file.with_extension("hardware.vkey")
    }

    /// How many records the checkpoint covers; 0 when there is none. Its signature is not checked.
    ///
    /// # Errors
    /// A file that cannot be read or is no checkpoint.
    pub fn covered(&self) -> Result<u64, LogError> {
        Ok(read_checkpoint(&self.directory.join(CHECKPOINT))?.map_or(0, |(checkpoint, _)| checkpoint.size))
    }
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { directory, key_file, interval, signers } = self;
        let mut shown = f.debug_struct("LogOptions");
        shown.field("directory", directory).field("key_file", key_file).field("interval", interval);
        shown.field("signers", &signers.len()).finish()
    }
}
