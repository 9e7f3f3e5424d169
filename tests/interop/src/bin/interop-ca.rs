//! `make interop-ca`: every profile, device key and hash, and the table in the CA's README.
//!
//! Exit codes: 0 the table is right, or was written; 1 something was found that nobody explained, the table is stale, or a
//! program could not be run.

use std::{io::Write as _, path::Path, process::ExitCode};

use clap::Parser;
use interop::{Outcome, Plan, compare, run, write};

/// Holds what the CA issues against linters and verifiers that others wrote.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write the table into agent/intermediate-ca/README.md; else it is compared.
    #[arg(long)]
    write: bool,
}

fn say(words: &str) {
    // That nobody listens is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{words}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match hold(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            say(&problem);
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn hold(arguments: &Arguments) -> Outcome<bool> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let table = run(&Plan::long(own.parent().unwrap_or(Path::new("."))), &say).await?;
    table.unexplained().iter().for_each(|finding| say(finding));
    if !table.unexplained().is_empty() {
        return Ok(false);
    }
    if arguments.write {
        say(if write(&table)? { "the table was written anew" } else { "the table is as it was" });
        return Ok(true);
    }
    let stale = compare(&table)?;
    stale.iter().for_each(|line| say(line));
    Ok(stale.is_empty())
}
