//! Who signs a checkpoint: the process's own key always, and a TPM's or an HSM's beside it when that is there.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::LogError;
use crate::tree::{
    checkpoint::Checkpoint,
    note::{Note, Signer, SigningKey, VerifyingKey},
};

pub(super) struct Signers {
    own: SigningKey,
    others: Vec<Arc<dyn Signer>>,
    /// Whether one of the others did not sign the last one.
    silent: AtomicBool,
}

impl Signers {
    pub(super) fn new(own: SigningKey, others: Vec<Arc<dyn Signer>>) -> Self {
        Self { own, others, silent: AtomicBool::new(false) }
    }

    pub(super) fn verifying(&self) -> &VerifyingKey {
        self.own.verifying()
    }

    /// The signed checkpoint. Another signer that is away is told once, and stops nothing.
    pub(super) fn sign(&self, checkpoint: &Checkpoint) -> Result<Note, LogError> {
        let mut note = Note::new(checkpoint.text());
        note.add(self.own.sign(note.text()).map_err(LogError::Sign)?);
        let mut silent = None;
        for other in &self.others {
            match other.sign(note.text()) {
                Ok(line) => note.add(line),
                Err(wrong) => silent = Some(wrong),
            }
        }
        match (&silent, self.silent.swap(silent.is_some(), Ordering::Relaxed)) {
            (Some(wrong), false) => tracing::warn!(
                wrong,
                size = checkpoint.size,
                "the hardware key did not sign the journal's checkpoint: it bears the signature of the key in the file alone, as \
                 do the next ones until the hardware key signs again"
            ),
            (None, true) => {
                tracing::info!(size = checkpoint.size, "the hardware key signs the journal's checkpoints again")
            }
            _ => {}
        }
        Ok(note)
    }
}
