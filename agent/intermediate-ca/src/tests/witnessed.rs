//! A CA whose witness keeps what it saw of the journal.

use std::{fs, path::Path};

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn issue_and_close(world: &World, number: u8) {
    let authority = world.open();
    issued(&issue_one(&authority, &submission(number)).await);
    authority.close().await.unwrap();
}

#[track_caller]
fn assert_refused_to_open(world: &World, words: &str) {
    let signed = world.keystore.token().signed;
    let error = world.try_open().map(drop).unwrap_err().to_string();
    assert!(error.contains(words), "{error} lacks {words:?}");
    assert_eq!(world.keystore.token().signed, signed, "nothing was signed");
}

/// A backup that is put back whole, its own checkpoint with it, opens; behind its witness it does not, nor when another
/// history grew on it. The journal that the witness saw opens, and whatever goes on from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_behind_its_witness() {
    let mut world = World::new();
    let (journal, backup, kept) =
        (world.settings.journal.clone(), world.path().join("backup"), world.path().join("kept"));
    let seen = world.path().join("seen");
    issue_and_close(&world, 1).await;
    copy(&journal, &backup);
    issue_and_close(&world, 2).await;
    fs::copy(journal.join("tlog/checkpoint"), &seen).unwrap();
    world.settings.witnessed = Some(seen.clone());
    issue_and_close(&world, 3).await;
    copy(&journal, &kept);

    fs::remove_dir_all(&journal).unwrap();
    copy(&backup, &journal);
    assert_refused_to_open(&world, "an older copy of it was put back");
    world.settings.witnessed = None;
    for number in 4..8 {
        issue_and_close(&world, number).await;
    }
    world.settings.witnessed = Some(seen.clone());
    assert_refused_to_open(&world, "its history was changed");

    fs::remove_dir_all(&journal).unwrap();
    copy(&kept, &journal);
    world.open().close().await.unwrap();
    fs::write(&seen, "nothing").unwrap();
    assert_refused_to_open(&world, "no signed checkpoint");
    fs::remove_file(&seen).unwrap();
    assert_refused_to_open(&world, "cannot be read");
}
