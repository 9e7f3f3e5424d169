//! The link to the CA: whether it is up, and when the CA is asked again while it is not.

use std::time::Duration;

use issuance::{IssuanceId, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Answered, Pause, Sender};
use crate::connector::{Connector, Submission, Unanswered};

/// A CA's word on when to come back is a minimum; a mistaken one is not allowed to stop the line for a day.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(3600);

/// After so many other probes the first submission is the probe again: an outage ends with the queue's order changed among
/// these only.
pub(super) const PROBES_MOST: usize = 16;

/// How the link to the CA is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether the last attempt was answered; `None` before the first.
    pub up: Option<bool>,
    /// When that changed.
    pub changed: Option<Timestamp>,
    /// When the next attempt is made, while it is down.
    pub next_attempt: Option<Timestamp>,
    /// What the last failed attempt said, or why the CA asked for something later.
    pub last_error: String,
    /// How far its clock is from this machine's, when that was far at the start.
    pub clock: String,
    /// How fast the CA answers, once it has.
    pub pace: Option<Pace>,
}

/// How long the largest batch took that the CA answered whole: what a drain is estimated by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Submissions in it.
    pub size: usize,
    /// From sending it to its answers.
    pub took: Duration,
}

impl Pace {
    /// How long so many submissions take.
    #[must_use]
    pub fn for_all(self, waiting: usize) -> Duration {
        self.took.mul_f64(waiting as f64 / self.size.max(1) as f64)
    }
}

impl<C: Connector, A: Answered> Sender<C, A> {
    /// Not before this long, within bounds: a CA that says "now" would be asked in a loop, and one that says "next year" is
    /// mistaken.
    pub(super) fn defer(&mut self, id: IssuanceId, after: Duration) {
        self.deferred.insert(id, Instant::now() + self.bounded(after));
    }

    fn bounded(&self, after: Duration) -> Duration {
        let first = self.settings.retry_first;
        after.max(first).min(RETRY_AFTER_MOST.max(first))
    }

    pub(super) fn back_off(
        &mut self,
        batch: &[Submission],
        Unanswered { message, retry_after, .. }: Unanswered,
    ) -> Pause {
        self.failures = self.failures.saturating_add(1);
        if self.unanswered.len() >= PROBES_MOST {
            self.unanswered.clear();
        }
        if let [probe] = batch {
            self.unanswered.insert(probe.issuance);
        }
        let pause = match retry_after {
            Some(after) => self.bounded(after),
            None => full_jitter(self.settings.retry_first, self.settings.retry_most, self.failures, (self.jitter)()),
        };
        if self.failures == 1 {
            warn!(%message, retry_ms = pause.as_millis(), "the CA did not answer; submissions wait");
        }
        self.set_link(false, message, Some(pause));
        let resumes = Instant::now() + pause;
        let resumes = self.resumes.take().map_or(resumes, |before| before.max(resumes));
        if self.under_way.is_empty() {
            return Pause::Until(resumes);
        }
        // What is still under way may be answered.
        self.resumes = Some(resumes);
        Pause::None
    }

    pub(super) fn set_link(&self, up: bool, last_error: String, next: Option<Duration>) {
        let now = Timestamp(self.ledger.clock().best());
        self.link.send_if_modified(|link| {
            let mut after = Link {
                up: Some(up),
                changed: link.changed,
                next_attempt: next.map(|pause| Timestamp(now.0 + i64::try_from(pause.as_millis()).unwrap_or(0))),
                last_error,
                clock: link.clock.clone(),
                pace: link.pace,
            };
            if link.up != Some(up) {
                after.changed = Some(now);
                if up && link.up.is_some() {
                    info!("the CA answers again");
                }
            }
            let modified = *link != after;
            *link = after;
            modified
        });
    }
}

/// Full jitter: anywhere between nothing and the doubling bound, so that stations which lost one CA together do not come
/// back together.
pub(crate) fn full_jitter(first: Duration, most: Duration, failures: u32, fraction: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most);
    // The first bound below is a floor: a pause of nothing would be a busy loop.
    let floor = first.min(Duration::from_millis(100));
    floor + doubled.saturating_sub(floor).mul_f64(fraction)
}

/// From 0 to 1.
pub(crate) fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
