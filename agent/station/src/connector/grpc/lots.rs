//! What brand owners sign, brought to the CA.

use std::time::Duration;

use issuance::{LotName, ProfileName};
use proto::ca::v1::{self as wire, lot::State};
use service::status;
use tonic::{Code, Request, Status};

use super::GrpcConnector;
use crate::{connector::LotAuthority, ledger::SignedLot};

/// The MES waits for it; the CA answers after one sync.
const ANSWER_MOST: Duration = Duration::from_secs(10);
/// A CA that is away is asked again by the MES, and not every second.
const AWAY_RETRY: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl LotAuthority for GrpcConnector {
    async fn authorise(&self, authorisation: String) -> Result<SignedLot, Status> {
        let mut request = Request::new(wire::AuthoriseLotRequest { authorisation });
        request.set_timeout(ANSWER_MOST);
        let mut lots = self.lots.clone();
        match tokio::time::timeout(ANSWER_MOST, lots.authorise_lot(request)).await {
            Ok(Ok(answer)) => signed(answer.into_inner()),
            Ok(Err(status)) => Err(told(&status)),
            Err(_) => Err(away(&format!("no answer within {} s", ANSWER_MOST.as_secs()))),
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

/// The CA's word as the station's caller is told it.
fn told(status: &Status) -> Status {
    let words = status::in_full(status);
    match (status.code(), status::reason(status)) {
        _ if status::is_lost_connection(status) => away(&words),
        // That is said of the station's certificate, not of the caller's.
        (Code::Unauthenticated | Code::Unimplemented, _) | (Code::PermissionDenied, None) => refuses_station(&words),
        (_, Some(reason)) if matches!(reason.as_str(), "ROLE_NOT_ALLOWED" | "CALLER_DISABLED") => {
            refuses_station(&words)
        }
        (Code::Unavailable, reason) => {
            let after = status::retry_after(status).unwrap_or(AWAY_RETRY);
            status::retry_later(reason.as_deref().unwrap_or("AUTHORITY_AWAY"), format!("the CA says: {words}"), after)
        }
        (code, Some(reason)) => status::refused(code, &reason, format!("the CA says: {words}")),
        (_, None) => away(&words),
    }
}

fn away(words: &str) -> Status {
    let message = format!("the CA is away, and nothing was opened: {words}; ask again");
    status::retry_later("AUTHORITY_AWAY", message, AWAY_RETRY)
}

fn refuses_station(words: &str) -> Status {
    let message = format!("the CA does not let this station bring authorisations: {words}");
    status::refused(Code::FailedPrecondition, "AUTHORITY_REFUSES_STATION", message)
}
