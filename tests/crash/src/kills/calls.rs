//! What a caller does whose station may die at any moment: calls again until it is answered, and does what the operator is
//! told to do.

use std::{future::Future, time::Duration};

use proto::station::v1::{
    DeviceVerification, Event, GetIssuanceRequest, Issuance, StartIssuanceRequest, VerifyDeviceRequest, WatchRequest,
    device_check::Question, event::Change, issuance::State, station_service_client::StationServiceClient,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Response, Status, Streaming, transport::Channel};

use super::PATIENCE;
use crate::Broken;

pub(super) type Client = StationServiceClient<Channel>;
/// The client of the station as it runs now.
pub(super) type Clients = watch::Receiver<Client>;

/// Between two calls to a station that does not answer.
const PAUSE: Duration = Duration::from_millis(10);
/// One call.
const CALL_MOST: Duration = Duration::from_secs(20);
/// How often an operator scans one device again before calling for help.
const SCANS_MOST: usize = 6;

/// Calls until the station answers. What it refuses is an error, but for a fixture that is at work for a moment.
pub(super) async fn answered<T, F>(clients: &Clients, what: &str, call: impl Fn(Client) -> F) -> Result<T, Broken>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let client = clients.borrow().clone();
        let last = match timeout(CALL_MOST, call(client)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => match service::status::reason(&status).as_deref() {
                // Not the station's word: it is dead, or died before it answered.
                None | Some("FIXTURE_BUSY") => status.to_string(),
                Some(reason) => return Err(format!("{what}: the station refuses: {reason}: {}", status.message())),
            },
            Err(_) => format!("no answer within {CALL_MOST:?}"),
        };
        if Instant::now() > deadline {
            return Err(format!("{what}: not answered within {PATIENCE:?}; the last attempt: {last}"));
        }
        sleep(PAUSE).await;
    }
}

pub(super) async fn watched(clients: &Clients, after: Option<u64>) -> Result<Streaming<Event>, Broken> {
    answered(clients, &format!("a watch after {after:?}"), move |mut client| async move {
        client.watch(WatchRequest { after_sequence: after, ..Default::default() }).await
    })
    .await
}

pub(super) async fn scan(clients: &Clients, request: &StartIssuanceRequest) -> Result<Issuance, Broken> {
    let what = format!("the scan of {} at {}", request.device_serial, request.fixture);
    answered(clients, &what, |mut client| {
        let request = request.clone();
        async move { client.start_issuance(request).await }
    })
    .await
}

pub(super) async fn get(clients: &Clients, name: &str) -> Result<Issuance, Broken> {
    answered(clients, name, |mut client| {
        let request = GetIssuanceRequest { name: name.to_owned() };
        async move { client.get_issuance(request).await }
    })
    .await
}

/// Has the device in a fixture held against the journal.
pub(super) async fn verify_device(clients: &Clients, fixture: &str) -> Result<DeviceVerification, Broken> {
    answered(clients, &format!("the check of the device in {fixture}"), |mut client| {
        let request = VerifyDeviceRequest { fixture: fixture.to_owned(), ..Default::default() };
        async move { client.verify_device(request).await }
    })
    .await
}

/// What was found of this issuance's certificate: all of it holds. The device may have others, under way or refused.
pub(super) fn holds(found: &DeviceVerification, issuance: &Issuance) -> Result<(), Broken> {
    let checks: Vec<_> = found.checks.iter().filter(|check| check.issuance == issuance.name).collect();
    match checks.iter().find(|check| !check.holds) {
        Some(wrong) => Err(format!("{}: {} ({})", issuance.device_serial, wrong.message, wrong.reason)),
        None if checks.iter().any(|check| check.question() == Question::Signature) => Ok(()),
        None => Err(format!("{}: its key was not asked to sign: {found:?}", issuance.device_serial)),
    }
}

/// The issuance once it fits, from where it stood on.
pub(super) async fn until(
    clients: &Clients,
    issuance: &Issuance,
    patience: Duration,
    fits: impl Fn(&Issuance) -> bool,
) -> Result<Issuance, Broken> {
    let found = async {
        loop {
            let mut events = watched(clients, Some(issuance.sequence - 1)).await?;
            // The stream ends with the station.
            while let Ok(Some(event)) = events.message().await {
                if let Some(Change::Issuance(changed)) = event.change
                    && changed.name == issuance.name
                    && fits(&changed)
                {
                    return Ok(changed);
                }
            }
            sleep(PAUSE).await;
        }
    };
    timeout(patience, found)
        .await
        .unwrap_or_else(|_| Err(format!("{} does not go on within {patience:?}", told(issuance))))
}

/// An issuance at its end, and why its device was scanned again on the way there.
pub(super) struct Ended {
    pub(super) issuance: Issuance,
    pub(super) rescans: Vec<String>,
}

/// Scans, waits, and scans again when the station says so, until the issuance is completed or set aside.
/// `patience` is for each scan.
pub(super) async fn carry(
    clients: &Clients,
    request: &StartIssuanceRequest,
    patience: Duration,
) -> Result<Ended, Broken> {
    let begun = scan(clients, request).await?;
    carry_on(clients, begun, request, patience).await
}

/// The same from where an issuance stands on.
pub(super) async fn carry_on(
    clients: &Clients,
    mut before: Issuance,
    request: &StartIssuanceRequest,
    patience: Duration,
) -> Result<Ended, Broken> {
    let mut rescans = Vec::new();
    loop {
        let issuance = until(clients, &before, patience, is_settled).await?;
        if (&issuance.name, &issuance.common_name) != (&before.name, &before.common_name) {
            return Err(format!("{} became {}", told(&before), told(&issuance)));
        }
        if issuance.state() != State::Failed {
            // More records may follow the one that settled it: a refusal, then the quarantine.
            let issuance = get(clients, &issuance.name).await?;
            return Ok(Ended { issuance, rescans });
        }
        let failure = issuance.failure.clone().unwrap_or_default();
        if issuance.next_action.is_empty() || rescans.len() == SCANS_MOST {
            return Err(format!("{}, after {} scans more", told(&issuance), rescans.len()));
        }
        rescans.push(format!("{}: {}", failure.reason, failure.message));
        before = scan(clients, request).await?;
    }
}

pub(super) fn is_settled(issuance: &Issuance) -> bool {
    matches!(issuance.state(), State::Completed | State::Failed | State::Quarantined)
}

/// One issuance in a line, for messages.
pub(super) fn told(issuance: &Issuance) -> String {
    let failure = issuance.failure.as_ref().map(|failure| format!(": {} ({})", failure.message, failure.reason));
    let state = issuance.state().as_str_name();
    format!("{} of {} {state}{}", issuance.name, issuance.device_serial, failure.unwrap_or_default())
}
