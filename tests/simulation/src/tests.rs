use super::*;

/// A planted bug is found within so many seeds.
const SEEDS_MOST: u64 = 10;

fn find(planted: Planted) -> Box<Failure> {
    (1..=SEEDS_MOST).find_map(|seed| run(seed, STEPS, planted).err()).expect("a planted bug is not found")
}

/// A few seeds: every rule holds after every event, devices fail, the station is killed, and issuances complete.
#[test]
fn the_rules_hold() {
    for seed in 1..=8 {
        let outcome = run(seed, STEPS, Planted::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(outcome.crashes > 0 && outcome.faults > 0 && outcome.completed > 0, "{outcome:?}");
    }
}

/// The same seed gives the same events, one for one.
#[test]
fn a_seed_replays_exactly() {
    let [first, again] = [(); 2].map(|()| run(3, STEPS, Planted::default()).unwrap().trace);
    for (one, other) in first.iter().zip(&again) {
        assert_eq!(one, other);
    }
    assert_eq!(first.len(), again.len());
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
    assert!(failure.wrong.contains("lost") || failure.wrong.contains("announce"), "{failure}");
}

/// A station that forgets its queue at a start lets issuances wait for ever: that is found.
#[test]
fn a_forgotten_queue_is_found() {
    let failure = find(Planted { forget_queue_on_restart: true, ..Planted::default() });
    assert!(failure.wrong.contains("for ever"), "{failure}");
}
