//! `device verify`: the device in a fixture, held against the journal.

use std::path::Path;

use clap::Subcommand;
use proto::station::v1::{DeviceCheck, DeviceVerification, VerifyDeviceRequest};
use serde_json::{Value, json};

use super::{
    ConfigArgument,
    client::{self, Failed},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Hold the device in a fixture against the journal: which device it is, whether its issuance is completed, its key, its
    /// certificate byte for byte, the path to a root, and what its key signs now. The running station does it and records it.
    ///
    /// Exit codes: 0 all of it holds; 1 something does not, or the station could not be asked; 2 wrong usage or configuration.
    Verify {
        #[command(flatten)]
        config: ConfigArgument,
        /// The fixture that holds the device; may be left out when the station has one, or finds the device by its serial.
        #[arg(long, default_value = "")]
        fixture: String,
        /// The device serial that it should be. Without it: whichever device is there.
        #[arg(long, default_value = "")]
        serial: String,
        /// Who asked, as a pseudonym.
        #[arg(long, default_value = "")]
        badge: String,
        /// It is the golden device, whose check starts a shift: the operators' page shows it.
        #[arg(long)]
        golden: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    let Command::Verify { config, fixture, serial, badge, golden, json } = command;
    let request = VerifyDeviceRequest { fixture, device_serial: serial, badge, golden };
    let found = verify(&config.path, request).await?;
    if json {
        client::say(as_json(&found))?;
    } else {
        tell(&found)?;
    }
    if found.verified { Ok(()) } else { Err(Failed::Not(None)) }
}

async fn verify(path: &Path, request: VerifyDeviceRequest) -> Result<DeviceVerification, Failed> {
    Ok(client::connect(path)?.verify_device(request).await?.into_inner())
}

fn tell(found: &DeviceVerification) -> Result<(), Failed> {
    let serial = if found.device_serial.is_empty() { "an unknown device" } else { &found.device_serial };
    let mut before = "";
    for check in &found.checks {
        if check.issuance != before {
            client::say(&check.issuance)?;
            before = &check.issuance;
        }
        let wrong = if check.holds { String::new() } else { format!(" ({})", check.reason) };
        let holds = if check.holds { "holds" } else { "DOES NOT HOLD" };
        client::say(format!("  {holds:<13} {:<11} {}{wrong}", question(check), check.message))?;
    }
    let verdict = if found.verified { "VERIFIED" } else { "NOT VERIFIED: set it aside for a supervisor" };
    client::say(format!("{} {serial} {verdict}", found.fixture))
}

fn as_json(found: &DeviceVerification) -> Value {
    let check = |check: &DeviceCheck| {
        json!({
            "issuance": check.issuance,
            "question": question(check),
            "holds": check.holds,
            "reason": check.reason,
            "message": check.message,
        })
    };
    json!({
        "fixture": found.fixture,
        "device_serial": found.device_serial,
        "verified": found.verified,
        "checks": found.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

/// The question as the API has it, without its prefix.
fn question(check: &DeviceCheck) -> &'static str {
    check.question().as_str_name().trim_start_matches("QUESTION_")
}
