//! The station's rules under one seeded scheduler.
//!
//! What is real: `issuance`; `station`'s ledger, rows, fixtures, driver and the sender of its queue; and the journal. What
//! is simulated: devices that are scanned rightly and wrongly, move, leave and fail ([`floor`]), also while the station is
//! away; a CA that refuses, defers, is away for a week, flaps, cuts its answers in half, answers late, wrongly or not at
//! all ([`ca`], [`authority`]); a disk that forgets what was not synced, fails and is full ([`disk`]); rows that are
//! deleted or damaged between two lives; a time of day that is set an hour back and a year ahead ([`wall`]); supervisors; kills between any two lines, within any change of the disk, and once
//! more while the journal opens (`lives`). One event after another (`world`); after each, the rules hold (`rules`), and
//! once the trouble ends, everything that can complete does.
//!
//! Time passes by the simulation's clock, for the queue's pauses and in the records. What is not simulated: two fixtures
//! inside one act at the same moment. Most runs have their rows in memory, every sixteenth on sled.
//!
//! In every fourth run the CA makes another certificate each time it is asked: each but one is then owed to a doubt that the
//! journal has.
//!
//! A seed gives the same events each time, to the byte on the disk: ids and keys are random, and nothing is decided by
//! them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod authority;
pub mod ca;
pub mod chance;
pub mod desk;
pub mod disk;
mod events;
pub mod floor;
mod lives;
mod outcome;
pub mod place;
mod planted;
mod rot;
mod rules;
mod sending;
mod settle;
#[cfg(test)]
mod tests;
pub mod wall;
mod world;

pub use outcome::{Failure, Faults, Outcome};
pub use planted::Planted;
pub use world::run;

/// Events of a run, before the trouble ends: a seed is replayed with the same number.
pub const STEPS: u64 = 300;

/// Puts words before what went wrong.
pub fn said<E: std::fmt::Display>(act: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{act}: {error}")
}
