//! `station-ui`: serves the operators' page of one station.
//!
//! Exit codes: 0 stopped by a signal, 1 could not start or broke, 2 wrong arguments.

use std::{error::Error, io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use service::{
    metrics::{self, Served},
    shutdown::Shutdown,
    telemetry, tls,
    traces::{self, Service},
};
use station_ui::{configuration::Configuration, feed::Client, guard::Hosts, server};
use tracing::{error, info};

/// A station on this machine or this network answers sooner, or not at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Serves the operators' page of one station.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "ui.toml")]
    config: PathBuf,
    /// Logs as JSON, one event a line.
    #[arg(long)]
    log_json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::init("station-ui", arguments.log_json);
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{}", service::in_full(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::listen()?;
    let configuration = Configuration::read(&arguments.config)?;
    let listener = server::bind(configuration.listen).await?;
    let address = listener.local_addr()?;
    let traces = configuration.traces.as_ref().map(|settings| {
        let instance = &address.to_string();
        traces::begin(settings, &Service { name: "station-ui", version: env!("CARGO_PKG_VERSION"), instance })
    });
    let traces = traces.transpose()?;
    let channel = tls::channel(&configuration.endpoint, &configuration.files, CONNECT_WITHIN)?;
    let hosts = Hosts::new(address, &configuration.names);
    let mut registry = metrics::registry("station_ui", env!("CARGO_PKG_VERSION"));
    let client = Client::new(channel.into());
    let routes = server::routes_told(client, hosts, configuration.settings, shutdown.clone(), &mut registry)?;
    if let Some(address) = configuration.metrics {
        let served = Served::bind(address).await?;
        info!(address = %served.local_address()?, "metrics are served");
        tokio::spawn(served.serve(registry, shutdown.requested()));
    }
    info!("listening on http://{address}");
    // For whoever started us: with port 0 only this process knows the port. That nobody reads it is no reason to stop.
    let _ = writeln!(std::io::stdout(), "http://{address}");
    server::serve(listener, routes, shutdown).await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    info!("stopped");
    Ok(())
}
