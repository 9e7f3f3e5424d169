//! The station's own TPM or token signs its journal's checkpoints beside the key in the file.

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
    commands::{agent, json},
    looking::run,
};

const PIN: &str = "station-pin-77c1";
/// Checkpoints come each tenth of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line whose checkpoints are signed by this key besides.
async fn line_with(key: &str) -> Line {
    let station_extra = format!("[checkpoints]\ninterval = \"100ms\"\n\n[checkpoints.hardware_key]\n{key}\n");
    start(Options { station_extra, ..line_of(0, 1) }).await
}

/// `journal verify` once the newest checkpoint is signed by the hardware key, or is not.
fn verified(line: &Line, signed: bool) -> Value {
    let began = Instant::now();
    loop {
        let ran = agent(line, &["journal", "verify", "--json"]);
        let found = json(&ran);
        assert_eq!((ran.status.code(), &found["unaltered"]), (Some(0), &true.into()), "{found}");
        // Of what was cosigned before there may be older ones that are.
        let remarked = found["remarks"].to_string().contains("does not bear the hardware key's signature");
        if found["covered"].as_u64() > Some(0) && remarked != signed {
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
    let mut line = line_with(&key).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    verified(&line, true);

    let tokens = token.directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    open_lot(&line, "LOT-3", "device-ca", 5).await;
    let without = verified(&line, false);
    assert!(without["covered"].as_u64() > Some(0), "{without}");
    assert!(log_of(&mut line).contains("the hardware key did not sign"), "{}", log_of(&mut line));
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    open_lot(&line, "LOT-2", "device-ca", 5).await;
    verified(&line, true);
    assert!(log_of(&mut line).contains("signs the journal's checkpoints again"));

    line.stop_station().unwrap();
    elsewhere(&line);
}

/// With a copy of the journal and two public keys, as an auditor has them.
fn elsewhere(line: &Line) {
    let journal = line.directory().join("journal/station");
    let key = |ending: &str| fs::read_to_string(journal.with_extension(ending)).unwrap().trim().to_owned();
    let (own, hardware) = (key("vkey"), key("hardware.vkey"));
    assert!(hardware.starts_with("station-agent/station-1/hardware+"), "{hardware}");
    let verify = |keys: &[&str]| {
        let journal = journal.to_string_lossy();
        run({
            let own = std::env::current_exe().unwrap();
            let mut command = Command::new(own.parent().and_then(Path::parent).unwrap().join("station-agent"));
            command.args(["journal", "verify", "--journal", &journal]).args(keys);
            command
        })
    };
    let both = verify(&["--key", &own, "--hardware-key", &hardware]);
    assert_eq!(both.status.code(), Some(0), "{}{}", both.text(), both.err);
    assert!(both.text().contains("the hardware key signed "), "{}", both.text());
    assert_eq!(verify(&["--key", &own]).status.code(), Some(0), "it need not be known");
    assert_eq!(verify(&["--key", &hardware]).status.code(), Some(2), "it is not the log's own");
    assert_eq!(verify(&["--key", &own, "--hardware-key", &own]).status.code(), Some(2));
}

/// The same with a TPM; what it signed verifies.
#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_signs_checkpoints() {
    let mut tpm = Swtpm::start().unwrap();
    let mut line = line_with(&format!("keystore = \"tpm\"\ntcti = \"{}\"\nhandle = 0x81000100", tpm.tcti())).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    verified(&line, true);
    tpm.stop(Stop::PowerCut).unwrap();
    open_lot(&line, "LOT-2", "device-ca", 5).await;
    verified(&line, false);
    tpm.restart().unwrap();
    open_lot(&line, "LOT-3", "device-ca", 5).await;
    verified(&line, true);
    line.stop_station().unwrap();
    elsewhere(&line);
}
