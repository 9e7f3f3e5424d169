//! Public keys and what they can verify.

use std::fmt;

use aws_lc_rs::{digest, signature};
use serde::{Deserialize, Serialize};
use x509_parser::{prelude::FromDer, public_key::PublicKey as ParsedKey, x509::SubjectPublicKeyInfo};

/// The key algorithms that are made or accepted. Each has a hash of its own: what TPMs, tokens and targets all take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bit.
    Rsa2048,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 3072 bit.
    Rsa3072,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 4096 bit.
    Rsa4096,
}

/// The hash of a signature algorithm, by its dotted object identifier, where a key of that kind makes it: ECDSA
/// (RFC 5758 §3.2) or RSASSA-PKCS1-v1_5 (RFC 4055 §5), with SHA-256, SHA-384 or SHA-512. `None` for any other: x509-parser
/// would accept SHA-1 as well.
#[must_use]
pub fn signature_hash(oid: &str, is_rsa: bool) -> Option<Hash> {
    match (oid, is_rsa) {
        ("1.2.840.10045.4.3.2", false) | ("1.2.840.113549.1.1.11", true) => Some(Hash::Sha256),
        ("1.2.840.10045.4.3.3", false) | ("1.2.840.113549.1.1.12", true) => Some(Hash::Sha384),
        ("1.2.840.10045.4.3.4", false) | ("1.2.840.113549.1.1.13", true) => Some(Hash::Sha512),
        _ => None,
    }
}

/// The same the other way round: the AlgorithmIdentifier that names it, DER (RFC 5758 §3.2: no parameters; RFC 4055 §5: NULL).
#[must_use]
pub fn signature_algorithm(hash: Hash, is_rsa: bool) -> &'static [u8] {
    match (hash, is_rsa) {
        (Hash::Sha256, false) => b"\x30\x0A\x06\x08\x2A\x86\x48\xCE\x3D\x04\x03\x02",
        (Hash::Sha384, false) => b"\x30\x0A\x06\x08\x2A\x86\x48\xCE\x3D\x04\x03\x03",
        (Hash::Sha512, false) => b"\x30\x0A\x06\x08\x2A\x86\x48\xCE\x3D\x04\x03\x04",
        (Hash::Sha256, true) => b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0B\x05\x00",
        (Hash::Sha384, true) => b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0C\x05\x00",
        (Hash::Sha512, true) => b"\x30\x0D\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0D\x05\x00",
    }
}

/// An algorithm in words, by its dotted object identifier, for whoever is told that it is not accepted: of a signature the hash
/// or the scheme that is wrong with it, of a key its kind (RFC 3279 §2, RFC 5758, RFC 8017 appendix C, RFC 8410).
#[must_use]
pub fn algorithm_words(oid: &str) -> String {
    let words = match oid {
        "1.2.840.113549.1.1.2" => "MD2 (md2WithRSAEncryption)",
        "1.2.840.113549.1.1.3" => "MD4 (md4WithRSAEncryption)",
        "1.2.840.113549.1.1.4" => "MD5 (md5WithRSAEncryption)",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "SHA-1 (sha1WithRSAEncryption)",
        "1.2.840.113549.1.1.14" => "SHA-224 (sha224WithRSAEncryption)",
        "1.2.840.10045.4.1" => "SHA-1 (ecdsa-with-SHA1)",
        "1.2.840.10045.4.3.1" => "SHA-224 (ecdsa-with-SHA224)",
        "1.2.840.10040.4.3" => "DSA and SHA-1 (dsa-with-sha1)",
        "1.2.840.10040.4.1" | "2.16.840.1.101.3.4.3.1" | "2.16.840.1.101.3.4.3.2" => "DSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        _ => {
            let of_a_known = |is_rsa: bool| signature_hash(oid, is_rsa).map(|hash| (hash, is_rsa));
            return match of_a_known(false).or_else(|| of_a_known(true)) {
                Some((hash, true)) => format!("RSA and {hash}"),
                Some((hash, false)) => format!("ECDSA and {hash}"),
                None => oid.to_owned(),
            };
        }
    };
    words.to_owned()
}

/// The hashes that signatures are made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All of them, as configuration spells them.
    pub const NAMES: [(&'static str, Hash); 3] =
        [("SHA-256", Self::Sha256), ("SHA-384", Self::Sha384), ("SHA-512", Self::Sha512)];

    /// From configuration's spelling, such as `SHA-384`; the error says what to write instead.
    pub fn parse(name: &str) -> Result<Self, String> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
        let broken = match plain.as_str() {
            "SHA1" => Some("SHA-1"),
            "MD5" => Some("MD5"),
            _ => None,
        };
        Self::NAMES.into_iter().find_map(|(known, hash)| (known == name).then_some(hash)).ok_or_else(|| {
            let known = Self::NAMES.map(|(name, _)| name).join(", ");
            match broken {
                // RFC 6194 §3, RFC 6151 §2.
                Some(broken) => format!("must not be {broken}, whose collisions are made: give one of {known}"),
                None => format!("must be one of {known}"),
            }
        })
    }

    /// The digest of a message.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

impl KeyAlgorithm {
    /// All of them, as configuration spells them.
    pub const NAMES: [(&'static str, KeyAlgorithm); 5] = [
        ("P-256", Self::P256),
        ("P-384", Self::P384),
        ("RSA-2048", Self::Rsa2048),
        ("RSA-3072", Self::Rsa3072),
        ("RSA-4096", Self::Rsa4096),
    ];

    /// From configuration's spelling, such as `P-256`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find_map(|(known, algorithm)| (known == name).then_some(algorithm))
    }

    /// The hash that this algorithm signs unless another one is asked for.
    #[must_use]
    pub fn hash(self) -> Hash {
        match self {
            Self::P384 => Hash::Sha384,
            Self::P256 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Hash::Sha256,
        }
    }

    /// Whether it is RSA; else it is ECDSA.
    #[must_use]
    pub fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
        })
    }
}

/// A public key: its SubjectPublicKeyInfo, DER, of an algorithm that we accept.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct PublicKey {
    spki: Vec<u8>,
    algorithm: KeyAlgorithm,
    raw: Vec<u8>,
}

/// Why bytes are not a public key that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not one SubjectPublicKeyInfo.
    #[error("these bytes are not a SubjectPublicKeyInfo (RFC 5280 §4.1)")]
    NotDer,
    /// Neither P-256, P-384 nor RSA of 2048, 3072 or 4096 bit.
    #[error("the key is {0}: use P-256, P-384, RSA-2048, RSA-3072 or RSA-4096")]
    Algorithm(String),
    /// An RSA key whose AlgorithmIdentifier lacks its NULL.
    #[error("the RSA key's algorithm has no NULL parameters: write them, as RFC 3279 §2.3.1 has it")]
    RsaParameters,
    /// A compressed or malformed point.
    #[error("the EC key's point is not uncompressed: write 04, x, y (RFC 5480 §2.2)")]
    Point,
}

impl PublicKey {
    /// Parses a SubjectPublicKeyInfo.
    pub fn from_der(spki: &[u8]) -> Result<Self, PublicKeyError> {
        let (rest, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| PublicKeyError::NotDer)?;
        if !rest.is_empty() {
            return Err(PublicKeyError::NotDer);
        }
        let algorithm = match parsed.parsed().map_err(|_| PublicKeyError::NotDer)? {
            ParsedKey::EC(_) => {
                // `as_oid` reads whatever stands there: only an OBJECT IDENTIFIER names a curve (RFC 5480 §2.1.1).
                let named = parsed.algorithm.parameters.as_ref().filter(|curve| curve.tag().0 == 6);
                let curve = named.and_then(|curve| curve.as_oid().ok());
                match curve.map(|oid| oid.to_id_string()).as_deref() {
                    Some("1.2.840.10045.3.1.7") => KeyAlgorithm::P256,
                    Some("1.3.132.0.34") => KeyAlgorithm::P384,
                    other => {
                        return Err(PublicKeyError::Algorithm(format!(
                            "EC on {}",
                            other.unwrap_or("no named curve (explicit parameters?)")
                        )));
                    }
                }
            }
            ParsedKey::RSA(rsa) => match rsa.key_size() {
                2048 => KeyAlgorithm::Rsa2048,
                3072 => KeyAlgorithm::Rsa3072,
                4096 => KeyAlgorithm::Rsa4096,
                bits => return Err(PublicKeyError::Algorithm(format!("RSA of {bits} bit"))),
            },
            _ => return Err(PublicKeyError::Algorithm(algorithm_words(&parsed.algorithm.algorithm.to_id_string()))),
        };
        // Such keys are copied into certificates byte for byte, and not every verifier reads the other forms.
        let parameters = parsed.algorithm.parameters.as_ref();
        if algorithm.is_rsa() && parameters.is_none_or(|parameters| parameters.as_null().is_err()) {
            return Err(PublicKeyError::RsaParameters);
        }
        if !algorithm.is_rsa() && parsed.subject_public_key.data.first() != Some(&4) {
            return Err(PublicKeyError::Point);
        }
        Ok(Self { raw: parsed.subject_public_key.data.to_vec(), spki: spki.to_vec(), algorithm })
    }

    /// The SubjectPublicKeyInfo, DER, as it was given.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The BIT STRING inside: an uncompressed point, or an RSAPublicKey.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// SHA-256 of the SubjectPublicKeyInfo: by this a key is known.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// Whether `signature` (DER `ECDSA-Sig-Value`, or PKCS#1 v1.5) over `message` was made by this key's private half.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifies_with(self.algorithm.hash(), message, signature)
    }

    /// The same, with a hash of the signer's choice: requests and CAs may use each of them.
    #[must_use]
    pub fn verifies_with(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        use Hash::{Sha256, Sha384, Sha512};
        use KeyAlgorithm::{P256, P384, Rsa2048, Rsa3072, Rsa4096};
        let algorithm: &dyn signature::VerificationAlgorithm = match (self.algorithm, hash) {
            (P256, Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
            (P256, Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
            (P256, Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
            (P384, Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
            (P384, Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
            (P384, Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
            (Rsa2048 | Rsa3072 | Rsa4096, Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Rsa2048 | Rsa3072 | Rsa4096, Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Rsa2048 | Rsa3072 | Rsa4096, Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        };
        signature::UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, sha256 {})", self.algorithm, hex(&self.sha256()))
    }
}

impl TryFrom<Vec<u8>> for PublicKey {
    type Error = PublicKeyError;
    fn try_from(spki: Vec<u8>) -> Result<Self, PublicKeyError> {
        Self::from_der(&spki)
    }
}

impl From<PublicKey> for Vec<u8> {
    fn from(key: PublicKey) -> Self {
        key.spki
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// Lower-case hexadecimal, as names and serials are printed everywhere.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The octets of hexadecimal digits of either case, two for each; `None` for anything else.
#[must_use]
pub fn octets(digits: &str) -> Option<Vec<u8>> {
    let octet = |pair: &[u8]| {
        // `from_str_radix` would take a sign for a digit.
        let is_hexadecimal = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        is_hexadecimal.then(|| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).flatten()
    };
    digits.as_bytes().chunks(2).map(octet).collect()
}

#[cfg(test)]
mod tests {
    use x509_parser::x509::AlgorithmIdentifier;

    use super::*;

    /// Each AlgorithmIdentifier is read back as what it was written for, and as nothing else.
    #[test]
    fn algorithm_identifiers_and_hashes_agree() {
        for (_, hash) in Hash::NAMES {
            for is_rsa in [false, true] {
                let (rest, parsed) = AlgorithmIdentifier::from_der(signature_algorithm(hash, is_rsa)).unwrap();
                let oid = parsed.algorithm.to_id_string();
                assert!(rest.is_empty());
                assert_eq!(signature_hash(&oid, is_rsa), Some(hash));
                assert_eq!(signature_hash(&oid, !is_rsa), None);
                assert!(algorithm_words(&oid).contains(&hash.to_string()));
            }
        }
    }

    /// Configuration's spelling alone is taken; a broken hash is refused by its name, however it is written.
    #[test]
    fn broken_hashes_are_refused_by_name() {
        assert_eq!(Hash::parse("SHA-384"), Ok(Hash::Sha384));
        for (wrong, word) in [
            ("SHA-1", "not be SHA-1"),
            ("sha1", "not be SHA-1"),
            ("MD5", "not be MD5"),
            ("md-5", "not be MD5"),
            ("SHA384", "one of SHA-256"),
            ("", "one of"),
        ] {
            let refused = Hash::parse(wrong).unwrap_err();
            assert!(refused.contains(word) && refused.contains("SHA-512"), "{wrong}: {refused}");
        }
    }
}
