//! Lots at the served CA: the command line and the roles, over real mutual TLS, with a brand owner whose key and signature
//! OpenSSL makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod place;

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proto::ca::v1::{
    AmendLotRequest, AuthoriseLotRequest, CertificationRequest, CloseLotRequest, IssueBatchRequest, ListLotsRequest,
    OpenLotRequest, ReportLotRequest, ScrapDeviceRequest,
    certificate_authority_service_client::CertificateAuthorityServiceClient, issue_result::Outcome,
    lot_service_client::LotServiceClient,
};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use service::status;
use tonic::Code;

use place::Place;

fn openssl(place: &Place, arguments: &[&str]) -> Vec<u8> {
    let out = Command::new("openssl").args(arguments).current_dir(place.directory()).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// A P-256 key of OpenSSL's making; the CA is told its public half.
fn brand_owner(place: &Place) {
    openssl(place, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "brand.key"]);
    openssl(place, &["pkey", "-in", "brand.key", "-pubout", "-out", "brand.pub"]);
    place.add("[lots]\nrequired = true\n[[lots.brand_owner]]\nkey = \"brand.pub\"\n");
}

/// ES256, signed by OpenSSL: its DER becomes R and S.
fn sign(place: &Place, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", encode(&json!({"alg": "ES256"})), encode(claims));
    fs::write(place.directory().join("input"), &input).unwrap();
    let der = openssl(place, &["dgst", "-sha256", "-sign", "brand.key", "input"]);
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let (integer, after) = rest[2..].split_at(rest[1].into());
        let integer = integer.strip_prefix(&[0]).unwrap_or(integer);
        raw.extend(vec![0; 32 - integer.len()]);
        raw.extend(integer);
        rest = after;
    }
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(raw))
}

fn audience(place: &Place) -> String {
    openssl(place, &["x509", "-in", "pki/device-ca.pem", "-pubkey", "-noout", "-out", "issuer.pub"]);
    openssl(place, &["pkey", "-pubin", "-in", "issuer.pub", "-outform", "DER", "-out", "issuer.spki"]);
    URL_SAFE_NO_PAD.encode(openssl(place, &["dgst", "-sha256", "-binary", "issuer.spki"]))
}

fn request(number: u8, lot: &str) -> CertificationRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("sn-{number}.ca"));
    let key = KeyPair::generate().unwrap();
    CertificationRequest {
        issuance: issuance::IssuanceId::from_slice(&[number; 16]).unwrap().to_string(),
        device_serial: format!("SN-{number}"),
        lot: lot.to_owned(),
        profile: "device-ca".to_owned(),
        certification_request: params.serialize_request(&key).unwrap().der().to_vec(),
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    }
}

/// The whole life of a signed lot with commands: authorised from a file, used up, listed, closed, reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_lot_from_order_to_report() {
    let place = Place::new();
    place.run(&["init"], 0);
    brand_owner(&place);
    place.run(&["lot", "list"], 2);
    assert!(place.output().contains("no [client]"), "{}", place.output());
    let server = place.serve();
    place.add_client(&server, "mes-1");

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "aud": audience(&place), "jti": "order-1", "lot": "WO-1", "profile": "device-ca", "quantity": 1,
        "serials": ["SN-1"], "nbf": now - 60, "exp": now + 3_600,
    });
    let file = place.directory().join("order.jws");
    fs::write(&file, sign(&place, &claims) + "\n").unwrap();
    let file = file.to_str().unwrap();
    for _ in 0..2 {
        let told: Value = serde_json::from_str(&place.run(&["lot", "authorise", file, "--json"], 0)).unwrap();
        assert_eq!((&told["lot"], &told["used"], &told["jti"]), (&"WO-1".into(), &0.into(), &"order-1".into()));
    }
    place.run(&["lot", "open", "WO-2", "--profile", "device-ca", "--quantity", "1"], 1);
    assert!(place.output().contains("AUTHORISATION_REQUIRED"), "{}", place.output());

    let mut stations = CertificateAuthorityServiceClient::new(place.channel(&server, "station-1"));
    let requests = vec![request(1, "WO-1"), request(2, "WO-1"), request(3, "WO-3")];
    let results = stations.issue_batch(IssueBatchRequest { requests }).await.unwrap().into_inner().results;
    let reasons: Vec<String> = results
        .into_iter()
        .map(|result| match result.outcome.unwrap() {
            Outcome::Issued(_) => "issued".to_owned(),
            Outcome::Sealed(_) => "sealed".to_owned(),
            Outcome::Refused(refused) => refused.reason,
            Outcome::Deferred(deferred) => deferred.message,
        })
        .collect();
    assert_eq!(reasons, ["issued", "LOT_NOT_FOR_DEVICE", "LOT_UNKNOWN"]);
    assert!(place.run(&["lot", "list"], 0).contains("1 of 1 used, OPEN, signed: order-1"));
    assert!(place.run(&["lot", "close", "WO-1"], 0).contains("CLOSED"));
    let report = place.directory().join("report.jws");
    place.run(&["lot", "report", "WO-1", "--out", report.to_str().unwrap()], 0);
    let report = fs::read_to_string(report).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(report.split('.').nth(1).unwrap()).unwrap();
    let told: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((&told["issued"], &told["authorisation"]["jti"]), (&1.into(), &"order-1".into()));
    assert_eq!(server.terminate(), Some(0));
}

/// Each role does what is its own and nothing else: a station brings a signature and opens nothing, the MES neither amends
/// nor scraps, a stranger sees nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_own() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    let client = |name: &str| LotServiceClient::new(place.channel(&server, name));
    let open = || OpenLotRequest { lot: "WO-1".to_owned(), profile: "device-ca".to_owned(), quantity: 1 };
    let amend = |quantity| AmendLotRequest {
        lot: "WO-1".to_owned(),
        quantity,
        reason: "more".to_owned(),
        badge: "b-1".to_owned(),
    };
    for (page_size, page_token, field) in [(1, "+5", "page_token"), (1, "05", "page_token"), (-1, "", "page_size")] {
        let list = ListLotsRequest { page_size, page_token: page_token.to_owned() };
        let refused = client("auditor-1").list_lots(list).await.unwrap_err();
        assert_eq!((refused.code(), status::fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let scrap = |serial: &str| ScrapDeviceRequest {
        lot: "WO-1".to_owned(),
        device_serial: serial.to_owned(),
        reason: "dropped".to_owned(),
        badge: String::new(),
    };
    let named = || "WO-1".to_owned();
    for name in ["station-1", "auditor-1"] {
        assert_eq!(client(name).open_lot(open()).await.unwrap_err().code(), Code::PermissionDenied, "{name}");
        let closed = client(name).close_lot(CloseLotRequest { lot: named() }).await.unwrap_err();
        assert_eq!(closed.code(), Code::PermissionDenied, "{name}");
    }
    client("mes-1").open_lot(open()).await.unwrap();
    for name in ["mes-1", "station-1", "auditor-1"] {
        assert_eq!(client(name).amend_lot(amend(2)).await.unwrap_err().code(), Code::PermissionDenied, "{name}");
        assert_eq!(
            client(name).scrap_device(scrap("SN-1")).await.unwrap_err().code(),
            Code::PermissionDenied,
            "{name}"
        );
    }
    // Passed on by a station to whom its own rules let have it.
    client("station-1").report_lot(ReportLotRequest { lot: named() }).await.unwrap();
    let unknown = client("nobody").open_lot(open()).await.unwrap_err();
    assert_eq!(status::reason(&unknown).as_deref(), Some("UNKNOWN_CALLER"));
    let bearer = client("auditor-1").authorise_lot(AuthoriseLotRequest { authorisation: "a.b.c".into() }).await;
    assert_eq!(bearer.unwrap_err().code(), Code::PermissionDenied);
    let malformed = client("station-1").authorise_lot(AuthoriseLotRequest { authorisation: "a.b.c".into() }).await;
    assert_eq!(status::reason(&malformed.unwrap_err()).as_deref(), Some("AUTHORISATION_MALFORMED"));

    let amended = client("supervisor-1").amend_lot(amend(2)).await.unwrap().into_inner();
    assert_eq!(amended.quantity, 2);
    for wrong in [
        client("supervisor-1").amend_lot(AmendLotRequest { reason: " ".to_owned(), ..amend(3) }).await.unwrap_err(),
        client("supervisor-1").amend_lot(amend(0)).await.unwrap_err(),
        client("supervisor-1").scrap_device(scrap("a b")).await.unwrap_err(),
        client("mes-1").open_lot(OpenLotRequest { lot: "a b".to_owned(), ..open() }).await.unwrap_err(),
    ] {
        assert_eq!(wrong.code(), Code::InvalidArgument, "{wrong}");
    }
    // A station says whose badge and PIN it verified, and has a say in what it brought alone.
    let mut station = CertificateAuthorityServiceClient::new(place.channel(&server, "station-1"));
    let requests = vec![request(7, "WO-1"), request(8, "WO-NOWHERE")];
    let results = station.issue_batch(IssueBatchRequest { requests }).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| matches!(result.outcome, Some(Outcome::Issued(_)))), "{results:?}");
    let by_badge = |serial: &str| ScrapDeviceRequest { badge: "S-1".to_owned(), ..scrap(serial) };
    let other = client("station-2").scrap_device(by_badge("SN-7")).await.unwrap_err();
    assert_eq!(status::reason(&other).as_deref(), Some("OTHER_STATION"));
    let kept = client("station-1").scrap_device(by_badge("SN-7")).await.unwrap().into_inner();
    assert_eq!((kept.quantity, kept.used), (2, 0));
    let elsewhere = ScrapDeviceRequest { lot: "WO-NOWHERE".to_owned(), ..by_badge("SN-8") };
    let lot = client("station-1").scrap_device(elsewhere).await.unwrap().into_inner();
    assert_eq!((lot.quantity, lot.profile.as_str()), (0, "device-ca"), "a lot that this CA does not keep");
    let none = client("supervisor-1").scrap_device(scrap("SN-1")).await.unwrap_err();
    assert_eq!((none.code(), status::reason(&none).as_deref()), (Code::NotFound, Some("NO_PLACE")));
}
