//! What the commands share.

use std::{path::Path, process::ExitCode};

use proto::ca::v1::{self as wire, administration_service_client::AdministrationServiceClient};
use serde_json::{Value, json};
use service::command::{self, Client};
pub(crate) use service::command::{Failed, read, say};
use tonic::transport::Channel;

use crate::{configuration::Configuration, pki::moment_text};

/// A list of a hundred thousand revoked certificates is some 4 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Runs one command and turns its end into words and an exit code.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    command::block_on("intermediate-ca", command)
}

/// A channel to the CA that this configuration is for.
pub(crate) fn channel(path: &Path) -> Result<Channel, Failed> {
    let configuration = Configuration::read(path).map_err(|mistakes| Failed::Usage(mistakes.to_string()))?;
    Client::channel(configuration.client.as_ref(), path)
}

/// A client of the CA that this configuration is for.
pub(super) fn connect(path: &Path) -> Result<AdministrationServiceClient<Channel>, Failed> {
    Ok(AdministrationServiceClient::new(channel(path)?).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// A time as people read it.
pub(super) fn time(time: Option<&prost_types::Timestamp>) -> String {
    moment_text(time.map_or(0, |time| time.seconds))
}

/// One line about a CRL.
pub(super) fn crl_line(crl: &wire::Crl) -> String {
    let (from, until) = (time(crl.this_update.as_ref()), time(crl.next_update.as_ref()));
    format!("{:<24} #{:<6} {:>6} revoked   from {from} until {until}", crl.list, crl.number, crl.revoked)
}

/// A CRL as JSON, without its bytes.
pub(super) fn crl_json(crl: &wire::Crl) -> Value {
    json!({
        "list": crl.list,
        "issuer": crl.issuer,
        "number": crl.number,
        "this_update": time(crl.this_update.as_ref()),
        "next_update": time(crl.next_update.as_ref()),
        "revoked": crl.revoked,
    })
}
