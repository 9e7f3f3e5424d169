//! What EST sends: certs-only CMS, CsrAttrs, and base64 of both.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use issuance::KeyAlgorithm;
use yasna::{DERWriter, Tag, models::ObjectIdentifier};

/// RFC 5652 §5.1 and §4.
const SIGNED: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
const CONTENT: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
/// RFC 5480 §2.1.1, RFC 8017 appendix C.
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10_045, 2, 1];
const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];

/// ContentInfo with a SignedData that signs nothing: the certificates alone (RFC 5652 §5.2, RFC 7030 §4.1.3).
pub(super) fn certs_only(certificates: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            oid(writer.next(), SIGNED);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set(|_| ());
                    writer.next().write_sequence(|writer| oid(writer.next(), CONTENT));
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                        writer.write_set_of(|writer| {
                            certificates.iter().for_each(|certificate| writer.next().write_der(certificate));
                        });
                    });
                    writer.next().write_set(|_| ());
                });
            });
        });
    })
}

/// CsrAttrs (RFC 7030 §4.5.2): for each kind of key an attribute with what may be generated.
pub(super) fn csr_attributes(keys: impl Iterator<Item = KeyAlgorithm>) -> Vec<u8> {
    let (mut curves, mut sizes): (Vec<&[u64]>, Vec<u32>) = (Vec::new(), Vec::new());
    for key in keys {
        match key {
            KeyAlgorithm::P256 => curves.push(&[1, 2, 840, 10_045, 3, 1, 7]),
            KeyAlgorithm::P384 => curves.push(&[1, 3, 132, 0, 34]),
            KeyAlgorithm::Rsa2048 => sizes.push(2048),
            KeyAlgorithm::Rsa3072 => sizes.push(3072),
            KeyAlgorithm::Rsa4096 => sizes.push(4096),
        }
    }
    curves.sort_unstable();
    curves.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            if !curves.is_empty() {
                writer.next().write_sequence(|writer| {
                    oid(writer.next(), EC_PUBLIC_KEY);
                    writer.next().write_set_of(|writer| curves.iter().for_each(|curve| oid(writer.next(), curve)));
                });
            }
            if !sizes.is_empty() {
                writer.next().write_sequence(|writer| {
                    oid(writer.next(), RSA_ENCRYPTION);
                    writer.next().write_set_of(|writer| sizes.iter().for_each(|bits| writer.next().write_u32(*bits)));
                });
            }
        });
    })
}

fn oid(writer: DERWriter<'_>, arcs: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(arcs));
}

pub(super) fn to_base64(der: &[u8]) -> String {
    STANDARD.encode(der)
}

/// The octets of a body in base64: in one line or in many, whatever ends them, with or without PEM's first and last line
/// (RFC 8951 §3.1: without; some clients send them).
///
/// # Errors
/// What was wrong.
pub fn from_base64(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err("it is no text: send the certification request in base64, not its octets");
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let digits: String =
        lines.flat_map(|line| line.chars().filter(|character| !character.is_ascii_whitespace())).collect();
    if digits.is_empty() {
        return Err("it is empty: send a certification request in base64");
    }
    STANDARD.decode(digits).map_err(|_| "it is no base64: encode the certification request's DER anew")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request is read in one line, in many, with CRLF, with blanks around, and as PEM; what is no base64, is cut off or
    /// empty is refused.
    #[test]
    fn base64_is_read_as_clients_write_it() {
        let octets: Vec<u8> = (0..=255).collect();
        let line = STANDARD.encode(&octets);
        let folded = |end: &str| {
            let lines: Vec<&str> = line.as_bytes().chunks(64).map(|part| std::str::from_utf8(part).unwrap()).collect();
            lines.join(end) + end
        };
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{}-----END CERTIFICATE REQUEST-----\n", folded("\n"));
        for text in [line.clone(), folded("\n"), folded("\r\n"), format!(" {line} \n\n"), pem] {
            assert_eq!(from_base64(text.as_bytes()).unwrap(), octets, "{text}");
        }
        for (wrong, words) in [("", "empty"), ("\n", "empty"), ("a*bc", "no base64"), (&line[1..], "no base64")] {
            assert!(from_base64(wrong.as_bytes()).unwrap_err().contains(words), "{wrong}");
        }
        assert!(from_base64(&[0x30, 0x82, 0xff]).unwrap_err().contains("no text"));
    }
}
