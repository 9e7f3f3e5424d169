//! The key of a station's or a CA's own TPM or token, which signs its journal's checkpoints beside the key in the file: whoever
//! copies the disk does not have it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use issuance::{Fault, KeyAlgorithm, KeyLocation, Keystore};
use journal::{Signature, Signer, VerifyingKey};
use keystore::{Deadlines, Worker, WorkerSettings};
use service::doctor::Findings;

use crate::hardware_key::HardwareKeySettings;

/// Signs when its hardware is there. Each time the hardware is met anew, so that one that comes back signs again.
pub struct CheckpointKey<K> {
    keystore: Mutex<K>,
    location: KeyLocation,
    /// The log's.
    origin: String,
    /// The public half, once it is known: a key that took its place is told.
    file: PathBuf,
}

impl<K: Keystore> CheckpointKey<K> {
    /// The key at `location`, of the log `origin`. Nothing is asked of the hardware yet.
    pub fn new(keystore: K, location: KeyLocation, origin: &str, file: PathBuf) -> Self {
        Self { keystore: Mutex::new(keystore), location, origin: origin.to_owned(), file }
    }

    /// The public half, when the hardware is there and the key is the one that it was. Made at the first time.
    fn known(&self, keystore: &mut K) -> Result<VerifyingKey, String> {
        keystore.identify().map_err(told)?;
        let found = keystore.find_key(&self.location).map_err(told)?;
        let kept = read(&self.file)?;
        let public_key = match (found, &kept) {
            (Some(found), _) => found,
            (None, None) => keystore.generate_key(&self.location, KeyAlgorithm::P256).map_err(told)?,
            (None, Some(kept)) => return Err(format!("no key stands at {}, where {kept} was", self.location)),
        };
        let key = VerifyingKey::hardware(&self.origin, public_key.spki());
        let key = key.ok_or_else(|| {
            format!("the key at {} is {}, and P-256 is needed", self.location, public_key.algorithm())
        })?;
        match kept {
            Some(kept) if kept == key => Ok(key),
            Some(kept) => Err(format!(
                "the key at {} is {key}, and it was {kept}: when it was replaced on purpose, remove {}",
                self.location,
                self.file.display()
            )),
            None => {
                let written = fs::write(&self.file, format!("{key}\n"));
                written.map_err(|error| format!("could not write {}: {error}", self.file.display())).map(|()| key)
            }
        }
    }
}

impl HardwareKeySettings {
    /// What signs with it the checkpoints of the log `origin` of the journal in that directory; its public half is kept in
    /// `file`. Nothing is asked of the hardware yet.
    pub(crate) fn signer(&self, origin: &str, journal: &Path, file: PathBuf) -> Arc<dyn Signer> {
        let worker = self.worker(Some(journal.join("checkpoint-key.lock")));
        Arc::new(CheckpointKey::new(worker, self.location.clone(), origin, file))
    }

    fn worker(&self, lock: Option<PathBuf>) -> Worker {
        Worker::new(WorkerSettings {
            // A program that cannot tell its own path cannot start the worker, which is told as hardware that is away.
            program: env::current_exe().unwrap_or_default(),
            arguments: vec!["keystore-worker".into()],
            keystore: self.keystore.clone(),
            environment: self.environment.clone(),
            lock,
            deadlines: Deadlines::default(),
        })
    }

    /// The doctor's look: checkpoints go on without it, so nobody would notice.
    pub fn examine(&self, findings: &mut Findings) {
        if let Err(fault) = self.worker(None).identify() {
            findings.problem(
                "checkpoints.hardware_key",
                format!("checkpoints are signed without it: {fault}"),
                "Bring the TPM or token back, or correct the configuration.",
            );
        }
    }
}

impl<K: Keystore> Signer for CheckpointKey<K> {
    fn sign(&self, text: &str) -> Result<Signature, String> {
        let mut keystore = self.keystore.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.known(&mut keystore)?;
        let signatures = keystore.sign(&self.location, &[text.as_bytes().to_vec()]).map_err(told)?;
        let signature = signatures.into_iter().next().unwrap_or_default();
        key.line(text, signature).ok_or_else(|| format!("its signature does not verify with {key}"))
    }
}

fn told(fault: Fault) -> String {
    fault.to_string()
}

fn read(file: &Path) -> Result<Option<VerifyingKey>, String> {
    match fs::read_to_string(file) {
        Ok(text) => match VerifyingKey::parse(&text) {
            Some(key) => Ok(Some(key)),
            None => Err(format!("{} holds no key `name+id+key`", file.display())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("could not read {}: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use journal::Note;

    use super::*;
    use crate::tests::software::SoftwareKeystore;

    const TEXT: &str = "ca-1\n1\nroot\n";

    fn location() -> KeyLocation {
        KeyLocation::Pkcs11 { cka_id: vec![1], label: "checkpoints".into() }
    }

    fn key(keystore: &SoftwareKeystore, file: &Path) -> CheckpointKey<SoftwareKeystore> {
        CheckpointKey::new(keystore.clone(), location(), "ca-1", file.to_owned())
    }

    /// Made at the first time and kept; the line verifies with what stands in the file. Away, it says so, and back, it signs.
    #[test]
    fn a_key_is_made_once_and_signs() {
        let place = tempfile::tempdir().unwrap();
        let (file, keystore) = (place.path().join("journal.hardware.vkey"), SoftwareKeystore::default());
        let signer = key(&keystore, &file);
        let mut note = Note::new(TEXT.to_owned());
        note.add(signer.sign(TEXT).unwrap());
        let public = VerifyingKey::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(note.is_signed_by(&public) && public.name() == "ca-1/hardware", "{note}");
        keystore.token().failing = 1;
        assert!(signer.sign(TEXT).unwrap_err().contains("the token was told to fail"));
        note.add(signer.sign(TEXT).unwrap());
        assert!(note.is_signed_by(&public));
        assert_eq!(keystore.token().keys.len(), 1);
        keystore.token().lying = true;
        assert!(signer.sign(TEXT).unwrap_err().contains("does not verify"));
    }

    /// A key that took its place, or that is gone, is told, and no second one is made.
    #[test]
    fn another_key_is_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("journal.hardware.vkey");
        key(&SoftwareKeystore::default(), &file).sign(TEXT).unwrap();
        let empty = SoftwareKeystore::default();
        assert!(key(&empty, &file).sign(TEXT).unwrap_err().contains("no key stands at 01, where ca-1/hardware+"));
        assert!(empty.token().keys.is_empty());
        let mut other = SoftwareKeystore::default();
        other.generate_key(&location(), KeyAlgorithm::P256).unwrap();
        assert!(key(&other, &file).sign(TEXT).unwrap_err().contains("replaced on purpose"));
        fs::remove_file(&file).unwrap();
        let mut long = SoftwareKeystore::default();
        long.generate_key(&location(), KeyAlgorithm::P384).unwrap();
        assert!(key(&long, &file).sign(TEXT).unwrap_err().contains("P-256 is needed"));
        fs::write(&file, "no key").unwrap();
        assert!(key(&long, &file).sign(TEXT).unwrap_err().contains("holds no key"));
    }
}
