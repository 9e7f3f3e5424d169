//! Secrets that this machine's TPM sealed: a PEM file that says which TPM, and what only that one opens.

use std::{
    env, fs,
    io::{self, Read as _, Write as _, stdin, stdout},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use keystore::Tpm;
use pem::{EncodeConfig, LineEnding, Pem};
use secrecy::SecretString;
use service::command::{self, Failed, say};
use zeroize::Zeroizing;

/// Of the PEM section. Its content is the TPM's TCTI with its length in one octet before it, and what the TPM sealed.
const TAG: &str = service::secrets::SEALED;
/// The argument that has this program unseal what it reads, in a process of its own: a hung TPM must not keep a start.
pub const UNSEAL: &str = "unseal-secret";
/// As long as a TPM may take to be met and to re-create its storage root key.
const PATIENCE: Duration = Duration::from_secs(60);
/// A sealed secret has some 500 octets.
const OCTETS_MOST: u64 = 64 * 1024;

/// `secret seal`.
#[derive(Debug, clap::Subcommand)]
pub enum SecretCommand {
    /// Seal the line on standard input to a TPM, and print the file's content that `pin_file` and its like may name in place of
    /// the secret's own. At most 128 octets.
    Seal {
        /// The TPM, as tpm2-tss names it, such as `device:/dev/tpmrm0`.
        #[arg(long)]
        tcti: String,
        /// PCRs of the TPM's SHA-256 bank, such as `0,7`: it is opened while they are as they are now, and so not after other
        /// firmware or another boot loader was started. Without it: in whatever state the machine is.
        #[arg(long, value_name = "PCRS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..24))]
        pcr: Vec<u8>,
    },
}

/// Does it, for `program`.
#[must_use]
pub fn run(program: &str, command: SecretCommand) -> ExitCode {
    let SecretCommand::Seal { tcti, pcr } = command;
    command::ended(program, seal(tcti, &pcr))
}

fn seal(tcti: String, pcrs: &[u8]) -> Result<(), Failed> {
    let mut text = Zeroizing::new(String::new());
    let read = stdin().take(OCTETS_MOST).read_to_string(&mut text);
    read.map_err(|error| Failed::Not(Some(format!("could not read standard input: {error}"))))?;
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(Failed::Usage("give the secret as one line of text on standard input".to_owned()));
    }
    let sealed = Tpm::new(tcti.as_str()).seal(secret.as_bytes(), pcrs);
    let sealed = sealed.map_err(|fault| Failed::Not(Some(fault.to_string())))?;
    let Ok(length) = u8::try_from(tcti.len()) else {
        return Err(Failed::Usage("--tcti: is longer than 255 octets".to_owned()));
    };
    let content = [&[length], tcti.as_bytes(), &sealed].concat();
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    say(pem::encode_config(&Pem::new(TAG, content), lines).trim_end())
}

/// What stands sealed in a file ([`service::secrets::unseal_with`]): asked of the TPM by this same program, started with
/// [`UNSEAL`].
///
/// # Errors
/// What was wrong; one sentence.
pub fn unseal(path: &Path) -> Result<SecretString, String> {
    let told = |error: io::Error| format!("could not start this program to unseal it: {error}");
    let sealed = fs::read(path).map_err(|error| format!("could not read it: {error}"))?;
    let program = env::current_exe().map_err(told)?;
    let mut command = Command::new(program);
    command.arg(UNSEAL).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(told)?;
    if let Some(mut into) = child.stdin.take() {
        // One that ended says why.
        let _ = into.write_all(&sealed);
    }
    let out = read(child.stdout.take());
    let said = read(child.stderr.take());
    let secret = out.recv_timeout(PATIENCE);
    if secret.is_err() {
        let _ = child.kill();
    }
    let ended = ended(&mut child);
    match (secret, ended) {
        (Err(_), _) => Err(format!("the TPM did not answer within {} s", PATIENCE.as_secs())),
        (Ok(secret), true) => match std::str::from_utf8(&secret) {
            Ok(secret) if !secret.is_empty() => Ok(SecretString::from(secret)),
            _ => Err("what was sealed is no text".to_owned()),
        },
        (Ok(_), false) => {
            let said = said.recv_timeout(PATIENCE).unwrap_or_default();
            Err(String::from_utf8_lossy(&said).trim().to_owned())
        }
    }
}

/// All that comes, in a thread of its own.
fn read(from: Option<impl io::Read + Send + 'static>) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(from) = from {
        thread::spawn(move || {
            // The whole capacity at once: a vector that grows leaves copies behind.
            let mut octets = Zeroizing::new(Vec::with_capacity(4096));
            let _ = from.take(4096).read_to_end(&mut octets);
            let _ = sender.send(octets);
        });
    }
    receiver
}

fn ended(child: &mut Child) -> bool {
    child.wait().is_ok_and(|status| status.success())
}

/// [`UNSEAL`]: a sealed secret on standard input, the secret on standard output.
#[must_use]
pub fn run_unseal() -> ExitCode {
    let unsealed = || -> Result<(), String> {
        let mut text = String::new();
        stdin().take(OCTETS_MOST).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let pem = pem::parse(text).map_err(|error| format!("it is damaged: {error}; seal it again"))?;
        let parts = pem.contents().split_first();
        let parts = parts.and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
        let (tcti, sealed) = parts.ok_or("it is damaged; seal it again")?;
        let tcti = std::str::from_utf8(tcti).map_err(|_| "it is damaged; seal it again")?;
        let secret = Tpm::new(tcti).unseal(sealed).map_err(|fault| fault.to_string())?;
        stdout().write_all(&secret).map_err(|error| error.to_string())
    };
    match unsealed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
