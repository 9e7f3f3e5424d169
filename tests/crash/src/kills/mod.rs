//! The real station and the real CA, killed: at every crash point, and at random moments while issuances run. The devices
//! are real swtpm and SoftHSM.
//!
//! After each kill the line is started again, and what was under way completes, or says what the operator must do, which
//! then is done. In the end each device holds one key for each issuance and the certificate that the station tells, the
//! CA's journal holds one signature for it, and whatever the station once told of stands in its journal as it was told.

mod administration;
mod bench;
mod calls;
mod ceremony;
mod devices;
mod init;
mod moments;
mod over_death;
mod points;
mod register;
mod scenario;
mod supervised;
mod trial;
mod witness;

use std::{
    fmt, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{Broken, chance::Chance, said};
pub use scenario::Try;

/// No step of a simulated line takes nearly as long, on a machine that does much else too.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the random moments follow from.
    pub seed: u64,
    /// Where the binaries are.
    pub binaries: PathBuf,
    /// The crash points to try.
    pub points: Vec<Try>,
    /// How often to kill at random.
    pub kills: u64,
    /// How many lines work side by side.
    pub lanes: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Crash points at which a process died.
    pub points: u64,
    /// Crash points that nothing came to.
    pub unreached: u64,
    /// Random kills of the station alone.
    pub station: u64,
    /// Random kills of the CA alone.
    pub ca: u64,
    /// Random kills of both.
    pub both: u64,
    /// Issuances that a station acknowledged.
    pub issuances: u64,
    /// Those that ended as they must.
    pub completed: u64,
    /// How often the station said that the device is to be scanned again.
    pub rescans: u64,
    /// What was acknowledged and is not there.
    pub lost: u64,
    /// What is there twice.
    pub duplicated: u64,
    /// What else broke, in words.
    pub broken: Vec<Broken>,
}

impl Outcome {
    /// Random kills.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.station + self.ca + self.both
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.broken.is_empty()
            && self.unreached == 0
            && self.lost == 0
            && self.duplicated == 0
            && self.issuances == self.completed
    }

    fn add(&mut self, other: Self) {
        let Self { points, unreached, station, ca, both, issuances, completed, rescans, lost, duplicated, broken } =
            other;
        self.points += points;
        self.unreached += unreached;
        self.station += station;
        self.ca += ca;
        self.both += both;
        self.issuances += issuances;
        self.completed += completed;
        self.rescans += rescans;
        self.lost += lost;
        self.duplicated += duplicated;
        self.broken.extend(broken);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, unreached, station, ca, both, issuances, completed, rescans, lost, duplicated, .. } = self;
        let kills = self.kills();
        write!(
            f,
            "crash: points={points} unreached={unreached} kills={kills} station={station} ca={ca} both={both} issuances={issuances} \
             completed={completed} rescans={rescans} lost={lost} duplicated={duplicated}"
        )
    }
}

/// Where a run tells what it does.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Kills as the plan says.
///
/// # Errors
/// What kept it from being done; a promise that broke is in the outcome.
pub async fn run(plan: &Plan, tell: Tell) -> Result<Outcome, Broken> {
    let armed = Armed::beside(&plan.binaries)?;
    let mut outcome = Outcome::default();
    let mut chance = Chance::new(plan.seed);

    let (init, rest): (Vec<Try>, Vec<Try>) = plan.points.iter().cloned().partition(Try::is_apart);
    let lanes = plan.lanes.max(1);
    let mut work = JoinSet::new();
    for lane in 0..lanes {
        let part = |all: &[Try]| all.iter().skip(lane).step_by(lanes).cloned().collect::<Vec<_>>();
        let (init, rest) = (part(&init), part(&rest));
        if init.is_empty() && rest.is_empty() {
            continue;
        }
        let (binaries, tell) = (armed.directory().to_owned(), Arc::clone(&tell));
        work.spawn(async move { points::run(lane, &binaries, &init, rest, &tell).await });
    }
    while let Some(part) = work.join_next().await {
        outcome.add(part.map_err(said("a lane"))??);
    }

    let mut work = JoinSet::new();
    for lane in 0..lanes as u64 {
        let kills = plan.kills / lanes as u64 + u64::from(lane < plan.kills % lanes as u64);
        let lane_chance = Chance::new(chance.bits());
        let (binaries, tell) = (plan.binaries.clone(), Arc::clone(&tell));
        work.spawn(async move { moments::run(lane, &binaries, kills, lane_chance, &tell).await });
    }
    while let Some(part) = work.join_next().await {
        outcome.add(part.map_err(said("a lane"))??);
    }
    Ok(outcome)
}

/// The binaries with crash points, under the names by which a line knows them.
struct Armed(TempDir);

impl Armed {
    fn beside(binaries: &Path) -> Result<Self, Broken> {
        let directory = tempfile::tempdir().map_err(said("a directory for the armed binaries"))?;
        for name in ["station-agent", "intermediate-ca"] {
            let program = binaries.join(format!("{name}-crash-points"));
            let program = fs::canonicalize(&program).map_err(said(format!(
                "{}: build it as `make crash` does (cargo build --workspace --bin {name}-crash-points --features …)",
                program.display()
            )))?;
            symlink(program, directory.path().join(name)).map_err(said(name))?;
        }
        Ok(Self(directory))
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }
}
