//! The journal's disk, in memory. Nothing reaches it but while [`Disk::durable`] is waiting, so that what is on the disk
//! does not depend on how fast the committer thread is.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use journal::{
    Journal, JournalError,
    disk::{Disk as JournalDisk, SegmentFile},
};

/// The bytes of a segment before its first frame, and of a frame before its entries (agent/journal, `segment`).
const FIRST_FRAME: usize = 4096;
const FRAME_HEAD: usize = 16;
/// A thread that waits so long at the gate was forgotten there: a defect of the simulation.
const PATIENCE: Duration = Duration::from_secs(20);
/// EIO.
const INPUT_OUTPUT: i32 = 5;

/// A disk; clones are the same one.
#[derive(Debug, Clone)]
pub struct Disk(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    gate: Condvar,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: BTreeMap<String, usize>,
    contents: Vec<Content>,
    gate_open: bool,
    /// Syncs fail, and what they were for is gone.
    failing: bool,
    /// The station is no more: its threads come to an end.
    dead: bool,
}

#[derive(Debug, Clone, Default)]
struct Content {
    written: Vec<u8>,
    durable: Vec<u8>,
    /// First and last byte that was written since the last sync, and one more.
    dirty: Option<(usize, usize)>,
}

struct MemoryFile {
    disk: Disk,
    file: usize,
}

impl Default for Disk {
    fn default() -> Self {
        Self::of(Inner::default())
    }
}

impl Disk {
    fn of(mut inner: Inner) -> Self {
        (inner.gate_open, inner.failing, inner.dead) = (true, false, false);
        Self(Arc::new(State { inner: Mutex::new(inner), gate: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self, open: bool) {
        self.lock().gate_open = open;
        self.0.gate.notify_all();
    }

    /// From now on syncs wait for nobody.
    pub fn open_gate(&self) {
        self.gate(true);
    }

    /// From now on syncs wait, until somebody waits for them.
    pub fn close_gate(&self) {
        self.gate(false);
    }

    /// Waits until everything that is queued is on the disk.
    ///
    /// # Errors
    /// As the journal's.
    pub fn durable(&self, journal: &Journal) -> Result<(), JournalError> {
        self.gate(true);
        let synced = journal.sync();
        self.gate(false);
        synced
    }

    /// Syncs fail from now on.
    pub fn fail(&self) {
        self.lock().failing = true;
    }

    /// The process is killed: nothing of what it still tries happens.
    pub fn kill(&self) {
        self.lock().dead = true;
        self.0.gate.notify_all();
    }

    /// The disk as the next process finds it, with the first `records` records on it, and perhaps a part of the next one.
    ///
    /// # Errors
    /// In words: the disk has fewer.
    pub fn after_crash(&self, records: u64, torn: bool) -> Result<Self, String> {
        let mut inner = self.lock().clone();
        if inner.files.len() > 1 {
            return Err("the run is too long: its journal has a second segment".to_owned());
        }
        for content in &mut inner.contents {
            let bytes = &mut content.durable;
            let mut end = FIRST_FRAME;
            for record in 0..records {
                let size = frame(bytes, end);
                end = size.map(|size| end + size).ok_or_else(|| {
                    format!("the journal said that {records} records are on the disk, and record {record} is not")
                })?;
            }
            if torn && let Some(size) = frame(bytes, end) {
                end += size / 2;
            }
            if let Some(rest) = bytes.get_mut(end..) {
                rest.fill(0);
            }
            (content.written, content.dirty) = (bytes.clone(), None);
        }
        Ok(Self::of(inner))
    }
}

/// The size of the frame at `at`; `None` when there is none.
fn frame(bytes: &[u8], at: usize) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    (length > 0).then_some(FRAME_HEAD + length)
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(INPUT_OUTPUT)
}

impl Inner {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(failed()) } else { Ok(()) }
    }
}

impl JournalDisk for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut inner = self.lock();
        inner.alive()?;
        inner.contents.push(Content::default());
        let file = inner.contents.len() - 1;
        inner.files.insert(name.to_owned(), file);
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = *self.lock().files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        let file = inner.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.alive()?;
        inner.files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.lock().alive()
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("simulated").join(name)
    }
}

impl SegmentFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().contents[self.file].written.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.disk.lock();
        let rest = inner.contents[self.file].written.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.alive()?;
        let content = &mut inner.contents[self.file];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let written = &mut content.written;
        if written.len() < start {
            written.resize(start, 0);
        }
        let (over, behind) = bytes.split_at(written.len().min(end) - start);
        written[start..start + over.len()].copy_from_slice(over);
        written.extend_from_slice(behind);
        let (first, last) = content.dirty.unwrap_or((start, end));
        content.dirty = Some((first.min(start), last.max(end)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let closed = |inner: &mut Inner| !inner.gate_open && !inner.dead;
        let waited = self.disk.0.gate.wait_timeout_while(self.disk.lock(), PATIENCE, closed);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if inner.dead || inner.failing || !inner.gate_open {
            return Err(failed());
        }
        let Content { written, durable, dirty } = &mut inner.contents[self.file];
        if let Some((first, last)) = dirty.take() {
            let first = first.min(durable.len());
            let (over, behind) = written[first..last].split_at(durable.len().clamp(first, last) - first);
            durable[first..first + over.len()].copy_from_slice(over);
            durable.extend_from_slice(behind);
        }
        Ok(())
    }
}
