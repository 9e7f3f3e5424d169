//! Every rule of the flow: what is recorded and what is done next, for each thing that may happen in each state.
//!
//! Two questions, two functions. [`Issuance::next`] says what is to be done in a state: after a crash, a re-scan or a
//! step, the answer is the same, so it is idempotent. [`Issuance::decide`] says what an outcome means: which records it
//! makes. The driver appends those, syncs when the next act cannot be undone, and acts.

mod checks;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{
    CertificateExpectation, CertificateLocation, DeviceIdentity, DeviceSerial, Disposition, Fault, FaultKind, Issuance,
    KeyAlgorithm, KeyLocation, Profile, PublicKey, Purpose, Record, ResidencyEvidence, State, Timestamp,
    ValidatedCertificate,
    names::FixtureName,
    profile::KeystoreKind,
    record::{Stop, Verification},
    residency::{EndorsementPolicy, Standing},
    state::ProvenKey,
    submission::{Repeats, Terms},
};
use checks::{
    check_algorithm, check_answer, check_attested, check_evidence, check_identity, check_request, verify_on_device,
};

/// A CA's reason is a word and its message a sentence; a screenful is kept.
const REFUSAL_CHARACTERS_MOST: usize = 1000;

/// What the rules must know besides the state.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The issuance's profile.
    pub profile: &'a Profile,
    /// The CAs that may issue under it, DER.
    pub issuers: &'a [Vec<u8>],
    /// The roots to trust, DER.
    pub roots: &'a [Vec<u8>],
    /// Which TPMs are believed, where the profile wants its key's residency attested.
    pub endorsement: Option<&'a EndorsementPolicy>,
    /// The CA that gets the request.
    pub authority: &'a str,
    /// What that CA promises.
    pub terms: Terms,
    /// The fixture at work.
    pub fixture: &'a FixtureName,
    /// What is behind it.
    pub keystore: KeystoreKind,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The device said who it is.
    Identified {
        /// Who.
        identity: DeviceIdentity,
        /// The serial under which our journal knows this hardware, if it does.
        known_as: Option<DeviceSerial>,
        /// The hardware under which our journal knows this serial, if it does, by its fingerprint.
        known_fingerprint: Option<[u8; 32]>,
    },
    /// The place of the key was looked at.
    KeySought {
        /// What is there.
        found: Option<PublicKey>,
        /// Whether our journal says that this device's earlier issuance made it.
        ours: bool,
    },
    /// The key was generated.
    KeyGenerated(PublicKey),
    /// The device said where its key lives.
    EvidenceGiven(ResidencyEvidence),
    /// A TPM attested where its key lives, and released the credential that was made for it.
    Attested {
        /// What it showed.
        evidence: ResidencyEvidence,
        /// CertificationRequestInfo of the request that the key will sign, DER: what the evidence is bound to.
        request_info: Vec<u8>,
    },
    /// The key signed its request: PKCS#10, DER.
    RequestSigned(Vec<u8>),
    /// The request is about to be handed to the queue.
    Submitting,
    /// The request is about to be sent, for the first time or again.
    Sending,
    /// The send reached no CA, or one that said it did nothing.
    NotTaken {
        /// One sentence.
        message: String,
    },
    /// Nobody knows whether a CA has taken the request.
    AnswerLost {
        /// One sentence: how it was lost.
        message: String,
    },
    /// The CA sent a certificate.
    Issued {
        /// DER.
        certificate: Vec<u8>,
        /// DER, issuer first, no root.
        chain: Vec<Vec<u8>>,
    },
    /// The CA refused for good.
    Refused {
        /// Stable reason.
        reason: String,
        /// One sentence.
        message: String,
    },
    /// The certificate is about to be written.
    Writing,
    /// The device took the certificate and its files are written.
    Written,
    /// What stands on the device, and what its key signed.
    ReadBack {
        /// The bytes at the certificate's place.
        certificate: Option<Vec<u8>>,
        /// What was to be signed.
        nonce: Vec<u8>,
        /// The key's signature.
        signature: Vec<u8>,
    },
    /// An act failed, for the `attempt`th time (from 1).
    Failed {
        /// How.
        fault: Fault,
        /// How often.
        attempt: u32,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look whether the key is there.
    FindKey(KeyLocation),
    /// Generate it.
    GenerateKey(KeyLocation, KeyAlgorithm),
    /// Ask the device where its key lives.
    ProveResidency(KeyLocation),
    /// Have the TPM show that it is that TPM, and attest where its key lives.
    Attest {
        /// Where the key is.
        location: KeyLocation,
        /// Its public half.
        public_key: PublicKey,
        /// What the request will ask for.
        purpose: Purpose,
    },
    /// Have the key sign a certification request.
    SignRequest {
        /// Where the key is.
        location: KeyLocation,
        /// Its public half.
        public_key: PublicKey,
        /// What the request asks for.
        purpose: Purpose,
    },
    /// Hand the request to the queue.
    Submit,
    /// Wait for the CA. The device may leave.
    AwaitAnswer,
    /// Write the certificate and the device's files.
    Write(CertificateLocation),
    /// Read it back and have the key sign a nonce.
    Verify(CertificateLocation, KeyLocation),
    /// Try the same again.
    Retry {
        /// Not before this long.
        after: Duration,
    },
    /// Nothing: it is done, or waits for a person.
    Rest,
    /// Acknowledge nothing more; say why.
    Halt(String),
}

impl Action {
    /// Whether it cannot be undone, so that what was decided must be on the disk before it.
    #[must_use]
    pub fn is_irreversible(&self) -> bool {
        match self {
            // AwaitAnswer is the submission itself: the queue sends what is recorded as submitted.
            Self::GenerateKey(..) | Self::Write(_) | Self::Rest | Self::AwaitAnswer => true,
            Self::Submit
            | Self::FindKey(_)
            | Self::ProveResidency(_)
            | Self::Attest { .. }
            | Self::SignRequest { .. }
            | Self::Verify(..)
            | Self::Retry { .. }
            | Self::Halt(_) => false,
        }
    }
}

/// What an input means: records for the journal, then an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// In this order.
    pub records: Vec<Record>,
    /// Once they are applied.
    pub action: Action,
}

/// An input that this state does not await: a mistake in the caller, not in the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an issuance that stands in {state} does not await {input}")]
pub struct Unexpected {
    /// The state's name.
    pub state: String,
    /// The input's name.
    pub input: &'static str,
}

impl Issuance {
    /// What is to be done in this state, with an identified device in the fixture.
    #[must_use]
    pub fn next(&self, context: Context<'_>) -> Action {
        match &self.state {
            State::Requested | State::DeviceIdentified(_) => {
                match context.profile.places(context.keystore, self.request.lineage) {
                    Some((location, _)) => Action::FindKey(location),
                    // `decide` refused it before: a profile without a place gets no further than this.
                    None => Action::Rest,
                }
            }
            State::KeyGenerationStarted(intent) => Action::FindKey(intent.location.clone()),
            State::KeyGenerated(key) => match context.endorsement {
                None => Action::ProveResidency(key.location.clone()),
                Some(_) => Action::Attest {
                    location: key.location.clone(),
                    public_key: key.public_key.clone(),
                    purpose: context.profile.purpose,
                },
            },
            State::ResidencyProven(ProvenKey { key, .. }) => Action::SignRequest {
                location: key.location.clone(),
                public_key: key.public_key.clone(),
                purpose: context.profile.purpose,
            },
            State::RequestSigned(_) => Action::Submit,
            State::Submitted(_) => Action::AwaitAnswer,
            State::Issued(issued) => Action::Write(certificate_place(&issued.key.location, context.profile)),
            State::WriteStarted(placed) => Action::Write(placed.location.clone()),
            State::Written(placed) | State::Verified(placed, _) => {
                Action::Verify(placed.location.clone(), placed.issued.key.location.clone())
            }
            State::InDoubt(..)
            | State::Refused(_)
            | State::Completed(..)
            | State::Failed(..)
            | State::Quarantined(..)
            | State::Cancelled(..) => Action::Rest,
        }
    }

    /// What `input` means in this state.
    pub fn decide(&self, input: Input, context: Context<'_>, now: Timestamp) -> Result<Decision, Unexpected> {
        if let Input::Failed { fault, attempt } = input {
            return Ok(self.stopped(&fault, attempt));
        }
        let records = match (&self.state, input) {
            (_, input @ (Input::Sending | Input::NotTaken { .. } | Input::AnswerLost { .. })) => {
                self.send(&input, context.authority, context.terms)
            }
            (_, Input::Issued { certificate, chain }) if self.state.submission().is_some() => {
                return Ok(self.answered(certificate, chain, context, now));
            }
            (_, Input::Refused { reason, message }) if self.state.submission().is_some() => {
                return Ok(self.refused(reason, message, context, now));
            }
            (_, Input::Issued { certificate, chain }) => self.unawaited(certificate, chain),
            // A repeated answer is the one that is already here.
            (_, Input::Refused { .. }) => vec![],
            (State::Failed(..) | State::Quarantined(..) | State::Completed(..) | State::Cancelled(..), input) => {
                return Err(self.unexpected(&input));
            }
            (_, Input::Identified { identity, known_as, known_fingerprint }) => {
                match self.identified(identity, known_as, known_fingerprint, context) {
                    Ok(records) => records,
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (State::DeviceIdentified(_) | State::KeyGenerationStarted(_), Input::KeySought { found, ours }) => {
                return Ok(self.key_sought(found, ours, context, now));
            }
            (State::KeyGenerationStarted(intent), Input::KeyGenerated(public_key)) => {
                match check_algorithm(&public_key, context.profile.key_algorithm) {
                    Ok(()) => {
                        vec![Record::KeyGenerated { location: intent.location.clone(), public_key, reused: false }]
                    }
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (State::KeyGenerated(key), Input::EvidenceGiven(evidence)) if context.endorsement.is_none() => {
                match check_evidence(&evidence, key) {
                    Ok(()) => vec![Record::ResidencyProven { evidence, standing: Standing::Stated }],
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (State::KeyGenerated(key), Input::Attested { evidence, request_info }) => {
                match check_attested(&evidence, key, self.id, &request_info, context.endorsement, now) {
                    Ok(standing) => vec![Record::ResidencyProven { evidence, standing }],
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (State::ResidencyProven(proven), Input::RequestSigned(der)) => {
                match check_request(&der, proven, self.id, &self.request.common_name) {
                    Ok(()) => vec![Record::RequestSigned { certification_request: der }],
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (State::RequestSigned(_), Input::Submitting) => {
                let sends_recorded = context.terms.repeats == Repeats::New;
                vec![Record::Submitted { authority: context.authority.to_owned(), sends_recorded }]
            }
            (State::Issued(issued), Input::Writing) => {
                vec![Record::WriteStarted { location: certificate_place(&issued.key.location, context.profile) }]
            }
            // The intent is already there.
            (State::WriteStarted(_), Input::Writing) => vec![],
            (State::WriteStarted(_), Input::Written) => vec![Record::Written],
            (State::Written(placed), Input::ReadBack { certificate, nonce, signature }) => {
                match verify_on_device(&placed.issued, certificate, &nonce, &signature) {
                    Ok(certificate_sha256) => {
                        vec![Record::Verified(Verification { certificate_sha256, nonce, signature }), Record::Completed]
                    }
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            // Only Completed is missing: a crash came between the two records.
            (State::Verified(placed, _), Input::ReadBack { certificate, nonce, signature }) => {
                match verify_on_device(&placed.issued, certificate, &nonce, &signature) {
                    Ok(_) => vec![Record::Completed],
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            (_, input) => return Err(self.unexpected(&input)),
        };
        Ok(self.after(records, context, now))
    }

    /// The certificate that came back, validated anew against what was asked.
    pub fn validated_certificate(&self, context: Context<'_>, now: Timestamp) -> Result<ValidatedCertificate, Fault> {
        let Some(issued) = self.state.issued() else {
            return Err(Fault::new(FaultKind::Mismatch, "there is no certificate to validate"));
        };
        self.validate(&issued.certificate, &issued.chain, &issued.key.public_key, context, now)
    }

    fn validate(
        &self,
        certificate: &[u8],
        chain: &[Vec<u8>],
        public_key: &PublicKey,
        context: Context<'_>,
        now: Timestamp,
    ) -> Result<ValidatedCertificate, Fault> {
        let expectation = CertificateExpectation {
            public_key: public_key.clone(),
            common_name: self.request.common_name.clone(),
            purpose: context.profile.purpose,
            issuers: context.issuers.to_vec(),
            intermediates: chain.to_vec(),
            roots: context.roots.to_vec(),
            at: now,
        };
        ValidatedCertificate::validate(certificate, expectation).map_err(|problem| {
            Fault::caused(FaultKind::CertificateRejected, "the CA's certificate did not pass validation", problem)
        })
    }

    fn after(&self, records: Vec<Record>, context: Context<'_>, now: Timestamp) -> Decision {
        let after = records.iter().fold(self.clone(), |issuance, record| issuance.apply(record, now));
        Decision { action: after.next(context), records }
    }

    fn stopped(&self, fault: &Fault, attempt: u32) -> Decision {
        let rest = |records| Decision { records, action: Action::Rest };
        match (&self.state, fault.kind.disposition(attempt)) {
            (_, Disposition::HaltStation(words)) => {
                Decision { records: vec![], action: Action::Halt(format!("{fault}. {words}")) }
            }
            // What was stopped or done while the device was at work stays so: its first reason counts.
            (State::Completed(..) | State::Quarantined(..) | State::Cancelled(..), _)
            | (State::Failed(..), Disposition::AskOperator(_)) => rest(vec![]),
            (_, Disposition::Retry { after }) => Decision { records: vec![], action: Action::Retry { after } },
            (_, Disposition::AskOperator(_)) => rest(vec![Record::Failed(Stop::of(fault))]),
            (_, Disposition::Quarantine(_)) => rest(vec![Record::Quarantined(Stop::of(fault))]),
        }
    }

    fn identified(
        &self,
        identity: DeviceIdentity,
        known_as: Option<DeviceSerial>,
        known_fingerprint: Option<[u8; 32]>,
        context: Context<'_>,
    ) -> Result<Vec<Record>, Fault> {
        let serial = &self.request.device_serial;
        check_identity(&identity)?;
        if context.profile.places(context.keystore, self.request.lineage).is_none() {
            let act = format!(
                "the profile {} names no place in a {} device: add `{}` to it, or use another fixture",
                context.profile.name,
                context.keystore.as_str(),
                context.keystore.as_str()
            );
            return Err(Fault::new(FaultKind::Misconfigured, act));
        }
        if let Some(before) = self.state.identity() {
            if !before.is_same_device(&identity) {
                let act = format!("the device in {} is not the one that began as {serial}", context.fixture);
                return Err(Fault::new(FaultKind::NotSameDevice, act));
            }
            return Ok(vec![]);
        }
        if let Some(other) = known_as.filter(|other| other != serial) {
            let act = format!("the device in {} is known as {other}, and {serial} was scanned", context.fixture);
            return Err(Fault::new(FaultKind::NotSameDevice, act));
        }
        if known_fingerprint.is_some_and(|known| known != identity.fingerprint()) {
            let act = format!("{serial} is known with other hardware than the device in {}", context.fixture);
            return Err(Fault::new(FaultKind::NotSameDevice, act));
        }
        Ok(vec![Record::DeviceIdentified { fixture: context.fixture.clone(), identity }])
    }

    fn key_sought(&self, found: Option<PublicKey>, ours: bool, context: Context<'_>, now: Timestamp) -> Decision {
        let Some((location, algorithm)) = (match &self.state {
            State::KeyGenerationStarted(intent) => Some((intent.location.clone(), intent.algorithm)),
            _ => context
                .profile
                .places(context.keystore, self.request.lineage)
                .map(|(location, _)| (location, context.profile.key_algorithm)),
        }) else {
            return Decision { records: vec![], action: Action::Rest };
        };
        let started = matches!(self.state, State::KeyGenerationStarted(_));
        match found {
            None if started => Decision { records: vec![], action: Action::GenerateKey(location, algorithm) },
            None => Decision {
                records: vec![Record::KeyGenerationStarted { location: location.clone(), algorithm }],
                action: Action::GenerateKey(location, algorithm),
            },
            // The place was empty when the intent was recorded, and the device is the same: this key is ours.
            Some(public_key) if started || ours => match check_algorithm(&public_key, algorithm) {
                Ok(()) => {
                    return self.after(
                        vec![Record::KeyGenerated { location, public_key, reused: !started }],
                        context,
                        now,
                    );
                }
                Err(fault) => self.stopped(&fault, 1),
            },
            Some(_) => {
                let act = format!("{location} already holds a key that this station did not make");
                self.stopped(&Fault::new(FaultKind::LocationOccupied, act), 1)
            }
        }
    }

    /// Records the answer as it came, then says at once when it will not do: the device may be far away by now.
    fn answered(&self, certificate: Vec<u8>, chain: Vec<Vec<u8>>, context: Context<'_>, now: Timestamp) -> Decision {
        if let Err(message) = check_answer(&certificate, &chain) {
            return self.refused("ANSWER_TOO_LARGE".to_owned(), message, context, now);
        }
        let problem =
            self.state.key().and_then(|key| self.validate(&certificate, &chain, &key.public_key, context, now).err());
        let mut records = vec![Record::Issued { certificate, chain }];
        if let Some(fault) = problem {
            records.push(Record::Quarantined(Stop::of(&fault)));
        }
        self.after(records, context, now)
    }

    /// A certificate that nobody awaits. One that is known is the same answer repeated; any other was made besides it.
    pub fn unawaited(&self, certificate: Vec<u8>, chain: Vec<Vec<u8>>) -> Vec<Record> {
        let own = self.state.issued().is_some_and(|issued| issued.certificate == certificate);
        // What no record can hold is no certificate.
        if own || self.surplus.contains(&certificate) || check_answer(&certificate, &chain).is_err() {
            return vec![];
        }
        vec![Record::Surplus { certificate, chain }]
    }

    fn refused(&self, reason: String, message: String, context: Context<'_>, now: Timestamp) -> Decision {
        let stop = Stop::of(&Fault::new(FaultKind::RequestRefused, format!("the CA refused: {message} ({reason})")));
        // Another program's words: what is kept of them is bounded like a stop's.
        let message = message.chars().take(REFUSAL_CHARACTERS_MOST).collect();
        let reason = reason.chars().take(REFUSAL_CHARACTERS_MOST).collect();
        self.after(vec![Record::Refused { reason, message }, Record::Quarantined(stop)], context, now)
    }

    fn unexpected(&self, input: &Input) -> Unexpected {
        let input = match input {
            Input::Identified { .. } => "Identified",
            Input::KeySought { .. } => "KeySought",
            Input::KeyGenerated(_) => "KeyGenerated",
            Input::EvidenceGiven(_) => "EvidenceGiven",
            Input::Attested { .. } => "Attested",
            Input::RequestSigned(_) => "RequestSigned",
            Input::Submitting => "Submitting",
            Input::Sending => "Sending",
            Input::NotTaken { .. } => "NotTaken",
            Input::AnswerLost { .. } => "AnswerLost",
            Input::Issued { .. } => "Issued",
            Input::Refused { .. } => "Refused",
            Input::Writing => "Writing",
            Input::Written => "Written",
            Input::ReadBack { .. } => "ReadBack",
            Input::Failed { .. } => "Failed",
        };
        Unexpected { state: self.state.to_string(), input }
    }
}

/// The certificate stands beside its key; in a TPM, at the profile's NV index.
fn certificate_place(key: &KeyLocation, profile: &Profile) -> CertificateLocation {
    match key {
        KeyLocation::TpmHandle(_) => CertificateLocation::NvIndex(profile.tpm.map_or(0, |places| places.nv_index)),
        KeyLocation::Pkcs11 { cka_id, label } => {
            CertificateLocation::Pkcs11 { cka_id: cka_id.clone(), label: label.clone() }
        }
    }
}
