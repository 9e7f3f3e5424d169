//! Holds every byte of a journal and its log against the checkpoint.
//!
//! The entries are hashed anew; the root over them must be the one that was signed. Tiles are compared with what the
//! entries give. When the root is right, a tile that differs was changed; when it is not, the first hash in the tiles that
//! differs names the record.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use super::{
    bounded::{self, NOTE_MOST},
    reader::Reader,
    tiles::{Difference, Tiles},
};
use crate::{
    Hash, JournalError,
    disk::SegmentFile as _,
    recovery::origin_hash,
    segment::{FIRST_FRAME, HEADER, Header, HeaderFault, Previous, Step, Walk},
    tree::{
        Hasher, Tree,
        checkpoint::Checkpoint,
        leaf_hash,
        note::{Note, VerifyingKey, hardware_name},
        proof::{self, Nodes as _},
        tile::TileNodes,
    },
};

/// What to verify, and by whose word.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The journal's directory, or a copy of it.
    pub journal: PathBuf,
    /// The log's directory, or a copy of it.
    pub tlog: PathBuf,
    /// The key that signs the log's checkpoints.
    pub key: VerifyingKey,
    /// The key of a TPM or an HSM that signs checkpoints beside that one; without it those signatures are not looked at.
    pub hardware: Option<VerifyingKey>,
    /// The key of the witness; without it cosignatures are not looked at.
    pub witness: Option<VerifyingKey>,
    /// A checkpoint that somebody kept elsewhere: the journal must go on from it.
    pub kept: Option<String>,
    /// Whether tiles are compared too.
    pub tiles: bool,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, or the directory.
    pub path: PathBuf,
    /// The index of the record, when it is known.
    pub record: Option<u64>,
    /// What is wrong, in words.
    pub wrong: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "record {record}: {}: {}", self.path.display(), self.wrong),
            None => write!(f, "{}: {}", self.path.display(), self.wrong),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Whole records, from the first on without a gap.
    pub records: u64,
    /// How many of them a checkpoint covers.
    pub covered: u64,
    /// The root over those.
    pub root: Option<Hash>,
    /// How many records the newest checkpoint covers that bears the hardware key's signature.
    pub hardware: Option<u64>,
    /// How many records the newest cosigned checkpoint covers, and when it was cosigned, in seconds since 1970.
    pub cosigned: Option<(u64, u64)>,
    /// Tiles that were compared.
    pub tiles: u64,
    /// What was altered, removed or added: the first record first.
    pub findings: Vec<Finding>,
    /// What is no alteration, but should be known: such as a group that a crash tore.
    pub remarks: Vec<Finding>,
}

impl Verification {
    /// Whether nothing was altered.
    #[must_use]
    pub fn is_unaltered(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Verifies a journal. `progress` is told how many bytes of how many are done.
///
/// # Errors
/// What cannot be read at all: no journal there, or a file that the system refuses. Everything else is a finding.
pub fn verify(options: &VerifyOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Verification, JournalError> {
    let reader = Reader::open(&options.journal)?;
    let live = reader.is_open_elsewhere();
    let mut found = Verification::default();
    let signed = signed(options, &mut found);
    let covered = signed.values().flatten().map(|signed| signed.checkpoint.size).max().unwrap_or(0);
    let mut work = Work {
        options,
        live,
        covered,
        signed,
        tree: Tree::default(),
        hasher: Hasher::default(),
        tiles: options.tiles.then(|| Tiles::new(&options.tlog, covered, live)),
        differences: Vec::new(),
        roots_differ: false,
        found,
    };
    work.check_roots();
    let whole = work.segments(&reader, progress)?;
    work.finish(&reader, whole);
    progress(reader.bytes(), reader.bytes());
    Ok(work.found)
}

/// A checkpoint that must be borne out, and where it stands.
struct Signed {
    path: PathBuf,
    checkpoint: Checkpoint,
}

/// Reads the checkpoints; what is wrong with them is found here.
fn signed(options: &VerifyOptions, found: &mut Verification) -> BTreeMap<u64, Vec<Signed>> {
    let mut signed: BTreeMap<u64, Vec<Signed>> = BTreeMap::new();
    let newest = options.tlog.join("checkpoint");
    let cosigned_path = options.tlog.join("checkpoint.cosigned");
    for (path, text) in [
        (newest.clone(), Some(bounded::read_text(&newest, NOTE_MOST).map_err(|error| error.to_string()))),
        (
            cosigned_path.clone(),
            cosigned_path
                .exists()
                .then(|| bounded::read_text(&cosigned_path, NOTE_MOST).map_err(|error| error.to_string())),
        ),
        ("the kept checkpoint".into(), options.kept.clone().map(Ok)),
    ] {
        let Some(text) = text else { continue };
        let wrong = match text.and_then(|text| read_signed(options, &text)) {
            Ok(Read { checkpoint, cosigned, hardware }) => {
                let is_newer = |(size, _): (u64, u64)| size < checkpoint.size;
                if let Some(time) = cosigned.filter(|_| found.cosigned.is_none_or(is_newer)) {
                    found.cosigned = Some((checkpoint.size, time));
                }
                if hardware {
                    found.hardware = found.hardware.max(Some(checkpoint.size));
                } else if let Some(key) = options.hardware.as_ref().filter(|_| path == newest) {
                    let wrong = format!(
                        "does not bear the hardware key's signature ({key}): it was away, or is not this log's"
                    );
                    found.remarks.push(Finding { path: path.clone(), record: None, wrong });
                }
                if path == cosigned_path && options.witness.is_some() && cosigned.is_none() {
                    Some("the witness's signature is not there".to_owned())
                } else {
                    signed.entry(checkpoint.size).or_default().push(Signed { path: path.clone(), checkpoint });
                    None
                }
            }
            Err(wrong) => Some(wrong),
        };
        found.findings.extend(wrong.map(|wrong| Finding { path, record: None, wrong }));
    }
    signed
}

/// What a signed checkpoint says.
struct Read {
    checkpoint: Checkpoint,
    /// When the witness cosigned it.
    cosigned: Option<u64>,
    /// Whether the hardware key signed it.
    hardware: bool,
}

fn read_signed(options: &VerifyOptions, text: &str) -> Result<Read, String> {
    let VerifyOptions { key, hardware: hardware_key, witness, .. } = options;
    let note = Note::parse(text).ok_or("is no signed note")?;
    if note.to_string() != text {
        return Err("is not written as a signed note is".to_owned());
    }
    if !note.is_signed_by(key) {
        return Err(format!("is not signed by the key {key}, or was changed since"));
    }
    let checkpoint = Checkpoint::parse(note.text()).ok_or("is no checkpoint")?;
    if checkpoint.origin != key.name() {
        return Err(format!("is of another log: {}", checkpoint.origin));
    }
    let cosigned = witness.as_ref().and_then(|witness| note.cosigned_at(witness));
    let hardware = hardware_key.as_ref().is_some_and(|hardware| note.is_signed_by(hardware));
    // Every line must be somebody's, as far as it is known whose there may be.
    let known =
        [Some(key), witness.as_ref().filter(|_| cosigned.is_some()), hardware_key.as_ref().filter(|_| hardware)];
    let known: Vec<&VerifyingKey> = known.into_iter().flatten().collect();
    let name = hardware_name(&checkpoint.origin);
    for line in note.signatures().iter().filter(|line| !known.iter().any(|key| key.is_named_by(line))) {
        match (hardware_key, witness) {
            (Some(hardware), _) if line.name() == name => {
                return Err(format!(
                    "the signature of {name} is not the hardware key's ({hardware}), or was changed since"
                ));
            }
            (None, _) if line.name() == name => {}
            (_, Some(witness)) => {
                return Err(format!(
                    "a signature beside the log's own is not the witness's ({witness}), or was changed since"
                ));
            }
            // Whose it is is not known without the witness's key.
            (_, None) => {}
        }
    }
    Ok(Read { checkpoint, cosigned, hardware })
}

struct Work<'a> {
    options: &'a VerifyOptions,
    live: bool,
    covered: u64,
    /// What must be borne out, by size.
    signed: BTreeMap<u64, Vec<Signed>>,
    tree: Tree,
    hasher: Hasher,
    tiles: Option<Tiles>,
    differences: Vec<Difference>,
    roots_differ: bool,
    found: Verification,
}

impl Work<'_> {
    fn find(&mut self, path: &Path, record: Option<u64>, wrong: impl Into<String>) {
        self.found.findings.push(Finding { path: path.to_owned(), record, wrong: wrong.into() });
    }

    /// Walks over all segments; `false` when it had to stop at something that is not whole.
    fn segments(&mut self, reader: &Reader, progress: &mut dyn FnMut(u64, u64)) -> Result<bool, JournalError> {
        let mut before: Option<(u64, u64)> = None;
        let mut done = 0;
        let count = reader.segments().len();
        for (place, (first_index, path)) in reader.segments().iter().enumerate() {
            let file = File::open(path).map_err(JournalError::file("open", path))?;
            let length = file.length().map_err(JournalError::file("read", path))?;
            let header = match self.header(path, &file, *first_index, before)? {
                Ok(header) => header,
                Err(wrong) => {
                    self.find(path, Some(self.tree.size()), wrong);
                    return Ok(false);
                }
            };
            let mut told = |offset| progress(done + offset, reader.bytes());
            let Some(end) = self.frames(path, &file, &header, place + 1 == count, &mut told)? else { return Ok(false) };
            before = Some((*first_index, end));
            done += length;
        }
        Ok(true)
    }

    /// A segment's first page, and whether it continues the segment before.
    fn header(
        &self,
        path: &Path,
        file: &File,
        first_index: u64,
        before: Option<(u64, u64)>,
    ) -> Result<Result<Header, String>, JournalError> {
        let mut page = vec![0; FIRST_FRAME as usize];
        let read = file.read_at(0, &mut page).map_err(JournalError::file("read", path))?;
        let header = match Header::decode(&page[..read]) {
            Ok(header) => header,
            Err(HeaderFault::NeedsReader(needed)) => {
                return Ok(Err(format!(
                    "needs a reader of format {needed}: use a newer release, or the header was changed"
                )));
            }
            Err(_) => return Ok(Err("its header is not one, or was changed".to_owned())),
        };
        let expected = before.map(|(first_index, end)| Previous { first_index, end });
        Ok(if header.origin != origin_hash(self.options.key.name()) {
            Err(format!("belongs to another journal than {}", self.options.key.name()))
        } else if page[HEADER..].iter().any(|byte| *byte != 0) {
            Err("its first page was changed".to_owned())
        } else if header.first_index != first_index || first_index != self.tree.size() || header.previous != expected {
            Err("it does not continue the segment before it: a segment or its end is missing".to_owned())
        } else {
            Ok(header)
        })
    }

    /// Every frame of a segment; where they end, or `None` when it had to stop.
    fn frames(
        &mut self,
        path: &Path,
        file: &File,
        header: &Header,
        last: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<u64>, JournalError> {
        let read = |error| JournalError::file("read", path)(error);
        let mut walk = Walk::new(file, header.seed, FIRST_FRAME);
        let mut group = None;
        loop {
            let index = self.tree.size();
            if self.live && index >= self.covered {
                let wrong =
                    "a process has the journal open: what is behind its checkpoint was not looked at".to_owned();
                self.found.remarks.push(Finding { path: path.to_owned(), record: None, wrong });
                return Ok(None);
            }
            let offset = walk.offset();
            let wrong = match walk.step().map_err(read)? {
                Step::Frame { group: named, entry, .. } if group == Some(named) || named == index => {
                    group = Some(named);
                    self.entry(entry);
                    if index.is_multiple_of(1024) {
                        progress(offset);
                    }
                    continue;
                }
                Step::Frame { .. } => "stands in another group than where it was written",
                Step::End => break,
                Step::Bad(wrong) => wrong,
            };
            let finding =
                Finding { path: path.to_owned(), record: Some(index), wrong: format!("at byte {offset}: {wrong}") };
            // What a crash tore was never acknowledged, and no checkpoint covers it.
            let torn = last && index >= self.covered;
            if torn {
                self.found.remarks.push(finding)
            } else {
                self.found.findings.push(finding)
            }
            return Ok(None);
        }
        let end = walk.offset();
        if let Some(at) = not_zero(file, end).map_err(read)? {
            let wrong = format!("byte {at}, behind the last record, is not zero");
            let finding = Finding { path: path.to_owned(), record: None, wrong };
            if last { self.found.remarks.push(finding) } else { self.found.findings.push(finding) }
        }
        Ok(Some(end))
    }

    fn entry(&mut self, entry: &[u8]) {
        let leaf = self.hasher.leaf(entry);
        if let Some(tiles) = &mut self.tiles {
            tiles.entry(entry);
        }
        let (tiles, differences) = (&mut self.tiles, &mut self.differences);
        let pushed = self.tree.push(leaf, |level, number, hashes| {
            if let Some(tiles) = tiles {
                differences.extend(tiles.hashes(level, number, hashes));
            }
            Ok::<_, Infallible>(())
        });
        let Ok(()) = pushed;
        if let Some(tiles) = self.tiles.as_mut().filter(|tiles| tiles.bundle_is_full()) {
            self.differences.extend(tiles.bundle());
        }
        self.check_roots();
    }

    /// At a size that somebody signed, the root must be the signed one.
    fn check_roots(&mut self) {
        let Some(signed) = self.signed.get(&self.tree.size()) else { return };
        let root = self.tree.root();
        if self.tree.size() == self.covered {
            (self.found.covered, self.found.root) = (self.covered, Some(root));
        }
        let wrong: Vec<PathBuf> =
            signed.iter().filter(|signed| signed.checkpoint.root != root).map(|signed| signed.path.clone()).collect();
        for path in wrong {
            self.roots_differ = true;
            let size = self.tree.size();
            self.find(&path, None, format!("the {size} records it covers are not those of this journal"));
        }
    }

    fn finish(&mut self, reader: &Reader, whole: bool) {
        let records = self.tree.size();
        self.found.records = records;
        if whole && records < self.covered {
            let wrong = format!(
                "the journal ends with {records} records, but {} were signed: records {records} to {} are missing",
                self.covered,
                self.covered - 1
            );
            self.find(&self.options.journal, Some(records), wrong);
        }
        if let Some(mut tiles) = self.tiles.take() {
            for (level, hashes) in (0..).zip(self.tree.unfinished()) {
                self.differences.extend(tiles.unfinished(level, records, hashes));
            }
            self.differences.extend(tiles.bundle());
            // What is behind a record that is not whole cannot be judged.
            if whole || self.live {
                let (missing, strange, passing) = tiles.rest(records);
                missing.iter().for_each(|path| self.find(path, None, "is missing"));
                strange.iter().for_each(|path| self.find(path, None, "is not part of the log"));
                let remark = |path| Finding { path, record: None, wrong: "was left by a crash".to_owned() };
                self.found.remarks.extend(passing.into_iter().map(remark));
            }
            self.found.tiles = tiles.compared();
        }
        for difference in std::mem::take(&mut self.differences) {
            let Difference { path, wrong, record, covered } = difference;
            if !covered {
                let wrong = format!("{wrong}; no checkpoint covers it");
                self.found.remarks.push(Finding { path, record: None, wrong });
            } else if let Some(index) = record.filter(|index| self.is_altered(reader, *index)) {
                let at = reader.segment_of(index);
                let wrong = format!("it is not what was signed; {} holds its hash", path.display());
                self.find(&reader.segments()[at].1, Some(index), wrong);
            } else {
                self.find(&path, None, wrong);
            }
        }
        if whole && !self.live && records > self.covered {
            let wrong = format!("{} records behind the checkpoint: nobody has signed them yet", records - self.covered);
            let path = self.options.journal.clone();
            self.found.remarks.push(Finding { path, record: Some(self.covered), wrong });
        }
        self.found.findings.sort_by_key(|finding| finding.record.unwrap_or(u64::MAX));
        self.found.findings.dedup();
    }

    /// Whether it is the record that differs from its tile, and not the tile: when the tiles bear the checkpoint out at
    /// that place, they say which hash was signed.
    fn is_altered(&self, reader: &Reader, index: u64) -> bool {
        let signed = self.signed.range(index + 1..).flat_map(|(_, signed)| signed).map(|signed| &signed.checkpoint);
        for Checkpoint { size, root, .. } in signed {
            let mut nodes = TileNodes::new(&self.options.tlog, *size);
            let leaf = nodes.node(0, index);
            let proof = proof::inclusion(&mut nodes, index, *size);
            if let (Ok(leaf), Ok(proof)) = (leaf, proof)
                && proof::check_inclusion(&leaf, index, *size, &proof, root)
            {
                let record = reader.entry(index).ok().flatten();
                return record.is_none_or(|record| leaf_hash(&record) != leaf);
            }
        }
        self.roots_differ
    }
}

/// The first byte from `offset` on that is not zero.
fn not_zero(file: &File, mut offset: u64) -> std::io::Result<Option<u64>> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = file.read_at(offset, &mut piece)?;
        if read == 0 {
            return Ok(None);
        }
        if let Some(at) = piece[..read].iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + at as u64));
        }
        offset += read as u64;
    }
}
