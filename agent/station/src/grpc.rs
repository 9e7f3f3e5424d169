//! `station.v1`: requests parsed at the door, roles checked, the ledger asked, answers once they are on the disk.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use issuance::{DeviceSerial, FixtureName, IssuanceId, LotName, ProfileName, rule::Ruling};
use proto::station::v1::{self as wire, station_service_server::StationService};
use secrecy::SecretString;
use service::{
    crash, restart,
    roles::{Caller, Callers, Role},
    status,
    tls::Peer,
};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::{
    board::{Board, HaltedBy},
    driver::Asked,
    fixtures::Fixtures,
    ledger::{self, Ledger, LedgerRefused, Listed},
    seek,
    supervisors::{NotVerified, Supervisors},
    view, watch,
};

/// Everyone who may look.
const READERS: &[Role] =
    &[Role::Kiosk, Role::Operator, Role::Supervisor, Role::Mes, Role::Auditor, Role::Administrator];
/// Who may start issuances.
const STARTERS: &[Role] = &[Role::Kiosk, Role::Operator, Role::Supervisor, Role::Mes];
/// Who may open and close lots.
const PLANNERS: &[Role] = &[Role::Supervisor, Role::Mes];
/// Who may decide on what was set aside.
const SUPERVISORS: &[Role] = &[Role::Supervisor];
/// Whose screens a supervisor may use, with a PIN.
const SCREENS: &[Role] = &[Role::Kiosk, Role::Operator];
/// A reason is read by people.
const REASON_MOST: usize = 500;
/// AIP-158's habit; a page of more would be slow to make and to read.
const PAGE_MOST: i32 = 1000;
/// When the caller does not say.
const PAGE_DEFAULT: i32 = 100;
/// A label on a million devices is the largest work order that anybody could mean.
const QUANTITY_MOST: u32 = 10_000_000;
/// The queue drains at the CA's rate; asking sooner than this changes nothing.
const QUEUE_FULL_RETRY: Duration = Duration::from_secs(10);

/// A station that goes on by itself looks about as often whether it can.
const HALTED_RETRY: Duration = restart::PAUSE_MOST;

/// The service over one station.
#[derive(Clone)]
pub struct StationApi {
    ledger: Arc<Ledger>,
    fixtures: Arc<Fixtures>,
    board: Arc<Board>,
    callers: Arc<Callers>,
    supervisors: Arc<Supervisors>,
    starting: Arc<Mutex<()>>,
}

impl StationApi {
    /// A service over these parts.
    #[must_use]
    pub fn new(
        ledger: Arc<Ledger>,
        fixtures: Arc<Fixtures>,
        board: Arc<Board>,
        callers: Callers,
        supervisors: Supervisors,
    ) -> Self {
        let (callers, supervisors) = (Arc::new(callers), Arc::new(supervisors));
        Self { ledger, fixtures, board, callers, supervisors, starting: Arc::default() }
    }

    /// Who decides, as `claimed_by`, and the caller, when it is a supervisor: by the certificate, or at somebody else's screen
    /// by badge and PIN.
    async fn supervised(
        &self,
        peer: Option<Peer>,
        badge: String,
        supervisor: Option<wire::Supervisor>,
    ) -> Result<(String, Caller), Status> {
        short("badge", &badge)?;
        let Some(wire::Supervisor { badge, pin }) = supervisor else {
            return Ok((badge, self.callers.authorise(peer.as_ref(), SUPERVISORS)?));
        };
        let pin = SecretString::from(pin);
        short("supervisor.badge", &badge)?;
        let caller = self.callers.authorise(peer.as_ref(), &[SUPERVISORS, SCREENS].concat())?;
        self.supervisors.verify(&badge, pin).await.map_err(|refused| not_verified(&refused))?;
        let name = format!("{} with the PIN of {badge}", caller.name);
        Ok((badge, Caller { name, ..caller }))
    }

    fn authorise<T>(&self, request: &Request<T>, allowed: &[Role]) -> Result<Caller, Status> {
        self.callers.authorise(request.extensions().get::<Peer>(), allowed)
    }

    fn accepting(&self) -> Result<(), Status> {
        match self.board.halted() {
            Some(words) if self.board.halted_by() == Some(HaltedBy::Fault) => {
                Err(status::refused(Code::Unavailable, "STATION_HALTED", words))
            }
            Some(words) => Err(status::retry_later("STATION_HALTED", words, HALTED_RETRY)),
            None => Ok(()),
        }
    }

    fn fixture(&self, name: &str) -> Result<&crate::fixtures::Fixture, Status> {
        let parsed = status::parsed("fixture", name, FixtureName::parse)?;
        self.fixtures.get(&parsed).ok_or_else(|| {
            let message = format!("there is no fixture {name}: this station has {}", self.fixtures.names());
            status::refused(Code::NotFound, "UNKNOWN_FIXTURE", message)
        })
    }

    fn issuance(&self, id: IssuanceId) -> Result<wire::Issuance, Status> {
        let found = self.ledger.told(id).map_err(refused)?;
        let (issuance, index) = found.ok_or_else(|| unknown("issuance", &id.to_string()))?;
        Ok(view::issuance(&issuance, index))
    }

    /// Has the ledger start something at a fixture, and begins the work there.
    fn begin(
        &self,
        fixture: &crate::fixtures::Fixture,
        subject: ledger::Subject,
        badge: String,
        caller: Caller,
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
            authenticated_by: caller.name,
            at_work,
            fixture_is_free: reservation.is_some(),
        })
        .map_err(refused)?;
        let id = started.issuance.id;
        // Begun before the disk has it, since a caller that hangs up ends this at any await: the driver waits for the
        // disk before it does what cannot be undone.
        match reservation {
            Some(reservation) if started.begin => reservation.begin(id, Asked::Scanned),
            // Nothing to do there, but the operator looks at this fixture for the answer.
            Some(reservation) => {
                drop(reservation);
                self.fixtures.show(fixture, id);
            }
            None => {}
        }
        Ok(id)
    }

    /// A supervisor's word on an issuance: recorded, synced, told.
    async fn rule(
        &self,
        name: &str,
        ruling: Ruling,
        badge: String,
        caller: Caller,
    ) -> Result<Response<wire::Issuance>, Status> {
        self.accepting()?;
        let id = issuance_name(name)?;
        let appended =
            self.ledger.rule(id, ruling, badge, caller.name, self.fixtures.at_work().len()).map_err(refused)?;
        appended.synced().await.map_err(|error| refused(error.into()))?;
        crash::point("station.ruling.synced");
        // What was in doubt may be in the queue again.
        self.ledger.ring();
        Ok(Response::new(self.issuance(id)?))
    }
}

#[tonic::async_trait]
impl StationService for StationApi {
    async fn start_issuance(
        &self,
        request: Request<wire::StartIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = self.authorise(&request, STARTERS)?;
        self.accepting()?;
        let request = request.into_inner();
        let device_serial = status::parsed("device_serial", &request.device_serial, DeviceSerial::parse)?;
        let lot = status::parsed("lot", &request.lot, LotName::parse)?;
        let profile = match request.profile.as_str() {
            "" => None,
            name => Some(status::parsed("profile", name, ProfileName::parse)?),
        };
        short("request_id", &request.request_id)?;
        short("badge", &request.badge)?;
        let named = match request.fixture.as_str() {
            "" => None,
            name => Some(self.fixture(name)?),
        };
        let subject = ledger::Subject { request_id: request.request_id, lot, device_serial, profile };
        let fixture = match named {
            Some(fixture) => fixture,
            None => {
                let before = self.ledger.started_before(&subject).map_err(refused)?;
                seek::fixture(&self.fixtures, &self.ledger, &subject.device_serial, before.as_ref())
                    .await
                    .map_err(refused)?
            }
        };
        let id = self
            .begin(fixture, subject, request.badge, caller, |asked| self.ledger.start(asked, &self.board.provenance))?;
        // Accepted is what is on the disk, and nothing else.
        settled(&self.ledger)?;
        let issuance = self.issuance(id)?;
        crash::point("station.scan.synced");
        Ok(Response::new(issuance))
    }

    async fn release_issuance(
        &self,
        request: Request<wire::ReleaseIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let wire::ReleaseIssuanceRequest { name, badge, supervisor } = request.into_inner();
        let (badge, caller) = self.supervised(peer, badge, supervisor).await?;
        self.rule(&name, Ruling::Release, badge, caller).await
    }

    async fn cancel_issuance(
        &self,
        request: Request<wire::CancelIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let wire::CancelIssuanceRequest { name, reason, badge, supervisor } = request.into_inner();
        let (badge, caller) = self.supervised(peer, badge, supervisor).await?;
        stated(&reason)?;
        self.rule(&name, Ruling::Cancel { reason }, badge, caller).await
    }

    async fn rework_issuance(
        &self,
        request: Request<wire::ReworkIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let wire::ReworkIssuanceRequest { name, reason, badge, fixture, new_key, supervisor } = request.into_inner();
        let (badge, caller) = self.supervised(peer, badge, supervisor).await?;
        self.accepting()?;
        let of = issuance_name(&name)?;
        stated(&reason)?;
        let found = self.ledger.get(of).map_err(refused)?;
        let (before, _) = found.ok_or_else(|| unknown("issuance", &of.to_string()))?;
        let fixture = match fixture.as_str() {
            // The device is looked for wherever it sits now: it was away meanwhile.
            "" => seek::fixture(&self.fixtures, &self.ledger, &before.request.device_serial, None)
                .await
                .map_err(refused)?,
            name => self.fixture(name)?,
        };
        let subject = ledger::Subject {
            request_id: String::new(),
            lot: before.request.lot.clone(),
            device_serial: before.request.device_serial.clone(),
            profile: Some(before.request.profile.clone()),
        };
        let why = ledger::Why { reason, new_key, keystore: fixture.kind };
        let id = self.begin(fixture, subject, badge, caller, |asked| {
            self.ledger.rework(of, asked, &why, &self.board.provenance)
        })?;
        settled(&self.ledger)?;
        let issuance = self.issuance(id)?;
        crash::point("station.rework.synced");
        Ok(Response::new(issuance))
    }

    async fn get_issuance(
        &self,
        request: Request<wire::GetIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        self.authorise(&request, READERS)?;
        let id = issuance_name(&request.into_inner().name)?;
        Ok(Response::new(self.issuance(id)?))
    }

    async fn list_issuances(
        &self,
        request: Request<wire::ListIssuancesRequest>,
    ) -> Result<Response<wire::ListIssuancesResponse>, Status> {
        self.authorise(&request, READERS)?;
        let request = request.into_inner();
        let of = match (request.lot.as_str(), request.device_serial.as_str()) {
            ("", "") if request.in_doubt => Listed::InDoubt,
            ("", "") => Listed::All,
            _ if request.in_doubt => {
                return Err(status::invalid_argument("in_doubt", "give it without lot and device_serial"));
            }
            (lot, "") => Listed::Lot(status::parsed("lot", lot, LotName::parse)?),
            ("", serial) => Listed::Device(status::parsed("device_serial", serial, DeviceSerial::parse)?),
            _ => return Err(status::invalid_argument("lot", "give lot or device_serial, not both")),
        };
        let size = page_size(request.page_size)?;
        let before = page_token(&request.page_token)?;
        let found = self.ledger.list(&of, before, size).map_err(refused)?;
        let next_page_token = next_page(found.len(), size, found.last().map(|(index, _)| *index));
        let issuances = found.into_iter().map(|(_, id)| match self.ledger.told(id) {
            // After the journal failed: what was not accepted by then.
            Ok(None) => None,
            Ok(Some((issuance, index))) => Some(Ok(view::issuance(&issuance, index))),
            Err(error) => Some(Err(refused(error))),
        });
        let issuances = issuances.flatten().collect::<Result<_, _>>()?;
        Ok(Response::new(wire::ListIssuancesResponse { issuances, next_page_token }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.authorise(&request, READERS)?;
        let after = request.into_inner().after_sequence;
        let length = self.ledger.journal().synced();
        if after.is_some_and(|after| after > length) {
            let message = format!("after_sequence: the newest sequence is {length}: watch from there, or leave it out");
            return Err(status::refused(Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE", message));
        }
        let stream =
            watch::events(Arc::clone(&self.ledger), Arc::clone(&self.fixtures), Arc::clone(&self.board), after);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn open_lot(&self, request: Request<wire::OpenLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = self.authorise(&request, PLANNERS)?;
        self.accepting()?;
        let request = request.into_inner();
        let lot = status::parsed("lot", &request.lot, LotName::parse)?;
        let profile = status::parsed("profile", &request.profile, ProfileName::parse)?;
        if !(1..=QUANTITY_MOST).contains(&request.quantity) {
            let message = format!("{} is no quantity: give 1 to {QUANTITY_MOST}", request.quantity);
            return Err(status::invalid_argument("quantity", message));
        }
        let opened = self.ledger.open_lot(&lot, &profile, request.quantity, &caller.name).map_err(refused)?;
        answer_lot(&self.ledger, &lot, opened).await
    }

    async fn close_lot(&self, request: Request<wire::CloseLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = self.authorise(&request, PLANNERS)?;
        self.accepting()?;
        let lot = lot_name(&request.into_inner().name)?;
        let closed = self.ledger.close_lot(&lot, &caller.name).map_err(refused)?;
        answer_lot(&self.ledger, &lot, closed).await
    }

    async fn get_lot(&self, request: Request<wire::GetLotRequest>) -> Result<Response<wire::Lot>, Status> {
        self.authorise(&request, READERS)?;
        let lot = lot_name(&request.into_inner().name)?;
        let row = self.ledger.lot(&lot).map_err(refused)?.ok_or_else(|| unknown("lot", lot.as_str()))?;
        settled(&self.ledger)?;
        Ok(Response::new(view::lot(&lot, &row)))
    }

    async fn list_lots(
        &self,
        request: Request<wire::ListLotsRequest>,
    ) -> Result<Response<wire::ListLotsResponse>, Status> {
        self.authorise(&request, READERS)?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let before = page_token(&request.page_token)?;
        let found = self.ledger.lots(before, size).map_err(refused)?;
        settled(&self.ledger)?;
        let next_page_token = next_page(found.len(), size, found.last().map(|(index, ..)| *index));
        let lots = found.iter().map(|(_, name, row)| view::lot(name, row)).collect();
        Ok(Response::new(wire::ListLotsResponse { lots, next_page_token }))
    }

    async fn get_station(&self, request: Request<wire::GetStationRequest>) -> Result<Response<wire::Station>, Status> {
        self.authorise(&request, READERS)?;
        Ok(Response::new(view::station(&self.ledger, &self.fixtures, &self.board)))
    }
}

/// The gRPC status of a refusal: from its kind, never from its text.
fn refused(refused: LedgerRefused) -> Status {
    let message = service::in_full(&refused);
    match refused {
        LedgerRefused::Invalid { field, .. } => status::invalid_argument(field, message),
        LedgerRefused::NotFound(_) => status::refused(Code::NotFound, "NOT_FOUND", message),
        LedgerRefused::Exists { reason, about, .. } => {
            status::refused_about(Code::AlreadyExists, reason, message, &about)
        }
        LedgerRefused::Precondition { reason, about, .. } => {
            status::refused_about(Code::FailedPrecondition, reason, message, &about)
        }
        LedgerRefused::Full(_) => status::retry_later("QUEUE_FULL", message, QUEUE_FULL_RETRY),
        LedgerRefused::Clock(wrong) => {
            let message = format!("{message}. {}", wrong.remedy());
            status::retry_later("CLOCK_WRONG", message, HALTED_RETRY)
        }
        LedgerRefused::Damaged(_) => status::refused(Code::Internal, "ROWS_DAMAGED", message),
        LedgerRefused::Journal(_) => status::refused(Code::Unavailable, "JOURNAL_FAILED", message),
    }
}

/// A supervisor's word that was not taken.
fn not_verified(refused: &NotVerified) -> Status {
    let message = refused.to_string();
    match refused {
        NotVerified::Wrong => status::refused(Code::PermissionDenied, "SUPERVISOR_WRONG", message),
        NotVerified::Locked => status::refused(Code::PermissionDenied, "SUPERVISOR_LOCKED", message),
        NotVerified::Nobody => status::refused(Code::FailedPrecondition, "NO_SUPERVISORS", message),
        NotVerified::Wait { after } => status::retry_later("SUPERVISOR_WAIT", message, *after),
        NotVerified::Uncounted => status::refused(Code::Unavailable, "SUPERVISOR_UNCOUNTED", message),
    }
}

/// Callers are told only what is on the disk: between what was read and the answer, this waits for it.
fn settled(ledger: &Ledger) -> Result<(), Status> {
    watch::on_disk(ledger.journal()).map_err(|error| refused(error.into()))
}

/// What was there before may be as new as what is made now: another caller's, who still waits.
async fn answer_lot(
    ledger: &Ledger,
    lot: &LotName,
    (row, appended): (crate::rows::LotRow, Option<journal::Appended>),
) -> Result<Response<wire::Lot>, Status> {
    match appended {
        Some(appended) => appended.synced().await.map_err(|error| refused(error.into()))?,
        None => settled(ledger)?,
    }
    crash::point("station.lot.synced");
    Ok(Response::new(view::lot(lot, &row)))
}

fn issuance_name(name: &str) -> Result<IssuanceId, Status> {
    name.strip_prefix("issuances/")
        .and_then(IssuanceId::parse)
        .ok_or_else(|| status::invalid_argument("name", format!("{name:?} is no issuance: write issuances/<uuid>")))
}

fn lot_name(name: &str) -> Result<LotName, Status> {
    let lot = name
        .strip_prefix("lots/")
        .ok_or_else(|| status::invalid_argument("name", format!("{name:?} is no lot: write lots/<lot>")))?;
    status::parsed("name", lot, LotName::parse)
}

fn short(field: &str, text: &str) -> Result<(), Status> {
    if text.len() > 64 || text.chars().any(char::is_control) {
        return Err(status::invalid_argument(field, "give at most 64 printable characters"));
    }
    Ok(())
}

fn stated(reason: &str) -> Result<(), Status> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_MOST || reason.chars().any(char::is_control) {
        let message = format!("say why in 1 to {REASON_MOST} printable characters");
        return Err(status::invalid_argument("reason", message));
    }
    Ok(())
}

fn page_size(asked: i32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE_DEFAULT as usize),
        1..=PAGE_MOST => Ok(asked as usize),
        _ => Err(status::invalid_argument("page_size", format!("{asked} is no page size: give 1 to {PAGE_MOST}"))),
    }
}

fn page_token(token: &str) -> Result<Option<u64>, Status> {
    match token {
        "" => Ok(None),
        _ => token.parse().map(Some).map_err(|_| {
            status::invalid_argument("page_token", "this is no token of an earlier answer: start without one")
        }),
    }
}

fn next_page(found: usize, size: usize, last: Option<u64>) -> String {
    if found < size { String::new() } else { last.map(|index| index.to_string()).unwrap_or_default() }
}

fn unknown(what: &str, name: &str) -> Status {
    status::refused(Code::NotFound, "NOT_FOUND", format!("there is no {what} {name}"))
}
