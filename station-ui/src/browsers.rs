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
    words::Language,
};

/// More browsers than this never stand around one station; each costs a task and a socket.
const BROWSERS_MOST: usize = 64;
/// Events that wait for one browser's socket: two whole boards of five parts.
const WAITING_MOST: usize = 10;
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
    taken_within: Duration,
    shutdown: Shutdown,
}

impl Browsers {
    /// None yet. All streams end when a shutdown is requested.
    #[must_use]
    pub fn new(boards: Boards, shutdown: Shutdown) -> Self {
        Self { boards, places: Arc::new(Semaphore::new(BROWSERS_MOST)), taken_within: TAKEN_WITHIN, shutdown }
    }

    /// The board as it is now.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.boards.borrow())
    }

    /// How many are told what changes.
    #[must_use]
    pub fn count(&self) -> usize {
        BROWSERS_MOST - self.places.available_permits()
    }

    /// The stream for one more browser; `None` when there is no place. `token`: for its form, which may be older than
    /// this process. `language`: what its operator reads.
    #[must_use]
    pub fn stream(
        &self,
        token: String,
        language: Language,
    ) -> Option<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (sender, receiver) = mpsc::channel(WAITING_MOST);
        let browser = Browser { sender, taken_within: self.taken_within, _place: place };
        let (boards, shutdown) = (self.boards.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            if let Err(Gone) = push(boards, shutdown, &browser, token, language).await {
                debug!("a browser left, or takes nothing: dropped");
            }
        });
        Some(ReceiverStream::new(receiver))
    }
}

struct Browser {
    sender: mpsc::Sender<Result<Event, Infallible>>,
    taken_within: Duration,
    _place: OwnedSemaphorePermit,
}

/// The browser left, or takes nothing any more.
struct Gone;

impl Browser {
    async fn send(&self, name: &str, text: String) -> Result<(), Gone> {
        let event = Event::default().event(name).data(text);
        self.sender.send_timeout(Ok(event), self.taken_within).await.map_err(|_| Gone)
    }
}

async fn push(
    mut boards: Boards,
    shutdown: Shutdown,
    browser: &Browser,
    token: String,
    language: Language,
) -> Result<(), Gone> {
    let mut shown: Option<Arc<Board>> = None;
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let requested = shutdown.requested();
    tokio::pin!(requested);
    browser.send("token", token).await?;
    loop {
        let board = Arc::clone(&boards.borrow_and_update());
        let stands_until = Instant::now() + STAND;
        for part in Part::changed(shown.as_deref(), &board) {
            browser.send("part", part.render(&board, language, now()).into_string()).await?;
        }
        shown = Some(board);
        loop {
            tokio::select! {
                () = &mut requested => return Ok(()),
                () = browser.sender.closed() => return Err(Gone),
                _ = beat.tick() => browser.send("beat", String::new()).await?,
                changed = boards.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
            }
        }
        tokio::time::sleep_until(stands_until).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::watch, time::timeout};
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::board::Knowledge;

    fn board(halted: &str) -> Arc<Board> {
        let mut knowledge = Knowledge::new(0, 0);
        let station = proto::station::v1::Station { halted: halted.to_owned(), ..Default::default() };
        knowledge.connected(station, Vec::new());
        Arc::new(knowledge.board(0))
    }

    /// Changes the board a hundred times for a browser that reads nothing; expects its place to be free again.
    #[tokio::test]
    async fn a_browser_that_takes_nothing_is_dropped() {
        let (boards, seen) = watch::channel(board(""));
        let mut browsers = Browsers::new(seen, Shutdown::new());
        browsers.taken_within = Duration::from_millis(20);
        let _unread = browsers.stream(String::new(), Language::English).unwrap();
        assert_eq!(browsers.places.available_permits(), BROWSERS_MOST - 1);
        timeout(Duration::from_secs(10), async {
            for change in 0.. {
                if browsers.places.available_permits() == BROWSERS_MOST {
                    break;
                }
                boards.send_replace(board(&change.to_string()));
                tokio::time::sleep(STAND).await;
            }
        })
        .await
        .expect("dropped within ten seconds");
    }

    /// Takes every place and expects no more; gives one back and expects one.
    #[tokio::test]
    async fn places_are_bounded() {
        let (_boards, seen) = watch::channel(board(""));
        let browsers = Browsers::new(seen, Shutdown::new());
        let mut streams: Vec<_> =
            (0..BROWSERS_MOST).map(|_| browsers.stream(String::new(), Language::English).unwrap()).collect();
        assert!(browsers.stream(String::new(), Language::English).is_none());
        drop(streams.pop());
        let freed = Arc::clone(&browsers.places);
        let place = timeout(Duration::from_secs(10), freed.acquire()).await.expect("freed").unwrap();
        drop(place);
        assert!(browsers.stream(String::new(), Language::English).is_some());
    }

    /// Requests a shutdown under an open stream, and expects the stream to end.
    #[tokio::test]
    async fn a_shutdown_ends_the_streams() {
        let (_boards, seen) = watch::channel(board(""));
        let shutdown = Shutdown::new();
        let stream = Browsers::new(seen, shutdown.clone()).stream(String::new(), Language::English).unwrap();
        shutdown.request();
        let events = timeout(Duration::from_secs(10), stream.collect::<Vec<_>>()).await.expect("ended");
        assert!(events.len() > 1, "everything came first");
    }
}
