//! The short form of `make crash`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::Path, sync::Arc};

use crash::{
    chance,
    kills::{Plan, Try, run},
};

/// Station and CA die at a few crash points, before and after acts that cannot be undone, and six times at random: every
/// issuance completes, with one key, one certificate, and nothing that was told is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_completes_after_every_kill() {
    let binaries = Path::new(env!("CARGO_BIN_EXE_kills")).parent().unwrap().to_owned();
    let plan = Plan { seed: chance::seed(), binaries, points: Try::few(), kills: 6, lanes: 1 };
    let outcome = run(&plan, Arc::new(|words: &str| println!("{words}"))).await.unwrap();
    assert!(outcome.is_whole() && outcome.kills() == 6, "--seed {}: {outcome}: {:#?}", plan.seed, outcome.broken);
    assert_eq!(outcome.points, plan.points.len() as u64, "--seed {}", plan.seed);
}
