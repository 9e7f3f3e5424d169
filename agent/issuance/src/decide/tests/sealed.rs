//! A certificate that the device's TPM must release: kept, opened, and then as any other.

use super::*;
use crate::residency::{EndorsementPolicy, Known};

fn sealing() -> World {
    World { seals: true, ..World::new() }
}

/// An issuance whose sealed certificate is here.
fn sealed() -> (World, Issuance) {
    let mut world = sealing();
    let mut issuance = requested();
    for record in world.run(requested()).1 {
        issuance = issuance.apply(&record, NOW);
        if matches!(issuance.state, State::Sealed(_)) {
            return (world, issuance);
        }
    }
    panic!("it was not sealed");
}

/// The flow: the answer is kept without a sync of its own, the device is asked, and what it opened is recorded before it is
/// written.
#[test]
fn a_sealed_certificate_is_opened_and_written() {
    let (issuance, records, actions) = sealing().run(requested());
    let names: Vec<_> = records.iter().map(name_of).collect();
    assert_eq!(
        names[5..],
        ["Submitted", "Sealed", "Issued", "WriteStarted", "Written", "Verified", "Completed"],
        "{names:?}"
    );
    let activate = actions.iter().find(|action| matches!(action, Action::Activate(_))).unwrap();
    assert!(!activate.is_irreversible(), "a credential is released as often as it is asked for");
    assert!(matches!(issuance.state, State::Completed(..)));
}

/// A crash after any record: the fold asks for what is missing, and the same certificate ends on the device.
#[test]
fn every_prefix_goes_on() {
    let records = sealing().run(requested()).1;
    for end in 0..records.len() {
        let mut world = sealing();
        let (_, mine, _) = world.run(requested());
        world.certificate = None;
        let issuance = mine[..end].iter().fold(requested(), |issuance, record| issuance.apply(record, NOW));
        if end < 3 {
            world.key = None;
            world.generated = 0;
        }
        if matches!(issuance.state.to_string().as_str(), "Written" | "Verified") {
            world.certificate = issuance.state.issued().map(|issued| issued.certificate.clone());
        }
        let (done, ..) = world.run(issuance);
        assert!(matches!(done.state, State::Completed(..)), "after {end}: {}", done.state);
        assert_eq!(world.generated, 1, "after {end}");
    }
}

/// Only what the TPM opened says that the CA was shown which TPM it is; until then the station's word stands.
#[test]
fn the_standing_follows_the_activation() {
    let (mut world, sealed) = sealed();
    let known = Known { standing: Standing::Certified, activation: Some(Activation::Station) };
    let issuance = Issuance { residency: Some(known), ..sealed };
    let opened = world.act(&issuance, &issuance.next(world.context())).unwrap();
    let after = after(&issuance, &decide(&world, &issuance, opened));
    assert_eq!(after.residency, Some(Known { activation: Some(Activation::Ca), ..known }));
    let (_, plain) = stands_in("Issued");
    assert_eq!(plain.residency, Some(Known { standing: Standing::Stated, activation: None }));
}

/// The same answer again, encrypted anew, changes nothing, before and after it was opened; a device that is away leaves it
/// where it is, and the next scan goes on with it.
#[test]
fn a_sealed_answer_waits_for_its_device() {
    let (world, issuance) = sealed();
    let (_, submitted) = stands_in("Submitted");
    let again = world.sealed_answer(&submitted);
    assert!(decide(&world, &issuance, again.clone()).records.is_empty());
    let away = Input::Failed { fault: Fault::new(FaultKind::DeviceAbsent, "no device"), attempt: 1 };
    let failed = after(&issuance, &decide(&world, &issuance, away));
    assert_eq!(failed.state.underlying(), &issuance.state);
    assert!(failed.state.was_issued() && failed.state.awaits_answer().is_none());
    let resumed =
        Record::Resumed { fixture: world.fixture.clone(), claimed_by: String::new(), authenticated_by: String::new() };
    let resumed = failed.apply(&resumed, NOW);
    assert!(matches!(decide(&world, &resumed, world.identified()).action, Action::Activate(_)));
    let (done, ..) = sealing().run(requested());
    assert!(decide(&world, &done, again).records.is_empty());
}

/// The answer to what was stopped while it waited is kept beneath the stop: the next scan, or a supervisor's word, goes on
/// with it.
#[test]
fn a_sealed_answer_moves_what_was_stopped() {
    let (world, submitted) = stands_in("Submitted");
    let stop = Stop::of(&Fault::new(FaultKind::DeviceAbsent, "no device"));
    for stopped in [Record::Failed(stop.clone()), Record::Quarantined(stop)] {
        let stopped = submitted.clone().apply(&stopped, NOW);
        let answer = world.sealed_answer(&stopped);
        let answered = after(&stopped, &decide(&world, &stopped, answer));
        assert!(matches!(answered.state.underlying(), State::Sealed(_)), "{}", answered.state.underlying());
        assert_eq!(answered.state.to_string(), stopped.state.to_string());
    }
}

/// What is opened is validated as what came in the open: another certificate is recorded, set aside and never written.
#[test]
fn what_is_opened_is_validated() {
    let (mut world, issuance) = sealed();
    let key = world.key.take().unwrap();
    let recipe = Recipe::right(Purpose::DeviceCa { path_length: 3 }, "SN-1.ca", &key);
    let opened = Input::Opened { certificate: world.issuer.issue(&recipe) };
    stopped(&world, &issuance, opened, "CERTIFICATE_REJECTED", true);
}

/// Where the profile has the CA make the credential, a certificate in the open is set aside: the CA asked nothing of the
/// TPM.
#[test]
fn a_certificate_in_the_open_is_set_aside() {
    let (world, issuance) = stands_in("Submitted");
    let policy = EndorsementPolicy { activation: Activation::Ca, ..Default::default() };
    let context = Context { endorsement: Some(&policy), ..world.context() };
    let decision = issuance.decide(world.answer(), context, NOW).unwrap();
    let stop = after(&issuance, &decision).state.stop().unwrap().clone();
    assert!(stop.message.contains("in the open"), "{stop:?}");
    assert!(matches!(decision.records[..], [Record::Issued { .. }, Record::Quarantined(_)]));
    let sealed = issuance.decide(world.sealed_answer(&issuance), context, NOW).unwrap();
    assert!(matches!(sealed.action, Action::Activate(_)));
}

/// What no record can hold is refused, as in the open.
#[test]
fn a_sealed_answer_has_a_bound() {
    let (world, issuance) = stands_in("Submitted");
    let Input::Sealed(sealed) = world.sealed_answer(&issuance) else { panic!() };
    let endless = Input::Sealed(crate::residency::SealedCertificate { certificate: vec![0; 70_000], ..sealed });
    let after = after(&issuance, &decide(&world, &issuance, endless));
    assert!(after.state.stop().unwrap().message.contains("ANSWER_TOO_LARGE"));
}

/// One that was cancelled while it was sealed counts as issued: its device is reworked, not started anew.
#[test]
fn a_cancelled_one_was_issued() {
    let (_, issuance) = sealed();
    let cancelled =
        Record::Cancelled { scrapped: false, reason: "r".into(), claimed_by: "s".into(), authenticated_by: "s".into() };
    let after = issuance.apply(&cancelled, NOW);
    assert!(after.state.was_issued() && after.state.issued().is_none());
    let (world, submitted) = stands_in("Submitted");
    let late = submitted.apply(&cancelled, NOW);
    let late = self::after(&late, &decide(&world, &late, world.sealed_answer(&late)));
    assert!(matches!(late.state, State::Cancelled(..)) && late.state.was_issued());
}
