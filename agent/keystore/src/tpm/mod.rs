//! A TPM 2.0 over tss-esapi.
//!
//! ```text
//! Owner hierarchy
//!   └ SRK, ECC P-256, re-created at need (transient)
//!       └ signing key, at the persistent handle of its location
//! NV index of its location, owner: the certificate, DER, exactly as long
//! ```
//!
//! A TPM without a resource manager has three transient slots, and they outlive whoever filled them. So each connection
//! starts by flushing what is left there, and everything that is loaded is flushed by the guard that holds it.

mod fault;
mod identity;
mod key;
mod link;
mod nv;
mod relay;
mod tcti;

use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate,
};
use tss_esapi::Context;

use self::{link::Link, tcti::Tcti};

/// The keys and certificates of one TPM.
///
/// It is connected while it is used and no longer, so that other programs reach the TPM in between.
#[derive(Debug)]
pub struct Tpm {
    tcti: String,
    link: Option<Link>,
    lingers: bool,
}

impl Tpm {
    /// The TPM behind `tcti`, a TCTI string of tpm2-tss: `device:/dev/tpmrm0`, `swtpm:path=/run/x/socket`,
    /// `swtpm:host=127.0.0.1,port=2321`, `mssim:…`, `tabrmd:…`. Nothing is opened yet.
    #[must_use]
    pub fn new(tcti: impl Into<String>) -> Self {
        Self { tcti: tcti.into(), link: None, lingers: false }
    }

    /// Like [`new`](Self::new), but stays connected after a call, until [`release`](Self::release). For whoever knows
    /// when it is idle: a shutdown after each call of many would wear the NV of a real TPM.
    pub(crate) fn lingering(tcti: impl Into<String>) -> Self {
        Self { tcti: tcti.into(), link: None, lingers: true }
    }

    /// Tells the TPM that its power may go now (TPM2_Shutdown), and lets others have it.
    pub(crate) fn release(&mut self) {
        if let Some(link) = self.link.take() {
            link.close();
        }
    }

    fn connect(&mut self) -> Result<&mut Context, Fault> {
        let link = match self.link.take() {
            Some(link) => link,
            None => Link::connect(&Tcti::parse(&self.tcti)?)?,
        };
        Ok(self.link.insert(link).context())
    }

    /// Runs `act` on a connected TPM; a connection that may be broken is not used again.
    fn visit<T>(&mut self, act: impl FnOnce(&mut Context) -> Result<T, Fault>) -> Result<T, Fault> {
        let outcome = self.connect().and_then(act);
        match &outcome {
            Err(Fault { kind: FaultKind::LinkLost | FaultKind::HardwareFailure, .. }) => self.link = None,
            Err(Fault { kind: FaultKind::SessionLost, .. }) => self.release(),
            _ if !self.lingers => self.release(),
            _ => {}
        }
        outcome
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
        if let Err(fault) = self.connect() {
            self.link = None;
            return Err(match fault.kind {
                FaultKind::LinkLost => Fault { kind: FaultKind::DeviceAbsent, ..fault },
                _ => fault,
            });
        }
        self.visit(identity::identify)
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        let handle = key::handle(location)?;
        self.visit(|context| key::find(context, handle))
    }

    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        let handle = key::handle(location)?;
        self.visit(|context| key::generate(context, handle, algorithm))
    }

    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        let handle = key::handle(location)?;
        self.visit(|context| key::evidence(context, handle))
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let handle = key::handle(location)?;
        self.visit(|context| key::sign(context, handle, messages))
    }

    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        let index = nv::index(location)?;
        self.visit(|context| nv::read(context, index))
    }

    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        let index = nv::index(location)?;
        self.visit(|context| nv::write(context, index, certificate.der()))
    }
}
