//! One caller that floods the CA, beside one that asks now and then.

use std::sync::{Mutex, mpsc};

use super::*;

/// Something that the door refuses, for it is no certification request: it weighs as much as any.
fn weight(number: usize) -> Submission {
    Submission {
        issuance: IssuanceId::from_uuid(uuid::Uuid::from_u128(0x8000_0000 + number as u128)).to_string(),
        certification_request: vec![0x30, 0],
        ..submission(200)
    }
}

fn batch(number: usize, real: Submission) -> Vec<Submission> {
    let mut all: Vec<Submission> = (1..256).map(|one| weight(number * 256 + one)).collect();
    all.push(real);
    all
}

async fn await_waiting(authority: &Authority, caller: &str, calls: usize) {
    let wait = async {
        while authority.waiting(caller) < calls {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("so many calls wait");
}

/// While the token stands still, one caller has four batches at work and sixteen waiting, and its next is put off. Another's
/// request, which came last, is signed before all but one of those that waited: it is kept waiting by one batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_batches_keeps_no_other_caller_waiting() {
    let world = World::new();
    let authority = world.open();
    let (open, gate) = mpsc::channel::<()>();
    let (saw, seen) = mpsc::channel::<Vec<Vec<u8>>>();
    let gate = Mutex::new(gate);
    world.keystore.token().watch = Some(Box::new(move |messages| {
        let _ = saw.send(messages.to_vec());
        // Opened once, by being dropped.
        let _ = gate.lock().unwrap().recv();
    }));
    let flood = |number: usize| {
        let (authority, batch) = (authority.clone(), batch(number, submission(u8::try_from(number).unwrap())));
        tokio::spawn(async move { authority.issue("flood", batch).await.unwrap() })
    };
    let mut calls: Vec<_> = (1..=20).map(flood).collect();
    await_waiting(&authority, "flood", 16).await;
    calls.push(flood(21));
    let late = calls.pop().unwrap().await.unwrap();
    assert!(
        late.iter().all(|outcome| matches!(outcome, Outcome::Deferred(later) if later.message.contains("waiting")))
    );
    let own = tokio::spawn({
        let (authority, one) = (authority.clone(), submission(100));
        async move { authority.issue("station-1", vec![one]).await.unwrap() }
    });
    await_waiting(&authority, "station-1", 1).await;
    drop(open);
    assert!(matches!(own.await.unwrap().as_slice(), [Outcome::Issued(_)]));
    let waited = authority.waiting("flood");
    for call in calls {
        assert!(matches!(call.await.unwrap().last(), Some(Outcome::Issued(_))));
    }
    let order: Vec<Vec<u8>> = seen.try_iter().flatten().collect();
    assert_eq!(order.len(), 21);
    let is_own = |tbs: &Vec<u8>| tbs.windows(9).any(|window| window == b"SN-100.ca");
    let place = order.iter().position(is_own).unwrap();
    // Four were at work; of those that waited, those that one turn lets in come before it or beside it.
    assert!(place <= 8, "signed as number {place} of 21, while {waited} batches waited");
    authority.close().await.unwrap();
}
