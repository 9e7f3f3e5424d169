//! What a TPM says when it cannot.

use std::time::{Duration, Instant};

use hsm_sim::{
    Relay, Swtpm, TpmFault, TpmInjection,
    relay::{command, response},
};
use issuance::{CertificateLocation, FaultKind, KeyAlgorithm, KeyLocation, Keystore};
use keystore::{KeystoreSettings, Tpm, Worker};

use super::Issuance;
use crate::{
    bench::{kind, worker},
    ca,
    wire::Wire,
};

pub(super) fn key(number: u8) -> KeyLocation {
    KeyLocation::TpmHandle(0x8100_0010 + u32::from(number))
}

pub(super) fn place(number: u8) -> CertificateLocation {
    CertificateLocation::NvIndex(0x0180_0010 + u32::from(number))
}

pub(super) fn issuance(number: u8) -> Issuance {
    Issuance::at(key(number), place(number))
}

/// A TPM behind a link, a keystore that has it over that link, and a wire that goes past the link.
pub(super) fn start() -> (Swtpm, Relay, Tpm, Wire) {
    let tpm = Swtpm::start().unwrap();
    let relay = Relay::before(&tpm).unwrap();
    let (keystore, wire) = (Tpm::new(relay.tcti()), Wire::of(&tpm));
    (tpm, relay, keystore, wire)
}

/// A worker that has the TPM over a link.
pub(super) fn start_worker(relay: &Relay) -> Worker {
    Worker::new(worker(KeystoreSettings::Tpm { tcti: relay.tcti().into() }, Vec::new()))
}

/// A TPM that is busy for seven commands in a row, wherever in an issuance, is waited for, and nobody notices.
#[test]
fn a_busy_tpm_is_waited_for() {
    let (_tpm, relay, mut keystore, _) = start();
    let codes = [response::RETRY, response::YIELDED, response::TESTING, response::NV_RATE, response::NV_UNAVAILABLE];
    let commands = [
        command::GET_CAPABILITY,
        command::CREATE_PRIMARY,
        command::CREATE,
        command::EVICT_CONTROL,
        command::SIGN,
        command::NV_DEFINE_SPACE,
        command::NV_WRITE,
        command::NV_READ,
    ];
    for (number, code) in codes.into_iter().enumerate() {
        relay.forget();
        for command in commands {
            // Meeting the device has several of these two, and one call has one patience for all that it meets.
            let skip = if matches!(command, command::CREATE_PRIMARY | command::NV_READ) { 3 } else { 1 };
            relay.inject(TpmInjection::of(TpmFault::Answer(code)).only(command).after(skip).times(7));
        }
        let mut issuance = issuance(number as u8);
        for _ in 0..2 {
            issuance.work(&mut keystore).unwrap_or_else(|fault| panic!("{code:#x}: {fault:?} {:?}", relay.struck()));
        }
        relay.clear();
        assert!(relay.struck().len() >= 7 * 4, "{code:#x} struck {} times", relay.struck().len());
    }
}

/// A TPM that stays busy is given up after some seconds, and is used again when it is not.
#[test]
fn a_tpm_that_stays_busy_is_said_to_be() {
    let (_tpm, relay, mut keystore, _) = start();
    for (number, code) in [response::RETRY, response::NV_RATE].into_iter().enumerate() {
        relay.inject(TpmInjection::of(TpmFault::Answer(code)).only(command::CREATE).for_ever());
        let asked = Instant::now();
        assert_eq!(kind(keystore.generate_key(&key(number as u8), KeyAlgorithm::P256)), FaultKind::DeviceBusy);
        assert!((1..20).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
        relay.clear();
        issuance(number as u8).work(&mut keystore).unwrap();
    }
}

/// A rate limit while a key is made permanent costs a pause there, not another generation.
#[test]
fn a_rate_limit_does_not_cost_a_generation() {
    let (_tpm, relay, mut keystore, _) = start();
    relay.inject(TpmInjection::of(TpmFault::Answer(response::NV_RATE)).only(command::EVICT_CONTROL).times(5));
    keystore.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    assert_eq!((relay.count(command::CREATE), relay.count(command::EVICT_CONTROL)), (1, 6));
}

/// A lockout is said at once: the command that met it is not sent again, which could only make it longer.
#[test]
fn a_lockout_is_never_tried_again() {
    let (_tpm, relay, mut keystore, _) = start();
    issuance(0).work(&mut keystore).unwrap();
    relay.forget();
    relay.inject(TpmInjection::of(TpmFault::Answer(response::LOCKOUT)).only(command::SIGN).for_ever());
    assert_eq!(kind(keystore.sign(&key(0), &[vec![1]])), FaultKind::DictionaryAttackLockout);
    assert_eq!(relay.count(command::SIGN), 1);
}

/// Slots that another program filled under a connection that stays: ours are flushed, and the call works unseen.
#[test]
fn full_slots_heal_unseen() {
    let (_tpm, relay, mut keystore, wire) = start();
    for code in [response::OBJECT_MEMORY, response::SESSION_MEMORY, response::SESSION_HANDLES] {
        for command in [command::CREATE_PRIMARY, command::LOAD, command::SIGN] {
            relay.inject(TpmInjection::of(TpmFault::Answer(code)).only(command));
        }
        let number = (code & 0xFF) as u8;
        issuance(number).work(&mut keystore).unwrap_or_else(|fault| panic!("{code:#x}: {fault:?}"));
    }
    assert_eq!(relay.struck().len(), 9);
    // The real thing: the worker stays connected between two calls.
    let mut worker = start_worker(&relay);
    worker.identify().unwrap();
    while wire.leave_an_object().is_ok() {}
    worker.generate_key(&key(99), KeyAlgorithm::P256).unwrap();
    drop(worker);
    assert_eq!(wire.loaded(), []);
}

/// Slots that never come free are a lost session, after one new connection and no more.
#[test]
fn full_slots_are_tried_twice() {
    let (_tpm, relay, mut keystore, _) = start();
    relay.inject(TpmInjection::of(TpmFault::Answer(response::OBJECT_MEMORY)).only(command::CREATE_PRIMARY).for_ever());
    assert_eq!(kind(keystore.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::SessionLost);
    assert_eq!(relay.count(command::CREATE_PRIMARY), 2);
}

/// Failure mode is told as it is, by the command that meets it, and not tried again.
#[test]
fn failure_mode_is_a_hardware_failure() {
    let (_tpm, relay, mut keystore, _) = start();
    let fails = |command| relay.inject(TpmInjection::of(TpmFault::Answer(response::FAILURE)).only(command).for_ever());
    fails(command::CREATE);
    assert_eq!(kind(keystore.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::HardwareFailure);
    assert_eq!(relay.count(command::CREATE), 1);
    fails(command::GET_CAPABILITY);
    assert_eq!(kind(keystore.identify()), FaultKind::HardwareFailure);
}

/// No room for an index or a key: the storage is full, nothing is left half made, and it works when there is room.
#[test]
fn no_room_is_a_full_storage() {
    let (_tpm, relay, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 700);
    for command in [command::NV_DEFINE_SPACE, command::EVICT_CONTROL] {
        relay.inject(TpmInjection::of(TpmFault::Answer(response::NV_SPACE)).only(command));
    }
    assert_eq!(kind(keystore.write_certificate(&place(0), &certificate)), FaultKind::StorageFull);
    assert_eq!(kind(keystore.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::StorageFull);
    assert_eq!(wire.loaded(), []);
    issuance(0).work(&mut keystore).unwrap();
}

/// A TPM that never answers meets the deadline, its worker ends, and the next call has another one.
#[test]
fn a_tpm_that_hangs_meets_the_deadline() {
    let (_tpm, relay, ..) = start();
    let mut settings = worker(KeystoreSettings::Tpm { tcti: relay.tcti().into() }, Vec::new());
    settings.deadlines.sign = Duration::from_secs(1);
    let mut worker = Worker::new(settings);
    let mut issuance = issuance(0);
    issuance.work(&mut worker).unwrap();
    relay.inject(TpmInjection::of(TpmFault::Hang).only(command::SIGN));
    let asked = Instant::now();
    assert_eq!(kind(worker.sign(&key(0), &[vec![1]])), FaultKind::DeadlineExceeded);
    assert!((1..15).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    issuance.work(&mut worker).unwrap();
}

/// A slow TPM is not a broken one: with 20 ms more for each command an issuance still works, and nothing is sent twice.
#[test]
fn a_slow_tpm_is_no_fault() {
    let (_tpm, relay, mut keystore, _) = start();
    issuance(0).work(&mut keystore).unwrap();
    let fast = relay.commands();
    relay.forget();
    relay.set_latency(Duration::from_millis(20));
    // One that has not met the TPM yet, as the first had not.
    issuance(1).work(&mut Tpm::new(relay.tcti())).unwrap();
    assert_eq!(relay.commands(), fast);
}
