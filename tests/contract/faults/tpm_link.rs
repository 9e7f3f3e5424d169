//! A link to a TPM that is cut, lies, or has its owner killed.

use std::time::Duration;

use hsm_sim::{Relay, TpmFault, TpmInjection, relay::command};
use issuance::{FaultKind, Keystore};
use keystore::{KeystoreSettings, Worker};

use super::tpm::{issuance, key, start, start_worker};
use crate::{
    bench::{kind, worker},
    process::kill,
    wire::Wire,
};

/// Where the `number`th key and certificate are, on the wire.
const fn places(number: u8) -> (u32, u32) {
    (0x8100_0010 + number as u32, 0x0180_0010 + number as u32)
}

/// Removes what an issuance made, so that there is room for the next.
fn clear(wire: &Wire, number: u8) {
    let (handle, index) = places(number);
    wire.evict(handle);
    wire.undefine(index);
}

/// How many commands an issuance on a fresh place takes.
fn commands_of_an_issuance(relay: &Relay, keystore: &mut dyn Keystore, wire: &Wire) -> usize {
    relay.forget();
    issuance(200).work(keystore).unwrap();
    clear(wire, 200);
    let commands = relay.commands().len();
    assert!(commands > 30, "only {commands} commands were seen");
    commands
}

/// Cuts the link at each `step`th command of an issuance in turn, from the `first` on, of a TPM whose EK is quickly made again. One cut heals unseen; nothing is made twice, nothing is
/// left.
fn survives_a_cut(cut: TpmFault, first: usize, step: usize) {
    let (_tpm, relay, mut keystore, wire) = start();
    wire.remove_ek_certificates();
    let commands = commands_of_an_issuance(&relay, &mut keystore, &wire);
    for at in (first..commands).step_by(step) {
        let number = (at % 100) as u8;
        relay.forget();
        relay.inject(TpmInjection::of(cut).after(at));
        let mut issuance = issuance(number);
        issuance.work(&mut keystore).unwrap_or_else(|fault| panic!("{cut:?} at {at}: {fault:?}"));
        assert_eq!(relay.struck().len(), 1, "{cut:?} at {at}");
        assert_eq!(wire.keys(), [places(number).0], "{cut:?} at {at}");
        if at >= commands - 2 {
            // The end of the last session: the next connection flushes it.
            keystore.identify().unwrap();
        }
        assert_eq!(wire.loaded(), [], "{cut:?} at {at}");
        clear(&wire, number);
    }
}

/// The TPM sees half of a command: each other one, and the rest below.
#[test]
fn a_cut_in_any_command_heals() {
    survives_a_cut(TpmFault::CutCommand, 0, 2);
}

/// The TPM did it, and its answer is lost.
#[test]
fn a_lost_response_to_any_command_heals() {
    survives_a_cut(TpmFault::LoseResponse, 1, 2);
}

/// The TPM did it, and half of its answer comes: as good as none, so that some places are enough.
#[test]
fn a_cut_in_a_response_heals() {
    survives_a_cut(TpmFault::CutResponse, 0, 5);
}

/// A link that stays cut, from any command on, is a lost link (while the device is met, an absent device); the next
/// try, once it is whole, has the same key and certificate.
#[test]
fn a_link_that_stays_cut_is_lost_and_the_next_try_goes_on() {
    let (_tpm, relay, mut keystore, wire) = start();
    wire.remove_ek_certificates();
    let commands = commands_of_an_issuance(&relay, &mut keystore, &wire);
    relay.forget();
    keystore.identify().unwrap();
    let meeting = relay.commands().len();
    // Its last three are tried in any case.
    for at in (0..commands).step_by(3).chain(commands - 3..commands) {
        let number = (at % 100) as u8;
        relay.inject(TpmInjection::of(TpmFault::LoseResponse).after(at).for_ever());
        let mut issuance = issuance(number);
        let told = issuance.work(&mut keystore).map_err(|fault| fault.kind);
        let expected = match at {
            // While it is met, nobody answers any more; a flush and the farewell at its end are not waited for.
            at if at < meeting - 3 => Err(FaultKind::DeviceAbsent),
            // The end of the session and the farewell, which nobody waits for.
            last if last >= commands - 2 => Ok(()),
            _ => Err(FaultKind::LinkLost),
        };
        assert_eq!(told, expected, "at {at}");
        relay.clear();
        issuance.work(&mut keystore).unwrap_or_else(|fault| panic!("after a cut at {at}: {fault:?}"));
        assert_eq!(wire.keys(), [places(number).0], "at {at}");
        assert_eq!(wire.loaded(), [], "at {at}");
        clear(&wire, number);
    }
}

/// A flipped bit in any response: a fault, or nothing, or found out when the station verifies; never a key, signature or
/// certificate that is not the device's. The seed says which bits.
#[test]
fn no_flipped_bit_is_believed() {
    let (_tpm, relay, _, wire) = start();
    let commands = commands_of_an_issuance(&relay, &mut start_worker(&relay), &wire);
    let mut random = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let seed = random;
    let mut settings = worker(KeystoreSettings::Tpm { tcti: relay.tcti().into() }, Vec::new());
    // A wrong length makes the TPM's stack wait for octets that never come.
    for deadline in [
        &mut settings.deadlines.identify,
        &mut settings.deadlines.generate,
        &mut settings.deadlines.read,
        &mut settings.deadlines.write,
        &mut settings.deadlines.sign,
    ] {
        *deadline = Duration::from_secs(3);
    }
    let mut worker = Worker::new(settings);
    let (mut unseen, mut told) = (0, std::collections::BTreeMap::<&str, usize>::new());
    for flip in 0..commands {
        let number = (flip % 100) as u8;
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Half of the bits lie in the header or just behind it, half anywhere.
        let bit = (random >> 8) as usize % if random & 1 == 0 { 160 } else { 16_384 };
        relay.inject(TpmInjection::of(TpmFault::FlipBit(bit)).after(flip));
        let mut issuance = issuance(number);
        match issuance.work(&mut worker) {
            Ok(()) => unseen += 1,
            Err(fault) => *told.entry(fault.kind.reason()).or_default() += 1,
        }
        relay.clear();
        // What was believed is what is there, seen past the link; and whatever happened, the next try goes through. The
        // device's identity is found out by the station, which knows it by its EK certificate's path.
        issuance.device = None;
        issuance
            .work(&mut worker)
            .unwrap_or_else(|fault| panic!("seed {seed}, flip {flip}, bit {bit}: {fault:?}, {told:?}"));
        assert_eq!(wire.keys(), [places(number).0], "seed {seed}, flip {flip}, bit {bit}");
        clear(&wire, number);
    }
    assert!(told.values().sum::<usize>() > commands / 10, "seed {seed}: {unseen} unseen, {told:?}");
    println!("seed {seed}: {unseen} unseen, {told:?}");
}

/// A wrong bit in a signature is found out before the signature is given away, and for what it is.
#[test]
fn a_wrong_signature_is_not_given_away() {
    let (_tpm, relay, mut keystore, _) = start();
    issuance(0).work(&mut keystore).unwrap();
    // The header, the size of the parameters, algorithm, hash and the size of r, then r.
    const IN_R: usize = (10 + 4 + 2 + 2 + 2 + 5) * 8;
    relay.inject(TpmInjection::of(TpmFault::FlipBit(IN_R)).only(command::SIGN));
    assert_eq!(kind(keystore.sign(&key(0), &[vec![1]])), FaultKind::AnswerAltered);
}

/// Ten workers are killed while a command hangs, each at another place of an issuance, each with its key loaded: then an
/// issuance works, and no slot and no session is left taken.
#[test]
fn ten_owners_killed_in_a_command_leave_nothing() {
    let (_tpm, relay, _, wire) = start();
    let commands = commands_of_an_issuance(&relay, &mut start_worker(&relay), &wire);
    let mut killed = 0;
    for at in (1..=10).map(|tenth| tenth * commands / 11) {
        let mut worker = start_worker(&relay);
        worker.identify().unwrap();
        let process = worker.process_id().unwrap();
        relay.inject(TpmInjection::of(TpmFault::Hang).after(at));
        let owner = std::thread::spawn(move || {
            let told = issuance(0).work(&mut worker);
            (worker, told)
        });
        while !relay.await_hang(Duration::from_millis(50)) && !owner.is_finished() {}
        kill(process);
        let (_, told) = owner.join().unwrap();
        // A worker that rested on a busy machine connects again: then an issuance takes more commands than another.
        killed += usize::from(told.is_err());
        assert!(told.is_ok() || kind(told) == FaultKind::WorkerCrashed, "at {at}");
        relay.clear();
        relay.release();
        let (handle, index) = places(0);
        if wire.keys().first() == Some(&handle) {
            wire.evict(handle);
        }
        // A certificate for that key may stand there in part: in the way of the next key's.
        if wire.handles(index).first() == Some(&index) {
            wire.undefine(index);
        }
    }
    assert!(killed >= 8, "only {killed} were killed in a command");
    let mut worker = start_worker(&relay);
    issuance(1).work(&mut worker).unwrap();
    drop(worker);
    assert_eq!(wire.loaded(), []);
}
