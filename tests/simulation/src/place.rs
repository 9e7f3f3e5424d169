//! One life of the station: from opening its journal to its end, wanted or not.

use std::{
    path::Path,
    sync::{Arc, mpsc::Receiver},
};

use issuance::{FixtureName, IssuanceId, profile::KeystoreKind};
use journal::{Journal, JournalOptions, Projections};
use station::{
    fixtures::{Fixtures, Task},
    ledger::{Change, Ledger},
    profiles::Profiles,
    rows::StationRows,
};
use tokio::sync::mpsc;

use crate::{disk::Disk, said};

/// Larger than any run's journal: what is cut at a crash is cut in one segment.
const SEGMENT_BYTES: u64 = 2 * 1024 * 1024;

/// A running station.
pub struct Place {
    /// Its ledger.
    pub ledger: Arc<Ledger>,
    /// Its fixtures.
    pub fixtures: Arc<Fixtures>,
    /// What each fixture's thread would do.
    pub tasks: Vec<Receiver<Task>>,
    /// What its watchers would be told.
    pub told: mpsc::UnboundedReceiver<Change>,
    /// Submissions that a planted bug does not send.
    pub forgotten: Vec<IssuanceId>,
    /// Records that stood in the journal when it was opened.
    pub records: u64,
}

/// The name of a fixture.
///
/// # Errors
/// In words; never.
pub fn fixture_name(fixture: usize) -> Result<FixtureName, String> {
    FixtureName::parse(&format!("fixture-{fixture}")).map_err(said("fixture"))
}

impl Place {
    /// Starts a station on what is on the disk.
    ///
    /// # Errors
    /// In words: after any crash a station starts.
    pub fn open(
        disk: &Disk,
        rows: &Path,
        profiles: Profiles,
        queue_bound: usize,
        fixtures: usize,
    ) -> Result<Self, String> {
        let options = JournalOptions {
            segment_bytes: SEGMENT_BYTES,
            ..JournalOptions::new("simulated", "station-agent/simulated")
        };
        let (journal, recovery) =
            Journal::open_on(Arc::new(disk.clone()), &options).map_err(said("the journal does not open"))?;
        let opened = Projections::open(&journal, rows, StationRows, &mut |_, _| {});
        let projections = opened.map_err(said("the rows do not open"))?;
        let (changes, told) = mpsc::unbounded_channel();
        let ledger = Ledger::new(journal, projections, profiles, queue_bound, changes)
            .map_err(said("the ledger does not open"))?;
        disk.close_gate();
        let mut places = Vec::new();
        for fixture in 0..fixtures {
            let name = fixture_name(fixture)?;
            let last = ledger.last_at(&name).map_err(said("the fixtures"))?;
            places.push((name, KeystoreKind::Pkcs11, last));
        }
        let (fixtures, tasks) = Fixtures::new(places);
        let place = Self {
            ledger: Arc::new(ledger),
            fixtures: Arc::new(fixtures),
            tasks,
            told,
            forgotten: vec![],
            records: recovery.records,
        };
        place.go_on()?;
        Ok(place)
    }

    /// What was under way goes on where its device last was, as `station::station` has it.
    fn go_on(&self) -> Result<(), String> {
        for fixture in self.fixtures.all() {
            let Some(id) = fixture.status().1 else { continue };
            let Some((issuance, _)) = self.ledger.get(id).map_err(said("what was under way"))? else { continue };
            if issuance.state.stop().is_none() && issuance.state.awaits_answer().is_none() {
                self.fixtures.go_on(&issuance.fixture, id);
            }
        }
        Ok(())
    }
}
