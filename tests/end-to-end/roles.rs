//! Who may do what: by the certificate alone.

use std::{fs, path::Path, process::Command, time::Duration};

use line::{CALLERS, Line};
use proto::station::v1::{GetStationRequest, OpenLotRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use service::tls::{TlsFiles, channel};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    asking::{bounded, journal_length, line_of, open_lot, refusal, scan, start},
    looking::run,
};

/// Each role does what it may and is refused the rest; who shows no certificate, or one of another tree or purpose, gets
/// no connection; a certificate without a role gets no answer. None of it leaves a record.
#[tokio::test(flavor = "multi_thread")]
async fn callers_do_what_their_role_allows() {
    let line = start(line_of(0, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let before = journal_length(&line).await;

    for caller in CALLERS {
        let mut client = line.client(caller.common_name).unwrap();
        bounded("the station", client.get_station(GetStationRequest {})).await.expect("every role may look");
        // Refused for its field by the role that may start, so that nothing is started.
        let started = client.start_issuance(scan("LOT-1", "", "fixture-1")).await.unwrap_err();
        let may_start = ["kiosk", "operator", "supervisor", "mes"].contains(&caller.role);
        let expected = if may_start { Code::InvalidArgument } else { Code::PermissionDenied };
        assert_eq!(started.code(), expected, "{} starts: {started:?}", caller.role);
        let lot = OpenLotRequest { lot: "LOT-1".into(), profile: "device-ca".into(), quantity: 5 };
        match client.open_lot(lot).await {
            Ok(_) => assert!(["supervisor", "mes"].contains(&caller.role), "{} opened a lot", caller.role),
            Err(status) => {
                assert_eq!(refusal(&status), (Code::PermissionDenied, "ROLE_NOT_ALLOWED".into(), String::new()));
                assert!(status.message().contains(caller.role), "{}", status.message());
                assert!(!["supervisor", "mes"].contains(&caller.role), "{} may open lots", caller.role);
            }
        }
    }
    strangers_are_refused(&line).await;
    assert_eq!(journal_length(&line).await, before, "a refused caller left a record");
    health_and_reflection_answer(&line).await;
}

/// The table that people read, `deploy/roles.md`: each RPC as `service/method`, with the roles that may call it.
fn table() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/roles.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let head = cells(text.lines().find(|line| line.starts_with("| RPC |")).unwrap());
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    let may = |row: &[String]| {
        head.iter().zip(row).skip(1).filter(|(_, may)| *may == "yes").map(|(role, _)| role.clone()).collect()
    };
    rows.map(|row| (row[0].trim_matches('`').to_owned(), may(&row))).collect()
}

/// Every RPC of station and CA is called with a certificate of every role, as the table for people has it: those that it
/// names come to the handler, all others are refused before it.
#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_for_the_roles_of_the_table() {
    let callers: Vec<(&str, &str)> =
        CALLERS.iter().map(|caller| (caller.common_name, caller.role)).chain([("station-1", "station")]).collect();
    let known = |wanted: &[&str]| -> String {
        let wanted = callers.iter().filter(|(_, role)| wanted.contains(role));
        wanted.map(|(name, role)| format!("[[caller]]\ncommon_name = \"{name}\"\nrole = \"{role}\"\n")).collect()
    };
    let mut options = line_of(0, 1);
    options.station_extra = known(&["station"]);
    options.ca_extra = known(&["kiosk", "operator", "mes", "auditor"]);
    let line = start(options).await;
    let before = journal_length(&line).await;
    let table = table();
    assert!(table.len() > 25, "{table:?}");
    for (rpc, roles) in table {
        for (name, role) in &callers {
            let channel = match rpc.starts_with("station.") {
                true => station_channel(&line, name),
                false => line.authority_as(name).unwrap(),
            };
            let answered = bounded(&rpc, call(channel, &rpc)).await;
            let told = answered.map_err(|status| refusal(&status));
            if roles.iter().any(|may| may == role) {
                let refused =
                    matches!(told, Err((Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented, ..)));
                assert!(!refused, "{rpc} by {role}: {told:?}");
            } else {
                let expected = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned(), String::new());
                assert_eq!(told, Err(expected), "{rpc} by {role}");
            }
        }
    }
    let unknown = call(station_channel(&line, "supervisor-1"), "station.v1.StationService/FormatDisk").await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(journal_length(&line).await, before, "an empty request left a record");
}

/// Calls an RPC with an empty message, until its answer begins.
async fn call(channel: Channel, rpc: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = format!("/{rpc}").parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.server_streaming(tonic::Request::new(()), path, codec).await.map(drop)
}

async fn strangers_are_refused(line: &Line) {
    let stranger = line.control_plane().client("stranger-1").unwrap();
    let status = line.client_with(&stranger).unwrap().get_station(GetStationRequest {}).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "UNKNOWN_CALLER".into(), String::new()), "{status:?}");

    let directory = tempfile::tempdir().unwrap();
    let elsewhere = of_another_tree(directory.path(), "mes-1", line.control_plane().root().as_path());
    let server = line.control_plane().server("mes-1-server").unwrap();
    for (what, files) in [("of another tree", elsewhere), ("for servers", server)] {
        let call = async { line.client_with(&files).unwrap().get_station(GetStationRequest {}).await };
        let status = bounded("a refused handshake", call).await.expect_err(what);
        // Whichever end notices first: the connection ended, and the station itself said nothing.
        let of_the_transport = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
        let said = service::status::reason(&status);
        assert!(of_the_transport && said.is_none(), "a certificate {what}: {status:?}");
    }

    let mut command = Command::new("openssl");
    let address = line.station_url().trim_start_matches("https://").to_owned();
    command.args(["s_client", "-connect", &address, "-tls1_3", "-alpn", "h2", "-ign_eof", "-CAfile"]);
    let ran = run({
        command.arg(line.control_plane().root());
        command
    });
    // RFC 8446 §6: alert 116.
    assert!(ran.err.contains("alert number 116"), "no certificate: {}\n{}", ran.text(), ran.err);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-tls1_2"]);
    let ran = run(command);
    assert!(ran.err.contains("alert protocol version"), "TLS 1.2: {}\n{}", ran.text(), ran.err);
}

/// A client certificate with a known name, from a root that nobody here trusts.
fn of_another_tree(directory: &Path, common_name: &str, trust: &Path) -> TlsFiles {
    let parameters = |name: &str| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
    };
    let mut root = parameters("Demo Control Plane Root");
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root = Issuer::new(root, KeyPair::generate().unwrap());
    let mut client = parameters(common_name);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    let issued = client.signed_by(&key, &root).unwrap();
    let files =
        TlsFiles { certificate: directory.join("c.pem"), key: directory.join("c.key").into(), trust: trust.into() };
    fs::write(&files.certificate, issued.pem()).unwrap();
    fs::write(files.key.file().unwrap(), key.serialize_pem()).unwrap();
    files
}

async fn health_and_reflection_answer(line: &Line) {
    for service in ["", "station.v1.StationService"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut health = HealthClient::new(station_channel(line, "auditor-1"));
        let answer = bounded("health", health.check(request)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let station = reflected(station_channel(line, "auditor-1")).await;
    assert_eq!(station, ["grpc.health.v1.Health", "station.v1.StationService"], "what the station serves, and no more");
    let ca = reflected(line.authority().unwrap()).await;
    assert_eq!(
        ca,
        [
            "ca.v1.AdministrationService",
            "ca.v1.CertificateAuthorityService",
            "ca.v1.LotService",
            "grpc.health.v1.Health"
        ],
        "what the CA serves, and no more"
    );
}

fn station_channel(line: &Line, caller: &str) -> Channel {
    let file = |name: String| line.directory().join("control-plane").join(name);
    let files = TlsFiles {
        certificate: file(format!("{caller}.pem")),
        key: file(format!("{caller}.key")).into(),
        trust: line.control_plane().root(),
    };
    channel(&line.station_url(), &files, Duration::from_secs(5)).unwrap()
}

/// The services that reflection lists, sorted.
async fn reflected(channel: Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answers = bounded("reflection", client.server_reflection_info(tokio_stream::once(request))).await.unwrap();
    let answer = bounded("its answer", answers.into_inner().next()).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list of services: {answer:?}")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    names
}
