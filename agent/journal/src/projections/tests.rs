//! Rows on a real sled, over a journal on the disk in memory.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use super::{generation::open_sled, pages::Pages, *};
use crate::{JournalOptions, disk::Disk, memory_disk::MemoryDisk};

const ORIGIN: &str = "factory.example/station-1";

const CACHE: u64 = 1 << 20;

/// Entries `key=value` and `key=` (delete). Counts the entries and the changes of each key.
struct Pairs<const VERSION: u32 = 1>;

impl<const V: u32> Projection for Pairs<V> {
    const VERSION: u32 = V;

    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
        let text = std::str::from_utf8(entry).map_err(|error| error.to_string())?;
        let (key, value) = text.split_once('=').ok_or("no equals sign")?;
        let key = key.as_bytes();
        let changes = rows.get("changes", key).map_or(0, |count| count[0]).wrapping_add(1);
        rows.put("changes", key, vec![changes]);
        rows.put("indexes", &index.to_be_bytes(), key.to_vec());
        match value {
            "" => rows.delete("pairs", key),
            value => rows.put("pairs", key, value.as_bytes().to_vec()),
        }
        Ok(())
    }
}

fn pair(index: u64) -> Vec<u8> {
    match index % 7 {
        6 => format!("key {}=", (index * 31) % 50),
        _ => format!("key {}=value {index} {}", (index * 31) % 50, "x".repeat((index % 90) as usize)),
    }
    .into_bytes()
}

struct Place {
    temporary: tempfile::TempDir,
    disk: MemoryDisk,
}

impl Place {
    fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap(), disk: MemoryDisk::default() }
    }

    fn journal(&self) -> Journal {
        let mut options = JournalOptions::new("unused", ORIGIN);
        options.segment_bytes = 64 * 1024;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Journal::open_on(disk, &options).unwrap().0
    }

    fn directory(&self) -> PathBuf {
        self.temporary.path().join("projections")
    }

    /// A journal of so many pairs, and their projections, closed.
    fn filled(count: u64) -> Self {
        let place = Self::new();
        let journal = place.journal();
        let projections = open(&journal, &place.directory());
        for index in 0..count {
            projections.append(vec![pair(index)]).unwrap().wait().unwrap();
        }
        projections.close().unwrap();
        place
    }

    fn generations(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn open(journal: &Journal, directory: &Path) -> Projections<Pairs> {
    Projections::open(journal, directory, Pairs, &mut |_, _| {}).unwrap()
}

type Tree = Vec<Row>;

fn rows<P: Projection>(projections: &Projections<P>) -> Vec<Tree> {
    ["changes", "indexes", "pairs"].map(|tree| projections.scan(tree, b"", None, false, usize::MAX).unwrap()).to_vec()
}

/// The rows that a rebuild from nothing makes.
fn rebuilt(journal: &Journal) -> Vec<Tree> {
    let fresh = tempfile::tempdir().unwrap();
    let projections = open(journal, fresh.path());
    let rows = rows(&projections);
    projections.close().unwrap();
    rows
}

fn database_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(database_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Rows are seen as soon as they are applied, whether their entry is synced (gate closed) or on sled.
#[test]
fn applied_rows_are_seen_at_once() {
    let place = Place::new();
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    place.disk.close_gate();
    let appended = projections.append(vec![b"a=1".to_vec(), b"b=2".to_vec(), b"a=3".to_vec()]).unwrap();
    assert_eq!(projections.get("pairs", b"a").unwrap(), Some(b"3".to_vec()));
    assert_eq!(projections.get("changes", b"a").unwrap(), Some(vec![2]));
    assert_eq!(projections.get("pairs", b"c").unwrap(), None);
    let before = rows(&projections);
    place.disk.open_gate();
    appended.wait().unwrap();
    projections.follower.as_ref().unwrap().wait_written(3);
    assert_eq!(rows(&projections), before);
}

/// A key changed by a synced entry and by one whose sync waits at the gate: sled gets the value of the first only.
#[test]
fn sled_is_never_ahead_of_the_sync() {
    let place = Place::new();
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    projections.append(vec![b"a=synced".to_vec()]).unwrap().wait().unwrap();
    place.disk.close_gate();
    let appended = projections.append(vec![b"a=not yet".to_vec()]).unwrap();
    place.disk.wait_at_gate();
    projections.follower.as_ref().unwrap().wait_written(1);
    assert_eq!(projections.overlay.below().get(&overlay::full_key("pairs", b"a")).unwrap().unwrap(), b"synced");
    assert_eq!(projections.get("pairs", b"a").unwrap(), Some(b"not yet".to_vec()));
    assert_eq!(place.disk.clone().after_power_cut(|_| false, 0).file_names().len(), 1);
    place.disk.open_gate();
    appended.wait().unwrap();
    projections.follower.as_ref().unwrap().wait_written(2);
    assert_eq!(projections.overlay.below().get(&overlay::full_key("pairs", b"a")).unwrap().unwrap(), b"not yet");
}

/// Scans in both directions, by prefix, after a key, with a limit, over rows half on sled and half in memory, with
/// deleted and replaced ones, give what a sorted map gives.
#[test]
fn scans_join_overlay_and_sled() {
    let place = Place::filled(60);
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    place.disk.close_gate();
    let appended = projections.append((60..130).map(pair).collect()).unwrap();
    let mut expected = BTreeMap::new();
    for index in 0..130 {
        let text = String::from_utf8(pair(index)).unwrap();
        match text.split_once('=').unwrap() {
            (key, "") => expected.remove(key.as_bytes()),
            (key, value) => expected.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec()),
        };
    }
    let prefixes: [&[u8]; 5] = [b"", b"key 1", b"key 4", b"key 49", b"z"];
    let afters: [Option<&[u8]>; 6] = [None, Some(b""), Some(b"key 1"), Some(b"key 15"), Some(b"key 44"), Some(b"zz")];
    for prefix in prefixes {
        for after in afters {
            for limit in [0, 1, 3, 1000] {
                let mut up: Vec<_> = expected.clone().into_iter().filter(|(key, _)| key.starts_with(prefix)).collect();
                let mut down: Vec<_> = up.iter().rev().cloned().collect();
                if let Some(after) = after {
                    up.retain(|(key, _)| key.as_slice() > after);
                    down.retain(|(key, _)| key.as_slice() < after);
                }
                up.truncate(limit);
                down.truncate(limit);
                assert_eq!(projections.scan("pairs", prefix, after, false, limit).unwrap(), up, "{prefix:?} {after:?}");
                assert_eq!(
                    projections.scan("pairs", prefix, after, true, limit).unwrap(),
                    down,
                    "{prefix:?} {after:?}"
                );
            }
        }
    }
    place.disk.open_gate();
    appended.wait().unwrap();
}

/// A walk over more rows than it reads at once, half of them on sled, gives all of the tree once, in order, and no other tree's.
#[test]
fn a_walk_passes_every_row_once() {
    let place = Place::new();
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    let all = WALK as u64 * 2 + 3;
    for part in [0..all / 2, all / 2..all] {
        let entries: Vec<_> = part.clone().map(pair).collect();
        projections.append(entries).unwrap().wait().unwrap();
        if part.start == 0 {
            projections.follower.as_ref().unwrap().wait_written(part.end);
        }
    }
    let walked: Vec<_> = projections.walk("indexes").map(|row| row.unwrap().0).collect();
    let expected: Vec<_> = (0..all).map(|index| index.to_be_bytes().to_vec()).collect();
    assert_eq!(walked, expected);
    assert_eq!(projections.walk("none").count(), 0);
}

/// Reopening goes on where sled stands: the same generation, nothing replayed, the same rows.
#[test]
fn reopening_replays_only_what_is_missing() {
    let place = Place::filled(300);
    let journal = place.journal();
    journal.append((300..310).map(pair).collect()).unwrap().wait().unwrap();
    let mut seen = Vec::new();
    let projections =
        Projections::open(&journal, &place.directory(), Pairs::<1>, &mut |done, all| seen.push((done, all))).unwrap();
    assert_eq!(seen, [(300, 310), (310, 310)]);
    assert_eq!(rows(&projections), rebuilt(&journal));
    assert_eq!(place.generations(), ["1"]);
}

/// A draft shows what its entries make, on top of what stands, to itself alone; what the projection refuses leaves it as it
/// was; appended it is there for all. A draft that somebody else's entry came before is not appended.
#[test]
fn a_draft_is_seen_before_it_is_appended() {
    let place = Place::new();
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    projections.append(vec![b"a=1".to_vec(), b"b=1".to_vec()]).unwrap().wait().unwrap();
    let (mut draft, mut late) = (projections.draft(), projections.draft());
    assert!(draft.is_empty());
    for entry in [&b"a=2"[..], b"c=2"] {
        draft.add(entry.to_vec()).unwrap().unwrap();
        late.add(entry.to_vec()).unwrap().unwrap();
    }
    assert_eq!(draft.add(b"nonsense".to_vec()).unwrap(), Err("no equals sign".to_owned()));
    let seen = |key: &[u8]| draft.get("pairs", key).unwrap();
    assert_eq!([seen(b"a"), seen(b"b"), seen(b"c")], [b"2", b"1", b"2"].map(|value| Some(value.to_vec())));
    assert_eq!([draft.entry(1), draft.entry(3), draft.entry(4)], [None, Some(&b"c=2"[..]), None]);
    assert_eq!(projections.get("pairs", b"a").unwrap(), Some(b"1".to_vec()));
    let appended = draft.append_later().unwrap();
    assert_eq!((appended.first_index(), projections.get("pairs", b"c").unwrap()), (2, Some(b"2".to_vec())));
    appended.wait().unwrap();
    assert!(matches!(late.append_later(), Err(JournalError::OutOfOrder { expected: 4, got: 2 })));
    assert_eq!((journal.length(), projections.applied()), (4, 4));
}

/// Entries out of order, before their append, or unknown to the projection are refused and change nothing.
#[test]
fn wrong_entries_are_refused() {
    let place = Place::new();
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    let refused = projections.apply(0, &[b"a=1".to_vec()]).unwrap_err();
    assert!(matches!(refused, JournalError::NotAppended { end: 1, length: 0 }), "{refused}");
    journal.append(vec![b"a=1".to_vec(), b"nonsense".to_vec()]).unwrap().wait().unwrap();
    let refused = projections.apply(1, &[b"nonsense".to_vec()]).unwrap_err();
    assert!(matches!(refused, JournalError::OutOfOrder { expected: 0, got: 1 }), "{refused}");
    let refused = projections.apply(0, &[b"a=1".to_vec(), b"nonsense".to_vec()]).unwrap_err();
    let words = refused.to_string();
    for part in ["record 1 in ", "00000000000000000000.seg is whole and not understood: no equals sign", "install that"]
    {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(projections.get("pairs", b"a").unwrap(), None);
    projections.apply(0, &[b"a=1".to_vec()]).unwrap();
    projections.close().unwrap();
    projections.close().unwrap();
    assert!(matches!(projections.get("pairs", b"a"), Err(JournalError::ProjectionsClosed)));
    let stopped = Projections::open(&journal, &place.directory(), Pairs::<1>, &mut |_, _| {}).unwrap_err();
    assert!(matches!(stopped, JournalError::Projection { index: 1, .. }), "{stopped}");
    let length = journal.length();
    let fresh = Place::new();
    let projections = open(&fresh.journal(), &fresh.directory());
    assert!(projections.append(vec![b"nonsense".to_vec()]).is_err());
    assert_eq!((projections.applied(), journal.length()), (0, length));
}

/// Another version of the projection gets rows of its own in the next generation; the old one goes.
#[test]
fn another_version_is_rebuilt() {
    let place = Place::filled(200);
    let journal = place.journal();
    let projections = Projections::open(&journal, &place.directory(), Pairs::<2>, &mut |_, _| {}).unwrap();
    assert_eq!(rows(&projections), rebuilt(&journal));
    projections.close().unwrap();
    drop(projections);
    let projections = Projections::open(&journal, &place.directory(), Pairs::<2>, &mut |_, _| {}).unwrap();
    projections.close().unwrap();
    assert_eq!(place.generations(), ["2"]);
}

/// Rows that came from other segments, of the same origin and longer or of another content, are rebuilt.
#[test]
fn rows_that_the_segments_do_not_bear_out_are_rebuilt() {
    let place = Place::filled(200);
    for count in [100, 200, 250] {
        let other = Place::new();
        let journal = other.journal();
        journal.append((1000..1000 + count).map(pair).collect()).unwrap().wait().unwrap();
        let projections = open(&journal, &place.directory());
        assert_eq!(rows(&projections), rebuilt(&journal), "{count}");
        projections.close().unwrap();
    }
}

/// Without its directory, everything is made anew.
#[test]
fn deleted_rows_are_rebuilt() {
    let place = Place::filled(200);
    let journal = place.journal();
    fs::remove_dir_all(place.directory()).unwrap();
    assert_eq!(rows(&open(&journal, &place.directory())), rebuilt(&journal));
}

/// A row as nobody should change it: without the checksum.
fn change(database: &sled::Db, key: Vec<u8>, value: Option<&[u8]>) {
    let mut batch = sled::Batch::default();
    let rows = Staged::from([(key, value.map(Arc::from))]);
    Pages(database.clone()).stage(&rows, &mut batch, |_, _, _| {}).unwrap();
    database.apply_batch(batch).unwrap();
}

/// A row removed, changed or added behind our back, in a healthy sled, is noticed.
#[test]
fn silently_lost_rows_are_rebuilt() {
    for damage in 0..3 {
        let place = Place::filled(100);
        let journal = place.journal();
        let database = open_sled(&place.directory().join("1"), CACHE).unwrap();
        let key = overlay::full_key("indexes", &7u64.to_be_bytes());
        match damage {
            0 => change(&database, key, None),
            1 => change(&database, key, Some(b"other")),
            _ => change(&database, overlay::full_key("indexes", b"more"), Some(b"rows")),
        }
        database.flush().unwrap();
        drop(database);
        assert_eq!(rows(&open(&journal, &place.directory())), rebuilt(&journal), "{damage}");
    }
}

/// The same with the check behind: the rows are used at once, the damage is found, nothing more is applied, and the next
/// opening, soon or not, has the rows of a rebuild. Sound rows pass.
#[test]
fn rows_that_are_checked_behind_are_rebuilt_by_the_next_opening() {
    for (damage, soon) in [(0, true), (1, true), (2, true), (0, false), (3, true)] {
        let place = Place::filled(100);
        let journal = place.journal();
        let database = open_sled(&place.directory().join("1"), CACHE).unwrap();
        let key = overlay::full_key("indexes", &7u64.to_be_bytes());
        match damage {
            0 => change(&database, key, None),
            1 => change(&database, key, Some(b"other")),
            2 => change(&database, overlay::full_key("indexes", b"more"), Some(b"rows")),
            _ => {}
        }
        database.flush().unwrap();
        drop(database);
        let open_soon = || Projections::open_soon(&journal, &place.directory(), Pairs::<1>, &mut |_, _| {}).unwrap();
        let projections = open_soon();
        let sound = damage == 3;
        assert_eq!(rows(&projections) == rebuilt(&journal), sound);
        let appended = projections.append(vec![pair(100)]);
        projections.follower.as_ref().unwrap().wait_written(101);
        assert_eq!(projections.failure().is_none(), sound, "{damage}");
        if let (false, Some(failure)) = (sound, projections.failure()) {
            assert!(failure.to_string().contains("rows are missing or changed"), "{failure}");
            assert!(projections.append(vec![pair(101)]).is_err());
        }
        // Taken before the check was done, or refused after it: never in the rows alone.
        drop(appended);
        let _ = projections.close();
        drop(projections);
        let projections = if soon { open_soon() } else { open(&journal, &place.directory()) };
        assert_eq!(rows(&projections), rebuilt(&journal), "{damage}");
        projections.follower.as_ref().unwrap().wait_written(journal.length());
        assert!(projections.failure().is_none());
        projections.close().unwrap();
        assert_eq!(place.generations(), if sound { ["1"] } else { ["2"] });
    }
}

/// Flips bits and cuts bytes off in every file of sled's, spread over each: what opens has the rows of a fresh rebuild.
#[test]
fn damaged_rows_are_rebuilt() {
    let place = Place::filled(400);
    let journal = place.journal();
    let expected = rebuilt(&journal);
    let sound = place.directory().join("1");
    let mut rebuilds = 0;
    for file in database_files(&sound) {
        let bytes = fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for nth in 0..24 {
            let damaged = tempfile::tempdir().unwrap();
            let copy = damaged.path().join("1");
            for source in database_files(&sound) {
                let target = copy.join(source.strip_prefix(&sound).unwrap());
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(&source, target).unwrap();
            }
            let at = used * nth / 24;
            let mut content = bytes.clone();
            match nth % 3 {
                0 if at < content.len() => content[at] ^= 1 << (nth % 8),
                1 if at < content.len() => content[at] = !content[at],
                _ => content.truncate(at),
            }
            fs::write(copy.join(file.strip_prefix(&sound).unwrap()), content).unwrap();
            if nth % 2 == 0 {
                // Used at once, it may give any rows; closing waits for the check of so few.
                let soon = Projections::open_soon(&journal, damaged.path(), Pairs::<1>, &mut |_, _| {}).unwrap();
                let _ = soon.close();
            }
            let projections = open(&journal, damaged.path());
            assert_eq!(rows(&projections), expected, "{} at {at}, {nth}", file.display());
            projections.close().unwrap();
            rebuilds += usize::from(projections.overlay.path().ends_with("2"));
        }
    }
    assert!(rebuilds > 5, "the damage matters: {rebuilds}");
}

/// An opening that panics and one that hangs are left behind; the next generation is used instead.
#[test]
fn hung_or_panicking_opening_is_left_behind() {
    let place = Place::filled(50);
    let journal = place.journal();
    let (release, released) = channel::<()>();
    let released: Mutex<Receiver<()>> = Mutex::new(released);
    let hangs = Opener {
        open_rows: Arc::new(move |path: &Path| {
            if path.ends_with("1") {
                let _ = released.lock().unwrap().recv();
                return Err(sled::Error::ReportableBug("released".to_owned()));
            }
            open_sled(path, CACHE)
        }),
        deadline: Duration::from_millis(300),
        check: Check::Before,
    };
    let projections = Projections::open_by(&hangs, &journal, &place.directory(), Pairs::<1>, &mut |_, _| {}).unwrap();
    assert!(projections.overlay.path().ends_with("2"));
    assert_eq!(rows(&projections), rebuilt(&journal));
    projections.close().unwrap();
    drop(release);
    let panics = Opener {
        open_rows: Arc::new(|path: &Path| {
            assert!(!path.ends_with("2"), "as sled does on a flipped bit");
            open_sled(path, CACHE)
        }),
        ..Opener::new(Check::Before, CACHE)
    };
    let projections = Projections::open_by(&panics, &journal, &place.directory(), Pairs::<1>, &mut |_, _| {}).unwrap();
    assert!(projections.overlay.path().ends_with("3"));
    assert_eq!(rows(&projections), rebuilt(&journal));
}

/// After the journal failed, rows of what was never synced are seen but never written; closing does not hang.
#[test]
fn nothing_is_written_after_the_journal_failed() {
    let place = Place::filled(10);
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    place.disk.fail_at(0);
    let appended = projections.append(vec![b"lost=1".to_vec()]).unwrap();
    assert!(appended.wait().is_err());
    assert_eq!(projections.get("pairs", b"lost").unwrap(), Some(b"1".to_vec()));
    assert!(projections.append(vec![b"more=1".to_vec()]).is_err());
    projections.close().unwrap();
    drop(projections);
    let disk = place.disk.after_power_cut(|_| false, usize::MAX);
    let place = Place { disk, ..place };
    let journal = place.journal();
    let projections = open(&journal, &place.directory());
    assert_eq!(projections.get("pairs", b"lost").unwrap(), None);
    assert_eq!(place.generations(), ["1"], "sled was not ahead of the journal");
}

/// Rows in memory only are those that sled has, also of what is appended after the opening, and end with closing.
#[test]
fn rows_in_memory_are_those_on_sled() {
    let place = Place::filled(300);
    let journal = place.journal();
    let in_memory = Projections::in_memory(&journal, Pairs::<1>).unwrap();
    assert_eq!(rows(&in_memory), rebuilt(&journal));
    in_memory.append(vec![pair(300)]).unwrap().wait().unwrap();
    assert_eq!(in_memory.applied(), 301);
    assert_eq!(rows(&in_memory), rebuilt(&journal));
    in_memory.close().unwrap();
    assert!(matches!(in_memory.get("pairs", b"a"), Err(JournalError::ProjectionsClosed)));
}
