//! `lot`: work orders at the running station.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use proto::station::v1::{
    AuthoriseLotRequest, CloseLotRequest, GetLotRequest, ListLotsRequest, Lot, OpenLotRequest, ReportLotRequest,
    station_service_client::StationServiceClient,
};
use serde_json::json;
use tonic::transport::Channel;

use super::client::{self, Failed};
use crate::grpc::AUTHORISATION_MOST;

/// What to do with lots.
#[derive(Debug, Subcommand)]
pub(super) enum LotCommand {
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
    /// Open or widen a lot as its brand owner signed it, here and at the CA: a JWS in a file, or `-` for standard input.
    Authorise {
        /// The file.
        file: PathBuf,
    },
    /// Close a lot: nothing more is started under it here.
    Close {
        /// The lot.
        lot: String,
    },
    /// Show one lot.
    Show {
        /// The lot.
        lot: String,
    },
    /// List the lots, newest first.
    List,
    /// Write the report of a lot that the CA signs, a JWS.
    Report {
        /// The lot.
        lot: String,
        /// Where to write it; standard output otherwise.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) async fn run(path: &Path, command: LotCommand, json: bool) -> Result<(), Failed> {
    let mut station = client::connect(path)?;
    let lot = match command {
        LotCommand::Open { lot, profile, quantity } => {
            station.open_lot(OpenLotRequest { lot, profile, quantity }).await
        }
        LotCommand::Authorise { file } => {
            let authorisation = client::read(&file, AUTHORISATION_MOST)?;
            station.authorise_lot(AuthoriseLotRequest { authorisation }).await
        }
        LotCommand::Close { lot } => station.close_lot(CloseLotRequest { name: name(&lot) }).await,
        LotCommand::Show { lot } => station.get_lot(GetLotRequest { name: name(&lot) }).await,
        LotCommand::List => return list(&mut station, json).await,
        LotCommand::Report { lot, out } => return report(&mut station, &lot, out.as_deref()).await,
    };
    tell(&lot?.into_inner(), json)
}

fn name(lot: &str) -> String {
    if lot.starts_with("lots/") { lot.to_owned() } else { format!("lots/{lot}") }
}

async fn list(station: &mut StationServiceClient<Channel>, json: bool) -> Result<(), Failed> {
    let mut page_token = String::new();
    loop {
        let page = station.list_lots(ListLotsRequest { page_size: 0, page_token }).await?.into_inner();
        page.lots.iter().try_for_each(|lot| tell(lot, json))?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        page_token = page.next_page_token;
    }
}

/// Written once it is there as a whole.
async fn report(station: &mut StationServiceClient<Channel>, lot: &str, out: Option<&Path>) -> Result<(), Failed> {
    let mut parts = station.report_lot(ReportLotRequest { name: name(lot) }).await?.into_inner();
    let mut report = String::new();
    while let Some(part) = parts.message().await? {
        report.push_str(&part.part);
    }
    match out {
        Some(path) => fs::write(path, report)
            .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", path.display())))),
        None => client::say(report),
    }
}

fn tell(lot: &Lot, json: bool) -> Result<(), Failed> {
    let state = lot.state().as_str_name().trim_start_matches("STATE_");
    if json {
        return client::say(json!({
            "name": lot.name, "profile": lot.profile, "quantity": lot.quantity, "started": lot.started,
            "completed": lot.completed, "state": state, "authorisation_id": lot.authorisation_id,
        }));
    }
    let signed = match lot.authorisation_id.as_str() {
        "" => String::new(),
        id => format!(", signed: {id}"),
    };
    client::say(format!(
        "{:<20} {:<16} {} of {} started, {} completed, {state}{signed}",
        lot.name.trim_start_matches("lots/"),
        lot.profile,
        lot.started,
        lot.quantity,
        lot.completed
    ))
}
