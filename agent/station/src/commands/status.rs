//! `status`: the running station in a page.

use std::path::Path;

use proto::station::v1::{GetStationRequest, Issuance, ListIssuancesRequest, fixture::State};
use serde_json::json;

use super::client::{self, Failed};

/// What is in doubt is named up to a screenful.
const DOUBTS_MOST: i32 = 20;

pub(super) async fn run(path: &Path, json: bool) -> Result<(), Failed> {
    let mut client = client::connect(path)?;
    let station = client.get_station(GetStationRequest {}).await?.into_inner();
    let queue = station.queue.unwrap_or_default();
    let in_doubt: Vec<Issuance> = if queue.in_doubt == 0 {
        vec![]
    } else {
        let request = ListIssuancesRequest {
            page_size: DOUBTS_MOST,
            in_doubt: true,
            read_mask: client::told_fields(),
            ..Default::default()
        };
        client.list_issuances(request).await?.into_inner().issuances
    };
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
                "in_doubt": queue.in_doubt,
            },
            "in_doubt": in_doubt.iter().map(client::as_json).collect::<Vec<_>>(),
        });
        client::say(status)?;
        return Ok(());
    }
    client::say(format!("station  {}", station.station))?;
    if !station.halted.is_empty() {
        client::say(format!("HALTED   {}", station.halted))?;
    }
    let link = match (queue.link_up, queue.last_error.as_str()) {
        (true, "") => "up".to_owned(),
        (true, words) => format!("up: {words}"),
        (false, "") => "not tried yet".to_owned(),
        (false, error) => format!("down: {error}"),
    };
    client::say(format!("queue    {} of {} wait for the CA; the link is {link}", queue.length, queue.bound))?;
    if queue.in_doubt > 0 {
        client::say(format!("IN DOUBT {} wait for a supervisor's word", queue.in_doubt))?;
    }
    for issuance in &in_doubt {
        client::say(format!("{} {}", issuance.name, client::line(issuance)))?;
    }
    for fixture in &station.fixtures {
        let name = fixture.name.trim_start_matches("fixtures/");
        match &fixture.issuance {
            Some(issuance) => client::say(client::line(issuance))?,
            None => client::say(format!("{name:<12} ready"))?,
        }
    }
    Ok(())
}
