//! `status`: the running station in a page.

use std::path::Path;

use proto::station::v1::{GetStationRequest, fixture::State};
use serde_json::json;

use super::client::{self, Failed};

pub(super) async fn run(path: &Path, json: bool) -> Result<(), Failed> {
    let station = client::connect(path)?.get_station(GetStationRequest {}).await?.into_inner();
    let queue = station.queue.unwrap_or_default();
    if json {
        let fixtures: Vec<_> = station
            .fixtures
            .iter()
            .map(|fixture| {
                json!({
                    "name": fixture.name,
                    "keystore": fixture.keystore,
                    "busy": fixture.state() == State::Busy,
                    "issuance": fixture.issuance.as_ref().map(client::as_json),
                })
            })
            .collect();
        let status = json!({
            "station": station.station,
            "halted": station.halted,
            "fixtures": fixtures,
            "queue": {
                "length": queue.length,
                "bound": queue.bound,
                "link_up": queue.link_up,
                "last_error": queue.last_error,
            },
        });
        client::say(status)?;
        return Ok(());
    }
    client::say(format!("station  {}", station.station))?;
    if !station.halted.is_empty() {
        client::say(format!("HALTED   {}", station.halted))?;
    }
    let link = match (queue.link_up, queue.last_error.as_str()) {
        (true, _) => "up".to_owned(),
        (false, "") => "not tried yet".to_owned(),
        (false, error) => format!("down: {error}"),
    };
    client::say(format!("queue    {} of {} wait for the CA; the link is {link}", queue.length, queue.bound))?;
    for fixture in &station.fixtures {
        let name = fixture.name.trim_start_matches("fixtures/");
        match &fixture.issuance {
            Some(issuance) => client::say(client::line(issuance))?,
            None => client::say(format!("{name:<12} ready"))?,
        }
    }
    Ok(())
}
