//! The program: its start, its end, and what it says when it cannot start.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A configuration whose station does not exist: the page must start without it.
fn configuration(listen: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, &root_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("page.pem", &leaf.pem());
    write("page.key", &key.serialize_pem());
    write("trust.pem", &root_certificate.pem());
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory.path().join("page.key"), fs::Permissions::from_mode(0o600)).unwrap();
    write(
        "ui.toml",
        &format!(
            "listen = \"{listen}\"\n[station]\nendpoint = \"https://localhost:1\"\ncertificate = \"page.pem\"\n\
             key = \"page.key\"\ntrust = \"trust.pem\"\n"
        ),
    );
    directory
}

fn page(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_station-ui"));
    command.arg("--config").arg(directory.join("ui.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Killed when the test ends before it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts on port 0, reads the address from standard output, opens a stream, and sends the signal: expects an orderly
/// end within a second or so, for both signals.
#[test]
fn a_signal_ends_it_under_an_open_stream() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = configuration("127.0.0.1:0");
        let mut running = Running(page(directory.path()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("an address on the first line").to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");

        let asked = Instant::now();
        kill_process(Pid::from_child(&running.0), signal).unwrap();
        let status = running.0.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "took {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0));
    }
}

/// Starts on a port that is taken; expects exit code 1 and the address in the message.
#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = configuration(&address);
    let output = page(directory.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("could not listen on {address}")) && said.contains("in use"), "{said}");
    assert!(output.stdout.is_empty());
}

/// A configuration with four mistakes; expects all of them at once, and exit code 1.
#[test]
fn every_mistake_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let text = "listen = \"nowhere\"\nnames = [\"http://x/\"]\nlissen = 1\n[station]\nendpoint = \"http://x\"\n";
    fs::write(directory.path().join("ui.toml"), text).unwrap();
    let output = page(directory.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for key in ["listen", "names", "lissen", "station.endpoint", "station.certificate", "station.key", "station.trust"]
    {
        assert!(said.contains(key), "{key} in {said}");
    }
}
