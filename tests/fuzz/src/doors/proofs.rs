//! What an auditor is brought: notes, checkpoints, keys, proof files, exports, and whole copies of a log.

use std::{fs, sync::LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use journal::{
    Checkpoint, Hash, LogOptions, Note, ProofFile, Reader, Signature, Signer as _, SigningKey, TransparencyLog,
    VerifyOptions, VerifyingKey, Witness, check_consistency, check_inclusion, commands::Manifest, leaf_hash,
};

use super::journal::options;
use crate::{
    Door,
    input::{Parts, sized},
    key::sha256,
    memory_disk::{Files, read_all, tamper, write_all},
    scratch,
};

pub(super) const PROOF: Door = Door {
    name: "journal-proof",
    property: "notes, checkpoints and keys are read back as they are written; a proof that holds under the journal's own checkpoint \
               shows the journal's own record at that index",
    enter: proof,
    seeds: proofs,
    taken: 9,
    octets_most: 8192,
};

pub(super) const LOG: Door = Door {
    name: "journal-log",
    property: "a copy of journal and log that verifies as unaltered has every record that was signed, octet for octet",
    enter: log,
    seeds: logs,
    taken: 2,
    octets_most: 1024,
};

pub(super) const WITNESS: Door = Door {
    name: "witness",
    property: "whatever a station sends, what a witness cosigns goes on from what it cosigned before",
    enter: witness,
    seeds: witnessed,
    taken: 2,
    octets_most: 2048,
};

/// A log's key that is the same in every run.
fn log_key() -> SigningKey {
    const NAME: &str = "station-agent/fuzz";
    let seed = sha256(b"a log's key for fuzzing");
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
    let id = sha256(&[NAME.as_bytes(), b"\n\x01", pair.public_key().as_ref()].concat());
    let id: String = id[..4].iter().map(|octet| format!("{octet:02x}")).collect();
    let text = format!("PRIVATE+KEY+{NAME}+{id}+{}", STANDARD.encode([&[1], &seed[..]].concat()));
    SigningKey::decode(&text).expect("a key")
}

fn entries() -> Vec<Vec<u8>> {
    (0..13_u8).map(|number| vec![number; 3 + usize::from(number)]).collect()
}

/// RFC 9162 §2.1.1, as it is written there.
fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            sha256(&[&[1], &root_of(&leaves[..split])[..], &root_of(&leaves[split..])].concat())
        }
    }
}

/// RFC 9162 §2.1.3.1, as it is written there.
fn path_of(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (mut path, other) = match index < split {
        true => (path_of(index, &leaves[..split]), &leaves[split..]),
        false => (path_of(index - split, &leaves[split..]), &leaves[..split]),
    };
    path.push(root_of(other));
    path
}

fn leaves() -> Vec<Hash> {
    entries().iter().map(|entry| leaf_hash(entry)).collect()
}

fn checkpoint_text() -> String {
    let leaves = leaves();
    Checkpoint { origin: "station-agent/fuzz".to_owned(), size: leaves.len() as u64, root: root_of(&leaves) }.text()
}

/// The first octet says what follows: a text of one kind, a proof file as it stands, or the parts of one that is signed here.
fn proof(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let choice = parts.octet();
    let text = String::from_utf8_lossy(parts.rest()).into_owned();
    match choice % 7 {
        0 => note(&text),
        1 => checkpoint(&text),
        2 => keys(&text),
        3 => proof_file(&text),
        4 => proof_file(&json(&mut parts)),
        5 => consistency(&mut parts),
        _ => manifest(&text),
    }
}

fn note(text: &str) -> bool {
    let Some(note) = Note::parse(text) else { return false };
    assert_eq!(Note::parse(&note.to_string()).as_ref(), Some(&note), "read back");
    assert!(note.text().ends_with('\n') && (1..=100).contains(&note.signatures().len()));
    for signature in note.signatures() {
        assert_eq!(Signature::parse(&signature.to_string()).as_ref(), Some(signature));
    }
    assert!(!note.is_signed_by(log_key().verifying()) || note.text() == checkpoint_text(), "signed by nobody's hand");
    checkpoint(note.text());
    true
}

fn checkpoint(text: &str) -> bool {
    let Some(checkpoint) = Checkpoint::parse(text) else { return false };
    assert!(text.starts_with(&checkpoint.text()), "there are two ways to write it");
    assert_eq!(Checkpoint::parse(&checkpoint.text()).as_ref(), Some(&checkpoint));
    true
}

fn keys(text: &str) -> bool {
    let (verifying, signing) = (VerifyingKey::parse(text), SigningKey::decode(text));
    if let Some(key) = &verifying {
        assert_eq!(VerifyingKey::parse(&key.to_string()).as_ref(), Some(key));
        assert!(!key.name().is_empty());
    }
    if let Some(key) = &signing {
        assert_eq!(SigningKey::decode(&key.encode()).expect("read back").verifying(), key.verifying());
        assert!(!format!("{key:?}").contains(text.trim_end().rsplit('+').next().expect("a key")), "a secret is shown");
    }
    verifying.is_some() || signing.is_some()
}

fn proof_file(text: &str) -> bool {
    let path = scratch::directory().join("a.proof.json");
    fs::write(&path, text).expect("a file in memory");
    let Ok(file) = ProofFile::read(&path) else { return false };
    let key = log_key();
    let Ok(checked) = file.check(key.verifying(), None, None) else { return false };
    // The key signs here whatever the input says; only of the one true checkpoint something follows.
    if checked.checkpoint.text() != checkpoint_text() {
        return false;
    }
    let entries = entries();
    assert!(!checked.records.is_empty());
    for (index, entry) in &checked.records {
        let written = usize::try_from(*index).ok().and_then(|index| entries.get(index));
        assert_eq!(written, Some(entry), "proven, and not in the journal");
    }
    true
}

fn json(parts: &mut Parts<'_>) -> String {
    let text = parts.text();
    let text = if text.is_empty() { checkpoint_text() } else { text };
    let mut note = Note::new(text);
    note.add(log_key().sign(note.text()).expect("an Ed25519 key signs"));
    let mut records = Vec::new();
    while !parts.is_empty() && records.len() < 4 {
        let index = parts.number();
        let entry = STANDARD.encode(parts.sized());
        let path: Vec<_> = parts.sized().chunks(32).map(|hash| format!("\"{}\"", STANDARD.encode(hash))).collect();
        records.push(format!(r#"{{"index":{index},"entry":"{entry}","proof":[{}]}}"#, path.join(",")));
    }
    // Quotes and line ends are all that a note has to have escaped here; what else the input brings makes it no JSON.
    let checkpoint = note.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        r#"{{"format":"journal-proof/v1","certificate":"","checkpoint":"{checkpoint}","records":[{}]}}"#,
        records.join(",")
    )
}

fn consistency(parts: &mut Parts<'_>) -> bool {
    let leaves = leaves();
    let (old, new) = (usize::from(parts.octet()) % 14, usize::from(parts.octet()) % 14);
    let (from, to) = (parts.number() as u64, parts.number() as u64);
    let hashes: Vec<Hash> = parts.sized().chunks_exact(32).map(|hash| hash.try_into().expect("32 octets")).collect();
    let (old_root, new_root) = (root_of(&leaves[..old]), root_of(&leaves[..new]));
    let is_proven = check_consistency(from, &old_root, to, &new_root, &hashes);
    if is_proven {
        // What is proven of sizes beyond these is proven of no tree that anybody signed.
        assert!(from <= to);
        assert!(from as usize != old || to as usize != new || old <= new);
    }
    let index = from;
    if let Some(entry) = entries().first()
        && check_inclusion(&leaf_hash(entry), index, new as u64, &hashes, &new_root)
    {
        assert_eq!(index, 0, "the first entry stands elsewhere");
    }
    is_proven
}

fn manifest(text: &str) -> bool {
    let Some(manifest) = Manifest::parse(text) else { return false };
    assert_eq!(manifest.records, manifest.checkpoint.size);
    true
}

fn proofs() -> Vec<Vec<u8>> {
    let leaves = leaves();
    let mut note = Note::new(checkpoint_text());
    note.add(log_key().sign(note.text()).expect("an Ed25519 key signs"));
    let note = note.to_string();
    let record = |index: usize| {
        let path = path_of(index, &leaves).concat();
        [(index as u16).to_be_bytes().to_vec(), sized(&entries()[index]), sized(path)].concat()
    };
    let signed = [sized([]), record(0), record(12)].concat();
    let whole = json(&mut Parts::new(&signed));
    let manifest = format!(
        "journal-export/v1\nfile a.jsonl\nformat jsonl\nsha256 {}\nrecords 13\n{}",
        "0".repeat(64),
        checkpoint_text()
    );
    let mut seeds: Vec<Vec<u8>> = vec![
        [&[0], note.as_bytes()].concat(),
        [&[1], checkpoint_text().as_bytes()].concat(),
        [&[1], checkpoint_text().as_bytes(), b"extension\n"].concat(),
        [&[2], log_key().verifying().to_string().as_bytes()].concat(),
        [&[2], log_key().encode().as_bytes()].concat(),
        [&[3], whole.as_bytes()].concat(),
        [&[4], signed.as_slice()].concat(),
        [&[6], manifest.as_bytes()].concat(),
    ];
    // From 8 to 13 entries, by RFC 9162 §2.1.4: the right half's root.
    let proof = [root_of(&leaves[8..])].concat();
    seeds.push([&[5, 8, 13, 0, 8, 0, 13][..], &sized(proof)].concat());
    seeds
}

/// A journal with its log, as it was closed.
struct Logged {
    files: Files,
    records: Vec<Vec<u8>>,
    key: VerifyingKey,
}

/// More than a tile holds, so that there are tiles of two levels, whole ones and partial ones.
const RECORDS: u16 = 300;

static LOGGED: LazyLock<Logged> = LazyLock::new(|| {
    let directory = scratch::directory().join("logged");
    let (journal, log, _) =
        TransparencyLog::open(&options(directory.clone()), LogOptions::beside(&directory)).expect("a new log");
    let records: Vec<Vec<u8>> = (0..RECORDS).map(|number| [&number.to_be_bytes()[..], b"record"].concat()).collect();
    for group in records.chunks(50) {
        journal.append(group.to_vec()).expect("entries of a fitting size").wait().expect("a sound disk");
    }
    log.close().expect("a checkpoint of all of it");
    journal.close().expect("a sound disk");
    let key = log.key().clone();
    let mut files = read_all(&directory);
    files.remove("lock");
    Logged { files, records, key }
});

fn log(octets: &[u8]) -> bool {
    let logged = &*LOGGED;
    let mut files = logged.files.clone();
    let _ = tamper(&mut files, &mut Parts::new(octets));
    let directory = scratch::directory().join("copy of a log");
    write_all(&directory, &files);
    let tlog = directory.join("tlog");
    let options = VerifyOptions {
        journal: directory.clone(),
        tlog: tlog.clone(),
        key: logged.key.clone(),
        hardware: None,
        witness: None,
        kept: None,
        tiles: true,
    };
    let verified = journal::verify(&options, &mut |_, _| {});
    if let Ok(verification) = &verified {
        if verification.is_unaltered() {
            let mut read = Vec::new();
            let reader = Reader::open(&directory).expect("it was just verified");
            reader
                .visit(|_, entry, _| {
                    read.push(entry.to_vec());
                    true
                })
                .expect("it was just verified");
            assert!(read.starts_with(&logged.records), "unaltered, and {} of {RECORDS} records", read.len());
        } else {
            assert!(files != logged.files, "what nobody changed is altered: {:?}", verification.findings);
        }
    }
    let wanted: Vec<(u64, Vec<u8>)> =
        [0_u16, 255, 256, 299].map(|index| (u64::from(index), logged.records[usize::from(index)].clone())).into();
    if let Ok(file) = journal::prove(&tlog, b"certificate", &wanted) {
        // Tiles are anybody's; the signature is not.
        if let Ok(checked) = file.check(&logged.key, None, None) {
            assert_eq!(checked.records, wanted);
        }
    }
    verified.is_ok_and(|verification| verification.is_unaltered())
}

fn logs() -> Vec<Vec<u8>> {
    let edit = |kind: u8, file: u8, at: u16, rest: &[u8]| [&[kind, file][..], &at.to_be_bytes(), rest].concat();
    let mut seeds = vec![Vec::new()];
    for file in 0..6 {
        seeds.push(edit(1, file, 20, &[3]));
        seeds.push(edit(1 | 2 << 6, file, 30, &[3]));
        seeds.push(edit(2 | 2 << 6, file, 30, &[]));
        seeds.push(edit(6, file, 0, &[]));
    }
    seeds.push(edit(4 | 2 << 6, 0, 0, &[&[44][..], &sized(b"forged")].concat()));
    seeds.push(edit(5, 0, 48, &sized([0xFF; 8])));
    seeds
}

/// The leaves, and those of a log that went another way after the sixth.
fn lineages() -> [Vec<Hash>; 2] {
    let (ours, mut other) = (leaves(), leaves());
    other.iter_mut().skip(6).for_each(|leaf| leaf[0] ^= 1);
    [ours, other]
}

/// Checkpoints one after the other: the size, with its top bit of the other lineage; the size from which the proof goes; the proof.
fn witness(octets: &[u8]) -> bool {
    const CHECKPOINTS_MOST: usize = 6;
    let place = scratch::directory().join("witness");
    if place.exists() {
        fs::remove_dir_all(&place).expect("a directory of our own");
    }
    let key_file = scratch::directory().join("witness.key");
    let witness = Witness::open(&place, &key_file, "ca-1/witness").expect("a witness");
    let (lineages, key) = (lineages(), log_key());
    let mut seen: Option<(usize, Hash)> = None;
    let (mut parts, mut cosigned) = (Parts::new(octets), 0);
    for _ in 0..CHECKPOINTS_MOST {
        if parts.is_empty() {
            break;
        }
        let choice = parts.octet();
        let (size, lineage) = (usize::from(choice & 0x7F) % 14, &lineages[usize::from(choice >> 7)]);
        let root = root_of(&lineage[..size]);
        let text = Checkpoint { origin: key.verifying().name().to_owned(), size: size as u64, root }.text();
        let mut note = Note::new(text);
        note.add(key.sign(note.text()).expect("an Ed25519 key signs"));
        let old = u64::from(parts.octet());
        let proof: Vec<Hash> = parts.sized().chunks_exact(32).map(|hash| hash.try_into().expect("32 octets")).collect();
        match witness.cosign("station-1", &key.verifying().to_string(), &note.to_string(), old, &proof) {
            Ok(cosignature) => {
                if let Some((before, known)) = seen {
                    let goes_on = |leaves: &Vec<Hash>| {
                        before <= size && root_of(&leaves[..before]) == known && root_of(&leaves[..size]) == root
                    };
                    assert!(lineages.iter().any(goes_on), "cosigned what does not go on from {before} at {size}");
                }
                note.add(cosignature);
                assert!(note.cosigned_at(witness.key()).is_some());
                seen = Some((size, root));
                cosigned += 1;
            }
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    }
    cosigned > 1
}

fn witnessed() -> Vec<Vec<u8>> {
    let leaves = leaves();
    // From 8 to 13 and from 4 to 8 entries, by RFC 9162 §2.1.4: the right half's root.
    let (to_13, to_8) = (root_of(&leaves[8..]), root_of(&leaves[4..8]));
    let sent = |size: u8, old: u8, proof: &[u8]| [vec![size, old], sized(proof)].concat();
    vec![
        [sent(4, 0, &[]), sent(8, 4, &to_8), sent(13, 8, &to_13)].concat(),
        [sent(8, 0, &[]), sent(0x80 | 13, 8, &to_13), sent(13, 8, &to_13)].concat(),
        [sent(8, 0, &[]), sent(4, 0, &[]), sent(0x80 | 8, 8, &[])].concat(),
    ]
}
