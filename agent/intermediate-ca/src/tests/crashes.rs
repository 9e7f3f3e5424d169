//! What survives: reopening, a token that dies between plan and signature, lost rows, clocks that go back.

use std::fs;

use issuance::{CommonName, ProfileName};
use journal::{Journal, JournalOptions, Projections};

use super::*;
use crate::{
    Condition, Confirmation, Lot, LotRefused,
    callers::{CallerSaid, Disabled},
    journaled::JournaledRegister,
    lots::{LotAnswer, LotQuestion, LotSaid},
    plan::{Plan, Proposal, Rules, Verdict},
    records::{self, CaProjection, Event},
    refusal::Refusal,
    register::{CrlBasis, CrlEvent, Held, Recorded, Register, RegisterError, RegisterHandle, Reservation, Signed},
    revocation::{NotRevoked, Revocation, Revoked},
};

const SECOND: i64 = 1_000;
const DAY: i64 = 86_400 * SECOND;

/// The same request has the same certificate after reopening, days later, without its profile's key list and even
/// when its rows were lost and rebuilt; names stay taken.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_has_the_same_certificate_for_ever() {
    let mut world = World::new();
    let authority = world.open();
    let wanted = submission(1);
    let first = issued(&issue_one(&authority, &wanted).await).clone();
    assert_eq!(issued(&issue_one(&authority, &wanted).await), &first);
    authority.close().await.unwrap();

    world.time.fetch_add(30 * DAY, Ordering::SeqCst);
    let keys = std::mem::replace(&mut world.settings.profiles[0].keys, vec![issuance::KeyAlgorithm::Rsa2048]);
    let signed = world.keystore.token().signed;
    for lose_rows in [false, true] {
        if lose_rows {
            fs::remove_dir_all(world.settings.journal.join("projections")).unwrap();
            world.settings.profiles[0].keys = keys.clone();
        }
        let authority = world.open();
        assert_eq!(issued(&issue_one(&authority, &wanted).await), &first);
        let mut rival = submission(2);
        rival.certification_request = wanted.certification_request.clone();
        let (reason, words) =
            if lose_rows { (Reason::CommonNameTaken, id(1)) } else { (Reason::KeyNotAccepted, "RSA-2048".to_owned()) };
        assert_refused(&issue_one(&authority, &rival).await, reason, &words);
        authority.close().await.unwrap();
    }
    assert_eq!(world.keystore.token().signed, signed, "nothing was signed again");
}

/// Killed between plan and signature: the next identical request, or the next start, signs the same bytes, and every
/// answer after that is the one certificate.
#[tokio::test(flavor = "multi_thread")]
async fn planned_bytes_are_signed_after_a_crash() {
    let world = World::new();
    let authority = world.open();
    let (asked_again, found_at_start) = (submission(1), submission(2));
    let planned = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = planned.clone();
    world.keystore.token().watch = Some(Box::new(move |messages| seen.lock().unwrap().push(messages.to_vec())));
    world.keystore.token().failing = 2;
    assert_deferred(&issue_one(&authority, &asked_again).await, "send the same one again");
    assert_deferred(&issue_one(&authority, &found_at_start).await, "WORKER_CRASHED");
    let first = issued(&issue_one(&authority, &asked_again).await).clone();
    authority.close().await.unwrap();

    let authority = world.open();
    let at_start = world.keystore.token().signed;
    let second = issued(&issue_one(&authority, &found_at_start).await).clone();
    assert_eq!(world.keystore.token().signed, at_start, "it was signed at the start");
    assert_eq!(issued(&issue_one(&authority, &asked_again).await), &first);
    authority.close().await.unwrap();

    // Visits: first fails, second fails, first signed, second signed at the start.
    let planned = planned.lock().unwrap();
    assert_eq!(planned.len(), 4);
    assert_eq!((&planned[0], &planned[1]), (&planned[2], &planned[3]));
    for (certificate, tbs) in [(&first, &planned[2][0]), (&second, &planned[3][0])] {
        assert!(certificate.certificate.windows(tbs.len()).any(|window| window == tbs));
    }
}

/// A token that is away at the start does not keep the CA closed: what was planned is signed on request.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_away_at_the_start_is_waited_for() {
    let world = World::new();
    let authority = world.open();
    world.keystore.token().failing = 2;
    let wanted = submission(1);
    assert_deferred(&issue_one(&authority, &wanted).await, "does not sign");
    authority.close().await.unwrap();
    let authority = world.open();
    assert_eq!(world.keystore.token().failing, 0);
    issued(&issue_one(&authority, &wanted).await);
    authority.close().await.unwrap();
}

/// Behind the newest record nothing is signed, neither new nor planned; what was issued is still answered.
#[tokio::test(flavor = "multi_thread")]
async fn time_never_goes_back() {
    let world = World::new();
    let authority = world.open();
    let (known, planned) = (submission(1), submission(2));
    let first = issued(&issue_one(&authority, &known).await).clone();
    world.keystore.token().failing = 1;
    assert_deferred(&issue_one(&authority, &planned).await, "does not sign");
    authority.close().await.unwrap();

    world.time.fetch_sub(90 * SECOND, Ordering::SeqCst);
    let signed = world.keystore.token().signed;
    let authority = world.open();
    let outcomes = issue(&authority, &[&known, &planned, &submission(3)]).await;
    assert_eq!(issued(&outcomes[0]), &first);
    for outcome in &outcomes[1..] {
        assert_deferred(outcome, "90 seconds behind the newest record");
    }
    assert_eq!(world.keystore.token().signed, signed);
    world.time.fetch_add(90 * SECOND, Ordering::SeqCst);
    issued(&issue_one(&authority, &planned).await);
    authority.close().await.unwrap();
}

/// A clock that was put a year ahead signs and records nothing, and a stolen key is revoked all the same, at the time that
/// it is; right again, the CA goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_year_ahead_is_never_recorded() {
    const YEAR: i64 = 365 * DAY;
    let world = World::new();
    let authority = world.open();
    let stolen = submission(1);
    issued(&issue_one(&authority, &stolen).await);
    world.ahead.fetch_add(YEAR, Ordering::SeqCst);
    world.time.fetch_add(YEAR + SECOND, Ordering::SeqCst);
    let signed = world.keystore.token().signed;
    assert_deferred(&issue_one(&authority, &submission(2)).await, "365 days ahead");
    let mut wrong = submission(3);
    wrong.device_serial = "not a serial".to_owned();
    assert_deferred(&issue_one(&authority, &wrong).await, "Set the machine's clock right");
    assert_eq!(world.keystore.token().signed, signed);
    let revocation = Revocation {
        target: crate::revocation::Target::Issuance(IssuanceId::parse(&stolen.issuance).unwrap()),
        reason: crate::revocation::RevocationReason::KeyCompromise,
    };
    let revoked = authority.revoke("supervisor-1", revocation).await.unwrap().unwrap();
    assert_eq!(revoked[0].at, Timestamp(START + SECOND));
    world.ahead.store(0, Ordering::SeqCst);
    world.time.fetch_sub(YEAR, Ordering::SeqCst);
    issued(&issue_one(&authority, &submission(2)).await);
    authority.close().await.unwrap();
}

/// A newest entry whose bytes are whole and that is no record of this release keeps the CA closed, with its index, its file
/// and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_understood_keeps_the_ca_closed() {
    for entry in [vec![0x9a, 0x06, 0x00], vec![0xff]] {
        let world = World::new();
        let authority = world.open();
        issued(&issue_one(&authority, &submission(1)).await);
        authority.close().await.unwrap();
        let (journal, _) = Journal::open(&JournalOptions::new(&world.settings.journal, "ca-1")).unwrap();
        journal.append(vec![entry]).unwrap().wait().unwrap();
        journal.close().unwrap();
        let error = world.try_open().err().unwrap();
        let words = service::in_full(&error);
        for part in ["record 2 in ", "00000000000000000000.seg", "install that release again"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
}

/// What cannot be recorded, because it is too long or contradicts itself, is refused by itself: the others of its group are
/// issued, and so is what comes later.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_refused_alone() {
    let world = World::new();
    let settings = &world.settings;
    let (journal, _) = Journal::open(&settings.journal_options()).unwrap();
    let projections =
        Projections::open(&journal, &settings.journal.join("projections"), CaProjection, &mut |_, _| {}).unwrap();
    let mut register =
        JournaledRegister::new(journal, projections, world.clock(), settings.lots.clone(), Box::new(|| ()));
    let root = crate::pki::read(&settings.pki, &settings.root, None).unwrap().unwrap();
    let issuers = settings.issuers.iter().map(|ca| crate::pki::read(&settings.pki, ca, Some(&root)).unwrap().unwrap());
    let rules = Rules::new(&settings.profiles, issuers.collect(), Default::default());
    let propose = |number, change: fn(&mut Plan)| {
        let mut proposal = rules.propose(&"station-1".into(), submission(number), world.now());
        let Verdict::Plan(plan) = &mut proposal.verdict else { panic!("{proposal:?}") };
        change(plan);
        proposal
    };
    let too_long = propose(2, |plan| plan.tbs_certificate = vec![0; journal::ENTRY_MAX]);
    let group = vec![propose(1, |_| ()), too_long, propose(3, |_| ())];
    let reservations = register.reserve(group).unwrap();
    let [Reservation::Planned(_), Reservation::Refused(refusal), Reservation::Planned(_)] = &reservations[..] else {
        panic!("{reservations:?}");
    };
    assert_eq!(refusal.reason, Reason::Unrecordable);
    assert!(refusal.message.contains("at most 65535"), "{refusal}");
    // Neither its name nor its key is taken.
    let again = register.reserve(vec![propose(2, |_| ()), propose(4, |_| ())]).unwrap();
    assert!(again.iter().all(|one| matches!(one, Reservation::Planned(_))), "{again:?}");
    register.close().unwrap();
}

/// A profile that its issuer cannot carry is refused at the start; one that outgrows it while serving is put off, and
/// its validity is never cut.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_its_issuer() {
    let world = World::new();
    let authority = world.open();
    world.time.fetch_add(3_551 * DAY, Ordering::SeqCst);
    assert_deferred(&issue_one(&authority, &submission(1)).await, "shorten the profile's validity");
    authority.close().await.unwrap();
    let error = world.try_open().err().unwrap().to_string();
    assert!(error.contains("the profile device-ca") && error.contains("renew the issuer"), "{error}");
    world.time.store(START - 2 * DAY, Ordering::SeqCst);
    let error = world.try_open().err().unwrap().to_string();
    assert!(error.contains("the root is valid from 2025-12-31 23:55:00 UTC"), "{error}");
}

/// An issuer with another key does not sign what was planned for the old one, and does sign the rest of the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_belongs_to_its_issuers_key() {
    let world = World::new();
    let authority = world.open();
    world.keystore.token().failing = 1;
    let wanted = submission(1);
    assert_deferred(&issue_one(&authority, &wanted).await, "does not sign");
    authority.close().await.unwrap();
    let location = world.settings.issuers[0].name.key_location();
    world.keystore.token().keys.retain(|(at, _)| *at != location);
    fs::remove_file(world.path().join("pki/device-ca.pem")).unwrap();
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
    let authority = world.open();
    let outcomes = issue(&authority, &[&wanted, &submission(2)]).await;
    assert_deferred(&outcomes[0], "no longer has with that name and key");
    issued(&outcomes[1]);
    authority.close().await.unwrap();
}

/// The journal tells the whole story: each plan with its exact bytes, each refusal with its reason, each signature.
#[tokio::test(flavor = "multi_thread")]
async fn records_tell_the_whole_story() {
    let world = World::new();
    let authority = world.open();
    let (wanted, mut wrong) = (submission(1), submission(2));
    wrong.device_serial = "not a serial".to_owned();
    let outcomes = issue(&authority, &[&wanted, &wrong]).await;
    authority.close().await.unwrap();
    let (journal, _) = Journal::open(&JournalOptions::new(&world.settings.journal, "ca-1")).unwrap();
    let entries = journal.read(0..journal.length()).unwrap();
    let events: Vec<Event> = entries.iter().map(|entry| records::decode(entry).unwrap().1).collect();
    let [Event::CertificatePlanned(planned), Event::RequestRefused(refused), Event::CertificateSigned(signed)] =
        events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((planned.authenticated_by.as_str(), planned.device_serial.as_str()), ("station-1", "SN-1"));
    assert_eq!(planned.certification_request, wanted.certification_request);
    assert_eq!((refused.reason.as_str(), refused.device_serial.as_str()), ("INVALID_DEVICE_SERIAL", ""));
    assert_eq!(signed.certificate_serial, planned.certificate_serial);
    let certificate = crate::certificate::assemble(&planned.tbs_certificate, &signed.signature).unwrap();
    assert_eq!(certificate, issued(&outcomes[0]).certificate);
}

/// After closing, a call says that the CA is shutting down.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_authority_says_so() {
    let world = World::new();
    let authority = world.open();
    authority.close().await.unwrap();
    let error = authority.issue("station-1", vec![submission(1)]).await.unwrap_err();
    assert!(error.to_string().contains("shutting down"), "{error}");
}

/// A register that cannot record makes the call unavailable, with the reason, and the condition says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_fails_ends_the_service() {
    struct Broken;
    impl Register for Broken {
        fn reserve(&mut self, _: Vec<Proposal>) -> Result<Vec<Reservation>, RegisterError> {
            Err(RegisterError::Rows("the disk is gone".to_owned()))
        }
        fn commit(&mut self, _: Vec<Signed>) -> Result<Vec<Recorded>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn revoke(&mut self, _: &str, _: &Revocation) -> Result<Result<Vec<Revoked>, NotRevoked>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn confirm(&mut self, _: &str, _: &[Confirmation]) -> Result<Vec<Result<(), Refusal>>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn tell_lot(&mut self, _: LotSaid) -> Result<Result<Lot, LotRefused>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn tell_of_lots(&mut self, _: LotQuestion) -> Result<LotAnswer, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn crl_basis(&mut self, _: &str, _: &str) -> Result<CrlBasis, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn record_crl(&mut self, _: CrlEvent) -> Result<(), RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn planned_with_serial(&mut self, _: &[u8]) -> Result<Option<Held>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn holder_of(&mut self, _: &ProfileName, _: &CommonName) -> Result<Option<Held>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn tell_caller(&mut self, _: CallerSaid) -> Result<Option<Disabled>, RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn halt(&mut self, _: String) -> Result<(), RegisterError> {
            Err(RegisterError::Stopped)
        }
        fn close(&mut self) -> Result<(), RegisterError> {
            Ok(())
        }
    }
    let register = RegisterHandle::start(Box::new(Broken)).unwrap();
    let mut condition = register.condition();
    assert_eq!(*condition.borrow_and_update(), Condition::Serving);
    let error = register.reserve(Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert!(
        matches!(&*condition.borrow_and_update(), Condition::Failed(reason) if reason.contains("the disk is gone"))
    );
}

/// Files that do not fit configuration or token keep the CA closed, and the error names them.
#[test]
fn wrong_files_keep_the_ca_closed() {
    let world = World::new();
    let pki = world.settings.pki.clone();
    let refused = |world: &World, words: &[&str]| {
        let error = world.try_open().err().unwrap().to_string();
        for word in words {
            assert!(error.contains(word), "{error} lacks {word:?}");
        }
    };
    let kept = fs::read(pki.join("device-ca.pem")).unwrap();
    fs::remove_file(pki.join("device-ca.pem")).unwrap();
    refused(&world, &["device-ca.pem", "run `intermediate-ca init` first"]);
    fs::write(pki.join("device-ca.pem"), &kept).unwrap();

    let location = world.settings.issuers[0].name.key_location();
    let lost = world.keystore.token().keys.iter().position(|(at, _)| *at == location).unwrap();
    let (_, own) = world.keystore.token().keys.remove(lost);
    refused(&world, &["no key device-ca"]);
    world.keystore.token().keys.push((location.clone(), key()));
    refused(&world, &["device-ca.pem", "its key has SHA-256"]);
    *world.keystore.token().keys.last_mut().unwrap() = (location, own);
    world.open();
}
