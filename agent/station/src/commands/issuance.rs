//! `issuance`: what stands of issuances at the running station, and a supervisor's word on one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use proto::station::v1::{
    CancelIssuanceRequest, GetIssuanceProofRequest, GetIssuanceStoryRequest, ListIssuancesRequest,
    ReleaseIssuanceRequest,
};
use serde_json::json;

use super::client::{self, Failed};

/// What to do with issuances.
#[derive(Debug, Subcommand)]
pub(super) enum IssuanceCommand {
    /// List issuances, newest first: all, or those that one of the options names.
    List(Wanted),
    /// Show one with all that was recorded of it.
    Show {
        /// Its id, or issuances/<id>.
        issuance: String,
    },
    /// Write the file that proves its certificate and records, as `journal check-proof` reads it.
    Proof {
        /// Its id, or issuances/<id>.
        issuance: String,
        /// Where to write it; standard output otherwise.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Let one go on that is set aside, or submit one again that is in doubt. For a supervisor.
    Release {
        /// Its id, or issuances/<id>.
        issuance: String,
        /// The hardware in the fixture is this device from now on: for one that was set aside as NOT_SAME_DEVICE.
        #[arg(long)]
        new_hardware: bool,
        /// Who decided it, as a pseudonym.
        #[arg(long, default_value = "")]
        badge: String,
    },
    /// End one that is not completed; its device may be started anew. For a supervisor.
    Cancel {
        /// Its id, or issuances/<id>.
        issuance: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Who decided it, as a pseudonym.
        #[arg(long, default_value = "")]
        badge: String,
    },
}

/// Which issuances.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Wanted {
    /// Only of this lot.
    #[arg(long, default_value = "")]
    lot: String,
    /// Only for this device serial.
    #[arg(long, default_value = "")]
    serial: String,
    /// Only those with this CN.
    #[arg(long, default_value = "")]
    common_name: String,
    /// Only the one with this certificate serial.
    #[arg(long, default_value = "")]
    certificate_serial: String,
    /// Only those in doubt.
    #[arg(long)]
    in_doubt: bool,
}

pub(super) fn name(issuance: String) -> String {
    if issuance.starts_with("issuances/") { issuance } else { format!("issuances/{issuance}") }
}

pub(super) async fn run(path: &Path, command: IssuanceCommand, json: bool) -> Result<(), Failed> {
    let mut station = client::connect(path)?;
    let told = match command {
        IssuanceCommand::List(wanted) => return list(path, wanted, json).await,
        IssuanceCommand::Show { issuance } => return show(path, name(issuance), json).await,
        IssuanceCommand::Proof { issuance, out } => return proof(path, name(issuance), out.as_deref()).await,
        IssuanceCommand::Release { issuance, new_hardware, badge } => {
            let request = ReleaseIssuanceRequest { name: name(issuance), badge, supervisor: None, new_hardware };
            station.release_issuance(request).await?
        }
        IssuanceCommand::Cancel { issuance, reason, badge } => {
            let request = CancelIssuanceRequest { name: name(issuance), reason, badge, supervisor: None };
            station.cancel_issuance(request).await?
        }
    };
    let told = told.into_inner();
    if json { client::say(client::as_json(&told)) } else { client::say(client::line(&told)) }
}

async fn list(path: &Path, wanted: Wanted, json: bool) -> Result<(), Failed> {
    let mut station = client::connect(path)?;
    let Wanted { lot, serial, common_name, certificate_serial, in_doubt } = wanted;
    let mut asked = ListIssuancesRequest {
        page_size: 1000,
        lot,
        device_serial: serial,
        common_name,
        certificate_serial,
        in_doubt,
        read_mask: client::told_fields(),
        ..Default::default()
    };
    loop {
        let page = station.list_issuances(asked.clone()).await?.into_inner();
        for issuance in &page.issuances {
            match json {
                true => client::say(client::as_json(issuance))?,
                false => client::say(format!("{} {}", issuance.name, client::line(issuance)))?,
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        asked.page_token = page.next_page_token;
    }
}

async fn show(path: &Path, name: String, json: bool) -> Result<(), Failed> {
    let story = client::connect(path)?.get_issuance_story(GetIssuanceStoryRequest { name }).await?.into_inner();
    let issuance = story.issuance.unwrap_or_default();
    if json {
        let step = |step: &proto::station::v1::RecordedStep| {
            let time = step.time.map(|time| time.to_string());
            json!({"sequence": step.sequence, "time": time, "kind": step.kind, "sentence": step.sentence})
        };
        let mut told = client::as_json(&issuance);
        told["records"] = story.steps.iter().map(step).collect();
        return client::say(told);
    }
    client::say(client::line(&issuance))?;
    for step in &story.steps {
        let time = step.time.map(|time| time.to_string()).unwrap_or_default();
        client::say(format!("{:>8} {time} {}", step.sequence, step.sentence))?;
    }
    Ok(())
}

async fn proof(path: &Path, name: String, out: Option<&Path>) -> Result<(), Failed> {
    let proof = client::connect(path)?.get_issuance_proof(GetIssuanceProofRequest { name }).await?.into_inner().proof;
    match out {
        Some(path) => fs::write(path, proof)
            .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", path.display())))),
        None => client::say(proof),
    }
}
