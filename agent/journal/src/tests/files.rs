//! On real files, and with a process that is killed.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use super::*;

fn at(directory: &Path) -> JournalOptions {
    JournalOptions { directory: directory.to_owned(), ..options() }
}

/// On real files: made with its parents, for this user alone, rolled, closed and opened again.
#[test]
fn real_files_are_read_back() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().join("var/journal");
    let options = at(&directory);
    let (journal, recovery) = Journal::open(&options).unwrap();
    assert_eq!((recovery.records, recovery.torn), (0, None));
    fill(&journal, 100, 3000);
    journal.close().unwrap();
    let (journal, recovery) = Journal::open(&options).unwrap();
    assert_eq!((recovery.records, recovery.torn), (100, None));
    assert_eq!(all(&journal), (0..100).map(|index| entry(index, 3000)).collect::<Vec<_>>());
    for entry in fs::read_dir(&directory).unwrap() {
        let metadata = entry.unwrap().metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0);
        assert!(metadata.len() <= options.segment_bytes);
    }
}

/// The second opener is told who holds the directory; after close, and after drop, it is free.
#[test]
fn directory_in_use() {
    let temporary = tempfile::tempdir().unwrap();
    let options = at(temporary.path());
    let (journal, _) = Journal::open(&options).unwrap();
    let clone = journal.clone();
    let refused = Journal::open(&options).unwrap_err().to_string();
    assert!(refused.contains(&format!("already in use by process {}", std::process::id())), "{refused}");
    journal.close().unwrap();
    let (journal, _) = Journal::open(&options).unwrap();
    drop(clone);
    assert!(Journal::open(&options).is_err());
    drop(journal);
    Journal::open(&options).unwrap();
}

/// A directory that cannot be made is named, with what to do.
#[test]
fn directory_not_writable() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = Journal::open(&at(&file.join("journal"))).unwrap_err();
    assert!(matches!(refused, JournalError::NotWritable { .. }), "{refused}");
    assert!(refused.to_string().contains("file/journal cannot be written; create it"), "{refused}");
}

const CHILD_DIRECTORY: &str = "JOURNAL_TEST_CHILD_DIRECTORY";

/// Not a test by itself: the process that the next test kills. Appends from four threads and says what it was told.
#[test]
fn child_that_appends() {
    let Some(directory) = env::var_os(CHILD_DIRECTORY) else { return };
    let (journal, _) = Journal::open(&at(Path::new(&directory))).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let appended = journal.append(vec![b"same length for all".to_vec(); 3]).unwrap();
                    let end = appended.first_index() + 3;
                    appended.wait().unwrap();
                    let mut out = std::io::stdout().lock();
                    // The parent is gone: so is the reason to go on.
                    if writeln!(out, "\nsynced {end}").and_then(|()| out.flush()).is_err() {
                        std::process::exit(0);
                    }
                }
            });
        }
    });
}

/// Kills a process that appends, several times over the same directory: what it said is synced is there, and the lock
/// is not left behind.
#[test]
fn killed_processes_lose_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "tests::files::child_that_appends", "--nocapture"])
            .env(CHILD_DIRECTORY, temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("synced ")?.parse::<u64>().ok());
        let mut synced = told.by_ref().take(100 * round).max().unwrap_or(0);
        child.kill().unwrap();
        synced = told.max().unwrap_or(0).max(synced);
        child.wait().unwrap();
        let (journal, recovery) = Journal::open(&at(temporary.path())).unwrap();
        assert!(synced > before, "the child wrote in round {round}");
        assert!(recovery.records >= synced, "{} of {synced}", recovery.records);
        assert!(all(&journal).iter().all(|entry| entry == b"same length for all"));
        before = recovery.records;
    }
}
