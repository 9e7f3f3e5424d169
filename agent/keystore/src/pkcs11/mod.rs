//! A PKCS#11 token over cryptoki.
//!
//! ```text
//! token, by its label
//!   ├ CKO_PRIVATE_KEY  CKA_ID, CKA_LABEL: sensitive, not extractable
//!   ├ CKO_PUBLIC_KEY   the same CKA_ID and CKA_LABEL
//!   └ CKO_CERTIFICATE  the same CKA_ID and CKA_LABEL
//! ```
//!
//! One process loads one module once ([`Worker`](crate::Worker) sees to it). Sessions stay open and logged in; when the
//! last one is lost, everything is built anew, once.

mod certificate;
mod fault;
mod key;
mod sessions;
mod token;

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf};

use cryptoki::session::Session;
use issuance::{
    CertificateLocation, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate, public_key::Hash,
};
use secrecy::SecretString;

use self::{fault::Failure, token::Token};

/// The keys and certificates of one token.
#[derive(Debug)]
pub struct Pkcs11 {
    // Before the module: a session is closed while the module still knows it.
    token: Option<Token>,
    module: Option<token::Module>,
    path: PathBuf,
    label: String,
    pin: SecretString,
    /// How many sessions may sign at the same time.
    sessions: NonZeroUsize,
    rejected: BTreeSet<String>,
    /// The serial number of the token of this visit.
    visited: Option<String>,
    login_in_doubt: bool,
}

impl Pkcs11 {
    /// The token called `label` behind the module at `path`. Nothing is loaded yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, label: impl Into<String>, pin: SecretString) -> Self {
        let (path, label) = (path.into(), label.into());
        Self {
            token: None,
            module: None,
            path,
            label,
            pin,
            sessions: NonZeroUsize::MIN,
            rejected: BTreeSet::new(),
            visited: None,
            login_in_doubt: false,
        }
    }

    /// Signs in so many sessions at the same time, as far as the token allows; one is the default.
    #[must_use]
    pub fn with_sessions(mut self, most: NonZeroUsize) -> Self {
        self.sessions = most;
        self
    }

    /// Goes on with a visit to this token: until [`identify`](Keystore::identify), no other one of its label will do.
    #[must_use]
    pub fn visiting(mut self, serial_number: Option<String>) -> Self {
        self.visited = serial_number;
        self
    }

    /// The serial numbers of the tokens that refused this PIN. It is not tried on them again.
    #[must_use]
    pub fn rejected(&self) -> &BTreeSet<String> {
        &self.rejected
    }

    /// Remembers that these tokens refused this PIN.
    pub fn reject(&mut self, serial_numbers: impl IntoIterator<Item = String>) {
        self.rejected.extend(serial_numbers);
    }

    /// Says whether an earlier owner of this token ended in the middle of a login, so that nobody knows whether the PIN was
    /// rejected. Then the first login waits for a token that counts no wrong PIN.
    pub fn doubt_login(&mut self, in_doubt: bool) {
        self.login_in_doubt = in_doubt;
    }

    /// Looks at the slots anew, and logs in.
    fn connect(&mut self) -> Result<&mut Token, Fault> {
        // All sessions first: one that outlives C_Finalize would later close another one that has its number.
        self.token = None;
        let module = match &mut self.module {
            Some(module) => {
                module.initialise_again()?;
                module
            }
            none => none.insert(token::Module::load(&self.path)?),
        };
        let login = token::Login { pin: &self.pin, rejected: &mut self.rejected, in_doubt: self.login_in_doubt };
        let token = token::open(module, &self.label, &self.visited, self.sessions, login)?;
        self.login_in_doubt = false;
        self.visited = Some(token.serial_number().to_owned());
        Ok(self.token.insert(token))
    }

    /// Runs `act` in a session. Lost sessions heal once.
    fn in_session<T>(&mut self, mut act: impl FnMut(&Session) -> Result<T, Failure>) -> Result<T, Fault> {
        self.at_token(|token| token.sessions.run(&mut act))
    }

    /// The same with all sessions.
    fn at_token<T>(&mut self, mut act: impl FnMut(&mut Token) -> Result<T, Failure>) -> Result<T, Fault> {
        let token = match &mut self.token {
            Some(token) => token,
            None => self.connect()?,
        };
        match act(token) {
            Err(failure) if failure.is_of_a_lost_session() => {
                tracing::warn!(fault = %failure.into_fault(), token = %self.label, "session lost; connecting anew");
                let outcome = act(self.connect()?).map_err(Failure::into_fault);
                if outcome.is_err() {
                    self.token = None;
                }
                outcome
            }
            other => other.map_err(Failure::into_fault),
        }
    }
}

impl Keystore for Pkcs11 {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.visited = None;
        Ok(self.connect()?.identity())
    }

    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        let place = Place::of_key(location)?;
        self.in_session(|session| key::find(session, place))
    }

    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        let place = Place::of_key(location)?;
        let mut was_absent = false;
        self.in_session(|session| key::generate(session, place, algorithm, &mut was_absent))
    }

    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        let place = Place::of_key(location)?;
        self.in_session(|session| key::evidence(session, place))
    }

    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let place = Place::of_key(location)?;
        self.at_token(|token| token.sessions.sign(place, None, messages))
    }

    fn sign_with(&mut self, location: &KeyLocation, hash: Hash, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        let place = Place::of_key(location)?;
        self.at_token(|token| token.sessions.sign(place, Some(hash), messages))
    }

    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        let place = Place::of_certificate(location)?;
        self.in_session(|session| certificate::read(session, place))
    }

    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        let place = Place::of_certificate(location)?;
        self.in_session(|session| certificate::write(session, place, certificate.der()))
    }

    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault> {
        let place = Place::of_certificate(location)?;
        self.in_session(|session| certificate::remove(session, place, certificate))
    }

    fn remove_key(&mut self, location: &KeyLocation, public_key: &PublicKey) -> Result<(), Fault> {
        let place = Place::of_key(location)?;
        let removed = self.in_session(|session| key::remove(session, place, public_key));
        // What its sessions know of the key by its handle goes with them.
        self.token = None;
        removed
    }
}

/// Where an object is: found by its CKA_ID, made with this CKA_LABEL.
#[derive(Debug, Clone, Copy)]
struct Place<'l> {
    cka_id: &'l [u8],
    label: &'l str,
}

impl<'l> Place<'l> {
    fn of_key(location: &'l KeyLocation) -> Result<Self, Fault> {
        match location {
            KeyLocation::Pkcs11 { cka_id, label } => Self::new(cka_id, label),
            KeyLocation::TpmHandle(_) => Err(Self::of_a_tpm()),
        }
    }

    fn of_certificate(location: &'l CertificateLocation) -> Result<Self, Fault> {
        match location {
            CertificateLocation::Pkcs11 { cka_id, label } => Self::new(cka_id, label),
            CertificateLocation::NvIndex(_) => Err(Self::of_a_tpm()),
        }
    }

    fn new(cka_id: &'l [u8], label: &'l str) -> Result<Self, Fault> {
        if cka_id.is_empty() {
            // An empty template entry would match by luck or not at all, as the module pleases.
            return Err(Fault::new(FaultKind::Misconfigured, "the CKA_ID is empty: give it at least one octet"));
        }
        Ok(Self { cka_id, label })
    }

    fn of_a_tpm() -> Fault {
        Fault::new(
            FaultKind::Misconfigured,
            "the location is a TPM's and this device is a PKCS#11 token: give the profile a CKA_LABEL",
        )
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CKA_ID {} ({:?})", issuance::public_key::hex(self.cka_id), self.label)
    }
}
