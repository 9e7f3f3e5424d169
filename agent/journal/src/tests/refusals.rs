//! What is refused, and in which words.

use super::*;
use crate::{
    disk::Disk,
    segment::{self, Header},
};

/// Five segments and their names.
fn five_segments() -> (MemoryDisk, Vec<String>) {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    while disk.file_names().len() < 5 {
        fill(&journal, 1, 5000);
    }
    fill(&journal, 3, 100);
    journal.close().unwrap();
    (disk.clone(), disk.file_names())
}

fn refusal(disk: &MemoryDisk) -> JournalError {
    try_open(disk).map(|_| ()).unwrap_err()
}

/// Rewrites the header of a segment.
fn change_header(disk: &MemoryDisk, name: &str, change: impl FnOnce(&mut Header)) {
    let mut bytes = disk.bytes(name);
    let mut header = Header::decode(&bytes).unwrap();
    change(&mut header);
    let page = header.encode();
    bytes[..page.len()].copy_from_slice(&page);
    disk.set_bytes(name, bytes);
}

/// Entries of no bytes or too many are refused by their place, and nothing of that append is queued; the largest fits.
#[test]
fn entries_out_of_bounds() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let refused = journal.append(vec![vec![1], Vec::new()]).unwrap_err();
    assert_eq!(refused.to_string(), "entry 1 of this append is empty; an entry has from 1 to 65535 bytes");
    let refused = journal.append(vec![vec![0; 65_536]]).unwrap_err();
    assert!(matches!(refused, JournalError::EntryTooLong { position: 0, length: 65_536 }), "{refused}");
    assert_eq!(journal.length(), 0);
    journal.append(vec![vec![0; 65_535]]).unwrap().wait().unwrap();
    drop(journal);
    assert_eq!(all(&open(&disk)), [vec![0; 65_535]]);
}

/// Options that cannot be are refused before anything is made.
#[test]
fn options_out_of_bounds() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    for origin in ["", "a b", "a+b", "line\nbreak"] {
        let options = JournalOptions { origin: origin.to_owned(), ..options() };
        let refused = Journal::open_on(disk.clone(), &options).map(|_| ()).unwrap_err();
        assert!(matches!(refused, JournalError::Origin { .. }), "{refused}");
    }
    for segment_bytes in [0, 65_535, u64::MAX] {
        let options = JournalOptions { segment_bytes, ..options() };
        let refused = Journal::open_on(disk.clone(), &options).map(|_| ()).unwrap_err();
        assert!(matches!(refused, JournalError::SegmentBytes { .. }), "{refused}");
    }
    assert!(disk.names().unwrap().is_empty());
}

/// Segments of another origin are not ours.
#[test]
fn another_origin() {
    let (disk, _) = five_segments();
    let options = JournalOptions { origin: "factory.example/station-2".to_owned(), ..options() };
    let refused = Journal::open_on(Arc::new(disk), &options).map(|_| ()).unwrap_err();
    assert!(matches!(refused, JournalError::OtherOrigin { .. }), "{refused}");
    assert!(refused.to_string().contains("\"factory.example/station-2\""), "{refused}");
}

/// A segment, old or last, that asks for a later reader.
#[test]
fn later_format() {
    for nth in [1, 4] {
        let (disk, names) = five_segments();
        change_header(&disk, &names[nth], |header| header.oldest_reader = 2);
        let refused = refusal(&disk);
        assert!(matches!(refused, JournalError::UnknownVersion { needed: 2, known: 1, .. }), "{refused}");
        assert!(refused.to_string().contains(&names[nth]), "{refused}");
    }
}

/// Any segment but the last taken away is noticed, and the one behind the gap is named. (That the last is gone is for
/// checkpoints to see.)
#[test]
fn missing_segment() {
    for nth in 0..4 {
        let (disk, names) = five_segments();
        disk.remove(&names[nth]).unwrap();
        let refused = refusal(&disk);
        let JournalError::MissingSegment { found, expected, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*found, names[nth + 1]);
        assert!(expected.contains(&names[nth]), "{refused}");
    }
}

/// An earlier segment that lost its end is noticed without reading it.
#[test]
fn earlier_segment_cut_short() {
    let (disk, names) = five_segments();
    let mut bytes = disk.bytes(&names[2]);
    bytes.truncate(30_000);
    disk.set_bytes(&names[2], bytes);
    let refused = refusal(&disk);
    let JournalError::Damaged { path, offset: 30_000, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*path, disk.path(&names[2]));
}

/// A header with a flipped bit, an emptied segment, a segment under another's name.
#[test]
fn damaged_header() {
    for nth in 0..5 {
        let (disk, names) = five_segments();
        let mut bytes = disk.bytes(&names[nth]);
        bytes[50] ^= 4;
        disk.set_bytes(&names[nth], bytes);
        assert!(matches!(refusal(&disk), JournalError::Damaged { offset: 0, .. }));
        disk.set_bytes(&names[nth], Vec::new());
        assert!(matches!(refusal(&disk), JournalError::Damaged { offset: 0, .. }));
        disk.set_bytes(&names[nth], disk.bytes(&names[(nth + 1) % 5]));
        assert!(matches!(refusal(&disk), JournalError::Damaged { offset: 0, .. }));
    }
}

/// A bit flipped in an earlier segment is found by the read that passes it, which names segment and offset; other
/// records can still be read.
#[test]
fn damage_in_an_earlier_segment_is_found_by_reading() {
    let (disk, names) = five_segments();
    let mut bytes = disk.bytes(&names[1]);
    bytes[4096 + 5018 + 40] ^= 1;
    disk.set_bytes(&names[1], bytes);
    let journal = open(&disk);
    let first = segment::parse_name(&names[1]).unwrap();
    let refused = journal.read(0..journal.length()).unwrap_err();
    let JournalError::Damaged { path, offset, .. } = &refused else { panic!("{refused}") };
    assert_eq!((path, *offset), (&disk.path(&names[1]), 4096 + 5018));
    assert!(refused.to_string().contains("`journal repair --from COPY`"), "{refused}");
    assert_eq!(journal.read(first..first + 1).unwrap(), [entry(first, 5000)]);
    assert_eq!(journal.read(0..first).unwrap().len() as u64, first);
}

/// A torn tail is reported with file, offset and bytes.
#[test]
fn torn_tail_is_told() {
    let (disk, names) = five_segments();
    let mut bytes = disk.bytes(&names[4]);
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end] ^= 1;
    disk.set_bytes(&names[4], bytes);
    let (journal, recovery) = try_open(&disk).unwrap();
    assert_eq!(recovery.records, journal.length());
    let torn = recovery.torn.unwrap();
    assert!(torn.contains(&names[4]) && torn.contains(&format!("118 bytes at byte {}", end - 117)), "{torn}");
}

/// Entries may hold the bytes of frames, of this journal even: a torn group of them is cut, not taken for damage.
#[test]
fn frames_within_entries_are_not_frames() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let mut forged = vec![7];
    for group in [0, 1, 2, 900, u64::MAX] {
        segment::encode_frame(&mut forged, 0, group, b"forged");
    }
    fill(&journal, 1, 10);
    journal.append(vec![forged.clone(), forged.clone(), forged]).unwrap().wait().unwrap();
    drop(journal);
    let name = &disk.file_names()[0];
    let mut bytes = disk.bytes(name);
    bytes[4096 + 28 + 20] ^= 1;
    disk.set_bytes(name, bytes);
    let (journal, recovery) = try_open(&disk).unwrap();
    assert_eq!(all(&journal), [entry(0, 10)]);
    assert!(recovery.torn.is_some());
}
