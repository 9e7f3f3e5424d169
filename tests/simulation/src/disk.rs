//! The journal's disk, in memory: it forgets what was not synced when the power is cut, keeps it when the process is
//! killed, and fails when told to. Everything happens on the thread that waits for the journal, so what is on the disk
//! follows from the seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use journal::disk::{Disk as JournalDisk, SegmentFile};

use crate::chance::Chance;

const PAGE: usize = 4096;
/// EIO.
const INPUT_OUTPUT: i32 = 5;
/// ENOSPC.
const NO_SPACE: i32 = 28;

/// A disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Inner>>);

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process is gone; the system still has what it wrote.
    Killed,
    /// Of what was not synced, some pages are on the disk.
    PowerCut,
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Syncs fail, and what they were for is gone.
    Input,
    /// No file grows, and none is made.
    Full,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    /// What the directory held at its last sync, and after each change since.
    directory: Vec<BTreeMap<String, usize>>,
    /// Changes of the disk until the process is killed.
    fuse: Option<usize>,
    dead: bool,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// Pages that were written since the last sync.
    dirty: BTreeSet<usize>,
}

struct MemoryFile {
    disk: Disk,
    file: usize,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process is killed at the `changes`-th change of the disk from now on; never for `None`.
    pub fn kill_at(&self, changes: Option<usize>) {
        self.lock().fuse = changes;
    }

    /// The process is killed: nothing of what it still tries happens.
    pub fn kill(&self) {
        self.lock().dead = true;
    }

    /// From now on this is wrong, or nothing.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.lock().trouble = trouble;
    }

    /// Whether the process was killed here.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Whether something is wrong with it.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.lock().trouble.is_some()
    }

    /// The disk as the next process finds it.
    #[must_use]
    pub fn after(&self, end: End, chance: &mut Chance) -> Self {
        let mut inner = self.lock().clone();
        (inner.fuse, inner.dead) = (None, false);
        if inner.trouble == Some(Trouble::Input) {
            inner.trouble = None;
        }
        if end == End::PowerCut {
            for file in &mut inner.files {
                file.cut(chance);
            }
            if let Some(last) = inner.directory.len().checked_sub(1) {
                inner.names.clone_from(&inner.directory[chance.below(last + 1)]);
                inner.directory = vec![inner.names.clone()];
            }
        }
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Content {
    /// Forgets some of what was not synced.
    fn cut(&mut self, chance: &mut Chance) {
        // Most often a good part of it is there, sometimes all or nothing.
        let share = chance.below(5);
        for page in std::mem::take(&mut self.dirty) {
            if chance.below(4) < share {
                let range = page * PAGE..(page * PAGE + PAGE).min(self.written.len());
                self.durable.resize(self.durable.len().max(range.end), 0);
                self.durable[range.clone()].copy_from_slice(&self.written[range]);
            }
        }
        self.written.clone_from(&self.durable);
    }
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl Inner {
    /// The disk is about to change.
    fn change(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            self.dead |= *left == 0;
        }
        if self.dead { Err(error(INPUT_OUTPUT)) } else { Ok(()) }
    }

    fn directory_changed(&mut self) {
        if self.directory.is_empty() {
            self.directory.push(BTreeMap::new());
        }
        self.directory.push(self.names.clone());
    }
}

impl JournalDisk for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut inner = self.lock();
        inner.change()?;
        if inner.trouble == Some(Trouble::Full) {
            return Err(error(NO_SPACE));
        }
        inner.files.push(Content::default());
        let file = inner.files.len() - 1;
        inner.names.insert(name.to_owned(), file);
        inner.directory_changed();
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = *self.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        inner.directory_changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.directory_changed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.directory = vec![inner.names.clone()];
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

impl SegmentFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].written.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.lock();
        let rest = inner.files[self.file].written.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let died = inner.change();
        let full = inner.trouble == Some(Trouble::Full);
        let content = &mut inner.files[self.file];
        let (start, mut end) = (offset as usize, offset as usize + bytes.len());
        let grows = end > content.written.len();
        if died.is_err() {
            // A write that is cut off reaches the system in part.
            end = start + bytes.len() / 2;
        } else if full && grows {
            end = start.max(content.written.len());
        }
        if end > start {
            content.written.resize(content.written.len().max(end), 0);
            content.written[start..end].copy_from_slice(&bytes[..end - start]);
            content.dirty.extend(start / PAGE..=(end - 1) / PAGE);
        }
        died.and(if full && grows { Err(error(NO_SPACE)) } else { Ok(()) })
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.change()?;
        let troubled = inner.trouble == Some(Trouble::Input);
        let content = &mut inner.files[self.file];
        let dirty = std::mem::take(&mut content.dirty);
        if troubled {
            // As Linux does: the pages that did not reach the disk are held for clean.
            return Err(error(INPUT_OUTPUT));
        }
        content.durable.resize(content.durable.len().max(content.written.len()), 0);
        for page in dirty {
            let range = page * PAGE..(page * PAGE + PAGE).min(content.written.len());
            content.durable[range.clone()].copy_from_slice(&content.written[range]);
        }
        Ok(())
    }
}
