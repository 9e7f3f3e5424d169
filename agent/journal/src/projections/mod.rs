//! What a user makes of its entries, in rows of named trees.
//!
//! An applied entry changes the overlay, in memory, at once. A thread of its own follows the journal's sync: it moves the
//! rows of synced entries to sled, in batches that carry the applied index, and then drops them from the overlay.

mod checksum;
mod draft;
mod follower;
mod generation;
mod overlay;
mod pages;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::draft::Draft;
use self::{
    follower::{Change, Follower},
    generation::{Check, Identity, Opener},
    overlay::{Overlay, Staged},
};
use crate::{Appended, Journal, JournalError};

/// A replay reads and applies so many entries at once: at most 16 MiB of the longest entries.
const REPLAY: u64 = 256;
/// A walk has so many rows in memory.
const WALK: usize = 1024;

/// A row's key within its tree, and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What a user keeps of its records, in rows. Pure: the same entries make the same rows.
pub trait Projection: Send + Sync + 'static {
    /// Raised when the meaning of rows changes: rows of another version are rebuilt.
    const VERSION: u32;
    /// Octets of rows that sled keeps at hand: enough for those that are
    /// changed often, wherever they stand.
    const CACHE_BYTES: u64 = 64 * 1024 * 1024;
    /// Makes rows of an entry.
    ///
    /// # Errors
    /// Total: an entry that it does not know is an error, in words, which stops the opening.
    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String>;
}

/// Rows of named trees as they stand, with the changes of this entry on top. A tree has a name, without NUL in it.
pub struct Rows<'a> {
    overlay: &'a Overlay,
    staged: Staged,
    /// A row that could not be read: `get` cannot say so, the apply as a whole does.
    failure: RefCell<Option<JournalError>>,
}

impl<'a> Rows<'a> {
    fn new(overlay: &'a Overlay) -> Self {
        Self { overlay, staged: Staged::new(), failure: RefCell::new(None) }
    }

    /// The row's value, `None` when there is no such row.
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Option<Vec<u8>> {
        self.read(tree, key).unwrap_or_else(|error| {
            self.failure.borrow_mut().get_or_insert(error);
            None
        })
    }

    fn read(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let key = overlay::full_key(tree, key);
        match self.staged.get(&key) {
            Some(value) => Ok(value.as_deref().map(<[u8]>::to_vec)),
            None => self.overlay.get(&key),
        }
    }

    /// Has an entry applied; what the projection says against it is within.
    fn apply(
        &mut self,
        projection: &impl Projection,
        index: u64,
        entry: &[u8],
    ) -> Result<Result<(), String>, JournalError> {
        let outcome = projection.apply(index, entry, self);
        self.failure.take().map_or(Ok(outcome), Err)
    }

    /// Makes or replaces a row.
    pub fn put(&mut self, tree: &'static str, key: &[u8], value: Vec<u8>) {
        self.staged.insert(overlay::full_key(tree, key), Some(value.into()));
    }

    /// Removes a row; one that is not there is no error.
    pub fn delete(&mut self, tree: &'static str, key: &[u8]) {
        self.staged.insert(overlay::full_key(tree, key), None);
    }
}

/// Rows on sled, with what is not yet there in memory on top. Readers see an applied entry at once; sled follows in
/// batches behind, never ahead of the journal's sync, and is rebuilt when it is missing, damaged or of another version.
pub struct Projections<P> {
    journal: Journal,
    projection: P,
    /// The next index to apply; held while entries are applied, so that they are in order.
    next: Mutex<u64>,
    overlay: Arc<Overlay>,
    /// `None` when the rows are in memory only.
    follower: Option<Follower>,
}

impl<P: Projection> Projections<P> {
    /// Opens (or rebuilds) and replays what sled lacks from the journal. `progress(done, all)` is called now and then,
    /// with numbers of entries. Checks all rows against their checksum, which takes about a second per million.
    ///
    /// # Errors
    /// An entry that the projection does not know; a journal that cannot be read; a directory that cannot be written.
    /// Rows that cannot be read are no error: they are rebuilt in a new generation directory.
    pub fn open(
        journal: &Journal,
        directory: &Path,
        projection: P,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, JournalError> {
        Self::open_by(&Opener::new(Check::Before, P::CACHE_BYTES), journal, directory, projection, progress)
    }

    /// The same for who must be ready soon and has another guard against what a lost row would let pass: the rows are
    /// used at once, and checked behind. When they do not pass, nothing more is applied ([`Projections::failure`]), and the
    /// next opening rebuilds them.
    ///
    /// # Errors
    /// As [`Projections::open`].
    pub fn open_soon(
        journal: &Journal,
        directory: &Path,
        projection: P,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, JournalError> {
        Self::open_by(&Opener::new(Check::Behind, P::CACHE_BYTES), journal, directory, projection, progress)
    }

    fn open_by(
        opener: &Opener,
        journal: &Journal,
        directory: &Path,
        projection: P,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, JournalError> {
        let identity = Identity { version: P::VERSION, origin: crate::sha256(journal.origin().as_bytes()) };
        let all = journal.synced();
        let generation = opener.open(directory, &identity, journal)?;
        let applied = generation.applied();
        let overlay = Arc::new(Overlay::new(generation.path().to_owned(), generation.rows()));
        let follower = Some(Follower::start(journal.clone(), overlay.clone(), generation, all)?);
        let projections = Self { journal: journal.clone(), projection, next: Mutex::new(applied), overlay, follower };
        projections.replay(applied, all, progress)?;
        Ok(projections)
    }

    /// The same rows in memory only, made anew from the journal: for simulation, and for looking at a short journal.
    ///
    /// # Errors
    /// As [`Projections::open`].
    pub fn in_memory(journal: &Journal, projection: P) -> Result<Self, JournalError> {
        let (journal, overlay, all) = (journal.clone(), Arc::new(Overlay::in_memory()), journal.synced());
        let projections = Self { journal, projection, next: Mutex::new(0), overlay, follower: None };
        projections.replay(0, all, &mut |_, _| {})?;
        Ok(projections)
    }

    fn replay(&self, applied: u64, all: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<(), JournalError> {
        progress(applied, all);
        let mut next = applied;
        while next < all {
            let entries = self.journal.read(next..all.min(next + REPLAY))?;
            self.apply(next, &entries)?;
            next += entries.len() as u64;
            progress(next, all);
        }
        Ok(())
    }

    /// Applies entries of the journal, in order of their indexes. Readers see all of them or none. Blocks only when sled is
    /// far behind.
    ///
    /// # Errors
    /// Entries that are not the next ones or not yet queued; an entry that the projection does not know; rows that
    /// cannot be read or written. Nothing was applied then.
    fn apply(&self, first_index: u64, entries: &[Vec<u8>]) -> Result<(), JournalError> {
        let mut next = self.lock();
        if first_index != *next {
            return Err(JournalError::OutOfOrder { expected: *next, got: first_index });
        }
        let (end, length) = (first_index + entries.len() as u64, self.journal.length());
        if end > length {
            return Err(JournalError::NotAppended { end, length });
        }
        let staged = self.stage(first_index, entries)?;
        self.follower.as_ref().map_or(Ok(()), Follower::admit)?;
        if let Some(last) = entries.last() {
            self.publish(&mut next, end, crate::sha256(last), staged);
        }
        Ok(())
    }

    /// Appends and applies as one step, for callers that would otherwise need a lock of their own to keep the two in
    /// one order. Entries that the projection does not know are refused before they are in the journal.
    ///
    /// # Errors
    /// As [`Journal::append`] and `apply`.
    pub fn append(&self, entries: Vec<Vec<u8>>) -> Result<Appended, JournalError> {
        self.append_by(entries, true)
    }

    /// The same with [`Journal::append_later`].
    ///
    /// # Errors
    /// As [`Projections::append`].
    pub fn append_later(&self, entries: Vec<Vec<u8>>) -> Result<Appended, JournalError> {
        self.append_by(entries, false)
    }

    fn append_by(&self, entries: Vec<Vec<u8>>, now: bool) -> Result<Appended, JournalError> {
        let mut next = self.lock();
        let length = self.journal.length();
        if *next != length {
            return Err(JournalError::OutOfOrder { expected: *next, got: length });
        }
        let staged = self.stage(length, &entries)?;
        self.queue(&mut next, entries, staged, now)
    }

    fn stage(&self, first_index: u64, entries: &[Vec<u8>]) -> Result<Staged, JournalError> {
        let mut rows = Rows::new(&self.overlay);
        for (index, entry) in (first_index..).zip(entries) {
            let outcome = rows.apply(&self.projection, index, entry)?;
            outcome.map_err(|wrong| self.journal.not_understood(index, wrong))?;
        }
        Ok(rows.staged)
    }

    /// Appends entries whose rows are made.
    fn queue(
        &self,
        next: &mut u64,
        entries: Vec<Vec<u8>>,
        staged: Staged,
        now: bool,
    ) -> Result<Appended, JournalError> {
        self.follower.as_ref().map_or(Ok(()), Follower::admit)?;
        let (end, last) = (*next + entries.len() as u64, entries.last().map(|last| crate::sha256(last)));
        let appended = self.journal.queue(entries, now)?;
        if appended.first_index() != *next {
            return Err(JournalError::OutOfOrder { expected: *next, got: appended.first_index() });
        }
        if let Some(last) = last {
            self.publish(next, end, last, staged);
        }
        Ok(appended)
    }

    /// Readers see from now on what the entries before `end` made.
    fn publish(&self, next: &mut u64, end: u64, last_entry: [u8; 32], staged: Staged) {
        self.overlay.merge(&staged, end);
        if let Some(follower) = &self.follower {
            follower.push(Change { end, last_entry, rows: staged });
        }
        *next = end;
    }

    /// The row's value, `None` when there is no such row.
    ///
    /// # Errors
    /// Rows that cannot be read, or closed projections.
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.overlay.get(&overlay::full_key(tree, key))
    }

    /// At most `limit` rows whose key starts with `prefix` and is greater than `after` (or less, when `descending`), in
    /// order of their keys (or against it).
    ///
    /// # Errors
    /// Rows that cannot be read, or closed projections.
    pub fn scan(
        &self,
        tree: &'static str,
        prefix: &[u8],
        after: Option<&[u8]>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Row>, JournalError> {
        let after = after.map(|after| overlay::full_key(tree, after));
        let mut rows = self.overlay.scan(&overlay::full_key(tree, prefix), after.as_deref(), descending, limit)?;
        rows.iter_mut().for_each(|(key, _)| drop(key.drain(..=tree.len())));
        Ok(rows)
    }

    /// All rows of a tree, ascending, without having them in memory together. What is changed meanwhile is seen or not.
    pub fn walk(&self, tree: &'static str) -> impl Iterator<Item = Result<Row, JournalError>> + '_ {
        let (mut after, mut ended) = (None::<Vec<u8>>, false);
        let part = move || {
            if ended {
                return None;
            }
            let rows = self.scan(tree, &[], after.as_deref(), false, WALK);
            ended = rows.as_ref().map_or(0, Vec::len) < WALK;
            after = rows.as_ref().ok().and_then(|rows| rows.last()).map(|(key, _)| key.clone());
            Some(rows.map_or_else(|error| vec![Err(error)], |rows| rows.into_iter().map(Ok).collect()))
        };
        std::iter::from_fn(part).flatten()
    }

    /// Index after the last applied entry.
    pub fn applied(&self) -> u64 {
        *self.lock()
    }

    /// Why rows are no longer written, when they are not: then nothing more should be appended.
    pub fn failure(&self) -> Option<JournalError> {
        self.follower.as_ref().and_then(Follower::failure)
    }

    /// Writes what is pending to sled and closes it. Closing twice is no error.
    ///
    /// # Errors
    /// Rows that could not be written, or not within half a minute: they are rebuilt at the next start.
    pub fn close(&self) -> Result<(), JournalError> {
        let _next = self.lock();
        self.journal.hurry();
        let outcome = self.follower.as_ref().map_or(Ok(()), Follower::close);
        self.overlay.close();
        outcome
    }
}

impl<P> Projections<P> {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Drop for Projections<P> {
    fn drop(&mut self) {
        // Who cares for the outcome calls close; the failure is in the log already.
        self.journal.hurry();
        let _ = self.follower.as_ref().map(Follower::close);
        self.overlay.close();
    }
}

impl<P> std::fmt::Debug for Projections<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projections").field("rows", &self.overlay.path()).finish_non_exhaustive()
    }
}
