//! Looks whether what the station needs still works, halts it with words when it does not, and lets it go on.

use std::{path::PathBuf, sync::Arc, time::Duration};

use journal::JournalError;
use proto::station::v1::station_service_server::StationServiceServer;
use service::{restart, shutdown::Shutdown};
use tokio::task::AbortHandle;
use tonic_health::ServingStatus;

use crate::{
    board::{Board, HaltedBy},
    configuration::StationConfiguration,
    driver::Halted,
    grpc::StationApi,
    ledger::{Ledger, LedgerRefused},
};

/// How often journal and clock are looked at between appends.
const HEALTH_EVERY: Duration = Duration::from_secs(1);

/// Looks whether what the station needs still works, and says so on its health.
pub(crate) struct Watchman {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) board: Arc<Board>,
    /// The queue's way to the CA.
    pub(crate) sender: AbortHandle,
    pub(crate) health: tonic_health::server::HealthReporter,
    /// The journal's.
    pub(crate) directory: PathBuf,
    /// The configuration.
    pub(crate) file: PathBuf,
}

impl Watchman {
    pub(crate) async fn watch(self, shutdown: Shutdown) {
        let mut stop = std::pin::pin!(shutdown.requested());
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(HEALTH_EVERY) => {}
            }
            if let Some(failure) = self.ledger.failure() {
                halt_for(&self.board, &failure);
            }
            if let Err(wrong) = self.ledger.clock().now() {
                halt(&self.board, &wrong.into());
            }
            if self.sender.is_finished() && !shutdown.is_requested() {
                self.board.halt("The queue's way to the CA ended unexpectedly: restart the station, keep its log.");
            }
            if self.board.halted().is_some() {
                self.health.set_service_status("", ServingStatus::NotServing).await;
                self.health.set_not_serving::<StationServiceServer<StationApi>>().await;
            }
            if matches!(self.board.halted_by(), Some(HaltedBy::Disk | HaltedBy::Clock)) {
                let (directory, file) = (self.directory.clone(), self.file.clone());
                let clock = self.ledger.clock().clone();
                let probe = move || {
                    // A start believes the clock that it finds: it is to find it right, whatever had failed.
                    clock.now().map_err(|wrong| wrong.to_string())?;
                    journal::probe(&directory).map_err(|error| service::in_full(&error))?;
                    // It is read again, and must not end what only paused.
                    StationConfiguration::read(&file).map(drop).map_err(|mistakes| mistakes.to_string())
                };
                restart::once_well(&shutdown, probe).await;
                break;
            }
        }
        self.health.set_not_serving::<StationServiceServer<StationApi>>().await;
    }
}

/// Halts the station for what was refused, and says so to whom it stopped.
pub(crate) fn halt(board: &Board, refused: &LedgerRefused) -> Halted {
    match refused {
        LedgerRefused::Journal(error) if error.is_of_disk() => halt_for(board, error),
        LedgerRefused::Clock(wrong) => board.halt_by(
            HaltedBy::Clock,
            &format!(
                "The station cannot record: {wrong}. {} What was accepted is kept, and the station goes on by itself \
                 within seconds once the clock is right. Leave the devices where they are, and call the administrator.",
                wrong.remedy()
            ),
        ),
        refused => {
            let words = format!("The station cannot go on: {}. Call the administrator.", service::in_full(refused));
            board.halt(&words);
        }
    }
    Halted(board.halted().unwrap_or_default())
}

pub(crate) fn halt_for(board: &Board, failure: &JournalError) {
    let cause = service::in_full(failure);
    if failure.is_of_disk() {
        let remedy = failure.remedy();
        board.halt_by(
            HaltedBy::Disk,
            &format!(
                "The station cannot record: {cause}. {remedy} What was accepted is kept, and the station goes on by \
                 itself within seconds. Leave the devices where they are, and call the administrator."
            ),
        );
    } else {
        board.halt(&format!("The station cannot record: {cause}. Call the administrator."));
    }
}
