//! What is pushed to each browser: first everything, then what changed.
//!
//! A browser gets the newest board, never a list of old ones: what came while it was slow is skipped. One that takes
//! nothing at all for a while is dropped; it comes back by itself and gets everything anew.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::Event;
use service::shutdown::Shutdown;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tracing::debug;

use crate::{
    board::Board,
    feed::{Boards, now},
    page::Part,
};

/// More browsers than this never stand around one station; each costs a task and a socket.
const BROWSERS_MOST: usize = 64;
/// Events that wait for one browser's socket: two whole boards of four parts.
const WAITING_MOST: usize = 8;
/// A browser that takes nothing for this long is not there.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// The script reconnects after three missed beats.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// The station sends several events for one step; the eye does not see a board that stands shorter than this.
const STAND: Duration = Duration::from_millis(30);

/// The places for browsers.
#[derive(Debug, Clone)]
pub struct Browsers {
    boards: Boards,
    places: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Browsers {
    /// None yet. All streams end when a shutdown is requested.
    #[must_use]
    pub fn new(boards: Boards, shutdown: Shutdown) -> Self {
        Self { boards, places: Arc::new(Semaphore::new(BROWSERS_MOST)), shutdown }
    }

    /// The board as it is now.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.boards.borrow())
    }

    /// The stream for one more browser; `None` when there is no place. `token`: for its form, which may be older than
    /// this process.
    #[must_use]
    pub fn stream(&self, token: String) -> Option<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, receiver) = mpsc::channel(WAITING_MOST);
        tokio::spawn(push(self.boards.clone(), self.shutdown.clone(), sender, token, place));
        Some(ReceiverStream::new(receiver))
    }
}

type Sender = mpsc::Sender<Result<Event, Infallible>>;

async fn push(mut boards: Boards, shutdown: Shutdown, sender: Sender, token: String, _place: OwnedSemaphorePermit) {
    let mut shown: Option<Arc<Board>> = None;
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if !send(&sender, Event::default().event("token").data(token)).await {
        return;
    }
    loop {
        let board = Arc::clone(&boards.borrow_and_update());
        let stands_until = Instant::now() + STAND;
        for part in Part::changed(shown.as_deref(), &board) {
            let html = part.render(&board, now()).into_string();
            if !send(&sender, Event::default().event("part").data(html)).await {
                return;
            }
        }
        shown = Some(board);
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sender.closed() => return,
                changed = boards.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep_until(stands_until).await;
                    break;
                }
                _ = beat.tick() => {
                    if !send(&sender, Event::default().event("beat").data("")).await {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether the browser took it.
async fn send(sender: &Sender, event: Event) -> bool {
    let taken = sender.send_timeout(Ok(event), TAKEN_WITHIN).await.is_ok();
    if !taken {
        debug!("a browser left or takes nothing: dropped");
    }
    taken
}
