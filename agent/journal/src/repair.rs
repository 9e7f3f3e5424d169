//! Mending a journal with the bytes of a copy of it.
//!
//! What is whole stays as it is, byte for byte; only the stretches that are not are taken from the copy. Before that,
//! both must agree on everything that both have: a copy of another journal, or one that went another way, changes nothing.
//! The damaged file stays beside the mended one, as `<name>.damaged`.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
};

use crate::{
    JournalError, JournalOptions,
    disk::{Directory, Disk},
    recovery::origin_hash,
    segment::{self, FIRST_FRAME, Header},
};

/// Mends the damaged and missing segments of a journal that is not open from a copy of its directory, such as a backup.
/// Returns what was done, a line for each segment; nothing when nothing is damaged. Behind its last whole record the last
/// segment gets what the copy has more of it. A torn tail is left to opening.
///
/// # Errors
/// No journal there, or one in use; a copy that is of another journal, is itself damaged there, or does not have what is missing. A
/// segment that could not be mended is as it was.
pub fn repair(options: &JournalOptions, copy: &Path) -> Result<Vec<String>, JournalError> {
    let none = || JournalError::NoJournal { directory: options.directory.clone() };
    if !options.directory.is_dir() {
        return Err(none());
    }
    let (directory, _lock) = Directory::open(&options.directory)?;
    let unfit = |wrong: String| JournalError::CopyUnfit { copy: copy.to_owned(), wrong };
    let ours = firsts(&options.directory).map_err(JournalError::file("list", &options.directory))?;
    if ours.is_empty() {
        return Err(none());
    }
    let theirs = firsts(copy).map_err(JournalError::file("list", copy))?;
    // What is behind our last segment is missed when a checkpoint says that it was there: without one, nobody can tell it
    // from a journal that ended there.
    let missed = |first: &&u64| Some(*first) < ours.last() || **first < options.at_least;
    let wanted: Vec<u64> = ours.iter().chain(theirs.iter().filter(missed)).copied().collect();
    let mut done = Vec::new();
    let mut next: Option<(u64, Header)> = None;
    // From the end: a segment's header says where the one before it ends.
    for first_index in wanted.into_iter().collect::<BTreeSet<_>>().into_iter().rev() {
        let previous = next.as_ref().and_then(|(_, header)| header.previous);
        let end = match previous {
            Some(previous) if previous.first_index == first_index => Some(previous.end as usize),
            // Not in the chain: opening says so.
            Some(_) => continue,
            None if next.is_some() => break,
            None => None,
        };
        let name = segment::name(first_index);
        let mut mending = Mending {
            ours: read(&options.directory.join(&name))?.unwrap_or_default(),
            theirs: read(&copy.join(&name))?.unwrap_or_default(),
            origin: origin_hash(&options.origin),
            first_index,
            end,
        };
        let mended = mending.mend().map_err(|wrong| unfit(format!("{name}: {wrong}")))?;
        if !mended.is_empty() {
            replace(&directory, &options.directory, &name, &mending.ours)?;
            done.push(format!("{name}: {} taken from {}", mended.join(", "), copy.display()));
        }
        let header = Header::decode(&mending.ours).map_err(|_| unfit(format!("{name}: its header is not one")))?;
        next = Some((first_index, header));
    }
    done.reverse();
    Ok(done)
}

fn firsts(directory: &Path) -> io::Result<BTreeSet<u64>> {
    let mut firsts = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        firsts.extend(segment::parse_name(&entry?.file_name().to_string_lossy()));
    }
    Ok(firsts)
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>, JournalError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::file("read", path)(error)),
    }
}

/// Puts mended bytes in the place of a segment, which stays under another name.
fn replace(directory: &Directory, path: &Path, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    let (passing, kept) = (format!("{name}.new"), format!("{name}.damaged"));
    let file = directory.create(&passing).map_err(JournalError::file("create", directory.path(&passing)))?;
    file.write_at(0, bytes)
        .and_then(|()| file.sync())
        .map_err(JournalError::file("write", directory.path(&passing)))?;
    // Mended by root, it stays the station's.
    let owner = fs::metadata(path).map_err(JournalError::file("look at", path))?;
    let mended =
        fs::metadata(directory.path(&passing)).map_err(JournalError::file("look at", directory.path(&passing)))?;
    if (owner.uid(), owner.gid()) != (mended.uid(), mended.gid()) {
        chown(directory.path(&passing), Some(owner.uid()), Some(owner.gid()))
            .map_err(JournalError::file("give its owner to", directory.path(&passing)))?;
    }
    // A link, so that there is no moment without a segment of that name.
    match fs::hard_link(path.join(name), path.join(&kept)) {
        // The first of several repairs kept what was found; and what is missing cannot be kept.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            return Err(JournalError::file("keep", directory.path(name))(error));
        }
        _ => {}
    }
    directory.rename(&passing, name).map_err(JournalError::file("rename", directory.path(&passing)))?;
    directory.sync().map_err(JournalError::file("sync", directory.path("")))
}

struct Mending {
    ours: Vec<u8>,
    theirs: Vec<u8>,
    origin: [u8; 32],
    first_index: u64,
    /// Where the frames end, unless it is the last segment.
    end: Option<usize>,
}

impl Mending {
    /// Makes `ours` whole; returns in words what was taken from the copy.
    fn mend(&mut self) -> Result<Vec<String>, String> {
        let mut mended = Vec::new();
        let header = match (self.header(&self.ours), self.header(&self.theirs)) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                return Err("its header differs from that of the copy: it is of another journal".to_owned());
            }
            (Some(ours), _) => ours,
            (None, Some(theirs)) => {
                let page = FIRST_FRAME as usize;
                let taken = self.theirs.get(..page).ok_or("the copy is too short for a header")?.to_vec();
                self.ours.resize(self.ours.len().max(page), 0);
                self.ours[..page].copy_from_slice(&taken);
                mended.push("the header".to_owned());
                theirs
            }
            (None, None) => return Err("the copy does not have its header either".to_owned()),
        };
        let mut offset = FIRST_FRAME as usize;
        loop {
            self.check_agreement(offset, header.seed)?;
            offset = frames_end(&self.ours, offset, header.seed);
            let Some(next) = self.next_whole(offset, header.seed) else { return Ok(mended) };
            let reached = frames_through(&self.theirs, offset, next, header.seed);
            if reached != next {
                return Err(format!(
                    "bytes {offset} to {next} are damaged, and the copy is whole only to byte {reached}"
                ));
            }
            self.ours.resize(self.ours.len().max(next), 0);
            self.ours[offset..next].copy_from_slice(&self.theirs[offset..next]);
            mended.push(format!("bytes {offset} to {next}"));
            offset = next;
        }
    }

    fn header(&self, bytes: &[u8]) -> Option<Header> {
        let header = Header::decode(bytes).ok()?;
        (header.origin == self.origin && header.first_index == self.first_index).then_some(header)
    }

    /// Where whole frames begin again behind a bad one at `offset`, or where the segment must end; of the last segment,
    /// where the copy ends. `None` when nothing is missing.
    fn next_whole(&self, offset: usize, seed: u32) -> Option<usize> {
        let behind = self.ours.get(offset..).unwrap_or_default();
        let behind = &behind[..behind.len().min(self.end.unwrap_or(usize::MAX).saturating_sub(offset))];
        let found = segment::find_frames(behind, seed).map(|(at, _)| offset + at).next();
        match self.end {
            Some(end) if offset >= end => None,
            Some(end) => Some(found.unwrap_or(end)),
            None => found.or_else(|| Some(frames_end(&self.theirs, offset, seed)).filter(|end| *end > offset)),
        }
    }

    /// Every whole frame of ours from `offset` to the next bad one must stand in the copy too, as far as that goes.
    fn check_agreement(&self, offset: usize, seed: u32) -> Result<(), String> {
        let both = frames_end(&self.ours, offset, seed).min(frames_end(&self.theirs, offset, seed));
        if both > offset && self.ours[offset..both] != self.theirs[offset..both] {
            return Err(format!("it went another way than the copy behind byte {offset}"));
        }
        Ok(())
    }
}

/// Where the whole frames that begin at `offset` end.
fn frames_end(bytes: &[u8], offset: usize, seed: u32) -> usize {
    frames_through(bytes, offset, usize::MAX, seed)
}

/// The same, not beyond `limit`.
fn frames_through(bytes: &[u8], mut offset: usize, limit: usize, seed: u32) -> usize {
    while offset < limit {
        match segment::frame_at(bytes.get(offset..).unwrap_or_default(), seed) {
            Some(length) => offset += length,
            None => break,
        }
    }
    offset
}
