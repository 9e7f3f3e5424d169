//! What only a worker can show: it hangs, dies and is killed alone.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hsm_sim::{SoftHsm, Swtpm};
use issuance::{Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore};
use keystore::{Deadlines, KeystoreSettings, Worker, WorkerSettings};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use crate::{
    bench::{PIN, kind, token_worker, tpm_worker},
    wire::Wire,
};

fn tpm_key(number: u8) -> KeyLocation {
    KeyLocation::TpmHandle(0x8100_0010 + u32::from(number))
}

fn token_key(number: u8) -> KeyLocation {
    KeyLocation::Pkcs11 { cka_id: vec![0xA0, number], label: format!("key-{number}") }
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(process as i32).unwrap(), signal).unwrap();
}

fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Kills it and waits until it is dead, but leaves it to its worker to reap.
pub(crate) fn kill(process: u32) {
    signal(process, Signal::KILL);
    let id = WaitId::Pid(Pid::from_raw(process as i32).unwrap());
    match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        // Reaped already.
        Err(Errno::CHILD) => {}
        ended => assert!(ended.unwrap().is_some()),
    }
}

/// Kills the worker ten times, each time later into a call that generates or signs, and asks for the same again: what it
/// was doing is done at the latest then, whatever the kill left behind.
fn survives_ten_kills(mut worker: Worker, place: fn(u8) -> KeyLocation) -> u32 {
    let messages: Vec<Vec<u8>> = (0..2000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    worker.identify().unwrap();
    worker.generate_key(&place(100), KeyAlgorithm::P256).unwrap();
    let mut crashed = 0;
    for round in 0..10 {
        let place = if round % 2 == 0 { place(round) } else { place(100) };
        let process = worker.process_id().unwrap();
        let killer = thread::spawn(move || {
            // When the kill strikes is what varies here; nothing waits for it.
            thread::sleep(Duration::from_millis(2 + 3 * u64::from(round)));
            kill(process);
        });
        let outcome = match round % 2 {
            0 => worker.generate_key(&place, KeyAlgorithm::P256).map(drop),
            _ => worker.sign(&place, &messages).map(drop),
        };
        killer.join().unwrap();
        match outcome {
            Ok(()) => {}
            Err(fault) if fault.kind == FaultKind::WorkerCrashed => crashed += 1,
            Err(fault) => panic!("round {round}: {fault:?}"),
        }
        worker.identify().unwrap();
        let key = match worker.find_key(&place).unwrap() {
            Some(key) => key,
            None => worker.generate_key(&place, KeyAlgorithm::P256).unwrap(),
        };
        let signatures = worker.sign(&place, &[vec![round]]).unwrap();
        assert!(key.verifies(&[round], &signatures[0]), "round {round}");
    }
    crashed
}

/// Ten kills in the middle, on a TPM: it works after each, and nothing stays loaded in its three slots.
#[test]
fn a_tpm_survives_ten_kills() {
    let tpm = Swtpm::start().unwrap();
    let crashed = survives_ten_kills(Worker::new(tpm_worker(&tpm)), tpm_key);
    assert!(crashed >= 5, "only {crashed} kills struck in the middle of a call");
    assert_eq!(Wire::of(&tpm).loaded(), []);
}

/// Ten kills in the middle, on a token: it works after each, without a second key anywhere.
#[test]
fn a_token_survives_ten_kills() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    survives_ten_kills(Worker::new(token_worker(&token, PIN)), token_key);
}

/// A child that hangs is given up at the deadline, not later, and the next call has another one.
#[test]
fn a_hung_worker_meets_its_deadline() {
    let tpm = Swtpm::start().unwrap();
    let mut settings = tpm_worker(&tpm);
    settings.deadlines.read = Duration::from_millis(300);
    let mut worker = Worker::new(settings);
    worker.identify().unwrap();
    let hung = worker.process_id().unwrap();
    signal(hung, Signal::STOP);
    let asked = Instant::now();
    assert_eq!(kind(worker.find_key(&tpm_key(0))), FaultKind::DeadlineExceeded);
    assert!((300..10_000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    assert!(!is_alive(hung));
    worker.identify().unwrap();
}

/// A child that hangs before it takes its settings or a call of many megabytes is given up, too.
#[test]
fn a_worker_that_takes_nothing_meets_its_deadline() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let mut settings = token_worker(&token, PIN);
    settings.deadlines.sign = Duration::from_millis(300);
    settings.deadlines.each_signature = Duration::ZERO;
    let mut worker = Worker::new(settings);
    worker.identify().unwrap();
    signal(worker.process_id().unwrap(), Signal::STOP);
    assert_eq!(kind(worker.sign(&token_key(0), &[vec![0; 8 << 20]])), FaultKind::DeadlineExceeded);
    assert_eq!(worker.find_key(&token_key(0)).unwrap(), None);
}

/// A child that died while nothing was asked of it is replaced without a word.
#[test]
fn a_worker_that_died_idle_is_replaced() {
    let tpm = Swtpm::start().unwrap();
    let mut worker = Worker::new(tpm_worker(&tpm));
    worker.identify().unwrap();
    let died = worker.process_id().unwrap();
    kill(died);
    worker.identify().unwrap();
    assert_ne!(worker.process_id(), Some(died));
}

/// Ctrl-C and SIGTERM, which reach a whole group or unit, leave a worker alive until its parent lets go; then it ends.
#[test]
fn a_worker_ends_with_its_parent_and_not_before() {
    let tpm = Swtpm::start().unwrap();
    let mut worker = Worker::new(tpm_worker(&tpm));
    worker.identify().unwrap();
    let process = worker.process_id().unwrap();
    for one in [Signal::INT, Signal::TERM, Signal::HUP, Signal::PIPE] {
        signal(process, one);
    }
    worker.identify().unwrap();
    assert_eq!(worker.process_id(), Some(process));
    drop(worker);
    assert!(!is_alive(process));
}

/// The PIN is in no argument and no environment variable of the worker, and in no fault or Debug output of its parent.
#[test]
fn the_pin_is_nowhere_to_be_seen() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let mut worker = Worker::new(token_worker(&token, PIN));
    worker.identify().unwrap();
    let process = worker.process_id().unwrap();
    for file in ["cmdline", "environ"] {
        // What is not readable by us shows nothing either.
        let shown = fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
        assert!(!shown.windows(PIN.len()).any(|window| window == PIN.as_bytes()), "{file}");
    }
    let rejected = Worker::new(token_worker(&token, &format!("{PIN}-wrong"))).identify().unwrap_err();
    assert_eq!(rejected.kind, FaultKind::PinRejected);
    assert!(!format!("{worker:?} {rejected:?} {rejected}").contains(PIN));
}

/// More than a frame holds is signed in several, in order; one message that no frame holds is refused.
#[test]
fn messages_of_any_number_are_signed() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let mut worker = Worker::new(token_worker(&token, PIN));
    let key = worker.generate_key(&token_key(0), KeyAlgorithm::P256).unwrap();
    let messages: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number; 9 << 20]).collect();
    let signatures = worker.sign(&token_key(0), &messages).unwrap();
    assert_eq!(signatures.len(), messages.len());
    for (message, signature) in messages.iter().zip(&signatures) {
        assert!(key.verifies(message, signature));
    }
    assert_eq!(kind(worker.sign(&token_key(0), &[vec![0; 17 << 20]])), FaultKind::Unsupported);
    assert_eq!(worker.find_key(&token_key(0)).unwrap(), Some(key));
}

/// A program that is not there is a mistake in the configuration; one that ends at once is a crash, with its status.
#[test]
fn a_program_that_is_no_worker_is_told_apart() {
    let run = |program: &str| -> Fault {
        let settings = WorkerSettings {
            program: program.into(),
            arguments: Vec::new(),
            keystore: KeystoreSettings::Tpm { tcti: "swtpm:path=/nowhere".into() },
            environment: Vec::new(),
            lock: None,
            deadlines: Deadlines::default(),
        };
        Worker::new(settings).identify().unwrap_err()
    };
    let fault = run("/nowhere/station-agent");
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(fault.to_string().contains("/nowhere/station-agent"), "{fault}");
    let fault = run("/bin/false");
    assert_eq!(fault.kind, FaultKind::WorkerCrashed);
    assert!(fault.to_string().contains("exit status: 1"), "{fault}");
}

/// A worker may be used from a thread other than the one that started it, after that one has ended.
#[test]
fn a_worker_outlives_the_thread_that_started_it() {
    let tpm = Swtpm::start().unwrap();
    let settings = tpm_worker(&tpm);
    let mut worker = thread::spawn(move || {
        let mut worker = Worker::new(settings);
        worker.identify().unwrap();
        worker
    })
    .join()
    .unwrap();
    let process = worker.process_id();
    worker.identify().unwrap();
    assert_eq!(worker.process_id(), process);
}
