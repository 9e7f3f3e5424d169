mod attested;
mod sealed;

use super::{
    public_area::{TPM_ALG_ECC, TPM_ALG_NULL, TPM_ALG_RSA, TPM_ALG_SHA256},
    *,
};
use crate::{KeyAlgorithm, simulated::*};
use x509_parser::{prelude::FromDer, public_key::PublicKey as ParsedKey, x509::SubjectPublicKeyInfo};

/// What a signing key of ours has: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
const ATTRIBUTES: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | 1 << 6 | 1 << 10 | SIGN;

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// TPMT_PUBLIC of a key, by hand (TPM 2.0 part 2, 12.2.4).
fn public_area(key: &PublicKey, attributes: u32, strip: bool) -> Vec<u8> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(key.spki()).unwrap();
    let trimmed = |bytes: &[u8]| match bytes {
        [0, rest @ ..] if strip => rest.to_vec(),
        all => all.to_vec(),
    };
    let (algorithm, rest) = match spki.parsed().unwrap() {
        ParsedKey::EC(point) => {
            let (x, y) = point.data()[1..].split_at((point.data().len() - 1) / 2);
            let curve = if x.len() == 32 { 3u16 } else { 4 };
            let scheme = [TPM_ALG_NULL.to_be_bytes(), 0x0018u16.to_be_bytes(), TPM_ALG_SHA256.to_be_bytes()].concat();
            let curve = [curve.to_be_bytes(), TPM_ALG_NULL.to_be_bytes()].concat();
            (TPM_ALG_ECC, [scheme, curve, sized(&trimmed(x)), sized(&trimmed(y))].concat())
        }
        ParsedKey::RSA(rsa) => {
            let modulus: Vec<u8> = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
            let bits = (modulus.len() as u16 * 8).to_be_bytes();
            let null = TPM_ALG_NULL.to_be_bytes();
            (TPM_ALG_RSA, [&null[..], &null, &bits, &[0; 4], &sized(&modulus)].concat())
        }
        _ => unreachable!(),
    };
    let head = [algorithm.to_be_bytes(), TPM_ALG_SHA256.to_be_bytes()].concat();
    [head, attributes.to_be_bytes().to_vec(), sized(&[]), rest].concat()
}

fn evidence(public_area: Vec<u8>) -> ResidencyEvidence {
    let name = [TPM_ALG_SHA256.to_be_bytes().as_slice(), &sha256(&public_area)].concat();
    ResidencyEvidence::Tpm { public_area, name, attestation: None }
}

fn keys() -> Vec<PublicKey> {
    [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048].map(|each| public_key(&generate(each))).to_vec()
}

/// A TPM's own signing key passes: P-256, P-384, RSA-2048, also with a scheme of its own.
#[test]
fn the_right_public_area_passes() {
    for key in keys() {
        verify(&evidence(public_area(&key, ATTRIBUTES, false)), &key).unwrap();
    }
}

/// A TPM may leave out a coordinate's leading zero: one key in a hundred and twenty-eight has one.
#[test]
fn a_short_coordinate_passes() {
    let key = (0..4096)
        .map(|_| public_key(&generate(KeyAlgorithm::P256)))
        .find(|key| key.raw()[1] == 0 || key.raw()[33] == 0)
        .expect("one in 128 keys");
    let area = public_area(&key, ATTRIBUTES, true);
    assert!(area.len() < public_area(&key, ATTRIBUTES, false).len());
    verify(&evidence(area), &key).unwrap();
}

/// Each attribute that matters, turned round, is refused by its name; every other bit makes no difference.
#[test]
fn each_attribute_counts() {
    let key = public_key(&generate(KeyAlgorithm::P256));
    for bit in 0..32 {
        let outcome = verify(&evidence(public_area(&key, ATTRIBUTES ^ 1 << bit, false)), &key);
        let words = match 1 << bit {
            FIXED_TPM => "fixedTPM is clear",
            FIXED_PARENT => "fixedParent is clear",
            SENSITIVE_DATA_ORIGIN => "sensitiveDataOrigin is clear",
            SIGN => "sign is clear",
            RESTRICTED => "restricted is set",
            _ => {
                outcome.unwrap();
                continue;
            }
        };
        assert!(outcome.unwrap_err().to_string().contains(words), "bit {bit}");
    }
}

/// The name is the digest of the public area: off by any bit, it is refused.
#[test]
fn the_name_is_the_digest() {
    let key = public_key(&generate(KeyAlgorithm::P256));
    let ResidencyEvidence::Tpm { public_area, name, .. } = evidence(public_area(&key, ATTRIBUTES, false)) else {
        panic!()
    };
    for bit in 0..name.len() * 8 {
        let mut wrong = name.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let evidence = ResidencyEvidence::Tpm { public_area: public_area.clone(), name: wrong, attestation: None };
        assert_eq!(verify(&evidence, &key), Err(ResidencyUnproven::WrongName), "bit {bit}");
    }
    let evidence = ResidencyEvidence::Tpm { public_area, name: vec![], attestation: None };
    assert_eq!(verify(&evidence, &key), Err(ResidencyUnproven::WrongName));
}

/// The public area of another key, of the same or of another algorithm, proves nothing about this one.
#[test]
fn another_key_is_refused() {
    let (ours, others) = (keys(), keys());
    for key in &ours {
        for other in &others {
            assert!(verify(&evidence(public_area(other, ATTRIBUTES, false)), key).is_err());
        }
    }
    let outcome = verify(&evidence(public_area(&others[0], ATTRIBUTES, false)), &ours[0]);
    assert_eq!(outcome, Err(ResidencyUnproven::OtherKey));
}

/// Cut at every length, with more behind it, or with any byte changed: an error, never a panic. Each has the name that
/// belongs to it, so that the parser is reached.
#[test]
fn malformed_public_areas_are_refused() {
    for key in keys() {
        let area = public_area(&key, ATTRIBUTES, false);
        for end in 0..area.len() {
            assert!(verify(&evidence(area[..end].to_vec()), &key).is_err(), "cut at {end}");
        }
        let longer = [area.as_slice(), &[0]].concat();
        assert_eq!(verify(&evidence(longer), &key), Err(ResidencyUnproven::Malformed));
        for at in 0..area.len() {
            for to in [0x00, 0x7F, 0xFF] {
                let mut changed = area.clone();
                changed[at] = to;
                // Some bytes say nothing about residency, such as the curve that the key itself repeats.
                let _ = verify(&evidence(changed), &key);
            }
        }
    }
}

/// A token's five statements, each alone turned round, is refused by its name.
#[test]
fn each_statement_of_a_token_counts() {
    let key = public_key(&generate(KeyAlgorithm::P256));
    let statement = |wrong: usize| ResidencyEvidence::Token {
        local: wrong != 0,
        sensitive: wrong != 1,
        always_sensitive: wrong != 2,
        extractable: wrong == 3,
        never_extractable: wrong != 4,
    };
    let words = ["CKA_LOCAL", "CKA_SENSITIVE", "CKA_ALWAYS_SENSITIVE", "CKA_EXTRACTABLE", "CKA_NEVER_EXTRACTABLE"];
    for (wrong, words) in words.into_iter().enumerate() {
        assert!(verify(&statement(wrong), &key).unwrap_err().to_string().contains(words));
    }
    verify(&statement(5), &key).unwrap();
}
