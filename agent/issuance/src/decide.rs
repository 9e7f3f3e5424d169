//! Every rule of the flow: what is recorded and what is done next, for each thing that may happen in each state.
//!
//! Two questions, two functions. [`Issuance::next`] says what is to be done in a state: after a crash, a re-scan or a
//! step, the answer is the same, so it is idempotent. [`Issuance::decide`] says what an outcome means: which records it
//! makes. The driver appends those, syncs when the next act cannot be undone, and acts.

mod checks;
mod terms;
#[cfg(test)]
mod tests;

use crate::{
    CertificateExpectation, CertificateLocation, DeviceIdentity, DeviceSerial, Disposition, Fault, FaultKind, Issuance,
    KeyLocation, Profile, PublicKey, Record, State, Timestamp, ValidatedCertificate,
    public_key::sha256,
    record::{ReplacedKey, Stop, Verification},
    residency::{Activation, SealedCertificate, Standing, credential::Credential},
    state::{IssuedCertificate, ProvenKey},
    submission::Repeats,
};
pub use terms::{Action, Context, Decision, Input, Made, Unexpected};

use checks::{
    check_algorithm, check_answer, check_attested, check_evidence, check_identity, check_request, verify_on_device,
};

/// A CA's reason is a word and its message a sentence; a screenful is kept.
const REFUSAL_CHARACTERS_MOST: usize = 1000;

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
            State::Sealed(answer) => Action::Activate(answer.sealed.credential.clone()),
            State::Issued(issued) => write(certificate_place(&issued.key.location, context.profile), context.profile),
            State::WriteStarted(placed) => write(placed.location.clone(), context.profile),
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
            (_, Input::Sealed(sealed)) if self.state.submission().is_some() => {
                return Ok(self.sealed(sealed, context, now));
            }
            // The same certificate, encrypted anew; what is here opens as well.
            (_, Input::Sealed(_)) => vec![],
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
            (State::DeviceIdentified(_) | State::KeyGenerationStarted(_), Input::KeySought { found, made }) => {
                return Ok(self.key_sought(found, made, context, now));
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
            (State::Sealed(answer), Input::Opened { certificate }) => {
                let chain = answer.sealed.chain.clone();
                return Ok(self.issued(certificate, chain, context, now));
            }
            (State::Issued(issued), Input::Writing) => {
                vec![Record::WriteStarted { location: certificate_place(&issued.key.location, context.profile) }]
            }
            // The intent is already there.
            (State::WriteStarted(_), Input::Writing) => vec![],
            (State::WriteStarted(_), Input::Written) => vec![Record::Written],
            (State::Written(placed), Input::ReadBack { certificate, nonce, signature }) => {
                match self.verified(&placed.issued, certificate, (&nonce, &signature), context, now) {
                    Ok(certificate_sha256) => {
                        vec![Record::Verified(Verification { certificate_sha256, nonce, signature }), Record::Completed]
                    }
                    Err(fault) => return Ok(self.stopped(&fault, 1)),
                }
            }
            // Only Completed is missing: a crash came between the two records.
            (State::Verified(placed, _), Input::ReadBack { certificate, nonce, signature }) => {
                match self.verified(&placed.issued, certificate, (&nonce, &signature), context, now) {
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

    /// What was read from the device is what was issued, passes validation as it stands there, and is of the key that
    /// signed the nonce. Returns SHA-256 of the bytes.
    fn verified(
        &self,
        issued: &IssuedCertificate,
        read: Option<Vec<u8>>,
        (nonce, signature): (&[u8], &[u8]),
        context: Context<'_>,
        now: Timestamp,
    ) -> Result<[u8; 32], Fault> {
        let read = verify_on_device(issued, read, nonce, signature)?;
        self.validate(&read, &issued.chain, &issued.key.public_key, context, now)?;
        Ok(sha256(&read))
    }

    pub(crate) fn validate(
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
        // A supervisor's word stands above what the journal knew.
        if self.new_hardware {
            return Ok(vec![Record::DeviceIdentified { fixture: context.fixture.clone(), identity }]);
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

    fn key_sought(&self, found: Option<PublicKey>, made: Made, context: Context<'_>, now: Timestamp) -> Decision {
        let Some((location, algorithm)) = (match &self.state {
            State::KeyGenerationStarted(intent) => Some((intent.location.clone(), intent.algorithm)),
            _ => context
                .profile
                .places(context.keystore, self.request.lineage)
                .map(|(location, _)| (location, context.profile.key_algorithm)),
        }) else {
            return Decision { records: vec![], action: Action::Rest };
        };
        let intent = match &self.state {
            State::KeyGenerationStarted(intent) => Some(intent),
            _ => None,
        };
        let started = intent.is_some();
        let replaced = intent.and_then(|intent| intent.replaces.as_ref()).map(|replaced| &replaced.public_key);
        match (found, made) {
            (None, _) if started => {
                Decision { records: vec![], action: Action::GenerateKey(location, algorithm, None) }
            }
            (None, _) => Decision {
                records: vec![Record::KeyGenerationStarted { location: location.clone(), algorithm, replaces: None }],
                action: Action::GenerateKey(location, algorithm, None),
            },
            // Not removed yet.
            (Some(public_key), _) if replaced == Some(&public_key) => {
                Decision { records: vec![], action: Action::GenerateKey(location, algorithm, Some(public_key)) }
            }
            // The place was empty when the intent was recorded, or made so, and the device is the same: this key is ours.
            (Some(public_key), made) if started || made == Made::Here => {
                match check_algorithm(&public_key, algorithm) {
                    Ok(()) => {
                        self.after(vec![Record::KeyGenerated { location, public_key, reused: !started }], context, now)
                    }
                    Err(fault) => self.stopped(&fault, 1),
                }
            }
            // One public key belongs to one device: a key of the device that this hardware was before serves no longer.
            (Some(public_key), Made::For(issuance)) if self.new_hardware => Decision {
                records: vec![Record::KeyGenerationStarted {
                    location: location.clone(),
                    algorithm,
                    replaces: Some(ReplacedKey { public_key: public_key.clone(), issuance }),
                }],
                action: Action::GenerateKey(location, algorithm, Some(public_key)),
            },
            (Some(_), Made::For(other)) => {
                let act = format!("{location} already holds a key that this station made for the issuance {other}");
                self.stopped(&Fault::new(FaultKind::LocationOccupied, act), 1)
            }
            (Some(_), _) => {
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
        if context.endorsement.is_some_and(|policy| policy.activation == Activation::Ca) {
            let act = "the CA sent the certificate in the open, and the profile says activation = \"ca\": set the same at \
                       the CA, or have a supervisor release it";
            let records = vec![
                Record::Issued { certificate, chain },
                Record::Quarantined(Stop::of(&Fault::new(FaultKind::CertificateRejected, act))),
            ];
            return self.after(records, context, now);
        }
        self.issued(certificate, chain, context, now)
    }

    /// Keeps what only the TPM can release, however long the device is away.
    fn sealed(&self, sealed: SealedCertificate, context: Context<'_>, now: Timestamp) -> Decision {
        let Credential { blob, encrypted_secret } = &sealed.credential;
        let opener = [blob.as_slice(), encrypted_secret, &sealed.certificate].concat();
        match check_answer(&opener, &sealed.chain) {
            Ok(()) => self.after(vec![Record::Sealed(sealed)], context, now),
            Err(message) => self.refused("ANSWER_TOO_LARGE".to_owned(), message, context, now),
        }
    }

    /// The certificate is here and open: the same words for one that came so and for one that the TPM released.
    fn issued(&self, certificate: Vec<u8>, chain: Vec<Vec<u8>>, context: Context<'_>, now: Timestamp) -> Decision {
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
            Input::Sealed(_) => "Sealed",
            Input::Opened { .. } => "Opened",
            Input::Refused { .. } => "Refused",
            Input::Writing => "Writing",
            Input::Written => "Written",
            Input::ReadBack { .. } => "ReadBack",
            Input::Failed { .. } => "Failed",
        };
        Unexpected { state: self.state.to_string(), input }
    }
}

/// The certificate goes there, and its place is closed as the profile says.
fn write(location: CertificateLocation, profile: &Profile) -> Action {
    let is_nv = matches!(location, CertificateLocation::NvIndex(_));
    let locks = is_nv && profile.tpm.is_some_and(|places| places.write_lock);
    Action::Write { location, locks }
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
