//! Every byte of a small journal is changed, and the journal is cut off at every byte, in memory.
//!
//! What may come of it: nothing, where the byte means nothing; a refusal to open that names the file and the remedy and
//! changes nothing; a cut tail that is told of, in the last group alone; a refusal to read that names file and offset.
//! Never a panic, a record that nobody wrote, or a record gone without a word. One loss has no trace in the bytes: a
//! last segment that ends at the end of a frame. That is for checkpoints to see, and is counted apart.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use journal::{
    Journal, JournalError, JournalOptions,
    disk::{Disk, SegmentFile},
};

use crate::{
    Broken,
    chance::Chance,
    records::record,
    writer::{ORIGIN, with_causes},
};

/// What came of how many damages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The byte meant nothing.
    pub harmless: u64,
    /// Opening refused.
    pub refused: u64,
    /// Opening cut the tail and said so.
    pub cut: u64,
    /// Reading refused.
    pub unread: u64,
    /// Cut off at the end of a frame.
    pub for_checkpoints: u64,
}

impl Outcome {
    /// All cases.
    pub fn cases(&self) -> u64 {
        self.harmless + self.refused + self.cut + self.unread + self.for_checkpoints
    }

    fn add(&mut self, other: Self) {
        self.harmless += other.harmless;
        self.refused += other.refused;
        self.cut += other.cut;
        self.unread += other.unread;
        self.for_checkpoints += other.for_checkpoints;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { harmless, refused, cut, unread, for_checkpoints } = self;
        write!(
            f,
            "cases={} refused-at-open={refused} refused-at-read={unread} cut-and-said={cut} harmless={harmless} \
             cut-between-frames={for_checkpoints}",
            self.cases()
        )
    }
}

/// Of how many bytes one is damaged; 1 is every byte.
#[derive(Debug, Clone, Copy)]
pub struct Every {
    /// Of headers, and of what frames have before their entries.
    pub head: usize,
    /// Of entries.
    pub entry: usize,
    /// Of long stretches that all mean the same: zeros, and a large group.
    pub dull: usize,
}

/// Damages a small journal of three segments: a bit of a byte is flipped, and the file is cut off there.
///
/// # Errors
/// The first damage that broke a promise.
pub fn damage_bytes(seed: u64, every: Every) -> Result<Outcome, Broken> {
    let sound = Sound::make(seed)?;
    let mut damages = Vec::new();
    for name in sound.frames.keys() {
        for at in 0..sound.bytes[name].len() {
            let every = match sound.kind(name, at) {
                Kind::Head => every.head,
                Kind::Entry => every.entry,
                Kind::Dull => every.dull,
            };
            // Which of them follows from the seed.
            if (at as u64 + seed).is_multiple_of(every as u64) {
                damages.push((name.clone(), at));
            }
        }
    }
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let outcomes: Vec<Result<Outcome, Broken>> = thread::scope(|scope| {
        let (damages, sound) = (&damages, &sound);
        let work = |first| {
            move || {
                damages.iter().skip(first).step_by(threads).try_fold(Outcome::default(), |mut all, (name, at)| {
                    all.add(sound.flip(seed, name, *at)?);
                    all.add(sound.truncate(name, *at)?);
                    Ok(all)
                })
            }
        };
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
            .collect()
    });
    let mut all = Outcome::default();
    for outcome in outcomes {
        all.add(outcome?);
    }
    Ok(all)
}

fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new("unused", ORIGIN) }
}

/// What a byte is.
enum Kind {
    /// Of a header, or of what a frame has before its entry.
    Head,
    /// Within an entry.
    Entry,
    /// Zeros, or within the large group.
    Dull,
}

/// A journal of three segments: small groups; one large group; small groups.
struct Sound {
    bytes: BTreeMap<String, Vec<u8>>,
    entries: Vec<Vec<u8>>,
    /// Of each segment, where its frames begin and end, in bytes; the last of each is where they all end.
    frames: BTreeMap<String, Vec<usize>>,
    /// The record with which the last group begins.
    last_group: usize,
}

/// Bytes of a segment's header page, of its meaningful beginning, and of a frame around its entry. Written down here
/// again, so that a change of the format is noticed.
const HEADER_PAGE: usize = 4096;
const HEADER: usize = 112;
const FRAME: usize = 18;
/// Bytes of a group that shares a segment of 64 KiB neither with what is before it nor with what is behind.
const LARGE: usize = 61_400;

impl Sound {
    fn make(seed: u64) -> Result<Self, Broken> {
        let disk = Memory::default();
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), &options()).map_err(with_causes)?;
        let mut entries = Vec::new();
        let mut frames = BTreeMap::new();
        let mut last_group = 0;
        for bytes in [2000, 1, 3000, LARGE, 2000, 3000, 1, 3000] {
            last_group = entries.len();
            let mut group = Vec::new();
            while group.iter().map(|entry: &Vec<u8>| FRAME + entry.len()).sum::<usize>() < bytes {
                group.push(record(seed, 0, (last_group + group.len()) as u64));
            }
            journal.append(group.clone()).and_then(|appended| appended.wait()).map_err(with_causes)?;
            entries.extend(group);
        }
        journal.close().map_err(with_causes)?;
        let firsts: Vec<(String, usize)> = disk
            .lock()
            .keys()
            .filter_map(|name| Some((name.clone(), name.strip_suffix(".seg")?.parse().ok()?)))
            .collect();
        for (nth, (name, first)) in firsts.iter().enumerate() {
            let end = firsts.get(nth + 1).map_or(entries.len(), |(_, next)| *next);
            let mut ends = vec![HEADER_PAGE];
            for entry in &entries[*first..end] {
                ends.push(ends[ends.len() - 1] + FRAME + entry.len());
            }
            frames.insert(name.clone(), ends);
        }
        match firsts.len() {
            3 => Ok(Self { bytes: disk.bytes(), entries, frames, last_group }),
            other => Err(format!("the sound journal has {other} segments instead of 3")),
        }
    }

    fn is_last(&self, name: &str) -> bool {
        self.frames.last_key_value().is_some_and(|(last, _)| last == name)
    }

    fn kind(&self, name: &str, at: usize) -> Kind {
        let frames = &self.frames[name];
        let end = frames[frames.len() - 1];
        let frame = frames.iter().rev().find(|frame| **frame <= at).copied();
        match frame {
            None if at < HEADER => Kind::Head,
            None => Kind::Dull,
            Some(frame) if frame == end => {
                if at < end + FRAME {
                    Kind::Head
                } else {
                    Kind::Dull
                }
            }
            // The large group is one of many alike.
            Some(frame) if frames.len() > 50 && frame > HEADER_PAGE => Kind::Dull,
            Some(frame) if at < frame + FRAME => Kind::Head,
            Some(_) => Kind::Entry,
        }
    }

    fn flip(&self, seed: u64, name: &str, at: usize) -> Result<Outcome, Broken> {
        let bit = Chance::new(seed ^ at as u64).below(8);
        self.judge(name, at, &format!("bit {bit} of byte {at} of {name} flipped"), |bytes| bytes[at] ^= 1 << bit)
    }

    fn truncate(&self, name: &str, at: usize) -> Result<Outcome, Broken> {
        self.judge(name, at, &format!("{name} cut off at byte {at}"), |bytes| bytes.truncate(at))
    }

    fn judge(&self, name: &str, at: usize, words: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Result<Outcome, Broken> {
        let disk = Memory::of(&self.bytes);
        if let Some(file) = disk.lock().get(name) {
            damage(&mut lock(file));
        }
        let judged = catch_unwind(AssertUnwindSafe(|| self.open_and_read(&disk, name, at)));
        judged.unwrap_or_else(|_| Err("a panic".to_owned())).map_err(|broken| format!("{words}: {broken}"))
    }

    fn open_and_read(&self, disk: &Memory, name: &str, at: usize) -> Result<Outcome, Broken> {
        let before = disk.bytes();
        let (journal, recovery) = match Journal::open_on(Arc::new(disk.clone()), &options()) {
            Ok(opened) => opened,
            Err(error) => {
                self.check_refusal(&error, name, at)?;
                let changed = disk.bytes() != before;
                return if changed {
                    Err(format!("refused, but something was changed: {error}"))
                } else {
                    Ok(Outcome { refused: 1, ..Outcome::default() })
                };
            }
        };
        let found = match journal.read(0..u64::MAX) {
            Ok(found) => found,
            Err(error) => {
                self.check_refusal(&error, name, at)?;
                self.check_the_others(&journal, name)?;
                return Ok(Outcome { unread: 1, ..Outcome::default() });
            }
        };
        if self.entries.get(..found.len()) != Some(&found) || recovery.records != found.len() as u64 {
            return Err("records were read that nobody wrote there".to_owned());
        }
        let frames = &self.frames[name];
        let torn = recovery.torn.as_deref();
        match (found.len() == self.entries.len(), torn) {
            (true, None) => Ok(Outcome { harmless: 1, ..Outcome::default() }),
            (_, Some(torn)) if !torn.contains(name) => Err(format!("the wrong file was named: {torn}")),
            (true, Some(_)) if self.is_last(name) && at >= frames[frames.len() - 1] => {
                Ok(Outcome { cut: 1, ..Outcome::default() })
            }
            (true, Some(torn)) => Err(format!("nothing is lost, but it was said: {torn}")),
            (false, _) if !self.is_last(name) => Err("records of an earlier segment are gone".to_owned()),
            // The end of the file: whatever was behind it has left no trace.
            (false, torn) if before[name].len() < self.bytes[name].len() => {
                // A frame begins with zeros, its length's, as what is written ahead does.
                let frame = frames.iter().rev().find(|frame| **frame <= at);
                let at_a_frame = frame.is_none_or(|frame| self.bytes[name][*frame..at].iter().all(|byte| *byte == 0));
                match torn {
                    Some(_) => Ok(Outcome { cut: 1, ..Outcome::default() }),
                    None if at_a_frame => Ok(Outcome { for_checkpoints: 1, ..Outcome::default() }),
                    None => Err("records are gone, and nothing was said".to_owned()),
                }
            }
            (false, Some(_)) if found.len() >= self.last_group => Ok(Outcome { cut: 1, ..Outcome::default() }),
            (false, Some(torn)) => Err(format!("synced records before the last group were cut: {torn}")),
            (false, None) => Err("records are gone, and nothing was said".to_owned()),
        }
    }

    /// A refusal must name the file, an offset before the damage, and the repair.
    fn check_refusal(&self, error: &JournalError, name: &str, at: usize) -> Result<(), Broken> {
        let words = with_causes(error);
        if !words.contains(name) {
            return Err(format!("the refusal does not name {name}: {words}"));
        }
        match error {
            JournalError::Damaged { offset, .. }
                if *offset as usize <= at && words.contains(&format!("byte {offset}")) => {}
            _ => return Err(format!("the refusal does not name the place: {words}")),
        }
        if words.contains("journal repair --from") {
            Ok(())
        } else {
            Err(format!("the refusal names no repair: {words}"))
        }
    }

    /// Records of other segments can still be read.
    fn check_the_others(&self, journal: &Journal, damaged: &str) -> Result<(), Broken> {
        for (name, frames) in self.frames.iter().filter(|(name, _)| *name != damaged) {
            let first = name.strip_suffix(".seg").and_then(|digits| digits.parse::<u64>().ok()).unwrap_or_default();
            let range: Range<u64> = first..first + frames.len() as u64 - 1;
            let expected = &self.entries[range.start as usize..range.end as usize];
            match journal.read(range) {
                Ok(found) if found == expected => {}
                Ok(_) => return Err(format!("records of {name} are wrong")),
                Err(error) => return Err(format!("records of {name} cannot be read either: {error}")),
            }
        }
        Ok(())
    }
}

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A directory in memory that keeps everything.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<String, Bytes>>>);

struct Open(Bytes);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        lock(&self.0)
    }

    fn of(bytes: &BTreeMap<String, Vec<u8>>) -> Self {
        let file = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Arc::new(Mutex::new(bytes.clone())));
        Self(Arc::new(Mutex::new(bytes.iter().map(file).collect())))
    }

    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().iter().map(|(name, file)| (name.clone(), lock(file).clone())).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for Memory {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let bytes = Bytes::default();
        self.lock().insert(name.to_owned(), bytes.clone());
        Ok(Arc::new(Open(bytes)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let bytes = self.lock().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open(bytes)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.lock();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

impl SegmentFile for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = lock(&self.0);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, written: &[u8]) -> io::Result<()> {
        let mut bytes = lock(&self.0);
        let (start, end) = (offset as usize, offset as usize + written.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(written);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
