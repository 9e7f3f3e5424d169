//! The commands over a journal that its owners' programs share: `verify`, `prove`, `check-proof`, `export`,
//! `check-export`, `show`, `repair`. What a record says is told by the owner ([`Words`]). Nothing here changes the journal; each
//! works on a copy as well, and beside a process that has the journal open.
//!
//! Exit codes: 0 done, and nothing was altered; 1 altered, or it could not be done; 2 wrong usage or configuration.

mod export;
mod mending;
mod proof;
mod select;
mod verification;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
pub use export::{Format, Manifest};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{
    JournalOptions, LogOptions, Purpose, VerifyingKey,
    audit::bounded::{self, NOTE_MOST},
    tree::{checkpoint::Checkpoint, note::Note},
};

/// What every command's help ends with.
const EXIT_CODES: &str =
    "Exit codes: 0 done, and nothing was altered; 1 altered, or it could not be done; 2 wrong usage or configuration.";

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
    /// The journal.
    pub journal: JournalOptions,
    /// Its log.
    pub log: LogOptions,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mend damaged and missing segments with a copy of the journal's directory, such as a backup.
    ///
    /// What is whole stays byte for byte, and what was damaged is kept beside it as `*.damaged`. Exit codes: 0 mended, or
    /// nothing was damaged; 1 not mended: its owner runs, or the copy does not fit; 2 wrong usage or configuration.
    Repair {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The copy of the journal's directory. It is only read.
        #[arg(long, value_name = "COPY")]
        from: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Hold every byte of the journal and its log against the signed checkpoint, and name what was altered.
    ///
    /// With --journal it works on a copy, without a configuration: then --key is needed too. A journal that is open is
    /// verified up to its newest checkpoint.
    #[command(after_help = EXIT_CODES)]
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
    #[command(after_help = EXIT_CODES)]
    Prove {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// The certificate serial, hexadecimal.
        certificate_serial: String,
        /// Where to write it; without it, `<certificate serial>.proof.json` here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a file that `prove` wrote, with public keys alone, and tell its story.
    #[command(after_help = EXIT_CODES)]
    CheckProof {
        /// The file.
        file: PathBuf,
        /// The key that signs the journal's checkpoints: `name+id+key`, or a file that holds it.
        #[arg(long)]
        key: String,
        /// The key of the TPM or HSM that signs beside it, in the same way: it must have signed then.
        #[arg(long, value_name = "KEY")]
        hardware_key: Option<String>,
        /// The witness's key, in the same way: the checkpoint must be cosigned then.
        #[arg(long)]
        witness: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write all records to a file, and a signed manifest beside it.
    #[command(after_help = EXIT_CODES)]
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
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a file that `export` wrote against the signed manifest beside it, with the public key alone.
    #[command(after_help = EXIT_CODES)]
    CheckExport {
        /// The file; its manifest has the same name with the ending `.manifest`.
        file: PathBuf,
        /// The key that signs the journal's checkpoints: `name+id+key`, or a file that holds it.
        #[arg(long)]
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell the story of a device in words.
    #[command(after_help = EXIT_CODES)]
    Show {
        /// Where the journal is.
        #[command(flatten)]
        place: Place,
        /// The device serial.
        device_serial: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
    /// The key of the TPM or HSM that signs beside it, in the same way; without it, those signatures are not checked.
    #[arg(long, value_name = "KEY")]
    hardware_key: Option<String>,
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
    command: Command,
    words: &dyn Words,
    configured: &dyn Fn(Option<&Path>) -> Result<Places, String>,
) -> ExitCode {
    let outcome = match command {
        Command::Repair { config, from, json } => {
            configured(config.as_deref()).map_err(Failed::Usage).and_then(|places| mending::run(&places, &from, json))
        }
        Command::Verify { place, kept, no_tiles, json } => {
            place.open(configured).and_then(|place| verification::run(&place, kept.as_deref(), !no_tiles, json))
        }
        Command::Prove { place, certificate_serial, out, json } => {
            place.open(configured).and_then(|place| proof::prove(&place, words, certificate_serial, out, json))
        }
        Command::CheckProof { file, key, hardware_key, witness, json } => {
            proof::Keys::read(&key, hardware_key, witness).and_then(|keys| proof::check(&file, &keys, words, json))
        }
        Command::Export { place, format, out, json } => {
            place.open(configured).and_then(|place| export::run(&place, words, format, &out, json))
        }
        Command::CheckExport { file, key, json } => export::check(&file, &key, json),
        Command::Show { place, device_serial, json } => {
            place.open(configured).and_then(|place| proof::show(&place, words, device_serial, json))
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
    hardware: Option<VerifyingKey>,
    witness: Option<VerifyingKey>,
}

impl Place {
    fn open(self, configured: &dyn Fn(Option<&Path>) -> Result<Places, String>) -> Result<Opened, Failed> {
        let witness = self.witness.as_deref().map(|text| read_key(text, Purpose::Witness)).transpose()?;
        let key = self.key.as_deref().map(|text| read_key(text, Purpose::Log)).transpose()?;
        let hardware = self.hardware_key.as_deref().map(|text| read_key(text, Purpose::Hardware)).transpose()?;
        if let Some(journal) = self.journal {
            let tlog = self.tlog.unwrap_or_else(|| journal.join("tlog"));
            return Ok(Opened { journal, tlog, key_file: None, key, hardware, witness });
        }
        let Places { journal, log } = configured(self.config.as_deref()).map_err(Failed::Usage)?;
        let beside = |typed: Option<VerifyingKey>, file: PathBuf, purpose| match typed {
            Some(key) => Ok(Some(key)),
            None if file.exists() => read_key(&file.to_string_lossy(), purpose).map(Some),
            None => Ok(None),
        };
        let key = beside(key, log.key_file.with_extension("vkey"), Purpose::Log)?;
        let hardware = beside(hardware, log.hardware_key_file(), Purpose::Hardware)?;
        Ok(Opened {
            journal: journal.directory,
            tlog: self.tlog.unwrap_or(log.directory),
            key_file: Some(log.key_file),
            key,
            hardware,
            witness,
        })
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
    let read = VerifyingKey::parse(text)
        .or_else(|| VerifyingKey::parse(&bounded::read_text(Path::new(text), NOTE_MOST).ok()?));
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

/// UTC, to the second.
pub(crate) fn moment(time_ms: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let time = time::OffsetDateTime::from_unix_timestamp(time_ms.div_euclid(1000)).ok();
    time.and_then(|time| time.format(format).ok()).unwrap_or_else(|| format!("{time_ms} ms after 1970"))
}

/// The newest checkpoint of a log, unverified.
pub(crate) fn newest(tlog: &Path) -> Option<Checkpoint> {
    Checkpoint::parse(Note::parse(&bounded::read_text(&tlog.join("checkpoint"), NOTE_MOST).ok()?)?.text())
}
