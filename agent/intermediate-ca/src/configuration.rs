//! `ca.toml`, read with every mistake reported at once.

mod crl;
mod est;
mod lots;
mod profile;
pub(crate) mod residency;

use std::{net::SocketAddr, path::Path, path::PathBuf};

use issuance::{CommonName, KeyAlgorithm};
use journal::LogOptions;
use service::{
    command::Client,
    configuration::{File, Mistakes, Table},
    roles::Callers,
    tls::TlsFiles,
};

use crate::est::EstSettings;
use crate::profile::{AuthoritySettings, CaName, CaSettings, Contradiction, Place, contradictions};
use profile::{parse_end, parse_name_constraints, parse_profile};

/// The whole file, parsed.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where stations call.
    pub listen: Listen,
    /// Who may call.
    pub callers: Callers,
    /// Where and how devices enrol by EST.
    pub est: Option<EstSettings>,
    /// How the commands that call the running CA do so.
    pub client: Option<Client>,
    /// Where the keys are.
    pub token: Token,
    /// What the CA is.
    pub authority: AuthoritySettings,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// `[listen]`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server's certificate and key, and the control plane's root.
    pub files: TlsFiles,
}

/// `[token]`.
#[derive(Debug, Clone)]
pub struct Token {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// Where its PIN stands.
    pub pin_file: PathBuf,
    /// What the process that loads the module finds in its environment.
    pub environment: Vec<(String, String)>,
}

impl Configuration {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        Self::parse(File::read(path)?)
    }

    /// Parses a file that was read.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn parse(file: File) -> Result<Self, Mistakes> {
        let sha256 = file.sha256();
        let parsed = parse(&file.root(), file.path());
        file.finish()?;
        match parsed {
            Some((listen, callers, est, client, token, authority)) => {
                Ok(Self { listen, callers, est, client, token, authority, sha256 })
            }
            // What is missing was collected as a mistake, and `finish` told it.
            None => Err(Mistakes(Vec::new())),
        }
    }
}

type Parts = (Listen, Callers, Option<EstSettings>, Option<Client>, Token, AuthoritySettings);

fn parse(root: &Table<'_>, file: &Path) -> Option<Parts> {
    let name = root.parsed("name", parse_origin);
    let (journal, pki) = (root.path("journal"), root.path("pki"));
    let checkpoints = journal.as_deref().map(|journal| parse_checkpoints(root, journal));
    let listen = root.table("listen").and_then(|table| {
        let address = table.parsed("address", |text| {
            text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:7443")
        });
        let files = TlsFiles::from_table(&table);
        Some(Listen { address: address?, files: files? })
    });
    let callers = Callers::from_table(root);
    // A client that was given wrong is a mistake already.
    let client = root.optional_table("client").and_then(|table| Client::from_table(&table));
    let lots = lots::parse(root);
    let token = root.table("token").and_then(|table| {
        let (module, label, pin_file) = (table.path("module"), table.string("label"), table.path("pin_file"));
        let environment = table.string_map("environment");
        Some(Token { module: module?, label: label?, pin_file: pin_file?, environment })
    });
    let root_ca = root.table("root").and_then(|table| parse_ca(&table, Some(CaName::root())));
    let issuer_tables = root.tables("issuer");
    let profile_tables = root.tables("profile");
    for (key, tables) in [("issuer", &issuer_tables), ("profile", &profile_tables)] {
        if tables.is_empty() && !root.has(key) {
            root.mistake(key, format!("is missing; add a [[{key}]]"));
        }
    }
    let issuers: Option<Vec<CaSettings>> = all(issuer_tables.iter().map(|table| {
        let name = table.parsed("name", CaName::parse);
        parse_ca(table, name)
    }));
    let profiles = all(profile_tables.iter().map(|table| parse_profile(table, &callers)));
    let (root_ca, issuers, profiles) = (root_ca?, issuers?, profiles?);
    for Contradiction { place, key, message } in contradictions(&root_ca, &issuers, &profiles) {
        match place {
            Place::Root => root.table("root").iter().for_each(|table| table.mistake(key, message.as_str())),
            Place::Issuer(index) => issuer_tables[index].mistake(key, message),
            Place::Profile(index) => profile_tables[index].mistake(key, message),
        }
    }
    // A wrong [crl] is a mistake already: without it the rest of the file is read all the same.
    let crl = root.optional_table("crl").and_then(|table| crl::parse(&table, &issuers, &profiles));
    let est = root.optional_table("est").and_then(|table| est::parse(&table, &profiles, &callers));
    let file = file.to_owned();
    let authority = AuthoritySettings {
        file,
        name: name?,
        journal: journal?,
        pki: pki?,
        checkpoints: checkpoints?,
        root: root_ca,
        issuers,
        profiles,
        lots,
        crl,
    };
    Some((listen?, callers, est, client, token?, authority))
}

/// `[checkpoints]`, each of its keys optional: where the log of this journal is. A station reads its own with the same words.
#[must_use]
pub fn parse_checkpoints(root: &Table<'_>, journal: &Path) -> LogOptions {
    let beside = LogOptions::beside(journal);
    let Some(table) = root.optional_table("checkpoints") else { return beside };
    LogOptions {
        directory: table.optional_path("directory").unwrap_or(beside.directory),
        key_file: table.optional_path("key_file").unwrap_or(beside.key_file),
        interval: table.duration_or("interval", beside.interval),
        signers: beside.signers,
    }
}

/// Every one, or none when one is missing; each is asked for, so that each one's mistakes are collected.
fn all<T>(parsed: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = parsed.collect();
    parsed.into_iter().collect()
}

fn parse_ca(table: &Table<'_>, name: Option<CaName>) -> Option<CaSettings> {
    let common_name = table.parsed("common_name", CommonName::parse);
    let organization = match table.optional_string("organization") {
        // RFC 5280's ub-organization-name.
        Some(text) if text.chars().count() > 64 => {
            table.mistake("organization", "has more than 64 characters, and none is ever cut off; give a shorter one");
            None
        }
        text => text,
    };
    let key = table.parsed("key", parse_algorithm);
    let validity = parse_end(table);
    let path_length = parse_path_length(table);
    let name_constraints = parse_name_constraints(table);
    Some(CaSettings {
        name: name?,
        common_name: common_name?,
        organization,
        key: key?,
        validity: validity?,
        path_length,
        name_constraints,
    })
}

fn parse_path_length(table: &Table<'_>) -> Option<u8> {
    // rcgen and our own types carry one octet; no chain is longer.
    table.optional_integer("path_length", 0..=i64::from(u8::MAX)).and_then(|length| u8::try_from(length).ok())
}

fn parse_algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    KeyAlgorithm::parse(text).ok_or_else(|| {
        let known: Vec<&str> = KeyAlgorithm::NAMES.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", known.join(", "))
    })
}

/// The name becomes the journal's origin (C2SP signed-note: no spaces, no plus signs).
fn parse_origin(text: &str) -> Result<String, &'static str> {
    let accepted = |character: char| character.is_ascii_alphanumeric() || "._:/-".contains(character);
    if text.len() > 64 || !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || !text.chars().all(accepted)
    {
        return Err("must be 1 to 64 of [A-Za-z0-9._:/-], beginning with a letter or a digit");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
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
            ("\"SHA-384\"", "\"SHA-1\"", "must be one of SHA-256, SHA-384, SHA-512"),
            ("\"SHA-384\"", "\"SHA-256\"", "signs with SHA-384, not SHA-256"),
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
            (
                "[profile.subject]",
                "[profile.name_constraints]\n[profile.subject]",
                "give at least one of permitted_dns",
            ),
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
        let several =
            FULL.replace("\"DE\"", "\"de\"").replace("fd00::/8", "x").replace("keyEncipherment", "keyCertSign");
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
}
