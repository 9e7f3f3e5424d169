//! Each crash point: the process is driven until it dies there, started again, and what was under way ends as it must.

use std::{fmt, os::unix::process::ExitStatusExt as _, path::Path, time::Duration};

use line::Process;
use proto::ca::v1::{RevokeRequest, administration_service_client::AdministrationServiceClient, revoke_request};
use proto::station::v1::{
    CancelIssuanceRequest, CloseLotRequest, GetLotRequest, Issuance, ReleaseIssuanceRequest, StartIssuanceRequest,
    issuance::State, lot,
};
use rustix::process::Signal;
use service::crash;
use tokio::{
    task::{JoinHandle, block_in_place},
    time::{Instant, sleep},
};

use super::{
    Outcome, PATIENCE, Tell,
    bench::{Bench, DEVICES, Known, Promise, open_lot, profile, request, stranger},
    calls::{Client, Clients, Ended, answered, carry, get, is_settled, scan, told, until},
    init,
};
use crate::{Broken, said};

/// Between a scan and a kill that is to come in the midst of it.
const MIDST: Duration = Duration::from_millis(150);
/// Between two looks at a process that is to die.
const LOOK: Duration = Duration::from_millis(5);
/// What follows the last record of an issuance may come after it was told.
const AFTERMATH: Duration = Duration::from_secs(1);
/// The devices' turns: a TPM, a token, the other TPM, the other token.
const TURNS: [usize; DEVICES] = [1, 3, 2, 4];

/// A crash point, and at which time it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    name: &'static str,
    time: u32,
}

impl Try {
    /// Every point; those that are passed more than once in one issuance, each time.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let times = |name: &str| match name {
            "station.files.synced" | "station.files.done" => 3,
            // Before the key, and again with the answer.
            "station.identify.intended" | "station.identify.done" => 2,
            // Root and two issuers.
            init if init.starts_with("ca.init.") => 3,
            _ => 1,
        };
        crash::NAMES
            .iter()
            .filter(|name| !needs_a_forgetful_ca(name) && !needs_a_lot_or_rework(name))
            .flat_map(|name| (1..=times(name)).map(|time| Self { name, time }))
            .collect()
    }

    /// A few that stand for all: before and after each act that cannot be undone.
    #[must_use]
    pub fn few() -> Vec<Self> {
        const FEW: [&str; 6] = [
            "ca.planned.synced",
            "ca.signed.synced",
            "station.generate-key.done",
            "station.scan.synced",
            "station.submission.done",
            "station.write.done",
        ];
        crash::NAMES.iter().filter(|name| FEW.contains(name)).map(|name| Self { name, time: 1 }).collect()
    }

    /// Whether a command passes it that runs while the CA does not, in a place of its own.
    pub(super) fn is_apart(&self) -> bool {
        self.name.starts_with("ca.init.") || self.is_rollover()
    }

    pub(super) fn is_rollover(&self) -> bool {
        self.name.starts_with("ca.rollover")
    }

    fn scenario(&self) -> Scenario {
        let (who, what) = self.name.split_once('.').unwrap_or_default();
        let part = if who == "ca" { Part::Ca } else { Part::Station };
        match what.split_once('.').unwrap_or_default() {
            ("start", at) if at.starts_with("sign.") => Scenario::Finishing,
            ("start", _) => Scenario::Starting(part),
            ("stop", _) => Scenario::Stopping(part),
            // The first thing that a CA does once it serves is to make its lists.
            ("crl" | "crl-planned" | "crl-signed", _) => Scenario::Starting(part),
            ("revoked", _) => Scenario::Revoking,
            ("refused", _) => Scenario::Refusing(part),
            ("lot-opened" | "lot", _) => Scenario::OpeningALot,
            ("lot-closed", _) => Scenario::ClosingALot,
            ("resumed", _) => Scenario::Resuming,
            ("failed", _) => Scenario::Failing,
            ("quarantined", _) => Scenario::SettingAside,
            ("in-doubt", _) => Scenario::Doubting,
            ("released" | "ruling", _) => Scenario::Releasing,
            ("cancelled", _) => Scenario::Cancelling,
            _ => Scenario::Issuing(part),
        }
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.time)
    }
}

/// The bench's CA answers the same request with the same certificate, and takes what reaches it: these records come of a CA
/// that does not.
fn needs_a_forgetful_ca(name: &str) -> bool {
    ["station.not-taken.", "station.resubmitted.", "station.surplus."].iter().any(|record| name.starts_with(record))
}

/// The bench opens no lot at the CA and reworks no device: no scenario reaches these points yet.
fn needs_a_lot_or_rework(name: &str) -> bool {
    const RECORDS: [&str; 9] = [
        "ca.lot-ended.",
        "ca.lot-report.",
        "ca.lot-reported.",
        "ca.lot-set.",
        "ca.scrapped.",
        "ca.verified.",
        "station.confirmation.",
        "station.confirmed.",
        "station.rework.",
    ];
    RECORDS.iter().any(|record| name.starts_with(record))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Ca,
    Station,
}

/// What reaches a point.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// An issuance from scan to end.
    Issuing(Part),
    /// A start, with an issuance under way.
    Starting(Part),
    /// A start of the CA with a plan that was not signed.
    Finishing,
    /// A start of the station after it died with an answer under way.
    Doubting,
    /// An orderly end, with an issuance under way.
    Stopping(Part),
    /// A request that the CA refuses.
    Refusing(Part),
    /// A supervisor revokes what was issued.
    Revoking,
    OpeningALot,
    ClosingALot,
    /// A second scan after the device was away.
    Resuming,
    /// The device is away.
    Failing,
    /// Another device was scanned.
    SettingAside,
    Releasing,
    Cancelling,
}

/// Tries points at one line, one after another.
pub(super) async fn run(
    lane: usize,
    binaries: &Path,
    init: &[Try],
    rest: Vec<Try>,
    tell: &Tell,
) -> Result<Outcome, Broken> {
    let mut outcome = Outcome::default();
    // One profile for each issuance on a device, and one for what a scenario needs besides.
    let profiles = rest.len().div_ceil(DEVICES) + 2;
    let strange = rest.iter().filter(|point| point.is_strange()).count();
    // So every send is recorded, and a lost answer goes through doubt.
    let bench = Bench::start(binaries, profiles, strange, Promise::Nothing).await?;
    let witness = bench.witness();
    for point in init {
        match block_in_place(|| init::kill(&bench.line, binaries, point)) {
            Ok(()) => outcome.points += 1,
            Err(broken) => outcome.broken.push(broken),
        }
    }
    let mut trial = Trial { bench, strange: 0 };
    for (turn, point) in rest.iter().enumerate() {
        let began = Instant::now();
        let device = TURNS[turn % DEVICES];
        match trial.kill_at(point, device, turn, &mut outcome).await {
            Ok(()) => {
                outcome.points += 1;
                tell(&format!("lane {lane}: {point} on device {device}: {:.1} s", began.elapsed().as_secs_f32()));
            }
            Err(broken) => {
                outcome.broken.push(format!("{point} on device {device}: {broken}"));
                trial.recover().await?;
            }
        }
    }
    trial.bench.close(witness, &mut outcome).await?;
    Ok(outcome)
}

impl Try {
    fn is_strange(&self) -> bool {
        matches!(self.scenario(), Scenario::Refusing(_) | Scenario::Releasing | Scenario::Cancelling)
    }
}

struct Trial {
    bench: Bench,
    /// How many of the profiles that the CA does not know were used.
    strange: usize,
}

type Carrying = JoinHandle<Result<Ended, Broken>>;

impl Trial {
    async fn kill_at(&mut self, point: &Try, device: usize, turn: usize, outcome: &mut Outcome) -> Result<(), Broken> {
        let asked = match point.is_strange() {
            true => self.next_strange(device),
            false => self.next(device),
        };
        let ended = match point.scenario() {
            Scenario::Issuing(part) | Scenario::Refusing(part) => {
                self.arm(part, point).await?;
                self.carry_over_death(part, &asked).await?
            }
            Scenario::Starting(part) => {
                let carrying = self.carry(&asked);
                sleep(MIDST).await;
                self.kill(part)?;
                self.set(part, Some(point));
                self.spawn(part)?;
                self.await_death(part, || false).await?;
                self.revive(part).await?;
                ended(carrying).await?
            }
            Scenario::Finishing => {
                self.arm(Part::Ca, &Try { name: "ca.planned.synced", time: 1 }).await?;
                let carrying = self.carry(&asked);
                self.await_death(Part::Ca, || carrying.is_finished()).await?;
                self.set(Part::Ca, Some(point));
                self.spawn(Part::Ca)?;
                self.await_death(Part::Ca, || carrying.is_finished()).await?;
                self.revive(Part::Ca).await?;
                ended(carrying).await?
            }
            Scenario::Doubting => {
                self.arm(Part::Station, &Try { name: "station.submission.done", time: 1 }).await?;
                let carrying = self.carry(&asked);
                self.await_death(Part::Station, || carrying.is_finished()).await?;
                self.set(Part::Station, Some(point));
                self.spawn(Part::Station)?;
                self.await_death(Part::Station, || carrying.is_finished()).await?;
                self.revive(Part::Station).await?;
                ended(carrying).await?
            }
            Scenario::Stopping(part) => {
                self.arm(part, point).await?;
                let carrying = self.carry(&asked);
                sleep(MIDST).await;
                self.process(part).signal(Signal::TERM).map_err(|error| service::in_full(&error))?;
                self.await_death(part, || false).await?;
                self.revive(part).await?;
                ended(carrying).await?
            }
            Scenario::Revoking => {
                let issued = ended(self.carry(&asked)).await?;
                self.arm(Part::Ca, point).await?;
                self.revoke(&issued.issuance).await?;
                issued
            }
            Scenario::OpeningALot => {
                self.arm(Part::Station, point).await?;
                let (clients, lot, profile) = (self.bench.clients(), format!("extra-{turn}"), asked.lot.clone());
                let named = lot.clone();
                self.over_death(tokio::spawn(async move { open_lot(&clients, &named, &profile).await })).await??;
                ended(self.carry(&StartIssuanceRequest { lot, ..asked })).await?
            }
            Scenario::ClosingALot => {
                let (clients, lot) = (self.bench.clients(), format!("extra-{turn}"));
                open_lot(&clients, &lot, &asked.lot).await?;
                self.arm(Part::Station, point).await?;
                self.over_death(tokio::spawn(async move { close_lot(&clients, &lot).await })).await??;
                ended(self.carry(&asked)).await?
            }
            Scenario::Resuming => {
                self.bench.take_out(device)?;
                let clients = self.bench.clients();
                let away = until(&clients, &scan(&clients, &asked).await?, PATIENCE, is_settled).await;
                self.bench.put_back(device)?;
                let away = away?;
                if away.state() != State::Failed {
                    return Err(format!("with no device in the fixture: {}", told(&away)));
                }
                self.arm(Part::Station, point).await?;
                self.carry_over_death(Part::Station, &asked).await?
            }
            Scenario::Failing => {
                self.bench.take_out(device)?;
                let died = async {
                    self.arm(Part::Station, point).await?;
                    let carrying = self.carry(&asked);
                    self.await_death(Part::Station, || carrying.is_finished()).await?;
                    Ok::<_, Broken>(carrying)
                }
                .await;
                self.bench.put_back(device)?;
                let carrying = died?;
                self.revive(Part::Station).await?;
                ended(carrying).await?
            }
            Scenario::SettingAside => {
                // Only a device that is known can be another one than was scanned.
                let first = ended(self.carry(&asked)).await?;
                self.account(device, first, Known::ToBoth, outcome)?;
                self.arm(Part::Station, point).await?;
                let (serial, lot) = (format!("OTHER-{turn}"), profile(0));
                let request_id = format!("other-{turn}");
                let other = StartIssuanceRequest { device_serial: serial, lot, request_id, ..request(device, "") };
                let aside = self.carry_over_death(Part::Station, &other).await?;
                return self.account(device, aside, Known::ToTheStationOnly, outcome);
            }
            Scenario::Releasing => {
                let aside = ended(self.carry(&asked)).await?;
                self.arm(Part::Station, point).await?;
                self.rule(&aside.issuance, Ruling::Release).await?;
                // The CA says again what it said before.
                ended(self.carry(&asked)).await?
            }
            Scenario::Cancelling => {
                let aside = ended(self.carry(&asked)).await?;
                self.arm(Part::Station, point).await?;
                let issuance = self.rule(&aside.issuance, Ruling::Cancel).await?;
                if issuance.state() != State::Cancelled {
                    return Err(format!("cancelled: {}", told(&issuance)));
                }
                self.bench.account(device, issuance);
                return self.bench.look_at(device, 1, outcome);
            }
        };
        let known = if point.is_strange() { Known::ToTheStationOnly } else { Known::ToBoth };
        self.account(device, ended, known, outcome)
    }

    /// The request for the next issuance on a device.
    fn next(&self, device: usize) -> StartIssuanceRequest {
        let used = self.bench.count(device);
        request(device, &profile(used))
    }

    fn next_strange(&mut self, device: usize) -> StartIssuanceRequest {
        self.strange += 1;
        request(device, &stranger(self.strange - 1))
    }

    fn account(&mut self, device: usize, ended: Ended, known: Known, outcome: &mut Outcome) -> Result<(), Broken> {
        let Ended { issuance, rescans } = ended;
        outcome.rescans += rescans.len() as u64;
        let due = if known == Known::ToBoth { State::Completed } else { State::Quarantined };
        let fits = issuance.state() == due;
        let words = format!("{}, where {} is due", told(&issuance), due.as_str_name());
        self.bench.account(device, issuance);
        self.bench.look_at(device, 1, outcome)?;
        if fits { Ok(()) } else { Err(words) }
    }

    fn carry(&self, request: &StartIssuanceRequest) -> Carrying {
        let (clients, request) = (self.bench.clients(), request.clone());
        tokio::spawn(async move { carry(&clients, &request, PATIENCE).await })
    }

    /// Carries an issuance to its end, over the death of a process that is armed.
    async fn carry_over_death(&mut self, part: Part, request: &StartIssuanceRequest) -> Result<Ended, Broken> {
        let carrying = self.carry(request);
        self.await_death(part, || carrying.is_finished()).await?;
        self.revive(part).await?;
        ended(carrying).await
    }

    /// Has a call answered over the death of the station.
    async fn over_death<T>(&mut self, call: JoinHandle<T>) -> Result<T, Broken> {
        self.await_death(Part::Station, || call.is_finished()).await?;
        self.revive(Part::Station).await?;
        call.await.map_err(said("a call"))
    }

    /// A supervisor's word, over the death of the station; the issuance as it then stands.
    async fn rule(&mut self, issuance: &Issuance, ruling: Ruling) -> Result<Issuance, Broken> {
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

    /// Has the CA revoke over its death: what it did before it died it says again, and nothing else.
    async fn revoke(&mut self, issuance: &Issuance) -> Result<(), Broken> {
        let id = issuance.name.trim_start_matches("issuances/").to_owned();
        let request = || RevokeRequest {
            target: Some(revoke_request::Target::Issuance(id.clone())),
            reason: "keyCompromise".to_owned(),
            ..Default::default()
        };
        let channel = self.bench.line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
        let (mut first, asked) = (AdministrationServiceClient::new(channel.clone()), request());
        let call = tokio::spawn(async move { first.revoke(asked).await });
        self.await_death(Part::Ca, || call.is_finished()).await?;
        self.revive(Part::Ca).await?;
        let _ = call.await;
        let answer = AdministrationServiceClient::new(channel).revoke(request()).await;
        let answer = answer.map_err(|status| format!("a revocation after the CA's death: {status}"))?.into_inner();
        match answer.crls.iter().map(|crl| crl.revoked).sum::<u64>() {
            0 => Err(format!("what was revoked is in no list: {}", answer.pending)),
            _ => Ok(()),
        }
    }

    /// Kills a process that is at rest, and starts it to die at a point.
    async fn arm(&mut self, part: Part, point: &Try) -> Result<(), Broken> {
        self.kill(part)?;
        self.set(part, Some(point));
        match part {
            Part::Ca => self.bench.start_ca().await,
            Part::Station => self.bench.start_station().await,
        }
    }

    async fn revive(&mut self, part: Part) -> Result<(), Broken> {
        self.set(part, None);
        match part {
            Part::Ca => self.bench.start_ca().await,
            Part::Station => self.bench.start_station().await,
        }
    }

    /// After a try that broke: both run, with no point armed.
    async fn recover(&mut self) -> Result<(), Broken> {
        for part in [Part::Ca, Part::Station] {
            self.kill(part)?;
            self.revive(part).await?;
        }
        Ok(())
    }

    fn process(&mut self, part: Part) -> &mut Process {
        match part {
            Part::Ca => self.bench.line.ca(),
            Part::Station => self.bench.line.station(),
        }
    }

    fn set(&mut self, part: Part, point: Option<&Try>) {
        self.process(part).set_variable(crash::VARIABLE, point.map(Try::to_string));
    }

    fn spawn(&mut self, part: Part) -> Result<(), Broken> {
        self.process(part).spawn().map_err(|error| service::in_full(&error))
    }

    fn kill(&mut self, part: Part) -> Result<(), Broken> {
        match part {
            Part::Ca => self.bench.line.kill_ca(),
            Part::Station => self.bench.line.kill_station(),
        }
        .map_err(|error| service::in_full(&error))
    }

    /// Waits for the death at the point; `is_over` says that it will not be reached any more.
    async fn await_death(&mut self, part: Part, is_over: impl Fn() -> bool) -> Result<(), Broken> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut over = false;
        loop {
            if let Some(status) = self.process(part).await_end(LOOK).map_err(|error| service::in_full(&error))? {
                return match status.signal() == Some(Signal::KILL.as_raw()) {
                    true => Ok(()),
                    false => Err(format!("the process ended with {status}, and not at the point")),
                };
            }
            if !over && is_over() {
                over = true;
                deadline = Instant::now() + AFTERMATH;
            }
            if Instant::now() > deadline {
                return Err("the point was not reached".to_owned());
            }
            sleep(LOOK).await;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Ruling {
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

async fn ended(carrying: Carrying) -> Result<Ended, Broken> {
    carrying.await.map_err(said("an issuance's caller"))?
}

async fn close_lot(clients: &Clients, lot: &str) -> Result<(), Broken> {
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
