//! The CA and the link to it, as the station's sender meets them: moody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use issuance::IssuanceId;
use station::{
    configuration::QueueSettings,
    connector::{Answer, Connector, Submission, Unanswered},
    ledger::Ledger,
};
use tokio::time::{Instant, sleep};

use crate::{
    authority::Authority,
    floor::{Shared, look},
};

/// More bytes than an answer may have.
const TOO_LARGE: usize = 100_000;
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// As `station::submission` has it: a CA's word on when to come back counts up to this.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(3600);
/// Nor sooner than this, whatever the dice say.
const PAUSE_LEAST: Duration = Duration::from_millis(100);

/// How the CA and the link to it are, beyond any one life of the station.
#[derive(Debug, Default)]
pub struct CaWeather {
    /// It is away until then.
    pub(crate) away_until: Option<Instant>,
    /// While away the link comes and goes.
    flapping: bool,
    /// Answers that are still on their way.
    pub(crate) late: Vec<(IssuanceId, Answer)>,
    /// What it was ever asked for.
    pub(crate) submitted: std::collections::BTreeSet<IssuanceId>,
    /// Attempts so far, and those that had no answer.
    pub(crate) attempts: u64,
    /// Faults so far.
    pub(crate) faults: u64,
    /// Outages of a day or more.
    pub(crate) long_outages: u64,
}

/// The CA, as the station's sender meets it.
pub(crate) struct MoodyCa {
    pub(crate) floor: Shared,
    pub(crate) authority: Arc<Mutex<Authority>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) settings: QueueSettings,
    /// It makes another certificate of the same request.
    pub(crate) mints_again: bool,
    /// What the sender was told in this life: what it must keep to.
    pub(crate) told: Mutex<Told>,
}

/// What the sender keeps to.
#[derive(Default)]
pub(crate) struct Told {
    under_way: usize,
    /// Attempts in a row without an answer, and the moment before which there must be no other.
    unanswered: u32,
    not_before: Option<Instant>,
    /// What was asked to have later.
    deferred: BTreeMap<IssuanceId, Instant>,
}

/// What becomes of an attempt.
enum Fate {
    /// Nobody is there.
    Refused,
    /// It has no time, perhaps with a word on when it has.
    Unavailable(Option<Duration>),
    /// It does what was asked, and the station hears nothing of it.
    Unheard,
    /// It does what was asked, and answers after the station gave up.
    Late,
    /// It answers half.
    Half,
    /// It answers.
    Answered,
}

impl Connector for MoodyCa {
    async fn reach(&self) -> Result<(), Unanswered> {
        let away = {
            let floor = look(&self.floor);
            !floor.calm && floor.ca.away_until.is_some_and(|until| Instant::now() < until)
        };
        sleep(Duration::from_millis(1)).await;
        let reached = if away { Err(unanswered("connection refused", None)) } else { Ok(vec![]) };
        if away {
            self.remember(&reached);
        }
        reached.map(drop)
    }

    async fn submit(&self, batch: &[Submission]) -> Result<Vec<(IssuanceId, Answer)>, Unanswered> {
        if look(&self.floor).pass().is_err() {
            // The process is gone in the middle of it: nothing left it.
            return std::future::pending().await;
        }
        self.look_at(batch);
        let fate = self.fate();
        let latency = Duration::from_millis(1 + look(&self.floor).chance.below(40) as u64);
        let outcome = match fate {
            Fate::Refused => {
                sleep(latency).await;
                Err(unanswered("connection refused", None))
            }
            Fate::Unavailable(after) => {
                sleep(latency).await;
                Err(unanswered("the CA has no time", after))
            }
            Fate::Unheard => {
                let _ = self.answers(batch);
                sleep(latency).await;
                Err(Unanswered::lost("the link was lost"))
            }
            Fate::Late => {
                let answers = self.answers(batch);
                let late = self.how_late(&answers);
                self.remember(&Err(Unanswered::lost("late")));
                sleep(self.settings.timeout + late).await;
                if look(&self.floor).pass().is_err() {
                    return std::future::pending().await;
                }
                return Ok(answers);
            }
            Fate::Half | Fate::Answered => {
                let mut answers = self.answers(batch);
                if matches!(fate, Fate::Half) {
                    answers.truncate(answers.len() / 2);
                    look(&self.floor).notes.push("half of it is answered".to_owned());
                }
                sleep(latency).await;
                if answers.is_empty() { Err(Unanswered::lost("the link was cut")) } else { Ok(answers) }
            }
        };
        self.remember(&outcome);
        outcome
    }
}

fn unanswered(message: &str, retry_after: Option<Duration>) -> Unanswered {
    Unanswered { retry_after, ..Unanswered::not_taken(message) }
}

impl MoodyCa {
    /// How long after the station gave up these come. From a CA that repeats itself they come once more, later.
    fn how_late(&self, answers: &[(IssuanceId, Answer)]) -> Duration {
        let mut floor = look(&self.floor);
        if !self.mints_again {
            floor.ca.late.extend(answers.iter().cloned());
        }
        Duration::from_secs(1 + floor.chance.below(1200) as u64)
    }

    /// What the sender promises: one attempt at a time, in the queue's order, a probe while nothing is answered, and
    /// pauses in between.
    fn look_at(&self, batch: &[Submission]) {
        let now = Instant::now();
        let queued: Vec<_> = self.ledger.waiting(usize::MAX, |_| false).iter().map(|one| one.issuance).collect();
        let places: Vec<_> = batch.iter().map(|one| queued.iter().position(|id| *id == one.issuance)).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = vec![];
        if told.under_way >= self.settings.in_flight || told.unanswered >= 2 && told.under_way > 0 {
            wrong.push("too many attempts are under way at one time");
        }
        if batch.len() > self.settings.batch || batch.is_empty() {
            wrong.push("a batch is empty or too large");
        }
        if places.iter().any(Option::is_none) || !places.is_sorted() {
            wrong.push("a batch is not what is queued, in its order");
        }
        // The first after an answer may be those that a probe suspected.
        if told.unanswered >= 2 && batch.len() > 1 {
            wrong.push("a CA that is away is asked for more than one");
        }
        if told.unanswered >= 2 && told.not_before.is_some_and(|at| now < at) {
            wrong.push("a CA that is away is asked again too soon");
        }
        if batch.iter().any(|one| told.deferred.get(&one.issuance).is_some_and(|due| now < *due)) {
            wrong.push("what the CA asked to have later is sent before that");
        }
        told.under_way += 1;
        let mut floor = look(&self.floor);
        floor.ca.attempts += 1;
        floor.wrong.extend(wrong.into_iter().map(str::to_owned));
        if told.unanswered < 2 {
            floor.notes.push(format!("a batch of {}", batch.len()));
        }
    }

    fn remember(&self, outcome: &Result<Vec<(IssuanceId, Answer)>, Unanswered>) {
        let now = Instant::now();
        let least = PAUSE_LEAST.min(self.settings.retry_first);
        let bounded = |after: Duration| after.max(self.settings.retry_first).min(RETRY_AFTER_MOST);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.under_way = told.under_way.saturating_sub(1);
        match outcome {
            Ok(answers) => {
                told.unanswered = 0;
                for (id, answer) in answers {
                    if let Answer::Deferred { after, .. } = answer {
                        told.deferred.insert(*id, now + bounded(*after));
                    }
                }
            }
            Err(unanswered) => {
                told.unanswered += 1;
                told.not_before = Some(now + unanswered.retry_after.map_or(least, bounded));
            }
        }
    }

    fn fate(&self) -> Fate {
        let now = Instant::now();
        let mut floor = look(&self.floor);
        if floor.calm {
            return Fate::Answered;
        }
        let away = floor.ca.away_until.is_some_and(|until| now < until);
        if away && !(floor.ca.flapping && floor.chance.once_in(4)) {
            return Fate::Refused;
        }
        let (fate, word) = match floor.chance.below(16) {
            0 => {
                let day = floor.chance.once_in(12);
                let away = if day {
                    DAY * (1 + floor.chance.below(7) as u32)
                } else {
                    Duration::from_secs(1 + floor.chance.below(120) as u64)
                };
                floor.ca.away_until = Some(now + away);
                floor.ca.flapping = floor.chance.once_in(2);
                floor.ca.long_outages += u64::from(day);
                let flapping = floor.ca.flapping;
                floor.notes.push(format!("the CA is away for {away:?}, flapping: {flapping}"));
                (Fate::Refused, "refused")
            }
            1 => {
                let after = floor.chance.of(&[None, Some(0), Some(5), Some(7200), Some(365 * 24 * 3600)]).flatten();
                (Fate::Unavailable(after.map(Duration::from_secs)), "the CA has no time")
            }
            2 => (Fate::Unheard, "the answer is lost"),
            3 => (Fate::Late, "the answer is late"),
            4 => (Fate::Half, "the link is cut"),
            _ => return Fate::Answered,
        };
        floor.ca.faults += 1;
        floor.notes.push(word.to_owned());
        fate
    }

    /// What the CA does with a batch.
    fn answers(&self, batch: &[Submission]) -> Vec<(IssuanceId, Answer)> {
        let mut answers = vec![];
        for submission in batch {
            let id = submission.issuance;
            let mut floor = look(&self.floor);
            if floor.forgotten.contains(&id) {
                continue;
            }
            floor.ca.submitted.insert(id);
            let mood = if floor.calm { 99 } else { floor.chance.below(30) };
            floor.ca.faults += u64::from(mood < 5);
            let bytes = if mood == 4 && floor.chance.once_in(2) { TOO_LARGE } else { 10 };
            let after = floor.chance.of(&[0, 1, 3600, 31_536_000]).unwrap_or_default();
            drop(floor);
            match self.answer(id, &submission.certification_request, mood, bytes, Duration::from_secs(after)) {
                Ok((answer, word)) => {
                    look(&self.floor).notes.push(word.to_owned());
                    answers.push((id, answer));
                }
                Err(wrong) => look(&self.floor).wrong.push(wrong),
            }
        }
        answers
    }

    fn answer(
        &self,
        id: IssuanceId,
        request: &[u8],
        mood: usize,
        bytes: usize,
        after: Duration,
    ) -> Result<(Answer, &'static str), String> {
        let mut authority = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = authority.chain();
        Ok(match mood {
            0 | 1 => (Answer::Refused { reason: "POLICY".to_owned(), message: "not today".to_owned() }, "refused"),
            2 => (Answer::Deferred { after, message: "later".to_owned() }, "deferred"),
            3 => (Answer::Issued { certificate: authority.wrong(request)?, chain }, "with another name"),
            4 => (Answer::Issued { certificate: vec![0x30; bytes], chain }, "with garbage"),
            _ => (Answer::Issued { certificate: authority.issue(id, request)?, chain }, "issued"),
        })
    }
}
