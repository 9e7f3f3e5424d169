//! What a run came to, or the rule that did not hold.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Faults, by where they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of devices and of the link to them.
    pub device: u64,
    /// Of the CA and of the link to it.
    pub ca: u64,
    /// Of the journal's disk.
    pub disk: u64,
    /// Of the rows' files.
    pub rows: u64,
    /// Of the clock.
    pub clock: u64,
}

impl Faults {
    /// All.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.device + self.ca + self.disk + self.rows + self.clock
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Events.
    pub steps: u64,
    /// Issuances that were acknowledged.
    pub issuances: u64,
    /// Issuances that were completed.
    pub completed: u64,
    /// Issuances that wait for a person at the end, each with a reason: the device is not known rightly, or holds what a
    /// cancelled issuance left.
    pub waiting: u64,
    /// What went wrong.
    pub faults: Faults,
    /// Lives of the station that did not end well.
    pub crashes: u64,
    /// Those of them that ended with a power cut.
    pub power_cuts: u64,
    /// Kills while the station opened its journal.
    pub opening_kills: u64,
    /// Attempts to reach the CA.
    pub attempts: u64,
    /// The CA's absences of a day and more.
    pub long_outages: u64,
    /// Time that passed in the simulation.
    pub simulated: Duration,
    /// What happened, an event a line.
    pub trace: Vec<String>,
}

impl Outcome {
    /// A number that differs when anything else happened.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.trace.hash(&mut hasher);
        hasher.finish()
    }

    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.issuances += other.issuances;
        self.completed += other.completed;
        self.waiting += other.waiting;
        self.faults.device += other.faults.device;
        self.faults.ca += other.faults.ca;
        self.faults.disk += other.faults.disk;
        self.faults.rows += other.faults.rows;
        self.faults.clock += other.faults.clock;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.opening_kills += other.opening_kills;
        self.attempts += other.attempts;
        self.long_outages += other.long_outages;
        self.simulated += other.simulated;
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of which run.
    pub seed: u64,
    /// Which rule, in words.
    pub wrong: String,
    /// What happened until then.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.wrong)?;
        write!(f, "SEED={} make simulate replays it", self.seed)
    }
}

impl std::error::Error for Failure {}
