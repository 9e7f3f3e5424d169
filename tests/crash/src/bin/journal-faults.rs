//! Kills and fails system calls beneath journals, damages their bytes and those of their projections, and says in one
//! line what came of it. Ends non-zero when a promise was broken.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use crash::{
    Broken, chance,
    damage::{self, Every},
    rows, strace, syscalls,
};

#[derive(Parser)]
#[command(name = "journal-faults")]
struct Arguments {
    /// What all choices follow from; without it, one that nobody chose.
    #[arg(long)]
    seed: Option<u64>,
    /// Faults at every so-manieth system call.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Bytes of a journal's headers and entries are damaged one by one; of zeros and of a large group, every so-manieth.
    #[arg(long, default_value_t = 9)]
    dull: usize,
    /// Damaged projections.
    #[arg(long, default_value_t = 300)]
    projections: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(unable) = strace::unable() {
        println!("journal-faults: skipped: {unable}");
        return ExitCode::from(77);
    }
    let seed = arguments.seed.unwrap_or_else(chance::seed);
    println!("journal-faults: --seed {seed}");
    match run(&arguments, seed) {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            broken.iter().for_each(|broken| eprintln!("journal-faults: BROKEN: {broken} (--seed {seed})"));
            ExitCode::FAILURE
        }
        Err(broken) => {
            eprintln!("journal-faults: could not be done: {broken} (--seed {seed})");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments, seed: u64) -> Result<Vec<Broken>, Broken> {
    let program = std::env::current_exe()
        .map_or_else(|_| PathBuf::from("journal-writer"), |path| path.with_file_name("journal-writer"));
    let plan = syscalls::Plan { seed, every: arguments.every, program };
    let syscalls = syscalls::run(&plan, &mut |broken| println!("journal-faults: {broken}"))?;
    println!("journal-faults: syscalls {syscalls}");
    let mut broken = syscalls.broken();
    let bytes = damage::damage_bytes(seed, Every { head: 1, entry: 1, dull: arguments.dull.max(1) });
    let bytes = bytes.unwrap_or_else(|found| {
        broken.push(found);
        damage::Outcome::default()
    });
    println!("journal-faults: bytes {bytes}");
    let rows = rows::damage_and_compare(seed, arguments.projections);
    let rows = rows.unwrap_or_else(|found| {
        broken.push(found);
        rows::Befell::default()
    });
    println!(
        "journal-faults: {syscalls} damaged-bytes={} damaged-projections={rows} lost={}",
        bytes.cases(),
        broken.len()
    );
    Ok(broken)
}
