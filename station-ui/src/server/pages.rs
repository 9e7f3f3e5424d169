//! The pages besides the board: each asks the station when somebody opens it.

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Redirect, Response},
};
use maud::Markup;
use prost_types::FieldMask;
use proto::station::v1::{
    GetHealthRequest, GetIssuanceProofRequest, GetIssuanceStoryRequest, GetStationRequest, Issuance, IssuanceStory,
    ListIssuancesRequest, ListLotsRequest, issuance::State as Stands, lot,
};
use serde::Deserialize;
use tonic::{Code, Request, Status};

use super::Page;
use crate::{
    feed::{Client, now},
    page::{self, Desk, LotSeen, Place},
    scan::{Notice, Scanned},
    tile::{short_name, state},
};

/// Lots that are shown, the newest: a line works on a few.
const LOTS_SHOWN: i32 = 20;
/// Issuances of one lot that are looked through for what is stuck, the newest.
const LOT_LOOKED_THROUGH: i32 = 1000;
/// What a list shows of them: certificates stay at the station.
const LISTED: [&str; 6] = ["name", "device_serial", "common_name", "lot", "state", "update_time"];
/// What a search shows.
const FOUND_MOST: i32 = 50;

/// What a handler comes to: a page's content, or why the station gave none.
type Content = Result<Markup, Status>;

pub(super) async fn lots(State(page): State<Page>, headers: HeaderMap) -> Response {
    let language = page.language(&headers);
    let content = lots_seen(page.client.clone()).await.map(|lots| page::all_lots(&lots, language));
    show(&page, &headers, Place::Lots, true, content)
}

async fn lots_seen(mut client: Client) -> Result<Vec<LotSeen>, Status> {
    let asked = ListLotsRequest { page_size: LOTS_SHOWN, ..Default::default() };
    let mut seen = Vec::new();
    for lot in client.list_lots(within(asked)).await?.into_inner().lots {
        let mut stuck = Vec::new();
        if lot.state() == lot::State::Open {
            let name = short_name(&lot.name).to_owned();
            let read_mask = Some(FieldMask { paths: LISTED.map(str::to_owned).to_vec() });
            let asked =
                ListIssuancesRequest { page_size: LOT_LOOKED_THROUGH, lot: name, read_mask, ..Default::default() };
            stuck = client.list_issuances(within(asked)).await?.into_inner().issuances;
            stuck.retain(|issuance| matches!(state(issuance), Stands::Failed | Stands::Quarantined | Stands::InDoubt));
        }
        seen.push(LotSeen { lot, stuck });
    }
    Ok(seen)
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    wanted: String,
}

pub(super) async fn find(
    State(page): State<Page>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let language = page.language(&headers);
    let wanted = wanted.map(|Query(wanted)| wanted.wanted).unwrap_or_default();
    let (Scanned::Device(wanted) | Scanned::Badge(wanted) | Scanned::Fixture(wanted)) = page.prefixes.tell(&wanted);
    let found = if wanted.is_empty() { Ok(Vec::new()) } else { search(page.client.clone(), wanted).await };
    if let Ok([only]) = found.as_deref() {
        return Redirect::to(&format!("/{}", only.name)).into_response();
    }
    let content = found.map(|found| page::found(&found, wanted, language));
    show(&page, &headers, Place::Find, false, content)
}

/// By device serial, else by CN, else by certificate serial: what is none of them is found nowhere.
async fn search(mut client: Client, wanted: &str) -> Result<Vec<Issuance>, Status> {
    let asked = || ListIssuancesRequest { page_size: FOUND_MOST, ..Default::default() };
    let text = wanted.to_owned();
    for asked in [
        ListIssuancesRequest { device_serial: text.clone(), ..asked() },
        ListIssuancesRequest { common_name: text.clone(), ..asked() },
        ListIssuancesRequest { certificate_serial: text, ..asked() },
    ] {
        match client.list_issuances(within(asked)).await {
            Ok(answer) if !answer.get_ref().issuances.is_empty() => return Ok(answer.into_inner().issuances),
            Ok(_) => {}
            // It cannot be one of those.
            Err(status) if status.code() == Code::InvalidArgument => {}
            Err(status) => return Err(status),
        }
    }
    Ok(Vec::new())
}

pub(super) async fn station(State(page): State<Page>, headers: HeaderMap) -> Response {
    let language = page.language(&headers);
    let mut client = page.client.clone();
    let asked = async {
        let station = client.get_station(within(GetStationRequest {})).await?.into_inner();
        let health = client.get_health(within(GetHealthRequest {})).await?.into_inner();
        let history = page.history.samples();
        Ok(page::station_page(&station, &health, &history, now(), language))
    };
    let content: Content = asked.await;
    show(&page, &headers, Place::Station, true, content)
}

pub(super) async fn story(
    State(page): State<Page>,
    headers: HeaderMap,
    Path(issuance): Path<String>,
    asked: Result<Query<super::Asked>, QueryRejection>,
) -> Response {
    let language = page.language(&headers);
    let notice = asked.ok().and_then(|Query(asked)| asked.notice).and_then(|name| page.notices.find(&name));
    let told = told(page.client.clone(), &issuance).await;
    let board = page.browsers.board();
    let fixtures: Vec<&str> = board.fixtures().collect();
    super::framed(&page, &headers, Place::Find, false, notice.as_ref(), |token| {
        let operator = |badge: &str| page.operators.shown(badge);
        let desk = Desk { token, prefixes: &page.prefixes, fixtures: &fixtures };
        told.map(|told| page::story(&told, desk, operator, language))
    })
}

/// Something of an issuance as a file.
pub(super) async fn file(
    State(page): State<Page>,
    headers: HeaderMap,
    Path((issuance, file)): Path<(String, String)>,
) -> Response {
    let told = match told(page.client.clone(), &issuance).await {
        Ok(told) => told,
        Err(status) => return code(&status).into_response(),
    };
    let stands = told.issuance.clone().unwrap_or_default();
    let (kind, text) = match file.as_str() {
        "certificate.pem" if !stands.certificate.is_empty() => ("application/x-pem-file", pem([&stands.certificate])),
        "chain.pem" if !stands.certificate.is_empty() => {
            ("application/x-pem-file", pem([&stands.certificate].into_iter().chain(&stands.chain)))
        }
        "records.json" => ("application/json", records(&told)),
        "proof.json" if !stands.certificate.is_empty() => match proof(page.client.clone(), &issuance).await {
            Ok(proof) => ("application/json", proof),
            Err(status) => {
                let notice = Notice::of_status(page.language(&headers), &stands.device_serial, &status);
                return back(&page, &stands.name, notice);
            }
        },
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // The serial's letters are safe in a header: the station takes no others.
    let name = format!("attachment; filename=\"{}-{file}\"", stands.device_serial);
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, name)], text).into_response()
}

async fn proof(mut client: Client, issuance: &str) -> Result<String, Status> {
    let name = format!("issuances/{issuance}");
    Ok(client.get_issuance_proof(within(GetIssuanceProofRequest { name })).await?.into_inner().proof)
}

/// To a page of the station, with a notice.
pub(super) fn back(page: &Page, path: &str, notice: Notice) -> Response {
    match page.notices.keep(notice) {
        Some(name) => Redirect::to(&format!("/{path}?notice={name}")).into_response(),
        None => Redirect::to(&format!("/{path}")).into_response(),
    }
}

fn pem<'a>(certificates: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    let block = |der: &Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice()));
    certificates.into_iter().map(block).collect()
}

/// Every record as protobuf writes it in JSON, with its place and what it says.
fn records(told: &IssuanceStory) -> String {
    let steps: Vec<_> = told
        .steps
        .iter()
        .map(|step| {
            let record = proto::as_json("journal.v1.StationRecord", &step.record);
            serde_json::json!({
                "sequence": step.sequence,
                "kind": step.kind,
                "sentence": step.sentence,
                "record": record.unwrap_or_else(serde_json::Value::String),
            })
        })
        .collect();
    let name = told.issuance.as_ref().map(|issuance| issuance.name.clone()).unwrap_or_default();
    serde_json::to_string_pretty(&serde_json::json!({ "issuance": name, "records": steps })).unwrap_or_default()
}

async fn told(mut client: Client, issuance: &str) -> Result<IssuanceStory, Status> {
    let name = format!("issuances/{issuance}");
    Ok(client.get_issuance_story(within(GetIssuanceStoryRequest { name })).await?.into_inner())
}

fn show(page: &Page, headers: &HeaderMap, place: Place, renewed: bool, content: Content) -> Response {
    super::framed(page, headers, place, renewed, None, |_| content)
}

/// A page that could not be filled says so with a code of its own.
pub(super) fn code(status: &Status) -> StatusCode {
    match status.code() {
        Code::NotFound | Code::InvalidArgument => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// A question that an operator waits for.
pub(super) fn within<T>(asked: T) -> Request<T> {
    let mut request = Request::new(asked);
    request.set_timeout(super::ANSWER_WITHIN);
    request
}
