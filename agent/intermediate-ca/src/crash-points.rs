//! `intermediate-ca` with its crash points armed, under a name of its own: nobody takes it for the one that is shipped.

use std::process::ExitCode;

#[path = "main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
