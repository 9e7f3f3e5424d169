//! Every door through which octets come that somebody else made: each is a function from octets to whether they were taken, which panics
//! when its property does not hold. libFuzzer makes the octets (`make fuzz`, `main.rs`), or `tests/replay.rs` does with the seeds
//! and some mutations of them (`make test`).
//!
//! What is behind a signature or a checksum is reached by making it anew over whatever the fuzzer wrote (`key.rs`): else it
//! would never see more than the first refusal.

// A door's panic is its finding.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod doors;
mod input;
mod key;
mod memory_disk;
pub mod mutation;
mod scratch;
mod tree;

use std::{fs, path::Path};

/// A way in.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// As in `DOOR=…`, and the directory of its seeds.
    pub name: &'static str,
    /// What holds for all octets, besides that nothing panics, hangs or takes memory without bound.
    pub property: &'static str,
    /// Lets octets in: whether they were taken. Panics when the property does not hold.
    pub enter: fn(&[u8]) -> bool,
    /// What a well-meaning peer sends, and a few that are not: made by the project's own code.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many of these are taken: with fewer, the fuzzer begins at a door that is shut.
    pub taken: usize,
    /// The longest input, in octets (`-max_len`).
    pub octets_most: usize,
}

/// One input's time (`-timeout`): the slowest honest one, a request of 16 KiB with an RSA-4096 key, takes milliseconds, unoptimised
/// and instrumented. What takes a thousand times as long hangs the thread that serves everybody.
pub const SECONDS_MOST: u32 = 5;
/// The process's memory (`-rss_limit_mb`): libFuzzer's own tables and the program's code are some 400 MiB, the largest answer that a
/// door may honestly allocate for is a worker's frame of 16 MiB.
pub const MEBIBYTES_MOST: u32 = 1024;

/// Names the directory in which doors that read files put theirs.
pub const SCRATCH: &str = "FUZZ_SCRATCH";

impl Door {
    /// Its seeds, those that its code makes and those that stand in `seeds/<name>/`, each with a name.
    #[must_use]
    pub fn all_seeds(&self) -> Vec<(String, Vec<u8>)> {
        let made = (self.seeds)().into_iter().enumerate().map(|(number, seed)| (format!("made-{number}"), seed));
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds")).join(self.name);
        let kept = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a seed is a file"))
        });
        let mut all: Vec<_> = made.chain(kept).collect();
        all.sort();
        all
    }
}
