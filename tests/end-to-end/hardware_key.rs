//! A station's or a CA's own TPM or token signs its journal's checkpoints beside the key in the file.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use hsm_sim::{SoftHsm, Stop, Swtpm};
use line::{Line, Options};
use serde_json::Value;

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    commands::json,
    looking::{Ran, run},
};

const PIN: &str = "station-pin-77c1";
/// Checkpoints come each tenth of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose journal it is.
#[derive(Clone, Copy)]
struct Owner {
    program: &'static str,
    configuration: &'static str,
    journal: &'static str,
    hardware: &'static str,
}

const STATION: Owner = Owner {
    program: "station-agent",
    configuration: "station.toml",
    journal: "journal/station",
    hardware: "station-agent/station-1/hardware+",
};
const CA: Owner =
    Owner { program: "intermediate-ca", configuration: "ca.toml", journal: "journal/ca", hardware: "ca-1/hardware+" };

impl Owner {
    fn command(self, arguments: &[&str]) -> Command {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own.parent().and_then(Path::parent).unwrap().join(self.program));
        command.args(arguments);
        command
    }

    fn run(self, line: &Line, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.arg("--config").arg(line.directory().join(self.configuration));
        run(command)
    }
}

fn checkpoints(key: &str) -> String {
    format!("[checkpoints]\ninterval = \"100ms\"\n\n[checkpoints.hardware_key]\n{key}\n")
}

/// A line whose station's checkpoints are signed by this key besides.
async fn line_with(key: &str) -> Line {
    start(Options { station_extra: checkpoints(key), ..line_of(0, 1) }).await
}

/// A token of the process's own, and what its configuration says of it.
fn token() -> (SoftHsm, String) {
    let token = SoftHsm::create("station-1", PIN).unwrap();
    let pin = token.directory().join("pin");
    fs::write(&pin, PIN).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let environment: Vec<String> =
        token.environment().iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    let key = format!(
        "keystore = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"station-1\"\npin_file = \"{}\"\nlabel = \"checkpoints\"\n\
         cka_id = \"c1\"\nenvironment = {{ {} }}",
        token.module().display(),
        pin.display(),
        environment.join(", ")
    );
    (token, key)
}

/// `journal verify` once the newest checkpoint is signed by the hardware key, or is not.
fn verified(line: &Line, owner: Owner, signed: bool) -> Value {
    let began = Instant::now();
    loop {
        let ran = owner.run(line, &["journal", "verify", "--json"]);
        let found = json(&ran);
        assert_eq!((ran.status.code(), &found["unaltered"]), (Some(0), &true.into()), "{found}");
        // Of what was cosigned before there may be older ones that are.
        let remarked = found["remarks"].to_string().contains("does not bear the hardware key's signature");
        let known = !found["hardware_signed"].is_null();
        if found["covered"].as_u64() > Some(0) && remarked != signed && (known || !signed) {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "the newest checkpoint is not signed as it should be ({signed}): {found}");
    }
}

fn log_of(line: &mut Line) -> String {
    fs::read_to_string(line.station().log()).unwrap()
}

/// A token that is taken away and comes back: the line goes on without it, its checkpoints say so, and so does the log; an
/// auditor verifies both kinds with the public keys alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_signs_checkpoints_and_may_be_away() {
    let (token, key) = token();
    let mut line = line_with(&key).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    verified(&line, STATION, true);

    let tokens = token.directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    open_lot(&line, "LOT-3", "device-ca", 5).await;
    let without = verified(&line, STATION, false);
    assert!(without["covered"].as_u64() > Some(0), "{without}");
    assert!(log_of(&mut line).contains("the hardware key did not sign"), "{}", log_of(&mut line));
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    open_lot(&line, "LOT-2", "device-ca", 5).await;
    verified(&line, STATION, true);
    assert!(log_of(&mut line).contains("signs the journal's checkpoints again"));

    line.stop_station().unwrap();
    elsewhere(&line, STATION);
}

/// With a copy of the journal and two public keys, as an auditor has them.
fn elsewhere(line: &Line, owner: Owner) {
    let journal = line.directory().join(owner.journal);
    let key = |ending: &str| fs::read_to_string(journal.with_extension(ending)).unwrap().trim().to_owned();
    let (own, hardware) = (key("vkey"), key("hardware.vkey"));
    assert!(hardware.starts_with(owner.hardware), "{hardware}");
    let verify = |keys: &[&str]| {
        let journal = journal.to_string_lossy();
        run(owner.command(&[&["journal", "verify", "--journal", &journal], keys].concat()))
    };
    let both = verify(&["--key", &own, "--hardware-key", &hardware]);
    assert_eq!(both.status.code(), Some(0), "{}{}", both.text(), both.err);
    assert!(both.text().contains("the hardware key signed "), "{}", both.text());
    assert_eq!(verify(&["--key", &own]).status.code(), Some(0), "it need not be known");
    assert_eq!(verify(&["--key", &hardware]).status.code(), Some(2), "it is not the log's own");
    assert_eq!(verify(&["--key", &own, "--hardware-key", &own]).status.code(), Some(2));
}

/// The CA's journal is signed by a token of its own as well; the doctor says when it is away, and the CA serves without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_has_its_checkpoints_signed_as_well() {
    let (token, key) = token();
    let mut line = start(Options { ca_extra: checkpoints(&key), ..line_of(0, 3) }).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    verified(&line, CA, true);
    let doctor = |line: &Line| CA.run(line, &["check"]);
    assert!(!doctor(&line).text().contains("hardware_key"), "{}", doctor(&line).text());

    let tokens = token.directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    let told = doctor(&line);
    assert_eq!(told.status.code(), Some(1), "{}", told.text());
    assert!(told.text().contains("checkpoints.hardware_key"), "{}", told.text());
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    verified(&line, CA, false);
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    complete(&line, scan("LOT-1", "SN-3", "fixture-3")).await;
    verified(&line, CA, true);
    line.stop_ca().unwrap();
    elsewhere(&line, CA);
}

/// The same with a TPM; what it signed verifies.
#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_signs_checkpoints() {
    let mut tpm = Swtpm::start().unwrap();
    let mut line = line_with(&format!("keystore = \"tpm\"\ntcti = \"{}\"\nhandle = 0x81000100", tpm.tcti())).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    verified(&line, STATION, true);
    tpm.stop(Stop::PowerCut).unwrap();
    open_lot(&line, "LOT-2", "device-ca", 5).await;
    verified(&line, STATION, false);
    tpm.restart().unwrap();
    open_lot(&line, "LOT-3", "device-ca", 5).await;
    verified(&line, STATION, true);
    line.stop_station().unwrap();
    elsewhere(&line, STATION);
}
