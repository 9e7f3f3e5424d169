//! `rollover`: the root's successor, step by step, while the CA does not run.

use std::{
    error::Error,
    io::{Write as _, stdout},
    path::PathBuf,
};

use clap::Subcommand;
use service::clock::Clock;

use crate::{
    Configuration, open_token, read_certificates,
    rollover::{Order, RolloverStep, rollover, rollover_status},
};

/// A step, or where the rollover is.
#[derive(Debug, Subcommand)]
pub enum RolloverCommand {
    /// Where the rollover is, and what is next.
    Status,
    /// First: makes a new root, to be trusted beside the old one. Then bring `bundle.pem` to every verifier.
    NewRoot {
        /// The new root's certificate, PEM, when its key is offline.
        #[arg(long, value_name = "FILE")]
        import: Vec<PathBuf>,
    },
    /// Second: makes issuers under the new root; they issue from the next `serve` on. With an offline root: writes their
    /// certification requests, and takes their certificates.
    NewIssuers {
        /// Certificates that the offline root signed, PEM.
        #[arg(long, value_name = "FILE")]
        import: Vec<PathBuf>,
    },
    /// Last: takes the old root out of `bundle.pem`.
    OldRootOut {
        /// Also while certificates under the old root are valid still: no verifier accepts them from then on.
        #[arg(long)]
        abandon: bool,
    },
}

/// Runs a step, and prints what was made and what is next.
///
/// # Errors
/// What [`rollover`] says.
pub fn run(configuration: &Configuration, command: &RolloverCommand, badge: &str) -> Result<(), Box<dyn Error>> {
    let settings = &configuration.authority;
    let (step, import) = match command {
        RolloverCommand::Status => {
            writeln!(stdout(), "{}", rollover_status(settings, Clock::system())?)?;
            return Ok(());
        }
        RolloverCommand::NewRoot { import } => (RolloverStep::NewRoot, import.as_slice()),
        RolloverCommand::NewIssuers { import } => (RolloverStep::NewIssuers, import.as_slice()),
        RolloverCommand::OldRootOut { abandon } => (RolloverStep::OldRootOut { abandon: *abandon }, [].as_slice()),
    };
    let brought = read_certificates(import)?;
    let mut keystore = open_token(&configuration.token, Some(settings.pki.join(".init.lock")))?;
    let order = Order { claimed_by: badge, brought: &brought };
    let done = rollover(settings, keystore.as_mut(), Clock::system(), step, order)?;
    let mut out = stdout();
    if done.made.is_empty() {
        writeln!(out, "done before: nothing to do")?;
    }
    for line in done.made {
        writeln!(out, "made {line}")?;
    }
    writeln!(out, "{}", done.status)?;
    Ok(())
}
