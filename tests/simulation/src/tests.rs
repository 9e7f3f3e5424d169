use super::*;

/// A planted bug is found within so many seeds.
const SEEDS_MOST: u64 = 10;

/// The first failure, and in how many seeds; each replays.
fn find(planted: Planted) -> Box<Failure> {
    let found = (1..=SEEDS_MOST).find_map(|seed| run(seed, STEPS, planted).err());
    let failure = found.expect("a planted bug is not found");
    println!("{planted:?} is found by seed {}: {}", failure.seed, failure.wrong);
    assert_eq!(run(failure.seed, STEPS, planted).unwrap_err().to_string(), failure.to_string());
    failure
}

/// A few seeds: every rule holds after every event, devices fail, the station is killed, and issuances complete.
#[test]
fn the_rules_hold() {
    for seed in 1..=8 {
        let outcome = run(seed, STEPS, Planted::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(outcome.crashes > 0 && outcome.faults.all() > 0 && outcome.completed > 0, "{outcome:?}");
    }
}

/// The same seed gives the same events, one for one, to the byte on the disk; on sled as well, whose rows are deleted and
/// damaged.
#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 16] {
        let [first, again] = [(); 2].map(|()| run(seed, STEPS, Planted::default()).unwrap());
        for (one, other) in first.trace.iter().zip(&again.trace) {
            assert_eq!(one, other);
        }
        assert_eq!(first.trace_hash(), again.trace_hash(), "seed {seed}");
    }
    let other = run(4, STEPS, Planted::default()).unwrap();
    assert_ne!(other.trace_hash(), run(3, STEPS, Planted::default()).unwrap().trace_hash());
}

/// A station that does not look whether a key is there makes a second one after a crash: that is found.
#[test]
fn a_second_key_is_found() {
    let failure = find(Planted { generate_without_looking: true, ..Planted::default() });
    assert!(failure.wrong.contains("second key"), "{failure}");
}

/// A station that does not wait for the disk loses what it acknowledged: that is found.
#[test]
fn an_early_acknowledgement_is_found() {
    let failure = find(Planted { ack_before_sync: true, ..Planted::default() });
    let lost = ["lost", "announce", "without one"];
    assert!(lost.iter().any(|word| failure.wrong.contains(word)), "{failure}");
}

/// A station that forgets its queue at a start lets issuances wait for ever: that is found.
#[test]
fn a_forgotten_queue_is_found() {
    let failure = find(Planted { forget_queue_on_restart: true, ..Planted::default() });
    assert!(failure.wrong.contains("for ever") || failure.wrong.contains("that answers"), "{failure}");
}

/// A CA that makes another certificate when it is asked again, as the lost answer of a retry needs it, leaves two that are
/// valid: that is found.
#[test]
fn a_second_certificate_is_found() {
    let failure = find(Planted { mint_again: true, ..Planted::default() });
    assert!(failure.wrong.contains("duplicated"), "{failure}");
}
