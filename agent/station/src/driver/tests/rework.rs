//! Rework: what a supervisor has certified again, with the device that has its key and certificate.

use issuance::rule::Ruling;

use super::*;
use crate::ledger::{LedgerRefused, Started, Why};

fn rework(desk: &Desk, of: IssuanceId) -> Result<Started, LedgerRefused> {
    reworked(desk, of, "SN-1", false)
}

fn reworked(desk: &Desk, of: IssuanceId, serial: &str, new_hardware: bool) -> Result<Started, LedgerRefused> {
    let (reason, keystore) = ("scratched".to_owned(), KeystoreKind::Pkcs11);
    let why = Why { reason, new_key: false, new_hardware, keystore };
    desk.ledger.rework(of, &request(serial), &why, &Default::default())
}

#[track_caller]
fn refused(outcome: Result<Started, LedgerRefused>, expected: &str) {
    match outcome.unwrap_err() {
        LedgerRefused::Exists { reason, .. } | LedgerRefused::Precondition { reason, .. } => {
            assert_eq!(reason, expected);
        }
        other => panic!("{other}"),
    }
}

impl Bench {
    /// From the scan to the end, with the CA's answer in between.
    fn complete(&self, id: IssuanceId, device: &mut Device) {
        self.work(id, device, Asked::Scanned);
        self.answer(id);
        self.work(id, device, Asked::Unattended);
        assert!(matches!(self.state(id), State::Completed(..)), "{}: {}", self.state(id), self.stop_reason(id));
    }
}

/// What is not over is not reworked; a completed one is, once, with the key that is there, and the new certificate takes the
/// place of the old one; the lot counts the device once, and the next rework supersedes the newest alone.
#[test]
fn a_completed_device_is_certified_again() {
    let bench = Bench::new();
    let (first, mut device) = (bench.start("SN-1"), Device::new("1"));
    refused(rework(&bench.desk, first), "NOT_REWORKABLE");
    bench.complete(first, &mut device);
    let key = device.key.as_ref().map(|key| key.serialize_der());
    let started = rework(&bench.desk, first).unwrap();
    let (second, asked) = (started.issuance.id, started.issuance.request);
    assert!(started.begin);
    assert_eq!((asked.supersedes, asked.lineage, asked.reason.as_str()), (Some(first), first, "scratched"));
    let again = rework(&bench.desk, first).unwrap();
    assert_eq!((again.issuance.id, again.begin), (second, false));
    device.acts.clear();
    bench.complete(second, &mut device);
    assert_eq!(
        device.acts,
        [
            "identify",
            "find_key",
            "residency_evidence",
            "sign",
            "identify",
            "remove_certificate",
            "write_certificate",
            "read_certificate",
            "sign"
        ]
    );
    assert_eq!(device.key.as_ref().map(|key| key.serialize_der()), key);
    let State::Completed(placed, _) = bench.state(second) else { panic!("{}", bench.state(second)) };
    assert_eq!(device.certificate.as_ref(), Some(&placed.issued.certificate));
    let row = bench.desk.ledger.lot(&asked.lot).unwrap().unwrap();
    assert_eq!((row.started, row.completed), (1, 1));
    let third = rework(&bench.desk, second).unwrap().issuance;
    refused(rework(&bench.desk, first), "ALREADY_SUPERSEDED");
    let ancestors = bench.desk.ledger.ancestors(&third).unwrap();
    assert_eq!(ancestors.iter().map(|ancestor| ancestor.id).collect::<Vec<_>>(), [second, first]);
}

/// A certificate that nobody of ours wrote stays where it is, and the rework stops.
#[test]
fn only_what_is_superseded_is_removed() {
    let bench = Bench::new();
    let (first, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.complete(first, &mut device);
    let second = rework(&bench.desk, first).unwrap().issuance.id;
    bench.work(second, &mut device, Asked::Scanned);
    bench.answer(second);
    let before = device.certificate.clone();
    device.fails = Some(("remove_certificate", FaultKind::LocationOccupied, 1, false));
    bench.work(second, &mut device, Asked::Unattended);
    assert_eq!((bench.stop_reason(second).as_str(), &device.certificate), ("LOCATION_OCCUPIED", &before));
}

/// A rework that a supervisor cancelled does not let an operator rework by a scan: the device had a certificate. A supervisor
/// may again.
#[test]
fn a_cancelled_rework_is_no_free_start() {
    let bench = Bench::new();
    let (first, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.complete(first, &mut device);
    let second = rework(&bench.desk, first).unwrap().issuance.id;
    let cancel = Ruling::Cancel { reason: "not needed".to_owned() };
    bench.desk.ledger.rule(second, cancel, "b".into(), "supervisor-1".into(), 0).unwrap().wait().unwrap();
    refused(bench.desk.start(&request("SN-1")), "COMMON_NAME_TAKEN");
    let third = rework(&bench.desk, second).unwrap().issuance;
    assert_eq!((third.request.supersedes, third.request.lineage), (Some(second), first));
    bench.complete(third.id, &mut device);
}

/// What the CA is to be told waits over restarts and the loss of all rows until its answer is recorded; a second answer
/// changes nothing, and the first certificate of a device is not told at all.
#[test]
fn a_confirmation_waits_until_it_is_recorded() {
    let mut desk = Desk::new(10);
    let first = desk.start(&request("SN-1")).unwrap().issuance.id;
    desk.work_until(first, &mut Device::new("1"), "Completed");
    desk.ledger.journal().sync().unwrap();
    assert_eq!(desk.ledger.unconfirmed(10).unwrap(), []);
    let second = rework(&desk, first).unwrap().issuance.id;
    desk.work_until(second, &mut Device::new("2"), "Completed");
    for rebuilt in [false, true] {
        desk = desk.reopened(rebuilt);
        let waiting = desk.ledger.unconfirmed(10).unwrap();
        assert_eq!(waiting.iter().map(|one| one.issuance).collect::<Vec<_>>(), [second]);
        let issued = desk.issuance(second).state.issued().unwrap().certificate.clone();
        assert_eq!(waiting[0].certificate_sha256, issuance::public_key::sha256(&issued));
    }
    for _ in 0..2 {
        desk.ledger.confirmed(second, String::new()).unwrap();
        assert_eq!(desk.ledger.unconfirmed(10).unwrap(), []);
    }
    let length = desk.ledger.journal().length();
    let desk = desk.reopened(true);
    assert_eq!((desk.ledger.unconfirmed(10).unwrap(), desk.ledger.journal().length()), (vec![], length));
    assert!(matches!(desk.issuance(second).state, State::Completed(..)));
}

/// A board is swapped: without a supervisor's word the other board is set aside; with it the device makes a key there, and the
/// old board is another device's from then on.
#[test]
fn a_board_is_swapped_by_a_supervisors_word() {
    let bench = Bench::new();
    let (first, mut old, mut new) = (bench.start("SN-1"), Device::new("1"), Device::new("2"));
    bench.complete(first, &mut old);
    let plain = rework(&bench.desk, first).unwrap().issuance.id;
    bench.work(plain, &mut new, Asked::Scanned);
    assert_eq!((bench.stop_reason(plain).as_str(), new.key.is_none()), ("NOT_SAME_DEVICE", true));
    let release = |new_hardware| {
        let ruling = Ruling::Release { new_hardware };
        bench.desk.ledger.rule(plain, ruling, "S-1".into(), "page-1".into(), 0).unwrap().wait().unwrap();
        bench.desk.start(&request("SN-1")).unwrap();
    };
    release(false);
    bench.work(plain, &mut new, Asked::Scanned);
    assert_eq!(bench.stop_reason(plain), "NOT_SAME_DEVICE", "nothing was said of its hardware");
    release(true);
    bench.complete(plain, &mut new);
    let third = reworked(&bench.desk, plain, "SN-1", false).unwrap().issuance.id;
    bench.work(third, &mut old, Asked::Scanned);
    assert_eq!(bench.stop_reason(third), "NOT_SAME_DEVICE", "the old board is no longer this device");
}

/// Two labels were swapped: each device is certified under its own serial by a supervisor's word. The key and the certificate
/// that stood there for the other serial are removed, over a crash between the removal and the next key; a key that this
/// station did not make stays.
#[test]
fn swapped_labels_are_set_right_by_a_supervisors_word() {
    let bench = Bench::new();
    let (mut one, mut two) = (Device::new("1"), Device::new("2"));
    let (wrong_one, wrong_two) = (bench.start("SN-2"), bench.start("SN-1"));
    bench.complete(wrong_one, &mut one);
    bench.complete(wrong_two, &mut two);
    let before = one.key.as_ref().map(|key| key.serialize_der());

    let right_one = reworked(&bench.desk, wrong_two, "SN-1", true).unwrap().issuance.id;
    one.acts.clear();
    one.fails = Some(("generate_key", FaultKind::DeviceAbsent, 1, false));
    bench.work(right_one, &mut one, Asked::Scanned);
    assert!(one.key.is_none() && one.acts.contains(&"remove_key"), "{:?}", one.acts);
    bench.desk.start(&request("SN-1")).unwrap();
    bench.complete(right_one, &mut one);
    assert_eq!(one.acts.iter().filter(|act| **act == "remove_key").count(), 1);
    assert_ne!(one.key.as_ref().map(|key| key.serialize_der()), before);

    let right_two = reworked(&bench.desk, wrong_one, "SN-2", true).unwrap().issuance.id;
    bench.complete(right_two, &mut two);
    for (serial, id, device) in [("SN-1", right_one, &one), ("SN-2", right_two, &two)] {
        let State::Completed(placed, _) = bench.state(id) else { panic!("{}", bench.state(id)) };
        assert_eq!(device.certificate.as_ref(), Some(&placed.issued.certificate), "{serial}");
    }

    let third = reworked(&bench.desk, right_two, "SN-2", true).unwrap().issuance.id;
    let mut foreign = Device::new("3");
    foreign.key = Some(rcgen::KeyPair::generate().unwrap());
    foreign.algorithm = Some(issuance::KeyAlgorithm::P256);
    bench.work(third, &mut foreign, Asked::Scanned);
    assert_eq!((bench.stop_reason(third).as_str(), foreign.key.is_some()), ("LOCATION_OCCUPIED", true));
    assert!(!foreign.acts.contains(&"remove_key"), "{:?}", foreign.acts);
}

/// A completed device is scrapped: it ends, its place in the lot is free for another, and it is neither started nor reworked
/// there again; one that stands behind another is not scrapped.
#[test]
fn a_scrapped_device_gives_its_place_back() {
    let bench = Bench::new();
    let (first, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.complete(first, &mut device);
    let second = rework(&bench.desk, first).unwrap().issuance.id;
    bench.complete(second, &mut device);
    let counts = || {
        let row = bench.desk.ledger.lot(&request("SN-1").subject.lot).unwrap().unwrap();
        (row.started, row.completed)
    };
    assert_eq!(counts(), (1, 1));
    let scrap = |id| {
        let ruling = Ruling::Scrap { reason: "dropped".to_owned() };
        bench.desk.ledger.rule(id, ruling, "S-1".into(), "page-1".into(), 0).map(drop)
    };
    let refused_as = |outcome: Result<(), LedgerRefused>, expected: &str| match outcome.unwrap_err() {
        LedgerRefused::Precondition { reason, .. } => assert_eq!(reason, expected),
        other => panic!("{other}"),
    };
    refused_as(scrap(first), "ALREADY_SUPERSEDED");
    scrap(second).unwrap();
    refused_as(scrap(second), "ALREADY_ENDED");
    assert_eq!(counts(), (0, 0));
    let ended = bench.desk.issuance(second);
    assert!(ended.scrapped && matches!(ended.state, State::Cancelled(..)), "{}", ended.state);
    refused(bench.desk.start(&request("SN-1")), "DEVICE_SCRAPPED");
    refused(rework(&bench.desk, second), "DEVICE_SCRAPPED");
    assert_eq!(bench.desk.ledger.unconfirmed(10).unwrap(), [], "the CA has nothing more to be told");
    let other = bench.start("SN-2");
    assert_eq!(counts(), (1, 0));
    scrap(other).unwrap();
    assert_eq!(counts(), (0, 0), "one that was never completed counts as started alone");
}
