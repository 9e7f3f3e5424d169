//! What the page knows of its station, and what it shows of it.
//!
//! `Knowledge` folds what the station sends; `Knowledge::board` says what is on the screen now.

use std::collections::{HashMap, HashSet};

use proto::station::v1::{
    Event, Fixture, GoldenCheck, Issuance, Lot, Station, event::Change, fixture, issuance::State, lot,
};

use crate::tile::{Tile, link_is_down, milliseconds, short_name, state};

/// A certificate that is awaited this long (milliseconds) is a step; longer, it is a wait. An answer from the CA takes
/// tens of milliseconds, and a tile that changes its colour and back in that time only disturbs.
const GLANCE: i64 = 1500;

/// How the page stands to its station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Never met since the page started.
    Searching {
        /// When the page started, UTC milliseconds.
        since: i64,
        /// What the last attempt said.
        words: String,
    },
    /// What is shown is current.
    Live,
    /// What is shown is the last that was known.
    Lost {
        /// When it was lost, UTC milliseconds.
        since: i64,
        /// What the last attempt said.
        words: String,
    },
}

/// The link to the CA is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityDown {
    /// How many devices wait.
    pub waiting: u64,
    /// The queue takes no more.
    pub full: bool,
    /// Since when, UTC milliseconds.
    pub since: Option<i64>,
    /// What the last attempt said.
    pub words: String,
    /// How long what waits will take once the CA is back, milliseconds, where that is known.
    pub drain: Option<i64>,
}

/// An open lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLot {
    /// The lot's identifier.
    pub name: String,
    /// How many devices are completed.
    pub completed: u32,
    /// How many devices it is for.
    pub quantity: u32,
}

impl OpenLot {
    /// Every device of it is completed, though nobody closed it yet.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.completed >= self.quantity
    }
}

/// How the station stands in this shift, by its last check with the golden device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// Not checked, or too long ago.
    Due,
    /// All of it held; when, UTC milliseconds.
    Checked(i64),
    /// Something did not hold; when, UTC milliseconds.
    Failed(i64),
}

impl Shift {
    /// By the last check. `lasts`: how long one counts, milliseconds.
    #[must_use]
    pub fn of(check: Option<&GoldenCheck>, lasts: i64, now: i64) -> Self {
        let Some((check, at)) = check.and_then(|check| Some((check, milliseconds(check.time.as_ref()?)))) else {
            return Self::Due;
        };
        match check.verified {
            // It stays so until the station is checked again.
            false => Self::Failed(at),
            true if now - at < lasts => Self::Checked(at),
            true => Self::Due,
        }
    }
}

/// All that is on the screen. Two equal boards look the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// The station's name; empty before it was met.
    pub station: String,
    /// Whether the rest is current.
    pub link: Link,
    /// What stopped the station; empty while it works.
    pub halted: String,
    /// Whether the station is checked for this shift.
    pub shift: Shift,
    /// Submissions without an answer.
    pub waiting: u64,
    /// The CA is away.
    pub authority_down: Option<AuthorityDown>,
    /// Open lots, by name.
    pub lots: Vec<OpenLot>,
    /// One for each fixture, in the station's order.
    pub tiles: Vec<Tile>,
}

impl Board {
    /// The fixtures' names, in order.
    pub fn fixtures(&self) -> impl Iterator<Item = &str> {
        self.tiles.iter().map(|tile| tile.fixture.as_str())
    }

    /// The fixtures whose failure nobody has acknowledged yet.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Tile> {
        self.tiles.iter().filter(|tile| tile.attention && !tile.stale)
    }

    /// The lot that needs no choice: the only open one, or the only one that is not complete.
    #[must_use]
    pub fn obvious_lot(&self) -> Option<&OpenLot> {
        if let [only] = self.lots.as_slice() {
            return Some(only);
        }
        let mut incomplete = self.lots.iter().filter(|lot| !lot.is_complete());
        incomplete.next().filter(|_| incomplete.next().is_none())
    }
}

/// The fold of what the station sent.
#[derive(Debug)]
pub struct Knowledge {
    link: Link,
    station: Station,
    /// Open lots by resource name.
    lots: HashMap<String, Lot>,
    /// For each fixture, the issuance it works on and since when, UTC milliseconds.
    began: HashMap<String, (String, i64)>,
    /// For each fixture, the record that it shows and since when this page saw it, UTC milliseconds of this page.
    seen: HashMap<String, (u64, i64)>,
    sequence: Option<u64>,
    /// How long a check with the golden device counts, milliseconds.
    shift: i64,
    /// For each fixture, the failed issuance that an operator acknowledged, with the sequence of its failure.
    acknowledged: HashSet<(String, u64)>,
}

impl Knowledge {
    /// Nothing yet. `now`: UTC milliseconds; `shift`: how long a check with the golden device counts, milliseconds.
    #[must_use]
    pub fn new(now: i64, shift: i64) -> Self {
        Self {
            link: Link::Searching { since: now, words: String::new() },
            station: Station::default(),
            lots: HashMap::new(),
            began: HashMap::new(),
            seen: HashMap::new(),
            sequence: None,
            shift,
            acknowledged: HashSet::new(),
        }
    }

    /// The sequence to resume the stream with.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// The station answered: this is how it is. Follows after each (re)connection.
    pub fn connected(&mut self, station: Station, lots: Vec<Lot>) {
        self.link = Link::Live;
        self.lots =
            lots.into_iter().filter(|lot| lot.state() == lot::State::Open).map(|lot| (lot.name.clone(), lot)).collect();
        self.see(station);
    }

    /// The station does not answer any more, or still not. `now`: UTC milliseconds.
    pub fn lost(&mut self, now: i64, said: &str) {
        match &mut self.link {
            Link::Searching { words, .. } | Link::Lost { words, .. } => said.clone_into(words),
            Link::Live => self.link = Link::Lost { since: now, words: said.to_owned() },
        }
    }

    /// The station's journal is not the one that we followed: nothing that we know is worth keeping.
    pub fn forget(&mut self) {
        self.station = Station::default();
        self.lots.clear();
        self.began.clear();
        self.seen.clear();
        self.sequence = None;
        self.acknowledged.clear();
    }

    /// Something happened. Events come in order; what a replay repeats changes nothing.
    pub fn apply(&mut self, event: Event) {
        self.sequence = self.sequence.max(Some(event.sequence));
        match event.change {
            Some(Change::Issuance(issuance)) => self.see_issuance(issuance),
            Some(Change::Lot(lot)) => self.see_lot(lot),
            Some(Change::Station(station)) => self.see(station),
            Some(Change::GoldenCheck(check)) => self.station.golden_check = Some(check),
            // A newer station speaks of things that this page has no place for.
            None => {}
        }
    }

    /// The station as it is now.
    pub fn see(&mut self, mut station: Station) {
        for fixture in &mut station.fixtures {
            let known = self.station.fixtures.iter_mut().find(|known| known.name == fixture.name);
            // An answer may have overtaken the stream, or the other way round: the newer one counts.
            if let (Some(newer), Some(coming)) = (known.and_then(|known| known.issuance.take()), &fixture.issuance)
                && newer.name == coming.name
                && newer.sequence > coming.sequence
            {
                fixture.issuance = Some(newer);
            }
        }
        self.station = station;
        self.note_begins();
    }

    fn see_issuance(&mut self, issuance: Issuance) {
        let newer = |known: &Issuance| known.name == issuance.name && known.sequence < issuance.sequence;
        // Only the station says which device is in which fixture, with one exception: a new request, so that the
        // screen answers a scan at once.
        let taken = |fixture: &&mut Fixture| {
            short_name(&fixture.name) == short_name(&issuance.fixture)
                && state(&issuance) == State::Requested
                && fixture.issuance.as_ref().is_none_or(|known| known.sequence < issuance.sequence)
        };
        if let Some(fixture) =
            self.station.fixtures.iter_mut().find(|fixture| fixture.issuance.as_ref().is_some_and(newer))
        {
            fixture.issuance = Some(issuance);
        } else if let Some(fixture) = self.station.fixtures.iter_mut().find(taken) {
            fixture.state = fixture::State::Busy.into();
            fixture.issuance = Some(issuance);
        }
        self.note_begins();
    }

    fn see_lot(&mut self, lot: Lot) {
        if lot.state() != lot::State::Open {
            self.lots.remove(&lot.name);
            return;
        }
        // The counts only grow, so a smaller one is from a replay.
        let older = |known: &Lot| lot.started < known.started || lot.completed < known.completed;
        if !self.lots.get(&lot.name).is_some_and(older) {
            self.lots.insert(lot.name.clone(), lot);
        }
    }

    /// The clock of a tile runs from when its device began to be worked on: not from the request, which for a device
    /// that came back may be days ago.
    fn note_begins(&mut self) {
        for fixture in &self.station.fixtures {
            let Some(issuance) = &fixture.issuance else { continue };
            let began = match state(issuance) {
                State::Failed | State::Quarantined | State::Cancelled | State::InDoubt => {
                    self.began.remove(&fixture.name);
                    continue;
                }
                // Over before this page saw it.
                State::Completed => issuance.create_time.as_ref(),
                _ => issuance.update_time.as_ref(),
            };
            let same = self.began.get(&fixture.name).is_some_and(|(name, _)| *name == issuance.name);
            if let Some(began) = began.filter(|_| !same) {
                self.began.insert(fixture.name.clone(), (issuance.name.clone(), milliseconds(began)));
            }
        }
    }

    /// Notes since when each fixture shows what it shows; for each, whether that is longer than a glance.
    fn settle(&mut self, now: i64) -> Vec<bool> {
        let (seen, began) = (&mut self.seen, &mut self.began);
        let settle = |fixture: &Fixture| {
            let Some(issuance) = &fixture.issuance else { return true };
            let since = seen.entry(fixture.name.clone()).or_insert((issuance.sequence, now));
            if since.0 != issuance.sequence {
                *since = (issuance.sequence, now);
            }
            let settled = now - since.1 >= GLANCE;
            let awaited = matches!(state(issuance), State::Submitted | State::Issued);
            if settled && awaited && fixture.state() == fixture::State::Idle {
                // On the shelf, not worked on: what follows begins anew.
                began.remove(&fixture.name);
            }
            settled
        };
        self.station.fixtures.iter().map(settle).collect()
    }

    /// An operator has seen what a fixture shows.
    pub fn acknowledge(&mut self, fixture: &str) {
        let shown = |known: &&Fixture| short_name(&known.name) == fixture;
        if let Some(issuance) = self.station.fixtures.iter().find(shown).and_then(|known| known.issuance.as_ref()) {
            self.acknowledged.insert((issuance.name.clone(), issuance.sequence));
        }
        // What no fixture shows any more is not asked for again.
        let fixtures = &self.station.fixtures;
        self.acknowledged.retain(|(name, sequence)| {
            let same = |issuance: &Issuance| issuance.name == *name && issuance.sequence == *sequence;
            fixtures.iter().any(|known| known.issuance.as_ref().is_some_and(same))
        });
    }

    /// What is on the screen now. `now`: UTC milliseconds.
    #[must_use]
    pub fn board(&mut self, now: i64) -> Board {
        let settled = self.settle(now);
        let stale = self.link != Link::Live;
        let halted = !self.station.halted.is_empty();
        let queue = self.station.queue.as_ref();
        let mut lots: Vec<OpenLot> = self
            .lots
            .values()
            .map(|lot| OpenLot {
                name: short_name(&lot.name).to_owned(),
                completed: lot.completed,
                quantity: lot.quantity,
            })
            .collect();
        lots.sort_by(|a, b| a.name.cmp(&b.name));
        Board {
            station: self.station.station.clone(),
            link: self.link.clone(),
            halted: self.station.halted.clone(),
            shift: Shift::of(self.station.golden_check.as_ref(), self.shift, now),
            waiting: queue.map_or(0, |queue| queue.length),
            authority_down: queue.filter(|queue| link_is_down(queue)).map(|queue| AuthorityDown {
                waiting: queue.length,
                full: queue.bound > 0 && queue.length >= queue.bound,
                since: queue.link_time.as_ref().map(milliseconds),
                words: queue.last_error.clone(),
                drain: queue
                    .drain_duration
                    .as_ref()
                    .map(|drain| drain.seconds * 1000 + i64::from(drain.nanos) / 1_000_000),
            }),
            lots,
            tiles: self
                .station
                .fixtures
                .iter()
                .zip(settled)
                .map(|(fixture, settled)| {
                    let began = self.began.get(&fixture.name).map(|(_, began)| *began);
                    let mut tile = Tile::new(fixture, queue, began, settled, halted, stale);
                    let seen =
                        |issuance: &Issuance| self.acknowledged.contains(&(issuance.name.clone(), issuance.sequence));
                    tile.attention &= !fixture.issuance.as_ref().is_some_and(seen);
                    tile
                })
                .collect(),
        }
    }
}
