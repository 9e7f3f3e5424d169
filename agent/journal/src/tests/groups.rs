//! Groups, waiters, the bound and closing.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use super::*;

/// Entries get consecutive indexes and come back from any range, across rolls and reopening.
#[test]
fn entries_are_read_back_from_any_range() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let expected: Vec<_> = (0..2000).map(|index| entry(index, (index % 300) as usize)).collect();
    for (nth, chunk) in expected.chunks(40).enumerate() {
        let appended = journal.append(chunk.to_vec()).unwrap();
        assert_eq!(appended.first_index(), nth as u64 * 40);
        appended.wait().unwrap();
    }
    assert!(disk.file_names().len() > 3, "the test rolls");
    for journal in [journal, open(&disk), open(&disk)] {
        assert_eq!((journal.length(), journal.synced()), (2000, 2000));
        for (start, end) in [(0, 2000), (0, 1), (255, 257), (256, 300), (700, 1500), (1999, 2000), (1990, 9999)] {
            let read = journal.read(start..end).unwrap();
            assert_eq!(read, expected[start as usize..2000.min(end as usize)], "{start}..{end}");
        }
        assert!(journal.read(2000..2001).unwrap().is_empty());
        journal.close().unwrap();
        assert_eq!(all(&journal).len(), 2000, "what was synced is readable after close");
    }
}

/// While the sync waits at the gate nothing resolves, blocking or async; when it returns, everything it covers does.
#[test]
fn nothing_resolves_before_its_sync_returned() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    fill(&journal, 1, 10);
    disk.close_gate();
    let first = journal.append(vec![entry(1, 10)]).unwrap();
    disk.wait_at_gate();
    let second = journal.append(vec![entry(2, 10)]).unwrap();
    let mut first = pin!(first.synced());
    let mut second = pin!(second.synced());
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert_eq!((journal.length(), journal.synced()), (3, 1));
    assert_eq!(journal.read(0..3).unwrap().len(), 1, "what is not synced is not read");
    disk.open_gate();
    journal.sync().unwrap();
    assert_eq!(journal.synced(), 3);
    assert!(matches!(first.poll(&mut context), Poll::Ready(Ok(()))));
    assert!(matches!(second.poll(&mut context), Poll::Ready(Ok(()))));
}

/// An async waiter is woken by the sync, on a runtime of its own thread.
#[tokio::test]
async fn async_waiters_are_woken() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    disk.close_gate();
    let waiting: Vec<_> =
        (0..100).map(|index| tokio::spawn(journal.append(vec![entry(index, 10)]).unwrap().synced())).collect();
    tokio::task::yield_now().await;
    disk.open_gate();
    for waiter in waiting {
        tokio::time::timeout(Duration::from_secs(20), waiter).await.unwrap().unwrap().unwrap();
    }
}

/// While one sync waits, 2,000 entries queue from 20 threads; one more sync, at most two, covers them all.
#[test]
fn what_queues_during_a_sync_shares_the_next() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    fill(&journal, 1, 10);
    disk.close_gate();
    let held = journal.append(vec![entry(1, 10)]).unwrap();
    disk.wait_at_gate();
    let before = disk.syncs();
    let appended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| (0..100).map(|_| journal.append(vec![entry(7, 10)]).unwrap()).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    disk.open_gate();
    held.wait().unwrap();
    for appended in appended {
        appended.wait().unwrap();
    }
    let syncs = disk.syncs() - before;
    assert!(syncs <= 4, "the held one, one group, a roll or zeros written ahead: {syncs}");
    assert_eq!(journal.synced(), 2002);
}

/// At the bound, `append` waits until the disk has taken something, and then goes on.
#[test]
fn append_waits_at_the_bound() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    disk.close_gate();
    let full = journal.append(vec![vec![1]; 100_000]).unwrap();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| journal.append(vec![vec![2]]).unwrap().first_index());
        disk.wait_at_gate();
        assert_eq!(journal.length(), 100_000);
        assert!(!blocked.is_finished());
        disk.open_gate();
        full.wait().unwrap();
        assert_eq!(blocked.join().unwrap(), 100_000);
    });
}

/// No entries are no error and wait for nothing.
#[test]
fn nothing_to_append_resolves_at_once() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    disk.close_gate();
    journal.append(Vec::new()).unwrap().wait().unwrap();
    disk.open_gate();
}

/// Dropping the last handle syncs what was queued; a closed journal refuses, twice closed is well.
#[test]
fn closing_syncs_what_was_queued() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let _ = journal.append(vec![entry(0, 10)]).unwrap();
    drop(journal);
    let disk = disk.after_power_cut(|_| false, 0);
    let journal = open(&disk);
    assert_eq!(all(&journal), [entry(0, 10)]);
    journal.close().unwrap();
    journal.close().unwrap();
    assert!(matches!(journal.append(vec![vec![1]]), Err(JournalError::Closed)));
    assert!(journal.failure().is_none());
}

/// What is appended for later makes no sync: it goes to the disk with the next append, or when somebody waits for it.
#[test]
fn what_is_for_later_rides_along() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    fill(&journal, 1, 10);
    let later = |number| journal.append_later(vec![entry(number, 10)]).unwrap();
    drop((later(1), later(2)));
    // A wait without a hurry does not make it either, but what comes next does.
    let patient = thread::spawn({
        let journal = journal.clone();
        move || journal.sync_within(std::time::Duration::from_secs(60))
    });
    assert_eq!((journal.length(), journal.synced()), (3, 1));
    journal.append(vec![entry(3, 10)]).unwrap().wait().unwrap();
    assert_eq!(journal.synced(), 4);
    patient.join().unwrap().unwrap();

    later(4).wait().unwrap();
    assert_eq!(journal.synced(), 5);
    let _ = later(5);
    journal.sync().unwrap();
    assert_eq!(journal.synced(), 6);
    let _ = later(6);
    journal.sync_within(std::time::Duration::from_millis(1)).unwrap();
    assert_eq!(journal.synced(), 7);
    // Nothing is kept back at the end.
    let _ = later(7);
    journal.close().unwrap();
    assert_eq!(journal.synced(), 8);
    assert_eq!(all(&open(&disk)).len(), 8);
}

/// Who blocks for what was appended for later writes it, and what was before it, on its own thread; where somebody else was
/// told, the committer thread does.
#[test]
fn who_waits_writes() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let _ = journal.append_later(vec![entry(0, 10)]).unwrap();
    journal.append_later(vec![entry(1, 10)]).unwrap().wait().unwrap();
    assert_eq!((journal.synced(), disk.synced_by()), (2, Some(thread::current().id())));
    journal.append(vec![entry(2, 10)]).unwrap().wait().unwrap();
    journal.close().unwrap();
    assert_ne!(disk.synced_by(), Some(thread::current().id()));
}

/// While the thread is at a sync, who waits gets its turn after it: groups stay in the order of their indexes. From eight
/// threads, each way of appending and waiting at once; every entry is read back at its index.
#[test]
fn whoever_writes_the_order_stays() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    disk.close_gate();
    let first = journal.append(vec![entry(0, 10)]).unwrap();
    disk.wait_at_gate();
    let appended: Vec<(u64, Vec<u8>)> = thread::scope(|scope| {
        let act = |number: u64| {
            let entry = entry(number, 200);
            let appended = match number % 3 {
                0 => journal.append(vec![entry.clone()]).unwrap(),
                _ => journal.append_later(vec![entry.clone()]).unwrap(),
            };
            let index = appended.first_index();
            if number % 3 < 2 {
                appended.wait().unwrap();
                assert!(journal.synced() > index);
            }
            (index, entry)
        };
        let threads: Vec<_> = (0..8)
            .map(|nth| scope.spawn(move || (0..100).map(|k| act(1 + nth * 100 + k)).collect::<Vec<_>>()))
            .collect();
        disk.open_gate();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    first.wait().unwrap();
    journal.close().unwrap();
    assert!(disk.file_names().len() > 1, "the test rolls");
    for journal in [journal, open(&disk)] {
        let entries = all(&journal);
        assert_eq!(entries.len(), 801);
        assert!(appended.iter().all(|(index, entry)| entries[*index as usize] == *entry));
    }
}

/// A disk that fails under who waits poisons the journal for all: who waited and who queued are told, nothing more is taken.
#[test]
fn a_failure_under_who_waits_is_everybodys() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    let before = journal.append_later(vec![entry(0, 10)]).unwrap();
    let own = journal.append_later(vec![entry(1, 10)]).unwrap();
    // The write goes well, the sync does not.
    disk.fail_at(1);
    assert!(matches!(own.wait(), Err(JournalError::Poisoned(_))));
    assert!(matches!(before.wait(), Err(JournalError::Poisoned(_))));
    assert!(matches!(journal.append_later(vec![entry(2, 10)]), Err(JournalError::Poisoned(_))));
    assert!(journal.failure().is_some() && journal.synced() == 0);
    assert!(journal.close().is_err());
}

/// A queue that is full of what is for later makes its own room.
#[test]
fn a_full_queue_of_what_is_for_later_is_written() {
    let disk = MemoryDisk::default();
    let journal = open(&disk);
    for _ in 0..120 {
        let _ = journal.append_later(vec![entry(0, 10); 1000]).unwrap();
    }
    journal.sync().unwrap();
    assert_eq!(journal.synced(), 120_000);
}

/// Without a thread nothing is on the disk before somebody waits: append, cut the power, nothing is there; wait, cut the
/// power, everything is.
#[test]
fn without_a_thread_who_waits_writes() {
    let disk = MemoryDisk::default();
    let (journal, _) = Journal::open_unthreaded(Arc::new(disk.clone()), &options()).unwrap();
    let first = journal.append(vec![entry(0, 10)]).unwrap();
    let later = journal.append_later(vec![entry(1, 10)]).unwrap();
    let before = disk.operations();
    assert_eq!((journal.synced(), journal.length()), (0, 2));
    assert!(all(&open(&disk.after_power_cut(|_| true, usize::MAX))).is_empty());
    later.wait().unwrap();
    assert!(disk.operations() > before);
    assert_eq!(all(&open(&disk.after_power_cut(|_| false, 0))).len(), 2);
    wait(first).unwrap();
    let last = journal.append(vec![entry(2, 10)]).unwrap();
    journal.close().unwrap();
    wait(last).unwrap();
    assert!(matches!(journal.append(vec![entry(3, 10)]), Err(JournalError::Closed)));
    assert_eq!(all(&open(&disk.after_power_cut(|_| false, 0))).len(), 3);
}

/// Without a thread a disk that fails poisons the journal as well, and who waits is told.
#[test]
fn without_a_thread_a_failure_is_told() {
    let disk = MemoryDisk::default();
    let (journal, _) = Journal::open_unthreaded(Arc::new(disk.clone()), &options()).unwrap();
    disk.fail_at(1);
    let appended = journal.append(vec![entry(0, 10)]).unwrap();
    assert!(matches!(appended.wait(), Err(JournalError::Poisoned(_))));
    assert!(journal.failure().is_some() && journal.append(vec![entry(1, 10)]).is_err());
}
