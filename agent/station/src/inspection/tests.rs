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
    assert_eq!(
        (good.verified, good.device_serial.as_ref().unwrap().as_str(), good.claimed_by.as_str()),
        (true, "SN-1", "badge")
    );
    inspect(&mut device, &desk.ledger, &ordinary).unwrap();
    assert_eq!(desk.ledger.golden_check().unwrap(), Some(good));
    device.certificate = None;
    inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    let desk = desk.reopened(true);
    assert!(!desk.ledger.golden_check().unwrap().unwrap().verified);
}

/// A golden check that no issuance can tell of has a record of its own, whatever kept it from coming to one: which device it
/// should have been, what hardware it was, what did not hold and who asked. It stands above the good check before it, also after
/// the rows are rebuilt, and is told in its place. An ordinary check of the same leaves none.
#[test]
fn a_golden_check_of_a_stranger_is_recorded() {
    use crate::{
        ledger::Changed,
        records::{Entry, What},
    };
    let (desk, _, mut device) = certified();
    inspect(&mut device, &desk.ledger, &asked(None)).unwrap();
    let mut stranger = Device::new("2");
    let before = desk.ledger.journal().length();
    let ordinary = Asked { golden: false, ..asked(None) };
    inspect(&mut stranger, &desk.ledger, &ordinary).unwrap();
    assert_eq!(desk.ledger.journal().length(), before);

    inspect(&mut device, &desk.ledger, &asked(Some("SN-2"))).unwrap();
    inspect(&mut stranger, &desk.ledger, &asked(Some("SN-1"))).unwrap();
    inspect(&mut stranger, &desk.ledger, &asked(None)).unwrap();
    stranger.fails = Some(("identify", FaultKind::DeviceAbsent, 1, false));
    inspect(&mut stranger, &desk.ledger, &asked(None)).unwrap();
    let mut waiting = Device::new("3");
    let begun = desk.start(&crate::testing::asked("SN-3")).unwrap().issuance.id;
    desk.work_until(begun, &mut waiting, "Submitted");
    inspect(&mut waiting, &desk.ledger, &asked(None)).unwrap();
    let entries = desk.ledger.journal().read(before..desk.ledger.journal().synced()).unwrap();
    let failed: Vec<_> = entries
        .iter()
        .filter_map(|bytes| match Entry::decode(bytes).unwrap().what {
            What::GoldenCheckFailed(failed) => Some(*failed),
            _ => None,
        })
        .collect();
    let told: Vec<_> = failed
        .iter()
        .map(|one| {
            let serial = |serial: &Option<DeviceSerial>| serial.as_ref().map(ToString::to_string).unwrap_or_default();
            let (meant, known) = (serial(&one.device_serial), serial(&one.known_as));
            (meant, known, one.hardware.is_some(), one.refuted[0].reason.as_str())
        })
        .collect();
    let due = |meant: &str, known: &str, answered, reason| (meant.to_owned(), known.to_owned(), answered, reason);
    assert_eq!(
        told,
        [
            due("SN-2", "SN-1", true, "NOT_SAME_DEVICE"),
            due("SN-1", "", true, "NOT_SAME_DEVICE"),
            due("", "", true, "NOT_FOUND"),
            due("", "", false, "DEVICE_ABSENT"),
            due("", "SN-3", true, "NOT_FOUND"),
        ]
    );
    assert_ne!(failed[0].hardware, failed[1].hardware);
    assert_eq!((failed[0].claimed_by.as_str(), failed[0].authenticated_by.as_str()), ("badge", "auditor-1"));

    let desk = desk.reopened(true);
    let last = desk.ledger.golden_check().unwrap().unwrap();
    assert_eq!((last.verified, last.device_serial.unwrap().as_str()), (false, "SN-3"));
    let changes = desk.ledger.changes(before, desk.ledger.journal().synced()).unwrap();
    let indexes: Vec<u64> = changes.iter().map(|change| change.index).collect();
    assert_eq!(indexes, (before..desk.ledger.journal().synced()).collect::<Vec<_>>(), "a watch has no gap");
    assert_eq!(changes.iter().filter(|change| matches!(change.what, Changed::GoldenCheck(_))).count(), 5);
}
