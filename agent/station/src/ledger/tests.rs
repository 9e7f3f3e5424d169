mod floor;
mod requests;

use std::time::{Duration, Instant};

use super::*;
use crate::testing::{Desk, Device, asked};
use issuance::{Made, ProfileName};

fn reason(refused: &LedgerRefused) -> &'static str {
    match refused {
        LedgerRefused::Invalid { field, .. } => field,
        LedgerRefused::NotFound(_) => "NOT_FOUND",
        LedgerRefused::Exists { reason, .. } | LedgerRefused::Precondition { reason, .. } => reason,
        LedgerRefused::Full(_) => "FULL",
        LedgerRefused::Journal(_) => "JOURNAL",
        LedgerRefused::Clock(_) => "CLOCK",
        LedgerRefused::Damaged(_) => "DAMAGED",
    }
}

#[track_caller]
fn refused(desk: &Desk, asked: &Asked, expected: &str, words: &str) {
    let length = desk.ledger.journal().length();
    let refused = desk.start(asked).unwrap_err();
    assert_eq!(reason(&refused), expected, "{refused}");
    assert!(service::in_full(&refused).contains(words), "{refused}");
    assert_eq!(desk.ledger.journal().length(), length, "a refusal is not recorded");
}

fn with(serial: &str, change: impl FnOnce(&mut Asked)) -> Asked {
    let mut asked = asked(serial);
    change(&mut asked);
    asked
}

fn lot(name: &str) -> LotName {
    LotName::parse(name).unwrap()
}

/// The same request, by its id or by what it is for, is answered with the same issuance; the same id for something else
/// is refused.
#[test]
fn the_same_request_starts_once() {
    let desk = Desk::new(10);
    let first = with("SN-1", |asked| asked.subject.request_id = "r-1".into());
    let started = desk.start(&first).unwrap();
    assert!(started.begin && started.appended.is_some());
    let id = started.issuance.id;
    // At work: nothing is added. By its id, by its subject, and with the lot's profile spelt out.
    let again = |change: fn(&mut Asked)| {
        with("SN-1", |asked| {
            asked.at_work = vec![id];
            change(asked);
        })
    };
    for again in [
        again(|asked| asked.subject.request_id = "r-1".into()),
        again(|_| {}),
        again(|asked| asked.subject.profile = Some(ProfileName::parse("device-ca").unwrap())),
        again(|asked| asked.fixture_is_free = false),
    ] {
        let same = desk.start(&again).unwrap();
        assert_eq!((same.issuance.id, same.begin, same.appended.is_some()), (id, false, false));
    }
    let other = with("SN-2", |asked| asked.subject.request_id = "r-1".into());
    refused(&desk, &other, "REQUEST_ID_REUSED", "use a new one");
    assert_eq!(desk.ledger.lot(&lot("lot-1")).unwrap().unwrap().started, 1);
    assert_eq!(desk.ledger.started_before(&first.subject).unwrap().map(|issuance| issuance.id), Some(id));
}

/// Lots: unknown, closed, used up, of another profile; each says what to do.
#[test]
fn a_lot_bounds_what_is_started() {
    let desk = Desk::new(10);
    refused(&desk, &with("SN-1", |asked| asked.subject.lot = lot("lot-9")), "NOT_FOUND", "open it first");
    let other = ProfileName::parse("other").unwrap();
    refused(&desk, &with("SN-1", |asked| asked.subject.profile = Some(other)), "WRONG_PROFILE", "is for the profile");
    let unknown = ProfileName::parse("none").unwrap();
    refused(
        &desk,
        &with("SN-1", |asked| asked.subject.profile = Some(unknown)),
        "profile",
        "this station has device-ca",
    );
    desk.open_lot("small", 1).unwrap();
    let small = |serial| with(serial, |asked| asked.subject.lot = lot("small"));
    let first = desk.start(&small("SN-1")).unwrap().issuance.id;
    refused(&desk, &small("SN-2"), "LOT_USED_UP", "1 of 1");
    // What was started goes on, also once the lot is closed.
    desk.ledger.close_lot(&lot("small"), "mes").unwrap();
    refused(&desk, &small("SN-2"), "LOT_CLOSED", "open another lot");
    assert_eq!(desk.start(&small("SN-1")).unwrap().issuance.id, first);
    // A lot is opened once: the same content is the same lot, other content is refused, a closed one stays closed.
    desk.open_lot("lot-1", 100).unwrap();
    assert_eq!(reason(&desk.open_lot("lot-1", 99).unwrap_err()), "LOT_EXISTS");
    assert_eq!(reason(&desk.open_lot("small", 1).unwrap_err()), "LOT_EXISTS");
    assert!(desk.ledger.close_lot(&lot("small"), "mes").unwrap().1.is_none());
    assert_eq!(reason(&desk.ledger.close_lot(&lot("lot-9"), "mes").unwrap_err()), "NOT_FOUND");
}

/// A CN is given once, over all lots and in any case, also when the rows were deleted since; and it keeps its distance
/// from its issuer's.
#[test]
fn a_common_name_is_given_once() {
    let mut desk = Desk::new(10);
    desk.open_lot("lot-2", 10).unwrap();
    desk.start(&asked("SN-1")).unwrap();
    for without_rows in [false, true] {
        if without_rows {
            desk = desk.reopened(true);
        }
        for serial in ["SN-1", "sn-1", "Sn-1"] {
            let again = with(serial, |asked| asked.subject.lot = lot("lot-2"));
            refused(&desk, &again, "COMMON_NAME_TAKEN", "belongs to the device SN-1");
        }
    }
    refused(&desk, &asked(&"x".repeat(62)), "device_serial", "at most 64");
}

/// At the queue's bound nothing new is started, and what is stopped before its submission is not resumed; what waits
/// keeps its place. A busy fixture refuses too.
#[test]
fn bounds_refuse_what_is_new() {
    let desk = Desk::new(2);
    refused(&desk, &with("SN-1", |asked| asked.fixture_is_free = false), "FIXTURE_BUSY", "or use another one");
    let stopped = desk.start(&asked("SN-9")).unwrap().issuance.id;
    let fault = issuance::Fault::new(issuance::FaultKind::DeviceAbsent, "absent");
    desk.decide(stopped, Input::Failed { fault, attempt: 1 }).unwrap();
    let waits = desk.submitted("SN-1");
    refused(&desk, &with("SN-3", |asked| asked.at_work = vec![stopped]), "FULL", "wait until the CA answers");
    desk.submitted("SN-2");
    refused(&desk, &asked("SN-3"), "FULL", "2 submissions wait");
    refused(&desk, &asked("SN-9"), "FULL", "2 submissions wait");
    assert!(desk.start(&asked("SN-1")).unwrap().begin, "it has its place already");
    let answer = desk.authority.answer(&desk.issuance(waits));
    desk.decide(waits, answer).unwrap();
    assert!(desk.start(&asked("SN-3")).unwrap().begin);
}

/// A stopped issuance goes on with a record of who scanned it where; a finished or quarantined one is returned unchanged.
#[test]
fn a_stopped_one_goes_on_and_a_finished_one_does_not() {
    let desk = Desk::new(10);
    let id = desk.submitted("SN-1");
    let fault = issuance::Fault::new(issuance::FaultKind::DeviceAbsent, "absent");
    desk.decide(id, Input::Failed { fault, attempt: 1 }).unwrap();
    assert!(matches!(desk.issuance(id).state, State::Failed(..)));
    refused(&desk, &with("SN-1", |asked| asked.fixture_is_free = false), "FIXTURE_BUSY", "at work");
    let resumed = desk
        .start(&with("SN-1", |asked| {
            asked.fixture = FixtureName::parse("fixture-2").unwrap();
            asked.claimed_by = "badge-2".into();
        }))
        .unwrap();
    assert!(resumed.begin && matches!(resumed.issuance.state, State::Submitted(_)));
    assert_eq!((resumed.issuance.fixture.as_str(), resumed.issuance.claimed_by.as_str()), ("fixture-2", "badge-2"));

    let mut device = Device::new("SN-2");
    let done = desk.start(&asked("SN-2")).unwrap().issuance.id;
    desk.work_until(done, &mut device, "Completed");
    let before = desk.issuance(done);
    let again = desk.start(&asked("SN-2")).unwrap();
    assert_eq!((again.issuance, again.begin, again.appended.is_some()), (before, false, false));
    assert_eq!(desk.ledger.lot(&lot("lot-1")).unwrap().unwrap().completed, 1);

    let aside = desk.submitted("SN-3");
    desk.decide(aside, Input::Refused { reason: "NO".into(), message: "no".into() }).unwrap();
    let again = desk.start(&asked("SN-3")).unwrap();
    assert!(!again.begin && matches!(again.issuance.state, State::Quarantined(..)));
}

/// What every question of the ledger is answered with.
fn everything(desk: &Desk) -> String {
    let ledger = &desk.ledger;
    let all = ledger.list(&Listed::All, None, 100).unwrap();
    let issuances: Vec<_> = all.iter().map(|(_, id)| ledger.get(*id).unwrap()).collect();
    let device = ledger.list(&Listed::Device(DeviceSerial::parse("SN-1").unwrap()), None, 100).unwrap();
    let of_lot = ledger.list(&Listed::Lot(lot("lot-1")), Some(3), 100).unwrap();
    let waiting = ledger.waiting(100, |_| false);
    let lots = ledger.lots(None, 10).unwrap();
    let last = ledger.last_at(&FixtureName::parse("fixture-1").unwrap()).unwrap();
    let changes = ledger.changes(0, ledger.journal().length()).unwrap();
    format!("{all:?}{issuances:?}{device:?}{of_lot:?}{waiting:?}{:?}{lots:?}{last:?}{changes:?}", ledger.queue())
}

/// A desk with issuances in many states.
fn busy_desk() -> Desk {
    let desk = Desk::new(10);
    for serial in ["SN-1", "SN-2", "SN-3", "SN-4"] {
        desk.submitted(serial);
    }
    let waiting = desk.ledger.waiting(10, |_| false);
    let answer = desk.authority.answer(&desk.issuance(waiting[1].issuance));
    desk.decide(waiting[1].issuance, answer).unwrap();
    desk.decide(waiting[2].issuance, Input::Refused { reason: "NO".into(), message: "no".into() }).unwrap();
    let done = desk.start(&asked("SN-5")).unwrap().issuance.id;
    desk.work_until(done, &mut Device::new("SN-5"), "Completed");
    let fault = issuance::Fault::new(issuance::FaultKind::DeviceAbsent, "absent");
    // Stopped later: since when it waits does not change with it.
    std::thread::sleep(Duration::from_millis(2));
    desk.decide(waiting[0].issuance, Input::Failed { fault, attempt: 1 }).unwrap();
    desk.open_lot("lot-2", 5).unwrap();
    desk.ledger.close_lot(&lot("lot-1"), "mes").unwrap();
    desk.ledger.journal().sync().unwrap();
    desk
}

/// Opened again, with its rows or without them, the ledger answers everything as before: issuances, lists, the queue in
/// its order and since when, lots, changes.
#[test]
fn a_restart_forgets_nothing() {
    let desk = busy_desk();
    let before = everything(&desk);
    let desk = desk.reopened(false);
    assert_eq!(everything(&desk), before);
    let desk = desk.reopened(true);
    assert_eq!(everything(&desk), before);
    let order: Vec<_> = desk.ledger.waiting(10, |_| false).iter().map(|waiting| waiting.issuance).collect();
    let serials: Vec<_> = order.iter().map(|id| desk.issuance(*id).request.device_serial.to_string()).collect();
    assert_eq!(serials, ["SN-1", "SN-4"]);
    refused(&desk, &asked("SN-9"), "LOT_CLOSED", "is closed");
}

/// What is read back from the journal equals what was told when it happened, entry by entry: issuances and lots, as they
/// stood then.
#[test]
fn a_replay_equals_what_was_told() {
    let mut desk = busy_desk();
    let told: Vec<Change> = std::iter::from_fn(|| desk.told.try_recv().ok()).collect();
    let length = desk.ledger.journal().length();
    assert_eq!(told.iter().map(|change| change.index).collect::<Vec<_>>(), (0..length).collect::<Vec<_>>());
    assert_eq!(format!("{:?}", desk.ledger.changes(0, length).unwrap()), format!("{told:?}"));
    let desk = desk.reopened(true);
    assert_eq!(format!("{:?}", desk.ledger.changes(0, length).unwrap()), format!("{told:?}"));
}

/// Each prefix of a journal opens with every issuance that it has, and whatever happens then is recorded once: the same
/// input again makes no record.
#[test]
fn every_prefix_of_a_journal_decides_once() {
    let desk = busy_desk();
    let (fixture, kind) = (FixtureName::parse("fixture-1").unwrap(), issuance::profile::KeystoreKind::Pkcs11);
    let mut recorded = 0;
    for records in 0..=desk.ledger.journal().length() {
        let (_directory, ledger) = desk.prefix(records);
        for (_, id) in ledger.list(&Listed::All, None, 100).unwrap() {
            let (issuance, _) = ledger.get(id).unwrap().unwrap();
            let identity =
                issuance::Keystore::identify(&mut Device::new(issuance.request.device_serial.as_str())).unwrap();
            let mut inputs = vec![
                Input::Identified { identity, known_as: None, known_fingerprint: None },
                Input::KeySought { found: None, made: Made::Unknown },
                Input::Submitting,
                Input::Sending,
                Input::Writing,
                Input::Written,
            ];
            inputs.extend(issuance.state.awaits_answer().map(|_| desk.authority.answer(&issuance)));
            inputs.push(Input::Refused { reason: "NO".into(), message: "no".into() });
            for input in inputs {
                let decide = || ledger.decide(id, &fixture, kind, "ca-1", input.clone());
                recorded += usize::from(decide().is_ok_and(|(_, appended)| appended.is_some()));
                if let Ok((_, appended)) = decide() {
                    assert!(appended.is_none(), "{input:?} is recorded twice in {} of {records}", issuance.state);
                }
            }
        }
        ledger.close().unwrap();
    }
    assert!(recorded > 100, "{recorded}");
}

/// A submission is handed to the queue's sender only once the disk has it.
#[test]
fn nothing_is_sent_before_it_is_on_the_disk() {
    let desk = Desk::new(100);
    for number in 0..50 {
        let id = desk.start(&asked(&format!("SN-{number}"))).unwrap().issuance.id;
        desk.work_until(id, &mut Device::new("x"), "Submitted");
        // Seen together: what may be sent is not past what is synced.
        let waiting = desk.ledger.waiting(100, |_| false);
        let synced = desk.ledger.journal().synced();
        for waiting in waiting {
            let (_, index) = desk.ledger.get(waiting.issuance).unwrap().unwrap();
            assert!(index < synced, "{index} of {synced}");
        }
    }
    desk.ledger.journal().sync().unwrap();
    assert_eq!(desk.ledger.waiting(100, |_| false).len(), 50);
}

/// An answer whose profile was taken out of the configuration is recorded and leaves the queue; nothing else moves, and
/// it goes on when the profile is back.
#[test]
fn a_profile_that_is_gone_stops_nothing_else() {
    let desk = Desk::new(10);
    let (issued, refused_one, waits) = (desk.submitted("SN-1"), desk.submitted("SN-2"), desk.submitted("SN-3"));
    let answer = desk.authority.answer(&desk.issuance(issued));
    let desk = desk.with_profiles(&["other"]);
    desk.decide(issued, answer.clone()).unwrap();
    desk.decide(issued, answer).unwrap();
    desk.decide(refused_one, Input::Refused { reason: "NO".into(), message: "no".into() }).unwrap();
    assert!(matches!(desk.issuance(issued).state, State::Issued(_)));
    assert!(matches!(desk.issuance(refused_one).state, State::Quarantined(..)));
    assert_eq!(desk.ledger.waiting(10, |_| false).iter().map(|w| w.issuance).collect::<Vec<_>>(), [waits]);
    let gone = desk.decide(waits, Input::Submitting).unwrap_err();
    assert_eq!(reason(&gone), "PROFILE_GONE");
    let desk = desk.with_profiles(&["device-ca", "other"]);
    assert!(desk.start(&asked("SN-1")).unwrap().begin);
}

/// The ledger knows devices and keys by the issuances that met them: one key belongs to one device and one profile.
#[test]
fn devices_and_keys_are_known_again() {
    let desk = Desk::new(10);
    let id = desk.submitted("SN-1");
    let state = desk.issuance(id).state;
    let (identity, key) = (state.identity().unwrap(), &state.key().unwrap().public_key);
    let [first, second] = ["SN-1", "SN-2"].map(|serial| DeviceSerial::parse(serial).unwrap());
    let (known_as, fingerprint) = desk.ledger.known_device(&first, identity).unwrap();
    assert_eq!((known_as.as_ref(), fingerprint), (Some(&first), Some(identity.fingerprint())));
    assert_eq!(desk.ledger.known_device(&second, identity).unwrap(), (Some(first.clone()), None));
    let of = |serial: &DeviceSerial, profile: &str| {
        let mut issuance = desk.issuance(id);
        issuance.request.device_serial = serial.clone();
        issuance.request.profile = ProfileName::parse(profile).unwrap();
        issuance
    };
    let place = &state.key().unwrap().location;
    assert_eq!(desk.ledger.made_key(&of(&first, "device-ca"), place, key).unwrap(), Made::Here);
    for other in [of(&second, "device-ca"), of(&first, "other")] {
        assert_eq!(desk.ledger.made_key(&other, place, key).unwrap(), Made::For(id));
    }
    let unknown =
        PublicKey::from_der(&rcgen::PublicKeyData::subject_public_key_info(&rcgen::KeyPair::generate().unwrap()));
    let made = desk.ledger.made_key(&of(&first, "device-ca"), place, &unknown.unwrap()).unwrap();
    assert_eq!(made, Made::Unknown);
}

/// More issuances than are kept at hand: the first is folded from the journal again, and is the same.
#[test]
fn what_is_not_at_hand_is_read_again() {
    let desk = Desk::new(10_000);
    desk.open_lot("large", 5_000).unwrap();
    let first = desk.submitted("SN-first");
    let before = desk.ledger.get(first).unwrap();
    for number in 0..1_100 {
        desk.start(&with(&format!("SN-{number}"), |asked| asked.subject.lot = lot("large"))).unwrap();
    }
    assert!(desk.ledger.lock().recent.get(first).is_none());
    assert_eq!(desk.ledger.get(first).unwrap(), before);
    assert!(desk.ledger.lock().recent.get(first).is_some());
}

/// Ten thousand answers leave a queue of ten thousand without searching it each time.
#[test]
fn a_long_queue_drains_in_a_line() {
    let mut queue = memory::Queue::default();
    let ids: Vec<_> = (0..100_000u128).map(|number| IssuanceId::from_uuid(uuid::Uuid::from_u128(number))).collect();
    for (index, issuance) in (0..).zip(&ids) {
        queue.put(index, Waiting { issuance: *issuance, since: Timestamp(0) });
    }
    let began = Instant::now();
    ids.iter().for_each(|id| queue.remove(*id));
    assert!(queue.len() == 0 && began.elapsed() < Duration::from_secs(5));
}

/// What can be done again makes no sync of its own: it is on the disk with the next record that must be.
#[test]
fn what_can_be_done_again_rides_along() {
    let desk = Desk::new(10);
    let journal = desk.ledger.journal();
    let started = desk.start(&asked("SN-1")).unwrap();
    started.appended.unwrap().wait().unwrap();
    let synced = journal.synced();
    let mut device = Device::new("SN-1");
    desk.work_until(started.issuance.id, &mut device, "DeviceIdentified");
    // That nothing comes can only be waited for; a sync takes a hundredth of this.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((journal.synced(), journal.length()), (synced, synced + 1));
    // The intent to generate is not one of them.
    let found = Input::KeySought { found: None, made: Made::Unknown };
    let fixture = FixtureName::parse("fixture-1").unwrap();
    let kind = issuance::profile::KeystoreKind::Pkcs11;
    let (_, appended) = desk.ledger.decide(started.issuance.id, &fixture, kind, "ca-1", found).unwrap();
    appended.unwrap().wait().unwrap();
    assert_eq!((journal.synced(), journal.length()), (synced + 2, synced + 2));
}

/// One issuance is synced six times, its request included: two intents, the submission, the answer and the end. (A station
/// syncs more often only so that watchers hear of a slow step.)
#[test]
fn an_issuance_is_six_syncs() {
    let desk = Desk::new(10);
    let journal = desk.ledger.journal();
    let started = desk.start(&asked("SN-1")).unwrap();
    started.appended.unwrap().wait().unwrap();
    let mut device = Device::new("SN-1");
    for (state, synced) in [
        ("DeviceIdentified", false),
        ("KeyGenerationStarted", true),
        ("KeyGenerated", false),
        ("ResidencyProven", false),
        ("RequestSigned", false),
        ("Submitted", true),
        ("Issued", true),
        ("WriteStarted", true),
        ("Written", false),
        ("Completed", true),
    ] {
        desk.work_until(started.issuance.id, &mut device, state);
        // What nobody waits for can only be waited for: long where it must come, short where it must not.
        let until = Instant::now() + Duration::from_millis(if synced { 60_000 } else { 50 });
        while journal.synced() < journal.length() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(journal.synced() == journal.length(), synced, "{state}");
    }
}
