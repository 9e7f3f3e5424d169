//! TPMT_PUBLIC, read structurally (TPM 2.0 part 2, 12.2.4): never by searching for bytes.

use aws_lc_rs::digest;

use super::{ResidencyUnproven as Unproven, reader::Reader};
use crate::der;

// TPM 2.0 part 2, table 31 (TPMA_OBJECT).
pub(super) const FIXED_TPM: u32 = 1 << 1;
pub(super) const FIXED_PARENT: u32 = 1 << 4;
pub(super) const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
pub(super) const RESTRICTED: u32 = 1 << 16;
pub(super) const DECRYPT: u32 = 1 << 17;
pub(super) const SIGN: u32 = 1 << 18;

// TPM 2.0 part 2, table 9 (TPM_ALG_ID).
pub(super) const TPM_ALG_RSA: u16 = 0x0001;
pub(super) const TPM_ALG_AES: u16 = 0x0006;
pub(super) const TPM_ALG_SHA256: u16 = 0x000B;
const TPM_ALG_SHA384: u16 = 0x000C;
const TPM_ALG_SHA512: u16 = 0x000D;
pub(super) const TPM_ALG_NULL: u16 = 0x0010;
pub(super) const TPM_ALG_RSASSA: u16 = 0x0014;
pub(super) const TPM_ALG_ECDSA: u16 = 0x0018;
pub(super) const TPM_ALG_ECC: u16 = 0x0023;
pub(super) const TPM_ALG_CFB: u16 = 0x0043;
const TPM_ECC_NIST_P256: u16 = 0x0003;
const TPM_ECC_NIST_P384: u16 = 0x0004;
const TPM_ECC_NIST_P521: u16 = 0x0005;

/// A key's public area, its asymmetric kinds only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicArea {
    bytes: Vec<u8>,
    pub(super) name_hash: NameHash,
    pub(super) attributes: u32,
    /// The symmetric algorithm that protects its children; `None` for a key that has none.
    pub(super) symmetric: Option<Symmetric>,
    /// Scheme and hash, when it is bound to one.
    pub(super) scheme: Option<(u16, u16)>,
    pub(super) key: Key,
}

/// A symmetric algorithm with its key's length and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symmetric {
    pub(super) algorithm: u16,
    pub(super) bits: u16,
    pub(super) mode: u16,
}

/// The public key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// Uncompressed (SEC 1, 2.3.3), coordinates in full width.
    Point { curve: Curve, point: Vec<u8> },
    /// RSAPublicKey (RFC 8017 A.1.1), DER.
    Rsa(Vec<u8>),
}

impl Key {
    /// What the BIT STRING of a SubjectPublicKeyInfo holds.
    pub(super) fn raw(&self) -> &[u8] {
        match self {
            Self::Point { point, .. } => point,
            Self::Rsa(key) => key,
        }
    }

    /// SubjectPublicKeyInfo, DER (RFC 5480 §2, RFC 3279 §2.3.1).
    pub(super) fn spki(&self) -> Vec<u8> {
        const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01";
        const RSA_ENCRYPTION: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01\x05\x00";
        let algorithm = match self {
            Self::Point { curve, .. } => [EC_PUBLIC_KEY, curve.oid()].concat(),
            Self::Rsa(_) => RSA_ENCRYPTION.to_vec(),
        };
        let bits = der::element(0x03, &[&[0], self.raw()].concat());
        der::element(0x30, &[der::element(0x30, &algorithm), bits].concat())
    }
}

/// A curve that EKs and signing keys use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Octets of a coordinate.
    pub(super) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => b"\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07",
            Self::P384 => b"\x06\x05\x2B\x81\x04\x00\x22",
            Self::P521 => b"\x06\x05\x2B\x81\x04\x00\x23",
        }
    }
}

/// The hash that names an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameHash {
    Sha256,
    Sha384,
    Sha512,
}

impl NameHash {
    fn parse(algorithm: u16) -> Option<Self> {
        match algorithm {
            TPM_ALG_SHA256 => Some(Self::Sha256),
            TPM_ALG_SHA384 => Some(Self::Sha384),
            TPM_ALG_SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn id(self) -> u16 {
        match self {
            Self::Sha256 => TPM_ALG_SHA256,
            Self::Sha384 => TPM_ALG_SHA384,
            Self::Sha512 => TPM_ALG_SHA512,
        }
    }

    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// The digest with the algorithm before it, as names are written (TPM 2.0 part 1, 16).
    pub(super) fn name(self, bytes: &[u8]) -> Vec<u8> {
        [self.id().to_be_bytes().as_slice(), &self.digest(bytes)].concat()
    }
}

impl PublicArea {
    /// Reads a marshalled TPMT_PUBLIC, all of it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unproven> {
        let mut reader = Reader(bytes);
        let algorithm = reader.u16()?;
        let name_hash = NameHash::parse(reader.u16()?).ok_or(Unproven::Malformed)?;
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        let symmetric = match reader.u16()? {
            TPM_ALG_NULL => None,
            algorithm => Some(Symmetric { algorithm, bits: reader.u16()?, mode: reader.u16()? }),
        };
        let scheme = match reader.u16()? {
            TPM_ALG_NULL => None,
            scheme => Some((scheme, reader.u16()?)),
        };
        let key = match algorithm {
            TPM_ALG_ECC => point(&mut reader)?,
            TPM_ALG_RSA => rsa(&mut reader)?,
            _ => return Err(Unproven::Malformed),
        };
        reader.end()?;
        Ok(Self { bytes: bytes.to_vec(), name_hash, attributes, symmetric, scheme, key })
    }

    /// TPM2B_NAME's content.
    pub(super) fn name(&self) -> Vec<u8> {
        self.name_hash.name(&self.bytes)
    }

    /// Holds the attributes against what they must be; `whose` key it is, for the words.
    pub(super) fn check(&self, whose: &'static str, rules: &[(u32, bool, &'static str)]) -> Result<(), Unproven> {
        match rules.iter().find(|(bit, set, _)| (self.attributes & bit != 0) != *set) {
            Some((_, _, problem)) => Err(Unproven::Attribute { whose, problem }),
            None => Ok(()),
        }
    }
}

fn point(reader: &mut Reader<'_>) -> Result<Key, Unproven> {
    let curve = match reader.u16()? {
        TPM_ECC_NIST_P256 => Curve::P256,
        TPM_ECC_NIST_P384 => Curve::P384,
        TPM_ECC_NIST_P521 => Curve::P521,
        _ => return Err(Unproven::Malformed),
    };
    if reader.u16()? != TPM_ALG_NULL {
        let _kdf_hash = reader.u16()?;
    }
    let mut point = vec![0x04];
    for coordinate in [reader.sized()?, reader.sized()?] {
        // A TPM may drop leading zero octets of a coordinate.
        let missing = curve.width().checked_sub(coordinate.len()).ok_or(Unproven::Malformed)?;
        point.extend(vec![0; missing]);
        point.extend(coordinate);
    }
    Ok(Key::Point { curve, point })
}

fn rsa(reader: &mut Reader<'_>) -> Result<Key, Unproven> {
    let _bits = reader.u16()?;
    let exponent = match reader.u32()? {
        // 0 stands for 2^16 + 1 (TPM 2.0 part 2, 12.2.3.5).
        0 => 65_537,
        other => other,
    };
    let integer = |value: &[u8]| {
        let mut digits: Vec<u8> = value.iter().copied().skip_while(|byte| *byte == 0).collect();
        if digits.first().is_none_or(|first| first & 0x80 != 0) {
            digits.insert(0, 0);
        }
        der::element(0x02, &digits)
    };
    let body = [integer(reader.sized()?), integer(&exponent.to_be_bytes())].concat();
    Ok(Key::Rsa(der::element(0x30, &body)))
}
