//! Files that people write: configurations, supervisors, the names behind badges.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use intermediate_ca::Configuration as CaConfiguration;
use service::configuration::{File, Mistakes};
use station::{configuration::StationConfiguration, supervisors};
use station_ui::{
    configuration::Configuration as PageConfiguration,
    operators::{Operators, Settings},
};

use crate::{
    Door,
    key::{intermediate, pem, root, spki},
    scratch,
};

const PROPERTY: &str = "a file is read, or refused with at least one mistake, each in words; twice the same";

pub(super) const STATION: Door =
    Door { name: "station-toml", property: PROPERTY, enter: station, seeds: stations, taken: 2, octets_most: 8192 };
pub(super) const CA: Door =
    Door { name: "ca-toml", property: PROPERTY, enter: ca, seeds: cas, taken: 2, octets_most: 12_288 };
pub(super) const PAGE: Door =
    Door { name: "ui-toml", property: PROPERTY, enter: page, seeds: pages, taken: 1, octets_most: 4096 };

pub(super) const SUPERVISORS: Door = Door {
    name: "supervisors",
    property: "each badge stands once, its hash is read back as it is written and shows nothing; a file of names gives some name for \
               every badge",
    enter: supervisors_file,
    seeds: supervisors_files,
    taken: 1,
    octets_most: 2048,
};

/// A directory with what the examples name.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = scratch::directory().join("etc");
    let write = |name: &str, text: &str| {
        let path = place.join(name);
        fs::create_dir_all(path.parent().expect("in the directory")).expect("a directory in memory");
        fs::write(&path, text).expect("a file in memory");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
    };
    let (issuer, root) = (pem("CERTIFICATE", &intermediate()), pem("CERTIFICATE", &root()));
    for name in ["pki/tpm-makers/root.pem", "roots.pem", "pki/roots.pem", "pki/root.pem"] {
        write(name, &root);
    }
    for name in ["issuers.pem", "pki/issuers.pem", "pki/device-ca.pem"] {
        write(name, &issuer);
    }
    write("brand-owner.pem", &pem("PUBLIC KEY", &spki("brand owner")));
    for name in ["secrets/ca.pin", "secrets/station.pin", "secrets/device.pin", "pin"] {
        write(name, "1234\n");
    }
    write("module.so", "");
    write("supervisors", "");
    write("webhook.secret", &format!("whsec_{}\n", STANDARD.encode([7; 32])));
    write("secrets/est.password", "a-password-of-a-machine\n");
    place
});

fn judged<T>(first: Result<T, Mistakes>, second: Result<T, Mistakes>) -> bool {
    match (first, second) {
        (Ok(_), Ok(_)) => true,
        (Err(first), Err(second)) => {
            assert!(!first.0.is_empty(), "refused without a word");
            let words = |mistakes: &Mistakes| mistakes.0.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(words(&first).iter().all(|words| !words.is_empty()));
            assert_eq!(words(&first), words(&second));
            assert!(!first.to_string().is_empty());
            false
        }
        (first, _) => panic!("taken once and refused once (first: {})", first.is_ok()),
    }
}

fn station(octets: &[u8]) -> bool {
    let path = PLACE.join("station.toml");
    fs::write(&path, octets).expect("a file in memory");
    judged(StationConfiguration::read(&path), StationConfiguration::read(&path))
}

fn ca(octets: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(octets) else { return false };
    let read = || CaConfiguration::parse(File::parse(&PLACE.join("ca.toml"), text.to_owned())?);
    judged(read(), read())
}

fn page(octets: &[u8]) -> bool {
    let path = PLACE.join("ui.toml");
    fs::write(&path, octets).expect("a file in memory");
    judged(PageConfiguration::read(&path), PageConfiguration::read(&path))
}

/// A file without what it says to people: the fuzzer's time goes to what it says to programs.
fn without_comments(text: &str) -> Vec<u8> {
    // The module is any file here.
    let text = text.replace("/usr/lib/vendor/libpkcs11.so", "module.so");
    let lines = text.lines().map(|line| line.split_once("  #").map_or(line, |(before, _)| before).trim_end());
    lines.filter(|line| !line.starts_with('#') && !line.is_empty()).collect::<Vec<_>>().join("\n").into_bytes()
}

fn stations() -> Vec<Vec<u8>> {
    vec![
        without_comments(include_str!("../../../../deploy/examples/station.toml")),
        include_bytes!("station.toml").to_vec(),
    ]
}

fn cas() -> Vec<Vec<u8>> {
    vec![without_comments(include_str!("../../../../deploy/examples/ca.toml")), include_bytes!("ca.toml").to_vec()]
}

fn pages() -> Vec<Vec<u8>> {
    vec![without_comments(include_str!("../../../../deploy/examples/ui.toml")), b"[station]\n".to_vec()]
}

fn supervisors_file(octets: &[u8]) -> bool {
    let path = PLACE.join("supervisors");
    fs::write(&path, octets).expect("a file in memory");
    let read = supervisors::read(&path);
    match &read {
        Ok(known) => {
            for (at, (badge, pin)) in known.iter().enumerate() {
                assert!(!known[..at].iter().any(|(other, _)| other == badge), "{badge} stands twice");
                assert_eq!(supervisors::PinHash::parse(&pin.to_text()).as_ref(), Ok(pin));
                assert_eq!(format!("{pin:?}"), "PinHash(..)");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let operators = Operators::new(Settings { names: Some(path), ..Settings::default() });
    assert!(!operators.shown("B-1").is_empty() || octets.windows(3).any(|part| part == b"B-1"));
    read.is_ok_and(|known| !known.is_empty())
}

fn supervisors_files() -> Vec<Vec<u8>> {
    let hash = format!("$pbkdf2-sha256$i=600000${}${}", "0a".repeat(16), "0b".repeat(32));
    let two = format!("# badge and hash\nB-1 {hash}\n\nB-2\t{hash}\n");
    vec![two.into_bytes(), b"B-1 = \"Ada\"\n\"B-2\" = \"Grace\"\n".to_vec()]
}
