//! A small journal and its projections, damaged in many ways; `make journal-faults` does it in all.

#![allow(clippy::unwrap_used, clippy::panic)]

use crash::{
    chance,
    damage::{self, Every},
    rows,
};

/// Bytes throughout headers, frames and zeros: a bit flipped, and the file cut off there. Nothing panics,
/// no record is wrong, and no refusal is without file, offset and repair.
#[test]
fn bytes_of_a_journal() {
    let seed = chance::seed();
    println!("seed {seed}");
    let every = Every { head: 5, entry: 61, dull: 1999 };
    let outcome = damage::damage_bytes(seed, every).unwrap_or_else(|broken| panic!("{broken} (seed {seed})"));
    println!("{outcome}");
    assert!(outcome.refused > 50 && outcome.unread > 20 && outcome.cut > 20, "{outcome}");
}

/// Projections whose files are deleted, cut, zeroed or overwritten open with the rows of a rebuild.
#[test]
fn damaged_projections_are_rebuilt() {
    let seed = chance::seed();
    let befell = rows::damage_and_compare(seed, 15).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(befell.rebuilt > 0, "{befell:?} (seed {seed})");
}
