//! The one Watch stream that serves all browsers: kept up, resumed where it broke, folded into a board.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proto::station::v1::{
    GetStationRequest, ListLotsRequest, Lot, Station, WatchRequest, station_service_client::StationServiceClient,
};
use service::traces;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use crate::board::{Board, Knowledge};

/// The first pause after a break: a station that restarts is back within a second.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause: what an operator still takes for "by itself".
const RETRY_MOST: Duration = Duration::from_secs(3);
/// A question that takes longer is no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A stream may be silent because nothing happens or because the station is gone: this often we ask which.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// A wait becomes one by lasting: this often we look again.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// More lots than this are never open at once on one line; what is beyond is not listed.
const LOT_PAGES_MOST: usize = 10;

/// A tap a second by every hand at the line, while the board is made anew.
const ACKNOWLEDGED_MOST: usize = 64;

/// The client that this page is.
pub type Client = StationServiceClient<traces::Channel>;

/// The board as all browsers see it.
pub type Boards = watch::Receiver<Arc<Board>>;

/// UTC milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What an operator has seen: fixtures' names, on their way into the board.
pub type Acknowledge = mpsc::Sender<String>;

/// Starts to follow the station, for as long as somebody holds the board. `shift`: how long a check with the golden device
/// counts.
#[must_use]
pub fn follow(client: Client, shift: Duration) -> (Boards, Acknowledge) {
    let mut knowledge = Knowledge::new(now(), i64::try_from(shift.as_millis()).unwrap_or(i64::MAX));
    let (boards, seen) = watch::channel(Arc::new(knowledge.board(now())));
    let (acknowledge, mut acknowledged) = mpsc::channel(ACKNOWLEDGED_MOST);
    // It asks every few seconds whether or not anything happens.
    tokio::spawn(traces::Span::unsampled().follow(async move {
        let mut pause = RETRY_FIRST;
        while !boards.is_closed() {
            let attended = attend(client.clone(), &mut knowledge, &boards, &mut acknowledged, &mut pause).await;
            let Err(lost) = attended else { return };
            if lost.code() == Code::OutOfRange {
                warn!("the station's journal is behind what this page saw: starting over");
                knowledge.forget();
            }
            debug!(code = ?lost.code(), words = lost.message(), "the station does not answer");
            knowledge.lost(now(), lost.message());
            publish(&mut knowledge, &boards);
            tokio::select! {
                () = boards.closed() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_MOST),
            }
        }
    }));
    (seen, acknowledge)
}

/// One connection's life. Ends with `Ok` when nobody looks any more.
async fn attend(
    mut client: Client,
    knowledge: &mut Knowledge,
    boards: &watch::Sender<Arc<Board>>,
    acknowledged: &mut mpsc::Receiver<String>,
    pause: &mut Duration,
) -> Result<(), Status> {
    // The stream first and the whole state after it: what happens between the two comes twice rather than never.
    let request = WatchRequest { after_sequence: knowledge.sequence(), ..Default::default() };
    let mut events = within(client.watch(request)).await?.into_inner();
    let station = station(&mut client).await?;
    let lots = open_lots(&mut client).await?;
    info!(station = station.station, after = knowledge.sequence(), "following the station");
    knowledge.connected(station, lots);
    publish(knowledge, boards);
    *pause = RETRY_FIRST;

    let mut ask = interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ask.reset();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = boards.closed() => return Ok(()),
            event = events.message() => match event? {
                Some(event) => knowledge.apply(event),
                None => return Err(Status::unavailable("the station ended the stream")),
            },
            // The other end goes with the routes, as the boards do.
            fixture = acknowledged.recv() => match fixture {
                Some(fixture) => knowledge.acknowledge(&fixture),
                None => return Ok(()),
            },
            _ = look.tick() => {}
            _ = ask.tick() => {
                let station = self::station(&mut client).await?;
                knowledge.connected(station, open_lots(&mut client).await?);
            }
        }
        publish(knowledge, boards);
    }
}

fn publish(knowledge: &mut Knowledge, boards: &watch::Sender<Arc<Board>>) {
    let board = knowledge.board(now());
    boards.send_if_modified(|shown| {
        let changed = **shown != board;
        if changed {
            *shown = Arc::new(board);
        }
        changed
    });
}

async fn station(client: &mut Client) -> Result<Station, Status> {
    Ok(within(client.get_station(GetStationRequest {})).await?.into_inner())
}

async fn open_lots(client: &mut Client) -> Result<Vec<Lot>, Status> {
    let mut lots = Vec::new();
    let mut page_token = String::new();
    for _ in 0..LOT_PAGES_MOST {
        let page = within(client.list_lots(ListLotsRequest { page_size: 1000, page_token })).await?.into_inner();
        lots.extend(page.lots);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(lots)
}

/// The answer, or that there was none in time.
async fn within<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
