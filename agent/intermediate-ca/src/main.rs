//! `intermediate-ca`: makes the CA's keys and certificates, and serves them to stations.
//!
//! Exit codes: 0 done, or stopped by a signal; 1 something failed; 2 wrong arguments or configuration.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use intermediate_ca::{
    Authority, Configuration, LotCommand, OpenError, Server, Story, check,
    commands::{
        CallerArguments, CheckArguments, CrlArguments, RequestedNames, RevokeArguments, RolloverCommand,
        StatusArguments, run_rollover, tls_request,
    },
    init, open_token, read_certificates, run_lot_command,
    sealed_secret::{self, SecretCommand},
};
use issuance::Timestamp;
use journal::commands::Places;
use service::{
    clock::Clock,
    command::{self, Failed},
    restart, secrets,
    shutdown::Shutdown,
    telemetry,
    traces::{self, Service},
};
use tracing::{error, info};

/// The factory's intermediate CA.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done or stopped by a signal, 1 failed, 2 wrong arguments or configuration"
)]
struct Arguments {
    /// Logs as JSON, one event a line.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes what is missing of the root, the issuers, their keys and their files. Running it again is safe.
    Init {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml")]
        config: PathBuf,
        /// Certificates that an offline root signed, and its own: PEM, also several in one file.
        #[arg(long, value_name = "FILE")]
        import: Vec<PathBuf>,
    },
    /// Answers stations until SIGTERM or SIGINT. Prints `https://<address>` on standard output when it listens, and
    /// before it `http://<address>/crl/` when it serves CRLs and `https://<address>/.well-known/est/` when devices enrol.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml")]
        config: PathBuf,
    },
    Check(CheckArguments),
    Revoke(RevokeArguments),
    Crl(CrlArguments),
    Caller(CallerArguments),
    Status(StatusArguments),
    /// The CA's journal. `repair` needs a CA that does not run.
    #[command(subcommand)]
    Journal(journal::commands::Command),
    /// The profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Opens, closes, lists and reports lots at the running CA, as the caller of `[client]`.
    Lot {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml", global = true)]
        config: PathBuf,
        /// Prints JSON, one lot a line.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: LotCommand,
    },
    /// Replaces the root, step by step, while the CA does not run: each step again is safe, another order is refused.
    Rollover {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml", global = true)]
        config: PathBuf,
        /// Who decided it, as a pseudonym, for the record.
        #[arg(long, value_name = "BADGE", default_value = "", global = true)]
        badge: String,
        #[command(subcommand)]
        command: RolloverCommand,
    },
    /// Prints the certification request for the TLS key of `[listen]` or `[est]` that is in a TPM or a token; makes the key
    /// there first where none stands.
    TlsRequest {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml")]
        config: PathBuf,
        /// Whose key: `listen` or `est`.
        #[arg(long = "for", value_name = "TABLE", value_parser = ["listen", "est"], default_value = "listen")]
        table: String,
        #[command(flatten)]
        what: RequestedNames,
    },
    /// Secrets that this machine's TPM alone gives back.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Unseals a secret for the process that started it. Not for people.
    #[command(hide = true)]
    UnsealSecret,
    /// Serves one keystore to the process that started it. Not for people.
    #[command(hide = true)]
    KeystoreWorker,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Every mistake in the configuration, and every profile that the CA's certificates, where they stand already, cannot
    /// carry. Needs neither the token nor the journal, and changes nothing.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = "ca.toml")]
        config: PathBuf,
    },
}

type Run = dyn FnOnce(Configuration) -> Result<(), Box<dyn Error>>;

pub(crate) fn main() -> ExitCode {
    // Some commands read the PIN. A system that refuses is told by `serve`.
    let _ = telemetry::harden();
    secrets::unseal_with(sealed_secret::unseal);
    let Arguments { log_json, command } = Arguments::parse();
    let (config, command): (PathBuf, Box<Run>) = match command {
        Command::KeystoreWorker => return keystore::worker::run(),
        Command::UnsealSecret => return sealed_secret::run_unseal(),
        Command::Secret(command) => return sealed_secret::run("intermediate-ca", command),
        Command::Check(arguments) => return arguments.run(),
        Command::Revoke(arguments) => return arguments.run(),
        Command::Crl(arguments) => return arguments.run(),
        Command::Caller(arguments) => return arguments.run(),
        Command::Status(arguments) => return arguments.run(),
        Command::Journal(command) => return journal::commands::run("intermediate-ca", command, &Story, &places),
        Command::TlsRequest { config, table, what } => {
            return command::ended("intermediate-ca", request(&config, &table, what));
        }
        Command::Lot { config, json, command } => return run_lot_command(&config, command, json),
        Command::Init { config, import } => {
            (config, Box::new(move |configuration| initialise(&configuration, &import)))
        }
        Command::Serve { config } => (config, Box::new(serve)),
        Command::Profile(ProfileCommand::Check { config }) => (config, Box::new(check_profiles)),
        Command::Rollover { config, badge, command } => {
            (config, Box::new(move |configuration| run_rollover(&configuration, &command, &badge)))
        }
    };
    telemetry::init("intermediate-ca", log_json);
    let configuration = match Configuration::read(&config) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            // One mistake a line, for people and editors alike.
            let _ = writeln!(std::io::stderr(), "{mistakes}");
            return ExitCode::from(2);
        }
    };
    match command(configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{}", service::in_full(failure.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn initialise(configuration: &Configuration, import: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let pki = &configuration.authority.pki;
    std::fs::create_dir_all(pki).map_err(|error| format!("could not make the directory {}: {error}", pki.display()))?;
    let mut keystore = open_token(&configuration.token, Some(pki.join(".init.lock")))?;
    let brought = read_certificates(import)?;
    let done = init(&configuration.authority, keystore.as_mut(), Timestamp(Clock::system().unjudged()), &brought)?;
    let mut out = std::io::stdout();
    if done.made.is_empty() {
        writeln!(out, "complete: nothing to do")?;
    }
    for line in done.made {
        writeln!(out, "made {line}")?;
    }
    Ok(())
}

fn check_profiles(configuration: Configuration) -> Result<(), Box<dyn Error>> {
    let problems = check(&configuration.authority, Timestamp(Clock::system().unjudged()))?;
    let mut out = std::io::stdout();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    if !problems.is_empty() {
        return Err(format!("{} found; `serve` would refuse to start", problems.len()).into());
    }
    writeln!(out, "{} profiles: the chain carries them", configuration.authority.profiles.len())?;
    Ok(())
}

fn request(config: &Path, table: &str, what: RequestedNames) -> Result<(), Failed> {
    let configuration = Configuration::read(config).map_err(|mistakes| Failed::Usage(mistakes.to_string()))?;
    let files = match table {
        "est" => configuration.est.as_ref().map(|est| &est.files),
        _ => Some(&configuration.listen.files),
    };
    let files = files.ok_or_else(|| Failed::Usage(format!("{}: there is no [{table}]", config.display())))?;
    tls_request(table, files, what)
}

fn places(config: Option<&Path>) -> Result<Places, String> {
    let configuration = Configuration::read(config.unwrap_or(Path::new("ca.toml")));
    let authority = configuration.map_err(|mistakes| mistakes.to_string())?.authority;
    Ok(Places { journal: authority.journal_options(), log: authority.checkpoints })
}

fn serve(configuration: Configuration) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::listen()?;
    // The hardware and the journal block: they are opened before there is a runtime to be blocked.
    // Signing the same bytes twice does no harm: nobody is waited for.
    let authority = open(&configuration, &shutdown)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let traces = configuration.traces.as_ref().map(|settings| {
            let instance = &configuration.authority.name;
            traces::begin(settings, &Service { name: "intermediate-ca", version: env!("CARGO_PKG_VERSION"), instance })
        });
        let traces = traces.transpose()?;
        let crls = configuration.authority.crl.as_ref().and_then(|crl| crl.address);
        let Configuration { listen, est, metrics, callers, limits, .. } = configuration;
        let server = Server::bind(&listen, crls, est.as_ref(), metrics, callers, limits, authority).await?;
        if let Some(address) = server.crl_address() {
            let _ = writeln!(std::io::stdout(), "http://{address}/crl/");
        }
        if let Some(address) = server.est_address() {
            let _ = writeln!(std::io::stdout(), "https://{address}/.well-known/est/");
        }
        // For whoever started us: with port 0 only this process knows the port. That nobody reads it is no reason to stop.
        let _ = writeln!(std::io::stdout(), "https://{}", server.address());
        let (directory, file) = (configuration.authority.journal.clone(), configuration.authority.file.clone());
        let well = move || {
            journal::probe(&directory).map_err(|error| service::in_full(&error))?;
            // It is read again, and must not end what only paused.
            Configuration::read(&file).map(drop).map_err(|mistakes| mistakes.to_string())
        };
        let served = server.serve(shutdown, well).await;
        if let Some(traces) = traces {
            traces.end().await;
        }
        Ok::<(), Box<dyn Error>>(served?)
    })?;
    info!("stopped");
    Ok(())
}

/// Opens the CA. A disk that was well for a moment only must not need a person at the next: who has started anew by itself
/// does so again.
fn open(configuration: &Configuration, shutdown: &Shutdown) -> Result<Authority, Box<dyn Error>> {
    let keystore = open_token(&configuration.token, None)?;
    match Authority::open(&configuration.authority, keystore, Clock::system()) {
        Err(OpenError::Journal(failure)) if failure.is_of_disk() && restart::is_restarted() => {
            error!("could not start anew yet; trying again by itself: {}", service::in_full(&failure));
            let deadline = Instant::now() + restart::PAUSE_MOST;
            while Instant::now() < deadline && !shutdown.is_requested() {
                thread::sleep(Duration::from_millis(100));
            }
            if !shutdown.is_requested() {
                return Err(restart::exec().into());
            }
            Err(failure.into())
        }
        opened => Ok(opened?),
    }
}
