//! Who gets in, and who does not.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::authority::{Authority, End, PATIENCE, Server, authority_params, call, client, server, silent};
use crate::{
    limits::Limits,
    status,
    tls::{GRPC_VERSIONS, Listener, TlsError, channel, provider},
};

/// A control plane: its root, and a server that trusts it.
async fn control_plane() -> (Authority, End, Server) {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start(&end.files).await;
    (root, end, serving)
}

/// Calls with a certificate as given, and demands that the server refuses it without the call having reached it.
async fn refused(root: &Authority, serving: &Server, identity: (String, String)) -> String {
    let end = End::new(identity, &root.pem);
    let status = serving.call(&end.files).await.unwrap_err();
    assert_eq!(serving.names(), [""; 0], "the call was served");
    status::in_full(&status)
}

/// A directly issued client gets in over the real channel; the server knows its name, URIs, fingerprint and address.
#[tokio::test]
async fn a_directly_issued_client_is_known() {
    let (root, _end, serving) = control_plane().await;
    let mut params = client("mes-1");
    params.subject_alt_names.push(SanType::URI("urn:line:mes".try_into().unwrap()));
    let identity = root.issue(&params);
    let der = pem_to_der(&identity.0);
    let end = End::new(identity, &root.pem);
    serving.call(&end.files).await.unwrap();
    let callers = serving.callers.lock().unwrap().clone();
    let [peer] = &callers[..] else { panic!("{callers:?}") };
    assert_eq!((peer.common_name.as_str(), &peer.uris[..]), ("mes-1", &["urn:line:mes".to_owned()][..]));
    assert!(peer.address.ip().is_loopback());
    assert_eq!(peer.fingerprint_sha256[..], *aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref());
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// A server that is reached by its address is verified by its address, and IPv6 brackets are no part of a name.
#[tokio::test]
async fn addresses_are_host_names_too() {
    let (root, _end, serving) = control_plane().await;
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    call(serving.channel_to("127.0.0.1", &end.files)).await.unwrap();
    channel("https://[::1]:7443", &end.files, PATIENCE).unwrap();
}

/// A certificate from another root is refused, though it carries the trusted root's name.
#[tokio::test]
async fn another_root_is_refused() {
    let (root, _end, serving) = control_plane().await;
    for name in ["somebody else", "control plane"] {
        refused(&root, &serving, Authority::root(name).issue(&client("supervisor"))).await;
    }
}

/// A device's CA key signs a supervisor and sends its whole chain, which ends in the trusted root: refused, because
/// only the root itself may vouch.
#[tokio::test]
async fn a_supervisor_forged_by_a_device_ca_is_refused() {
    let (root, _end, serving) = control_plane().await;
    let mut device = authority_params("device-1.ca");
    device.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let device = root.below("device-1.ca");
    let (leaf, key) = device.issue(&client("supervisor"));
    for chain in [leaf.clone(), format!("{leaf}{}", device.pem), format!("{leaf}{}{}", device.pem, root.pem)] {
        refused(&root, &serving, (chain, key.clone())).await;
    }
}

/// The server side of the same: an intermediate under the trusted root vouches for no server.
#[tokio::test]
async fn a_server_forged_by_a_device_ca_is_refused() {
    let root = Authority::root("control plane");
    let device = root.below("device-1.ca");
    let (leaf, key) = device.issue(&server());
    let forged = End::new((format!("{leaf}{}", device.pem), key), &root.pem);
    let serving = Server::start(&forged.files).await;
    let end = End::new(root.issue(&client("station-1")), &root.pem);
    let status = serving.call(&end.files).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status::in_full(&status).contains("not issued directly by a trusted issuer"), "{status:?}");
}

/// Certificates that the root did issue, but for something else: a CA, another usage, none, no signatures, expired.
#[tokio::test]
async fn unfit_certificates_are_refused() {
    let (root, _end, serving) = control_plane().await;
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = client("supervisor");
        change(&mut params);
        params
    };
    for params in [
        with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        with(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        with(|params| params.extended_key_usages = vec![]),
        with(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
    ] {
        refused(&root, &serving, root.issue(&params)).await;
    }
}

/// How the server ends a handshake with a rustls client that shows this certificate, or none.
async fn ended(root: &Authority, serving: &Server, identity: Option<(String, String)>) -> String {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(GRPC_VERSIONS)
        .unwrap()
        .with_root_certificates(store);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            config
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
    };
    let talk = async {
        let stream = TcpStream::connect(serving.address).await?;
        let name = "localhost".try_into().unwrap();
        // TLS 1.3 clients are done before the server has looked at their certificate: its answer comes with the data.
        TlsConnector::from(Arc::new(config)).connect(name, stream).await?.read_u8().await
    };
    match timeout(PATIENCE, talk).await.expect("the server says nothing") {
        Ok(_) => "served".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Expired, or no certificate: refused with the alert that says so. A good one is served.
#[tokio::test]
async fn expired_and_anonymous_clients_are_refused() {
    let (root, _end, serving) = control_plane().await;
    let mut params = client("mes-1");
    assert_eq!(ended(&root, &serving, Some(root.issue(&params))).await, "served");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = ended(&root, &serving, Some(root.issue(&params))).await;
    assert!(expired.contains("CertificateExpired"), "{expired}");
    let anonymous = ended(&root, &serving, None).await;
    assert!(anonymous.contains("CertificateRequired"), "{anonymous}");
}

/// An issuer that is past its validity vouches for nobody, though it is trusted and the client's certificate is valid.
#[tokio::test]
async fn a_client_of_an_expired_issuer_is_refused() {
    let root = Authority::root("control plane");
    let mut params = authority_params("old");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = Authority::root_from(params);
    let end = End::new(root.issue(&server()), &format!("{}{}", expired.pem, root.pem));
    let serving = Server::start(&end.files).await;
    refused(&root, &serving, expired.issue(&client("mes-1"))).await;
    let good = End::new(root.issue(&client("mes-1")), &root.pem);
    serving.call(&good.files).await.unwrap();
}

/// TLS 1.2 is refused, played by openssl with a good certificate; the same openssl with 1.3 gets through.
#[tokio::test]
async fn old_tls_is_refused() {
    let (root, _end, serving) = control_plane().await;
    let good = End::new(root.issue(&client("mes-1")), &root.pem);
    let output = s_client(&serving, "-tls1_2", &good).await;
    assert!(output.contains("alert protocol version"), "{output}");
    let output = s_client(&serving, "-tls1_3", &good).await;
    assert!(output.contains("New, TLSv1.3"), "{output}");
}

/// Everything that `openssl s_client` says; with its input at an end, it goes after the handshake.
async fn s_client(serving: &Server, version: &str, end: &End) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-alpn", "h2", version, "-connect", &serving.address.to_string()]);
    command
        .arg("-cert")
        .arg(&end.files.certificate)
        .arg("-key")
        .arg(end.files.key.file().unwrap())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A server under another name than its certificate's is refused, in words that name both.
#[tokio::test]
async fn a_server_under_another_name_is_refused() {
    let root = Authority::root("control plane");
    let mut params = server();
    params.subject_alt_names = vec![SanType::DnsName("station.example".try_into().unwrap())];
    let end = End::new(root.issue(&params), &root.pem);
    let serving = Server::start(&end.files).await;
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let words = status::in_full(&serving.call(&end.files).await.unwrap_err());
    assert!(words.contains("localhost") && words.contains("station.example"), "{words}");
}

/// A server whose certificate is for clients is refused; so is one of another root.
#[tokio::test]
async fn unfit_servers_are_refused() {
    let (root, other) = (Authority::root("control plane"), Authority::root("other"));
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    for (identity, problem) in
        [(root.issue(&client("mes-2")), "serverAuth"), (other.issue(&server()), "not issued directly")]
    {
        let forged = End::new(identity, &root.pem);
        let serving = Server::start(&forged.files).await;
        let words = status::in_full(&serving.call(&end.files).await.unwrap_err());
        assert!(words.contains(problem), "{words}");
    }
}

/// Clients that connect and say nothing, or nonsense, hold up nobody, though their time is longer than our patience.
#[tokio::test]
async fn silent_clients_hold_up_nobody() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start_with(&end.files, Duration::ZERO, 2 * PATIENCE).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(serving.address).await.unwrap());
    }
    let mut nonsense = TcpStream::connect(serving.address).await.unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let client_end = End::new(root.issue(&client("mes-1")), &root.pem);
    serving.call(&client_end.files).await.unwrap();
    drop(silent);
}

/// A client that says nothing is hung up on after the handshake's time.
#[tokio::test]
async fn silent_clients_are_hung_up_on() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start_with(&end.files, Duration::ZERO, Duration::from_millis(50)).await;
    let mut silent = TcpStream::connect(serving.address).await.unwrap();
    let mut rest = Vec::new();
    // Ended or reset: either is hung up.
    let _ = timeout(PATIENCE, silent.read_to_end(&mut rest)).await.expect("a silent client is kept");
    assert_eq!(rest, b"");
}

/// More silent clients than handshakes may be under way, from three addresses: the others wait for a place, and get it.
#[tokio::test]
async fn the_bound_on_handshakes_is_not_the_end() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start_with(&end.files, Duration::ZERO, Duration::from_millis(300)).await;
    let mut stand = Vec::new();
    for last in [2, 3, 4].repeat(100) {
        stand.push(silent(last, serving.address).await);
    }
    let client_end = End::new(root.issue(&client("mes-1")), &root.pem);
    serving.call(&client_end.files).await.unwrap();
}

/// Dropping the stream of connections frees the port.
#[tokio::test]
async fn a_dropped_listener_frees_its_port() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &end.files, &Limits::OF_A_STATION).await.unwrap();
    let address = listener.local_address();
    let incoming = listener.incoming();
    // Waits in the listener's queue or a handshake until the listener is gone.
    let mut waiting = TcpStream::connect(address).await.unwrap();
    drop(incoming);
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, waiting.read_to_end(&mut rest)).await.expect("the listener stays");
    assert!(TcpStream::connect(address).await.is_err());
}

/// An address in use is named, with what to do.
#[tokio::test]
async fn an_address_in_use_is_named() {
    let (_root, end, serving) = control_plane().await;
    let Err(error) = Listener::bind(serving.address, &end.files, &Limits::OF_A_STATION).await else {
        panic!("bound twice")
    };
    let text = error.to_string();
    assert!(
        text.contains(&serving.address.to_string()) && text.contains("in use") && text.contains("ss -ltnp"),
        "{text}"
    );
    // TEST-NET-1, RFC 5737: no machine has it.
    let Err(error) = Listener::bind(([192, 0, 2, 1], 0).into(), &end.files, &Limits::OF_A_STATION).await else {
        panic!("bound")
    };
    assert!(error.to_string().contains("no such address"), "{error}");
}

/// Endpoints that are none are named, with what was wrong.
#[tokio::test]
async fn endpoints_are_checked() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    for (endpoint, problem) in [
        ("", "is not a URL"),
        ("not a url", "is not a URL"),
        ("localhost:7443", "does not begin with https://"),
        ("http://localhost:7443", "is without TLS"),
        ("https://localhost", "names no port"),
        ("https://localhost:7443/path", "has a path"),
        ("https://user@localhost:7443", "names a user"),
        ("https://-:7443", "neither a name nor an address"),
    ] {
        let error = channel(endpoint, &end.files, PATIENCE).unwrap_err();
        assert!(matches!(error, TlsError::Endpoint { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{endpoint:?}")) && text.contains(problem), "{text}");
    }
}

/// Nobody there: the call fails as unavailable and as a lost connection, naming where it went; a server that starts
/// later is found by the same channel. An address of this test's own, so that nobody else takes the port meanwhile.
#[tokio::test]
async fn a_server_may_start_late() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let server_end = End::new(root.issue(&server()), &root.pem);
    let free = TcpListener::bind("127.0.0.77:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let channel = channel(&format!("https://{address}"), &end.files, PATIENCE).unwrap();
    let status = call(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert!(status::is_lost_connection(&status));
    let words = status::in_full(&status);
    assert!(words.contains(&format!("could not reach {address}: Connection refused")), "{words}");

    let listener = Listener::bind(address, &server_end.files, &Limits::OF_A_STATION).await.unwrap();
    let _serving = Server::serve(listener);
    call(channel).await.unwrap();
}

/// What the server itself answers is no lost connection.
#[tokio::test]
async fn answers_are_no_lost_connections() {
    let (root, _end, serving) = control_plane().await;
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let request = HealthCheckRequest { service: "unknown".to_owned() };
    let status = HealthClient::new(serving.channel(&end.files)).check(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(!status::is_lost_connection(&status));
}
