//! The queue's way to the CA: in order, in batches, with back-off while the CA is away. What waits is in the ledger;
//! here is only how it is sent.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    sync::Arc,
    time::Duration,
};

use intermediate_ca::residency::Shown;
use issuance::{Input, Issuance, IssuanceId, Timestamp};
use service::{crash, shutdown::Shutdown};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tracing::{info, warn};

use crate::{
    configuration::QueueSettings,
    connector::{Answer, Connector, Submission, Unanswered},
    ledger::Ledger,
};

mod ahead;
mod link;
mod recorded;

use ahead::{Ahead, UnderWay};
pub use link::{Link, Pace};
pub(crate) use link::{full_jitter, random_fraction};
pub use recorded::LATE_MOST;
use recorded::Submitted;

/// At an orderly end an answer that is under way is awaited this long: without it the request would be in doubt.
const STOP_MOST: Duration = Duration::from_secs(10);

/// Whom an answer is told, so that a device which is still there goes on.
pub trait Answered: Send + Sync + 'static {
    /// The CA answered for this issuance, and that is recorded.
    fn answered(&self, issuance: IssuanceId);
    /// Makes records of an answer, or of what became of a send. Returns whether the station goes on.
    fn record(&self, issuance: IssuanceId, input: Input) -> bool;
    /// Makes records that these are being sent, and waits until the disk has them. Returns whether it has.
    fn sending(&self, issuances: &[IssuanceId]) -> impl Future<Output = bool> + Send;
}

/// Sends what waits until shutdown is requested, in its order. While the CA answers, as many full batches are under way as
/// the settings say, so that it does not wait for the station; while it is away, one probe.
pub async fn run(
    ledger: Arc<Ledger>,
    connector: impl Connector,
    answered: Arc<impl Answered>,
    settings: QueueSettings,
    link: watch::Sender<Link>,
    shutdown: Shutdown,
) {
    run_with(ledger, connector, answered, settings, link, shutdown, random_fraction).await;
}

/// The same with pauses that the caller draws: `jitter` gives a number from 0 to 1. For simulation.
pub async fn run_with(
    ledger: Arc<Ledger>,
    connector: impl Connector,
    answered: Arc<impl Answered>,
    settings: QueueSettings,
    link: watch::Sender<Link>,
    shutdown: Shutdown,
    jitter: impl FnMut() -> f64 + Send + 'static,
) {
    let mut stop = std::pin::pin!(shutdown.requested());
    let mut sender = Sender::new(ledger, connector, answered, settings, link, shutdown);
    sender.jitter = Box::new(jitter);
    let records_sends = sender.records_sends();
    sender.look_over();
    let mut asking = JoinSet::new();
    asking.spawn(sender.hold_clocks());
    loop {
        let pause = {
            let mut turn = std::pin::pin!(sender.send_next());
            tokio::select! {
                biased;
                () = &mut stop => {
                    if records_sends {
                        let _ = tokio::time::timeout(STOP_MOST, turn).await;
                    }
                    return;
                }
                pause = &mut turn => pause,
            }
        };
        let ledger = Arc::clone(&sender.ledger);
        let mut waiting = std::pin::pin!(wait(pause, &ledger));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                Some(late) = sender.late.join_next() => sender.take_late(late),
                () = &mut waiting => break,
            }
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
        Pause::Queued => ledger.rung().await,
        Pause::QueuedOr(due) => {
            tokio::select! {
                biased;
                () = ledger.rung() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
        Pause::Until(due) => tokio::time::sleep_until(due).await,
        Pause::None => {}
    }
}

struct Sender<C, A> {
    ledger: Arc<Ledger>,
    connector: Arc<C>,
    answered: Arc<A>,
    settings: QueueSettings,
    link: watch::Sender<Link>,
    stopping: Shutdown,
    /// Calls whose answer nobody waits for any more, and which is taken when it comes.
    late: JoinSet<recorded::Late>,
    /// What the CA asked to have later, and when. It does not hold up the rest.
    deferred: HashMap<IssuanceId, Instant>,
    /// Probes that were not answered since the link went down: the next one is another submission, so that one which the
    /// CA cannot answer does not keep the rest.
    unanswered: HashSet<IssuanceId>,
    /// Those of them that were probes before one was answered: sent next, by themselves.
    suspects: HashSet<IssuanceId>,
    /// Attempts in a row that were not answered.
    failures: u32,
    /// Draws from 0 to 1.
    jitter: Box<dyn FnMut() -> f64 + Send>,
    /// Batches that were sent before the answers of the one before them were recorded, in their order.
    under_way: VecDeque<UnderWay>,
    /// One call was not answered and others are under way: if these are not either, the CA is asked again then.
    resumes: Option<Instant>,
}

impl<C: Connector, A: Answered> Sender<C, A> {
    fn new(
        ledger: Arc<Ledger>,
        connector: C,
        answered: Arc<A>,
        settings: QueueSettings,
        link: watch::Sender<Link>,
        stopping: Shutdown,
    ) -> Self {
        Self {
            ledger,
            connector: Arc::new(connector),
            answered,
            settings,
            link,
            stopping,
            late: JoinSet::new(),
            deferred: HashMap::new(),
            unanswered: HashSet::new(),
            suspects: HashSet::new(),
            failures: 0,
            jitter: Box::new(random_fraction),
            under_way: VecDeque::new(),
            resumes: None,
        }
    }

    /// Asks the CA for its time until it answers, and says when it is another one: each validates by its own clock what
    /// the other has made.
    fn hold_clocks(&self) -> impl Future<Output = ()> + Send + use<C, A> {
        let clock = self.ledger.clock().clone();
        let (connector, link, pause) = (Arc::clone(&self.connector), self.link.clone(), self.settings.retry_most);
        async move {
            loop {
                match connector.clock_differs().await {
                    Ok(None) => return,
                    Ok(Some(words)) => {
                        warn!(words, "the clocks differ");
                        return link.send_modify(|link| {
                            // It has answered just now.
                            if link.up.is_none() {
                                (link.up, link.changed) = (Some(true), Some(Timestamp(clock.best())));
                            }
                            link.clock = words;
                        });
                    }
                    Err(_) => tokio::time::sleep(pause).await,
                }
            }
        }
    }

    async fn send_next(&mut self) -> Pause {
        if let Some(under_way) = self.under_way.pop_front() {
            let next = self.read_ahead(&under_way.batch);
            let (batch, submitted) = under_way.ended().await;
            return self.answer(batch, submitted, false, next).await;
        }
        let now = Instant::now();
        if self.ledger.clock().now().is_err() {
            // What cannot be recorded is not asked for.
            return Pause::Until(now + self.settings.retry_first);
        }
        self.deferred.retain(|_, due| *due > now);
        let mut batch = self.batch();
        if batch.is_empty() {
            // What was put into the queue by itself, and not by a device, rings for nobody once it is on the disk.
            let unsynced = self.ledger.queue().0 > self.deferred.len();
            let look = unsynced.then(|| now + self.settings.retry_first);
            return match self.deferred.values().copied().chain(look).min() {
                Some(due) => Pause::QueuedOr(due),
                None => Pause::Queued,
            };
        }
        let suspected = !std::mem::take(&mut self.suspects).is_empty();
        if let Err(unanswered) = self.begin(&mut batch).await {
            return self.back_off(&batch, unanswered);
        }
        if batch.is_empty() {
            return Pause::None;
        }
        crash::point("station.submission.intended");
        let next = if suspected { None } else { self.read_ahead(&batch) };
        let submitted = self.call(&batch).await;
        self.answer(batch, submitted, suspected, next).await
    }

    /// What a call came to: the batch after it goes out, then its answers are recorded.
    async fn answer(
        &mut self,
        batch: Vec<Submission>,
        submitted: Submitted,
        suspected: bool,
        next: Option<Ahead>,
    ) -> Pause {
        crash::point("station.submission.done");
        if let (Some(next), Ok(answers)) = (next, &submitted)
            && answers.len() == batch.len()
        {
            self.send_ahead(next, &batch).await;
        }
        let mut answered = HashSet::new();
        let outcome = match submitted {
            Ok(answers) => self.take(&batch, answers, &mut answered).await,
            Err(unanswered) => Err(unanswered),
        };
        let rest = Unanswered::lost("the CA answered for others of its batch, and not for it");
        self.settle(&batch, &answered, outcome.as_ref().err().unwrap_or(&rest));
        match outcome {
            Ok(()) => match self.resumes.take_if(|_| self.under_way.is_empty()) {
                Some(resumes) => Pause::Until(resumes),
                None => Pause::None,
            },
            // The CA answers others: these are asked again with time between, and say nothing about the link.
            Err(unanswered) if suspected => {
                warn!(message = %unanswered.message, submissions = batch.len(), "the CA does not answer for these");
                batch.iter().for_each(|submission| self.defer(submission.issuance, self.settings.retry_most));
                Pause::None
            }
            Err(unanswered) => self.back_off(&batch, unanswered),
        }
    }

    /// What is sent next: while the link is down one submission, the probe, so that an outage is not met with the whole
    /// queue; else as many as a batch holds.
    fn batch(&mut self) -> Vec<Submission> {
        self.suspects.retain(|id| self.ledger.is_waiting(*id));
        if !self.suspects.is_empty() {
            return self.read(self.settings.batch, |id| !self.suspects.contains(&id));
        }
        let most = if self.failures > 0 { 1 } else { self.settings.batch };
        let probe = self.read(most, |id| self.deferred.contains_key(&id) || self.unanswered.contains(&id));
        if probe.is_empty() && !self.unanswered.is_empty() {
            // Each was the probe once: from the first again.
            self.unanswered.clear();
            return self.read(most, |id| self.deferred.contains_key(&id));
        }
        probe
    }

    /// The first that may be sent. What nobody knows the fate of is put in doubt instead; where that is all, the next ones.
    fn read(&self, most: usize, skip: impl Fn(IssuanceId) -> bool) -> Vec<Submission> {
        loop {
            let (batch, doubts) = self.read_once(most, &skip);
            if !batch.is_empty() || doubts == 0 {
                return batch;
            }
        }
    }

    fn read_once(&self, most: usize, skip: impl Fn(IssuanceId) -> bool) -> (Vec<Submission>, usize) {
        let (authority, terms) = self.ledger.authority();
        let waiting = self.ledger.waiting(most, skip);
        let mut batch = Vec::with_capacity(waiting.len());
        let mut doubts = 0;
        for waiting in waiting {
            match self.ledger.get(waiting.issuance) {
                Ok(Some((issuance, _))) => {
                    let submission = issuance.state.submission();
                    if issuance.state.awaits_answer().is_some() {
                        if let Some(message) = submission.and_then(|submission| submission.doubt(authority, terms)) {
                            doubts += usize::from(self.put_in_doubt(issuance.id, message));
                            continue;
                        }
                        batch.extend(submission_of(&self.ledger, &issuance));
                    }
                }
                Ok(None) => {}
                Err(error) => warn!(issuance = %waiting.issuance, %error, "a submission cannot be read"),
            }
        }
        (batch, doubts)
    }

    /// Records the answers of a batch, which share their syncs, and says for whom there was one.
    async fn take(
        &mut self,
        batch: &[Submission],
        answers: Vec<(IssuanceId, Answer)>,
        answered: &mut HashSet<IssuanceId>,
    ) -> Result<(), Unanswered> {
        let unanswered = |message: &str| Err(Unanswered::lost(message));
        let mut got = 0;
        let mut first_deferral = None;
        let mut answers = answers.into_iter();
        while let Some((id, answer)) = answers.next() {
            // An answer to what was not asked is nobody's.
            if !batch.iter().any(|submission| submission.issuance == id) {
                warn!(issuance = %id, "the CA answered for an issuance that was not in the batch");
                continue;
            }
            got += 1;
            answered.insert(id);
            let input = match answer.into_input() {
                Ok(input) => input,
                Err((after, message)) => {
                    self.answered.record(id, Input::NotTaken { message: message.clone() });
                    self.defer(id, after);
                    first_deferral.get_or_insert(message);
                    continue;
                }
            };
            if !self.answered.record(id, input) {
                for (id, answer) in answers {
                    if let Answer::Deferred { after, .. } = answer {
                        self.defer(id, after);
                    }
                }
                return unanswered("the station cannot record the CA's answer");
            }
            crash::point("station.submission.recorded");
            if self.ledger.is_waiting(id) {
                // What was answered and still waits would be asked again in a loop.
                self.defer(id, self.settings.retry_most);
            }
            self.answered.answered(id);
            // The next batch is on its way meanwhile. Not before its fixture is told: at an end nothing more is.
            tokio::task::yield_now().await;
        }
        self.hurry();
        if got == 0 {
            return unanswered("the CA answered without a result for any request");
        }
        if let Some(message) = &first_deferral {
            info!(deferred = self.deferred.len(), %message, "the CA asked for some requests later");
        }
        if self.resumes.is_some() {
            // It may be older than the failure of the batch before it: whether the CA is back is for a probe to say.
            return Ok(());
        }
        self.failures = 0;
        self.suspects = std::mem::take(&mut self.unanswered);
        self.set_link(true, first_deferral.unwrap_or_default(), None);
        Ok(())
    }
}

/// What is sent of an issuance that awaits the CA's answer.
fn submission_of(ledger: &Ledger, issuance: &Issuance) -> Option<Submission> {
    let signed = issuance.state.awaits_answer()?;
    let ancestors = ledger
        .ancestors(issuance)
        .inspect_err(|error| warn!(issuance = %issuance.id, %error, "what a submission supersedes cannot be read"));
    Some(Submission {
        issuance: issuance.id,
        device_serial: issuance.request.device_serial.clone(),
        lot: issuance.request.lot.clone(),
        profile: issuance.request.profile.clone(),
        certification_request: signed.certification_request.clone(),
        residency: Shown { identity: signed.key.identity.clone(), evidence: signed.evidence.clone() },
        supersedes: ancestors.ok()?.iter().map(|ancestor| ancestor.id).collect(),
        request_id: issuance.request.request_id.clone(),
        cause: ledger.trails().of(issuance.id),
        since: ledger.waiting_since(issuance.id),
    })
}

#[cfg(test)]
mod tests;
