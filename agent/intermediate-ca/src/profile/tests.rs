//! Settings that contradict themselves, and those that do not.

use issuance::{
    certificate::name_constraints::{IpNetwork, Subtree},
    profile::NameTemplate,
};

use super::*;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn ca(name: &str, path_length: Option<u8>, validity_days: u32) -> CaSettings {
    CaSettings {
        name: if name == "root" { CaName::root() } else { CaName::parse(name).unwrap() },
        common_name: CommonName::parse(&format!("Test {name}")).unwrap(),
        organization: Some("Example Devices".to_owned()),
        key: KeyAlgorithm::P256,
        validity: End::After(DAY * validity_days),
        path_length,
        offline: false,
        name_constraints: NameConstraints::default(),
    }
}

pub(crate) fn profile(name: &str, purpose: Purpose, issuer: &str) -> CaProfile {
    CaProfile {
        name: ProfileName::parse(name).unwrap(),
        purpose,
        issuer: CaName::parse(issuer).unwrap(),
        validity: End::After(DAY * 100),
        outlives_issuer: false,
        keys: vec![KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048],
        endorsement: None,
        signature_hash: None,
        callers: None,
        subject: SubjectRules::default(),
        alternative_names: AlternativeNameRules::of(purpose),
        extensions: ExtensionRules::default(),
    }
}

const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };

fn found(root: &CaSettings, issuers: &[CaSettings], profiles: &[CaProfile]) -> Vec<(Place, &'static str)> {
    contradictions(root, issuers, profiles).into_iter().map(|found| (found.place, found.key)).collect()
}

/// A device CA needs pathlen 1 above it and 2 at the root; absent is without limit.
#[test]
fn the_path_budget_is_checked() {
    for (root, issuer, expected) in [
        (None, None, vec![]),
        (None, Some(1), vec![]),
        (Some(2), Some(1), vec![]),
        (Some(2), None, vec![]),
        (None, Some(0), vec![(Place::Profile(0), "path_length")]),
        (Some(1), None, vec![(Place::Profile(0), "path_length")]),
        (Some(1), Some(1), vec![(Place::Root, "path_length"), (Place::Profile(0), "path_length")]),
        (Some(0), Some(1), vec![(Place::Root, "path_length"), (Place::Profile(0), "path_length")]),
    ] {
        let profiles = [profile("device-ca", DEVICE_CA, "device-ca")];
        let issuers = [ca("device-ca", issuer, 1_000)];
        assert_eq!(found(&ca("root", root, 2_000), &issuers, &profiles), expected, "{root:?} {issuer:?}");
    }
    let deep = [profile("deep", Purpose::DeviceCa { path_length: 255 }, "device-ca")];
    assert_eq!(found(&ca("root", None, 9), &[ca("device-ca", Some(255), 1)], &deep).len(), 2);
}

/// Names given twice, unknown issuers, validity beyond the issuer's, and purposes that must not meet are all found.
#[test]
fn every_contradiction_is_found_at_once() {
    let root = ca("root", None, 1_000);
    let mut twin = ca("two", None, 2_000);
    twin.common_name = CommonName::parse("TEST ROOT").unwrap();
    let issuers = [ca("one", None, 50), ca("one", None, 500), twin];
    let profiles = [
        profile("a", DEVICE_CA, "one"),
        profile("a", Purpose::DeviceIdentity, "one"),
        profile("b", Purpose::Server, "three"),
    ];
    assert_eq!(
        found(&root, &issuers, &profiles),
        [
            (Place::Issuer(1), "name"),
            (Place::Issuer(1), "common_name"),
            (Place::Issuer(2), "common_name"),
            (Place::Issuer(2), "validity"),
            (Place::Profile(0), "validity"),
            (Place::Profile(1), "name"),
            (Place::Profile(1), "validity"),
            (Place::Profile(1), "issuer"),
            (Place::Profile(2), "issuer"),
        ]
    );
}

/// Issuers' names are what a file, a label and a command line can all carry.
#[test]
fn issuer_names_are_checked() {
    assert_eq!(CaName::parse("root"), Err(CaNameError::Root));
    for wrong in ["", "A", "1a", "../x", "a.b", &"x".repeat(33)] {
        assert!(matches!(CaName::parse(wrong), Err(CaNameError::Shape(_))), "{wrong:?}");
    }
    let KeyLocation::Pkcs11 { cka_id, label } = CaName::parse("device-ca").unwrap().key_location() else {
        panic!("not in a token");
    };
    assert_eq!((cka_id.len(), label.as_str()), (16, "device-ca"));
}

/// What a profile may not say for its purpose and keys is found at its key, each alone and all at once.
#[test]
fn terms_fit_the_purpose_and_the_keys() {
    type Change = fn(&mut CaProfile);
    let oid = || ExtendedUsage::Other(ObjectIdentifier::parse("1.3.6.1.4.1.99999.1").unwrap());
    let on_ca: [(Change, &str); 5] = [
        (|p| p.extensions.usages = vec![Usage::KeyEncipherment], "key_usages"),
        (|p| p.extensions.usages.push(Usage::KeyAgreement), "key_usages"),
        (|p| p.extensions.extended_usages = vec![ExtendedUsage::ClientAuth], "extended_key_usages"),
        (
            |p| p.alternative_names.uris = vec![NameTemplate::parse("urn:{serial}").unwrap()],
            "subject_alternative_names",
        ),
        (|p| p.validity = End::NEVER, "validity"),
    ];
    let on_server: [(Change, &str); 7] = [
        (|p| p.extensions.usages = vec![Usage::CrlSign], "key_usages"),
        (|p| p.extensions.usages = vec![Usage::KeyEncipherment], "key_usages"),
        (|p| p.extensions.usages = vec![Usage::KeyAgreement], "key_usages"),
        (|p| p.extensions.extended_usages = vec![ExtendedUsage::ServerAuth], "extended_key_usages"),
        (|p| p.extensions.name_constraints.permitted = vec![Subtree::Dns("a".to_owned())], "name_constraints"),
        (|p| p.alternative_names.common_name = false, "subject_alternative_names"),
        (|p| p.subject.common_name = Some(NameTemplate::parse("{serial}_").unwrap()), "common_name"),
    ];
    let (root, issuers) = (ca("root", None, 1_000), [ca("one", None, 500)]);
    for (purpose, changes) in [(DEVICE_CA, &on_ca[..]), (Purpose::Server, &on_server)] {
        assert_eq!(found(&root, &issuers, &[profile("a", purpose, "one")]), []);
        for (change, key) in changes {
            let mut changed = profile("a", purpose, "one");
            change(&mut changed);
            let keys: Vec<_> = found(&root, &issuers, &[changed]).into_iter().map(|(_, key)| key).collect();
            assert!(keys.contains(key), "{purpose:?} {key}: {keys:?}");
        }
    }
    let mut right = profile("a", Purpose::DeviceIdentity, "one");
    right.signature_hash = Some(Hash::Sha512);
    right.keys = vec![KeyAlgorithm::Rsa2048];
    right.extensions.usages = vec![Usage::KeyEncipherment, Usage::ContentCommitment];
    right.extensions.extended_usages = vec![ExtendedUsage::ServerAuth, oid()];
    (right.validity, right.outlives_issuer) = (End::NEVER, true);
    assert_eq!(found(&root, &issuers, &[right.clone()]), []);
    right.outlives_issuer = false;
    assert_eq!(found(&root, &issuers, &[right.clone()]), [(Place::Profile(0), "validity")]);
    let endless = |mut ca: CaSettings| {
        ca.validity = End::NEVER;
        ca
    };
    assert_eq!(found(&endless(root.clone()), &[endless(issuers[0].clone())], &[right]), []);
    assert_eq!(found(&root, &[endless(issuers[0].clone())], &[]), [(Place::Issuer(0), "validity")]);
}

/// What the issuer's name constraints do not permit no profile beneath it may give.
#[test]
fn name_constraints_are_carried() {
    let dns = |name: &str| Subtree::Dns(name.to_owned());
    let mut issuer = ca("one", None, 500);
    issuer.name_constraints = NameConstraints {
        permitted: vec![dns("line.example"), Subtree::Ip(IpNetwork::parse("10.0.0.0/8").unwrap())],
        excluded: vec![dns("test.line.example")],
    };
    let root = ca("root", None, 1_000);
    let mut server = profile("server", Purpose::Server, "one");
    server.alternative_names.dns_suffixes = vec!["a.line.example".to_owned()];
    server.alternative_names.ip_networks = vec![IpNetwork::parse("10.1.0.0/16").unwrap()];
    server.subject.common_name = Some(NameTemplate::parse("{serial}.line.example").unwrap());
    let mut below = profile("below", DEVICE_CA, "one");
    below.extensions.name_constraints.permitted = vec![dns("b.line.example")];
    assert_eq!(found(&root, &[issuer.clone()], &[server.clone()]), []);
    assert_eq!(found(&root, &[issuer.clone()], &[below.clone()]), []);
    server.alternative_names.dns_suffixes = vec!["x.test.line.example".to_owned(), "example".to_owned()];
    server.alternative_names.ip_networks = vec![IpNetwork::parse("192.0.2.0/24").unwrap()];
    server.subject.common_name = Some(NameTemplate::parse("{serial}.example").unwrap());
    let names = (Place::Profile(0), "subject_alternative_names");
    assert_eq!(found(&root, &[issuer.clone()], &[server]), [names; 4]);
    below.extensions.name_constraints.permitted = vec![dns("elsewhere.example")];
    assert_eq!(found(&root, &[issuer.clone()], &[below]), [(Place::Profile(0), "name_constraints")]);
    assert_eq!(found(&CaSettings { name_constraints: issuer.name_constraints, ..root }, &[], &[]).len(), 1);
}
