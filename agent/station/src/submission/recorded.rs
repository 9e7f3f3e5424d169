//! Sends to a CA that makes a second certificate of the same request: each is an intent on the disk before it leaves, and
//! what became of it is recorded, also when it comes late, and also when nobody knows.

use std::{collections::HashSet, future::Future, pin::Pin, sync::Arc, time::Duration};

use issuance::{Input, IssuanceId, submission::Repeats};
use tokio::{
    task::JoinError,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{Answered, Pace, Sender};
use crate::connector::{Answer, Connector, Submission, Unanswered};

/// How long an answer is taken after the station gave up waiting for it.
pub const LATE_MOST: Duration = Duration::from_secs(600);
/// How many calls may be late at a time: each holds a stream of the connection and its batch. Of further ones nothing is
/// heard any more.
const LATE_CALLS_MOST: usize = 64;

/// What a call brings.
pub(super) type Submitted = Result<Vec<(IssuanceId, Answer)>, Unanswered>;
/// A call whose answer nobody waits for any more, with the issuances that were in it.
pub(super) type Late = (HashSet<IssuanceId>, Submitted);

impl<C: Connector, A: Answered> Sender<C, A> {
    pub(super) fn records_sends(&self) -> bool {
        self.ledger.authority().1.repeats == Repeats::New
    }

    /// Puts what nobody knows the fate of in doubt, as far as it stands at the head of the queue: what was under way when
    /// the station ended, and what was submitted to a CA of another name.
    pub(super) fn look_over(&self) {
        // Reading looks, a batch at a time.
        while !self.stopping.is_requested() && self.read_once(self.settings.batch, |_| false).1 > 0 {}
    }

    /// Whether it was in doubt, and is so no more: it has left the queue, or stands at its end.
    pub(super) fn put_in_doubt(&self, id: IssuanceId, message: String) -> bool {
        warn!(issuance = %id, %message, "the CA may have made a certificate that did not arrive");
        let recorded = self.answered.record(id, Input::AnswerLost { message });
        // What is sent again by itself is sent once that is on the disk.
        self.ledger.journal().hurry();
        recorded && self.doubt(id).is_none()
    }

    fn doubt(&self, id: IssuanceId) -> Option<String> {
        let (name, terms) = self.ledger.authority();
        let (issuance, _) = self.ledger.get(id).ok().flatten()?;
        issuance.state.awaits_answer().and(issuance.state.submission())?.doubt(name, terms)
    }

    /// Before a batch leaves: the CA is reached, so that an outage leaves no records, then each send is on the disk. What
    /// was cancelled or answered meanwhile is left out.
    pub(super) async fn begin(&mut self, batch: &mut Vec<Submission>) -> Result<(), Unanswered> {
        if !self.records_sends() {
            return Ok(());
        }
        self.connector.reach().await?;
        if self.stopping.is_requested() {
            batch.clear();
            return Ok(());
        }
        let ids: Vec<_> = batch.iter().map(|submission| submission.issuance).collect();
        if !self.answered.sending(&ids).await {
            return Err(Unanswered::not_taken("the station cannot record what it sends"));
        }
        let under_way = |id| {
            let (issuance, _) = self.ledger.get(id).ok().flatten()?;
            issuance.state.awaits_answer().and(issuance.state.submission()).map(|submission| submission.under_way)
        };
        batch.retain(|submission| under_way(submission.issuance) == Some(true));
        for id in ids {
            if !batch.iter().any(|submission| submission.issuance == id) {
                self.defer(id, self.settings.retry_most);
            }
        }
        Ok(())
    }

    /// One call, and the late answers of others meanwhile. One that takes too long is left to [`take_late`](Self::take_late).
    pub(super) async fn call(&mut self, batch: &[Submission]) -> Submitted {
        let (connector, sent) = (Arc::clone(&self.connector), batch.to_vec());
        let mut call: Pin<Box<dyn Future<Output = Submitted> + Send>> =
            Box::pin(async move { connector.submit(&sent).await });
        let begun = Instant::now();
        let deadline = begun + self.settings.timeout;
        loop {
            tokio::select! {
                biased;
                submitted = &mut call => {
                    self.keep_pace(batch.len(), &submitted, begun.elapsed());
                    return submitted;
                }
                Some(late) = self.late.join_next() => self.take_late(late),
                () = sleep_until(deadline) => break,
            }
        }
        if self.records_sends() && self.late.len() < LATE_CALLS_MOST {
            let ids = batch.iter().map(|submission| submission.issuance).collect();
            self.late.spawn(async move {
                let answer = timeout(LATE_MOST, call).await;
                (ids, answer.unwrap_or_else(|_| Err(Unanswered::lost("no answer at all"))))
            });
        }
        Err(Unanswered::lost(format!("no answer within {} s", self.settings.timeout.as_secs())))
    }

    /// A larger batch says more of what the CA can do; of the same size, the newest.
    fn keep_pace(&self, size: usize, submitted: &Submitted, took: Duration) {
        let whole = submitted.as_ref().is_ok_and(|answers| answers.len() == size);
        if whole {
            self.link.send_if_modified(|link| {
                if link.pace.is_none_or(|known| known.size <= size) {
                    link.pace = Some(Pace { size, took });
                }
                // No change of the link, which is what its watchers are told of.
                false
            });
        }
    }

    /// After a batch: those without an answer were not taken, or nobody knows.
    pub(super) fn settle(&mut self, batch: &[Submission], answered: &HashSet<IssuanceId>, unanswered: &Unanswered) {
        if !self.records_sends() {
            return;
        }
        for submission in batch.iter().filter(|submission| !answered.contains(&submission.issuance)) {
            let (id, message) = (submission.issuance, unanswered.message.clone());
            if unanswered.may_have_arrived {
                self.put_in_doubt(id, message);
            } else {
                self.answered.record(id, Input::NotTaken { message });
            }
        }
    }

    /// An answer that came after the station gave up waiting: what it says is recorded, and an issuance that is in doubt or
    /// waits again goes on with it.
    pub(super) fn take_late(&mut self, late: Result<Late, JoinError>) {
        let Ok((asked, Ok(answers))) = late else { return };
        for (id, answer) in answers {
            let Ok(input) = answer.into_input() else { continue };
            if !asked.contains(&id) {
                warn!(issuance = %id, "the CA answered for an issuance that was not in the batch");
                continue;
            }
            info!(issuance = %id, "the CA's answer came late");
            let before = self.ledger.get(id).ok().flatten();
            let awaited = before.is_some_and(|(issuance, _)| issuance.state.submission().is_some());
            if self.answered.record(id, input) && awaited {
                self.answered.answered(id);
            }
        }
        self.hurry();
    }

    /// Answers that cannot be asked for again go to the disk at once; others with what comes next, and soon.
    pub(super) fn hurry(&self) {
        if self.records_sends() {
            self.ledger.journal().hurry();
        }
    }
}
