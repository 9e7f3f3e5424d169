//! The log on real files: what it writes, what a crash leaves, what it refuses, and what a witness says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use tempfile::TempDir;

use super::*;
use crate::{
    Signer, VerifyOptions,
    memory_disk::MemoryDisk,
    segment::{self, FIRST_FRAME, Header, Step, Walk},
    tree::{
        leaf_hash,
        note::SigningKey,
        tile::{Kind, Tile},
    },
    verify,
};

const ORIGIN: &str = "factory.example/station-1";

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn tlog(&self) -> PathBuf {
        self.journal().join("tlog")
    }

    fn options(&self) -> JournalOptions {
        JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new(self.journal(), ORIGIN) }
    }

    /// The interval is never reached: checkpoints come when they are asked for.
    fn log_options(&self) -> LogOptions {
        LogOptions { interval: Duration::from_secs(3600), ..LogOptions::beside(&self.journal()) }
    }

    fn try_open(&self) -> Result<(Journal, TransparencyLog), LogError> {
        TransparencyLog::open(&self.options(), self.log_options()).map(|(journal, log, _)| (journal, log))
    }

    fn open(&self) -> (Journal, TransparencyLog) {
        self.try_open().unwrap()
    }

    /// A closed journal of so many entries, with its last checkpoint.
    fn filled(&self, count: u64) -> Checkpoint {
        let (journal, log) = self.open();
        append(&journal, count);
        log.close().unwrap();
        journal.close().unwrap();
        log.newest().0
    }

    fn refusal(&self) -> String {
        let refused = self.try_open().map(drop).expect_err("it does not open");
        crate::in_words(&refused)
    }

    /// The offsets of the frames of the only segment, and where they end.
    fn frames(&self) -> (PathBuf, Vec<u64>) {
        let path = self.journal().join(segment::name(0));
        let file = fs::File::open(&path).unwrap();
        let seed = Header::read(&file).unwrap().unwrap().seed;
        let mut walk = Walk::new(&file, seed, FIRST_FRAME);
        let mut offsets = Vec::new();
        while let Step::Frame { offset, .. } = walk.step().unwrap() {
            offsets.push(offset);
        }
        offsets.push(walk.offset());
        (path, offsets)
    }
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn append(journal: &Journal, count: u64) {
    let from = journal.length();
    journal.append((from..from + count).map(entry).collect()).unwrap().wait().unwrap();
}

fn root(count: u64) -> Hash {
    let leaves: Vec<Hash> = (0..count).map(|index| leaf_hash(&entry(index))).collect();
    crate::tree::root_of(&leaves).unwrap_or_else(empty_root)
}

/// Tiles and checkpoints stand where C2SP says, hold what it says, and only the needed partial ones stay; the key is its
/// user's alone and stands outside of what is copied.
#[test]
fn files_of_a_log() {
    let place = Place::new();
    let (journal, log) = place.open();
    assert_eq!(log.newest().0, Checkpoint { origin: ORIGIN.into(), size: 0, root: empty_root() });
    append(&journal, 200);
    assert_eq!(log.checkpoint().unwrap().root, root(200));
    assert!(place.tlog().join("tile/entries/000.p/200").exists());
    append(&journal, 500);
    let checkpoint = log.checkpoint().unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (700, root(700)));
    let names = ["tile/0/000", "tile/0/001", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/000"];
    for name in names.into_iter().chain(["tile/entries/001", "tile/entries/002.p/188"]) {
        assert!(place.tlog().join(name).exists(), "{name}");
    }
    assert!(!place.tlog().join("tile/entries/000.p").exists() && !place.tlog().join("tile/0/000.p").exists());
    let bundle = fs::read(place.tlog().join("tile/entries/002.p/188")).unwrap();
    assert_eq!(bundle[..11], *b"\x00\x09entry 512");
    let note = Note::parse(&fs::read_to_string(place.tlog().join("checkpoint")).unwrap()).unwrap();
    let public = fs::read_to_string(place.directory.path().join("journal.vkey")).unwrap();
    assert!(note.is_signed_by(&VerifyingKey::parse(&public).unwrap()));
    assert_eq!(Checkpoint::parse(note.text()), Some(checkpoint.clone()));
    let key = fs::metadata(place.directory.path().join("journal.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let proof = log.consistency(200, &checkpoint).unwrap();
    assert!(crate::check_consistency(200, &root(200), 700, &root(700), &proof));
    log.close().unwrap();
    journal.close().unwrap();
}

/// A checkpoint covers synced entries alone: what waits at a closed disk is not in it.
#[test]
fn checkpoint_of_synced_entries_only() {
    let place = Place::new();
    let disk = MemoryDisk::default();
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &place.options()).unwrap();
    let log = TransparencyLog::follow(&journal, place.log_options(), None).unwrap();
    append(&journal, 10);
    disk.close_gate();
    let waiting = journal.append(vec![entry(10)]).unwrap();
    disk.wait_at_gate();
    assert_eq!(log.checkpoint().unwrap().size, 10);
    disk.open_gate();
    waiting.wait().unwrap();
    assert_eq!(log.checkpoint().unwrap().size, 11);
}

/// The log goes on over many starts, at every small size and over the borders of tiles.
#[test]
fn log_goes_on_after_restarts() {
    let place = Place::new();
    let mut size = 0;
    for more in [0, 1, 1, 253, 1, 1, 255, 300, 0, 7] {
        size += more;
        let checkpoint = place.filled(more);
        assert_eq!((checkpoint.size, checkpoint.root), (size, root(size)));
    }
}

/// After a crash while tiles were written, half of them are written anew; what is behind the checkpoint is caught up.
#[test]
fn crash_while_tiles_are_written() {
    let place = Place::new();
    place.filled(300);
    let (journal, _) = Journal::open(&place.options()).unwrap();
    append(&journal, 400);
    journal.close().unwrap();
    for half in ["tile/0/001", "tile/entries/001", "tile/0/002.p/188", "tile/entries/001.new"] {
        let path = place.tlog().join(half);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"half").unwrap();
    }
    let (_journal, log) = place.open();
    assert_eq!(log.newest().0.size, 300);
    let checkpoint = log.checkpoint().unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (700, root(700)));
    let mut nodes = TileNodes::new(&place.tlog(), 700);
    let tree = crate::tree::Tree::resume(700, nodes.unfinished().unwrap());
    assert_eq!(tree.root(), root(700));
    assert_eq!(fs::read(place.tlog().join("tile/0/001")).unwrap().len(), 8192);
}

/// Tiles that are missing or damaged are cut anew from the journal, because the checkpoint says what must come out.
#[test]
fn tiles_are_cut_anew() {
    for damage in ["tile/0/001.p/44", "tile/1/000.p/1"] {
        let place = Place::new();
        place.filled(300);
        let path = place.tlog().join(damage);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, vec![0; whole.len()]).unwrap();
        let (_journal, log) = place.open();
        assert_eq!(log.newest().0.root, root(300));
    }
    let place = Place::new();
    place.filled(300);
    fs::remove_dir_all(place.tlog().join("tile")).unwrap();
    place.filled(10);
    assert!(place.tlog().join("tile/0/000").exists());
}

/// The end cut off behind a whole frame, which no checksum sees: refused, with what is missing and what to do, and
/// nothing is changed. With the missing records back it opens.
#[test]
fn tail_cut_at_a_frame() {
    let place = Place::new();
    place.filled(20);
    let (path, frames) = place.frames();
    let whole = fs::read(&path).unwrap();
    for kept in 0..20 {
        let mut cut = whole.clone();
        cut[frames[kept] as usize..].fill(0);
        fs::write(&path, &cut).unwrap();
        let refusal = place.refusal();
        let wanted = format!("ends with {kept} records, but its checkpoint says that 20 were on the disk");
        assert!(refusal.contains(&wanted), "{refusal}");
        assert!(refusal.contains(&format!("from index {kept} to 19 are missing")), "{refusal}");
        assert!(refusal.contains("journal repair --from"), "{refusal}");
        assert_eq!(fs::read(&path).unwrap(), cut);
    }
    fs::remove_file(&path).unwrap();
    assert!(place.refusal().contains("ends with 0 records"));
    fs::write(&path, &whole).unwrap();
    place.open();
}

/// A record changed together with its checksum is seen at the start when it stands in the unfinished tile.
#[test]
fn record_changed_with_its_checksum() {
    let place = Place::new();
    place.filled(20);
    let (path, frames) = place.frames();
    let mut bytes = fs::read(&path).unwrap();
    let seed = Header::decode(&bytes).unwrap().seed;
    let mut forged = Vec::new();
    segment::encode_frame(&mut forged, seed, 0, b"entry X");
    bytes[frames[7] as usize..frames[8] as usize].copy_from_slice(&forged);
    fs::write(&path, bytes).unwrap();
    let refusal = place.refusal();
    assert!(refusal.contains("record 7 is not what the checkpoint") && refusal.contains("20 records"), "{refusal}");
}

/// What is not ours is refused by name: a checkpoint that is missing, torn or signed by another, a key that is missing,
/// torn or of another journal.
#[test]
fn refusals() {
    let place = Place::new();
    place.filled(20);
    let (checkpoint, key) = (place.tlog().join("checkpoint"), place.directory.path().join("journal.key"));
    let (note, secret) = (fs::read_to_string(&checkpoint).unwrap(), fs::read_to_string(&key).unwrap());
    let other = SigningKey::generate(ORIGIN, Purpose::Log).unwrap();
    let three = Checkpoint { origin: ORIGIN.into(), size: 3, root: root(3) };
    let forged = Signers::new(other, vec![]).sign(&three).unwrap();
    for (text, words) in [
        (note[..note.len() / 2].to_owned(), "checkpoint is not a signed checkpoint"),
        (forged.to_string(), "does not bear the signature of this journal's key"),
        (note.replace("\n20\n", "\n19\n"), "does not bear the signature of this journal's key"),
    ] {
        fs::write(&checkpoint, text).unwrap();
        assert!(place.refusal().contains(words), "{}", place.refusal());
    }
    fs::remove_file(&checkpoint).unwrap();
    assert!(place.refusal().contains("is missing, though the journal has 20 records and its key is there"));
    fs::write(&checkpoint, &note).unwrap();
    let elsewhere = SigningKey::generate("elsewhere", Purpose::Log).unwrap();
    let witness = SigningKey::generate(ORIGIN, Purpose::Witness).unwrap();
    for (text, words) in [
        (secret[..secret.len() - 9].to_owned(), "is not `PRIVATE+KEY+name+id+key`"),
        (elsewhere.encode(), "is named \"elsewhere\", but this journal is"),
        (witness.encode(), "is of another kind"),
    ] {
        fs::write(&key, text).unwrap();
        assert!(place.refusal().contains(words), "{}", place.refusal());
    }
    fs::remove_file(&key).unwrap();
    assert!(place.refusal().contains("journal.key is missing, though a checkpoint was signed with it"));
    fs::write(&key, secret).unwrap();
    place.open();
}

/// A failure is told and mended at the next round: a log directory that cannot be written for a while.
#[test]
fn failure_is_told_and_tried_again() {
    let place = Place::new();
    let (journal, log) = place.open();
    append(&journal, 300);
    fs::create_dir_all(place.tlog().join("tile")).unwrap();
    fs::write(place.tlog().join("tile/0"), b"in the way").unwrap();
    let told = log.checkpoint().unwrap_err();
    assert!(told.contains("tile/0") && log.failure().is_some(), "{told}");
    assert_eq!(log.newest().0.size, 0);
    fs::remove_file(place.tlog().join("tile/0")).unwrap();
    assert_eq!(log.checkpoint().unwrap().root, root(300));
    assert_eq!(log.failure(), None);
    log.close().unwrap();
    assert!(log.checkpoint().is_err());
}

/// A TPM's or an HSM's key, that can be away.
struct Hardware {
    pair: EcdsaKeyPair,
    verifying: VerifyingKey,
    away: AtomicBool,
}

impl Hardware {
    fn new() -> Arc<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let verifying = VerifyingKey::hardware(ORIGIN, public.as_ref()).unwrap();
        Arc::new(Self { pair, verifying, away: AtomicBool::new(false) })
    }
}

impl Signer for Hardware {
    fn sign(&self, text: &str) -> Result<Signature, String> {
        if self.away.load(Ordering::Relaxed) {
            return Err("the HSM is away".to_owned());
        }
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        self.verifying.line(text, signature.as_ref().to_vec()).ok_or_else(|| "it does not verify".to_owned())
    }
}

/// The hardware key's line stands beside the process's own, in a checkpoint of any size; while it is away, checkpoints bear
/// the own one alone; and verified with both keys, each is told for what it is.
#[test]
fn hardware_signs_beside_and_stops_nothing() {
    let place = Place::new();
    let hsm = Hardware::new();
    let options = LogOptions { signers: vec![hsm.clone()], ..place.log_options() };
    let (journal, log, _) = TransparencyLog::open(&place.options(), options).unwrap();
    let verified = |key: Option<VerifyingKey>| {
        let options = VerifyOptions {
            journal: place.directory.path().join("journal"),
            tlog: place.tlog(),
            key: log.key().clone(),
            hardware: key,
            witness: None,
            kept: None,
            tiles: true,
        };
        let found = verify(&options, &mut |_, _| {}).unwrap();
        let remarks: Vec<String> = found.remarks.iter().map(ToString::to_string).collect();
        (found.findings.iter().map(ToString::to_string).collect::<Vec<_>>(), found.hardware, remarks.join("\n"))
    };
    for (size, away) in [(1, false), (2, true), (3, false)] {
        hsm.away.store(away, Ordering::Relaxed);
        append(&journal, 1);
        assert_eq!(log.checkpoint().unwrap().size, size);
        let note = log.newest().1;
        assert!(note.is_signed_by(log.key()), "{note}");
        assert_eq!(note.is_signed_by(&hsm.verifying), !away, "{note}");
        let (findings, signed, remarks) = verified(Some(hsm.verifying.clone()));
        assert_eq!((findings, signed), (Vec::<String>::new(), (!away).then_some(size)));
        assert_eq!(remarks.contains("does not bear the hardware key's signature"), away, "{remarks}");
        assert_eq!(verified(None).0, [""; 0], "its key need not be known");
    }
    let path = place.tlog().join("checkpoint");
    let note = fs::read_to_string(&path).unwrap();
    let line = note.lines().find(|line| line.contains("/hardware ")).unwrap();
    let other = Hardware::new().sign(Note::parse(&note).unwrap().text()).unwrap().to_string();
    let changed = format!("{}{}", &line[..line.len() - 9], "AAAAAAAAA");
    for altered in [note.replace(line, &other), note.replace(line, &changed)] {
        fs::write(&path, &altered).unwrap();
        let (findings, signed, _) = verified(Some(hsm.verifying.clone()));
        assert!(
            findings.iter().any(|found| found.contains("/hardware")) && signed.is_none(),
            "{findings:?}: {altered}"
        );
    }
    fs::write(&path, note).unwrap();
    let written = hsm.verifying.to_string();
    assert_eq!(VerifyingKey::parse(&written).unwrap(), hsm.verifying);
    assert!(written.starts_with(&format!("{ORIGIN}/hardware+")), "{written}");
}

fn submit(witness: &Witness, log: &TransparencyLog, old: u64) -> Result<Signature, Refusal> {
    let (checkpoint, note) = log.newest();
    let proof = log.consistency(old, &checkpoint).unwrap();
    witness.cosign("station-1", &log.key().to_string(), &note.to_string(), old, &proof)
}

/// A witness cosigns what goes on from what it saw, also after its own restart, and says from where when the proof begins
/// elsewhere; its signature stands in the log's files and verifies.
#[test]
fn witness_cosigns_what_goes_on() {
    let place = Place::new();
    let (directory, key) = (place.directory.path().join("witness"), place.directory.path().join("witness.key"));
    let open = || Witness::open(&directory, &key, "ca-1/witness").unwrap();
    let (journal, log) = place.open();
    let mut seen = 0;
    for more in [3, 0, 500, 1] {
        append(&journal, more);
        let size = log.checkpoint().unwrap().size;
        let witness = open();
        if more > 0 && seen > 0 {
            assert!(
                matches!(submit(&witness, &log, seen - 1), Err(Refusal::FromElsewhere { seen: said }) if said == seen)
            );
        }
        let cosignature = submit(&witness, &log, seen).unwrap();
        log.keep_cosignature(log.newest().1, cosignature).unwrap();
        for name in ["checkpoint", "checkpoint.cosigned"] {
            let note = Note::parse(&fs::read_to_string(place.tlog().join(name)).unwrap()).unwrap();
            assert!(note.cosigned_at(witness.key()).is_some() && note.is_signed_by(log.key()));
            assert_eq!(Checkpoint::parse(note.text()).unwrap().size, size);
        }
        seen = size;
    }
}

/// An older copy put back is behind; one that was then written to is forked, and the evidence is kept. Another key is
/// told from both.
#[test]
fn witness_refuses_behind_and_forked() {
    let place = Place::new();
    let witness =
        Witness::open(&place.directory.path().join("witness"), &place.directory.path().join("w.key"), "w").unwrap();
    place.filled(5);
    let older = place.directory.path().join("older");
    copy(&place.journal(), &older);
    {
        let (journal, log) = place.open();
        append(&journal, 5);
        log.checkpoint().unwrap();
        submit(&witness, &log, 0).unwrap();
        log.close().unwrap();
        journal.close().unwrap();
    }
    fs::remove_dir_all(place.journal()).unwrap();
    copy(&older, &place.journal());
    let (journal, log) = place.open();
    assert!(matches!(submit(&witness, &log, 0), Err(Refusal::Behind { size: 5, seen: 10, .. })));
    journal.append(vec![b"another way".to_vec(); 5]).unwrap().wait().unwrap();
    log.checkpoint().unwrap();
    assert!(matches!(submit(&witness, &log, 10), Err(Refusal::Forked { seen: 10, .. })), "of one size");
    journal.append(vec![b"another way".to_vec(); 5]).unwrap().wait().unwrap();
    log.checkpoint().unwrap();
    assert!(matches!(submit(&witness, &log, 10), Err(Refusal::Forked { seen: 10, .. })), "longer");
    assert!(place.directory.path().join("witness/station-1.forked").exists());
    let other = SigningKey::generate(ORIGIN, Purpose::Log).unwrap();
    let other = Signers::new(other, vec![]);
    let note = other.sign(&log.newest().0).unwrap().to_string();
    let refused = witness.cosign("station-1", &other.verifying().to_string(), &note, 10, &[]);
    assert!(matches!(refused, Err(Refusal::OtherKey { .. })));
    let refused = witness.cosign("station-1", &log.key().to_string(), &note, 10, &[]);
    assert!(matches!(refused, Err(Refusal::Malformed(_))));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).map(drop).unwrap()
        }
    }
}

/// A tile's place in a tree of any size.
#[test]
fn tile_counts() {
    assert_eq!(Tile::counts(Kind::Hashes(0), 700), (2, 188));
    assert_eq!(Tile::counts(Kind::Hashes(1), 700), (0, 2));
    assert_eq!(Tile::counts(Kind::Hashes(1), 70_000), (1, 17));
    assert_eq!(Tile::counts(Kind::Hashes(9), u64::MAX), (0, 0));
}
