//! The journal as its callers see it, on the disk in memory and on real files.

mod files;
mod groups;
mod power_cut;
mod refusals;
mod repair;

use std::{sync::Arc, time::Duration};

use crate::{Appended, Journal, JournalError, JournalOptions, Recovery, memory_disk::MemoryDisk};

/// The smallest segments there are, so that tests roll.
fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new("unused", "factory.example/station-1") }
}

fn try_open(disk: &MemoryDisk) -> Result<(Journal, Recovery), JournalError> {
    Journal::open_on(Arc::new(disk.clone()), &options())
}

fn open(disk: &MemoryDisk) -> Journal {
    try_open(disk).unwrap().0
}

/// An entry that says which it is, of `length` bytes at least.
fn entry(index: u64, length: usize) -> Vec<u8> {
    let mut entry = format!("entry {index}").into_bytes();
    entry.resize(length.max(entry.len()), index as u8);
    entry
}

/// Waits, but not for ever.
fn wait(appended: Appended) -> Result<(), JournalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waiting = async { tokio::time::timeout(Duration::from_secs(20), appended.synced()).await };
    runtime.block_on(waiting).expect("the append resolves")
}

fn fill(journal: &Journal, count: u64, length: usize) {
    for _ in 0..count {
        let index = journal.length();
        journal.append(vec![entry(index, length)]).unwrap().wait().unwrap();
    }
}

fn all(journal: &Journal) -> Vec<Vec<u8>> {
    journal.read(0..u64::MAX).unwrap()
}
