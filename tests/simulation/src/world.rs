//! The scheduler: picks the next event by the seed, and lets it happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use issuance::{
    DeviceSerial, Issuance, IssuanceId, LotName, ProfileName, State,
    record::Provenance,
    rule::Ruling,
    submission::{Repeats, Terms, WhenInDoubt},
};
use station::{
    driver::{Asked as Because, Driver, Halted},
    fixtures::Task,
    ledger::{Asked, Changed, Ledger, LedgerRefused, Listed, Subject},
    profiles::Profiles,
};
use tempfile::TempDir;

use crate::{
    Planted,
    authority::{Authority, DEVICE_CA, NAMED},
    chance::Chance,
    desk::Desk,
    disk::Disk,
    floor::{FixtureKeystore, Floor, Shared, look},
    place::{Place, fixture_name},
    rules, said,
};

/// Fixtures of the station.
pub(crate) const FIXTURES: usize = 3;
pub(crate) const DEVICES: usize = 12;
/// Lots with their profile and quantity. The last is soon used up, and its devices are those of the first.
const LOTS: &[(&str, &str, u32)] = &[("lot-1", DEVICE_CA, 9), ("lot-2", NAMED, 9), ("lot-3", DEVICE_CA, 3)];
/// One run in so many has its rows on sled, as a station has; the others have them in memory.
const ON_SLED_EVERY: u64 = 16;

/// Faults, by where they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of devices and of the link to them.
    pub device: u64,
    /// Of the CA and of the link to it.
    pub ca: u64,
    /// Of the journal's disk.
    pub disk: u64,
    /// Of the rows' files.
    pub rows: u64,
}

impl Faults {
    /// All.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.device + self.ca + self.disk + self.rows
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Events.
    pub steps: u64,
    /// Issuances that were acknowledged.
    pub issuances: u64,
    /// Issuances that were completed.
    pub completed: u64,
    /// Issuances that wait for a person at the end, each with a reason: the device is not known rightly, or holds what a
    /// cancelled issuance left.
    pub waiting: u64,
    /// What went wrong.
    pub faults: Faults,
    /// Lives of the station that did not end well.
    pub crashes: u64,
    /// Those of them that ended with a power cut.
    pub power_cuts: u64,
    /// Kills while the station opened its journal.
    pub opening_kills: u64,
    /// Attempts to reach the CA.
    pub attempts: u64,
    /// The CA's absences of a day and more.
    pub long_outages: u64,
    /// Time that passed in the simulation.
    pub simulated: Duration,
    /// What happened, an event a line.
    pub trace: Vec<String>,
}

impl Outcome {
    /// A number that differs when anything else happened.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.trace.hash(&mut hasher);
        hasher.finish()
    }

    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.issuances += other.issuances;
        self.completed += other.completed;
        self.waiting += other.waiting;
        self.faults.device += other.faults.device;
        self.faults.ca += other.faults.ca;
        self.faults.disk += other.faults.disk;
        self.faults.rows += other.faults.rows;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.opening_kills += other.opening_kills;
        self.attempts += other.attempts;
        self.long_outages += other.long_outages;
        self.simulated += other.simulated;
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of which run.
    pub seed: u64,
    /// Which rule, in words.
    pub wrong: String,
    /// What happened until then.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.wrong)?;
        write!(f, "SEED={} make simulate replays it", self.seed)
    }
}

impl std::error::Error for Failure {}

/// What somebody outside was told of an issuance.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) serial: DeviceSerial,
    pub(crate) lot: LotName,
    pub(crate) common_name: String,
    pub(crate) completed: bool,
    pub(crate) cancelled: bool,
    pub(crate) certificate: Option<Vec<u8>>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) floor: Shared,
    pub(crate) disk: Disk,
    /// `None` between two lives.
    pub(crate) place: Option<Place>,
    pub(crate) authority: Arc<Mutex<Authority>>,
    pub(crate) profiles: Profiles,
    /// What the CA promises; in every fourth run, nothing.
    pub(crate) terms: Terms,
    /// How often each issuance was in doubt.
    pub(crate) doubts: BTreeMap<IssuanceId, u32>,
    /// Its clock is the simulation's.
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) directory: TempDir,
    /// The rows are on sled.
    pub(crate) on_sled: bool,
    pub(crate) queue_bound: usize,
    pub(crate) told: BTreeMap<IssuanceId, Told>,
    /// Issuances in the order in which they were first seen: their names in the trace.
    pub(crate) names: Vec<IssuanceId>,
    /// The journal takes no more.
    pub(crate) halted: bool,
    /// All issuances as they stood when they were last looked at, in this life of the station.
    pub(crate) known: Option<Rc<Vec<Issuance>>>,
    /// The index of the next change that watchers are told.
    pub(crate) next_change: u64,
    /// States of issuances that were looked at in full: what was said of them does not change.
    pub(crate) judged: BTreeSet<(IssuanceId, String)>,
    pub(crate) planted: Planted,
    pub(crate) outcome: Outcome,
}

/// Runs a seed for so many events, then lets the trouble end.
///
/// # Errors
/// The rule that did not hold, with what happened.
pub fn run(seed: u64, steps: u64, planted: Planted) -> Result<Outcome, Box<Failure>> {
    let failure = |wrong, trace| Box::new(Failure { seed, wrong, trace });
    let mut world = World::new(seed, planted).map_err(|wrong| failure(wrong, vec![]))?;
    let ran = world.run(steps);
    let outcome = std::mem::take(&mut world.outcome);
    world.end();
    match ran {
        Ok(()) => Ok(outcome),
        Err(wrong) => Err(failure(wrong, outcome.trace)),
    }
}

impl World {
    fn new(seed: u64, planted: Planted) -> Result<Self, String> {
        let mut chance = Chance::new(seed);
        let queue_bound = 2 + chance.below(4);
        // One barcode differs from another in case only.
        let barcode = |device| if device == DEVICES - 1 { "sn-0".to_owned() } else { format!("SN-{device}") };
        let barcodes: Result<Vec<_>, _> =
            (0..DEVICES).map(|device| DeviceSerial::parse(&barcode(device)).map_err(said("barcode"))).collect();
        let on_floor = Chance::new(seed ^ 0x5eed);
        let floor = Arc::new(Mutex::new(Floor::new(barcodes?, FIXTURES, on_floor, planted)));
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.map_err(said("a directory for the rows"))?;
        let repeats = if seed % 4 == 3 { Repeats::New } else { Repeats::Same };
        let in_doubt = if seed % 8 == 3 { WhenInDoubt::Ask } else { WhenInDoubt::Resubmit };
        let authority = Authority::new(planted.mint_again || repeats == Repeats::New)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let mut world = Self {
            chance,
            floor,
            disk: Disk::default(),
            place: None,
            profiles: authority.profiles()?,
            terms: Terms { repeats, in_doubt },
            doubts: BTreeMap::new(),
            authority: Arc::new(Mutex::new(authority)),
            runtime: runtime.map_err(said("the simulated clock"))?,
            directory,
            on_sled: seed.is_multiple_of(ON_SLED_EVERY),
            queue_bound,
            told: BTreeMap::new(),
            names: vec![],
            halted: false,
            known: None,
            next_change: 0,
            judged: BTreeSet::new(),
            planted,
            outcome: Outcome::default(),
        };
        world.begin()?;
        for (lot, profile, quantity) in LOTS {
            let profile = ProfileName::parse(profile).map_err(said("profile"))?;
            world.ledger().open_lot(&lot_name(lot)?, &profile, *quantity, "mes").map_err(said("a lot"))?;
        }
        world.durable().map_err(|Stopped| "the lots cannot be opened".to_owned())?;
        Ok(world)
    }

    fn run(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            self.outcome.steps += 1;
            if self.chance.once_in(10) {
                look(&self.floor).fuse = Some(1 + self.chance.below(25));
            }
            if self.chance.once_in(25) {
                self.disk.kill_at(Some(1 + self.chance.below(12)));
            }
            let happened = self.event();
            self.after_event(happened)?;
        }
        self.settle()?;
        let floor = look(&self.floor);
        (self.outcome.faults.device, self.outcome.faults.ca) = (floor.faults, floor.ca.faults);
        (self.outcome.attempts, self.outcome.long_outages) = (floor.ca.attempts, floor.ca.long_outages);
        drop(floor);
        self.outcome.issuances = self.told.len() as u64;
        self.outcome.completed = self.told.values().filter(|told| told.completed).count() as u64;
        Ok(())
    }

    /// What follows each event: its line in the trace, a restart when the station is gone, and the rules.
    pub(crate) fn after_event(&mut self, happened: Result<String, String>) -> Result<(), String> {
        let (notes, wrong, crashed) = {
            let mut floor = look(&self.floor);
            floor.fuse = None;
            self.halted |= std::mem::take(&mut floor.stuck);
            (std::mem::take(&mut floor.notes), std::mem::take(&mut floor.wrong), floor.crashed)
        };
        self.disk.kill_at(None);
        let mut line = format!("{:>4} ", self.outcome.steps);
        line.push_str(happened.as_deref().unwrap_or("?"));
        for note in notes {
            line.push_str("; ");
            line.push_str(&self.named(note));
        }
        self.outcome.trace.push(line);
        happened?;
        if let Some(wrong) = wrong.into_iter().next() {
            return Err(wrong);
        }
        if crashed || self.is_broken() {
            self.crash()?;
        }
        rules::check(self)
    }

    fn event(&mut self) -> Result<String, String> {
        match self.chance.below(100) {
            0..=24 => self.somebody_scans(),
            25..=54 => self.work(),
            55..=72 => {
                let time = self.some_time();
                self.time_passes(time)
            }
            73..=77 => self.late_answer(),
            78..=87 => Ok(self.devices_move()),
            88..=91 => self.supervise(),
            92..=93 => {
                look(&self.floor).crashed = true;
                Ok("the station is killed".to_owned())
            }
            94 => self.restart(),
            95 => self.disk_trouble(),
            96 => {
                self.disk.trouble(None);
                Ok("the disk is well".to_owned())
            }
            _ => self.look_around(),
        }
    }

    /// The running station.
    #[expect(clippy::expect_used, reason = "only `reopen` takes it, and puts another one there")]
    pub(crate) fn place(&self) -> &Place {
        self.place.as_ref().expect("a station runs")
    }

    /// The same.
    #[expect(clippy::expect_used, reason = "only `reopen` takes it, and puts another one there")]
    pub(crate) fn place_mut(&mut self) -> &mut Place {
        self.place.as_mut().expect("a station runs")
    }

    /// The ledger.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.place().ledger
    }

    /// The station can only be started anew.
    pub(crate) fn is_broken(&self) -> bool {
        self.halted || self.disk.is_dead() || self.ledger().journal().failure().is_some()
    }

    /// Words with the names of the trace in place of ids, which are random.
    fn named(&self, mut words: String) -> String {
        for (number, id) in self.names.iter().enumerate() {
            let id = id.to_string();
            if words.contains(&id) {
                words = words.replace(&id, &format!("i{number}"));
            }
        }
        words
    }

    /// Waits for the disk. A journal that fails halts the station.
    pub(crate) fn durable(&self) -> Result<(), Stopped> {
        self.ledger().journal().sync().map_err(|_| Stopped)
    }

    /// An issuance's name in the trace.
    pub(crate) fn name(&self, id: IssuanceId) -> String {
        let known = self.names.iter().position(|known| *known == id);
        known.map_or("new".to_owned(), |number| format!("i{number}"))
    }

    /// All issuances in the order in which they were accepted: what the journal's changes named is read anew, and everything
    /// after a start.
    pub(crate) fn all(&mut self) -> Result<Rc<Vec<Issuance>>, String> {
        let mut changed = BTreeSet::new();
        while let Ok(change) = self.place_mut().told.try_recv() {
            if change.index != self.next_change {
                return Err(format!(
                    "a change has the index {}, and {} was to be told",
                    change.index, self.next_change
                ));
            }
            self.next_change += 1;
            if let Changed::Issuance(issuance) = change.what {
                changed.insert(issuance.id);
                if let Some(submission) = issuance.state.submission() {
                    let doubts = self.doubts.entry(issuance.id).or_default();
                    *doubts = submission.doubts.max(*doubts);
                }
            }
        }
        let Some(mut all) = self.known.take() else {
            let mut listed = self.ledger().list(&Listed::All, None, usize::MAX).map_err(said("the list"))?;
            listed.reverse();
            let all: Result<Vec<_>, String> = listed.into_iter().map(|(_, id)| self.issuance(id)).collect();
            let all = Rc::new(all?);
            self.known = Some(Rc::clone(&all));
            return Ok(all);
        };
        let known = Rc::make_mut(&mut all);
        for issuance in known.iter_mut().filter(|issuance| changed.remove(&issuance.id)) {
            *issuance = self.issuance(issuance.id)?;
        }
        // Of several that are new, none is older than its id says: ids are in the order of their requests.
        for id in changed {
            known.push(self.issuance(id)?);
        }
        self.known = Some(Rc::clone(&all));
        Ok(all)
    }

    /// One that is there.
    pub(crate) fn issuance(&self, id: IssuanceId) -> Result<Issuance, String> {
        let found = self.ledger().get(id).map_err(said("an issuance cannot be read"))?;
        found.map(|(issuance, _)| issuance).ok_or_else(|| format!("{} is listed and not there", self.name(id)))
    }

    pub(crate) fn somebody_scans(&mut self) -> Result<String, String> {
        let (device, fixture) = (self.chance.below(DEVICES), self.chance.below(FIXTURES));
        let is_busy = self.place().fixtures.all()[fixture].status().0;
        if !self.chance.once_in(8) && (!is_busy || self.chance.once_in(6)) {
            look(&self.floor).put(device, fixture);
        }
        let barcode = if self.chance.once_in(20) { self.chance.below(DEVICES) } else { device };
        let serial = look(&self.floor).devices[barcode].barcode.clone();
        let lot = if self.chance.once_in(6) { self.chance.below(LOTS.len()) } else { barcode % 2 };
        let request = match self.chance.below(8) {
            0 | 1 => format!("r-{lot}-{serial}"),
            2 => format!("r-{}", self.chance.below(6)),
            _ => String::new(),
        };
        self.scan(fixture, &serial, LOTS[lot].0, request)
    }

    /// A scan, from the request to what its caller is told: as `station::grpc` has it.
    pub(crate) fn scan(
        &mut self,
        fixture: usize,
        serial: &DeviceSerial,
        lot: &str,
        request_id: String,
    ) -> Result<String, String> {
        let holds = look(&self.floor).places[fixture];
        let line = format!("scan of {serial} in {lot} at fixture-{fixture}, which holds {holds:?} {request_id:?}");
        let subject = Subject { request_id, lot: lot_name(lot)?, device_serial: serial.clone(), profile: None };
        let mut asked = Asked {
            subject,
            fixture: fixture_name(fixture)?,
            claimed_by: "badge".to_owned(),
            authenticated_by: "kiosk".to_owned(),
            at_work: self.place().fixtures.at_work(),
            fixture_is_free: false,
        };
        if self.pass().is_err() {
            return Ok(line);
        }
        let fixtures = Arc::clone(&self.place().fixtures);
        let place = &fixtures.all()[fixture];
        let reservation = fixtures.reserve(place);
        asked.fixture_is_free = reservation.is_some();
        let started = match self.ledger().start(&asked, &Provenance::default()) {
            Ok(started) => started,
            Err(refused) => {
                let words = match &refused {
                    LedgerRefused::Exists { reason, .. } | LedgerRefused::Precondition { reason, .. } => *reason,
                    LedgerRefused::Full(_) => "QUEUE_FULL",
                    LedgerRefused::Invalid { field, .. } => field,
                    LedgerRefused::Journal(_) if self.is_broken() => "JOURNAL_FAILED",
                    LedgerRefused::Journal(_)
                    | LedgerRefused::Clock(_)
                    | LedgerRefused::Damaged(_)
                    | LedgerRefused::NotFound(_) => {
                        return Err(format!("{line}: {}", service::in_full(&refused)));
                    }
                };
                return Ok(format!("{line}: refused, {words}"));
            }
        };
        let issuance = started.issuance;
        match reservation {
            Some(reservation) if started.begin => reservation.begin(issuance.id, Because::Scanned),
            Some(reservation) => {
                drop(reservation);
                fixtures.show(place, issuance.id);
            }
            None => {}
        }
        let line = format!("{line}: {} in {}", self.name(issuance.id), issuance.state);
        if self.pass().is_err() || !self.planted.ack_before_sync && self.durable().is_err() || self.pass().is_err() {
            return Ok(format!("{line}, nobody is told"));
        }
        self.tell(&issuance);
        Ok(line)
    }

    /// Somebody outside knows now.
    pub(crate) fn tell(&mut self, issuance: &Issuance) {
        let told = self.told.entry(issuance.id).or_insert_with(|| Told {
            serial: issuance.request.device_serial.clone(),
            lot: issuance.request.lot.clone(),
            common_name: issuance.request.common_name.folded(),
            completed: false,
            cancelled: false,
            certificate: None,
        });
        told.completed |= matches!(issuance.state, State::Completed(..));
        told.cancelled |= matches!(issuance.state, State::Cancelled(..));
        if let Some(issued) = issuance.state.issued() {
            told.certificate = Some(issued.certificate.clone());
        }
    }

    /// A fixture's thread does what it was asked to.
    pub(crate) fn work(&mut self) -> Result<String, String> {
        let first = self.chance.below(FIXTURES);
        for fixture in (first..FIXTURES).chain(0..first) {
            if let Ok(Task::Work(id, because)) = self.place().tasks[fixture].try_recv() {
                return self.work_at(fixture, id, because);
            }
        }
        Ok("no fixture has work".to_owned())
    }

    fn work_at(&mut self, fixture: usize, id: IssuanceId, because: Because) -> Result<String, String> {
        let holds = look(&self.floor).places[fixture];
        let line = format!("fixture-{fixture}, which holds {holds:?}, works on {} ({because:?})", self.name(id));
        let desk =
            Desk { ledger: Arc::clone(self.ledger()), floor: Arc::clone(&self.floor), fixture: fixture_name(fixture)? };
        let mut keystore = FixtureKeystore::new(Arc::clone(&self.floor), fixture);
        let devices = self.directory.path().join("devices");
        let worked = Driver { keystore: &mut keystore, records: &desk, devices: &devices }.work(id, because);
        if look(&self.floor).crashed {
            return Ok(format!("{line}: killed"));
        }
        if let Err(Halted(words)) = worked {
            let sound = !self.is_broken();
            self.halted = true;
            return if sound {
                Err(format!("{line}: the station halts: {words}"))
            } else {
                Ok(format!("{line}: halted"))
            };
        }
        self.place().fixtures.release(&self.place().fixtures.all()[fixture]);
        Ok(format!("{line}: {}", self.issuance(id)?.state))
    }

    fn devices_move(&mut self) -> String {
        let (fixture, other) = (self.chance.below(FIXTURES), self.chance.below(FIXTURES));
        let mut floor = look(&self.floor);
        match self.chance.below(3) {
            0 => floor.places[fixture] = None,
            1 => floor.put(self.chance.below(DEVICES), fixture),
            _ => floor.places.swap(fixture, other),
        }
        format!("devices move: {:?}", floor.places)
    }

    fn supervise(&mut self) -> Result<String, String> {
        let all = self.all()?;
        let ids: Vec<(IssuanceId, bool)> = all.iter().map(|issuance| (issuance.id, is_aside(issuance))).collect();
        let aside: Vec<_> = ids.iter().filter(|(_, quarantined)| *quarantined).copied().collect();
        let of = if aside.is_empty() || self.chance.once_in(5) { ids } else { aside };
        let Some((id, quarantined)) = self.chance.of(&of) else { return Ok("nothing is to be supervised".to_owned()) };
        let release = quarantined && !self.chance.once_in(3);
        self.rule(id, release)
    }

    /// A supervisor's word, until that is told.
    pub(crate) fn rule(&mut self, id: IssuanceId, release: bool) -> Result<String, String> {
        let ruling = if release { Ruling::Release } else { Ruling::Cancel { reason: "scrapped".to_owned() } };
        let line = format!("{} is {}", self.name(id), if release { "released" } else { "cancelled" });
        if self.pass().is_err() {
            return Ok(line);
        }
        let at_work = self.place().fixtures.at_work().len();
        match self.ledger().rule(id, ruling, "badge".to_owned(), "supervisor".to_owned(), at_work) {
            Ok(_) => {}
            Err(LedgerRefused::Precondition { reason, .. }) => return Ok(format!("{line}: refused, {reason}")),
            Err(LedgerRefused::Full(_)) => return Ok(format!("{line}: refused, QUEUE_FULL")),
            Err(LedgerRefused::Journal(_)) if self.is_broken() => {
                return Ok(format!("{line}: refused, JOURNAL_FAILED"));
            }
            Err(refused) => return Err(format!("{line}: {}", service::in_full(&refused))),
        }
        if self.pass().is_err() || self.durable().is_err() || self.pass().is_err() {
            return Ok(format!("{line}, nobody is told"));
        }
        // As `station::grpc` does: it may be to be sent again.
        self.ledger().ring();
        let issuance = self.issuance(id)?;
        self.tell(&issuance);
        Ok(line)
    }

    /// A reader is told what is on the disk.
    pub(crate) fn look_around(&mut self) -> Result<String, String> {
        if self.durable().is_err() {
            let sound = !self.disk.is_dead() && !self.disk.is_troubled();
            self.halted = true;
            return if sound {
                Err("a sync failed on a good disk".to_owned())
            } else {
                Ok("nobody is told".to_owned())
            };
        }
        for issuance in self.all()?.iter() {
            self.tell(issuance);
        }
        Ok("somebody looks at everything".to_owned())
    }

    fn end(self) {
        self.disk.kill();
    }
}

/// The station is gone or takes no more: what was begun has no end.
pub(crate) struct Stopped;

pub(crate) fn lot_name(lot: &str) -> Result<LotName, String> {
    LotName::parse(lot).map_err(said("lot"))
}

/// Whether a supervisor's word is awaited.
pub(crate) fn is_aside(issuance: &Issuance) -> bool {
    matches!(issuance.state, State::Quarantined(..)) || matches!(issuance.state.underlying(), State::InDoubt(..))
}
