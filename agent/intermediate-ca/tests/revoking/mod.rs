//! `revoke` and `crl` against a running server, and what survives its kills.

use std::{collections::BTreeSet, fs, process::Command, thread};

use journal::{Journal, JournalOptions};
use prost::Message as _;
use proto::{
    ca::v1::{
        RevokeRequest, administration_service_client::AdministrationServiceClient as Administration,
        revoke_request::Target,
    },
    journal::v1::{CaRecord, ca_record::Event},
};
use serde_json::Value;
use service::status;
use tonic::Code;

use super::{Client, Place, issue, issued, request};

fn serial_of(certificate: &[u8]) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-inform", "DER", "-noout", "-serial"]).stdin(std::process::Stdio::piped());
    let mut child = openssl.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), certificate).unwrap();
    let out = child.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().trim_start_matches("serial=").to_owned()
}

/// A supervisor revokes with the command, by the serial that OpenSSL prints: the list on the disk, the one over HTTP and
/// the one that `crl` prints hold it, and the same command again changes nothing. Wrong words have exit code 2 or 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_revokes_from_the_command_line() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    let mut client = Client::new(place.channel(&server, "station-1"));
    let first = issue(&mut client, &[request(1, "device-ca"), request(2, "device-ca")]).await;
    let serial = serial_of(&issued(&first[0]).certificate);
    place.write_client(&server, "supervisor-1");
    let revoke = ["revoke", "--certificate-serial", &serial, "--reason", "keyCompromise"];
    let told = place.call(&revoke, 0);
    assert!(told.contains("revoked ") && told.contains("supervisor-1") && told.contains("1 revoked"), "{told}");
    let again: Value = serde_json::from_str(&place.call(&[&revoke[..], &["--json"]].concat(), 0)).unwrap();
    assert_eq!(again["revoked"][0]["before"], true);
    assert_eq!(again["crls"][0]["revoked"], 1);
    let standing: Value = serde_json::from_str(&place.call(&["crl", "--json"], 0)).unwrap();
    let number = |crls: &Value| crls["crls"][0]["number"].as_u64().unwrap();
    assert_eq!(number(&standing), number(&again), "a repetition makes no new list");
    let renewed: Value = serde_json::from_str(&place.call(&["crl", "--renew", "--json"], 0)).unwrap();
    assert!(number(&renewed) > number(&standing));

    let pem = place.call(&["crl", "--pem", "device-ca"], 0);
    assert_eq!(pem, fs::read_to_string(place.path("crl/device-ca.crl.pem")).unwrap());
    let url = format!("{}device-ca.crl.pem", server.crls());
    let fetched = Command::new("curl").args(["-sS", "--max-time", "60", &url]).output().unwrap();
    assert_eq!(String::from_utf8(fetched.stdout).unwrap(), pem);

    place.call(&["revoke", "--device-serial", "SN-9", "--reason", "superseded"], 1);
    place.call(&["revoke", "--certificate-serial", &serial, "--reason", "superseded"], 1);
    place.call(&["revoke", "--certificate-serial", "1", "--device-serial", "SN-1", "--reason", "superseded"], 2);
    place.call(&["crl", "--pem", "other"], 2);
    let output = place.output();
    for words in ["issued nothing for the device SN-9", "was revoked for keyCompromise already", "device-identity"] {
        assert!(output.contains(words), "{words}: {output}");
    }
    place.write_client(&server, "mes-1");
    place.call(&revoke, 1);
    assert_eq!(server.terminate(), Some(0));
}

/// Stations, the MES and auditors revoke nothing, and an auditor reads the lists without renewing them; every field
/// that is wrong is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_revoke() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    let wrong = RevokeRequest {
        target: Some(Target::CertificateSerial("x".to_owned())),
        profile: "device-ca".to_owned(),
        reason: "certificateHold".to_owned(),
    };
    for name in ["station-1", "mes-1", "auditor-1"] {
        let mut administration = Administration::new(place.channel(&server, name));
        let refused = administration.revoke(wrong.clone()).await.unwrap_err();
        assert_eq!(status::reason(&refused).as_deref(), Some("ROLE_NOT_ALLOWED"), "{name}: {refused}");
        let renewed = administration.get_crls(proto::ca::v1::GetCrlsRequest { renew: true }).await.unwrap_err();
        assert_eq!(renewed.code(), Code::PermissionDenied, "{name}");
        let read = administration.get_crls(proto::ca::v1::GetCrlsRequest { renew: false }).await;
        assert_eq!(read.is_ok(), name == "auditor-1", "{name}");
    }
    for name in ["supervisor-1", "administrator-1"] {
        let refused = Administration::new(place.channel(&server, name)).revoke(wrong.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
        for word in ["certificate_serial: must be hexadecimal", "reason: certificateHold is not for this CA"] {
            assert!(refused.message().contains(word), "{word}: {refused}");
        }
    }
}

/// The server is killed, again and again, while it revokes: each revocation that was answered is in the next server's
/// list, no CRL number is in the journal twice, and what is in the file at any moment is a whole list that verifies.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_revokes() {
    const DEVICES: u8 = 12;
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    let mut client = Client::new(place.channel(&server, "station-1"));
    let batch: Vec<_> = (1..=DEVICES).map(|number| request(number, "device-ca")).collect();
    issue(&mut client, &batch).await.iter().for_each(|result| assert!(!issued(result).certificate.is_empty()));
    let (mut server, mut answered) = (Some(server), 0);
    for number in 1..=DEVICES {
        let running = server.take().unwrap_or_else(|| place.serve());
        let mut administration = Administration::new(place.channel(&running, "supervisor-1"));
        let revoking = tokio::spawn(async move {
            let target = Some(Target::DeviceSerial(format!("SN-{number}")));
            let request = RevokeRequest { target, profile: String::new(), reason: "keyCompromise".to_owned() };
            administration.revoke(request).await
        });
        // Each a little later: from before the record to after the answer.
        for _ in 0..u32::from(number - 1) * 400 {
            thread::yield_now();
        }
        running.kill();
        answered += usize::from(revoking.await.unwrap().is_ok());
        let path = place.path("crl/device-ca.crl.pem");
        if path.exists() {
            let mut openssl = Command::new("openssl");
            openssl.args(["crl", "-noout", "-CAfile"]).arg(place.path("pki/device-ca.pem")).arg("-in").arg(path);
            let out = openssl.output().unwrap();
            assert!(String::from_utf8_lossy(&out.stderr).contains("verify OK"), "{out:?}");
        }
    }
    let running = place.serve();
    place.write_client(&running, "administrator-1");
    let standing: Value = serde_json::from_str(&place.call(&["crl", "--renew", "--json"], 0)).unwrap();
    let listed = usize::try_from(standing["crls"][0]["revoked"].as_u64().unwrap()).unwrap();
    assert_eq!(running.terminate(), Some(0));
    let (journal, _) = Journal::open(&JournalOptions::new(place.path("journal"), "ca-1")).unwrap();
    let (mut numbers, mut revoked) = (BTreeSet::new(), 0);
    for entry in journal.read(0..journal.length()).unwrap() {
        match CaRecord::decode(entry.as_slice()).unwrap().event.unwrap() {
            Event::CrlPlanned(crl) => assert!(numbers.insert((crl.list, crl.number)), "a number was planned twice"),
            Event::Revoked(_) => revoked += 1,
            _ => {}
        }
    }
    assert!(listed == revoked && revoked >= answered, "{listed} listed, {revoked} recorded, {answered} answered");
}
