//! The certification request: built here, signed by the device's key inside the device.

use issuance::{CommonName, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey, Purpose};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use std::sync::{Mutex, PoisonError};

/// Makes a PKCS#10 for a device's key, DER. The request asks for what the profile will give (BasicConstraints, key
/// usages): a CA finds the profile by it (TARGETS.md, EST).
pub fn build(
    keystore: &mut dyn Keystore,
    location: &KeyLocation,
    public_key: &PublicKey,
    common_name: &CommonName,
    purpose: Purpose,
) -> Result<Vec<u8>, Fault> {
    let params = params(common_name, purpose);
    let key = DeviceSigningKey { keystore: Mutex::new((keystore, None)), location, public_key };
    match params.serialize_request(&key) {
        Ok(request) => Ok(request.der().to_vec()),
        // rcgen's RemoteKeyError says nothing: the hardware's own word was kept.
        Err(error) => Err(key.fault().unwrap_or_else(|| {
            Fault::caused(FaultKind::Mismatch, format!("could not build the request for {common_name}"), error)
        })),
    }
}

/// What the key will sign: CertificationRequestInfo (RFC 2986 §4.1), DER, the same each time.
pub fn info(public_key: &PublicKey, common_name: &CommonName, purpose: Purpose) -> Result<Vec<u8>, Fault> {
    let recorder = Recorder { public_key, message: Mutex::new(Vec::new()) };
    params(common_name, purpose).serialize_request(&recorder).map_err(|error| {
        Fault::caused(FaultKind::Mismatch, format!("could not build the request for {common_name}"), error)
    })?;
    Ok(recorder.message.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn params(common_name: &CommonName, purpose: Purpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name.as_str());
    params.distinguished_name = subject;
    match purpose {
        Purpose::DeviceCa { path_length } => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            // rcgen writes no BasicConstraints into a request: SEQUENCE { BOOLEAN TRUE, INTEGER pathlen }.
            let content = match path_length {
                0..=0x7F => vec![0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, path_length],
                _ => vec![0x30, 0x07, 0x01, 0x01, 0xFF, 0x02, 0x02, 0x00, path_length],
            };
            let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], content);
            constraints.set_criticality(true);
            params.custom_extensions.push(constraints);
        }
        Purpose::DeviceIdentity => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        Purpose::Server => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
    }
    params
}

/// The device's key, as rcgen signs with it.
struct DeviceSigningKey<'a> {
    keystore: Mutex<(&'a mut dyn Keystore, Option<Fault>)>,
    location: &'a KeyLocation,
    public_key: &'a PublicKey,
}

impl DeviceSigningKey<'_> {
    fn fault(&self) -> Option<Fault> {
        self.keystore.lock().ok().and_then(|mut guard| guard.1.take())
    }
}

impl PublicKeyData for DeviceSigningKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        signature_algorithm(self.public_key)
    }
}

fn signature_algorithm(public_key: &PublicKey) -> &'static SignatureAlgorithm {
    match public_key.algorithm() {
        KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
    }
}

/// Keeps what it is given to sign.
struct Recorder<'a> {
    public_key: &'a PublicKey,
    message: Mutex<Vec<u8>>,
}

impl PublicKeyData for Recorder<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        signature_algorithm(self.public_key)
    }
}

impl SigningKey for Recorder<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = message.to_vec();
        Ok(Vec::new())
    }
}

impl SigningKey for DeviceSigningKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut guard = self.keystore.lock().map_err(|_| rcgen::Error::RemoteKeyError)?;
        match guard.0.sign(self.location, &[message.to_vec()]) {
            Ok(signatures) => signatures.into_iter().next().ok_or(rcgen::Error::RemoteKeyError),
            Err(fault) => {
                guard.1 = Some(fault);
                Err(rcgen::Error::RemoteKeyError)
            }
        }
    }
}

#[cfg(test)]
mod tests;
