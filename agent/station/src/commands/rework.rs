//! `rework` and `scrap`: a device is certified again, or never again, on a supervisor's word.

use std::path::Path;

use proto::station::v1::{ReworkIssuanceRequest, ScrapDeviceRequest};

use super::{
    client::{self, Failed},
    issuance::name,
};

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
    /// Other hardware is this device from now on: its board was swapped, or its label.
    #[arg(long)]
    new_hardware: bool,
    /// Who decided it, as a pseudonym.
    #[arg(long, default_value = "")]
    badge: String,
}

/// What to scrap.
#[derive(Debug, clap::Args)]
pub(super) struct Scrapped {
    /// The device's newest issuance: its id, or issuances/<id>.
    issuance: String,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
    /// Who decided it, as a pseudonym.
    #[arg(long, default_value = "")]
    badge: String,
}

pub(super) async fn scrap(path: &Path, what: Scrapped, json: bool) -> Result<(), Failed> {
    let Scrapped { issuance, reason, badge } = what;
    let request = ScrapDeviceRequest { name: name(issuance), reason, badge, supervisor: None };
    let ended = client::connect(path)?.scrap_device(request).await?.into_inner();
    if json { client::say(client::as_json(&ended)) } else { client::say(client::line(&ended)) }
}

pub(super) async fn run(path: &Path, what: What, json: bool) -> Result<(), Failed> {
    let mut client = client::connect(path)?;
    let request = ReworkIssuanceRequest {
        name: name(what.issuance),
        reason: what.reason,
        fixture: what.fixture,
        new_key: what.new_key,
        new_hardware: what.new_hardware,
        badge: what.badge,
        supervisor: None,
    };
    let started = client.rework_issuance(request).await?.into_inner();
    if json { client::say(client::as_json(&started)) } else { client::say(client::line(&started)) }
}
