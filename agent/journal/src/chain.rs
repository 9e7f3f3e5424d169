//! The segments of a journal in order, and reading from them.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{
    JournalError,
    disk::{Disk, SegmentFile},
    segment::{self, FIRST_FRAME, Step, Walk},
};

/// The offset of every so-manieth record is kept in memory: a read of one record walks over at most so many, about 10 KB,
/// and a million records cost half a megabyte.
const MARK_EVERY: u64 = 16;

pub(crate) struct Segment {
    pub(crate) first_index: u64,
    pub(crate) seed: u32,
    name: String,
    path: PathBuf,
    /// `marks[n]` is the offset of record `first_index + n * MARK_EVERY`. Grows as records are written or walked over.
    marks: Mutex<Vec<u64>>,
}

impl Segment {
    pub(crate) fn new(disk: &dyn Disk, first_index: u64, seed: u32) -> Self {
        let name = segment::name(first_index);
        Self { first_index, seed, path: disk.path(&name), name, marks: Mutex::new(vec![FIRST_FRAME]) }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Notes where a record begins, when it is one to be noted.
    pub(crate) fn mark(&self, index: u64, offset: u64) {
        let behind = index - self.first_index;
        if behind.is_multiple_of(MARK_EVERY) {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            if marks.len() as u64 == behind / MARK_EVERY {
                marks.push(offset);
            }
        }
    }

    /// The last noted record at or before `index`, and its offset.
    fn mark_before(&self, index: u64) -> (u64, u64) {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let last = marks.len().saturating_sub(1) as u64;
        let nth = ((index - self.first_index) / MARK_EVERY).min(last);
        (self.first_index + nth * MARK_EVERY, marks.get(nth as usize).copied().unwrap_or(FIRST_FRAME))
    }

    fn visit<E: From<JournalError>>(
        &self,
        file: &dyn SegmentFile,
        range: Range<u64>,
        visit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut index, offset) = self.mark_before(range.start);
        let mut walk = Walk::new(file, self.seed, offset);
        while index < range.end {
            let offset = walk.offset();
            match walk.step().map_err(JournalError::file("read", &self.path))? {
                Step::Frame { offset, entry, .. } => {
                    self.mark(index, offset);
                    if index >= range.start {
                        visit(entry)?;
                    }
                    index += 1;
                }
                Step::End => Err(self.damaged(offset, format!("record {index} should be here, not the end")))?,
                Step::Bad(wrong) => Err(self.damaged(offset, format!("{wrong}, where record {index} was")))?,
            }
        }
        Ok(())
    }

    pub(crate) fn damaged(&self, offset: u64, wrong: String) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), offset, wrong, repair: String::new() }
    }
}

/// All segments, the active one last.
pub(crate) struct Chain {
    disk: Arc<dyn Disk>,
    segments: RwLock<Vec<Arc<Segment>>>,
}

impl Chain {
    pub(crate) fn new(disk: Arc<dyn Disk>, segments: Vec<Arc<Segment>>) -> Self {
        Self { disk, segments: RwLock::new(segments) }
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// The entries of `range`, all of which are synced.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut entries = Vec::new();
        self.visit(range, &mut |entry| {
            entries.push(entry.to_vec());
            Ok::<_, JournalError>(())
        })?;
        Ok(entries)
    }

    /// Shows each entry of `range`, all of which are synced, in order.
    pub(crate) fn visit<E: From<JournalError>>(
        &self,
        range: Range<u64>,
        visit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for (segment, part) in self.parts(range) {
            // Not kept open: reads of what is long past are rare, and a journal of years has many segments.
            let file = self.disk.open(&segment.name).map_err(JournalError::file("open", segment.path()))?;
            segment.visit(file.as_ref(), part, visit)?;
        }
        Ok(())
    }

    /// The file that holds this entry, or will.
    pub(crate) fn path_of(&self, index: u64) -> PathBuf {
        let segment = self.parts(index..index + 1).pop();
        segment.map_or_else(|| self.disk.path(""), |(segment, _)| segment.path().to_owned())
    }

    /// Which part of `range` each segment holds.
    fn parts(&self, range: Range<u64>) -> Vec<(Arc<Segment>, Range<u64>)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let from = segments.partition_point(|segment| segment.first_index <= range.start).saturating_sub(1);
        let ends = segments.iter().skip(from + 1).map(|next| next.first_index).chain([u64::MAX]);
        segments[from..]
            .iter()
            .zip(ends)
            .map(|(segment, end)| (segment.clone(), range.start.max(segment.first_index)..range.end.min(end)))
            .filter(|(_, part)| !part.is_empty())
            .collect()
    }
}
