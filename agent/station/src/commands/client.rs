//! What `issue`, `status`, `watch` and their like share: they are gRPC clients like any other.

use std::{path::Path, process::ExitCode};

use prost_types::FieldMask;
use proto::station::v1::{self as wire, issuance::State, station_service_client::StationServiceClient};
use serde_json::{Value, json};
pub(super) use service::command::{Failed, read, say};
use service::{
    command::{self, Client},
    grpc::MESSAGE_BYTES_MAX,
};
use tonic::transport::Channel;

use super::PROGRAM;
use crate::configuration::StationConfiguration;

/// Runs one command and turns its end into words and an exit code.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    command::block_on(PROGRAM, command)
}

/// A client of the station that this configuration is for.
pub(super) fn connect(path: &Path) -> Result<StationServiceClient<Channel>, Failed> {
    let configuration = StationConfiguration::read(path).map_err(|mistakes| Failed::Usage(mistakes.to_string()))?;
    let channel = Client::channel(configuration.client.as_ref(), path)?;
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

/// The fields that [`line`] and [`as_json`] tell: certificates stay at the station.
pub(super) fn told_fields() -> Option<FieldMask> {
    const FIELDS: [&str; 14] = [
        "name",
        "lot",
        "device_serial",
        "profile",
        "fixture",
        "common_name",
        "state",
        "failure",
        "next_action",
        "sequence",
        "key",
        "certificate_location",
        "certificate_serial",
        "surplus",
    ];
    Some(FieldMask { paths: FIELDS.map(str::to_owned).to_vec() })
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
