//! A little of what `make tampering` does.

#![allow(clippy::unwrap_used, clippy::panic)]

use crash::{
    chance,
    tampering::{self, Plan},
};

/// Bytes throughout every file of a small journal changed, everything done to each of its records and files, and random
/// changes of a larger one: the audit names each, and names the record.
#[test]
fn everything_is_named() {
    let seed = chance::seed();
    let outcome = tampering::run(&Plan { seed, every: 17, records: 2000, changes: 40 }).unwrap();
    println!("{outcome}");
    assert!(outcome.missed.is_empty(), "{:#?} (seed {seed})", outcome.missed);
    assert!(outcome.changes.values().all(|count| *count > 0) && outcome.changes.len() == 13, "{outcome}");
}
