//! Somebody who watches from the first event on, over all of the station's lives: what was told once must be told again.

use prost::Message as _;
use proto::station::v1::{Event, event::Change};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    PATIENCE,
    calls::{Clients, watched},
};
use crate::{Broken, said};

/// A witness at work.
pub(super) struct Witness {
    enough: oneshot::Sender<()>,
    seen: JoinHandle<Result<Vec<Event>, Broken>>,
}

impl Witness {
    pub(super) fn of(clients: Clients) -> Self {
        let (enough, mut stop) = oneshot::channel();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            tokio::select! {
                broken = watch(&clients, &mut seen) => broken?,
                _ = &mut stop => {}
            }
            Ok(seen)
        });
        Self { enough, seen }
    }

    /// What it saw, in the order of the sequence.
    pub(super) async fn end(self) -> Result<Vec<Event>, Broken> {
        let _ = self.enough.send(());
        self.seen.await.map_err(said("the witness"))?
    }
}

async fn watch(clients: &Clients, seen: &mut Vec<Event>) -> Result<(), Broken> {
    loop {
        let mut events = watched(clients, Some(seen.len() as u64)).await?;
        while let Ok(Some(event)) = events.message().await {
            take(seen, event)?;
        }
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Everything the journal holds, from its beginning.
pub(super) async fn replay(clients: &Clients) -> Result<Vec<Event>, Broken> {
    let all = async {
        let first = watched(clients, None).await?.message().await.map_err(said("the first event"))?;
        let length = first.map_or(0, |event| event.sequence);
        let mut seen = Vec::new();
        let mut events = watched(clients, Some(0)).await?;
        while (seen.len() as u64) < length {
            let event = events.message().await.map_err(said("a replay"))?.ok_or("a replay ended early")?;
            take(&mut seen, event)?;
        }
        Ok(seen)
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| Err("a replay does not end".to_owned()))
}

/// The journal has every sequence once.
fn take(seen: &mut Vec<Event>, event: Event) -> Result<(), Broken> {
    if let Some(Change::Station(_)) | None = event.change {
        return Ok(());
    }
    let due = seen.len() as u64 + 1;
    if event.sequence != due {
        return Err(format!("a watch told the sequence {} where {due} was due", event.sequence));
    }
    seen.push(event);
    Ok(())
}

/// How many of the events that were told are told otherwise, or not at all.
pub(super) fn lost(told: &[Event], now: &[Event]) -> Vec<Broken> {
    let mut lost = Vec::new();
    for (before, sequence) in told.iter().zip(1u64..) {
        match now.get(sequence as usize - 1) {
            None => lost.push(format!("the sequence {sequence} was told and is gone")),
            Some(after) if after.encode_to_vec() != before.encode_to_vec() => {
                lost.push(format!("the sequence {sequence} was told as {before:?} and is now {after:?}"));
            }
            Some(_) => {}
        }
    }
    lost
}
