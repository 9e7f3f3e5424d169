//! Each crash point: the process is driven until it dies there, started again, and what was under way ends as it must.

use std::path::Path;

use tokio::{task::block_in_place, time::Instant};

use super::{
    Outcome, Tell,
    bench::{Bench, DEVICES, OF_EACH, Profiles, Promise},
    init,
    scenario::Try,
    trial::Trial,
};
use crate::Broken;

/// The devices' turns: a TPM, a token, the other TPM, the other token.
const TURNS: [usize; DEVICES] = [1, 3, 2, 4];

/// Tries points at one line, one after another.
pub(super) async fn run(
    lane: usize,
    binaries: &Path,
    init: &[Try],
    rest: Vec<Try>,
    tell: &Tell,
) -> Result<Outcome, Broken> {
    let mut outcome = Outcome::default();
    let count = |is: fn(&Try) -> bool| rest.iter().filter(|point| is(point)).count();
    // One profile for each issuance on a device, and one for what a scenario needs besides.
    let profiles = Profiles {
        // What takes a TPM comes to half of the devices.
        known: rest.iter().map(|point| if point.takes_a_tpm() { 2 } else { 1 }).sum::<usize>().div_ceil(DEVICES) + 2,
        strange: count(Try::is_strange),
        attested: count(Try::is_attested),
    };
    // So every send is recorded, and a lost answer goes through doubt.
    let bench = Bench::start(binaries, profiles, Promise::Nothing).await?;
    let witness = bench.witness();
    for point in init {
        match block_in_place(|| init::kill(&bench.line, binaries, point)) {
            Ok(()) => outcome.points += 1,
            Err(broken) => {
                tell(&format!("lane {lane}: BROKEN: {broken}"));
                outcome.broken.push(broken);
            }
        }
    }
    let mut trial = Trial::new(bench);
    for (turn, point) in rest.iter().enumerate() {
        let began = Instant::now();
        let device = match TURNS[turn % DEVICES] {
            token if point.takes_a_tpm() && token > OF_EACH => token - OF_EACH,
            device => device,
        };
        match trial.kill_at(point, device, turn, &mut outcome).await {
            Ok(()) => {
                outcome.points += 1;
                tell(&format!("lane {lane}: {point} on device {device}: {:.1} s", began.elapsed().as_secs_f32()));
            }
            Err(broken) => {
                let broken = format!("{point} on device {device}: {broken}");
                tell(&format!("lane {lane}: BROKEN: {broken}"));
                outcome.unreached += u64::from(trial.was_unreached());
                outcome.broken.push(broken);
                trial.recover(device).await?;
            }
        }
    }
    trial.close(witness, &mut outcome).await?;
    Ok(outcome)
}
