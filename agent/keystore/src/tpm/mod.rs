//! A TPM 2.0 over tss-esapi.
//!
//! ```text
//! Owner hierarchy
//!   └ SRK, ECC P-256, re-created at need (transient)
//!       └ signing key, at the persistent handle of its location
//! NV index of its location, owner: the certificate, DER, exactly as long, locked against writing where the profile says so
//! ```
//!
//! A TPM without a resource manager has three transient slots, and they outlive whoever filled them. So each connection
//! starts by flushing what is left there, and everything that is loaded is flushed by the guard that holds it.
//!
//! A busy TPM is waited for, and a lost link or a full slot heals by a new connection, once. Each connection after
//! [`identify`](Keystore::identify) makes sure that the same TPM is still there, until the next one: what is asked of it runs
//! in a session that only the owner of its EK can answer in.

mod attest;
mod endorsement;
mod fault;
mod identity;
mod key;
mod link;
mod lock;
mod nv;
mod patience;
mod primary;
mod relay;
mod sealed;
mod session;
mod tcti;

use self::{endorsement::Keys, link::Link, patience::Patience, tcti::Tcti};
use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate,
    device::{AttestationKey, Statement},
    residency::{Challenge, credential::Credential},
};
use zeroize::Zeroizing;

/// The keys and certificates of one TPM.
///
/// It is connected while it is used and no longer, so that other programs reach the TPM in between.
#[derive(Debug)]
pub struct Tpm {
    tcti: String,
    link: Option<Link>,
    lingers: bool,
    /// The TPM of this visit.
    visited: Option<DeviceIdentity>,
    /// The keys that the last connection met: a TPM takes long to make them.
    known: Option<Keys>,
}

impl Tpm {
    /// The TPM behind `tcti`, a TCTI string of tpm2-tss: `device:/dev/tpmrm0`, `swtpm:path=/run/x/socket`,
    /// `swtpm:host=127.0.0.1,port=2321`, `mssim:…`, `tabrmd:…`. Nothing is opened yet.
    #[must_use]
    pub fn new(tcti: impl Into<String>) -> Self {
        Self { tcti: tcti.into(), link: None, lingers: false, visited: None, known: None }
    }

    /// Like [`new`](Self::new), but stays connected after a call, until [`release`](Self::release). For whoever knows
    /// when it is idle: a shutdown after each call of many would wear the NV of a real TPM.
    pub(crate) fn lingering(tcti: impl Into<String>) -> Self {
        Self { tcti: tcti.into(), link: None, lingers: true, visited: None, known: None }
    }

    /// Goes on with a visit to this TPM: until [`identify`](Keystore::identify), no other one will do.
    #[must_use]
    pub fn visiting(mut self, identity: Option<DeviceIdentity>) -> Self {
        self.visited = identity;
        self
    }

    /// Tells the TPM that its power may go now (TPM2_Shutdown), and lets others have it.
    pub(crate) fn release(&mut self) {
        if let Some(link) = self.part() {
            link.close();
        }
    }

    /// The connection, which is not this keystore's any more; what it met is remembered.
    fn part(&mut self) -> Option<Link> {
        let mut link = self.link.take()?;
        self.known = link.take_keys();
        Some(link)
    }

    /// Seals a secret of at most 128 octets: what comes back is of no use without this TPM, which [`unseal`](Self::unseal)s it.
    /// It gives it back while these PCRs of its SHA-256 bank, 0 to 23, are as they are now; without any, in whatever state.
    ///
    /// # Errors
    /// The TPM does not answer, has no such PCR, or the secret has no fitting length.
    pub fn seal(&mut self, secret: &[u8], pcrs: &[u8]) -> Result<Vec<u8>, Fault> {
        self.meet(|link| sealed::seal(link.context(), secret, pcrs))
    }

    /// The secret that this TPM sealed. It crosses the link encrypted.
    ///
    /// # Errors
    /// [`FaultKind::NotSameDevice`] when another TPM sealed it, or this one was cleared since; [`FaultKind::Mismatch`] when the PCRs
    /// that it was sealed to have changed.
    pub fn unseal(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.meet(|link| sealed::unseal(link.context(), sealed))
    }

    fn connect(&mut self) -> Result<&mut Link, Fault> {
        let link = match self.link.take() {
            Some(link) => link,
            None => Link::connect(&Tcti::parse(&self.tcti)?, &mut self.known)?,
        };
        let link = self.link.insert(link);
        // What is asked afterwards has a patience of its own.
        let mut patience = Patience::new();
        loop {
            match link.guard(self.visited.as_ref()) {
                Err(fault) if fault.kind == FaultKind::DeviceBusy && patience.wait() => {}
                guarded => return guarded.map(|()| link),
            }
        }
    }

    /// Runs `act` on the TPM of this visit: when it is gone, its link is lost.
    fn visit<T>(&mut self, act: impl FnMut(&mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        self.meet(act).map_err(lost)
    }

    /// Locks an NV index for writing. That goes over a connection of its own, which must be the only one.
    fn write_lock(&mut self, index: u32) -> Result<(), Fault> {
        let locked = self.heal(|tpm| {
            tpm.release();
            lock::write_lock(&Tcti::parse(&tpm.tcti)?, index)
        });
        locked.map_err(lost)
    }

    /// Runs `act` on a connected TPM.
    fn meet<T>(&mut self, mut act: impl FnMut(&mut Link) -> Result<T, Fault>) -> Result<T, Fault> {
        self.heal(|tpm| tpm.connect().and_then(&mut act))
    }

    /// Tries again what failed: a TPM that is busy is waited for; a lost link or a full slot heals once.
    fn heal<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut patience = Patience::new();
        let mut healed = false;
        loop {
            let outcome = attempt(self);
            let kind = outcome.as_ref().err().map(|fault| fault.kind);
            match kind {
                // A connection that may be broken is not used again.
                Some(
                    FaultKind::DeviceAbsent
                    | FaultKind::LinkLost
                    | FaultKind::HardwareFailure
                    | FaultKind::AnswerAltered,
                ) => drop(self.part()),
                // The next connection flushes the slots.
                Some(FaultKind::SessionLost) => self.release(),
                Some(FaultKind::DeviceBusy) if patience.wait() => continue,
                _ if !self.lingers => self.release(),
                _ => {}
            }
            match (kind, outcome) {
                (Some(FaultKind::DeviceAbsent | FaultKind::LinkLost | FaultKind::SessionLost), Err(fault))
                    if !healed =>
                {
                    healed = true;
                    // An empty fixture is asked again and again: nothing to warn of.
                    if fault.kind != FaultKind::DeviceAbsent {
                        tracing::warn!(%fault, tcti = %self.tcti, "connecting to the TPM anew");
                    }
                }
                (_, outcome) => return outcome,
            }
        }
    }

    /// The storage root key's name of the TPM of this visit.
    fn visited_srk(&self) -> Option<Vec<u8>> {
        match &self.visited {
            Some(DeviceIdentity::Tpm { srk_name, .. }) => Some(srk_name.clone()),
            _ => None,
        }
    }
}

/// Of a TPM that was met, and is gone.
fn lost(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::DeviceAbsent => Fault { kind: FaultKind::LinkLost, ..fault },
        _ => fault,
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        self.release();
    }
}

impl Keystore for Tpm {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.release();
        self.visited = None;
        let identity = self.meet(identity::identify)?;
        Ok(self.visited.insert(identity).clone())
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        let handle = key::handle(location)?;
        self.visit(|link| key::find(link.context(), handle))
    }

    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        let handle = key::handle(location)?;
        let srk = self.visited_srk();
        let mut was_absent = false;
        self.visit(|link| key::generate(link.context(), handle, algorithm, srk.as_deref(), &mut was_absent))
    }

    fn attestation_key(&mut self) -> Result<Option<AttestationKey>, Fault> {
        self.visit(attest::attestation_key).map(Some)
    }

    fn activate_credential(&mut self, credential: &Credential) -> Result<Vec<u8>, Fault> {
        self.visit(|link| attest::activate(link, credential))
    }

    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        let handle = key::handle(location)?;
        self.visit(|link| key::evidence(link.context(), handle))
    }

    fn attest(&mut self, location: &KeyLocation, challenge: Challenge) -> Result<Statement, Fault> {
        let handle = key::handle(location)?;
        self.visit(|link| attest::certify(link, handle, challenge))
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let handle = key::handle(location)?;
        let mut signatures = Vec::with_capacity(messages.len());
        self.visit(|link| key::sign(link.context(), handle, messages, &mut signatures))?;
        Ok(signatures)
    }

    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        let index = nv::index(location)?;
        self.visit(|link| nv::read(link.context(), index))
    }

    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        let index = nv::index(location)?;
        self.visit(|link| nv::write(link.context(), index, certificate.der()))
    }

    fn lock_certificate(&mut self, location: &CertificateLocation) -> Result<(), Fault> {
        let index = nv::index(location)?;
        if self.visit(|link| nv::lock(link.context(), index))? == nv::Lock::Open {
            self.write_lock(index)?;
            if self.visit(|link| nv::lock(link.context(), index))? == nv::Lock::Open {
                return Err(lock::not_locked(index));
            }
        }
        Ok(())
    }

    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault> {
        let index = nv::index(location)?;
        self.visit(|link| nv::remove(link.context(), index, certificate))
    }

    fn remove_key(&mut self, location: &KeyLocation, public_key: &PublicKey) -> Result<(), Fault> {
        let handle = key::handle(location)?;
        let removed = self.visit(|link| key::remove(link.context(), handle, public_key));
        // tpm2-tss goes on knowing an evicted object by its handle, with the name that the next one there has not.
        self.release();
        removed
    }
}
