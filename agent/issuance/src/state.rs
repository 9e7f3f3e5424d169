//! The states of an issuance, as a fold over its records.
//!
//! ```text
//! Requested → DeviceIdentified → KeyGenerationStarted → KeyGenerated → ResidencyProven → RequestSigned
//!     → Submitted → Issued → WriteStarted → Written → Verified → Completed
//! Submitted ⇄ InDoubt → Issued
//! Submitted, InDoubt → Sealed → Issued
//! Submitted, InDoubt → Quarantined(Refused)
//! any of them but Completed → Failed ⇄ (Resumed: back to where it stopped), → Quarantined → (Released) Failed
//! any of them but Completed → Cancelled
//! any of them → Cancelled, scrapped
//! ```

use crate::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, FixtureName, IssuanceId, KeyAlgorithm, KeyLocation,
    PublicKey, Record, ResidencyEvidence, Timestamp,
    record::{ReplacedKey, Requested, Stop, Verification},
    residency::{Activation, Known, SealedCertificate, Standing},
    submission::Submission,
};

/// The life of one certificate for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuance {
    /// Its id.
    pub id: IssuanceId,
    /// What was asked for.
    pub request: Requested,
    /// The fixture that last met the device.
    pub fixture: FixtureName,
    /// Who last scanned it.
    pub claimed_by: String,
    /// When it was accepted.
    pub created: Timestamp,
    /// When its newest record was made.
    pub updated: Timestamp,
    /// Where it stands.
    pub state: State,
    /// What is known of where its key lives, once that was verified.
    pub residency: Option<Known>,
    /// Certificates that a CA made for it besides the one that counts, DER: to be revoked, never written.
    pub surplus: Vec<Vec<u8>>,
    /// Whether a supervisor said that other hardware than the journal knows is this device from now on.
    pub new_hardware: bool,
    /// The issuance whose key made place for this one's, on hardware that was another device before.
    pub replaces: Option<IssuanceId>,
    /// Whether its device was scrapped.
    pub scrapped: bool,
}

/// Where an issuance stands, with what is known there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Accepted; no device touched.
    Requested,
    /// The device said who it is.
    DeviceIdentified(DeviceIdentity),
    /// A key is being generated.
    KeyGenerationStarted(KeyIntent),
    /// The device holds its key.
    KeyGenerated(DeviceKey),
    /// The key's residency is verified.
    ResidencyProven(ProvenKey),
    /// The device signed its request.
    RequestSigned(SignedRequest),
    /// The request is on its way.
    Submitted(Submission),
    /// A CA may have made a certificate that did not arrive; the request is in no queue.
    InDoubt(Submission, Stop),
    /// The CA refused the request for good. Only ever inside [`State::Quarantined`].
    Refused(SignedRequest),
    /// The certificate is here, encrypted: the device's TPM must release it.
    Sealed(SealedAnswer),
    /// The certificate is here.
    Issued(IssuedCertificate),
    /// It is being written.
    WriteStarted(PlacedCertificate),
    /// It is on the device.
    Written(PlacedCertificate),
    /// It is verified there.
    Verified(PlacedCertificate, Verification),
    /// Done.
    Completed(PlacedCertificate, Verification),
    /// Stopped; goes on from the inner state.
    Failed(Box<State>, Stop),
    /// Set aside in the inner state.
    Quarantined(Box<State>, Stop),
    /// Ended by a supervisor in the inner state, for this reason.
    Cancelled(Box<State>, String),
}

/// A key that is about to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIntent {
    /// Whose.
    pub identity: DeviceIdentity,
    /// Where.
    pub location: KeyLocation,
    /// Of which algorithm.
    pub algorithm: KeyAlgorithm,
    /// What is removed first.
    pub replaces: Option<ReplacedKey>,
}

/// A key in its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// Whose.
    pub identity: DeviceIdentity,
    /// Where.
    pub location: KeyLocation,
    /// Its public half.
    pub public_key: PublicKey,
}

/// A key whose residency was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    /// The key.
    pub key: DeviceKey,
    /// What its device showed.
    pub evidence: ResidencyEvidence,
}

/// A request that the device's key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The key.
    pub key: DeviceKey,
    /// What its device showed of where it lives.
    pub evidence: ResidencyEvidence,
    /// PKCS#10, DER.
    pub certification_request: Vec<u8>,
}

/// A certificate that the device's TPM must release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnswer {
    /// What it answers.
    pub request: SignedRequest,
    /// As it came from the CA.
    pub sealed: SealedCertificate,
}

/// A certificate as it came from the CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The key.
    pub key: DeviceKey,
    /// DER.
    pub certificate: Vec<u8>,
    /// DER, issuer first, no root.
    pub chain: Vec<Vec<u8>>,
}

/// A certificate with its place on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedCertificate {
    /// The certificate.
    pub issued: IssuedCertificate,
    /// Its place.
    pub location: CertificateLocation,
}

impl State {
    /// The state that counts: what it stopped in, or itself.
    #[must_use]
    pub fn underlying(&self) -> &State {
        match self {
            Self::Failed(inner, _) | Self::Quarantined(inner, _) | Self::Cancelled(inner, _) => inner.underlying(),
            other => other,
        }
    }

    /// Why it stopped, while it is stopped.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        match self {
            Self::Failed(_, stop) | Self::Quarantined(_, stop) | Self::InDoubt(_, stop) => Some(stop),
            _ => None,
        }
    }

    /// The device, once it is identified.
    #[must_use]
    pub fn identity(&self) -> Option<&DeviceIdentity> {
        match self.underlying() {
            Self::DeviceIdentified(identity) => Some(identity),
            Self::KeyGenerationStarted(intent) => Some(&intent.identity),
            state => state.key().map(|key| &key.identity),
        }
    }

    /// The key, once it is there.
    #[must_use]
    pub fn key(&self) -> Option<&DeviceKey> {
        match self.underlying() {
            Self::KeyGenerated(key) => Some(key),
            Self::ResidencyProven(proven) => Some(&proven.key),
            Self::RequestSigned(request) | Self::Refused(request) => Some(&request.key),
            Self::Submitted(submission) | Self::InDoubt(submission, _) => Some(&submission.request.key),
            Self::Sealed(answer) => Some(&answer.request.key),
            state => state.issued().map(|issued| &issued.key),
        }
    }

    /// The certificate, once the CA answered with one and it is open.
    #[must_use]
    pub fn issued(&self) -> Option<&IssuedCertificate> {
        match self.underlying() {
            Self::Issued(issued) => Some(issued),
            state => state.placed().map(|placed| &placed.issued),
        }
    }

    /// Whether the CA answered with a certificate, open or not.
    #[must_use]
    pub fn was_issued(&self) -> bool {
        matches!(self.underlying(), Self::Sealed(_)) || self.issued().is_some()
    }

    /// The certificate and its place, once it is being written.
    #[must_use]
    pub fn placed(&self) -> Option<&PlacedCertificate> {
        match self.underlying() {
            Self::WriteStarted(placed)
            | Self::Written(placed)
            | Self::Verified(placed, _)
            | Self::Completed(placed, _) => Some(placed),
            _ => None,
        }
    }

    /// Whether the submission waits for the CA's answer, also while the device is stopped or gone.
    #[must_use]
    pub fn awaits_answer(&self) -> Option<&SignedRequest> {
        match self.underlying() {
            Self::Submitted(submission) => Some(&submission.request),
            _ => None,
        }
    }

    /// The submission whose answer would move it: one that is awaited, or in doubt.
    #[must_use]
    pub fn submission(&self) -> Option<&Submission> {
        match self.underlying() {
            Self::Submitted(submission) | Self::InDoubt(submission, _) => Some(submission),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Requested => "Requested",
            Self::DeviceIdentified(_) => "DeviceIdentified",
            Self::KeyGenerationStarted(_) => "KeyGenerationStarted",
            Self::KeyGenerated(_) => "KeyGenerated",
            Self::ResidencyProven(_) => "ResidencyProven",
            Self::RequestSigned(_) => "RequestSigned",
            Self::Submitted(_) => "Submitted",
            Self::InDoubt(..) => "InDoubt",
            Self::Refused(_) => "Refused",
            Self::Sealed(_) => "Sealed",
            Self::Issued(_) => "Issued",
            Self::WriteStarted(_) => "WriteStarted",
            Self::Written(_) => "Written",
            Self::Verified(..) => "Verified",
            Self::Completed(..) => "Completed",
            Self::Failed(..) => "Failed",
            Self::Quarantined(..) => "Quarantined",
            Self::Cancelled(..) => "Cancelled",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Issuance {
    /// The first record's issuance.
    #[must_use]
    pub fn requested(id: IssuanceId, request: &Requested, at: Timestamp) -> Self {
        Self {
            id,
            fixture: request.fixture.clone(),
            claimed_by: request.claimed_by.clone(),
            request: request.clone(),
            created: at,
            updated: at,
            state: State::Requested,
            residency: None,
            surplus: Vec::new(),
            new_hardware: request.new_hardware,
            replaces: None,
            scrapped: false,
        }
    }

    /// The issuance after one more record. Total: a record that does not follow from the state leaves it as it is.
    #[must_use]
    pub fn apply(mut self, record: &Record, at: Timestamp) -> Self {
        self.updated = at;
        match record {
            Record::DeviceIdentified { fixture, .. } => self.fixture = fixture.clone(),
            Record::DeviceChecked(checked) => self.fixture = checked.fixture.clone(),
            Record::Resumed { fixture, claimed_by, .. } => {
                self.fixture = fixture.clone();
                self.claimed_by = claimed_by.clone();
            }
            Record::ResidencyProven { standing, .. } => {
                let activation = (*standing != Standing::Stated).then_some(Activation::Station);
                self.residency = Some(Known { standing: *standing, activation });
            }
            // It is open, so the TPM released it.
            Record::Issued { .. } if matches!(self.state, State::Sealed(_)) => {
                self.residency = self.residency.map(|known| Known { activation: Some(Activation::Ca), ..known });
            }
            Record::Surplus { certificate, .. } if !self.surplus.contains(certificate) => {
                self.surplus.push(certificate.clone());
            }
            Record::Released { new_hardware, .. } => self.new_hardware |= new_hardware,
            Record::KeyGenerationStarted { replaces: Some(replaced), .. } => self.replaces = Some(replaced.issuance),
            Record::Cancelled { scrapped, .. } => self.scrapped |= scrapped,
            _ => {}
        }
        self.state = step(self.state, record);
        self
    }
}

fn step(state: State, record: &Record) -> State {
    match (state, record) {
        (State::Failed(inner, _), Record::Resumed { .. }) => *inner,
        // What comes late is kept: an answer of the CA moves what the issuance stopped in.
        (State::Failed(inner, stop), Record::Issued { .. } | Record::Sealed(_)) => {
            State::Failed(Box::new(step(*inner, record)), stop)
        }
        (State::Quarantined(inner, stop), Record::Issued { .. } | Record::Sealed(_)) => {
            State::Quarantined(Box::new(step(*inner, record)), stop)
        }
        // What is sent does not hang on the device.
        (
            State::Failed(inner, stop),
            Record::SendStarted { .. } | Record::NotTaken { .. } | Record::InDoubt { .. } | Record::Resubmitted { .. },
        ) => State::Failed(Box::new(step(*inner, record)), stop),
        (
            State::Quarantined(inner, stop),
            Record::SendStarted { .. } | Record::NotTaken { .. } | Record::InDoubt { .. } | Record::Resubmitted { .. },
        ) => State::Quarantined(Box::new(step(*inner, record)), stop),
        // A refusal sets aside by itself: a crash may cut the record of the quarantine that follows it.
        (State::Failed(inner, stop), Record::Refused { .. }) => match step(*inner, record) {
            refused @ State::Quarantined(..) => refused,
            inner => State::Failed(Box::new(inner), stop),
        },
        (State::Quarantined(inner, stop), Record::Refused { .. }) => match step(*inner, record) {
            State::Quarantined(refused, _) => State::Quarantined(refused, stop),
            inner => State::Quarantined(Box::new(inner), stop),
        },
        (
            State::Cancelled(inner, reason),
            Record::Issued { .. } | Record::Sealed(_) | Record::NotTaken { .. } | Record::InDoubt { .. },
        ) => State::Cancelled(Box::new(step(*inner, record)), reason),
        (cancelled @ State::Cancelled(..), _) => cancelled,
        (done @ State::Completed(..), Record::Cancelled { reason, scrapped: true, .. }) => {
            State::Cancelled(Box::new(done), reason.clone())
        }
        (done @ State::Completed(..), _) => done,
        (State::Failed(inner, _) | State::Quarantined(inner, _), Record::Cancelled { reason, .. }) => {
            State::Cancelled(inner, reason.clone())
        }
        (
            state @ (State::Requested
            | State::DeviceIdentified(_)
            | State::KeyGenerationStarted(_)
            | State::KeyGenerated(_)
            | State::ResidencyProven(_)
            | State::RequestSigned(_)
            | State::Submitted(_)
            | State::InDoubt(..)
            | State::Refused(_)
            | State::Sealed(_)
            | State::Issued(_)
            | State::WriteStarted(_)
            | State::Written(_)
            | State::Verified(..)),
            Record::Cancelled { reason, .. },
        ) => State::Cancelled(Box::new(state), reason.clone()),
        (State::Quarantined(inner, stop), Record::Released { .. }) => {
            State::Failed(Box::new(released(*inner)), stop.released())
        }
        (State::Failed(inner, _), Record::Quarantined(stop)) => State::Quarantined(inner, stop.clone()),
        (stopped @ (State::Failed(..) | State::Quarantined(..)), _) => stopped,
        (state, Record::Failed(stop)) => State::Failed(Box::new(state), stop.clone()),
        (state, Record::Quarantined(stop)) => State::Quarantined(Box::new(state), stop.clone()),

        (State::Requested, Record::DeviceIdentified { identity, .. }) => State::DeviceIdentified(identity.clone()),
        (State::DeviceIdentified(identity), Record::KeyGenerationStarted { location, algorithm, replaces }) => {
            State::KeyGenerationStarted(KeyIntent {
                identity,
                location: location.clone(),
                algorithm: *algorithm,
                replaces: replaces.clone(),
            })
        }
        (
            State::DeviceIdentified(identity) | State::KeyGenerationStarted(KeyIntent { identity, .. }),
            Record::KeyGenerated { location, public_key, .. },
        ) => State::KeyGenerated(DeviceKey { identity, location: location.clone(), public_key: public_key.clone() }),
        (State::KeyGenerated(key), Record::ResidencyProven { evidence, .. }) => {
            State::ResidencyProven(ProvenKey { key, evidence: evidence.clone() })
        }
        (State::ResidencyProven(ProvenKey { key, evidence }), Record::RequestSigned { certification_request }) => {
            State::RequestSigned(SignedRequest { key, evidence, certification_request: certification_request.clone() })
        }
        (State::RequestSigned(request), Record::Submitted { authority, sends_recorded }) => {
            State::Submitted(Submission {
                request,
                authority: authority.clone(),
                sends_recorded: *sends_recorded,
                under_way: false,
                doubts: 0,
            })
        }
        (State::Submitted(before), Record::SendStarted { authority }) => {
            State::Submitted(Submission { authority: authority.clone(), under_way: true, ..before })
        }
        (State::Submitted(before), Record::NotTaken { .. }) => {
            State::Submitted(Submission { under_way: false, ..before })
        }
        (State::Submitted(before), Record::InDoubt { message }) => {
            let stop = before.stop(message);
            State::InDoubt(Submission { under_way: false, doubts: before.doubts.saturating_add(1), ..before }, stop)
        }
        (State::InDoubt(before, _), Record::Resubmitted { authority, sends_recorded, .. }) => {
            State::Submitted(Submission {
                authority: authority.clone(),
                sends_recorded: *sends_recorded,
                under_way: false,
                ..before
            })
        }
        (State::Submitted(answered) | State::InDoubt(answered, _), Record::Issued { certificate, chain }) => {
            State::Issued(IssuedCertificate {
                key: answered.request.key,
                certificate: certificate.clone(),
                chain: chain.clone(),
            })
        }
        (State::Submitted(answered) | State::InDoubt(answered, _), Record::Sealed(sealed)) => {
            State::Sealed(SealedAnswer { request: answered.request, sealed: sealed.clone() })
        }
        (State::Sealed(answer), Record::Issued { certificate, chain }) => State::Issued(IssuedCertificate {
            key: answer.request.key,
            certificate: certificate.clone(),
            chain: chain.clone(),
        }),
        (State::Submitted(answered) | State::InDoubt(answered, _), Record::Refused { reason, message }) => {
            let refused = Fault::new(FaultKind::RequestRefused, format!("the CA refused: {message} ({reason})"));
            State::Quarantined(Box::new(State::Refused(answered.request)), Stop::of(&refused))
        }
        (State::Issued(issued), Record::WriteStarted { location }) => {
            State::WriteStarted(PlacedCertificate { issued, location: location.clone() })
        }
        (State::WriteStarted(placed), Record::Written) => State::Written(placed),
        (State::Written(placed), Record::Verified(verification)) => State::Verified(placed, verification.clone()),
        (State::Verified(placed, verification), Record::Completed) => State::Completed(placed, verification),
        (state, _) => state,
    }
}

/// What was refused is asked again, with the same bytes; everything else goes on where it stands.
fn released(inner: State) -> State {
    match inner {
        State::Refused(request) => State::RequestSigned(request),
        other => other,
    }
}

#[cfg(test)]
mod tests;
