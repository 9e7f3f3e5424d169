//! A line's parts can be taken away and brought back.
//!
//! Needs the workspace's binaries: `cargo build --workspace --bins`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use line::{Device, Line, Options, Stop};
use proto::station::v1::{
    GetIssuanceRequest, Issuance, OpenLotRequest, StartIssuanceRequest, WatchRequest, event::Change, issuance::State,
};
use tokio::time::timeout;
use tonic::Code;

const MOST: Duration = Duration::from_secs(60);

/// One TPM and one token, no page.
async fn small_line() -> Line {
    let mut line = Line::start(Options { tpms: 1, tokens: 1, page: false, ..Default::default() }).await.unwrap();
    let lot = OpenLotRequest { lot: "LOT".into(), profile: "device-ca".into(), quantity: 10 };
    line.mes().unwrap().open_lot(lot).await.unwrap();
    line.check().unwrap();
    line
}

fn request(number: usize) -> StartIssuanceRequest {
    StartIssuanceRequest {
        lot: "LOT".into(),
        device_serial: format!("D-{number}"),
        fixture: format!("fixture-{number}"),
        ..Default::default()
    }
}

/// Starts the issuance for the device in the fixture `number` and follows it to its end.
async fn issue(line: &Line, number: usize) -> Issuance {
    let mut mes = line.mes().unwrap();
    let started = mes.start_issuance(request(number)).await.unwrap().into_inner();
    let mut events =
        mes.watch(WatchRequest { after_sequence: Some(0), ..Default::default() }).await.unwrap().into_inner();
    let end = async {
        loop {
            match events.message().await.unwrap().expect("the watch ended").change {
                Some(Change::Issuance(issuance)) if issuance.name == started.name => match issuance.state() {
                    State::Completed | State::Failed | State::Quarantined => return issuance,
                    _ => {}
                },
                _ => {}
            }
        }
    };
    timeout(MOST, end).await.expect("the issuance did not end")
}

/// The station is killed and started again: the same request is answered with the same certificate, by both keystores.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_station_remembers() {
    let mut line = small_line().await;
    let mut before = Vec::new();
    for number in [1, 2] {
        before.push(issue(&line, number).await);
    }
    line.kill_station().unwrap();
    line.start_station().await.unwrap();
    let mut mes = line.mes().unwrap();
    for (number, before) in (1..).zip(before) {
        assert_eq!(before.state(), State::Completed, "{before:?}");
        let again = mes.start_issuance(request(number)).await.unwrap().into_inner();
        assert_eq!((again.name, again.certificate), (before.name, before.certificate));
    }
    line.stop().unwrap();
}

/// The CA is stopped and a TPM loses its power: the issuance waits, and goes on when the CA is back, also over a
/// restarted TPM.
#[tokio::test(flavor = "multi_thread")]
async fn waits_for_the_ca_and_meets_the_device_again() {
    let mut line = small_line().await;
    line.stop_ca().unwrap();
    let mut mes = line.mes().unwrap();
    let started = mes.start_issuance(request(1)).await.unwrap().into_inner();
    let submitted = async {
        loop {
            let request = GetIssuanceRequest { name: started.name.clone() };
            let state = mes.get_issuance(request).await.unwrap().into_inner().state();
            match state {
                State::Submitted => return,
                State::Failed | State::Quarantined => panic!("{state:?}"),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(MOST, submitted).await.expect("never submitted");
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(1) else { panic!("no TPM") };
    tpm.stop(Stop::PowerCut).unwrap();
    tpm.restart().unwrap();
    line.start_ca().await.unwrap();
    let issued = issue(&line, 1).await;
    assert_eq!((issued.state(), issued.name), (State::Completed, started.name), "{:?}", issued.failure);
}

/// A certificate of the control plane's own root whose CN the configuration does not know is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_turned_away() {
    let line = small_line().await;
    let stranger = line.control_plane().client("stranger-1").unwrap();
    let status = line.client_with(&stranger).unwrap().start_issuance(request(1)).await.unwrap_err();
    assert!(matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated), "{status:?}");
}
