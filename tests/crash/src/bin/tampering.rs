//! Tampers with journals in every way and says in one line what came of it. Ends non-zero when something was missed.

use std::process::ExitCode;

use clap::Parser;
use crash::{
    chance,
    tampering::{self, Plan},
};

#[derive(Parser)]
#[command(name = "tampering")]
struct Arguments {
    /// What all choices follow from; without it, one that nobody chose.
    #[arg(long)]
    seed: Option<u64>,
    /// Records of the large journal.
    #[arg(long, default_value_t = 20_000)]
    records: u64,
    /// Random changes of the large journal.
    #[arg(long, default_value_t = 300)]
    changes: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(chance::seed);
    println!("tampering: --seed {seed}");
    let plan = Plan { seed, every: 1, records: arguments.records, changes: arguments.changes };
    match tampering::run(&plan) {
        Ok(outcome) => {
            outcome.missed.iter().for_each(|missed| eprintln!("tampering: MISSED: {missed} (--seed {seed})"));
            println!("{outcome}");
            if outcome.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(broken) => {
            eprintln!("tampering: could not be done: {broken} (--seed {seed})");
            ExitCode::from(2)
        }
    }
}
