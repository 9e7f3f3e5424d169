//! Our own `intermediate-ca`, over gRPC. It answers the same request with the same certificate, so a lost answer is
//! simply asked for again.

use std::time::Duration;

use issuance::IssuanceId;
use proto::ca::v1::{
    self as wire, certificate_authority_service_client::CertificateAuthorityServiceClient, issue_result::Outcome,
};
use service::{grpc::MESSAGE_BYTES_MAX, status, tls};
use tonic::{Request, transport::Channel};

use super::{Answer, Connector, Submission, Unanswered};
use crate::configuration::AuthoritySettings;

/// Until the TCP and TLS handshakes are done. On a factory's own network they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to an `intermediate-ca`.
#[derive(Debug, Clone)]
pub struct GrpcConnector {
    client: CertificateAuthorityServiceClient<Channel>,
    timeout: Duration,
}

impl GrpcConnector {
    /// A connector that connects when it is first asked. `timeout` bounds one batch.
    pub fn new(settings: &AuthoritySettings, timeout: Duration) -> Result<Self, tls::TlsError> {
        let channel = tls::channel(&settings.endpoint, &settings.tls, CONNECT_TIMEOUT)?;
        let client = CertificateAuthorityServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client, timeout })
    }
}

impl Connector for GrpcConnector {
    async fn submit(&self, batch: &[Submission]) -> Result<Vec<(IssuanceId, Answer)>, Unanswered> {
        let requests = batch
            .iter()
            .map(|submission| wire::CertificationRequest {
                issuance: submission.issuance.to_string(),
                device_serial: submission.device_serial.to_string(),
                lot: submission.lot.to_string(),
                profile: submission.profile.to_string(),
                certification_request: submission.certification_request.clone(),
                supersedes: Vec::new(),
            })
            .collect();
        let mut request = Request::new(wire::IssueBatchRequest { requests });
        request.set_timeout(self.timeout);
        let mut client = self.client.clone();
        // The deadline in the request asks the server; this one holds when nobody answers at all.
        let answered = tokio::time::timeout(self.timeout, client.issue_batch(request)).await;
        let response = match answered {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                return Err(Unanswered {
                    retry_after: status::retry_after(&status),
                    message: status::in_full(&status),
                });
            }
            Err(_) => {
                return Err(Unanswered {
                    message: format!("no answer within {} s", self.timeout.as_secs()),
                    retry_after: None,
                });
            }
        };
        Ok(response.results.into_iter().filter_map(answer).collect())
    }
}

/// An answer that says nothing, or names nobody, is no answer: its submission is asked again.
fn answer(result: wire::IssueResult) -> Option<(IssuanceId, Answer)> {
    let issuance = IssuanceId::parse(&result.issuance)?;
    let answer = match result.outcome? {
        Outcome::Issued(wire::Issued { certificate, chain }) => Answer::Issued { certificate, chain },
        Outcome::Refused(wire::Refused { reason, message }) => Answer::Refused { reason, message },
        Outcome::Deferred(wire::Deferred { retry_after, message }) => Answer::Deferred {
            after: retry_after.and_then(|after| Duration::try_from(after).ok()).unwrap_or_default(),
            message,
        },
    };
    Some((issuance, answer))
}
