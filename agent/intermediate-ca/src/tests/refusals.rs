//! Every reason for which a request is refused, and that a refused request reserves nothing.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};

use super::*;

fn wrong(change: impl FnOnce(&mut Submission)) -> Submission {
    let mut submission = submission(1);
    change(&mut submission);
    submission
}

fn asking(profile: &str, common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Submission {
    let mut asked = params(common_name);
    change(&mut asked);
    wrong(|submission| {
        submission.profile = profile.to_owned();
        submission.certification_request = request(&asked, &key());
    })
}

/// Each wrong field, request and extension has its reason and says what was wrong; afterwards the same id, name and key
/// are still free.
#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_names_its_reason() {
    use Reason as R;
    let world = World::new();
    let authority = world.open();
    let tampered = {
        let mut der = submission(1).certification_request;
        let last = der.len() - 1;
        der[last] ^= 1;
        der
    };
    let mut nameless = params("x");
    nameless.distinguished_name = DistinguishedName::new();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cases = [
        (wrong(|s| s.issuance = "issuance-1".into()), R::InvalidIssuance, "issuance is no UUID"),
        (wrong(|s| s.device_serial = String::new()), R::InvalidDeviceSerial, "the device serial is empty"),
        (wrong(|s| s.device_serial = "SN 1".into()), R::InvalidDeviceSerial, "' ' at character 3"),
        (wrong(|s| s.device_serial = "x".repeat(1 << 20)), R::InvalidDeviceSerial, "has 1048576 characters"),
        (wrong(|s| s.lot = "lot/1".into()), R::InvalidLot, "'/' at character 4"),
        (wrong(|s| s.profile = "device ca".into()), R::UnknownProfile, "' ' at character 7"),
        (wrong(|s| s.profile = "vpn".into()), R::UnknownProfile, "device-ca, device-identity, server"),
        (wrong(|s| s.certification_request = vec![]), R::InvalidRequest, "PKCS#10"),
        (wrong(|s| s.certification_request.push(0)), R::InvalidRequest, "PKCS#10"),
        (wrong(|s| s.certification_request = vec![0; 16_385]), R::InvalidRequest, "16385 bytes"),
        (wrong(|s| s.certification_request = tampered), R::InvalidRequest, "possession is not proven"),
        (
            wrong(|s| s.certification_request = request(&params("x"), &ed25519)),
            R::InvalidRequest,
            "not accepted: the key is",
        ),
        (wrong(|s| s.certification_request = request(&nameless, &key())), R::InvalidRequest, "0 common names"),
        (asking("device-ca", &"x".repeat(65), |_| ()), R::InvalidRequest, "has 65 characters"),
        (asking("device-ca", "test DEVICE-ca", |_| ()), R::CommonNameNotAccepted, "is a CA's"),
        (asking("device-ca", "Test Root", |_| ()), R::CommonNameNotAccepted, "is a CA's"),
        (
            asking("device-ca", "a", |p| p.is_ca = IsCa::ExplicitNoCa),
            R::ExtensionsContradictProfile,
            "asks for CA:FALSE, and the profile device-ca gives CA:TRUE",
        ),
        (
            asking("device-ca", "a", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))),
            R::ExtensionsContradictProfile,
            "asks for pathlen:1",
        ),
        (
            asking("device-ca", "a", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            R::ExtensionsContradictProfile,
            "gives no EKU",
        ),
        (
            asking("device-identity", "a", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            R::ExtensionsContradictProfile,
            "asks for CA:TRUE",
        ),
        (
            asking("device-identity", "a", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            R::ExtensionsContradictProfile,
            "serverAuth",
        ),
        (
            asking("device-identity", "a", |p| p.subject_alt_names = vec![SanType::DnsName("a".try_into().unwrap())]),
            R::ExtensionsContradictProfile,
            "no subjectAltName",
        ),
        (
            asking("server", "a.example", |p| {
                p.subject_alt_names = vec![SanType::DnsName("b.example".try_into().unwrap())]
            }),
            R::ExtensionsContradictProfile,
            "b.example",
        ),
        (asking("server", "a_b", |_| ()), R::CommonNameNotAccepted, "no host name"),
        (
            // Escaped, this name is longer than a record may be.
            asking("server", "a.example", |p| {
                p.subject_alt_names = vec![SanType::DnsName("\u{1}".repeat(15_000).try_into().unwrap())];
            }),
            R::ExtensionsContradictProfile,
            "…",
        ),
    ];
    for (submission, reason, words) in &cases {
        assert_refused(&issue_one(&authority, submission).await, *reason, words);
    }
    issued(&issue_one(&authority, &submission(1)).await);
    authority.close().await.unwrap();
}

/// An algorithm that the profile does not list is refused, with those that it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_lists_its_keys() {
    let mut world = World::new();
    world.settings.profiles[0].keys = vec![issuance::KeyAlgorithm::P384];
    let authority = world.open();
    let outcome = issue_one(&authority, &submission(1)).await;
    assert_refused(&outcome, Reason::KeyNotAccepted, "the key is P-256: the profile device-ca accepts P-384");
    authority.close().await.unwrap();
}

/// A CN is given once per profile, compared without case; the refusal names the first issuance. Another profile may give it.
#[tokio::test(flavor = "multi_thread")]
async fn a_common_name_is_given_once() {
    let world = World::new();
    let authority = world.open();
    issued(&issue_one(&authority, &submission(1)).await);
    let mut second = submission(2);
    second.certification_request = request(&params("sn-1.CA"), &key());
    assert_refused(&issue_one(&authority, &second).await, Reason::CommonNameTaken, &id(1));
    second.profile = "device-identity".to_owned();
    issued(&issue_one(&authority, &second).await);
    authority.close().await.unwrap();
}

/// A key belongs to one device under one profile; the refusal names the first issuance.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_device() {
    let world = World::new();
    let authority = world.open();
    let key = key();
    let with = |number: u8, serial: &str, profile: &str| {
        let mut submission = submission(number);
        submission.device_serial = serial.to_owned();
        submission.profile = profile.to_owned();
        submission.certification_request = request(&params(&format!("name-{number}")), &key);
        submission
    };
    issued(&issue_one(&authority, &with(1, "SN-1", "device-ca")).await);
    for other in [with(2, "SN-2", "device-ca"), with(3, "SN-1", "device-identity")] {
        assert_refused(&issue_one(&authority, &other).await, Reason::KeyTaken, &id(1));
    }
    issued(&issue_one(&authority, &with(4, "SN-1", "device-ca")).await);
    authority.close().await.unwrap();
}

/// An issuance's id with another request, serial, profile or lot is refused, whether it was signed or not.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuance_is_one_request() {
    let world = World::new();
    let authority = world.open();
    let first = submission(1);
    let unsigned = submission(2);
    issued(&issue_one(&authority, &first).await);
    world.keystore.token().failing = 1;
    assert_deferred(&issue_one(&authority, &unsigned).await, "does not sign");
    for (of, number) in [(&first, 1), (&unsigned, 2)] {
        let mut others: Vec<Submission> = vec![of.clone(); 3];
        others[0].device_serial = "SN-9".to_owned();
        others[1].lot = "lot-2".to_owned();
        others[2].profile = "device-identity".to_owned();
        others.push(Submission { issuance: id(number), ..submission(9) });
        for other in &others {
            assert_refused(&issue_one(&authority, other).await, Reason::AlreadyExists, &id(number));
        }
    }
    authority.close().await.unwrap();
}

/// A profile's rules for names and callers: what is given stands in the certificate, what is not given is refused with what
/// would be.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_callers_are_the_profiles() {
    use issuance::{certificate::name_constraints::IpNetwork, profile::NameTemplate};
    let mut world = World::blank();
    let server = &mut world.settings.profiles[2];
    server.callers = Some(vec!["station-1".to_owned()]);
    server.subject.common_name = Some(NameTemplate::parse("{serial}.line.example").unwrap());
    server.alternative_names.dns_suffixes = vec!["line.example".to_owned()];
    server.alternative_names.ip_networks = vec![IpNetwork::parse("10.0.0.0/8").unwrap()];
    server.alternative_names.uris = vec![NameTemplate::parse("urn:example:{serial}").unwrap()];
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
    let authority = world.open();
    let asking =
        |common_name: &str, names: Vec<SanType>| asking("server", common_name, |p| p.subject_alt_names = names);
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
    let at = |address: [u8; 4]| SanType::IpAddress(address.into());
    let cn = "SN-1.line.example";
    let offer = "dNSNames under line.example, iPAddresses in 10.0.0.0/8, the URI urn:example:{serial}";
    for (wanted, reason, words) in [
        (asking("SN-2.line.example", vec![]), Reason::CommonNameNotAccepted, "is not \"SN-1.line.example\""),
        (asking(cn, vec![dns("a.example")]), Reason::ExtensionsContradictProfile, offer),
        (asking(cn, vec![dns("*.line.example")]), Reason::ExtensionsContradictProfile, "\"*.line.example\""),
        (asking(cn, vec![at([11, 0, 0, 1])]), Reason::ExtensionsContradictProfile, "the iPAddress 11.0.0.1"),
        (asking(cn, vec![uri("urn:example:SN-2")]), Reason::ExtensionsContradictProfile, "urn:example:SN-2"),
        (
            asking(cn, vec![SanType::Rfc822Name("a@line.example".try_into().unwrap())]),
            Reason::ExtensionsContradictProfile,
            "the rfc822Name",
        ),
    ] {
        assert_refused(&issue_one(&authority, &wanted).await, reason, words);
    }
    let names = vec![at([10, 1, 2, 3]), uri("urn:example:SN-1"), dns("b.line.example"), dns("sn-1.line.example")];
    let wanted = asking(cn, names);
    let stranger = authority.issue("station-2", vec![wanted.clone()]).await.unwrap().remove(0);
    assert_refused(&stranger, Reason::ProfileNotAllowed, "station-2 may not use the profile server");
    let certificate = issued(&issue_one(&authority, &wanted).await).certificate.clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let mut found: Vec<String> =
        issuance::certificate::name_constraints::given_names(&parsed).iter().map(ToString::to_string).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "the URI \"urn:example:SN-1\"",
            "the dNSName \"SN-1.line.example\"",
            "the dNSName \"b.line.example\"",
            "the directoryName",
            "the iPAddress 10.1.2.3",
        ]
    );
    authority.close().await.unwrap();
}
