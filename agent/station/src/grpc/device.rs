//! A device is held against the journal: asked here, carried out by its fixture's thread.

use issuance::{DeviceSerial, inspection::Question};
use proto::station::v1::{self as wire, device_check::Question as WireQuestion};
use service::{gate, status};
use tonic::{Code, Request, Status};

use super::{StationApi, fields::short, refused};
use crate::{
    fixtures::Fixture,
    inspection::{Asked, Inspection},
    seek::{self, Wanted},
};

impl StationApi {
    pub(super) async fn verify(
        &self,
        request: Request<wire::VerifyDeviceRequest>,
    ) -> Result<wire::DeviceVerification, Status> {
        let caller = gate::caller(&request)?;
        self.accepting()?;
        let wire::VerifyDeviceRequest { fixture, device_serial, badge, golden } = request.into_inner();
        short("badge", &badge)?;
        let device_serial = match device_serial.as_str() {
            "" => None,
            text => Some(status::parsed("device_serial", text, DeviceSerial::parse)?),
        };
        let fixture = match (fixture.as_str(), self.fixtures.all(), &device_serial) {
            ("", [only], _) => only,
            ("", _, Some(serial)) => {
                seek::fixture(&self.fixtures, &self.ledger, serial, Wanted::Device(None)).await.map_err(refused)?
            }
            ("", _, None) => {
                let message = format!("say which fixture holds the device: {}", self.fixtures.names());
                return Err(status::invalid_argument("fixture", message));
            }
            (name, ..) => self.fixture(name)?,
        };
        let Some(reservation) = self.fixtures.reserve(fixture) else {
            let message = format!("the fixture {} is at work: wait until it is done", fixture.name);
            return Err(status::refused(Code::FailedPrecondition, "FIXTURE_BUSY", message));
        };
        let asked = Asked {
            fixture: fixture.name.clone(),
            keystore: fixture.kind,
            device_serial,
            claimed_by: badge,
            authenticated_by: caller.name,
            golden,
        };
        // Its thread goes on with it, and records it, when the caller hangs up.
        match reservation.inspect(asked).await {
            Ok(inspected) => inspected.map(|found| answer(fixture, &found)).map_err(refused),
            Err(_) => {
                let message = format!("the fixture {} is ending: try again when the station runs", fixture.name);
                Err(status::refused(Code::Unavailable, "STATION_HALTED", message))
            }
        }
    }
}

fn answer(fixture: &Fixture, found: &Inspection) -> wire::DeviceVerification {
    let check = |(whose, check): &(Option<issuance::IssuanceId>, issuance::inspection::Check)| {
        let (reason, message) = match &check.outcome {
            Ok(words) => ("", words.clone()),
            Err(fault) => (fault.kind.reason(), fault.to_string()),
        };
        wire::DeviceCheck {
            issuance: whose.map(|id| format!("issuances/{id}")).unwrap_or_default(),
            question: question(check.question).into(),
            holds: check.outcome.is_ok(),
            reason: reason.to_owned(),
            message,
        }
    };
    wire::DeviceVerification {
        fixture: fixture.name.to_string(),
        device_serial: found.device_serial.as_ref().map(ToString::to_string).unwrap_or_default(),
        verified: found.is_verified(),
        checks: found.checks.iter().map(check).collect(),
    }
}

fn question(question: Question) -> WireQuestion {
    match question {
        Question::Device => WireQuestion::Device,
        Question::Issuance => WireQuestion::Issuance,
        Question::Key => WireQuestion::Key,
        Question::Certificate => WireQuestion::Certificate,
        Question::Path => WireQuestion::Path,
        Question::PublicKey => WireQuestion::PublicKey,
        Question::Signature => WireQuestion::Signature,
    }
}
