//! `simulate`: many seeds of the simulation, and one closing line.

use std::process::ExitCode;

use clap::Parser;
use simulation::{Outcome, Planted, STEPS, run};

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
    let mut sum = Outcome::default();
    for seed in first..first.saturating_add(seeds) {
        match run(seed, options.steps, Planted::by_features()) {
            Ok(outcome) => {
                if options.seed.is_some() {
                    outcome.trace.iter().for_each(|line| println!("  {line}"));
                }
                sum.steps += outcome.steps;
                sum.issuances += outcome.issuances;
                sum.completed += outcome.completed;
                sum.waiting += outcome.waiting;
                sum.faults += outcome.faults;
                sum.crashes += outcome.crashes;
            }
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    let Outcome { steps, issuances, completed, waiting, faults, crashes, .. } = sum;
    println!(
        "simulate: seeds={seeds} steps={steps} issuances={issuances} completed={completed} waiting={waiting} \
         faults={faults} crashes={crashes} lost=0 duplicated=0"
    );
    ExitCode::SUCCESS
}
