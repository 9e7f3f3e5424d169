//! Revocation as the register keeps it: by certificate, device and issuance, once and for ever.

use super::*;
use crate::{NotRevoked, Revocation, RevocationReason, Revoked, Target};
use issuance::{DeviceSerial, ProfileName};

pub(super) async fn revoke(
    authority: &Authority,
    target: Target,
    reason: RevocationReason,
) -> Result<Vec<Revoked>, NotRevoked> {
    authority.revoke("supervisor-1", Revocation { target, reason }).await.unwrap()
}

pub(super) fn serial_of(outcome: &Outcome) -> Vec<u8> {
    use x509_parser::prelude::FromDer as _;
    let der = &issued(outcome).certificate;
    x509_parser::certificate::X509Certificate::from_der(der).unwrap().1.raw_serial().to_vec()
}

fn device(serial: &str, profile: Option<&str>) -> Target {
    let profile = profile.map(|profile| ProfileName::parse(profile).unwrap());
    Target::Device { serial: DeviceSerial::parse(serial).unwrap(), profile }
}

/// By its serial, again after a restart without its rows, and by its issuance: one revocation with its first time and
/// caller. Its request gets no certificate any more; the neighbour's does.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_made_once_and_stands() {
    let world = World::new();
    let authority = world.open();
    let (lost, kept) = (submission(1), submission(2));
    let outcomes = issue(&authority, &[&lost, &kept]).await;
    let target = Target::Certificate(serial_of(&outcomes[0]));
    let first = revoke(&authority, target.clone(), RevocationReason::KeyCompromise).await.unwrap();
    let [revoked] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!((revoked.issuer.as_str(), revoked.device_serial.as_str()), ("device-ca", "SN-1"));
    assert_eq!((revoked.at, revoked.by.as_str(), revoked.before), (Timestamp(START), "supervisor-1", false));
    authority.close().await.unwrap();

    world.time.fetch_add(60_000, Ordering::SeqCst);
    std::fs::remove_dir_all(world.settings.journal.join("projections")).unwrap();
    let authority = world.open();
    let issuance = Target::Issuance(revoked.issuance);
    for target in [target.clone(), issuance, device("SN-1", None)] {
        let again = revoke(&authority, target, RevocationReason::KeyCompromise).await.unwrap();
        assert_eq!(again, [Revoked { before: true, ..revoked.clone() }]);
    }
    let error = revoke(&authority, target, RevocationReason::Superseded).await.unwrap_err();
    assert!(error.to_string().contains("was revoked for keyCompromise already"), "{error}");
    let outcomes = issue(&authority, &[&lost, &kept]).await;
    assert_refused(&outcomes[0], Reason::Revoked, "start a new issuance");
    issued(&outcomes[1]);
    authority.close().await.unwrap();
}

/// A device's certificates go together, or those of one profile; each keeps the reason for which it went. One device's
/// serial is not the beginning of another's. What does not exist is said, and nothing is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_revoked_with_all_that_it_has() {
    let world = World::new();
    let authority = world.open();
    let identity = Submission {
        issuance: id(2),
        profile: "device-identity".to_owned(),
        certification_request: request(&params("SN-1"), &key()),
        ..submission(1)
    };
    issue(&authority, &[&submission(1), &identity, &submission(11)]).await;
    let one = revoke(&authority, device("SN-1", Some("device-identity")), RevocationReason::Superseded).await.unwrap();
    assert_eq!(one.iter().map(|one| one.issuer.as_str()).collect::<Vec<_>>(), ["device-identity"]);
    let all = revoke(&authority, device("SN-1", None), RevocationReason::CessationOfOperation).await.unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.profile.as_str(), one.reason, one.before)).collect();
    assert_eq!(
        all,
        [
            ("device-ca", RevocationReason::CessationOfOperation, false),
            ("device-identity", RevocationReason::Superseded, true)
        ]
    );
    for unknown in [device("SN", None), device("SN-11", Some("server")), Target::Certificate(vec![1])] {
        let error = revoke(&authority, unknown.clone(), RevocationReason::Unspecified).await.unwrap_err();
        assert_eq!(error, NotRevoked::Unknown(unknown));
    }
    authority.close().await.unwrap();
}

/// What was planned and not signed is never signed once its device is revoked: neither on request nor at a start. A
/// clock that went back does not keep a key valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_plan_is_not_signed() {
    let world = World::new();
    let authority = world.open();
    let wanted = submission(1);
    world.keystore.token().failing = 1;
    assert_deferred(&issue_one(&authority, &wanted).await, "does not sign");
    world.time.fetch_sub(60_000, Ordering::SeqCst);
    let revoked = revoke(&authority, device("SN-1", None), RevocationReason::KeyCompromise).await.unwrap();
    assert_eq!(revoked[0].at, Timestamp(START));
    authority.close().await.unwrap();
    world.time.store(START, Ordering::SeqCst);
    let signed = world.keystore.token().signed;
    let authority = world.open();
    assert_refused(&issue_one(&authority, &wanted).await, Reason::Revoked, "start a new issuance");
    assert_eq!(world.keystore.token().signed, signed);
    authority.close().await.unwrap();
}
