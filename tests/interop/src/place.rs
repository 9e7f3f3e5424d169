//! A CA's place: a SoftHSM token, a control plane, the configuration, and the real binary in it. All of it goes on drop.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use hsm_sim::SoftHsm;
use line::ControlPlane;
use proto::ca::v1::{
    CertificationRequest, GetAuthorityRequest, IssueBatchRequest, IssueResult,
    certificate_authority_service_client::CertificateAuthorityServiceClient as Client,
};
use rustix::process::{Pid, Signal, kill_process};
use service::tls::TlsFiles;
use tempfile::TempDir;

use crate::{Outcome, because, profiles::CONFIGURATION};

const PIN: &str = "314159-interop";
/// SoftHSM's key generation on a busy machine is the slowest step; what hangs longer is killed.
const LONGEST: Duration = Duration::from_secs(120);

pub(crate) struct Place {
    directory: TempDir,
    binary: PathBuf,
    client: TlsFiles,
    server: Option<Child>,
    /// Its temporary directory goes after the server.
    _token: SoftHsm,
}

/// What the CA says of itself.
pub(crate) struct Trust {
    /// Each profile's chain, DER, issuer first.
    pub(crate) chains: Vec<(String, Vec<Vec<u8>>)>,
    /// DER.
    pub(crate) roots: Vec<Vec<u8>>,
}

impl Place {
    /// With the CA initialised. `binaries` is where `intermediate-ca` is.
    pub(crate) fn new(binaries: &Path) -> Outcome<Self> {
        let token = SoftHsm::create("ca", PIN).map_err(because("could not make a SoftHSM token"))?;
        let directory = tempfile::tempdir().map_err(because("could not make a directory"))?;
        let plane = ControlPlane::create(directory.path().join("control")).map_err(because("control plane"))?;
        let listen = plane.server("ca-1").map_err(because("control plane"))?;
        let client = plane.client("station-1").map_err(because("control plane"))?;
        let environment: Vec<String> =
            token.environment().iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        let head = format!(
            "name = \"ca-1\"\njournal = \"journal\"\npki = \"pki\"\n[listen]\naddress = \"127.0.0.1:0\"\n\
             certificate = {:?}\nkey = {:?}\ntrust = {:?}\n[[caller]]\ncommon_name = \"station-1\"\nrole = \"station\"\n\
             [token]\nmodule = {:?}\nlabel = \"ca\"\npin_file = \"pin\"\nenvironment = {{ {} }}\n",
            listen.certificate,
            listen.key.file().unwrap_or(Path::new("")),
            listen.trust,
            token.module(),
            environment.join(", "),
        );
        let write = |name: &str, text: &str| {
            fs::write(directory.path().join(name), text).map_err(because("could not write a file of the place"))
        };
        write("ca.toml", &(head + CONFIGURATION))?;
        write("pin", PIN)?;
        let pin = directory.path().join("pin");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(pin, mode).map_err(because("could not protect the PIN"))?;
        let binary = binaries.join("intermediate-ca");
        let place = Self { directory, binary, client, server: None, _token: token };
        let status = place.command("init")?.status().map_err(because("could not run intermediate-ca"))?;
        if status.success() { Ok(place) } else { Err(format!("init failed: {}", place.output())) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn output(&self) -> String {
        fs::read_to_string(self.path("output")).unwrap_or_default()
    }

    fn command(&self, word: &str) -> Outcome<Command> {
        let output = File::options().create(true).append(true).open(self.path("output"));
        let mut command = Command::new(&self.binary);
        command.arg(word).arg("--config").arg(self.path("ca.toml")).env_remove("SOFTHSM2_CONF");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output.map_err(because("could not open a log"))?);
        Ok(command)
    }

    /// Starts `serve`, asks for every certificate in batches, and stops it.
    pub(crate) async fn issue(&mut self, requests: Vec<CertificationRequest>) -> Outcome<(Trust, Vec<IssueResult>)> {
        let port = self.serve()?;
        let endpoint = format!("https://localhost:{port}");
        let channel = service::tls::channel(&endpoint, &self.client, LONGEST).map_err(because("no channel"))?;
        let mut client = Client::new(channel);
        let authority = client.get_authority(GetAuthorityRequest {}).await.map_err(because("GetAuthority"))?;
        let authority = authority.into_inner();
        let mut results = Vec::new();
        for batch in requests.chunks(256) {
            let batch = IssueBatchRequest { requests: batch.to_vec() };
            results.extend(client.issue_batch(batch).await.map_err(because("IssueBatch"))?.into_inner().results);
        }
        self.stop()?;
        let chains = authority.profiles.into_iter().map(|issuer| (issuer.profile, issuer.chain)).collect();
        Ok((Trust { chains, roots: authority.bundle }, results))
    }

    fn serve(&mut self) -> Outcome<u16> {
        let mut child = self.command("serve")?.spawn().map_err(because("could not start serve"))?;
        let out = child.stdout.take().ok_or("serve has no standard output")?;
        self.server = Some(child);
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = line.recv_timeout(LONGEST).unwrap_or_default();
        let port = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.ok_or_else(|| format!("serve said {line:?}: {}", self.output()))
    }

    fn stop(&mut self) -> Outcome<()> {
        let Some(mut child) = self.server.take() else { return Ok(()) };
        kill_process(Pid::from_child(&child), Signal::TERM).map_err(because("could not stop serve"))?;
        let status = child.wait().map_err(because("could not await serve"))?;
        if status.success() { Ok(()) } else { Err(format!("serve ended with {status}: {}", self.output())) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
