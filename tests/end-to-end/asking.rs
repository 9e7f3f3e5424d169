//! What a caller does: starts lines, opens lots, scans devices, and waits, bounded, on the watch stream.

use std::time::Duration;

use issuance::{IssuanceId, public_key::sha256};
use line::{Line, Options};
use proto::{
    ca::v1::CertificationRequest,
    station::v1::{
        Event, Issuance, Lot, OpenLotRequest, StartIssuanceRequest, Station, WatchRequest, event::Change,
        issuance::State, station_service_client::StationServiceClient,
    },
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) type Client = StationServiceClient<Channel>;

/// No step of a simulated line takes nearly as long; a hang is told after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A submission that could not be sent is tried again soon: tests wait for it.
pub(crate) const IMPATIENT_QUEUE: &str = "[queue]\nretry_first = \"50ms\"\nretry_most = \"500ms\"\n";

/// A line without a page.
pub(crate) fn line_of(tpms: usize, tokens: usize) -> Options {
    Options { tpms, tokens, page: false, ..Default::default() }
}

pub(crate) async fn start(options: Options) -> Line {
    Line::start(options).await.unwrap_or_else(|error| panic!("the line did not start: {}", service::in_full(&error)))
}

/// The future's outcome, or a panic that says what was awaited.
pub(crate) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("after {} s still waiting for {what}", PATIENCE.as_secs()),
    }
}

pub(crate) fn mes(line: &Line) -> Client {
    line.mes().unwrap()
}

pub(crate) async fn open_lot(line: &Line, lot: &str, profile: &str, quantity: u32) -> Lot {
    let request = OpenLotRequest { lot: lot.into(), profile: profile.into(), quantity };
    bounded("a lot to open", mes(line).open_lot(request)).await.unwrap().into_inner()
}

/// What a scanner at `fixture` sends.
pub(crate) fn scan(lot: &str, device_serial: &str, fixture: &str) -> StartIssuanceRequest {
    StartIssuanceRequest {
        lot: lot.into(),
        device_serial: device_serial.into(),
        fixture: fixture.into(),
        ..Default::default()
    }
}

pub(crate) async fn start_issuance(line: &Line, request: StartIssuanceRequest) -> Result<Issuance, Status> {
    bounded("an issuance to be accepted", mes(line).start_issuance(request)).await.map(tonic::Response::into_inner)
}

/// Scans and waits for the end, whichever it is.
pub(crate) async fn issue(line: &Line, request: StartIssuanceRequest) -> Issuance {
    let serial = request.device_serial.clone();
    let started = start_issuance(line, request).await.unwrap_or_else(|status| panic!("{serial}: {status:?}"));
    settled(line, &started).await
}

/// Scans and waits; the device must come out verified.
pub(crate) async fn complete(line: &Line, request: StartIssuanceRequest) -> Issuance {
    let issuance = issue(line, request).await;
    assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
    issuance
}

/// Scans and waits; the issuance must stop in `state` for `reason`, with words for the operator.
pub(crate) async fn stop(line: &Line, request: StartIssuanceRequest, state: State, reason: &str) -> Issuance {
    let issuance = issue(line, request).await;
    assert_stopped(&issuance, state, reason);
    issuance
}

pub(crate) fn assert_stopped(issuance: &Issuance, state: State, reason: &str) {
    let failure = issuance.failure.clone().unwrap_or_default();
    assert_eq!((issuance.state(), failure.reason.as_str()), (state, reason), "{}", told(issuance));
    assert!(!failure.message.is_empty() && issuance.next_action.ends_with('.'), "{}", told(issuance));
}

/// The issuance once nothing more happens to it by itself.
pub(crate) async fn settled(line: &Line, issuance: &Issuance) -> Issuance {
    until(line, issuance, "its end", is_settled).await
}

pub(crate) fn is_settled(issuance: &Issuance) -> bool {
    matches!(issuance.state(), State::Completed | State::Failed | State::Quarantined | State::Cancelled)
}

/// The issuance once it fits, from where it stood on.
pub(crate) async fn until(line: &Line, issuance: &Issuance, what: &str, fits: impl Fn(&Issuance) -> bool) -> Issuance {
    let name = issuance.name.clone();
    let awaited = format!("{what} of {}", told(issuance));
    let found = watch_until(line, Some(issuance.sequence - 1), &awaited, |event| match event.change {
        Some(Change::Issuance(changed)) if changed.name == name && fits(&changed) => Some(changed),
        _ => None,
    });
    found.await
}

/// The station's state once it fits.
pub(crate) async fn station_until(line: &Line, what: &str, fits: impl Fn(&Station) -> bool) -> Station {
    let found = watch_until(line, None, what, |event| match event.change {
        Some(Change::Station(station)) if fits(&station) => Some(station),
        _ => None,
    });
    found.await
}

async fn watch_until<T>(line: &Line, after: Option<u64>, what: &str, find: impl Fn(Event) -> Option<T>) -> T {
    bounded(what, async {
        let mut events = watch(&mut mes(line), after).await;
        loop {
            let event = events.message().await.unwrap_or_else(|status| panic!("waiting for {what}: {status:?}"));
            let event = event.unwrap_or_else(|| panic!("the watch ended while waiting for {what}"));
            if let Some(found) = find(event) {
                return found;
            }
        }
    })
    .await
}

pub(crate) async fn watch(client: &mut Client, after_sequence: Option<u64>) -> Streaming<Event> {
    bounded("a watch", client.watch(WatchRequest { after_sequence, ..Default::default() })).await.unwrap().into_inner()
}

/// How far the journal has come: the first event of a watch says it.
pub(crate) async fn journal_length(line: &Line) -> u64 {
    let mut events = watch(&mut mes(line), None).await;
    bounded("the first event", events.message()).await.unwrap().expect("a first event").sequence
}

/// One issuance in a line, for messages.
pub(crate) fn told(issuance: &Issuance) -> String {
    let failure = issuance.failure.as_ref().map(|failure| format!(": {} ({})", failure.message, failure.reason));
    format!("{} {}{}", issuance.device_serial, issuance.state().as_str_name(), failure.unwrap_or_default())
}

/// The refusal's code and reason, and for a wrong field its name.
pub(crate) fn refusal(status: &Status) -> (Code, String, String) {
    let reason = service::status::reason(status).unwrap_or_default();
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
    (status.code(), reason, fields.join(" "))
}

/// What a station would send to the CA for a device in software, in `LOT-1` under `device-ca`.
pub(crate) fn of_software(device_serial: &str, common_name: &str) -> CertificationRequest {
    let mut names = CertificateParams::default();
    names.distinguished_name = DistinguishedName::new();
    names.distinguished_name.push(DnType::CommonName, common_name);
    let request = names.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    CertificationRequest {
        issuance: IssuanceId::from_slice(&sha256(device_serial.as_bytes())[..16]).unwrap().to_string(),
        device_serial: device_serial.to_owned(),
        lot: "LOT-1".to_owned(),
        profile: "device-ca".to_owned(),
        certification_request: request.der().to_vec(),
        ..CertificationRequest::default()
    }
}
