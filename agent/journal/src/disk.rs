//! Access to files, behind two small traits, so that tests can put a disk beneath the journal that forgets what was
//! not synced and that fails when told to.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};

use crate::JournalError;

/// One directory of segments.
pub trait Disk: Send + Sync + 'static {
    /// The names in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Creates a file, or empties one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Renames in the directory, replacing what has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals outlast a power cut.
    fn sync(&self) -> io::Result<()>;
    /// The path to show in an error.
    fn path(&self, name: &str) -> PathBuf;
}

/// One file of a [`Disk`].
pub trait SegmentFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on; fewer bytes only where the file ends.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`; what was written before an error is undefined.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written outlast a power cut (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// The file that is locked while a journal is open.
pub(crate) const LOCK: &str = "lock";

/// A directory of the file system.
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Creates the directory where it is missing, and locks it against a second opener.
    pub(crate) fn open(path: &Path) -> Result<(Self, DirectoryLock), JournalError> {
        let not_writable = |source| JournalError::NotWritable { directory: path.to_owned(), source };
        if !path.is_dir() {
            let missing: Vec<_> = path.ancestors().take_while(|made| !made.is_dir()).collect();
            // Records name devices and people: nobody else's to read.
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(not_writable)?;
            // Each was made in its parent, and an unsynced one would take all below it along.
            for parent in missing.iter().filter_map(|made| made.parent()) {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let handle = File::open(parent).map_err(JournalError::file("open", parent))?;
                handle.sync_all().map_err(JournalError::file("sync", parent))?;
            }
        }
        let lock = DirectoryLock::take(path)?;
        let handle = File::open(path).map_err(not_writable)?;
        Ok((Self { path: path.to_owned(), handle }, lock))
    }
}

impl Disk for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl SegmentFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Held while the journal is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock(File);

impl DirectoryLock {
    fn take(directory: &Path) -> Result<Self, JournalError> {
        let path = directory.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| JournalError::NotWritable { directory: directory.to_owned(), source })?;
        match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // The number is a courtesy: without it the error still says what to do.
                let _ = (&file).take(20).read_to_string(&mut text);
                let holder = match text.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(JournalError::AlreadyInUse { directory: directory.to_owned(), holder });
            }
            Err(error) => return Err(JournalError::file("lock", &path)(error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(JournalError::file("write", &path))?;
        Ok(Self(file))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Said expressly: a child between fork and exec still has the descriptor, and would keep the lock with it.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
