//! The queue's way to the CA: in order, in batches, with back-off while the CA is away. What waits is in the ledger;
//! here is only how it is sent.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use issuance::{Input, IssuanceId, Timestamp};
use service::shutdown::Shutdown;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};

use crate::{
    configuration::QueueSettings,
    connector::{Answer, Connector, Submission},
    ledger::Ledger,
};

/// How the link to the CA is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether the last attempt was answered; `None` before the first.
    pub up: Option<bool>,
    /// When that changed.
    pub changed: Option<Timestamp>,
    /// When the next attempt is made, while it is down.
    pub next_attempt: Option<Timestamp>,
    /// What the last failed attempt said.
    pub last_error: String,
}

/// Whom an answer is told, so that a device which is still there goes on.
pub trait Answered: Send + Sync + 'static {
    /// The CA answered for this issuance, and that is recorded.
    fn answered(&self, issuance: IssuanceId);
    /// Makes records of an answer. Returns whether the station goes on.
    fn record(&self, issuance: IssuanceId, input: Input) -> bool;
}

/// Sends what waits until shutdown is requested. One attempt is under way at a time: while the CA is away that is the
/// one probe, and batches keep their order.
pub async fn run(
    ledger: Arc<Ledger>,
    connector: impl Connector,
    answered: Arc<impl Answered>,
    settings: QueueSettings,
    link: watch::Sender<Link>,
    shutdown: Shutdown,
) {
    let mut sender = Sender { ledger, connector, answered, settings, link, deferred: HashMap::new(), failures: 0 };
    let mut stop = std::pin::pin!(shutdown.requested());
    loop {
        let pause = tokio::select! {
            () = &mut stop => return,
            pause = sender.send_next() => pause,
        };
        let ledger = Arc::clone(&sender.ledger);
        tokio::select! {
            () = &mut stop => return,
            () = wait(pause, &ledger) => {}
        }
    }
}

/// What to wait for before the next attempt.
enum Pause {
    /// Something to send.
    Queued,
    /// Something to send, or this moment, when a deferred submission is due.
    QueuedOr(Instant),
    /// This moment.
    Until(Instant),
    /// Nothing.
    None,
}

async fn wait(pause: Pause, ledger: &Ledger) {
    match pause {
        Pause::Queued => ledger.queued.notified().await,
        Pause::QueuedOr(due) => {
            tokio::select! {
                () = ledger.queued.notified() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
        Pause::Until(due) => tokio::time::sleep_until(due).await,
        Pause::None => {}
    }
}

struct Sender<C, A> {
    ledger: Arc<Ledger>,
    connector: C,
    answered: Arc<A>,
    settings: QueueSettings,
    link: watch::Sender<Link>,
    /// What the CA asked to have later, and when. It does not hold up the rest.
    deferred: HashMap<IssuanceId, Instant>,
    /// Attempts in a row that were not answered.
    failures: u32,
}

impl<C: Connector, A: Answered> Sender<C, A> {
    async fn send_next(&mut self) -> Pause {
        let now = Instant::now();
        self.deferred.retain(|_, due| *due > now);
        // While the link is down one submission is the probe: an outage is not met with the whole queue.
        let most = if self.failures > 0 { 1 } else { self.settings.batch };
        let batch = self.batch(most);
        if batch.is_empty() {
            return match self.deferred.values().min() {
                Some(due) => Pause::QueuedOr(*due),
                None => Pause::Queued,
            };
        }
        match self.connector.submit(&batch).await {
            Ok(answers) => self.take(&batch, answers),
            Err(unanswered) => self.back_off(unanswered.message, unanswered.retry_after),
        }
    }

    fn batch(&self, most: usize) -> Vec<Submission> {
        let waiting = self.ledger.waiting(most, |id| self.deferred.contains_key(&id));
        let mut batch = Vec::with_capacity(waiting.len());
        for waiting in waiting {
            match self.ledger.get(waiting.issuance) {
                Ok(Some((issuance, _))) => {
                    if let Some(signed) = issuance.state.awaits_answer() {
                        batch.push(Submission {
                            issuance: issuance.id,
                            device_serial: issuance.request.device_serial.clone(),
                            lot: issuance.request.lot.clone(),
                            profile: issuance.request.profile.clone(),
                            certification_request: signed.certification_request.clone(),
                        });
                    }
                }
                Ok(None) => {}
                Err(error) => warn!(issuance = %waiting.issuance, %error, "a submission cannot be read"),
            }
        }
        batch
    }

    fn take(&mut self, batch: &[Submission], answers: Vec<(IssuanceId, Answer)>) -> Pause {
        let mut got = 0;
        let mut first_deferral = None;
        for (id, answer) in answers {
            // An answer to what was not asked is nobody's.
            if !batch.iter().any(|submission| submission.issuance == id) {
                warn!(issuance = %id, "the CA answered for an issuance that was not in the batch");
                continue;
            }
            got += 1;
            let input = match answer {
                Answer::Issued { certificate, chain } => Input::Issued { certificate, chain },
                Answer::Refused { reason, message } => Input::Refused { reason, message },
                Answer::Deferred { after, message } => {
                    // A CA that says "now" would be asked in a loop.
                    let after = after.max(self.settings.retry_first);
                    self.deferred.insert(id, Instant::now() + after);
                    first_deferral.get_or_insert(message);
                    continue;
                }
            };
            if !self.answered.record(id, input) {
                return self.back_off("the station cannot record the CA's answer".to_owned(), None);
            }
            self.answered.answered(id);
        }
        if got == 0 {
            return self.back_off("the CA answered without a result for any request".to_owned(), None);
        }
        if let Some(message) = first_deferral {
            info!(deferred = self.deferred.len(), %message, "the CA asked for some requests later");
        }
        self.failures = 0;
        self.set_link(true, String::new(), None);
        Pause::None
    }

    fn back_off(&mut self, message: String, retry_after: Option<Duration>) -> Pause {
        self.failures = self.failures.saturating_add(1);
        let pause = retry_after.map_or_else(
            || full_jitter(self.settings.retry_first, self.settings.retry_most, self.failures),
            // A CA's word is a minimum; a mistaken one is not allowed to stop the line for a day.
            |after| after.clamp(self.settings.retry_first, Duration::from_secs(3600)),
        );
        if self.failures == 1 {
            warn!(%message, retry_ms = pause.as_millis(), "the CA did not answer; submissions wait");
        }
        self.set_link(false, message, Some(pause));
        Pause::Until(Instant::now() + pause)
    }

    fn set_link(&self, up: bool, last_error: String, next: Option<Duration>) {
        let now = now();
        self.link.send_if_modified(|link| {
            let mut after = Link {
                up: Some(up),
                changed: link.changed,
                next_attempt: next.map(|pause| Timestamp(now.0 + i64::try_from(pause.as_millis()).unwrap_or(0))),
                last_error,
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
fn full_jitter(first: Duration, most: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most);
    // The first bound below is a floor: a pause of nothing would be a busy loop.
    let floor = first.min(Duration::from_millis(100));
    floor + doubled.saturating_sub(floor).mul_f64(random_fraction())
}

fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX))
}
