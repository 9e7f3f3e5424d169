//! What the commands share.

use std::{
    fmt::Display,
    io::{Write as _, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use proto::ca::v1::{self as wire, administration_service_client::AdministrationServiceClient};
use serde_json::{Value, json};
use service::{status, tls};
use tonic::transport::Channel;

use crate::{configuration::Configuration, pki::moment_text};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A list of a hundred thousand revoked certificates is some 4 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Wrong arguments or configuration.
const EXIT_CONFIGURATION: u8 = 2;

/// Why a command did not do what it was asked.
pub(super) enum Failed {
    /// The configuration, or what was typed.
    Configuration(String),
    /// The CA said no, or did not answer.
    Call(Box<tonic::Status>),
    /// It was done in part; in words.
    InPart(String),
    /// Whoever read the output has gone.
    NobodyReads,
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Prints a line; a closed pipe ends the command instead of breaking it.
pub(super) fn say(line: impl Display) -> Result<(), Failed> {
    writeln!(stdout().lock(), "{line}").map_err(|_| Failed::NobodyReads)
}

/// Runs one command and turns its end into words and an exit code.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error),
    };
    match runtime.block_on(command) {
        Ok(()) | Err(Failed::NobodyReads) => ExitCode::SUCCESS,
        Err(Failed::Configuration(words)) => fail(EXIT_CONFIGURATION, &words),
        Err(Failed::Call(status)) => fail(1, &status::in_full(&status)),
        Err(Failed::InPart(words)) => fail(1, &words),
    }
}

fn fail(code: u8, words: &dyn Display) -> ExitCode {
    // That nobody reads it changes nothing.
    let _ = writeln!(std::io::stderr(), "intermediate-ca: {words}");
    ExitCode::from(code)
}

/// A client of the CA that this configuration is for.
pub(super) fn connect(path: &Path) -> Result<AdministrationServiceClient<Channel>, Failed> {
    let configuration = Configuration::read(path).map_err(|mistakes| Failed::Configuration(mistakes.to_string()))?;
    let Some(client) = configuration.client else {
        let words = format!(
            "{}: there is no [client]: give endpoint, certificate, key and trust, so that this command can call the CA",
            path.display()
        );
        return Err(Failed::Configuration(words));
    };
    let channel = tls::channel(&client.endpoint, &client.files, CONNECT_TIMEOUT)
        .map_err(|error| Failed::Configuration(service::in_full(&error)))?;
    Ok(AdministrationServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
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
