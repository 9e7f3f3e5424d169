//! `station-agent` with its crash points armed, under a name of its own: nobody takes it for the one that is shipped.

use std::process::ExitCode;

fn main() -> ExitCode {
    station::commands::main()
}
