//! The few DER structures (X.690) that devices do not give in the form in which certificates want them.

use issuance::KeyAlgorithm;

/// INTEGER (X.690 §8.3).
pub const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// id-ecPublicKey (RFC 5480 §2.1.1), prime256v1, secp384r1 (§2.1.1.1), and rsaEncryption with its NULL (RFC 3279 §2.3.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const PRIME256V1: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
const NULL: &[u8] = &[0x05, 0x00];

/// Tag, length, content.
#[must_use]
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        // A usize has at most 8 octets.
        long => {
            element.push(0x80 | long.len() as u8);
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(content);
    element
}

/// An INTEGER from an unsigned big-endian number.
#[must_use]
pub fn unsigned(value: &[u8]) -> Vec<u8> {
    let digits = &value[value.iter().take_while(|byte| **byte == 0).count()..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    element(INTEGER, &content)
}

/// ECDSA-Sig-Value (RFC 3279 §2.2.3) from r and s.
#[must_use]
pub fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[unsigned(r), unsigned(s)].concat())
}

/// The `namedCurve` of an elliptic curve algorithm, which is also its CKA_EC_PARAMS; `None` for RSA.
#[must_use]
pub fn named_curve(algorithm: KeyAlgorithm) -> Option<Vec<u8>> {
    let oid = match algorithm {
        KeyAlgorithm::P256 => PRIME256V1,
        KeyAlgorithm::P384 => SECP384R1,
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => return None,
    };
    Some(element(OBJECT_IDENTIFIER, oid))
}

/// SubjectPublicKeyInfo of an elliptic curve key: its `namedCurve` and its uncompressed point.
#[must_use]
pub fn ec_public_key(named_curve: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = [&element(OBJECT_IDENTIFIER, EC_PUBLIC_KEY), named_curve].concat();
    public_key(&algorithm, point)
}

/// SubjectPublicKeyInfo of an RSA key: unsigned big-endian modulus and exponent.
#[must_use]
pub fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = [&element(OBJECT_IDENTIFIER, RSA_ENCRYPTION), NULL].concat();
    public_key(&algorithm, &element(SEQUENCE, &[unsigned(modulus), unsigned(exponent)].concat()))
}

fn public_key(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    // No unused bits.
    let bits = element(BIT_STRING, &[&[0], key].concat());
    element(SEQUENCE, &[element(SEQUENCE, algorithm), bits].concat())
}

/// The content of an OCTET STRING that is all of `encoded`.
#[must_use]
pub fn octet_string(encoded: &[u8]) -> Option<&[u8]> {
    let (content, rest) = content(OCTET_STRING, encoded)?;
    rest.is_empty().then_some(content)
}

/// The one SEQUENCE at the start, with its tag and length; what follows is padding.
#[must_use]
pub fn leading_sequence(padded: &[u8]) -> Option<&[u8]> {
    let (_, rest) = content(SEQUENCE, padded)?;
    padded.get(..padded.len() - rest.len())
}

fn content(tag: u8, encoded: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = encoded.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=0x7F => (short, rest),
        long @ 0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(long - 0x80)?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use issuance::PublicKey;

    use super::*;

    /// Lengths of every form, against X.690 §8.1.3.
    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [
            (0, &[4, 0][..]),
            (127, &[4, 0x7F]),
            (128, &[4, 0x81, 0x80]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let encoded = element(OCTET_STRING, &vec![7; length]);
            assert_eq!(encoded[..header.len()], *header);
            assert_eq!(octet_string(&encoded).unwrap(), vec![7; length]);
        }
    }

    /// An INTEGER is minimal and never negative.
    #[test]
    fn integers_are_unsigned_and_minimal() {
        for (value, encoded) in
            [(&[][..], &[2, 1, 0][..]), (&[0, 0], &[2, 1, 0]), (&[0, 0x7F], &[2, 1, 0x7F]), (&[0x80], &[2, 2, 0, 0x80])]
        {
            assert_eq!(unsigned(value), encoded);
        }
    }

    /// What is built here is what the heart parses: both curves, and RSA with a modulus whose top bit is set.
    #[test]
    fn public_keys_parse() {
        for (algorithm, width) in [(KeyAlgorithm::P256, 32), (KeyAlgorithm::P384, 48)] {
            let point = [vec![4], vec![1; 2 * width]].concat();
            let key = PublicKey::from_der(&ec_public_key(&named_curve(algorithm).unwrap(), &point)).unwrap();
            assert_eq!((key.algorithm(), key.raw()), (algorithm, &*point));
        }
        let key = PublicKey::from_der(&rsa_public_key(&[0xC1; 256], &[1, 0, 1])).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Rsa2048);
    }

    /// Padding after a certificate is cut, a cut certificate and anything else is refused.
    #[test]
    fn padding_is_cut() {
        let certificate = element(SEQUENCE, &[9; 300]);
        let padded = [certificate.clone(), vec![0xFF; 40]].concat();
        assert_eq!(leading_sequence(&padded), Some(&*certificate));
        assert_eq!(leading_sequence(&certificate[..200]), None);
        assert_eq!(leading_sequence(&[0x10, 0x01, 0]), None);
        assert_eq!(leading_sequence(&[]), None);
    }
}
