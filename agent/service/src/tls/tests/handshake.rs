//! Who gets in, and who does not.

use std::{io::Write, process::Stdio, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, date_time_ymd};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    process::Command,
    time::timeout,
};

use super::authority::{Authority, End, PATIENCE, Server, authority_params, call, client, server};
use crate::{
    status,
    tls::{Listener, TlsError, channel},
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
    use rustls::pki_types::{CertificateDer, pem::PemObject};
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

/// A client with an expired certificate is refused. Our own channel would not start with it, so openssl plays it.
#[tokio::test]
async fn an_expired_client_is_refused() {
    let (root, _end, serving) = control_plane().await;
    let mut params = client("mes-1");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let directory = End::new(root.issue(&params), &root.pem);
    let output = s_client(&serving, &["-tls1_3"], Some(&directory)).await;
    assert!(output.contains("alert certificate expired"), "{output}");
    let good = End::new(root.issue(&client("mes-1")), &root.pem);
    let output = s_client(&serving, &["-tls1_3"], Some(&good)).await;
    assert!(!output.contains("alert certificate"), "{output}");
}

/// No certificate: refused. TLS 1.2, with a good certificate: refused.
#[tokio::test]
async fn anonymous_and_old_clients_are_refused() {
    let (root, _end, serving) = control_plane().await;
    let output = s_client(&serving, &["-tls1_3"], None).await;
    assert!(output.contains("alert certificate required"), "{output}");
    let good = End::new(root.issue(&client("mes-1")), &root.pem);
    let output = s_client(&serving, &["-tls1_2"], Some(&good)).await;
    assert!(output.contains("alert protocol version"), "{output}");
}

/// Runs `openssl s_client` until the server hangs up or it has the server's settings frame; gives back all it said.
async fn s_client(serving: &Server, arguments: &[&str], end: Option<&End>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-alpn", "h2", "-connect", &serving.address.to_string()]).args(arguments);
    if let Some(End { files, .. }) = end {
        command.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // With its input at an end, s_client says what it has and goes; -ign_eof would wait for the server instead.
    let output = timeout(PATIENCE, command.arg("-ign_eof").spawn().unwrap().wait_with_output());
    match output.await {
        Ok(output) => {
            let output = output.unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        }
        Err(_) => panic!("openssl s_client hangs"),
    }
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

/// Clients that connect and say nothing, or nonsense, hold up nobody, and are hung up on after the handshake's time.
#[tokio::test]
async fn silent_clients_hold_up_nobody() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start_with(&end.files, Duration::ZERO, Duration::from_millis(300)).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(serving.address).await.unwrap());
    }
    let nonsense = TcpStream::connect(serving.address).await.unwrap();
    nonsense.into_std().unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let client_end = End::new(root.issue(&client("mes-1")), &root.pem);
    serving.call(&client_end.files).await.unwrap();
    for mut stream in silent {
        let mut rest = Vec::new();
        // Ended or reset: either is hung up.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("a silent client is kept");
        assert_eq!(rest, b"");
    }
    serving.call(&client_end.files).await.unwrap();
}

/// More silent clients than handshakes may be under way: the others wait for a place, and get it.
#[tokio::test]
async fn the_bound_on_handshakes_is_not_the_end() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let serving = Server::start_with(&end.files, Duration::ZERO, Duration::from_millis(300)).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(serving.address).await.unwrap());
    }
    let client_end = End::new(root.issue(&client("mes-1")), &root.pem);
    serving.call(&client_end.files).await.unwrap();
}

/// Dropping the stream of connections frees the port.
#[tokio::test]
async fn a_dropped_listener_frees_its_port() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&server()), &root.pem);
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), &end.files).await.unwrap();
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
    let Err(error) = Listener::bind(serving.address, &end.files).await else { panic!("bound twice") };
    let text = error.to_string();
    assert!(text.contains(&serving.address.to_string()) && text.contains("in use") && text.contains("ss -ltnp"), "{text}");
    // TEST-NET-1, RFC 5737: no machine has it.
    let Err(error) = Listener::bind(([192, 0, 2, 1], 0).into(), &end.files).await else { panic!("bound") };
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

/// Nobody there: the call fails as unavailable, naming where it went; a server that starts later is found by the same channel.
#[tokio::test]
async fn a_server_may_start_late() {
    let root = Authority::root("control plane");
    let end = End::new(root.issue(&client("mes-1")), &root.pem);
    let server_end = End::new(root.issue(&server()), &root.pem);
    let first = Server::start(&server_end.files).await;
    let (channel, address) = (first.channel(&end.files), first.address);
    call(channel.clone()).await.unwrap();
    drop(first);
    // The port is free as soon as the server has let go of it.
    let listener = timeout(PATIENCE, async {
        loop {
            if let Ok(listener) = Listener::bind(address, &server_end.files).await {
                return listener;
            }
            tokio::task::yield_now().await;
        }
    });
    drop(listener.await.expect("the port stays in use"));
    let status = call(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let words = status::in_full(&status);
    assert!(words.contains(&format!("localhost:{}", address.port())), "{words}");
}
