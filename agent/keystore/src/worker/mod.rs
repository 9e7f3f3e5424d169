//! A process of its own for each device.
//!
//! ```text
//! parent                                         child (worker::run)
//!   Worker ── settings, with the PIN ──────────▶  keystore, not connected yet
//!          ── request 1 ───────────────────────▶  call
//!          ◀───────────────────────── answer 1 ─
//!          ── request 2 ───────────────────────▶  call …
//!   deadline: SIGKILL, reap, Fault                (gone; the next call starts another)
//! ```
//!
//! A hung C call cannot be cancelled, finalising a PKCS#11 module is process-wide, and a vendor's library may crash: all
//! of that ends with the child. Each child has a socketpair of its own, so that no answer of a killed one can arrive.

mod child;
mod deadline;
pub mod frame;
pub mod message;
mod process;
mod settings;

use std::{collections::BTreeSet, io, time::Instant};

use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate,
    device::{AttestationKey, Statement},
    public_key::Hash,
    residency::{Challenge, credential::Credential},
};

pub use self::{
    child::run,
    deadline::Deadlines,
    settings::{KeystoreSettings, WorkerSettings},
};
use self::{
    frame::Limit,
    message::{Answer, Bytes, Call, Request, Response},
    process::Process,
    settings::Known,
};

/// A keystore in a child process, with a deadline for each call.
///
/// The child is started by the first call that needs one, and ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    settings: WorkerSettings,
    process: Option<Process>,
    /// The device of this visit: a child that is started in its midst goes on with it.
    visited: Option<DeviceIdentity>,
    rejected: BTreeSet<String>,
    /// Whether this child has done anything for us yet. Until then, it may be logging in.
    answered: bool,
    /// Whether a child ended before it told how its login went.
    login_in_doubt: bool,
    number: u64,
}

impl Worker {
    /// A worker that is not started yet.
    #[must_use]
    pub fn new(settings: WorkerSettings) -> Self {
        Self {
            settings,
            process: None,
            visited: None,
            rejected: BTreeSet::new(),
            answered: false,
            login_in_doubt: false,
            number: 0,
        }
    }

    /// The child's process id, while there is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    fn call(&mut self, call: Call) -> Result<Answer, Fault> {
        let doing = call.doing();
        let deadline = Instant::now() + self.settings.deadlines.of(&call);
        self.number += 1;
        let number = self.number;
        let request = frame::encode(&Request { number, call }, Limit::CALL)
            .map_err(|error| Fault::caused(FaultKind::Unsupported, format!("could not ask to {doing}"), error))?;
        let response = self.exchange(&request, deadline).map_err(|error| self.end(doing, &error))?;
        if response.number != number {
            let answered = io::Error::other(format!("request {number} got the answer of {}", response.number));
            return Err(self.end(doing, &answered));
        }
        self.rejected.extend(response.rejected);
        match &response.outcome {
            Ok(_) => (self.answered, self.login_in_doubt) = (true, false),
            Err(fault) if self.is_past_healing(fault.kind) => {
                tracing::warn!(worker = self.process_id(), %fault, "the module stays bad; the next call loads it anew");
                self.process = None;
            }
            Err(_) => {}
        }
        response.outcome
    }

    /// Whether a module, finalised and initialised by its child in vain, is to be loaded anew.
    fn is_past_healing(&self, kind: FaultKind) -> bool {
        matches!(self.settings.keystore, KeystoreSettings::Pkcs11 { .. })
            && matches!(kind, FaultKind::LinkLost | FaultKind::SessionLost | FaultKind::HardwareFailure)
    }

    fn exchange(&mut self, request: &[u8], deadline: Instant) -> io::Result<Response> {
        // One that died while nothing was asked of it is no fault of this call.
        if self.process.as_mut().is_some_and(Process::has_ended) {
            self.process = None;
        }
        let process = match &mut self.process {
            Some(process) => process,
            none => {
                let known = Known {
                    visited: self.visited.as_ref(),
                    rejected: &self.rejected,
                    login_in_doubt: self.login_in_doubt,
                };
                let opening = self.settings.keystore.opening(&known)?;
                self.answered = false;
                let process = none.insert(Process::start(&self.settings, deadline)?);
                process.send(&opening, deadline)?;
                process
            }
        };
        process.send(request, deadline)?;
        process.receive(Limit::CALL, deadline)
    }

    /// Ends the child whatever it is doing, and says why.
    fn end(&mut self, doing: &str, error: &io::Error) -> Fault {
        let Some(process) = self.process.take() else {
            let act = format!("could not start the keystore worker to {doing}");
            let kind = match error.kind() {
                io::ErrorKind::TimedOut => FaultKind::DeadlineExceeded,
                _ => FaultKind::Misconfigured,
            };
            return Fault::caused(kind, act, error);
        };
        self.login_in_doubt |= !self.answered;
        let id = process.id();
        let status = process.kill();
        let fault = match error.kind() {
            io::ErrorKind::TimedOut => Fault::new(
                FaultKind::DeadlineExceeded,
                format!("the device did not {doing} in time; its worker was stopped"),
            ),
            io::ErrorKind::InvalidData => Fault::caused(
                FaultKind::WorkerCrashed,
                format!("the keystore worker did not {doing}: its answer makes no sense"),
                error,
            ),
            _ => Fault::caused(
                FaultKind::WorkerCrashed,
                format!("the keystore worker ended while it was to {doing}"),
                status,
            ),
        };
        tracing::warn!(worker = id, %fault, %error, "keystore worker stopped; the next call starts another");
        fault
    }

    fn unfitting(&mut self, doing: &str) -> Fault {
        self.end(doing, &io::Error::new(io::ErrorKind::InvalidData, "the answer is of another kind than the question"))
    }
}

/// Takes the one answer that fits a call.
macro_rules! answer {
    ($worker:expr, $call:expr, $fits:pat => $value:expr) => {{
        let call = $call;
        let doing = call.doing();
        match $worker.call(call)? {
            $fits => Ok($value),
            _ => Err($worker.unfitting(doing)),
        }
    }};
}

impl Worker {
    fn signatures(
        &mut self,
        location: &KeyLocation,
        hash: Option<Hash>,
        messages: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let mut signatures = Vec::with_capacity(messages.len());
        for batch in message::batches(messages) {
            let asked = batch.iter().cloned().map(Bytes).collect();
            let call = Call::Sign(location.clone(), hash, asked);
            let signed: Vec<Bytes> = answer!(self, call, Answer::Signatures(signed) => signed)?;
            if signed.len() != batch.len() {
                return Err(self.unfitting("sign"));
            }
            signatures.extend(signed.into_iter().map(|signature| signature.0));
        }
        Ok(signatures)
    }
}

impl Keystore for Worker {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.visited = None;
        let identity: DeviceIdentity = answer!(self, Call::Identify, Answer::Identity(identity) => identity)?;
        Ok(self.visited.insert(identity).clone())
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        answer!(self, Call::FindKey(location.clone()), Answer::Found(key) => key)
    }

    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        answer!(self, Call::GenerateKey(location.clone(), algorithm), Answer::Generated(key) => key)
    }

    fn attestation_key(&mut self) -> Result<Option<AttestationKey>, Fault> {
        answer!(self, Call::AttestationKey, Answer::AttestationKey(key) => key)
    }

    fn activate_credential(&mut self, credential: &Credential) -> Result<Vec<u8>, Fault> {
        answer!(self, Call::ActivateCredential(credential.clone()), Answer::Secret(secret) => secret.0)
    }

    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        answer!(self, Call::ResidencyEvidence(location.clone()), Answer::Evidence(evidence) => evidence)
    }

    fn attest(&mut self, location: &KeyLocation, challenge: Challenge) -> Result<Statement, Fault> {
        answer!(self, Call::Attest(location.clone(), challenge), Answer::Attested(statement) => statement)
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        self.signatures(location, None, messages)
    }

    fn sign_with(&mut self, location: &KeyLocation, hash: Hash, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        self.signatures(location, Some(hash), messages)
    }

    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        answer!(self, Call::ReadCertificate(location.clone()), Answer::Certificate(read) => read.map(|read| read.0))
    }

    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        let der = Bytes(certificate.der().to_vec());
        let expectation = Box::new(certificate.expectation().clone());
        answer!(self, Call::WriteCertificate(location.clone(), der, expectation), Answer::Written => ())
    }

    fn lock_certificate(&mut self, location: &CertificateLocation) -> Result<(), Fault> {
        answer!(self, Call::LockCertificate(location.clone()), Answer::Locked => ())
    }

    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault> {
        let der = Bytes(certificate.to_vec());
        answer!(self, Call::RemoveCertificate(location.clone(), der), Answer::Removed => ())
    }

    fn remove_key(&mut self, location: &KeyLocation, public_key: &PublicKey) -> Result<(), Fault> {
        answer!(self, Call::RemoveKey(location.clone(), public_key.clone()), Answer::Removed => ())
    }
}
