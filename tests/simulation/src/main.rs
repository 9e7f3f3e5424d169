//! `simulate`: many seeds of the simulation, and one closing line.

use std::{
    process::ExitCode,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use simulation::{Failure, Faults, Outcome, Planted, STEPS, run};

/// Simulates the station under faults and kills, a run for each seed.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds, from the first on.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This seed alone, with everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Events of a run, before the trouble ends.
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (first, seeds) = options.seed.map_or((options.first, options.seeds), |seed| (seed, 1));
    quiet_rows();
    let began = Instant::now();
    let (next, done) = (AtomicU64::new(first), Mutex::new(Done::default()));
    let end = first.saturating_add(seeds);
    let told = |seed| {
        let outcome = run(seed, options.steps, Planted::by_features());
        lock(&done).add(seed, outcome, options.seed.is_some())
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || !told(seed) {
                        break;
                    }
                }
            });
        }
    });
    let Done { sum, trace, failure } = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = failure {
        eprintln!("{failure}");
        println!("simulate: seeds={} BROKEN by seed {}: {}", failure.seed - first + 1, failure.seed, failure.wrong);
        return ExitCode::FAILURE;
    }
    let Outcome { steps, issuances, completed, waiting, faults, crashes, power_cuts, opening_kills, .. } = sum;
    let Faults { device, ca, disk, rows, clock } = faults;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "simulate: seeds={seeds} steps={steps} issuances={issuances} completed={completed} waiting={waiting} \
         kills={crashes} power-cuts={power_cuts} kills-while-opening={opening_kills} faults={} (device={device} ca={ca} \
         disk={disk} rows={rows} clock={clock}) attempts={} long-outages={} simulated-days={} issuances/s={:.0} faults/s={:.0} \
         trace={trace:016x} lost=0 duplicated=0",
        faults.all(),
        sum.attempts,
        sum.long_outages,
        sum.simulated.as_secs() / 86_400,
        issuances as f64 / seconds,
        (faults.all() + crashes + opening_kills) as f64 / seconds,
    );
    ExitCode::SUCCESS
}

/// What the runs came to.
#[derive(Default)]
struct Done {
    sum: Outcome,
    trace: u64,
    /// Of the first seed that failed.
    failure: Option<Box<Failure>>,
}

impl Done {
    /// Whether there are to be more.
    fn add(&mut self, seed: u64, outcome: Result<Outcome, Box<Failure>>, told: bool) -> bool {
        match outcome {
            Ok(outcome) => {
                if told {
                    outcome.trace.iter().for_each(|line| println!("  {line}"));
                }
                // In whatever order the seeds end.
                self.trace = self.trace.wrapping_add(outcome.trace_hash().rotate_left((seed % 64) as u32));
                self.sum.add(&outcome);
            }
            Err(failure) if self.failure.as_ref().is_none_or(|before| failure.seed < before.seed) => {
                self.failure = Some(failure);
            }
            Err(_) => {}
        }
        self.failure.is_none()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// sled panics on some damage, which the journal takes for what it is: nothing to be shown.
fn quiet_rows() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        if !name.starts_with("projections") && !name.starts_with("sled") {
            before(panic);
        }
    }));
}
