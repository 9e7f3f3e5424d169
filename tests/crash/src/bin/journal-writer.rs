//! The writer that the crash harness attacks. Says what was acknowledged, and why it ends when it must.

use std::process::ExitCode;

use clap::Parser as _;
use crash::writer::Writer;

fn main() -> ExitCode {
    match Writer::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
    }
}
