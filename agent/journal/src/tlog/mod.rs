//! The journal as a transparency log: a directory of plain files that can be served or copied (C2SP tlog-tiles).
//!
//! ```text
//! checkpoint             the newest signed head (C2SP signed note)
//! checkpoint.cosigned    the newest that a witness cosigned
//! tile/<level>/<number>  hashes; with .p/<width> behind it where there are fewer than 256
//! tile/entries/<number>  entries
//! ```
//!
//! A thread of its own reads what is synced, cuts it into tiles and signs a checkpoint at each interval and at close. It is
//! never in the path of an acknowledgement, and gives way to it: while the journal has something to write, the thread rests
//! for [`REST`] times as long as it worked. What it is behind then, it makes up for when the journal is idle, or when somebody
//! asks for a checkpoint. Tiles are synced before the checkpoint that covers them takes its place, and
//! are written anew from the last checkpoint on after a crash: what the checkpoint covers is always whole.

mod cutter;
mod error;
mod files;
mod options;
mod signers;
mod witness;

#[cfg(test)]
mod tests;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cutter::Cutter;
pub use error::LogError;
pub use options::LogOptions;
use signers::Signers;
pub use witness::{Refusal, Witness};

use crate::{
    Hash, Journal, JournalOptions, Recovery,
    tree::{
        checkpoint::Checkpoint,
        empty_root,
        note::{Note, Purpose, Signature, VerifyingKey},
        proof,
        tile::TileNodes,
    },
};

/// Full tiles are cut at least this often, so that a checkpoint has little left to do.
const CUT_EVERY: Duration = Duration::from_secs(1);
/// How many times as long as it worked the thread rests while the journal has something to write: so the tree costs the
/// acknowledgements a tenth at most, of the processor and of the disk.
const REST: u32 = 9;
/// A checkpoint costs some syncs: more than ten a second say no more.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const CHECKPOINT: &str = "checkpoint";
const COSIGNED: &str = "checkpoint.cosigned";
const ENDED: &str = "the log's thread ended unexpectedly; restart, and report this defect";

/// A journal's transparency log. Clones share one thread.
#[derive(Clone)]
pub struct TransparencyLog {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
}

/// Ends with [`TransparencyLog::close`], or with the last handle.
struct Thread {
    shared: Arc<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    options: LogOptions,
    signers: Signers,
    journal: Journal,
    state: Mutex<State>,
    /// Somebody wants something of the thread.
    asked: Condvar,
    /// The thread did something.
    done: Condvar,
}

struct State {
    newest: (Checkpoint, Note),
    /// Rounds wanted and done, so that who asks waits for one that began afterwards.
    wanted: u64,
    done: u64,
    stopping: bool,
    ended: bool,
    failure: Option<String>,
}

impl TransparencyLog {
    /// Opens a journal and its log: a journal with fewer records than its checkpoint covers is refused before anything of
    /// it is changed. At the first start the key and a checkpoint of what is there are made.
    ///
    /// # Errors
    /// As [`Journal::open`]; a checkpoint or key that is missing, altered or of another log; records that are not those
    /// that were signed.
    pub fn open(journal: &JournalOptions, log: LogOptions) -> Result<(Journal, Self, Recovery), LogError> {
        let path = log.directory.join(CHECKPOINT);
        let found = read_checkpoint(&path)?;
        let at_least = found.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let (journal, recovery) = Journal::open(&JournalOptions { at_least, ..journal.clone() })?;
        let log = Self::follow(&journal, log, found)?;
        Ok((journal, log, recovery))
    }

    fn follow(journal: &Journal, options: LogOptions, found: Option<(Checkpoint, Note)>) -> Result<Self, LogError> {
        let origin = journal.origin();
        let path = options.directory.join(CHECKPOINT);
        let wrong = |wrong: String| LogError::Checkpoint { path: path.clone(), wrong };
        files::make_directory(&options.directory)?;
        let (key, first) = match (files::read_key(&options.key_file, origin, Purpose::Log)?, found) {
            (Some(key), Some(found)) if found.1.is_signed_by(key.verifying()) && found.0.origin == origin => {
                (key, Some(found))
            }
            (Some(_), Some(_)) => {
                return Err(wrong("does not bear the signature of this journal's key".to_owned()));
            }
            (Some(key), None) if journal.synced() == 0 => (key, None),
            (Some(_), None) => {
                let words = format!(
                    "is missing, though the journal has {} records and its key is there. When this journal never had a \
                     checkpoint, move the key {} away",
                    journal.synced(),
                    options.key_file.display()
                );
                return Err(wrong(words));
            }
            // A first start that was cut short between checkpoint and key left a checkpoint of nothing.
            (None, found) if found.as_ref().is_none_or(|(checkpoint, _)| checkpoint.size == 0) => {
                (files::make_key(&options.key_file, origin, Purpose::Log)?, None)
            }
            (None, _) => {
                let wrong = "is missing, though a checkpoint was signed with it".to_owned();
                return Err(LogError::Key { path: options.key_file, wrong });
            }
        };
        let signers = Signers::new(key, options.signers.clone());
        let (newest, cutter) = match first {
            Some(newest) => {
                let cutter = Cutter::open(&options.directory, journal, &newest.0)?;
                (newest, cutter)
            }
            None => {
                let empty = Checkpoint { origin: origin.to_owned(), size: 0, root: empty_root() };
                let note = signers.sign(&empty)?;
                files::replace(&path, note.to_string().as_bytes(), 0o644)?;
                let cutter = Cutter::open(&options.directory, journal, &empty)?;
                ((empty, note), cutter)
            }
        };
        let state = State { newest, wanted: 0, done: 0, stopping: false, ended: false, failure: None };
        let shared = Arc::new(Shared {
            options,
            signers,
            journal: journal.clone(),
            state: Mutex::new(state),
            asked: Condvar::new(),
            done: Condvar::new(),
        });
        let handle = thread::Builder::new()
            .name("tlog".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    if catch_unwind(AssertUnwindSafe(|| shared.run(cutter))).is_err() {
                        lock(&shared.state).failure = Some(ENDED.to_owned());
                    }
                    lock(&shared.state).ended = true;
                    shared.done.notify_all();
                }
            })
            .map_err(LogError::file("start a thread for", path))?;
        let thread = Arc::new(Thread { shared: Arc::clone(&shared), handle: Mutex::new(Some(handle)) });
        Ok(Self { shared, thread })
    }

    /// The newest checkpoint, and the note that says it.
    #[must_use]
    pub fn newest(&self) -> (Checkpoint, Note) {
        lock(&self.shared.state).newest.clone()
    }

    /// What verifies its checkpoints.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        self.shared.signers.verifying()
    }

    /// The directory of checkpoint and tiles.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.shared.options.directory
    }

    /// Why the last attempt to write it failed; `None` when it did not. It is tried again.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared.state).failure.clone()
    }

    /// Signs a checkpoint of all that is synced now, and waits (blocking) for it.
    ///
    /// # Errors
    /// Why it could not be written, in words; a log that was closed.
    pub fn checkpoint(&self) -> Result<Checkpoint, String> {
        let mut state = lock(&self.shared.state);
        state.wanted += 1;
        let wanted = state.wanted;
        self.shared.asked.notify_all();
        let waits = |state: &mut State| state.done < wanted && !state.ended;
        let state = self.shared.done.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.done < wanted => Err("the log is closed".to_owned()),
            None => Ok(state.newest.0.clone()),
        }
    }

    /// The proof that the tree of the newest checkpoint begins with the one of `old` entries.
    ///
    /// # Errors
    /// A tile that cannot be read.
    pub fn consistency(&self, old: u64, new: &Checkpoint) -> Result<Vec<Hash>, LogError> {
        let mut nodes = TileNodes::new(self.directory(), new.size);
        proof::consistency(&mut nodes, old.min(new.size), new.size).map_err(|error| LogError::Tile(error.to_string()))
    }

    /// Keeps a witness's signature of a checkpoint beside ours.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_cosignature(&self, mut note: Note, cosignature: Signature) -> Result<(), LogError> {
        note.add(cosignature);
        let text = note.to_string();
        files::replace(&self.directory().join(COSIGNED), text.as_bytes(), 0o644)?;
        let mut state = lock(&self.shared.state);
        if state.newest.1.text() == note.text() {
            files::replace(&self.directory().join(CHECKPOINT), text.as_bytes(), 0o644)?;
            state.newest.1 = note;
        }
        Ok(())
    }

    /// The last sync, the last checkpoint, and the thread's end. To be called before the journal is closed, when nothing
    /// is appended any more. Closing twice is no error.
    ///
    /// # Errors
    /// Why the last checkpoint could not be written, in words.
    pub fn close(&self) -> Result<(), String> {
        let synced = self.shared.journal.sync().map_err(|error| error.to_string());
        self.thread.stop();
        synced?;
        self.failure().map_or(Ok(()), Err)
    }
}

impl Thread {
    fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.asked.notify_all();
        if let Some(handle) = lock(&self.handle).take() {
            // Its panic is already the failure.
            let _ = handle.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for TransparencyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransparencyLog").field("directory", &self.directory()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The thread: rounds until it is stopped, the last of them after that.
    fn run(&self, cutter: Cutter) {
        let mut cutter = Some(cutter);
        let mut signed = Instant::now();
        loop {
            let state = lock(&self.state);
            let idle = |state: &mut State| state.wanted == state.done && !state.stopping;
            let patience = CUT_EVERY.min(self.options.interval).max(INTERVAL_MIN);
            let waited = self.asked.wait_timeout_while(state, patience, idle);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let (wanted, stopping) = (state.wanted, state.stopping);
            let awaited = stopping || wanted > state.done;
            drop(state);
            let outcome = self.round(&mut cutter, awaited, signed + self.options.interval.max(INTERVAL_MIN));
            if !matches!(outcome, Ok(false)) {
                signed = Instant::now();
            }
            let mut state = lock(&self.state);
            if let Err(error) = &outcome {
                // It goes on from the last checkpoint, with what is on the disk.
                cutter = None;
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the journal's checkpoint could not be written"
                );
            }
            state.failure = outcome.err().map(|error| crate::in_words(&error));
            state.done = wanted;
            drop(state);
            self.done.notify_all();
            if stopping {
                return;
            }
        }
    }

    /// Cuts what is synced, and signs a checkpoint of it when that is due. Returns whether it was. When nobody awaits it, it
    /// may cover less than is synced.
    fn round(&self, cutter: &mut Option<Cutter>, awaited: bool, due_at: Instant) -> Result<bool, LogError> {
        let newest = lock(&self.state).newest.0.clone();
        let mut open = match cutter.take() {
            Some(open) => open,
            None => Cutter::open(&self.options.directory, &self.journal, &newest)?,
        };
        let mut began = Instant::now();
        let mut goes_on = || {
            let worked = began.elapsed();
            let mut state = lock(&self.state);
            if self.journal.is_busy() {
                let idle = |state: &mut State| state.wanted == state.done && !state.stopping;
                let rested = self.asked.wait_timeout_while(state, worked * REST, idle);
                state = rested.unwrap_or_else(PoisonError::into_inner).0;
            }
            began = Instant::now();
            !state.stopping && state.wanted == state.done && began < due_at
        };
        open.cut(&self.journal, u64::MAX, if awaited { None } else { Some(&mut goes_on) })?;
        let due = awaited || Instant::now() >= due_at;
        if due && open.size() > newest.size {
            let root = open.settle()?;
            let checkpoint = Checkpoint { origin: newest.origin, size: open.size(), root };
            let note = self.signers.sign(&checkpoint)?;
            let path = self.options.directory.join(CHECKPOINT);
            // Under the lock, so that a cosignature of the one before does not take its place.
            let mut state = lock(&self.state);
            files::replace(&path, note.to_string().as_bytes(), 0o644)?;
            state.newest = (checkpoint, note);
            drop(state);
            open.prune();
        }
        *cutter = Some(open);
        Ok(due)
    }
}

fn read_checkpoint(path: &Path) -> Result<Option<(Checkpoint, Note)>, LogError> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let read = Note::parse(&text).and_then(|note| Some((Checkpoint::parse(note.text())?, note)));
    let wrong = "is not a signed checkpoint".to_owned();
    read.map(Some).ok_or_else(|| LogError::Checkpoint { path: path.to_owned(), wrong })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
