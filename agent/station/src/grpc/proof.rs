//! The proof of an issuance: its records out of the transparency log, as `journal prove` writes them.

use std::time::Duration;

use journal::{ProofError, prove};
use proto::station::v1 as wire;
use service::status;
use tonic::{Code, Status};

use super::{StationApi, fields::issuance_name, refused, unknown};

/// Below what gRPC clients take by default (4 MiB), with room for the rest of the message.
const PROOF_MOST: usize = 3 << 20;
/// About as long as a checkpoint takes.
const DUE_RETRY: Duration = Duration::from_secs(10);

impl StationApi {
    pub(super) fn proof(&self, name: &str) -> Result<wire::IssuanceProof, Status> {
        let id = issuance_name(name)?;
        let found = self.ledger.get(id).map_err(refused)?;
        let (issuance, _) = found.ok_or_else(|| unknown("issuance", &id.to_string()))?;
        let Some(issued) = issuance.state.issued() else {
            let message = format!("the issuance {id} stands in {}: it has no certificate to prove", issuance.state);
            return Err(status::refused(Code::FailedPrecondition, "NOT_ISSUED", message));
        };
        let records = self.ledger.story(id).map_err(refused)?;
        // Tiles are read from the disk.
        let proven = tokio::task::block_in_place(|| prove(&self.tlog, &issued.certificate, &records)?.encode());
        let proof = proven.map_err(|error| not_proven(&error))?;
        if proof.len() > PROOF_MOST {
            let message = format!(
                "the proof has {} octets, and {PROOF_MOST} at most are sent: run `station-agent journal prove` at the station",
                proof.len()
            );
            return Err(status::refused(Code::ResourceExhausted, "PROOF_TOO_LARGE", message));
        }
        Ok(wire::IssuanceProof { proof })
    }
}

fn not_proven(error: &ProofError) -> Status {
    let words = service::in_full(error);
    match error {
        ProofError::NotCovered { .. } => status::retry_later(
            "CHECKPOINT_DUE",
            format!("no checkpoint covers its newest record yet: {words}"),
            DUE_RETRY,
        ),
        _ => status::refused(Code::Internal, "LOG_UNREADABLE", words),
    }
}
