//! Mending from a copy, on real files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::repair;

const RECORDS: u64 = 60;

/// A journal of several segments, closed, and a copy of it made when it had `copied` records.
struct Place {
    temporary: tempfile::TempDir,
}

impl Place {
    fn with_copy_at(copied: u64) -> Self {
        let place = Self { temporary: tempfile::tempdir().unwrap() };
        place.append_until(copied);
        fs::create_dir(place.copy()).unwrap();
        for name in fs::read_dir(place.directory()).unwrap() {
            let path = name.unwrap().path();
            fs::copy(&path, place.copy().join(path.file_name().unwrap())).unwrap();
        }
        place.append_until(RECORDS);
        place
    }

    fn append_until(&self, records: u64) {
        let (journal, _) = Journal::open(&self.options()).unwrap();
        fill(&journal, records - journal.length(), 5000);
        journal.close().unwrap();
    }

    fn directory(&self) -> PathBuf {
        self.temporary.path().join("journal")
    }

    fn copy(&self) -> PathBuf {
        self.temporary.path().join("copy")
    }

    fn options(&self) -> JournalOptions {
        JournalOptions { directory: self.directory(), ..options() }
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.directory())
    }

    fn expect_whole(&self) {
        let (journal, recovery) = Journal::open(&self.options()).unwrap();
        assert_eq!(recovery.torn, None);
        assert_eq!(all(&journal), (0..RECORDS).map(|index| entry(index, 5000)).collect::<Vec<_>>());
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    paths.sort();
    paths
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, &bytes).unwrap();
    bytes
}

/// Header, first frame, several frames and the end of each segment damaged in turn, and each cut short: mended from a
/// copy, every record is there, and the damaged file is kept. Mending again does nothing.
#[test]
fn damage_anywhere_is_mended() {
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[20] ^= 1,
        |bytes| bytes[4096 + 100] ^= 1,
        |bytes| bytes[12_000..30_000].fill(0xee),
        |bytes| bytes[0..20_000].fill(0),
        |bytes| bytes.truncate(9000),
    ];
    let count = Place::with_copy_at(RECORDS).segments().len();
    assert!(count >= 5);
    for nth in 0..count {
        for damage in damages {
            let place = Place::with_copy_at(RECORDS);
            let path = &place.segments()[nth];
            let damaged = change(path, damage);
            let done = repair(&place.options(), &place.copy()).unwrap();
            assert_eq!(done.len(), 1, "{done:?}");
            assert!(done[0].starts_with(path.file_name().unwrap().to_str().unwrap()), "{done:?}");
            assert_eq!(fs::read(path.with_extension("seg.damaged")).unwrap(), damaged);
            place.expect_whole();
            assert!(repair(&place.options(), &place.copy()).unwrap().is_empty());
        }
    }
}

/// A segment that is gone from between others comes back.
#[test]
fn a_missing_segment_is_brought_back() {
    for nth in 0..4 {
        let place = Place::with_copy_at(RECORDS);
        fs::remove_file(&place.segments()[nth]).unwrap();
        assert!(Journal::open(&place.options()).is_err());
        assert_eq!(repair(&place.options(), &place.copy()).unwrap().len(), 1);
        place.expect_whole();
    }
}

/// An older copy mends what it has, and what came after it stays; what it does not have it cannot mend, and says so.
#[test]
fn an_older_copy_mends_what_it_has() {
    let place = Place::with_copy_at(28);
    let last_of_copy = segments(&place.copy()).len() - 1;
    change(&place.segments()[last_of_copy], |bytes| bytes[4096 + 100] ^= 1);
    repair(&place.options(), &place.copy()).unwrap();
    place.expect_whole();
    let path = &place.segments()[last_of_copy + 1];
    let damaged = change(path, |bytes| bytes[4096 + 100] ^= 1);
    let refused = repair(&place.options(), &place.copy()).unwrap_err();
    assert!(matches!(refused, JournalError::CopyUnfit { .. }), "{refused}");
    assert!(refused.to_string().contains("bytes 4096 to 9114 are damaged"), "{refused}");
    assert_eq!(fs::read(path).unwrap(), damaged);
}

/// A copy of another journal, of the same origin and length, is refused, and so is one damaged at the same place.
#[test]
fn an_unfit_copy_changes_nothing() {
    let other = Place::with_copy_at(RECORDS);
    let place = Place::with_copy_at(RECORDS);
    let path = &place.segments()[1];
    let damaged = change(path, |bytes| bytes[30_000] ^= 1);
    change(&segments(&place.copy())[1], |bytes| bytes[30_001] ^= 1);
    for copy in [other.copy(), place.copy()] {
        let refused = repair(&place.options(), &copy).unwrap_err();
        assert!(matches!(refused, JournalError::CopyUnfit { .. }), "{refused}");
        assert_eq!(fs::read(path).unwrap(), damaged);
    }
}

/// While the journal is open, nothing is mended.
#[test]
fn a_journal_in_use_is_not_mended() {
    let place = Place::with_copy_at(RECORDS);
    let (_journal, _) = Journal::open(&place.options()).unwrap();
    assert!(matches!(repair(&place.options(), &place.copy()), Err(JournalError::AlreadyInUse { .. })));
}

/// Mended by root, a segment stays with whom the directory belongs to; and where there is no journal, nothing is made.
#[test]
fn the_owner_stays_and_no_journal_is_made() {
    let place = Place::with_copy_at(RECORDS);
    let [first, ..] = &place.segments()[..] else { panic!("segments") };
    let mut bytes = fs::read(first).unwrap();
    bytes[5000] ^= 1;
    fs::write(first, bytes).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(place.directory(), Some(65_534), Some(65_534)).unwrap();
    }
    assert_eq!(repair(&place.options(), &place.copy()).unwrap().len(), 1);
    if root {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(first).unwrap()), 65_534);
    }
    let nowhere = JournalOptions { directory: place.temporary.path().join("nowhere"), ..options() };
    let refused = repair(&nowhere, &place.copy()).unwrap_err();
    assert!(matches!(refused, JournalError::NoJournal { .. }), "{refused}");
    assert!(!nowhere.directory.exists());
}
