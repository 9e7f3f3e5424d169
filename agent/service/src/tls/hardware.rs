//! A TLS key that never leaves its hardware: whoever builds the process brings it as a [`HardwareKey`].

use std::{fmt, path::Path, sync::Arc};

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    pki_types::CertificateDer,
    sign::{CertifiedKey, Signer, SigningKey},
};
use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::warn;

use super::{TlsError, material::parse};

/// A private key in a TPM or a token. Its calls block for as long as the hardware takes, and meet it anew where it was away.
pub trait HardwareKey: fmt::Debug + Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// Its SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// No key stands there, or the hardware does not answer; one sentence.
    fn public_key(&self) -> Result<Vec<u8>, String>;

    /// As [`public_key`](Self::public_key); where none stands a key on P-256 is made first.
    ///
    /// # Errors
    /// The hardware does not answer, or refuses; one sentence.
    fn made(&self) -> Result<Vec<u8>, String>;

    /// Signs with ECDSA, over SHA-256 with a key on P-256 and SHA-384 on P-384; DER `ECDSA-Sig-Value`.
    ///
    /// # Errors
    /// As [`public_key`](Self::public_key).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// The certificate with the key. Hardware that is away is told, and no error: it may come back before the next handshake.
pub(super) fn certified(
    key: &Arc<dyn HardwareKey>,
    path: &Path,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, TlsError> {
    let of = Issued::read(path, &chain[0])?;
    match blocking(|| key.public_key()) {
        Ok(found) if found == of.spki => {}
        Ok(_) => {
            let problem = format!("was not issued for the key at {}; have it issued for that one", key.place());
            return Err(TlsError::content(path, problem));
        }
        Err(problem) => {
            let place = key.place();
            warn!(place, problem, "the TLS key is away: no connection comes up until it is back");
        }
    }
    Ok(CertifiedKey::new(chain, Arc::new(InHardware { key: Arc::clone(key), of })))
}

/// Has the key sign, and verifies that with the certificate: for `check` commands.
pub(super) fn check(key: &Arc<dyn HardwareKey>, path: &Path, leaf: &CertificateDer<'_>) -> Result<(), TlsError> {
    const MESSAGE: &[u8] = b"whether this key signs";
    let of = Issued::read(path, leaf)?;
    let failed = |problem: String| TlsError::Hardware { place: key.place(), problem };
    let signature = blocking(|| key.public_key().and_then(|_| key.sign(MESSAGE))).map_err(failed)?;
    if of.verifies(MESSAGE, &signature) {
        return Ok(());
    }
    Err(failed(format!("what it signs does not verify with {}; have that issued for this key", path.display())))
}

/// What the certificate says of its key.
#[derive(Debug, Clone)]
struct Issued {
    scheme: SignatureScheme,
    verification: &'static dyn VerificationAlgorithm,
    point: Vec<u8>,
    spki: Vec<u8>,
}

impl Issued {
    fn read(path: &Path, leaf: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = parse(leaf).map_err(|problem| TlsError::content(path, problem))?;
        let key = parsed.public_key();
        let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let (scheme, verification): (_, &'static dyn VerificationAlgorithm) = match curve
            .map(|curve| curve.to_id_string())
            .as_deref()
        {
            Some("1.2.840.10045.3.1.7") => (SignatureScheme::ECDSA_NISTP256_SHA256, &signature::ECDSA_P256_SHA256_ASN1),
            Some("1.3.132.0.34") => (SignatureScheme::ECDSA_NISTP384_SHA384, &signature::ECDSA_P384_SHA384_ASN1),
            // TLS 1.3 signs with RSA-PSS alone, and keystores with PKCS#1 v1.5.
            _ => {
                let problem = "is not for a key on P-256 or P-384, and only these sign from hardware";
                return Err(TlsError::content(path, problem));
            }
        };
        Ok(Self { scheme, verification, point: key.subject_public_key.data.to_vec(), spki: key.raw.to_vec() })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.verification, &self.point).verify(message, signature).is_ok()
    }
}

#[derive(Debug, Clone)]
struct InHardware {
    key: Arc<dyn HardwareKey>,
    of: Issued,
}

impl SigningKey for InHardware {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.of.scheme).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for InHardware {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = blocking(|| self.key.sign(message));
        let verified = signed.and_then(|signature| match self.of.verifies(message, &signature) {
            true => Ok(signature),
            false => Err("what it signs does not verify with the certificate: another key took its place".to_owned()),
        });
        verified.map_err(|problem| {
            let place = self.key.place();
            warn!(place, problem, "the TLS key did not sign, and a connection did not come up");
            Error::General(format!("the TLS key at {place} did not sign: {problem}"))
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.of.scheme
    }
}

/// Has the runtime's other tasks go on elsewhere meanwhile.
fn blocking<T>(act: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(act),
        _ => act(),
    }
}
