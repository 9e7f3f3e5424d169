//! `ca.v1.LotService`: proto types come in and go out here.

use std::pin::Pin;

use issuance::{DeviceSerial, LotName, ProfileName, Timestamp};
use proto::ca::v1::{self as wire, lot_service_server::LotService};
use service::{gate, page, roles::Role, status};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::{Lot, LotRefused, LotRefusedKind as Kind, QUANTITY_MAX};
use crate::{
    authority::{Authority, Caller, ReportError},
    grpc::unavailable,
    rules::SUPERVISORS,
};

/// A reason is read by people.
const REASON_MAX: usize = 500;
/// Characters of a report in one message: far below any client's limit.
const PART_CHARACTERS: usize = 1 << 20;

/// The lots of one authority.
pub(crate) struct Lots {
    pub(crate) authority: Authority,
}

#[tonic::async_trait]
impl LotService for Lots {
    async fn open_lot(&self, request: Request<wire::OpenLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let lot = status::parsed("lot", &request.lot, LotName::parse)?;
        let profile = status::parsed("profile", &request.profile, ProfileName::parse)?;
        let quantity = quantity(request.quantity)?;
        answer(self.authority.open_lot(caller, lot, profile, quantity).await.map_err(unavailable)?)
    }

    async fn authorise_lot(&self, request: Request<wire::AuthoriseLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = caller(&request)?;
        let jws = request.into_inner().authorisation;
        answer(self.authority.authorise_lot(caller, jws).await.map_err(unavailable)?)
    }

    async fn close_lot(&self, request: Request<wire::CloseLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = caller(&request)?;
        let lot = status::parsed("lot", &request.into_inner().lot, LotName::parse)?;
        answer(self.authority.close_lot(caller, lot).await.map_err(unavailable)?)
    }

    async fn amend_lot(&self, request: Request<wire::AmendLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let lot = status::parsed("lot", &request.lot, LotName::parse)?;
        let quantity = quantity(request.quantity)?;
        let (reason, caller) = decided(caller, request.reason, request.badge)?;
        answer(self.authority.amend_lot(caller, lot, quantity, reason).await.map_err(unavailable)?)
    }

    async fn scrap_device(&self, request: Request<wire::ScrapDeviceRequest>) -> Result<Response<wire::Lot>, Status> {
        let called = gate::caller(&request)?;
        // A station's own word is none: it names the supervisor whose badge and PIN it verified.
        if request.get_ref().badge.is_empty() {
            called.must_be(SUPERVISORS)?;
        }
        let brought_by = (called.role == Role::Station).then(|| called.name.clone());
        let caller = caller(&request)?;
        let request = request.into_inner();
        let lot = status::parsed("lot", &request.lot, LotName::parse)?;
        let device_serial = status::parsed("device_serial", &request.device_serial, DeviceSerial::parse)?;
        let (reason, caller) = decided(caller, request.reason, request.badge)?;
        answer(self.authority.scrap_device(caller, lot, device_serial, reason, brought_by).await.map_err(unavailable)?)
    }

    async fn get_lot(&self, request: Request<wire::GetLotRequest>) -> Result<Response<wire::Lot>, Status> {
        let lot = status::parsed("lot", &request.into_inner().lot, LotName::parse)?;
        let found = self.authority.lot(lot.clone()).await.map_err(unavailable)?;
        answer(found.ok_or_else(|| LotRefused::unknown(&lot)))
    }

    async fn list_lots(
        &self,
        request: Request<wire::ListLotsRequest>,
    ) -> Result<Response<wire::ListLotsResponse>, Status> {
        let wire::ListLotsRequest { page_size, page_token } = request.into_inner();
        let asked = page::Asked::parse(page_size, &page_token)?;
        let lots = self.authority.lots(asked.before, asked.size).await.map_err(unavailable)?;
        let is_full = lots.len() == asked.size;
        let next_page_token = page::token(lots.last().filter(|_| is_full).map(|(index, _)| *index));
        let lots = lots.into_iter().map(|(_, lot)| to_wire(lot)).collect();
        Ok(Response::new(wire::ListLotsResponse { lots, next_page_token }))
    }

    type ReportLotStream = Pin<Box<dyn Stream<Item = Result<wire::LotReportPart, Status>> + Send>>;

    async fn report_lot(
        &self,
        request: Request<wire::ReportLotRequest>,
    ) -> Result<Response<Self::ReportLotStream>, Status> {
        let caller = caller(&request)?;
        let lot = status::parsed("lot", &request.into_inner().lot, LotName::parse)?;
        let report = self.authority.report_lot(caller, lot).await.map_err(|error| match error {
            ReportError::Refused(error) => refused(error),
            ReportError::Unavailable(error) => unavailable(error),
            ReportError::Later(later) => status::retry_later("TOKEN_AWAY", later.message, later.retry_after),
        })?;
        // A JWS is ASCII: it may be cut anywhere.
        let parts: Vec<_> = report
            .as_bytes()
            .chunks(PART_CHARACTERS)
            .map(|part| Ok(wire::LotReportPart { part: String::from_utf8_lossy(part).into_owned() }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Ok(Caller { authenticated_by: gate::caller(request)?.name, claimed_by: String::new() })
}

fn quantity(quantity: u32) -> Result<u32, Status> {
    if (1..=QUANTITY_MAX).contains(&quantity) {
        return Ok(quantity);
    }
    Err(status::invalid_argument("quantity", format!("{quantity} is no quantity: give 1 to {QUANTITY_MAX}")))
}

/// A supervisor's reason and badge, for the record.
fn decided(caller: Caller, reason: String, badge: String) -> Result<(String, Caller), Status> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_MAX || reason.chars().any(char::is_control) {
        let message = format!("say why in 1 to {REASON_MAX} printable characters");
        return Err(status::invalid_argument("reason", message));
    }
    if badge.len() > 64 || badge.chars().any(char::is_control) {
        return Err(status::invalid_argument("badge", "give at most 64 printable characters"));
    }
    Ok((reason, Caller { claimed_by: badge, ..caller }))
}

fn answer(lot: Result<Lot, LotRefused>) -> Result<Response<wire::Lot>, Status> {
    lot.map(|lot| Response::new(to_wire(lot))).map_err(refused)
}

fn refused(refused: LotRefused) -> Status {
    let code = match refused.kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Denied => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::NotNow => Code::Unavailable,
    };
    status::refused(code, refused.reason, refused.message)
}

fn to_wire(lot: Lot) -> wire::Lot {
    let state = if lot.open { wire::lot::State::Open } else { wire::lot::State::Closed };
    wire::Lot {
        lot: lot.lot.to_string(),
        profile: lot.profile.to_string(),
        quantity: lot.quantity,
        used: lot.used,
        state: state.into(),
        create_time: Some(timestamp(lot.opened)),
        authorisation: lot.signature.map(|signature| wire::LotAuthorisation {
            jti: signature.jti,
            key_sha256: signature.key_sha256.to_vec(),
            device_serials: signature.device_serials,
            pattern: signature.pattern,
            not_before: Some(seconds(signature.not_before)),
            expire_time: Some(seconds(signature.expires)),
        }),
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds: at.seconds(), nanos }
}

fn seconds(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}
