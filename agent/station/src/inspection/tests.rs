use issuance::{FaultKind, ProfileName};

use super::*;
use crate::testing::{Desk, Device, FIXTURE};

fn asked(serial: Option<&str>) -> Asked {
    Asked {
        fixture: FixtureName::parse(FIXTURE).unwrap(),
        keystore: KeystoreKind::Pkcs11,
        device_serial: serial.map(|serial| DeviceSerial::parse(serial).unwrap()),
        claimed_by: "badge".into(),
        authenticated_by: "auditor-1".into(),
        golden: true,
    }
}

/// A desk with a certified device.
fn certified() -> (Desk, IssuanceId, Device) {
    let desk = Desk::new(100);
    let mut device = Device::new("1");
    let id = desk.start(&crate::testing::asked("SN-1")).unwrap().issuance.id;
    desk.work_until(id, &mut device, "Completed");
    (desk, id, device)
}

/// Question and reason of what does not hold.
fn refuted(found: &Inspection) -> Vec<(String, String)> {
    found.checks.iter().filter_map(|(_, check)| check.refuted()).map(|one| (one.question, one.reason)).collect()
}

fn pair(question: &str, reason: &str) -> Vec<(String, String)> {
    vec![(question.into(), reason.into())]
}

/// The records of checks on an issuance, from the journal's bytes.
fn recorded(desk: &Desk) -> Vec<DeviceChecked> {
    use crate::records::{Entry, What};
    let journal = desk.ledger.journal();
    let entries = journal.read(0..journal.synced()).unwrap();
    let checked = |bytes: Vec<u8>| match Entry::decode(&bytes).unwrap().what {
        What::Issuance(_, Record::DeviceChecked(checked)) => Some(*checked),
        _ => None,
    };
    entries.into_iter().filter_map(checked).collect()
}

/// A device as it was shipped is verified; the record of it holds what an auditor can check with the certificate alone.
#[test]
fn a_good_device_is_verified_and_recorded() {
    let (desk, id, mut device) = certified();
    device.acts.clear();
    let found = inspect(&mut device, &desk.ledger, &asked(Some("SN-1"))).unwrap();
    assert!(found.is_verified(), "{found:?}");
    assert_eq!(device.acts, ["identify", "find_key", "read_certificate", "sign"]);
    let [record] = recorded(&desk).try_into().unwrap();
    assert_eq!((record.refuted.len(), record.authenticated_by.as_str()), (0, "auditor-1"));
    let certificate = device.certificate.as_ref().unwrap();
    assert_eq!(record.certificate_sha256, Some(issuance::public_key::sha256(certificate)));
    let key = issuance::certificate::public_key(certificate).unwrap();
    assert!(key.verifies(&record.nonce, &record.signature), "the record proves itself");
    assert!(matches!(desk.issuance(id).state, State::Completed(..)), "a check changes nothing else");
    let again = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    assert!(again.is_verified());
    assert_ne!(recorded(&desk)[1].nonce, record.nonce, "each look has a nonce of its own");
    let desk = desk.reopened(true);
    assert!(inspect(&mut device, &desk.ledger, &asked(None)).unwrap().is_verified(), "after rows were rebuilt");
}

/// What does not hold is told and recorded, and the device is left as it is.
#[test]
fn what_does_not_hold_is_recorded() {
    let (desk, _, mut device) = certified();
    let certificate = device.certificate.take();
    let found = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    assert_eq!((found.is_verified(), refuted(&found)), (false, pair("CERTIFICATE", "NOT_FOUND")));
    (device.certificate, device.key) = (certificate, None);
    let found = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    assert_eq!(refuted(&found), pair("KEY", "NOT_FOUND"));
    let reasons: Vec<_> = recorded(&desk).iter().map(|record| record.refuted[0].question.clone()).collect();
    assert_eq!(reasons, ["CERTIFICATE", "KEY"]);
}

/// Another device than the one that is meant, one that nobody knows, and none: told, and nothing is asked of it.
#[test]
fn another_device_is_told() {
    let (desk, _, mut device) = certified();
    device.acts.clear();
    let found = inspect(&mut device, &desk.ledger, &asked(Some("SN-2"))).unwrap();
    assert_eq!(refuted(&found), pair("DEVICE", "NOT_SAME_DEVICE"));
    let mut stranger = Device::new("2");
    let found = inspect(&mut stranger, &desk.ledger, &asked(Some("SN-1"))).unwrap();
    assert_eq!(refuted(&found), pair("DEVICE", "NOT_SAME_DEVICE"));
    let found = inspect(&mut stranger, &desk.ledger, &asked(None)).unwrap();
    assert_eq!((refuted(&found), found.device_serial), (pair("DEVICE", "NOT_FOUND"), None));
    stranger.fails = Some(("identify", FaultKind::DeviceAbsent, 1, false));
    let found = inspect(&mut stranger, &desk.ledger, &asked(None)).unwrap();
    assert_eq!(refuted(&found), pair("DEVICE", "DEVICE_ABSENT"));
    assert_eq!((device.acts.len(), stranger.acts.len()), (1, 3));
    assert!(recorded(&desk).is_empty(), "no issuance was looked at");
}

/// A fault in the middle is the answer to the question that it kept from being asked; it is recorded too.
#[test]
fn a_fault_in_the_middle_is_an_answer() {
    for (act, question) in [("find_key", "KEY"), ("read_certificate", "CERTIFICATE"), ("sign", "SIGNATURE")] {
        let (desk, _, mut device) = certified();
        device.fails = Some((act, FaultKind::LinkLost, 1, false));
        let found = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
        assert_eq!(refuted(&found), pair(question, "LINK_LOST"));
        assert_eq!(recorded(&desk).len(), 1);
    }
}

/// A device whose issuance is not completed is not verified, and one under a profile that is gone cannot be.
#[test]
fn what_cannot_be_judged_is_not_verified() {
    let desk = Desk::new(100);
    let mut device = Device::new("1");
    let id = desk.start(&crate::testing::asked("SN-1")).unwrap().issuance.id;
    desk.work_until(id, &mut device, "Submitted");
    let found = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    assert_eq!(refuted(&found), pair("ISSUANCE", "NOT_FOUND"));
    desk.work_until(id, &mut device, "Completed");
    let desk = desk.with_profiles(&["other"]);
    assert!(desk.ledger.profiles().get(&ProfileName::parse("device-ca").unwrap()).is_none());
    let found = inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    assert_eq!(refuted(&found), pair("PATH", "MISCONFIGURED"));
}

/// The golden device is looked at twice: what the station tells of the last check is what it came to, by whom and when; an
/// ordinary check tells nothing of the shift, and the rows rebuilt say the same.
#[test]
fn a_golden_device_tells_of_the_station() {
    let (desk, _, mut device) = certified();
    let ordinary = Asked { golden: false, ..asked(None) };
    inspect(&mut device, &desk.ledger, &ordinary).unwrap();
    assert_eq!(desk.ledger.golden_check().unwrap(), None);
    inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    let good = desk.ledger.golden_check().unwrap().unwrap();
    assert_eq!((good.verified, good.device_serial.as_str(), good.claimed_by.as_str()), (true, "SN-1", "badge"));
    inspect(&mut device, &desk.ledger, &ordinary).unwrap();
    assert_eq!(desk.ledger.golden_check().unwrap(), Some(good));
    device.certificate = None;
    inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    let desk = desk.reopened(true);
    assert!(!desk.ledger.golden_check().unwrap().unwrap().verified);
}
