//! What needs a supervisor's word, by the caller's certificate or by badge and PIN.

use issuance::rule::Ruling;
use proto::station::v1 as wire;
use secrecy::SecretString;
use service::{crash, roles::Caller, status};
use tonic::{Code, Status};

use super::{
    StationApi,
    fields::{issuance_name, short, stated},
    refused, rules, settled, unknown,
};
use crate::{
    ledger,
    seek::{self, Wanted},
    supervisors::NotVerified,
};

impl StationApi {
    /// Who decides, as `claimed_by`, and the caller, when it is a supervisor: by the certificate, or at somebody else's screen
    /// by badge and PIN.
    pub(super) async fn supervised(
        &self,
        caller: Caller,
        badge: String,
        supervisor: Option<wire::Supervisor>,
    ) -> Result<(String, Caller), Status> {
        short("badge", &badge)?;
        let Some(wire::Supervisor { badge, pin }) = supervisor else {
            caller.must_be(rules::SUPERVISORS)?;
            return Ok((badge, caller));
        };
        let pin = SecretString::from(pin);
        short("supervisor.badge", &badge)?;
        self.supervisors.verify(&badge, pin).await.map_err(|refused| not_verified(&refused))?;
        let name = format!("{} with the PIN of {badge}", caller.name);
        Ok((badge, Caller { name, ..caller }))
    }

    /// A supervisor's word on an issuance: recorded, synced, told.
    pub(super) async fn rule(
        &self,
        name: &str,
        ruling: Ruling,
        badge: String,
        caller: Caller,
    ) -> Result<wire::Issuance, Status> {
        self.accepting()?;
        let id = issuance_name(name)?;
        let appended =
            self.ledger.rule(id, ruling, badge, caller.name, self.fixtures.at_work().len()).map_err(refused)?;
        appended.synced().await.map_err(|error| refused(error.into()))?;
        crash::point("station.ruling.synced");
        // What was in doubt may be in the queue again.
        self.ledger.ring();
        self.issuance(id)
    }

    pub(super) async fn rework(
        &self,
        caller: Caller,
        request: wire::ReworkIssuanceRequest,
    ) -> Result<wire::Issuance, Status> {
        let wire::ReworkIssuanceRequest { name, reason, badge, fixture, new_key, supervisor, new_hardware } = request;
        let (badge, caller) = self.supervised(caller, badge, supervisor).await?;
        self.accepting()?;
        let of = issuance_name(&name)?;
        stated(&reason)?;
        let found = self.ledger.get(of).map_err(refused)?;
        let (before, _) = found.ok_or_else(|| unknown("issuance", &of.to_string()))?;
        let wanted = if new_hardware { Wanted::NewHardware } else { Wanted::Device(None) };
        let fixture = match fixture.as_str() {
            // The device is looked for wherever it sits now: it was away meanwhile.
            "" => seek::fixture(&self.fixtures, &self.ledger, &before.request.device_serial, wanted)
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
        let why = ledger::Why { reason, new_key, new_hardware, keystore: fixture.kind };
        let id = self.begin(fixture, subject, badge, &caller, |asked| {
            self.ledger.rework(of, asked, &why, &self.board.provenance)
        })?;
        settled(&self.ledger)?;
        let issuance = self.issuance(id)?;
        crash::point("station.rework.synced");
        Ok(issuance)
    }

    pub(super) async fn scrap(
        &self,
        caller: Caller,
        request: wire::ScrapDeviceRequest,
    ) -> Result<wire::Issuance, Status> {
        let wire::ScrapDeviceRequest { name, reason, badge, supervisor } = request;
        let (badge, caller) = self.supervised(caller, badge, supervisor).await?;
        self.accepting()?;
        stated(&reason)?;
        let of = issuance_name(&name)?;
        let found = self.ledger.get(of).map_err(refused)?;
        let (before, _) = found.ok_or_else(|| unknown("issuance", &of.to_string()))?;
        self.ledger.is_newest(&before).map_err(refused)?;
        if before.scrapped {
            return self.issuance(of);
        }
        // The CA first: what it did not take back is not to look scrapped here. It records whose word it was.
        let who = if badge.is_empty() { &caller.name } else { &badge };
        crash::point("station.scrap.intended");
        self.lots.scrap(&before.request.lot, &before.request.device_serial, &reason, who).await?;
        crash::point("station.scrap.done");
        self.rule(&name, Ruling::Scrap { reason }, badge, caller).await
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
