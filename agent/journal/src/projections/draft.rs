//! A group of entries in the making: what they change is seen before they are appended.

use super::{Projection, Projections, Rows};
use crate::{Appended, JournalError};

/// Entries of one group before they are appended, with what they change on top of the rows. For whoever alone appends:
/// what another one appended meanwhile is an error in [`Draft::append_later`].
pub struct Draft<'a, P> {
    projections: &'a Projections<P>,
    first_index: u64,
    entries: Vec<Vec<u8>>,
    rows: Rows<'a>,
}

impl<P: Projection> Projections<P> {
    /// Begins a group at the journal's end.
    pub fn draft(&self) -> Draft<'_, P> {
        let (first_index, rows) = (self.journal.length(), Rows::new(&self.overlay));
        Draft { projections: self, first_index, entries: Vec::new(), rows }
    }
}

impl<P: Projection> Draft<'_, P> {
    /// The row's value once the draft is appended, `None` when there will be no such row.
    ///
    /// # Errors
    /// Rows that cannot be read, or closed projections.
    pub fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        self.rows.read(tree, key)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Rows that cannot be read. Within: the projection's words on why it does not know the entry, which is not added
    /// then; where the projection says so before its first change, the draft is as it was.
    pub fn add(&mut self, entry: Vec<u8>) -> Result<Result<(), String>, JournalError> {
        let index = self.first_index + self.entries.len() as u64;
        let outcome = self.rows.apply(&self.projections.projection, index, &entry)?;
        if outcome.is_ok() {
            self.entries.push(entry);
        }
        Ok(outcome)
    }

    /// The draft's entry with that index, `None` when it is not one of the draft's.
    pub fn entry(&self, index: u64) -> Option<&[u8]> {
        let place = usize::try_from(index.checked_sub(self.first_index)?).ok()?;
        self.entries.get(place).map(Vec::as_slice)
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends and applies what was added, as one group, to be written by whoever waits for it, as with
    /// [`Journal::append_later`](crate::Journal::append_later). Blocks only when sled is far behind or the queue is full.
    ///
    /// # Errors
    /// As [`Journal::append`](crate::Journal::append); entries that somebody else appended meanwhile; rows that cannot be
    /// written.
    pub fn append_later(self) -> Result<Appended, JournalError> {
        let mut next = self.projections.lock();
        if self.first_index != *next {
            return Err(JournalError::OutOfOrder { expected: *next, got: self.first_index });
        }
        self.projections.queue(&mut next, self.entries, self.rows.staged, false)
    }
}
