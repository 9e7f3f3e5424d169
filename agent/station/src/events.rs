//! Events to whoever is to be told of them without asking: what a Watch tells, in the journal's order and at least once each.
//!
//! How far the receiver has confirmed stands in a file beside the journal's segments, which moves on after each event: a restart or
//! an outage of the receiver loses nothing, and repeats at most the one that was under way. What is not told yet waits in the
//! journal, so that a receiver that is away costs neither memory nor an issuance.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proto::station::v1::Event;
use service::shutdown::Shutdown;
use tokio::{sync::broadcast::error::RecvError, time::sleep};
use tracing::{info, warn};

use crate::{
    board::Board,
    configuration::QueueSettings,
    ledger::Ledger,
    submission::{full_jitter, random_fraction},
    view,
};

pub mod webhook;

/// Entries read from the journal in one go.
const READ_MOST: u64 = 64;

/// A receiver's word on when to come back is a minimum; a mistaken one does not stop it for a day.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(3600);

/// Whoever is told.
pub trait Receiver: Send + 'static {
    /// Tells one event. `Ok` is its word that it has it.
    fn tell(&mut self, event: &Event) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// The receiver did not take an event, or nobody knows whether it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// One sentence's part: what it said, or that it said nothing.
    pub message: String,
    /// Not before this long, when it said so.
    pub retry_after: Option<Duration>,
}

/// How the receiver is doing. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Mutex<(u64, Option<String>)>>);

impl Standing {
    /// Its cursor cannot be read.
    const NOWHERE: u64 = u64::MAX;

    /// The sequence of the newest event that was confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Why it is not told, in words; none while it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn set(&self, confirmed: u64, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (confirmed, trouble);
    }
}

/// Where the cursor of a receiver of this kind stands.
#[must_use]
pub fn cursor_file(journal: &Path, kind: &str) -> PathBuf {
    journal.join(format!("{kind}.cursor"))
}

/// Follows the journal.
pub struct Follower<R> {
    ledger: Arc<Ledger>,
    board: Arc<Board>,
    receiver: R,
    cursor: PathBuf,
    standing: Standing,
    /// Its pauses are the queue's.
    pauses: QueueSettings,
}

/// There is nothing more to do: the journal cannot be read.
struct Over;

impl<R: Receiver> Follower<R> {
    /// A follower that stands where its cursor does. Who was never told anything begins with what is recorded after this.
    pub fn new(ledger: Arc<Ledger>, board: Arc<Board>, receiver: R, cursor: PathBuf, pauses: QueueSettings) -> Self {
        let follower = Self { ledger, board, receiver, cursor, standing: Standing::default(), pauses };
        let newest = follower.ledger.journal().synced();
        match confirmed(&follower.cursor) {
            Ok(Some(next)) if next > newest => {
                warn!(
                    next,
                    newest, "the receiver of events was told more than the journal holds; it goes on from here"
                );
                follower.keep(newest);
            }
            Ok(Some(next)) => follower.standing.set(next, None),
            Ok(None) => follower.keep(newest),
            Err(error) => {
                let file = follower.cursor.display();
                let words = format!("{file} cannot be read ({error}): put its number right, or remove it and restart");
                warn!(words, "events are not told");
                follower.standing.set(Standing::NOWHERE, Some(words));
            }
        }
        follower
    }

    /// How the receiver is doing.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.clone()
    }

    /// Tells the receiver until shutdown is requested.
    pub async fn follow(mut self, shutdown: Shutdown) {
        let mut stop = pin!(shutdown.requested());
        tokio::select! {
            biased;
            () = &mut stop => {}
            _ = self.run() => {}
        }
    }

    async fn run(&mut self) -> Result<(), Over> {
        // Listen first, then read: what happens in between is found by reading.
        let mut changes = self.board.changes();
        let mut next = self.standing.confirmed();
        if next == Standing::NOWHERE {
            return Err(Over);
        }
        loop {
            next = self.catch_up(next).await?;
            match changes.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(Over),
            }
        }
    }

    async fn catch_up(&mut self, mut next: u64) -> Result<u64, Over> {
        loop {
            let newest = self.ledger.journal().synced();
            if next >= newest {
                return Ok(next);
            }
            let until = newest.min(next + READ_MOST);
            let ledger = Arc::clone(&self.ledger);
            let changes = tokio::task::block_in_place(move || ledger.changes(next, until)).map_err(|error| {
                // The watchman says it as well.
                warn!(error = service::in_full(&error), "events are not told any more: the journal cannot be read");
                self.standing.set(next, Some(service::in_full(&error)));
                Over
            })?;
            for change in changes {
                self.tell(&view::event(&change)).await;
                self.keep(change.index + 1);
            }
            // What changed nothing that is told is behind as well.
            if self.standing.confirmed() < until {
                self.keep(until);
            }
            next = until;
        }
    }

    /// Until it is confirmed.
    async fn tell(&mut self, event: &Event) {
        let before = self.standing.confirmed();
        let mut failures = 0_u32;
        while let Err(NotTaken { message, retry_after }) = self.receiver.tell(event).await {
            failures = failures.saturating_add(1);
            let (first, most) = (self.pauses.retry_first, self.pauses.retry_most);
            let pause = match retry_after {
                Some(after) => after.max(first).min(RETRY_AFTER_MOST),
                None => full_jitter(first, most, failures, random_fraction()),
            };
            if failures == 1 {
                warn!(
                    message,
                    sequence = event.sequence,
                    "the receiver did not take an event; events wait in the journal"
                );
            }
            self.standing
                .set(before, Some(format!("the receiver of events does not take {}: {message}", event.sequence)));
            sleep(pause).await;
        }
        if failures > 0 {
            info!(sequence = event.sequence, failures, "the receiver takes events again");
        }
    }

    /// It is confirmed; what cannot be written down is told again after a restart.
    fn keep(&self, next: u64) {
        let replace = || service::file::replace(&self.cursor, format!("{next}\n").as_bytes());
        let kept = tokio::task::block_in_place(replace);
        if let Err(error) = &kept {
            warn!(%error, file = %self.cursor.display(), "how far events were told cannot be written");
        }
        self.standing.set(next, kept.err().map(|error| format!("how far events were told cannot be written: {error}")));
    }
}

/// The sequence up to which the receiver has confirmed; none, when it was never told anything.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn confirmed(file: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| io::Error::other("it holds no number")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
