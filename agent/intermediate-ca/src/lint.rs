//! The last look before a TBSCertificate is recorded and signed: what stands in the bytes, not what was asked of the
//! library that made them. Each rule names its source, and a test shows for each the bytes that it alone refuses.

mod extensions;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use issuance::{CommonName, PublicKey, certificate::name_constraints::GivenName, public_key::signature_algorithm};
use x509_parser::{certificate::TbsCertificate, extensions::ParsedExtension, prelude::FromDer, time::ASN1Time};

use crate::{
    certificate::{hash_of, inner_algorithm},
    pki::CaCertificate,
    profile::{CaProfile, Given},
};

/// What the bytes must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a CaCertificate,
    pub(crate) profile: &'a CaProfile,
    pub(crate) serial: &'a [u8],
    pub(crate) common_name: &'a CommonName,
    pub(crate) public_key: &'a PublicKey,
    /// The SAN.
    pub(crate) names: &'a Given,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

/// A rule that the bytes break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    source: &'static str,
    problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.problem, self.rule, self.source)
    }
}

/// The bytes, as they are and parsed.
struct Bytes<'a> {
    raw: &'a [u8],
    parsed: TbsCertificate<'a>,
}

/// One rule.
struct Rule {
    /// A word for programs and people.
    name: &'static str,
    /// Where it is written.
    source: &'static str,
    /// Whether the bytes keep it; the error is what they say instead.
    holds: fn(&Bytes<'_>, &Expected<'_>) -> Result<(), String>,
}

/// What `holds` says: the condition, or the problem.
fn must(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}

/// Holds the bytes against what they must say; the error is everything that differs.
pub(crate) fn lint(tbs: &[u8], expected: &Expected<'_>) -> Result<(), Vec<Finding>> {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else {
        let problem = "it is not one TBSCertificate".to_owned();
        return Err(vec![Finding { rule: "encoding", source: "RFC 5280 §4.1", problem }]);
    };
    let bytes = Bytes { raw: tbs, parsed };
    let found: Vec<Finding> = RULES
        .iter()
        .chain(&extensions::RULES)
        .filter_map(|rule| {
            let problem = (rule.holds)(&bytes, expected).err()?;
            Some(Finding { rule: rule.name, source: rule.source, problem })
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The rules of the fields; those of the extensions are [`extensions::RULES`].
const RULES: [Rule; 12] = [
    Rule {
        name: "version",
        source: "RFC 5280 §4.1.2.1",
        holds: |tbs, _| must(tbs.parsed.version().0 == 2, "it is not version 3"),
    },
    Rule {
        name: "serial-number",
        source: "RFC 5280 §4.1.2.2",
        // The reserved one has 16 octets and is positive.
        holds: |tbs, expected| {
            must(tbs.parsed.raw_serial() == expected.serial, "its certificate serial is not the reserved one")
        },
    },
    Rule {
        name: "signature-algorithm",
        source: "RFC 5280 §4.1.2.3, RFC 5758 §3.2, RFC 4055 §5",
        holds: |tbs, expected| {
            let key = expected.issuer.public_key.algorithm();
            let hash = expected.profile.signature_hash.unwrap_or(key.hash());
            let is_named = inner_algorithm(tbs.raw) == Some(signature_algorithm(hash, key.is_rsa()));
            must(is_named, "its signature algorithm is not the issuer's with the profile's hash, byte for byte")
        },
    },
    Rule {
        name: "issuer",
        source: "RFC 5280 §4.1.2.4",
        holds: |tbs, expected| {
            let is_subject = tbs.parsed.issuer.as_raw() == expected.issuer.subject;
            must(is_subject, "its issuer is not the CA's subject, byte for byte")
        },
    },
    Rule {
        name: "validity",
        source: "the profile",
        holds: |tbs, expected| {
            let validity = &tbs.parsed.validity;
            let is_planned = (validity.not_before.timestamp(), validity.not_after.timestamp())
                == (expected.not_before, expected.not_after);
            must(is_planned, "its validity is not the planned one")
        },
    },
    Rule {
        name: "validity-encoding",
        source: "RFC 5280 §4.1.2.5",
        holds: |tbs, _| {
            let validity = &tbs.parsed.validity;
            let fits = |time: &ASN1Time| time.is_utctime() == (time.to_datetime().year() < 2050);
            must(
                fits(&validity.not_before) && fits(&validity.not_after),
                "a time before 2050 is no UTCTime, or one after it no GeneralizedTime",
            )
        },
    },
    Rule {
        name: "validity-within-issuer",
        source: "the profile's outlives_issuer",
        holds: |tbs, expected| {
            let (validity, issuer) = (&tbs.parsed.validity, expected.issuer);
            let (start, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
            must(
                start >= issuer.not_before
                    && start < end
                    && (end <= issuer.not_after || expected.profile.outlives_issuer),
                "its validity is not within its issuer's",
            )
        },
    },
    Rule { name: "subject", source: "RFC 5280 §4.1.2.6, the profile", holds: subject },
    Rule {
        name: "subject-encoding",
        source: "RFC 5280 §4.1.2.4, appendix A.1",
        holds: |tbs, _| {
            // UTF8String; and PrintableString, which alone a country may be.
            let fits = tbs.parsed.subject.iter_attributes().all(|attribute| {
                let tag = attribute.attr_value().tag().0;
                let is_country = attribute.attr_type().to_id_string() == "2.5.4.6";
                tag == 19 || tag == 12 && !is_country
            });
            must(fits, "its subject has an attribute in another string type than RFC 5280 wants")
        },
    },
    Rule {
        name: "unique-identifiers",
        source: "RFC 5280 §4.1.2.8",
        holds: |tbs, _| {
            let has_none = tbs.parsed.issuer_uid.is_none() && tbs.parsed.subject_uid.is_none();
            must(has_none, "it has a unique identifier")
        },
    },
    Rule {
        name: "public-key",
        source: "RFC 5280 §4.1.2.7, the request",
        holds: |tbs, expected| {
            let is_requests = tbs.parsed.subject_pki.raw == expected.public_key.spki();
            must(is_requests, "its key is not the request's, byte for byte")
        },
    },
    Rule {
        name: "issuer-name-constraints",
        source: "RFC 5280 §4.2.1.10",
        holds: |tbs, expected| {
            let names = tbs.parsed.extensions().iter().flat_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    names.general_names.iter().map(issuance::certificate::name_constraints::given_name).collect()
                }
                _ => Vec::new(),
            });
            let constraints = &expected.issuer.name_constraints;
            let mut all = names.chain([GivenName::Other("directoryName")]);
            all.try_for_each(|name| constraints.permit(&name)).map_err(|error| error.to_string())
        },
    },
];

/// The profile's attributes, widest first, then the request's CN: these and no others.
fn subject(tbs: &Bytes<'_>, expected: &Expected<'_>) -> Result<(), String> {
    let rules = &expected.profile.subject;
    let wanted = [
        ("2.5.4.6", rules.country.as_deref()),
        ("2.5.4.10", rules.organization.as_deref()),
        ("2.5.4.11", rules.organizational_unit.as_deref()),
        ("2.5.4.3", Some(expected.common_name.as_str())),
    ];
    let wanted: Vec<(String, String)> =
        wanted.iter().filter_map(|(oid, text)| Some(((*oid).to_owned(), (*text)?.to_owned()))).collect();
    let found: Vec<(String, String)> = tbs
        .parsed
        .subject
        .iter_attributes()
        .map(|attribute| {
            // What is in another string type cannot be read as text, and is none of those wanted.
            let text = attribute.as_str().unwrap_or("(unreadable)");
            (attribute.attr_type().to_id_string(), text.to_owned())
        })
        .collect();
    must(found == wanted, "its subject is not the profile's attributes and the request's CN alone")
}

/// Whether a planned TBSCertificate was made for this issuer: its name, its key, and a hash that such a key signs. One planned
/// before the issuer's key was replaced must not be signed with the new one.
pub(crate) fn is_issued_by(tbs: &[u8], issuer: &CaCertificate) -> bool {
    let Ok(([], parsed)) = TbsCertificate::from_der(tbs) else { return false };
    parsed.issuer.as_raw() == issuer.subject
        && hash_of(tbs, &issuer.public_key).is_some()
        && parsed.extensions().iter().any(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().is_some_and(|id| id.0 == issuer.key_identifier)
            }
            _ => false,
        })
}
