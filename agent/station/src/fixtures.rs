//! The fixtures: one thread each, busy or free, and what each last worked on.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use issuance::{FixtureName, IssuanceId, profile::KeystoreKind};
use tokio::sync::watch;

use crate::driver::Asked;

/// One fixture, as the rest of the station sees it.
#[derive(Debug)]
pub struct Fixture {
    /// Its name.
    pub name: FixtureName,
    /// What is behind it.
    pub kind: KeystoreKind,
    status: Mutex<Status>,
    work: Sender<(IssuanceId, Asked)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Status {
    /// Reserved or at work.
    busy: bool,
    /// What it last worked on, until the next scan.
    last: Option<IssuanceId>,
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
    pub fn new(
        fixtures: Vec<(FixtureName, KeystoreKind, Option<IssuanceId>)>,
    ) -> (Self, Vec<Receiver<(IssuanceId, Asked)>>) {
        let (fixtures, receivers) = fixtures
            .into_iter()
            .map(|(name, kind, last)| {
                let (work, receiver) = channel();
                (Fixture { name, kind, status: Mutex::new(Status { busy: false, last }), work }, receiver)
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
        if status.busy {
            return None;
        }
        status.busy = true;
        drop(status);
        Some(Reservation { fixtures: self, fixture, begun: false })
    }

    /// What fixtures are working on at this moment.
    #[must_use]
    pub fn at_work(&self) -> Vec<IssuanceId> {
        self.fixtures
            .iter()
            .filter_map(|fixture| {
                let status = fixture.lock();
                status.last.filter(|_| status.busy)
            })
            .collect()
    }

    /// Goes on with an issuance where its device last was, if nothing else has begun there since.
    pub fn go_on(&self, issuance: IssuanceId) {
        for fixture in &self.fixtures {
            if fixture.lock().last == Some(issuance)
                && let Some(reservation) = self.reserve(fixture)
            {
                reservation.begin(issuance, Asked::Unattended);
            }
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

    /// The fixture's thread is done with what it had begun.
    pub fn release(&self, fixture: &Fixture) {
        fixture.lock().busy = false;
        self.beat();
    }

    fn beat(&self) {
        self.pulse.send_modify(|beat| *beat = beat.wrapping_add(1));
    }
}

impl Fixture {
    /// Whether it is busy, and what it last worked on.
    #[must_use]
    pub fn status(&self) -> (bool, Option<IssuanceId>) {
        let status = self.lock();
        (status.busy, status.last)
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Two plain fields: a panic cannot leave them half changed.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// Says for which issuance it is, before that is begun: from now on the fixture counts as at work on it.
    pub fn claim(&self, issuance: IssuanceId) {
        self.fixture.lock().last = Some(issuance);
    }

    /// Hands the issuance to the fixture's thread.
    pub fn begin(mut self, issuance: IssuanceId, asked: Asked) {
        self.claim(issuance);
        // A thread that has ended leaves the fixture busy: the station is ending too.
        self.begun = self.fixture.work.send((issuance, asked)).is_ok();
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

/// Starts a fixture's thread. It ends when `work` says that it should, or when the fixtures are gone.
pub fn spawn(
    name: &FixtureName,
    receiver: Receiver<(IssuanceId, Asked)>,
    mut work: impl FnMut(IssuanceId, Asked) -> bool + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_string()).spawn(move || {
        while let Ok((issuance, asked)) = receiver.recv() {
            if !work(issuance, asked) {
                break;
            }
        }
    })
}
