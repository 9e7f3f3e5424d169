//! Watch streams: journal entries in order, without gap or repeat, and the station's state beside them.

use std::{pin::pin, sync::Arc, time::Duration};

use journal::{Journal, JournalError};
use proto::{mask::Mask, station::v1 as wire};
use service::status;
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{board::Board, fixtures::Fixtures, ledger::Ledger, view};

/// Events that wait for a slow reader, of some kilobytes each; then the stream's producer waits, and the reader catches up from
/// the journal. A caller may have a thousand streams that it does not read.
const BUFFER: usize = 8;
/// Entries read from the journal in one go while a watcher catches up, each with an issuance as it stood: what is not read is held.
const CATCH_UP: u64 = 32;
/// A station that starts anew is there again about then.
const RETRY: Duration = Duration::from_secs(1);
/// A station's state is told at most this often: a person sees no difference, and 32 fixtures stay cheap.
const STATE_EVERY: Duration = Duration::from_millis(100);

/// Waits until everything that was recorded so far is on the disk: a moment, and seldom at all.
pub fn on_disk(journal: &Journal) -> Result<(), JournalError> {
    if journal.synced() >= journal.length() {
        return Ok(());
    }
    tokio::task::block_in_place(|| journal.sync())
}

/// Events after a sequence, or from now on; of issuances, what the mask leaves.
pub fn events(
    ledger: Arc<Ledger>,
    fixtures: Arc<Fixtures>,
    board: Arc<Board>,
    after: Option<u64>,
    mask: Option<Mask>,
) -> impl Stream<Item = Result<wire::Event, Status>> {
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        // The reader has gone, or the journal failed, which it was told: either way the stream ends.
        let _ = Watcher { ledger, fixtures, board, mask, sender, next: 0 }.run(after).await;
    });
    ReceiverStream::new(receiver)
}

struct Watcher {
    ledger: Arc<Ledger>,
    fixtures: Arc<Fixtures>,
    board: Arc<Board>,
    mask: Option<Mask>,
    sender: mpsc::Sender<Result<wire::Event, Status>>,
    /// The first index that was not told yet.
    next: u64,
}

/// The stream is over.
struct Over;

impl Watcher {
    async fn run(mut self, after: Option<u64>) -> Result<(), Over> {
        // Listen first, then read: what happens in between is in both, and told once by its index.
        let mut changes = self.board.changes();
        let mut pulse = self.fixtures.pulse();
        let mut link = self.board.link_changes();
        let mut state = interval(STATE_EVERY);
        state.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = pin!(self.board.shutdown.requested());
        let mut last_queue = self.ledger.queue();
        let mut state_due = true;
        self.next = after.unwrap_or_else(|| self.ledger.journal().synced());
        self.catch_up(self.ledger.journal().synced()).await?;
        self.tell_state().await?;
        let mut told = Instant::now();
        loop {
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Ok(change) if change.index < self.next => {}
                    Ok(change) if change.index == self.next => {
                        self.send(view::event(&change)).await?;
                        self.next = change.index + 1;
                    }
                    // A gap: an entry that changes nothing visible, or this reader was too slow.
                    Ok(change) => self.catch_up(change.index + 1).await?,
                    Err(RecvError::Lagged(_)) => self.catch_up(self.ledger.journal().synced()).await?,
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = state.tick() => {
                    let queue = self.ledger.queue();
                    if state_due || queue != last_queue || told.elapsed() > Duration::from_secs(5) {
                        last_queue = queue;
                        state_due = false;
                        told = Instant::now();
                        self.tell_state().await?;
                    }
                }
                Ok(()) = pulse.changed() => state_due = true,
                Ok(()) = link.changed() => state_due = true,
                () = &mut stop => {
                    let words = format!("the station is stopping: watch again from sequence {}", self.next);
                    let stopping = status::retry_later("STATION_STOPPING", words, RETRY);
                    let _ = self.sender.send(Err(stopping)).await;
                    return Ok(());
                }
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    async fn catch_up(&mut self, to: u64) -> Result<(), Over> {
        while self.next < to {
            let until = to.min(self.next + CATCH_UP);
            let ledger = Arc::clone(&self.ledger);
            let from = self.next;
            // Disk reads do not hold up other streams' tasks.
            match tokio::task::block_in_place(move || ledger.changes(from, until)) {
                Ok(changes) => {
                    for change in changes {
                        self.send(view::event(&change)).await?;
                    }
                }
                Err(error) => {
                    let status = status::retry_later("JOURNAL_UNREADABLE", service::in_full(&error), RETRY);
                    let _ = self.sender.send(Err(status)).await;
                    return Err(Over);
                }
            }
            self.next = until;
        }
        Ok(())
    }

    async fn tell_state(&self) -> Result<(), Over> {
        let station = view::station(&self.ledger, &self.fixtures, &self.board);
        self.send(wire::Event { sequence: self.next, time: None, change: Some(wire::event::Change::Station(station)) })
            .await
    }

    async fn send(&self, mut event: wire::Event) -> Result<(), Over> {
        if let (Some(mask), Some(change)) = (&self.mask, &mut event.change) {
            cut(change, mask);
        }
        tokio::select! {
            biased;
            sent = self.sender.send(Ok(event)) => sent.map_err(|_| Over),
            // A reader that takes nothing must not hold up the station's end.
            () = self.board.shutdown.requested() => Err(Over),
        }
    }
}

fn cut(change: &mut wire::event::Change, mask: &Mask) {
    let issuances: &mut dyn Iterator<Item = &mut wire::Issuance> = match change {
        wire::event::Change::Issuance(issuance) => &mut std::iter::once(issuance),
        wire::event::Change::Station(station) => {
            &mut station.fixtures.iter_mut().filter_map(|fixture| fixture.issuance.as_mut())
        }
        wire::event::Change::Lot(_) | wire::event::Change::GoldenCheck(_) => return,
    };
    issuances.for_each(|issuance| *issuance = mask.of(issuance));
}
