//! A TPM proves that a key lives in it: the heart's verifier against real TPMs, and what must not convince it.

use std::fs;

use hsm_sim::{Swtpm, SwtpmOptions};
use issuance::{
    DeviceIdentity, FaultKind, IssuanceId, KeyAlgorithm, KeyLocation, Keystore, PublicKey, ResidencyEvidence,
    Timestamp,
    device::TpmAttestation,
    residency::credential,
    residency::{self, Attested, Challenge, EndorsementPolicy, ResidencyUnproven, Standing, WithoutCertificate},
};
use keystore::Tpm;

use crate::{
    bench::{kind, tpm_worker},
    wire::Wire,
};

const KEY: KeyLocation = KeyLocation::TpmHandle(0x8100_0010);
const CHALLENGE: Challenge = Challenge([7; 32]);

/// One TPM with a key in it, and what its maker's roots are.
struct Device {
    tpm: Swtpm,
    keystore: Tpm,
    identity: DeviceIdentity,
    key: PublicKey,
}

impl Device {
    fn new() -> Self {
        Self::of(Swtpm::start().unwrap())
    }

    fn of(tpm: Swtpm) -> Self {
        let mut keystore = Tpm::new(tpm.tcti());
        let identity = keystore.identify().unwrap();
        let key = keystore.generate_key(&KEY, KeyAlgorithm::P256).unwrap();
        Self { tpm, keystore, identity, key }
    }

    fn evidence(&mut self, challenge: Challenge) -> ResidencyEvidence {
        attested(&mut self.keystore, &KEY, challenge)
    }

    fn policy(&self) -> EndorsementPolicy {
        let certificates = |path| {
            let pem = fs::read(path).unwrap();
            x509_parser::pem::Pem::iter_from_buffer(&pem).map(|pem| pem.unwrap().contents).collect()
        };
        EndorsementPolicy {
            roots: certificates(self.tpm.maker().root_certificate()),
            intermediates: certificates(self.tpm.maker().issuer_certificate()),
            ..Default::default()
        }
    }

    fn verify(&self, evidence: &ResidencyEvidence, policy: &EndorsementPolicy) -> Result<Standing, ResidencyUnproven> {
        let expected = Attested { identity: &self.identity, challenge: &CHALLENGE, policy, at: now() };
        residency::verify_attested(evidence, &self.key, expected)
    }
}

fn attested(keystore: &mut dyn Keystore, place: &KeyLocation, challenge: Challenge) -> ResidencyEvidence {
    let mut evidence = keystore.residency_evidence(place).unwrap();
    let ResidencyEvidence::Tpm { attestation, .. } = &mut evidence else { panic!() };
    let key = keystore.attestation_key().unwrap().unwrap();
    let statement = keystore.attest(place, challenge).unwrap();
    *attestation = Some(Box::new(TpmAttestation { key, nonce: vec![], statement }));
    evidence
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

/// The TPM's proof holds for P-256, P-384 and RSA-2048 keys, under the maker's root, and no other maker's.
#[test]
fn a_tpm_proves_where_its_key_lives() {
    let mut device = Device::new();
    let evidence = device.evidence(CHALLENGE);
    assert_eq!(device.verify(&evidence, &device.policy()), Ok(Standing::Certified));
    for (handle, algorithm) in [(0x8100_0011, KeyAlgorithm::P384), (0x8100_0012, KeyAlgorithm::Rsa2048)] {
        let place = KeyLocation::TpmHandle(handle);
        let key = device.keystore.generate_key(&place, algorithm).unwrap();
        let evidence = attested(&mut device.keystore, &place, CHALLENGE);
        assert!(matches!(device.verify(&evidence, &device.policy()), Err(ResidencyUnproven::OtherKey)));
        let first = std::mem::replace(&mut device.key, key);
        assert_eq!(device.verify(&evidence, &device.policy()), Ok(Standing::Certified), "{algorithm}");
        device.key = first;
    }
    let stranger = Device::new();
    let outcome = device.verify(&evidence, &stranger.policy());
    assert!(matches!(outcome, Err(ResidencyUnproven::UntrustedEk(_))), "{outcome:?}");
}

/// The AK and the EK are the same ones after the TPM lost its power, and for every keystore.
#[test]
fn an_attestation_key_needs_no_memory() {
    let mut device = Device::new();
    let before = device.keystore.attestation_key().unwrap().unwrap();
    device.tpm.restart().unwrap();
    let mut worker = keystore::Worker::new(tpm_worker(&device.tpm));
    assert_eq!(worker.attestation_key().unwrap().unwrap(), before);
}

/// A secret that was enclosed in software for this TPM comes back from it, whichever algorithm its EK certificate has; from
/// another TPM of the same maker, or for another AK's name, it does not.
#[test]
fn only_one_tpm_releases_a_credential() {
    const RSA_INDEX: u32 = 0x01C0_0002;
    let mut device = Device::new();
    let maker = Some(device.tpm.maker().clone());
    let mut other = Device::of(Swtpm::start_with(SwtpmOptions { maker, ..Default::default() }).unwrap());
    for ek_is_ecc in [false, true] {
        if ek_is_ecc {
            Wire::of(&device.tpm).undefine_as_platform(RSA_INDEX);
            device.keystore.identify().unwrap();
        }
        let keys = device.keystore.attestation_key().unwrap().unwrap();
        let name = residency::ak_name(&keys.ak_public_area).unwrap();
        let credential = credential::make(&keys.endorsement.public_area, &name, &[42; 32]).unwrap();
        assert_eq!(device.keystore.activate_credential(&credential).unwrap(), [42; 32]);
        assert_eq!(kind(other.keystore.activate_credential(&credential)), FaultKind::ResidencyUnproven);
        let others = residency::ak_name(&other.keystore.attestation_key().unwrap().unwrap().ak_public_area).unwrap();
        let wrong = credential::make(&keys.endorsement.public_area, &others, &[42; 32]).unwrap();
        assert_eq!(kind(device.keystore.activate_credential(&wrong)), FaultKind::ResidencyUnproven);
        assert_eq!(Wire::of(&device.tpm).loaded(), []);
    }
}

/// Evidence over an old challenge, of another key of the same TPM, of another TPM of the same maker, or with that TPM's EK
/// certificate in it, proves nothing here.
#[test]
fn evidence_serves_once_and_here_alone() {
    let mut device = Device::new();
    let policy = device.policy();
    let old = device.evidence(Challenge([8; 32]));
    assert!(words(device.verify(&old, &policy)).contains("another challenge"));
    let maker = Some(device.tpm.maker().clone());
    let mut other = Device::of(Swtpm::start_with(SwtpmOptions { maker, ..Default::default() }).unwrap());
    let theirs = other.evidence(CHALLENGE);
    assert_eq!(other.verify(&theirs, &policy), Ok(Standing::Certified));
    assert_eq!(device.verify(&theirs, &policy), Err(ResidencyUnproven::OtherKey));
    let ours = device.evidence(CHALLENGE);
    // Each part of the other TPM's in the place of ours.
    type Swap = fn(&mut TpmAttestation, TpmAttestation);
    let swaps: [(Swap, &str); 4] = [
        (|ours, theirs| ours.key.endorsement = theirs.key.endorsement, "another device"),
        (|ours, theirs| ours.key.endorsement.public_area = theirs.key.endorsement.public_area, "another TPM's key"),
        (|ours, theirs| ours.key.ak_public_area = theirs.key.ak_public_area, "not the AK's"),
        (
            |ours, theirs| {
                ours.key.ak_public_area = theirs.key.ak_public_area;
                ours.statement = theirs.statement;
            },
            "about another key",
        ),
    ];
    for (swap, problem) in swaps {
        let mut mixed = ours.clone();
        let ResidencyEvidence::Tpm { attestation: Some(ours), .. } = &mut mixed else { panic!() };
        let ResidencyEvidence::Tpm { attestation: Some(theirs), .. } = theirs.clone() else { panic!() };
        swap(ours, *theirs);
        assert!(words(device.verify(&mixed, &policy)).contains(problem), "{problem}");
    }
}

/// A TPM without an EK certificate is what the policy says: refused by its hash, believed by the list, or recorded.
#[test]
fn a_tpm_without_a_certificate_never_passes_in_silence() {
    let tpm = Swtpm::start().unwrap();
    Wire::of(&tpm).remove_ek_certificates();
    let mut device = Device::of(tpm);
    let evidence = device.evidence(CHALLENGE);
    let keys = device.keystore.attestation_key().unwrap().unwrap();
    let known = residency::ek_sha256(&keys.endorsement.public_area).unwrap();
    let with = |without_certificate| EndorsementPolicy { without_certificate, ..Default::default() };
    let hash = issuance::public_key::hex(&known);
    assert!(words(device.verify(&evidence, &with(WithoutCertificate::Refuse))).contains(&hash));
    let list = with(WithoutCertificate::AllowListed(vec![[0; 32], known]));
    assert_eq!(device.verify(&evidence, &list), Ok(Standing::AllowListed));
    let others = with(WithoutCertificate::AllowListed(vec![[0; 32]]));
    assert!(words(device.verify(&evidence, &others)).contains(&hash));
    assert_eq!(device.verify(&evidence, &with(WithoutCertificate::Record)), Ok(Standing::Unattested));
}

/// Used to tell issuances apart: the challenge differs with nonce, issuance and request.
#[test]
fn a_challenge_binds_all_three() {
    let [first, second] = [1, 2].map(|number| IssuanceId::from_slice(&[number; 16]).unwrap());
    let made = Challenge::new(&[1; 32], first, b"request");
    for other in [
        Challenge::new(&[2; 32], first, b"request"),
        Challenge::new(&[1; 32], second, b"request"),
        Challenge::new(&[1; 32], first, b"another"),
    ] {
        assert_ne!(made, other);
    }
}

fn words(outcome: Result<Standing, ResidencyUnproven>) -> String {
    outcome.unwrap_err().to_string()
}
