//! Kills station and CA at every crash point and at random moments, and says in one line what came of it. Ends non-zero
//! when a promise was broken.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use crash::{
    Broken, chance,
    kills::{self, Plan, Try},
};

#[derive(Parser)]
#[command(name = "kills")]
struct Arguments {
    /// What the random moments follow from; without it, one that nobody chose.
    #[arg(long)]
    seed: Option<u64>,
    /// Random kills.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Lines side by side; without it, one for each processor, at most 4.
    #[arg(long)]
    lanes: Option<usize>,
    /// Only the crash points whose name holds this; `none`: none.
    #[arg(long)]
    points: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(chance::seed);
    println!("crash: --seed {seed}");
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("."));
    let lanes = || std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut points = Try::all();
    if let Some(part) = &arguments.points {
        points.retain(|point| point.to_string().contains(part));
    }
    let plan = Plan {
        seed,
        binaries: own.parent().map(PathBuf::from).unwrap_or_default(),
        points,
        kills: arguments.kills,
        lanes: arguments.lanes.unwrap_or_else(lanes),
    };
    match run(&plan) {
        Ok(outcome) => {
            outcome.broken.iter().for_each(|broken| eprintln!("crash: BROKEN: {broken} (--seed {seed})"));
            println!("{outcome}");
            if outcome.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(broken) => {
            eprintln!("crash: could not be done: {broken} (--seed {seed})");
            ExitCode::from(2)
        }
    }
}

fn run(plan: &Plan) -> Result<kills::Outcome, Broken> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(crash::said("a runtime"))?;
    runtime.block_on(kills::run(plan, Arc::new(|words: &str| println!("crash: {words}"))))
}
