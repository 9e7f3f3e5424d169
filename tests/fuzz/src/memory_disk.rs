//! A directory of files in memory, as a journal's disk and as something that an input may change.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use journal::disk::{Disk, SegmentFile};

use crate::input::Parts;

/// Names and what stands under them.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Frames begin here.
pub(crate) const FIRST_FRAME: usize = 4096;
/// Length, checksum, group, length of the entry.
pub(crate) const FRAME_HEAD: usize = 18;

/// A disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<BTreeMap<String, Content>>>);

/// What all who have the file open share.
type Content = Arc<Mutex<Vec<u8>>>;

struct MemoryFile(Content);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    pub(crate) fn of(files: &Files) -> Self {
        let files = files.iter().map(|(name, octets)| (name.clone(), Arc::new(Mutex::new(octets.clone()))));
        Self(Arc::new(Mutex::new(files.collect())))
    }

    pub(crate) fn files(&self) -> Files {
        lock(&self.0).iter().map(|(name, octets)| (name.clone(), lock(octets).clone())).collect()
    }
}

impl Disk for MemoryDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = Content::default();
        lock(&self.0).insert(name.to_owned(), Arc::clone(&file));
        Ok(Arc::new(MemoryFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = lock(&self.0).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.0);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        lock(&self.0).remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

impl SegmentFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = content.get(start..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut content = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + octets.len();
        let length = content.len().max(end);
        content.resize(length, 0);
        content[start..end].copy_from_slice(octets);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts files into a directory that is emptied first.
pub(crate) fn write_all(directory: &Path, files: &Files) {
    if directory.exists() {
        fs::remove_dir_all(directory).expect("a directory of our own");
    }
    fs::create_dir_all(directory).expect("a directory in memory");
    for (name, octets) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("in the directory")).expect("a directory in memory");
        fs::write(path, octets).expect("a file in memory");
    }
}

/// The files of a directory and of those beneath it.
pub(crate) fn read_all(directory: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().expect("its type").is_dir() {
            files
                .extend(read_all(&entry.path()).into_iter().map(|(below, octets)| (format!("{name}/{below}"), octets)));
        } else {
            files.insert(name, fs::read(entry.path()).expect("a file"));
        }
    }
    files
}

/// What was done to files besides changing their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tampering {
    /// A frame or a header with the right checksum, which nobody but a journal writes.
    pub(crate) forged: bool,
    /// A file was removed or has another name.
    pub(crate) moved: bool,
}

/// Changes files as the input says, until it ends.
pub(crate) fn tamper(files: &mut Files, parts: &mut Parts<'_>) -> Tampering {
    /// More only repeat each other.
    const CHANGES_MOST: usize = 8;
    let mut done = Tampering::default();
    for _ in 0..CHANGES_MOST {
        if parts.is_empty() || files.is_empty() {
            break;
        }
        let (kind, file, from) = (parts.octet(), usize::from(parts.octet()), parts.number());
        let name = files.keys().nth(file % files.len()).expect("one of them").clone();
        let octets = files.get_mut(&name).expect("it is there");
        let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        let at = match kind >> 6 {
            0 => from,
            1 => FIRST_FRAME + from,
            _ => used.saturating_sub(from),
        };
        match kind & 7 {
            0 => put(octets, at, parts.sized()),
            1 => {
                let bit = 1 << (parts.octet() % 8);
                octets.iter_mut().skip(at).take(1).for_each(|octet| *octet ^= bit);
            }
            2 => octets.truncate(at),
            3 => {
                let length = parts.number();
                octets.iter_mut().skip(at).take(length).for_each(|octet| *octet = 0);
            }
            4 => {
                let (group, entry) = (u64::from(parts.octet()), parts.sized());
                let frame = frame(octets, group, entry);
                put(octets, at, &frame);
                done.forged = true;
            }
            5 => {
                put(octets, at % 108, parts.sized());
                let checksum = crc32c::crc32c(octets.get(..108).unwrap_or_default());
                put(octets, 108, &checksum.to_be_bytes());
                done.forged = true;
            }
            6 => {
                files.remove(&name);
                done.moved = true;
            }
            _ => {
                let mut first = [0; 8];
                let given = parts.sized();
                let length = given.len().min(8);
                first[8 - length..].copy_from_slice(&given[..length]);
                let octets = files.remove(&name).expect("it is there");
                files.insert(format!("{:020}.seg", u64::from_be_bytes(first)), octets);
                done.moved = true;
            }
        }
    }
    done
}

fn put(octets: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = at + new.len();
    if octets.len() < end {
        octets.resize(end, 0);
    }
    octets[at..end].copy_from_slice(new);
}

/// A frame as the journal with this header would write it.
fn frame(segment: &[u8], group: u64, entry: &[u8]) -> Vec<u8> {
    let seed = segment.get(104..108).and_then(|seed| seed.try_into().ok()).map_or(0, u32::from_be_bytes);
    let length = u16::try_from(entry.len()).expect("a part is no longer");
    let checked = [&group.to_be_bytes()[..], &length.to_be_bytes(), entry].concat();
    let checksum = crc32c::crc32c_append(seed, &checked);
    [&(u32::from(length) + 2).to_be_bytes()[..], &checksum.to_be_bytes(), &checked].concat()
}
