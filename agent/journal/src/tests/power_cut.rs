//! What a power cut, a failing disk and damage may and may not do, in a model.

use proptest::prelude::*;

use super::*;
use crate::{
    disk::Disk,
    memory_disk::PAGE,
    segment::{FIRST_FRAME, Header, Step, Walk},
};

/// Appends each group and waits for it, until one fails. Returns how many entries were acknowledged.
fn append_all(journal: &Journal, groups: &[Vec<Vec<u8>>]) -> usize {
    let mut acknowledged = 0;
    for group in groups {
        match journal.append(group.clone()).and_then(wait) {
            Ok(()) => acknowledged += group.len(),
            Err(_) => break,
        }
    }
    acknowledged
}

/// The operations that opening a new journal and appending these groups take.
fn operations(groups: &[Vec<Vec<u8>>]) -> u64 {
    let disk = MemoryDisk::default();
    append_all(&open(&disk), groups);
    disk.operations()
}

/// Opens and expects every acknowledged entry, none that was not appended, and that the journal goes on from there: what
/// it then acknowledges outlasts a power cut that keeps nothing else.
fn expect_all_acknowledged(disk: &MemoryDisk, groups: &[Vec<Vec<u8>>], acknowledged: usize) {
    let expected: Vec<_> = groups.concat();
    let (journal, recovery) = try_open(disk).unwrap();
    let found = all(&journal);
    assert_eq!(recovery.records, found.len() as u64);
    assert!(found.len() >= acknowledged, "{} of {acknowledged} acknowledged entries", found.len());
    assert_eq!(found, expected[..found.len()]);
    journal.append(vec![b"goes on".to_vec()]).unwrap().wait().unwrap();
    drop(journal);
    let (journal, recovery) = try_open(&disk.after_power_cut(|_| false, 0)).unwrap();
    assert_eq!(recovery.torn, None, "what was cut is cut for good");
    assert_eq!(all(&journal)[..found.len()], found);
    assert_eq!(all(&journal)[found.len()..], [b"goes on"]);
}

prop_compose! {
    fn groups()(lengths in prop::collection::vec(prop::collection::vec(1usize..3000, 1..20), 1..10)) -> Vec<Vec<Vec<u8>>> {
        let mut index = 0;
        let mut next = |length| { index += 1; entry(index, length) };
        lengths.into_iter().map(|group| group.into_iter().map(&mut next).collect()).collect()
    }
}

/// Which of the pages that were not synced a power cut leaves, for any number of them.
fn pages() -> impl Strategy<Value = Vec<bool>> {
    prop_oneof![Just(vec![false]), Just(vec![true]), prop::collection::vec(any::<bool>(), 1..64)]
}

fn cut(disk: &MemoryDisk, keep: &[bool], changes: usize) -> MemoryDisk {
    let mut kept = keep.iter().cycle().copied();
    disk.after_power_cut(|_| kept.next().unwrap_or(false), changes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Power cut at any operation, any subset of the unsynced pages and directory changes kept; another at any
    /// operation of the recovery. Every acknowledged entry is there and none that was not appended.
    #[test]
    fn acknowledged_entries_outlast_power_cuts(
        groups in groups(),
        moment in any::<prop::sample::Index>(),
        keep in pages(),
        changes in 0usize..3,
        second_moment in 0u64..8,
        second_keep in pages(),
    ) {
        let disk = MemoryDisk::default();
        disk.halt_at(moment.index(operations(&groups) as usize + 1) as u64);
        let acknowledged = try_open(&disk).map_or(0, |(journal, _)| append_all(&journal, &groups));
        let disk = cut(&disk, &keep, changes);
        expect_all_acknowledged(&disk.after_process_death(), &groups, acknowledged);
        disk.halt_at(second_moment);
        let _ = try_open(&disk);
        expect_all_acknowledged(&cut(&disk, &second_keep, changes), &groups, acknowledged);
    }

    /// Any pages of the last segment zeroed or overwritten, with everything acknowledged. When an intact frame of a later
    /// group than the first bad one's stands behind it, opening refuses and names the offset of that bad frame;
    /// otherwise it cuts there.
    #[test]
    fn damage_before_a_later_group_is_refused(
        groups in groups(),
        pages in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        filling in prop_oneof![Just(0u8), any::<u8>()],
    ) {
        let disk = MemoryDisk::default();
        append_all(&open(&disk), &groups);
        let name = disk.file_names().pop().unwrap();
        let sound = disk.bytes(&name);
        let frames = frames(&disk, &name);
        let Some(end) = frames.last().map(|frame| frame.end) else { return Ok(()) };
        let first_page = FIRST_FRAME as usize / PAGE;
        let mut bytes = sound.clone();
        for page in pages {
            let page = first_page + page.index(end.div_ceil(PAGE) - first_page);
            bytes[page * PAGE..page * PAGE + PAGE].fill(filling);
        }
        let is_bad = |frame: &Frame| bytes[frame.start..frame.end] != sound[frame.start..frame.end];
        let first_bad = frames.iter().position(is_bad);
        disk.set_bytes(&name, bytes.clone());
        let opened = try_open(&disk);
        let Some(first_bad) = first_bad else { prop_assert!(opened.is_ok()); return Ok(()) };
        let bad = &frames[first_bad];
        if frames[first_bad..].iter().any(|frame| !is_bad(frame) && frame.group != bad.group) {
            match opened.map(|_| ()) {
                Err(JournalError::Damaged { path, offset, .. }) => {
                    prop_assert_eq!((path, offset), (disk.path(&name), bad.start as u64));
                    prop_assert_eq!(disk.bytes(&name), bytes, "nothing was changed");
                }
                other => prop_assert!(false, "{:?}", other),
            }
        } else {
            let (journal, recovery) = opened.unwrap();
            let lost = frames.len() - first_bad;
            prop_assert_eq!(recovery.records as usize, groups.concat().len() - lost);
            prop_assert_eq!(all(&journal), &groups.concat()[..recovery.records as usize]);
        }
    }

    /// Any bytes behind the records are cut and reported, or refused; never a panic, never an invented entry.
    #[test]
    fn arbitrary_tails_invent_nothing(groups in groups(), tail in prop::collection::vec(any::<u8>(), 1..400)) {
        let disk = MemoryDisk::default();
        append_all(&open(&disk), &groups);
        let name = disk.file_names().pop().unwrap();
        let mut bytes = disk.bytes(&name);
        let end = frames(&disk, &name).last().map_or(FIRST_FRAME as usize, |frame| frame.end);
        bytes.resize(bytes.len().max(end + tail.len()), 0);
        bytes[end..end + tail.len()].copy_from_slice(&tail);
        disk.set_bytes(&name, bytes);
        let (journal, recovery) = try_open(&disk).unwrap();
        prop_assert_eq!(all(&journal), groups.concat());
        prop_assert_eq!(recovery.torn.is_some(), tail.iter().any(|byte| *byte != 0));
    }
}

struct Frame {
    start: usize,
    end: usize,
    group: u64,
}

fn frames(disk: &MemoryDisk, name: &str) -> Vec<Frame> {
    let file = disk.open(name).unwrap();
    let header = Header::read(file.as_ref()).unwrap().unwrap();
    let mut walk = Walk::new(file.as_ref(), header.seed, FIRST_FRAME);
    let mut frames = Vec::new();
    loop {
        match walk.step().unwrap() {
            Step::Frame { offset, group, entry } => {
                let end = offset as usize + 18 + entry.len();
                frames.push(Frame { start: offset as usize, end, group });
            }
            Step::End => return frames,
            Step::Bad(wrong) => panic!("{wrong}"),
        }
    }
}

fn some_groups() -> Vec<Vec<Vec<u8>>> {
    let sizes = [(1, 50), (30, 900), (1, 65_535), (3, 2), (60, 700), (2, 4000), (40, 1200), (1, 10)];
    let mut index = 0;
    let mut next = |length| {
        index += 1;
        entry(index, length)
    };
    sizes.iter().map(|(count, length)| (0..*count).map(|_| next(*length)).collect()).collect()
}

/// ENOSPC at every write, creation and rename and EIO at every sync, in turn. The failed append and all after it are
/// refused, the cause is told, and nothing acknowledged is lost: neither when the process starts again over the same
/// page cache (whose pages Linux holds for clean after a failed sync) nor after a power cut.
#[test]
fn every_write_and_sync_may_fail() {
    let groups = some_groups();
    let operations = operations(&groups);
    assert!(operations > 25, "rolls and zeros written ahead are among them: {operations}");
    for nth in 0..operations {
        let disk = MemoryDisk::default();
        disk.fail_at(nth);
        let mut acknowledged = 0;
        if let Ok((journal, _)) = try_open(&disk) {
            acknowledged = append_all(&journal, &groups);
            assert!(journal.close().is_err(), "operation {nth}");
            let Some(failure) = journal.failure() else { panic!("operation {nth} does not poison") };
            assert!(matches!(*failure, JournalError::File { .. }), "{failure}");
            let refused = journal.append(vec![vec![1]]).unwrap_err();
            assert!(matches!(refused, JournalError::Poisoned(_)), "{refused}");
            assert!(matches!(journal.sync(), Ok(()) | Err(JournalError::Poisoned(_))));
            assert_eq!(all(&journal).len(), acknowledged, "what was synced stays readable");
        }
        expect_all_acknowledged(&disk.after_process_death(), &groups, acknowledged);
        for keep in [vec![false], vec![true], vec![true, false], vec![false, true, true]] {
            for changes in 0..3 {
                expect_all_acknowledged(&cut(&disk, &keep, changes), &groups, acknowledged);
            }
        }
    }
}

/// The control: a disk that acknowledges syncs without doing them loses acknowledged entries, and this model sees it.
#[test]
fn without_sync_entries_are_lost() {
    let disk = MemoryDisk::default();
    disk.pretend_to_sync();
    let journal = open(&disk);
    assert_eq!(append_all(&journal, &some_groups()), some_groups().concat().len());
    drop(journal);
    let lost = cut(&disk, &[false], 0);
    assert!(try_open(&lost).map_or(0, |(journal, _)| all(&journal).len()) < some_groups().concat().len());
}

/// All waiters of a group and of those behind it get the error, with the cause in its sources.
#[test]
fn waiters_get_the_cause() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    fill(&journal, 1, 10);
    disk.close_gate();
    let first = journal.append(vec![entry(1, 10)]).unwrap();
    disk.wait_at_gate();
    let second = journal.append(vec![entry(2, 10)]).unwrap();
    disk.halt_at(0);
    disk.open_gate();
    for appended in [first, second] {
        let error = appended.wait().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "could not sync memory/00000000000000000000.seg");
        assert!(std::error::Error::source(cause).unwrap().to_string().contains("os error 5"));
    }
    assert_eq!(journal.synced(), 1);
}
