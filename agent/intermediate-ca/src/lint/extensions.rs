//! The rules of the extensions: each that the profile gives once, as it gives it, and no other.

use issuance::{
    Purpose,
    certificate::name_constraints::{GivenName, NameConstraints, given_name},
    public_key::sha256,
};
use x509_parser::{
    extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension},
    oid_registry::{
        OID_PKIX_AUTHORITY_INFO_ACCESS as AUTHORITY_INFORMATION,
        OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER as AUTHORITY_KEY_IDENTIFIER,
        OID_X509_EXT_BASIC_CONSTRAINTS as BASIC_CONSTRAINTS, OID_X509_EXT_CERTIFICATE_POLICIES as CERTIFICATE_POLICIES,
        OID_X509_EXT_CRL_DISTRIBUTION_POINTS as CRL_DISTRIBUTION_POINTS,
        OID_X509_EXT_EXTENDED_KEY_USAGE as EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE as KEY_USAGE,
        OID_X509_EXT_NAME_CONSTRAINTS as NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME as SUBJECT_ALTERNATIVE_NAME,
        OID_X509_EXT_SUBJECT_KEY_IDENTIFIER as SUBJECT_KEY_IDENTIFIER, Oid,
    },
};

use super::{Bytes, Rule, must};
use crate::{certificate::element, certify::extended_usages};

const KNOWN: [Oid<'_>; 10] = [
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    EXTENDED_KEY_USAGE,
    SUBJECT_KEY_IDENTIFIER,
    AUTHORITY_KEY_IDENTIFIER,
    SUBJECT_ALTERNATIVE_NAME,
    NAME_CONSTRAINTS,
    CRL_DISTRIBUTION_POINTS,
    CERTIFICATE_POLICIES,
    AUTHORITY_INFORMATION,
];

pub(super) const RULES: [Rule; 14] = [
    Rule {
        name: "extensions-once",
        source: "RFC 5280 §4.2",
        holds: |tbs, _| {
            let oids: Vec<_> = tbs.parsed.extensions().iter().map(|extension| &extension.oid).collect();
            let stands_twice = oids.iter().enumerate().find(|(index, oid)| oids[..*index].contains(oid));
            match stands_twice {
                None => Ok(()),
                Some((_, oid)) => Err(format!("its extension {oid} stands twice")),
            }
        },
    },
    Rule {
        name: "extensions-known",
        source: "the profile",
        holds: |tbs, _| {
            let mut oids = tbs.parsed.extensions().iter().map(|extension| &extension.oid);
            match oids.find(|oid| !KNOWN.contains(oid)) {
                None => Ok(()),
                Some(oid) => Err(format!("it has an extension {oid} that no profile gives")),
            }
        },
    },
    Rule {
        name: "extensions-der",
        source: "RFC 5280 §4.2, X.690 §11.5",
        holds: |tbs, _| {
            let holds = explicit_criticality(tbs).is_some_and(|all| all.iter().all(|critical| *critical));
            must(holds, "an extension says critical FALSE, or is not DER")
        },
    },
    Rule {
        name: "basic-constraints",
        source: "RFC 5280 §4.2.1.9, the profile",
        holds: |tbs, expected| {
            let content = match expected.profile.purpose {
                // An INTEGER of more than 127 has a zero octet before it.
                Purpose::DeviceCa { path_length: length @ 0..=127 } => vec![0x30, 6, 1, 1, 0xff, 2, 1, length],
                Purpose::DeviceCa { path_length: length } => vec![0x30, 7, 1, 1, 0xff, 2, 2, 0, length],
                // FALSE is the default, and DER leaves defaults out.
                Purpose::DeviceIdentity | Purpose::Server => vec![0x30, 0],
            };
            let found = only(tbs, &BASIC_CONSTRAINTS);
            let fits = found.is_some_and(|extension| extension.critical && extension.value == content);
            must(fits, "its BasicConstraints is not the profile's, or not critical")
        },
    },
    Rule {
        name: "path-length",
        source: "RFC 5280 §4.2.1.9",
        holds: |tbs, expected| {
            let constraints = only(tbs, &BASIC_CONSTRAINTS).and_then(|extension| match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => Some(constraints),
                _ => None,
            });
            let fits = match (constraints, expected.issuer.path_length) {
                (None, _) | (_, None) => true,
                (Some(own), Some(above)) => own.path_len_constraint.is_some_and(|own| own < u32::from(above)),
            };
            must(fits, "its issuer's pathlen does not allow a CA with its own beneath it")
        },
    },
    Rule {
        name: "key-usage",
        source: "RFC 5280 §4.2.1.3, the profile",
        holds: |tbs, expected| {
            let is_ca = matches!(expected.profile.purpose, Purpose::DeviceCa { .. });
            // 0 is digitalSignature, 5 keyCertSign; bit 0 is the octet's first.
            let bits = expected.profile.extensions.usages.iter().map(|usage| usage.bit());
            let octet = bits.chain([0]).chain(is_ca.then_some(5)).fold(0_u8, |octet, bit| octet | 0x80 >> bit);
            let content = [3, 2, octet.trailing_zeros() as u8, octet];
            let found = only(tbs, &KEY_USAGE);
            let fits = found.is_some_and(|extension| extension.critical && extension.value == content);
            must(fits, "its KeyUsage is not the profile's, or not critical")
        },
    },
    Rule {
        name: "extended-key-usage",
        source: "RFC 5280 §4.2.1.12, the profile",
        holds: |tbs, expected| {
            let mut wanted: Vec<String> = extended_usages(expected.profile).iter().map(|usage| usage.oid()).collect();
            wanted.sort();
            let critical = expected.profile.extensions.extended_usages_critical;
            given(tbs, &EXTENDED_KEY_USAGE, !wanted.is_empty(), critical, |extension| {
                purposes(extension).is_some_and(|found| found == wanted)
            })
        },
    },
    Rule {
        name: "subject-key-identifier",
        source: "RFC 5280 §4.2.1.2, RFC 7093 §2",
        holds: |tbs, expected| {
            let digest = sha256(expected.public_key.spki());
            given(
                tbs,
                &SUBJECT_KEY_IDENTIFIER,
                true,
                false,
                |extension| matches!(extension, ParsedExtension::SubjectKeyIdentifier(identifier) if identifier.0 == &digest[..20]),
            )
        },
    },
    Rule {
        name: "authority-key-identifier",
        source: "RFC 5280 §4.2.1.1",
        holds: |tbs, expected| {
            given(tbs, &AUTHORITY_KEY_IDENTIFIER, true, false, |extension| {
                matches!(extension, ParsedExtension::AuthorityKeyIdentifier(identifier)
                    if identifier.authority_cert_issuer.is_none()
                        && identifier.authority_cert_serial.is_none()
                        && identifier.key_identifier.as_ref().is_some_and(|id| id.0 == expected.issuer.key_identifier))
            })
        },
    },
    Rule {
        name: "subject-alternative-name",
        source: "RFC 5280 §4.2.1.6, the profile",
        holds: |tbs, expected| {
            let (names, rules) = (expected.names, &expected.profile.alternative_names);
            given(tbs, &SUBJECT_ALTERNATIVE_NAME, !names.is_empty(), rules.critical, |extension| {
                let ParsedExtension::SubjectAlternativeName(found) = extension else { return false };
                let (mut found, mut wanted): (Vec<GivenName>, Vec<GivenName>) =
                    (found.general_names.iter().map(given_name).collect(), names.names().collect());
                found.sort_by_key(ToString::to_string);
                wanted.sort_by_key(ToString::to_string);
                found == wanted
            })
        },
    },
    Rule {
        name: "name-constraints",
        source: "RFC 5280 §4.2.1.10, the profile",
        holds: |tbs, expected| {
            let wanted = &expected.profile.extensions.name_constraints;
            given(tbs, &NAME_CONSTRAINTS, !wanted.is_empty(), true, |extension| {
                matches!(extension, ParsedExtension::NameConstraints(found)
                    if NameConstraints::parse(found).is_ok_and(|found| found == *wanted))
            })
        },
    },
    Rule {
        name: "crl-distribution-points",
        source: "RFC 5280 §4.2.1.13, the profile",
        holds: |tbs, expected| {
            let wanted = &expected.profile.extensions.crl_distribution_points;
            given(tbs, &CRL_DISTRIBUTION_POINTS, !wanted.is_empty(), false, |extension| {
                let ParsedExtension::CRLDistributionPoints(points) = extension else { return false };
                let [point] = points.points.as_slice() else { return false };
                let Some(DistributionPointName::FullName(names)) = &point.distribution_point else { return false };
                point.reasons.is_none() && point.crl_issuer.is_none() && uris(names.iter()) == *wanted
            })
        },
    },
    Rule {
        name: "certificate-policies",
        source: "RFC 5280 §4.2.1.4, the profile",
        holds: |tbs, expected| {
            let rules = &expected.profile.extensions;
            given(tbs, &CERTIFICATE_POLICIES, !rules.policies.is_empty(), rules.policies_critical, |extension| {
                let ParsedExtension::CertificatePolicies(found) = extension else { return false };
                let wanted: Vec<String> = rules.policies.iter().map(ToString::to_string).collect();
                found.iter().all(|policy| policy.policy_qualifiers.is_none())
                    && found.iter().map(|policy| policy.policy_id.to_id_string()).eq(wanted)
            })
        },
    },
    Rule {
        name: "authority-information-access",
        source: "RFC 5280 §4.2.2.1, the profile",
        holds: |tbs, expected| {
            let rules = &expected.profile.extensions;
            let is_given = !(rules.ocsp.is_empty() && rules.ca_issuers.is_empty());
            given(tbs, &AUTHORITY_INFORMATION, is_given, false, |extension| {
                let ParsedExtension::AuthorityInfoAccess(found) = extension else { return false };
                let of = |method: &str| {
                    let described = found.iter().filter(|one| one.access_method.to_id_string() == method);
                    uris(described.map(|one| &one.access_location))
                };
                of("1.3.6.1.5.5.7.48.1") == rules.ocsp
                    && of("1.3.6.1.5.5.7.48.2") == rules.ca_issuers
                    && found.iter().count() == rules.ocsp.len() + rules.ca_issuers.len()
            })
        },
    },
];

/// The extension of this OID; the first one, where it stands twice (`extensions-once` tells).
fn only<'a>(tbs: &'a Bytes<'_>, oid: &Oid<'_>) -> Option<&'a X509Extension<'a>> {
    tbs.parsed.extensions().iter().find(|extension| extension.oid == *oid)
}

/// That an extension is there exactly when the profile gives it, as critical as it gives it, and says what it must.
fn given(
    tbs: &Bytes<'_>,
    oid: &Oid<'_>,
    is_given: bool,
    critical: bool,
    says: impl FnOnce(&ParsedExtension<'_>) -> bool,
) -> Result<(), String> {
    match only(tbs, oid) {
        None => must(!is_given, "the profile gives it, and it is missing"),
        Some(_) if !is_given => Err("the profile does not give it, and it is there".to_owned()),
        Some(extension) if extension.critical != critical => {
            Err(format!("it is {}critical", if critical { "not " } else { "" }))
        }
        Some(extension) => must(says(extension.parsed_extension()), "it is not the profile's"),
    }
}

/// The purposes of an EKU, dotted and sorted.
fn purposes(extension: &ParsedExtension<'_>) -> Option<Vec<String>> {
    let ParsedExtension::ExtendedKeyUsage(usage) = extension else { return None };
    let arcs = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let known = arcs.iter().filter(|(is_there, _)| *is_there).map(|(_, oid)| (*oid).to_owned());
    let mut all: Vec<String> = known.chain(usage.other.iter().map(|oid| oid.to_id_string())).collect();
    all.sort();
    Some(all)
}

/// What is no URI counts too: it is one more name than was wanted.
fn uris<'a>(names: impl Iterator<Item = &'a GeneralName<'a>>) -> Vec<String> {
    names
        .map(|name| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => other.to_string(),
        })
        .collect()
}

/// Of each extension, whether what it says of its criticality is DER: nothing, or TRUE as FF; and nothing follows.
fn explicit_criticality(tbs: &Bytes<'_>) -> Option<Vec<bool>> {
    let (_, mut content, _) = element(tbs.raw, 0x30)?;
    // The extensions stand last: [3].
    let extensions = loop {
        let tag = *content.first()?;
        let (_, inner, rest) = element(content, tag)?;
        if tag == 0xa3 {
            break inner;
        }
        content = rest;
    };
    let (_, mut extensions, _) = element(extensions, 0x30)?;
    let mut all = Vec::new();
    while !extensions.is_empty() {
        let (_, extension, rest) = element(extensions, 0x30)?;
        let (_, _, after) = element(extension, 0x06)?;
        let value = match element(after, 0x01) {
            Some((_, [0xff], value)) => value,
            Some(_) => &[],
            None => after,
        };
        all.push(element(value, 0x04).is_some_and(|(_, _, rest)| rest.is_empty()));
        extensions = rest;
    }
    Some(all)
}
