//! A few power cuts, kills and failures; `make power-cut` and `make journal-faults` do many.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::PathBuf, time::Duration};

use crash::{chance, image, power_cut, strace, syscalls};

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_journal-writer"))
}

/// Power cuts of journals without and with a past lose nothing that was acknowledged; the same without syncs does.
#[test]
fn power_cuts() {
    if let Some(unable) = image::unable().or_else(strace::unable) {
        println!("skipped: {unable}");
        return;
    }
    let seed = chance::seed();
    println!("seed {seed}");
    let plan = power_cut::Plan {
        seed,
        fresh: 4,
        aged: 4,
        segments: 8,
        controls: 2,
        within: Duration::from_secs(120),
        program: program(),
    };
    let outcome = power_cut::run(&plan, &mut |broken| println!("{broken}")).unwrap();
    println!("{outcome}");
    assert!(outcome.broken().is_empty(), "{:?} (seed {seed})", outcome.broken());
}

/// Killed or failed at some of the system calls of opening, appending and rolling, the writer says why and loses nothing.
#[test]
fn system_calls() {
    if let Some(unable) = strace::unable() {
        println!("skipped: {unable}");
        return;
    }
    let seed = chance::seed();
    println!("seed {seed}");
    let plan = syscalls::Plan { seed, every: 11, program: program() };
    let outcome = syscalls::run(&plan, &mut |broken| println!("{broken}")).unwrap();
    println!("{outcome}");
    assert!(outcome.broken().is_empty(), "{:?} (seed {seed})", outcome.broken());
}
