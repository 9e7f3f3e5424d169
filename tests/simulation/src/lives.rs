//! The station's end, wanted or not, and its next life.

use std::path::PathBuf;

use issuance::Record;
use station::records::{Entry, What};

use crate::{
    disk::{End, Trouble},
    floor::look,
    place::{Place, Settings},
    rot, said,
    world::{DEVICES, FIXTURES, World},
};

/// So often in a row is a station killed while it opens; then it is let be.
const OPENINGS_MOST: usize = 4;

impl World {
    fn rows(&self) -> Option<PathBuf> {
        self.on_sled.then(|| self.directory.path().join("rows"))
    }

    /// The first life.
    pub(crate) fn begin(&mut self) -> Result<(), String> {
        self.place = Some(self.open()?);
        self.start_sending();
        Ok(())
    }

    fn open(&self) -> Result<Place, String> {
        let rows = self.rows();
        let profiles = self.profiles.clone();
        let settings = Settings {
            rows: rows.as_deref(),
            profiles,
            terms: self.terms,
            clock: self.wall.started(),
            queue_bound: self.queue_bound,
            fixtures: FIXTURES,
        };
        Place::open(&self.disk, &settings)
    }

    /// The station is asked to stop, stops and starts again.
    pub(crate) fn restart(&mut self) -> Result<String, String> {
        look(&self.floor).stopping = true;
        let _ = self.work()?;
        self.stop_sending()?;
        if self.disk.is_dead() || look(&self.floor).crashed {
            return Ok("the station is killed while it stops".to_owned());
        }
        if self.ledger().close().is_err() {
            let broken = self.disk.is_dead() || self.disk.is_troubled() || self.halted;
            self.halted = true;
            return if broken {
                Ok("the station stops badly".to_owned())
            } else {
                Err("the station does not stop".to_owned())
            };
        }
        let records = self.ledger().journal().synced();
        if records != self.ledger().journal().length() {
            return Err("the station stopped with records that are not on the disk".to_owned());
        }
        self.reopen(End::Killed)?;
        Ok("the station restarts".to_owned())
    }

    /// The station is killed, or the power is cut: of what was queued and not waited for, the disk may have all, some or
    /// none.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        self.outcome.crashes += 1;
        if !self.halted && !self.disk.is_dead() && self.chance.once_in(2) {
            // The committer had begun with what was queued.
            self.disk.kill_at(Some(1 + self.chance.below(5)));
            let _ = self.ledger().journal().sync();
        }
        let end = if self.chance.once_in(2) { End::PowerCut } else { End::Killed };
        self.outcome.power_cuts += u64::from(end == End::PowerCut);
        self.reopen(end)
    }

    fn reopen(&mut self, end: End) -> Result<(), String> {
        let journal = self.ledger().journal();
        let (synced, length) = (journal.synced(), journal.length());
        let disk = self.disk.after(end, &mut self.chance);
        self.disk.kill();
        self.disk = disk;
        let queued = if self.planted.forget_queue_on_restart { self.place().queued() } else { vec![] };
        look(&self.floor).forgotten = queued;
        // Two lives never share their rows, and connections end with their process.
        (self.place, self.known) = (None, None);
        self.spoil_rows()?;
        self.place = Some(self.next_life()?);
        let (found, torn) = (self.place().records, self.place().torn);
        let entries = self.ledger().journal().read(0..found).map_err(said("the journal cannot be read"))?;
        self.count_doubts(&entries)?;
        let bytes: usize = entries.iter().map(Vec::len).sum();
        self.outcome.trace.push(format!(
            "     {end:?} with {synced} records synced of {length}, found {found} ({bytes} bytes), torn: {torn}"
        ));
        if !(synced..=length).contains(&found) {
            return Err(format!(
                "lost: {synced} of {length} records were on the disk, and the journal opened with {found}"
            ));
        }
        (self.halted, self.next_change) = (false, found);
        (self.halted_by_clock, self.newest) = (false, self.ledger().clock().floor());
        self.records_at_jump = self.wall.is_wrong(self.newest).then_some(found);
        if self.chance.once_in(3) {
            self.swap_devices();
        }
        let mut floor = look(&self.floor);
        (floor.crashed, floor.stopping) = (false, false);
        floor.ca.late.clear();
        drop(floor);
        self.start_sending();
        Ok(())
    }

    fn count_doubts(&mut self, entries: &[Vec<u8>]) -> Result<(), String> {
        self.doubts.clear();
        for entry in entries {
            let entry = Entry::decode(entry).map_err(said("a record is not understood"))?;
            if let What::Issuance(id, Record::InDoubt { .. }) = entry.what {
                self.doubts.entry(id).or_default().all += 1;
            }
        }
        Ok(())
    }

    /// Opens the station, which is killed on the way now and then.
    fn next_life(&mut self) -> Result<Place, String> {
        for opening in 0..=OPENINGS_MOST {
            let last = opening == OPENINGS_MOST;
            if !last && self.chance.once_in(3) {
                self.disk.kill_at(Some(1 + self.chance.below(7)));
            }
            if last || self.chance.once_in(3) {
                self.disk.trouble(None);
            }
            match self.open() {
                Ok(place) => {
                    self.disk.kill_at(None);
                    return Ok(place);
                }
                Err(words) if self.disk.is_dead() || self.disk.is_troubled() => {
                    self.outcome.faults.disk += 1;
                    let dead = self.disk.is_dead();
                    self.outcome.opening_kills += u64::from(dead);
                    let end = if dead && self.chance.once_in(2) { End::PowerCut } else { End::Killed };
                    let why = if dead { "killed while it opens".to_owned() } else { words };
                    self.outcome.trace.push(format!("     {why}, then {end:?}"));
                    self.disk = self.disk.after(end, &mut self.chance);
                }
                Err(words) => return Err(words),
            }
        }
        Err("the station does not start on a sound disk".to_owned())
    }

    /// Somebody sets the clock wrong, or right.
    pub(crate) fn clock_trouble(&mut self) -> Result<String, String> {
        if self.is_clock_wrong() {
            return self.set_clock_right();
        }
        let back = self.chance.once_in(2);
        self.wall.set_wrong(back);
        self.outcome.faults.clock += 1;
        let records = self.ledger().journal().length();
        let newest = self.ledger().clock().floor();
        self.records_at_jump = self.wall.is_wrong(newest).then_some(records);
        let scanned = self.somebody_scans()?;
        Ok(format!("the clock is put {}; {scanned}", if back { "an hour back" } else { "a year ahead" }))
    }

    /// Somebody does what the station's words say.
    pub(crate) fn set_clock_right(&mut self) -> Result<String, String> {
        self.wall.set_right();
        if !self.is_clock_wrong() {
            return Ok("the clock is set right".to_owned());
        }
        // It was started while the clock was behind, and had no record that showed it.
        self.crash()?;
        match self.is_clock_wrong() {
            true => Err("a right clock is not believed by a station that was started with it".to_owned()),
            false => Ok("the clock is set right, and the station restarted".to_owned()),
        }
    }

    /// Whether nothing is to be recorded now.
    pub(crate) fn is_clock_wrong(&self) -> bool {
        self.ledger().clock().now().is_err()
    }

    /// What the station's watchman does: what was halted by the clock starts anew once that is right.
    pub(crate) fn look_at_clock(&mut self) -> Result<(), String> {
        if !self.wall.is_wrong(self.ledger().clock().floor()) {
            self.records_at_jump = None;
        }
        if self.is_clock_wrong() {
            return Ok(());
        }
        if self.halted_by_clock { self.crash() } else { Ok(()) }
    }

    /// Between two lives the rows are deleted or damaged.
    fn spoil_rows(&mut self) -> Result<(), String> {
        let Some(rows) = self.rows() else { return Ok(()) };
        match self.chance.below(6) {
            0 => {
                std::fs::remove_dir_all(&rows).map_err(said("the rows"))?;
                self.outcome.trace.push("     its rows are deleted".to_owned());
            }
            1 => {
                rot::spoil(&rows, &mut self.chance).map_err(said("the rows"))?;
                self.outcome.trace.push("     its rows are damaged".to_owned());
            }
            _ => return Ok(()),
        }
        self.outcome.faults.rows += 1;
        Ok(())
    }

    /// While the station is away somebody takes devices out and puts them elsewhere.
    fn swap_devices(&mut self) {
        let (one, other) = (self.chance.below(FIXTURES), self.chance.below(FIXTURES));
        let device = self.chance.below(DEVICES);
        let mut floor = look(&self.floor);
        floor.places.swap(one, other);
        if floor.chance.once_in(3) {
            floor.put(device, one);
        }
        let places = format!("     meanwhile devices move: {:?}", floor.places);
        drop(floor);
        self.outcome.trace.push(places);
    }

    /// The disk gets into trouble, from which it comes back later.
    pub(crate) fn disk_trouble(&mut self) -> Result<String, String> {
        let trouble = if self.chance.once_in(2) { Trouble::Input } else { Trouble::Full };
        self.disk.trouble(Some(trouble));
        self.outcome.faults.disk += 1;
        let scanned = self.somebody_scans()?;
        // EIO ends this life; on a full disk the station goes on as long as it can.
        self.halted |= trouble == Trouble::Input;
        Ok(format!("the disk is {trouble:?}; {scanned}"))
    }
}
