//! What everyone in the station may look at: where it stands, whether it is halted, how the link is, what changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use issuance::record::Provenance;
use service::shutdown::Shutdown;
use tokio::sync::{broadcast, watch};
use tracing::error;

use crate::{ledger::Change, submission::Link};

/// Changes that a watcher may be behind before it catches up from the journal.
const CHANGES_KEPT: usize = 1024;

/// What halted the station, and so what makes it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaltedBy {
    /// The journal's disk: it goes on by itself once that is well.
    Disk,
    /// The machine's clock: it goes on by itself once that is right.
    Clock,
    /// A fault: it goes on when a person restarts it.
    Fault,
}

/// What hangs on the wall for everyone to see.
#[derive(Debug)]
pub struct Board {
    /// Recorded with each issuance.
    pub provenance: Provenance,
    halted: Mutex<Option<(HaltedBy, String)>>,
    link: watch::Receiver<Link>,
    changes: broadcast::Sender<Change>,
    /// Streams end with it.
    pub shutdown: Shutdown,
}

impl Board {
    /// A board with nothing on it but where the station stands.
    #[must_use]
    pub fn new(provenance: Provenance, link: watch::Receiver<Link>, shutdown: Shutdown) -> Self {
        Self { provenance, halted: Mutex::default(), link, changes: broadcast::Sender::new(CHANGES_KEPT), shutdown }
    }

    /// Why the station accepts nothing, when it does not.
    #[must_use]
    pub fn halted(&self) -> Option<String> {
        self.lock().as_ref().map(|(_, words)| words.clone())
    }

    /// What halted it, when something did.
    #[must_use]
    pub fn halted_by(&self) -> Option<HaltedBy> {
        self.lock().as_ref().map(|(by, _)| *by)
    }

    /// Stops accepting until a person restarts the station. The first reason stays.
    pub fn halt(&self, words: &str) {
        self.halt_by(HaltedBy::Fault, words);
    }

    /// Stops accepting. The first reason stays.
    pub fn halt_by(&self, by: HaltedBy, words: &str) {
        let mut halted = self.lock();
        if halted.is_none() {
            error!(reason = words, "the station halts: it accepts and begins nothing more");
            *halted = Some((by, words.to_owned()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(HaltedBy, String)>> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link to the CA as it is.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Changes whenever the link does.
    #[must_use]
    pub fn link_changes(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Tells watchers of a change that is on the disk. Nobody may be watching.
    pub fn tell(&self, change: Change) {
        let _ = self.changes.send(change);
    }

    /// Changes in journal order, each once it is on the disk.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
