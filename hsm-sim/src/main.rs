//! `hsm-sim`: simulated devices that stay until they are taken down, for a person or a script to try things on.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod bench;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Starts and stops real swtpm TPMs and SoftHSM tokens.
///
/// Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts devices that live until `down`, and writes DIRECTORY/devices.json.
    Up {
        /// Where the devices live; made when it is not there, and must be empty.
        #[arg(long)]
        directory: PathBuf,
        /// How many TPMs.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(..=64))]
        tpm: u16,
        /// How many tokens.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(..=64))]
        token: u16,
        /// Prints devices.json instead of a list to read.
        #[arg(long)]
        json: bool,
    },
    /// Stops the devices of `up` and removes what it made. Nothing to stop is no error.
    Down {
        /// The directory that `up` was given.
        #[arg(long)]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("hsm-sim: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                eprint!(": {source}");
                cause = source.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Up { directory, tpm, token, json } => {
            let devices = bench::up(&directory, tpm, token)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&devices)?);
            } else {
                print!("{devices}");
            }
        }
        Command::Down { directory } => println!("{}", bench::down(&directory)?),
    }
    Ok(())
}
