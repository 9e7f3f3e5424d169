//! The next batches of a full queue: read while the CA works on those before, and sent before the answers to these are
//! recorded, so that the CA waits neither for the station's disk nor for the link.

use std::{collections::HashSet, sync::Arc};

use issuance::IssuanceId;
use tokio::{
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::timeout,
};

use super::{Answered, Sender, recorded::Submitted, submission_of};
use crate::{
    connector::{Connector, Submission, Unanswered},
    ledger::Ledger,
};

/// A batch that is being read.
pub(super) type Ahead = JoinHandle<Vec<Submission>>;

/// A batch that was sent.
pub(super) struct UnderWay {
    pub(super) batch: Vec<Submission>,
    /// Its call, which ends with this.
    call: JoinSet<Submitted>,
}

impl UnderWay {
    /// The batch, and what its call came to.
    pub(super) async fn ended(mut self) -> (Vec<Submission>, Submitted) {
        let submitted = match self.call.join_next().await {
            Some(Ok(submitted)) => submitted,
            _ => Err(Unanswered::lost("the call ended unexpectedly")),
        };
        (self.batch, submitted)
    }
}

impl<C: Connector, A: Answered> Sender<C, A> {
    /// Begins to read the batch after a full one. Not where each send is an intent: what is recorded as sent is sent at
    /// once, and nothing else comes in between.
    pub(super) fn read_ahead(&self, batch: &[Submission]) -> Option<Ahead> {
        let size = self.settings.batch;
        let alone = self.failures > 0 || !self.unanswered.is_empty();
        if batch.len() < size || alone || self.records_sends() {
            return None;
        }
        let sent = self.under_way.iter().flat_map(|under_way| &under_way.batch);
        let before: HashSet<_> = batch.iter().chain(sent).map(|submission| submission.issuance).collect();
        let skip = |id| before.contains(&id) || self.deferred.contains_key(&id);
        let next: Vec<_> = self.ledger.waiting(size, skip).into_iter().map(|waiting| waiting.issuance).collect();
        let ledger = Arc::clone(&self.ledger);
        (!next.is_empty())
            .then(|| spawn_blocking(move || next.into_iter().filter_map(|id| read(&ledger, id)).collect()))
    }

    /// Sends what was read ahead while `answered` was under way, as far as it still waits, and more of it where more calls
    /// may be under way.
    pub(super) async fn send_ahead(&mut self, next: Ahead, answered: &[Submission]) {
        let mut next = Some(next);
        while let Some(ahead) = next {
            let Ok(mut batch) = ahead.await else { return };
            batch.retain(|submission| self.ledger.is_waiting(submission.issuance));
            if batch.is_empty() || self.stopping.is_requested() {
                return;
            }
            self.send(batch);
            let more = self.under_way.len() < self.settings.in_flight;
            next = if more { self.read_ahead(answered) } else { None };
        }
    }

    fn send(&mut self, batch: Vec<Submission>) {
        let (connector, sent, most) = (Arc::clone(&self.connector), batch.clone(), self.settings.timeout);
        let mut call = JoinSet::new();
        call.spawn(async move {
            let late = || Unanswered::lost(format!("no answer within {} s", most.as_secs()));
            timeout(most, connector.submit(&sent)).await.unwrap_or_else(|_| Err(late()))
        });
        self.under_way.push_back(UnderWay { batch, call });
    }
}

/// What cannot be read, or is in doubt, is left for when it is the next.
fn read(ledger: &Ledger, id: IssuanceId) -> Option<Submission> {
    let (authority, terms) = ledger.authority();
    let (issuance, _) = ledger.get(id).ok()??;
    let doubt = issuance.state.submission()?.doubt(authority, terms);
    if doubt.is_some() { None } else { submission_of(ledger, &issuance) }
}
