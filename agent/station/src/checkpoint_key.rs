//! The key of the station's own TPM or token, which signs its journal's checkpoints beside the key in the file: whoever copies
//! the disk does not have it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use issuance::{Fault, KeyAlgorithm, KeyLocation, Keystore};
use journal::{Signature, Signer, VerifyingKey};

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
    use issuance::FaultKind;
    use journal::Note;

    use super::*;
    use crate::testing::Device;

    const TEXT: &str = "station-agent/test\n1\nroot\n";

    fn key(device: Device, file: &Path) -> CheckpointKey<Device> {
        let location = KeyLocation::Pkcs11 { cka_id: vec![1], label: "station".into() };
        CheckpointKey::new(device, location, "station-agent/test", file.to_owned())
    }

    /// Made at the first time and kept; the line verifies with what stands in the file. Away, it says so, and back, it signs.
    #[test]
    fn a_key_is_made_once_and_signs() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("journal.hardware.vkey");
        let signer = key(Device::new("1"), &file);
        let mut note = Note::new(TEXT.to_owned());
        note.add(signer.sign(TEXT).unwrap());
        let public = VerifyingKey::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(note.is_signed_by(&public) && public.name() == "station-agent/test/hardware", "{note}");
        signer.keystore.lock().unwrap().fails = Some(("identify", FaultKind::DeviceAbsent, 1, false));
        assert!(signer.sign(TEXT).unwrap_err().contains("could not identify"));
        note.add(signer.sign(TEXT).unwrap());
        assert!(note.is_signed_by(&public));
        let acts = &signer.keystore.lock().unwrap().acts;
        assert_eq!(acts.iter().filter(|act| **act == "generate_key").count(), 1);
    }

    /// A key that took its place, or that is gone, is told, and no second one is made.
    #[test]
    fn another_key_is_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("journal.hardware.vkey");
        key(Device::new("1"), &file).sign(TEXT).unwrap();
        let gone = key(Device::new("1"), &file);
        assert!(gone.sign(TEXT).unwrap_err().contains("no key stands at 01, where station-agent/test/hardware+"));
        assert!(gone.keystore.lock().unwrap().key.is_none());
        let other = key(Device { key: Some(rcgen::KeyPair::generate().unwrap()), ..Device::new("1") }, &file);
        assert!(other.sign(TEXT).unwrap_err().contains("replaced on purpose"));
        let long = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        fs::remove_file(&file).unwrap();
        let other = key(Device { key: Some(long), ..Device::new("1") }, &file);
        assert!(other.sign(TEXT).unwrap_err().contains("P-256 is needed"));
        fs::write(&file, "no key").unwrap();
        assert!(key(Device::new("1"), &file).sign(TEXT).unwrap_err().contains("holds no key"));
    }
}
