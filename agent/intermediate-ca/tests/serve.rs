//! The binary with its keys in a real SoftHSM, served over real mutual TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod place;
mod revoking;
mod rolling;

use std::{fs, time::Duration};

use issuance::{
    CertificateExpectation, CommonName, IssuanceId, Purpose, Timestamp, ValidatedCertificate,
    request::CertificationRequest as ParsedRequest,
};
use proto::ca::v1::{
    CertificationRequest, GetAuthorityRequest, IssueBatchRequest, IssueResult, Issued,
    certificate_authority_service_client::CertificateAuthorityServiceClient as Client, issue_result::Outcome,
};
use rcgen::{CertificateParams, DnType, KeyPair};
use service::status;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use place::{PIN, Place};

fn request(number: u8, profile: &str) -> CertificationRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("sn-{number}.{profile}"));
    let key = KeyPair::generate().unwrap();
    CertificationRequest {
        issuance: IssuanceId::from_slice(&[number; 16]).unwrap().to_string(),
        device_serial: format!("SN-{number}"),
        lot: "lot-1".to_owned(),
        profile: profile.to_owned(),
        certification_request: params.serialize_request(&key).unwrap().der().to_vec(),
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    }
}

async fn issue(client: &mut Client<Channel>, requests: &[CertificationRequest]) -> Vec<IssueResult> {
    let batch = IssueBatchRequest { requests: requests.to_vec() };
    let answer = tokio::time::timeout(Duration::from_secs(60), client.issue_batch(batch)).await.unwrap();
    answer.unwrap().into_inner().results
}

fn issued(result: &IssueResult) -> &Issued {
    match result.outcome.as_ref().unwrap() {
        Outcome::Issued(issued) => issued,
        other => panic!("{}: {other:?}", result.issuance),
    }
}

/// `init` killed at each key as it appears in the token and at each file as it appears in `pki`, then run to its end, and
/// again: three files, one key for each (two in one place are an error of every look-up), and the last run changes nothing.
///
/// Not killed while it logs in: SoftHSM then empties its token's own file and writes it anew, and may lose the token.
#[test]
fn init_completes_whenever_it_was_killed() {
    let place = Place::new();
    // Where the killer is slow, a round makes more than one of them.
    while place.pki().len() < 3 {
        let (objects, files) = (place.objects(), place.pki().len());
        place.kill_when(&["init"], || place.objects() > objects);
        place.kill_when(&["init"], || place.pki().len() > files);
        assert!(place.pki().len() > files, "{}", place.output());
    }
    place.run(&["init"], 0);
    let files = place.pki();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["device-ca.pem", "device-identity.pem", "root.pem"]);
    assert_eq!(place.run(&["init"], 0), "complete: nothing to do\n");
    assert_eq!(place.pki(), files);
    place.serve();
}

/// Each profile is issued and validates against the bundle; the same request has the same bytes after SIGKILL of the server
/// and of its keystore worker; SIGTERM ends it with 0; the PIN is in no output.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_certificate_after_kills() {
    let place = Place::new();
    place.run(&["init"], 0);
    let profiles = [
        ("device-ca", Purpose::DeviceCa { path_length: 0 }),
        ("device-identity", Purpose::DeviceIdentity),
        ("server", Purpose::Server),
    ];
    let batch: Vec<_> = (1..).zip(profiles).map(|(number, (profile, _))| request(number, profile)).collect();

    let server = place.serve();
    let mut client = Client::new(place.channel(&server, "station-1"));
    let authority = client.get_authority(GetAuthorityRequest {}).await.unwrap().into_inner();
    let first = issue(&mut client, &batch).await;
    for ((wanted, result), (profile, purpose)) in batch.iter().zip(&first).zip(profiles) {
        assert_eq!(wanted.issuance, result.issuance);
        let request = ParsedRequest::from_der(&wanted.certification_request).unwrap();
        let issuer = authority.profiles.iter().find(|issuer| issuer.profile == profile).unwrap();
        assert_eq!(issued(result).chain, issuer.chain);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let expectation = CertificateExpectation {
            public_key: request.public_key().clone(),
            common_name: CommonName::parse(request.common_name().as_str()).unwrap(),
            purpose,
            issuers: issuer.chain.clone(),
            intermediates: Vec::new(),
            roots: authority.bundle.clone(),
            at: Timestamp(now.try_into().unwrap()),
        };
        ValidatedCertificate::validate(&issued(result).certificate, expectation).unwrap();
    }

    server.kill_worker();
    assert_eq!(issue(&mut client, &batch).await, first);
    issued(&issue(&mut client, &[request(7, "device-ca")]).await[0]);
    server.kill();

    let server = place.serve();
    let mut client = Client::new(place.channel(&server, "station-1"));
    assert_eq!(issue(&mut client, &batch).await, first);
    assert_eq!(server.terminate(), Some(0));
    assert!(!place.output().contains(PIN));
}

/// Who is no station may do nothing; an empty and an overfull batch are the caller's mistake; health and reflection
/// tell of this service.
#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_held() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    for (name, code, reason) in
        [("mes-1", Code::PermissionDenied, "ROLE_NOT_ALLOWED"), ("nobody", Code::Unauthenticated, "UNKNOWN_CALLER")]
    {
        let mut client = Client::new(place.channel(&server, name));
        let batch = IssueBatchRequest { requests: vec![request(1, "device-ca")] };
        for refused in [
            client.issue_batch(batch).await.unwrap_err(),
            client.get_authority(GetAuthorityRequest {}).await.unwrap_err(),
        ] {
            assert_eq!((refused.code(), status::reason(&refused).as_deref()), (code, Some(reason)), "{refused}");
        }
    }
    let channel = place.channel(&server, "station-1");
    let mut client = Client::new(channel.clone());
    for count in [0, 257] {
        let requests = vec![request(1, "device-ca"); count];
        let refused = client.issue_batch(IssueBatchRequest { requests }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("1 to 256"), "{refused}");
    }
    let full: Vec<_> = (0..=255).map(|number| request(number, "device-ca")).collect();
    let answers = issue(&mut client, &full).await;
    assert!(answers.iter().all(|answer| matches!(answer.outcome, Some(Outcome::Issued(_)))));

    let service = "ca.v1.CertificateAuthorityService".to_owned();
    let check = HealthCheckRequest { service: service.clone() };
    let health = HealthClient::new(channel.clone()).check(check).await.unwrap().into_inner();
    assert_eq!(health.status, tonic_health::ServingStatus::Serving as i32);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&service) && !names.iter().any(|name| name.starts_with("station")), "{names:?}");
}

/// `profile check` says before and after `init` what cannot be carried, all of it, without the token; `serve` then does not
/// start.
#[test]
fn profiles_are_checked_before_anything_is_served() {
    let place = Place::new();
    assert_eq!(place.run(&["profile", "check"], 0), "3 profiles: the chain carries them\n");
    place.run(&["init"], 0);
    assert_eq!(place.run(&["profile", "check"], 0), "3 profiles: the chain carries them\n");
    let path = place.configuration();
    let text = fs::read_to_string(&path).unwrap();
    // The certificates end ten years from now: of a moment they tell more than the configuration.
    let changed = text
        .replace("validity = \"1825d\"\nkeys = [\"P-256\"]", "not_after = \"2090-01-01T00:00:00Z\"\nkeys = [\"P-256\"]")
        .replace("validity = \"365d\"", "not_after = \"2001-01-01T00:00:00Z\"");
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    let found = place.run(&["profile", "check"], 1);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 2, "{found}");
    assert!(lines[0].contains("profile device-identity would be valid until 2090-01-01"), "{found}");
    assert!(lines[1].contains("profile server would have ended already"), "{found}");
    place.run(&["serve"], 1);
    let output = place.output();
    assert!(output.contains("until 2090-01-01") && output.contains("would have ended already"), "{output}");
}

/// A wrong PIN is one attempt, an error that says so and exit code 1; a configuration with mistakes is exit code 2 with
/// each of them; neither shows the PIN.
#[test]
fn failures_have_their_exit_codes() {
    let place = Place::new();
    place.write_secret("654321-wrong");
    place.run(&["init"], 1);
    let output = place.output();
    assert!(output.contains("put the right PIN into pin_file"), "{output}");
    assert!(!output.contains("654321-wrong") && !output.contains(PIN), "{output}");
    assert!(place.pki().is_empty());

    let path = place.configuration();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("path_length = 1", "path_length = 0").replace("label = ", "lable = ")).unwrap();
    place.run(&["serve"], 2);
    let output = place.output();
    assert!(output.contains("path_length") && output.contains("lable"), "{output}");
}
