//! Where a private key lives: the evidence, verified structurally.

use crate::{PublicKey, ResidencyEvidence, der, public_key::sha256};

/// Why residency evidence was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResidencyUnproven {
    /// The bytes are not a TPMT_PUBLIC.
    #[error("the public area is not a TPMT_PUBLIC (TPM 2.0 part 2, 12.2.4)")]
    Malformed,
    /// The name is not the digest of the public area.
    #[error("the key's name is not the digest of its public area")]
    WrongName,
    /// An attribute is not as it must be.
    #[error("the key's {0}")]
    Attribute(&'static str),
    /// The public area holds another key.
    #[error("the public area is of another key")]
    OtherKey,
}

/// Holds evidence against the key that it is about.
///
/// For a TPM: nameAlg SHA-256, name = digest of the public area, fixedTPM, fixedParent and sensitiveDataOrigin set, a
/// signing key that is not restricted, and the same public key. For a token: CKA_LOCAL, CKA_SENSITIVE,
/// CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE true, CKA_EXTRACTABLE false.
pub fn verify(evidence: &ResidencyEvidence, public_key: &PublicKey) -> Result<(), ResidencyUnproven> {
    match evidence {
        ResidencyEvidence::Tpm { public_area, name } => verify_tpm(public_area, name, public_key),
        ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable } => {
            for (holds, problem) in [
                (*local, "CKA_LOCAL is false: it was not generated in the token"),
                (*sensitive, "CKA_SENSITIVE is false"),
                (*always_sensitive, "CKA_ALWAYS_SENSITIVE is false"),
                (!*extractable, "CKA_EXTRACTABLE is true"),
                (*never_extractable, "CKA_NEVER_EXTRACTABLE is false"),
            ] {
                if !holds {
                    return Err(ResidencyUnproven::Attribute(problem));
                }
            }
            Ok(())
        }
    }
}

// TPM 2.0 part 2, table 31 (TPMA_OBJECT).
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const SIGN: u32 = 1 << 18;
const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_SHA256: u16 = 0x000B;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ALG_ECC: u16 = 0x0023;

fn verify_tpm(public_area: &[u8], name: &[u8], public_key: &PublicKey) -> Result<(), ResidencyUnproven> {
    let mut reader = Reader(public_area);
    let algorithm = reader.u16()?;
    let name_algorithm = reader.u16()?;
    let attributes = reader.u32()?;
    if name_algorithm != TPM_ALG_SHA256 {
        return Err(ResidencyUnproven::Attribute("nameAlg is not SHA-256"));
    }
    let mut expected = name_algorithm.to_be_bytes().to_vec();
    expected.extend(sha256(public_area));
    if name != expected {
        return Err(ResidencyUnproven::WrongName);
    }
    for (bit, set, problem) in [
        (FIXED_TPM, true, "fixedTPM is clear: it may leave this TPM"),
        (FIXED_PARENT, true, "fixedParent is clear: it may be moved"),
        (SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin is clear: it was not generated in the TPM"),
        (SIGN, true, "sign is clear"),
        (RESTRICTED, false, "restricted is set: it cannot sign a certification request"),
    ] {
        if (attributes & bit != 0) != set {
            return Err(ResidencyUnproven::Attribute(problem));
        }
    }
    let _auth_policy = reader.sized()?;
    // TPMS_ASYM_PARMS of a signing key: symmetric is NULL, then the scheme, with its hash unless it is NULL.
    if reader.u16()? != TPM_ALG_NULL {
        return Err(ResidencyUnproven::Malformed);
    }
    if reader.u16()? != TPM_ALG_NULL {
        reader.u16()?;
    }
    let raw = match algorithm {
        TPM_ALG_ECC => {
            let _curve = reader.u16()?;
            let _kdf = reader.u16()?;
            let (x, y) = (reader.sized()?, reader.sized()?);
            let width = (public_key.raw().len().saturating_sub(1)) / 2;
            // A TPM may drop leading zero octets of a coordinate.
            if x.len() > width || y.len() > width {
                return Err(ResidencyUnproven::OtherKey);
            }
            let mut point = vec![0x04];
            for coordinate in [x, y] {
                point.extend(vec![0; width - coordinate.len()]);
                point.extend(coordinate);
            }
            point
        }
        TPM_ALG_RSA => {
            let _bits = reader.u16()?;
            let exponent = match reader.u32()? {
                0 => 65_537,
                other => other,
            };
            rsa_public_key(reader.sized()?, exponent)
        }
        _ => return Err(ResidencyUnproven::Malformed),
    };
    if !reader.0.is_empty() {
        return Err(ResidencyUnproven::Malformed);
    }
    if raw != public_key.raw() { Err(ResidencyUnproven::OtherKey) } else { Ok(()) }
}

/// RSAPublicKey (RFC 8017 A.1.1), DER.
fn rsa_public_key(modulus: &[u8], exponent: u32) -> Vec<u8> {
    fn integer(value: &[u8]) -> Vec<u8> {
        let mut digits: Vec<u8> = value.iter().copied().skip_while(|byte| *byte == 0).collect();
        if digits.first().is_none_or(|first| first & 0x80 != 0) {
            digits.insert(0, 0);
        }
        der::element(0x02, &digits)
    }
    let body = [integer(modulus), integer(&exponent.to_be_bytes())].concat();
    der::element(0x30, &body)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ResidencyUnproven> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ResidencyUnproven::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, ResidencyUnproven> {
        Ok(self.take(2)?.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
    }

    fn u32(&mut self) -> Result<u32, ResidencyUnproven> {
        Ok(self.take(4)?.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }

    fn sized(&mut self) -> Result<&'a [u8], ResidencyUnproven> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }
}

#[cfg(test)]
mod tests;
