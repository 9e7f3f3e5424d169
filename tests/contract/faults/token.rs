//! What a token or its module says when it cannot.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use hsm_sim::{FaultModule, ModuleFault, ModuleInjection, SoftHsm, ckr};
use issuance::{CertificateLocation, FaultKind, KeyAlgorithm, KeyLocation, Keystore};
use keystore::{KeystoreSettings, Worker, WorkerSettings};
use secrecy::SecretString;

use super::Issuance;
use crate::{
    bench::{PIN, kind, worker},
    ca,
    process::kill,
};

pub(super) fn key(number: u8) -> KeyLocation {
    KeyLocation::Pkcs11 { cka_id: vec![0xA0, number], label: format!("key-{number}") }
}

pub(super) fn place(number: u8) -> CertificateLocation {
    CertificateLocation::Pkcs11 { cka_id: vec![0xA0, number], label: format!("key-{number}") }
}

pub(super) fn issuance(number: u8) -> Issuance {
    Issuance::at(key(number), place(number))
}

pub(super) fn settings(token: &SoftHsm, module: &FaultModule, pin: &str) -> WorkerSettings {
    let keystore = KeystoreSettings::Pkcs11 {
        module: module.module().to_owned(),
        token: token.label().to_owned(),
        pin: SecretString::from(pin),
        sessions: NonZeroUsize::MIN,
    };
    worker(keystore, module.environment())
}

/// A token, the module before it, and a worker that has loaded that module.
pub(super) fn start() -> (SoftHsm, FaultModule, Worker) {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let module = FaultModule::before(&token).unwrap();
    let worker = Worker::new(settings(&token, &module, PIN));
    (token, module, worker)
}

pub(super) fn returns(code: u64) -> ModuleInjection {
    ModuleInjection::of(ModuleFault::Return(code))
}

/// A rejected PIN is sent to the token once: not again by any call, nor by a worker that was killed and started anew.
#[test]
fn a_rejected_pin_is_sent_once() {
    let (_token, module, mut worker) = start();
    module.inject(returns(ckr::PIN_INCORRECT).only("C_Login").for_ever());
    assert_eq!(kind(worker.identify()), FaultKind::PinRejected);
    for round in 0..4 {
        if let (1 | 3, Some(process)) = (round, worker.process_id()) {
            kill(process);
        }
        assert_eq!(kind(worker.identify()), FaultKind::PinRejected);
        assert_eq!(kind(worker.find_key(&key(0))), FaultKind::PinRejected);
        assert_eq!(kind(worker.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::PinRejected);
    }
    assert_eq!(module.count("C_Login"), 1);
    assert!(module.count("load") >= 2, "the worker was never started anew");
}

/// A module that crashes, or hangs and is killed, right after the token rejected a PIN: nobody heard the answer, and the
/// PIN is still not sent again, because the token counts a wrong one.
#[test]
fn a_pin_that_was_rejected_unheard_is_not_sent_again() {
    for fault in [ModuleFault::AbortAfter, ModuleFault::Hang] {
        let token = SoftHsm::create("device-1", PIN).unwrap();
        let module = FaultModule::before(&token).unwrap();
        let mut settings = settings(&token, &module, "pin-wrong-51d0");
        settings.deadlines.identify = Duration::from_secs(2);
        let mut worker = Worker::new(settings);
        // A hang lets the call through when it is let go, which is when its process is gone: here, C_Logout stands for it.
        let at = if fault == ModuleFault::Hang { "C_CloseSession" } else { "C_Login" };
        module.inject(ModuleInjection::of(fault).only(at));
        let told = kind(worker.identify());
        assert!(matches!(told, FaultKind::WorkerCrashed | FaultKind::DeadlineExceeded), "{told:?}");
        for _ in 0..3 {
            assert_eq!(kind(worker.identify()), FaultKind::PinRejected);
        }
        assert_eq!(module.count("C_Login"), 1, "{fault:?}");
    }
}

/// A module that crashes in a login with the right PIN is logged in to again: the token counts no wrong one.
#[test]
fn a_right_pin_is_sent_again_after_a_crash() {
    let (_token, module, mut worker) = start();
    module.inject(ModuleInjection::of(ModuleFault::AbortAfter).only("C_Login"));
    assert_eq!(kind(worker.identify()), FaultKind::WorkerCrashed);
    issuance(0).work(&mut worker).unwrap();
}

/// A PIN that the token says is locked is told, and not sent again.
#[test]
fn a_locked_pin_is_told() {
    let (_token, module, mut worker) = start();
    module.inject(returns(ckr::PIN_LOCKED).only("C_Login").for_ever());
    assert_eq!(kind(worker.identify()), FaultKind::PinLocked);
    let again = kind(worker.identify());
    assert!(matches!(again, FaultKind::PinLocked | FaultKind::PinRejected), "{again:?}");
    assert_eq!(module.count("C_Login"), 1);
}

/// A token that would lock at the next wrong PIN, or is locked, gets no PIN at all; one that counts a wrong PIN gets one.
#[test]
fn the_last_try_is_left_to_a_person() {
    let (_token, module, mut worker) = start();
    for flag in [ckr::USER_PIN_FINAL_TRY, ckr::USER_PIN_LOCKED] {
        module.inject(ModuleInjection::of(ModuleFault::TokenFlags(flag)).only("C_GetTokenInfo").for_ever());
        assert_eq!(kind(worker.identify()), FaultKind::PinLocked);
        module.clear();
    }
    assert_eq!(module.count("C_Login"), 0);
    module.inject(
        ModuleInjection::of(ModuleFault::TokenFlags(ckr::USER_PIN_COUNT_LOW)).only("C_GetTokenInfo").for_ever(),
    );
    issuance(0).work(&mut worker).unwrap();
}

/// No session left is a busy device; it works when there is one.
#[test]
fn no_session_left_is_a_busy_device() {
    let (_token, module, mut worker) = start();
    module.inject(returns(ckr::SESSION_COUNT).only("C_OpenSession"));
    assert_eq!(kind(worker.identify()), FaultKind::DeviceBusy);
    issuance(0).work(&mut worker).unwrap();
}

/// A worker has one session at a time, however often it heals and is asked.
#[test]
fn one_session_is_enough() {
    let (_token, module, mut worker) = start();
    for number in 0..3 {
        module.inject(returns(ckr::SESSION_CLOSED).only("C_SignInit"));
        issuance(number).work(&mut worker).unwrap();
    }
    let mut open = 0_i32;
    for call in module.calls() {
        match call {
            "C_OpenSession" => open += 1,
            "C_CloseSession" => open -= 1,
            "C_Finalize" => open = 0,
            _ => {}
        }
        assert!(open <= 1, "two sessions at a time: {:?}", module.calls());
    }
}

/// A full token says so for a key and for a certificate, and works when there is room.
#[test]
fn a_full_token_says_so() {
    let (_token, module, mut worker) = start();
    module.inject(returns(ckr::DEVICE_MEMORY).only("C_GenerateKeyPair"));
    module.inject(returns(ckr::DEVICE_MEMORY).only("C_CreateObject"));
    assert_eq!(kind(worker.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::StorageFull);
    assert_eq!(kind(worker.write_certificate(&place(0), &ca::certificate(&ca::key(), 700))), FaultKind::StorageFull);
    assert_eq!(module.count("C_GenerateKeyPair"), 1);
    assert_eq!(worker.find_key(&key(0)).unwrap(), None);
    issuance(0).work(&mut worker).unwrap();
}

/// A call that hangs, wherever, meets the deadline; its worker ends, and the next call works with the same key.
#[test]
fn a_hang_meets_the_deadline() {
    for function in ["C_Initialize", "C_Login", "C_FindObjects", "C_Sign", "C_Finalize"] {
        let token = SoftHsm::create("device-1", PIN).unwrap();
        let module = FaultModule::before(&token).unwrap();
        let mut settings = settings(&token, &module, PIN);
        settings.deadlines.identify = Duration::from_secs(2);
        settings.deadlines.read = Duration::from_secs(2);
        settings.deadlines.sign = Duration::from_secs(2);
        let mut worker = Worker::new(settings);
        let mut issuance = issuance(0);
        issuance.work(&mut worker).unwrap();
        module.inject(ModuleInjection::of(ModuleFault::Hang).only(function));
        let asked = Instant::now();
        assert_eq!(kind(issuance.work(&mut worker)), FaultKind::DeadlineExceeded, "{function}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{function}: {:?}", asked.elapsed());
        issuance.work(&mut worker).unwrap_or_else(|fault| panic!("after a hang in {function}: {fault:?}"));
    }
}

/// A module that does not even end when it is told to holds nobody up: its process is killed.
#[test]
fn a_hang_at_the_end_is_cut_short() {
    let (_token, module, mut worker) = start();
    worker.identify().unwrap();
    module.inject(ModuleInjection::of(ModuleFault::Hang).only("C_Finalize"));
    let asked = Instant::now();
    drop(worker);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

/// A module that crashes, wherever, takes its worker with it and nothing else: the next call works with the same key.
#[test]
fn a_crash_ends_the_worker_alone() {
    for function in ["load", "C_Initialize", "C_GetTokenInfo", "C_GenerateKeyPair", "C_Sign", "C_CreateObject"] {
        for fault in [ModuleFault::Abort, ModuleFault::AbortAfter] {
            let (_token, module, mut worker) = start();
            module.inject(ModuleInjection::of(fault).only(function));
            let mut issuance = issuance(0);
            let told = issuance.work(&mut worker).expect_err(function);
            assert_eq!(told.kind, FaultKind::WorkerCrashed, "{function}: {told:?}");
            assert!(told.to_string().contains("signal: 6"), "{told}");
            issuance.work(&mut worker).unwrap_or_else(|fault| panic!("after a crash in {function}: {fault:?}"));
        }
    }
}

/// A slow module is not a broken one.
#[test]
fn a_slow_module_is_no_fault() {
    let (_token, module, mut worker) = start();
    module.inject(ModuleInjection::of(ModuleFault::Delay(Duration::from_millis(10))).for_ever());
    issuance(0).work(&mut worker).unwrap();
    assert_eq!(module.count("C_Initialize"), 1);
}
