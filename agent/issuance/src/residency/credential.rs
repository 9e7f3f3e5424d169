//! A credential that one TPM alone can release: TPM2_MakeCredential in software (TPM 2.0 part 1, 24, "Credential
//! Protection"). Whoever made the secret is convinced by its return, and nobody else.

use aws_lc_rs::{
    agreement::{self, EphemeralPrivateKey, UnparsedPublicKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    hmac,
    iv::FixedLength,
    rand::SystemRandom,
    rsa::{OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey},
};
use serde::{Deserialize, Serialize};

use super::{
    ResidencyUnproven as Unproven,
    public_area::{Curve, DECRYPT, Key, NameHash, PublicArea, TPM_ALG_AES, TPM_ALG_CFB},
    reader::sized,
};

/// What TPM2_ActivateCredential takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// TPMS_ID_OBJECT, marshalled: the content of TPM2B_ID_OBJECT.
    pub blob: Vec<u8>,
    /// The content of TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
}

/// Encloses `secret` so that only the TPM which holds both the EK of `ek_public` and an object named `ak_name`
/// releases it. Fails for an EK that is none: not a restricted decryption key with AES-CFB. A secret has at most a digest's
/// length of the EK's name (TPM 2.0 part 3, 12.6): 32 octets fit each of the hashes that are accepted.
pub fn make(ek_public: &[u8], ak_name: &[u8], secret: &[u8; 32]) -> Result<Credential, Unproven> {
    let ek = PublicArea::parse(ek_public)?;
    let symmetric = ek.symmetric.filter(|found| found.algorithm == TPM_ALG_AES && found.mode == TPM_ALG_CFB);
    let Some(symmetric) = symmetric.filter(|_| ek.attributes & DECRYPT != 0) else {
        return Err(Unproven::Attribute { whose: "EK", problem: "is not a decryption key with AES-CFB" });
    };
    let (seed, encrypted_secret) = seed(&ek)?;
    let key = kdfa(ek.name_hash, &seed, b"STORAGE\0", ak_name, symmetric.bits);
    let mut identity = sized(secret);
    let cipher = match symmetric.bits {
        128 => &AES_128,
        256 => &AES_256,
        _ => return Err(Unproven::Attribute { whose: "EK", problem: "has neither AES-128 nor AES-256" }),
    };
    // Each credential has a seed of its own, so that the IV of zeros that part 1 prescribes is used once with a key.
    UnboundCipherKey::new(cipher, &key)
        .and_then(EncryptingKey::cfb128)
        .and_then(|cipher| {
            cipher.less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16])))
        })
        .map_err(|_| Unproven::Malformed)?;
    let integrity = kdfa(ek.name_hash, &seed, b"INTEGRITY\0", &[], bits(ek.name_hash));
    let tag = mac(ek.name_hash, &integrity, &[&identity, ak_name]);
    Ok(Credential { blob: [sized(&tag), identity].concat(), encrypted_secret })
}

/// A random seed, and the same as only the EK's TPM can read it.
fn seed(ek: &PublicArea) -> Result<(Vec<u8>, Vec<u8>), Unproven> {
    let malformed = |_| Unproven::Malformed;
    match &ek.key {
        Key::Rsa(_) => {
            let algorithm = match ek.name_hash {
                NameHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
                NameHash::Sha384 => &OAEP_SHA384_MGF1SHA384,
                NameHash::Sha512 => &OAEP_SHA512_MGF1SHA512,
            };
            let key = aws_lc_rs::rsa::PublicEncryptingKey::from_der(&ek.key.spki()).map_err(|_| Unproven::Malformed)?;
            let key = OaepPublicEncryptingKey::new(key).map_err(malformed)?;
            let mut seed = vec![0; usize::from(bits(ek.name_hash) / 8)];
            aws_lc_rs::rand::fill(&mut seed).map_err(malformed)?;
            let mut encrypted = vec![0; key.ciphertext_size()];
            let length = key.encrypt(algorithm, &seed, &mut encrypted, Some(b"IDENTITY\0")).map_err(malformed)?.len();
            encrypted.truncate(length);
            Ok((seed, encrypted))
        }
        Key::Point { curve, point } => {
            let algorithm = match curve {
                Curve::P256 => &agreement::ECDH_P256,
                Curve::P384 => &agreement::ECDH_P384,
                Curve::P521 => &agreement::ECDH_P521,
            };
            let ours = EphemeralPrivateKey::generate(algorithm, &SystemRandom::new()).map_err(malformed)?;
            let public = ours.compute_public_key().map_err(malformed)?;
            let (x, y) = coordinates(public.as_ref(), *curve);
            let theirs = UnparsedPublicKey::new(algorithm, point);
            let seed = agreement::agree_ephemeral(ours, theirs, aws_lc_rs::error::Unspecified, |shared| {
                Ok(kdfe(ek.name_hash, shared, x, coordinates(point, *curve).0))
            })
            .map_err(malformed)?;
            Ok((seed, [sized(x), sized(y)].concat()))
        }
    }
}

/// The coordinates of an uncompressed point.
fn coordinates(point: &[u8], curve: Curve) -> (&[u8], &[u8]) {
    let xy = point.get(1..).unwrap_or_default();
    xy.split_at_checked(curve.width()).unwrap_or_default()
}

/// KDFa (TPM 2.0 part 1, 11.4.10.2) for at most one digest's worth of bits: `label` ends with its zero octet.
fn kdfa(hash: NameHash, key: &[u8], label: &[u8], context: &[u8], bits: u16) -> Vec<u8> {
    let counter = 1u32.to_be_bytes();
    let mut output = mac(hash, key, &[&counter, label, context, &u32::from(bits).to_be_bytes()]);
    output.truncate(usize::from(bits / 8));
    output
}

/// KDFe (TPM 2.0 part 1, 11.4.10.3) for "IDENTITY" and one digest's worth of bits.
fn kdfe(hash: NameHash, shared: &[u8], party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    hash.digest(&[&1u32.to_be_bytes(), shared, b"IDENTITY\0", party_u, party_v].concat())
}

fn mac(hash: NameHash, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = match hash {
        NameHash::Sha256 => hmac::HMAC_SHA256,
        NameHash::Sha384 => hmac::HMAC_SHA384,
        NameHash::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

fn bits(hash: NameHash) -> u16 {
    match hash {
        NameHash::Sha256 => 256,
        NameHash::Sha384 => 384,
        NameHash::Sha512 => 512,
    }
}
