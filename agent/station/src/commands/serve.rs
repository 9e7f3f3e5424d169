//! `serve`: the station itself.

use std::{
    io::{Write as _, stdout},
    path::Path,
    process::ExitCode,
};

use service::{
    command::EXIT_CONFIGURATION,
    in_full, restart,
    shutdown::Shutdown,
    telemetry,
    traces::{self, Service},
};
use tokio::time::timeout;
use tracing::{error, info};

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
        let ready = |address| {
            // Whoever read it at the first start may be gone.
            let _ = writeln!(stdout(), "https://{address}");
        };
        let traces = configuration.traces.as_ref().map(|settings| {
            let instance = &configuration.station;
            traces::begin(settings, &Service { name: "station-agent", version: env!("CARGO_PKG_VERSION"), instance })
        });
        let traces = traces.transpose()?;
        let served = station::run(configuration, shutdown.clone(), ready).await;
        if let Some(traces) = traces {
            traces.end().await;
        }
        match &served {
            // The disk was well for a moment only: nobody is to be needed for the next one either.
            Err(failure) if restart::is_restarted() && failure.is_of_disk() => {
                error!(failure = %in_full(failure), "could not start anew yet; trying again by itself");
                if timeout(restart::PAUSE_MOST, shutdown.requested()).await.is_err() {
                    return Err(station::StationError::Restart(restart::exec()));
                }
                served
            }
            _ => served,
        }
    });
    match served {
        Ok(()) => {
            info!("the station has ended");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            error!(failure = %in_full(&failure), "the station has ended");
            ExitCode::FAILURE
        }
    }
}
