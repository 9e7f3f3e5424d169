//! What a supervisor decides at a station whose process, or whose CA's, dies over it: said again, it is done once. No place of a
//! lot is given back twice, and no key goes but the one that made place.

use proto::station::v1::{
    DeviceVerification, GetLotRequest, GetStationRequest, Issuance, ReleaseIssuanceRequest, ReworkIssuanceRequest,
    ScrapDeviceRequest, StartIssuanceRequest, VerifyDeviceRequest, issuance::State,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    PATIENCE, administration,
    calls::{Clients, Ended, answered, carry, carry_on, get, told},
    scenario::{Part, Try},
    trial::{Trial, ended},
};
use crate::{Broken, said};

/// Between two calls that need a CA which starts again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// A supervisor's calls, in a task of their own.
type Saying<T> = JoinHandle<Result<T, Broken>>;

impl Trial {
    /// Scraps a device at the station, over a death; the issuance as it then stands. Another device has a place in the same lot,
    /// so that one given back twice is seen.
    pub(super) async fn scrap_over_death(
        &mut self,
        part: Part,
        point: &Try,
        lot: &str,
        issued: Issuance,
    ) -> Result<Issuance, Broken> {
        let beside = StartIssuanceRequest {
            lot: lot.to_owned(),
            device_serial: format!("OTHER-{lot}"),
            fixture: issued.fixture.clone(),
            ..Default::default()
        };
        ended(self.carry(&beside)).await?;
        self.started(lot, 2).await?;
        self.arm(part, point).await?;
        let (supervisors, name) = (self.bench.supervisors(), issued.name.clone());
        let saying: Saying<Issuance> = tokio::spawn(async move { scrap(&supervisors, name).await });
        self.await_death(part, || saying.is_finished()).await?;
        self.revive(part).await?;
        let scrapped = saying.await.map_err(said("a supervisor"))??;
        let again = scrap(&self.bench.supervisors(), issued.name.clone()).await?;
        if scrapped.state() != State::Cancelled || again != scrapped {
            return Err(format!("scrapped: {}, and again: {}", told(&scrapped), told(&again)));
        }
        self.started(lot, 1).await?;
        self.lot_stands(lot, 0).await?;
        administration::await_revoked(&self.bench.line, &issued.certificate_serial).await?;
        self.bench.answered.revoked(&issued.certificate_serial);
        Ok(scrapped)
    }

    /// How many devices have their place in a lot of the station's.
    async fn started(&self, lot: &str, due: u32) -> Result<(), Broken> {
        let name = format!("lots/{lot}");
        let found = answered(&self.bench.clients(), &name, |mut client| {
            let request = GetLotRequest { name: name.clone() };
            async move { client.get_lot(request).await }
        })
        .await?;
        match found.started {
            started if started == due => Ok(()),
            started => Err(format!("{started} places of the station's lot {lot} are taken, where {due} are due")),
        }
    }

    /// A device's hardware is another one from now on, by a word on what was set aside, and then by a rework the first one again:
    /// a label that was swapped, and a board. The point is in the rework, or in the word. Both end completed.
    pub(super) async fn swap_over_death(
        &mut self,
        point: &Try,
        in_the_rework: bool,
        labelled: &Issuance,
        asked: &StartIssuanceRequest,
        turn: usize,
    ) -> Result<(Ended, Ended), Broken> {
        let other = StartIssuanceRequest {
            request_id: format!("label-{turn}"),
            device_serial: format!("LABEL-{turn}"),
            ..asked.clone()
        };
        let aside = ended(self.carry(&other)).await?.issuance;
        let reason = aside.failure.clone().unwrap_or_default().reason;
        if (aside.state(), reason.as_str()) != (State::Quarantined, "NOT_SAME_DEVICE") {
            return Err(format!("known hardware under another label: {}", told(&aside)));
        }
        let (clients, supervisors) = (self.bench.clients(), self.bench.supervisors());
        let word: Saying<Ended> = {
            let (name, other) = (aside.name.clone(), other.clone());
            if !in_the_rework {
                self.arm(Part::Station, point).await?;
            }
            tokio::spawn(async move {
                release(&supervisors, name).await?;
                carry(&clients, &other, PATIENCE).await
            })
        };
        let other = if in_the_rework { ended(word).await? } else { self.dead_and_done(word).await? };

        let (clients, supervisors) = (self.bench.clients(), self.bench.supervisors());
        if in_the_rework {
            self.arm(Part::Station, point).await?;
        }
        let back: Saying<Ended> = {
            let (before, scanned) =
                (labelled.clone(), StartIssuanceRequest { request_id: String::new(), ..asked.clone() });
            tokio::spawn(async move {
                let begun = rework(&supervisors, &before).await?;
                carry_on(&clients, begun, &scanned, PATIENCE).await
            })
        };
        let back = if in_the_rework { self.dead_and_done(back).await? } else { ended(back).await? };
        for (one, serial) in [(&other.issuance, format!("LABEL-{turn}")), (&back.issuance, asked.device_serial.clone())]
        {
            let fits = one.state() == State::Completed && one.device_serial == serial && one.key == labelled.key;
            if !fits || one.certificate == labelled.certificate {
                return Err(format!(
                    "new hardware: {} at {}, before it {} at {}",
                    told(one),
                    one.key,
                    told(labelled),
                    labelled.key
                ));
            }
        }
        let now = get(&self.bench.clients(), &labelled.name).await?;
        if back.issuance.supersedes != labelled.name || now.certificate != labelled.certificate {
            return Err(format!("{} supersedes {:?}", told(&back.issuance), back.issuance.supersedes));
        }
        Ok((other, back))
    }

    async fn dead_and_done(&mut self, saying: Saying<Ended>) -> Result<Ended, Broken> {
        self.await_death(Part::Station, || saying.is_finished()).await?;
        self.revive(Part::Station).await?;
        ended(saying).await
    }

    /// The golden device is another one than was scanned, and the station dies over the record of it: asked again, it says so
    /// again, and tells of it as the last check.
    pub(super) async fn stranger_over_death(&mut self, issued: &Issuance) -> Result<(), Broken> {
        let (clients, fixture) = (self.bench.clients(), issued.fixture.clone());
        let checking: Saying<DeviceVerification> = tokio::spawn(async move {
            answered(&clients, "the check of a golden device", |mut client| {
                let request = VerifyDeviceRequest {
                    fixture: fixture.clone(),
                    device_serial: "GOLDEN-1".to_owned(),
                    golden: true,
                    ..Default::default()
                };
                async move { client.verify_device(request).await }
            })
            .await
        });
        let found = self.over_death(checking).await??;
        let station = answered(&self.bench.clients(), "the station", |mut client| async move {
            client.get_station(GetStationRequest {}).await
        })
        .await?;
        let last = station.golden_check.unwrap_or_default();
        match (found.verified, last.verified, last.device_serial.as_str()) {
            (false, false, "GOLDEN-1") => Ok(()),
            _ => Err(format!("the golden device was another one: {found:?}; the last check is told as {last:?}")),
        }
    }
}

async fn scrap(supervisors: &Clients, name: String) -> Result<Issuance, Broken> {
    // The CA may be the one that died.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrapped = answered(supervisors, &format!("the scrapping of {name}"), |mut supervisor| {
            let request =
                ScrapDeviceRequest { name: name.clone(), reason: "it was dropped".into(), ..Default::default() };
            async move { supervisor.scrap_device(request).await }
        })
        .await;
        match scrapped {
            Err(words) if words.contains("AUTHORITY_AWAY") && Instant::now() < deadline => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

async fn release(supervisors: &Clients, name: String) -> Result<(), Broken> {
    let released = answered(supervisors, &format!("the release of {name}"), |mut supervisor| {
        let request = ReleaseIssuanceRequest { name: name.clone(), new_hardware: true, ..Default::default() };
        async move { supervisor.release_issuance(request).await }
    })
    .await;
    match released {
        // It stood before the station died.
        Err(words) if words.contains("NOT_QUARANTINED") => Ok(()),
        answer => answer.map(drop),
    }
}

async fn rework(supervisors: &Clients, before: &Issuance) -> Result<Issuance, Broken> {
    answered(supervisors, &format!("the rework of {}", before.name), |mut supervisor| {
        let request = ReworkIssuanceRequest {
            name: before.name.clone(),
            reason: "the board was swapped".into(),
            fixture: before.fixture.clone(),
            new_hardware: true,
            ..Default::default()
        };
        async move { supervisor.rework_issuance(request).await }
    })
    .await
}
