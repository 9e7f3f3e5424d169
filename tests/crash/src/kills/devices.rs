//! What stands on a device, as tpm2-tools and pkcs11-tool tell.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hsm_sim::{SoftHsm, child};
use line::Device;
use proto::station::v1::Issuance;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::calls::told;
use crate::{Broken, said};

/// A tool that waits longer has been locked out of its device.
const TOOL_MOST: Duration = Duration::from_secs(30);
/// The stations' keys in a TPM are below this one: the last octet is the profile's number.
const HANDLES: &str = "0x810000";

/// A device, for tools.
#[derive(Debug, Clone)]
pub(super) enum Tools {
    Tpm { tcti: String },
    Token(TokenTools),
}

/// A token, for pkcs11-tool.
#[derive(Debug, Clone)]
pub(super) struct TokenTools {
    module: PathBuf,
    environment: Vec<(String, String)>,
    label: String,
    pin: String,
}

/// What a device has too much or too little.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) missing: Vec<Broken>,
    pub(super) double: Vec<Broken>,
}

impl Tools {
    pub(super) fn of(device: &Device) -> Self {
        match device {
            Device::Tpm(tpm) => Self::Tpm { tcti: tpm.tcti() },
            Device::Token(token) => Self::Token(TokenTools::of(token)),
        }
    }

    /// Holds the device against everything that was issued for it: one key for each issuance, and the certificates.
    pub(super) fn holds(&self, made: &[Issuance], looked_at: &[Issuance]) -> Result<Findings, Broken> {
        let mut findings = Findings::default();
        // One that was reworked with the same key.
        let keys: BTreeSet<&str> =
            made.iter().map(|issuance| issuance.key.as_str()).filter(|key| !key.is_empty()).collect();
        let has_certificate = |issuance: &&Issuance| !issuance.certificate_location.is_empty();
        let superseded: BTreeSet<&str> =
            made.iter().filter(has_certificate).map(|issuance| issuance.supersedes.as_str()).collect();
        let stands = |issuance: &&Issuance| has_certificate(issuance) && !superseded.contains(issuance.name.as_str());
        let certificates = made.iter().filter(stands).count();
        match self {
            Self::Tpm { tcti } => {
                let mut standing = handles(tcti, "handles-persistent")?;
                standing.retain(|handle| handle.starts_with(HANDLES));
                compare(&mut findings, &standing, &keys);
            }
            Self::Token(token) => {
                for (kind, due) in [("privkey", keys.len()), ("pubkey", keys.len()), ("cert", certificates)] {
                    let standing = token.count(kind)?;
                    let words = format!("{standing} of the kind {kind} in {}, where {due} are due", token.label);
                    if standing > due {
                        findings.double.push(words);
                    } else if standing < due {
                        findings.missing.push(words);
                    }
                }
            }
        }
        for issuance in looked_at.iter().filter(stands) {
            if let Some(problem) = self.differs(issuance)? {
                findings.missing.push(format!("{}: {problem}", told(issuance)));
            }
        }
        Ok(findings)
    }

    /// What is on the device is what the station tells, and belongs together.
    fn differs(&self, issuance: &Issuance) -> Result<Option<String>, Broken> {
        let (certificate, key) = match self {
            Self::Tpm { tcti } => (
                tpm_file(tcti, "tpm2_nvread", &[&issuance.certificate_location, "-o"])?,
                tpm_file(tcti, "tpm2_readpublic", &["-c", &issuance.key, "-f", "der", "-o"])?,
            ),
            Self::Token(token) => {
                (token.read("cert", &issuance.certificate_location)?, token.read("pubkey", &issuance.key)?)
            }
        };
        if certificate != issuance.certificate {
            return Ok(Some("another certificate stands on the device than the station tells".to_owned()));
        }
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(said("a certificate on a device"))?;
        Ok((parsed.public_key().raw != key).then(|| "the certificate is not for the key on the device".to_owned()))
    }
}

fn compare(findings: &mut Findings, standing: &[String], due: &BTreeSet<&str>) {
    for handle in standing.iter().filter(|handle| !due.contains(handle.as_str())) {
        findings.double.push(format!("a key at {handle} that no issuance names"));
    }
    for handle in due.iter().filter(|handle| !standing.iter().any(|standing| standing == **handle)) {
        findings.missing.push(format!("no key at {handle}"));
    }
}

impl TokenTools {
    pub(super) fn of(token: &SoftHsm) -> Self {
        Self {
            module: token.module().into(),
            environment: token.environment(),
            label: token.label().into(),
            pin: token.pin().into(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Broken> {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(&self.module).args(["--token-label", &self.label, "--login", "--pin", &self.pin]);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        run(command)
    }

    /// How many objects of a kind there are. SoftHSM, killed while it makes an object, leaves a shell without CKA_ID, which
    /// is nobody's.
    pub(super) fn count(&self, kind: &str) -> Result<usize, Broken> {
        let text = self.run(&["--list-objects", "--type", kind])?;
        Ok(String::from_utf8_lossy(&text).lines().filter(|line| line.trim_start().starts_with("ID:")).count())
    }

    fn read(&self, kind: &str, id: &str) -> Result<Vec<u8>, Broken> {
        let directory = tempfile::tempdir().map_err(said("a directory for pkcs11-tool"))?;
        let file = directory.path().join("object");
        self.run(&["--read-object", "--type", kind, "--id", id, "--output-file", &file.to_string_lossy()])?;
        fs::read(&file).map_err(said("what pkcs11-tool wrote"))
    }
}

fn handles(tcti: &str, kind: &str) -> Result<Vec<String>, Broken> {
    let mut command = Command::new("tpm2_getcap");
    command.arg(kind).env("TPM2TOOLS_TCTI", tcti);
    let text = run(command)?;
    let lines = String::from_utf8_lossy(&text).into_owned();
    Ok(lines.lines().map(|line| line.trim_start_matches("- ").trim().to_lowercase()).collect())
}

/// Runs a tool whose last argument is a file to write, and gives what it wrote.
fn tpm_file(tcti: &str, tool: &str, arguments: &[&str]) -> Result<Vec<u8>, Broken> {
    let directory = tempfile::tempdir().map_err(said("a directory for tpm2-tools"))?;
    let file = directory.path().join("file");
    let mut command = Command::new(tool);
    command.args(arguments).arg(&file).env("TPM2TOOLS_TCTI", tcti).current_dir(directory.path());
    run(command)?;
    fs::read(&file).map_err(said(format!("what {tool} wrote")))
}

/// Runs a program that must succeed, bounded in time; what it said on its standard output.
pub(super) fn run(mut command: Command) -> Result<Vec<u8>, Broken> {
    let words = format!("{command:?}");
    let file = || tempfile::tempfile().map_err(said("a file for a tool's words"));
    let (mut out, mut wrong) = (file()?, file()?);
    let clone = |file: &fs::File| file.try_clone().map_err(said("a file for a tool's words"));
    command.stdin(Stdio::null()).stdout(clone(&out)?).stderr(clone(&wrong)?);
    let mut running = child::spawn(command).map_err(said(words.clone()))?;
    let ended = child::wait_at_most(&mut running, TOOL_MOST).map_err(said(words.clone()))?;
    let Some(status) = ended else {
        child::kill_group(&mut running).map_err(said(words.clone()))?;
        return Err(format!("{words}: it still ran after {TOOL_MOST:?}"));
    };
    let read = |file: &mut fs::File| {
        let mut content = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut content)).map(|_| content).map_err(said("a tool's words"))
    };
    let (out, wrong) = (read(&mut out)?, read(&mut wrong)?);
    match status.success() {
        true => Ok(out),
        false => Err(format!("{words}: {status}: {}", String::from_utf8_lossy(&wrong).trim())),
    }
}

/// Where the PIN's owner keeps what a test moves aside.
pub(super) fn aside(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("tokens"), directory.join("aside"))
}
