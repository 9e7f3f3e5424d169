//! Several sessions with one token: they sign at the same time, each heals alone, and a token that gives one is enough.

use std::{num::NonZeroUsize, thread, time::Duration};

use hsm_sim::{FaultModule, ModuleFault, ModuleInjection, SoftHsm, ckr};
use issuance::{Fault, FaultKind, KeyAlgorithm, Keystore, PublicKey};
use keystore::{KeystoreSettings, Worker};

use super::token::{key, returns, settings};
use crate::bench::{PIN, kind};

/// More messages than sessions, and no multiple of them.
const MESSAGES: u8 = 11;
/// A machine that is busy needs a while to have four calls under way.
const PATIENCE: Duration = Duration::from_secs(60);

fn messages() -> Vec<Vec<u8>> {
    (0..MESSAGES).map(|number| vec![number]).collect()
}

/// A token with a key, the module before it, and a worker that may have four sessions and has not signed yet.
fn start() -> (SoftHsm, FaultModule, Worker, PublicKey) {
    let token = SoftHsm::create("ca-1", PIN).unwrap();
    let module = FaultModule::before(&token).unwrap();
    let mut settings = settings(&token, &module, PIN);
    if let KeystoreSettings::Pkcs11 { sessions, .. } = &mut settings.keystore {
        *sessions = NonZeroUsize::new(4).unwrap();
    }
    let mut worker = Worker::new(settings);
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    (token, module, worker, made)
}

/// Every signature is there, and is its message's.
#[track_caller]
fn assert_signed(key: &PublicKey, signed: Result<Vec<Vec<u8>>, Fault>) {
    let signatures = signed.unwrap();
    assert_eq!(signatures.len(), usize::from(MESSAGES));
    for (message, signature) in messages().iter().zip(&signatures) {
        assert!(key.verifies(message, signature), "{message:?}");
    }
}

/// Four calls of C_Sign are in a slow module at the same time; the token is logged in to once.
#[test]
fn a_slow_module_signs_in_every_session_at_once() {
    let (_token, module, mut worker, made) = start();
    module.inject(ModuleInjection::of(ModuleFault::Hang).only("C_Sign").times(4));
    thread::scope(|scope| {
        let signing = scope.spawn(|| worker.sign(&key(0), &messages()));
        let at_once = module.await_hangs(4, PATIENCE);
        module.release();
        assert!(at_once, "{:?}", module.calls());
        assert_signed(&made, signing.join().unwrap());
    });
    assert_eq!((module.count("C_OpenSession"), module.count("C_Login"), module.count("C_Initialize")), (4, 1, 1));
}

/// One session is lost while the others sign: they do its work, nothing is initialised anew, and the next visit has a new
/// session in its place, with its own handle of the key.
#[test]
fn a_session_that_is_lost_while_others_sign_heals_alone() {
    for (code, function) in [
        (ckr::SESSION_CLOSED, "C_SignInit"),
        (ckr::SESSION_HANDLE_INVALID, "C_Sign"),
        (ckr::KEY_HANDLE_INVALID, "C_SignInit"),
    ] {
        let (_token, module, mut worker, made) = start();
        assert_signed(&made, worker.sign(&key(0), &messages()));
        module.forget();
        module.inject(returns(code).only(function).after(2));
        // Slow enough for every session to be of use.
        module.inject(ModuleInjection::of(ModuleFault::Delay(Duration::from_millis(4))).only("C_Sign").for_ever());
        assert_signed(&made, worker.sign(&key(0), &messages()));
        let struck = module.struck();
        assert_eq!(struck.iter().filter(|(_, fault)| *fault == ModuleFault::Return(code)).count(), 1, "{struck:?}");
        assert_eq!((module.count("C_CloseSession"), module.count("C_OpenSession")), (1, 0), "{code:#x}");
        assert_signed(&made, worker.sign(&key(0), &messages()));
        let anew = ["C_OpenSession", "C_Login", "C_Initialize"].map(|call| module.count(call));
        assert_eq!(anew, [1, 0, 0], "{code:#x} in {function}");
    }
}

/// The first session dies idle: what is looked for is looked for in another one.
#[test]
fn an_idle_session_that_died_is_not_missed() {
    let (_token, module, mut worker, made) = start();
    assert_signed(&made, worker.sign(&key(0), &messages()));
    module.forget();
    module.inject(returns(ckr::SESSION_HANDLE_INVALID).only("C_FindObjectsInit"));
    assert_eq!(worker.find_key(&key(0)).unwrap(), Some(made));
    assert_eq!((module.count("C_Initialize"), module.count("C_Login")), (0, 0));
}

/// All are lost, as when an HSM starts again: everything is built anew, once, and every message is signed.
#[test]
fn sessions_that_are_all_lost_heal_together() {
    let (_token, module, mut worker, made) = start();
    assert_signed(&made, worker.sign(&key(0), &messages()));
    module.forget();
    module.inject(returns(ckr::DEVICE_ERROR).except("C_Finalize").until("C_Initialize"));
    assert_signed(&made, worker.sign(&key(0), &messages()));
    assert_eq!((module.count("C_Initialize"), module.count("C_Login")), (1, 1));
    module.inject(returns(ckr::SESSION_CLOSED).only("C_SignInit").for_ever());
    assert_eq!(kind(worker.sign(&key(0), &messages())), FaultKind::SessionLost);
    module.clear();
    assert_signed(&made, worker.sign(&key(0), &messages()));
}

/// A token that gives one session signs everything in it, and is not asked for more at every visit.
#[test]
fn a_token_with_one_session_is_enough() {
    let (_token, module, mut worker, made) = start();
    module.inject(returns(ckr::SESSION_COUNT).only("C_OpenSession").for_ever());
    for _ in 0..3 {
        assert_signed(&made, worker.sign(&key(0), &messages()));
    }
    assert_eq!(module.count("C_OpenSession"), 2, "the first, and one try");
}

/// A token whose signatures are quick is not asked for a session for each of a few messages, once that is known; a slow one is.
#[test]
fn sessions_are_opened_where_they_are_of_use() {
    let (_token, module, mut worker, made) = start();
    let opened = |count: u8, worker: &mut Worker| {
        module.forget();
        let messages: Vec<Vec<u8>> = (0..count).map(|number| vec![number]).collect();
        let signatures = worker.sign(&key(0), &messages).unwrap();
        assert!(messages.iter().zip(&signatures).all(|(message, signature)| made.verifies(message, signature)));
        module.count("C_OpenSession")
    };
    // One message needs no other session, and tells how long one takes.
    assert_eq!(opened(1, &mut worker), 0);
    module.inject(ModuleInjection::of(ModuleFault::Delay(Duration::from_millis(4))).only("C_Sign").for_ever());
    assert_eq!(opened(1, &mut worker), 0);
    assert_eq!(opened(3, &mut worker), 2);
    assert_eq!(opened(8, &mut worker), 1);
    assert_eq!(opened(8, &mut worker), 0);
}

/// What the token cannot do is told, whichever session it was told in, and no session is given up for it.
#[test]
fn what_is_no_lost_session_is_told() {
    let (_token, module, mut worker, made) = start();
    assert_signed(&made, worker.sign(&key(0), &messages()));
    module.forget();
    module.inject(returns(ckr::MECHANISM_INVALID).only("C_SignInit").after(2));
    assert_eq!(kind(worker.sign(&key(0), &messages())), FaultKind::Unsupported);
    assert_signed(&made, worker.sign(&key(0), &messages()));
    assert_eq!(module.count("C_OpenSession"), 0);
}
