//! Sessions and tokens that go away, and come back.

use hsm_sim::{ModuleFault, ModuleInjection, ckr};
use issuance::{FaultKind, KeyAlgorithm, Keystore};

use super::token::{issuance, key, place, returns, start};
use crate::{bench::kind, ca};

/// What a new session, or a new C_Initialize, may put right.
const PASSING: [u64; 9] = [
    ckr::SESSION_HANDLE_INVALID,
    ckr::SESSION_CLOSED,
    ckr::OBJECT_HANDLE_INVALID,
    ckr::CRYPTOKI_NOT_INITIALIZED,
    ckr::DEVICE_REMOVED,
    ckr::TOKEN_NOT_PRESENT,
    ckr::DEVICE_ERROR,
    ckr::GENERAL_ERROR,
    ckr::FUNCTION_FAILED,
];

/// Each of these, once in each kind of call, is healed in the same process by one new session, and the caller sees nothing.
#[test]
fn a_lost_session_heals_once_unseen() {
    let (_token, module, mut worker) = start();
    issuance(0).work(&mut worker).unwrap();
    let process = worker.process_id();
    let functions =
        ["C_FindObjectsInit", "C_GenerateKeyPair", "C_GetAttributeValue", "C_SignInit", "C_Sign", "C_CreateObject"];
    let rounds = PASSING.into_iter().flat_map(|code| functions.map(|function| (code, function)));
    for (number, (code, function)) in (1..).zip(rounds) {
        module.forget();
        module.inject(returns(code).only(function));
        issuance(number).work(&mut worker).unwrap_or_else(|fault| panic!("{code:#x}: {fault:?}"));
        assert_eq!(module.struck(), [(function, ModuleFault::Return(code))]);
        // The visit's own, and the one that heals.
        assert_eq!((module.count("C_Initialize"), module.count("C_Login")), (2, 2), "{code:#x} in {function}");
    }
    assert_eq!(worker.process_id(), process);
    assert_eq!(module.count("load"), 0);
}

/// A key is looked up by the first signature of a session and by no other; a new session looks it up anew.
#[test]
fn a_key_is_looked_up_once_in_a_session() {
    let (_token, module, mut worker) = start();
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    let mut sign = |message: u8| {
        module.forget();
        let signatures = worker.sign(&key(0), &[vec![message]]).unwrap();
        assert!(made.verifies(&[message], &signatures[0]));
        module.count("C_FindObjectsInit")
    };
    assert!(sign(1) > 0);
    assert_eq!(sign(2), 0);
    module.inject(returns(ckr::SESSION_CLOSED).only("C_SignInit"));
    assert!(sign(3) > 0);
    assert_eq!(sign(4), 0);
}

/// A session that is lost again right after it was healed is told, after two tries and no more.
#[test]
fn a_session_that_stays_lost_is_told() {
    let (_token, module, mut worker) = start();
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    module.forget();
    module.inject(returns(ckr::SESSION_HANDLE_INVALID).only("C_SignInit").for_ever());
    assert_eq!(kind(worker.sign(&key(0), &[vec![1]])), FaultKind::SessionLost);
    assert_eq!(module.count("C_SignInit"), 2);
    module.clear();
    let signatures = worker.sign(&key(0), &[vec![1]]).unwrap();
    assert!(made.verifies(&[1], &signatures[0]));
}

/// A token that answers nothing until its module is finalised and initialised, as after a USB reset, heals unseen.
#[test]
fn a_removed_device_heals_by_initialising_again() {
    for code in [ckr::DEVICE_REMOVED, ckr::TOKEN_NOT_PRESENT, ckr::DEVICE_ERROR, ckr::CRYPTOKI_NOT_INITIALIZED] {
        let (_token, module, mut worker) = start();
        let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
        module.forget();
        module.inject(returns(code).except("C_Finalize").until("C_Initialize"));
        let signatures = worker.sign(&key(0), &[vec![1]]).unwrap_or_else(|fault| panic!("{code:#x}: {fault:?}"));
        assert!(made.verifies(&[1], &signatures[0]));
        assert_eq!((module.count("C_Finalize"), module.count("C_Initialize"), module.count("load")), (1, 1, 0));
    }
}

/// A token that stays away is told at each call, and is used again by the first call after it is back.
#[test]
fn a_removed_device_is_used_again_when_it_is_back() {
    for (code, expected) in [
        (ckr::DEVICE_REMOVED, FaultKind::LinkLost),
        (ckr::TOKEN_NOT_PRESENT, FaultKind::LinkLost),
        (ckr::DEVICE_ERROR, FaultKind::HardwareFailure),
    ] {
        let (_token, module, mut worker) = start();
        let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
        module.inject(returns(code).except("load").except("C_Initialize").except("C_Finalize").for_ever());
        for _ in 0..3 {
            assert_eq!(kind(worker.find_key(&key(0))), expected, "{code:#x}");
            assert_eq!(kind(worker.sign(&key(0), &[vec![1]])), expected, "{code:#x}");
        }
        module.clear();
        assert_eq!(worker.find_key(&key(0)).unwrap().as_ref(), Some(&made), "{code:#x}");
    }
}

/// A module that initialising does not put right gets a process of its own anew with the next call.
#[test]
fn a_module_that_stays_bad_gets_another_process() {
    for code in [ckr::GENERAL_ERROR, ckr::DEVICE_ERROR, ckr::DEVICE_REMOVED] {
        let (_token, module, mut worker) = start();
        let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
        let bad = worker.process_id();
        module.inject(returns(code).until("load"));
        assert!(worker.find_key(&key(0)).is_err());
        assert_eq!(worker.find_key(&key(0)).unwrap().as_ref(), Some(&made), "{code:#x}");
        assert_ne!(worker.process_id(), bad);
    }
}

/// The sessions of before are closed before the module is finalised: one that is closed later has the number of a new
/// one, and takes that with it. After healing, the new session still signs.
#[test]
fn an_old_session_never_closes_a_new_one() {
    let (_token, module, mut worker) = start();
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    module.forget();
    module.inject(returns(ckr::SESSION_CLOSED).only("C_SignInit"));
    for message in 0..3_u8 {
        let signatures = worker.sign(&key(0), &[vec![message]]).unwrap();
        assert!(made.verifies(&[message], &signatures[0]));
    }
    let calls = module.calls();
    let order: Vec<&str> =
        calls.iter().copied().filter(|call| call.ends_with("Session") || call.ends_with("alize")).collect();
    assert_eq!(order, ["C_CloseSession", "C_Finalize", "C_Initialize", "C_OpenSession"], "{calls:?}");
}

/// A token that did what it was told and then lost its session: the key that was made is found, not made again, and the
/// certificate that was written is not written again.
#[test]
fn what_was_done_before_the_loss_is_not_done_again() {
    let (_token, module, mut worker) = start();
    for function in ["C_GenerateKeyPair", "C_CreateObject"] {
        module.inject(ModuleInjection::of(ModuleFault::ReturnAfter(ckr::DEVICE_REMOVED)).only(function));
    }
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    let certificate = ca::certificate(&made, 700);
    let place = place(0);
    worker.write_certificate(&place, &certificate).unwrap();
    assert_eq!((module.count("C_GenerateKeyPair"), module.count("C_CreateObject")), (1, 1));
    assert_eq!(worker.find_key(&key(0)).unwrap(), Some(made));
    assert_eq!(worker.read_certificate(&place).unwrap().as_deref(), Some(certificate.der()));
}

/// Each call of an issuance fails in turn, before and after the module did it: it heals unseen, or it is told and the next
/// try goes on; never a second key, never another certificate.
#[test]
fn a_loss_at_any_call_makes_nothing_twice() {
    let (_token, module, mut worker) = start();
    issuance(200).work(&mut worker).unwrap();
    let calls = module.calls().len();
    assert!(calls > 40, "only {calls} calls were seen");
    for at in 0..calls {
        let faults = [
            ModuleFault::Return(ckr::DEVICE_REMOVED),
            ModuleFault::ReturnAfter(ckr::SESSION_HANDLE_INVALID),
            ModuleFault::AbortAfter,
        ];
        let fault = faults[at % faults.len()];
        module.forget();
        module.inject(ModuleInjection::of(fault).after(at));
        let mut issuance = issuance((at % 200) as u8);
        let mut tries = 0;
        while let Err(told) = issuance.work(&mut worker) {
            tries += 1;
            assert!(tries < 3, "{fault:?} at {at}: {told:?}");
        }
        module.clear();
        let (struck, _) = module.struck().first().copied().unwrap_or(("none", fault));
        issuance.work(&mut worker).unwrap_or_else(|told| panic!("{fault:?} at {at}, {struck}: {told:?}"));
        let generated = module.count("C_GenerateKeyPair");
        assert!(generated == 1 || struck == "C_GenerateKeyPair", "{fault:?} at {at}: {generated} generations");
    }
}
