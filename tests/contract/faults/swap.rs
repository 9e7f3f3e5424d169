//! Another TPM behind the same address, in the middle of a visit.

use std::time::Duration;

use hsm_sim::{Relay, Swtpm, SwtpmOptions, TpmFault, TpmInjection, relay::command};
use issuance::{
    Fault, FaultKind, KeyAlgorithm, Keystore,
    residency::{Challenge, credential::Credential},
};
use keystore::Tpm;

use super::tpm::{key, place, start, start_worker};
use crate::{bench::kind, ca, process::kill, wire::Wire};

fn another(tpm: &Swtpm) -> Swtpm {
    Swtpm::start_with(SwtpmOptions { maker: Some(tpm.maker().clone()), ..Default::default() }).unwrap()
}

type Call = (&'static str, fn(&mut dyn Keystore) -> Result<(), Fault>);

const CALLS: [Call; 9] = [
    ("find", |keystore| keystore.find_key(&key(0)).map(drop)),
    ("generate", |keystore| keystore.generate_key(&key(1), KeyAlgorithm::P256).map(drop)),
    ("evidence", |keystore| keystore.residency_evidence(&key(0)).map(drop)),
    ("sign", |keystore| keystore.sign(&key(0), &[vec![1]]).map(drop)),
    ("attestation key", |keystore| keystore.attestation_key().map(drop)),
    ("activate", |keystore| {
        let nothing = Credential { blob: vec![0; 70], encrypted_secret: vec![0; 256] };
        keystore.activate_credential(&nothing).map(drop)
    }),
    ("attest", |keystore| keystore.attest(&key(0), Challenge([7; 32])).map(drop)),
    ("read", |keystore| keystore.read_certificate(&place(0)).map(drop)),
    ("write", |keystore| keystore.write_certificate(&place(0), &ca::certificate(&ca::key(), 700))),
];

/// After the device was met, each call refuses another one in its place, which is left as it was; a new visit meets it.
#[test]
fn each_call_refuses_another_tpm() {
    let (tpm, relay, mut keystore, _) = start();
    let other = another(&tpm);
    keystore.identify().unwrap();
    keystore.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    for (name, call) in CALLS {
        relay.swap(&tpm);
        let first = keystore.identify().unwrap();
        relay.swap(&other);
        assert_eq!(call(&mut keystore).map_err(|fault| fault.kind), Err(FaultKind::NotSameDevice), "{name}");
        assert!(!keystore.identify().unwrap().is_same_device(&first));
    }
    let wire = Wire::of(&other);
    assert_eq!((wire.keys(), wire.handles(0x0180_0010).contains(&0x0180_0010)), (vec![], false));
    assert_eq!(wire.loaded(), []);
}

/// A worker that let the TPM go between two calls, and one that was killed, know which one they were with.
#[test]
fn a_worker_refuses_another_tpm() {
    for killed in [false, true] {
        let (tpm, relay, ..) = start();
        let other = another(&tpm);
        let mut worker = start_worker(&relay);
        let first = worker.identify().unwrap();
        if killed {
            kill(worker.process_id().unwrap());
        } else {
            assert!(relay.await_count(command::SHUTDOWN, 1, Duration::from_secs(30)), "the TPM is never let go");
        }
        relay.swap(&other);
        assert_eq!(kind(worker.find_key(&key(0))), FaultKind::NotSameDevice);
        assert_eq!(
            kind(worker.write_certificate(&place(0), &ca::certificate(&ca::key(), 700))),
            FaultKind::NotSameDevice
        );
        assert!(!worker.identify().unwrap().is_same_device(&first));
    }
}

/// A swap under a connection that stays, which no hand is fast enough for: no key is generated in the other TPM.
#[test]
fn no_key_is_generated_in_another_tpm() {
    let (tpm, relay, ..) = start();
    let other = another(&tpm);
    let mut worker = start_worker(&relay);
    worker.identify().unwrap();
    relay.swap(&other);
    assert_eq!(kind(worker.generate_key(&key(0), KeyAlgorithm::P256)), FaultKind::NotSameDevice);
    drop(worker);
    assert_eq!(Wire::of(&other).keys(), []);
}

/// A healed connection is held to the same: the link is cut in the middle of a call, and another TPM comes back.
#[test]
fn a_healed_connection_refuses_another_tpm() {
    let (tpm, relay, mut keystore, _) = start();
    let other = another(&tpm);
    keystore.identify().unwrap();
    keystore.generate_key(&key(0), KeyAlgorithm::P256).unwrap();
    relay.inject(TpmInjection::of(TpmFault::Hang).only(command::SIGN).after(1));
    let signing = std::thread::spawn(move || keystore.sign(&key(0), &[vec![1], vec![2]]));
    assert!(relay.await_hang(Duration::from_secs(30)));
    relay.swap(&other);
    relay.release();
    assert_eq!(kind(signing.join().unwrap()), FaultKind::NotSameDevice);
}

/// A TPM without an EK certificate is told apart by its storage root key.
#[test]
fn without_an_ek_certificate_the_storage_root_key_tells() {
    let (tpm, other) = (Swtpm::start().unwrap(), Swtpm::start().unwrap());
    for tpm in [&tpm, &other] {
        Wire::of(tpm).remove_ek_certificates();
    }
    let relay = Relay::before(&tpm).unwrap();
    let mut keystore = Tpm::new(relay.tcti());
    let first = keystore.identify().unwrap();
    keystore.find_key(&key(0)).unwrap();
    relay.swap(&other);
    assert_eq!(kind(keystore.find_key(&key(0))), FaultKind::NotSameDevice);
    assert!(!keystore.identify().unwrap().is_same_device(&first));
}
