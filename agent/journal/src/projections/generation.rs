//! One sled database is a generation: a numbered directory. When it cannot be used, the next number is begun and filled
//! from the segments, and the old one is removed afterwards.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    checksum::Checksum,
    overlay::panic_words,
    pages::{META, PageRows, Pages},
};
use crate::{Journal, JournalError};

/// An opening that shows no progress for so long hangs: a cold one of a million records takes 3 s.
const DEADLINE: Duration = Duration::from_secs(30);
/// A lock that our last handle left is gone within milliseconds: sled frees it on a thread of its own.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// An opening shows progress after so many rows.
const ROWS_PER_SIGN: u64 = 10_000;

const LOST: &str = "rows are missing or changed";
/// 2: rows are in pages.
const FORMAT: u32 = 2;

/// Whose rows these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) version: u32,
    pub(super) origin: [u8; 32],
}

/// How far the rows have come. Written in one batch with them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meta {
    identity: Identity,
    /// Index after the last entry in the rows.
    applied: u64,
    /// SHA-256 of that entry, zeros before the first: tells when the segments are not those the rows came from.
    last_entry: [u8; 32],
    checksum: Checksum,
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(120);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.identity.version.to_be_bytes());
        bytes.extend_from_slice(&self.identity.origin);
        bytes.extend_from_slice(&self.applied.to_be_bytes());
        bytes.extend_from_slice(&self.last_entry);
        bytes.extend_from_slice(&self.checksum.rows.to_be_bytes());
        self.checksum.lanes.iter().for_each(|lane| bytes.extend_from_slice(&lane.to_be_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let format = u32::from_be_bytes(take(&mut rest)?);
        let version = u32::from_be_bytes(take(&mut rest)?);
        let origin = take(&mut rest)?;
        let applied = u64::from_be_bytes(take(&mut rest)?);
        let last_entry = take(&mut rest)?;
        let rows = u64::from_be_bytes(take(&mut rest)?);
        let mut lanes = [0; 4];
        for lane in &mut lanes {
            *lane = u64::from_be_bytes(take(&mut rest)?);
        }
        let identity = Identity { version, origin };
        let meta = Self { identity, applied, last_entry, checksum: Checksum { rows, lanes } };
        (format == FORMAT && rest.is_empty()).then_some(meta)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(*first)
}

/// When all rows are held against their checksum, which takes as long as there are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Before they are used.
    Before,
    /// While they are used.
    Behind,
}

/// An open generation.
pub(super) struct Generation {
    path: PathBuf,
    rows: Pages,
    meta: Meta,
    check: Check,
    /// Directories of others, to be removed when this one has all that they had.
    obsolete: Vec<PathBuf>,
}

impl Generation {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rows(&self) -> Pages {
        self.rows.clone()
    }

    pub(super) fn applied(&self) -> u64 {
        self.meta.applied
    }

    /// Holds the rows against their checksum, unless that was done; calls `alive` now and then, which may end it with false.
    /// A generation that does not pass is followed by an empty one, so that the next opening begins there.
    pub(super) fn check(&mut self, alive: impl FnMut() -> bool) -> Result<(), String> {
        if self.check == Check::Before {
            return Ok(());
        }
        let wrong = match guarded_checksum(&self.rows.0, alive) {
            Ok(Some(found)) if found != self.meta.checksum => LOST.to_owned(),
            Ok(_) => return Ok(()),
            Err(wrong) => wrong,
        };
        let number = self.path.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok()).unwrap_or_default();
        let next = self.path.with_file_name((number + 1).to_string());
        match fs::create_dir(&next) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(format!("{wrong}, and {} cannot be made: {error}", next.display()))
            }
            _ => Err(wrong),
        }
    }

    /// Writes rows together with how far they have come.
    pub(super) fn write(&mut self, rows: &super::Staged, applied: u64, last_entry: [u8; 32]) -> sled::Result<()> {
        let mut meta = Meta { applied, last_entry, ..self.meta.clone() };
        let mut batch = sled::Batch::default();
        self.rows.stage(rows, &mut batch, |key, old, new| {
            if let Some(old) = old {
                meta.checksum.remove(key, old);
            }
            if let Some(new) = new {
                meta.checksum.add(key, new);
            }
        })?;
        batch.insert(META, meta.encode());
        self.rows.0.apply_batch(batch)?;
        self.meta = meta;
        Ok(())
    }

    pub(super) fn flush(&self) -> sled::Result<()> {
        self.rows.0.flush().map(drop)
    }

    /// Removes the other generations.
    pub(super) fn remove_obsolete(&mut self) {
        for path in self.obsolete.drain(..) {
            if let Err(error) = fs::remove_dir_all(&path).or_else(ignore_missing) {
                tracing::warn!(path = %path.display(), %error, "could not remove old projections; remove them by hand");
            }
        }
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

type OpenRows = dyn Fn(&Path) -> sled::Result<sled::Db> + Send + Sync;

/// Opens generations. Tests put another way of opening and a shorter deadline in.
pub(super) struct Opener {
    pub(super) open_rows: Arc<OpenRows>,
    pub(super) deadline: Duration,
    pub(super) check: Check,
}

impl Opener {
    /// One that opens sled as it is.
    pub(super) fn new(check: Check, cache_bytes: u64) -> Self {
        Self { open_rows: Arc::new(move |path| open_sled(path, cache_bytes)), deadline: DEADLINE, check }
    }
}

pub(super) fn open_sled(path: &Path, cache_bytes: u64) -> sled::Result<sled::Db> {
    let started = Instant::now();
    loop {
        // sled's own timer would flush on another thread and swallow the error: the follower flushes.
        let opened = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None).open();
        match opened {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && started.elapsed() < LOCK_WAIT =>
            {
                thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

impl Opener {
    /// Opens the newest generation, or begins the next one when that cannot be used.
    pub(super) fn open(
        &self,
        directory: &Path,
        identity: &Identity,
        journal: &Journal,
    ) -> Result<Generation, JournalError> {
        fs::create_dir_all(directory).map_err(JournalError::file("create", directory))?;
        let mut numbers = numbers(directory).map_err(JournalError::file("list", directory))?;
        let path = |number: &u64| directory.join(number.to_string());
        if let Some(newest) = numbers.last() {
            let newest_path = path(newest);
            match self.try_open(&newest_path, identity, journal)? {
                Ok((rows, meta)) => {
                    numbers.pop();
                    let obsolete = numbers.iter().map(path).collect();
                    return Ok(Generation { path: newest_path, rows: Pages(rows), meta, check: self.check, obsolete });
                }
                Err(wrong) => {
                    tracing::warn!(path = %newest_path.display(), wrong, "projections are rebuilt from the journal");
                }
            }
        }
        let next = path(&numbers.last().map_or(1, |newest| newest + 1));
        match self.try_open(&next, identity, journal)? {
            Ok((rows, meta)) => {
                let obsolete = numbers.iter().map(path).collect();
                Ok(Generation { path: next, rows: Pages(rows), meta, check: self.check, obsolete })
            }
            Err(wrong) => Err(JournalError::Rows { path: next, act: "be created", wrong }),
        }
    }

    /// The inner error, in words, is a reason to begin another generation.
    fn try_open(
        &self,
        path: &Path,
        identity: &Identity,
        journal: &Journal,
    ) -> Result<Result<(sled::Db, Meta), String>, JournalError> {
        let (rows, found) = match self.open_within_deadline(path)? {
            Ok(opened) => opened,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let none = Meta { identity: identity.clone(), applied: 0, last_entry: [0; 32], checksum: Checksum::default() };
        let meta = match found.meta {
            None if found.checksum == Some(Checksum::default()) => return Ok(Ok((rows, none))),
            None => return Ok(Err("they do not say how far they have come".to_owned())),
            Some(bytes) => Meta::decode(&bytes),
        };
        let wrong = match &meta {
            None => "they are of another format",
            Some(meta) if meta.identity.version != identity.version => "they are of another version",
            Some(meta) if meta.identity.origin != identity.origin => "they belong to a journal of another origin",
            Some(meta) if found.checksum.is_some_and(|found| found != meta.checksum) => LOST,
            Some(meta) if !borne_out(meta, journal)? => "the journal does not bear them out",
            Some(meta) => return Ok(Ok((rows, meta.clone()))),
        };
        Ok(Err(wrong.to_owned()))
    }

    /// Opens and reads everything on a thread of its own. One that hangs is left behind with its lock.
    fn open_within_deadline(&self, path: &Path) -> Result<Result<(sled::Db, Found), String>, JournalError> {
        let (signs, seen) = channel();
        let open_rows = self.open_rows.clone();
        let (opened_path, check) = (path.to_owned(), self.check);
        thread::Builder::new()
            .name("projections-open".to_owned())
            .spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let rows = open_rows(&opened_path).map_err(|error| error.to_string())?;
                    let found = Found::read(&rows, check, &signs)?;
                    Ok((rows, found))
                }));
                let outcome = outcome.unwrap_or_else(|panic| Err(panic_words(panic.as_ref())));
                // Nobody listens after the deadline; the database is then closed here.
                let _ = signs.send(Sign::Done(outcome));
            })
            .map_err(JournalError::file("start a thread to open", path))?;
        loop {
            match seen.recv_timeout(self.deadline) {
                Ok(Sign::Alive) => {}
                Ok(Sign::Done(outcome)) => return Ok(outcome),
                Err(_) => return Ok(Err(format!("opening showed no progress for {} s", self.deadline.as_secs_f32()))),
            }
        }
    }
}

/// Whether the journal has the entry that the rows say they came from last.
fn borne_out(meta: &Meta, journal: &Journal) -> Result<bool, JournalError> {
    let Some(last) = meta.applied.checked_sub(1) else { return Ok(true) };
    let entry = journal.read(last..meta.applied)?;
    Ok(entry.first().is_some_and(|entry| crate::sha256(entry) == meta.last_entry))
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

enum Sign {
    Alive,
    Done(Result<(sled::Db, Found), String>),
}

/// What the database holds.
struct Found {
    meta: Option<sled::IVec>,
    /// `None`: to be checked behind.
    checksum: Option<Checksum>,
}

impl Found {
    fn read(rows: &sled::Db, check: Check, signs: &Sender<Sign>) -> Result<Self, String> {
        let meta = rows.get(META).map_err(|error| error.to_string())?;
        if check == Check::Behind && meta.is_some() {
            return Ok(Self { meta, checksum: None });
        }
        match checksum(rows, || signs.send(Sign::Alive).is_ok())? {
            None => Err("the deadline passed".to_owned()),
            checksum => Ok(Self { meta, checksum }),
        }
    }
}

/// The checksum of all rows; calls `alive` now and then, and gives `None` once that is false.
fn checksum(rows: &sled::Db, mut alive: impl FnMut() -> bool) -> Result<Option<Checksum>, String> {
    let mut checksum = Checksum::default();
    // Not by an iterator: sled's cache looks at its bound after every 64 accesses to a part of it, and an iterator accesses a
    // node with a dozen pages but once. So it would keep what a check passes by.
    let mut last = sled::IVec::from(META);
    while let Some((key, page)) = rows.get_gt(&last).map_err(|error| error.to_string())? {
        for row in PageRows(&page) {
            let (key, value) = row.map_err(|error| error.to_string())?;
            checksum.add(key, value);
            if checksum.rows.is_multiple_of(ROWS_PER_SIGN) && !alive() {
                return Ok(None);
            }
        }
        last = key;
    }
    Ok(Some(checksum))
}

fn guarded_checksum(rows: &sled::Db, alive: impl FnMut() -> bool) -> Result<Option<Checksum>, String> {
    catch_unwind(AssertUnwindSafe(|| checksum(rows, alive))).unwrap_or_else(|panic| Err(panic_words(panic.as_ref())))
}
