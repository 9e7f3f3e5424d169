//! One try: what a crash point needs around it, the death there, and what must be so afterwards.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use line::Process;
use proto::station::v1::{StartIssuanceRequest, issuance::State};
use rustix::process::Signal;
use service::crash;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    Outcome, PATIENCE,
    administration::{self, CaWord},
    bench::{Bench, DEVICES, Known, attested, open_lot, profile, request, stranger},
    calls::{Ended, carry, holds, is_settled, scan, told, until, verify_device},
    over_death::{Ruling, close_lot},
    scenario::{Part, Scenario, Try},
    witness::Witness,
};
use crate::{Broken, said};

/// Between a scan and a kill that is to come in the midst of it.
const MIDST: Duration = Duration::from_millis(150);
/// Between two looks at a process that is to die.
const LOOK: Duration = Duration::from_millis(5);
/// What follows the last record of an issuance may come after it was told.
const AFTERMATH: Duration = Duration::from_secs(20);

/// A line on which one point after another is tried.
pub(super) struct Trial {
    pub(super) bench: Bench,
    /// How many of the profiles were used on each device, whatever came of it.
    used: [usize; DEVICES],
    /// How many of the profiles that the CA does not know were used.
    strange: usize,
    /// How many of those that ask for a TPM's proof were used.
    attested: usize,
    unreached: bool,
}

pub(super) type Carrying = JoinHandle<Result<Ended, Broken>>;

impl Trial {
    pub(super) fn new(bench: Bench) -> Self {
        Self { bench, used: [0; DEVICES], strange: 0, attested: 0, unreached: false }
    }

    /// Stops the line, and holds everything against the account.
    pub(super) async fn close(self, witness: Witness, outcome: &mut Outcome) -> Result<(), Broken> {
        self.bench.close(witness, outcome).await
    }

    /// Whether the last try broke because nothing came to its point.
    pub(super) fn was_unreached(&self) -> bool {
        self.unreached
    }

    /// Has a process die at a point, and what was under way end as it must.
    pub(super) async fn kill_at(
        &mut self,
        point: &Try,
        device: usize,
        turn: usize,
        outcome: &mut Outcome,
    ) -> Result<(), Broken> {
        self.unreached = false;
        let asked = match point {
            point if point.is_strange() => self.next_strange(device),
            point if point.is_attested() => self.next_attested(device),
            _ => self.next(device),
        };
        let lot = format!("extra-{turn}");
        let ended = match point.scenario() {
            Scenario::Issuing(part) | Scenario::Refusing(part) => {
                self.arm(part, point).await?;
                self.carry_over_death(part, &asked).await?
            }
            Scenario::Attesting => {
                self.arm(Part::Station, point).await?;
                self.carry_over_death(Part::Station, &asked).await?
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
                self.arm(Part::Ca, &Try::first("ca.planned.synced")).await?;
                let carrying = self.carry(&asked);
                self.await_death(Part::Ca, || carrying.is_finished()).await?;
                self.set(Part::Ca, Some(point));
                self.spawn(Part::Ca)?;
                self.await_death(Part::Ca, || carrying.is_finished()).await?;
                self.revive(Part::Ca).await?;
                ended(carrying).await?
            }
            Scenario::Doubting => {
                self.arm(Part::Station, &Try::first("station.submission.done")).await?;
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
            Scenario::Listing => {
                let issued = ended(self.carry(&asked)).await?;
                let before = administration::lists(&self.bench.line).await?;
                self.arm(Part::Ca, point).await?;
                administration::await_newer(&self.bench.line, &before).await?;
                self.revoke(&issued.issuance).await?;
                issued
            }
            Scenario::Reworking(part) => {
                let first = ended(self.carry(&asked)).await?;
                let superseded = first.issuance.clone();
                self.account(device, first, Known::ToBoth, outcome)?;
                self.arm(part, point).await?;
                let again = self.rework_over_death(part, &superseded, &asked).await?;
                administration::await_revoked(&self.bench.line, &superseded.certificate_serial).await?;
                self.bench.answered.revoked(&superseded.certificate_serial);
                again
            }
            Scenario::Checking => {
                let issued = ended(self.carry(&asked)).await?;
                self.arm(Part::Station, point).await?;
                let (clients, fixture) = (self.bench.clients(), asked.fixture.clone());
                let checked = tokio::spawn(async move { verify_device(&clients, &fixture).await });
                holds(&self.over_death(checked).await??, &issued.issuance)?;
                issued
            }
            Scenario::CheckingAStranger => {
                let issued = ended(self.carry(&asked)).await?;
                self.arm(Part::Station, point).await?;
                self.stranger_over_death(&issued.issuance).await?;
                issued
            }
            Scenario::ScrappingAtTheStation(part) => {
                self.word(CaWord::open(&lot, &asked.lot)).await?;
                let issued = self.issue_under(&lot, asked).await?;
                let scrapped = self.scrap_over_death(part, point, &lot, issued.issuance).await?;
                self.bench.account(device, scrapped);
                return self.bench.look_at(device, 1, outcome);
            }
            Scenario::Relabelling | Scenario::SwappingTheBoard => {
                let first = ended(self.carry(&asked)).await?;
                let labelled = first.issuance.clone();
                self.account(device, first, Known::ToBoth, outcome)?;
                let swapped = matches!(point.scenario(), Scenario::SwappingTheBoard);
                let (other, back) = self.swap_over_death(point, swapped, &labelled, &asked, turn).await?;
                outcome.rescans += other.rescans.len() as u64;
                // Its key made place for the next one, and its certificate with it.
                self.bench.made_place(&labelled);
                self.bench.made_place(&other.issuance);
                self.bench.account(device, other.issuance);
                administration::await_revoked(&self.bench.line, &labelled.certificate_serial).await?;
                self.bench.answered.revoked(&labelled.certificate_serial);
                back
            }
            Scenario::OpeningAtTheCa => {
                self.arm(Part::Ca, point).await?;
                self.word_over_death(CaWord::open(&lot, &asked.lot)).await?;
                let issued = self.issue_under(&lot, asked).await?;
                self.lot_stands(&lot, 1).await?;
                issued
            }
            Scenario::Amending => {
                self.arm(Part::Ca, point).await?;
                self.word(CaWord::open(&lot, &asked.lot)).await?;
                self.word_over_death(CaWord::amend(&lot)).await?;
                let issued = self.issue_under(&lot, asked).await?;
                self.lot_stands(&lot, 1).await?;
                issued
            }
            Scenario::ClosingAtTheCa | Scenario::Reporting | Scenario::Scrapping => {
                self.word(CaWord::open(&lot, &asked.lot)).await?;
                let issued = self.issue_under(&lot, asked).await?;
                self.arm(Part::Ca, point).await?;
                match point.scenario() {
                    Scenario::Reporting => self.report_over_death(&lot, &issued.issuance).await?,
                    Scenario::Scrapping => {
                        self.word_over_death(CaWord::scrap(&lot, &issued.issuance.device_serial)).await?;
                        self.lot_stands(&lot, 0).await?;
                        administration::await_revoked(&self.bench.line, &issued.issuance.certificate_serial).await?;
                        self.bench.answered.revoked(&issued.issuance.certificate_serial);
                    }
                    _ => {
                        self.word_over_death(CaWord::close(&lot)).await?;
                        self.lot_stands(&lot, 1).await?;
                    }
                }
                issued
            }
            Scenario::OpeningALot => {
                self.arm(Part::Station, point).await?;
                let (clients, profile) = (self.bench.clients(), asked.lot.clone());
                let named = lot.clone();
                self.over_death(tokio::spawn(async move { open_lot(&clients, &named, &profile).await })).await??;
                ended(self.carry(&StartIssuanceRequest { lot, ..asked })).await?
            }
            Scenario::ClosingALot => {
                let clients = self.bench.clients();
                open_lot(&clients, &lot, &asked.lot).await?;
                self.arm(Part::Station, point).await?;
                self.over_death(tokio::spawn(async move { close_lot(&clients, &lot).await })).await??;
                ended(self.carry(&asked)).await?
            }
            Scenario::Resuming => {
                self.bench.take_out(device)?;
                let clients = self.bench.clients();
                let away = async { until(&clients, &scan(&clients, &asked).await?, PATIENCE, is_settled).await }.await;
                self.bench.put_back(device)?;
                let away = away?;
                if away.state() != State::Failed {
                    return Err(format!("with no device in the fixture: {}", told(&away)));
                }
                self.arm(Part::Station, point).await?;
                self.carry_over_death(Part::Station, &asked).await?
            }
            Scenario::Repeating => {
                let first = ended(self.carry(&asked)).await?;
                self.arm(Part::Station, point).await?;
                let request_id = format!("again-{turn}");
                let again = StartIssuanceRequest { request_id: request_id.clone(), ..asked.clone() };
                let clients = self.bench.clients();
                let said = self.over_death(tokio::spawn(async move { scan(&clients, &again).await })).await??;
                if said.name != first.issuance.name {
                    return Err(format!("asked again: {}, and not {}", told(&said), told(&first.issuance)));
                }
                self.belongs_elsewhere(&request_id, &asked).await?;
                first
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
    fn next(&mut self, device: usize) -> StartIssuanceRequest {
        self.used[device - 1] += 1;
        request(device, &profile(self.used[device - 1] - 1))
    }

    fn next_attested(&mut self, device: usize) -> StartIssuanceRequest {
        self.attested += 1;
        request(device, &attested(self.attested - 1))
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

    pub(super) fn carry(&self, request: &StartIssuanceRequest) -> Carrying {
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

    /// Kills a process that is at rest, and starts it to die at a point.
    pub(super) async fn arm(&mut self, part: Part, point: &Try) -> Result<(), Broken> {
        self.kill(part)?;
        self.set(part, Some(point));
        match part {
            Part::Ca => self.bench.start_ca().await,
            Part::Station => self.bench.start_station().await,
        }
    }

    pub(super) async fn revive(&mut self, part: Part) -> Result<(), Broken> {
        self.set(part, None);
        match part {
            Part::Ca => self.bench.start_ca().await,
            Part::Station => self.bench.start_station().await,
        }
    }

    /// After a try that broke: both run, with no point armed, the device is at rest, and what the try left is accounted for.
    pub(super) async fn recover(&mut self, device: usize) -> Result<(), Broken> {
        for part in [Part::Ca, Part::Station] {
            self.kill(part)?;
            self.revive(part).await?;
        }
        self.bench.take_stock(device).await
    }

    fn process(&mut self, part: Part) -> &mut Process {
        match part {
            Part::Ca => self.bench.line.ca(),
            Part::Station => self.bench.line.station(),
        }
    }

    fn set(&mut self, part: Part, point: Option<&Try>) {
        self.process(part).set_variable(crash::VARIABLE, point.map(Try::variable));
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
    pub(super) async fn await_death(&mut self, part: Part, is_over: impl Fn() -> bool) -> Result<(), Broken> {
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
                self.unreached = true;
                return Err("the point was not reached".to_owned());
            }
            sleep(LOOK).await;
        }
    }
}

pub(super) async fn ended(carrying: Carrying) -> Result<Ended, Broken> {
    carrying.await.map_err(said("an issuance's caller"))?
}
