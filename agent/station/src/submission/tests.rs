use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use super::*;
use crate::testing::{Desk, asked};
use tokio::sync::oneshot;

mod recorded;
mod week;

const SETTINGS: QueueSettings = QueueSettings {
    bound: 1000,
    batch: 4,
    in_flight: 1,
    timeout: Duration::from_secs(1),
    retry_first: Duration::from_millis(200),
    retry_most: Duration::from_secs(30),
};

type Submitted = Result<Vec<(IssuanceId, Answer)>, Unanswered>;

type Answering = Box<dyn FnOnce(&[Submission]) -> Submitted + Send>;

enum Reply {
    Now(Answering),
    /// When the test says so; never, when it drops its end: the call waits for ever.
    Later(oneshot::Receiver<Submitted>),
}

/// A CA that answers as it was told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<Vec<Vec<IssuanceId>>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    /// How often it was looked for.
    reached: Arc<Mutex<usize>>,
    unreachable: Arc<Mutex<bool>>,
}

impl Scripted {
    fn will(&self, reply: impl FnOnce(&[Submission]) -> Submitted + Send + 'static) {
        self.replies.lock().unwrap().push_back(Reply::Now(Box::new(reply)));
    }

    /// The next call is answered when the test sends its answer.
    fn will_later(&self) -> oneshot::Sender<Submitted> {
        let (sender, receiver) = oneshot::channel();
        self.replies.lock().unwrap().push_back(Reply::Later(receiver));
        sender
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Vec<IssuanceId>>> {
        self.asked.lock().unwrap()
    }
}

impl Connector for Scripted {
    async fn reach(&self) -> Result<(), Unanswered> {
        *self.reached.lock().unwrap() += 1;
        if *self.unreachable.lock().unwrap() { down(None) } else { Ok(()) }
    }

    async fn submit(&self, batch: &[Submission]) -> Submitted {
        self.asked().push(batch.iter().map(|submission| submission.issuance).collect());
        let reply = self.replies.lock().unwrap().pop_front();
        match reply {
            None => Ok(refusals(batch)),
            Some(Reply::Now(reply)) => reply(batch),
            Some(Reply::Later(answer)) => match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn refused() -> Answer {
    Answer::Refused { reason: "NO".into(), message: "no".into() }
}

/// The shortest final answer: a refusal takes its submission out of the queue.
fn refusals(batch: &[Submission]) -> Vec<(IssuanceId, Answer)> {
    batch.iter().map(|submission| (submission.issuance, refused())).collect()
}

fn down<T>(retry_after: Option<Duration>) -> Result<T, Unanswered> {
    Err(Unanswered { retry_after, ..Unanswered::not_taken("connection refused") })
}

/// Records in the ledger, and remembers whom it told.
struct Told {
    desk: Arc<Desk>,
    told: Mutex<Vec<IssuanceId>>,
    deaf: bool,
}

impl Answered for Told {
    fn answered(&self, issuance: IssuanceId) {
        self.told.lock().unwrap().push(issuance);
    }

    fn record(&self, issuance: IssuanceId, input: Input) -> bool {
        self.deaf || self.desk.decide(issuance, input).is_ok()
    }

    async fn sending(&self, issuances: &[IssuanceId]) -> bool {
        let recorded = issuances.iter().all(|id| self.record(*id, Input::Sending));
        recorded && self.desk.ledger.journal().sync().is_ok()
    }
}

struct Line {
    desk: Arc<Desk>,
    ca: Scripted,
    told: Arc<Told>,
    ids: Vec<IssuanceId>,
    sender: Sender<Scripted, Told>,
    link: watch::Receiver<Link>,
}

fn line(submissions: usize) -> Line {
    line_with(submissions, false)
}

fn line_with(submissions: usize, deaf: bool) -> Line {
    line_at(Desk::new(1000), submissions, deaf)
}

fn line_at(desk: Desk, submissions: usize, deaf: bool) -> Line {
    let desk = Arc::new(desk);
    let ids = (0..submissions).map(|number| desk.submitted(&format!("SN-{number}"))).collect();
    let (ca, told) = (Scripted::default(), Arc::new(Told { desk: Arc::clone(&desk), told: Mutex::default(), deaf }));
    let (link, view) = watch::channel(Link::default());
    let sender = Sender::new(Arc::clone(&desk.ledger), ca.clone(), Arc::clone(&told), SETTINGS, link, Shutdown::new());
    Line { desk, ca, told, ids, sender, link: view }
}

impl Line {
    fn waiting(&self) -> Vec<IssuanceId> {
        self.desk.ledger.journal().sync().unwrap();
        self.desk.ledger.waiting(1000, |_| false).iter().map(|waiting| waiting.issuance).collect()
    }
}

/// How long the sender will wait; `None` when it does not wait for a moment.
fn pause(pause: &Pause) -> Option<Duration> {
    match pause {
        Pause::Until(due) | Pause::QueuedOr(due) => Some(due.saturating_duration_since(Instant::now())),
        Pause::Queued | Pause::None => None,
    }
}

/// Everything is sent in order, in batches of the configured size, and told once each; then the sender rests.
#[tokio::test]
async fn batches_keep_their_order() {
    let mut line = line(10);
    for _ in 0..3 {
        assert!(matches!(line.sender.send_next().await, Pause::None));
    }
    assert!(matches!(line.sender.send_next().await, Pause::Queued));
    let batches: Vec<_> = line.ids.chunks(4).map(<[IssuanceId]>::to_vec).collect();
    assert_eq!(*line.ca.asked(), batches);
    assert_eq!(*line.told.told.lock().unwrap(), line.ids);
    assert_eq!(line.waiting(), []);
    assert_eq!(line.link.borrow().up, Some(true));
}

/// While the answers to a full batch are recorded the next is under way, and each is sent once: when the second call is
/// made, one of the first four answers is recorded.
#[tokio::test]
async fn the_next_batch_leaves_before_the_answers_are_recorded() {
    let mut line = line(10);
    let (ledger, seen) = (Arc::clone(&line.desk.ledger), Arc::new(Mutex::new(0)));
    let waiting = Arc::clone(&seen);
    line.ca.will(|batch| Ok(refusals(batch)));
    line.ca.will(move |batch| {
        *waiting.lock().unwrap() = ledger.queue().0;
        Ok(refusals(batch))
    });
    assert!(matches!(line.sender.send_next().await, Pause::None));
    assert_eq!((*seen.lock().unwrap(), line.waiting().len()), (9, 6));
    while !line.waiting().is_empty() {
        assert!(matches!(line.sender.send_next().await, Pause::None));
    }
    assert_eq!(line.ca.asked().concat(), line.ids);
}

/// With two calls under way, each answer is followed by the next batch before it is recorded; nothing is sent twice, all
/// leaves in its order, and never more are under way.
#[tokio::test]
async fn two_batches_are_under_way() {
    let mut line = line(23);
    line.sender.settings.in_flight = 2;
    let ids = line.ids.clone();
    let mut answers: VecDeque<_> = (0..6).map(|_| line.ca.will_later()).collect();
    let batches: Vec<_> = ids.chunks(4).collect();
    for (turn, answer) in batches.iter().enumerate() {
        let refusals = answer.iter().map(|id| (*id, refused())).collect();
        answers.pop_front().unwrap().send(Ok(refusals)).unwrap();
        assert!(matches!(line.sender.send_next().await, Pause::None));
        // What was sent ahead is asked by a task of its own.
        let asked = (turn + 3).min(batches.len());
        while line.ca.asked().len() < asked {
            tokio::task::yield_now().await;
        }
        assert_eq!(line.ca.asked().len(), asked, "after {turn}");
        assert_eq!(line.sender.under_way.len(), asked - turn - 1);
    }
    assert_eq!(line.ca.asked().concat(), ids);
    assert_eq!(line.waiting(), []);
}

/// A call is lost, and the one behind it is lost as well or answered: that is waited for, and recorded, before the pause,
/// which is the longer of theirs; one probe follows.
#[tokio::test]
async fn a_batch_is_lost_with_another_under_way() {
    for answered in [false, true] {
        let mut line = line(23);
        line.sender.settings.in_flight = 2;
        line.ca.will(|batch| Ok(refusals(batch)));
        line.ca.will(|_| down(Some(Duration::from_secs(9))));
        line.ca.will(move |batch| if answered { Ok(refusals(batch)) } else { down(Some(Duration::from_secs(1))) });
        assert!(matches!(line.sender.send_next().await, Pause::None));
        assert!(matches!(line.sender.send_next().await, Pause::None), "one is under way");
        let after = line.sender.send_next().await;
        assert_eq!(line.link.borrow().up, Some(false));
        assert!(pause(&after).is_some_and(|pause| pause > Duration::from_secs(8)));
        assert_eq!(line.waiting().len(), if answered { 15 } else { 19 });
        line.sender.send_next().await;
        assert_eq!(line.ca.asked()[3], line.ids[4..5]);
    }
}

/// A batch that was sent ahead and got no answer waits, and is asked again in its order, with one probe.
#[tokio::test]
async fn what_was_sent_ahead_may_be_lost() {
    let mut line = line(10);
    line.ca.will(|batch| Ok(refusals(batch)));
    line.ca.will(|_| Err(Unanswered::lost("connection reset")));
    assert!(matches!(line.sender.send_next().await, Pause::None));
    assert!(matches!(line.sender.send_next().await, Pause::Until(_)));
    assert_eq!((line.waiting(), line.link.borrow().up), (line.ids[4..].to_vec(), Some(false)));
    line.sender.send_next().await;
    assert_eq!(line.ca.asked()[2], line.ids[4..5]);
}

/// The certificate that the CA sends reaches the journal as it came.
#[tokio::test]
async fn a_certificate_is_recorded() {
    let mut line = line(1);
    let certificate = match line.desk.authority.answer(&line.desk.issuance(line.ids[0])) {
        Input::Issued { certificate, .. } => certificate,
        _ => unreachable!(),
    };
    let (sent, chain) = (certificate.clone(), vec![line.desk.authority.der.clone()]);
    line.ca.will(move |batch| Ok(vec![(batch[0].issuance, Answer::Issued { certificate: sent, chain })]));
    line.sender.send_next().await;
    assert_eq!(line.desk.issuance(line.ids[0]).state.issued().unwrap().certificate, certificate);
}

/// While the CA is away: one submission at a time, with pauses that double up to the cap, never none; the link says
/// since when, why, and when next. Then all goes on, and nothing is lost or sent out of turn but the probes.
#[tokio::test]
async fn an_outage_is_met_with_probes() {
    let mut line = line(6);
    let mut most = Duration::ZERO;
    for attempt in 1..=12u32 {
        line.ca.will(|_| down(None));
        let pause = pause(&line.sender.send_next().await).expect("a pause");
        let bound = SETTINGS.retry_first * 2u32.pow(attempt.min(10) - 1);
        assert!(pause > Duration::from_millis(90) && pause <= bound.min(SETTINGS.retry_most), "{attempt}: {pause:?}");
        most = most.max(pause);
    }
    assert!(most > Duration::from_secs(1), "twelve times the smallest is one in a thousand million");
    let link = line.link.borrow().clone();
    assert_eq!((link.up, link.last_error.as_str()), (Some(false), "connection refused"));
    assert!(link.changed.is_some() && link.next_attempt.is_some());
    let asked = std::mem::take(&mut *line.ca.asked());
    assert_eq!(asked[0].len(), 4, "nobody knew yet");
    assert!(asked[1..].iter().all(|batch| batch.len() == 1));
    assert_eq!(line.waiting(), line.ids);
    while !line.waiting().is_empty() {
        assert!(matches!(line.sender.send_next().await, Pause::None));
    }
    assert_eq!(line.link.borrow().up, Some(true));
    let sent: Vec<_> = line.ca.asked().concat();
    assert_eq!(sent.len(), 6, "each is answered once: {sent:?}");
}

/// A short outage changes no order: the first submission is the first probe.
#[tokio::test]
async fn the_first_probe_is_the_first_in_the_queue() {
    let mut line = line(6);
    line.ca.will(|_| down(None));
    line.sender.send_next().await;
    line.sender.send_next().await;
    line.sender.send_next().await;
    line.sender.send_next().await;
    assert_eq!(line.ca.asked()[1..].concat(), line.ids);
}

/// The CA's own word on when to come back is kept, within bounds.
#[tokio::test]
async fn retry_after_is_honoured() {
    let mut line = line(1);
    for (said, least, most) in [(7, 6, 7), (0, 0, 1), (1_000_000, 3_599, 3_600), (u64::MAX, 3_599, 3_600)] {
        line.ca.will(move |_| down(Some(Duration::from_secs(said))));
        let pause = pause(&line.sender.send_next().await).unwrap();
        assert!(pause >= Duration::from_secs(least) && pause <= Duration::from_secs(most), "{said}: {pause:?}");
        assert!(pause > Duration::from_millis(100));
    }
    // A first pause of hours, as configured, is no reason to panic.
    line.sender.settings.retry_first = Duration::from_secs(7200);
    line.sender.settings.retry_most = Duration::from_secs(7200);
    line.ca.will(|_| down(Some(Duration::from_secs(1))));
    assert!(pause(&line.sender.send_next().await).unwrap() > Duration::from_secs(7000));
}

/// What the CA wants later is left out until then; the rest goes on, and the link is up.
#[tokio::test]
async fn what_is_deferred_holds_up_nobody() {
    let mut line = line(6);
    let later = line.ids[1];
    line.ca.will(move |batch| {
        let deferred = Answer::Deferred { after: Duration::from_secs(5), message: "approval".into() };
        Ok(refusals(batch)
            .into_iter()
            .map(|(id, answer)| (id, if id == later { deferred.clone() } else { answer }))
            .collect())
    });
    assert!(matches!(line.sender.send_next().await, Pause::None));
    assert!(matches!(line.sender.send_next().await, Pause::None));
    assert_eq!(line.waiting(), [later]);
    assert_eq!(line.link.borrow().up, Some(true));
    let rest = line.sender.send_next().await;
    assert!(matches!(rest, Pause::QueuedOr(_)));
    assert!(pause(&rest).is_some_and(|pause| pause > Duration::from_secs(4)));
    assert_eq!(line.ca.asked().len(), 2, "it is not asked before its time");
    line.sender.deferred.insert(later, Instant::now());
    line.sender.send_next().await;
    assert_eq!(line.waiting(), []);
}

/// A batch that was answered in part: the rest is submitted again, in its order, with what came since.
#[tokio::test]
async fn what_was_not_answered_is_submitted_again() {
    let mut line = line(6);
    line.ca.will(|batch| Ok(refusals(&batch[2..3])));
    line.sender.send_next().await;
    assert_eq!(*line.told.told.lock().unwrap(), [line.ids[2]]);
    line.sender.send_next().await;
    let [a, b, _, d, e, _] = line.ids[..] else { panic!() };
    assert_eq!(line.ca.asked()[1], [a, b, d, e]);
}

/// An answer for what was not asked changes nothing; alone, it counts as no answer.
#[tokio::test]
async fn answers_for_others_are_ignored() {
    let mut line = line(6);
    let (stranger, last) = (IssuanceId::from_uuid(uuid::Uuid::now_v7()), line.ids[5]);
    line.ca.will(move |_| Ok(vec![(stranger, refused()), (last, refused())]));
    assert!(matches!(line.sender.send_next().await, Pause::Until(_)));
    assert_eq!((line.waiting(), line.told.told.lock().unwrap().len()), (line.ids.clone(), 0));
    assert_eq!(line.link.borrow().up, Some(false));
}

/// One request that the CA cannot answer, so that every batch with it gets none, keeps nobody else waiting.
#[tokio::test]
async fn one_that_is_never_answered_does_not_block() {
    let mut line = line(12);
    let poison = line.ids[0];
    let mut attempts = 0;
    while line.waiting() != [poison] {
        line.ca.will(move |batch| {
            if batch.iter().any(|submission| submission.issuance == poison) { down(None) } else { Ok(refusals(batch)) }
        });
        line.sender.send_next().await;
        attempts += 1;
        assert!(attempts < 12, "{:?}", line.ca.asked());
    }
    assert!(line.sender.deferred.contains_key(&poison));
    assert_eq!(line.link.borrow().up, Some(true), "the link is not to blame");
    // The same when the CA answers without a word on it.
    assert!(matches!(line.sender.send_next().await, Pause::QueuedOr(_)));
}

/// An answer that was taken and still waits, which should not be, is not asked in a loop.
#[tokio::test]
async fn an_answer_that_changes_nothing_is_no_loop() {
    let mut line = line_with(2, true);
    assert!(matches!(line.sender.send_next().await, Pause::None));
    assert!(matches!(line.sender.send_next().await, Pause::QueuedOr(_)));
    assert_eq!(line.ca.asked().len(), 1);
}

/// The whole loop: sends what waits, what is queued later once it is rung for, survives an outage, and ends when asked.
#[tokio::test]
async fn the_loop_runs_and_ends() {
    let desk = Arc::new(Desk::new(1000));
    let told = Arc::new(Told { desk: Arc::clone(&desk), told: Mutex::default(), deaf: false });
    let (ca, shutdown) = (Scripted::default(), Shutdown::new());
    let (link, mut view) = watch::channel(Link::default());
    desk.submitted("SN-1");
    ca.will(|_| down(None));
    let settings =
        QueueSettings { retry_first: Duration::from_millis(5), retry_most: Duration::from_millis(10), ..SETTINGS };
    let running = tokio::spawn(run(Arc::clone(&desk.ledger), ca.clone(), told, settings, link, shutdown.clone()));
    let bounded = Duration::from_secs(20);
    tokio::time::timeout(bounded, view.wait_for(|link| link.up == Some(true))).await.unwrap().unwrap();
    let id = desk.start(&asked("SN-2")).unwrap().issuance.id;
    desk.work_until(id, &mut crate::testing::Device::new("x"), "Submitted");
    desk.ledger.journal().sync().unwrap();
    desk.ledger.ring();
    let answered = async {
        while desk.ledger.is_waiting(id) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(bounded, answered).await.unwrap();
    shutdown.request();
    tokio::time::timeout(bounded, running).await.unwrap().unwrap();
}
