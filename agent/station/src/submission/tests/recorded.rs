//! A CA that makes a second certificate of the same request: what is recorded of each send, and what nobody knows.

use issuance::{
    State,
    rule::Ruling,
    submission::{RESUBMISSIONS_MOST, Repeats, Terms, WhenInDoubt},
};

use super::*;

const ASK: Terms = Terms { repeats: Repeats::New, in_doubt: WhenInDoubt::Ask };
const RESUBMIT: Terms = Terms { repeats: Repeats::New, in_doubt: WhenInDoubt::Resubmit };

fn forgetful(submissions: usize, terms: Terms) -> Line {
    line_at(Desk::new(1000).asking("ca-1", terms), submissions, false)
}

fn lost<T>() -> Result<T, Unanswered> {
    Err(Unanswered::lost("connection reset"))
}

impl Line {
    fn state(&self, id: IssuanceId) -> String {
        self.desk.issuance(id).state.to_string()
    }

    fn states(&self) -> Vec<String> {
        self.ids.iter().map(|id| self.state(*id)).collect()
    }

    /// A certificate of its own for each time it is asked.
    fn certificate(&self, id: IssuanceId) -> (IssuanceId, Answer) {
        let request = self.desk.issuance(id).state.submission().unwrap().request.certification_request.clone();
        let certificate = self.desk.authority.issue(&request);
        (id, Answer::Issued { certificate, chain: vec![self.desk.authority.der.clone()] })
    }

    /// The station is killed, and starts again configured so.
    fn restarted(self, authority: &'static str, terms: Terms) -> Line {
        let Line { desk, sender, told, ids, .. } = self;
        drop((sender, told));
        let desk = Arc::into_inner(desk).expect("nobody else holds the desk").asking(authority, terms);
        Line { ids, ..line_at(desk, 0, false) }
    }

    /// The sender's next turn, once all is on the disk.
    async fn turn(&mut self) -> Pause {
        self.desk.ledger.journal().sync().unwrap();
        self.sender.send_next().await
    }

    /// The late answers that have come are taken.
    async fn hear(&mut self) {
        let bounded = Duration::from_secs(3600);
        let late = tokio::time::timeout(bounded, self.sender.late.join_next()).await.unwrap().unwrap();
        self.sender.take_late(late);
    }
}

fn der(answer: &(IssuanceId, Answer)) -> Vec<u8> {
    let Answer::Issued { certificate, .. } = &answer.1 else { panic!("{answer:?}") };
    certificate.clone()
}

/// What leaves for the CA is on the disk as under way; once it is answered all goes on as ever.
#[tokio::test]
async fn intents_are_on_the_disk_before_the_batch_leaves() {
    let mut line = forgetful(6, ASK);
    let desk = Arc::clone(&line.desk);
    line.ca.will(move |batch| {
        assert_eq!(desk.ledger.journal().synced(), desk.ledger.journal().length());
        for submission in batch {
            let state = desk.issuance(submission.issuance).state;
            assert!(state.submission().is_some_and(|submission| submission.under_way), "{state}");
        }
        Ok(refusals(batch))
    });
    line.turn().await;
    assert_eq!(line.ca.asked().len(), 1, "nothing leaves ahead of its intent");
    line.turn().await;
    assert_eq!(line.ca.asked().concat(), line.ids);
    assert_eq!(*line.told.told.lock().unwrap(), line.ids);
}

/// While the CA cannot be reached nothing is sent and nothing is recorded, however long it lasts.
#[tokio::test]
async fn an_outage_leaves_no_records() {
    let mut line = forgetful(6, ASK);
    *line.ca.unreachable.lock().unwrap() = true;
    let length = line.desk.ledger.journal().length();
    for _ in 0..50 {
        assert!(pause(&line.turn().await).is_some());
    }
    assert_eq!((line.ca.asked().len(), *line.ca.reached.lock().unwrap()), (0, 50));
    assert_eq!((line.desk.ledger.journal().length(), line.waiting()), (length, line.ids.clone()));
    assert_eq!(line.link.borrow().last_error, "connection refused");
    *line.ca.unreachable.lock().unwrap() = false;
    while !line.waiting().is_empty() {
        line.turn().await;
    }
    assert_eq!(line.ca.asked().concat().len(), 6, "each is sent once");
}

/// What was certainly not taken, in spite of its intent, waits as before and is sent again.
#[tokio::test]
async fn what_reached_nobody_is_no_doubt() {
    let mut line = forgetful(3, ASK);
    line.ca.will(|_| down(Some(Duration::from_secs(7))));
    let pause = pause(&line.turn().await).unwrap();
    assert!(pause > Duration::from_secs(6));
    assert_eq!((line.waiting(), line.states()), (line.ids.clone(), vec!["Submitted".to_owned(); 3]));
    while !line.waiting().is_empty() {
        line.turn().await;
    }
    assert_eq!(line.desk.ledger.in_doubt(), 0);
    assert_eq!(line.ca.asked()[1..].concat(), line.ids);
}

/// A lost answer puts the whole batch in doubt: it has left the queue, is not sent again, and a supervisor's release sends
/// it once more.
#[tokio::test]
async fn a_lost_answer_asks_a_supervisor() {
    let mut line = forgetful(5, ASK);
    line.ca.will(|_| lost());
    assert!(matches!(line.turn().await, Pause::Until(_)));
    assert_eq!(line.states(), ["InDoubt", "InDoubt", "InDoubt", "InDoubt", "Submitted"]);
    assert_eq!((line.waiting(), line.desk.ledger.in_doubt()), (line.ids[4..].to_vec(), 4));
    for _ in 0..3 {
        line.turn().await;
    }
    assert_eq!(line.ca.asked()[1..], [line.ids[4..].to_vec()]);
    line.desk
        .ledger
        .rule(line.ids[2], Ruling::Release { new_hardware: false }, "b".into(), "s".into(), 0)
        .unwrap()
        .wait()
        .unwrap();
    line.turn().await;
    assert_eq!(line.ca.asked()[2..], [vec![line.ids[2]]]);
    assert_eq!((line.state(line.ids[2]).as_str(), line.desk.ledger.in_doubt()), ("Quarantined", 3));
}

/// A batch that was answered in part: what has no answer is in doubt, and what the CA wants later waits.
#[tokio::test]
async fn half_a_batch_is_in_doubt() {
    let mut line = forgetful(4, ASK);
    let first = line.certificate(line.ids[0]);
    line.ca.will(move |batch| {
        let later = Answer::Deferred { after: Duration::from_secs(5), message: "approval".into() };
        Ok(vec![first, (batch[1].issuance, later)])
    });
    assert!(matches!(line.turn().await, Pause::None));
    assert_eq!(line.states(), ["Issued", "Submitted", "InDoubt", "InDoubt"]);
    assert!(line.desk.issuance(line.ids[2]).state.stop().unwrap().message.contains("others of its batch"));
    assert!(matches!(line.turn().await, Pause::QueuedOr(_)), "the link is up");
    line.sender.deferred.clear();
    line.turn().await;
    assert_eq!(line.ca.asked()[1..], [vec![line.ids[1]]]);
}

/// As configured, it is sent again by itself, behind the others, so many times; then a supervisor is asked.
#[tokio::test]
async fn as_configured_it_is_sent_again() {
    let mut line = forgetful(1, RESUBMIT);
    for _ in 0..RESUBMISSIONS_MOST {
        line.ca.will(|_| lost());
        line.turn().await;
        assert_eq!((line.states(), line.waiting()), (vec!["Submitted".to_owned()], line.ids.clone()));
    }
    line.ca.will(|_| lost());
    line.turn().await;
    assert_eq!((line.states(), line.desk.ledger.in_doubt()), (vec!["InDoubt".to_owned()], 1));
    assert_eq!(line.ca.asked().len(), RESUBMISSIONS_MOST as usize + 1);
}

/// An answer that comes after the station gave up: the issuances were in doubt, and go on from their certificates.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_taken() {
    let mut line = forgetful(2, ASK);
    let answers = vec![line.certificate(line.ids[0]), line.certificate(line.ids[1])];
    let (first, late) = (der(&answers[0]), line.ca.will_later());
    assert!(matches!(line.turn().await, Pause::Until(_)));
    assert_eq!(line.states(), ["InDoubt", "InDoubt"]);
    late.send(Ok(answers)).unwrap();
    line.hear().await;
    assert_eq!((line.states(), line.desk.ledger.in_doubt()), (vec!["Issued".to_owned(); 2], 0));
    assert_eq!(line.desk.issuance(line.ids[0]).state.issued().unwrap().certificate, first);
    assert_eq!(*line.told.told.lock().unwrap(), line.ids);
}

/// Late answers are heard while the next call is under way, and a call is forgotten after its bound.
#[tokio::test(start_paused = true)]
async fn late_answers_are_heard_meanwhile_and_not_for_ever() {
    let mut line = forgetful(1, RESUBMIT);
    let answer = line.certificate(line.ids[0]);
    let (first, _never) = (line.ca.will_later(), line.ca.will_later());
    line.turn().await;
    first.send(Ok(vec![answer])).unwrap();
    line.turn().await;
    assert_eq!(line.states(), ["Issued"], "while the second call went on");
    assert_eq!(line.sender.late.len(), 1);
    line.hear().await;
    assert_eq!((line.sender.late.len(), line.states()), (0, vec!["Issued".to_owned()]));
}

/// Sent twice and answered twice: the first answer counts; the other certificate is recorded whole, shown, and never told
/// to a fixture. Also after the issuance is completed, and the same one again changes nothing.
#[tokio::test(start_paused = true)]
async fn a_second_certificate_is_recorded() {
    let mut line = forgetful(1, RESUBMIT);
    let id = line.ids[0];
    let (second, first) = (line.certificate(id), line.certificate(id));
    assert_ne!(der(&first), der(&second), "this CA makes a new one each time");
    let (own, other) = (der(&second), der(&first));
    let late = line.ca.will_later();
    line.turn().await;
    line.ca.will(move |_| Ok(vec![second]));
    line.turn().await;
    let twice = vec![first.clone(), first];
    late.send(Ok(twice)).unwrap();
    line.hear().await;
    let issuance = line.desk.issuance(id);
    assert_eq!(issuance.state.issued().unwrap().certificate, own);
    assert_eq!(issuance.surplus, std::slice::from_ref(&other));
    assert_eq!(*line.told.told.lock().unwrap(), [id], "once, for its own");
    let shown = crate::view::issuance(&issuance, 0);
    assert_eq!((&shown.certificate, &shown.surplus[0].certificate), (&own, &other));
    assert!(!shown.surplus[0].certificate_serial.is_empty());
    let line = line.restarted("ca-1", RESUBMIT);
    assert_eq!(line.desk.issuance(id).surplus, [other], "from the journal");
}

/// Killed between the intent and the answer: after the restart it is in doubt, or sent again as configured; what was not
/// sent waits in its order.
#[tokio::test(start_paused = true)]
async fn a_restart_between_intent_and_answer_is_a_doubt() {
    for terms in [ASK, RESUBMIT] {
        let mut line = forgetful(6, terms);
        let _never = line.ca.will_later();
        let cut = tokio::time::timeout(SETTINGS.timeout / 2, line.turn()).await;
        assert!(cut.is_err(), "the answer is under way");
        assert_eq!(line.states(), ["Submitted"; 6]);
        let mut line = line.restarted("ca-1", terms);
        // Not until it is looked at.
        *line.ca.unreachable.lock().unwrap() = true;
        line.sender.look_over();
        let [a, b, c, d, e, f] = line.ids[..] else { panic!() };
        let waits = if terms == ASK { vec![e, f] } else { vec![e, f, a, b, c, d] };
        assert_eq!(line.waiting(), waits, "{terms:?}");
        assert_eq!(line.desk.ledger.in_doubt(), if terms == ASK { 4 } else { 0 });
        let words = line.desk.issuance(a).state.stop().map(|stop| stop.message.clone());
        assert!(words.is_none_or(|words| words.contains("the station ended")));
        *line.ca.unreachable.lock().unwrap() = false;
        while !line.waiting().is_empty() {
            line.turn().await;
        }
        assert_eq!(line.ca.asked().concat(), waits);
        // The doubts themselves survive a restart, with and without the rows.
        let in_doubt = line.desk.ledger.in_doubt();
        let line = line.restarted("ca-1", terms);
        assert_eq!(line.desk.ledger.in_doubt(), in_doubt);
        let Line { desk, sender, told, .. } = line;
        drop((sender, told));
        let desk = Arc::into_inner(desk).unwrap().reopened(true);
        assert_eq!(desk.ledger.in_doubt(), in_doubt);
    }
}

/// The station is configured for another CA: what one may have goes to the other only through doubt, whatever either
/// promises, and a release sends it to the new one.
#[tokio::test]
async fn another_ca_gets_nothing_without_a_word() {
    for (before, after) in [(Terms::default(), Terms::default()), (ASK, ASK), (Terms::default(), ASK)] {
        let line = forgetful(5, before);
        let mut line = line.restarted("ca-2", after);
        line.sender.look_over();
        assert_eq!((line.states(), line.waiting()), (vec!["InDoubt".to_owned(); 5], vec![]));
        assert!(matches!(line.turn().await, Pause::Queued));
        assert_eq!(line.ca.asked().len(), 0);
        line.desk
            .ledger
            .rule(line.ids[3], Ruling::Release { new_hardware: false }, "b".into(), "s".into(), 0)
            .unwrap()
            .wait()
            .unwrap();
        let State::Submitted(submission) = line.desk.issuance(line.ids[3]).state else { panic!() };
        assert_eq!(submission.authority, "ca-2");
        line.turn().await;
        assert_eq!(*line.ca.asked(), [vec![line.ids[3]]]);
    }
    // The same CA, which no longer promises anything: what may have been sent without a record is in doubt as well.
    let mut line = forgetful(2, Terms::default()).restarted("ca-1", RESUBMIT);
    line.sender.look_over();
    line.turn().await;
    assert_eq!(line.ca.asked().concat(), line.ids, "as configured, and recorded as such");
    assert!(line.ids.iter().all(|id| matches!(&line.desk.issuance(*id).state, State::Quarantined(..))));
}

/// A supervisor cancels while it is sent: the late certificate is kept with the cancelled issuance.
#[tokio::test(start_paused = true)]
async fn a_cancelled_send_keeps_its_certificate() {
    let mut line = forgetful(1, ASK);
    let id = line.ids[0];
    let (answer, late) = (line.certificate(id), line.ca.will_later());
    let certificate = der(&answer);
    line.turn().await;
    let cancel = Ruling::Cancel { reason: "scrapped".into() };
    line.desk.ledger.rule(id, cancel, "b".into(), "s".into(), 0).unwrap().wait().unwrap();
    assert_eq!(line.desk.ledger.in_doubt(), 0);
    late.send(Ok(vec![answer])).unwrap();
    line.hear().await;
    let issuance = line.desk.issuance(id);
    assert_eq!(
        (issuance.state.to_string().as_str(), &issuance.state.issued().unwrap().certificate),
        ("Cancelled", &certificate)
    );
}

/// At the queue's bound nothing is released from doubt: it would not be one more that was accepted.
#[tokio::test]
async fn a_full_queue_takes_nothing_from_doubt() {
    let mut line = line_at(Desk::new(2).asking("ca-1", ASK), 1, false);
    line.ca.will(|_| lost());
    line.turn().await;
    line.desk.submitted("SN-8");
    // One waits, and one at work has the other place.
    let full = line
        .desk
        .ledger
        .rule(line.ids[0], Ruling::Release { new_hardware: false }, "b".into(), "s".into(), 1)
        .unwrap_err();
    assert!(matches!(full, crate::ledger::LedgerRefused::Full(_)), "{full}");
    line.desk.submitted("SN-9");
    let full = line
        .desk
        .ledger
        .rule(line.ids[0], Ruling::Release { new_hardware: false }, "b".into(), "s".into(), 0)
        .unwrap_err();
    assert!(matches!(full, crate::ledger::LedgerRefused::Full(_)), "{full}");
    assert_eq!(line.desk.ledger.in_doubt(), 1);
}

/// Asked to stop while an answer is under way, the loop waits for it: an orderly restart leaves no doubt.
#[tokio::test(start_paused = true)]
async fn an_orderly_end_waits_for_the_answer() {
    let line = forgetful(1, ASK);
    let Line { desk, ca, told, ids, sender, .. } = line;
    drop(sender);
    let (answer, shutdown) = (ca.will_later(), Shutdown::new());
    let running = tokio::spawn(run(
        Arc::clone(&desk.ledger),
        ca.clone(),
        told,
        SETTINGS,
        watch::Sender::default(),
        shutdown.clone(),
    ));
    while ca.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.request();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    answer.send(Ok(vec![(ids[0], refused())])).unwrap();
    running.await.unwrap();
    assert_eq!(desk.issuance(ids[0]).state.to_string(), "Quarantined");
}
