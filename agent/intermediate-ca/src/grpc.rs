//! `ca.v1` over gRPC: proto types come in and go out here, and nowhere else.

use journal::Refusal as WitnessRefusal;
use proto::ca::v1::{
    self as wire, certificate_authority_service_server::CertificateAuthorityService, confirm_result,
    cosign_checkpoint_response, issue_result,
};
use service::{
    gate, status,
    traces::{Cause, ISSUANCE, OUTCOME, REQUEST_ID, Span},
};
use std::time::{Duration, SystemTime};
use tonic::{Request, Response, Status};
use tracing::{debug, error, info, warn};

use crate::{
    authority::{Authority, BATCH_MAX, Outcome, Submitted, confirmation},
    plan::{Later, Submission},
    refusal::Refusal,
    register::Unavailable,
    residency::{self, Shown},
};

/// A full batch of the largest requests, with their names.
pub(crate) const REQUEST_BYTES_MAX: usize =
    BATCH_MAX * (issuance::request::CertificationRequest::MAX + residency::BYTES_MOST + 1_024);

/// Whoever starts the CA again looks at it first: stations need not ask every second.
const RECORDING_BACK: Duration = Duration::from_secs(10);

/// A checkpoint is a few hundred bytes; with a hundred signatures of an HSM it stays below this.
const CHECKPOINT_MAX: usize = 64 * 1024;
/// A tree of 2^64 entries has no longer a proof.
const PROOF_MAX: usize = 63;

/// The service of one authority.
pub(crate) struct Service {
    pub(crate) authority: Authority,
}

fn check_batch(field: &str, length: usize) -> Result<(), Status> {
    if (1..=BATCH_MAX).contains(&length) {
        return Ok(());
    }
    let problem = format!("holds {length}; send 1 to {BATCH_MAX} in one batch");
    Err(status::invalid_argument(field, problem))
}

#[tonic::async_trait]
impl CertificateAuthorityService for Service {
    async fn issue_batch(
        &self,
        request: Request<wire::IssueBatchRequest>,
    ) -> Result<Response<wire::IssueBatchResponse>, Status> {
        let station = gate::caller(&request)?.name;
        let requests = request.into_inner().requests;
        check_batch("requests", requests.len())?;
        let ids: Vec<(String, String)> =
            requests.iter().map(|request| (request.issuance.clone(), request.request_id.clone())).collect();
        let submissions = requests.into_iter().map(submission).collect();
        let came = SystemTime::now();
        let outcomes = self.authority.issue(&station, submissions).await.map_err(unavailable)?;
        for ((issuance, request_id), outcome) in ids.iter().zip(&outcomes) {
            // What a caller sends as an id may be none: escaped, and no longer than one.
            let (issuance, request_id) = (cut(issuance, 36), cut(request_id, 64));
            Span::past("issue", &Cause::here(), came, &Span::default()).note(|| {
                let own = |text: &str| text.to_owned();
                [(ISSUANCE, own(issuance)), (REQUEST_ID, own(request_id)), (OUTCOME, own(outcome.as_str()))]
            });
            match outcome {
                Outcome::Issued(_) | Outcome::Sealed(_) => info!(station, ?issuance, ?request_id, "issued"),
                Outcome::Refused(Refusal { reason, message }) => {
                    info!(station, ?issuance, ?request_id, reason = reason.as_str(), message, "refused");
                }
                Outcome::Deferred(Later { message, .. }) => {
                    debug!(station, ?issuance, ?request_id, message, "deferred");
                }
            }
        }
        let results = ids.into_iter().zip(outcomes).map(|((issuance, _), outcome)| result(issuance, outcome));
        Ok(Response::new(wire::IssueBatchResponse { results: results.collect() }))
    }

    async fn confirm_batch(
        &self,
        request: Request<wire::ConfirmBatchRequest>,
    ) -> Result<Response<wire::ConfirmBatchResponse>, Status> {
        let station = gate::caller(&request)?.name;
        let confirmations = request.into_inner().confirmations;
        check_batch("confirmations", confirmations.len())?;
        let parsed = confirmations.iter().map(|one| confirmation(&one.issuance, &one.certificate_sha256)).collect();
        let answers = self.authority.confirm(&station, parsed).await.map_err(unavailable)?;
        let results = confirmations.into_iter().zip(answers).map(|(one, answer)| {
            let outcome = match answer {
                Ok(()) => confirm_result::Outcome::Confirmed(wire::Confirmed {}),
                Err(refusal) => {
                    warn!(station, issuance = ?one.issuance, reason = refusal.reason.as_str(), message = refusal.message, "a confirmation is refused");
                    confirm_result::Outcome::Refused(to_wire(refusal))
                }
            };
            wire::ConfirmResult { issuance: one.issuance, outcome: Some(outcome) }
        });
        Ok(Response::new(wire::ConfirmBatchResponse { results: results.collect() }))
    }

    async fn get_authority(&self, _: Request<wire::GetAuthorityRequest>) -> Result<Response<wire::Authority>, Status> {
        let profiles = self.authority.profile_issuers().into_iter();
        Ok(Response::new(wire::Authority {
            bundle: self.authority.bundle(),
            profiles: profiles
                .map(|issuer| wire::ProfileIssuer { profile: issuer.profile.into(), chain: issuer.chain })
                .collect(),
        }))
    }

    async fn cosign_checkpoint(
        &self,
        request: Request<wire::CosignCheckpointRequest>,
    ) -> Result<Response<wire::CosignCheckpointResponse>, Status> {
        let station = gate::caller(&request)?.name;
        let submitted = submitted(request.into_inner())?;
        let outcome = match self.authority.cosign(&station, submitted).await.map_err(unavailable)? {
            Ok((signature, key)) => cosign_checkpoint_response::Outcome::Cosigned(wire::Cosigned {
                signature: signature.to_string(),
                key: key.to_string(),
            }),
            Err(refusal) => refused(&station, refusal)?,
        };
        Ok(Response::new(wire::CosignCheckpointResponse { outcome: Some(outcome) }))
    }
}

fn submitted(request: wire::CosignCheckpointRequest) -> Result<Submitted, Status> {
    let wire::CosignCheckpointRequest { checkpoint, key, old_size, proof } = request;
    if checkpoint.len() > CHECKPOINT_MAX {
        let problem = format!("has {} bytes; a checkpoint has at most {CHECKPOINT_MAX}", checkpoint.len());
        return Err(status::invalid_argument("checkpoint", problem));
    }
    let hashes: Option<Vec<_>> = proof.iter().map(|hash| hash.as_slice().try_into().ok()).collect();
    let Some(proof) = hashes.filter(|hashes| hashes.len() <= PROOF_MAX) else {
        return Err(status::invalid_argument("proof", format!("send at most {PROOF_MAX} hashes of 32 octets")));
    };
    Ok(Submitted { note: checkpoint, key, old_size, proof })
}

/// What contradicts what was seen is an alarm: somebody changed a station's record, or put an old copy in its place.
fn refused(station: &str, refusal: WitnessRefusal) -> Result<cosign_checkpoint_response::Outcome, Status> {
    let message = refusal.to_string();
    let reason = match refusal {
        WitnessRefusal::FromElsewhere { seen } => return Ok(cosign_checkpoint_response::Outcome::ProofFrom(seen)),
        WitnessRefusal::Behind { .. } => "BEHIND",
        WitnessRefusal::Forked { .. } => "FORKED",
        WitnessRefusal::OtherKey { .. } => "OTHER_KEY",
        WitnessRefusal::Malformed(_) => return Err(status::invalid_argument("checkpoint", message)),
        WitnessRefusal::Keep(problem) => {
            let problem = service::in_full(&problem);
            warn!(station, problem, "a station's checkpoint could not be kept");
            return Err(status::retry_later("CANNOT_RECORD", message, RECORDING_BACK));
        }
    };
    error!(station, reason, message, "ALARM: a station's journal contradicts what was seen of it");
    Ok(cosign_checkpoint_response::Outcome::Contradicted(wire::Contradicted { reason: reason.to_owned(), message }))
}

/// A certification request as it came. Residency evidence of more bytes than a device has is none.
#[must_use]
pub fn submission(request: wire::CertificationRequest) -> Submission {
    let wire::CertificationRequest {
        issuance,
        device_serial,
        lot,
        profile,
        certification_request,
        supersedes,
        residency,
        request_id,
    } = request;
    Submission {
        issuance,
        device_serial,
        lot,
        profile,
        certification_request,
        supersedes,
        residency: residency.and_then(Shown::from_wire),
        request_id,
    }
}

/// The first so many characters.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

fn result(issuance: String, outcome: Outcome) -> wire::IssueResult {
    let outcome = match outcome {
        Outcome::Issued(issued) => {
            issue_result::Outcome::Issued(wire::Issued { certificate: issued.certificate, chain: issued.chain })
        }
        Outcome::Sealed(sealed) => issue_result::Outcome::Sealed(residency::sealed_to_wire(sealed)),
        Outcome::Refused(refusal) => issue_result::Outcome::Refused(to_wire(refusal)),
        Outcome::Deferred(Later { retry_after, message }) => issue_result::Outcome::Deferred(wire::Deferred {
            // Ours are minutes: they fit.
            retry_after: prost_types::Duration::try_from(retry_after).ok(),
            message,
        }),
    };
    wire::IssueResult { issuance, outcome: Some(outcome) }
}

fn to_wire(refusal: Refusal) -> wire::Refused {
    wire::Refused { reason: refusal.reason.as_str().to_owned(), message: refusal.message }
}

pub(crate) fn unavailable(error: Unavailable) -> Status {
    status::retry_later("CANNOT_RECORD", error.to_string(), RECORDING_BACK)
}
