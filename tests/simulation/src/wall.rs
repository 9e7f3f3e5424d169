//! The machine's clocks: the time of day, which somebody sets wrong now and then, and the time since the boot.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use service::clock::{AHEAD, Clock, Moment, STEP};
use tokio::{runtime::Handle, time::Instant};

/// When a simulation begins, in milliseconds since 1970.
const BEGINNING: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;

/// Both, in milliseconds.
#[derive(Debug)]
pub struct Wall {
    simulated: Handle,
    began: Instant,
    /// The right time of day at the beginning.
    beginning: AtomicI64,
    /// How far the time of day is ahead of the right one.
    ahead: AtomicI64,
}

impl Wall {
    /// Clocks that go as the simulation's does.
    #[must_use]
    pub fn new(simulated: Handle) -> Arc<Self> {
        let began = {
            let _inside = simulated.enter();
            Instant::now()
        };
        Arc::new(Self { simulated, began, beginning: AtomicI64::new(BEGINNING), ahead: AtomicI64::new(0) })
    }

    fn passed(&self) -> i64 {
        let _inside = self.simulated.enter();
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The right time of day.
    #[must_use]
    pub fn right(&self) -> i64 {
        self.beginning.load(Relaxed) + self.passed()
    }

    /// What a process that starts now reads the time from. One that was ahead is believed by it, so that it is the right one
    /// from now on.
    #[must_use]
    pub fn started(self: &Arc<Self>) -> Clock {
        let ahead = self.ahead.load(Relaxed);
        if ahead > 0 {
            self.beginning.fetch_add(ahead, Relaxed);
            self.ahead.store(0, Relaxed);
        }
        let wall = Arc::clone(self);
        Clock::reading(move || Moment { day: wall.right() + wall.ahead.load(Relaxed), boot: wall.passed() })
    }

    /// Somebody sets the time of day an hour back or a year ahead.
    pub(crate) fn set_wrong(&self, back: bool) {
        self.ahead.store(if back { -HOUR } else { YEAR }, Relaxed);
    }

    /// Somebody sets it right.
    pub(crate) fn set_right(&self) {
        self.ahead.store(0, Relaxed);
    }

    /// Whether nothing is to be recorded now, when the newest record is of this time.
    pub(crate) fn is_wrong(&self, newest: i64) -> bool {
        let ahead = self.ahead.load(Relaxed);
        ahead > 0 || newest - (self.right() + ahead) > STEP.as_millis() as i64
    }

    /// Nothing that is recorded now may be later.
    #[must_use]
    pub fn latest(&self) -> i64 {
        self.right() + AHEAD.as_millis() as i64
    }
}
