//! Where a private key lives: the evidence, verified structurally.

mod attestation;
pub mod credential;
mod endorsement;
mod public_area;
mod reader;
pub mod sealed;

pub use attestation::ak_name;
pub use endorsement::{
    Activation, EndorsementPolicy, Standing, WithoutCertificate, check_ek_certificate_key, ek_sha256,
};
pub use sealed::{SealedCertificate, Sealing};

use serde::{Deserialize, Serialize};

use self::public_area::{FIXED_PARENT, FIXED_TPM, NameHash, PublicArea, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN};
use crate::{
    DeviceIdentity, IssuanceId, PublicKey, ResidencyEvidence, Timestamp, certificate::CertificateRejected,
    public_key::sha256,
};

/// Why residency evidence was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResidencyUnproven {
    /// The bytes are not what a TPM marshals.
    #[error("the evidence is not as a TPM marshals it (TPM 2.0 part 2)")]
    Malformed,
    /// The name is not the digest of the public area.
    #[error("the key's name is not the digest of its public area")]
    WrongName,
    /// An attribute is not as it must be.
    #[error("the {whose}'s {problem}")]
    Attribute {
        /// Whose.
        whose: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The public area holds another key.
    #[error("the public area is of another key")]
    OtherKey,
    /// The EK certificate is not of this EK.
    #[error("the EK certificate is of another TPM's key")]
    OtherEk,
    /// The EK certificate is not that of an EK.
    #[error("the EK certificate {0}")]
    EkCertificate(&'static str),
    /// The EK certificate does not lead to a root that is trusted for TPMs.
    #[error("the EK certificate is not trusted")]
    UntrustedEk(#[from] CertificateRejected),
    /// The TPM has no EK certificate, and the profile wants one.
    #[error("the TPM holds no EK certificate, and the profile requires one (SHA-256 of the EK: {0})")]
    NoEkCertificate(String),
    /// The TPM has no EK certificate, and its EK is not on the list.
    #[error("the TPM holds no EK certificate, and its EK is not on the profile's list (SHA-256 of the EK: {0})")]
    NotOnList(String),
    /// The AK's statement is not about this key, now.
    #[error("the TPM2_Certify statement does not hold: {0}")]
    Certify(&'static str),
    /// The evidence lacks the attestation that was asked for.
    #[error("the device gave no attestation, and the profile requires a TPM's")]
    NotAttested,
    /// The evidence is of another device than was identified.
    #[error("the evidence is of another device than the one that was identified")]
    OtherDevice,
}

/// What evidence must answer, 32 bytes: a nonce, the issuance and the request together, so that no evidence serves twice
/// and none can be mixed from two issuances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge(pub [u8; 32]);

impl Challenge {
    /// Of the station's nonce, the issuance, and CertificationRequestInfo (RFC 2986 §4.1), DER: what will be signed.
    #[must_use]
    pub fn new(nonce: &[u8], issuance: IssuanceId, request_info: &[u8]) -> Self {
        let parts =
            [b"station-agent residency 1".as_slice(), &sha256(nonce), issuance.as_bytes(), &sha256(request_info)];
        Self(sha256(&parts.concat()))
    }

    /// The one that evidence must answer, by the nonce that came with it.
    #[must_use]
    pub fn of(evidence: &ResidencyEvidence, issuance: IssuanceId, request_info: &[u8]) -> Self {
        let nonce = match evidence {
            ResidencyEvidence::Tpm { attestation: Some(attestation), .. } => attestation.nonce.as_slice(),
            ResidencyEvidence::Tpm { attestation: None, .. } | ResidencyEvidence::Token { .. } => &[],
        };
        Self::new(nonce, issuance, request_info)
    }
}

/// What became known of where a private key lives, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What the evidence is worth.
    pub standing: Standing,
    /// Who was shown that EK and AK are in one TPM; `None` where nothing is attested.
    pub activation: Option<Activation>,
}

/// What the evidence of one key must be.
#[derive(Debug, Clone, Copy)]
pub struct Attested<'a> {
    /// Who the device is.
    pub identity: &'a DeviceIdentity,
    /// What it had to answer.
    pub challenge: &'a Challenge,
    /// Which TPMs are believed.
    pub policy: &'a EndorsementPolicy,
    /// When.
    pub at: Timestamp,
}

/// Holds evidence against the key that it is about.
///
/// For a TPM: nameAlg SHA-256, name = digest of the public area, fixedTPM, fixedParent and sensitiveDataOrigin set, a
/// signing key that is not restricted, and the same public key. For a token: CKA_LOCAL, CKA_SENSITIVE,
/// CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE true, CKA_EXTRACTABLE false.
pub fn verify(evidence: &ResidencyEvidence, public_key: &PublicKey) -> Result<(), ResidencyUnproven> {
    match evidence {
        ResidencyEvidence::Tpm { public_area, name, .. } => verify_tpm(public_area, name, public_key),
        ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable } => {
            for (holds, problem) in [
                (*local, "CKA_LOCAL is false: it was not generated in the token"),
                (*sensitive, "CKA_SENSITIVE is false"),
                (*always_sensitive, "CKA_ALWAYS_SENSITIVE is false"),
                (!*extractable, "CKA_EXTRACTABLE is true"),
                (*never_extractable, "CKA_NEVER_EXTRACTABLE is false"),
            ] {
                if !holds {
                    return Err(ResidencyUnproven::Attribute { whose: "key", problem });
                }
            }
            Ok(())
        }
    }
}

/// Holds a TPM's evidence against the key and against what was asked: besides [`verify`], that the TPM of the identity,
/// and one that the policy believes, says so of this key in answer to this challenge. Whether EK and AK are in one TPM is
/// what credential activation shows, to whoever made the [credential](credential::make).
pub fn verify_attested(
    evidence: &ResidencyEvidence,
    public_key: &PublicKey,
    expected: Attested<'_>,
) -> Result<Standing, ResidencyUnproven> {
    verify(evidence, public_key)?;
    let (ResidencyEvidence::Tpm { name, attestation, .. }, DeviceIdentity::Tpm { ek_certificate, srk_name, .. }) =
        (evidence, expected.identity)
    else {
        return Err(ResidencyUnproven::NotAttested);
    };
    let attestation = attestation.as_ref().ok_or(ResidencyUnproven::NotAttested)?;
    if attestation.key.endorsement.certificate != *ek_certificate {
        return Err(ResidencyUnproven::OtherDevice);
    }
    attestation::check(attestation, name, srk_name, expected.challenge, expected.policy, expected.at)
}

/// Whether evidence, once verified, answers this challenge: what was signed since is what it was asked for.
pub fn verify_challenge(evidence: &ResidencyEvidence, challenge: &Challenge) -> Result<(), ResidencyUnproven> {
    match evidence {
        ResidencyEvidence::Tpm { attestation: Some(attestation), .. } => {
            attestation::check_challenge(attestation, challenge)
        }
        ResidencyEvidence::Tpm { attestation: None, .. } | ResidencyEvidence::Token { .. } => Ok(()),
    }
}

fn verify_tpm(public_area: &[u8], name: &[u8], public_key: &PublicKey) -> Result<(), ResidencyUnproven> {
    let area = PublicArea::parse(public_area)?;
    if area.name_hash != NameHash::Sha256 {
        return Err(ResidencyUnproven::Attribute { whose: "key", problem: "nameAlg is not SHA-256" });
    }
    if name != area.name() {
        return Err(ResidencyUnproven::WrongName);
    }
    area.check(
        "key",
        &[
            (FIXED_TPM, true, "fixedTPM is clear: it may leave this TPM"),
            (FIXED_PARENT, true, "fixedParent is clear: it may be moved"),
            (SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin is clear: it was not generated in the TPM"),
            (SIGN, true, "sign is clear"),
            (RESTRICTED, false, "restricted is set: it cannot sign a certification request"),
        ],
    )?;
    // A signing key protects no children.
    if area.symmetric.is_some() {
        return Err(ResidencyUnproven::Malformed);
    }
    if area.key.raw() != public_key.raw() { Err(ResidencyUnproven::OtherKey) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
