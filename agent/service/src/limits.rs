//! What one caller may take of a server: calls in a time, and connections at once.
//!
//! Calls are counted by client certificate with a token bucket: `burst` calls at once, `per_second` from then on. Whoever is
//! beyond it is told when to come again, before anything is done for the call. Kept here rather than taken from a library: it
//! is one number for each certificate.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::configuration::Table;

/// As many certificates are known by their calls before those whose bucket is full again are forgotten.
const KNOWN_MOST: usize = 1024;

/// `[limits]`: what one caller may take of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second that one client certificate may go on with.
    pub calls_per_second: u32,
    /// Calls that one client certificate may make at once, after it made none for a while.
    pub calls_burst: u32,
    /// Connections of all clients together; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one client certificate; a further one is closed.
    pub connections_per_caller: usize,
}

impl Limits {
    /// For a server whose callers ask of single devices: an MES that looks at 32 fixtures ten times a second makes 320 calls, a
    /// loop that forgot its pause some thousands. Each connection takes a file descriptor, of which a process has 1,024 as a rule.
    pub const OF_A_STATION: Self =
        Self { calls_per_second: 500, calls_burst: 1_000, connections: 512, connections_per_caller: 128 };

    /// For a CA: beyond what it answers with two cores when each call is a single certificate. That one station keeps no
    /// other waiting is not left to this: callers take turns.
    pub const OF_A_CA: Self = Self { calls_per_second: 10_000, calls_burst: 20_000, ..Self::OF_A_STATION };

    /// Reads `[limits]`; what is not given is as in `default`.
    #[must_use]
    pub fn from_table(root: &Table<'_>, default: Self) -> Self {
        let Some(table) = root.optional_table("limits") else { return default };
        let integer = |key, most: i64, default: usize| {
            let default = i64::try_from(default).unwrap_or(most);
            usize::try_from(table.integer_or(key, 1..=most, default)).unwrap_or(1)
        };
        let calls = |key, default| u32::try_from(integer(key, 1_000_000, default)).unwrap_or(u32::MAX);
        Self {
            calls_per_second: calls("calls_per_second", default.calls_per_second as usize),
            calls_burst: calls("calls_burst", default.calls_burst as usize),
            connections: integer("connections", 100_000, default.connections),
            connections_per_caller: integer("connections_per_caller", 100_000, default.connections_per_caller),
        }
    }
}

/// Token buckets, one for each client certificate (by its SHA-256).
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Between two calls that go on without end.
    every: Duration,
    /// How far ahead of that a caller may be.
    ahead: Duration,
    /// When each bucket is full again.
    full: Arc<Mutex<HashMap<[u8; 32], Instant>>>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let every = Duration::from_secs(1) / limits.calls_per_second.max(1);
        Self { every, ahead: every * (limits.calls_burst.max(1) - 1), full: Arc::default() }
    }

    /// Counts a call. What is refused is not counted: the error is how long until the next one is let through.
    pub(crate) fn count(&self, certificate: [u8; 32], now: Instant) -> Result<(), Duration> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if full.len() >= KNOWN_MOST && !full.contains_key(&certificate) {
            full.retain(|_, at| *at > now);
        }
        let at = full.get(&certificate).copied().unwrap_or(now).max(now);
        let wait = at.saturating_duration_since(now).saturating_sub(self.ahead);
        if wait.is_zero() {
            full.insert(certificate, at + self.every);
            return Ok(());
        }
        Err(wait)
    }
}

/// How many of each there are at once.
#[derive(Debug)]
pub(crate) struct Counted<K> {
    most: usize,
    there: Mutex<HashMap<K, usize>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct One<K: Hash + Eq> {
    of: Arc<Counted<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Counted<K> {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, there: Mutex::default() })
    }

    /// One more, unless there are as many as may be.
    pub(crate) fn one(self: &Arc<Self>, key: K) -> Option<One<K>> {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let count = there.entry(key.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(One { of: Arc::clone(self), key })
    }
}

impl<K: Hash + Eq> Drop for One<K> {
    fn drop(&mut self) {
        let mut there = self.of.there.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = there.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                there.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::File;

    const LIMITS: Limits = Limits { calls_per_second: 10, calls_burst: 3, ..Limits::OF_A_STATION };

    /// A burst goes through, then one call in each tenth of a second; a refused call costs nothing; another certificate has a
    /// bucket of its own, and one that was silent has a full one again.
    #[test]
    fn a_bucket_empties_and_fills() {
        let (rates, began) = (Rates::new(&LIMITS), Instant::now());
        let count = |certificate: u8, after: u64| rates.count([certificate; 32], began + Duration::from_millis(after));
        for _ in 0..3 {
            count(1, 0).unwrap();
        }
        for _ in 0..5 {
            assert_eq!(count(1, 0), Err(Duration::from_millis(100)));
        }
        assert_eq!(count(1, 60), Err(Duration::from_millis(40)));
        count(2, 60).unwrap();
        count(1, 100).unwrap();
        assert_eq!(count(1, 100), Err(Duration::from_millis(100)));
        for _ in 0..3 {
            count(1, 10_000).unwrap();
        }
        assert!(count(1, 10_000).is_err());
    }

    /// However many certificates call, those that are silent are forgotten.
    #[test]
    fn silent_callers_are_forgotten() {
        let (rates, began) = (Rates::new(&LIMITS), Instant::now());
        for number in 0..5 * KNOWN_MOST {
            let mut certificate = [0; 32];
            certificate[..8].copy_from_slice(&number.to_be_bytes());
            rates.count(certificate, began + Duration::from_secs(number as u64)).unwrap();
        }
        assert!(rates.full.lock().unwrap().len() <= KNOWN_MOST);
    }

    /// As many as may be, and a place for each that ends.
    #[test]
    fn places_are_given_back() {
        let counted = Counted::new(2);
        let (first, second) = (counted.one("a"), counted.one("a"));
        assert!(first.is_some() && second.is_some() && counted.one("a").is_none());
        assert!(counted.one("b").is_some());
        drop(second);
        assert!(counted.one("a").is_some());
        drop(first);
        assert!(counted.there.lock().unwrap().is_empty());
    }

    /// What is not given is as by default; what is wrong is told, with its place.
    #[test]
    fn the_table_is_read() {
        let read = |text: &str| {
            let file = File::parse("/etc/s.toml".as_ref(), text.to_owned()).unwrap();
            let limits = Limits::from_table(&file.root(), Limits::OF_A_STATION);
            (limits, file.finish().map_or_else(|mistakes| mistakes.to_string(), |()| String::new()))
        };
        assert_eq!(read(""), (Limits::OF_A_STATION, String::new()));
        let given = "[limits]\ncalls_per_second = 10\ncalls_burst = 3\n";
        assert_eq!(read(given), (LIMITS, String::new()));
        let (_, wrong) = read("[limits]\ncalls_burst = 0\nconnection = 5\n");
        assert!(wrong.contains("limits.calls_burst: must be from 1 to 1000000; found 0"), "{wrong}");
        assert!(wrong.contains("did you mean `connections`?"), "{wrong}");
    }
}
