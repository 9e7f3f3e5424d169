//! What came back from the CA, held against what was asked. Only this file makes a [`ValidatedCertificate`].

pub mod name_constraints;
pub(crate) mod path;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer, time::ASN1Time};

use crate::{
    CommonName, PublicKey, Purpose, Timestamp,
    public_key::{hex, octets},
};

/// What a certificate must be before it is written to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateExpectation {
    /// The device's public key.
    pub public_key: PublicKey,
    /// The subject's CN, compared byte for byte.
    pub common_name: CommonName,
    /// What it is for.
    pub purpose: Purpose,
    /// The CAs that may issue it, DER: the issuer is one of them, directly. One of them may itself be a root.
    pub issuers: Vec<Vec<u8>>,
    /// Further intermediates, DER, in any order.
    pub intermediates: Vec<Vec<u8>>,
    /// The roots to trust, DER.
    pub roots: Vec<Vec<u8>>,
    /// The moment at which every certificate of the path must be valid.
    pub at: Timestamp,
}

/// A certificate that is what was asked for. It is made anew before each write, never stored or folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedCertificate {
    der: Vec<u8>,
    expectation: CertificateExpectation,
    path: Vec<Vec<u8>>,
    certificate_serial: String,
}

/// Why a certificate is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRejected {
    /// Not one certificate.
    #[error("the {0} is not one DER-encoded certificate (RFC 5280 §4.1)")]
    NotDer(&'static str),
    /// For another key.
    #[error("the certificate is for another key (its SPKI has SHA-256 {found}, the device's {expected})")]
    WrongKey {
        /// SHA-256 of the certificate's SPKI.
        found: String,
        /// SHA-256 of the device's.
        expected: String,
    },
    /// For another name.
    #[error("the certificate's subject has the CN {found:?}, not {expected:?}")]
    WrongName {
        /// What it says.
        found: String,
        /// What was asked.
        expected: String,
    },
    /// CA:FALSE where a device CA was asked for, or the reverse.
    #[error("the certificate says CA:{}, and CA:{} was asked for", if *.0 { "TRUE" } else { "FALSE" }, if *.0 { "FALSE" } else { "TRUE" })]
    WrongCa(bool),
    /// Another pathLenConstraint.
    #[error("the certificate has {found}, and pathlen:{expected} was asked for", found = .found.map_or("no pathlen".to_owned(), |n| format!("pathlen:{n}")))]
    WrongPathLength {
        /// What it says.
        found: Option<u32>,
        /// What was asked.
        expected: u8,
    },
    /// An extension that must be there, must be critical, or must say something else.
    #[error("the certificate's {extension} {problem}")]
    Extension {
        /// Which.
        extension: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// Not valid at the moment of the check.
    #[error("the {whose} is valid from {not_before} to {not_after}, and now it is {now}")]
    NotValidNow {
        /// Whose.
        whose: &'static str,
        /// From.
        not_before: String,
        /// To.
        not_after: String,
        /// The moment of the check.
        now: String,
    },
    /// Issued by a CA that may not issue it.
    #[error("the certificate was issued by {0:?}, which is none of the profile's issuers")]
    WrongIssuer(String),
    /// A name that a CA above it may not give.
    #[error("a CA above the certificate may not give it its name")]
    NotPermitted(#[source] name_constraints::NotPermitted),
    /// No path to a trusted root.
    #[error("no path leads from the certificate to a trusted root: {0}")]
    NoPath(&'static str),
}

impl ValidatedCertificate {
    /// Holds a certificate against what was asked: key, name, CA and pathlen, usages, validity, issuer and path.
    pub fn validate(der: &[u8], expectation: CertificateExpectation) -> Result<Self, CertificateRejected> {
        use CertificateRejected as Rejected;
        let certificate = parse(der, "certificate")?;
        let found = certificate.tbs_certificate.subject_pki.raw;
        if found != expectation.public_key.spki() {
            return Err(Rejected::WrongKey {
                found: hex(&crate::public_key::sha256(found)),
                expected: hex(&expectation.public_key.sha256()),
            });
        }
        // A CN in a string type that cannot be read counts too: it is one more name.
        let names: Vec<_> =
            certificate.subject().iter_common_name().map(|name| name.as_str().unwrap_or("(unreadable)")).collect();
        if names != [expectation.common_name.as_str()] {
            return Err(Rejected::WrongName {
                found: names.join(" + "),
                expected: expectation.common_name.as_str().to_owned(),
            });
        }
        check_extensions(&certificate)?;
        check_purpose(&certificate, expectation.purpose)?;
        check_validity(&certificate, "certificate", expectation.at)?;
        let certificate_serial = serial(&certificate);
        let path = path::find(&certificate, &expectation)?;
        Ok(Self { der: der.to_vec(), expectation, path, certificate_serial })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What it was held against.
    #[must_use]
    pub fn expectation(&self) -> &CertificateExpectation {
        &self.expectation
    }

    /// The intermediates above it, DER, issuer first, without the root.
    #[must_use]
    pub fn intermediates(&self) -> &[Vec<u8>] {
        &self.path
    }

    /// Its certificate serial, hexadecimal.
    #[must_use]
    pub fn certificate_serial(&self) -> &str {
        &self.certificate_serial
    }
}

/// The certificate serial of a certificate, hexadecimal; `None` when these bytes are not one.
#[must_use]
pub fn certificate_serial(der: &[u8]) -> Option<String> {
    parse(der, "certificate").ok().map(|certificate| serial(&certificate))
}

/// The octets of a certificate serial as people and tools write it: hexadecimal of either case, with or without colons,
/// leading zeros and `0x`. Leading zeros are left out, so that two ways to write one number give the same octets.
///
/// # Errors
/// What was wrong with it.
pub fn serial_octets(text: &str) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str =
        "must be hexadecimal, as `openssl x509 -noout -serial` prints it; colons and a leading 0x are accepted";
    let digits = text.strip_prefix("0x").unwrap_or(text).replace(':', "");
    // RFC 5280 §4.1.2.2: at most 20 octets.
    if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(WRONG);
    }
    let digits = digits.trim_start_matches('0');
    let digits = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    octets(&digits).ok_or(WRONG)
}

/// Whether a certificate names itself as its issuer; `None` when these bytes are not one.
#[must_use]
pub fn is_self_issued(der: &[u8]) -> Option<bool> {
    let certificate = parse(der, "certificate").ok()?;
    Some(certificate.subject().as_raw() == certificate.issuer().as_raw())
}

/// The public key of a certificate; `None` when these bytes are not one, or its algorithm is not accepted.
#[must_use]
pub fn public_key(der: &[u8]) -> Option<PublicKey> {
    let certificate = parse(der, "certificate").ok()?;
    PublicKey::from_der(certificate.tbs_certificate.subject_pki.raw).ok()
}

/// What the BIT STRING of a certificate's SubjectPublicKeyInfo holds, of whichever algorithm; `None` when these bytes are not
/// one.
#[must_use]
pub fn subject_public_key(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = parse(der, "certificate").ok()?;
    Some(certificate.tbs_certificate.subject_pki.subject_public_key.data.to_vec())
}

/// The CN of a certificate's subject; `None` when these bytes are not one or it has none.
#[must_use]
pub fn subject_common_name(der: &[u8]) -> Option<String> {
    let certificate = parse(der, "certificate").ok()?;
    certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

fn serial(certificate: &X509Certificate<'_>) -> String {
    let raw = certificate.tbs_certificate.raw_serial();
    // DER puts a zero octet before a set top bit; people and `openssl x509 -serial` leave it out.
    hex(match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    })
}

pub(crate) fn parse<'a>(der: &'a [u8], what: &'static str) -> Result<X509Certificate<'a>, CertificateRejected> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateRejected::NotDer(what)),
    }
}

/// BasicConstraints, KeyUsage and EKU as the purpose wants them.
fn check_purpose(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), CertificateRejected> {
    use CertificateRejected as Rejected;
    let wrong = |extension, problem| Err(Rejected::Extension { extension, problem });
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| Rejected::Extension { extension: "BasicConstraints", problem: "is malformed or stands twice" })?;
    let usage = certificate
        .key_usage()
        .map_err(|_| Rejected::Extension { extension: "KeyUsage", problem: "is malformed or stands twice" })?;
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| Rejected::Extension { extension: "ExtendedKeyUsage", problem: "is malformed or stands twice" })?;
    let is_ca = constraints.as_ref().is_some_and(|constraints| constraints.value.ca);
    let Some(usage) = usage else { return wrong("KeyUsage", "is missing") };
    if !usage.critical {
        return wrong("KeyUsage", "is not critical");
    }
    match purpose {
        Purpose::DeviceCa { path_length } => {
            let Some(constraints) = constraints.filter(|_| is_ca) else { return Err(Rejected::WrongCa(is_ca)) };
            if !constraints.critical {
                return wrong("BasicConstraints", "is not critical");
            }
            if constraints.value.path_len_constraint != Some(u32::from(path_length)) {
                return Err(Rejected::WrongPathLength {
                    found: constraints.value.path_len_constraint,
                    expected: path_length,
                });
            }
            if !usage.value.key_cert_sign() || !usage.value.digital_signature() {
                return wrong("KeyUsage", "lacks keyCertSign or digitalSignature");
            }
            if extended.is_some() {
                return wrong("ExtendedKeyUsage", "is there: a device CA has none");
            }
        }
        Purpose::DeviceIdentity | Purpose::Server => {
            if is_ca {
                return Err(Rejected::WrongCa(true));
            }
            if usage.value.key_cert_sign() {
                return wrong("KeyUsage", "has keyCertSign: a leaf signs no certificates");
            }
            if !usage.value.digital_signature() {
                return wrong("KeyUsage", "lacks digitalSignature");
            }
            // RFC 5280 §4.2.1.10: a CA's alone. A leaf with them was meant to be something else.
            if certificate.name_constraints().is_ok_and(|constraints| constraints.is_some()) {
                return wrong("NameConstraints", "is there: a leaf has none");
            }
            let Some(extended) = extended else { return wrong("ExtendedKeyUsage", "is missing") };
            match purpose {
                Purpose::Server if !extended.value.server_auth => return wrong("ExtendedKeyUsage", "lacks serverAuth"),
                Purpose::DeviceIdentity if !extended.value.client_auth => {
                    return wrong("ExtendedKeyUsage", "lacks clientAuth");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), CertificateRejected> {
    let wrong = |extension, problem| Err(CertificateRejected::Extension { extension, problem });
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            // RFC 5280 §4.2: a critical extension that is not understood means reject.
            ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::Unparsed if extension.critical => {
                return wrong("critical extension", "is unknown");
            }
            // What we cannot read, the device's own software may read in another way.
            ParsedExtension::ParseError { .. } => return wrong("extension", "is malformed"),
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn check_validity(
    certificate: &X509Certificate<'_>,
    whose: &'static str,
    at: Timestamp,
) -> Result<(), CertificateRejected> {
    let validity = certificate.validity();
    // From notBefore to notAfter, both included (RFC 5280 §4.1.2.5).
    if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&at.seconds()) {
        return Ok(());
    }
    Err(CertificateRejected::NotValidNow {
        whose,
        not_before: validity.not_before.to_string(),
        not_after: validity.not_after.to_string(),
        now: ASN1Time::from_timestamp(at.seconds()).map_or_else(|_| at.0.to_string(), |now| now.to_string()),
    })
}
