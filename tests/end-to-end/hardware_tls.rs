//! The TLS keys of station and CA live in a token and a TPM: real handshakes, with clients that others wrote, and a key that
//! never leaves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use hsm_sim::{SoftHsm, Stop, Swtpm};
use line::Line;
use proto::station::v1::GetStationRequest;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    asking::{bounded, complete, line_of, mes, open_lot, scan, start, station_until},
    commands::agent,
    looking::{family, must, run},
};

const PIN: &str = "tls-pin-5d2e";
/// A handshake or a restarted worker takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has `key` of a table of a configuration be another one.
fn replace_key(line: &Line, file: &str, before: &str, key: &str) {
    let path = line.directory().join(file);
    let text = fs::read_to_string(&path).unwrap();
    let old = format!("key = \"control-plane/{before}.key\"");
    assert!(text.contains(&old), "{text}");
    fs::write(&path, text.replacen(&old, &format!("key = {key}"), 1)).unwrap();
    fs::remove_file(line.directory().join(format!("control-plane/{before}.key"))).unwrap();
}

/// The fingerprint of the certificate that a server shows to OpenSSL, which verifies it, and the signature of the handshake.
fn shown(line: &Line, address: &str, client: &str) -> Option<String> {
    let file = |name: String| line.directory().join("control-plane").join(name);
    let mut s_client = Command::new("openssl");
    s_client.args(["s_client", "-connect", address, "-tls1_3", "-alpn", "h2", "-verify_return_error", "-CAfile"]);
    s_client.arg(file("root.pem".into())).arg("-cert").arg(file(format!("{client}.pem")));
    s_client.arg("-key").arg(file(format!("{client}.key"))).arg("-showcerts");
    let ran = run(s_client);
    let certificate = ran.text();
    let verified =
        certificate.contains("Verify return code: 0") && certificate.contains("Server public key is 256 bit");
    if !verified {
        return None;
    }
    let pem = line.directory().join("shown.pem");
    fs::write(&pem, certificate).unwrap();
    let mut x509 = Command::new("openssl");
    x509.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(pem);
    Some(must(x509).text())
}

/// Asks other programs again and again, bounded.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still waiting for {what}");
    }
}

fn address(url: &str) -> String {
    url.trim_start_matches("https://").to_owned()
}

/// The station as a server and as the CA's client has its keys in a token: they are made there and certified by request, every
/// client connects, a certificate is renewed without a restart, and while the token is away connections that stand go on, new
/// ones fail with words in the log and the doctor's, and come up again once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn the_stations_keys_live_in_a_token() {
    let token = SoftHsm::create("station-tls", PIN).unwrap();
    let pin = token.directory().join("pin");
    fs::write(&pin, PIN).unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let environment: Vec<String> =
        token.environment().iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    let key = |label: &str, id: &str| {
        format!(
            "{{ keystore = \"pkcs11\", module = \"{}\", token = \"station-tls\", pin_file = \"{}\", label = \"{label}\", \
             cka_id = \"{id}\", environment = {{ {} }} }}",
            token.module().display(),
            pin.display(),
            environment.join(", ")
        )
    };
    let mut line = start(line_of(0, 1)).await;
    line.stop_station().unwrap();
    let of_a_file = agent(&line, &["tls-request", "--for", "listen", "--common-name", "station-1-server"]);
    assert!(of_a_file.status.code() == Some(2) && of_a_file.err.contains("key is a file"), "{}", of_a_file.err);

    replace_key(&line, "station.toml", "station-1-server", &key("server", "51"));
    replace_key(&line, "station.toml", "station-1", &key("client", "52"));
    // Its certificate was for another key.
    let checked = agent(&line, &["check"]);
    assert!(
        checked.text().contains("listen: ") && checked.text().contains("no key stands at 51"),
        "{}",
        checked.text()
    );
    let request = |table: &str, name: &str| {
        let ran = agent(
            &line,
            &["tls-request", "--for", table, "--common-name", name, "--dns", "localhost", "--ip", "127.0.0.1"],
        );
        assert_eq!(ran.status.code(), Some(0), "{}", ran.err);
        ran.text()
    };
    let server = request("listen", "station-1-server");
    let subject = |request: &str| public_key(line.directory(), request);
    assert_eq!(subject(&server), subject(&request("listen", "station-1-server")), "a second key was made");
    line.control_plane().sign("station-1-server", &server, ServerAuth).unwrap();
    line.control_plane().sign("station-1", &request("authority", "station-1"), ClientAuth).unwrap();
    line.start_station().await.unwrap();
    let checked = agent(&line, &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", checked.text());

    let mut stands = mes(&line);
    bounded("an answer", stands.get_station(GetStationRequest {})).await.unwrap();
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let at = address(&line.station_url());
    let first = shown(&line, &at, "mes-1").expect("OpenSSL verifies the handshake");
    never_leaves(&token);

    // The same key, another certificate.
    line.control_plane().sign("station-1-server", &server, ServerAuth).unwrap();
    until("the renewed certificate", || shown(&line, &at, "mes-1").is_some_and(|fingerprint| fingerprint != first));

    let tokens = token.directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    // A worker keeps what its module has read: the next one finds the token gone.
    let station = line.station().process_id().unwrap();
    for process in family(station).into_keys().filter(|process| *process != station) {
        kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    until("a handshake to fail", || shown(&line, &at, "mes-1").is_none());
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(log.contains("the TLS key did not sign") && log.contains("51 in the token station-tls"), "{log}");
    assert!(!log.contains(PIN), "{log}");
    let checked = agent(&line, &["check"]);
    assert!(checked.status.code() == Some(1) && checked.text().contains("PROBLEM  listen"), "{}", checked.text());
    bounded("an answer", stands.get_station(GetStationRequest {})).await.expect("a connection that stands goes on");
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    until("a handshake to succeed again", || shown(&line, &at, "mes-1").is_some());
    line.stop().unwrap();
}

/// The public key of a certification request, whose signature OpenSSL verifies.
fn public_key(directory: &Path, request: &str) -> String {
    let path = directory.join("request.pem");
    fs::write(&path, request).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-verify", "-noout", "-pubkey", "-in"]).arg(path);
    must(openssl).text()
}

/// As another program sees the token's private keys.
fn never_leaves(token: &SoftHsm) {
    let mut tool = Command::new("pkcs11-tool");
    tool.arg("--module").arg(token.module()).args(["--token-label", "station-tls", "--login", "--pin", PIN]);
    tool.args(["--list-objects", "--type", "privkey"]).envs(token.environment());
    let listed = must(tool).text();
    let access: Vec<_> = listed.lines().filter(|line| line.contains("Access:")).collect();
    assert_eq!(access.len(), 2, "{listed}");
    assert!(
        access.iter().all(|line| line.contains("always sensitive") && line.contains("never extractable")),
        "{listed}"
    );
}

/// The CA as a server has its key in a TPM: stations and commands connect; while the TPM is away new connections fail, and they
/// come up again once it is back, without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn the_cas_key_lives_in_a_tpm() {
    let mut tpm = Swtpm::start().unwrap();
    let mut line = start(line_of(0, 1)).await;
    line.stop_ca().unwrap();
    let key = format!("{{ keystore = \"tpm\", tcti = \"{}\", handle = 0x81000200 }}", tpm.tcti());
    replace_key(&line, "ca.toml", "ca-1", &key);
    let ca = |line: &Line, arguments: &[&str]| {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own.parent().and_then(Path::parent).unwrap().join("intermediate-ca"));
        command.args(arguments).arg("--config").arg(line.directory().join("ca.toml"));
        run(command)
    };
    let request = ca(&line, &["tls-request", "--common-name", "ca-1", "--dns", "localhost", "--ip", "127.0.0.1"]);
    assert_eq!(request.status.code(), Some(0), "{}", request.err);
    line.control_plane().sign("ca-1", &request.text(), ServerAuth).unwrap();
    line.start_ca().await.unwrap();
    station_until(&line, "the link", |station| {
        station.queue.as_ref().is_some_and(|queue| queue.link_up || queue.length == 0)
    })
    .await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let status = ca(&line, &["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", status.err);
    assert_eq!(ca(&line, &["check"]).status.code(), Some(0));

    tpm.stop(Stop::PowerCut).unwrap();
    let status = ca(&line, &["status"]);
    assert_eq!(status.status.code(), Some(1), "{}", status.text());
    let checked = ca(&line, &["check"]);
    assert!(checked.status.code() == Some(1) && checked.text().contains("PROBLEM  listen"), "{}", checked.text());
    tpm.restart().unwrap();
    until("a connection to come up again", || ca(&line, &["status"]).status.code() == Some(0));
    line.stop().unwrap();
}
