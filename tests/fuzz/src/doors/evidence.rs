//! What a TPM shows of where a key lives.

use std::sync::LazyLock;

use issuance::{
    DeviceIdentity, IssuanceId, PublicKey, ResidencyEvidence, Timestamp,
    device::{AttestationKey, Endorsement, Statement, TpmAttestation},
    residency::{
        self, Attested, Challenge, EndorsementPolicy, SealedCertificate, Sealing, Standing, WithoutCertificate,
        credential::{self, Credential},
    },
};
use rcgen::{CustomExtension, KeyUsagePurpose, SigningKey as _};

use crate::{
    Door,
    input::{Parts, sized},
    key::{NOW, intermediate, issued, key, named, root, sha256, signed, spki, to_be_signed},
};

pub(super) const EVIDENCE: Door = Door {
    name: "residency-evidence",
    property: "evidence that is believed names the digest of its public area, is of the key that was asked for, and answers the \
               challenge; a certificate sealed for a TPM opens to nobody without its secret",
    enter: evidence,
    seeds: evidences,
    taken: 4,
    octets_most: 4096,
};

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth.
const HELD: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

const ISSUANCE: [u8; 16] = [7; 16];
const REQUEST_INFO: &[u8] = b"what will be signed";
const SRK_NAME: [u8; 34] = [5; 34];

static DEVICE_KEY: LazyLock<PublicKey> = LazyLock::new(|| PublicKey::from_der(&spki("device")).expect("a P-256 key"));

/// The first octet says what is made right over what follows: the name (1), the statement's signature (2), the EK
/// certificate's (4), and whether a TPM without certificate is believed (8). Then the parts in the order of
/// [`ResidencyEvidence`].
fn evidence(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let choice = parts.octet();
    let (public_area, name) = (parts.sized().to_vec(), parts.sized().to_vec());
    let (certificate, chain) = (parts.sized(), parts.sized().to_vec());
    let (ek_public, ak_public) = (parts.sized().to_vec(), parts.sized().to_vec());
    let (certify_info, signature) = (parts.sized().to_vec(), parts.sized().to_vec());
    let nonce = parts.sized().to_vec();
    let name = if choice & 1 == 0 { name } else { name_of(&public_area) };
    let signature = if choice & 2 == 0 { signature } else { key("ak").sign(&certify_info).expect("a key signs") };
    let certificate = match (certificate, choice & 4 == 0) {
        ([], _) => None,
        (der, true) => Some(der.to_vec()),
        (tbs, false) => Some(signed(tbs, &key("issuer"))),
    };
    let endorsement = Endorsement { certificate: certificate.clone(), chain: vec![chain], public_area: ek_public };
    let ak = AttestationKey { endorsement, ak_public_area: ak_public };
    look_at(&ak, &public_area);
    let statement = Statement { certify_info, signature };
    let evidence = ResidencyEvidence::Tpm {
        public_area: public_area.clone(),
        name: name.clone(),
        attestation: Some(Box::new(TpmAttestation { key: ak.clone(), nonce, statement })),
    };
    let is_stated = residency::verify(&evidence, &DEVICE_KEY).is_ok();
    let identity = DeviceIdentity::Tpm {
        ek_certificate: certificate,
        srk_name: SRK_NAME.to_vec(),
        manufacturer: String::new(),
        firmware: String::new(),
    };
    let challenge = Challenge::of(&evidence, IssuanceId::from_slice(&ISSUANCE).expect("16 octets"), REQUEST_INFO);
    let without_certificate = match choice & 8 {
        0 => WithoutCertificate::Refuse,
        _ => WithoutCertificate::Record,
    };
    let policy = EndorsementPolicy {
        roots: vec![root()],
        intermediates: vec![intermediate()],
        without_certificate,
        ..EndorsementPolicy::default()
    };
    let expected = Attested { identity: &identity, challenge: &challenge, policy: &policy, at: Timestamp(NOW) };
    let Ok(standing) = residency::verify_attested(&evidence, &DEVICE_KEY, expected) else { return false };
    assert!(is_stated, "attested, and not even stated");
    assert_eq!(name, name_of(&public_area), "the name is the public area's digest");
    let has_key = |part: &[u8]| public_area.windows(part.len()).any(|window| window == part);
    // A TPM leaves leading zeros out, and of this key's coordinates none has any.
    assert!(has_key(&DEVICE_KEY.raw()[1..33]) && has_key(&DEVICE_KEY.raw()[33..]), "the key is the device's");
    residency::verify_challenge(&evidence, &challenge).expect("it answers what was asked");
    let certified = matches!(&evidence, ResidencyEvidence::Tpm { attestation: Some(attestation), .. }
        if attestation.key.endorsement.certificate.is_some());
    assert_eq!(certified, standing == Standing::Certified, "{standing:?}");
    true
}

/// What is done with a TPM's keys before anything about them is believed.
fn look_at(ak: &AttestationKey, other: &[u8]) {
    let ek = &ak.endorsement.public_area;
    let hash = residency::ek_sha256(ek);
    if let Some(certificate) = &ak.endorsement.certificate {
        let fits = residency::check_ek_certificate_key(ek, certificate);
        assert!(fits.is_err() || hash.is_ok());
    }
    if let Ok(name) = residency::ak_name(&ak.ak_public_area) {
        assert!(matches!(name.len(), 34 | 50 | 66), "a TPM2B_NAME");
        let _ = credential::make(ek, &name, &[1; 32]);
    }
    let _ = residency::ak_name(other);
    let issuance = IssuanceId::from_slice(&ISSUANCE).expect("16 octets");
    let sealing = Sealing { issuance, request_sha256: sha256(b"request"), certificate: b"certificate", chain: &[] };
    if let Ok(sealed) = sealing.seal(ak) {
        assert!(sealed.open(other, issuance, b"request").is_err(), "opened without the secret");
    }
    // As it comes from a CA that is not ours.
    let sealed = SealedCertificate {
        credential: Credential { blob: ek.clone(), encrypted_secret: other.to_vec() },
        certificate: ak.ak_public_area.clone(),
        chain: Vec::new(),
    };
    assert!(sealed.open(other, issuance, b"request").is_err(), "opened what nobody sealed");
}

fn name_of(public_area: &[u8]) -> Vec<u8> {
    [&[0x00, 0x0B], sha256(public_area).as_slice()].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// TPMT_PUBLIC of a P-256 key.
fn public_area(name: &str, attributes: u32, symmetric: &[u16], scheme: &[u16]) -> Vec<u8> {
    let spki = spki(name);
    let (x, y) = spki[spki.len() - 64..].split_at(32);
    let head = [words(&[0x0023, 0x000B]), attributes.to_be_bytes().to_vec(), sized([])].concat();
    [head, words(symmetric), words(scheme), words(&[3, 0x0010]), sized(x), sized(y)].concat()
}

fn evidences() -> Vec<Vec<u8>> {
    let area = public_area("device", HELD | SIGN, &[0x0010], &[0x0010]);
    let ek = public_area("ek", HELD | RESTRICTED | DECRYPT, &[0x0006, 128, 0x0043], &[0x0010]);
    let ak = public_area("ak", HELD | RESTRICTED | SIGN, &[0x0010], &[0x0018, 0x000B]);
    let qualified = |hierarchy: u32, names: &[&[u8]]| {
        names.iter().fold(hierarchy.to_be_bytes().to_vec(), |parent, name| name_of(&[parent.as_slice(), name].concat()))
    };
    let nonce = vec![3; 32];
    let issuance = IssuanceId::from_slice(&ISSUANCE).expect("16 octets");
    let info = [
        0xFF54_4347_u32.to_be_bytes().to_vec(),
        words(&[0x8017]),
        sized(qualified(0x4000_000B, &[&name_of(&ak)])),
        sized(Challenge::new(&nonce, issuance, REQUEST_INFO).0),
        vec![0; 25],
        sized(name_of(&area)),
        sized(qualified(0x4000_0001, &[&SRK_NAME, &name_of(&area)])),
    ]
    .concat();
    let mut params = named("");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 37], b"\x30\x07\x06\x05\x67\x81\x05\x08\x01".to_vec())];
    let issuer = rcgen::Issuer::new(crate::key::ca("Factory CA", Some(1)), key("issuer"));
    let certificate = params.signed_by(&key("ek"), &issuer).expect("an EK certificate").der().to_vec();
    let signature = key("ak").sign(&info).expect("a key signs");
    let parts = |certificate: &[u8]| {
        [area.clone(), name_of(&area), certificate.to_vec(), issued(&named("beside")), ek.clone(), ak.clone()]
            .into_iter()
            .chain([info.clone(), signature.clone(), nonce.clone()])
            .flat_map(sized)
            .collect::<Vec<u8>>()
    };
    let rsa =
        [words(&[0x0001, 0x000B]), (HELD | SIGN).to_be_bytes().to_vec(), sized([]), words(&[0x0010, 0x0010])].concat();
    let rsa = [rsa, words(&[2048]), vec![0; 4], sized([0xC1; 256])].concat();
    let of_rsa = [vec![1], sized(&rsa), sized([]), sized([]), sized([]), sized(&rsa), sized(&ak)].concat();
    vec![
        [vec![0], parts(&certificate)].concat(),
        [vec![7], parts(&to_be_signed(&certificate))].concat(),
        [vec![3], parts(&certificate)].concat(),
        [vec![11], parts(&[])].concat(),
        of_rsa,
    ]
}
