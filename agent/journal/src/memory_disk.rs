//! A disk in memory for tests. Faults it can inject: forgetting at a power cut any pages and directory changes that
//! were not synced (and keeping any others); an error at the n-th write, sync, creation or rename, the write then half
//! done and the sync's pages held for clean though they are not on the disk, as Linux does; every operation from the
//! n-th on failing without effect; a sync that does nothing; a sync that waits at a gate; damage to bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, ThreadId},
    time::Duration,
};

use crate::disk::{Disk, SegmentFile};

pub(crate) const PAGE: usize = 4096;
/// A gate that a failed test left closed opens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    gate: Condvar,
}

#[derive(Default, Clone)]
struct Inner {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    /// What the directory held at its last sync, and after each change since.
    directory: Vec<BTreeMap<String, usize>>,
    operations: u64,
    fail_at: Option<u64>,
    halt_at: Option<u64>,
    syncs: u64,
    synced_by: Option<ThreadId>,
    pretends: bool,
    gate_closed: bool,
    at_gate: u64,
}

#[derive(Default, Clone)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

struct MemoryFile {
    state: Arc<State>,
    file: usize,
}

impl MemoryDisk {
    /// The `n`-th operation from now on that changes the disk fails, once.
    pub(crate) fn fail_at(&self, n: u64) {
        let mut inner = self.lock();
        inner.fail_at = Some(inner.operations + n);
    }

    /// The `n`-th such operation and all later ones fail and do nothing: the moment of a power cut.
    pub(crate) fn halt_at(&self, n: u64) {
        let mut inner = self.lock();
        inner.halt_at = Some(inner.operations + n);
    }

    /// Operations so far that change the disk.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// From now on syncs of files return at once and do nothing.
    pub(crate) fn pretend_to_sync(&self) {
        self.lock().pretends = true;
    }

    /// Completed syncs of files.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The thread that last synced a file.
    pub(crate) fn synced_by(&self) -> Option<ThreadId> {
        self.lock().synced_by
    }

    pub(crate) fn close_gate(&self) {
        self.lock().gate_closed = true;
    }

    pub(crate) fn open_gate(&self) {
        self.lock().gate_closed = false;
        self.state.gate.notify_all();
    }

    /// Waits until a sync waits at the gate.
    pub(crate) fn wait_at_gate(&self) {
        let waited = self.state.gate.wait_timeout_while(self.lock(), PATIENCE, |inner| inner.at_gate == 0).unwrap();
        assert!(!waited.1.timed_out(), "no sync came to the gate");
    }

    /// The disk after a power cut: of what was not synced, those pages for which `keep` says so, and the directory after
    /// `changes` of its unsynced changes.
    pub(crate) fn after_power_cut(&self, mut keep: impl FnMut(usize) -> bool, changes: usize) -> Self {
        let mut inner = self.lock().clone();
        for file in &mut inner.files {
            let mut content = std::mem::take(&mut file.durable);
            for page in std::mem::take(&mut file.dirty) {
                let range = page * PAGE..(page * PAGE + PAGE).min(file.current.len());
                if keep(page) {
                    content.resize(content.len().max(range.end), 0);
                    content[range.clone()].copy_from_slice(&file.current[range]);
                }
            }
            *file = Content { current: content.clone(), durable: content, dirty: BTreeSet::new() };
        }
        if let Some(last) = inner.directory.len().checked_sub(1) {
            inner.names = inner.directory[changes.min(last)].clone();
            inner.directory = vec![inner.names.clone()];
        }
        Self::of(inner)
    }

    /// The disk after the process died: the system still has everything that was written.
    pub(crate) fn after_process_death(&self) -> Self {
        Self::of(self.lock().clone())
    }

    fn of(mut inner: Inner) -> Self {
        (inner.fail_at, inner.halt_at, inner.gate_closed) = (None, None, false);
        Self { state: Arc::new(State { inner: Mutex::new(inner), gate: Condvar::new() }) }
    }

    pub(crate) fn file_names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let inner = self.lock();
        inner.files[inner.names[name]].current.clone()
    }

    /// Replaces a file's bytes, durably.
    pub(crate) fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.lock();
        let file = inner.names[name];
        inner.files[file] = Content { current: bytes.clone(), durable: bytes, dirty: BTreeSet::new() };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.inner.lock().unwrap()
    }
}

impl Inner {
    /// Whether this operation is to fail half done.
    fn operation(&mut self) -> io::Result<bool> {
        let number = self.operations;
        self.operations += 1;
        if self.halt_at.is_some_and(|halt_at| halt_at <= number) {
            return Err(input_output());
        }
        Ok(self.fail_at.take_if(|fail_at| *fail_at == number).is_some())
    }

    fn directory_changes(&mut self) {
        if self.directory.is_empty() {
            self.directory.push(BTreeMap::new());
        }
        self.directory.push(self.names.clone());
    }
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn input_output() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for MemoryDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.file_names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut inner = self.lock();
        if inner.operation()? {
            return Err(no_space());
        }
        inner.files.push(Content::default());
        let file = inner.files.len() - 1;
        inner.names.insert(name.to_owned(), file);
        inner.directory_changes();
        Ok(Arc::new(MemoryFile { state: self.state.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = *self.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { state: self.state.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.operation()? {
            return Err(input_output());
        }
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        inner.directory_changes();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.directory_changes();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.operation()? {
            return Err(input_output());
        }
        inner.directory = vec![inner.names.clone()];
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

impl SegmentFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.state.inner.lock().unwrap().files[self.file].current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = self.state.inner.lock().unwrap();
        let rest = inner.files[self.file].current.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.state.inner.lock().unwrap();
        let fails = inner.operation()?;
        let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        let file = &mut inner.files[self.file];
        file.current.resize(file.current.len().max(end), 0);
        file.current[start..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            file.dirty.extend(start / PAGE..=(end - 1) / PAGE);
        }
        if fails { Err(no_space()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.state.inner.lock().unwrap();
        inner.at_gate += 1;
        self.state.gate.notify_all();
        inner = self.state.gate.wait_timeout_while(inner, PATIENCE, |inner| inner.gate_closed).unwrap().0;
        inner.at_gate -= 1;
        inner.synced_by = Some(thread::current().id());
        let fails = inner.operation()?;
        if inner.pretends {
            return Ok(());
        }
        let file = &mut inner.files[self.file];
        let dirty = std::mem::take(&mut file.dirty);
        if fails {
            return Err(input_output());
        }
        file.durable.resize(file.durable.len().max(file.current.len()), 0);
        for page in dirty {
            let range = page * PAGE..(page * PAGE + PAGE).min(file.current.len());
            file.durable[range.clone()].copy_from_slice(&file.current[range]);
        }
        inner.syncs += 1;
        Ok(())
    }
}
