//! A keystore in memory, shared by its clones as a token is by its users. The faults it injects: signing fails, and
//! signatures that belong to other bytes.

use std::{
    fs,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
};

use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate, public_key::Hash,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

type Watch = Box<dyn FnMut(&[Vec<u8>]) + Send>;

#[derive(Clone, Default)]
pub(crate) struct SoftwareKeystore(Arc<Mutex<Token>>);

#[derive(Default)]
pub(crate) struct Token {
    pub(crate) keys: Vec<(KeyLocation, KeyPair)>,
    /// So many visits to sign fail from now on.
    pub(crate) failing: usize,
    /// Signatures are made over other bytes.
    pub(crate) lying: bool,
    /// A visit with a message that has these octets in it is refused as one that the token cannot do.
    pub(crate) unsupported: Option<&'static [u8]>,
    /// Its keys sign with their own hashes alone.
    pub(crate) own_hash_alone: bool,
    /// Messages signed so far.
    pub(crate) signed: usize,
    /// Sees the messages of each visit before they are signed.
    pub(crate) watch: Option<Watch>,
}

impl SoftwareKeystore {
    pub(crate) fn token(&self) -> MutexGuard<'_, Token> {
        self.0.lock().unwrap()
    }
}

fn generate(algorithm: KeyAlgorithm) -> KeyPair {
    match algorithm {
        KeyAlgorithm::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        _ => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
    }
    .unwrap()
}

impl Keystore for SoftwareKeystore {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        let text = || "software".to_owned();
        Ok(DeviceIdentity::Token {
            label: text(),
            serial_number: text(),
            manufacturer: text(),
            model: text(),
            firmware: text(),
        })
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        let token = self.token();
        let found = token.keys.iter().find(|(at, _)| at == location);
        Ok(found.map(|(_, key)| PublicKey::from_der(&key.subject_public_key_info()).unwrap()))
    }

    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        assert!(self.find_key(location)?.is_none(), "a second key at {location}");
        self.token().keys.push((location.clone(), generate(algorithm)));
        Ok(self.find_key(location)?.unwrap())
    }

    fn residency_evidence(&mut self, _: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        Err(Fault::new(FaultKind::Unsupported, "software"))
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut token = self.token();
        if let Some(watch) = &mut token.watch {
            watch(messages);
        }
        if token.failing > 0 {
            token.failing -= 1;
            return Err(Fault::new(FaultKind::WorkerCrashed, "the token was told to fail"));
        }
        if let Some(octets) = token.unsupported
            && messages.iter().any(|message| message.windows(octets.len()).any(|window| window == octets))
        {
            return Err(Fault::new(FaultKind::Unsupported, "the token was told not to know this"));
        }
        token.signed += messages.len();
        let (_, key) = token.keys.iter().find(|(at, _)| at == location).expect("no such key");
        let lie = token.lying;
        Ok(messages.iter().map(|message| key.sign(if lie { b"other bytes" } else { message }).unwrap()).collect())
    }

    /// Signed by OpenSSL: rcgen knows one hash for each curve.
    fn sign_with(&mut self, location: &KeyLocation, hash: Hash, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut token = self.token();
        if token.own_hash_alone {
            return Err(Fault::new(FaultKind::Unsupported, "the token was told not to know this"));
        }
        if token.failing > 0 {
            token.failing -= 1;
            return Err(Fault::new(FaultKind::WorkerCrashed, "the token was told to fail"));
        }
        if let Some(watch) = &mut token.watch {
            watch(messages);
        }
        token.signed += messages.len();
        let (_, key) = token.keys.iter().find(|(at, _)| at == location).expect("no such key");
        let directory = tempfile::tempdir().unwrap();
        let (private, message) = (directory.path().join("key.pem"), directory.path().join("message"));
        fs::write(&private, key.serialize_pem()).unwrap();
        let digest = format!("-{}", hash.to_string().replace('-', "").to_lowercase());
        let sign = |octets: &Vec<u8>| {
            fs::write(&message, octets).unwrap();
            let mut openssl = Command::new("openssl");
            let output = openssl.args(["dgst", &digest, "-sign"]).args([&private, &message]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        Ok(messages.iter().map(sign).collect())
    }

    fn read_certificate(&mut self, _: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }

    fn remove_certificate(&mut self, _: &CertificateLocation, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Unsupported, "software"))
    }

    fn write_certificate(&mut self, _: &CertificateLocation, _: &ValidatedCertificate) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Unsupported, "software"))
    }
}
