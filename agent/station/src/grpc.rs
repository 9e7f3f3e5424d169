//! `station.v1`: requests parsed at the door, roles checked, the ledger asked, answers once they are on the disk.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use issuance::{FixtureName, IssuanceId, LotName, ProfileName, rule::Ruling};
use proto::station::v1::{self as wire, station_service_server::StationService};
use service::{crash, gate, restart, status};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status};
use tracing::info;

use crate::{
    board::{Board, HaltedBy},
    connector::LotAuthority,
    fixtures::Fixtures,
    health::Health,
    ledger::{Ledger, LedgerRefused},
    supervisors::Supervisors,
    view, watch,
};

mod device;
mod fields;
mod list;
mod proof;
mod rules;
mod start;
mod supervised;

pub use rules::RULES;

use fields::{issuance_name, lot_name, stated};

/// A label on a million devices is the largest work order that anybody could mean.
const QUANTITY_MOST: u32 = 10_000_000;
/// The CA takes no longer one (`ca.v1`).
pub(crate) const AUTHORISATION_MOST: usize = 1 << 20;
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
    supervisors: Arc<Supervisors>,
    lots: Arc<dyn LotAuthority>,
    health: Arc<Health>,
    tlog: Arc<PathBuf>,
    starting: Arc<Mutex<()>>,
}

impl StationApi {
    /// A service over these parts.
    #[must_use]
    pub fn new(
        ledger: Arc<Ledger>,
        fixtures: Arc<Fixtures>,
        board: Arc<Board>,
        supervisors: Supervisors,
        lots: Arc<dyn LotAuthority>,
    ) -> Self {
        let (supervisors, health, tlog) = (Arc::new(supervisors), Arc::default(), Arc::default());
        Self { ledger, fixtures, board, supervisors, lots, health, tlog, starting: Arc::default() }
    }

    /// The same, and it tells what may stop the station later.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health: Arc::new(health), ..self }
    }

    /// The same, and it proves from the transparency log in this directory.
    #[must_use]
    pub fn with_log(self, tlog: PathBuf) -> Self {
        Self { tlog: Arc::new(tlog), ..self }
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
}

#[tonic::async_trait]
impl StationService for StationApi {
    async fn start_issuance(
        &self,
        request: Request<wire::StartIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = gate::caller(&request)?;
        self.accepting()?;
        let id = self.start(request.into_inner(), &caller).await?;
        // Accepted is what is on the disk, and nothing else.
        settled(&self.ledger)?;
        let issuance = self.issuance(id)?;
        crash::point("station.scan.synced");
        Ok(Response::new(issuance))
    }

    async fn batch_start_issuances(
        &self,
        request: Request<wire::BatchStartIssuancesRequest>,
    ) -> Result<Response<wire::BatchStartIssuancesResponse>, Status> {
        let caller = gate::caller(&request)?;
        self.accepting()?;
        let results = self.start_all(request.into_inner().requests, &caller).await?;
        crash::point("station.scan.synced");
        Ok(Response::new(wire::BatchStartIssuancesResponse { results }))
    }

    async fn release_issuance(
        &self,
        request: Request<wire::ReleaseIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = gate::caller(&request)?;
        let wire::ReleaseIssuanceRequest { name, badge, supervisor, new_hardware } = request.into_inner();
        let (badge, caller) = self.supervised(caller, badge, supervisor).await?;
        self.rule(&name, Ruling::Release { new_hardware }, badge, caller).await.map(Response::new)
    }

    async fn cancel_issuance(
        &self,
        request: Request<wire::CancelIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = gate::caller(&request)?;
        let wire::CancelIssuanceRequest { name, reason, badge, supervisor } = request.into_inner();
        let (badge, caller) = self.supervised(caller, badge, supervisor).await?;
        stated(&reason)?;
        self.rule(&name, Ruling::Cancel { reason }, badge, caller).await.map(Response::new)
    }

    async fn rework_issuance(
        &self,
        request: Request<wire::ReworkIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = gate::caller(&request)?;
        self.rework(caller, request.into_inner()).await.map(Response::new)
    }

    async fn scrap_device(
        &self,
        request: Request<wire::ScrapDeviceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let caller = gate::caller(&request)?;
        self.scrap(caller, request.into_inner()).await.map(Response::new)
    }

    async fn get_issuance(
        &self,
        request: Request<wire::GetIssuanceRequest>,
    ) -> Result<Response<wire::Issuance>, Status> {
        let id = issuance_name(&request.into_inner().name)?;
        Ok(Response::new(self.issuance(id)?))
    }

    async fn list_issuances(
        &self,
        request: Request<wire::ListIssuancesRequest>,
    ) -> Result<Response<wire::ListIssuancesResponse>, Status> {
        self.issuances(request.into_inner()).map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::Event, Status>> + Send>>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let wire::WatchRequest { after_sequence: after, read_mask } = request.into_inner();
        let mask = list::mask(read_mask)?;
        let length = self.ledger.journal().synced();
        if after.is_some_and(|after| after > length) {
            let message = format!("after_sequence: the newest sequence is {length}: watch from there, or leave it out");
            return Err(status::refused(Code::OutOfRange, "SEQUENCE_OUT_OF_RANGE", message));
        }
        let stream =
            watch::events(Arc::clone(&self.ledger), Arc::clone(&self.fixtures), Arc::clone(&self.board), after, mask);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn verify_device(
        &self,
        request: Request<wire::VerifyDeviceRequest>,
    ) -> Result<Response<wire::DeviceVerification>, Status> {
        self.verify(request).await.map(Response::new)
    }

    async fn open_lot(&self, request: Request<wire::OpenLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = gate::caller(&request)?;
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

    async fn authorise_lot(&self, request: Request<wire::AuthoriseLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = gate::caller(&request)?;
        self.accepting()?;
        let authorisation = request.into_inner().authorisation;
        if authorisation.trim().is_empty() || authorisation.len() > AUTHORISATION_MOST {
            let message = format!("give what the brand owner signed, at most {AUTHORISATION_MOST} characters");
            return Err(status::invalid_argument("authorisation", message));
        }
        // The CA first: a lot that it does not know would have every device of it refused.
        let signed = self.lots.authorise(authorisation).await?;
        let opened = self.ledger.authorise_lot(&signed, &caller.name).map_err(refused)?;
        answer_lot(&self.ledger, &signed.lot, opened).await
    }

    async fn close_lot(&self, request: Request<wire::CloseLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = gate::caller(&request)?;
        self.accepting()?;
        let lot = lot_name(&request.into_inner().name)?;
        let closed = self.ledger.close_lot(&lot, &caller.name).map_err(refused)?;
        answer_lot(&self.ledger, &lot, closed).await
    }

    async fn get_lot(&self, request: Request<wire::GetLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let lot = lot_name(&request.into_inner().name)?;
        let row = self.ledger.lot(&lot).map_err(refused)?.ok_or_else(|| unknown("lot", lot.as_str()))?;
        settled(&self.ledger)?;
        Ok(Response::new(view::lot(&lot, &row)))
    }

    async fn list_lots(
        &self,
        request: Request<wire::ListLotsRequest>,
    ) -> Result<Response<wire::ListLotsResponse>, Status> {
        self.lots(&request.into_inner()).map(Response::new)
    }

    type ReportLotStream = Pin<Box<dyn Stream<Item = Result<wire::LotReportPart, Status>> + Send>>;

    async fn report_lot(
        &self,
        request: Request<wire::ReportLotRequest>,
    ) -> Result<Response<Self::ReportLotStream>, Status> {
        let caller = gate::caller(&request)?.name;
        let lot = lot_name(&request.into_inner().name)?;
        let report = self.lots.report(lot.clone()).await?;
        // The CA's record names this station.
        info!(%lot, caller, "a lot's report is passed on");
        Ok(Response::new(Box::pin(report.map(|part| part.map(|part| wire::LotReportPart { part })))))
    }

    async fn get_health(&self, _: Request<wire::GetHealthRequest>) -> Result<Response<wire::Health>, Status> {
        Ok(Response::new(self.health.now(self.ledger.clock().best())))
    }

    async fn get_issuance_story(
        &self,
        request: Request<wire::GetIssuanceStoryRequest>,
    ) -> Result<Response<wire::IssuanceStory>, Status> {
        let id = issuance_name(&request.into_inner().name)?;
        let issuance = self.issuance(id)?;
        let records = self.ledger.story(id).map_err(refused)?;
        let steps = records.into_iter().map(|(index, record)| view::step(index, record));
        Ok(Response::new(wire::IssuanceStory { issuance: Some(issuance), steps: steps.collect() }))
    }

    async fn get_issuance_proof(
        &self,
        request: Request<wire::GetIssuanceProofRequest>,
    ) -> Result<Response<wire::IssuanceProof>, Status> {
        self.proof(&request.into_inner().name).map(Response::new)
    }

    async fn get_station(&self, _: Request<wire::GetStationRequest>) -> Result<Response<wire::Station>, Status> {
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

fn unknown(what: &str, name: &str) -> Status {
    status::refused(Code::NotFound, "NOT_FOUND", format!("there is no {what} {name}"))
}
