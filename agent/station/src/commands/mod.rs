//! The command line of `station-agent`.
//!
//! Exit codes: 0 done; 1 it could not be done, `check` found problems, or `device verify` something that does not hold;
//! 2 wrong usage or configuration.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use intermediate_ca::{
    commands::{RequestedNames, tls_request},
    sealed_secret::{self, SecretCommand},
};
use journal::commands::Places;
use service::command::{self, Failed};

use crate::{configuration::StationConfiguration, story::Story};

#[cfg(test)]
mod acts;
mod check;
mod client;
mod device;
mod health;
mod issuance;
mod issue;
mod lot;
mod pin;
mod rework;
mod serve;
mod status;
mod watch;

const PROGRAM: &str = "station-agent";

/// One agent process: makes each device's key inside the device, and puts its certificate there.
#[derive(Debug, Parser)]
#[command(name = "station-agent", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the station until SIGTERM or Ctrl-C.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
        /// Log as JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// The doctor: every problem at once, each with its remedy. Changes nothing.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start one issuance at the running station, and follow it to its end.
    Issue {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(flatten)]
        what: issue::What,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Issuances at the running station: listed, shown with their records, proven; let go on or cancelled by a supervisor.
    Issuance {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON, a line for each issuance.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: issuance::IssuanceCommand,
    },
    /// Have a device certified again: a new issuance that supersedes one, whose certificate is revoked once the new one is
    /// verified. For a supervisor.
    Rework {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(flatten)]
        what: rework::What,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Work orders at the running station: opened, authorised, closed, shown, and the report that the CA signs.
    Lot {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON, a line for each lot.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: lot::LotCommand,
    },
    /// Scrap a device: its certificates are revoked, and its place in the lot is free for another. For a supervisor.
    Scrap {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(flatten)]
        what: rework::Scrapped,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// A device in a fixture of the running station.
    #[command(subcommand)]
    Device(device::Command),
    /// Show the running station: fixtures, queue, link.
    Status {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what may stop the running station later: its disk, its clock, certificates that will expire.
    Health {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what happens at the running station, until Ctrl-C.
    Watch {
        #[command(flatten)]
        config: ConfigArgument,
        /// Begin after this sequence; 0 from the journal's beginning. Without it: from now on.
        #[arg(long)]
        after: Option<u64>,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Make a supervisor's line for the file of `[supervisors]`: reads the PIN from standard input, and keeps it nowhere.
    Pin {
        /// The supervisor's badge, as a pseudonym.
        #[arg(long)]
        badge: String,
    },
    /// Print the certification request for the TLS key of `[listen]` or `[authority]` that is in a TPM or a token; make the key
    /// there first where none stands.
    TlsRequest {
        #[command(flatten)]
        config: ConfigArgument,
        /// Whose key: `listen` or `authority`.
        #[arg(long = "for", value_name = "TABLE", value_parser = ["listen", "authority"], default_value = "listen")]
        table: String,
        #[command(flatten)]
        what: RequestedNames,
    },
    /// The station's journal. `repair` needs a station that does not run.
    #[command(subcommand)]
    Journal(journal::commands::Command),
    /// Secrets that this machine's TPM alone gives back.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Unseals a secret for the process that started it.
    #[command(hide = true)]
    UnsealSecret,
    /// Serves one device's keystore over a socket on standard input; started by the station itself.
    #[command(hide = true)]
    KeystoreWorker,
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The station's configuration.
    #[arg(long = "config", default_value = "station.toml", global = true)]
    path: PathBuf,
}

/// Where the station's journal is.
fn places(config: Option<&Path>) -> Result<Places, String> {
    let configuration = StationConfiguration::read(config.unwrap_or(Path::new("station.toml")));
    let configuration = configuration.map_err(|mistakes| mistakes.to_string())?;
    Ok(Places { journal: configuration.journal_options(), log: configuration.checkpoints })
}

fn request(path: &Path, table: &str, what: RequestedNames) -> Result<(), Failed> {
    let configuration = StationConfiguration::read(path).map_err(|mistakes| Failed::Usage(mistakes.to_string()))?;
    let files = if table == "listen" { &configuration.listen.tls } else { &configuration.authority.tls };
    tls_request(table, files, what)
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    // Every command reads the PINs with the configuration. A system that refuses is told by `serve`.
    let _ = service::telemetry::harden();
    service::secrets::unseal_with(sealed_secret::unseal);
    match Arguments::parse().command {
        Command::Serve { config, json } => serve::run(&config.path, json),
        Command::Check { config, json } => check::run(&config.path, json),
        Command::Issue { config, what, json } => client::block_on(issue::run(&config.path, what, json)),
        Command::Issuance { config, json, command } => client::block_on(issuance::run(&config.path, command, json)),
        Command::Health { config, json } => client::block_on(health::run(&config.path, json)),
        Command::Rework { config, what, json } => client::block_on(rework::run(&config.path, what, json)),
        Command::Lot { config, json, command } => client::block_on(lot::run(&config.path, command, json)),
        Command::Scrap { config, what, json } => client::block_on(rework::scrap(&config.path, what, json)),
        Command::Device(command) => client::block_on(device::run(command)),
        Command::Status { config, json } => client::block_on(status::run(&config.path, json)),
        Command::Watch { config, after, json } => client::block_on(watch::run(&config.path, after, json)),
        Command::Pin { badge } => pin::run(&badge),
        Command::TlsRequest { config, table, what } => command::ended(PROGRAM, request(&config.path, &table, what)),
        Command::Journal(command) => journal::commands::run(PROGRAM, command, &Story, &places),
        Command::Secret(command) => sealed_secret::run(PROGRAM, command),
        Command::UnsealSecret => sealed_secret::run_unseal(),
        Command::KeystoreWorker => keystore::worker::run(),
    }
}
