//! Has a TPM show that a key lives in it: its keys, a credential that it alone can release, and its word on the key; and has
//! it release the certificate that the CA encrypted for it.

use aws_lc_rs::{constant_time, rand};
use issuance::{
    Fault, FaultKind, Input, Issuance, IssuanceId, KeyLocation, Keystore, ResidencyEvidence, State,
    device::TpmAttestation,
    residency::{
        self, Challenge, ResidencyUnproven,
        credential::{self, Credential},
    },
};

/// Asks the device, and is convinced that its EK and its AK are in one TPM: it released a secret that was enclosed for
/// both. The rest is the heart's to judge.
pub(crate) fn attest(
    keystore: &mut dyn Keystore,
    issuance: IssuanceId,
    location: &KeyLocation,
    request_info: Vec<u8>,
) -> Result<Input, Fault> {
    let unproven = |problem: ResidencyUnproven| {
        Fault::caused(FaultKind::ResidencyUnproven, "the TPM did not show which TPM it is", problem)
    };
    let mut evidence = keystore.residency_evidence(location)?;
    let (ResidencyEvidence::Tpm { attestation, .. }, Some(key)) = (&mut evidence, keystore.attestation_key()?) else {
        return Err(unproven(ResidencyUnproven::NotAttested));
    };
    let name = residency::ak_name(&key.ak_public_area).map_err(unproven)?;
    let secret = random()?;
    let credential = credential::make(&key.endorsement.public_area, &name, &secret).map_err(unproven)?;
    let released = keystore.activate_credential(&credential)?;
    if constant_time::verify_slices_are_equal(&released, &secret).is_err() {
        let act = "the TPM released another secret than was enclosed for it";
        return Err(Fault::new(FaultKind::ResidencyUnproven, act));
    }
    let nonce = random()?.to_vec();
    let statement = keystore.attest(location, Challenge::new(&nonce, issuance, &request_info))?;
    *attestation = Some(Box::new(TpmAttestation { key, nonce, statement }));
    Ok(Input::Attested { evidence, request_info })
}

/// Has the TPM release the CA's secret, and opens the certificate with it.
pub(crate) fn open(keystore: &mut dyn Keystore, issuance: &Issuance, credential: &Credential) -> Result<Input, Fault> {
    const ACT: &str = "could not open the certificate that the CA encrypted for this device's TPM";
    let State::Sealed(answer) = &issuance.state else {
        return Err(Fault::new(FaultKind::Mismatch, "there is no certificate to open"));
    };
    let secret = keystore.activate_credential(credential)?;
    let certificate = answer
        .sealed
        .open(&secret, issuance.id, &answer.request.certification_request)
        .map_err(|problem| Fault::caused(FaultKind::CertificateRejected, ACT, problem))?;
    Ok(Input::Opened { certificate })
}

/// 32 fresh random octets.
pub(crate) fn random() -> Result<[u8; 32], Fault> {
    let mut octets = [0; 32];
    rand::fill(&mut octets).map_err(|_| Fault::new(FaultKind::HardwareFailure, "the station has no random numbers"))?;
    Ok(octets)
}
