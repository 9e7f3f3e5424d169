//! What is not yet on sled, in memory, over what is.

use std::{
    collections::BTreeMap,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Row, pages::Pages};
use crate::JournalError;

/// Rows that entries made (`Some`) or removed (`None`), by full key.
pub(super) type Staged = BTreeMap<Vec<u8>, Option<Arc<[u8]>>>;

/// A key with its tree's name before it: one sled tree holds all of ours, so that one batch is atomic over all of them.
pub(super) fn full_key(tree: &str, key: &[u8]) -> Vec<u8> {
    debug_assert!(!tree.is_empty() && !tree.contains('\0'), "a tree's name keeps its rows from those of others");
    let mut full = Vec::with_capacity(tree.len() + 1 + key.len());
    full.extend_from_slice(tree.as_bytes());
    full.push(0);
    full.extend_from_slice(key);
    full
}

pub(super) struct Overlay {
    path: PathBuf,
    inner: RwLock<Inner>,
}

struct Inner {
    rows: BTreeMap<Vec<u8>, Shadow>,
    below: Below,
}

enum Below {
    Sled(Pages),
    /// All rows stay in memory.
    Nothing,
    Closed,
}

impl Below {
    fn sled(&self) -> Result<Option<&Pages>, JournalError> {
        match self {
            Self::Sled(rows) => Ok(Some(rows)),
            Self::Nothing => Ok(None),
            Self::Closed => Err(JournalError::ProjectionsClosed),
        }
    }
}

/// A row that sled does not have yet.
struct Shadow {
    value: Option<Arc<[u8]>>,
    /// The index after the entries that made it: sled has the row once it has applied so far.
    end: u64,
}

impl Overlay {
    pub(super) fn new(path: PathBuf, below: Pages) -> Self {
        Self { path, inner: RwLock::new(Inner { rows: BTreeMap::new(), below: Below::Sled(below) }) }
    }

    /// Over nothing.
    pub(super) fn in_memory() -> Self {
        Self { path: PathBuf::new(), inner: RwLock::new(Inner { rows: BTreeMap::new(), below: Below::Nothing }) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn merge(&self, staged: &Staged, end: u64) {
        let rows = &mut self.write().rows;
        for (key, value) in staged {
            rows.insert(key.clone(), Shadow { value: value.clone(), end });
        }
    }

    /// Drops what sled now has, unless a later entry changed it again.
    pub(super) fn settle<'k>(&self, keys: impl Iterator<Item = &'k Vec<u8>>, applied: u64) {
        let rows = &mut self.write().rows;
        for key in keys {
            if rows.get(key).is_some_and(|shadow| shadow.end <= applied) {
                rows.remove(key);
            }
        }
    }

    /// sled as it stands.
    #[cfg(test)]
    pub(super) fn below(&self) -> Pages {
        self.read().below.sled().unwrap().unwrap().clone()
    }

    pub(super) fn close(&self) {
        self.write().below = Below::Closed;
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let inner = self.read();
        let below = inner.below.sled()?;
        if let Some(shadow) = inner.rows.get(key) {
            return Ok(shadow.value.as_deref().map(<[u8]>::to_vec));
        }
        let Some(below) = below else { return Ok(None) };
        guarded(|| below.get(key)).map_err(|wrong| self.unreadable(wrong))
    }

    /// Rows by full key. The lock is held throughout: what the follower writes meanwhile is still shadowed.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<Row>, JournalError> {
        let inner = self.read();
        let below = inner.below.sled()?;
        let Some(range) = bounds(prefix, after, descending) else { return Ok(Vec::new()) };
        let shadows =
            inner.rows.range::<[u8], _>((range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice)));
        let rows = guarded(|| {
            if descending {
                let settled = below.map(|below| below.descending(range.clone())).transpose()?.into_iter().flatten();
                join(shadows.rev(), settled, limit, |shadow, settled| shadow > settled)
            } else {
                let settled = below.map(|below| below.ascending(range.clone())).transpose()?.into_iter().flatten();
                join(shadows, settled, limit, |shadow, settled| shadow < settled)
            }
        });
        rows.map_err(|wrong| self.unreadable(wrong))
    }

    fn unreadable(&self, wrong: String) -> JournalError {
        JournalError::Rows { path: self.path.clone(), act: "be read", wrong }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// sled panics on some damage; that must end as an error.
pub(super) fn guarded<T>(act: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_words(panic.as_ref())),
    }
}

pub(super) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", words.unwrap_or("without words"))
}

pub(super) type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The range of keys to look at; `None` when it is empty (a `BTreeMap` panics at a reversed one).
fn bounds(prefix: &[u8], after: Option<&[u8]>, descending: bool) -> Option<Range> {
    let mut lower = (prefix.to_vec(), true);
    let mut upper = successor(prefix)?;
    match after {
        Some(after) if descending => upper = upper.min(after.to_vec()),
        Some(after) if after >= prefix => lower = (after.to_vec(), false),
        _ => {}
    }
    if lower.0 >= upper {
        return None;
    }
    let lower = if lower.1 { Bound::Included(lower.0) } else { Bound::Excluded(lower.0) };
    Some((lower, Bound::Excluded(upper)))
}

/// The least key greater than all that start with `prefix`. A full key has the NUL behind its tree's name, so there is
/// one.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn join<'a>(
    shadows: impl Iterator<Item = (&'a Vec<u8>, &'a Shadow)>,
    settled: impl Iterator<Item = sled::Result<Row>>,
    limit: usize,
    is_first: impl Fn(&[u8], &[u8]) -> bool,
) -> sled::Result<Vec<Row>> {
    let (mut shadows, mut settled) = (shadows.peekable(), settled.peekable());
    let mut rows = Vec::new();
    while rows.len() < limit {
        let take_shadow = match (shadows.peek(), settled.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (Some((shadow, _)), Some(Ok((key, _)))) if *shadow == key => {
                settled.next();
                true
            }
            (Some((shadow, _)), Some(Ok((key, _)))) => is_first(shadow, key),
            (_, Some(_)) => false,
        };
        if take_shadow {
            if let Some((key, Shadow { value: Some(value), .. })) = shadows.next() {
                rows.push((key.clone(), value.to_vec()));
            }
        } else if let Some(row) = settled.next() {
            rows.push(row?);
        }
    }
    Ok(rows)
}
