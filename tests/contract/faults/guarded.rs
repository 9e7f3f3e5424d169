//! Somebody between station and TPM: what is altered on its way is noticed as such, and what is read there is no secret.

use std::time::Duration;

use hsm_sim::{Relay, Swtpm, SwtpmOptions, TpmFault, TpmInjection, relay::command};
use issuance::{
    Fault, FaultKind, KeyAlgorithm, Keystore,
    residency::{self, Challenge, credential},
};

use super::tpm::{key, place, start};
use crate::{bench::kind, ca, wire::Wire};

type Call = fn(&mut dyn Keystore) -> Result<(), Fault>;

/// In the first octets of the response's parameters: behind the header, the size of the parameters and a size.
const IN_PARAMETERS: usize = (10 + 4 + 2 + 2) * 8;
/// The same where a handle stands before them.
const BEHIND_A_HANDLE: usize = IN_PARAMETERS + 4 * 8;
/// In the session's HMAC or its nonce: a response without parameters has nothing else.
const IN_SESSION: usize = (10 + 4 + 4) * 8;

fn activate(keystore: &mut dyn Keystore) -> Result<(), Fault> {
    let key = keystore.attestation_key()?.unwrap();
    let name = residency::ak_name(&key.ak_public_area).unwrap();
    let credential = credential::make(&key.endorsement.public_area, &name, &[42; 32]).unwrap();
    assert_eq!(keystore.activate_credential(&credential)?, [42; 32], "an altered secret was believed");
    Ok(())
}

const CALLS: [(&str, u32, usize, Call); 14] = [
    ("identify: properties", command::GET_CAPABILITY, IN_PARAMETERS, |keystore| keystore.identify().map(drop)),
    ("identify: SRK", command::CREATE_PRIMARY, BEHIND_A_HANDLE, |keystore| keystore.identify().map(drop)),
    ("find", command::READ_PUBLIC, IN_PARAMETERS, |keystore| keystore.find_key(&key(0)).map(drop)),
    ("create", command::CREATE, IN_PARAMETERS, |keystore| generate(keystore)),
    ("load", command::LOAD, BEHIND_A_HANDLE, |keystore| generate(keystore)),
    ("evict", command::EVICT_CONTROL, IN_SESSION, |keystore| generate(keystore)),
    ("evidence", command::READ_PUBLIC, IN_PARAMETERS, |keystore| keystore.residency_evidence(&key(0)).map(drop)),
    ("AK", command::CREATE_PRIMARY, BEHIND_A_HANDLE, |keystore| keystore.attestation_key().map(drop)),
    ("certify", command::CERTIFY, IN_PARAMETERS, |keystore| keystore.attest(&key(0), Challenge([7; 32])).map(drop)),
    ("activate", command::ACTIVATE_CREDENTIAL, IN_PARAMETERS, activate),
    ("sign", command::SIGN, IN_PARAMETERS + 64, |keystore| keystore.sign(&key(0), &[vec![1]]).map(drop)),
    ("define", command::NV_DEFINE_SPACE, IN_SESSION, |keystore| write(keystore)),
    ("write", command::NV_WRITE, IN_SESSION, |keystore| write(keystore)),
    ("read", command::NV_READ, IN_PARAMETERS, |keystore| keystore.read_certificate(&place(0)).map(drop)),
];

fn generate(keystore: &mut dyn Keystore) -> Result<(), Fault> {
    keystore.generate_key(&key(1), KeyAlgorithm::P256).map(drop)
}

fn write(keystore: &mut dyn Keystore) -> Result<(), Fault> {
    keystore.write_certificate(&place(1), &ca::certificate(&ca::key(), 700))
}

/// One bit of the last response of its kind in each call, turned round: it is said to have been altered, and not believed,
/// tried again or taken for a broken device. The next call works.
#[test]
fn an_altered_answer_is_noticed_as_such() {
    let (_tpm, relay, mut keystore, wire) = start();
    keystore.identify().unwrap();
    let made = keystore.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    keystore.write_certificate(&place(0), &ca::certificate(&made, 700)).unwrap();
    for (name, code, bit, call) in CALLS {
        // What one connection met, the next need not ask for.
        let fresh = || {
            let mut keystore = keystore::Tpm::new(relay.tcti());
            keystore.identify().unwrap();
            keystore
        };
        let (mut before, mut keystore) = (fresh(), fresh());
        relay.forget();
        call(&mut before).unwrap();
        let last = relay.count(code).checked_sub(1).unwrap_or_else(|| panic!("{name}: it was not sent"));
        clear(&wire);
        relay.inject(TpmInjection::of(TpmFault::FlipBit(bit)).only(code).after(last));
        assert_eq!(kind(call(&mut keystore)), FaultKind::AnswerAltered, "{name}");
        assert_eq!(relay.struck().len(), 1, "{name}");
        clear(&wire);
        call(&mut keystore).unwrap_or_else(|fault| panic!("{name}, afterwards: {fault:?}"));
        clear(&wire);
    }
    assert_eq!(wire.loaded(), []);
}

/// Removes what a call made in the second place.
fn clear(wire: &Wire) {
    if wire.keys().contains(&0x8100_0011) {
        wire.evict(0x8100_0011);
    }
    if wire.handles(0x0180_0011).first() == Some(&0x0180_0011) {
        wire.undefine(0x0180_0011);
    }
}

/// What comes before there is a session: an EK that is not its certificate's, and a session that the EK's TPM did not begin.
#[test]
fn an_altered_beginning_is_noticed() {
    let (_tpm, relay, mut keystore, _) = start();
    let first = keystore.identify().unwrap();
    // In what is read before the session begins: the certificate's modulus, its signature, and the EK's modulus.
    for (code, bit, expected) in [
        (command::NV_READ, IN_PARAMETERS + 200 * 8, FaultKind::Mismatch),
        (command::NV_READ, IN_PARAMETERS + 700 * 8, FaultKind::AnswerAltered),
        (command::CREATE_PRIMARY, BEHIND_A_HANDLE + 100 * 8, FaultKind::LinkLost),
        (command::START_AUTH_SESSION, BEHIND_A_HANDLE, FaultKind::AnswerAltered),
    ] {
        let mut keystore = keystore::Tpm::new(relay.tcti());
        relay.inject(TpmInjection::of(TpmFault::FlipBit(bit)).only(code));
        // A link that garbles heals once.
        relay.inject(
            TpmInjection::of(TpmFault::FlipBit(bit)).only(code).times(usize::from(expected == FaultKind::LinkLost)),
        );
        assert_eq!(kind(keystore.identify()), expected, "{code:#x}, bit {bit}");
        relay.clear();
        assert!(keystore.identify().unwrap().is_same_device(&first));
    }
}

/// What the TPM saved of its keys, altered on its way there and back: the TPM does not take it, and makes the key again; a
/// handle that it did not give is nobody's. A TPM that was reset makes its keys again as well.
#[test]
fn an_altered_saved_key_serves_nobody() {
    let (mut tpm, relay, mut keystore, wire) = start();
    relay.inject(TpmInjection::of(TpmFault::FlipBit(200 * 8)).only(command::CONTEXT_SAVE));
    let first = keystore.identify().unwrap();
    relay.forget();
    keystore.find_key(&key(0)).unwrap();
    assert_eq!((relay.count(command::CONTEXT_LOAD), relay.count(command::CREATE_PRIMARY)), (1, 1));
    relay.forget();
    keystore.find_key(&key(0)).unwrap();
    assert_eq!((relay.count(command::CONTEXT_LOAD), relay.count(command::CREATE_PRIMARY)), (1, 0));
    // In the handle: the TPM knows no such object, and a new connection heals.
    let struck = relay.struck().len();
    relay.inject(TpmInjection::of(TpmFault::FlipBit(14 * 8 - 1)).only(command::CONTEXT_LOAD));
    keystore.find_key(&key(0)).unwrap();
    assert_eq!(relay.struck().len(), struck + 1);
    tpm.restart().unwrap();
    assert!(keystore.identify().unwrap().is_same_device(&first));
    assert_eq!(wire.loaded(), []);
}

/// Another TPM in the place of the one that was visited: its EK is not the certificate's, and no session begins.
#[test]
fn no_session_is_salted_to_another_ek() {
    let (tpm, relay, mut keystore, _) = start();
    let other = Swtpm::start_with(SwtpmOptions { maker: Some(tpm.maker().clone()), ..Default::default() }).unwrap();
    let visited = keystore.identify().unwrap();
    relay.swap(&other);
    let mut later = keystore::Tpm::new(relay.tcti()).visiting(Some(visited));
    relay.forget();
    assert_eq!(kind(later.find_key(&key(0))), FaultKind::NotSameDevice);
    assert_eq!(relay.count(command::START_AUTH_SESSION), 0);
    drop(later);
    assert_eq!(Wire::of(&other).loaded(), []);
}

/// The calls of one issuance as a station makes them, with the CA's answer between two visits: the EK and the AK are made
/// once, the storage root key where it tells something: at each visit, and before a key is made under it.
#[test]
fn an_issuance_makes_each_primary_key_once() {
    let (_tpm, relay, _, wire) = start();
    let mut worker = super::tpm::start_worker(&relay);
    worker.identify().unwrap();
    let made = worker.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    worker.residency_evidence(&key(0)).unwrap();
    activate(&mut worker).unwrap();
    worker.attest(&key(0), Challenge([7; 32])).unwrap();
    worker.sign(&key(0), &[vec![1]]).unwrap();
    assert!(relay.await_count(command::SHUTDOWN, 1, Duration::from_secs(30)), "the TPM is never let go");
    worker.identify().unwrap();
    worker.write_certificate(&place(0), &ca::certificate(&made, 700)).unwrap();
    worker.lock_certificate(&place(0)).unwrap();
    worker.read_certificate(&place(0)).unwrap();
    worker.sign(&key(0), &[vec![2]]).unwrap();
    assert!(
        relay.count(command::START_AUTH_SESSION) >= 3,
        "a visit, another one, and again once the certificate is locked"
    );
    assert_eq!(relay.count(command::CREATE_PRIMARY), 5);
    drop(worker);
    assert_eq!(wire.loaded(), []);
}

/// A connection has one session however many calls it has, and what is loaded is flushed at its end. Printed: what it costs.
#[test]
fn a_connection_has_one_session() {
    let tpm = Swtpm::start().unwrap();
    let relay = Relay::before(&tpm).unwrap();
    let mut worker = super::tpm::start_worker(&relay);
    let mut issuance = super::tpm::issuance(0);
    issuance.work(&mut worker).unwrap();
    let (commands, busy) = (relay.commands().len(), relay.busy());
    let (sessions, ended) = (relay.count(command::START_AUTH_SESSION), relay.count(command::SHUTDOWN));
    // On a busy machine the worker may have rested in between, and begun another.
    assert!(sessions - ended <= 1 && sessions < 9, "{sessions} sessions in {ended} connections");
    println!("{commands} commands in {busy:?}, the session's beginning among them");
    drop(worker);
    assert_eq!(Wire::of(&tpm).loaded(), []);
}

/// The secret of a credential does not pass the link in the open: nowhere in what the relay saw.
#[test]
fn a_released_secret_is_not_read_on_the_way() {
    let (_tpm, relay, mut keystore, _) = start();
    relay.listen();
    keystore.identify().unwrap();
    activate(&mut keystore).unwrap();
    let heard = relay.heard();
    assert!(heard.len() > 1000 && !heard.windows(8).any(|octets| octets == [42; 8]), "the secret was in the open");
}
