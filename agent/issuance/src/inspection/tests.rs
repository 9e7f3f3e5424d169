use rcgen::SigningKey as _;

use super::*;
use crate::{
    KeyAlgorithm,
    simulated::{DAY, NOW, Recipe, World, generate, public_key, requested},
};

/// A completed issuance, and what its device shows.
fn completed_one() -> (World, Issuance, Shown) {
    let mut world = World::new();
    let issuance = world.run(requested()).0;
    let shown = shown_by(&world);
    (world, issuance, shown)
}

fn shown_by(world: &World) -> Shown {
    let key = world.key.as_ref();
    Shown {
        key: key.map(public_key),
        certificate: world.certificate.clone(),
        nonce: vec![3; 32],
        signature: key.map(|key| key.sign(&[3; 32]).unwrap()),
    }
}

/// The questions that do not hold, with their reasons.
fn refuted(world: &World, issuance: &Issuance, shown: &Shown, superseded: &[Vec<u8>]) -> Vec<(String, String)> {
    let checks = issuance.inspect(shown, superseded, world.context(), NOW);
    checks.iter().filter_map(Check::refuted).map(|refuted| (refuted.question, refuted.reason)).collect()
}

fn names(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(question, reason)| (question.to_string(), reason.to_string())).collect()
}

/// A device as it was shipped answers every question, each in words.
#[test]
fn a_device_as_it_was_shipped_holds() {
    let (world, issuance, shown) = completed_one();
    let checks = issuance.inspect(&shown, &[], world.context(), NOW);
    let questions: Vec<_> = checks.iter().map(|check| check.question.as_str()).collect();
    assert_eq!(questions, ["KEY", "CERTIFICATE", "PATH", "PUBLIC_KEY", "SIGNATURE"]);
    assert!(checks.iter().all(|check| check.outcome.is_ok()), "{checks:?}");
}

/// Each thing that is altered on the device is told by the question that it belongs to.
#[test]
fn what_was_altered_is_named() {
    let (world, issuance, good) = completed_one();
    let other = generate(KeyAlgorithm::P256);
    let told = |change: &dyn Fn(&mut Shown)| {
        let mut shown = good.clone();
        change(&mut shown);
        refuted(&world, &issuance, &shown, &[])
    };
    assert_eq!(
        told(&|shown| (shown.key, shown.signature) = (None, None)),
        names(&[("KEY", "NOT_FOUND")]),
        "the key is gone"
    );
    let replaced = told(&|shown| {
        (shown.key, shown.signature) = (Some(public_key(&other)), Some(other.sign(&shown.nonce).unwrap()));
    });
    assert_eq!(replaced, names(&[("KEY", "MISMATCH"), ("PUBLIC_KEY", "MISMATCH"), ("SIGNATURE", "MISMATCH")]));
    assert_eq!(told(&|shown| shown.certificate = None), names(&[("CERTIFICATE", "NOT_FOUND")]));
    assert_eq!(
        told(&|shown| shown.signature = Some(other.sign(&shown.nonce).unwrap())),
        names(&[("SIGNATURE", "MISMATCH")]),
        "another key signed"
    );
    assert_eq!(told(&|shown| shown.nonce = vec![4; 32]), names(&[("SIGNATURE", "MISMATCH")]), "an old signature");
    assert_eq!(told(&|shown| shown.signature = None), names(&[("SIGNATURE", "MISMATCH")]));
    let altered = told(&|shown| {
        if let Some(last) = shown.certificate.as_mut().and_then(|der| der.last_mut()) {
            *last ^= 1;
        }
    });
    assert_eq!(altered, names(&[("CERTIFICATE", "MISMATCH"), ("PATH", "CERTIFICATE_REJECTED")]), "one bit");
}

/// A second certificate for the same key and name passes validation, and is still not the one that was issued; one that was
/// superseded is called so.
#[test]
fn another_certificate_is_told_from_the_issued_one() {
    let (world, issuance, mut shown) = completed_one();
    let recipe = Recipe::right(world.profile.purpose, "SN-1.ca", world.key.as_ref().unwrap());
    let another = world.issuer.issue(&recipe.valid(-DAY, 300 * DAY));
    assert_ne!(Some(&another), world.certificate.as_ref());
    shown.certificate = Some(another.clone());
    assert_eq!(refuted(&world, &issuance, &shown, &[]), names(&[("CERTIFICATE", "MISMATCH")]));
    let words = |superseded: &[Vec<u8>]| {
        let checks = issuance.inspect(&shown, superseded, world.context(), NOW);
        checks.iter().filter_map(Check::refuted).map(|refuted| refuted.message).collect::<String>()
    };
    assert!(words(&[]).contains("they have the serial"), "{}", words(&[]));
    assert!(words(&[another]).contains("was superseded"), "superseded");
}

/// A certificate that has expired since is told, though the bytes are right.
#[test]
fn an_expired_certificate_is_told() {
    let (world, issuance, shown) = completed_one();
    let later = Timestamp(NOW.0 + 400 * DAY * 1000);
    let checks = issuance.inspect(&shown, &[], world.context(), later);
    let told: Vec<_> = checks.iter().filter_map(Check::refuted).map(|refuted| refuted.question).collect();
    assert_eq!(told, ["PATH"]);
}

/// Of several issuances the completed one counts; one on its way to stand in for it is told, a cancelled one is not.
#[test]
fn the_completed_issuance_counts() {
    let (_, done, _) = completed_one();
    let under_way = requested();
    let cancelled = requested().apply(
        &crate::Record::Cancelled {
            scrapped: false,
            reason: "r".into(),
            claimed_by: String::new(),
            authenticated_by: "s".into(),
        },
        NOW,
    );
    let told = |issuances: &[Issuance]| {
        let (found, outcome) = completed(issuances);
        (found.map(|found| found.state.to_string()), outcome.map_err(|fault| fault.kind))
    };
    let completed = Some("Completed".to_owned());
    assert!(matches!(told(std::slice::from_ref(&done)), (found, Ok(_)) if found == completed));
    assert!(matches!(told(&[cancelled.clone(), done.clone()]), (found, Ok(_)) if found == completed));
    let (found, outcome) = told(&[under_way.clone(), done]);
    assert_eq!((found, outcome), (completed, Err(FaultKind::Mismatch)));
    assert_eq!(told(&[under_way, cancelled]), (None, Err(FaultKind::NotFound)));
    assert_eq!(told(&[]), (None, Err(FaultKind::NotFound)));
}

/// Which device it is: the one that is meant, another, one that took its place, one that nobody knows.
#[test]
fn the_device_is_the_one_that_is_meant() {
    let serial = |text: &str| DeviceSerial::parse(text).unwrap();
    let (one, two) = (serial("SN-1"), serial("SN-2"));
    assert_eq!(device(Some(one.clone()), None).unwrap(), one);
    assert_eq!(device(Some(one.clone()), Some((&one, true))).unwrap(), one);
    let kind = |outcome: Result<DeviceSerial, Fault>| outcome.unwrap_err().kind;
    assert_eq!(kind(device(Some(one.clone()), Some((&two, true)))), FaultKind::NotSameDevice);
    assert_eq!(kind(device(None, Some((&one, true)))), FaultKind::NotSameDevice);
    assert_eq!(kind(device(None, Some((&one, false)))), FaultKind::NotFound);
    assert_eq!(kind(device(None, None)), FaultKind::NotFound);
}
