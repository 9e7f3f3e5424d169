//! One fixture's work: meets the device, then does what the issuance's state asks for, step by step.
//!
//! Every step is the same four lines: the intent is appended, synced when the act cannot be undone, the act is done, its
//! outcome is appended. What the lines mean is decided in `issuance`; what they touch is behind two traits.

use std::{path::Path, thread, time::Duration};

use issuance::{
    Action, CertificateLocation, DeviceIdentity, DeviceSerial, Fault, FaultKind, Input, Issuance, IssuanceId,
    KeyLocation, Keystore, Made, PublicKey, State, ValidatedCertificate,
};
use service::{crash, traces::Span};
use tracing::{info, warn};

use crate::{attest, csr, files, words};

/// The records of issuances, as a fixture needs them. Each call returns when what it says may be acted upon.
pub trait Records: Send + 'static {
    /// The issuance as it stands.
    fn issuance(&self, id: IssuanceId) -> Result<Issuance, Halted>;
    /// Makes records of an input, and says what to do next: synced before an act that cannot be undone.
    fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, Halted>;
    /// The serial under which the journal knows this hardware, and the hardware under which it knows this serial.
    fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), Halted>;
    /// For whom the journal says that this key, found there, was made.
    fn made_key(&self, issuance: &Issuance, location: &KeyLocation, public_key: &PublicKey) -> Result<Made, Halted>;
    /// The issuance's certificate, validated at this moment.
    fn validated_certificate(&self, id: IssuanceId) -> Result<Result<ValidatedCertificate, Fault>, Halted>;
    /// What the certificates were that this issuance supersedes, DER: on the device they make place for the new one.
    fn superseded_certificates(&self, issuance: &Issuance) -> Result<Vec<Vec<u8>>, Halted>;
    /// Whether the process is to end: the current act is finished, no other is begun.
    fn is_stopping(&self) -> bool;
}

/// The station takes no more records; what it was doing waits in the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Halted(pub String);

/// Who asked for work at a fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody scanned the device: it must be the one.
    Scanned,
    /// The CA answered, or the station restarted: another device in the fixture only means that this one has left.
    Unattended,
}

/// A fixture at work.
pub struct Driver<'a, K, R> {
    /// The device's keystore.
    pub keystore: &'a mut K,
    /// The records.
    pub records: &'a R,
    /// Where the devices' files go.
    pub devices: &'a Path,
}

impl<K: Keystore, R: Records> Driver<'_, K, R> {
    /// Works on an issuance until it is done, waits for the CA, or has stopped.
    pub fn work(&mut self, id: IssuanceId, asked: Asked) -> Result<(), Halted> {
        let mut attempt = 0;
        while !self.records.is_stopping() {
            attempt += 1;
            match self.visit(id, asked, attempt)? {
                Some(after) => thread::sleep(after),
                None => break,
            }
        }
        Ok(())
    }

    /// One visit to the device, from meeting it on. Returns after how long to visit it again, if at all.
    fn visit(&mut self, id: IssuanceId, asked: Asked, attempt: u32) -> Result<Option<Duration>, Halted> {
        let issuance = self.records.issuance(id)?;
        if is_settled(&issuance.state) {
            return Ok(None);
        }
        let mut action = match self.meet(&issuance, asked) {
            Ok(Ok(input)) => self.records.decide(id, input)?,
            Ok(Err(fault)) => self.fail(id, fault, attempt)?,
            Err(halted) => return Err(halted),
        };
        loop {
            match action {
                Action::Rest | Action::AwaitAnswer => return Ok(None),
                Action::Retry { after } => return Ok(Some(after)),
                Action::Halt(words) => return Err(Halted(words)),
                _ if self.records.is_stopping() => return Ok(None),
                Action::Submit => action = self.records.decide(id, Input::Submitting)?,
                // The intent first; on a second try it is already there.
                Action::Write { .. } => match self.records.decide(id, Input::Writing)? {
                    write @ Action::Write { .. } => {
                        let outcome = self.act(id, &write)?;
                        action = self.take(id, outcome, attempt)?;
                    }
                    other => action = other,
                },
                _ => {
                    let outcome = self.act(id, &action)?;
                    action = self.take(id, outcome, attempt)?;
                }
            }
        }
    }

    fn take(&self, id: IssuanceId, outcome: Result<Input, Fault>, attempt: u32) -> Result<Action, Halted> {
        match outcome {
            Ok(input) => self.records.decide(id, input),
            Err(fault) => self.fail(id, fault, attempt),
        }
    }

    fn fail(&self, id: IssuanceId, fault: Fault, attempt: u32) -> Result<Action, Halted> {
        warn!(issuance = %id, reason = fault.kind.reason(), %fault, attempt, "a step failed");
        self.records.decide(id, Input::Failed { fault, attempt })
    }

    fn meet(&mut self, issuance: &Issuance, asked: Asked) -> Result<Result<Input, Fault>, Halted> {
        crash::point("station.identify.intended");
        let span = Span::begin("identify");
        let identity = match span.within(|| self.keystore.identify()) {
            Ok(identity) => identity,
            Err(fault) => {
                span.fail(fault.kind.reason());
                return Ok(Err(fault));
            }
        };
        drop(span);
        crash::point("station.identify.done");
        let another = issuance.state.identity().is_some_and(|before| !before.is_same_device(&identity));
        if another && asked == Asked::Unattended {
            let serial = &issuance.request.device_serial;
            let act = format!("{serial} has left the fixture: another device is there");
            return Ok(Err(Fault::new(FaultKind::DeviceAbsent, act)));
        }
        let (known_as, known_fingerprint) = self.records.known_device(&issuance.request.device_serial, &identity)?;
        Ok(Ok(Input::Identified { identity, known_as, known_fingerprint }))
    }

    /// Does what the action says to the device; its outcome is for the journal.
    fn act(&mut self, id: IssuanceId, action: &Action) -> Result<Result<Input, Fault>, Halted> {
        let act = words::of_act(action);
        crash::point(format_args!("station.{act}.intended"));
        let span = Span::begin(act);
        let outcome = span.within(|| self.touch(id, action));
        if let Ok(Err(fault)) = &outcome {
            span.fail(fault.kind.reason());
        }
        drop(span);
        crash::point(format_args!("station.{act}.done"));
        outcome
    }

    /// Takes off the device what the certificate that is about to be written supersedes, and nothing else.
    fn make_place(&mut self, issuance: &Issuance, location: &CertificateLocation) -> Result<Result<(), Fault>, Halted> {
        for superseded in self.records.superseded_certificates(issuance)? {
            if let Err(fault) = self.keystore.remove_certificate(location, &superseded) {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    fn touch(&mut self, id: IssuanceId, action: &Action) -> Result<Result<Input, Fault>, Halted> {
        let issuance = self.records.issuance(id)?;
        info!(issuance = %id, device = %issuance.request.device_serial, state = %issuance.state, "next step");
        Ok(match action {
            Action::FindKey(location) => match self.keystore.find_key(location) {
                Ok(Some(found)) => {
                    let made = self.records.made_key(&issuance, location, &found)?;
                    Ok(Input::KeySought { found: Some(found), made })
                }
                Ok(None) => Ok(Input::KeySought { found: None, made: Made::Unknown }),
                Err(fault) => Err(fault),
            },
            Action::GenerateKey(location, algorithm, replaced) => {
                let removed = replaced.as_ref().map_or(Ok(()), |key| {
                    crash::point("station.remove-key.intended");
                    let removed = self.keystore.remove_key(location, key);
                    crash::point("station.remove-key.done");
                    removed
                });
                removed.and_then(|()| self.keystore.generate_key(location, *algorithm)).map(Input::KeyGenerated)
            }
            Action::ProveResidency(location) => self.keystore.residency_evidence(location).map(Input::EvidenceGiven),
            Action::Attest { location, public_key, purpose } => {
                csr::info(public_key, &issuance.request.common_name, *purpose)
                    .and_then(|info| attest::attest(self.keystore, id, location, info))
            }
            Action::SignRequest { location, public_key, purpose } => {
                let name = &issuance.request.common_name;
                csr::build(self.keystore, location, public_key, name, *purpose).map(Input::RequestSigned)
            }
            Action::Activate(credential) => attest::open(self.keystore, &issuance, credential),
            Action::Write { location, locks } => match self.records.validated_certificate(id)? {
                Ok(certificate) => self
                    .make_place(&issuance, location)?
                    .and_then(|()| self.keystore.write_certificate(location, &certificate))
                    .and_then(|()| if *locks { self.keystore.lock_certificate(location) } else { Ok(()) })
                    .and_then(|()| files::write(self.devices, &issuance.request.device_serial, &certificate))
                    .map(|()| Input::Written),
                Err(fault) => Err(fault),
            },
            Action::Verify(certificate, key) => {
                // The device's signature over it was not made before.
                let nonce = attest::random().map(|nonce| nonce.to_vec());
                let read = self.keystore.read_certificate(certificate);
                read.and_then(|certificate| {
                    let nonce = nonce?;
                    let signatures = self.keystore.sign(key, std::slice::from_ref(&nonce))?;
                    let signature = signatures.into_iter().next().unwrap_or_default();
                    Ok(Input::ReadBack { certificate, nonce, signature })
                })
            }
            // Not acts on the device: `visit` handled them.
            Action::Submit | Action::AwaitAnswer | Action::Retry { .. } | Action::Rest | Action::Halt(_) => {
                Err(Fault::new(FaultKind::Mismatch, "there is nothing to do with the device"))
            }
        })
    }
}

/// Whether nothing is to be done with the device until somebody asks.
#[must_use]
pub fn is_settled(state: &State) -> bool {
    matches!(
        state,
        State::Completed(..) | State::Failed(..) | State::Quarantined(..) | State::Cancelled(..) | State::InDoubt(..)
    )
}

#[cfg(test)]
mod tests;
