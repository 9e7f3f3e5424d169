//! The station's rules under one seeded scheduler.
//!
//! What is real: `issuance`, `station`'s ledger, rows, fixtures and driver, and the journal. What is simulated: devices
//! that are scanned rightly and wrongly, move, leave and fail ([`floor`]), a CA that refuses, defers, loses its answers
//! and answers late or wrongly ([`authority`]), a disk that has only what was waited for ([`disk`]), supervisors, and
//! kills between any two lines. One event after another (`world`); after each, the rules hold (`rules`), and once the
//! trouble ends, everything that can complete does.
//!
//! What is not simulated: time (records have the machine's, pauses take none), the queue's pauses between attempts,
//! several segments, and two fixtures inside one act at the same moment.
//!
//! A seed gives the same events each time: ids and keys are random, and nothing is decided by them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod authority;
pub mod chance;
pub mod desk;
pub mod disk;
pub mod floor;
mod lives;
pub mod place;
mod planted;
mod rules;
mod settle;
mod submission;
#[cfg(test)]
mod tests;
mod world;

pub use planted::Planted;
pub use world::{Failure, Outcome, run};

/// Events of a run, before the trouble ends: a seed is replayed with the same number.
pub const STEPS: u64 = 300;

/// Puts words before what went wrong.
pub fn said<E: std::fmt::Display>(act: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{act}: {error}")
}
