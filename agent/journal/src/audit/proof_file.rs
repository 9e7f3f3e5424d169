//! One file that proves records: the records themselves, where they stand, and a signed head that covers them.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::bounded::{self, NOTE_MOST, PROOF_MOST};
use crate::{
    Hash,
    tree::{
        checkpoint::Checkpoint,
        leaf_hash,
        note::{Note, VerifyingKey},
        proof::{self, check_inclusion},
        tile::TileNodes,
    },
};

const FORMAT: &str = "journal-proof/v1";

/// Records with their inclusion proofs, as JSON. Bytes are base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// `journal-proof/v1`.
    pub format: String,
    /// What the records tell of, PEM; whether they do is for those who know the records.
    pub certificate: String,
    /// The head that covers the records: a signed note, cosigned when a witness saw it.
    pub checkpoint: String,
    /// In the journal's order.
    pub records: Vec<ProvenRecord>,
}

/// One record and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenRecord {
    /// Its index in the journal.
    pub index: u64,
    /// Its bytes, base64.
    pub entry: String,
    /// The inclusion proof (RFC 9162 §2.1.3), each hash base64.
    pub proof: Vec<String>,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedProof {
    /// The head that covers the records.
    pub checkpoint: Checkpoint,
    /// When a witness cosigned it, in seconds since 1970; `None` when no witness's key was given.
    pub cosigned: Option<u64>,
    /// The records with their indexes.
    pub records: Vec<(u64, Vec<u8>)>,
}

/// Why there is no proof, or why it shows nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// A file.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No checkpoint covers the record yet.
    #[error(
        "record {index} is newer than the checkpoint of {size} records: wait for the next, or end the station in order"
    )]
    NotCovered {
        /// The record.
        index: u64,
        /// What the checkpoint covers.
        size: u64,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Wrong(String),
}

/// Makes proofs from a log's directory.
#[derive(Debug)]
pub struct Prover {
    checkpoint: Checkpoint,
    note: String,
    nodes: TileNodes,
}

impl Prover {
    /// Takes the newest cosigned checkpoint when it covers the record `newest`, else the newest.
    ///
    /// # Errors
    /// No checkpoint there that covers it.
    pub fn open(tlog: &Path, newest: u64) -> Result<Self, ProofError> {
        let mut size = 0;
        for name in ["checkpoint.cosigned", "checkpoint"] {
            let path = tlog.join(name);
            let note = match bounded::read_text(&path, NOTE_MOST) {
                Ok(note) => note,
                Err(error) if error.kind() == io::ErrorKind::NotFound && name != "checkpoint" => continue,
                Err(source) => return Err(ProofError::Read { path, source }),
            };
            let read = Note::parse(&note).and_then(|note| Checkpoint::parse(note.text()));
            let checkpoint = read.ok_or_else(|| ProofError::Wrong(format!("{} is no checkpoint", path.display())))?;
            size = checkpoint.size;
            if newest < size {
                return Ok(Self { checkpoint, note, nodes: TileNodes::new(tlog, size) });
            }
        }
        Err(ProofError::NotCovered { index: newest, size })
    }

    /// Proves that this entry stands at `index`.
    ///
    /// # Errors
    /// Tiles that are missing, or that do not bear the entry out: the journal or its tiles were altered.
    pub fn prove(&mut self, index: u64, entry: &[u8]) -> Result<ProvenRecord, ProofError> {
        let size = self.checkpoint.size;
        let proof = proof::inclusion(&mut self.nodes, index, size).map_err(|e| ProofError::Wrong(e.to_string()))?;
        if !check_inclusion(&leaf_hash(entry), index, size, &proof, &self.checkpoint.root) {
            let wrong =
                format!("record {index} is not what the checkpoint covers: `journal verify` says what was altered");
            return Err(ProofError::Wrong(wrong));
        }
        let proof = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
        Ok(ProvenRecord { index, entry: STANDARD.encode(entry), proof })
    }

    /// The file.
    #[must_use]
    pub fn file(self, certificate: String, records: Vec<ProvenRecord>) -> ProofFile {
        ProofFile { format: FORMAT.to_owned(), certificate, checkpoint: self.note, records }
    }
}

/// Proves records, each with its index and in the journal's order, that tell of this certificate (DER).
///
/// # Errors
/// No checkpoint covers them, or the log does not bear them out.
pub fn prove(tlog: &Path, certificate: &[u8], records: &[(u64, Vec<u8>)]) -> Result<ProofFile, ProofError> {
    let newest = records.last().map_or(0, |(index, _)| *index);
    let mut prover = Prover::open(tlog, newest)?;
    let proven = records.iter().map(|(index, entry)| prover.prove(*index, entry)).collect::<Result<_, _>>()?;
    Ok(prover.file(pem::encode(&pem::Pem::new("CERTIFICATE", certificate)), proven))
}

impl ProofFile {
    /// As it is written to a file.
    ///
    /// # Errors
    /// None that is known of.
    pub fn encode(&self) -> Result<String, ProofError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| ProofError::Wrong(error.to_string()))?;
        Ok(text + "\n")
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read or is no proof.
    pub fn read(path: &Path) -> Result<Self, ProofError> {
        let text = bounded::read_text(path, PROOF_MOST)
            .map_err(|source| ProofError::Read { path: path.to_owned(), source })?;
        let wrong = |words: String| ProofError::Wrong(format!("{} is no proof: {words}", path.display()));
        let file: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.format != FORMAT {
            return Err(wrong(format!("its format is {:?}, and this release reads {FORMAT}", file.format)));
        }
        Ok(file)
    }

    /// Whether the log with this key holds these records, whether this hardware key says so too, and whether this witness saw
    /// it.
    ///
    /// # Errors
    /// What does not hold, naming the record.
    pub fn check(
        &self,
        key: &VerifyingKey,
        hardware: Option<&VerifyingKey>,
        witness: Option<&VerifyingKey>,
    ) -> Result<CheckedProof, ProofError> {
        let wrong = |words: String| ProofError::Wrong(words);
        let note = Note::parse(&self.checkpoint).ok_or_else(|| wrong("its checkpoint is no signed note".to_owned()))?;
        if !note.is_signed_by(key) {
            return Err(wrong(format!("its checkpoint is not signed by {key}, or was changed since")));
        }
        if let Some(hardware) = hardware.filter(|hardware| !note.is_signed_by(hardware)) {
            return Err(wrong(format!("its checkpoint is not signed by {hardware}, or was changed since")));
        }
        let checkpoint = Checkpoint::parse(note.text()).filter(|checkpoint| checkpoint.origin == key.name());
        let checkpoint = checkpoint.ok_or_else(|| wrong("its checkpoint is none of this log".to_owned()))?;
        let cosigned = match witness {
            None => None,
            Some(witness) => Some(note.cosigned_at(witness).ok_or_else(|| {
                wrong(format!("its checkpoint is not cosigned by {witness}, or the cosignature was changed since"))
            })?),
        };
        if self.records.is_empty() {
            return Err(wrong("it holds no record".to_owned()));
        }
        let mut records = Vec::with_capacity(self.records.len());
        for record in &self.records {
            let index = record.index;
            let read = || {
                let entry = STANDARD.decode(&record.entry).ok()?;
                let hashes: Option<Vec<Hash>> =
                    record.proof.iter().map(|hash| STANDARD.decode(hash).ok()?.try_into().ok()).collect();
                Some((entry, hashes?))
            };
            let (entry, proof) = read().ok_or_else(|| wrong(format!("record {index} is not base64")))?;
            if !check_inclusion(&leaf_hash(&entry), index, checkpoint.size, &proof, &checkpoint.root) {
                return Err(wrong(format!("record {index} is not in the journal that the checkpoint covers")));
            }
            records.push((index, entry));
        }
        Ok(CheckedProof { checkpoint, cosigned, records })
    }
}
