//! `intermediate-ca lot …`: a client of the running CA, with the certificate of `[client]`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use proto::ca::v1::{self as wire, lot_service_client::LotServiceClient};
use serde_json::{Value, json};
use service::grpc::MESSAGE_BYTES_MAX;
use tonic::transport::Channel;

use super::authorisation::AUTHORISATION_MAX;
use crate::commands::client::{self, Failed, say};

/// What to do with lots at the running CA.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum LotCommand {
    /// Open a lot that nobody signed for.
    Open {
        /// The lot.
        lot: String,
        /// The profile of its devices.
        #[arg(long)]
        profile: String,
        /// How many devices.
        #[arg(long)]
        quantity: u32,
    },
    /// Open or widen a lot as its brand owner signed it: a JWS in a file, or `-` for standard input.
    Authorise {
        /// The file.
        file: PathBuf,
    },
    /// Close a lot: no further device is covered.
    Close {
        /// The lot.
        lot: String,
    },
    /// Set another quantity on a lot that nobody signed for, and open it again. For a supervisor.
    Amend {
        /// The lot.
        lot: String,
        /// How many devices from now on.
        #[arg(long)]
        quantity: u32,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Who decided it, as a pseudonym.
        #[arg(long, default_value = "")]
        badge: String,
    },
    /// Give a scrapped device's place back and revoke what it was given in the lot. For a supervisor.
    Scrap {
        /// The lot.
        lot: String,
        /// The device.
        #[arg(long)]
        serial: String,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Who decided it, as a pseudonym.
        #[arg(long, default_value = "")]
        badge: String,
    },
    /// List the lots, newest first.
    List,
    /// Write the signed report of a lot, a JWS.
    Report {
        /// The lot.
        lot: String,
        /// Where to write it; standard output otherwise.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Does it, and prints what came of it. Exit code 0: done; 1: refused, or no answer; 2: wrong arguments or configuration.
#[must_use]
pub fn run(config: &Path, command: LotCommand, json: bool) -> ExitCode {
    client::block_on(call(config, command, json))
}

async fn call(config: &Path, command: LotCommand, json: bool) -> Result<(), Failed> {
    let mut lots = LotServiceClient::new(client::channel(config)?).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let lot = match command {
        LotCommand::Open { lot, profile, quantity } => {
            lots.open_lot(wire::OpenLotRequest { lot, profile, quantity }).await
        }
        LotCommand::Authorise { file } => {
            let authorisation = client::read(&file, AUTHORISATION_MAX)?;
            lots.authorise_lot(wire::AuthoriseLotRequest { authorisation }).await
        }
        LotCommand::Close { lot } => lots.close_lot(wire::CloseLotRequest { lot }).await,
        LotCommand::Amend { lot, quantity, reason, badge } => {
            lots.amend_lot(wire::AmendLotRequest { lot, quantity, reason, badge }).await
        }
        LotCommand::Scrap { lot, serial, reason, badge } => {
            lots.scrap_device(wire::ScrapDeviceRequest { lot, device_serial: serial, reason, badge }).await
        }
        LotCommand::List => return list(&mut lots, json).await,
        LotCommand::Report { lot, out } => {
            let mut parts = lots.report_lot(wire::ReportLotRequest { lot }).await?.into_inner();
            let mut report = String::new();
            while let Some(part) = parts.message().await? {
                report.push_str(&part.part);
            }
            return match out {
                Some(path) => fs::write(&path, report)
                    .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", path.display())))),
                None => say(report),
            };
        }
    };
    tell(&lot?.into_inner(), json)
}

async fn list(lots: &mut LotServiceClient<Channel>, json: bool) -> Result<(), Failed> {
    let mut page_token = String::new();
    loop {
        let request = wire::ListLotsRequest { page_size: 0, page_token };
        let page = lots.list_lots(request).await?.into_inner();
        page.lots.iter().try_for_each(|lot| tell(lot, json))?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        page_token = page.next_page_token;
    }
}

fn tell(lot: &wire::Lot, json: bool) -> Result<(), Failed> {
    let state = lot.state().as_str_name().trim_start_matches("STATE_");
    let jti = lot.authorisation.as_ref().map(|authorisation| authorisation.jti.as_str());
    if json {
        let line = json!({
            "lot": lot.lot, "profile": lot.profile, "quantity": lot.quantity, "used": lot.used, "state": state,
            "jti": jti.map_or(Value::Null, Value::from),
        });
        return say(line);
    }
    let signed = jti.map_or_else(String::new, |jti| format!(", signed: {jti}"));
    let line = format!("{:<20} {:<16} {} of {} used, {state}{signed}", lot.lot, lot.profile, lot.used, lot.quantity);
    say(line)
}
