//! Devices, certificates and processes as programs see them that this project did not write: openssl, tpm2-tools,
//! pkcs11-tool, /proc.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use hsm_sim::{SoftHsm, Swtpm, child};
use proto::station::v1::Issuance;

/// A tool that waits longer has been locked out of its device.
const TOOL_MOST: Duration = Duration::from_secs(30);

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

/// Runs a program to its end, without input, bounded in time.
pub(crate) fn run(command: Command) -> Ran {
    run_within(TOOL_MOST, command)
}

/// The same, in a time of its own.
pub(crate) fn run_within(most: Duration, mut command: Command) -> Ran {
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(std::process::Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let told = format!("{command:?}");
    let mut running = child::spawn(command).unwrap_or_else(|error| panic!("{told}: {error}"));
    let Some(status) = child::wait_at_most(&mut running, most).unwrap() else {
        child::kill_group(&mut running).unwrap();
        panic!("{told} still ran after {} s", most.as_secs());
    };
    let read = |file: &mut fs::File| {
        let mut content = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut content)).unwrap();
        content
    };
    Ran { status, out: read(&mut out), err: String::from_utf8_lossy(&read(&mut err)).into_owned() }
}

/// Runs a program that must succeed.
pub(crate) fn must(command: Command) -> Ran {
    let told = format!("{command:?}");
    let ran = run(command);
    assert!(ran.status.success(), "{told}: {}\n{}{}", ran.status, ran.text(), ran.err);
    ran
}

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(directory);
    must(command).text()
}

/// What a certificate must say beyond its chain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// CA:TRUE with this pathlen, keyCertSign, no EKU.
    Ca(u8),
    /// CA:FALSE, digitalSignature, and this EKU.
    Leaf(&'static str),
}

/// Has openssl judge the three files of a device, and holds them against what the API says. Returns the public key, DER.
pub(crate) fn files_of(line: &Path, issuance: &Issuance, expected: Expected) -> Vec<u8> {
    let files = line.join("devices").join(&issuance.device_serial);
    openssl(&files, &["verify", "-x509_strict", "-CAfile", "bundle.pem", "-untrusted", "chain.pem", "certificate.pem"]);
    let certificate = pem_of(&files.join("certificate.pem"));
    assert_eq!(certificate, issuance.certificate, "certificate.pem is what the API tells");
    let extension = |name| openssl(&files, &["x509", "-in", "certificate.pem", "-noout", "-ext", name]);
    let (constraints, usage) = (extension("basicConstraints"), extension("keyUsage"));
    let extended = extension("extendedKeyUsage");
    assert!(usage.contains("critical"), "{usage}");
    match expected {
        Expected::Ca(path_length) => {
            assert!(constraints.contains("critical"), "{constraints}");
            assert!(constraints.contains(&format!("CA:TRUE, pathlen:{path_length}\n")), "{constraints}");
            assert!(usage.contains("Certificate Sign") && usage.contains("Digital Signature"), "{usage}");
            assert!(!extended.contains("Extended Key Usage"), "a device CA has no EKU: {extended}");
        }
        Expected::Leaf(purpose) => {
            assert!(!constraints.contains("CA:TRUE"), "{constraints}");
            assert!(usage.contains("Digital Signature") && !usage.contains("Certificate Sign"), "{usage}");
            assert!(extended.contains(purpose), "{extended}");
        }
    }
    let subject = openssl(&files, &["x509", "-in", "certificate.pem", "-noout", "-subject", "-nameopt", "RFC2253"]);
    assert!(subject.contains(&format!("CN={}", issuance.common_name)), "{subject}");
    let key = openssl(&files, &["x509", "-in", "certificate.pem", "-noout", "-pubkey"]);
    pem::parse(key).unwrap().into_contents()
}

fn pem_of(path: &Path) -> Vec<u8> {
    pem::parse(fs::read(path).unwrap()).unwrap().into_contents()
}

/// A TPM, as tpm2-tools see it.
pub(crate) struct TpmTools {
    tcti: String,
    /// For the files that the tools exchange.
    directory: tempfile::TempDir,
}

impl TpmTools {
    /// Tools for this TPM; they may be used again after it was off.
    pub(crate) fn of(tpm: &Swtpm) -> Self {
        Self { tcti: tpm.tcti(), directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(tool);
        command.args(arguments).env("TPM2TOOLS_TCTI", &self.tcti).current_dir(self.directory.path());
        run(command)
    }

    pub(crate) fn must(&self, tool: &str, arguments: &[&str]) -> Ran {
        let ran = self.run(tool, arguments);
        assert!(ran.status.success(), "{tool} {arguments:?}: {}\n{}{}", ran.status, ran.text(), ran.err);
        ran
    }

    /// A file that tools of this TPM read or write.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The public key at a handle, DER.
    pub(crate) fn public_key(&self, handle: &str) -> Vec<u8> {
        self.must("tpm2_readpublic", &["-c", handle, "-f", "pem", "-o", "key.pem"]);
        pem_of(&self.file("key.pem"))
    }

    /// What stands in an NV index.
    pub(crate) fn nv(&self, index: &str) -> Vec<u8> {
        self.must("tpm2_nvread", &[index, "-o", "nv"]);
        fs::read(self.file("nv")).unwrap()
    }

    /// The handles of one kind: `handles-persistent`, `handles-nv-index`.
    pub(crate) fn handles(&self, kind: &str) -> Vec<String> {
        let text = self.must("tpm2_getcap", &[kind]).text();
        text.lines().map(|line| line.trim_start_matches("- ").trim().to_lowercase()).collect()
    }

    /// Puts somebody else's key at a handle, as another owner of the TPM would.
    pub(crate) fn occupy(&self, handle: &str) {
        self.must("tpm2_createprimary", &["-C", "o", "-g", "sha256", "-G", "ecc", "-c", "other.ctx"]);
        self.must("tpm2_evictcontrol", &["-C", "o", "-c", "other.ctx", handle]);
        self.must("tpm2_flushcontext", &["-t"]);
    }
}

/// A token, as pkcs11-tool sees it.
pub(crate) struct TokenTools {
    module: PathBuf,
    environment: Vec<(String, String)>,
    label: String,
    pin: String,
}

impl TokenTools {
    pub(crate) fn of(token: &SoftHsm) -> Self {
        Self {
            module: token.module().into(),
            environment: token.environment(),
            label: token.label().into(),
            pin: token.pin().into(),
        }
    }

    /// pkcs11-tool, logged in.
    pub(crate) fn must(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(&self.module).args(["--token-label", &self.label, "--login", "--pin", &self.pin]);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        must(command)
    }

    /// The public key of a CKA_ID, DER; `None` when it is one of P-384, which pkcs11-tool 0.23 cannot write into a file.
    pub(crate) fn public_key(&self, id: &str) -> Option<Vec<u8>> {
        (self.point(id).len() != 97).then(|| self.read("pubkey", id))
    }

    /// The point of an EC key (RFC 5480 §2.2), as the list of objects tells it; empty for another key.
    pub(crate) fn point(&self, id: &str) -> Vec<u8> {
        let text = self.must(&["--list-objects", "--type", "pubkey"]).text();
        let objects = text.split("Public Key Object;");
        let object =
            objects.into_iter().find(|object| field(object, "ID:") == Some(id)).expect("a public key with the id");
        let Some(point) = field(object, "EC_POINT:") else { return Vec::new() };
        let octets: Vec<u8> = point.as_bytes().chunks(2).map(octet).collect();
        // CKA_EC_POINT is an OCTET STRING: its tag and length come first.
        octets[2..].to_vec()
    }

    /// The certificate of a CKA_ID, DER.
    pub(crate) fn certificate(&self, id: &str) -> Vec<u8> {
        self.read("cert", id)
    }

    fn read(&self, kind: &str, id: &str) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("object");
        let path = file.to_string_lossy();
        self.must(&["--read-object", "--type", kind, "--id", id, "--output-file", &path]);
        fs::read(&file).unwrap()
    }

    /// How many objects of a kind there are: `privkey`, `pubkey`, `cert`. SoftHSM, killed while it makes an object, leaves
    /// a shell without CKA_ID, label and value, which is nobody's: it does not count.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let text = self.must(&["--list-objects", "--type", kind]).text();
        text.lines().filter(|line| line.trim_start().starts_with("ID:")).count()
    }
}

/// What follows `name` on a line of its own.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim)
}

fn octet(digits: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
}

/// A process and everything that it started, by process id and start time: a number may be given out again.
pub(crate) fn family(process: u32) -> BTreeMap<u32, String> {
    let everybody: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| {
            let (parent, started) = stat(id)?;
            Some((id, parent, started))
        })
        .collect();
    let mut family = BTreeMap::new();
    let mut next = vec![process];
    while let Some(id) = next.pop() {
        if let Some((_, started)) = stat(id)
            && family.insert(id, started).is_none()
        {
            next.extend(everybody.iter().filter(|(_, parent, _)| *parent == id).map(|(child, ..)| *child));
        }
    }
    family
}

/// Those of them that do not end, as /proc has them. A killed process needs a moment of the kernel's.
pub(crate) fn still_running(family: &BTreeMap<u32, String>) -> Vec<String> {
    const MOMENT: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + MOMENT;
    loop {
        let left: Vec<_> =
            family.iter().filter(|(id, began)| stat(**id).is_some_and(|(_, now)| now == **began)).collect();
        if left.is_empty() || Instant::now() > deadline {
            return left
                .iter()
                .map(|(id, _)| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default())
                .collect();
        }
        std::thread::yield_now();
    }
}

/// Parent and start time of a process (proc(5)): fields 4 and 22, counted after the name in parentheses. `None` when it
/// has ended, though whoever inherited it may not have asked how.
fn stat(process: u32) -> Option<(u32, String)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_owned()))
}

/// Every file under a directory, links not followed.
pub(crate) fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut next = vec![directory.to_owned()];
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => next.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}
