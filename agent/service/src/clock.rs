//! The time of day that may be recorded: never behind the newest record, never far ahead of what passed since the start.
//!
//! Two clocks are held against each other: the time of day, which anybody sets, and the time since the machine booted
//! (`CLOCK_BOOTTIME`, which goes on while it sleeps), which nobody does. A step back beyond [`STEP`] below the newest
//! record, and a step ahead beyond [`AHEAD`], are told and nothing is recorded until they have passed: a record from next
//! year would keep everything waiting until then once the clock is set right.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// What time synchronisation steps by in ordinary times: ridden out by holding the floor.
pub const STEP: Duration = Duration::from_secs(2);
/// A machine that found its time server after this process had started steps by less; what is recorded too early delays
/// nobody by more than this afterwards.
pub const AHEAD: Duration = Duration::from_secs(60);

/// What is wrong with the clock. Its words say what, [`remedy`](Self::remedy) what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is this much behind the newest record.
    #[error("the clock is {} behind the newest record", Words(*.0))]
    Behind(Duration),
    /// It is this much ahead of what passed since it was last believed.
    #[error("the clock was put {} ahead while this process was running", Words(*.0))]
    Ahead(Duration),
}

impl Wrong {
    /// What a person does about it, in whole sentences.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Behind(_) => "Set the machine's clock right.",
            Self::Ahead(_) => {
                "Set the machine's clock right; if the time that it shows now is right, restart this process, which \
                 believes the clock that it starts with."
            }
        }
    }
}

/// How long, for people.
struct Words(Duration);

impl fmt::Display for Words {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
        let seconds = self.0.as_secs();
        let unit = UNITS.iter().find(|(length, _)| seconds >= 2 * length);
        let (length, name) = unit.copied().unwrap_or((1, "seconds"));
        write!(to, "{} {name}", seconds / length)
    }
}

/// How far this clock is from another one that read `other` (milliseconds since 1970) just now, when that is more than
/// [`AHEAD`]: as a sentence that names the other one.
#[must_use]
pub fn differs(own: i64, other: i64, whose: &str) -> Option<String> {
    let by = Duration::from_millis(own.abs_diff(other));
    let direction = if own > other { "ahead of" } else { "behind" };
    (by > AHEAD).then(|| {
        format!("this machine's clock is {} {direction} {whose}: find out which is right and set the other", Words(by))
    })
}

/// What both clocks read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970, UTC.
    pub day: i64,
    /// Milliseconds since the machine booted.
    pub boot: i64,
}

impl Moment {
    /// Now, by the machine's clocks.
    #[must_use]
    pub fn read() -> Self {
        let boot = || {
            let since = clock_gettime(ClockId::Boottime);
            since.tv_sec * 1000 + since.tv_nsec / 1_000_000
        };
        loop {
            let before = boot();
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let after = boot();
            // Whoever was stopped in between did not read one moment.
            if after - before < 1000 {
                return Self { day: i64::try_from(since.as_millis()).unwrap_or(i64::MAX), boot: after };
            }
        }
    }
}

/// A clock that is believed within bounds. Clones are the same one.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> Moment + Send + Sync>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Time of day less time since the boot, in milliseconds, at its greatest while it was believed.
    offset: Option<i64>,
    /// The newest record's time.
    floor: i64,
}

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::reading(Moment::read)
    }

    /// One that is read so: tests own theirs.
    #[must_use]
    pub fn reading(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), known: Arc::default() }
    }

    /// What it reads, whether or not that is believed: milliseconds since 1970.
    #[must_use]
    pub fn unjudged(&self) -> i64 {
        (self.read)().day
    }

    /// A record of this time (milliseconds since 1970) exists.
    pub fn raise(&self, newest: i64) {
        let mut known = self.lock();
        known.floor = known.floor.max(newest);
    }

    /// The newest record's time, milliseconds since 1970.
    #[must_use]
    pub fn floor(&self) -> i64 {
        self.lock().floor
    }

    /// The time of the next record, milliseconds since 1970.
    ///
    /// # Errors
    /// Nothing is to be recorded now; it may be asked again.
    pub fn now(&self) -> Result<i64, Wrong> {
        let mut known = self.lock();
        known.judge((self.read)())
    }

    /// A time for what is told or recorded although the clock is wrong: what it was, and what passed since.
    #[must_use]
    pub fn best(&self) -> i64 {
        let mut known = self.lock();
        let moment = (self.read)();
        match (known.judge(moment), known.offset) {
            (Ok(now), _) => now,
            (Err(Wrong::Ahead(_)), Some(offset)) => known.floor.max(offset + moment.boot),
            (Err(_), _) => known.floor,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Clock").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Known {
    fn judge(&mut self, Moment { day, boot }: Moment) -> Result<i64, Wrong> {
        let offset = day - boot;
        let believed = self.offset.unwrap_or(offset);
        if offset - believed > AHEAD.as_millis() as i64 {
            return Err(Wrong::Ahead(Duration::from_millis(offset.abs_diff(believed))));
        }
        if self.floor - day > STEP.as_millis() as i64 {
            // A clock that a start finds behind is not believed: set right, it has not stepped ahead.
            return Err(Wrong::Behind(Duration::from_millis(self.floor.abs_diff(day))));
        }
        // Nor has one that was set back and is set right.
        self.offset = Some(believed.max(offset));
        Ok(day.max(self.floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;
    const NOW: i64 = 1_790_000_000_000;

    /// A clock that reads what the test writes, and the newest record's time.
    fn clock(newest: i64) -> (Clock, impl Fn(i64, i64) -> Result<i64, Wrong>) {
        let moment = Arc::new(Mutex::new(Moment { day: 0, boot: 0 }));
        let clock = Clock::reading({
            let moment = Arc::clone(&moment);
            move || *moment.lock().unwrap()
        });
        clock.raise(newest);
        let at = {
            let clock = clock.clone();
            move |day, boot| {
                *moment.lock().unwrap() = Moment { day, boot };
                clock.now()
            }
        };
        (clock, at)
    }

    /// Time that passes is time; a step of two seconds back holds the newest record's.
    #[test]
    fn small_steps_are_ridden_out() {
        let (clock, at) = clock(0);
        assert_eq!(at(NOW, 5), Ok(NOW));
        assert_eq!(at(NOW + HOUR, 5 + HOUR), Ok(NOW + HOUR));
        clock.raise(NOW + HOUR);
        assert_eq!(at(NOW + HOUR - 2000, 5 + HOUR), Ok(NOW + HOUR));
        assert_eq!(at(NOW + HOUR + 30_000, 5 + HOUR), Ok(NOW + HOUR + 30_000));
        assert_eq!(at(NOW + HOUR - 2001, 5 + HOUR), Err(Wrong::Behind(Duration::from_millis(2001))));
    }

    /// An hour back is refused until the newest record is reached again, and setting it right is no step ahead; neither is
    /// it after a start that found the clock behind.
    #[test]
    fn an_hour_back_is_refused_until_it_has_passed() {
        let behind = Err(Wrong::Behind(Duration::from_secs(3600)));
        let (clock, at) = clock(0);
        at(NOW, 5).unwrap();
        assert_eq!(at(NOW - HOUR, 5), Ok(NOW - HOUR), "nothing was recorded since");
        assert_eq!(at(NOW, 5), Ok(NOW));
        clock.raise(NOW);
        assert_eq!(at(NOW - HOUR, 6), behind);
        assert_eq!(clock.best(), NOW);
        assert_eq!(at(NOW + 1000, 1005), Ok(NOW + 1000));
        let (_, at) = self::clock(NOW);
        assert_eq!(at(NOW - HOUR, 5), behind);
        assert_eq!(at(NOW + 1000, 1005), Ok(NOW + 1000));
    }

    /// A year ahead is refused and not believed later either, until it is set right; a start believes what it finds. What
    /// must have a time has that which passed.
    #[test]
    fn a_year_ahead_is_never_recorded() {
        let (clock, at) = clock(NOW);
        at(NOW, 5).unwrap();
        for later in [0, 1000, HOUR] {
            assert_eq!(at(NOW + YEAR + later, 5 + later), Err(Wrong::Ahead(Duration::from_millis(YEAR as u64))));
            assert_eq!(clock.best(), NOW + later);
        }
        assert_eq!(at(NOW + HOUR, 5 + HOUR), Ok(NOW + HOUR));
        assert_eq!(self::clock(NOW).1(NOW + YEAR, 5 + HOUR), Ok(NOW + YEAR));
    }

    /// The words have a length that people grasp, and what to do; small differences between machines are not told.
    #[test]
    fn it_is_said_in_words() {
        let ahead = Wrong::Ahead(Duration::from_millis(YEAR as u64));
        assert!(ahead.to_string().contains("365 days ahead") && ahead.remedy().contains("restart"), "{ahead}");
        let behind = Wrong::Behind(Duration::from_secs(3600));
        assert!(behind.to_string().contains("60 minutes behind"), "{behind}");
        assert_eq!(differs(NOW, NOW + 60_000, "the CA's"), None);
        let told = differs(NOW, NOW + 3 * HOUR, "the CA's").unwrap();
        assert!(told.contains("3 hours behind the CA's"), "{told}");
        assert!(differs(NOW + 3 * HOUR, NOW, "the CA's").unwrap().contains("ahead of the CA's"));
    }

    /// The machine's own clock is believed, and goes forward.
    #[test]
    fn the_machine_has_a_time() {
        let clock = Clock::system();
        let first = clock.now().unwrap();
        clock.raise(first);
        assert!(clock.now().unwrap() >= first && first > NOW - YEAR);
    }
}
