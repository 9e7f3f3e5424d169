//! `[[profile]]`, and what it has in common with `[[issuer]]`.

use issuance::{
    KeyAlgorithm, ProfileName, Purpose,
    certificate::name_constraints::{IpNetwork, NameConstraints, Subtree},
    profile::NameTemplate,
    public_key::Hash,
};
use service::{
    configuration::Table,
    roles::{Callers, Role},
};
use time::{PrimitiveDateTime, macros::format_description};

use super::{parse_algorithm, parse_path_length, residency::parse_residency};
use crate::profile::{
    AlternativeNameRules, CaName, CaProfile, End, ExtendedUsage, ExtensionRules, ObjectIdentifier, SubjectRules, Usage,
    is_host_name,
};

pub(super) fn parse_profile(table: &Table<'_>, callers: &Callers) -> Option<CaProfile> {
    let name = table.parsed("name", ProfileName::parse);
    let purpose = parse_purpose(table);
    let issuer = table.parsed("issuer", CaName::parse);
    let validity = parse_end(table);
    let outlives_issuer = table.boolean_or("outlives_issuer", false);
    if !table.has("keys") {
        let known = KeyAlgorithm::NAMES.map(|(name, _)| name).join(", ");
        table.mistake("keys", format!("is missing; list the accepted ones of {known}"));
    }
    let keys = table.parsed_list("keys", parse_algorithm);
    let endorsement = parse_residency(table);
    let signature_hash = table.optional_parsed("signature_hash", Hash::parse);
    let callers = parse_callers(table, callers);
    let subject = parse_subject(table);
    let critical = table.parsed_list("critical", parse_critical);
    // What the purpose is decides the default, and a mistake there is told already.
    let names = parse_alternative_names(table, purpose.unwrap_or(Purpose::DeviceIdentity), &critical);
    let extensions = parse_extensions(table, &critical);
    Some(CaProfile {
        name: name?,
        purpose: purpose?,
        issuer: issuer?,
        validity: validity?,
        outlives_issuer,
        keys,
        endorsement,
        signature_hash,
        callers,
        subject,
        alternative_names: names,
        extensions,
    })
}

fn parse_purpose(table: &Table<'_>) -> Option<Purpose> {
    let path_length = parse_path_length(table);
    let purpose = table.parsed("purpose", |text| match text {
        "device-ca" | "device-identity" | "server" => Ok(text.to_owned()),
        _ => Err("must be one of device-ca, device-identity, server"),
    });
    purpose.and_then(|purpose| match (purpose.as_str(), path_length) {
        ("device-ca", Some(path_length)) => Some(Purpose::DeviceCa { path_length }),
        ("device-ca", None) => {
            if !table.has("path_length") {
                table.mistake("path_length", "is missing; a device CA needs it: 0 lets it sign leaves only");
            }
            None
        }
        (_, Some(_)) => {
            table.mistake("path_length", format!("is for CAs, and {purpose} is a leaf; remove it"));
            None
        }
        ("server", None) => Some(Purpose::Server),
        _ => Some(Purpose::DeviceIdentity),
    })
}

/// `validity`, a span, or `not_after`, a moment.
pub(super) fn parse_end(table: &Table<'_>) -> Option<End> {
    match (table.has("validity"), table.has("not_after")) {
        (true, true) => {
            table.mistake("not_after", "stands beside validity; keep the span or the moment");
            let _ = (table.duration("validity"), table.string("not_after"));
            None
        }
        (_, true) => table.parsed("not_after", parse_moment).map(End::At),
        (_, false) => table.duration("validity").map(End::After),
    }
}

/// RFC 3339, UTC, whole seconds: what a certificate can say.
fn parse_moment(text: &str) -> Result<i64, &'static str> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    PrimitiveDateTime::parse(text, format).map(|moment| moment.assume_utc().unix_timestamp()).map_err(
        |_| "must be a moment such as 2040-01-31T12:00:00Z, or 9999-12-31T23:59:59Z for a certificate without an end",
    )
}

/// Who may use the profile; `None`: every station.
fn parse_callers(table: &Table<'_>, known: &Callers) -> Option<Vec<String>> {
    if !table.has("callers") {
        return None;
    }
    let stations: Vec<String> =
        known.iter().filter(|caller| caller.role == Role::Station).map(|caller| caller.name).collect();
    Some(table.parsed_list("callers", |text| {
        if stations.iter().any(|station| station == text) {
            return Ok(text.to_owned());
        }
        let known = stations.join(", ");
        Err(format!("{text:?} is no [[caller]] with the role station; name some of these by their mark: {known}"))
    }))
}

fn parse_subject(table: &Table<'_>) -> SubjectRules {
    let Some(subject) = table.optional_table("subject") else { return SubjectRules::default() };
    // RFC 5280 appendix A.1: ub-organization-name and ub-organizational-unit-name.
    let bounded = |key| {
        subject.optional_parsed(key, |text| match text.chars().count() {
            1..=64 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err("must be 1 to 64 printable characters; none is ever cut off"),
        })
    };
    SubjectRules {
        common_name: subject.optional_parsed("common_name", NameTemplate::parse),
        country: subject.optional_parsed("country", |text| {
            let fits = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_uppercase());
            if fits { Ok(text.to_owned()) } else { Err("must be two capital letters, such as DE (ISO 3166)") }
        }),
        organization: bounded("organization"),
        organizational_unit: bounded("organizational_unit"),
    }
}

fn parse_alternative_names(table: &Table<'_>, purpose: Purpose, critical: &[Criticality]) -> AlternativeNameRules {
    let mut rules = AlternativeNameRules::of(purpose);
    rules.critical = critical.contains(&Criticality::AlternativeName);
    let Some(names) = table.optional_table("subject_alternative_names") else { return rules };
    rules.common_name = names.boolean_or("common_name", rules.common_name);
    rules.dns_suffixes = names.parsed_list("dns_suffixes", parse_domain);
    rules.ip_networks = names.parsed_list("ip_networks", IpNetwork::parse);
    rules.uris = names.parsed_list("uris", |text| {
        parse_uri(&text.replace("{serial}", "x")).map_err(str::to_owned)?;
        NameTemplate::parse(text).map_err(|error| error.to_string())
    });
    rules
}

fn parse_extensions(table: &Table<'_>, critical: &[Criticality]) -> ExtensionRules {
    ExtensionRules {
        usages: table.parsed_list("key_usages", |text| one_of(text, &Usage::NAMES)),
        extended_usages: table.parsed_list("extended_key_usages", parse_extended_usage),
        extended_usages_critical: critical.contains(&Criticality::ExtendedKeyUsage),
        crl_distribution_points: table.parsed_list("crl_distribution_points", parse_http),
        ocsp: table.parsed_list("ocsp", parse_http),
        ca_issuers: table.parsed_list("ca_issuers", parse_http),
        policies: table.parsed_list("certificate_policies", ObjectIdentifier::parse),
        policies_critical: critical.contains(&Criticality::CertificatePolicies),
        name_constraints: parse_name_constraints(table),
    }
}

/// `[…name_constraints]`; empty when absent.
pub(super) fn parse_name_constraints(table: &Table<'_>) -> NameConstraints {
    let Some(constraints) = table.optional_table("name_constraints") else { return NameConstraints::default() };
    let subtrees = |dns, ip| {
        let mut subtrees: Vec<Subtree> =
            constraints.parsed_list(dns, parse_domain).into_iter().map(Subtree::Dns).collect();
        subtrees.extend(constraints.parsed_list(ip, IpNetwork::parse).into_iter().map(Subtree::Ip));
        subtrees
    };
    let parsed = NameConstraints {
        permitted: subtrees("permitted_dns", "permitted_ips"),
        excluded: subtrees("excluded_dns", "excluded_ips"),
    };
    let keys = ["permitted_dns", "permitted_ips", "excluded_dns", "excluded_ips"];
    if !keys.iter().any(|key| constraints.has(key)) {
        constraints.mistake("permitted_dns", format!("is missing; give at least one of {}", keys.join(", ")));
    }
    parsed
}

/// The extensions whose criticality RFC 5280 leaves to the CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Criticality {
    ExtendedKeyUsage,
    CertificatePolicies,
    AlternativeName,
}

fn parse_critical(text: &str) -> Result<Criticality, String> {
    let always = "is always critical, as RFC 5280 §4.2.1 has it; leave it out";
    let never = "is never critical, as RFC 5280 §4.2 has it; leave it out";
    match text {
        "extendedKeyUsage" => Ok(Criticality::ExtendedKeyUsage),
        "certificatePolicies" => Ok(Criticality::CertificatePolicies),
        "subjectAltName" => Ok(Criticality::AlternativeName),
        "basicConstraints" | "keyUsage" | "nameConstraints" => Err(format!("{text} {always}")),
        "subjectKeyIdentifier" | "authorityKeyIdentifier" | "cRLDistributionPoints" | "authorityInfoAccess" => {
            Err(format!("{text} {never}"))
        }
        _ => Err("must be one of extendedKeyUsage, certificatePolicies, subjectAltName".to_owned()),
    }
}

fn parse_extended_usage(text: &str) -> Result<ExtendedUsage, &'static str> {
    const WRONG: &str = "must be serverAuth, clientAuth or an object identifier such as 1.3.6.1.4.1.99999.1";
    match text {
        "serverAuth" | "1.3.6.1.5.5.7.3.1" => Ok(ExtendedUsage::ServerAuth),
        "clientAuth" | "1.3.6.1.5.5.7.3.2" => Ok(ExtendedUsage::ClientAuth),
        // A device that could do anything, or sign OCSP answers in the CA's name.
        "2.5.29.37.0" | "1.3.6.1.5.5.7.3.9" => {
            Err("anyExtendedKeyUsage and OCSPSigning are for no device; leave them out")
        }
        _ => ObjectIdentifier::parse(text).map(ExtendedUsage::Other).map_err(|_| WRONG),
    }
}

fn one_of<T: Copy>(text: &str, names: &[(&'static str, T)]) -> Result<T, String> {
    names.iter().find_map(|(name, value)| (*name == text).then_some(*value)).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", known.join(", "))
    })
}

fn parse_domain(text: &str) -> Result<String, &'static str> {
    if is_host_name(text) {
        Ok(text.to_owned())
    } else {
        Err("must be a domain such as line.example, without a dot before it")
    }
}

/// Whoever validates a certificate has no certificate to fetch `https` with yet (RFC 5280 §8).
fn parse_http(text: &str) -> Result<String, &'static str> {
    parse_uri(text)?;
    let host = text.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err(
            "must be a URI that begins with http:// and names a host (RFC 5280 §4.2.1.13: ldap and https would need a chain of their own)",
        ),
    }
}

/// RFC 3986 §3.1: a scheme; and an IA5String without spaces.
fn parse_uri(text: &str) -> Result<(), &'static str> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
        && text.bytes().all(|octet| octet.is_ascii_graphic());
    if fits { Ok(()) } else { Err("must be a URI, scheme included, of ASCII characters without spaces") }
}
