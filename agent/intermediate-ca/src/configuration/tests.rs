//! What a file says, and every mistake in it.

use std::time::Duration;

use issuance::Purpose;

use super::*;
use crate::profile::{End, ExtensionRules, SubjectRules, Usage};

pub(super) const GOOD: &str = r#"
name = "ca-1"
journal = "journal"
pki = "pki/product"
[listen]
address = "127.0.0.1:0"
certificate = "tls/ca.pem"
key = "tls/ca.key"
trust = "tls/root.pem"
[[caller]]
common_name = "station-1"
role = "station"
[token]
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "ca"
pin_file = "secrets/ca.pin"
environment = { SOFTHSM2_CONF = "/tmp/softhsm2.conf" }
[root]
common_name = "Demo Product Root"
key = "P-256"
validity = "7300d"
[[issuer]]
name = "device-ca"
common_name = "Demo Device CA"
organization = "Example Devices"
key = "P-384"
path_length = 1
validity = "3650d"
[[profile]]
name = "device-ca"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048"]
"#;

pub(super) fn mistakes(text: &str) -> Vec<String> {
    let file = File::parse(Path::new("/etc/ca/ca.toml"), text.to_owned()).unwrap();
    match Configuration::parse(file) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
    }
}

/// A good file gives what it says, paths from its own directory.
#[test]
fn a_good_file_is_read() {
    let file = File::parse(Path::new("/etc/ca/ca.toml"), GOOD.to_owned()).unwrap();
    let read = Configuration::parse(file).unwrap();
    assert_eq!(read.authority.pki, Path::new("/etc/ca/pki/product"));
    assert_eq!(read.authority.root.path_length, None);
    let [issuer] = read.authority.issuers.as_slice() else { panic!("{:?}", read.authority.issuers) };
    assert_eq!((issuer.path_length, issuer.key), (Some(1), KeyAlgorithm::P384));
    assert_eq!(read.authority.profiles[0].purpose, Purpose::DeviceCa { path_length: 0 });
    assert_eq!(read.token.environment, [("SOFTHSM2_CONF".to_owned(), "/tmp/softhsm2.conf".to_owned())]);
    assert_eq!((read.token.sessions.get(), read.metrics), (4, None));
    assert!(read.authority.witness.is_none() && read.authority.witnessed.is_none());
}

/// Sessions, metrics and the witness are read as they are said; a witness without a word and one that is half told are
/// mistakes.
#[test]
fn sessions_metrics_and_witness_are_read() {
    const ASKED: &str =
        "endpoint = \"https://ca-2:7443\"\ncertificate = \"ca-1.pem\"\nkey = \"ca-1.key\"\ntrust = \"control.pem\"\n";
    let with = |witness: &str| {
        let text = GOOD.replace("[token]\n", "[token]\nsessions = 9\n");
        format!("{text}[metrics]\naddress = \"127.0.0.1:9465\"\n[witness]\n{witness}")
    };
    let read = |text: String| Configuration::parse(File::parse(Path::new("/etc/ca/ca.toml"), text).unwrap()).unwrap();
    let both = read(with(&format!("file = \"seen\"\n{ASKED}")));
    assert_eq!((both.token.sessions.get(), both.metrics.map(|address| address.port())), (9, Some(9465)));
    assert_eq!(both.authority.witnessed.as_deref(), Some(Path::new("/etc/ca/seen")));
    assert_eq!(both.authority.witness.unwrap().endpoint, "https://ca-2:7443");
    assert!(
        read(with(ASKED)).authority.witnessed.is_none() && read(with("file = \"seen\"")).authority.witness.is_none()
    );
    assert!(mistakes(&with("")).iter().any(|mistake| mistake.contains("or endpoint, certificate, key and trust")));
    assert!(mistakes(&with("trust = \"control.pem\"")).iter().any(|mistake| mistake.contains("endpoint")));
    assert!(mistakes(&GOOD.replace("[token]\n", "[token]\nsessions = 0\n"))[0].contains("sessions"));
}

/// Each change of one line is one mistake that names the key; all together are all of them.
#[test]
fn every_mistake_is_told_with_its_key() {
    let changes = [
        ("name = \"ca-1\"", "name = \"ca 1\"", "name"),
        ("\"127.0.0.1:0\"", "\"localhost\"", "address"),
        ("label = \"ca\"", "lable = \"ca\"", "label"),
        (
            "[root]\ncommon_name = \"Demo Product Root\"\nkey = \"P-256\"",
            "[root]\ncommon_name = \"Demo Product Root\"\nkey = \"P-255\"",
            "key",
        ),
        ("validity = \"3650d\"", "validity = \"long\"", "validity"),
        ("organization = \"Example Devices\"", &format!("organization = \"{}\"", "x".repeat(65)), "organization"),
        ("purpose = \"device-ca\"", "purpose = \"ca\"", "purpose"),
        ("path_length = 1\n", "path_length = 300\n", "path_length"),
        ("keys = [\"P-256\", \"P-384\", \"RSA-2048\"]", "keys = []\nspeed = 1", "speed"),
    ];
    let mut all = GOOD.to_owned();
    for (from, to, key) in changes {
        assert!(GOOD.contains(from), "{from}");
        let found = mistakes(&GOOD.replace(from, to));
        assert!(found.iter().any(|mistake| mistake.contains(key)), "{to}: {found:?}");
        all = all.replace(from, to);
    }
    assert!(mistakes(&all).len() >= changes.len(), "{:#?}", mistakes(&all));
}

const FULL: &str = r#"
[[profile]]
name = "panel"
purpose = "server"
issuer = "device-ca"
not_after = "9999-12-31T23:59:59Z"
outlives_issuer = true
keys = ["RSA-2048", "RSA-3072"]
signature_hash = "SHA-384"
callers = ["station-1"]
key_usages = ["keyEncipherment"]
extended_key_usages = ["clientAuth", "1.3.6.1.4.1.99999.1"]
crl_distribution_points = ["http://pki.example/device-ca.crl"]
ocsp = ["http://ocsp.example"]
ca_issuers = ["http://pki.example/device-ca.cer"]
certificate_policies = ["1.3.6.1.4.1.99999.2"]
critical = ["certificatePolicies", "extendedKeyUsage"]
[profile.subject]
common_name = "{serial}.line.example"
country = "DE"
organization = "Example Devices"
organizational_unit = "Panels"
[profile.subject_alternative_names]
dns_suffixes = ["line.example"]
ip_networks = ["10.0.0.0/8", "fd00::/8"]
uris = ["urn:example:{serial}"]
"#;

/// Everything that a profile may say is read as it is said; what it leaves out keeps its default.
#[test]
fn a_full_profile_is_read() {
    let file = File::parse(Path::new("/etc/ca/ca.toml"), GOOD.to_owned() + FULL).unwrap();
    let read = Configuration::parse(file).unwrap();
    let [plain, full] = read.authority.profiles.as_slice() else { panic!() };
    assert_eq!((plain.validity, plain.outlives_issuer), (End::After(Duration::from_secs(1_825 * 86_400)), false));
    assert_eq!((&plain.callers, &plain.subject), (&None, &SubjectRules::default()));
    assert_eq!((&plain.extensions, plain.signature_hash), (&ExtensionRules::default(), None));
    assert_eq!((full.validity, full.outlives_issuer), (End::NEVER, true));
    assert_eq!(full.callers.as_deref(), Some(&["station-1".to_owned()][..]));
    assert_eq!(full.subject.country.as_deref(), Some("DE"));
    assert_eq!(full.extensions.usages, [Usage::KeyEncipherment]);
    assert_eq!(full.extensions.extended_usages.len(), 2);
    assert!(full.extensions.policies_critical && full.extensions.extended_usages_critical);
    assert!(full.alternative_names.common_name && !full.alternative_names.critical);
    let offer = "the CN as dNSName, dNSNames under line.example, iPAddresses in 10.0.0.0/8, iPAddresses in fd00::/8, the URI urn:example:{serial}";
    assert_eq!(full.alternative_names.offer(), offer);
}

/// Each wrong word of a profile is told at its key, with what would be right; the file with all of them tells all.
#[test]
fn wrong_words_of_a_profile_are_told() {
    let changes = [
        ("not_after = \"9999-12-31T23:59:59Z\"", "not_after = \"9999-12-31\"", "must be a moment such as"),
        ("outlives_issuer = true", "outlives_issuer = \"yes\"", "outlives_issuer"),
        ("outlives_issuer = true", "", "nothing outlives its issuer"),
        ("outlives_issuer = true", "validity = \"1d\"", "keep the span or the moment"),
        ("\"SHA-384\"", "\"SHA3-384\"", "must be one of SHA-256, SHA-384, SHA-512"),
        ("\"SHA-384\"", "\"SHA-1\"", "must not be SHA-1"),
        ("\"SHA-384\"", "\"MD5\"", "must not be MD5"),
        ("callers = [\"station-1\"]", "callers = [\"station-2\"]", "name some of these by their mark: station-1"),
        ("\"keyEncipherment\"", "\"keyCertSign\"", "must be one of contentCommitment"),
        ("\"keyEncipherment\"", "\"keyAgreement\"", "for EC keys alone"),
        ("\"clientAuth\"", "\"client\"", "must be serverAuth, clientAuth or an object identifier"),
        ("\"clientAuth\"", "\"2.5.29.37.0\"", "for no device"),
        ("http://pki.example/device-ca.crl", "https://pki.example/device-ca.crl", "begins with http://"),
        ("http://ocsp.example", "ocsp.example", "must be a URI"),
        ("1.3.6.1.4.1.99999.2", "1.3.6.1.4.1.x", "must be an object identifier"),
        ("\"certificatePolicies\"", "\"keyUsage\"", "is always critical"),
        ("\"certificatePolicies\"", "\"authorityInfoAccess\"", "is never critical"),
        ("{serial}.line.example", "panel.line.example", "has no {serial}"),
        ("{serial}.line.example", "{serial}_", "is no host name"),
        ("\"DE\"", "\"de\"", "two capital letters"),
        ("[\"line.example\"]", "[\".line.example\"]", "without a dot before it"),
        ("fd00::/8", "fd00::1/8", "must be a network"),
        ("urn:example:{serial}", "urn:example:1", "has no {serial}"),
        ("uris =", "urls =", "urls"),
        ("[profile.subject]", "[profile.name_constraints]\n[profile.subject]", "give at least one of permitted_dns"),
        (
            "[profile.subject]",
            "[profile.name_constraints]\npermitted_dns = [\"a\"]\n[profile.subject]",
            "a leaf has none",
        ),
    ];
    for (from, to, expected) in changes {
        assert!(FULL.contains(from), "{from}");
        let found = mistakes(&(GOOD.to_owned() + &FULL.replace(from, to)));
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{to}: {found:?}");
    }
    let several = FULL.replace("\"DE\"", "\"de\"").replace("fd00::/8", "x").replace("keyEncipherment", "keyCertSign");
    assert_eq!(mistakes(&(GOOD.to_owned() + &several)).len(), 3);
}

/// Contradictions stand at their own table: pathlen, a leaf's pathlen, an issuer that does not exist.
#[test]
fn contradictions_are_mistakes() {
    for (from, to, expected) in [
        ("path_length = 1\n", "path_length = 0\n", "does not allow them"),
        ("[root]\n", "[root]\npath_length = 1\n", "does not allow the issuer device-ca"),
        ("issuer = \"device-ca\"\n", "issuer = \"other\"\n", "no [[issuer]] is named other"),
        ("purpose = \"device-ca\"", "purpose = \"server\"", "is for CAs"),
        ("validity = \"1825d\"", "validity = \"3651d\"", "nothing outlives its issuer"),
        ("path_length = 0\n", "", "a device CA needs it"),
    ] {
        let found = mistakes(&GOOD.replace(from, to));
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{to}: {found:?}");
    }
}

/// In production a module of SoftHSM's, a demonstration's names and another word than the two modes are mistakes, each at its
/// key; with an HSM's module and the product's names the same file is read.
#[test]
fn production_takes_nothing_of_a_demonstration() {
    let production = format!("mode = \"production\"\n{GOOD}");
    let found = mistakes(&production);
    let is_told = |key: &str, words: &str| found.iter().any(|mistake| mistake.contains(key) && mistake.contains(words));
    assert!(is_told("module", "libsofthsm2.so") && is_told("common_name", "a demonstration's"), "{found:#?}");
    assert_eq!(found.len(), 3, "{found:#?}");
    let real =
        production.replace("/usr/lib/softhsm/libsofthsm2.so", "/opt/vendor/pkcs11.so").replace("Demo ", "Democrat ");
    assert_eq!(mistakes(&real), Vec::<String>::new());
    assert_eq!(mistakes(&format!("mode = \"development\"\n{GOOD}")), Vec::<String>::new());
    assert!(mistakes(&format!("mode = \"prod\"\n{GOOD}"))[0].contains("\"production\" or \"development\""));
}

/// The example in `deploy/` is read as it stands, given the files that it names, and has every key that is known.
#[test]
fn the_example_is_complete() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let key = rcgen::KeyPair::generate().unwrap();
    write("brand-owner.pem", &key.public_key_pem());
    write("secrets/ca.pin", "1234\n");
    write("secrets/est.password", "a-password-of-a-machine\n");
    let maker = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
    write("pki/tpm-makers/root.pem", &maker.pem());
    let text = include_str!("../../../../deploy/examples/ca.toml");
    let path = place.path().join("ca.toml");
    let file = File::parse(&path, text.to_owned()).unwrap();
    let read = parse(&file.root(), &path);
    assert_eq!(file.unmentioned(), Vec::<String>::new());
    file.finish().unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(read.is_some());
}
