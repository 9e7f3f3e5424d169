//! The handle.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    JournalError,
    committer::{Committer, Group},
    disk::{Directory, DirectoryLock, Disk},
    recovery,
    segment::ENTRY_MAX,
    writer::Writer,
};

/// 64 MiB: small enough to copy back from a backup and to scan in a fraction of a second, large enough that a year of a
/// busy line is some hundred files.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Below this, headers and rolls would outweigh the records.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// The last segment is scanned at each opening.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Where the journal is and whose.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Created when it is missing.
    pub directory: PathBuf,
    /// C2SP origin, such as `factory.example/station-1`.
    pub origin: String,
    /// Segments are rolled at about this size in bytes (default 64 MiB).
    pub segment_bytes: u64,
    /// What a person types to have [`repair`](crate::repair()) mend it, with `COPY` for the copy's place: a refusal names it.
    pub repair: String,
    /// How many records a checkpoint says were on the disk (default 0): a journal with fewer is refused.
    pub at_least: u64,
}

impl JournalOptions {
    /// Options with segments of 64 MiB.
    pub fn new(directory: impl Into<PathBuf>, origin: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            origin: origin.into(),
            segment_bytes: SEGMENT_BYTES,
            at_least: 0,
            repair: "journal repair --from COPY".to_owned(),
        }
    }

    /// The origin becomes the name in a signed note's key and the first line of a checkpoint: C2SP signed-note forbids
    /// spaces and plus signs in it.
    fn check(&self) -> Result<(), JournalError> {
        let wrong = match &self.origin {
            origin if origin.is_empty() => Some("is empty"),
            origin if origin.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') => {
                Some("has a space, a plus sign or a control character in it")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(JournalError::Origin { origin: self.origin.clone(), wrong });
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(JournalError::SegmentBytes {
                value: self.segment_bytes,
                minimum: SEGMENT_BYTES_MIN,
                maximum: SEGMENT_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// What opening found: for the log and for the operator.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Records in the journal.
    pub records: u64,
    /// Bytes of a torn tail that were cut, if any, and where.
    pub torn: Option<String>,
}

/// A handle; clones share one committer thread and one lock on the directory.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    origin: String,
    repair: String,
    committer: Arc<Committer>,
    open: Mutex<Option<Open>>,
}

/// What ends with [`Journal::close`].
struct Open {
    thread: Option<JoinHandle<()>>,
    _lock: Option<DirectoryLock>,
}

impl Journal {
    /// Opens the journal, or creates it. Reads the headers of all segments and the whole of the last; a torn tail is
    /// cut and reported, and everything found is synced before this returns.
    ///
    /// # Errors
    /// Options out of bounds, a directory that cannot be written or is in use, damage, a missing segment, another
    /// origin, a later format: each names the file and the remedy. Nothing was changed then.
    pub fn open(options: &JournalOptions) -> Result<(Self, Recovery), JournalError> {
        options.check()?;
        let (disk, lock) = Directory::open(&options.directory)?;
        Self::start(Arc::new(disk), options, Some(lock), true)
    }

    /// The same on another [`Disk`], without a lock: for simulation. `options.directory` is not used.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(disk: Arc<dyn Disk>, options: &JournalOptions) -> Result<(Self, Recovery), JournalError> {
        options.check()?;
        Self::start(disk, options, None, true)
    }

    /// The same without a thread: what is appended is written by whoever waits for it, on the caller's thread, with
    /// everything that was queued until then. So what is on the disk follows from the order of the calls alone.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_unthreaded(disk: Arc<dyn Disk>, options: &JournalOptions) -> Result<(Self, Recovery), JournalError> {
        options.check()?;
        Self::start(disk, options, None, false)
    }

    fn start(
        disk: Arc<dyn Disk>,
        options: &JournalOptions,
        lock: Option<DirectoryLock>,
        threaded: bool,
    ) -> Result<(Self, Recovery), JournalError> {
        let recovered = recovery::recover(disk.as_ref(), &options.origin, options.at_least)
            .map_err(|error| error.mended_by(&options.repair))?;
        let torn = recovered.as_ref().and_then(|recovered| recovered.torn.clone());
        if let Some(torn) = &torn {
            tracing::warn!(torn, "a crash had torn the end of the journal");
        }
        let (writer, chain) = Writer::open(disk.clone(), &options.origin, options.segment_bytes, recovered)?;
        let records = writer.next_index();
        let committer = Arc::new(Committer::new(records, chain, writer, threaded));
        let spawn = || {
            let committer = committer.clone();
            thread::Builder::new().name("journal".to_owned()).spawn(move || committer.run())
        };
        let thread = threaded
            .then(spawn)
            .transpose()
            .map_err(JournalError::file("start the committer thread for", disk.path("")))?;
        let open = Mutex::new(Some(Open { thread, _lock: lock }));
        let handle =
            Arc::new(Handle { origin: options.origin.clone(), repair: options.repair.clone(), committer, open });
        Ok((Self { handle }, Recovery { records, torn }))
    }

    /// Queues entries as consecutive indexes of one group and returns at once. Nothing is on the disk before
    /// [`Appended`] says so; a crash before that keeps all of them, some from the first on, or none. Blocks only while
    /// more than 64 MiB or 100,000 entries wait. No entries are no error: [`Appended`] then resolves at once.
    ///
    /// # Errors
    /// An entry that is empty or has more than 65,535 bytes; a journal that is closed or poisoned. Nothing was queued.
    pub fn append(&self, entries: Vec<Vec<u8>>) -> Result<Appended, JournalError> {
        self.queue(entries, true)
    }

    /// The same, but without a sync of its own: the entries go to the disk with whatever is appended after them, or when
    /// somebody waits for them. For what may be lost in a crash, together with everything after it: what can be done again.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_later(&self, entries: Vec<Vec<u8>>) -> Result<Appended, JournalError> {
        self.queue(entries, false)
    }

    pub(crate) fn queue(&self, entries: Vec<Vec<u8>>, now: bool) -> Result<Appended, JournalError> {
        check_entries(&entries)?;
        let (first_index, group) = self.handle.committer.append(entries, now)?;
        let later = (!now || !self.handle.committer.has_thread()).then(|| self.handle.committer.clone());
        Ok(Appended { first_index, group, later })
    }

    /// Index after the last queued entry.
    pub fn length(&self) -> u64 {
        self.handle.committer.length()
    }

    /// Index after the last synced entry.
    pub fn synced(&self) -> u64 {
        self.handle.committer.synced()
    }

    /// Whether something is queued or being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.handle.committer.is_busy()
    }

    /// Waits (blocking) until everything queued so far is on the disk.
    ///
    /// # Errors
    /// When the journal was poisoned before that.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.sync_within(Duration::ZERO)
    }

    /// The same, without a hurry: what is not on the disk by itself after `patience` is written then.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync_within(&self, patience: Duration) -> Result<(), JournalError> {
        self.wait_for(self.length(), patience)
    }

    /// Waits (blocking) until the first `length` entries are on the disk; what is not after `patience` is written then.
    pub(crate) fn wait_for(&self, length: u64, patience: Duration) -> Result<(), JournalError> {
        self.handle.committer.wait_for(length, patience)
    }

    /// Wants everything queued so far on the disk, without waiting for it.
    pub fn hurry(&self) {
        self.handle.committer.want_all();
    }

    /// Synced entries, in order: what of `range` is synced, which may be less than was asked for. All of it is held in
    /// memory, so ask in pieces. Checks every checksum on its way.
    ///
    /// # Errors
    /// A segment that cannot be read or is damaged.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, JournalError> {
        let range = range.start..range.end.min(self.synced());
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.handle.committer.chain.read(range).map_err(|error| error.mended_by(&self.handle.repair))
    }

    /// Shows synced entries, in order, without keeping them: what of `range` is synced. Checks every checksum.
    ///
    /// # Errors
    /// As [`Journal::read`], or what `visit` said.
    pub(crate) fn visit<E: From<JournalError>>(
        &self,
        range: Range<u64>,
        visit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let range = range.start..range.end.min(self.synced());
        if range.is_empty() { Ok(()) } else { self.handle.committer.chain.visit(range, visit) }
    }

    /// What there is to say of an entry whose bytes are whole and which its reader does not understand.
    pub fn not_understood(&self, index: u64, wrong: impl Into<String>) -> JournalError {
        JournalError::Projection { index, path: self.handle.committer.chain.path_of(index), wrong: wrong.into() }
    }

    /// What poisoned the journal, when it takes no more.
    pub fn failure(&self) -> Option<Arc<JournalError>> {
        self.handle.committer.failure()
    }

    /// The origin it was opened with.
    pub fn origin(&self) -> &str {
        &self.handle.origin
    }

    /// Last sync, then the committer thread ends and the lock is released (also on drop of the last handle). Synced
    /// entries can still be read. Closing twice is no error.
    ///
    /// # Errors
    /// When the journal was poisoned, so that what was queued may not be on the disk.
    pub fn close(&self) -> Result<(), JournalError> {
        self.handle.close()
    }
}

impl Handle {
    fn close(&self) -> Result<(), JournalError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.committer.close();
        if let Some(thread) = open.take().and_then(|open| open.thread) {
            // A panic of the thread is already the journal's failure.
            let _ = thread.join();
        }
        self.committer.failure().map_or(Ok(()), |failure| Err(JournalError::Poisoned(failure)))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Who cares for the outcome calls close; the failure is in the log already.
        let _ = self.close();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

pub(crate) fn check_entries(entries: &[Vec<u8>]) -> Result<(), JournalError> {
    for (position, entry) in entries.iter().enumerate() {
        if entry.is_empty() {
            return Err(JournalError::EntryEmpty { position });
        }
        if entry.len() > ENTRY_MAX {
            return Err(JournalError::EntryTooLong { position, length: entry.len() });
        }
    }
    Ok(())
}

/// Entries that were queued.
#[must_use = "nothing is on the disk before this was waited for"]
pub struct Appended {
    first_index: u64,
    group: Option<Arc<Group>>,
    /// Whom to tell that somebody waits, when nobody was told yet.
    later: Option<Arc<Committer>>,
}

impl Appended {
    /// The index of the first.
    pub fn first_index(&self) -> u64 {
        self.first_index
    }

    /// Blocks until they are on the disk. What was appended for later is written here, by the caller's thread, unless it is
    /// on its way.
    ///
    /// # Errors
    /// When the journal was poisoned before that: the entries may or may not be there after a restart.
    pub fn wait(self) -> Result<(), JournalError> {
        let Some(group) = self.group else { return Ok(()) };
        if let Some(committer) = self.later {
            committer.write_for(&group);
        }
        group.wait()
    }

    /// The same for async callers, on any runtime.
    ///
    /// # Errors
    /// As [`Appended::wait`].
    pub async fn synced(self) -> Result<(), JournalError> {
        let Some(group) = self.group else { return Ok(()) };
        if let Some(committer) = self.later {
            committer.want_all();
        }
        group.synced().await
    }
}

impl std::fmt::Debug for Appended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appended").field("first_index", &self.first_index).finish_non_exhaustive()
    }
}
