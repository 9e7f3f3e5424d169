//! The authority: one issuing CA with its register and its keys, to be served or embedded.
//!
//! A batch goes one way: door and plan (`plan.rs`), reserve and sync (`register.rs`), sign and verify (`hsm.rs`), record
//! and sync, answer. After a crash between the two syncs the same bytes are signed again.

mod callers;
mod crl;
mod issuing;
mod lots;
mod opening;
mod standing;

use std::sync::{Arc, Mutex};

use issuance::{ProfileName, PublicKey, residency::SealedCertificate};
use journal::{Hash, Journal, Refusal as WitnessRefusal, Signature, TransparencyLog, VerifyingKey, Witness};
use service::{clock::Clock, command::Client, traces::Span};
use tokio::sync::watch;
use tracing::{error, warn};

pub(crate) use lots::confirmation;
pub use lots::{Caller, ReportError};
pub use opening::OpenError;
pub use standing::Problem;

use crate::{
    callers::DisabledCallers,
    hsm::Hsm,
    metrics::Counts,
    pki::CaCertificate,
    plan::{Later, Rules, Submission},
    publication::Crls,
    refusal::Refusal,
    register::{Condition, RegisterHandle, Unavailable},
    revocation::{NotRevoked, Revocation, Revoked},
    turns::Turns,
    witnessed,
};

/// One batch is one signing visit and two syncs; 256 keeps it under 20 ms with a token that signs 20,000 times a second.
pub const BATCH_MAX: usize = 256;

/// An issuing CA. Clones share it.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Arc<Rules>,
    /// Who issues first.
    roots: Vec<CaCertificate>,
    register: RegisterHandle,
    turns: Turns,
    hsm: Hsm,
    clock: Clock,
    name: String,
    brand_owners: Vec<PublicKey>,
    crls: Option<Arc<Crls>>,
    disabled: DisabledCallers,
    /// What was wrong with the token at the last look, in words.
    token: Mutex<Option<String>>,
    journal: Journal,
    counts: Counts,
    log: TransparencyLog,
    /// This CA, of the stations' journals.
    witness: Arc<Witness>,
    /// Another CA, of this one's journal.
    witnessed_by: Option<Client>,
}

/// A station's checkpoint that is to be witnessed.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// The signed note.
    pub(crate) note: String,
    /// The key that signed it, as C2SP signed-note writes keys.
    pub(crate) key: String,
    /// How many entries the proof begins with.
    pub(crate) old_size: u64,
    /// That it goes on from there.
    pub(crate) proof: Vec<Hash>,
}

/// The answer to one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was issued, now or before.
    Issued(Issued),
    /// The same, for one TPM alone.
    Sealed(SealedCertificate),
    /// It will never be issued as it stands.
    Refused(Refusal),
    /// Not now: the same request may be sent again.
    Deferred(Later),
}

impl Outcome {
    /// In a word.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Issued(_) | Self::Sealed(_) => "issued",
            Self::Refused(_) => "refused",
            Self::Deferred(_) => "deferred",
        }
    }
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// DER, issuer first, no root.
    pub chain: Vec<Vec<u8>>,
}

/// Who issues under one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileIssuer {
    /// The profile.
    pub profile: ProfileName,
    /// DER, issuer first, no root.
    pub chain: Vec<Vec<u8>>,
}

impl Authority {
    /// Issues for each submission, in order. It runs to its end even when the caller goes away.
    pub async fn issue(
        &self,
        authenticated_by: &str,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let inner = self.inner.clone();
        let authenticated_by: Arc<str> = authenticated_by.into();
        let issued = Span::here().follow(async move { inner.issue(authenticated_by, submissions).await });
        tokio::spawn(issued).await.map_err(|_| Unavailable("the batch was broken off".into()))?
    }

    /// Revokes for good, and answers once it is recorded: each certificate of the target, also those that were revoked
    /// before, with the first revocation's time and reason. Asked again it changes nothing.
    pub async fn revoke(
        &self,
        authenticated_by: &str,
        revocation: Revocation,
    ) -> Result<Result<Vec<Revoked>, NotRevoked>, Unavailable> {
        let by = authenticated_by.to_owned();
        self.inner.register.act(move |register| register.revoke(&by, &revocation)).await
    }

    /// Its name, as its configuration has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The roots to trust, DER: both during a rollover, who issues first.
    #[must_use]
    pub fn bundle(&self) -> Vec<Vec<u8>> {
        self.inner.roots.iter().map(|root| root.der.clone()).collect()
    }

    /// Who issues under each profile.
    #[must_use]
    pub fn profile_issuers(&self) -> Vec<ProfileIssuer> {
        let issuers = self.inner.rules.profiles();
        issuers
            .map(|(profile, issuer)| ProfileIssuer { profile: profile.name.clone(), chain: vec![issuer.der.clone()] })
            .collect()
    }

    /// Whether the CA can record; changes once, when it no longer can.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.inner.register.condition()
    }

    /// Cosigns a station's checkpoint when it goes on from the last one that was seen of that station.
    pub(crate) async fn cosign(
        &self,
        station: &str,
        submitted: Submitted,
    ) -> Result<Result<(Signature, VerifyingKey), WitnessRefusal>, Unavailable> {
        if let Err(wrong) = self.inner.clock.now() {
            return Err(Unavailable(format!("{wrong}. {}", wrong.remedy()).into()));
        }
        let (witness, station) = (self.inner.witness.clone(), station.to_owned());
        // It waits for a sync.
        tokio::task::spawn_blocking(move || {
            let Submitted { note, key, old_size, proof } = submitted;
            let signature = witness.cosign(&station, &key, &note, old_size, &proof)?;
            Ok((signature, witness.key().clone()))
        })
        .await
        .map_err(|_| Unavailable("the witness was broken off".into()))
    }

    /// Sends each checkpoint of this CA's journal to its witness, where it has one, until `stop`; a witness that contradicts it
    /// halts the CA. Must be called within a tokio runtime.
    pub async fn keep_witnessed(&self, stop: impl Future<Output = ()>) {
        let Some(client) = &self.inner.witnessed_by else { return };
        let message = match witnessed::connect(&self.inner.log, client) {
            Ok(witness) => witness.follow(stop).await.map(|told| witnessed::contradicted(&client.endpoint, &told)),
            Err(wrong) => return error!(wrong, "the CA's journal is not witnessed"),
        };
        if let Some(message) = message {
            error!(message, "ALARM: the witness saw another history of this CA's journal");
            // The answer is that it is halted, which its condition says.
            let _ = self.inner.register.act(move |register| register.halt(message)).await;
        }
    }

    /// The clock that it records by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// What was accepted is finished, then the last checkpoint is signed and taken to the witness, where there is one, for a few
    /// seconds at most, and the journal is closed. Later calls are [`Unavailable`].
    pub async fn close(&self) -> Result<(), Unavailable> {
        let log = self.inner.log.clone();
        let settled = tokio::task::spawn_blocking(move || log.close()).await;
        if let Ok(Err(wrong)) = settled {
            warn!(wrong, "the last checkpoint of the CA's journal was not written; the next start makes it");
        }
        if *self.condition().borrow() == Condition::Serving
            && let Some(client) = &self.inner.witnessed_by
        {
            match witnessed::connect(&self.inner.log, client) {
                Ok(witness) => witness.farewell().await,
                Err(wrong) => warn!(wrong, "the last checkpoint of the CA's journal was not witnessed"),
            }
        }
        self.inner.register.close().await
    }
}
