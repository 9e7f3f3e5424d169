//! `serve`: the station itself.

use std::{path::Path, process::ExitCode};

use service::{shutdown::Shutdown, telemetry};
use tracing::{error, info};

use super::EXIT_CONFIGURATION;
use crate::{configuration::StationConfiguration, station};

pub(super) fn run(path: &Path, json: bool) -> ExitCode {
    telemetry::init("station-agent", json);
    let configuration = match StationConfiguration::read(path) {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            error!(%source, "could not start the network's threads");
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(async {
        let shutdown = match Shutdown::listen() {
            Ok(shutdown) => shutdown,
            Err(source) => return Err(station::StationError::Start { what: "listening for signals", source }),
        };
        station::run(configuration, shutdown, |address| println!("https://{address}")).await
    });
    match served {
        Ok(()) => {
            info!("the station has ended");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            error!(failure = %service::in_full(&failure), "the station has ended");
            ExitCode::FAILURE
        }
    }
}
