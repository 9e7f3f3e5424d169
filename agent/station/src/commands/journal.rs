//! `journal`: what can be done to the station's journal, and with a copy of it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use journal::{
    Journal, JournalError, JournalOptions, LogError, Recovery,
    commands::{self, AuditCommand, Places},
};
use serde_json::json;
use service::in_full;

use super::{ConfigArgument, EXIT_CONFIGURATION, client::say};
use crate::{configuration::StationConfiguration, story::Story};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Mend damaged and missing segments with a copy of the journal's directory, such as a backup.
    ///
    /// What is whole stays byte for byte, and what was damaged is kept beside it as `*.damaged`. Exit codes: 0 mended, or
    /// nothing was damaged; 1 not mended: the station runs, or the copy does not fit; 2 wrong usage or configuration.
    Repair {
        #[command(flatten)]
        config: ConfigArgument,
        /// The copy of the journal's directory. It is only read.
        #[arg(long, value_name = "COPY")]
        from: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Audit(AuditCommand),
}

pub(super) fn run(command: Command) -> ExitCode {
    let (config, from, json) = match command {
        Command::Repair { config, from, json } => (config, from, json),
        Command::Audit(command) => return commands::run("station-agent", command, &Story, &places),
    };
    let configuration = match StationConfiguration::read(&config.path) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    // Opened once: what is mended is what the station will read.
    let mended = configuration.checkpoints.covered().and_then(|at_least| {
        let options = JournalOptions { at_least, ..configuration.journal_options() };
        let mended = journal::repair(&options, &from)?;
        let (journal, recovery) = Journal::open(&options)?;
        journal.close()?;
        Ok((mended, recovery))
    });
    match mended {
        Ok((mended, recovery)) => {
            // A closed pipe does not change what was mended.
            let _ = print(&mended, &recovery, json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let told = match &error {
                LogError::Journal(JournalError::AlreadyInUse { .. }) => "nothing was mended",
                _ => "the journal is not mended",
            };
            eprintln!("station-agent: {told}: {}", in_full(&error));
            ExitCode::FAILURE
        }
    }
}

fn places(config: Option<&Path>) -> Result<Places, String> {
    let configuration = StationConfiguration::read(config.unwrap_or(Path::new("station.toml")));
    let configuration = configuration.map_err(|mistakes| mistakes.to_string())?;
    Ok(Places { journal: configuration.journal, log: configuration.checkpoints })
}

fn print(mended: &[String], recovery: &Recovery, json: bool) -> Result<(), super::client::Failed> {
    let Recovery { records, torn } = recovery;
    if json {
        return say(json!({ "mended": mended, "records": records, "torn": torn }));
    }
    for line in mended {
        say(format!("mended {line}"))?;
    }
    if mended.is_empty() {
        say("nothing is damaged")?;
    }
    if let Some(torn) = torn {
        say(torn)?;
    }
    say(format!("the journal opens with {records} records"))
}
