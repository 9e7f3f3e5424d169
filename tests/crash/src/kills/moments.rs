//! Random moments: station, CA or both are killed while issuances run on all devices of a line.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Outcome, Tell,
    bench::{Bench, DEVICES, Profiles, Promise, profile, request},
    calls::{Clients, Ended, carry},
};
use crate::{Broken, chance::Chance, said};

/// Issuances on one device of one line: each takes a key's place in a TPM, of which there are some dozens.
const PROFILES: usize = 12;
/// One that is killed again and again takes its time; one that is stuck stays so.
const CARRIED_MOST: Duration = Duration::from_secs(240);
/// Kills that come faster would only ever see a start.
const WITHIN_LEAST: Duration = Duration::from_millis(200);

/// Kills so often, at as many lines as that takes.
pub(super) async fn run(
    lane: u64,
    binaries: &Path,
    kills: u64,
    mut chance: Chance,
    tell: &Tell,
) -> Result<Outcome, Broken> {
    let mut outcome = Outcome::default();
    while outcome.kills() < kills {
        let mut bench =
            Bench::start(binaries, Profiles { known: PROFILES, ..Profiles::default() }, Promise::Same).await?;
        let witness = bench.witness();
        let enough = Arc::new(AtomicBool::new(false));
        let (mut issued, within) = undisturbed(&bench).await;
        let mut streams = JoinSet::new();
        for device in 1..=DEVICES {
            streams.spawn(stream(bench.clients(), device, Arc::clone(&enough)));
        }
        loop {
            let moment = Duration::from_micros(chance.below(within.as_micros() as u64));
            tokio::select! {
                ended = streams.join_next() => match ended {
                    Some(ended) => issued.extend(ended.map_err(said("a stream of issuances"))?),
                    None => break,
                },
                () = sleep(moment), if outcome.kills() < kills => kill(&mut bench, &mut chance, &mut outcome).await?,
            }
            enough.store(outcome.kills() >= kills, Ordering::Relaxed);
        }
        for (device, result) in issued {
            match result {
                Ok(Ended { issuance, rescans }) => {
                    rescans.iter().for_each(|reason| tell(&format!("lane {lane}: scanned again: {reason}")));
                    outcome.rescans += rescans.len() as u64;
                    bench.account(device, issuance);
                }
                Err(broken) => outcome.broken.push(format!("lane {lane}: {broken}")),
            }
        }
        bench.close(witness, &mut outcome).await?;
        tell(&format!("lane {lane}: so far {outcome}"));
    }
    Ok(outcome)
}

/// The first issuance on each device, which nobody disturbs, and how long they took: within that a kill hits a step.
async fn undisturbed(bench: &Bench) -> (Vec<(usize, Result<Ended, Broken>)>, Duration) {
    let began = Instant::now();
    let mut first = JoinSet::new();
    for device in 1..=DEVICES {
        let clients = bench.clients();
        first.spawn(async move { (device, carry(&clients, &request(device, &profile(0)), CARRIED_MOST).await) });
    }
    let issued = first.join_all().await;
    (issued, began.elapsed().max(WITHIN_LEAST))
}

/// One issuance after another on one device, each under its own profile, until there were enough kills.
async fn stream(clients: Clients, device: usize, enough: Arc<AtomicBool>) -> Vec<(usize, Result<Ended, Broken>)> {
    let mut ended = Vec::new();
    for number in 1..PROFILES {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let result = carry(&clients, &request(device, &profile(number)), CARRIED_MOST).await;
        let goes_on = result.is_ok();
        ended.push((device, result));
        if !goes_on {
            break;
        }
    }
    ended
}

/// Kills the station, the CA or both, and starts them again.
async fn kill(bench: &mut Bench, chance: &mut Chance, outcome: &mut Outcome) -> Result<(), Broken> {
    let (station, ca) = match chance.below(4) {
        0 | 1 => (true, false),
        2 => (false, true),
        _ => (true, true),
    };
    let ca_first = chance.below(2) == 0;
    for part in [ca_first, !ca_first] {
        match part {
            true if ca => bench.line.kill_ca().map_err(|error| service::in_full(&error))?,
            false if station => bench.line.kill_station().map_err(|error| service::in_full(&error))?,
            _ => {}
        }
    }
    match (station, ca) {
        (true, true) => outcome.both += 1,
        (true, false) => outcome.station += 1,
        _ => outcome.ca += 1,
    }
    let ca_first = chance.below(2) == 0;
    for part in [ca_first, !ca_first] {
        match part {
            true => bench.start_ca().await?,
            false => bench.start_station().await?,
        }
    }
    Ok(())
}
