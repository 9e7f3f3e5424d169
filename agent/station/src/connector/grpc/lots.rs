//! What brand owners sign, brought to the CA, what the CA signs for them, and what it takes back.

use std::time::Duration;

use issuance::{DeviceSerial, LotName, ProfileName};
use proto::ca::v1::{self as wire, lot::State};
use service::status;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status};

use super::GrpcConnector;
use crate::{
    connector::{LotAuthority, Report},
    ledger::SignedLot,
};

/// The MES waits for it; the CA answers after one sync.
const ANSWER_MOST: Duration = Duration::from_secs(10);
/// The CA goes through every certificate of the lot first; less than a call here may take, so that these words arrive.
const REPORT_MOST: Duration = Duration::from_secs(50);
/// A CA that is away is asked again by the MES, and not every second.
const AWAY_RETRY: Duration = Duration::from_secs(10);

/// What is asked of the CA, as it is said when it comes to nothing.
struct Asked {
    undone: &'static str,
    may_not: &'static str,
}

const AUTHORISE: Asked = Asked { undone: "nothing was opened", may_not: "bring authorisations" };
const REPORT: Asked = Asked { undone: "there is no report", may_not: "have reports signed" };
const SCRAP: Asked = Asked { undone: "nothing was scrapped", may_not: "scrap devices" };

#[tonic::async_trait]
impl LotAuthority for GrpcConnector {
    async fn authorise(&self, authorisation: String) -> Result<SignedLot, Status> {
        let mut request = Request::new(wire::AuthoriseLotRequest { authorisation });
        request.set_timeout(ANSWER_MOST);
        let mut lots = self.lots.clone();
        match tokio::time::timeout(ANSWER_MOST, lots.authorise_lot(request)).await {
            Ok(Ok(answer)) => signed(answer.into_inner()),
            Ok(Err(status)) => Err(AUTHORISE.told(&status)),
            Err(_) => Err(AUTHORISE.late(ANSWER_MOST)),
        }
    }

    async fn report(&self, lot: LotName) -> Result<Report, Status> {
        let mut request = Request::new(wire::ReportLotRequest { lot: lot.to_string() });
        request.set_timeout(REPORT_MOST);
        let mut lots = self.lots.clone();
        let answer = match tokio::time::timeout(REPORT_MOST, lots.report_lot(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if status.code() == Code::NotFound => {
                let message =
                    format!("the CA has no lot {lot}: it reports on lots that were authorised, or opened there");
                return Err(status::refused(Code::NotFound, "LOT_UNKNOWN", message));
            }
            Ok(Err(status)) => return Err(REPORT.told(&status)),
            Err(_) => return Err(REPORT.late(REPORT_MOST)),
        };
        Ok(Box::pin(answer.map(|part| part.map(|part| part.part).map_err(|status| REPORT.told(&status)))))
    }

    async fn scrap(&self, lot: &LotName, device: &DeviceSerial, reason: &str, badge: &str) -> Result<(), Status> {
        let mut request = Request::new(wire::ScrapDeviceRequest {
            lot: lot.to_string(),
            device_serial: device.to_string(),
            reason: reason.to_owned(),
            badge: badge.to_owned(),
        });
        request.set_timeout(ANSWER_MOST);
        let mut lots = self.lots.clone();
        match tokio::time::timeout(ANSWER_MOST, lots.scrap_device(request)).await {
            Ok(Ok(_)) => Ok(()),
            // The CA never issued to it.
            Ok(Err(status)) if matches!(status::reason(&status).as_deref(), Some("NO_PLACE" | "LOT_UNKNOWN")) => Ok(()),
            Ok(Err(status)) => Err(SCRAP.told(&status)),
            Err(_) => Err(SCRAP.late(ANSWER_MOST)),
        }
    }
}

/// The lot as the CA has it: it may have taken a newer signature than the one that was brought again.
fn signed(lot: wire::Lot) -> Result<SignedLot, Status> {
    if lot.state() != State::Open {
        let message = format!("the lot {} is closed at the CA: its brand owner opens it with a new signature", lot.lot);
        return Err(status::refused(Code::FailedPrecondition, "LOT_CLOSED", message));
    }
    let unclear =
        || status::refused(Code::Internal, "AUTHORITY_UNCLEAR", "the CA answered without a lot that is signed");
    Ok(SignedLot {
        lot: LotName::parse(&lot.lot).map_err(|_| unclear())?,
        profile: ProfileName::parse(&lot.profile).map_err(|_| unclear())?,
        quantity: lot.quantity,
        authorisation_id: lot.authorisation.map(|signed| signed.jti).ok_or_else(unclear)?,
    })
}

impl Asked {
    /// The CA's word as the station's caller is told it.
    fn told(&self, status: &Status) -> Status {
        let words = status::in_full(status);
        match (status.code(), status::reason(status)) {
            _ if status::is_lost_connection(status) => self.away(&words),
            // That is said of the station's certificate, not of the caller's.
            (Code::Unauthenticated | Code::Unimplemented, _) | (Code::PermissionDenied, None) => {
                self.refuses_station(&words)
            }
            (_, Some(reason)) if matches!(reason.as_str(), "ROLE_NOT_ALLOWED" | "CALLER_DISABLED") => {
                self.refuses_station(&words)
            }
            // Its rate is the station's as well.
            (Code::Unavailable | Code::ResourceExhausted, reason) => {
                let after = status::retry_after(status).unwrap_or(AWAY_RETRY);
                let reason = reason.as_deref().unwrap_or("AUTHORITY_AWAY");
                status::retry_later(reason, format!("the CA says: {words}"), after)
            }
            (code, Some(reason)) => status::refused(code, &reason, format!("the CA says: {words}")),
            (_, None) => self.away(&words),
        }
    }

    fn late(&self, most: Duration) -> Status {
        self.away(&format!("no answer within {} s", most.as_secs()))
    }

    fn away(&self, words: &str) -> Status {
        let message = format!("the CA is away, and {}: {words}; ask again", self.undone);
        status::retry_later("AUTHORITY_AWAY", message, AWAY_RETRY)
    }

    fn refuses_station(&self, words: &str) -> Status {
        let message = format!("the CA does not let this station {}: {words}", self.may_not);
        status::refused(Code::FailedPrecondition, "AUTHORITY_REFUSES_STATION", message)
    }
}
