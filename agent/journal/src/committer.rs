//! The queue, and the one thread that puts it on the disk.
//!
//! A group is whatever queued during the last sync; there is no timer. What was appended for later waits until somebody
//! wants it, or something that was appended after it, on the disk. Each group carries its own waiters, so that a sync
//! wakes those whom it concerns and nobody else.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{JournalError, chain::Chain, writer::Writer};

/// Bytes that may wait: what the process may lose in memory terms when the disk stalls. At 100 MB/s, 64 MiB is well
/// under a second of writing, so a longer queue would only hide that the disk is too slow.
const QUEUE_BYTES: u64 = 64 * 1024 * 1024;
/// Entries that may wait: each costs an allocation and a waiter; 100,000 is a few seconds of the fastest writers.
const QUEUE_ENTRIES: usize = 100_000;
/// A group is closed at this size, so that the first of a long queue is not acknowledged with its last: 4 MiB is some
/// 40 ms of a slow disk.
const GROUP_BYTES: u64 = 4 * 1024 * 1024;

/// Those who wait for one group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    outcome: Mutex<Option<Result<(), Arc<JournalError>>>>,
    resolved: Condvar,
    notify: Notify,
}

impl Group {
    fn resolve(&self, outcome: Result<(), Arc<JournalError>>) {
        *lock(&self.outcome) = Some(outcome);
        self.resolved.notify_all();
        self.notify.notify_waiters();
    }

    fn outcome(&self) -> Option<Result<(), JournalError>> {
        lock(&self.outcome).clone().map(|outcome| outcome.map_err(JournalError::Poisoned))
    }

    pub(crate) fn wait(&self) -> Result<(), JournalError> {
        let outcome = lock(&self.outcome);
        let outcome = self
            .resolved
            .wait_while(outcome, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        outcome.unwrap_or(Ok(())).map_err(JournalError::Poisoned)
    }

    pub(crate) async fn synced(&self) -> Result<(), JournalError> {
        loop {
            // Made before the look, so that a resolution between look and await is not missed.
            let notified = self.notify.notified();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            notified.await;
        }
    }
}

struct Pending {
    group: Arc<Group>,
    entries: Vec<Vec<u8>>,
    bytes: u64,
}

#[derive(Default)]
struct Queue {
    pending: VecDeque<Pending>,
    /// Of all that is not synced, the group being written included.
    bytes: u64,
    entries: usize,
    length: u64,
    synced: u64,
    /// Whether the last of what is pending shall be on the disk now, and so all of it.
    wanted: bool,
    failure: Option<Arc<JournalError>>,
    closing: bool,
    ended: bool,
}

/// What handles and the committer thread share.
pub(crate) struct Committer {
    queue: Mutex<Queue>,
    /// There is work, or the journal closes.
    work: Condvar,
    /// A group was synced, or the committer failed or ended.
    progress: Condvar,
    pub(crate) chain: Chain,
    /// Without a thread: whoever wants or waits writes.
    here: Option<Mutex<Writer>>,
}

impl Committer {
    /// With a writer, `here`, there is no thread.
    pub(crate) fn new(length: u64, chain: Chain, here: Option<Writer>) -> Self {
        let queue = Queue { length, synced: length, ..Queue::default() };
        let here = here.map(Mutex::new);
        Self { queue: Mutex::new(queue), work: Condvar::new(), progress: Condvar::new(), chain, here }
    }

    /// Whether there is no thread: what is appended waits until somebody wants it.
    pub(crate) fn writes_here(&self) -> bool {
        self.here.is_some()
    }

    /// Queues, to be written `now` or with what is next; blocks while the queue is full. Returns the first index and,
    /// unless there was nothing, the group.
    pub(crate) fn append(&self, entries: Vec<Vec<u8>>, now: bool) -> Result<(u64, Option<Arc<Group>>), JournalError> {
        let bytes = entries.iter().map(|entry| entry.len() as u64).sum::<u64>();
        let mut queue = lock(&self.queue);
        loop {
            queue.refuse()?;
            let fits = queue.bytes + bytes <= QUEUE_BYTES && queue.entries + entries.len() <= QUEUE_ENTRIES;
            // What exceeds the bound alone is let in alone.
            if fits || queue.entries == 0 {
                break;
            }
            // Room is made by writing.
            self.want(&mut queue);
            if self.writes_here() {
                drop(queue);
                self.write_here();
                queue = lock(&self.queue);
                continue;
            }
            queue = self.progress.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let first_index = queue.length;
        if entries.is_empty() {
            return Ok((first_index, None));
        }
        queue.length += entries.len() as u64;
        queue.entries += entries.len();
        queue.bytes += bytes;
        let group = queue.join(entries, bytes);
        if now {
            self.want(&mut queue);
        }
        Ok((first_index, Some(group)))
    }

    /// Wants everything that is pending on the disk now.
    pub(crate) fn want_all(&self) {
        self.want(&mut lock(&self.queue));
        self.write_here();
    }

    fn want(&self, queue: &mut Queue) {
        if !queue.pending.is_empty() {
            queue.wanted = true;
            self.work.notify_one();
        }
    }

    pub(crate) fn length(&self) -> u64 {
        lock(&self.queue).length
    }

    pub(crate) fn synced(&self) -> u64 {
        lock(&self.queue).synced
    }

    pub(crate) fn is_busy(&self) -> bool {
        lock(&self.queue).entries > 0
    }

    pub(crate) fn failure(&self) -> Option<Arc<JournalError>> {
        lock(&self.queue).failure.clone()
    }

    /// Blocks until the first `length` entries are synced. What is not by itself after `patience` is wanted then.
    pub(crate) fn wait_for(&self, length: u64, patience: Duration) -> Result<(), JournalError> {
        let waits = |queue: &mut Queue| queue.synced < length && queue.failure.is_none() && !queue.ended;
        // Without a thread, who has patience waits for somebody without.
        let patience = if self.writes_here() && !patience.is_zero() { Duration::MAX } else { patience };
        if patience.is_zero() {
            self.write_here();
        }
        let queue = lock(&self.queue);
        let waited = self.progress.wait_timeout_while(queue, patience, waits);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        if waits(&mut queue) {
            self.want(&mut queue);
        }
        let queue = self.progress.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner);
        if queue.synced >= length { Ok(()) } else { queue.refuse().and(Err(JournalError::Closed)) }
    }

    /// Lets the thread end once the queue is empty.
    pub(crate) fn close(&self) {
        self.write_here();
        let mut queue = lock(&self.queue);
        queue.closing = true;
        queue.ended |= self.writes_here();
        drop(queue);
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// The committer thread.
    pub(crate) fn run(&self, mut writer: Writer) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while let Some(pending) = self.next() {
                self.write(&mut writer, pending)?;
            }
            Ok::<(), Box<(Option<Pending>, JournalError)>>(())
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => self.poison(failed.0, failed.1),
            Err(_) => self.poison(None, JournalError::CommitterEnded),
        }
        lock(&self.queue).ended = true;
        self.progress.notify_all();
    }

    fn write(&self, writer: &mut Writer, pending: Pending) -> Result<(), Box<(Option<Pending>, JournalError)>> {
        if let Err(error) = writer.commit(&self.chain, &pending.entries) {
            return Err(Box::new((Some(pending), error)));
        }
        self.acknowledge(pending, writer.next_index());
        writer.prepare().map_err(|error| Box::new((None, error)))
    }

    /// Does the thread's work where there is none.
    fn write_here(&self) {
        let Some(writer) = &self.here else { return };
        let mut writer = lock(writer);
        loop {
            let Some(pending) = lock(&self.queue).pending.pop_front() else { return };
            if let Err(failed) = self.write(&mut writer, pending) {
                let (pending, error) = *failed;
                return self.poison(pending, error);
            }
        }
    }

    fn next(&self) -> Option<Pending> {
        let queue = lock(&self.queue);
        let mut queue = self
            .work
            .wait_while(queue, |queue| !queue.wanted && !queue.closing)
            .unwrap_or_else(PoisonError::into_inner);
        let next = queue.pending.pop_front();
        queue.wanted &= !queue.pending.is_empty();
        next
    }

    fn acknowledge(&self, pending: Pending, synced: u64) {
        let mut queue = lock(&self.queue);
        queue.synced = synced;
        queue.bytes -= pending.bytes;
        queue.entries -= pending.entries.len();
        drop(queue);
        pending.group.resolve(Ok(()));
        self.progress.notify_all();
    }

    fn poison(&self, failed: Option<Pending>, error: JournalError) {
        tracing::error!(error = &error as &dyn std::error::Error, "the journal takes no more records");
        let error = Arc::new(error);
        let mut queue = lock(&self.queue);
        queue.failure = Some(error.clone());
        let waiting = std::mem::take(&mut queue.pending);
        drop(queue);
        for pending in failed.into_iter().chain(waiting) {
            pending.group.resolve(Err(error.clone()));
        }
        self.progress.notify_all();
    }
}

impl Queue {
    fn refuse(&self) -> Result<(), JournalError> {
        match &self.failure {
            Some(failure) => Err(JournalError::Poisoned(failure.clone())),
            None if self.closing => Err(JournalError::Closed),
            None => Ok(()),
        }
    }

    /// Adds to the group that waits, or begins another when that one is large enough.
    fn join(&mut self, mut entries: Vec<Vec<u8>>, bytes: u64) -> Arc<Group> {
        match self.pending.back_mut() {
            Some(last) if last.bytes + bytes <= GROUP_BYTES => {
                last.entries.append(&mut entries);
                last.bytes += bytes;
                last.group.clone()
            }
            _ => {
                let group = Arc::new(Group::default());
                self.pending.push_back(Pending { group: group.clone(), entries, bytes });
                group
            }
        }
    }
}

/// A panic while a lock was held leaves nothing half-done here, so the lock stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
