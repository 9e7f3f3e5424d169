//! Cuts the power of journals and says in one line what came of it. Ends non-zero when a promise was broken.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use crash::{chance, image, power_cut};

#[derive(Parser)]
#[command(name = "power-cut")]
struct Arguments {
    /// What all choices follow from; without it, one that nobody chose.
    #[arg(long)]
    seed: Option<u64>,
    /// Cuts, half of them of journals with a past.
    #[arg(long, default_value_t = 100)]
    cuts: u64,
    /// Seconds after which no cut begins.
    #[arg(long, default_value_t = 900)]
    within: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(unable) = image::unable() {
        println!("power-cut: skipped: {unable}");
        return ExitCode::from(77);
    }
    let seed = arguments.seed.unwrap_or_else(chance::seed);
    println!("power-cut: --seed {seed}");
    let plan = power_cut::Plan {
        seed,
        fresh: arguments.cuts.div_ceil(2),
        aged: arguments.cuts / 2,
        segments: 40,
        controls: 10,
        within: Duration::from_secs(arguments.within),
        program: std::env::current_exe()
            .map(|path| path.with_file_name("journal-writer"))
            .unwrap_or_else(|_| PathBuf::from("journal-writer")),
    };
    match power_cut::run(&plan, &mut |broken| println!("power-cut: {broken}")) {
        Ok(outcome) => {
            let broken = outcome.broken();
            broken.iter().for_each(|broken| eprintln!("power-cut: BROKEN: {broken} (--seed {seed})"));
            println!("{outcome}");
            if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(broken) => {
            eprintln!("power-cut: could not be done: {broken} (--seed {seed})");
            ExitCode::from(2)
        }
    }
}
