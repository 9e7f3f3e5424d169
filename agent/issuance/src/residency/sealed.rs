//! A certificate that one TPM alone can release: encrypted under the secret of a [credential]. A station that brought
//! another TPM's EK, or an AK that no TPM holds, has nothing of it.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    rand,
};

use super::{ResidencyUnproven as Unproven, attestation::ak_name, credential, credential::Credential};
use crate::{IssuanceId, device::AttestationKey, public_key::sha256};

/// What the key is derived for (RFC 5869, `info`).
const INFO: &[u8] = b"station-agent sealed certificate 1";

/// A certificate with the credential that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCertificate {
    /// What the TPM must release.
    pub credential: Credential,
    /// DER, encrypted with AES-256-GCM, its tag behind it.
    pub certificate: Vec<u8>,
    /// DER, issuer first, no root: in the open.
    pub chain: Vec<Vec<u8>>,
}

/// What is sealed, and for which request: for another one it does not open.
#[derive(Debug, Clone, Copy)]
pub struct Sealing<'a> {
    /// The issuance.
    pub issuance: IssuanceId,
    /// SHA-256 of its certification request.
    pub request_sha256: [u8; 32],
    /// DER.
    pub certificate: &'a [u8],
    /// DER, issuer first, no root.
    pub chain: &'a [Vec<u8>],
}

/// It is for another issuance or request, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the TPM released does not open the certificate: it is of another issuance or request, or was changed")]
pub struct DoesNotOpen;

impl Sealing<'_> {
    /// Encrypts the certificate so that only the TPM that holds both EK and AK releases it. Each time with a new secret, so
    /// that no two are alike. Fails for an EK that takes no credential ([`credential::make`]).
    pub fn seal(self, key: &AttestationKey) -> Result<SealedCertificate, Unproven> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| Unproven::Malformed)?;
        let name = ak_name(&key.ak_public_area)?;
        let credential = credential::make(&key.endorsement.public_area, &name, &secret)?;
        self.seal_with(&secret, credential)
    }

    pub(crate) fn seal_with(self, secret: &[u8], credential: Credential) -> Result<SealedCertificate, Unproven> {
        let mut certificate = self.certificate.to_vec();
        cipher(secret)
            .and_then(|cipher| {
                let binding = binding(self.issuance, &self.request_sha256);
                cipher.seal_in_place_append_tag(nonce(), Aad::from(binding), &mut certificate)
            })
            .map_err(|_| Unproven::Malformed)?;
        Ok(SealedCertificate { credential, certificate, chain: self.chain.to_vec() })
    }
}

impl SealedCertificate {
    /// The certificate, DER, with the secret that the TPM released. `certification_request` is what was submitted, DER.
    pub fn open(
        &self,
        secret: &[u8],
        issuance: IssuanceId,
        certification_request: &[u8],
    ) -> Result<Vec<u8>, DoesNotOpen> {
        let mut certificate = self.certificate.clone();
        let opened = cipher(secret).and_then(|cipher| {
            let binding = binding(issuance, &sha256(certification_request));
            cipher.open_in_place(nonce(), Aad::from(binding), &mut certificate).map(|plain| plain.len())
        });
        certificate.truncate(opened.map_err(|_| DoesNotOpen)?);
        Ok(certificate)
    }
}

fn cipher(secret: &[u8]) -> Result<LessSafeKey, Unspecified> {
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
    Ok(LessSafeKey::new(UnboundKey::from(key.expand(&[INFO], &AES_256_GCM)?)))
}

/// Each secret is used once, and so is its key.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn binding(issuance: IssuanceId, request_sha256: &[u8; 32]) -> Vec<u8> {
    [issuance.as_bytes().as_slice(), request_sha256].concat()
}
