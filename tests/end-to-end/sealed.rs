//! PINs that a TPM sealed: station and CA start with them, nothing on the disk has them, and no other TPM gives them back.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use hsm_sim::{Stop, Swtpm};

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    commands::agent,
    looking::{files_under, must},
};

fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join(name)
}

/// `secret seal`, with this on standard input.
fn seal(program: &str, tpm: &Swtpm, secret: &str) -> Output {
    seal_to(program, tpm, secret, &[])
}

/// The same, with these arguments.
fn seal_to(program: &str, tpm: &Swtpm, secret: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary(program));
    command.args(["secret", "seal", "--tcti", &tpm.tcti()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The same, said to be another TPM's.
fn of_tpm(sealed: &str, tcti: &str) -> String {
    let content = pem::parse(sealed).unwrap().into_contents();
    let (length, rest) = content.split_first().unwrap();
    let other = [&[u8::try_from(tcti.len()).unwrap()], tcti.as_bytes(), &rest[usize::from(*length)..]].concat();
    pem::encode(&pem::Pem::new("TPM2 SEALED SECRET", other))
}

/// The PINs of a fixture's token and of the CA's are sealed in place of the plain ones: both start, and a device is certified.
/// With another TPM, with none, and with a damaged file `check` says what is wrong; what cannot be sealed is refused.
#[tokio::test(flavor = "multi_thread")]
async fn pins_are_sealed_by_a_tpm() {
    let (mut tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    let mut line = start(line_of(0, 1)).await;
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    let secrets = line.directory().join("secrets");
    let mut pins = Vec::new();
    for entry in fs::read_dir(&secrets).unwrap().flatten() {
        let pin = fs::read_to_string(entry.path()).unwrap();
        let program = if entry.file_name() == "ca.pin" { "intermediate-ca" } else { "station-agent" };
        let sealed = seal(program, &tpm, &pin);
        assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
        // The mode stays.
        fs::write(entry.path(), &sealed.stdout).unwrap();
        pins.push(pin.trim().to_owned());
    }
    assert_eq!(pins.len(), 2, "the token's PIN and the CA's");
    for path in files_under(&secrets) {
        let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        assert!(text.starts_with("-----BEGIN TPM2 SEALED SECRET-----"), "{text}");
        assert!(!pins.iter().any(|pin| text.contains(pin)), "{}", path.display());
    }
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let checked = agent(&line, &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.text());

    let path = files_under(&secrets).into_iter().find(|path| !path.ends_with("ca.pin")).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let wrong = |text: &str, problem: &str| {
        fs::write(&path, text).unwrap();
        let checked = agent(&line, &["check"]);
        let told = checked.text();
        assert_eq!(checked.status.code(), Some(2), "{told}");
        assert!(told.contains("fixture[1].pin_file") && told.contains(problem), "{problem}: {told}");
        assert!(!pins.iter().any(|pin| told.contains(pin)), "{told}");
    };
    let elsewhere = String::from_utf8(seal("station-agent", &other, "other-pin-1").stdout).unwrap();
    wrong(&of_tpm(&elsewhere, &tpm.tcti()), "this TPM did not seal it");
    let body = good.lines().rfind(|line| line.len() == 64 && !line.starts_with('-')).unwrap();
    wrong(&good.replace(&format!("{body}\n"), ""), "seal it again");
    tpm.stop(Stop::PowerCut).unwrap();
    wrong(&good, "could not connect to the TPM");

    for (secret, problem) in [("", "one line"), ("two\nlines\n", "one line"), (&*"x".repeat(129), "seals 1 to 128")] {
        let refused = seal("station-agent", &other, secret);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(problem), "{problem}: {told}");
    }
    line.stop().unwrap();
}

/// Extends a PCR, as what a machine starts does.
fn extend(tpm: &Swtpm, pcr: u8) {
    let mut command = Command::new("tpm2_pcrextend");
    command.arg(format!("{pcr}:sha256={}", "5a".repeat(32))).env("TPM2TOOLS_TCTI", tpm.tcti());
    must(command);
}

/// A PIN is sealed to PCRs: the station starts with it, also after others changed; once one of them did, `check` says which and
/// what to do, and sealed again it is opened. Told to be of none, it is not opened either; and a PCR that is none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_sealed_to_the_state_of_a_machine() {
    let tpm = Swtpm::start().unwrap();
    let mut line = start(line_of(0, 1)).await;
    let secrets = line.directory().join("secrets");
    let path = files_under(&secrets).into_iter().find(|path| !path.ends_with("ca.pin")).unwrap();
    let pin = fs::read_to_string(&path).unwrap();
    let sealed = |pcrs: &str| {
        let sealed = seal_to("station-agent", &tpm, &pin, &["--pcr", pcrs]);
        assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));
        fs::write(&path, &sealed.stdout).unwrap();
        String::from_utf8(sealed.stdout).unwrap()
    };
    let checked = |code: i32| {
        let checked = agent(&line, &["check"]);
        assert_eq!(checked.status.code(), Some(code), "{}", checked.text());
        assert!(!checked.text().contains(pin.trim()));
        checked.text()
    };
    let first = sealed("0,7");
    extend(&tpm, 8);
    checked(0);
    extend(&tpm, 7);
    let told = checked(2);
    assert!(told.contains("the PCRs 0, 7 are not as they were") && told.contains("seal it again"), "{told}");
    let content = pem::parse(&first).unwrap().into_contents();
    fs::write(&path, pem::encode(&pem::Pem::new("TPM2 SEALED SECRET", &content[..content.len() - 5]))).unwrap();
    checked(2);
    sealed("0,7");
    checked(0);
    line.stop_station().unwrap();
    line.start_station().await.unwrap();
    for wrong in ["24", "x", "", "0,-1"] {
        let refused = seal_to("station-agent", &tpm, &pin, &["--pcr", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
    }
    line.stop().unwrap();
}
