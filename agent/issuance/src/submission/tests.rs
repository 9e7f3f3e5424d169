use super::*;
use crate::{
    Action, Timestamp,
    rule::{Ruling, RulingRefused},
    simulated::{NOW, World, requested},
};

const ASK: Terms = Terms { repeats: Repeats::New, in_doubt: WhenInDoubt::Ask };
const RESUBMIT: Terms = Terms { repeats: Repeats::New, in_doubt: WhenInDoubt::Resubmit };

/// An issuance that waits for its CA, which promises this.
struct Waiting {
    world: World,
    issuance: Issuance,
}

impl Waiting {
    fn new(terms: Terms) -> Self {
        let mut world = World { terms, ..World::new() };
        let records = world.run(requested()).1;
        let end = records.iter().position(|record| matches!(record, Record::Submitted { .. })).unwrap() + 1;
        let issuance = records[..end].iter().fold(requested(), |issuance, record| issuance.apply(record, NOW));
        Self { world, issuance }
    }

    /// Decides and folds; the records' names.
    fn take(&mut self, input: Input) -> String {
        let decision = self.issuance.decide(input, self.world.context(), NOW).unwrap();
        let names: Vec<_> = decision.records.iter().map(|record| format!("{record:?}")).collect();
        for record in &decision.records {
            self.apply(record);
        }
        let name = |record: &String| record.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
        names.iter().map(name).collect::<Vec<_>>().join("+")
    }

    fn apply(&mut self, record: &Record) {
        self.issuance = self.issuance.clone().apply(record, Timestamp(NOW.0 + 1));
    }

    fn lose(&mut self) -> String {
        self.take(Input::AnswerLost { message: "no answer within 60 s".into() })
    }

    fn doubt(&self, authority: &str, terms: Terms) -> Option<String> {
        self.issuance.state.submission().unwrap().doubt(authority, terms)
    }

    fn release(&self) -> Result<Record, RulingRefused> {
        self.issuance.rule(
            Ruling::Release { new_hardware: false },
            "badge".into(),
            "supervisor-1".into(),
            ("ca-2", self.world.terms),
        )
    }

    fn stand(&self) -> String {
        self.issuance.state.to_string()
    }
}

fn not_taken() -> Input {
    Input::NotTaken { message: "connection refused".into() }
}

/// A CA that answers the same request with the same certificate: no send is recorded, and the request may be sent again and
/// again.
#[test]
fn sends_to_a_ca_that_repeats_itself_leave_no_record() {
    let mut waiting = Waiting::new(Terms::default());
    assert_eq!(waiting.take(Input::Sending), "");
    assert_eq!(waiting.take(not_taken()), "");
    assert_eq!(waiting.doubt("ca-1", Terms::default()), None);
    assert_eq!(waiting.stand(), "Submitted");
}

/// Each send is an intent, once; what reached nobody waits as before, and may be sent again.
#[test]
fn a_send_is_an_intent_with_an_outcome() {
    let mut waiting = Waiting::new(ASK);
    assert_eq!(waiting.take(not_taken()), "", "nothing was sent");
    for _ in 0..2 {
        assert_eq!(waiting.doubt("ca-1", ASK), None);
        assert_eq!(waiting.take(Input::Sending), "SendStarted");
        assert_eq!(waiting.take(Input::Sending), "", "the intent is there");
        assert!(waiting.doubt("ca-1", ASK).unwrap().contains("the station ended"));
        assert_eq!(waiting.take(not_taken()), "NotTaken");
    }
    waiting.take(Input::Sending);
    let answer = waiting.world.answer();
    assert_eq!(waiting.take(answer), "Issued");
    assert_eq!(waiting.stand(), "Issued");
}

/// A lost answer leaves the queue and asks a supervisor, with words for the operator and for whoever decides; losing it
/// twice is losing it once.
#[test]
fn a_lost_answer_is_in_doubt() {
    let mut waiting = Waiting::new(ASK);
    waiting.take(Input::Sending);
    assert_eq!(waiting.lose(), "InDoubt");
    assert_eq!(waiting.lose(), "");
    let state = &waiting.issuance.state;
    assert!(state.awaits_answer().is_none() && state.submission().is_some() && state.key().is_some());
    let stop = state.stop().unwrap();
    assert_eq!(stop.reason, "IN_DOUBT");
    assert!(stop.next_action.ends_with('.') && stop.message.contains("no answer within 60 s"), "{stop:?}");
    assert_eq!(waiting.issuance.next(waiting.world.context()), Action::Rest);
    // A scan of its device changes nothing; another device in its place is set aside as ever.
    let identified = waiting.world.identified();
    assert_eq!((waiting.take(identified), waiting.stand()), (String::new(), "InDoubt".into()));
    let other = Input::Identified { identity: World::identity("2"), known_as: None, known_fingerprint: None };
    assert_eq!((waiting.take(other), waiting.stand()), ("Quarantined".into(), "Quarantined".into()));
}

/// A supervisor's word submits it again, to the CA that is configured now, also when the device failed meanwhile; what is
/// merely waiting cannot be released, and what was cancelled stays so.
#[test]
fn a_supervisor_releases_or_cancels_it() {
    let mut waiting = Waiting::new(ASK);
    assert_eq!(waiting.release(), Err(RulingRefused::NotQuarantined));
    waiting.take(Input::Sending);
    waiting.lose();
    let mut failed = Waiting { world: World::new(), issuance: waiting.issuance.clone() };
    failed.apply(&Record::Failed(Stop { reason: "R".into(), message: "m".into(), next_action: "n".into() }));
    for waiting in [&mut waiting, &mut failed] {
        let record = waiting.release().unwrap();
        assert!(matches!(&record, Record::Resubmitted { authority, claimed_by, .. }
            if authority == "ca-2" && claimed_by == "badge"));
        waiting.apply(&record);
        assert!(waiting.issuance.state.awaits_answer().is_some());
        let submission = waiting.issuance.state.submission().unwrap();
        assert_eq!((submission.authority.as_str(), submission.under_way), ("ca-2", false));
    }
    assert_eq!((waiting.stand(), failed.stand()), ("Submitted".into(), "Failed".into()));
    waiting.take(Input::Sending);
    waiting.lose();
    let cancel = Ruling::Cancel { reason: "scrapped".into() };
    let cancelled = waiting.issuance.rule(cancel, "b".into(), "s".into(), ("ca-1", ASK)).unwrap();
    waiting.apply(&cancelled);
    assert_eq!(waiting.release(), Err(RulingRefused::NotQuarantined));
    let answer = waiting.world.answer();
    assert_eq!((waiting.take(answer), waiting.stand()), ("Issued".into(), "Cancelled".into()));
    assert!(waiting.issuance.state.issued().is_some(), "what came late is kept");
}

/// Cancelled while it was sent: how it ended is recorded, and it is not sent again by itself.
#[test]
fn a_doubt_after_a_cancellation_is_kept() {
    for terms in [ASK, RESUBMIT] {
        let mut waiting = Waiting::new(terms);
        waiting.take(Input::Sending);
        waiting.apply(&Record::Cancelled {
            scrapped: false,
            reason: "r".into(),
            claimed_by: "s".into(),
            authenticated_by: "s".into(),
        });
        assert_eq!(waiting.take(Input::Sending), "");
        assert_eq!(waiting.lose(), "InDoubt");
        assert_eq!(waiting.stand(), "Cancelled");
        assert_eq!(waiting.issuance.state.underlying().to_string(), "InDoubt");
    }
}

/// Submitted again by itself, and recorded as such, so many times; then a supervisor is asked.
#[test]
fn it_is_submitted_again_by_itself_so_many_times() {
    let mut waiting = Waiting::new(RESUBMIT);
    for _ in 0..RESUBMISSIONS_MOST {
        waiting.take(Input::Sending);
        assert_eq!((waiting.lose(), waiting.stand()), ("InDoubt+Resubmitted".into(), "Submitted".into()));
        assert_eq!(waiting.doubt("ca-1", RESUBMIT), None);
    }
    waiting.take(Input::Sending);
    assert_eq!((waiting.lose(), waiting.stand()), ("InDoubt".into(), "InDoubt".into()));
}

/// An answer that comes late moves an issuance in doubt on: a certificate is written, a refusal sets aside.
#[test]
fn a_late_answer_ends_the_doubt() {
    let mut waiting = Waiting::new(ASK);
    waiting.take(Input::Sending);
    waiting.lose();
    let mut refused = Waiting { world: World::new(), issuance: waiting.issuance.clone() };
    let answer = waiting.world.answer();
    assert_eq!((waiting.take(answer), waiting.stand()), ("Issued".into(), "Issued".into()));
    assert!(matches!(waiting.issuance.next(waiting.world.context()), Action::Write { .. }));
    let refusal = Input::Refused { reason: "NO".into(), message: "no".into() };
    assert_eq!((refused.take(refusal), refused.stand()), ("Refused+Quarantined".into(), "Quarantined".into()));
}

/// A second certificate is recorded once, whole, wherever the issuance stands, and changes nothing else; the issuance's own,
/// repeated, is none.
#[test]
fn a_second_certificate_is_recorded_and_does_not_count() {
    let mut waiting = Waiting::new(ASK);
    waiting.take(Input::Sending);
    let (own, other) = (waiting.world.answer(), waiting.world.answer());
    waiting.take(own.clone());
    let (done, _, _) = waiting.world.run(waiting.issuance.clone());
    for issuance in [waiting.issuance.clone(), done] {
        waiting.issuance = issuance;
        let before = waiting.issuance.clone();
        assert_eq!(waiting.take(own.clone()), "");
        assert_eq!(waiting.take(other.clone()), "Surplus");
        assert_eq!(waiting.take(other.clone()), "");
        let Input::Issued { certificate, .. } = &other else { panic!() };
        assert_eq!(waiting.issuance.surplus, std::slice::from_ref(certificate));
        assert_eq!(waiting.issuance.state, before.state);
    }
    let endless = Input::Issued { certificate: vec![0; 70_000], chain: vec![] };
    assert_eq!(waiting.take(endless), "", "no record can hold it");
}

/// Whatever the CA promises, a submission that another CA may have is in doubt; and so is one that was made when sends were
/// not recorded, once the CA promises nothing.
#[test]
fn another_ca_and_another_promise_are_doubts() {
    for terms in [Terms::default(), ASK] {
        let waiting = Waiting::new(terms);
        let words = waiting.doubt("ca-2", terms).unwrap();
        assert!(words.contains("ca-1") && words.contains("ca-2"), "{words}");
    }
    let waiting = Waiting::new(Terms::default());
    assert!(waiting.doubt("ca-1", ASK).unwrap().contains("not recorded"));
    let waiting = Waiting::new(ASK);
    assert_eq!(waiting.doubt("ca-1", Terms::default()), None, "it was never sent");
}
