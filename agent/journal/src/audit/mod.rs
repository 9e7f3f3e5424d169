//! What an auditor does with a journal, or with a copy of one: verify it, prove a record, check a proof. Nothing here
//! writes into a journal, takes its lock or needs its key's private half.

pub(crate) mod bounded;
mod proof_file;
mod reader;
mod tiles;
mod verify;

#[cfg(test)]
mod tests;

pub use proof_file::{CheckedProof, ProofError, ProofFile, ProvenRecord, Prover, prove};
pub use reader::Reader;
pub use verify::{Finding, Verification, VerifyOptions, verify};
