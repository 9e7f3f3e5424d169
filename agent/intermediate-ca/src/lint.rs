//! The last look before a TBSCertificate is recorded and signed: what stands in the bytes, not what was asked of the
//! library that made them.

use issuance::{CommonName, KeyAlgorithm, PublicKey, Purpose};
use x509_parser::{
    certificate::TbsCertificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use crate::pki::CaCertificate;

/// What the bytes must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a CaCertificate,
    pub(crate) serial: &'a [u8],
    pub(crate) common_name: &'a CommonName,
    pub(crate) public_key: &'a PublicKey,
    pub(crate) purpose: Purpose,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

/// Holds the bytes against what they must say; the error is the first difference.
pub(crate) fn lint(tbs: &[u8], expected: &Expected<'_>) -> Result<(), String> {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else {
        return Err("it is not a TBSCertificate".to_owned());
    };
    let must = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(problem.to_owned()) };
    let issuer = expected.issuer;
    must(parsed.version().0 == 2, "it is not version 3")?;
    must(parsed.raw_serial() == expected.serial, "its certificate serial is not the reserved one")?;
    must(
        parsed.signature.algorithm.to_id_string() == signature_oid(issuer.public_key.algorithm()),
        "its signature algorithm is not the issuer's",
    )?;
    must(parsed.issuer.as_raw() == issuer.subject, "its issuer is not the CA's subject, byte for byte")?;
    must(parsed.subject_pki.raw == expected.public_key.spki(), "its key is not the request's, byte for byte")?;
    let validity = &parsed.validity;
    must(
        validity.not_before.timestamp() == expected.not_before && validity.not_after.timestamp() == expected.not_after,
        "its validity is not the planned one",
    )?;
    must(
        expected.not_before >= issuer.not_before
            && expected.not_after <= issuer.not_after
            && expected.not_before < expected.not_after,
        "its validity is not within its issuer's",
    )?;
    let subject: Vec<_> = parsed.subject.iter_attributes().collect();
    let common_names: Vec<_> = parsed.subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    must(
        subject.len() == 1 && common_names == [expected.common_name.as_str()],
        "its subject is not the request's CN alone",
    )?;
    lint_extensions(&parsed, expected, &must)
}

fn lint_extensions(
    parsed: &TbsCertificate<'_>,
    expected: &Expected<'_>,
    must: &impl Fn(bool, &str) -> Result<(), String>,
) -> Result<(), String> {
    let mut seen = [0_u8; 6];
    let mut saw = |which: usize| {
        seen[which] += 1;
        seen[which] == 1
    };
    let (is_ca, path_length) = match expected.purpose {
        Purpose::DeviceCa { path_length } => (true, Some(u32::from(path_length))),
        Purpose::DeviceIdentity | Purpose::Server => (false, None),
    };
    let is_server = expected.purpose == Purpose::Server;
    for extension in parsed.extensions() {
        let critical = extension.critical;
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => must(
                saw(0) && critical && constraints.ca == is_ca && constraints.path_len_constraint == path_length,
                "its BasicConstraints is not the profile's",
            )?,
            ParsedExtension::KeyUsage(usage) => {
                // RFC 5280 §4.2.1.3: bit 0 digitalSignature, bit 5 keyCertSign.
                let bits = if is_ca { 1 | 1 << 5 } else { 1 };
                must(saw(1) && critical && usage.flags == bits, "its KeyUsage is not the profile's")?;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => must(
                saw(2)
                    && !is_ca
                    && usage.server_auth == is_server
                    && usage.client_auth != is_server
                    && !(usage.any
                        || usage.code_signing
                        || usage.email_protection
                        || usage.time_stamping
                        || usage.ocsp_signing)
                    && usage.other.is_empty(),
                "its ExtendedKeyUsage is not the profile's",
            )?,
            ParsedExtension::SubjectKeyIdentifier(identifier) => {
                must(saw(3) && !critical && identifier.0.len() == 20, "its SubjectKeyIdentifier is not 20 octets")?;
            }
            ParsedExtension::AuthorityKeyIdentifier(identifier) => must(
                saw(4)
                    && !critical
                    && identifier.key_identifier.as_ref().is_some_and(|id| id.0 == expected.issuer.key_identifier),
                "its AuthorityKeyIdentifier is not the issuer's SubjectKeyIdentifier",
            )?,
            ParsedExtension::SubjectAlternativeName(names) => must(
                saw(5)
                    && is_server
                    && matches!(names.general_names.as_slice(),
                        [GeneralName::DNSName(name)] if *name == expected.common_name.as_str()),
                "its SubjectAltName is not the CN alone",
            )?,
            _ => return Err(format!("it has an extension {} that no profile gives", extension.oid)),
        }
    }
    must(seen == [1, 1, u8::from(!is_ca), 1, 1, u8::from(is_server)], "an extension that the profile gives is missing")
}

/// Whether a planned TBSCertificate was made for this issuer: its name and its key. One planned before the issuer's
/// key was replaced must not be signed with the new one.
pub(crate) fn is_issued_by(tbs: &[u8], issuer: &CaCertificate) -> bool {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else { return false };
    parsed.issuer.as_raw() == issuer.subject
        && parsed.extensions().iter().any(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().is_some_and(|id| id.0 == issuer.key_identifier)
            }
            _ => false,
        })
}

/// RFC 5758 §3.2, RFC 4055 §5: what `KeyAlgorithm` signs with.
fn signature_oid(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::P256 => "1.2.840.10045.4.3.2",
        KeyAlgorithm::P384 => "1.2.840.10045.4.3.3",
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "1.2.840.113549.1.1.11",
    }
}
