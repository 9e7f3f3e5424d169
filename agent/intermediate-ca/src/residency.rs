//! Where a device's key lives: what a station brings of it, as it travels, and the CA's own look at it.

use issuance::{
    DeviceIdentity, IssuanceId, ResidencyEvidence, Timestamp,
    device::{AttestationKey, Endorsement, Statement, TpmAttestation},
    request::CertificationRequest,
    residency::{
        self, Activation, Attested, Challenge, EndorsementPolicy, Known, ResidencyUnproven, SealedCertificate, Sealing,
        Standing, credential::Credential,
    },
};
use prost::Message as _;
use proto::evidence::v1 as wire;

/// Bytes of what a station may bring. A TPM's NV index and its public areas have some 2 KiB at most.
pub(crate) const BYTES_MOST: usize = 16 * 1024;

/// What a TPM showed of where a key lives, as a station brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Who it is; of a TPM, the EK certificate and the storage root key's name count.
    pub identity: DeviceIdentity,
    /// What it showed.
    pub evidence: ResidencyEvidence,
}

impl Shown {
    /// Holds it against the request and the policy: as the station did, and without believing it. That EK and AK are in one
    /// TPM was shown to the station alone: where the policy has the CA put that to the test, the certificate is sealed for
    /// this TPM, and here it is made sure that this can be done.
    pub(crate) fn verify(
        &self,
        issuance: IssuanceId,
        request: &CertificationRequest,
        policy: &EndorsementPolicy,
        at: Timestamp,
    ) -> Result<Known, ResidencyUnproven> {
        let challenge = Challenge::of(&self.evidence, issuance, request.info());
        let expected = Attested { identity: &self.identity, challenge: &challenge, policy, at };
        let standing = residency::verify_attested(&self.evidence, request.public_key(), expected)?;
        if policy.activation == Activation::Ca {
            let key = self.attestation_key().ok_or(ResidencyUnproven::NotAttested)?;
            Sealing { issuance, request_sha256: [0; 32], certificate: &[], chain: &[] }.seal(key)?;
        }
        Ok(Known { standing, activation: Some(policy.activation) })
    }

    /// Whom a certificate is sealed for.
    pub(crate) fn attestation_key(&self) -> Option<&AttestationKey> {
        match &self.evidence {
            ResidencyEvidence::Tpm { attestation, .. } => attestation.as_ref().map(|attestation| &attestation.key),
            ResidencyEvidence::Token { .. } => None,
        }
    }

    /// As it travels; `None` of a device that attested nothing.
    #[must_use]
    pub fn to_wire(&self) -> Option<wire::Residency> {
        match (&self.identity, &self.evidence) {
            (
                DeviceIdentity::Tpm { srk_name, .. },
                ResidencyEvidence::Tpm { public_area, name, attestation: Some(attestation) },
            ) => Some(wire::Residency {
                srk_name: srk_name.clone(),
                public_area: public_area.clone(),
                name: name.clone(),
                attestation: Some(to_wire((**attestation).clone())),
            }),
            _ => None,
        }
    }

    /// The same, read; `None` of more bytes than a device has.
    #[must_use]
    pub fn from_wire(brought: wire::Residency) -> Option<Self> {
        if brought.encoded_len() > BYTES_MOST {
            return None;
        }
        let wire::Residency { srk_name, public_area, name, attestation } = brought;
        let attestation = attestation.map(|attestation| Box::new(from_wire(attestation)));
        let ek = attestation.as_ref().map(|attestation| &attestation.key.endorsement);
        let identity = DeviceIdentity::Tpm {
            ek_certificate: ek.and_then(|ek| ek.certificate.clone()),
            srk_name,
            manufacturer: String::new(),
            firmware: String::new(),
        };
        Some(Self { identity, evidence: ResidencyEvidence::Tpm { public_area, name, attestation } })
    }
}

/// An attestation as it is kept and sent.
#[must_use]
pub fn to_wire(attestation: TpmAttestation) -> wire::TpmAttestation {
    let TpmAttestation { key: AttestationKey { endorsement, ak_public_area }, nonce, statement } = attestation;
    let Endorsement { certificate, chain, public_area } = endorsement;
    let endorsement = wire::Endorsement { certificate: certificate.unwrap_or_default(), chain, public_area };
    let Statement { certify_info, signature: certify_signature } = statement;
    wire::TpmAttestation { endorsement: Some(endorsement), ak_public_area, certify_info, certify_signature, nonce }
}

/// The same, read.
#[must_use]
pub fn from_wire(attestation: wire::TpmAttestation) -> TpmAttestation {
    let wire::TpmAttestation { endorsement, ak_public_area, certify_info, certify_signature, nonce } = attestation;
    let wire::Endorsement { certificate, chain, public_area } = endorsement.unwrap_or_default();
    let certificate = (!certificate.is_empty()).then_some(certificate);
    let endorsement = Endorsement { certificate, chain, public_area };
    let statement = Statement { certify_info, signature: certify_signature };
    TpmAttestation { key: AttestationKey { endorsement, ak_public_area }, nonce, statement }
}

/// What evidence is worth, as it is kept.
#[must_use]
pub fn standing_to_wire(standing: Standing) -> wire::Standing {
    match standing {
        Standing::Stated => wire::Standing::Stated,
        Standing::Certified => wire::Standing::Certified,
        Standing::AllowListed => wire::Standing::AllowListed,
        Standing::Unattested => wire::Standing::Unattested,
    }
}

/// The same, read. What says nothing is worth no more than the device's own word.
#[must_use]
pub fn standing_from_wire(standing: wire::Standing) -> Standing {
    match standing {
        wire::Standing::Certified => Standing::Certified,
        wire::Standing::AllowListed => Standing::AllowListed,
        wire::Standing::Unattested => Standing::Unattested,
        wire::Standing::Unspecified | wire::Standing::Stated => Standing::Stated,
    }
}

/// Who put EK and AK to the test, as it is kept.
#[must_use]
pub fn activation_to_wire(activation: Option<Activation>) -> wire::Activation {
    match activation {
        None => wire::Activation::Unspecified,
        Some(Activation::Station) => wire::Activation::Station,
        Some(Activation::Ca) => wire::Activation::Ca,
    }
}

/// A sealed certificate as it is kept and sent.
#[must_use]
pub fn sealed_to_wire(sealed: SealedCertificate) -> wire::SealedCertificate {
    let SealedCertificate { credential: Credential { blob, encrypted_secret }, certificate, chain } = sealed;
    wire::SealedCertificate { credential: blob, encrypted_secret, certificate, chain }
}

/// The same, read.
#[must_use]
pub fn sealed_from_wire(sealed: wire::SealedCertificate) -> SealedCertificate {
    let wire::SealedCertificate { credential: blob, encrypted_secret, certificate, chain } = sealed;
    SealedCertificate { credential: Credential { blob, encrypted_secret }, certificate, chain }
}
