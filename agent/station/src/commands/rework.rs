//! `rework`: a device is certified again, on a supervisor's word.

use std::path::Path;

use proto::station::v1::ReworkIssuanceRequest;

use super::client::{self, Failed};

/// What to rework.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// The issuance whose certificate is superseded: its id, or issuances/<id>.
    issuance: String,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// The fixture that holds the device; may be left out when the station finds it.
    #[arg(long, default_value = "")]
    fixture: String,
    /// Have the device make another key. Without it the key that it has serves on.
    #[arg(long)]
    new_key: bool,
    /// Who decided it, as a pseudonym.
    #[arg(long, default_value = "")]
    badge: String,
}

pub(super) async fn run(path: &Path, what: What, json: bool) -> Result<(), Failed> {
    let mut client = client::connect(path)?;
    let name = match what.issuance.starts_with("issuances/") {
        true => what.issuance,
        false => format!("issuances/{}", what.issuance),
    };
    let request = ReworkIssuanceRequest {
        name,
        reason: what.reason,
        fixture: what.fixture,
        new_key: what.new_key,
        badge: what.badge,
        supervisor: None,
    };
    let started = client.rework_issuance(request).await?.into_inner();
    if json { client::say(client::as_json(&started)) } else { client::say(client::line(&started)) }
}
