//! One life of the station: from opening its journal to its end, wanted or not.

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, mpsc::Receiver},
};

use issuance::{FixtureName, IssuanceId, profile::KeystoreKind, submission::Terms};
use journal::{Journal, JournalError, JournalOptions, Projections};
use service::{clock::Clock, shutdown::Shutdown};
use station::{
    fixtures::{Fixtures, Task},
    ledger::{Change, Ledger},
    profiles::Profiles,
    rows::StationRows,
};
use tokio::sync::mpsc;

use crate::{desk::AUTHORITY, disk::Disk, said};

/// The smallest there are, so that a run has several segments.
const SEGMENT_BYTES: u64 = 64 * 1024;

/// The queue's way to the CA, as it goes on while time passes.
pub type Sending = Pin<Box<dyn Future<Output = ()>>>;

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
    /// What sends its queue, once that was begun.
    pub sending: Option<Sending>,
    /// Asks it to stop.
    pub shutdown: Shutdown,
    /// Records that stood in the journal when it was opened.
    pub records: u64,
    /// What was cut from its end.
    pub torn: bool,
}

/// What a station is opened with.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// Where its rows are; `None`: in memory.
    pub rows: Option<&'a Path>,
    /// Its profiles.
    pub profiles: Profiles,
    /// What its CA promises.
    pub terms: Terms,
    /// What it reads the time from.
    pub clock: Clock,
    /// Its queue's bound.
    pub queue_bound: usize,
    /// How many fixtures it has.
    pub fixtures: usize,
}

/// The name of a fixture.
///
/// # Errors
/// In words; never.
pub fn fixture_name(fixture: usize) -> Result<FixtureName, String> {
    FixtureName::parse(&format!("fixture-{fixture}")).map_err(said("fixture"))
}

/// The journal on a disk.
///
/// # Errors
/// As the journal's.
pub fn open_journal(disk: &Disk) -> Result<(Journal, journal::Recovery), JournalError> {
    let options =
        JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::new("simulated", "station-agent/simulated") };
    Journal::open_unthreaded(Arc::new(disk.clone()), &options)
}

impl Place {
    /// Starts a station on what is on the disk.
    ///
    /// # Errors
    /// In words: on a sound disk a station starts after any end.
    pub fn open(disk: &Disk, settings: &Settings<'_>) -> Result<Self, String> {
        let (journal, recovery) =
            open_journal(disk).map_err(|error| format!("the journal does not open: {}", service::in_full(&error)))?;
        let rows = match settings.rows {
            Some(directory) => Projections::open(&journal, directory, StationRows, &mut |_, _| {}),
            None => Projections::in_memory(&journal, StationRows),
        };
        let rows = rows.map_err(said("the rows do not open"))?;
        let (changes, told) = mpsc::unbounded_channel();
        let ledger = Ledger::new(journal, rows, settings.profiles.clone(), settings.queue_bound, changes)
            .map_err(said("the ledger does not open"))?
            .with_authority(AUTHORITY, settings.terms)
            .with_clock(settings.clock.clone());
        let mut places = Vec::new();
        for fixture in 0..settings.fixtures {
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
            sending: None,
            shutdown: Shutdown::new(),
            records: recovery.records,
            torn: recovery.torn.is_some(),
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

    /// What waits for the CA now.
    #[must_use]
    pub fn queued(&self) -> Vec<IssuanceId> {
        self.ledger.waiting(usize::MAX, |_| false).into_iter().map(|waiting| waiting.issuance).collect()
    }
}
