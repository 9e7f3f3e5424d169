//! The thread that moves rows to sled, behind the journal's sync.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    generation::Generation,
    overlay::{Overlay, Staged, guarded},
};
use crate::{Journal, JournalError};

/// Bytes of rows that may wait in memory: a replay applies faster than sled takes.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Rows of one batch: sled takes about 50 µs for each, and a flush or the end of a close waits for a whole batch.
const BATCH_ROWS: usize = 4096;
/// What was not flushed is replayed after a crash, no more: a second's work is little.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// What comes within this is written together: a batch has a cost of its own, and what is made and soon removed again never
/// reaches sled. Readers see it above sled, and a crash replays it as it does what was not flushed.
const GATHER: Duration = Duration::from_millis(200);
/// A sled that does not take a batch for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What entries that were applied together did to the rows.
#[derive(Debug)]
pub(super) struct Change {
    /// Index after the last of them.
    pub(super) end: u64,
    /// SHA-256 of the last of them.
    pub(super) last_entry: [u8; 32],
    pub(super) rows: Staged,
}

impl Change {
    fn bytes(&self) -> usize {
        // 64 for what a row costs beside its bytes.
        self.rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len()) + 64).sum()
    }
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<Change>,
    rows: usize,
    bytes: usize,
    written: u64,
    /// Grows as long as the thread is alive.
    signs: u64,
    closing: bool,
    end: Option<End>,
}

/// Why the thread is no more.
#[derive(Debug, Clone)]
enum End {
    Closed,
    /// The journal syncs no more, so nothing more may follow.
    Journal,
    /// sled failed, in words.
    Rows(String),
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    overlay: Arc<Overlay>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts the thread. Once it has written the first `all` entries, older generations are removed.
    pub(super) fn start(
        journal: Journal,
        overlay: Arc<Overlay>,
        generation: Generation,
        all: u64,
    ) -> Result<Self, JournalError> {
        let waiting = Waiting { written: generation.applied(), ..Waiting::default() };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), changed: Condvar::new() });
        let path = generation.path().to_owned();
        let thread = thread::Builder::new()
            .name("projections".to_owned())
            .spawn({
                let (shared, overlay) = (shared.clone(), overlay.clone());
                move || {
                    let end = Thread { shared: &shared, journal, overlay: &overlay, generation, all }.run();
                    if let End::Rows(wrong) = &end {
                        tracing::error!(wrong, "projections are no longer written; restart to rebuild them");
                    }
                    lock(&shared.waiting).end = Some(end);
                    shared.changed.notify_all();
                }
            })
            .map_err(JournalError::file("start a thread for", path))?;
        Ok(Self { shared, overlay, thread: Mutex::new(Some(thread)) })
    }

    /// Waits until there is room for another change.
    pub(super) fn admit(&self) -> Result<(), JournalError> {
        let waiting = self.wait_while(lock(&self.shared.waiting), |waiting| waiting.bytes > WAITING_BYTES)?;
        match &waiting.end {
            _ if waiting.closing => Err(JournalError::ProjectionsClosed),
            Some(End::Rows(wrong)) => Err(self.unwritable(wrong.clone())),
            Some(End::Closed) => Err(JournalError::ProjectionsClosed),
            // The journal itself refuses; what it took before may still be seen.
            Some(End::Journal) | None => Ok(()),
        }
    }

    /// Why rows are no longer written, when they are not.
    pub(super) fn failure(&self) -> Option<JournalError> {
        match &lock(&self.shared.waiting).end {
            Some(End::Rows(wrong)) => Some(self.unwritable(wrong.clone())),
            _ => None,
        }
    }

    pub(super) fn push(&self, change: Change) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.end.is_none() {
            // Who gathers is told when there is a batch, and before that only of the first.
            let first = waiting.changes.is_empty();
            waiting.bytes += change.bytes();
            waiting.rows += change.rows.len();
            waiting.changes.push_back(change);
            let told = first || waiting.rows >= BATCH_ROWS;
            drop(waiting);
            if told {
                self.shared.changed.notify_all();
            }
        }
    }

    /// Writes and flushes what is synced, then ends the thread. One that hangs is left behind.
    pub(super) fn close(&self) -> Result<(), JournalError> {
        let mut waiting = lock(&self.shared.waiting);
        waiting.closing = true;
        self.shared.changed.notify_all();
        let waiting = self.wait_while(waiting, |_| true)?;
        let end = waiting.end.clone();
        drop(waiting);
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of sled is already the end.
            let _ = thread.join();
        }
        match end {
            Some(End::Rows(wrong)) => Err(self.unwritable(wrong)),
            _ => Ok(()),
        }
    }

    /// Waits until sled has the first `length` entries.
    #[cfg(test)]
    pub(super) fn wait_written(&self, length: u64) {
        let waiting = lock(&self.shared.waiting);
        let wait = |waiting: &mut Waiting| waiting.written < length && waiting.end.is_none();
        drop(self.shared.changed.wait_timeout_while(waiting, PATIENCE, wait).unwrap());
    }

    /// Waits while it holds and the thread has not ended; not for ever on one that shows no progress.
    fn wait_while<'w>(
        &self,
        mut waiting: MutexGuard<'w, Waiting>,
        holds: impl Fn(&Waiting) -> bool,
    ) -> Result<MutexGuard<'w, Waiting>, JournalError> {
        let mut signs = waiting.signs;
        while waiting.end.is_none() && holds(&waiting) {
            let (next, timeout) =
                self.shared.changed.wait_timeout(waiting, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            waiting = next;
            if timeout.timed_out() && waiting.signs == signs {
                return Err(self.unwritable("sled takes no rows".to_owned()));
            }
            signs = waiting.signs;
        }
        Ok(waiting)
    }

    fn unwritable(&self, wrong: String) -> JournalError {
        JournalError::Rows { path: self.overlay.path().to_owned(), act: "be written", wrong }
    }
}

struct Thread<'a> {
    shared: &'a Shared,
    journal: Journal,
    overlay: &'a Overlay,
    generation: Generation,
    all: u64,
}

impl Thread<'_> {
    fn run(mut self) -> End {
        let checked = self.generation.check(|| {
            let mut waiting = lock(&self.shared.waiting);
            waiting.signs += 1;
            // Who closes does not wait for it: the next opening begins it anew.
            !waiting.closing
        });
        let end = checked.and_then(|()| self.follow()).unwrap_or_else(End::Rows);
        match guarded(|| self.generation.flush()) {
            Err(wrong) => End::Rows(wrong),
            Ok(()) => end,
        }
    }

    /// Until closed, or the journal or sled fails.
    fn follow(&mut self) -> Result<End, String> {
        let mut flush_due = None;
        if self.generation.applied() >= self.all {
            self.generation.remove_obsolete();
        }
        loop {
            let Some(end) = self.await_change(flush_due)? else {
                if flush_due.take().is_none() {
                    return Ok(End::Closed);
                }
                self.flush()?;
                continue;
            };
            // What was appended for later takes its time, but not for ever.
            if self.journal.wait_for(end, FLUSH_EVERY).is_err() {
                return Ok(End::Journal);
            }
            let batch = self.gather();
            self.write(batch)?;
            let due = *flush_due.get_or_insert_with(|| Instant::now() + FLUSH_EVERY);
            if due <= Instant::now() {
                flush_due = None;
                self.flush()?;
            }
        }
    }

    /// The end of the next change; `None` when a flush is due or, without one, when there will be no more.
    fn await_change(&self, flush_due: Option<Instant>) -> Result<Option<u64>, String> {
        let idle = |waiting: &mut Waiting| waiting.changes.is_empty() && !waiting.closing;
        let waiting = lock(&self.shared.waiting);
        let waiting = match flush_due {
            None => self.shared.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                self.shared.changed.wait_timeout_while(waiting, left, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        Ok(waiting.changes.front().map(|change| change.end))
    }

    /// What is synced of what comes within [`GATHER`], up to a batch.
    fn gather(&self) -> Vec<Change> {
        let more = |waiting: &mut Waiting| waiting.rows < BATCH_ROWS && !waiting.closing;
        let waiting = self.shared.changed.wait_timeout_while(lock(&self.shared.waiting), GATHER, more);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner).0;
        let batch = take_synced(&mut waiting.changes, self.journal.synced());
        waiting.rows -= batch.iter().map(|change| change.rows.len()).sum::<usize>();
        batch
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), String> {
        let Some(Change { end, last_entry, .. }) = batch.last() else { return Ok(()) };
        let (end, last_entry) = (*end, *last_entry);
        let bytes: usize = batch.iter().map(Change::bytes).sum();
        let mut rows = Staged::new();
        // Not BTreeMap::append, which goes through all that it has for each of many small ones.
        batch.into_iter().for_each(|change| rows.extend(change.rows));
        guarded(|| self.generation.write(&rows, end, last_entry))?;
        self.overlay.settle(rows.keys(), end);
        let mut waiting = lock(&self.shared.waiting);
        waiting.bytes -= bytes;
        waiting.written = end;
        waiting.signs += 1;
        drop(waiting);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        guarded(|| self.generation.flush())?;
        if self.generation.applied() >= self.all {
            self.generation.remove_obsolete();
        }
        Ok(())
    }
}

/// Takes what is synced, up to a batch: never what a power cut may still undo.
fn take_synced(changes: &mut VecDeque<Change>, synced: u64) -> Vec<Change> {
    let mut rows = 0;
    let mut taken = Vec::new();
    while rows < BATCH_ROWS {
        if changes.front().is_none_or(|change| change.end > synced) {
            break;
        }
        let next = changes.pop_front();
        rows += next.as_ref().map_or(0, |change| change.rows.len());
        taken.extend(next);
    }
    taken
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of changes up to 3, 5 and 9, with 6 entries synced, the first two are taken and the third stays.
    #[test]
    fn what_is_not_synced_is_not_taken() {
        let change = |end| Change { end, last_entry: [0; 32], rows: Staged::new() };
        let mut changes = VecDeque::from([change(3), change(5), change(9)]);
        let taken: Vec<_> = take_synced(&mut changes, 6).iter().map(|change| change.end).collect();
        assert_eq!(taken, [3, 5]);
        assert_eq!(changes.len(), 1);
    }
}
