//! INTERFACE SKETCH: the bodies are to be written; signatures may grow but what stands here is what others code against.
#![allow(clippy::todo, unused_variables, missing_docs)]

use std::{ops::Range, path::{Path, PathBuf}, sync::Arc};

/// Where the journal is and whose.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    pub directory: PathBuf,
    /// C2SP origin, such as `factory.example/station-1`.
    pub origin: String,
    /// Segments are rolled at about this size (default 64 MiB).
    pub segment_bytes: u64,
}
impl JournalOptions {
    pub fn new(directory: impl Into<PathBuf>, origin: impl Into<String>) -> Self { todo!() }
}

/// What opening found: for the log and for the operator.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    pub records: u64,
    /// Bytes of a torn tail that were cut, if any, and where.
    pub torn: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("sketch")]
    Sketch,
}

/// A handle; clones share one committer thread and one lock on the directory.
#[derive(Clone)]
pub struct Journal {}

impl Journal {
    pub fn open(options: &JournalOptions) -> Result<(Self, Recovery), JournalError> { todo!() }
    /// Queues entries as consecutive indexes of one group and returns at once. Nothing is on the disk before
    /// [`Appended`] says so.
    pub fn append(&self, entries: Vec<Vec<u8>>) -> Result<Appended, JournalError> { todo!() }
    /// Index after the last queued entry.
    pub fn length(&self) -> u64 { todo!() }
    /// Index after the last synced entry.
    pub fn synced(&self) -> u64 { todo!() }
    /// Waits (blocking) until everything queued so far is on the disk.
    pub fn sync(&self) -> Result<(), JournalError> { todo!() }
    /// Synced entries, in order.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, JournalError> { todo!() }
    /// What poisoned the journal, when it takes no more.
    pub fn failure(&self) -> Option<Arc<JournalError>> { todo!() }
    /// Last sync, then the committer thread ends and the lock is released (also on drop of the last handle).
    pub fn close(&self) -> Result<(), JournalError> { todo!() }
}

/// Entries that were queued.
#[derive(Debug)]
pub struct Appended {}
impl Appended {
    /// The index of the first.
    pub fn first_index(&self) -> u64 { todo!() }
    /// Blocks until they are on the disk.
    pub fn wait(self) -> Result<(), JournalError> { todo!() }
    /// The same for async callers.
    pub async fn synced(self) -> Result<(), JournalError> { todo!() }
}

/// What a user keeps of its records, in rows. Pure: the same entries make the same rows.
pub trait Projection: Send + Sync + 'static {
    /// Raised when the meaning of rows changes: rows of another version are rebuilt.
    const VERSION: u32;
    /// Total: an entry that it does not know is an error which stops the opening.
    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String>;
}

/// Rows of named trees as they stand, with the changes of this entry on top.
pub struct Rows<'a> { _sketch: &'a () }
impl Rows<'_> {
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Option<Vec<u8>> { todo!() }
    pub fn put(&mut self, tree: &'static str, key: &[u8], value: Vec<u8>) { todo!() }
    pub fn delete(&mut self, tree: &'static str, key: &[u8]) { todo!() }
}

/// Rows on sled, with what is not yet there in memory on top. Readers see an applied entry at once; sled follows in
/// batches behind, never ahead of the journal's sync, and is rebuilt when it is missing, damaged or of another version.
pub struct Projections<P> { _sketch: P }
impl<P: Projection> Projections<P> {
    /// Opens (or rebuilds) and replays what sled lacks from the journal. `progress(done, all)` is called now and then.
    pub fn open(journal: &Journal, directory: &Path, projection: P, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, JournalError> { todo!() }
    /// Applies entries that were just queued, in order of their indexes.
    pub fn apply(&self, first_index: u64, entries: &[Vec<u8>]) -> Result<(), JournalError> { todo!() }
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> { todo!() }
    /// At most `limit` rows whose key starts with `prefix` and is greater than `after` (or less, when `descending`), in order.
    pub fn scan(&self, tree: &'static str, prefix: &[u8], after: Option<&[u8]>, descending: bool, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>, JournalError> { todo!() }
    /// Writes what is pending to sled and closes it.
    pub fn close(&self) -> Result<(), JournalError> { todo!() }
}
