//! Measures what DESIGN §11 promises: each figure is printed with its limit, measured in the same run.
//!
//! Ends with 0 when every promise was kept and, in the full form, every goal met; with 1 when not; with 2 when it could not
//! be measured. In the short form, which sees only that all of it works, a missed goal is printed and no failure.

mod c_sign;
mod ca;
mod drain;
mod figure;
mod fixtures;
mod openssl;
mod process;
mod ready;
mod record;
mod station;

use std::{path::PathBuf, process::ExitCode};

use bench::{Failed, because, device, past};
use clap::Parser;

use crate::figure::Report;

#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Small sizes, for the tests.
    #[arg(long)]
    short: bool,
    /// Only these: ca, drain, fixtures, ready, record.
    #[arg(long)]
    only: Vec<String>,
    /// Where station-agent and intermediate-ca are; else beside this binary.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Fixtures that are served at once.
    #[arg(long)]
    fixtures: Option<usize>,
    /// Submissions that wait.
    #[arg(long)]
    waiting: Option<usize>,
    /// Certificates that are asked for with 256 in flight.
    #[arg(long)]
    certificates: Option<usize>,
    /// Measures this PKCS#11 module by itself. Not for people.
    #[arg(long, hide = true)]
    c_sign: Option<PathBuf>,
    /// Issuances that are completed.
    #[arg(long)]
    completed: Option<usize>,
    /// Records of a journal that is verified.
    #[arg(long)]
    records: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(module) = &arguments.c_sign {
        return match c_sign::run(module) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: the token could not be measured: {}", service::in_full(error.as_ref()));
                ExitCode::from(2)
            }
        };
    }
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("."));
    let binaries = arguments.binaries.clone().or_else(|| own.parent().map(PathBuf::from)).unwrap_or_default();
    let mut report = Report::default();
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(because("start the runtime"))
        .and_then(|runtime| runtime.block_on(measure(&arguments, &binaries, &mut report)));
    println!("{report}");
    match measured {
        Err(failed) => {
            eprintln!("bench: could not be measured: {failed}");
            ExitCode::from(2)
        }
        Ok(()) if report.is_whole() && (arguments.short || report.missed() == 0) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

async fn measure(arguments: &Arguments, binaries: &std::path::Path, report: &mut Report) -> Result<(), Failed> {
    let chosen = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let size = |given: Option<usize>, short, full| given.unwrap_or(if arguments.short { short } else { full });
    if chosen("record") {
        let records = size(arguments.records, 5_000, 1_000_000);
        tokio::task::block_in_place(|| record::measure(binaries, records, report))?;
    }
    if chosen("ready") {
        ready::measure(binaries, size(arguments.completed, 500, 100_000), report).await?;
    }
    if chosen("fixtures") {
        fixtures::measure(binaries, size(arguments.fixtures, 3, 16), report).await?;
    }
    if chosen("drain") {
        drain::measure(binaries, size(arguments.waiting, 500, 100_000), report).await?;
    }
    if chosen("ca") {
        let openssl = if arguments.short { 64 } else { 1_000 };
        ca::measure(binaries, size(arguments.certificates, 512, 8_192), openssl, report).await?;
    }
    Ok(())
}
