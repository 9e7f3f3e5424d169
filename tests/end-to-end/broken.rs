//! The doctors of station and CA at setups that somebody broke: of each the one finding that names it, with what to do, as JSON,
//! and the exit code that is documented; and of several all at once.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use line::Line;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;

use crate::{
    asking::{line_of, start},
    looking::{Ran, run},
};

/// What is broken.
enum Break {
    /// In the configuration, a text that becomes another one.
    Setting(&'static str, &'static str),
    /// A file, and what it holds now; `None`: it is away.
    File(&'static str, Option<String>),
    /// A file's mode.
    Mode(&'static str, u32),
    /// A file in this directory is of tomorrow.
    Tomorrow(&'static str),
}

/// A broken setup: what is broken, the exit code, and what the finding says of it, wherever it says it.
struct Case(Break, i32, &'static [&'static str]);

fn check(program: &str, configuration: &Path) -> Ran {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(program);
    let mut command = Command::new(program);
    command.args(["check", "--json", "--config"]).arg(configuration);
    run(command)
}

/// Each problem that was found, as one text.
fn problems(ran: &Ran) -> Vec<String> {
    let told: Value =
        serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.text(), ran.err));
    let findings = told["findings"].as_array().unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    for finding in findings {
        assert!(text(finding, "remedy").ends_with('.'), "without a remedy: {finding}");
        assert!(["notice", "problem"].contains(&text(finding, "severity").as_str()), "{finding}");
    }
    let found = findings.iter().filter(|finding| finding["severity"] == "problem");
    found.map(|finding| format!("{}: {}", text(finding, "about"), text(finding, "message"))).collect()
}

/// A file as it was, put back at the end.
struct Kept(PathBuf, Option<(Vec<u8>, u32)>);

impl Kept {
    fn of(path: PathBuf) -> Self {
        let was = fs::read(&path).ok().map(|content| (content, fs::metadata(&path).unwrap().permissions().mode()));
        Self(path, was)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        match &self.1 {
            Some((content, mode)) => {
                fs::write(&self.0, content).unwrap();
                fs::set_permissions(&self.0, fs::Permissions::from_mode(*mode)).unwrap();
            }
            None => drop(fs::remove_file(&self.0)),
        }
    }
}

fn broken(directory: &Path, what: &Break) -> Option<Kept> {
    let kept = match what {
        Break::Setting(..) => return None,
        Break::File(file, _) | Break::Mode(file, _) => Kept::of(directory.join(file)),
        Break::Tomorrow(place) => Kept::of(directory.join(place).join("of-tomorrow")),
    };
    match what {
        Break::Setting(..) => {}
        Break::File(_, Some(content)) => fs::write(&kept.0, content).unwrap(),
        Break::File(_, None) => fs::remove_file(&kept.0).unwrap(),
        Break::Mode(_, mode) => fs::set_permissions(&kept.0, fs::Permissions::from_mode(*mode)).unwrap(),
        Break::Tomorrow(_) => {
            let file = fs::File::create(&kept.0).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(24 * 3600)).unwrap();
        }
    }
    Some(kept)
}

/// Goes through the cases at one configuration.
fn examine(line: &Line, program: &str, file: &str, cases: &[Case]) {
    let directory = line.directory();
    let right = fs::read_to_string(directory.join(file)).unwrap();
    let tried = directory.join(format!("broken-{file}"));
    let look = |text: &str| {
        fs::write(&tried, text).unwrap();
        let ran = check(program, &tried);
        (ran.status.code(), problems(&ran))
    };
    let (code, well) = look(&right);
    assert_eq!((code, well.as_slice()), (Some(0), [].as_slice()), "{program} that is well");
    let mut wrong = Vec::new();
    for Case(what, code, words) in cases {
        let mut text = right.clone();
        if let Break::Setting(from, to) = what {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replacen(from, to, 1);
        }
        let kept = broken(directory, what);
        let (ended, found) = look(&text);
        let fitting = found.iter().filter(|one| words.iter().all(|word| one.contains(word))).count();
        if (ended, fitting) != (Some(*code), 1) {
            wrong.push(format!("{words:?}, {code}: {ended:?}: {found:#?}"));
        }
        drop(kept);
    }
    assert!(wrong.is_empty(), "{program}: {}", wrong.join("\n"));
    // Those that need no other configuration, and each another file, all at once.
    let mut several: Vec<(&Case, Kept)> = Vec::new();
    for case in cases.iter().filter(|Case(_, code, _)| *code == 1) {
        if let Some(kept) =
            matches!(case.0, Break::Mode(..) | Break::Tomorrow(_)).then(|| broken(directory, &case.0)).flatten()
        {
            several.push((case, kept));
        }
    }
    let (ended, found) = look(&right);
    assert_eq!(ended, Some(1));
    for (Case(_, _, words), _) in &several {
        assert!(found.iter().any(|one| words.iter().all(|word| one.contains(word))), "{words:?}: {found:#?}");
    }
    assert!(several.len() > 1);
}

/// A certificate of nobody's, PEM, that ended long ago.
fn ended() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What `check` of the station says of each of many broken setups, and of several at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_stations_doctor_names_what_is_broken() {
    let mut line = start(line_of(0, 1)).await;
    line.stop_station().unwrap();
    let read = |file: &str| fs::read_to_string(line.directory().join(file)).unwrap();
    let (certificate, key) = (read("control-plane/station-1-server.pem"), read("control-plane/station-1-server.key"));
    let (old, _) = ended();
    let pin = {
        let entries = fs::read_dir(line.directory().join("secrets")).unwrap().flatten();
        let name = entries.map(|entry| entry.file_name()).find(|name| name != "ca.pin").unwrap();
        &*format!("secrets/{}", name.to_str().unwrap()).leak()
    };
    const SERVER: &str = "control-plane/station-1-server.pem";
    const KEY: &str = "control-plane/station-1-server.key";
    const TRUST: &str = "control-plane/root.pem";
    use Break::{File, Mode, Setting, Tomorrow};
    let half = certificate[..certificate.len() / 2].to_owned();
    let with_key = format!("{}{key}", read(TRUST));
    let cases = [
        Case(File(SERVER, None), 1, &["listen", "station-1-server.pem"]),
        Case(File(SERVER, Some(String::new())), 1, &["listen", "station-1-server.pem", "no certificate"]),
        Case(File(SERVER, Some(half)), 1, &["listen", "station-1-server.pem"]),
        Case(File(SERVER, Some(old)), 1, &["listen", "station-1-server.pem", "expired"]),
        Case(File(KEY, None), 1, &["listen", "station-1-server.key"]),
        Case(File(KEY, Some(read("control-plane/mes-1.key"))), 1, &["listen", "does not match the certificate"]),
        Case(File(KEY, Some(certificate.clone())), 1, &["listen", "holds no private key"]),
        Case(File(KEY, Some("-----BEGIN PRIVATE KEY-----\n".into())), 1, &["listen", "station-1-server.key"]),
        Case(Mode(KEY, 0o644), 1, &["listen.key", "every user of this machine may read"]),
        Case(File("control-plane/root.pem", Some(with_key)), 1, &["listen.trust", "holds a private key"]),
        Case(File("control-plane/root.pem", Some("none".into())), 1, &["listen", "holds no certificate"]),
        Case(
            Setting("trust = \"control-plane/root.pem\"", "trust = \"pki/product/root.pem\""),
            1,
            &["a device's CA could sign"],
        ),
        Case(
            Setting("trust = \"control-plane/root.pem\"", "trust = \"pki/product/device-identity.pem\""),
            1,
            &["a device's CA could sign"],
        ),
        Case(Setting("trust = \"control-plane/root.pem\"", "trust = \"nowhere.pem\""), 1, &["listen", "nowhere.pem"]),
        Case(
            Setting("address = \"127.0.0.1:", "address = \"192.0.2.1:"),
            1,
            &["listen.address", "cannot be listened on"],
        ),
        Case(
            Setting("journal = \"journal/station\"", "journal = \"station.toml/x\""),
            1,
            &["station.toml", "directory"],
        ),
        Case(Setting("devices = \"devices\"", "devices = \"ca.toml\""), 1, &["ca.toml", "directory"]),
        Case(Tomorrow("journal/station"), 1, &["journal/station", "a time that is still to come"]),
        Case(Mode(pin, 0o644), 2, &["pin_file", "every user may read the secret"]),
        Case(File(pin, Some("000000\n".into())), 1, &["fixture fixture-1", "PinIncorrect"]),
        Case(File(pin, Some(String::new())), 2, &["pin_file", "empty"]),
        Case(File(pin, None), 2, &["pin_file", "could not read"]),
        Case(Setting("path_length = 0\nkey", "path_length = 1\nkey"), 1, &["profile device-ca", "pathlen:1"]),
        Case(
            Setting("issuers = \"pki/product/device-ca.pem\"", "issuers = \"nowhere.pem\""),
            2,
            &["issuers", "nowhere.pem"],
        ),
        Case(
            Setting("roots = \"pki/product/root.pem\"", "roots = \"control-plane/root.pem\""),
            1,
            &["a device's CA could sign"],
        ),
        Case(
            Setting("keystore = \"pkcs11\"\nmodule = \"", "keystore = \"pkcs11\"\nmodule = \"/nowhere"),
            2,
            &["fixture[1].module", "is no file"],
        ),
        Case(Setting("[listen]\n", "[listen]\nadress = \"127.0.0.1:1\"\n"), 2, &["listen.adress", "unknown key"]),
        Case(Setting("station = \"station-1\"", "station = \"\""), 2, &["station"]),
        Case(Setting("role = \"mes\"", "role = \"mess\""), 2, &["role", "must be one of"]),
        Case(Setting("[authority]", "[authority"), 2, &["station.toml"]),
    ];
    examine(&line, "station-agent", "station.toml", &cases);
    line.stop().unwrap();
}

/// What `check` of the CA says of each of many broken setups, and of several at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_cas_doctor_names_what_is_broken() {
    let mut line = start(line_of(0, 1)).await;
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    let read = |file: &str| fs::read_to_string(line.directory().join(file)).unwrap();
    const SERVER: &str = "control-plane/ca-1.pem";
    const KEY: &str = "control-plane/ca-1.key";
    let (certificate, key) = (read(SERVER), read(KEY));
    let (old, _) = ended();
    use Break::{File, Mode, Setting, Tomorrow};
    let other_root = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Demo Product Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    };
    let with_key = format!("{}{key}", read("control-plane/root.pem"));
    let half = certificate[..certificate.len() / 2].to_owned();
    let cases = [
        Case(File(SERVER, None), 1, &["listen", "ca-1.pem"]),
        Case(File(SERVER, Some(half)), 1, &["listen", "ca-1.pem"]),
        Case(File(SERVER, Some(old)), 1, &["listen", "ca-1.pem", "expired"]),
        Case(File(KEY, Some(read("control-plane/mes-1.key"))), 1, &["listen", "does not match the certificate"]),
        Case(Mode(KEY, 0o644), 1, &["listen.key", "every user of this machine may read"]),
        Case(File("control-plane/root.pem", Some(with_key)), 1, &["listen.trust", "holds a private key"]),
        Case(
            Setting("trust = \"control-plane/root.pem\"", "trust = \"pki/product/root.pem\""),
            1,
            &["a device's CA could sign"],
        ),
        Case(
            Setting("trust = \"control-plane/root.pem\"", "trust = \"pki/product/device-ca.pem\""),
            1,
            &["a device's CA could sign"],
        ),
        Case(
            Setting("address = \"127.0.0.1:", "address = \"192.0.2.1:"),
            1,
            &["listen.address", "cannot be listened on"],
        ),
        Case(Setting("journal = \"journal/ca\"", "journal = \"ca.toml/x\""), 1, &["ca.toml", "directory"]),
        Case(Setting("directory = \"crl\"", "directory = \"station.toml\""), 1, &["station.toml", "directory"]),
        Case(Tomorrow("journal/ca"), 1, &["journal/ca", "a time that is still to come"]),
        Case(File("pki/product/root.pem", None), 1, &["root.pem", "no certificate that can be read"]),
        Case(
            File("pki/product/device-ca.pem", Some("none".into())),
            1,
            &["device-ca.pem", "no certificate that can be read"],
        ),
        Case(File("pki/product/root.pem", Some(other_root)), 1, &["pki"]),
        Case(File("secrets/ca.pin", Some("000000\n".into())), 1, &["token ca", "PinIncorrect"]),
        Case(File("secrets/ca.pin", None), 1, &["token ca", "could not read"]),
        Case(Mode("secrets/ca.pin", 0o644), 1, &["token ca", "every user may read the secret"]),
        Case(Setting("label = \"ca\"", "label = \"nowhere\""), 1, &["token nowhere"]),
        Case(Setting("module = \"", "module = \"/nowhere"), 1, &["token ca", "could not load the PKCS#11 module"]),
        Case(Setting("common_name = \"Demo Device CA\"", "common_name = \"Another CA\""), 1, &["pki"]),
        Case(
            Setting("path_length = 1\nvalidity", "path_length = 0\nvalidity"),
            2,
            &["profile[1].path_length", "does not allow"],
        ),
        Case(Setting("issuer = \"device-ca\"", "issuer = \"nobody\""), 2, &["issuer", "nobody"]),
        Case(Setting("[listen]\n", "[listen]\nadress = \"127.0.0.1:1\"\n"), 2, &["listen.adress", "unknown key"]),
        Case(Setting("role = \"station\"", "role = \"stations\""), 2, &["role", "must be one of"]),
        Case(Setting("validity = \"1825d\"", "validity = \"forever\""), 2, &["validity"]),
        Case(Setting("name = \"ca-1\"", "name = \"\""), 2, &["name"]),
        Case(Setting("[token]", "[token"), 2, &["ca.toml"]),
    ];
    examine(&line, "intermediate-ca", "ca.toml", &cases);
    line.stop().unwrap();
}
