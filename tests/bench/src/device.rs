//! A device in software, for what a figure does not measure: a station's past is made of a hundred thousand of them.

use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

/// One device with its key and its certificate.
pub struct Device {
    serial_number: String,
    key: Option<KeyPair>,
    certificate: Option<Vec<u8>>,
}

fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::caused(FaultKind::HardwareFailure, "a key in software failed", error)
}

impl Device {
    /// A device without a key.
    pub fn new(serial_number: &str) -> Self {
        Self { serial_number: serial_number.to_owned(), key: None, certificate: None }
    }

    fn key(&self) -> Result<&KeyPair, Fault> {
        self.key.as_ref().ok_or_else(|| fault("there is none"))
    }

    fn public_key(key: &KeyPair) -> Result<PublicKey, Fault> {
        PublicKey::from_der(&key.subject_public_key_info()).map_err(fault)
    }
}

impl Keystore for Device {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        Ok(DeviceIdentity::Token {
            label: "device".to_owned(),
            serial_number: self.serial_number.clone(),
            manufacturer: "SoftHSM project".to_owned(),
            model: "SoftHSM v2".to_owned(),
            firmware: "2.6".to_owned(),
        })
    }

    fn find_key(&mut self, _: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        self.key.as_ref().map(Self::public_key).transpose()
    }

    fn generate_key(&mut self, _: &KeyLocation, _: KeyAlgorithm) -> Result<PublicKey, Fault> {
        let key = KeyPair::generate().map_err(fault)?;
        let public_key = Self::public_key(&key)?;
        self.key = Some(key);
        Ok(public_key)
    }

    fn residency_evidence(&mut self, _: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        Ok(ResidencyEvidence::Token {
            local: true,
            sensitive: true,
            always_sensitive: true,
            extractable: false,
            never_extractable: true,
        })
    }

    fn sign(&mut self, _: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let key = self.key()?;
        messages.iter().map(|message| key.sign(message).map_err(fault)).collect()
    }

    fn read_certificate(&mut self, _: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.certificate.clone())
    }

    fn write_certificate(&mut self, _: &CertificateLocation, valid: &ValidatedCertificate) -> Result<(), Fault> {
        self.certificate = Some(valid.der().to_vec());
        Ok(())
    }

    fn remove_certificate(&mut self, _: &CertificateLocation, superseded: &[u8]) -> Result<(), Fault> {
        self.certificate.take_if(|there| there == superseded);
        Ok(())
    }
}
