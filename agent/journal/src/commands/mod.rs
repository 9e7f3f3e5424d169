//! The commands over a journal that its owners' programs share: `verify`, `prove`, `check-proof`, `export`, `show`. What a
//! record says is told by the owner ([`Words`]). Nothing here changes the journal; each works on a copy as well.
//!
//! Exit codes: 0 done, and nothing was altered; 1 altered, or it could not be done; 2 wrong usage or configuration.

mod export;
mod select;

use std::{
    fmt::Display,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
pub use export::Format;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    LogOptions, ProofFile, Prover, Purpose, Verification, VerifyOptions, VerifyingKey, tree::checkpoint::Checkpoint,
    tree::note::Note, verify,
};

/// What an owner knows of its entries.
pub trait Words {
    /// When it was made, whose it is, and its kind in a word.
    ///
    /// # Errors
    /// Bytes that are no entry of this owner, in words.
    fn head(&self, entry: &[u8]) -> Result<Head, String>;
    /// All of it.
    ///
    /// # Errors
    /// As [`Words::head`].
    fn json(&self, entry: &[u8]) -> Result<Value, String>;
    /// What happened, as one sentence for a person.
    ///
    /// # Errors
    /// As [`Words::head`].
    fn sentence(&self, entry: &[u8]) -> Result<String, String>;
    /// Bytes without which an entry cannot tell which issuance is wanted.
    ///
    /// # Errors
    /// What was typed is none, in words.
    fn needle(&self, wanted: &Wanted) -> Result<Vec<u8>, String>;
    /// Whether the entry says that its issuance is the wanted one.
    fn names(&self, entry: &[u8], wanted: &Wanted) -> bool;
    /// The certificate that the entries of one issuance end in, DER.
    fn certificate(&self, entries: &[&[u8]]) -> Option<Vec<u8>>;
}

/// What every entry says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// UTC milliseconds since 1970.
    pub time_ms: i64,
    /// The issuance it belongs to, as text and as it stands in the entry.
    pub issuance: Option<(String, Vec<u8>)>,
    /// Its kind.
    pub kind: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The issuance of the certificate with this serial, hexadecimal.
    CertificateSerial(String),
    /// The issuances of the device with this serial.
    DeviceSerial(String),
}

/// Where a journal is, when its owner's configuration says so.
#[derive(Debug, Clone)]
pub struct Places {
    /// The journal's directory.
    pub journal: PathBuf,
    /// Its log.
    pub log: LogOptions,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Hold every byte of the journal and its log against the signed checkpoint, and name what was altered.
    ///
    /// With --journal it works on a copy, without a configuration: then --key is needed too. A journal that is open is
    /// verified up to its newest checkpoint.
    Verify {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// A checkpoint that was kept elsewhere: the journal must go on from it.
        #[arg(long, value_name = "FILE")]
        kept: Option<PathBuf>,
        /// Leave the tiles out: the records and the checkpoint alone.
        #[arg(long)]
        no_tiles: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write one file that proves a certificate's story: certificate, records, inclusion proofs, signed checkpoint.
    Prove {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// The certificate serial, hexadecimal.
        certificate_serial: String,
        /// Where to write it; without it, `<certificate serial>.proof.json` here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a file that `prove` wrote, with public keys alone, and tell its story.
    CheckProof {
        /// The file.
        file: PathBuf,
        /// The key that signs the journal's checkpoints: `name+id+key`, or a file that holds it.
        #[arg(long)]
        key: String,
        /// The witness's key, in the same way: the checkpoint must be cosigned then.
        #[arg(long)]
        witness: Option<String>,
    },
    /// Write all records to a file, and a signed manifest beside it.
    Export {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// One JSON object a line, or comma-separated values (RFC 4180).
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// Where to write it. The manifest gets the ending `.manifest`.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Tell the story of a device in words.
    Show {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// The device serial.
        device_serial: String,
    },
}

/// Where the journal is: as configured, or a copy.
#[derive(Debug, Args)]
pub struct Place {
    /// The configuration; not read when --journal is given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The journal's directory, such as a copy.
    #[arg(long, value_name = "DIRECTORY")]
    journal: Option<PathBuf>,
    /// The directory of checkpoint and tiles; without it, `tlog` below the journal's.
    #[arg(long, value_name = "DIRECTORY")]
    tlog: Option<PathBuf>,
    /// The key that signs checkpoints, `name+id+key` or a file that holds it; without it, the one beside the configured
    /// private key.
    #[arg(long)]
    key: Option<String>,
    /// The witness's key, in the same way; without it, cosignatures are not checked.
    #[arg(long)]
    witness: Option<String>,
}

/// Why a command ends.
pub(crate) enum Failed {
    /// Exit code 2.
    Usage(String),
    /// Exit code 1, with words for the error stream, if any are left to say.
    Not(Option<String>),
}

fn not(error: &dyn std::error::Error) -> Failed {
    Failed::Not(Some(crate::in_words(error)))
}

/// Runs a command of the program `program`. `configured` reads the configuration in the given file, or in the default one.
pub fn run(
    program: &str,
    command: AuditCommand,
    words: &dyn Words,
    configured: &dyn Fn(Option<&Path>) -> Result<Places, String>,
) -> ExitCode {
    let outcome = match command {
        AuditCommand::Verify { place, kept, no_tiles, json } => {
            place.open(configured).and_then(|place| run_verify(&place, kept.as_deref(), !no_tiles, json))
        }
        AuditCommand::Prove { place, certificate_serial, out } => {
            place.open(configured).and_then(|place| prove(&place, words, certificate_serial, out))
        }
        AuditCommand::CheckProof { file, key, witness } => check_proof(&file, &key, witness.as_deref(), words),
        AuditCommand::Export { place, format, out } => {
            place.open(configured).and_then(|place| export::run(&place, words, format, &out))
        }
        AuditCommand::Show { place, device_serial } => {
            place.open(configured).and_then(|place| show(&place, words, device_serial))
        }
    };
    let (code, said) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed::Usage(said)) => (2, Some(said)),
        Err(Failed::Not(said)) => (1, said),
    };
    if let Some(said) = said {
        // Nobody left to tell is no reason for another code.
        let _ = writeln!(io::stderr(), "{program}: {said}");
    }
    ExitCode::from(code)
}

/// A place that was found.
pub(crate) struct Opened {
    journal: PathBuf,
    tlog: PathBuf,
    /// The file of the private key, when the configuration says where it is.
    key_file: Option<PathBuf>,
    key: Option<VerifyingKey>,
    witness: Option<VerifyingKey>,
}

impl Place {
    fn open(self, configured: &dyn Fn(Option<&Path>) -> Result<Places, String>) -> Result<Opened, Failed> {
        let witness = self.witness.as_deref().map(|text| read_key(text, Purpose::Witness)).transpose()?;
        let key = self.key.as_deref().map(|text| read_key(text, Purpose::Log)).transpose()?;
        if let Some(journal) = self.journal {
            let tlog = self.tlog.unwrap_or_else(|| journal.join("tlog"));
            return Ok(Opened { journal, tlog, key_file: None, key, witness });
        }
        let Places { journal, log } = configured(self.config.as_deref()).map_err(Failed::Usage)?;
        let public = log.key_file.with_extension("vkey");
        let key = match key {
            Some(key) => Some(key),
            None if public.exists() => Some(read_key(&public.to_string_lossy(), Purpose::Log)?),
            None => None,
        };
        Ok(Opened { journal, tlog: self.tlog.unwrap_or(log.directory), key_file: Some(log.key_file), key, witness })
    }
}

impl Opened {
    fn key(&self) -> Result<&VerifyingKey, Failed> {
        let missing =
            "say with --key which key signs the checkpoints: `name+id+key`, or the file with the ending .vkey";
        self.key.as_ref().ok_or_else(|| Failed::Usage(missing.to_owned()))
    }
}

/// A key as it was typed, or the one in a file.
fn read_key(text: &str, purpose: Purpose) -> Result<VerifyingKey, Failed> {
    let read = VerifyingKey::parse(text).or_else(|| VerifyingKey::parse(&fs::read_to_string(text).ok()?));
    let wrong =
        || Failed::Usage(format!("{text} is neither a key `name+id+key` nor a file that holds one of this kind"));
    read.filter(|key| key.purpose() == purpose).ok_or_else(wrong)
}

pub(crate) fn say(line: impl Display) -> Result<(), Failed> {
    // A closed pipe ends the command.
    writeln!(io::stdout().lock(), "{line}").map_err(|_| Failed::Not(None))
}

/// A bar when a person watches.
pub(crate) fn bar(bytes: u64, json: bool) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn run_verify(place: &Opened, kept: Option<&Path>, tiles: bool, json: bool) -> Result<(), Failed> {
    let key = place.key()?;
    let kept = kept.map(fs::read_to_string).transpose();
    let options = VerifyOptions {
        journal: place.journal.clone(),
        tlog: place.tlog.clone(),
        key: key.clone(),
        witness: place.witness.clone(),
        kept: kept.map_err(|error| Failed::Usage(format!("could not read the kept checkpoint: {error}")))?,
        tiles,
    };
    let bar = bar(0, json);
    let verified = verify(&options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let found = verified.map_err(|error| not(&error))?;
    if json {
        say(as_json(&found))?
    } else {
        tell(&found, key)?
    }
    if found.is_unaltered() { Ok(()) } else { Err(Failed::Not(None)) }
}

fn as_json(found: &Verification) -> Value {
    let list = |findings: &[crate::Finding]| {
        let one =
            |finding: &crate::Finding| json!({"file": finding.path, "record": finding.record, "wrong": finding.wrong});
        findings.iter().map(one).collect::<Vec<_>>()
    };
    json!({
        "unaltered": found.is_unaltered(),
        "records": found.records,
        "covered": found.covered,
        "root": found.root.map(hex),
        "cosigned": found.cosigned.map(|(records, time)| json!({"records": records, "time": time})),
        "tiles": found.tiles,
        "findings": list(&found.findings),
        "remarks": list(&found.remarks),
    })
}

fn tell(found: &Verification, key: &VerifyingKey) -> Result<(), Failed> {
    for finding in &found.findings {
        say(format!("ALTERED  {finding}"))?;
    }
    for remark in &found.remarks {
        say(format!("remark   {remark}"))?;
    }
    let covered = format!("{} records are covered by the checkpoint of {}", found.covered, key.name());
    let cosigned = match found.cosigned {
        Some((records, time)) => {
            format!("; a witness cosigned {records} at {}", moment(time.saturating_mul(1000) as i64))
        }
        None => String::new(),
    };
    match found.findings.first() {
        None => say(format!("unaltered: {covered}{cosigned}")),
        Some(first) => {
            let first = first.record.map_or_else(String::new, |record| format!(", the first at record {record}"));
            say(format!("ALTERED: {} findings{first}", found.findings.len()))
        }
    }
}

fn prove(place: &Opened, words: &dyn Words, serial: String, out: Option<PathBuf>) -> Result<(), Failed> {
    let wanted = Wanted::CertificateSerial(serial.clone());
    let records = select::records(&place.journal, words, &wanted)?;
    let Some((newest, _)) = records.last() else {
        let words = format!("no record of this journal tells of a certificate with the serial {serial}");
        return Err(Failed::Not(Some(words)));
    };
    let entries: Vec<&[u8]> = records.iter().map(|(_, entry)| entry.as_slice()).collect();
    let certificate = words.certificate(&entries).ok_or_else(|| {
        Failed::Not(Some(format!("the journal tells of the serial {serial}, but holds no certificate for it")))
    })?;
    let mut prover = Prover::open(&place.tlog, *newest).map_err(|error| not(&error))?;
    let proven = records.iter().map(|(index, entry)| prover.prove(*index, entry)).collect::<Result<Vec<_>, _>>();
    let file = prover.file(pem(&certificate), proven.map_err(|error| not(&error))?);
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{serial}.proof.json")));
    let text = file.encode().map_err(|error| not(&error))?;
    fs::write(&path, text)
        .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", path.display()))))?;
    say(format!("{}: the certificate and {} records", path.display(), records.len()))
}

fn check_proof(file: &Path, key: &str, witness: Option<&str>, words: &dyn Words) -> Result<(), Failed> {
    let key = read_key(key, Purpose::Log)?;
    let witness = witness.map(|text| read_key(text, Purpose::Witness)).transpose()?;
    let file = ProofFile::read(file).map_err(|error| not(&error))?;
    let checked = file.check(&key, witness.as_ref()).map_err(|error| not(&error))?;
    let entries: Vec<&[u8]> = checked.records.iter().map(|(_, entry)| entry.as_slice()).collect();
    if words.certificate(&entries).map(|der| pem(&der)) != Some(file.certificate.clone()) {
        let words = "its records are in the journal, but they do not tell of its certificate".to_owned();
        return Err(Failed::Not(Some(words)));
    }
    story(&checked.records, words)?;
    let Checkpoint { origin, size, .. } = &checked.checkpoint;
    let cosigned = match checked.cosigned {
        Some(time) => format!(", which a witness cosigned at {}", moment(time.saturating_mul(1000) as i64)),
        None => ", which no witness's key was given for".to_owned(),
    };
    say(format!("proven: {} records stand in {origin}, of {size} records{cosigned}", entries.len()))
}

fn show(place: &Opened, words: &dyn Words, device_serial: String) -> Result<(), Failed> {
    let wanted = Wanted::DeviceSerial(device_serial.clone());
    let records = select::records(&place.journal, words, &wanted)?;
    if records.is_empty() {
        let words = format!("no record of this journal tells of the device {device_serial}");
        return Err(Failed::Not(Some(words)));
    }
    story(&records, words)
}

fn story(records: &[(u64, Vec<u8>)], words: &dyn Words) -> Result<(), Failed> {
    let mut issuance = None;
    for (index, entry) in records {
        let unreadable = |wrong| Failed::Not(Some(format!("record {index}: {wrong}")));
        let head = words.head(entry).map_err(unreadable)?;
        let belongs = head.issuance.map(|(text, _)| text);
        if belongs != issuance {
            if let Some(belongs) = &belongs {
                say(format!("issuance {belongs}"))?;
            }
            issuance = belongs;
        }
        let sentence = words.sentence(entry).map_err(unreadable)?;
        say(format!("{index:>8}  {}  {sentence}", moment(head.time_ms)))?;
    }
    Ok(())
}

/// UTC, to the second.
pub(crate) fn moment(time_ms: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let time = time::OffsetDateTime::from_unix_timestamp(time_ms.div_euclid(1000)).ok();
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| format!("{time_ms} ms after 1970"))
}

/// RFC 7468.
fn pem(certificate: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The newest checkpoint of a log, unverified.
pub(crate) fn newest(tlog: &Path) -> Option<Checkpoint> {
    Checkpoint::parse(Note::parse(&fs::read_to_string(tlog.join("checkpoint")).ok()?)?.text())
}
