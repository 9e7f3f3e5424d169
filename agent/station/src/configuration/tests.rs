use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::testing::Authority;
use issuance::{
    KeyLocation,
    submission::{Repeats, WhenInDoubt},
};
use tempfile::TempDir;

const GOOD: &str = r#"station = "station-1"
site = "site"
line = "line-1"
journal = "journal"
devices = "devices"

[listen]
address = "127.0.0.1:7070"
certificate = "s.pem"
key = "s.key"
trust = "t.pem"

[authority]
name = "ca-1"
endpoint = "https://127.0.0.1:7071"
certificate = "s.pem"
key = "s.key"
trust = "t.pem"

[queue]
bound = 500
retry_first = "1s"

[[caller]]
common_name = "mes-1"
role = "mes"

[[profile]]
name = "device-ca"
purpose = "device-ca"
path_length = 0
key = "P-256"
issuers = "issuers.pem"
roots = "roots.pem"
tpm = { handle = 0x81000010, nv_index = 0x01800010 }
pkcs11 = { label = "device-ca", cka_id = "0aFF" }

[[fixture]]
name = "fixture-1"
keystore = "tpm"
tcti = "device:/dev/tpmrm0"

[[fixture]]
name = "fixture-2"
keystore = "pkcs11"
module = "module.so"
token = "device"
pin_file = "pin"
environment = { SOFTHSM2_CONF = "x" }
"#;

/// A directory with every file that the good configuration names.
fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("issuers.pem", &pem(&authority.der));
    write("roots.pem", &pem(&authority.root));
    write("module.so", "");
    write("pin", "1234\n");
    write("open-pin", "1234\n");
    write("no.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("empty.pem", "");
    let mode = |name: &str, mode| {
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("pin", 0o600);
    mode("open-pin", 0o644);
    directory
}

fn read(place: &TempDir, text: &str) -> Result<StationConfiguration, Mistakes> {
    let path = place.path().join("station.toml");
    fs::write(&path, text).unwrap();
    StationConfiguration::read(&path)
}

/// What each line of the good file means, defaults where it says nothing, and paths from the file's own directory.
#[test]
fn a_good_file_is_read() {
    let place = place();
    let read = read(&place, GOOD).unwrap();
    assert_eq!((read.station.as_str(), read.site.as_str(), read.part_revision.as_str()), ("station-1", "site", ""));
    assert_eq!((&read.journal, &read.devices), (&place.path().join("journal"), &place.path().join("devices")));
    assert_eq!(read.listen.address.port(), 7070);
    assert_eq!(read.queue.bound, 500);
    assert_eq!((read.queue.batch, read.queue.retry_first), (256, Duration::from_secs(1)));
    assert!(read.client.is_none());
    assert_eq!(read.authority.terms, Terms::default());
    let promises_nothing = "name = \"ca-1\"\nrepeats = \"new\"\nin_doubt = \"resubmit\"";
    let terms = self::read(&place, &GOOD.replacen("name = \"ca-1\"", promises_nothing, 1)).unwrap().authority.terms;
    assert_eq!((terms.repeats, terms.in_doubt), (Repeats::New, WhenInDoubt::Resubmit));
    let profile = read.profiles.iter().next().unwrap();
    assert_eq!(profile.profile.purpose, Purpose::DeviceCa { path_length: 0 });
    assert_eq!(profile.profile.common_name.as_str(), "{serial}.ca");
    assert_eq!(profile.profile.pkcs11.as_ref().unwrap().cka_id.as_deref(), Some(&[0x0A, 0xFF][..]));
    assert_eq!(profile.issuer_names, ["Factory CA", "Root"]);
    let kinds: Vec<_> = read.fixtures.iter().map(|fixture| (fixture.name.as_str(), fixture.kind())).collect();
    assert_eq!(kinds, [("fixture-1", KeystoreKind::Tpm), ("fixture-2", KeystoreKind::Pkcs11)]);
    assert_eq!(read.fixtures[1].environment, [("SOFTHSM2_CONF".to_owned(), "x".to_owned())]);
    assert!(!format!("{read:?}").contains("1234"), "a PIN is never shown");
}

/// Each kind of mistake: reported on its line, with its key and what to do, and nothing else is reported with it.
#[test]
fn each_mistake_is_reported_at_its_place() {
    let place = place();
    for (good, bad, key, words) in [
        ("station = \"station-1\"", "station = \"a b\"", "station", "' ' at character 2"),
        ("journal = \"journal\"\n", "\n", "journal", "missing"),
        ("address = \"127.0.0.1:7070\"", "address = \"localhost\"", "listen.address", "write it as 127.0.0.1:7070"),
        ("endpoint = \"https://127.0.0.1:7071\"", "endpoint = \"127.0.0.1:7071\"", "authority.endpoint", "https"),
        ("name = \"ca-1\"", "name = \"ca-1\"\nrepeats = \"often\"", "authority.repeats", "use \"same\" when the CA"),
        ("name = \"ca-1\"", "name = \"ca-1\"\nin_doubt = \"shrug\"", "authority.in_doubt", "use \"ask\" for"),
        ("bound = 500", "bound = 0", "queue.bound", "0"),
        ("bound = 500", "bund = 500", "queue.bund", "did you mean `bound`"),
        ("retry_first = \"1s\"", "retry_first = \"1min\"", "queue.retry_first", "longer than retry_most"),
        ("retry_first = \"1s\"", "retry_first = 1", "queue.retry_first", ""),
        ("role = \"mes\"", "role = \"boss\"", "caller[1].role", "must be one of kiosk"),
        ("path_length = 0\n", "\n", "profile[1].path_length", "missing"),
        ("path_length = 0", "path_length = 9", "profile[1].path_length", "8"),
        ("purpose = \"device-ca\"", "purpose = \"ca\"", "profile[1].purpose", "use device-ca, device-identity"),
        ("key = \"P-256\"", "key = \"P-521\"", "profile[1].key", "use P-256, P-384 or RSA-2048"),
        ("key = \"P-256\"", "key = \"RSA-4096\"", "profile[1].key", "no device key"),
        ("key = \"P-256\"", "key = \"P-256\"\ncommon_name = \"ca\"", "profile[1].common_name", "has no {serial}"),
        ("key = \"P-256\"", "key = \"P-256\"\ncommon_name = \"{SERIAL}\"", "profile[1].common_name", "{serial}"),
        ("key = \"P-256\"", "key = \"P-256\"\nhostname = \"{serial}.CA\"", "profile[1].common_name", "hostname"),
        ("issuers = \"issuers.pem\"", "issuers = \"none.pem\"", "profile[1].issuers", "could not read"),
        ("issuers = \"issuers.pem\"", "issuers = \"no.pem\"", "profile[1].issuers", "not a certificate"),
        ("roots = \"roots.pem\"", "roots = \"empty.pem\"", "profile[1].roots", "holds no CERTIFICATE block"),
        ("handle = 0x81000010", "handle = 0x81000001", "profile[1].tpm.handle", ""),
        ("nv_index = 0x01800010", "nv_index = 0x01C00002", "profile[1].tpm.nv_index", ""),
        ("cka_id = \"0aFF\"", "cka_id = \"0aF\"", "profile[1].pkcs11.cka_id", "in hexadecimal"),
        ("cka_id = \"0aFF\"", "cka_id = \"+aFF\"", "profile[1].pkcs11.cka_id", "in hexadecimal"),
        ("keystore = \"tpm\"", "keystore = \"paper\"", "fixture[1].keystore", "use tpm or pkcs11"),
        ("name = \"fixture-2\"", "name = \"fixture-1\"", "fixture[2].name", "there are two fixtures"),
        ("module = \"module.so\"", "module = \"none.so\"", "fixture[2].module", "is no file"),
        ("pin_file = \"pin\"", "pin_file = \"none\"", "fixture[2].pin_file", "none"),
        ("pin_file = \"pin\"", "pin_file = \"open-pin\"", "fixture[2].pin_file", "every user may read"),
        ("tpm = { handle = 0x81000010, nv_index = 0x01800010 }\n", "\n", "fixture", "no profile has `tpm`"),
        ("station = \"station-1\"", "station = \"station-1\"\nstaton = 1", "staton", "unknown key"),
    ] {
        let text = GOOD.replacen(good, bad, 1);
        assert_ne!(text, GOOD, "{good}");
        let mistakes = read(&place, &text).expect_err(bad);
        let [mistake] = mistakes.0.as_slice() else { panic!("{bad}: {mistakes}") };
        assert!(mistake.key == key && mistake.message.contains(words), "{bad}: {mistake}");
        // The line names the key, or is that of the table that lacks it.
        let line: usize = mistake.place.rsplit(':').nth(1).unwrap().parse().unwrap();
        let shown = text.lines().nth(line - 1).unwrap();
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        let header = table.split('[').next().unwrap();
        let lacks = line == 1 || shown.contains(&format!("[{header}"));
        assert!(shown.contains(name) || lacks, "{bad}: line {line} is {shown:?}");
    }
}

/// Many mistakes at once are all reported, in the order of their lines.
#[test]
fn all_mistakes_are_reported_at_once() {
    let place = place();
    let text = GOOD
        .replacen("bound = 500", "bound = 0", 1)
        .replacen("key = \"P-256\"", "key = \"P-1\"", 1)
        .replacen("roots.pem", "none.pem", 1)
        .replacen("tcti = \"device:/dev/tpmrm0\"\n", "", 1)
        .replacen("token = \"device\"\n", "", 1);
    let mistakes = read(&place, &text).unwrap_err();
    let keys: Vec<_> = mistakes.0.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(
        keys,
        ["queue.bound", "profile[1].key", "profile[1].roots", "fixture[1].tcti", "fixture[2].token"],
        "{mistakes}"
    );
    assert!(mistakes.to_string().contains("station.toml:"));
}

/// Two fixtures on one device would work on one key; a profile or a fixture is never missing in silence.
#[test]
fn contradictions_are_mistakes() {
    let place = place();
    let twice =
        format!("{GOOD}\n[[fixture]]\nname = \"fixture-3\"\nkeystore = \"tpm\"\ntcti = \"device:/dev/tpmrm0\"\n");
    let mistakes = read(&place, &twice).unwrap_err();
    assert!(mistakes.to_string().contains("fixture[3].tcti: another fixture has the same device"), "{mistakes}");
    let profile = GOOD.find("[[profile]]").unwrap();
    let fixture = GOOD.find("[[fixture]]").unwrap();
    let without = [&GOOD[..profile], &GOOD[fixture..]].concat();
    assert!(read(&place, &without).unwrap_err().to_string().contains("at least one"));
    let without = &GOOD[..fixture];
    assert!(read(&place, without).unwrap_err().to_string().contains("there is no [[fixture]]"));
    let twice = [&GOOD[..fixture], &GOOD[profile..]].concat();
    assert!(read(&place, &twice).unwrap_err().to_string().contains("there are two profiles device-ca"));
    assert!(read(&place, "").unwrap_err().0.len() >= 7);
    assert!(StationConfiguration::read(&place.path().join("none.toml")).is_err());
}

/// Which TPMs are believed, and who puts them to the test: what each word means, and each mistake by its key.
#[test]
fn residency_is_read() {
    use issuance::residency::{Activation, WithoutCertificate};

    let place = place();
    let makers = place.path().join("makers");
    fs::create_dir(&makers).unwrap();
    fs::copy(place.path().join("roots.pem"), makers.join("root.pem")).unwrap();
    let with = |words: &str| GOOD.replacen("key = \"P-256\"", &format!("key = \"P-256\"\n{words}"), 1);
    let profile = issuance::ProfileName::parse("device-ca").unwrap();
    let policy = |words: &str| {
        let read = self::read(&place, &with(words)).unwrap_or_else(|mistakes| panic!("{words}: {mistakes}"));
        read.profiles.get(&profile).unwrap().endorsement.clone()
    };
    const TPM: &str = "residency = \"tpm\"\nek = { roots = \"makers\" }\n";
    assert_eq!(policy(""), None);
    assert_eq!(policy("residency = \"stated\""), None);
    let plain = policy(TPM).unwrap();
    assert_eq!((plain.roots.len(), &plain.without_certificate), (1, &WithoutCertificate::Refuse));
    assert_eq!(plain.activation, Activation::Station);
    assert_eq!(policy(&format!("{TPM}activation = \"station\"")), Some(plain));
    assert_eq!(policy(&format!("{TPM}activation = \"ca\"")).unwrap().activation, Activation::Ca);

    let refused = |words: &str| self::read(&place, &with(words)).unwrap_err().to_string();
    for (words, key) in [
        ("activation = \"ca\"", "activation"),
        ("residency = \"stated\"\nactivation = \"ca\"", "activation"),
        (&format!("{TPM}activation = \"both\""), "activation"),
        ("residency = \"tpm\"", "ek"),
        ("residency = \"tpm\"\nek = { roots = \"nowhere\" }", "roots"),
        ("residency = \"yes\"", "residency"),
    ] {
        let told = refused(words);
        assert!(told.contains(key), "{words}: {told}");
    }
}

/// The station's own key, in a TPM or a token; each mistake is told at its key, and what belongs to the other kind is one.
#[test]
fn a_hardware_key_is_read() {
    let place = place();
    let with = |key: &str| read(&place, &format!("{GOOD}\n[checkpoints.hardware_key]\n{key}\n"));
    let location = |key: &str| with(key).unwrap().hardware_key.unwrap().location;
    assert!(read(&place, GOOD).unwrap().hardware_key.is_none());
    let tpm = "keystore = \"tpm\"\ntcti = \"device:/dev/tpmrm0\"\nhandle = 0x81000100";
    assert_eq!(location(tpm), KeyLocation::TpmHandle(0x8100_0100));
    let token = "keystore = \"pkcs11\"\nmodule = \"module.so\"\ntoken = \"station\"\npin_file = \"pin\"\nlabel = \"k\"\n\
                 cka_id = \"c1\"";
    assert_eq!(location(token), KeyLocation::Pkcs11 { cka_id: vec![0xC1], label: "k".into() });
    for (key, wrong) in [
        (tpm.replace("0x81000100", "0x81000001"), "checkpoints.hardware_key.handle"),
        (tpm.replace("handle", "# handle"), "checkpoints.hardware_key.handle"),
        (tpm.to_owned() + "\nlabel = \"k\"", "checkpoints.hardware_key.label"),
        (token.replace("cka_id", "# cka_id"), "checkpoints.hardware_key.cka_id"),
        (token.replace("\"pin\"", "\"open-pin\""), "checkpoints.hardware_key.pin_file"),
        (token.replace("\"pkcs11\"", "\"file\""), "checkpoints.hardware_key.keystore"),
    ] {
        let mistakes = with(&key).map(drop).unwrap_err().to_string();
        assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
        assert!(mistakes.contains(wrong), "{wrong}: {mistakes}");
    }
}

/// A TPM's place is locked unless the profile says otherwise; two profiles that share a place agree on it.
#[test]
fn a_certificates_place_is_locked_unless_told_otherwise() {
    let place = place();
    let locks = |text: &str| {
        let read = read(&place, text).unwrap();
        read.profiles.iter().map(|pinned| pinned.profile.tpm.unwrap().write_lock).collect::<Vec<_>>()
    };
    assert_eq!(locks(GOOD), [true]);
    let open = GOOD.replace("nv_index = 0x01800010 }", "nv_index = 0x01800010, write_lock = false }");
    assert_eq!(locks(&open), [false]);
    let (start, end) = (GOOD.find("[[profile]]").unwrap(), GOOD.find("[[fixture]]").unwrap());
    let second = |text: &str| text[start..end].replace("\"device-ca\"\npurpose", "\"other\"\npurpose");
    assert_eq!(locks(&format!("{GOOD}\n{}", second(GOOD))), [true, true]);
    let contradicts = format!(
        "{GOOD}\n{}",
        second(GOOD).replace("nv_index = 0x01800010 }", "nv_index = 0x01800010, write_lock = false }")
    );
    let told = read(&place, &contradicts).map(drop).unwrap_err().to_string();
    assert!(told.contains("share the NV index 0x01800010, and one of them locks it"), "{told}");
    let elsewhere = contradicts.replace("nv_index = 0x01800010, write_lock", "nv_index = 0x01800020, write_lock");
    assert_eq!(locks(&elsewhere), [true, false]);
}

/// The example in `deploy/` is read as it stands, given the files that it names, and has every key that is known.
#[test]
fn the_example_is_complete() {
    let place = place();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("pki/tpm-makers")).unwrap();
    fs::create_dir_all(at("secrets")).unwrap();
    for (from, to) in [
        ("issuers.pem", "pki/device-ca.pem"),
        ("roots.pem", "pki/root.pem"),
        ("roots.pem", "pki/tpm-makers/root.pem"),
        ("pin", "secrets/station.pin"),
        ("pin", "secrets/device.pin"),
    ] {
        fs::copy(at(from), at(to)).unwrap();
    }
    fs::write(at("webhook.secret"), "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").unwrap();
    fs::set_permissions(at("webhook.secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("supervisors"), "# none yet\n").unwrap();
    fs::set_permissions(at("supervisors"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = include_str!("../../../../deploy/examples/station.toml");
    let text = text.replace("/usr/lib/vendor/libpkcs11.so", "module.so");
    let path = at("station.toml");
    let file = File::parse(&path, text).unwrap();
    let read = StationConfiguration::from_root(&file.root(), &path, file.sha256());
    assert_eq!(file.unmentioned(), Vec::<String>::new());
    file.finish().unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(read.unwrap().fixtures.len(), 2);
}
