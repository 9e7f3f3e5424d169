//! Takes checkpoints of the journal to the CA, and stops the station when that has seen another history.

use std::sync::Arc;

use intermediate_ca::Witnessing;
use service::shutdown::Shutdown;

use crate::board::Board;

/// Sends each new checkpoint until shutdown, or until the witness contradicts one.
pub async fn run(witness: Witnessing, board: Arc<Board>, shutdown: Shutdown) {
    if let Some(message) = witness.follow(shutdown.requested()).await {
        board.halt(&format!(
            "The CA contradicts this station's journal: {message}. Call the administrator: its disk must not be used until \
             that is explained."
        ));
    }
}
