//! A CA over gRPC, `ca.v1`. Our own `intermediate-ca` answers the same request with the same certificate, so a lost answer
//! is simply asked for again; of another the configuration says whether it does.

use std::{
    error::Error as _,
    time::{Duration, UNIX_EPOCH},
};

use intermediate_ca::{Witnessing, residency};
use issuance::IssuanceId;
use journal::TransparencyLog;
use proto::ca::v1::{
    self as wire, certificate_authority_service_client::CertificateAuthorityServiceClient, confirm_result,
    issue_result::Outcome, lot_service_client::LotServiceClient,
};
use service::{
    clock::{Moment, differs},
    grpc::MESSAGE_BYTES_MAX,
    status, tls,
    traces::{self, ISSUANCE, OUTCOME, REQUEST_ID, SUBMISSIONS, Span},
};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

mod lots;

use super::{Answer, Connector, Submission, Unanswered};
use crate::{
    configuration::AuthoritySettings,
    confirmation::{self, Confirmer},
    ledger::Unconfirmed,
};

/// Until the TCP and TLS handshakes are done. On a factory's own network they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Until a CA said whether it serves: a connection and one small answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to an `intermediate-ca`.
#[derive(Debug, Clone)]
pub struct GrpcConnector {
    channel: Channel,
    client: CertificateAuthorityServiceClient<traces::Channel>,
    health: HealthClient<Channel>,
    lots: LotServiceClient<traces::Channel>,
    timeout: Duration,
}

impl GrpcConnector {
    /// A connector that connects when it is first asked. `timeout` bounds one batch.
    pub fn new(settings: &AuthoritySettings, timeout: Duration) -> Result<Self, tls::TlsError> {
        let channel = tls::channel(&settings.endpoint, &settings.tls, CONNECT_TIMEOUT)?;
        let traced = traces::Channel::from(channel.clone());
        let client = CertificateAuthorityServiceClient::new(traced.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (lots, health) = (LotServiceClient::new(traced), HealthClient::new(channel.clone()));
        Ok(Self { channel, client, health, lots, timeout })
    }

    /// The CA as the witness of this journal.
    #[must_use]
    pub fn witness(&self, log: TransparencyLog) -> Witnessing {
        Witnessing::new(log, self.channel.clone(), self.timeout)
    }
}

impl Connector for GrpcConnector {
    async fn reach(&self) -> Result<(), Unanswered> {
        let mut health = self.health.clone();
        let checked = tokio::time::timeout(REACH_TIMEOUT, health.check(HealthCheckRequest::default())).await;
        match checked.map(|answered| answered.map(|answer| answer.into_inner().status())) {
            Ok(Ok(ServingStatus::NotServing)) => Err(Unanswered::not_taken("the CA says that it does not serve")),
            Ok(Ok(_)) => Ok(()),
            // It is there, whether or not it speaks of its health.
            Ok(Err(status))
                if status.source().is_none()
                    && matches!(status.code(), Code::Unimplemented | Code::NotFound | Code::PermissionDenied) =>
            {
                Ok(())
            }
            Ok(Err(status)) => Err(Unanswered { may_have_arrived: false, ..unanswered(&status) }),
            Err(_) => {
                Err(Unanswered::not_taken(format!("the CA does not answer within {} s", REACH_TIMEOUT.as_secs())))
            }
        }
    }

    async fn clock_differs(&self) -> Result<Option<String>, Unanswered> {
        let mut health = self.health.clone();
        let asked = tokio::time::timeout(REACH_TIMEOUT, health.check(HealthCheckRequest::default())).await;
        let answered = asked.map_err(|_| Unanswered::not_taken("the CA does not answer"))?;
        // The time is told whatever the answer is.
        let metadata = match answered {
            Ok(answer) => answer.metadata().clone(),
            Err(status) if status.source().is_none() => status.metadata().clone(),
            Err(status) => return Err(unanswered(&status)),
        };
        let told = metadata.get("date").and_then(|date| date.to_str().ok());
        let told = told.and_then(|date| httpdate::parse_http_date(date).ok());
        let told = told.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
        let told = told.and_then(|since| i64::try_from(since.as_millis()).ok());
        Ok(told.and_then(|told| differs(Moment::read().day, told, "the CA's")))
    }

    async fn submit(&self, batch: &[Submission]) -> Result<Vec<(IssuanceId, Answer)>, Unanswered> {
        let requests = batch
            .iter()
            .map(|submission| wire::CertificationRequest {
                issuance: submission.issuance.to_string(),
                device_serial: submission.device_serial.to_string(),
                lot: submission.lot.to_string(),
                profile: submission.profile.to_string(),
                certification_request: submission.certification_request.clone(),
                supersedes: submission.supersedes.iter().map(ToString::to_string).collect(),
                residency: submission.residency.to_wire(),
                request_id: submission.request_id.clone(),
            })
            .collect();
        let mut request = Request::new(wire::IssueBatchRequest { requests });
        request.set_timeout(self.timeout);
        let mut client = self.client.clone();
        let span = Span::for_all("submission", batch.iter().map(|submission| &submission.cause));
        span.note(|| [(SUBMISSIONS, i64::try_from(batch.len()).unwrap_or(i64::MAX))]);
        // The deadline in the request asks the server; this one holds when nobody answers at all.
        let called = span.clone().follow(tokio::time::timeout(self.timeout, client.issue_batch(request))).await;
        let answers = match called {
            Ok(Ok(response)) => Ok(response.into_inner().results.into_iter().filter_map(answer).collect::<Vec<_>>()),
            Ok(Err(status)) => Err(unanswered(&status)),
            Err(_) => Err(Unanswered::lost(format!("no answer within {} s", self.timeout.as_secs()))),
        };
        match &answers {
            Ok(answers) if !span.cause().is_unknown() => tell_waits(batch, answers, &span),
            Ok(_) => {}
            Err(_) => span.fail("unanswered"),
        }
        answers
    }
}

/// How long each waited for its answer, in its own trace.
fn tell_waits(batch: &[Submission], answers: &[(IssuanceId, Answer)], answered_by: &Span) {
    for submission in batch {
        let Some((id, answer)) = answers.iter().find(|(id, _)| *id == submission.issuance) else { continue };
        let Some(since) = submission.since else { continue };
        let since = UNIX_EPOCH + Duration::from_millis(u64::try_from(since.0).unwrap_or_default());
        let span = Span::past("queue", &submission.cause, since, answered_by);
        span.note(|| {
            let request_id = submission.request_id.clone();
            [(ISSUANCE, id.to_string()), (REQUEST_ID, request_id), (OUTCOME, answer.as_str().to_owned())]
        });
    }
}

fn unanswered(status: &Status) -> Unanswered {
    Unanswered {
        retry_after: status::retry_after(status),
        message: status::in_full(status),
        may_have_arrived: status::may_have_been_done(status),
    }
}

impl Confirmer for GrpcConnector {
    async fn confirm(&self, batch: &[Unconfirmed]) -> Result<Vec<confirmation::Answer>, Unanswered> {
        let confirmations = batch
            .iter()
            .map(|unconfirmed| wire::Confirmation {
                issuance: unconfirmed.issuance.to_string(),
                certificate_sha256: unconfirmed.certificate_sha256.to_vec(),
            })
            .collect();
        let mut request = Request::new(wire::ConfirmBatchRequest { confirmations });
        request.set_timeout(self.timeout);
        let mut client = self.client.clone();
        let silent = || Unanswered {
            message: format!("no answer within {} s", self.timeout.as_secs()),
            retry_after: None,
            // Told twice is told once.
            may_have_arrived: true,
        };
        let answered = tokio::time::timeout(self.timeout, client.confirm_batch(request)).await.map_err(|_| silent())?;
        let response = answered.map_err(|status| Unanswered {
            retry_after: status::retry_after(&status),
            message: status::in_full(&status),
            may_have_arrived: true,
        })?;
        let answer = |result: wire::ConfirmResult| {
            let refusal = match result.outcome? {
                confirm_result::Outcome::Confirmed(_) => String::new(),
                // A record is read by people: a screenful is kept.
                confirm_result::Outcome::Refused(wire::Refused { reason, message }) => {
                    format!("{reason}: {message}").chars().take(1_000).collect()
                }
            };
            Some((IssuanceId::parse(&result.issuance)?, refusal))
        };
        Ok(response.into_inner().results.into_iter().filter_map(answer).collect())
    }
}

/// What a CA said of one submission. An answer that says nothing, or names nobody, is no answer: its submission is asked again.
#[must_use]
pub fn answer(result: wire::IssueResult) -> Option<(IssuanceId, Answer)> {
    let issuance = IssuanceId::parse(&result.issuance)?;
    let answer = match result.outcome? {
        Outcome::Issued(wire::Issued { certificate, chain }) => Answer::Issued { certificate, chain },
        Outcome::Sealed(sealed) => Answer::Sealed(residency::sealed_from_wire(sealed)),
        Outcome::Refused(wire::Refused { reason, message }) => Answer::Refused { reason, message },
        Outcome::Deferred(wire::Deferred { retry_after, message }) => Answer::Deferred {
            after: retry_after.and_then(|after| Duration::try_from(after).ok()).unwrap_or_default(),
            message,
        },
    };
    Some((issuance, answer))
}
