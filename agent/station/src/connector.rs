//! How a CA is asked. The queue sees this trait; each kind of CA is one file beside it.

use std::{future::Future, pin::Pin, time::Duration};

use intermediate_ca::residency::Shown;
use issuance::{DeviceSerial, Input, IssuanceId, LotName, ProfileName, Timestamp, residency::SealedCertificate};
use service::traces::Cause;
use tokio_stream::Stream;
use tonic::Status;

use crate::ledger::SignedLot;

pub mod grpc;

/// A certification request on its way to the CA.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The CA's key for "the same request", together with the request's bytes.
    pub issuance: IssuanceId,
    /// The device.
    pub device_serial: DeviceSerial,
    /// The lot.
    pub lot: LotName,
    /// The profile.
    pub profile: ProfileName,
    /// PKCS#10, DER: what the device signed.
    pub certification_request: Vec<u8>,
    /// What the device showed of where the key lives.
    pub residency: Shown,
    /// The issuances that it stands in for, nearest first.
    pub supersedes: Vec<IssuanceId>,
    /// The id that the request came with, for the CA's record and log; empty for none.
    pub request_id: String,
    /// What it is sent for.
    pub cause: Cause,
    /// Since when it waits for an answer.
    pub since: Option<Timestamp>,
}

/// What the CA said to one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Issued, now or before.
    Issued {
        /// DER.
        certificate: Vec<u8>,
        /// DER, issuer first, no root.
        chain: Vec<Vec<u8>>,
    },
    /// Issued, now or before, for the device's TPM alone.
    Sealed(SealedCertificate),
    /// Never as it stands.
    Refused {
        /// Stable reason.
        reason: String,
        /// One sentence.
        message: String,
    },
    /// Not now.
    Deferred {
        /// Not before this long.
        after: Duration,
        /// One sentence.
        message: String,
    },
}

impl Answer {
    /// In a word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Issued { .. } => "issued",
            Self::Sealed(_) => "sealed",
            Self::Refused { .. } => "refused",
            Self::Deferred { .. } => "deferred",
        }
    }

    /// What it is to the issuance; `Err` when it is none yet: not before when to ask again, and why.
    pub fn into_input(self) -> Result<Input, (Duration, String)> {
        match self {
            Self::Issued { certificate, chain } => Ok(Input::Issued { certificate, chain }),
            Self::Sealed(sealed) => Ok(Input::Sealed(sealed)),
            Self::Refused { reason, message } => Ok(Input::Refused { reason, message }),
            Self::Deferred { after, message } => Err((after, message)),
        }
    }
}

/// A whole batch got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unanswered {
    /// One sentence.
    pub message: String,
    /// Not before this long, when the CA said so.
    pub retry_after: Option<Duration>,
    /// Whether the CA may have taken it all the same. `false` only where that is certain: nobody was reached, or the CA
    /// itself said that it did nothing.
    pub may_have_arrived: bool,
}

impl Unanswered {
    /// It certainly was not taken.
    pub fn not_taken(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, may_have_arrived: false }
    }

    /// Nobody knows whether it was taken.
    pub fn lost(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_after: None, may_have_arrived: true }
    }
}

/// A signed report, in parts as they come.
pub type Report = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// A CA that keeps what brand owners sign, and signs what became of it. Errors are what the caller is told.
#[tonic::async_trait]
pub trait LotAuthority: Send + Sync + 'static {
    /// Brings it what a brand owner signed, and says what it took.
    async fn authorise(&self, authorisation: String) -> Result<SignedLot, Status>;

    /// Has it sign the report of a lot.
    async fn report(&self, lot: LotName) -> Result<Report, Status>;

    /// Has a device's place given back and what it was issued there revoked; again is well. A device to which nothing was issued
    /// has nothing to give back. The error is what the caller is told.
    async fn scrap(&self, lot: &LotName, device: &DeviceSerial, reason: &str, badge: &str) -> Result<(), Status>;
}

/// A CA that takes batches.
pub trait Connector: Send + Sync + 'static {
    /// Whether the CA can be reached, without asking it for anything: asked before each send to a CA that makes a second
    /// certificate of the same request.
    fn reach(&self) -> impl Future<Output = Result<(), Unanswered>> + Send;

    /// How far this machine's clock is from the CA's, as a sentence, when that is far; asked at a start. Nobody is asked
    /// where the CA tells no time.
    fn clock_differs(&self) -> impl Future<Output = Result<Option<String>, Unanswered>> + Send {
        async { Ok(None) }
    }

    /// Submits a batch. Answers come for what was answered, each with its issuance; what becomes of the others hangs on
    /// what the CA promises ([`issuance::submission::Repeats`]).
    fn submit(
        &self,
        batch: &[Submission],
    ) -> impl Future<Output = Result<Vec<(IssuanceId, Answer)>, Unanswered>> + Send;
}
