//! A scan without a fixture: the station finds the one that holds the device.

use hsm_sim::Stop;
use line::Device;
use tonic::Code;

use crate::asking::{complete, line_of, open_lot, refusal, scan, start, start_issuance};

/// Two new devices are ambiguous; once one is known, a scan finds the other, and the known one again; with nothing new in
/// any fixture the station says so, and a lot that does not exist is told before any device is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_finds_its_fixture() {
    let mut line = start(line_of(2, 0)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let refused = |status| {
        let (code, reason, _) = refusal(&status);
        (code, reason)
    };
    let unknown_lot = start_issuance(&line, scan("LOT-2", "SN-1", "")).await.unwrap_err();
    assert_eq!(refused(unknown_lot), (Code::NotFound, "NOT_FOUND".into()));
    let ambiguous = start_issuance(&line, scan("LOT-1", "SN-1", "")).await.unwrap_err();
    assert!(ambiguous.message().contains("fixture-1, fixture-2"), "{ambiguous:?}");
    assert_eq!(refused(ambiguous), (Code::FailedPrecondition, "FIXTURE_AMBIGUOUS".into()));

    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let second = complete(&line, scan("LOT-1", "SN-2", "")).await;
    assert_eq!(second.fixture, "fixture-2");
    let first = complete(&line, scan("LOT-1", "SN-1", "")).await;
    assert_eq!(first.fixture, "fixture-1");

    let nothing_new = start_issuance(&line, scan("LOT-1", "SN-3", "")).await.unwrap_err();
    assert_eq!(refused(nothing_new), (Code::FailedPrecondition, "NO_DEVICE".into()));
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(2) else { panic!("the second device is a TPM") };
    tpm.stop(Stop::Orderly).unwrap();
    let nothing_there = start_issuance(&line, scan("LOT-1", "SN-3", "")).await.unwrap_err();
    assert_eq!(refused(nothing_there), (Code::FailedPrecondition, "NO_DEVICE".into()));
}
