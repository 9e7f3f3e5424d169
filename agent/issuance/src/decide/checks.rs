//! What devices and CAs gave, held against what was asked of them.

use crate::{
    CommonName, DeviceIdentity, Fault, FaultKind, IssuanceId, KeyAlgorithm, PublicKey, ResidencyEvidence, Timestamp,
    inspection,
    request::CertificationRequest,
    residency::{self, Attested, Challenge, EndorsementPolicy, Standing},
    state::{DeviceKey, IssuedCertificate, ProvenKey},
};

/// Bytes of an identity or of evidence. A TPM's NV index and its public areas have some 2 KiB at most; a journal entry,
/// 64 KiB. What is larger was not made by a device.
const DEVICE_BYTES_MOST: usize = 16 * 1024;
/// Bytes of a certificate with its chain: they are one journal entry of at most 65,535 bytes. RSA-4096 chains of four
/// have 8 KiB.
const ANSWER_BYTES_MOST: usize = 60 * 1024;

pub(super) fn check_identity(identity: &DeviceIdentity) -> Result<(), Fault> {
    let size = match identity {
        DeviceIdentity::Tpm { ek_certificate, srk_name, manufacturer, firmware } => {
            ek_certificate.as_ref().map_or(0, Vec::len) + srk_name.len() + manufacturer.len() + firmware.len()
        }
        DeviceIdentity::Token { label, serial_number, manufacturer, model, firmware } => {
            [label, serial_number, manufacturer, model, firmware].into_iter().map(String::len).sum()
        }
    };
    check_size(size, "identity")
}

pub(super) fn check_evidence(evidence: &ResidencyEvidence, key: &DeviceKey) -> Result<(), Fault> {
    check_evidence_size(evidence)?;
    residency::verify(evidence, &key.public_key).map_err(|problem| {
        let act = format!("could not prove that the key at {} lives in the device", key.location);
        Fault::caused(FaultKind::ResidencyUnproven, act, problem)
    })
}

fn check_evidence_size(evidence: &ResidencyEvidence) -> Result<(), Fault> {
    if let ResidencyEvidence::Tpm { public_area, name, attestation } = evidence {
        let attested = attestation.as_ref().map_or(0, |said| {
            let ek = &said.key.endorsement;
            let certificates = ek.certificate.iter().chain(&ek.chain).map(Vec::len).sum::<usize>();
            certificates
                + ek.public_area.len()
                + said.key.ak_public_area.len()
                + said.nonce.len()
                + said.statement.certify_info.len()
                + said.statement.signature.len()
        });
        check_size(public_area.len() + name.len() + attested, "residency evidence")?;
    }
    Ok(())
}

fn check_size(size: usize, what: &str) -> Result<(), Fault> {
    if size <= DEVICE_BYTES_MOST {
        return Ok(());
    }
    let act = format!("the device's {what} has {size} bytes, and no device has more than {DEVICE_BYTES_MOST}");
    Err(Fault::new(FaultKind::Mismatch, act))
}

pub(super) fn check_answer(certificate: &[u8], chain: &[Vec<u8>]) -> Result<(), String> {
    // A few bytes of framing for each.
    let size = certificate.len() + chain.iter().map(|der| der.len() + 8).sum::<usize>();
    if size <= ANSWER_BYTES_MOST {
        return Ok(());
    }
    Err(format!("its certificate and chain have {size} bytes, and at most {ANSWER_BYTES_MOST} are accepted"))
}

/// As [`check_evidence`], and that a TPM which the policy believes attests it for this issuance and this request.
pub(super) fn check_attested(
    evidence: &ResidencyEvidence,
    key: &DeviceKey,
    issuance: IssuanceId,
    request_info: &[u8],
    policy: Option<&EndorsementPolicy>,
    at: Timestamp,
) -> Result<Standing, Fault> {
    let Some(policy) = policy else { return check_evidence(evidence, key).map(|()| Standing::Stated) };
    check_evidence_size(evidence)?;
    let challenge = &Challenge::of(evidence, issuance, request_info);
    let expected = Attested { identity: &key.identity, challenge, policy, at };
    residency::verify_attested(evidence, &key.public_key, expected).map_err(|problem| {
        let act = format!("the TPM did not prove that the key at {} lives in it", key.location);
        Fault::caused(FaultKind::ResidencyUnproven, act, problem)
    })
}

pub(super) fn check_request(
    der: &[u8],
    ProvenKey { key, evidence }: &ProvenKey,
    issuance: IssuanceId,
    common_name: &CommonName,
) -> Result<(), Fault> {
    const ACT: &str = "the device's certification request does not fit the issuance";
    let request =
        CertificationRequest::from_der(der).map_err(|problem| Fault::caused(FaultKind::Mismatch, ACT, problem))?;
    if request.public_key() != &key.public_key {
        return Err(Fault::caused(FaultKind::Mismatch, ACT, "it holds another public key"));
    }
    if request.common_name() != common_name {
        return Err(Fault::caused(FaultKind::Mismatch, ACT, "it has another CN"));
    }
    residency::verify_challenge(evidence, &Challenge::of(evidence, issuance, request.info()))
        .map_err(|problem| Fault::caused(FaultKind::Mismatch, ACT, problem))
}

pub(super) fn check_algorithm(public_key: &PublicKey, expected: KeyAlgorithm) -> Result<(), Fault> {
    if public_key.algorithm() == expected {
        return Ok(());
    }
    let act = format!("the device's key is {}, and the profile asks for {expected}", public_key.algorithm());
    Err(Fault::new(FaultKind::Mismatch, act))
}

/// The last word on a device: the bytes that stand there are the issued ones, and the key that signed the nonce is the
/// one in that certificate. Returns the bytes.
pub(super) fn verify_on_device(
    issued: &IssuedCertificate,
    read: Option<Vec<u8>>,
    nonce: &[u8],
    signature: &[u8],
) -> Result<Vec<u8>, Fault> {
    let stands = inspection::certificate(issued, read.as_deref(), &[]);
    stands
        .and_then(|certificate| inspection::signature(certificate, nonce, signature).map(|()| certificate.to_vec()))
        .map_err(|fault| Fault::caused(fault.kind, "the device did not verify", fault))
}
