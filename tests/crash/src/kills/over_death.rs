//! What people say to station and CA whose process dies over it: they say it again, and it is done once.

use proto::station::v1::{
    CancelIssuanceRequest, CloseLotRequest, GetLotRequest, Issuance, ReleaseIssuanceRequest, ReworkIssuanceRequest,
    StartIssuanceRequest, lot,
};
use tokio::task::JoinHandle;

use super::{
    PATIENCE,
    administration::{self, CaWord},
    bench::open_lot,
    calls::{Client, Clients, Ended, answered, carry_on, get, told},
    scenario::Part,
    trial::{Carrying, Trial, ended},
};
use crate::{Broken, said};

impl Trial {
    /// Has a call answered over the death of the station.
    pub(super) async fn over_death<T>(&mut self, call: JoinHandle<T>) -> Result<T, Broken> {
        self.await_death(Part::Station, || call.is_finished()).await?;
        self.revive(Part::Station).await?;
        call.await.map_err(said("a call"))
    }

    /// Holds that a request_id, which was answered, is refused for another device.
    pub(super) async fn belongs_elsewhere(&self, id: &str, asked: &StartIssuanceRequest) -> Result<(), Broken> {
        let mut client: Client = self.bench.clients().borrow().clone();
        let (request_id, device_serial) = (id.to_owned(), format!("NOT-{}", asked.device_serial));
        let other = StartIssuanceRequest { request_id, device_serial, ..asked.clone() };
        match client.start_issuance(other).await {
            Err(status) if service::status::reason(&status).as_deref() == Some("REQUEST_ID_REUSED") => Ok(()),
            answer => Err(format!("the request_id {id}, which was answered, for another device: {answer:?}")),
        }
    }

    /// A supervisor's word, over the death of the station; the issuance as it then stands.
    pub(super) async fn rule(&mut self, issuance: &Issuance, ruling: Ruling) -> Result<Issuance, Broken> {
        let supervisor = self.bench.line.client("supervisor-1").map_err(|error| service::in_full(&error))?;
        let name = issuance.name.clone();
        // It dies before it answers.
        let first = tokio::spawn(ruling.call(supervisor, name.clone()));
        self.await_death(Part::Station, || first.is_finished()).await?;
        self.revive(Part::Station).await?;
        let _ = first.await;
        let supervisor = self.bench.line.client("supervisor-1").map_err(|error| service::in_full(&error))?;
        if let Err(status) = ruling.call(supervisor, name.clone()).await
            && !matches!(service::status::reason(&status).as_deref(), Some("NOT_QUARANTINED" | "ALREADY_ENDED"))
        {
            return Err(format!("a supervisor's word on {}: {status}", told(issuance)));
        }
        get(&self.bench.clients(), &name).await
    }

    /// Has the CA revoke over its death: what it did before it died it says again, and its lists have it.
    pub(super) async fn revoke(&mut self, issuance: &Issuance) -> Result<(), Broken> {
        let id = issuance.name.trim_start_matches("issuances/").to_owned();
        self.word_over_death(CaWord::revoke(&id)).await?;
        administration::await_revoked(&self.bench.line, &issuance.certificate_serial).await
    }

    /// Says something to the CA, and keeps what it answered.
    pub(super) async fn word(&mut self, word: CaWord) -> Result<(), Broken> {
        let channel = self.bench.line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
        let said = word.words();
        let answer = word.say(channel).await.map_err(|status| format!("{said}: {status}"))?;
        self.bench.answered.take(answer);
        Ok(())
    }

    /// Says something to the CA, which dies over it, and says it again.
    pub(super) async fn word_over_death(&mut self, word: CaWord) -> Result<(), Broken> {
        let channel = self.bench.line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
        let first = tokio::spawn(word.clone().say(channel));
        self.await_death(Part::Ca, || first.is_finished()).await?;
        self.revive(Part::Ca).await?;
        // It may have been answered before the death: then that stands.
        if let Ok(Ok(answer)) = first.await {
            self.bench.answered.take(answer);
            self.bench.answered.hold(&self.bench.line).await?;
        }
        self.word(word).await
    }

    /// The CA's lot as it stands, and on what it stands.
    pub(super) async fn lot_stands(&mut self, lot: &str, used: u32) -> Result<(), Broken> {
        let standing = administration::lot(&self.bench.line, lot).await?;
        if standing.used != used {
            return Err(format!("{} places of the lot {lot} are taken, where {used} are due", standing.used));
        }
        self.bench.answered.used(standing)
    }

    /// Issues under a lot of the CA's, which the station has as well.
    pub(super) async fn issue_under(&mut self, lot: &str, asked: StartIssuanceRequest) -> Result<Ended, Broken> {
        open_lot(&self.bench.clients(), lot, &asked.lot).await?;
        let ended = ended(self.carry(&StartIssuanceRequest { lot: lot.to_owned(), ..asked })).await?;
        let standing = administration::lot(&self.bench.line, lot).await?;
        self.bench.answered.used(standing)?;
        Ok(ended)
    }

    pub(super) async fn report_over_death(&mut self, lot: &str, issued: &Issuance) -> Result<(), Broken> {
        let channel = self.bench.line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
        let first = tokio::spawn(administration::report(channel, lot.to_owned()));
        self.await_death(Part::Ca, || first.is_finished()).await?;
        self.revive(Part::Ca).await?;
        let _ = first.await;
        let channel = self.bench.line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
        let report = administration::report(channel, lot.to_owned()).await?;
        administration::verify_report(&self.bench.line, &report, issued)
    }

    /// A supervisor has a device certified again with the same key, over a death, to the end.
    pub(super) async fn rework_over_death(
        &mut self,
        part: Part,
        superseded: &Issuance,
        asked: &StartIssuanceRequest,
    ) -> Result<Ended, Broken> {
        let (clients, supervisors) = (self.bench.clients(), self.bench.supervisors());
        let request = ReworkIssuanceRequest {
            name: superseded.name.clone(),
            reason: "the housing was opened".into(),
            fixture: superseded.fixture.clone(),
            ..Default::default()
        };
        // A scan while it stands still goes on with it.
        let scanned = StartIssuanceRequest { request_id: String::new(), ..asked.clone() };
        let carrying: Carrying = tokio::spawn(async move {
            let what = format!("the rework of {}", request.name);
            let started = answered(&supervisors, &what, |mut supervisor| {
                let request = request.clone();
                async move { supervisor.rework_issuance(request).await }
            });
            carry_on(&clients, started.await?, &scanned, PATIENCE).await
        });
        self.await_death(part, || carrying.is_finished()).await?;
        self.revive(part).await?;
        let again = ended(carrying).await?;
        match again.issuance.supersedes == superseded.name {
            true => Ok(again),
            false => Err(format!("{} supersedes {:?}", told(&again.issuance), again.issuance.supersedes)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Ruling {
    Release,
    Cancel,
}

impl Ruling {
    async fn call(self, mut supervisor: Client, name: String) -> Result<(), tonic::Status> {
        match self {
            Self::Release => {
                let request = ReleaseIssuanceRequest { name, ..Default::default() };
                supervisor.release_issuance(request).await.map(drop)
            }
            Self::Cancel => {
                let request = CancelIssuanceRequest { name, reason: "scrapped".into(), ..Default::default() };
                supervisor.cancel_issuance(request).await.map(drop)
            }
        }
    }
}

pub(super) async fn close_lot(clients: &Clients, lot: &str) -> Result<(), Broken> {
    let name = format!("lots/{lot}");
    answered(clients, &format!("the closing of {name}"), |mut client| {
        let request = CloseLotRequest { name: name.clone() };
        async move { client.close_lot(request).await }
    })
    .await?;
    let closed = answered(clients, &name, |mut client| {
        let request = GetLotRequest { name: name.clone() };
        async move { client.get_lot(request).await }
    })
    .await?;
    if closed.state() == lot::State::Closed { Ok(()) } else { Err(format!("{name} was closed and is not")) }
}
