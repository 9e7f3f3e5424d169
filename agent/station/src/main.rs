//! `station-agent`: one agent process, one place on the line.

use std::process::ExitCode;

fn main() -> ExitCode {
    station::commands::main()
}
