//! Every door without libFuzzer: all seeds, and mutations of them that are the same in every run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuzz::{
    Door,
    doors::DOORS,
    mutation::{Numbers, mutated},
};

/// Of each seed. All doors together take some twenty seconds, unoptimised; `make fuzz` gives each a hundred times as many.
const MUTATIONS: usize = 60;
/// Of each door: those with the most seeds share them.
const INPUTS_MOST: usize = 800;
/// A door that hangs is told by its name. Ten times what the slowest needs beside other tests on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Lets one input in: whether it was taken. What a door panics with becomes a message with the input.
fn enter(door: &Door, what: &str, octets: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (door.enter)(octets))).unwrap_or_else(|_| {
        let input = STANDARD.encode(octets);
        panic!("{} does not hold for {what}: {}; the input in base64: {input}", door.name, door.property)
    })
}

fn replay(door: &Door) {
    let seeds = door.all_seeds();
    assert!(!seeds.is_empty(), "{} has no seeds", door.name);
    let mut taken = 0;
    for (name, octets) in &seeds {
        assert!(octets.len() <= door.octets_most, "{}: libFuzzer would cut {name}, of {}", door.name, octets.len());
        taken += usize::from(enter(door, name, octets) && name.starts_with("made-"));
    }
    assert_eq!(taken, door.taken, "of {} seeds that {} makes so many are taken", seeds.len(), door.name);
    let mutations = MUTATIONS.min(INPUTS_MOST / seeds.len()).max(1);
    let mut numbers = Numbers::new(1);
    for (name, octets) in &seeds {
        for number in 0..mutations {
            let other = &seeds[numbers.below(seeds.len())].1;
            let changed = mutated(octets, other, door.octets_most, &mut numbers);
            enter(door, &format!("{name}-{number}"), &changed);
        }
    }
}

/// A door's seeds and their mutations within its time: a thread of its own, so that one that hangs is told.
fn within_patience(name: &str) {
    let door = DOORS.iter().find(|door| door.name == name).expect("a door of that name");
    let (done, wait) = channel::<()>();
    let thread = thread::spawn(move || {
        replay(door);
        drop(done);
    });
    if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs, or is very slow");
    }
    thread.join().expect("a door that holds");
}

macro_rules! doors {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[doc = concat!("What `", $name, "` promises holds for its seeds and for mutations of them.")]
            #[test]
            fn $test() {
                within_patience($name);
            }
        )*

        /// No door is without its test here.
        #[test]
        fn every_door_is_replayed() {
            let tested = BTreeSet::from([$($name),*]);
            assert_eq!(DOORS.iter().map(|door| door.name).collect::<BTreeSet<_>>(), tested);
        }
    };
}

doors! {
    certification_request: "certification-request",
    est_body: "est-body",
    lot_authorisation: "lot-authorisation",
    certificate: "certificate",
    trust_file: "trust-file",
    residency_evidence: "residency-evidence",
    journal_segments: "journal-segments",
    journal_repair: "journal-repair",
    journal_proof: "journal-proof",
    journal_log: "journal-log",
    witness: "witness",
    station_record: "station-record",
    ca_record: "ca-record",
    issuance: "issuance",
    worker_frame: "worker-frame",
    device_answer: "device-answer",
    station_toml: "station-toml",
    ca_toml: "ca-toml",
    ui_toml: "ui-toml",
    supervisors: "supervisors",
    names: "names",
    page: "page",
    station_api: "station-api",
    ca_answer: "ca-answer",
}

/// What stands in `seeds/` belongs to a door: a directory that no door has would never be read.
#[test]
fn every_kept_seed_belongs_to_a_door() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let names: Vec<String> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for name in names {
        assert!(DOORS.iter().any(|door| door.name == name), "no door is named {name}");
    }
}
