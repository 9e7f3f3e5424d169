//! Many at once: order within a batch, the same request many times, and what stands on the disk when.

use std::{collections::HashSet, fs, sync::Mutex};

use super::*;

/// Within one batch the first of two equal names wins, the same request twice has one certificate, and answers keep
/// the batch's order.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_a_batch_wins() {
    let world = World::new();
    let authority = world.open();
    let (first, mut rival, identity) = (submission(1), submission(2), {
        let mut identity = submission(3);
        identity.profile = "device-identity".to_owned();
        identity
    });
    rival.certification_request = request(&params("SN-1.CA"), &key());
    let outcomes = issue(&authority, &[&identity, &first, &rival, &first, &submission(4)]).await;
    assert_refused(&outcomes[2], Reason::CommonNameTaken, &id(1));
    assert_eq!(issued(&outcomes[1]), issued(&outcomes[3]));
    let issuers = authority.profile_issuers();
    assert_eq!((issuers[0].profile.as_str(), issuers[1].profile.as_str()), ("device-ca", "device-identity"));
    assert_eq!(issued(&outcomes[0]).chain, issuers[1].chain);
    assert_eq!(issued(&outcomes[4]).chain, issuers[0].chain);
    authority.close().await.unwrap();
}

/// Sixteen callers send the same request at once: all get the same bytes.
#[tokio::test(flavor = "multi_thread")]
async fn callers_at_once_get_one_certificate() {
    let world = World::new();
    let authority = world.open();
    let same = submission(1);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (authority, same) = (authority.clone(), same.clone());
        callers.spawn(async move { issue_one(&authority, &same).await });
    }
    let answers: HashSet<Vec<u8>> =
        callers.join_all().await.iter().map(|outcome| issued(outcome).certificate.clone()).collect();
    assert_eq!(answers.len(), 1);
    authority.close().await.unwrap();
}

/// Many callers with different names at once: each gets its own, and each of two rivals' names goes to one of them.
#[tokio::test(flavor = "multi_thread")]
async fn rivals_at_once_have_one_winner() {
    let world = World::new();
    let authority = world.open();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..32_u8 {
        let authority = authority.clone();
        let mut submission = submission(number + 1);
        submission.certification_request = request(&params(&format!("name-{}", number / 2)), &key());
        callers.spawn(async move { issue_one(&authority, &submission).await });
    }
    let outcomes = callers.join_all().await;
    let winners = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Issued(_))).count();
    assert_eq!(winners, 16);
    for outcome in outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Issued(_))) {
        assert_refused(outcome, Reason::CommonNameTaken, "name-");
    }
    authority.close().await.unwrap();
}

/// When the token is asked to sign, the bytes already stand in the journal's file; a whole batch is one visit.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_was_recorded_first() {
    let world = World::new();
    let authority = world.open();
    let visits = Arc::new(Mutex::new(Vec::new()));
    let (journal, seen) = (world.settings.journal.clone(), visits.clone());
    world.keystore.token().watch = Some(Box::new(move |messages| {
        let segments: Vec<Vec<u8>> = fs::read_dir(&journal)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .map(|path| fs::read(path).unwrap())
            .collect();
        let stands = |message: &Vec<u8>| {
            segments.iter().any(|segment| segment.windows(message.len()).any(|window| window == message))
        };
        seen.lock().unwrap().push((messages.len(), messages.iter().all(stands)));
    }));
    let batch: Vec<Submission> = (1..=20).map(submission).collect();
    issue(&authority, &batch.iter().collect::<Vec<_>>()).await.iter().for_each(|outcome| {
        issued(outcome);
    });
    assert_eq!(*visits.lock().unwrap(), [(20, true)]);
    authority.close().await.unwrap();
}

/// A signature that does not verify is neither answered nor recorded; the same request is signed when the token is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_goes_nowhere() {
    let world = World::new();
    let authority = world.open();
    world.keystore.token().lying = true;
    let wanted = submission(1);
    assert_deferred(&issue_one(&authority, &wanted).await, "does not sign (MISMATCH)");
    world.keystore.token().lying = false;
    issued(&issue_one(&authority, &wanted).await);
    authority.close().await.unwrap();
}

/// Every certificate serial has 16 octets and is new.
#[tokio::test(flavor = "multi_thread")]
async fn certificate_serials_are_distinct() {
    let world = World::new();
    let authority = world.open();
    let batch: Vec<Submission> = (1..=50).map(submission).collect();
    let outcomes = issue(&authority, &batch.iter().collect::<Vec<_>>()).await;
    let serials: HashSet<String> = outcomes
        .iter()
        .map(|outcome| issuance::certificate::certificate_serial(&issued(outcome).certificate).unwrap())
        .collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial.len() == 32), "{serials:?}");
    authority.close().await.unwrap();
}
