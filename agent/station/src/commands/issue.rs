//! `issue`: one issuance, followed to its end.

use std::{
    io::{IsTerminal as _, stderr},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use proto::station::v1::{GetIssuanceRequest, Issuance, StartIssuanceRequest, WatchRequest, event::Change};

use super::client::{self, Failed};

/// Steps from REQUESTED to COMPLETED.
const STEPS: u64 = 11;

/// What to issue.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// The lot; must be open.
    #[arg(long)]
    lot: String,
    /// The device serial, as on its label.
    #[arg(long)]
    serial: String,
    /// The fixture that holds the device; may be left out when the station has one.
    #[arg(long, default_value = "")]
    fixture: String,
    /// The profile; the lot's when left out.
    #[arg(long, default_value = "")]
    profile: String,
    /// Repeat it in a retry to be sure of the same issuance.
    #[arg(long, default_value = "")]
    request_id: String,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(path: &Path, what: What, json: bool) -> Result<(), Failed> {
    let mut client = client::connect(path)?;
    let request = StartIssuanceRequest {
        request_id: what.request_id,
        lot: what.lot,
        device_serial: what.serial,
        profile: what.profile,
        fixture: what.fixture,
        badge: String::new(),
    };
    let started = client.start_issuance(request).await?.into_inner();
    if what.no_wait {
        return tell(&started, json);
    }
    let bar = progress(json);
    bar.set_message(client::line(&started));
    let mut events = client
        .watch(WatchRequest {
            after_sequence: Some(started.sequence.saturating_sub(1)),
            read_mask: client::told_fields(),
        })
        .await?
        .into_inner();
    let mut last = started;
    while !client::is_settled(&last) {
        let Some(event) = events.message().await? else { break };
        if let Some(Change::Issuance(issuance)) = event.change
            && issuance.name == last.name
        {
            bar.set_position(u64::try_from(issuance.state.max(1)).unwrap_or(1).min(STEPS + 1) - 1);
            bar.set_message(client::line(&issuance));
            last = issuance;
        }
    }
    bar.finish_and_clear();
    let last = client.get_issuance(GetIssuanceRequest { name: last.name }).await?.into_inner();
    tell(&last, json)?;
    if last.state() == proto::station::v1::issuance::State::Completed { Ok(()) } else { Err(Failed::Not(None)) }
}

fn tell(issuance: &Issuance, json: bool) -> Result<(), Failed> {
    if json { client::say(client::as_json(issuance)) } else { client::say(client::line(issuance)) }
}

fn progress(json: bool) -> ProgressBar {
    if json || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(STEPS);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
