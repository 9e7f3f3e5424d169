//! A TPM in software: EK, AK and what the AK signs, each of which can be wrong in one way.

use rcgen::{KeyPair, SigningKey as _};

use super::{super::*, ATTRIBUTES, public_area, sized};
use crate::{
    KeyAlgorithm,
    certificate::CertificateRejected,
    device::{AttestationKey, Endorsement, Statement, TpmAttestation},
    residency::public_area::{DECRYPT, TPM_ALG_ECC, TPM_ALG_NULL, TPM_ALG_SHA256},
    simulated::*,
};

const EK_ATTRIBUTES: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | 1 << 7 | RESTRICTED | DECRYPT;
const AK_ATTRIBUTES: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | 1 << 6 | RESTRICTED | SIGN;
const CHALLENGE: Challenge = Challenge([9; 32]);

/// What may be wrong.
struct Forgery {
    key_attributes: u32,
    ek_attributes: u32,
    ek_extensions: Vec<Extension>,
    ek_validity: (i64, i64),
    ak_attributes: u32,
    ak_hash: u16,
    magic: u32,
    kind: u16,
    challenge: [u8; 32],
    hierarchy: u32,
    /// Signs the statement in the AK's place.
    signer: Option<KeyPair>,
    trailing: Vec<u8>,
    flip_name: Option<usize>,
}

impl Default for Forgery {
    fn default() -> Self {
        Self {
            key_attributes: ATTRIBUTES,
            ek_attributes: EK_ATTRIBUTES,
            ek_extensions: vec![
                Extension(KEY_USAGE, true, key_usage(&[4])),
                Extension(EXTENDED_KEY_USAGE, false, sequence(&[b"\x06\x05\x67\x81\x05\x08\x01".to_vec()])),
            ],
            ek_validity: (-DAY, DAY),
            ak_attributes: AK_ATTRIBUTES,
            ak_hash: TPM_ALG_SHA256,
            magic: 0xFF54_4347,
            kind: 0x8017,
            challenge: CHALLENGE.0,
            hierarchy: 0x4000_000B,
            signer: None,
            trailing: vec![],
            flip_name: None,
        }
    }
}

/// A TPM of one maker.
struct Tpm {
    maker: Authority,
    ek: KeyPair,
    ak: KeyPair,
    key: KeyPair,
    srk_name: Vec<u8>,
}

fn restricted(key: &KeyPair, attributes: u32, symmetric: &[u16], scheme: &[u16]) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let raw = crate::simulated::public_key(key).raw()[1..].to_vec();
    let (x, y) = raw.split_at(32);
    let head = [words(&[TPM_ALG_ECC, TPM_ALG_SHA256]), attributes.to_be_bytes().to_vec(), sized(&[])].concat();
    [head, words(symmetric), words(scheme), words(&[3, TPM_ALG_NULL]), sized(x), sized(y)].concat()
}

impl Tpm {
    fn new() -> Self {
        let key = || generate(KeyAlgorithm::P256);
        Self { maker: Authority::root("TPM maker", None), ek: key(), ak: key(), key: key(), srk_name: vec![5; 34] }
    }

    fn policy(&self) -> EndorsementPolicy {
        EndorsementPolicy { roots: vec![self.maker.der.clone()], ..Default::default() }
    }

    fn identity(&self, evidence: &ResidencyEvidence) -> DeviceIdentity {
        let ResidencyEvidence::Tpm { attestation, .. } = evidence else { panic!() };
        DeviceIdentity::Tpm {
            ek_certificate: attestation
                .as_ref()
                .and_then(|attestation| attestation.key.endorsement.certificate.clone()),
            srk_name: self.srk_name.clone(),
            manufacturer: "SIM".into(),
            firmware: "1".into(),
        }
    }

    fn evidence(&self, forgery: Forgery) -> ResidencyEvidence {
        let area = public_area(&crate::simulated::public_key(&self.key), forgery.key_attributes, false);
        let mut name = NameHash::Sha256.name(&area);
        let ek_area = restricted(&self.ek, forgery.ek_attributes, &[6, 128, 0x43], &[TPM_ALG_NULL]);
        let ak_area = restricted(&self.ak, forgery.ak_attributes, &[TPM_ALG_NULL], &[0x18, forgery.ak_hash]);
        let hash = |bytes: Vec<u8>| NameHash::Sha256.name(&bytes);
        let signer = hash([&forgery.hierarchy.to_be_bytes()[..], &hash(ak_area.clone())].concat());
        let qualified =
            hash([hash([&0x4000_0001u32.to_be_bytes()[..], &self.srk_name].concat()), name.clone()].concat());
        if let Some(bit) = forgery.flip_name {
            name[bit / 8] ^= 1 << (bit % 8);
        }
        let info = [
            forgery.magic.to_be_bytes().to_vec(),
            forgery.kind.to_be_bytes().to_vec(),
            sized(&signer),
            sized(&forgery.challenge),
            vec![0; 25],
            sized(&name),
            sized(&qualified),
            forgery.trailing,
        ]
        .concat();
        let signature = forgery.signer.as_ref().unwrap_or(&self.ak).sign(&info).unwrap();
        let recipe = Recipe {
            subject: sequence(&[]),
            spki: rcgen::PublicKeyData::subject_public_key_info(&self.ek),
            validity: forgery.ek_validity,
            extensions: forgery.ek_extensions,
        };
        ResidencyEvidence::Tpm {
            name: NameHash::Sha256.name(&area),
            public_area: area,
            attestation: Some(Box::new(TpmAttestation {
                key: AttestationKey {
                    endorsement: Endorsement {
                        certificate: Some(self.maker.issue(&recipe)),
                        chain: vec![],
                        public_area: ek_area,
                    },
                    ak_public_area: ak_area,
                },
                nonce: vec![],
                statement: Statement { certify_info: info, signature },
            })),
        }
    }

    fn verify(&self, evidence: &ResidencyEvidence) -> Result<Standing, ResidencyUnproven> {
        self.verify_with(evidence, &self.policy())
    }

    fn verify_with(
        &self,
        evidence: &ResidencyEvidence,
        policy: &EndorsementPolicy,
    ) -> Result<Standing, ResidencyUnproven> {
        let key = crate::simulated::public_key(&self.key);
        let identity = self.identity(evidence);
        verify_attested(evidence, &key, Attested { identity: &identity, challenge: &CHALLENGE, policy, at: NOW })
    }

    /// What is wrong with a forgery, in words.
    fn problem(&self, forgery: Forgery) -> String {
        self.verify(&self.evidence(forgery)).unwrap_err().to_string()
    }
}

/// What an honest TPM says is believed.
#[test]
fn an_honest_tpm_is_believed() {
    let tpm = Tpm::new();
    assert_eq!(tpm.verify(&tpm.evidence(Forgery::default())), Ok(Standing::Certified));
}

/// Each attribute of EK, AK and key that matters, turned round, is refused with whose it is; the others make no difference.
#[test]
fn each_attribute_of_each_key_counts() {
    let tpm = Tpm::new();
    let matters = [
        ("EK", FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | DECRYPT | SIGN),
        ("AK", FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN | DECRYPT),
        ("key", FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | SIGN | RESTRICTED),
    ];
    for (whose, bits) in matters {
        for bit in (0..32).map(|shift| 1u32 << shift) {
            let mut forgery = Forgery::default();
            match whose {
                "EK" => forgery.ek_attributes ^= bit,
                "AK" => forgery.ak_attributes ^= bit,
                _ => forgery.key_attributes ^= bit,
            }
            let outcome = tpm.verify(&tpm.evidence(forgery));
            match bits & bit {
                0 => assert_eq!(outcome, Ok(Standing::Certified), "{whose} {bit:#x}"),
                _ => assert!(
                    matches!(outcome, Err(ResidencyUnproven::Attribute { whose: found, .. }) if found == whose),
                    "{whose} {bit:#x}: {outcome:?}"
                ),
            }
        }
    }
    assert!(tpm.problem(Forgery { ak_hash: 0x0004, ..Default::default() }).contains("scheme"));
}

/// The statement: magic, type, challenge, name to the bit, hierarchy, signature and length each count.
#[test]
fn each_part_of_the_statement_counts() {
    let tpm = Tpm::new();
    let default = Forgery::default;
    for (forgery, problem) in [
        (Forgery { magic: 0xFF54_4346, ..default() }, "magic"),
        (Forgery { kind: 0x8018, ..default() }, "type"),
        (Forgery { challenge: [8; 32], ..default() }, "another challenge"),
        (Forgery { hierarchy: 0x4000_0001, ..default() }, "endorsement hierarchy"),
        (Forgery { signer: Some(generate(KeyAlgorithm::P256)), ..default() }, "not the AK's"),
        (Forgery { trailing: vec![0], ..default() }, "not as a TPM marshals"),
    ] {
        assert!(tpm.problem(forgery).contains(problem), "{problem}");
    }
    for bit in 0..34 * 8 {
        assert!(tpm.problem(Forgery { flip_name: Some(bit), ..default() }).contains("another key"), "{bit}");
    }
}

/// The EK certificate: another TPM's, of an unknown maker, expired, a CA's, or not made for an EK.
#[test]
fn the_ek_certificate_counts() {
    let (tpm, other) = (Tpm::new(), Tpm::new());
    let honest = tpm.evidence(Forgery::default());
    let outcome = tpm.verify_with(&honest, &other.policy());
    assert!(matches!(outcome, Err(ResidencyUnproven::UntrustedEk(CertificateRejected::NoPath(_)))), "{outcome:?}");
    let expired = tpm.evidence(Forgery { ek_validity: (-2 * DAY, -DAY), ..Default::default() });
    let outcome = tpm.verify(&expired);
    assert!(matches!(outcome, Err(ResidencyUnproven::UntrustedEk(CertificateRejected::NotValidNow { .. }))));
    let lenient = EndorsementPolicy { accepts_expired: true, ..tpm.policy() };
    assert_eq!(tpm.verify_with(&expired, &lenient), Ok(Standing::Certified));

    let extensions = |extensions| Forgery { ek_extensions: extensions, ..Default::default() };
    let ca = Extension(BASIC_CONSTRAINTS, true, basic_constraints(true, None));
    assert!(tpm.problem(extensions(vec![ca])).contains("is a CA's"));
    let client = Extension(EXTENDED_KEY_USAGE, false, extended_key_usage(&[CLIENT_AUTH]));
    assert!(tpm.problem(extensions(vec![client])).contains("tcg-kp-EKCertificate"));
    let signs = Extension(KEY_USAGE, true, key_usage(&[DIGITAL_SIGNATURE]));
    assert!(tpm.problem(extensions(vec![signs])).contains("KeyUsage"));

    // The certificate of another TPM of this maker, brought as this TPM's own.
    let other = Tpm {
        maker: Authority { subject: tpm.maker.subject.clone(), key: generate(KeyAlgorithm::P256), der: vec![] },
        ..other
    };
    let mut stolen = honest.clone();
    let (
        ResidencyEvidence::Tpm { attestation: Some(ours), .. },
        ResidencyEvidence::Tpm { attestation: Some(theirs), .. },
    ) = (&mut stolen, other.evidence(Forgery::default()))
    else {
        panic!()
    };
    ours.key.endorsement.certificate = theirs.key.endorsement.certificate;
    assert_eq!(tpm.verify(&stolen), Err(ResidencyUnproven::OtherEk));
}

/// A TPM that brings no EK certificate is refused unless the policy says otherwise.
#[test]
fn no_ek_certificate_is_refused() {
    let tpm = Tpm::new();
    let mut evidence = tpm.evidence(Forgery::default());
    let ResidencyEvidence::Tpm { attestation: Some(said), .. } = &mut evidence else { panic!() };
    said.key.endorsement.certificate = None;
    assert!(matches!(tpm.verify(&evidence), Err(ResidencyUnproven::NoEkCertificate(_))));
    let records = EndorsementPolicy { without_certificate: WithoutCertificate::Record, ..tpm.policy() };
    assert_eq!(tpm.verify_with(&evidence, &records), Ok(Standing::Unattested));
}

/// Evidence without an attestation, of a token, or of another device than was identified is no attestation.
#[test]
fn what_attests_nothing_is_refused() {
    let tpm = Tpm::new();
    let honest = tpm.evidence(Forgery::default());
    let ResidencyEvidence::Tpm { public_area, name, .. } = honest.clone() else { panic!() };
    let bare = ResidencyEvidence::Tpm { public_area, name, attestation: None };
    let key = crate::simulated::public_key(&tpm.key);
    let policy = tpm.policy();
    let with = |identity: &DeviceIdentity, evidence: &ResidencyEvidence| {
        verify_attested(evidence, &key, Attested { identity, challenge: &CHALLENGE, policy: &policy, at: NOW })
    };
    let identity = tpm.identity(&honest);
    assert_eq!(with(&identity, &bare), Err(ResidencyUnproven::NotAttested));
    assert_eq!(with(&identity, &World::good_evidence()), Err(ResidencyUnproven::NotAttested));
    let DeviceIdentity::Tpm { ek_certificate, srk_name, manufacturer, firmware } = identity else { panic!() };
    let swapped = DeviceIdentity::Tpm {
        ek_certificate: Some(vec![1]),
        srk_name,
        manufacturer: manufacturer.clone(),
        firmware: firmware.clone(),
    };
    assert_eq!(with(&swapped, &honest), Err(ResidencyUnproven::OtherDevice));
    let cleared = DeviceIdentity::Tpm { ek_certificate, srk_name: vec![6; 34], manufacturer, firmware };
    assert!(with(&cleared, &honest).unwrap_err().to_string().contains("storage root key"));
}

/// Any single byte of the evidence changed: an error or, where it says nothing of residency, a pass; never a panic. What
/// the AK signed cannot be changed at all.
#[test]
fn any_changed_byte_is_survived() {
    let tpm = Tpm::new();
    let honest = tpm.evidence(Forgery::default());
    let parts: [fn(&mut TpmAttestation) -> &mut Vec<u8>; 5] = [
        |said| &mut said.statement.certify_info,
        |said| &mut said.statement.signature,
        |said| &mut said.key.ak_public_area,
        |said| &mut said.key.endorsement.public_area,
        |said| said.key.endorsement.certificate.as_mut().unwrap(),
    ];
    for (number, part) in parts.into_iter().enumerate() {
        let mut at = 0;
        loop {
            let mut changed = honest.clone();
            let ResidencyEvidence::Tpm { attestation: Some(said), .. } = &mut changed else { panic!() };
            let Some(byte) = part(said).get_mut(at) else { break };
            *byte ^= 0x11;
            let outcome = tpm.verify(&changed);
            assert!(number > 1 || outcome.is_err(), "part {number}, byte {at}");
            at += 1;
        }
    }
}
