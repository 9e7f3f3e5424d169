//! The scheduler: picks the next event by the seed, and lets it happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
};

use issuance::{
    DeviceSerial, Issuance, IssuanceId, ProfileName,
    submission::{Repeats, Terms, WhenInDoubt},
};
use station::{
    ledger::{Changed, Ledger, Listed},
    profiles::Profiles,
};
use tempfile::TempDir;

use crate::{
    Failure, Outcome, Planted,
    authority::{Authority, DEVICE_CA, NAMED},
    chance::Chance,
    disk::Disk,
    events::{Stopped, Told, lot_name},
    floor::{Floor, Shared, look},
    place::Place,
    rules, said,
    wall::Wall,
};

/// Fixtures of the station.
pub(crate) const FIXTURES: usize = 3;
pub(crate) const DEVICES: usize = 12;
/// Lots with their profile and quantity. The last is soon used up, and its devices are those of the first.
pub(crate) const LOTS: &[(&str, &str, u32)] = &[("lot-1", DEVICE_CA, 9), ("lot-2", NAMED, 9), ("lot-3", DEVICE_CA, 3)];
/// One run in so many has its rows on sled, as a station has; the others have them in memory.
const ON_SLED_EVERY: u64 = 16;

/// How often an issuance was in doubt: each submission of it counts its own.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    pub(crate) all: u32,
    /// Of the submission that was last seen.
    last: u32,
}

impl Doubts {
    /// A change was told.
    fn tell(&mut self, issuance: &Issuance) {
        let before = self.last;
        self.start(issuance);
        self.all += self.last.saturating_sub(before);
    }

    /// A life begins: all that the journal has are counted.
    fn start(&mut self, issuance: &Issuance) {
        if let Some(submission) = issuance.state.submission() {
            self.last = submission.doubts;
        }
    }
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
    pub(crate) doubts: BTreeMap<IssuanceId, Doubts>,
    /// Its clock is the simulation's.
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) directory: TempDir,
    /// The rows are on sled.
    pub(crate) on_sled: bool,
    pub(crate) queue_bound: usize,
    /// Submissions in a batch.
    pub(crate) batch: usize,
    /// Batches that may be under way at once.
    pub(crate) in_flight: usize,
    pub(crate) told: BTreeMap<IssuanceId, Told>,
    /// Issuances in the order in which they were first seen: their names in the trace.
    pub(crate) names: Vec<IssuanceId>,
    /// The journal takes no more.
    pub(crate) halted: bool,
    /// The time of day, right or wrong.
    pub(crate) wall: Arc<Wall>,
    /// A fixture was halted by a wrong clock: the station starts anew once that is right.
    pub(crate) halted_by_clock: bool,
    /// Records that there were when the clock was set wrong.
    pub(crate) records_at_jump: Option<u64>,
    /// The newest record's time.
    pub(crate) newest: i64,
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
        let queue_bound = 2 + chance.below(6);
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
        let runtime = runtime.map_err(said("the simulated clock"))?;
        let wall = Wall::new(runtime.handle().clone());
        let mut world = Self {
            chance,
            floor,
            disk: Disk::default(),
            place: None,
            profiles: authority.profiles()?,
            terms: Terms { repeats, in_doubt },
            doubts: BTreeMap::new(),
            authority: Arc::new(Mutex::new(authority)),
            runtime,
            directory,
            on_sled: seed.is_multiple_of(ON_SLED_EVERY),
            queue_bound,
            batch: 1 + (seed / 2 % 4) as usize,
            in_flight: if repeats == Repeats::New { 1 } else { 1 + (seed % 2) as usize },
            told: BTreeMap::new(),
            names: vec![],
            halted: false,
            wall,
            halted_by_clock: false,
            records_at_jump: None,
            newest: 0,
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
        self.look_at_clock()?;
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
            97 => self.clock_trouble(),
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
            if !(self.newest..=self.wall.latest()).contains(&change.at.0) {
                return Err(format!(
                    "record {} is of {}, the one before it of {}, and now it is {}",
                    change.index,
                    change.at.0,
                    self.newest,
                    self.wall.right()
                ));
            }
            self.newest = change.at.0;
            if let Changed::Issuance(issuance) = change.what {
                changed.insert(issuance.id);
                self.doubts.entry(issuance.id).or_default().tell(&issuance);
            }
        }
        let Some(mut all) = self.known.take() else {
            let mut listed = self.ledger().list(&Listed::All, None, usize::MAX).map_err(said("the list"))?;
            listed.reverse();
            let all: Result<Vec<_>, String> = listed.into_iter().map(|(_, id)| self.issuance(id)).collect();
            let all = Rc::new(all?);
            for issuance in all.iter() {
                self.doubts.entry(issuance.id).or_default().start(issuance);
            }
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

    fn end(self) {
        self.disk.kill();
    }
}
