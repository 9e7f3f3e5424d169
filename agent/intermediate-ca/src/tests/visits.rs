//! What waits for the token shares its next visit.

use std::sync::{Mutex, mpsc};

use super::*;

/// How many messages each visit has, once the first one was kept waiting until the others stood behind it.
async fn visits(world: &World, authority: &Authority) -> (Vec<usize>, Vec<Outcome>) {
    let (open, gate) = mpsc::channel::<()>();
    let (saw, seen) = mpsc::channel::<usize>();
    let (first_came, first) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    world.keystore.token().watch = Some(Box::new(move |messages| {
        let _ = saw.send(messages.len());
        let _ = first_came.send(());
        // Opened once, by being dropped.
        let _ = gate.lock().unwrap().recv();
    }));
    let call = |number: u8| {
        let (authority, one) = (authority.clone(), submission(number));
        tokio::spawn(async move { issue_one(&authority, &one).await })
    };
    let mut calls = vec![call(1)];
    tokio::task::spawn_blocking(move || first.recv_timeout(std::time::Duration::from_secs(60)).unwrap()).await.unwrap();
    calls.extend((2..=6).map(call));
    let waiting = async {
        while authority.waiting_for_token() < 5 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.expect("five wait for the token");
    drop(open);
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    (seen.try_iter().collect(), outcomes)
}

/// Five calls that came while the token was at work are signed in one visit, and each gets its own certificate.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_signed_in_one_visit() {
    let world = World::new();
    let authority = world.open();
    let (visits, outcomes) = visits(&world, &authority).await;
    assert_eq!(visits, [1, 5]);
    for (number, outcome) in (1..).zip(&outcomes) {
        let name = format!("SN-{number}.ca");
        assert!(issued(outcome).certificate.windows(name.len()).any(|window| window == name.as_bytes()), "{name}");
    }
    authority.close().await.unwrap();
}

/// What the token cannot do for one of them is that one's alone: the others of its visit are issued.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_cannot_do_concerns_one_alone() {
    let world = World::new();
    let authority = world.open();
    world.keystore.token().unsupported = Some(b"SN-4.ca");
    let (visits, outcomes) = visits(&world, &authority).await;
    assert_eq!(visits, [1, 5, 1, 1, 1, 1, 1]);
    for (number, outcome) in (1..).zip(&outcomes) {
        match number {
            4 => assert_deferred(outcome, "does not sign"),
            _ => drop(issued(outcome)),
        }
    }
    authority.close().await.unwrap();
}
