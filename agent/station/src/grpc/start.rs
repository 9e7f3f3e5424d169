//! Requests for issuances: one by one, or a batch.

use std::{sync::PoisonError, time::Duration};

use issuance::{DeviceSerial, IssuanceId, LotName, ProfileName};
use proto::station::v1::{self as wire, start_issuance_result::Outcome};
use service::{
    roles::Caller,
    status,
    traces::{Cause, FIXTURE, ISSUANCE, LOT, REQUEST_ID, Span},
};
use tonic::Status;
use tracing::info;

use super::{StationApi, fields, refused, settled};
use crate::{
    driver::Asked,
    fixtures::Fixture,
    ledger::{self, LedgerRefused},
    seek::{self, Wanted},
};

/// As many as the CA takes in one batch, and more than a station has fixtures.
const BATCH_MOST: usize = 256;

impl StationApi {
    /// Starts one issuance. What it recorded is not on the disk yet.
    pub(super) async fn start(
        &self,
        request: wire::StartIssuanceRequest,
        caller: &Caller,
    ) -> Result<IssuanceId, Status> {
        let wire::StartIssuanceRequest { request_id, lot, device_serial, profile, fixture, badge } = request;
        let subject = subject(request_id, &lot, &device_serial, &profile, &badge)?;
        let named = match fixture.as_str() {
            "" => None,
            name => Some(self.fixture(name)?),
        };
        let fixture = match named {
            Some(fixture) => fixture,
            None => {
                let before = self.ledger.started_before(&subject).map_err(refused)?;
                seek::fixture(&self.fixtures, &self.ledger, &subject.device_serial, Wanted::Device(before.as_ref()))
                    .await
                    .map_err(refused)?
            }
        };
        let (request_id, lot) = (subject.request_id.clone(), subject.lot.clone());
        let id =
            self.begin(fixture, subject, badge, caller, |asked| self.ledger.start(asked, &self.board.provenance))?;
        Span::here().note(|| {
            let (request_id, lot) = (request_id.clone(), lot.to_string());
            [(ISSUANCE, id.to_string()), (REQUEST_ID, request_id), (LOT, lot), (FIXTURE, fixture.name.to_string())]
        });
        // From the MES's id to the one that station and CA record and log.
        info!(issuance = %id, request_id, %lot, fixture = %fixture.name, caller = caller.name, "asked for");
        Ok(id)
    }

    /// Starts each of a batch, and answers once all of them are on the disk: one sync for those that came at once.
    pub(super) async fn start_all(
        &self,
        requests: Vec<wire::StartIssuanceRequest>,
        caller: &Caller,
    ) -> Result<Vec<wire::StartIssuanceResult>, Status> {
        if !(1..=BATCH_MOST).contains(&requests.len()) {
            let message = format!("holds {}: send 1 to {BATCH_MOST} in one batch", requests.len());
            return Err(status::invalid_argument("requests", message));
        }
        let mut started = Vec::with_capacity(requests.len());
        for request in requests {
            started.push(Span::begin("start").follow(self.start(request, caller)).await);
        }
        settled(&self.ledger)?;
        let result = |started: Result<IssuanceId, Status>| {
            let outcome = match started.and_then(|id| self.issuance(id)) {
                Ok(issuance) => Outcome::Issuance(issuance),
                Err(status) => Outcome::Refusal(refusal(&status)),
            };
            wire::StartIssuanceResult { outcome: Some(outcome) }
        };
        Ok(started.into_iter().map(result).collect())
    }

    /// Has the ledger start something at a fixture, and begins the work there.
    pub(super) fn begin(
        &self,
        fixture: &Fixture,
        subject: ledger::Subject,
        badge: String,
        caller: &Caller,
        start: impl FnOnce(&ledger::Asked) -> Result<ledger::Started, LedgerRefused>,
    ) -> Result<IssuanceId, Status> {
        // Who looks at the fixtures and then claims one does so alone: one issuance is begun at one fixture.
        let _alone = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let at_work = self.fixtures.at_work();
        let reservation = self.fixtures.reserve(fixture);
        let started = start(&ledger::Asked {
            subject,
            fixture: fixture.name.clone(),
            claimed_by: badge,
            authenticated_by: caller.name.clone(),
            at_work,
            fixture_is_free: reservation.is_some(),
        })
        .map_err(refused)?;
        let id = started.issuance.id;
        // Begun before the disk has it, since a caller that hangs up ends this at any await: the driver waits for the
        // disk before it does what cannot be undone.
        match reservation {
            Some(reservation) if started.begin => {
                self.ledger.trails().put(id, Cause::here());
                reservation.begin(id, Asked::Scanned);
            }
            // Nothing to do there, but the operator looks at this fixture for the answer.
            Some(reservation) => {
                drop(reservation);
                self.fixtures.show(fixture, id);
            }
            None => {}
        }
        Ok(id)
    }
}

/// What is asked for, with everything that is wrong with it at once.
fn subject(
    request_id: String,
    lot: &str,
    device_serial: &str,
    profile: &str,
    badge: &str,
) -> Result<ledger::Subject, Status> {
    let mut wrong = Vec::new();
    let mut note =
        |field: &str, problem: Option<String>| wrong.extend(problem.map(|problem| (field.to_owned(), problem)));
    let serial = DeviceSerial::parse(device_serial);
    note("device_serial", serial.as_ref().err().map(|error| service::in_full(error)));
    let lot = LotName::parse(lot);
    note("lot", lot.as_ref().err().map(|error| service::in_full(error)));
    let profile = if profile.is_empty() { None } else { Some(ProfileName::parse(profile)) };
    note("profile", profile.as_ref().and_then(|parsed| parsed.as_ref().err()).map(|error| service::in_full(error)));
    note("request_id", fields::too_long(&request_id));
    note("badge", fields::too_long(badge));
    match (serial, lot, profile.transpose(), wrong.is_empty()) {
        (Ok(device_serial), Ok(lot), Ok(profile), true) => {
            Ok(ledger::Subject { request_id, lot, device_serial, profile })
        }
        _ => Err(status::invalid_arguments(wrong)),
    }
}

/// A status as an item of a batch holds it.
fn refusal(status: &Status) -> wire::Refusal {
    let duration = |delay: Duration| prost_types::Duration::try_from(delay).ok();
    wire::Refusal {
        code: status.code() as i32,
        reason: status::reason(status).unwrap_or_default(),
        message: status.message().to_owned(),
        field: status::fields(status).into_iter().next().unwrap_or_default(),
        retry_delay: status::retry_after(status).and_then(duration),
    }
}
