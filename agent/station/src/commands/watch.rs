//! `watch`: what happens, line by line.

use std::path::Path;

use proto::station::v1::{GoldenCheck, Lot, WatchRequest, event::Change};
use serde_json::json;

use super::client::{self, Failed};

pub(super) async fn run(path: &Path, after: Option<u64>, json: bool) -> Result<(), Failed> {
    let mut client = client::connect(path)?;
    let mut events =
        client.watch(WatchRequest { after_sequence: after, read_mask: client::told_fields() }).await?.into_inner();
    loop {
        let event = tokio::select! {
            event = events.message() => event?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        match event.change {
            Some(Change::Issuance(issuance)) if json => {
                client::say(json!({"sequence": event.sequence, "issuance": client::as_json(&issuance)}))?;
            }
            Some(Change::Issuance(issuance)) => {
                client::say(format!("{:>8} {}", event.sequence, client::line(&issuance)))?;
            }
            Some(Change::Lot(lot)) if json => {
                let Lot { name, quantity, started, completed, .. } = lot;
                let lot = json!({"name": name, "quantity": quantity, "started": started, "completed": completed});
                client::say(json!({"sequence": event.sequence, "lot": lot}))?;
            }
            Some(Change::Lot(lot)) => {
                let line = format!("{:>8} {}: {} of {} started", event.sequence, lot.name, lot.started, lot.quantity);
                client::say(line)?;
            }
            Some(Change::GoldenCheck(check)) if json => {
                let GoldenCheck { device_serial, fixture, verified, .. } = check;
                let check = json!({"device_serial": device_serial, "fixture": fixture, "verified": verified});
                client::say(json!({"sequence": event.sequence, "golden_check": check}))?;
            }
            Some(Change::GoldenCheck(check)) => {
                let fixture = check.fixture;
                client::say(format!("{:>8} the check with the golden device in {fixture} failed", event.sequence))?;
            }
            // The state is `status`'s business.
            Some(Change::Station(_)) | None => {}
        }
    }
}
