//! Hardware in trouble: what each failure becomes, what heals unseen, and what a second try finds.
//!
//! The trouble is put in by `hsm_sim`: a [`hsm_sim::Relay`] before a TPM, a [`hsm_sim::FaultModule`] before a token. Both
//! count calls, so that a fault strikes the same call in every run.

mod guarded;
mod session_pool;
mod swap;
mod token;
mod token_sessions;
mod tpm;
mod tpm_link;

use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ValidatedCertificate, residency,
};

use crate::ca;

/// What a station does with one device, and knows of it over all its tries.
struct Issuance {
    key: KeyLocation,
    place: CertificateLocation,
    device: Option<DeviceIdentity>,
    made: Option<PublicKey>,
    certificate: Option<ValidatedCertificate>,
}

impl Issuance {
    fn at(key: KeyLocation, place: CertificateLocation) -> Self {
        Self { key, place, device: None, made: None, certificate: None }
    }

    /// The calls of one issuance in a station's order, from meeting the device on. A device that lies is found out here,
    /// as a station finds it out; a second key or a lost certificate is a panic.
    fn work(&mut self, keystore: &mut dyn Keystore) -> Result<(), Fault> {
        let lie = |what: &str| Fault::new(FaultKind::Mismatch, format!("found out: {what}"));
        let identity = keystore.identify()?;
        if !self.device.get_or_insert_with(|| identity.clone()).is_same_device(&identity) {
            return Err(lie("another device"));
        }
        let found = match keystore.find_key(&self.key)? {
            Some(found) => found,
            None => keystore.generate_key(&self.key, KeyAlgorithm::P256)?,
        };
        let key = self.made.get_or_insert_with(|| found.clone()).clone();
        assert_eq!(found, key, "a second key");
        let evidence = keystore.residency_evidence(&self.key)?;
        residency::verify(&evidence, &key).map_err(|_| lie("no evidence for this key"))?;
        self.prove(keystore, &key, b"certification request")?;
        let certificate = self.certificate.get_or_insert_with(|| ca::certificate(&key, 700));
        keystore.write_certificate(&self.place, certificate)?;
        keystore.lock_certificate(&self.place)?;
        if keystore.read_certificate(&self.place)?.as_deref() != Some(certificate.der()) {
            return Err(lie("another certificate"));
        }
        self.prove(keystore, &key, b"nonce")
    }

    fn prove(&self, keystore: &mut dyn Keystore, key: &PublicKey, message: &[u8]) -> Result<(), Fault> {
        let signatures = keystore.sign(&self.key, &[message.to_vec()])?;
        match signatures.as_slice() {
            [only] if key.verifies(message, only) => Ok(()),
            _ => Err(Fault::new(FaultKind::Mismatch, "found out: a signature of another key")),
        }
    }
}
