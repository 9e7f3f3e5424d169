//! How many submissions waited over the last hour, as far as this page saw it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    board::Link,
    feed::{Boards, now},
    page::Sample,
};

/// Often enough for a line that a person reads.
const EVERY: Duration = Duration::from_secs(10);
/// An hour of them.
const KEPT: usize = 360;

/// The samples.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Sample>>>);

impl History {
    /// Begins to sample, for as long as somebody keeps the board.
    #[must_use]
    pub fn follow(boards: Boards) -> Self {
        let history = Self::default();
        let samples = Arc::downgrade(&history.0);
        tokio::spawn(async move {
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let Some(samples) = samples.upgrade() else { return };
                let (live, waiting) = {
                    let board = boards.borrow();
                    (board.link == Link::Live, board.waiting)
                };
                // What nobody knows is a gap.
                if live {
                    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                    if samples.len() >= KEPT {
                        samples.pop_front();
                    }
                    samples.push_back(Sample { at: now(), waiting });
                }
            }
        });
        history
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}
