//! The content of extensions that rcgen does not write, or writes without a choice of criticality, in DER.

use std::net::IpAddr;

use rcgen::CustomExtension;

use crate::{
    certificate::der,
    profile::{ExtendedUsage, Given, ObjectIdentifier},
};

/// id-ce-extKeyUsage ::= SEQUENCE OF KeyPurposeId (RFC 5280 §4.2.1.12).
pub(crate) fn extended_key_usage(usages: &[ExtendedUsage], critical: bool) -> Option<CustomExtension> {
    let oids: Vec<Vec<u8>> = usages
        .iter()
        // Each was parsed from its dotted form, or is one of ours.
        .filter_map(|usage| ObjectIdentifier::parse(&usage.oid()).ok())
        .map(|oid| der(0x06, &[&oid.content()]))
        .collect();
    sequence(&oids).map(|content| extension(&[2, 5, 29, 37], critical, content))
}

/// id-ce-subjectAltName ::= GeneralNames (§4.2.1.6).
pub(crate) fn subject_alternative_names(names: &Given, critical: bool) -> Option<CustomExtension> {
    let mut entries: Vec<Vec<u8>> = names.dns.iter().map(|name| der(0x82, &[name.as_bytes()])).collect();
    entries.extend(names.uris.iter().map(|uri| general_uri(uri)));
    entries.extend(names.ips.iter().map(|address| match address {
        IpAddr::V4(address) => der(0x87, &[&address.octets()]),
        IpAddr::V6(address) => der(0x87, &[&address.octets()]),
    }));
    sequence(&entries).map(|content| extension(&[2, 5, 29, 17], critical, content))
}

/// id-ce-certificatePolicies ::= SEQUENCE OF PolicyInformation, without qualifiers (§4.2.1.4).
pub(crate) fn certificate_policies(policies: &[ObjectIdentifier], critical: bool) -> Option<CustomExtension> {
    let policies: Vec<Vec<u8>> = policies.iter().map(|oid| der(0x30, &[&der(0x06, &[&oid.content()])])).collect();
    sequence(&policies).map(|content| extension(&[2, 5, 29, 32], critical, content))
}

/// id-pe-authorityInfoAccess ::= SEQUENCE OF AccessDescription (§4.2.2.1).
pub(crate) fn authority_information(ocsp: &[String], ca_issuers: &[String]) -> Option<CustomExtension> {
    const OCSP: &[u8] = &[0x06, 0x08, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
    const CA_ISSUERS: &[u8] = &[0x06, 0x08, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
    let describe = |method, uri: &String| der(0x30, &[method, &general_uri(uri)]);
    let mut descriptions: Vec<Vec<u8>> = ocsp.iter().map(|uri| describe(OCSP, uri)).collect();
    descriptions.extend(ca_issuers.iter().map(|uri| describe(CA_ISSUERS, uri)));
    sequence(&descriptions).map(|content| extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], false, content))
}

fn general_uri(uri: &str) -> Vec<u8> {
    der(0x86, &[uri.as_bytes()])
}

/// `None` when empty: each of these is a SEQUENCE SIZE (1..MAX).
fn sequence(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    (!parts.is_empty()).then(|| der(0x30, &parts))
}

fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}
