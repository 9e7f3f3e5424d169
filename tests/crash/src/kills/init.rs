//! `intermediate-ca init` and `rollover`, killed: run again they complete what is missing and make nothing twice.

use std::{fs, path::Path, process::Command, time::Duration};

use hsm_sim::{SoftHsm, child};
use line::Line;
use rustix::process::Signal;

use super::{
    ceremony::Ceremony,
    devices::{TokenTools, run},
    scenario::Try,
};
use crate::{Broken, said};

const INIT_MOST: Duration = Duration::from_secs(60);
/// Root and two issuers, as the line's configuration has them.
const CAS: [&str; 3] = ["root", "device-ca", "device-identity"];

/// A rollover's steps.
const STEPS: [&[&str]; 3] = [&["rollover", "new-root"], &["rollover", "new-issuers"], &["rollover", "old-root-out"]];

/// Kills the commands that make keys and certificates at a point, in a CA of its own, and lets each complete.
pub(super) fn kill(line: &Line, binaries: &Path, point: &Try) -> Result<(), Broken> {
    let place = tempfile::tempdir().map_err(said("a directory for a CA"))?;
    let token =
        SoftHsm::create_in(&place.path().join("token"), "ca", line.hardware().ca().pin()).map_err(said("a token"))?;
    let configuration = configure(line, place.path(), &token, point.is_ceremony())?;
    let command = |arguments: &[&str], armed: bool| {
        let mut command = Command::new(binaries.join("intermediate-ca"));
        command.args(arguments).arg("--config").arg(&configuration);
        if armed {
            command.env(service::crash::VARIABLE, point.to_string());
        }
        command
    };
    let log = place.path().join("log");
    let mut generations = vec![""];
    let mut roots_elsewhere = 0;
    if point.is_ceremony() {
        let ceremony = Ceremony { command: &command, log: &log, point, pki: place.path().join("pki/product") };
        ceremony.kill(place.path())?;
        generations.push(".2");
        roots_elsewhere = generations.len();
    } else if point.is_rollover() {
        run(command(&["init"], false)).map_err(|broken| format!("{point}: {broken}"))?;
        let mut died = 0;
        for step in STEPS {
            died += usize::from(dies(command(step, true), &log, point, false)?);
            completes(|| command(step, false), point)?;
        }
        if died == 0 {
            return Err(format!("{point}: no step of a rollover died there"));
        }
        generations.push(".2");
    } else {
        if !dies(command(&["init"], true), &log, point, false)? {
            return Err(format!("{point}: init did not die there: {}", child::last_words(&log)));
        }
        completes(|| command(&["init"], false), point)?;
    }
    let tools = TokenTools::of(&token);
    for kind in ["privkey", "pubkey"] {
        let count = tools.count(kind)?;
        let due = CAS.len() * generations.len() - roots_elsewhere;
        if count != due {
            return Err(format!("{point}: {count} of the kind {kind} in the CA's token, where {due} are due"));
        }
    }
    let pki = place.path().join("pki/product");
    for generation in generations {
        for name in CAS {
            let file = |name: &str| pki.join(format!("{name}{generation}.pem"));
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-CAfile"]).arg(file("root")).arg(file(name));
            run(openssl).map_err(|broken| format!("{point}: {broken}"))?;
        }
    }
    Ok(())
}

/// Whether the armed command died at its point; any other end than that or a good one is an error, but for one that `asks`.
pub(super) fn dies(mut command: Command, log: &Path, point: &Try, asks: bool) -> Result<bool, Broken> {
    let file = fs::File::create(log).map_err(said("a log"))?;
    command.stdout(file.try_clone().map_err(said("a log"))?).stderr(file);
    let mut running = child::spawn(command).map_err(said("a command"))?;
    let ended = child::wait_at_most(&mut running, INIT_MOST).map_err(said("a command"))?;
    let Some(status) = ended else {
        let _ = child::kill_group(&mut running);
        return Err(format!("{point}: a command does not end"));
    };
    let died = std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::KILL.as_raw());
    if !died && !status.success() && !asks {
        return Err(format!("{point}: neither died there nor did its work: {status}: {}", child::last_words(log)));
    }
    Ok(died)
}

/// Runs to the end, and then has nothing more to do.
pub(super) fn completes(command: impl Fn() -> Command, point: &Try) -> Result<(), Broken> {
    run(command()).map_err(|broken| format!("{point}: {broken}"))?;
    let again = run(command()).map_err(|broken| format!("{point}: {broken}"))?;
    if String::from_utf8_lossy(&again).contains("made ") {
        return Err(format!("{point}: complete, it made something more: {}", String::from_utf8_lossy(&again)));
    }
    Ok(())
}

/// The line's configuration with another token, in another place; with its root's key elsewhere, perhaps.
fn configure(line: &Line, place: &Path, token: &SoftHsm, offline: bool) -> Result<std::path::PathBuf, Broken> {
    let text = fs::read_to_string(line.directory().join("ca.toml")).map_err(said("ca.toml"))?;
    let (mut before, mut after) = (line.hardware().ca().environment(), token.environment());
    let (Some((_, before)), Some((_, after))) = (before.pop(), after.pop()) else {
        return Err("a token without an environment".to_owned());
    };
    for directory in ["control-plane", "secrets"] {
        std::os::unix::fs::symlink(line.directory().join(directory), place.join(directory)).map_err(said(directory))?;
    }
    let makers = "pki/tpm-makers";
    fs::create_dir_all(place.join("pki")).map_err(said("pki"))?;
    std::os::unix::fs::symlink(line.directory().join(makers), place.join(makers)).map_err(said(makers))?;
    let configuration = place.join("ca.toml");
    let mut text = text.replace(&before, &after);
    if offline {
        text = text.replace("[root]\n", "[root]\noffline = true\n");
    }
    fs::write(&configuration, text).map_err(said("ca.toml"))?;
    Ok(configuration)
}
