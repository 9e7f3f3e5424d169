//! The fixtures: one thread each, busy or free, and what each last worked on.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use issuance::{DeviceIdentity, Fault, FixtureName, IssuanceId, profile::KeystoreKind};
use tokio::sync::{oneshot, watch};

use crate::{
    driver::Asked,
    inspection::{self, Inspection},
    ledger::LedgerRefused,
};

/// One fixture, as the rest of the station sees it.
#[derive(Debug)]
pub struct Fixture {
    /// Its name.
    pub name: FixtureName,
    /// What is behind it.
    pub kind: KeystoreKind,
    status: Mutex<Status>,
    tasks: Sender<Task>,
}

/// What a fixture's thread is asked to do, once the fixture is reserved for it.
#[derive(Debug)]
pub enum Task {
    /// Work on an issuance.
    Work(IssuanceId, Asked),
    /// Say which device is there.
    Look(oneshot::Sender<Result<DeviceIdentity, Fault>>),
    /// Hold the device that is there against the journal.
    Inspect(inspection::Asked, oneshot::Sender<Result<Inspection, LedgerRefused>>),
}

#[derive(Debug, Clone, Copy, Default)]
struct Status {
    /// Reserved.
    reserved: bool,
    /// What it works on, or will in a moment.
    at_work: Option<IssuanceId>,
    /// What it last worked on, until the next scan.
    last: Option<IssuanceId>,
    /// Whether there is more to do for that one, which came while the fixture was reserved.
    more: bool,
}

/// All fixtures of the station, in configuration's order.
#[derive(Debug)]
pub struct Fixtures {
    fixtures: Vec<Fixture>,
    /// Changes whenever a fixture became busy or free.
    pulse: watch::Sender<u64>,
}

/// A fixture that is reserved for one issuance. Dropped, it is free again.
#[derive(Debug)]
pub struct Reservation<'a> {
    fixtures: &'a Fixtures,
    fixture: &'a Fixture,
    begun: bool,
}

impl Fixtures {
    /// Fixtures without threads; each gives the receiver that its thread reads.
    #[must_use]
    pub fn new(fixtures: Vec<(FixtureName, KeystoreKind, Option<IssuanceId>)>) -> (Self, Vec<Receiver<Task>>) {
        let (fixtures, receivers) = fixtures
            .into_iter()
            .map(|(name, kind, last)| {
                let (tasks, receiver) = channel();
                let status = Mutex::new(Status { last, ..Status::default() });
                (Fixture { name, kind, status, tasks }, receiver)
            })
            .unzip();
        (Self { fixtures, pulse: watch::Sender::new(0) }, receivers)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Fixture] {
        &self.fixtures
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &FixtureName) -> Option<&Fixture> {
        self.fixtures.iter().find(|fixture| fixture.name == *name)
    }

    /// Their names, for a person.
    #[must_use]
    pub fn names(&self) -> String {
        self.fixtures.iter().map(|fixture| fixture.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Reserves a fixture; `None` while it is busy.
    #[must_use]
    pub fn reserve<'a>(&'a self, fixture: &'a Fixture) -> Option<Reservation<'a>> {
        let mut status = fixture.lock();
        if status.reserved {
            return None;
        }
        status.reserved = true;
        drop(status);
        Some(Reservation { fixtures: self, fixture, begun: false })
    }

    /// What fixtures are working on at this moment.
    #[must_use]
    pub fn at_work(&self) -> Vec<IssuanceId> {
        self.fixtures.iter().filter_map(|fixture| fixture.lock().at_work).collect()
    }

    /// Goes on with an issuance at the fixture that last met its device, if nothing else has begun there since: at once,
    /// or as soon as the fixture is free.
    pub fn go_on(&self, name: &FixtureName, issuance: IssuanceId) {
        let Some(fixture) = self.get(name) else { return };
        let mut status = fixture.lock();
        if status.last != Some(issuance) {
            return;
        }
        if status.reserved {
            status.more = true;
            return;
        }
        (status.reserved, status.at_work) = (true, Some(issuance));
        drop(status);
        fixture.hand_over(issuance);
        self.beat();
    }

    /// Ends when no fixture is only being looked at.
    pub async fn looked(&self) {
        let mut pulse = self.pulse();
        while self.fixtures.iter().any(|fixture| {
            let status = fixture.lock();
            status.reserved && status.at_work.is_none()
        }) {
            // The sender is here.
            let _ = pulse.changed().await;
        }
    }

    /// Changes whenever a fixture became busy or free.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// Shows an issuance that is finished at the fixture where it was scanned again.
    pub fn show(&self, fixture: &Fixture, issuance: IssuanceId) {
        fixture.lock().last = Some(issuance);
        self.beat();
    }

    /// The fixture's thread is done with what it had begun. What was to go on meanwhile does so now.
    pub fn release(&self, fixture: &Fixture) {
        let mut status = fixture.lock();
        status.at_work = status.last.filter(|_| std::mem::take(&mut status.more));
        status.reserved = status.at_work.is_some();
        let next = status.at_work;
        drop(status);
        if let Some(issuance) = next {
            fixture.hand_over(issuance);
        }
        self.beat();
    }

    fn beat(&self) {
        self.pulse.send_modify(|beat| *beat = beat.wrapping_add(1));
    }
}

impl Fixture {
    /// Whether it is at work, and what it last worked on.
    #[must_use]
    pub fn status(&self) -> (bool, Option<IssuanceId>) {
        let status = self.lock();
        (status.at_work.is_some(), status.last)
    }

    fn hand_over(&self, issuance: IssuanceId) {
        // A thread that has ended leaves the fixture busy: the station is ending too.
        let _ = self.tasks.send(Task::Work(issuance, Asked::Unattended));
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Plain fields: a panic cannot leave them half changed.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// Says for which issuance it is, before that is begun: from now on the fixture counts as at work on it.
    pub fn claim(&self, issuance: IssuanceId) {
        let mut status = self.fixture.lock();
        (status.at_work, status.last, status.more) = (Some(issuance), Some(issuance), false);
    }

    /// Asks the fixture's thread which device is there; it is free again when the answer comes.
    #[must_use]
    pub fn look(mut self) -> oneshot::Receiver<Result<DeviceIdentity, Fault>> {
        let (answer, receiver) = oneshot::channel();
        self.begun = self.fixture.tasks.send(Task::Look(answer)).is_ok();
        receiver
    }

    /// Has the fixture's thread hold the device that is there against the journal; it is free again when the answer comes.
    #[must_use]
    pub fn inspect(mut self, asked: inspection::Asked) -> oneshot::Receiver<Result<Inspection, LedgerRefused>> {
        let (answer, receiver) = oneshot::channel();
        self.begun = self.fixture.tasks.send(Task::Inspect(asked, answer)).is_ok();
        receiver
    }

    /// Hands the issuance to the fixture's thread.
    pub fn begin(mut self, issuance: IssuanceId, asked: Asked) {
        self.claim(issuance);
        // A thread that has ended leaves the fixture busy: the station is ending too.
        self.begun = self.fixture.tasks.send(Task::Work(issuance, asked)).is_ok();
        self.fixtures.beat();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.begun {
            self.fixtures.release(self.fixture);
        }
    }
}

/// Starts a fixture's thread. It ends when `perform` says that it should, or when the fixtures are gone.
pub fn spawn(
    name: &FixtureName,
    receiver: Receiver<Task>,
    mut perform: impl FnMut(Task) -> bool + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_string()).spawn(move || {
        while let Ok(task) = receiver.recv() {
            if !perform(task) {
                break;
            }
        }
    })
}

#[cfg(test)]
mod tests;
