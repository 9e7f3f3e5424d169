//! `device verify`: devices that were certified, altered behind the station's back by the tools that anybody has, and looked
//! at again.

use std::fs;

use line::{Device, Line, Options};
use proto::station::v1::{DeviceVerification, Issuance, VerifyDeviceRequest, issuance::State};
use serde_json::Value;
use tonic::{Code, Status};

use crate::{
    asking::{IMPATIENT_QUEUE, bounded, complete, line_of, open_lot, refusal, scan, start, start_issuance, until},
    commands::{agent, json},
    looking::{Ran, TokenTools, TpmTools},
};

const KEY: &str = "0x81000010";
const NV: &str = "0x01800010";

async fn verify(line: &Line, who: &str, request: VerifyDeviceRequest) -> Result<DeviceVerification, Status> {
    let mut client = line.client(who).unwrap();
    bounded("a device to be verified", client.verify_device(request)).await.map(tonic::Response::into_inner)
}

fn at(fixture: &str) -> VerifyDeviceRequest {
    VerifyDeviceRequest { fixture: fixture.into(), ..Default::default() }
}

/// What does not hold of the device in a fixture, as `QUESTION REASON`, and what is said of it; by the command, whose exit
/// code must agree.
#[track_caller]
fn refuted(line: &Line, arguments: &[&str]) -> (Vec<String>, String) {
    let ran = agent(line, &[&["device", "verify", "--json"], arguments].concat());
    let found = json(&ran);
    let word = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    let wrong: Vec<&Value> =
        found["checks"].as_array().unwrap().iter().filter(|check| check["holds"] == false).collect();
    assert_eq!(found["verified"], wrong.is_empty(), "{found}");
    assert_eq!(ran.status.code(), Some(i32::from(!wrong.is_empty())), "{found}");
    let named = wrong.iter().map(|check| format!("{} {}", word(check, "question"), word(check, "reason"))).collect();
    (named, wrong.iter().map(|check| word(check, "message")).collect::<Vec<_>>().join("\n"))
}

fn tpm_tools(line: &mut Line, number: usize) -> TpmTools {
    match line.hardware_mut().device(number) {
        Some(Device::Tpm(tpm)) => TpmTools::of(tpm),
        other => panic!("device {number} is {other:?}"),
    }
}

fn token_tools(line: &mut Line, number: usize) -> TokenTools {
    match line.hardware_mut().device(number) {
        Some(Device::Token(token)) => TokenTools::of(token),
        other => panic!("device {number} is {other:?}"),
    }
}

/// The certificate with its last octet, one of the signature, changed.
fn altered(certificate: &[u8]) -> Vec<u8> {
    let mut altered = certificate.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    altered
}

/// A TPM and a token are verified as they were shipped; then each is altered, and what was altered is named, also in the
/// story of the device; put right, it holds again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_on_a_device_is_named() {
    let mut line = start(line_of(2, 2)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let on_tpm = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let on_token = complete(&line, scan("LOT-1", "SN-3", "fixture-3")).await;

    for (fixture, serial) in [("fixture-1", "SN-1"), ("fixture-3", "SN-3")] {
        assert_eq!(refuted(&line, &["--fixture", fixture]), (vec![], String::new()));
        let told = agent(&line, &["device", "verify", "--fixture", fixture, "--serial", serial]);
        assert_eq!(told.status.code(), Some(0), "{}{}", told.text(), told.err);
        for words in [serial, "VERIFIED", "byte for byte", "signed a fresh nonce"] {
            assert!(told.text().contains(words), "{words}: {}", told.text());
        }
        let (named, words) = refuted(&line, &["--fixture", fixture, "--serial", "SN-9"]);
        assert_eq!(named, ["DEVICE NOT_SAME_DEVICE"]);
        assert!(words.contains(serial) && words.contains("SN-9"), "{words}");
    }
    // SN-1 is meant, and a device that nobody certified sits there.
    assert_eq!(refuted(&line, &["--fixture", "fixture-2", "--serial", "SN-1"]).0, ["DEVICE NOT_SAME_DEVICE"]);
    assert_eq!(refuted(&line, &["--fixture", "fixture-4"]).0, ["DEVICE NOT_FOUND"]);

    a_tpm_is_altered(&mut line, &on_tpm);
    a_token_is_altered(&mut line, &on_token);

    let shown = agent(&line, &["journal", "show", "SN-1"]);
    for words in ["verified: it holds its certificate", "it did not hold: ", "CERTIFICATE, NOT_FOUND", "KEY, NOT_FOUND"]
    {
        assert!(shown.text().contains(words), "{words}: {}{}", shown.text(), shown.err);
    }
    assert_eq!(agent(&line, &["device", "verify"]).status.code(), Some(1), "of several fixtures one must be named");
    assert_eq!(agent(&line, &["device", "verify", "--fixture"]).status.code(), Some(2));
}

fn a_tpm_is_altered(line: &mut Line, issuance: &Issuance) {
    let tools = tpm_tools(line, 1);
    let place = |octets: &[u8]| {
        tools.run("tpm2_nvundefine", &["-C", "o", NV]);
        fs::write(tools.file("octets"), octets).unwrap();
        let size = octets.len().to_string();
        tools.must("tpm2_nvdefine", &[NV, "-C", "o", "-s", &size, "-a", "ownerread|ownerwrite|authread"]);
        tools.must("tpm2_nvwrite", &[NV, "-C", "o", "-i", "octets"]);
    };
    let told = |line: &Line| refuted(line, &["--fixture", "fixture-1"]);
    // Not over it: the index is locked. Its owner, whom nobody has given an authorisation, can only put another in its place.
    fs::write(tools.file("octets"), altered(&issuance.certificate)).unwrap();
    assert!(!tools.run("tpm2_nvwrite", &[NV, "-C", "o", "-i", "octets"]).status.success());
    assert!(tools.must("tpm2_getcap", &["properties-variable"]).text().contains("ownerAuthSet:              0"));
    assert_eq!(told(line).0, [""; 0]);
    place(&altered(&issuance.certificate));
    assert_eq!(told(line).0, ["CERTIFICATE MISMATCH", "PATH CERTIFICATE_REJECTED"]);
    place(b"calibration, not a certificate");
    let (named, words) = told(line);
    assert_eq!(
        named,
        ["CERTIFICATE MISMATCH", "PATH CERTIFICATE_REJECTED", "PUBLIC_KEY MISMATCH", "SIGNATURE MISMATCH"]
    );
    assert!(words.contains("they are no certificate"), "{words}");
    tools.must("tpm2_nvundefine", &["-C", "o", NV]);
    assert_eq!(told(line).0, ["CERTIFICATE NOT_FOUND"]);
    place(&issuance.certificate);
    assert_eq!(told(line).0, [""; 0], "the right octets are right, whoever wrote them");
    tools.must("tpm2_evictcontrol", &["-C", "o", "-c", KEY]);
    assert_eq!(told(line).0, ["KEY NOT_FOUND"]);
    tools.occupy(KEY);
    // A storage key stands there, which does not even sign.
    assert_eq!(told(line).0, ["KEY LOCATION_OCCUPIED"]);
    tools.must("tpm2_clear", &[]);
    assert_eq!(told(line).0, ["DEVICE NOT_FOUND"], "a cleared TPM is another device");
    assert_eq!(refuted(line, &["--fixture", "fixture-1", "--serial", "SN-1"]).0, ["DEVICE NOT_SAME_DEVICE"]);
}

fn a_token_is_altered(line: &mut Line, issuance: &Issuance) {
    let tools = token_tools(line, 3);
    let id = issuance.key.clone();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("octets");
    let path = file.to_string_lossy().into_owned();
    let told = |line: &Line| refuted(line, &["--fixture", "fixture-3"]);
    let delete = |kind: &str| tools.must(&["--delete-object", "--type", kind, "--id", &id]);
    let write = |octets: &[u8]| {
        fs::write(&file, octets).unwrap();
        tools.must(&["--write-object", &path, "--type", "cert", "--id", &id, "--label", "device"])
    };
    delete("cert");
    assert_eq!(told(line).0, ["CERTIFICATE NOT_FOUND"]);
    write(&altered(&issuance.certificate));
    assert_eq!(told(line).0, ["CERTIFICATE MISMATCH", "PATH CERTIFICATE_REJECTED"]);
    delete("cert");
    write(&issuance.certificate);
    assert_eq!(told(line).0, [""; 0]);
    delete("privkey");
    delete("pubkey");
    assert_eq!(told(line).0, ["KEY NOT_FOUND"]);
    // Another key under the same CKA_ID is another key.
    tools.must(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", &id, "--label", "device"]);
    assert_eq!(told(line).0, ["KEY MISMATCH", "PUBLIC_KEY MISMATCH", "SIGNATURE MISMATCH"]);
}

/// A certificate that rework superseded and somebody put back is called superseded; a device whose issuance waits for the CA
/// is not verified; a fixture at work is left alone; and who may not ask is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_superseded_or_under_way_is_named() {
    let mut line = start(Options { station_extra: IMPATIENT_QUEUE.into(), ..line_of(0, 2) }).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let rework = ["rework", &first.name, "--reason", "the label was scratched", "--fixture", "fixture-1"];
    let denied: Ran = agent(&line, &rework);
    assert_eq!(denied.status.code(), Some(1), "the command line's client is no supervisor");
    let request = proto::station::v1::ReworkIssuanceRequest {
        name: first.name.clone(),
        reason: "the label was scratched".into(),
        fixture: "fixture-1".into(),
        ..Default::default()
    };
    let started = line.client("supervisor-1").unwrap().rework_issuance(request).await.unwrap().into_inner();
    let second = until(&line, &started, "its end", |issuance| issuance.state() == State::Completed).await;
    assert_eq!(refuted(&line, &["--fixture", "fixture-1"]).0, [""; 0]);

    let tools = token_tools(&mut line, 1);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("octets");
    fs::write(&file, &first.certificate).unwrap();
    tools.must(&["--delete-object", "--type", "cert", "--id", &second.key]);
    let file = file.to_string_lossy();
    tools.must(&["--write-object", &file, "--type", "cert", "--id", &second.key, "--label", "device"]);
    let (named, words) = refuted(&line, &["--fixture", "fixture-1"]);
    assert_eq!(named, ["CERTIFICATE MISMATCH"]);
    assert!(words.contains("was superseded"), "{words}");

    line.stop_ca().unwrap();
    let waiting = start_issuance(&line, scan("LOT-1", "SN-2", "fixture-2")).await.unwrap();
    until(&line, &waiting, "its submission", |issuance| issuance.state() == State::Submitted).await;
    // The driver's thread is done with it a moment after it is told.
    let found = bounded("the fixture to be free", async {
        loop {
            match verify(&line, "page-1", at("fixture-2")).await {
                Err(status) if refusal(&status).1 == "FIXTURE_BUSY" => tokio::task::yield_now().await,
                other => return other.unwrap(),
            }
        }
    })
    .await;
    let wrong: Vec<_> = found.checks.iter().filter(|check| !check.holds).map(|check| check.message.as_str()).collect();
    assert!(!found.verified && wrong.len() == 1 && wrong[0].contains("stands in Submitted"), "{found:?}");

    for who in ["operator-1", "supervisor-1", "mes-1", "auditor-1"] {
        assert!(verify(&line, who, at("fixture-1")).await.is_ok(), "{who}");
    }
    let denied = verify(&line, "administrator-1", at("fixture-1")).await.unwrap_err();
    assert_eq!(refusal(&denied), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".into(), String::new()));
    let unnamed = verify(&line, "mes-1", VerifyDeviceRequest::default()).await.unwrap_err();
    assert_eq!(refusal(&unnamed), (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "fixture".into()));
    let unknown = verify(&line, "mes-1", at("fixture-9")).await.unwrap_err();
    assert_eq!(refusal(&unknown).0, Code::NotFound);
    let nonsense = VerifyDeviceRequest { device_serial: "..".into(), ..at("fixture-1") };
    let refused = verify(&line, "mes-1", nonsense).await.unwrap_err();
    assert_eq!(refusal(&refused).2, "device_serial");
}
