//! The journal's own files, changed behind its back.

use std::{path::PathBuf, sync::Arc};

use journal::{Journal, JournalOptions};

use crate::{
    Door,
    input::{Parts, sized},
    memory_disk::{FIRST_FRAME, FRAME_HEAD, Files, MemoryDisk, read_all, tamper, write_all},
    scratch,
};

pub(super) const SEGMENTS: Door = Door {
    name: "journal-segments",
    property: "what was acknowledged before the first changed octet is read back; a change before the last group, or beneath what a \
               checkpoint says, is never opened as a shorter journal; a refusal changes nothing; what opened opens again",
    enter: segments,
    seeds: segments_seeds,
    taken: 15,
    octets_most: 4096,
};

pub(super) const REPAIR: Door = Door {
    name: "journal-repair",
    property: "a repair that is refused leaves every file as it was; one that is done keeps every whole record, adds none that the \
               journal never had, and finds nothing to do the second time",
    enter: repair,
    seeds: repair_seeds,
    taken: 9,
    octets_most: 2048,
};

const ORIGIN: &str = "station-agent/fuzz";
/// The smallest there are, so that few records make several segments.
const SEGMENT_BYTES: u64 = 64 * 1024;

pub(super) fn options(directory: PathBuf) -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::new(directory, ORIGIN) }
}

/// Where an acknowledged entry stands.
#[derive(Debug, Clone)]
struct Acknowledged {
    segment: String,
    from: usize,
    entry: Vec<u8>,
    group: usize,
}

impl Acknowledged {
    fn is_untouched(&self, before: &Files, after: &Files) -> bool {
        let end = self.from + FRAME_HEAD + self.entry.len();
        let frame =
            |files: &Files| files.get(&self.segment).and_then(|octets| octets.get(self.from..end)).map(<[u8]>::to_vec);
        frame(before) == frame(after)
    }
}

/// A journal as the input wants it: groups of entries, some of them large.
fn written(parts: &mut Parts<'_>) -> (Files, Vec<Acknowledged>) {
    let disk = MemoryDisk::default();
    let (journal, _) =
        Journal::open_unthreaded(Arc::new(disk.clone()), &options("memory".into())).expect("a new journal");
    let mut all: Vec<Acknowledged> = Vec::new();
    for group in 0..=usize::from(parts.octet() % 5) {
        let entries: Vec<Vec<u8>> = (0..=parts.octet() % 3).map(|number| entry(parts, number)).collect();
        let appended = journal.append(entries.clone()).expect("entries of a fitting size");
        appended.wait().expect("a sound disk");
        let names = disk.files();
        let segment = names.keys().rfind(|name| name.ends_with(".seg")).expect("the segment that was written").clone();
        for entry in entries {
            let from = match all.last() {
                Some(last) if last.segment == segment => last.from + FRAME_HEAD + last.entry.len(),
                _ => FIRST_FRAME,
            };
            all.push(Acknowledged { segment: segment.clone(), from, entry, group });
        }
    }
    journal.close().expect("a sound disk");
    (disk.files(), all)
}

/// Of 1 to 255 octets, or, for a length of zero, of some 30,000: three of them fill a segment.
fn entry(parts: &mut Parts<'_>, number: u8) -> Vec<u8> {
    match parts.octet() {
        0 => vec![number | 1; 30_000],
        length => (0..length).map(|at| at ^ number ^ length).collect(),
    }
}

fn segments(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let knows_how_many = parts.octet() & 1 == 1;
    let (before, all) = written(&mut parts);
    let mut after = before.clone();
    let tampering = tamper(&mut after, &mut parts);
    let disk = MemoryDisk::of(&after);
    let at_least = if knows_how_many { all.len() as u64 } else { 0 };
    let options = JournalOptions { at_least, ..options("memory".into()) };
    let (journal, recovery) = match Journal::open_unthreaded(Arc::new(disk.clone()), &options) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(disk.files() == after, "refused, and changed: {error}");
            assert!(after != before, "an untouched journal is refused: {error}");
            return false;
        }
    };
    let records = recovery.records;
    assert!(records >= at_least, "{records} of the {at_least} that a checkpoint knows");
    let header =
        |files: &Files, name: &String| files.get(name).and_then(|octets| octets.get(..112)).map(<[u8]>::to_vec);
    let headers_stand = before.keys().all(|name| header(&before, name) == header(&after, name));
    if !tampering.forged && !tampering.moved && headers_stand {
        let whole = all.iter().take_while(|entry| entry.is_untouched(&before, &after)).count();
        assert!(records >= whole as u64, "{records} of {whole} whole records");
        let last = all.last().map_or(0, |last| last.group);
        if all.iter().filter(|entry| entry.group == last).all(|entry| entry.is_untouched(&before, &after)) {
            assert_eq!(records, all.len() as u64, "the last group is whole, and what was before it is gone");
        }
        for (index, entry) in (0..records).zip(&all) {
            match journal.read(index..index + 1) {
                Ok(read) => assert_eq!(read, std::slice::from_ref(&entry.entry), "record {index} is another one"),
                Err(error) => assert!(index >= whole as u64, "record {index} is whole and not read: {error}"),
            }
        }
    } else {
        let _ = journal.read(0..records.min(64));
    }
    journal.append(vec![b"after all".to_vec()]).expect("it is open").wait().expect("a sound disk");
    journal.close().expect("a sound disk");
    let (again, found) = Journal::open_unthreaded(Arc::new(disk), &options).expect("what opened opens again");
    assert_eq!((found.records, found.torn), (records + 1, None));
    assert_eq!(again.read(records..records + 1).expect("just written"), [b"after all".to_vec()]);
    true
}

fn segments_seeds() -> Vec<Vec<u8>> {
    let small = [3, 1, 40, 20, 0, 9, 2, 7, 7, 7, 0, 60];
    let large = [4, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 12, 0, 5, 0, 200];
    let edit = |kind: u8, file: u8, at: u16, rest: &[u8]| [&[kind, file][..], &at.to_be_bytes(), rest].concat();
    let mut seeds = Vec::new();
    for journal in [&small[..], &large] {
        for checkpoint in [0, 1] {
            let mut add = |edits: Vec<u8>| seeds.push([&[checkpoint], journal, &edits].concat());
            add(Vec::new());
            add(edit(1 | 1 << 6, 0, 20, &[3]));
            add(edit(1 | 2 << 6, 1, 5, &[3]));
            add(edit(2 | 2 << 6, 0, 9, &[]));
            add(edit(3 | 1 << 6, 1, 0, &[0, 80]));
            add(edit(0, 0, 4, &sized([0, 0, 0, 9])));
            add(edit(4 | 2 << 6, 0, 0, &[&[8][..], &sized(b"forged")].concat()));
            add(edit(5, 1, 48, &sized([0xFF; 8])));
            add(edit(6, 0, 0, &[]));
            add(edit(7, 0, 0, &sized([1, 0])));
        }
    }
    seeds
}

fn repair(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let (before, all) = written(&mut parts);
    let mut ours = before.clone();
    let mut copy = before.clone();
    let mut edits = Parts::new(parts.sized());
    let in_copy = tamper(&mut copy, &mut edits);
    let in_ours = tamper(&mut ours, &mut parts);
    let place = scratch::directory().join("repair");
    let (directory, beside) = (place.join("journal"), place.join("copy"));
    write_all(&directory, &ours);
    write_all(&beside, &copy);
    let mut found = read_all(&directory);
    let options = options(directory.clone());
    let done = journal::repair(&options, &beside);
    let mut left = read_all(&directory);
    for files in [&mut found, &mut left] {
        files.remove("lock");
    }
    assert_eq!(read_all(&beside), copy, "the copy is only read");
    match &done {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            // Segments are mended from the last on; one that cannot be mended is as it was.
            let mended = |name: &String| {
                found.contains_key(&format!("{name}.damaged")) || left.contains_key(&format!("{name}.damaged"))
            };
            for (name, octets) in &found {
                assert!(
                    left.get(name) == Some(octets) || mended(name),
                    "{name} was changed by a refused repair: {error}"
                );
            }
        }
        Ok(done) => {
            assert_eq!(done.is_empty(), found == left, "{done:?}");
            if !in_copy.forged && !in_ours.forged && !in_copy.moved && !in_ours.moved {
                for entry in &all {
                    assert!(
                        !entry.is_untouched(&before, &found) || entry.is_untouched(&before, &left),
                        "a whole record went"
                    );
                }
                assert!(journal::repair(&options, &beside).expect("it was mended").is_empty(), "twice: {done:?}");
            }
            if let Ok((journal, recovery)) = Journal::open(&options) {
                if !in_copy.forged && !in_ours.forged {
                    let read = journal.read(0..recovery.records).unwrap_or_default();
                    assert!(read.iter().zip(&all).all(|(read, written)| *read == written.entry), "another record");
                }
                journal.close().expect("a sound disk");
            }
        }
    }
    done.is_ok()
}

fn repair_seeds() -> Vec<Vec<u8>> {
    let small = [3, 1, 40, 20, 0, 9, 2, 7, 7, 7, 0, 60];
    let large = [4, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 12, 0, 5, 0, 200];
    let edit = |kind: u8, file: u8, at: u16, rest: &[u8]| [&[kind, file][..], &at.to_be_bytes(), rest].concat();
    let mut seeds = Vec::new();
    for journal in [&small[..], &large] {
        let mut add = |copy: Vec<u8>, ours: Vec<u8>| seeds.push([journal, &sized(copy), &ours].concat());
        add(Vec::new(), Vec::new());
        add(Vec::new(), edit(1 | 1 << 6, 0, 20, &[3]));
        add(edit(2 | 2 << 6, 1, 9, &[]), edit(3 | 1 << 6, 1, 0, &[0, 80]));
        add(edit(1 | 1 << 6, 0, 25, &[3]), edit(1 | 1 << 6, 0, 20, &[3]));
        add(Vec::new(), edit(6, 1, 0, &[]));
        add(Vec::new(), edit(0, 0, 4, &sized([0, 0, 0, 9])));
    }
    seeds
}
