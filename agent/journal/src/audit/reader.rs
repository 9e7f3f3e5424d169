//! Reads the segments of a journal that may be open elsewhere, or a copy on which nothing may be written.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    JournalError,
    disk::LOCK,
    segment::{self, FIRST_FRAME, Header, Step, Walk},
};

/// A journal's segments, read only.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    segments: Vec<(u64, PathBuf)>,
    bytes: u64,
}

impl Reader {
    /// Lists the segments. None are opened yet.
    ///
    /// # Errors
    /// A directory that cannot be read, or that holds no segment.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let listed = fs::read_dir(directory).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut segments = Vec::new();
        let mut bytes = 0;
        for entry in listed.map_err(JournalError::file("list", directory))? {
            if let Some(first_index) = segment::parse_name(&entry.file_name().to_string_lossy()) {
                bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                segments.push((first_index, entry.path()));
            }
        }
        if segments.is_empty() {
            return Err(JournalError::NoJournal { directory: directory.to_owned() });
        }
        segments.sort_unstable();
        Ok(Self { directory: directory.to_owned(), segments, bytes })
    }

    /// The length of all segments, in bytes: for progress.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn segments(&self) -> &[(u64, PathBuf)] {
        &self.segments
    }

    /// Whether a process has the journal open.
    #[must_use]
    pub fn is_open_elsewhere(&self) -> bool {
        let Ok(lock) = File::open(self.directory.join(LOCK)) else { return false };
        let outcome = rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::NonBlockingLockShared));
        matches!(outcome, Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// Shows every entry with its index, in order, up to the first that is not whole: its number is returned. `visit` is
    /// told how many bytes of the segments were read so far, and says with `false` that it has enough.
    ///
    /// # Errors
    /// A segment that cannot be read or whose header is none.
    pub fn visit(&self, mut visit: impl FnMut(u64, &[u8], u64) -> bool) -> Result<u64, JournalError> {
        let (mut next, mut before) = (0, 0);
        for (first_index, path) in &self.segments {
            if *first_index != next {
                break;
            }
            let read = |error| JournalError::file("read", path)(error);
            let file = File::open(path).map_err(JournalError::file("open", path))?;
            let Ok(header) = Header::read(&file).map_err(read)? else { break };
            let mut walk = Walk::new(&file, header.seed, FIRST_FRAME);
            while let Step::Frame { offset, entry, .. } = walk.step().map_err(read)? {
                if !visit(next, entry, before + offset) {
                    return Ok(next);
                }
                next += 1;
            }
            before += file.metadata().map_or(0, |metadata| metadata.len());
        }
        Ok(next)
    }

    /// The place of the segment that holds this entry, or would.
    pub(crate) fn segment_of(&self, index: u64) -> usize {
        self.segments.partition_point(|(first, _)| *first <= index).saturating_sub(1)
    }

    /// Whether one segment's bytes hold something that is `longest` bytes long at most: `holds` looks for it in pieces that
    /// overlap by so much. With the segment's length. Nothing is taken apart.
    ///
    /// # Errors
    /// A segment that cannot be read.
    pub(crate) fn segment_holds(
        &self,
        at: usize,
        longest: usize,
        holds: &dyn Fn(&[u8]) -> bool,
    ) -> Result<(bool, u64), JournalError> {
        const PIECE: usize = 1024 * 1024;
        let Some((_, path)) = self.segments.get(at) else { return Ok((false, 0)) };
        let mut file = File::open(path).map_err(JournalError::file("open", path))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut piece = vec![0; PIECE + longest];
        let mut kept = 0;
        loop {
            let read = file.read(&mut piece[kept..]).map_err(JournalError::file("read", path))?;
            if read == 0 {
                return Ok((false, length));
            }
            let filled = kept + read;
            if holds(&piece[..filled]) {
                return Ok((true, length));
            }
            // What ends one piece may begin what is looked for.
            kept = filled.min(longest);
            piece.copy_within(filled - kept..filled, 0);
        }
    }

    /// Shows every entry of one segment with its index, up to the first that is not whole.
    ///
    /// # Errors
    /// A segment that cannot be read.
    pub(crate) fn visit_segment(&self, at: usize, mut visit: impl FnMut(u64, &[u8])) -> Result<(), JournalError> {
        let Some((first_index, path)) = self.segments.get(at) else { return Ok(()) };
        let read = |error| JournalError::file("read", path)(error);
        let file = File::open(path).map_err(JournalError::file("open", path))?;
        let Ok(header) = Header::read(&file).map_err(read)? else { return Ok(()) };
        let mut walk = Walk::new(&file, header.seed, FIRST_FRAME);
        let mut index = *first_index;
        while let Step::Frame { entry, .. } = walk.step().map_err(read)? {
            visit(index, entry);
            index += 1;
        }
        Ok(())
    }

    /// One entry, or `None` when it is not there. Walks over the segment that holds it, from its beginning.
    ///
    /// # Errors
    /// As [`Reader::visit`].
    pub fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let (first_index, path) = &self.segments[self.segment_of(index)];
        let read = |error| JournalError::file("read", path)(error);
        let file = File::open(path).map_err(JournalError::file("open", path))?;
        let Ok(header) = Header::read(&file).map_err(read)? else { return Ok(None) };
        let mut walk = Walk::new(&file, header.seed, FIRST_FRAME);
        let mut here = *first_index;
        while let Step::Frame { entry, .. } = walk.step().map_err(read)? {
            if here == index {
                return Ok(Some(entry.to_vec()));
            }
            here += 1;
        }
        Ok(None)
    }
}
