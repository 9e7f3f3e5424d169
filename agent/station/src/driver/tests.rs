mod rework;

use std::sync::{Arc, Mutex};

use super::*;
use crate::testing::{Desk, Device, FIXTURE, asked as request};
use issuance::{FixtureName, Made, profile::KeystoreKind};

/// A station's records for one fixture; it is to stop once so many decisions were made.
struct Bench {
    desk: Arc<Desk>,
    decisions_left: Mutex<Option<usize>>,
}

impl Bench {
    fn new() -> Self {
        Self { desk: Arc::new(Desk::new(100)), decisions_left: Mutex::default() }
    }

    fn start(&self, serial: &str) -> IssuanceId {
        self.desk.start(&request(serial)).unwrap().issuance.id
    }

    fn work(&self, id: IssuanceId, device: &mut Device, asked: Asked) {
        let devices = self.desk.directory.path().join("devices");
        Driver { keystore: device, records: self, devices: &devices }.work(id, asked).unwrap();
    }

    /// The CA answers.
    fn answer(&self, id: IssuanceId) {
        self.desk.decide(id, self.desk.authority.answer(&self.desk.issuance(id))).unwrap();
    }

    fn state(&self, id: IssuanceId) -> State {
        self.desk.issuance(id).state
    }

    fn stop_reason(&self, id: IssuanceId) -> String {
        self.state(id).stop().map(|stop| stop.reason.clone()).unwrap_or_default()
    }
}

fn halted(refused: crate::ledger::LedgerRefused) -> Halted {
    Halted(service::in_full(&refused))
}

impl Records for Bench {
    fn issuance(&self, id: IssuanceId) -> Result<Issuance, Halted> {
        Ok(self.desk.issuance(id))
    }

    fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, Halted> {
        if let Some(left) = self.decisions_left.lock().unwrap().as_mut() {
            *left = left.saturating_sub(1);
        }
        self.desk.decide(id, input).map_err(halted)
    }

    fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), Halted> {
        self.desk.ledger.known_device(serial, identity).map_err(halted)
    }

    fn made_key(&self, issuance: &Issuance, location: &KeyLocation, key: &PublicKey) -> Result<Made, Halted> {
        self.desk.ledger.made_key(issuance, location, key).map_err(halted)
    }

    fn validated_certificate(&self, id: IssuanceId) -> Result<Result<ValidatedCertificate, Fault>, Halted> {
        let fixture = FixtureName::parse(FIXTURE).unwrap();
        self.desk.ledger.validated_certificate(id, &fixture, KeystoreKind::Pkcs11).map_err(halted)
    }

    fn superseded_certificates(&self, issuance: &Issuance) -> Result<Vec<Vec<u8>>, Halted> {
        self.desk.ledger.superseded_certificates(issuance).map_err(halted)
    }

    fn is_stopping(&self) -> bool {
        *self.decisions_left.lock().unwrap() == Some(0)
    }
}

/// From the scan to the submission, and from the answer to completed: every act once, in order, and the files beside it.
#[test]
fn the_whole_flow() {
    let bench = Bench::new();
    let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.work(id, &mut device, Asked::Scanned);
    assert_eq!(device.acts, ["identify", "find_key", "generate_key", "residency_evidence", "sign"]);
    assert!(matches!(bench.state(id), State::Submitted(_)));
    bench.answer(id);
    device.acts.clear();
    bench.work(id, &mut device, Asked::Unattended);
    assert_eq!(device.acts, ["identify", "write_certificate", "read_certificate", "sign"]);
    let State::Completed(placed, _) = bench.state(id) else { panic!("{}", bench.state(id)) };
    assert_eq!(device.certificate.as_ref(), Some(&placed.issued.certificate));
    assert!(bench.desk.directory.path().join("devices/SN-1/certificate.pem").is_file());
    // Once more: nothing is done to a device that is done.
    device.acts.clear();
    bench.work(id, &mut device, Asked::Scanned);
    assert_eq!(device.acts, [""; 0]);
}

/// A fault in each act, before or after its effect, once: it is tried again, the flow ends as ever, with one key and one
/// certificate.
#[test]
fn a_fault_in_any_act_is_tried_again() {
    for after in [false, true] {
        for act in ["identify", "find_key", "generate_key", "residency_evidence", "sign"] {
            let bench = Bench::new();
            let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
            device.fails = Some((act, FaultKind::LinkLost, 1, after));
            bench.work(id, &mut device, Asked::Scanned);
            assert!(matches!(bench.state(id), State::Submitted(_)), "{act} ({after}): {}", bench.state(id));
            bench.answer(id);
            bench.work(id, &mut device, Asked::Scanned);
            assert!(matches!(bench.state(id), State::Completed(..)), "{act} ({after})");
        }
        for act in ["identify", "write_certificate", "read_certificate", "sign"] {
            let bench = Bench::new();
            let id = bench.start("SN-1");
            let mut device = Device::new("1");
            bench.work(id, &mut device, Asked::Scanned);
            bench.answer(id);
            device.fails = Some((act, FaultKind::DeviceBusy, 1, after));
            bench.work(id, &mut device, Asked::Scanned);
            assert!(matches!(bench.state(id), State::Completed(..)), "{act} ({after}): {}", bench.state(id));
        }
    }
}

/// What does not pass is tried four times, then told; the next scan goes on from there.
#[test]
fn a_fault_that_stays_is_told() {
    let bench = Bench::new();
    let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
    device.fails = Some(("residency_evidence", FaultKind::DeadlineExceeded, 4, false));
    bench.work(id, &mut device, Asked::Scanned);
    assert_eq!(device.acts.iter().filter(|act| **act == "residency_evidence").count(), 4);
    assert_eq!(bench.stop_reason(id), "DEADLINE_EXCEEDED");
    assert!(matches!(bench.state(id), State::Failed(..)));
    assert!(bench.desk.start(&request("SN-1")).unwrap().begin);
    bench.work(id, &mut device, Asked::Scanned);
    assert!(matches!(bench.state(id), State::Submitted(_)));
    // A PIN is never tried a second time.
    let (id, mut device) = (bench.start("SN-2"), Device::new("2"));
    device.fails = Some(("identify", FaultKind::PinRejected, 9, false));
    bench.work(id, &mut device, Asked::Scanned);
    assert_eq!((device.acts.len(), bench.stop_reason(id).as_str()), (1, "PIN_REJECTED"));
}

/// Another device in the fixture: when somebody scanned, it is set aside; when the CA's answer came, the first device has
/// only left, and goes on when it is back.
#[test]
fn another_device_in_the_fixture() {
    let bench = Bench::new();
    let (id, mut device, mut other) = (bench.start("SN-1"), Device::new("1"), Device::new("2"));
    bench.work(id, &mut device, Asked::Scanned);
    bench.answer(id);
    bench.work(id, &mut other, Asked::Unattended);
    assert_eq!(bench.stop_reason(id), "DEVICE_ABSENT");
    assert!(bench.desk.start(&request("SN-1")).unwrap().begin);
    bench.work(id, &mut other, Asked::Scanned);
    assert_eq!(bench.stop_reason(id), "NOT_SAME_DEVICE");
    assert!(matches!(bench.state(id), State::Quarantined(..)));
    assert!(other.certificate.is_none() && other.key.is_none());
    assert_eq!(other.acts, ["identify", "identify"], "nothing is done to it");
}

/// A device that was swapped between two steps, so that its key is not the one of before, is set aside: at its request,
/// or at the latest at its verification.
#[test]
fn a_device_swapped_between_two_steps() {
    let bench = Bench::new();
    let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
    // Stops after the evidence: identified, sought, generated, proven.
    *bench.decisions_left.lock().unwrap() = Some(4);
    bench.work(id, &mut device, Asked::Scanned);
    assert!(matches!(bench.state(id), State::ResidencyProven(_)), "{}", bench.state(id));
    *bench.decisions_left.lock().unwrap() = None;
    let right = device.key.replace(rcgen::KeyPair::generate().unwrap());
    bench.work(id, &mut device, Asked::Scanned);
    assert_eq!(bench.stop_reason(id), "MISMATCH");

    let id = bench.start("SN-2");
    let mut device = Device { key: None, ..Device::new("2") };
    bench.work(id, &mut device, Asked::Scanned);
    bench.answer(id);
    device.key = right;
    bench.work(id, &mut device, Asked::Unattended);
    assert_eq!(bench.stop_reason(id), "MISMATCH");
    assert!(matches!(bench.state(id), State::Quarantined(..)));
}

/// Asked to stop after any decision: no further act is begun, and the next start goes on to the same end.
#[test]
fn it_stops_when_asked() {
    for decisions in 0..7 {
        let bench = Bench::new();
        let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
        *bench.decisions_left.lock().unwrap() = Some(decisions);
        bench.work(id, &mut device, Asked::Scanned);
        assert!(device.acts.len() <= decisions, "{decisions}: {:?}", device.acts);
        *bench.decisions_left.lock().unwrap() = None;
        bench.work(id, &mut device, Asked::Unattended);
        assert!(matches!(bench.state(id), State::Submitted(_)), "{decisions}: {}", bench.state(id));
    }
}

/// A certificate that expired while it waited is not written: it is validated anew before each write.
#[test]
fn nothing_unvalidated_is_written() {
    let bench = Bench::new();
    let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.work(id, &mut device, Asked::Scanned);
    let other_ca = crate::testing::Authority::new();
    let answer = other_ca.answer(&bench.desk.issuance(id));
    bench.desk.decide(id, answer).unwrap();
    device.acts.clear();
    bench.work(id, &mut device, Asked::Unattended);
    assert_eq!((device.acts.len(), bench.stop_reason(id).as_str()), (0, "CERTIFICATE_REJECTED"));
}

/// Files that cannot be written stop the issuance before it counts as written; the scan after the repair completes it.
#[test]
fn files_that_cannot_be_written_are_told() {
    let bench = Bench::new();
    let (id, mut device) = (bench.start("SN-1"), Device::new("1"));
    bench.work(id, &mut device, Asked::Scanned);
    bench.answer(id);
    let devices = bench.desk.directory.path().join("devices");
    std::fs::write(&devices, "in the way").unwrap();
    bench.work(id, &mut device, Asked::Unattended);
    assert_eq!(bench.stop_reason(id), "FILE_WRITE_FAILED");
    std::fs::remove_file(&devices).unwrap();
    assert!(bench.desk.start(&request("SN-1")).unwrap().begin);
    bench.work(id, &mut device, Asked::Scanned);
    assert!(matches!(bench.state(id), State::Completed(..)));
}
