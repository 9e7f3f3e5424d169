//! The witness: it remembers the last checkpoint of each log and cosigns only what goes on from there (C2SP tlog-witness,
//! tlog-cosignature).

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{LogError, files};
use crate::{
    Hash,
    tree::{
        checkpoint::Checkpoint,
        note::{Note, Purpose, Signature, Signer as _, SigningKey, VerifyingKey},
        proof::check_consistency,
    },
};

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is no checkpoint, or its key did not sign it.
    #[error("{0}")]
    Malformed(String),
    /// Another key than the one with which the log first came.
    #[error(
        "the log {log} came with another key than before ({known}): if its key was replaced on purpose, remove the \
         witness's file {}", file.display()
    )]
    OtherKey {
        /// Whose.
        log: String,
        /// The key it came with first.
        known: String,
        /// What the witness keeps of it.
        file: PathBuf,
    },
    /// The proof does not begin where the witness stands: it is to be made from there.
    #[error("the proof must begin at {seen} entries, which was seen last")]
    FromElsewhere {
        /// The size seen last.
        seen: u64,
    },
    /// It has fewer entries than were seen: an older copy was put back.
    #[error("the log {log} has {size} entries, but {seen} were seen: an older copy of it was put back")]
    Behind {
        /// Whose.
        log: String,
        /// How many it has.
        size: u64,
        /// How many were seen.
        seen: u64,
    },
    /// It does not go on from what was seen: two histories under one key.
    #[error("the log {log} does not go on from the {seen} entries that were seen: its history was changed")]
    Forked {
        /// Whose.
        log: String,
        /// How many were seen.
        seen: u64,
    },
    /// The witness cannot keep what it saw, so it does not say it.
    #[error("the witness could not keep the checkpoint")]
    Keep(#[from] LogError),
}

/// A witness of several logs.
#[derive(Debug)]
pub struct Witness {
    directory: PathBuf,
    key: SigningKey,
    /// One at a time: what was seen last must not change between the look and the word.
    turn: Mutex<()>,
}

impl Witness {
    /// Opens a witness that keeps what it saw in `directory`; its key is made at the first start.
    ///
    /// # Errors
    /// A directory or key file that cannot be read or made.
    pub fn open(directory: &Path, key_file: &Path, name: &str) -> Result<Self, LogError> {
        files::make_directory(directory)?;
        let key = match files::read_key(key_file, name, Purpose::Witness)? {
            Some(key) => key,
            None => files::make_key(key_file, name, Purpose::Witness)?,
        };
        Ok(Self { directory: directory.to_owned(), key, turn: Mutex::new(()) })
    }

    /// What verifies its cosignatures.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        self.key.verifying()
    }

    /// Cosigns a checkpoint of the log that is known here as `log`, when it is signed by `key`, the one with which it first
    /// came, and `proof` shows that it goes on from the `old` entries that were seen last. What is cosigned is kept first.
    ///
    /// # Errors
    /// The reason. A fork's note is kept beside the last good one, with the ending `.forked`.
    pub fn cosign(&self, log: &str, key: &str, note: &str, old: u64, proof: &[Hash]) -> Result<Signature, Refusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let malformed = |words: &str| Refusal::Malformed(format!("the checkpoint of {log} {words}"));
        let verifying = VerifyingKey::parse(key).filter(|key| key.purpose() == Purpose::Log);
        let verifying = verifying.ok_or_else(|| malformed("came with a key that is none"))?;
        let mut note = Note::parse(note).ok_or_else(|| malformed("is no signed note"))?;
        let new = Checkpoint::parse(note.text()).ok_or_else(|| malformed("is no checkpoint"))?;
        if !note.is_signed_by(&verifying) || new.origin != verifying.name() {
            return Err(malformed("is not signed by its key"));
        }
        let path = self.path(log);
        let seen = match files::read(&path)? {
            None => None,
            Some(kept) => {
                let kept = Kept::parse(&kept).ok_or_else(|| LogError::Checkpoint {
                    path: path.clone(),
                    wrong: "is not what this witness keeps".to_owned(),
                })?;
                if kept.key != verifying {
                    let (log, known, file) = (log.to_owned(), kept.key.to_string(), path.clone());
                    return Err(Refusal::OtherKey { log, known, file });
                }
                Some(kept.checkpoint)
            }
        };
        if let Some(seen) = &seen {
            self.judge(log, &note, seen, &new, old, proof)?;
        }
        let cosignature = self.key.sign(note.text()).map_err(LogError::Sign)?;
        note.add(cosignature.clone());
        files::replace(&path, format!("{verifying}\n{note}").as_bytes(), 0o600)?;
        Ok(cosignature)
    }

    fn judge(
        &self,
        log: &str,
        note: &Note,
        seen: &Checkpoint,
        new: &Checkpoint,
        old: u64,
        proof: &[Hash],
    ) -> Result<(), Refusal> {
        let log = log.to_owned();
        if new.size < seen.size {
            return Err(Refusal::Behind { log, size: new.size, seen: seen.size });
        }
        if new.size > seen.size && old != seen.size {
            return Err(Refusal::FromElsewhere { seen: seen.size });
        }
        // Of one size: the roots must be the same, and no proof is needed.
        let proof = if new.size == seen.size { &[] } else { proof };
        if check_consistency(seen.size, &seen.root, new.size, &new.root, proof) {
            return Ok(());
        }
        let mut evidence = self.path(&log).into_os_string();
        evidence.push(".forked");
        files::replace(Path::new(&evidence), note.to_string().as_bytes(), 0o600)?;
        Err(Refusal::Forked { log, seen: seen.size })
    }

    /// One file for each log; a name becomes one without a path in it.
    fn path(&self, log: &str) -> PathBuf {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let name: String = log
            .as_bytes()
            .iter()
            .map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") })
            .collect();
        self.directory.join(name)
    }
}

/// What the witness keeps of a log: its key, and its newest checkpoint with both signatures.
struct Kept {
    key: VerifyingKey,
    checkpoint: Checkpoint,
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        let (key, note) = text.split_once('\n')?;
        let note = Note::parse(note)?;
        let key = VerifyingKey::parse(key)?;
        let checkpoint = Checkpoint::parse(note.text()).filter(|_| note.is_signed_by(&key))?;
        Some(Self { key, checkpoint })
    }
}
