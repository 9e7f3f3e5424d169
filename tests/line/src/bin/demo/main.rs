//! `demo`: a whole line on this machine, certificates for four devices, and what became of them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod inspect;
mod issue;
mod place;
mod table;

use std::{
    error::Error,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use line::{Device, Line, LineError, Options};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{interval, sleep},
};

use crate::{issue::Row, place::Place};

/// How often the processes are looked at while the demo serves.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Starts two TPMs, two PKCS#11 tokens, a CA, a station and its page, issues a device CA certificate to each device, and
/// serves until Ctrl-C.
///
/// Exit codes: 0 every device is verified, 1 something failed, 2 wrong arguments, 130 stopped before the devices were
/// verified.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Ends after the issuances.
    #[arg(long)]
    once: bool,
    /// Where everything goes; what an earlier demo left there is removed. The default is `demo` beside the build's directory.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// The page's port, or the next free one; 0 for any.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Starts the CA this many seconds after the issuances began: the line does not stop when the CA does.
    #[arg(long, value_name = "SECONDS")]
    ca_late: Option<u64>,
}

/// How a demo that did not fail ended.
enum End {
    Verified,
    Interrupted,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = tokio::runtime::Runtime::new().map_err(Box::from).and_then(|runtime| runtime.block_on(run(arguments)));
    match ended {
        Ok(End::Verified) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("\ndemo: {}", service::in_full(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<End, Box<dyn Error>> {
    // Before anything is started that a signal would leave behind.
    let mut interrupts = Interrupts::listen()?;
    let place = Place::claim(arguments.directory.clone())?;
    let options = Options {
        directory: Some(place.directory().to_owned()),
        ca: arguments.ca_late.is_none(),
        page_port: Some(arguments.port).filter(|&port| port != 0),
        ..Default::default()
    };
    println!("Starting two TPMs, two PKCS#11 tokens, the CA, the station and its page …");
    let started = tokio::select! {
        biased;
        () = interrupts.next() => return Ok(End::Interrupted),
        started = Line::start(options) => started,
    };
    let mut line = started.map_err(|error| failure(error, &place))?;
    let worked = tokio::select! {
        biased;
        () = interrupts.next() => {
            println!("\nInterrupted.");
            Ok(End::Interrupted)
        }
        worked = work(&mut line, &arguments) => worked,
    };
    let worked = match worked {
        Ok(End::Verified) if !arguments.once => serve(&mut line, &mut interrupts).await.map(|()| End::Verified),
        other => other,
    };
    println!("Stopping …");
    let stopped = line.stop();
    let end = worked.map_err(|error| failure(error, &place))?;
    stopped.map_err(|error| failure(error, &place))?;
    println!("Everything is stopped. What was made is in {}", place.directory().display());
    Ok(end)
}

/// Issues to every device and prints what became of each.
async fn work(line: &mut Line, arguments: &Arguments) -> Result<End, Box<dyn Error>> {
    introduce(line, arguments.port);
    let begun = Instant::now();
    let rows = issue::to_every_device(line, arguments.ca_late.map(Duration::from_secs), begun).await?;
    let mut inspected = Vec::new();
    for row in rows {
        let findings = inspect::inspect(line.directory(), &row);
        inspected.push((row, findings));
    }
    println!("\n{}", table::table(&inspected));
    println!("{}", inspect::how());
    match inspected.iter().all(|(_, findings)| findings.is_ok()) {
        true => Ok(End::Verified),
        false => Err("not every device is verified".into()),
    }
}

/// Serves until a signal comes; a process that ends by itself is an error.
async fn serve(line: &mut Line, interrupts: &mut Interrupts) -> Result<(), Box<dyn Error>> {
    print_addresses(line);
    let mut tick = interval(CHECK_EVERY);
    loop {
        tokio::select! {
            () = interrupts.next() => {
                println!();
                return Ok(());
            }
            _ = tick.tick() => line.check()?,
        }
    }
}

fn introduce(line: &Line, wished: u16) {
    println!("  station        {}", line.station_url());
    if let Some(url) = line.page_url() {
        let other = wished != 0 && !url.ends_with(&format!(":{wished}"));
        let note = if other { format!("  (port {wished} is in use)") } else { String::new() };
        println!("  page           {url}{note}");
    }
    println!("  configuration  {}", line.directory().display());
    println!("  hardware       {}\n", line.hardware().directory().display());
}

fn print_addresses(line: &Line) {
    println!("\nTo look at the devices with other tools:");
    for (_, device) in line.hardware().devices() {
        match device {
            Device::Tpm(tpm) => println!("  tpm2_readpublic -T {} -c 0x81000010", tpm.tcti()),
            Device::Token(token) => {
                let environment: String =
                    token.environment().iter().map(|(name, value)| format!("{name}={value} ")).collect();
                let (module, pin) = (token.module().display(), line.hardware().pin_file(token.label()));
                println!(
                    "  {environment}pkcs11-tool --module {module} --token-label {} --login --pin \"$(cat {})\" -O",
                    token.label(),
                    pin.display()
                );
            }
        }
    }
    if let Some(url) = line.page_url() {
        println!("\nThe operators' page is at {url}");
    }
    println!("Serving until Ctrl-C.");
}

/// An error of a step, with where to read more.
fn failure(error: impl Into<Box<dyn Error>>, place: &Place) -> Box<dyn Error> {
    format!("{}\nThe logs are in {}", service::in_full(&*error.into()), place.directory().join("logs").display()).into()
}

/// Ctrl-C, SIGTERM, and a terminal that was closed.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Starts the CA after `delay`.
async fn start_ca_after(line: &mut Line, delay: Duration) -> Result<(), LineError> {
    sleep(delay).await;
    line.start_ca().await
}
