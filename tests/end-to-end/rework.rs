//! Rework on real devices: a second certificate for the same key, and the end of the first.

use std::collections::BTreeMap;

use journal::{Journal, JournalOptions};
use line::{Device, Line};
use proto::{
    journal::v1::{CaRecord, ca_record::Event},
    station::v1::{Issuance, ReworkIssuanceRequest, issuance::State},
};
use tonic::{Code, Status};

use crate::{
    asking::{IMPATIENT_QUEUE, bounded, complete, line_of, mes, open_lot, refusal, scan, settled, start, told},
    looking::{Expected, TokenTools, files_of},
};

async fn rework(line: &Line, issuance: &Issuance, who: &str, new_key: bool) -> Result<Issuance, Status> {
    let request = ReworkIssuanceRequest {
        name: issuance.name.clone(),
        reason: "the label was scratched".into(),
        badge: "B-1".into(),
        fixture: issuance.fixture.clone(),
        new_key,
        ..Default::default()
    };
    let mut client = line.client(who).unwrap();
    bounded("a rework", client.rework_issuance(request)).await.map(tonic::Response::into_inner)
}

/// What the CA's journal says of each certificate: verified, revoked.
fn ca_says(line: &Line) -> Vec<String> {
    let (journal, _) = Journal::open(&JournalOptions::new(line.directory().join("journal/ca"), "ca-1")).unwrap();
    let mut devices = BTreeMap::new();
    let mut said = Vec::new();
    for bytes in journal.read(0..journal.length()).unwrap() {
        let record = <CaRecord as prost::Message>::decode(bytes.as_slice()).unwrap();
        match record.event.unwrap() {
            Event::CertificatePlanned(planned) => {
                devices.insert(record.issuance, format!("{} {}", planned.device_serial, planned.generation));
            }
            Event::IssuanceVerified(_) => said.push(format!("verified {}", devices[&record.issuance])),
            Event::Revoked(revoked) => said.push(format!("revoked {} {}", devices[&record.issuance], revoked.reason)),
            _ => {}
        }
    }
    said.sort();
    said
}

/// A TPM and a token are certified again with the key that they have, under the same CN and in the same place of the lot; the
/// new certificate replaces the old one on the device, and the CA revokes the old one once it is told, over a station that was
/// killed meanwhile. A third certificate supersedes the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_certified_again() {
    let options = line::Options { station_extra: IMPATIENT_QUEUE.into(), ..line_of(1, 1) };
    let mut line = start(options).await;
    open_lot(&line, "LOT-1", "device-ca", 2).await;
    for (serial, fixture) in [("SN-1", "fixture-1"), ("SN-2", "fixture-2")] {
        let first = complete(&line, scan("LOT-1", serial, fixture)).await;
        let denied = rework(&line, &first, "mes-1", false).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");

        let started = rework(&line, &first, "supervisor-1", false).await.unwrap();
        assert_eq!((&started.supersedes, &started.common_name), (&first.name, &first.common_name));
        assert_eq!(rework(&line, &first, "supervisor-1", false).await.unwrap().name, started.name, "asked once more");
        let second = settled(&line, &started).await;
        assert_eq!(second.state(), State::Completed, "{}", told(&second));
        assert_eq!(second.key, first.key, "the key serves on");
        assert_ne!(second.certificate_serial, first.certificate_serial);
        files_of(line.directory(), &second, Expected::Ca(0));
        let late = rework(&line, &first, "supervisor-1", false).await.unwrap();
        assert_eq!(late.name, second.name, "it was reworked already");

        line.kill_station().unwrap();
        line.start_station().await.unwrap();
        let started = rework(&line, &second, "supervisor-1", false).await.unwrap();
        let third = settled(&line, &started).await;
        assert_eq!(third.state(), State::Completed, "{}", told(&third));
        let gone = rework(&line, &first, "supervisor-1", false).await.unwrap_err();
        assert_eq!(refusal(&gone).1, "ALREADY_SUPERSEDED");
        files_of(line.directory(), &third, Expected::Ca(0));
        let same = complete(&line, scan("LOT-1", serial, fixture)).await;
        assert_eq!(same.name, third.name, "a scan finds the newest");
    }
    // The lot counted each device once.
    let request = proto::station::v1::GetLotRequest { name: "lots/LOT-1".into() };
    let lot = mes(&line).get_lot(request).await.unwrap().into_inner();
    assert_eq!((lot.started, lot.completed), (2, 2));
    let (_, device) = line.hardware().devices().nth(1).unwrap();
    let Device::Token(token) = device else { panic!("the second device is a token") };
    assert_eq!((TokenTools::of(token).count("privkey"), TokenTools::of(token).count("cert")), (1, 1));

    // The last words to the CA may still be on their way: a station that stops has said what it recorded, the rest is told
    // after the next start.
    let told_by = async {
        loop {
            line.stop_ca().unwrap();
            let said = ca_says(&line);
            line.start_ca().await.unwrap();
            if said.len() == 8 {
                return said;
            }
        }
    };
    let said = bounded("the confirmations", told_by).await;
    let expected = ["SN-1", "SN-2"].map(|serial| {
        [
            format!("revoked {serial} 1 superseded"),
            format!("revoked {serial} 2 superseded"),
            format!("verified {serial} 2"),
            format!("verified {serial} 3"),
        ]
    });
    let mut expected = expected.concat();
    expected.sort();
    assert_eq!(said, expected);
}

/// A new key where the profile has a place for one, and a clear refusal where it has not; what is not completed is not
/// reworked.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_needs_a_place() {
    let line = start(line_of(1, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 2).await;
    let on_tpm = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let refused = rework(&line, &on_tpm, "supervisor-1", true).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "NEW_KEY_UNSUPPORTED");
    let on_token = complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    let second = settled(&line, &rework(&line, &on_token, "supervisor-1", true).await.unwrap()).await;
    assert_eq!(second.state(), State::Completed, "{}", told(&second));
    assert_ne!(second.key, on_token.key);
    files_of(line.directory(), &second, Expected::Ca(0));
    let unknown = Issuance { name: "issuances/01890000-0000-7000-8000-000000000000".into(), ..on_tpm };
    assert_eq!(rework(&line, &unknown, "supervisor-1", false).await.unwrap_err().code(), Code::NotFound);
}
