//! The queue, and who puts it on the disk: one thread, or whoever waits for what the thread was not told of.
//!
//! A group is whatever queued during the last sync; there is no timer. What was appended for later waits until somebody
//! wants it, or something that was appended after it, on the disk. Each group carries its own waiters, so that a sync
//! wakes those whom it concerns and nobody else. Who blocks for its group may as well write it: waking the thread and being
//! woken by it takes as long as a sync.

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

    fn is_resolved(&self) -> bool {
        lock(&self.outcome).is_some()
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
    /// Whether room is to be made ahead of what is written.
    low: bool,
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
    /// Whoever takes the next group from the queue holds it until that group is on the disk: so groups keep their order.
    writer: Mutex<Writer>,
    /// Without a thread, whoever wants or waits writes, all of it.
    has_thread: bool,
}

impl Committer {
    pub(crate) fn new(length: u64, chain: Chain, writer: Writer, has_thread: bool) -> Self {
        Self {
            queue: Mutex::new(Queue { length, synced: length, ..Queue::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
            chain,
            writer: Mutex::new(writer),
            has_thread,
        }
    }

    /// Whether there is a thread: without one, what is appended waits until somebody wants it.
    pub(crate) fn has_thread(&self) -> bool {
        self.has_thread
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
            if !self.has_thread {
                drop(queue);
                self.write_all();
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
        if self.has_thread { self.want(&mut lock(&self.queue)) } else { self.write_all() }
    }

    /// Writes until a group is on the disk, for whoever waits for it and told nobody else.
    pub(crate) fn write_for(&self, group: &Group) {
        if !self.has_thread {
            return self.write_all();
        }
        let mut writer = lock(&self.writer);
        while !group.is_resolved() && self.write_next(&mut writer) {}
        // The thread makes room: nobody waits for it.
        if writer.is_low() {
            lock(&self.queue).low = true;
            self.work.notify_one();
        }
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
        let patience = if self.has_thread || patience.is_zero() { patience } else { Duration::MAX };
        if !self.has_thread && patience.is_zero() {
            self.write_all();
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
        if !self.has_thread {
            self.write_all();
        }
        let mut queue = lock(&self.queue);
        queue.closing = true;
        queue.ended |= !self.has_thread;
        drop(queue);
        self.work.notify_all();
        self.progress.notify_all();
    }

    /// The committer thread.
    pub(crate) fn run(&self) {
        while self.has_work() {
            self.write_and_prepare();
        }
        lock(&self.queue).ended = true;
        self.progress.notify_all();
    }

    /// Waits for work; there is none any more when the journal failed, or is closed and written.
    fn has_work(&self) -> bool {
        let idle = |queue: &mut Queue| !queue.wanted && !queue.low && !queue.closing && queue.failure.is_none();
        let queue = self.work.wait_while(lock(&self.queue), idle).unwrap_or_else(PoisonError::into_inner);
        queue.failure.is_none() && !(queue.closing && queue.pending.is_empty())
    }

    /// The thread's work, where there is none.
    fn write_all(&self) {
        while self.write_and_prepare() {}
    }

    /// Writes the next group, if there is one, and makes room ahead of what will be written; says whether it did both.
    fn write_and_prepare(&self) -> bool {
        let mut writer = lock(&self.writer);
        let wrote = self.write_next(&mut writer);
        let mut queue = lock(&self.queue);
        if queue.failure.is_some() {
            return false;
        }
        queue.low = false;
        drop(queue);
        match guarded(|| writer.prepare()) {
            Ok(()) => wrote,
            Err(error) => {
                self.poison(None, error);
                false
            }
        }
    }

    /// Writes the next group; says whether there was one, and it is on the disk.
    fn write_next(&self, writer: &mut Writer) -> bool {
        let Some(pending) = lock(&self.queue).take() else { return false };
        match guarded(|| writer.commit(&self.chain, &pending.entries)) {
            Ok(()) => {
                self.acknowledge(pending, writer.next_index());
                true
            }
            Err(error) => {
                self.poison(Some(pending), error);
                false
            }
        }
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
        self.work.notify_all();
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

    fn take(&mut self) -> Option<Pending> {
        let next = self.pending.pop_front();
        self.wanted &= !self.pending.is_empty();
        next
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

/// A writer that panicked may have written half a group: the journal ends as after any other failure.
fn guarded(act: impl FnOnce() -> Result<(), JournalError>) -> Result<(), JournalError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(JournalError::CommitterEnded))
}

/// A panic while a lock was held leaves nothing half-done here, so the lock stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
