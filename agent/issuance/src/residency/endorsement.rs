//! Whose TPM it is: the endorsement key and its certificate (TCG EK Credential Profile for TPM 2.0, 2.5).

use x509_parser::certificate::X509Certificate;

use super::{
    ResidencyUnproven as Unproven,
    public_area::{DECRYPT, FIXED_PARENT, FIXED_TPM, PublicArea, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN},
};
use crate::{
    Timestamp,
    certificate::{self, path},
    device::Endorsement,
    public_key::{hex, sha256},
};

/// tcg-kp-EKCertificate.
const EK_CERTIFICATE: &str = "2.23.133.8.1";

/// Which endorsement keys are believed, and who puts them to the test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndorsementPolicy {
    /// The TPM makers' roots, DER.
    pub roots: Vec<Vec<u8>>,
    /// Their intermediates, DER, in any order; a TPM may bring its own as well.
    pub intermediates: Vec<Vec<u8>>,
    /// What is done with a TPM that has no EK certificate.
    pub without_certificate: WithoutCertificate,
    /// Whether an EK certificate may have expired: some makers' did while their TPMs were still on the shelf.
    pub accepts_expired: bool,
    /// Who has the TPM show that its EK and its AK are one TPM's.
    pub activation: Activation,
}

/// Who makes the credential by whose release a TPM shows that it holds both EK and AK: only who made it is convinced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// The station, and the CA takes its word.
    #[default]
    Station,
    /// The CA as well: its certificate comes encrypted, and only that TPM can release it.
    Ca,
}

/// What is done with a TPM that has no EK certificate. Never a silent pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WithoutCertificate {
    /// It is refused.
    #[default]
    Refuse,
    /// It is believed when SHA-256 of its EK's SubjectPublicKeyInfo is on this list.
    AllowListed(Vec<[u8; 32]>),
    /// It is recorded as what it is: not attested by anybody.
    Record,
}

/// What residency evidence is worth: what vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The device's own statement; nothing attests it.
    Stated,
    /// A certificate of the TPM's maker.
    Certified,
    /// The configuration's list.
    AllowListed,
    /// Nobody.
    Unattested,
}

/// SHA-256 of the SubjectPublicKeyInfo of an EK, from its public area: by this an allow-list knows it.
pub fn ek_sha256(ek_public: &[u8]) -> Result<[u8; 32], Unproven> {
    Ok(sha256(&PublicArea::parse(ek_public)?.key.spki()))
}

/// Holds an EK's public area against its certificate: the key alone, and not who made the certificate.
pub fn check_ek_certificate_key(ek_public: &[u8], certificate: &[u8]) -> Result<(), Unproven> {
    check_key(&certificate::parse(certificate, "EK certificate")?, &PublicArea::parse(ek_public)?)
}

/// Some makers name the key id-RSAES-OAEP: the key itself is compared, not how it is announced.
fn check_key(certificate: &X509Certificate<'_>, ek: &PublicArea) -> Result<(), Unproven> {
    match certificate.tbs_certificate.subject_pki.subject_public_key.data.as_ref() == ek.key.raw() {
        true => Ok(()),
        false => Err(Unproven::OtherEk),
    }
}

/// Holds an EK against the policy, at a moment.
pub(super) fn check(
    endorsement: &Endorsement,
    policy: &EndorsementPolicy,
    at: Timestamp,
) -> Result<Standing, Unproven> {
    let ek = PublicArea::parse(&endorsement.public_area)?;
    ek.check(
        "EK",
        &[
            (FIXED_TPM, true, "fixedTPM is clear"),
            (FIXED_PARENT, true, "fixedParent is clear"),
            (SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin is clear"),
            (RESTRICTED, true, "restricted is clear: it would decrypt anything"),
            (DECRYPT, true, "decrypt is clear"),
            (SIGN, false, "sign is set"),
        ],
    )?;
    if let Some(der) = &endorsement.certificate {
        return certified(der, &ek, endorsement, policy, at).map(|()| Standing::Certified);
    }
    let known = sha256(&ek.key.spki());
    match &policy.without_certificate {
        WithoutCertificate::Refuse => Err(Unproven::NoEkCertificate(hex(&known))),
        WithoutCertificate::AllowListed(list) if list.contains(&known) => Ok(Standing::AllowListed),
        WithoutCertificate::AllowListed(_) => Err(Unproven::NotOnList(hex(&known))),
        WithoutCertificate::Record => Ok(Standing::Unattested),
    }
}

fn certified(
    der: &[u8],
    ek: &PublicArea,
    endorsement: &Endorsement,
    policy: &EndorsementPolicy,
    at: Timestamp,
) -> Result<(), Unproven> {
    const WHOSE: &str = "EK certificate";
    let certificate = certificate::parse(der, WHOSE)?;
    check_key(&certificate, ek)?;
    check_leaf(&certificate)?;
    if !policy.accepts_expired {
        certificate::check_validity(&certificate, WHOSE, at)?;
    }
    let above = [policy.intermediates.as_slice(), &endorsement.chain].concat();
    Ok(path::to_root(&certificate, &above, &policy.roots, at)?)
}

fn check_leaf(certificate: &X509Certificate<'_>) -> Result<(), Unproven> {
    let wrong = |problem| Err(Unproven::EkCertificate(problem));
    if certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca) {
        return wrong("is a CA's");
    }
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if usage.value.other.iter().any(|oid| oid.to_id_string() == EK_CERTIFICATE) => {}
        Ok(None) => {}
        _ => return wrong("has an ExtendedKeyUsage without tcg-kp-EKCertificate"),
    }
    match certificate.key_usage() {
        Ok(Some(usage)) if usage.value.key_encipherment() || usage.value.key_agreement() => Ok(()),
        Ok(None) => Ok(()),
        _ => wrong("has a KeyUsage without keyEncipherment and keyAgreement"),
    }
}
