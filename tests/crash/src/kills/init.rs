//! `intermediate-ca init`, killed: run again it completes what is missing and makes nothing twice.

use std::{fs, path::Path, process::Command, time::Duration};

use hsm_sim::{SoftHsm, child};
use line::Line;
use rustix::process::Signal;

use super::{
    devices::{TokenTools, run},
    points::Try,
};
use crate::{Broken, said};

const INIT_MOST: Duration = Duration::from_secs(60);
/// Root and two issuers, as the line's configuration has them.
const CAS: [&str; 3] = ["root", "device-ca", "device-identity"];

/// Kills one `init` of a CA of its own at a point, and lets it complete.
pub(super) fn kill(line: &Line, binaries: &Path, point: &Try) -> Result<(), Broken> {
    let place = tempfile::tempdir().map_err(said("a directory for a CA"))?;
    let token =
        SoftHsm::create_in(&place.path().join("token"), "ca", line.hardware().ca().pin()).map_err(said("a token"))?;
    let configuration = configure(line, place.path(), &token)?;
    let init = |armed: bool| {
        let mut command = Command::new(binaries.join("intermediate-ca"));
        command.args(["init", "--config"]).arg(&configuration);
        if armed {
            command.env(service::crash::VARIABLE, point.to_string());
        }
        command
    };

    let mut command = init(true);
    let log = fs::File::create(place.path().join("log")).map_err(said("a log"))?;
    command.stdout(log.try_clone().map_err(said("a log"))?).stderr(log);
    let mut running = child::spawn(command).map_err(said("init"))?;
    let ended = child::wait_at_most(&mut running, INIT_MOST).map_err(said("init"))?;
    let Some(status) = ended else {
        let _ = child::kill_group(&mut running);
        return Err(format!("{point}: init does not end"));
    };
    if std::os::unix::process::ExitStatusExt::signal(&status) != Some(Signal::KILL.as_raw()) {
        return Err(format!(
            "{point}: init did not die there: {status}: {}",
            child::last_words(&place.path().join("log"))
        ));
    }

    run(init(false)).map_err(|broken| format!("{point}: {broken}"))?;
    let again = run(init(false)).map_err(|broken| format!("{point}: {broken}"))?;
    if String::from_utf8_lossy(&again).contains("made ") {
        return Err(format!("{point}: init, complete, made something more: {}", String::from_utf8_lossy(&again)));
    }
    let tools = TokenTools::of(&token);
    for kind in ["privkey", "pubkey"] {
        let count = tools.count(kind)?;
        if count != CAS.len() {
            return Err(format!("{point}: {count} of the kind {kind} in the CA's token, where {} are due", CAS.len()));
        }
    }
    let pki = place.path().join("pki/product");
    for name in CAS {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-CAfile"]).arg(pki.join("root.pem")).arg(pki.join(format!("{name}.pem")));
        run(openssl).map_err(|broken| format!("{point}: {broken}"))?;
    }
    Ok(())
}

/// The line's configuration with another token, in another place.
fn configure(line: &Line, place: &Path, token: &SoftHsm) -> Result<std::path::PathBuf, Broken> {
    let text = fs::read_to_string(line.directory().join("ca.toml")).map_err(said("ca.toml"))?;
    let (mut before, mut after) = (line.hardware().ca().environment(), token.environment());
    let (Some((_, before)), Some((_, after))) = (before.pop(), after.pop()) else {
        return Err("a token without an environment".to_owned());
    };
    for directory in ["control-plane", "secrets"] {
        std::os::unix::fs::symlink(line.directory().join(directory), place.join(directory)).map_err(said(directory))?;
    }
    let configuration = place.join("ca.toml");
    fs::write(&configuration, text.replace(&before, &after)).map_err(said("ca.toml"))?;
    Ok(configuration)
}
