//! Somebody changes a closed journal behind the station's back, and the audit has only the public keys: the log's, that of the
//! hardware that signed beside it, and the witness's. Done to it:
//! every byte of every file changed; each record changed with its checksum made right, removed, doubled, swapped with the
//! next; a record changed together with its tiles; the end cut off; files removed, cut, added; signatures taken off the newest
//! checkpoint, or those of another one put there; an older copy put back
//! while a newer checkpoint is kept elsewhere. What is done to one record must name that record.

use std::{
    collections::BTreeMap,
    fmt, fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use journal::{
    Finding, JournalOptions, LogOptions, Signature, Signer, TransparencyLog, Verification, VerifyOptions, VerifyingKey,
    Witness, verify,
};

use crate::{Broken, chance::Chance, said};

const ORIGIN: &str = "factory.example/station-1";
/// Where frames begin in a segment, as `agent/journal/src/segment.rs` says.
const FIRST_FRAME: usize = 4096;
/// Records of the journal of which every byte is changed: two segments would need more than can be done in a test.
const SMALL: u64 = 40;

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What random choices follow from.
    pub seed: u64,
    /// Every so-manieth byte of the small journal is changed: 1 is all of them.
    pub every: usize,
    /// Records of the large journal.
    pub records: u64,
    /// Random changes of it.
    pub changes: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes of each kind.
    pub changes: BTreeMap<&'static str, u64>,
    /// What the audit did not name, or named wrongly.
    pub missed: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.changes.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let all: u64 = self.changes.values().sum();
        write!(f, "tampering: {all} changes ({}), {} missed", kinds.join(", "), self.missed.len())
    }
}

/// Tampers as planned.
pub fn run(plan: &Plan) -> Result<Outcome, Broken> {
    let mut outcome = Outcome::default();
    let small = Place::make(SMALL, 5, 12)?;
    small.check_clean()?;
    small.every_byte(plan.every, &mut outcome)?;
    small.every_record(&mut outcome)?;
    small.every_file(&mut outcome)?;
    small.every_signature(&mut outcome)?;
    older_copy(&mut outcome)?;
    let large = Place::make(plan.records, 40, 120)?;
    large.check_clean()?;
    large.at_random(plan, &mut outcome)?;
    small.check_clean()?;
    large.check_clean()?;
    Ok(outcome)
}

/// A closed journal whose checkpoint a witness cosigned.
struct Place {
    directory: tempfile::TempDir,
    keys: Keys,
    groups: u64,
}

/// By whose word the journal holds.
struct Keys {
    log: VerifyingKey,
    hardware: VerifyingKey,
    witness: VerifyingKey,
}

/// One frame of a segment.
struct Frame {
    from: usize,
    to: usize,
    record: u64,
}

impl Place {
    fn make(records: u64, group: u64, length: usize) -> Result<Self, Broken> {
        let directory = tempfile::tempdir().map_err(said("a directory"))?;
        let keys = fill(directory.path(), records, group, length)?;
        Ok(Self { directory, keys, groups: group })
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn verify(&self, kept: Option<String>) -> Result<Verification, String> {
        let options = VerifyOptions {
            journal: self.journal(),
            tlog: self.journal().join("tlog"),
            key: self.keys.log.clone(),
            hardware: Some(self.keys.hardware.clone()),
            witness: Some(self.keys.witness.clone()),
            kept,
            tiles: true,
        };
        verify(&options, &mut |_, _| {}).map_err(|error| service::in_full(&error))
    }

    /// Without a change nothing is found: else the rest would show nothing.
    fn check_clean(&self) -> Result<(), Broken> {
        let found = self.verify(None)?;
        let clean = found.findings.is_empty()
            && found.remarks.is_empty()
            && found.cosigned.is_some()
            && found.hardware == Some(found.covered);
        if clean { Ok(()) } else { Err(format!("an untouched journal is not clean: {found:?}")) }
    }

    /// The files of the record: segments, checkpoints, tiles.
    fn files(&self) -> Result<Vec<PathBuf>, Broken> {
        let (mut files, mut waiting) = (Vec::new(), vec![self.journal()]);
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).map_err(said("list"))? {
                let path = entry.map_err(said("list"))?.path();
                match path.file_name() {
                    // It holds the number of a process, and nothing of the record.
                    Some(name) if name == "lock" => {}
                    _ if path.is_dir() => waiting.push(path),
                    _ => files.push(path),
                }
            }
        }
        files.sort();
        Ok(files)
    }

    fn segments(&self) -> Result<Vec<PathBuf>, Broken> {
        Ok(self.files()?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect())
    }

    /// Looks whether what was done to `path` is named; of a record, whether that record is.
    fn judge(&self, outcome: &mut Outcome, kind: &'static str, path: &Path, record: Option<u64>, what: &str) {
        *outcome.changes.entry(kind).or_default() += 1;
        let found = match self.verify(None) {
            Ok(found) => found,
            // What cannot be read at all is named by the error.
            Err(_) if record.is_none() => return,
            Err(error) => return outcome.missed.push(format!("{kind}, {what}: {error}")),
        };
        let named = |finding: &Finding| match record {
            Some(record) => finding.record == Some(record),
            None => finding.path == *path || finding.record.is_some(),
        };
        let first = match record {
            // The first that is named must be the first that was changed.
            Some(_) => found.findings.iter().chain(&found.remarks).next().is_some_and(named),
            None => found.findings.iter().chain(&found.remarks).any(named),
        };
        if !first {
            outcome.missed.push(format!("{kind}, {what}: {:?} {:?}", found.findings, found.remarks));
        }
    }

    fn every_byte(&self, every: usize, outcome: &mut Outcome) -> Result<(), Broken> {
        for path in self.files()? {
            let bytes = fs::read(&path).map_err(said("read"))?;
            let frames =
                if path.extension().is_some_and(|ending| ending == "seg") { frames(&bytes, 0) } else { vec![] };
            for at in (0..bytes.len()).step_by(every) {
                let record = frames.iter().find(|frame| (frame.from..frame.to).contains(&at)).map(|frame| frame.record);
                self.change_byte(&path, &bytes, at, 1 << (at % 8), |place| {
                    place.judge(outcome, "bytes", &path, record, &format!("{} at {at}", path.display()));
                })?;
            }
        }
        Ok(())
    }

    fn change_byte(
        &self,
        path: &Path,
        bytes: &[u8],
        at: usize,
        mask: u8,
        then: impl FnOnce(&Self),
    ) -> Result<(), Broken> {
        let file = fs::OpenOptions::new().write(true).open(path).map_err(said("open"))?;
        file.write_all_at(&[bytes[at] ^ mask], at as u64).map_err(said("write"))?;
        then(self);
        file.write_all_at(&bytes[at..=at], at as u64).map_err(said("write"))
    }

    fn with(&self, path: &Path, bytes: &[u8], then: impl FnOnce(&Self)) -> Result<(), Broken> {
        let before = fs::read(path).map_err(said("read"))?;
        fs::write(path, bytes).map_err(said("write"))?;
        then(self);
        fs::write(path, before).map_err(said("write"))
    }

    fn every_record(&self, outcome: &mut Outcome) -> Result<(), Broken> {
        let mut first = 0;
        for path in self.segments()? {
            let bytes = fs::read(&path).map_err(said("read"))?;
            let frames = frames(&bytes, first);
            for (place, frame) in frames.iter().enumerate() {
                self.record(outcome, &path, &bytes, &frames, place)?;
                first = frame.record + 1;
            }
        }
        Ok(())
    }

    /// Everything that is done to one record.
    fn record(
        &self,
        outcome: &mut Outcome,
        path: &Path,
        bytes: &[u8],
        frames: &[Frame],
        place: usize,
    ) -> Result<(), Broken> {
        let Frame { from, to, record } = frames[place];
        let mut judge = |kind, altered: &[u8], named: u64| {
            let what = format!("record {record}");
            self.with(path, altered, |here| here.judge(outcome, kind, path, Some(named), &what))
        };
        judge("forged records", &forged(bytes, from, to), record)?;
        judge("removed records", &spliced(bytes, from..to, &[]), record)?;
        judge("cut ends", &[&bytes[..from], &vec![0; bytes.len() - from]].concat(), record)?;
        let doubled = spliced(bytes, to..to, &bytes[from..to]);
        judge("doubled records", &doubled, record + 1)?;
        if let Some(next) = frames.get(place + 1) {
            let swapped = [&bytes[to..next.to], &bytes[from..to]].concat();
            judge("swapped records", &spliced(bytes, from..next.to, &swapped), record)?;
        }
        Ok(())
    }

    fn every_file(&self, outcome: &mut Outcome) -> Result<(), Broken> {
        for path in self.files()? {
            let bytes = fs::read(&path).map_err(said("read"))?;
            let what = path.display().to_string();
            // Zeros behind the last record carry nothing.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let half = &bytes[..used / 2];
            self.with(&path, half, |here| here.judge(outcome, "cut files", &path, None, &what))?;
            self.with(&path, &[&bytes[..], b"x"].concat(), |here| {
                here.judge(outcome, "longer files", &path, None, &what);
            })?;
            // A cosigned checkpoint may be missing: no witness need have seen the journal.
            if !what.ends_with("cosigned") {
                fs::remove_file(&path).map_err(said("remove"))?;
                let named = if what.ends_with(".seg") { self.journal() } else { path.clone() };
                self.judge(outcome, "removed files", &named, None, &what);
                fs::write(&path, &bytes).map_err(said("write"))?;
            }
        }
        for name in ["tile/0/001", "tile/entries/000.p/41", "tile/1/000.p/1", "tile/more"] {
            let path = self.journal().join("tlog").join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(said("create"))?;
            }
            fs::write(&path, [7; 64]).map_err(said("write"))?;
            self.judge(outcome, "added files", &path, None, name);
            fs::remove_file(&path).map_err(said("remove"))?;
        }
        Ok(())
    }

    /// The newest checkpoint without each of its signatures, and with each replaced by that of another journal's checkpoint, made
    /// by another key of the same name.
    fn every_signature(&self, outcome: &mut Outcome) -> Result<(), Broken> {
        let other = Self::make(SMALL + 1, 5, 12)?;
        let read = |place: &Self| fs::read_to_string(place.journal().join("tlog/checkpoint")).map_err(said("read"));
        let (path, whole, theirs) = (self.journal().join("tlog/checkpoint"), read(self)?, read(&other)?);
        let lines = |text: &str| text.lines().filter(|line| line.starts_with('\u{2014}')).map(str::to_owned).collect();
        let (ours, theirs): (Vec<String>, Vec<String>) = (lines(&whole), lines(&theirs));
        if ours.len() < 2 || ours.len() != theirs.len() {
            return Err(format!("the checkpoint should bear the hardware key's signature too: {whole}"));
        }
        for (line, foreign) in ours.iter().zip(&theirs) {
            for (kind, instead) in
                [("signatures taken off", String::new()), ("foreign signatures", format!("{foreign}\n"))]
            {
                // A checkpoint without its witness is one that the witness has not seen yet.
                if instead.is_empty() && line.contains(self.keys.witness.name()) {
                    continue;
                }
                let altered = whole.replace(&format!("{line}\n"), &instead);
                self.with(&path, altered.as_bytes(), |here| here.judge(outcome, kind, &path, None, line))?;
            }
        }
        Ok(())
    }

    fn at_random(&self, plan: &Plan, outcome: &mut Outcome) -> Result<(), Broken> {
        let mut chance = Chance::new(plan.seed);
        let segments = self.segments()?;
        let mut first = BTreeMap::new();
        let mut next = 0;
        for path in &segments {
            let count = frames(&fs::read(path).map_err(said("read"))?, next).len() as u64;
            first.insert(path.clone(), next);
            next += count;
        }
        let files = self.files()?;
        for round in 0..plan.changes {
            if round % 2 == 0 {
                let path = &files[chance.below(files.len() as u64) as usize];
                let bytes = fs::read(path).map_err(said("read"))?;
                let at = chance.below(bytes.len() as u64) as usize;
                let mask = 1 << chance.below(8);
                let frames = first.get(path).map_or_else(Vec::new, |first| frames(&bytes, *first));
                let record = frames.iter().find(|frame| (frame.from..frame.to).contains(&at)).map(|frame| frame.record);
                self.change_byte(path, &bytes, at, mask, |place| {
                    place.judge(outcome, "bytes", path, record, &format!("{} at {at}", path.display()));
                })?;
            } else {
                let path = &segments[chance.below(segments.len() as u64) as usize];
                let bytes = fs::read(path).map_err(said("read"))?;
                let frames = frames(&bytes, first[path]);
                let place = chance.below(frames.len() as u64) as usize;
                let Frame { from, to, record } = frames[place];
                let mut judge = |kind, altered: &[u8], named: Option<u64>| {
                    self.with(path, altered, |here| {
                        here.judge(outcome, kind, path, named, &format!("record {record}"));
                    })
                };
                match chance.below(3) {
                    0 => judge("forged records", &forged(&bytes, from, to), Some(record))?,
                    // Behind the last group of a segment, the next segment is what does not fit.
                    1 if place + (self.groups as usize) < frames.len() => {
                        judge("removed records", &spliced(&bytes, from..to, &[]), Some(record))?;
                    }
                    _ => match frames.get(place + 1) {
                        Some(next) => {
                            let swapped = [&bytes[to..next.to], &bytes[from..to]].concat();
                            judge("swapped records", &spliced(&bytes, from..next.to, &swapped), Some(record))?;
                        }
                        None => judge("removed records", &spliced(&bytes, from..to, &[]), None)?,
                    },
                }
            }
        }
        Ok(())
    }
}

/// A journal that was longer once: with the checkpoint that the witness saw, the older copy is named; on its own it is
/// whole.
fn older_copy(outcome: &mut Outcome) -> Result<(), Broken> {
    let place = Place::make(SMALL, 5, 12)?;
    let older = place.directory.path().join("older");
    copy(&place.journal(), &older).map_err(said("copy"))?;
    for more in [1, 7, 300] {
        fill(place.directory.path(), more, 5, 12)?;
        let kept = fs::read_to_string(place.journal().join("tlog/checkpoint")).map_err(said("read"))?;
        let newer = place.directory.path().join("newer");
        fs::rename(place.journal(), &newer).map_err(said("rename"))?;
        copy(&older, &place.journal()).map_err(said("copy"))?;
        *outcome.changes.entry("older copies").or_default() += 1;
        place.check_clean()?;
        let found = place.verify(Some(kept))?;
        let missing = |finding: &Finding| finding.record == Some(SMALL) && finding.wrong.contains("are missing");
        if !found.findings.iter().any(missing) {
            outcome.missed.push(format!("an older copy, {more} records behind: {:?}", found.findings));
        }
        fs::remove_dir_all(place.journal()).map_err(said("remove"))?;
        fs::rename(&newer, place.journal()).map_err(said("rename"))?;
    }
    Ok(())
}

/// Appends records in groups, closes the journal, and has its checkpoint cosigned.
fn fill(below: &Path, records: u64, group: u64, length: usize) -> Result<Keys, Broken> {
    let journal = below.join("journal");
    let options = JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new(&journal, ORIGIN) };
    let mut log_options = LogOptions::beside(&journal);
    let hardware = Hardware::read_or_make(&below.join("hardware.key"))?;
    let hardware_key = hardware.verifying.clone();
    log_options.signers.push(Arc::new(hardware));
    let (journal, log, _) = TransparencyLog::open(&options, log_options).map_err(said("open"))?;
    let from = journal.length();
    let entries: Vec<Vec<u8>> = (from..from + records).map(|index| entry(index, length)).collect();
    for group in entries.chunks(group as usize) {
        journal.append(group.to_vec()).and_then(|appended| appended.wait()).map_err(said("append"))?;
    }
    log.close()?;
    let witness =
        Witness::open(&below.join("witness"), &below.join("witness.key"), "witness").map_err(said("witness"))?;
    let (checkpoint, note) = log.newest();
    let proof = log.consistency(from, &checkpoint).map_err(said("proof"))?;
    let cosignature =
        witness.cosign("station-1", &log.key().to_string(), &note.to_string(), from, &proof).map_err(said("cosign"))?;
    log.keep_cosignature(note, cosignature).map_err(said("keep"))?;
    journal.close().map_err(said("close"))?;
    Ok(Keys { log: log.key().clone(), hardware: hardware_key, witness: witness.key().clone() })
}

/// In the place of a TPM or an HSM: what it signs is the same.
struct Hardware {
    pair: EcdsaKeyPair,
    verifying: VerifyingKey,
}

impl Hardware {
    fn read_or_make(file: &Path) -> Result<Self, Broken> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        if !file.exists() {
            let made = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(said("a key"))?;
            fs::write(file, made.as_ref()).map_err(said("write"))?;
        }
        let pkcs8 = fs::read(file).map_err(said("read"))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8).map_err(said("a key"))?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(said("a key"))?;
        let verifying = VerifyingKey::hardware(ORIGIN, public.as_ref()).ok_or("the hardware's key is none")?;
        Ok(Self { verifying, pair })
    }
}

impl Signer for Hardware {
    fn sign(&self, text: &str) -> Result<Signature, String> {
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|error| error.to_string())?;
        self.verifying.line(text, signature.as_ref().to_vec()).ok_or_else(|| "it does not verify".to_owned())
    }
}

fn entry(index: u64, length: usize) -> Vec<u8> {
    let mut entry = format!("record {index} ").into_bytes();
    entry.resize(length.max(entry.len()), b'.');
    entry
}

/// The frames of a segment: a length, a checksum, the group, then the entry behind its own length.
fn frames(bytes: &[u8], first: u64) -> Vec<Frame> {
    let (mut frames, mut from) = (Vec::new(), FIRST_FRAME);
    while let Some(length) = bytes.get(from..).and_then(|rest| rest.first_chunk::<4>()).map(|l| u32::from_be_bytes(*l))
    {
        if length == 0 {
            break;
        }
        let to = from + 16 + length as usize;
        frames.push(Frame { from, to, record: first + frames.len() as u64 });
        from = to;
    }
    frames
}

/// The segment with another record at a place, of the same length, its checksum made right.
fn forged(bytes: &[u8], from: usize, to: usize) -> Vec<u8> {
    let mut forged = bytes.to_vec();
    forged[to - 1] ^= 1;
    let seed = bytes.get(104..108).and_then(|seed| seed.try_into().ok()).map_or(0, u32::from_be_bytes);
    let crc = crc32c::crc32c_append(seed, &forged[from + 8..to]);
    forged[from + 4..from + 8].copy_from_slice(&crc.to_be_bytes());
    forged
}

/// The segment with something else in a place, and as long as before.
fn spliced(bytes: &[u8], place: std::ops::Range<usize>, with: &[u8]) -> Vec<u8> {
    let mut spliced = [&bytes[..place.start], with, &bytes[place.end..]].concat();
    spliced.resize(bytes.len(), 0);
    spliced
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &to)? } else { fs::copy(entry.path(), to).map(drop)? }
    }
    Ok(())
}
