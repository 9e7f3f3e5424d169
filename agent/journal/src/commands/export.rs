//! All records in one file for other programs, and a signed manifest that says what it holds.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::json;

use super::{Failed, Opened, Words, bar, moment, newest, not, read_key, say};
use crate::{
    Purpose, Reader,
    audit::bounded::{self, NOTE_MOST},
    hex, leaf_hash,
    tree::{
        checkpoint::Checkpoint,
        note::{Note, Signer as _, SigningKey},
    },
};

/// The manifest's first line.
const FORMAT: &str = "journal-export/v1";

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, with a header; the record itself as JSON in the last column.
    Csv,
}

pub(super) fn run(place: &Opened, words: &dyn Words, format: Format, out: &Path, json: bool) -> Result<(), Failed> {
    let key = signing_key(place)?;
    let reader = Reader::open(&place.journal).map_err(|error| not(&error))?;
    // What nobody has signed is not exported: the manifest says whose word it is.
    let checkpoint = newest(&place.tlog)
        .ok_or_else(|| Failed::Not(Some(format!("{} holds no checkpoint", place.tlog.display()))))?;
    let failed = |error: std::io::Error| Failed::Not(Some(format!("could not write {}: {error}", out.display())));
    let mut file = Hashed { out: BufWriter::new(File::create(out).map_err(failed)?), hash: Context::new(&SHA256) };
    if format == Format::Csv {
        file.write_all(b"index,time,issuance,type,leaf_sha256,record\r\n").map_err(failed)?;
    }
    let bar = bar(reader.bytes(), false);
    let (mut stopped, mut written) = (None, 0);
    let visited = reader.visit(|index, entry, done| {
        bar.set_position(done);
        if index >= checkpoint.size {
            return false;
        }
        match line(words, format, index, entry).map(|line| file.write_all(line.as_bytes())) {
            Ok(Ok(())) => written = index + 1,
            Ok(Err(error)) => stopped = Some(failed(error)),
            Err(wrong) => stopped = Some(Failed::Not(Some(format!("record {index}: {wrong}")))),
        }
        stopped.is_none()
    });
    bar.finish_and_clear();
    visited.map_err(|error| not(&error))?;
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    if written < checkpoint.size {
        let words = format!("only {written} of {} records are whole: run `journal verify`", checkpoint.size);
        return Err(Failed::Not(Some(words)));
    }
    file.out.flush().map_err(failed)?;
    let sha256 = hex(file.hash.finish());
    let text = format!(
        "{FORMAT}\nfile {}\nformat {}\nsha256 {sha256}\nrecords {written}\n{}",
        name(out),
        if format == Format::Jsonl { "jsonl" } else { "csv" },
        checkpoint.text()
    );
    let mut note = Note::new(text);
    note.add(key.sign(note.text()).map_err(|wrong| Failed::Not(Some(wrong)))?);
    let manifest = manifest_of(out);
    fs::write(&manifest, note.to_string())
        .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", manifest.display()))))?;
    if json {
        return say(json!({"file": out, "manifest": manifest, "sha256": sha256, "records": written}));
    }
    say(format!("{}: {written} records; {}: signed by {}", out.display(), manifest.display(), key.verifying().name()))
}

fn name(file: &Path) -> String {
    file.file_name().map_or_else(|| "export".into(), |name| name.to_string_lossy().into_owned())
}

fn manifest_of(file: &Path) -> PathBuf {
    let mut manifest = file.as_os_str().to_owned();
    manifest.push(".manifest");
    PathBuf::from(manifest)
}

/// Whether the file is the one that its manifest tells of, and the manifest the journal's own word.
pub(super) fn check(file: &Path, key: &str, json: bool) -> Result<(), Failed> {
    let key = read_key(key, Purpose::Log)?;
    let path = manifest_of(file);
    let wrong = |words: &str| Failed::Not(Some(format!("{} {words}", path.display())));
    let unread =
        |path: &Path, error: io::Error| Failed::Not(Some(format!("could not read {}: {error}", path.display())));
    let text = bounded::read_text(&path, NOTE_MOST).map_err(|error| unread(&path, error))?;
    let note = Note::parse(&text).ok_or_else(|| wrong("is no signed manifest"))?;
    if !note.is_signed_by(&key) {
        return Err(wrong(&format!("is not signed by {key}, or was changed since")));
    }
    let Some(manifest) = Manifest::parse(note.text()).filter(|manifest| manifest.checkpoint.origin == key.name())
    else {
        return Err(wrong(&format!("is no manifest that this release reads ({FORMAT})")));
    };
    let mut hashed = Hashed { out: io::sink(), hash: Context::new(&SHA256) };
    let mut opened = File::open(file).map_err(|error| unread(file, error))?;
    io::copy(&mut opened, &mut hashed).map_err(|error| unread(file, error))?;
    if hex(hashed.hash.finish()) != manifest.sha256 {
        return Err(Failed::Not(Some(format!(
            "{} is not the file that its manifest tells of: it was changed since it was exported",
            file.display()
        ))));
    }
    let Manifest { name, records, checkpoint, .. } = manifest;
    if json {
        return say(json!({"exported_as": name, "records": records, "origin": checkpoint.origin}));
    }
    say(format!("unaltered: the {records} records of {} that were exported as {name}", checkpoint.origin))
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest<'a> {
    /// The file's name when it was exported.
    pub name: &'a str,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: &'a str,
    /// How many records it holds.
    pub records: u64,
    /// The checkpoint that covers them.
    pub checkpoint: Checkpoint,
}

impl<'a> Manifest<'a> {
    /// Reads a manifest's text, as it stands in its note; `None` when it is none that this release reads.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix(FORMAT)?.strip_prefix('\n')?;
        let (name, text) = text.strip_prefix("file ")?.split_once('\n')?;
        let (_, text) = text.strip_prefix("format ")?.split_once('\n')?;
        let (sha256, text) = text.strip_prefix("sha256 ")?.split_once('\n')?;
        let (records, checkpoint) = text.strip_prefix("records ")?.split_once('\n')?;
        let checkpoint = Checkpoint::parse(checkpoint)?;
        let records = records.parse().ok().filter(|records| *records == checkpoint.size)?;
        Some(Self { name, sha256, records, checkpoint })
    }
}

/// The manifest is signed by the journal's own key: only its owner exports in its name.
fn signing_key(place: &Opened) -> Result<SigningKey, Failed> {
    let Some(path) = &place.key_file else {
        let words = "the manifest is signed with the journal's own key: export with its configuration, not from a copy";
        return Err(Failed::Usage(words.to_owned()));
    };
    let read = bounded::read_text(path, NOTE_MOST).map_err(|error| error.to_string());
    let key = read.and_then(|text| SigningKey::decode(&text).ok_or_else(|| "it holds no key".to_owned()));
    key.map_err(|wrong| {
        Failed::Not(Some(format!("could not read the journal's key {}: {wrong}; run this as its user", path.display())))
    })
}

fn line(words: &dyn Words, format: Format, index: u64, entry: &[u8]) -> Result<String, String> {
    let head = words.head(entry)?;
    let (time, leaf) = (moment(head.time_ms), hex(leaf_hash(entry)));
    let issuance = head.issuance.map(|(text, _)| text).unwrap_or_default();
    let record = words.json(entry)?;
    Ok(match format {
        Format::Jsonl => {
            let object = json!({
                "index": index, "time": time, "issuance": issuance, "type": head.kind, "leaf_sha256": leaf,
                "record": record,
            });
            format!("{object}\n")
        }
        Format::Csv => {
            let mut line = index.to_string();
            for field in [&time, &issuance, &head.kind, &leaf, &record.to_string()] {
                // Quoted always: what devices say may hold anything. Writing to a String cannot fail.
                let _ = write!(line, ",\"{}\"", field.replace('"', "\"\""));
            }
            line + "\r\n"
        }
    })
}

struct Hashed<W> {
    out: W,
    hash: Context,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
