//! Append-only, synced segments that are the truth, and projections on sled that can be rebuilt from them.
//!
//! An entry is 1 to 65,535 bytes; its index is its position. [`Journal::append`] queues and gives the index at once;
//! [`Appended`] resolves when the entry is on the disk. One thread writes: a group is whatever queued during the last
//! `fdatasync`, so a hundred waiters cost one sync. Any write or sync error poisons the journal: nothing more is
//! acknowledged, and the process should end its service and say why.
//!
//! After a crash the last segment may end in a group of which only some pages reached the disk. That group was never
//! acknowledged; opening keeps what of it is whole from its beginning, cuts the rest and reports it. Anything else that
//! is not as it was written is damage, and opening or reading refuses with the file, the offset and the repair. What
//! checksums cannot see, a tail that was cut off at the end of a frame, is for checkpoints to see.
//!
//! [`Projections`] keep what a user makes of its entries in rows. They are never in the path of an acknowledgement, never
//! ahead of a sync, and rebuilt when they are missing, damaged or of another version.
//!
//! What is where: `segment` the bytes; `recovery` opening; `chain` reading; `writer` appending; `committer` the queue and
//! the thread; `journal` the handle; `repair` mending with a copy; `probe` whether a disk is well again; `projections` the
//! rows. `tree` is the Merkle tree over the entries (RFC 6962), its tiles and signed checkpoints; `tlog` keeps them beside
//! the journal, and is the witness of others; `audit` verifies a journal or a copy and proves records; [`commands`] are
//! what people type for that.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod audit;
mod chain;
pub mod commands;
mod committer;
pub mod disk;
mod error;
mod journal;
#[cfg(test)]
mod memory_disk;
mod probe;
mod projections;
mod recovery;
mod repair;
mod segment;
#[cfg(test)]
mod tests;
mod tlog;
mod tree;
mod writer;

pub use audit::{
    CheckedProof, Finding, ProofError, ProofFile, ProvenRecord, Prover, Reader, Verification, VerifyOptions, prove,
    verify,
};
pub use error::JournalError;
pub use journal::{Appended, Journal, JournalOptions, Recovery};
pub use probe::probe;
pub use projections::{Draft, Projection, Projections, Row, Rows};
pub use repair::repair;
pub use segment::ENTRY_MAX;
pub use tlog::{LogError, LogOptions, Refusal, TransparencyLog, Witness};
pub use tree::{
    Hash,
    checkpoint::Checkpoint,
    leaf_hash,
    note::{Note, Purpose, Signature, Signer, SigningKey, VerifyingKey},
    proof::{check_consistency, check_inclusion},
};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// Lower-case hexadecimal.
fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error and its causes as one sentence.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
