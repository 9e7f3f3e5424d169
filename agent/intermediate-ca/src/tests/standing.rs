//! What the CA says of itself: to health, and to `status`.

use std::time::Duration;

use super::*;
use crate::{Problem, profile::End};

const DAY: i64 = 86_400_000;

fn told(authority: &Authority) -> Vec<(&'static str, bool)> {
    let problems = authority.problems();
    problems.iter().map(|Problem { reason, red, .. }| (*reason, *red)).collect()
}

#[track_caller]
fn assert_says(authority: &Authority, words: &str) {
    let all: Vec<String> = authority.problems().into_iter().map(|problem| problem.message).collect();
    assert!(all.iter().any(|message| message.contains(words)), "{all:?} lacks {words:?}");
}

/// A list that the token does not renew is told from three days before its end, as its `early` has it, and in other words
/// once it has ended; renewed it is told no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_crl_that_is_not_renewed_is_told_well_before_its_end() {
    let world = World::new().with_crls([24, 7 * 24, 3 * 24]);
    let authority = world.open();
    assert_eq!(told(&authority), [], "before the first round");
    assert_eq!(authority.renew_crls().await, 0);
    assert_eq!(told(&authority), []);
    world.time.fetch_add(2 * DAY, Ordering::SeqCst);
    world.keystore.token().failing = 100;
    assert_eq!(authority.renew_crls().await, 2);
    assert_eq!(told(&authority), [], "there are five days left");
    world.time.fetch_add(2 * DAY + 1_000, Ordering::SeqCst);
    assert_eq!(told(&authority), [("CRL", true); 2]);
    assert_says(&authority, "it should have been renewed before: the token does not sign");
    world.time.fetch_add(3 * DAY, Ordering::SeqCst);
    assert_says(&authority, "and verifiers that need it refuse everyone");
    world.keystore.token().failing = 0;
    assert_eq!(authority.renew_crls().await, 0);
    assert_eq!(told(&authority), []);
    authority.close().await.unwrap();
}

/// A CA certificate is warned of for ninety days, red for the last seven; a profile that its issuer can no longer carry is
/// red whenever that is.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_end_are_told() {
    let mut world = World::new();
    for profile in &mut world.settings.profiles {
        profile.validity = End::After(Duration::from_secs(3_600));
    }
    world.settings.profiles[0].validity = End::After(Duration::from_secs(30 * 86_400));
    let authority = world.open();
    assert_eq!(told(&authority), []);
    let at = |days: i64| world.time.store(START + days * DAY, Ordering::SeqCst);
    at(3_650 - 60);
    assert_eq!(told(&authority), [("ISSUER", false); 2]);
    assert_says(&authority, "the certificate of device-ca ends");
    at(3_650 - 20);
    assert_eq!(told(&authority), [("ISSUER", true), ("ISSUER", false), ("ISSUER", false)]);
    assert_says(&authority, "under the profile device-ca would be valid until");
    at(3_650 - 5);
    assert_eq!(told(&authority), [("ISSUER", true); 3]);
    authority.close().await.unwrap();
}

/// A token that lost a key, or has another one in its place, is told until the right one is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_its_key_is_told() {
    let world = World::new();
    let authority = world.open();
    authority.look_at_token().await;
    assert_eq!(told(&authority), []);
    let (location, _) = world.keystore.token().keys.pop().unwrap();
    authority.look_at_token().await;
    assert_eq!(told(&authority), [("TOKEN", true)]);
    assert_says(&authority, "no key device-identity any more");
    world.keystore.token().keys.push((location, key()));
    authority.look_at_token().await;
    assert_eq!(told(&authority), [("TOKEN", true)]);
    authority.close().await.unwrap();
}
