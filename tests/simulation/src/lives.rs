//! The station's end, wanted or not, and its next life.

use std::path::PathBuf;

use crate::{
    floor::look,
    place::Place,
    said,
    world::{FIXTURES, World},
};

impl World {
    fn rows(&self) -> PathBuf {
        self.directory.path().join("rows")
    }

    /// The station is asked to stop, stops and starts again.
    pub(crate) fn restart(&mut self) -> Result<String, String> {
        look(&self.floor).stopping = true;
        let _ = self.work()?;
        self.disk.open_gate();
        self.ledger().close().map_err(said("the station does not stop"))?;
        let records = self.ledger().journal().synced();
        if records != self.ledger().journal().length() {
            return Err("the station stopped with records that are not on the disk".to_owned());
        }
        self.reopen(records, false)?;
        Ok("the station restarts".to_owned())
    }

    /// The station is killed: of what was queued and not waited for, the disk may have all, some or none.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        self.outcome.crashes += 1;
        let journal = self.ledger().journal();
        let synced = journal.synced();
        let mut records = synced;
        if !self.halted && self.chance.once_in(2) && self.durable().is_ok() {
            let more = self.ledger().journal().length() - synced;
            records += self.chance.below(more as usize + 1) as u64;
        }
        let torn = self.chance.once_in(2);
        let lost = self.ledger().journal().length() - records;
        self.outcome.trace.push(format!("     killed with {records} records on the disk, {lost} are lost"));
        self.reopen(records, torn)
    }

    fn reopen(&mut self, records: u64, torn: bool) -> Result<(), String> {
        let disk = self.disk.after_crash(records, torn)?;
        self.disk.kill();
        let rows = self.rows();
        let forgotten = if self.planted.forget_queue_on_restart {
            self.ledger().waiting(usize::MAX, |_| false).into_iter().map(|waiting| waiting.issuance).collect()
        } else {
            vec![]
        };
        let profiles = self.ledger().profiles().clone();
        // Two lives never share their rows.
        self.place = None;
        if self.chance.once_in(4) {
            std::fs::remove_dir_all(&rows).map_err(said("the rows"))?;
            self.outcome.trace.push("     its rows are deleted".to_owned());
        }
        let opened = Place::open(&disk, &rows, profiles, self.queue_bound, FIXTURES);
        self.place = Some(opened?);
        self.disk = disk;
        if self.place().records != records {
            let found = self.place().records;
            return Err(format!("the disk has {records} records, and the journal opened with {found}"));
        }
        self.place_mut().forgotten = forgotten;
        (self.halted, self.next_change) = (false, records);
        self.deferred.clear();
        // The connections that they were to come on are gone.
        self.late.clear();
        let mut floor = look(&self.floor);
        (floor.crashed, floor.stopping) = (false, false);
        self.outcome.faults += std::mem::take(&mut floor.faults);
        Ok(())
    }
}
