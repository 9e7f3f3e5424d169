//! What `issue`, `status` and `watch` share: they are gRPC clients like any other.

use std::{
    fmt::Display,
    io::{Write as _, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use proto::station::v1::{self as wire, issuance::State, station_service_client::StationServiceClient};
use serde_json::{Value, json};
use service::{grpc::MESSAGE_BYTES_MAX, status, tls};
use tonic::transport::Channel;

use super::EXIT_CONFIGURATION;
use crate::configuration::StationConfiguration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a command did not do what it was asked.
pub(super) enum Failed {
    /// The configuration, or what was typed.
    Configuration(String),
    /// The station said no, or did not answer.
    Call(Box<tonic::Status>),
    /// The issuance stopped.
    Stopped,
    /// Whoever read the output has gone.
    NobodyReads,
}

/// Prints a line; a closed pipe ends the command instead of breaking it.
pub(super) fn say(line: impl Display) -> Result<(), Failed> {
    writeln!(stdout().lock(), "{line}").map_err(|_| Failed::NobodyReads)
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Runs one command and turns its end into words and an exit code.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    match runtime.block_on(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Configuration(words)) => fail(EXIT_CONFIGURATION, &words),
        Err(Failed::Call(status)) => fail(1, &status::in_full(&status)),
        Err(Failed::Stopped) => ExitCode::FAILURE,
        Err(Failed::NobodyReads) => ExitCode::SUCCESS,
    }
}

fn fail(code: u8, words: &dyn Display) -> ExitCode {
    eprintln!("station-agent: {words}");
    ExitCode::from(code)
}

/// A client of the station that this configuration is for.
pub(super) fn connect(path: &Path) -> Result<StationServiceClient<Channel>, Failed> {
    let configuration =
        StationConfiguration::read(path).map_err(|mistakes| Failed::Configuration(mistakes.to_string()))?;
    let Some(client) = configuration.client else {
        let words = format!(
            "{}: there is no [client]: give endpoint, certificate, key and trust, so that this command can call the station",
            path.display()
        );
        return Err(Failed::Configuration(words));
    };
    let channel = tls::channel(&client.endpoint, &client.tls, CONNECT_TIMEOUT)
        .map_err(|error| Failed::Configuration(service::in_full(&error)))?;
    Ok(StationServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// The state's name as the API has it, without its prefix.
pub(super) fn state_name(issuance: &wire::Issuance) -> &'static str {
    issuance.state().as_str_name().trim_start_matches("STATE_")
}

/// Whether nothing more happens to it by itself.
pub(super) fn is_settled(issuance: &wire::Issuance) -> bool {
    matches!(
        issuance.state(),
        State::Completed | State::Failed | State::Quarantined | State::Cancelled | State::InDoubt
    )
}

/// One line about an issuance.
pub(super) fn line(issuance: &wire::Issuance) -> String {
    let mut line = format!(
        "{:<12} {:<20} {:<22} {}",
        issuance.fixture,
        issuance.device_serial,
        state_name(issuance),
        issuance.next_action
    );
    if let Some(failure) = &issuance.failure {
        line.push_str(&format!(" ({}: {})", failure.reason, failure.message));
    }
    let surplus: Vec<_> = issuance.surplus.iter().map(|surplus| surplus.certificate_serial.as_str()).collect();
    if !surplus.is_empty() {
        line.push_str(&format!(" (to be revoked, made besides its own: {})", surplus.join(", ")));
    }
    line
}

/// An issuance as JSON: the API's fields, certificates left out for `certificate_serial`.
pub(super) fn as_json(issuance: &wire::Issuance) -> Value {
    json!({
        "name": issuance.name,
        "lot": issuance.lot,
        "device_serial": issuance.device_serial,
        "profile": issuance.profile,
        "fixture": issuance.fixture,
        "common_name": issuance.common_name,
        "state": state_name(issuance),
        "failure": issuance.failure.as_ref().map(|failure| json!({"reason": failure.reason, "message": failure.message})),
        "next_action": issuance.next_action,
        "sequence": issuance.sequence,
        "key": issuance.key,
        "certificate_location": issuance.certificate_location,
        "certificate_serial": issuance.certificate_serial,
        "surplus_serials": issuance.surplus.iter().map(|surplus| &surplus.certificate_serial).collect::<Vec<_>>(),
    })
}
