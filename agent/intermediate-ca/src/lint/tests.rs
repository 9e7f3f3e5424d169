//! Each rule with bytes that it alone refuses: without the rule they would pass.

use std::collections::BTreeSet;

use issuance::{
    KeyAlgorithm, Purpose, Timestamp,
    certificate::name_constraints::{IpNetwork, NameConstraints, Subtree},
    profile::NameTemplate,
    public_key::Hash,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::*;
use crate::{
    certificate::{assemble, der, element},
    certify::{Certified, make},
    pki::ca_tbs,
    profile::{
        ExtendedUsage, ObjectIdentifier, Usage,
        tests::{ca, profile},
    },
};

const START: i64 = 1_767_225_600;
const NOW: Timestamp = Timestamp(START * 1_000);

fn public(key: &KeyPair) -> PublicKey {
    PublicKey::from_der(&key.subject_public_key_info()).unwrap()
}

pub(crate) fn issuer(name: &str) -> CaCertificate {
    let key = KeyPair::generate().unwrap();
    let settings = ca(name, Some(3), 1_000);
    let tbs = ca_tbs(&settings, &public(&key), None, NOW).unwrap();
    let der = assemble(&tbs, &key.sign(&tbs).unwrap()).unwrap();
    CaCertificate::parse(&settings, &der, None).unwrap()
}

/// A profile that says everything its purpose may.
fn full(purpose: Purpose) -> CaProfile {
    let oid = |text: &str| ObjectIdentifier::parse(text).unwrap();
    let uri = |text: &str| vec![format!("http://pki.example/{text}")];
    let mut profile = profile("full", purpose, "one");
    profile.subject.country = Some("DE".to_owned());
    profile.subject.organization = Some("Example Devices".to_owned());
    let rules = &mut profile.extensions;
    rules.crl_distribution_points = uri("a.crl");
    rules.ocsp = uri("ocsp");
    rules.ca_issuers = uri("a.cer");
    rules.policies = vec![oid("1.3.6.1.4.1.99999.1"), oid("1.3.6.1.4.1.99999.2")];
    if let Purpose::DeviceCa { .. } = purpose {
        rules.usages = vec![Usage::CrlSign];
        rules.name_constraints = NameConstraints {
            permitted: vec![Subtree::Dns("line.example".to_owned())],
            excluded: vec![Subtree::Ip(IpNetwork::parse("10.0.0.0/8").unwrap())],
        };
    } else {
        rules.extended_usages = vec![ExtendedUsage::Other(oid("1.3.6.1.4.1.99999.3"))];
        rules.usages = vec![Usage::ContentCommitment];
        profile.alternative_names.uris = vec![NameTemplate::parse("urn:example:{serial}").unwrap()];
    }
    profile
}

/// Everything that a lint needs, and can be made to differ from the bytes.
struct Case {
    issuer: CaCertificate,
    profile: CaProfile,
    common_name: CommonName,
    public_key: PublicKey,
    names: Given,
    made: Certified,
    not_after: i64,
    fields: Vec<Vec<u8>>,
}

impl Case {
    fn new(profile: CaProfile) -> Self {
        let issuer = issuer("one");
        let common_name = CommonName::parse("sn-1.line.example").unwrap();
        let public_key = public(&KeyPair::generate().unwrap());
        let is_server = profile.alternative_names.common_name;
        let names = Given {
            dns: is_server.then(|| common_name.to_string()).into_iter().collect(),
            ips: Vec::new(),
            uris: profile.alternative_names.uris.iter().map(|_| "urn:example:SN-1".to_owned()).collect(),
        };
        let made = make(&common_name, &public_key, &names, &profile, &issuer, NOW).unwrap_or_else(|stop| match stop {
            crate::plan::Stop::Refuse(refusal) => panic!("{refusal}"),
            crate::plan::Stop::Defer(later) => panic!("{later:?}"),
        });
        let fields = parts(&made.tbs_certificate);
        let not_after = profile.validity.seconds(NOW);
        Self { issuer, profile, common_name, public_key, names, made, not_after, fields }
    }

    fn found(&self) -> Vec<&'static str> {
        let expected = Expected {
            issuer: &self.issuer,
            profile: &self.profile,
            serial: self.made.certificate_serial.as_bytes(),
            common_name: &self.common_name,
            public_key: &self.public_key,
            names: &self.names,
            not_before: START - 300,
            not_after: self.not_after,
        };
        let findings = lint(&join(0x30, &self.fields), &expected).err().unwrap_or_default();
        findings.iter().map(|finding| finding.rule).collect()
    }

    /// Changes the extensions, each a whole element.
    fn extensions(&mut self, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let field = self.fields.last_mut().unwrap();
        let mut extensions = parts(&parts(field)[0]);
        change(&mut extensions);
        *field = join(0xA3, &[join(0x30, &extensions)]);
    }

    /// Replaces one octet string in an extension's content by another, which may have another length.
    fn content(&mut self, oid: &[u8], change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        self.extension(oid, |mut extension| {
            let value = extension.pop().unwrap();
            let (_, content, _) = element(&value, 0x04).unwrap();
            extension.push(der(0x04, &[&change(content.to_vec())]));
            Some(extension)
        });
    }

    fn critical(&mut self, oid: &[u8], critical: bool) {
        self.extension(oid, |mut extension| {
            extension.retain(|part| part[0] != 0x01);
            if critical {
                extension.insert(1, vec![1, 1, 0xff]);
            }
            Some(extension)
        });
    }

    fn without(&mut self, oid: &[u8]) {
        self.extension(oid, |_| None);
    }

    fn extension(&mut self, oid: &[u8], change: impl FnOnce(Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>>) {
        self.extensions(|extensions| {
            let at = extensions.iter().position(|extension| parts(extension)[0] == oid).expect("not there");
            match change(parts(&extensions[at])) {
                Some(changed) => extensions[at] = join(0x30, &changed),
                None => drop(extensions.remove(at)),
            }
        });
    }
}

/// The elements inside of one, each whole.
fn parts(whole: &[u8]) -> Vec<Vec<u8>> {
    let (_, mut content, _) = element(whole, whole[0]).unwrap();
    let mut parts = Vec::new();
    while !content.is_empty() {
        let (part, _, rest) = element(content, content[0]).unwrap();
        parts.push(part.to_vec());
        content = rest;
    }
    parts
}

fn join(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    der(tag, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Of two texts of one length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("not there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    replace(&mut bytes, from, to);
    bytes
}

const BC: &[u8] = &[6, 3, 0x55, 0x1D, 19];
const KU: &[u8] = &[6, 3, 0x55, 0x1D, 15];
const EKU: &[u8] = &[6, 3, 0x55, 0x1D, 37];
const SKI: &[u8] = &[6, 3, 0x55, 0x1D, 14];
const AKI: &[u8] = &[6, 3, 0x55, 0x1D, 35];
const SAN: &[u8] = &[6, 3, 0x55, 0x1D, 17];
const NC: &[u8] = &[6, 3, 0x55, 0x1D, 30];
const CDP: &[u8] = &[6, 3, 0x55, 0x1D, 31];
const CP: &[u8] = &[6, 3, 0x55, 0x1D, 32];
const AIA: &[u8] = &[6, 8, 0x2B, 6, 1, 5, 5, 7, 1, 1];

const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };
const PURPOSES: [Purpose; 3] = [DEVICE_CA, Purpose::DeviceIdentity, Purpose::Server];

/// What each profile says passes, whatever it says.
#[test]
fn what_the_profile_says_passes() {
    for purpose in PURPOSES {
        for mut case in [Case::new(full(purpose)), Case::new(profile("plain", purpose, "one"))] {
            assert_eq!(case.found(), [""; 0], "{purpose:?}");
            case.fields.pop();
            assert!(!case.found().is_empty(), "{purpose:?} without extensions");
        }
    }
    let mut critical = full(Purpose::Server);
    critical.extensions.extended_usages_critical = true;
    critical.extensions.policies_critical = true;
    critical.alternative_names.critical = true;
    assert_eq!(Case::new(critical).found(), [""; 0]);
    let mut endless = full(DEVICE_CA);
    (endless.validity, endless.outlives_issuer) = (crate::profile::End::NEVER, true);
    let case = Case::new(endless);
    assert!(case.made.outlives_issuer);
    assert!(case.fields[4].windows(15).any(|window| window == b"99991231235959Z"), "{:?}", case.fields[4]);
}

/// For each rule at least one change that this rule alone finds: without it the bytes would be signed.
#[test]
fn each_rule_alone_finds_something() {
    type Change = fn(&mut Case);
    let changes: Vec<(&str, Purpose, Change)> = vec![
        ("version", Purpose::Server, |c| c.fields[0] = vec![0xA0, 3, 2, 1, 1]),
        ("serial-number", Purpose::Server, |c| *c.fields[1].last_mut().unwrap() ^= 1),
        // SHA-384 under a P-256 key; and the right algorithm with NULL, which RFC 5758 forbids.
        ("signature-algorithm", Purpose::Server, |c| *c.fields[2].last_mut().unwrap() += 1),
        ("signature-algorithm", Purpose::Server, |c| {
            c.fields[2] = join(0x30, &[parts(&c.fields[2]), vec![vec![5, 0]]].concat());
        }),
        // The same text in another string type.
        ("issuer", Purpose::Server, |c| replace(&mut c.fields[3], b"\x0C\x08Test one", b"\x13\x08Test one")),
        ("validity", Purpose::Server, |c| {
            let at = c.fields[4].len() - 2;
            c.fields[4][at] ^= 1;
        }),
        ("validity", Purpose::Server, |c| c.fields[4][15] ^= 1),
        ("validity-encoding", Purpose::Server, |c| {
            let mut times = parts(&c.fields[4]);
            let (_, utc, _) = element(&times[1], 0x17).unwrap();
            times[1] = der(0x18, &[b"20", utc]);
            c.fields[4] = join(0x30, &times);
        }),
        ("validity-within-issuer", Purpose::Server, |c| c.issuer.not_after = c.not_after - 1),
        ("validity-within-issuer", Purpose::Server, |c| c.issuer.not_before = START),
        ("subject", Purpose::Server, |c| replace(&mut c.fields[5], b"sn-1.line", b"sn-2.line")),
        ("subject", Purpose::Server, |c| replace(&mut c.fields[5], b"Example", b"example")),
        ("subject", Purpose::Server, |c| {
            let mut attributes = parts(&c.fields[5]);
            attributes.push(attributes[1].clone());
            c.fields[5] = join(0x30, &attributes);
        }),
        ("subject-encoding", Purpose::Server, |c| replace(&mut c.fields[5], b"\x13\x02DE", b"\x0C\x02DE")),
        ("unique-identifiers", Purpose::Server, |c| c.fields.insert(7, vec![0x81, 2, 0, 5])),
        ("public-key", Purpose::Server, |c| c.fields[6] = public(&KeyPair::generate().unwrap()).spki().to_vec()),
        ("issuer-name-constraints", Purpose::Server, |c| {
            c.issuer.name_constraints.permitted = vec![Subtree::Dns("other.example".to_owned())];
        }),
        ("extensions-once", Purpose::Server, |c| c.extensions(|all| all.push(all[0].clone()))),
        ("extensions-known", Purpose::Server, |c| {
            c.extensions(|all| all.push(join(0x30, &[vec![6, 2, 0x2A, 3], vec![4, 2, 5, 0]])));
        }),
        ("extensions-der", Purpose::Server, |c| {
            c.extension(SKI, |mut parts| {
                parts.insert(1, vec![1, 1, 0]);
                Some(parts)
            });
        }),
        ("basic-constraints", Purpose::Server, |c| c.without(BC)),
        ("basic-constraints", Purpose::Server, |c| c.critical(BC, false)),
        ("basic-constraints", Purpose::Server, |c| c.content(BC, |_| vec![0x30, 3, 1, 1, 0])),
        ("basic-constraints", Purpose::Server, |c| c.content(BC, |_| vec![0x30, 6, 1, 1, 0xFF, 2, 1, 0])),
        ("basic-constraints", DEVICE_CA, |c| c.content(BC, |_| vec![0x30, 6, 1, 1, 0xFF, 2, 1, 1])),
        ("basic-constraints", DEVICE_CA, |c| c.content(BC, |_| vec![0x30, 0])),
        ("path-length", DEVICE_CA, |c| c.issuer.path_length = Some(0)),
        ("key-usage", DEVICE_CA, |c| c.critical(KU, false)),
        ("key-usage", DEVICE_CA, |c| c.content(KU, |_| vec![3, 2, 2, 0x84])),
        ("key-usage", Purpose::Server, |c| c.content(KU, |_| vec![3, 2, 2, 0xC4])),
        ("key-usage", Purpose::Server, |c| c.content(KU, |_| vec![3, 2, 0, 0xC0])),
        ("key-usage", Purpose::Server, |c| c.without(KU)),
        ("extended-key-usage", Purpose::Server, |c| c.without(EKU)),
        ("extended-key-usage", Purpose::Server, |c| c.critical(EKU, true)),
        ("extended-key-usage", Purpose::DeviceIdentity, |c| {
            c.content(EKU, |content| replaced(content, &[0x2B, 6, 1, 5, 5, 7, 3, 2], &[0x2B, 6, 1, 5, 5, 7, 3, 1]));
        }),
        ("extended-key-usage", DEVICE_CA, |c| {
            let content = join(0x30, &[vec![6, 8, 0x2B, 6, 1, 5, 5, 7, 3, 2]]);
            c.extensions(|all| all.push(join(0x30, &[EKU.to_vec(), der(4, &[&content])])));
        }),
        ("subject-key-identifier", Purpose::Server, |c| c.without(SKI)),
        ("subject-key-identifier", Purpose::Server, |c| c.critical(SKI, true)),
        ("subject-key-identifier", Purpose::Server, |c| c.content(SKI, |_| der(4, &[&[7; 20]]))),
        ("authority-key-identifier", Purpose::Server, |c| c.without(AKI)),
        ("authority-key-identifier", Purpose::Server, |c| c.critical(AKI, true)),
        ("authority-key-identifier", Purpose::Server, |c| {
            c.content(AKI, |_| der(0x30, &[&der(0x80, &[&[7; 20]])]));
        }),
        ("subject-alternative-name", Purpose::Server, |c| c.without(SAN)),
        ("subject-alternative-name", Purpose::Server, |c| c.critical(SAN, true)),
        ("subject-alternative-name", Purpose::Server, |c| {
            c.content(SAN, |content| replaced(content, b"sn-1", b"sn-2"));
        }),
        ("subject-alternative-name", Purpose::DeviceIdentity, |c| {
            c.content(SAN, |content| [join(0x30, &[parts(&content), vec![der(0x82, &[b"x"])]].concat())].concat());
        }),
        ("name-constraints", DEVICE_CA, |c| c.without(NC)),
        ("name-constraints", DEVICE_CA, |c| c.critical(NC, false)),
        ("name-constraints", DEVICE_CA, |c| c.content(NC, |content| replaced(content, b"line", b"lime"))),
        ("crl-distribution-points", Purpose::Server, |c| c.without(CDP)),
        ("crl-distribution-points", Purpose::Server, |c| c.critical(CDP, true)),
        ("crl-distribution-points", Purpose::Server, |c| {
            c.content(CDP, |content| replaced(content, b"a.crl", b"b.crl"))
        }),
        ("certificate-policies", Purpose::Server, |c| c.without(CP)),
        ("certificate-policies", Purpose::Server, |c| c.critical(CP, true)),
        ("certificate-policies", Purpose::Server, |c| {
            c.content(CP, |content| join(0x30, &parts(&content)[..1]));
        }),
        ("authority-information-access", Purpose::Server, |c| c.without(AIA)),
        ("authority-information-access", Purpose::Server, |c| c.critical(AIA, true)),
        ("authority-information-access", Purpose::Server, |c| {
            c.content(AIA, |content| replaced(content, b"a.cer", b"b.cer"));
        }),
    ];
    let mut covered = BTreeSet::new();
    for (number, (rule, purpose, change)) in changes.into_iter().enumerate() {
        let mut case = Case::new(full(purpose));
        change(&mut case);
        assert_eq!(case.found(), [rule], "change {number} for {purpose:?}");
        covered.insert(rule);
    }
    let rules: BTreeSet<_> = RULES.iter().chain(&extensions::RULES).map(|rule| rule.name).collect();
    assert_eq!(covered, rules, "a rule without a change that it alone finds");
    assert!(
        RULES
            .iter()
            .chain(&extensions::RULES)
            .all(|rule| rule.source.contains("RFC") || rule.source.contains("profile"))
    );
}

/// An issuer that others made, with its names in other string types, is repeated byte for byte.
#[test]
fn the_issuers_string_types_are_kept() {
    use rcgen::{BasicConstraints, DnType, DnValue, IsCa, KeyUsagePurpose};
    let key = KeyPair::generate().unwrap();
    let settings = ca("one", Some(3), 1_000);
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    params.distinguished_name.push(DnType::OrganizationName, printable("Example Devices"));
    params.distinguished_name.push(DnType::CommonName, printable("Test one"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(3));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&key).unwrap();
    let printed = CaCertificate::parse(&settings, made.der(), None).unwrap();
    assert!(printed.subject.windows(10).any(|window| window == b"\x13\x08Test one"));
    let mut case = Case::new(full(Purpose::Server));
    let made = make(&case.common_name, &case.public_key, &case.names, &case.profile, &printed, NOW);
    case.made = made.expect("not made");
    case.fields = parts(&case.made.tbs_certificate);
    case.issuer = printed;
    assert_eq!(case.found(), [""; 0]);
}

/// The algorithm is the one that the profile names, and no other.
#[test]
fn the_hash_is_the_profiles() {
    let hashes = Hash::NAMES.map(|(_, hash)| hash);
    for named in hashes {
        let mut profile = full(Purpose::Server);
        profile.signature_hash = Some(named);
        let mut case = Case::new(profile);
        assert_eq!(case.found(), [""; 0]);
        for other in hashes {
            case.profile.signature_hash = Some(other);
            let expected: &[&str] = if other == named { &[] } else { &["signature-algorithm"] };
            assert_eq!(case.found(), expected, "{named} where {other} is wanted");
        }
    }
}

/// A path length needs its issuer's, and of more than 127 a second octet; what is no certificate is said so.
#[test]
fn path_lengths_and_garbage() {
    let mut deep = profile("deep", Purpose::DeviceCa { path_length: 200 }, "one");
    deep.keys = vec![KeyAlgorithm::P256];
    let mut case = Case::new(full(DEVICE_CA));
    case.issuer.path_length = None;
    let made = make(&case.common_name, &case.public_key, &Given::default(), &deep, &case.issuer, NOW);
    let made = made.expect("not made");
    assert!(made.tbs_certificate.windows(4).any(|window| window == [2, 2, 0, 200]));
    case.fields.clear();
    assert_eq!(case.found(), ["encoding"]);
}
