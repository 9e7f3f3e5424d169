//! A CA's place: a SoftHSM token, a control plane of its own, a configuration, and the binary's runs in it. All of it
//! goes when this is dropped.
#![allow(dead_code, reason = "each test program uses its own part of the place")]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hsm_sim::SoftHsm;
use issuance::IssuanceId;
use proto::ca::v1::CertificationRequest;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustix::process::{Pid, Signal, kill_process};
use service::tls::TlsFiles;
use tempfile::TempDir;
use tonic::transport::Channel;

pub(crate) const PIN: &str = "271828-pin";

/// The slowest step is SoftHSM's, on a busy machine; what hangs longer is killed.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    token: SoftHsm,
    directory: TempDir,
}

/// A running `serve`.
pub(crate) struct Server {
    child: Child,
    port: u16,
    crls: String,
    est: String,
}

/// Of a device with this number.
pub(crate) fn request(number: u8) -> CertificationRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("sn-{number}.ca"));
    CertificationRequest {
        issuance: IssuanceId::from_slice(&[number; 16]).unwrap().to_string(),
        device_serial: format!("SN-{number}"),
        lot: "lot-1".to_owned(),
        profile: "device-ca".to_owned(),
        certification_request: params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec(),
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { token: SoftHsm::create("ca", PIN).unwrap(), directory: tempfile::tempdir().unwrap() };
        place.write_secret(PIN);
        place.write_control_plane(&[
            "ca-1",
            "station-1",
            "station-2",
            "mes-1",
            "supervisor-1",
            "administrator-1",
            "auditor-1",
            "nobody",
        ]);
        let environment: Vec<String> =
            place.token.environment().iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        let text = format!(
            r#"
name = "ca-1"
journal = "journal"
pki = "pki"
[listen]
address = "127.0.0.1:0"
certificate = "ca-1.pem"
key = "ca-1.key"
trust = "control.pem"
[[caller]]
common_name = "station-1"
role = "station"
[[caller]]
common_name = "station-2"
role = "station"
[[caller]]
common_name = "mes-1"
role = "mes"
[[caller]]
common_name = "supervisor-1"
role = "supervisor"
[[caller]]
common_name = "administrator-1"
role = "administrator"
[[caller]]
common_name = "auditor-1"
role = "auditor"
[crl]
directory = "crl"
address = "127.0.0.1:0"
[token]
module = {module:?}
label = "ca"
pin_file = "pin"
environment = {{ {environment} }}
[root]
common_name = "Test Product Root"
key = "P-256"
validity = "7300d"
[[issuer]]
name = "device-ca"
common_name = "Test Device CA"
key = "P-256"
path_length = 1
validity = "3650d"
[[issuer]]
name = "device-identity"
common_name = "Test Identity CA"
key = "P-384"
path_length = 0
validity = "3650d"
[[profile]]
name = "device-ca"
purpose = "device-ca"
path_length = 0
issuer = "device-ca"
validity = "1825d"
keys = ["P-256", "P-384", "RSA-2048"]
[[profile]]
name = "device-identity"
purpose = "device-identity"
issuer = "device-identity"
validity = "1825d"
keys = ["P-256"]
[[profile]]
name = "server"
purpose = "server"
issuer = "device-identity"
validity = "365d"
keys = ["P-256"]
"#,
            module = place.token.module(),
            environment = environment.join(", "),
        );
        fs::write(place.configuration(), text).unwrap();
        place
    }

    pub(crate) fn token(&self) -> &SoftHsm {
        &self.token
    }

    /// Has the CA reach its token by another module, in that environment.
    pub(crate) fn reach_token_by(&self, module: &Path, environment: &[(&str, &str)]) {
        let text = fs::read_to_string(self.configuration()).unwrap();
        let environment: Vec<String> = environment.iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some(("module", _)) => format!("module = {module:?}"),
            Some(("environment", _)) => format!("environment = {{ {} }}", environment.join(", ")),
            _ => line.to_owned(),
        });
        fs::write(self.configuration(), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }

    /// Where everything but the token is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// More for the configuration.
    pub(crate) fn add(&self, text: &str) {
        let all = fs::read_to_string(self.configuration()).unwrap() + text;
        fs::write(self.configuration(), all).unwrap();
    }

    /// Has the commands call that server with the certificate of that name.
    pub(crate) fn add_client(&self, server: &Server, name: &str) {
        self.add(&client(server, name));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("ca.toml")
    }

    pub(crate) fn write_secret(&self, pin: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path("pin")).unwrap();
        writeln!(file, "{pin}").unwrap();
    }

    /// A root apart from the product's, and a certificate issued directly by it for each name.
    fn write_control_plane(&self, names: &[&str]) {
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "Test Control Root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        fs::write(self.path("control.pem"), root.self_signed(&root_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(root, root_key);
        for name in names {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, *name);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.use_authority_key_identifier_extension = true;
            fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(self.path(&format!("{name}.key")));
            file.unwrap().write_all(key.serialize_pem().as_bytes()).unwrap();
        }
    }

    /// What the binary has written on standard error so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.path("output")).unwrap_or_default()
    }

    /// A configuration for the commands that call this server, as somebody.
    pub(crate) fn write_client(&self, server: &Server, name: &str) {
        let text = fs::read_to_string(self.configuration()).unwrap() + &client(server, name);
        fs::write(self.path("client.toml"), text).unwrap();
    }

    /// Runs a command that calls the server, and gives its standard output.
    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str], code: i32) -> String {
        let file = self.path("client.toml");
        self.end([arguments, &["--config", file.to_str().unwrap()]].concat().as_slice(), code)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let output = File::options().create(true).append(true).open(self.path("output")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_intermediate-ca"));
        command.args(arguments).env_remove("SOFTHSM2_CONF");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output);
        command
    }

    /// Runs the binary to its end, and gives its standard output.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> String {
        let file = self.configuration();
        self.end([arguments, &["--config", file.to_str().unwrap()]].concat().as_slice(), code)
    }

    #[track_caller]
    fn end(&self, arguments: &[&str], code: i32) -> String {
        let mut child = self.command(arguments).spawn().unwrap();
        let ended = wait(&mut child, LONGEST);
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(ended, "{arguments:?} did not end: {}", self.output());
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {text} {}", self.output());
        text
    }

    /// Runs the binary, and kills it as soon as something is so; whether that came before its end.
    pub(crate) fn kill_when(&self, arguments: &[&str], is_so: impl Fn() -> bool) -> bool {
        let file = self.configuration();
        let arguments = [arguments, &["--config", file.to_str().unwrap()]].concat();
        let mut child = self.command(&arguments).spawn().unwrap();
        let until = Instant::now() + LONGEST;
        while child.try_wait().unwrap().is_none() {
            if is_so() || Instant::now() >= until {
                let _ = child.kill();
                child.wait().unwrap();
                return true;
            }
        }
        false
    }

    /// How many object files the token has: whole ones, half-written ones and those of a pair's both halves.
    pub(crate) fn objects(&self) -> usize {
        let tokens = fs::read_dir(self.token.directory().join("tokens")).unwrap();
        let files = tokens.flat_map(|token| fs::read_dir(token.unwrap().path()).unwrap());
        files.filter(|file| file_name(&file.as_ref().unwrap().path()).ends_with(".object")).count()
    }

    /// Starts `serve` and waits until it says where it listens.
    pub(crate) fn serve(&self) -> Server {
        let file = self.configuration();
        let mut child = self.command(&["serve", "--config", file.to_str().unwrap()]).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let (mut crls, mut est) = (String::new(), String::new());
        let port = loop {
            let line = lines.recv_timeout(LONGEST).unwrap_or_default();
            match line.as_str() {
                list if list.starts_with("http://") => crls = line,
                front if front.ends_with("/.well-known/est/") => est = line,
                _ => match line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()) {
                    Some(port) => break port,
                    None => {
                        let _ = child.kill();
                        let _ = child.wait();
                        panic!("serve said {line:?}: {}", self.output());
                    }
                },
            }
        };
        Server { child, port, crls, est }
    }

    /// A connection with the certificate of that name.
    pub(crate) fn channel(&self, server: &Server, name: &str) -> Channel {
        let files = TlsFiles {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")).into(),
            trust: self.path("control.pem"),
        };
        service::tls::channel(&format!("https://localhost:{}", server.port), &files, LONGEST).unwrap()
    }

    /// The CAs' certificates in `pki`, without what is published of them.
    pub(crate) fn pki(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.path("pki")) else { return BTreeMap::new() };
        let files =
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "pem"));
        let is_published = |name: &str| name == "bundle.pem" || name.contains(".chain.") || name.contains(".issuers.");
        files
            .filter(|path| !is_published(&file_name(path)))
            .map(|path| (file_name(&path), fs::read(path).unwrap()))
            .collect()
    }
}

impl Server {
    /// Where it serves its CRLs.
    pub(crate) fn crls(&self) -> &str {
        &self.crls
    }

    /// The port at which stations call.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port at which devices enrol.
    pub(crate) fn est_port(&self) -> u16 {
        let host = self.est.trim_end_matches("/.well-known/est/");
        host.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// SIGKILL to the server.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGKILL to its keystore worker, and waits until it is gone.
    pub(crate) fn kill_worker(&self) {
        let workers = self.workers();
        let [worker] = workers.as_slice() else { panic!("{} workers", workers.len()) };
        kill_process(*worker, Signal::KILL).unwrap();
        let until = Instant::now() + LONGEST;
        // Dead or a zombie: until then it may still take a request to its grave.
        while stat(&worker.as_raw_pid().to_string()).is_some_and(|(state, _)| state != "Z") {
            assert!(Instant::now() < until, "the worker does not die");
            thread::yield_now();
        }
    }

    fn workers(&self) -> Vec<Pid> {
        let own = self.child.id().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let children = processes.filter(|process| stat(process).is_some_and(|(_, parent)| parent == own));
        children.filter_map(|process| Pid::from_raw(process.parse().ok()?)).collect()
    }

    /// SIGSTOP: it keeps its connections and answers nothing any more.
    pub(crate) fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(wait(&mut self.child, LONGEST), "SIGTERM did not end it");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process's state and its parent's id: proc(5), the fields after the program's name, which stands in brackets.
fn stat(process: &str) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

/// Whether it ended by itself in that time; killed otherwise.
fn wait(child: &mut Child, most: Duration) -> bool {
    let until = Instant::now() + most;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            let _ = child.kill();
            return false;
        }
        // Polling: std has no wait with a deadline.
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn client(server: &Server, name: &str) -> String {
    let port = server.port;
    format!(
        "[client]\nendpoint = \"https://localhost:{port}\"\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n\
         trust = \"control.pem\"\n"
    )
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
