//! What a worker is told when it starts.

use std::{collections::BTreeSet, ffi::OsString, io, num::NonZeroUsize, path::PathBuf};

use issuance::{DeviceIdentity, Keystore};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    deadline::Deadlines,
    frame::{self, Limit},
};
use crate::{Pkcs11, Tpm};

/// How to start a worker, and for which device.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// A program that calls [`run`](super::run()): as a rule the parent's own.
    pub program: PathBuf,
    /// Its arguments, such as `keystore-worker`.
    pub arguments: Vec<OsString>,
    /// The device.
    pub keystore: KeystoreSettings,
    /// What the child has in its environment beside the parent's, such as SOFTHSM2_CONF. Nothing secret: it can be read
    /// from outside.
    pub environment: Vec<(String, String)>,
    /// A file that the child holds locked for as long as it lives: an earlier owner's child, which may still be finishing
    /// its last call, and this one never work on the device at the same time. `None`: nobody else owns it.
    pub lock: Option<PathBuf>,
    /// How long its calls may take.
    pub deadlines: Deadlines,
}

/// Which device. It reaches the child over the socketpair, never in its arguments or environment.
#[derive(Debug, Clone)]
pub enum KeystoreSettings {
    /// A TPM 2.0.
    Tpm {
        /// Its TCTI string ([`Tpm::new`]).
        tcti: String,
    },
    /// A PKCS#11 token.
    Pkcs11 {
        /// The module's shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The user's PIN.
        pin: SecretString,
        /// How many sessions may sign at the same time; the token may allow fewer.
        sessions: NonZeroUsize,
    },
}

impl KeystoreSettings {
    /// The keystore itself, in this process, without deadlines.
    #[must_use]
    pub fn open(self) -> Box<dyn Keystore> {
        match self {
            Self::Tpm { tcti } => Box::new(Tpm::new(tcti)),
            Self::Pkcs11 { module, token, pin, sessions } => {
                Box::new(Pkcs11::new(module, token, pin).with_sessions(sessions))
            }
        }
    }

    /// The first frame.
    pub(super) fn opening(&self, known: &Known<'_>) -> io::Result<Zeroizing<Vec<u8>>> {
        let opening = match self {
            Self::Tpm { tcti } => Opening::Tpm { tcti, visited: known.visited.cloned() },
            Self::Pkcs11 { module, token, pin, sessions } => Opening::Pkcs11 {
                module: module.to_str().ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "the PKCS#11 module's path is not UTF-8")
                })?,
                token,
                pin: pin.expose_secret(),
                sessions: *sessions,
                visited: match known.visited {
                    Some(DeviceIdentity::Token { serial_number, .. }) => Some(serial_number),
                    _ => None,
                },
                rejected: known.rejected.iter().map(String::as_str).collect(),
                login_in_doubt: known.login_in_doubt,
            },
        };
        frame::encode(&opening, Limit::SETTINGS)
    }
}

/// What earlier children learned.
pub(super) struct Known<'k> {
    pub(super) visited: Option<&'k DeviceIdentity>,
    pub(super) rejected: &'k BTreeSet<String>,
    pub(super) login_in_doubt: bool,
}

/// Settings on the wire, borrowed from the frame, so that the PIN is nowhere else.
#[derive(Serialize, Deserialize)]
pub(super) enum Opening<'f> {
    Tpm {
        tcti: &'f str,
        visited: Option<DeviceIdentity>,
    },
    Pkcs11 {
        module: &'f str,
        token: &'f str,
        pin: &'f str,
        sessions: NonZeroUsize,
        visited: Option<&'f str>,
        rejected: Vec<&'f str>,
        login_in_doubt: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The PIN is in no Debug output of any settings or worker.
    #[test]
    fn debug_does_not_show_the_pin() {
        const PIN: &str = "pin-that-nobody-sees";
        let keystore = KeystoreSettings::Pkcs11 {
            module: "/usr/lib/module.so".into(),
            token: "device-3".into(),
            pin: SecretString::from(PIN),
            sessions: NonZeroUsize::MIN,
        };
        let settings = WorkerSettings {
            program: "/bin/false".into(),
            arguments: Vec::new(),
            keystore,
            environment: Vec::new(),
            lock: None,
            deadlines: Deadlines::default(),
        };
        let shown = format!("{settings:?} {:?}", crate::Worker::new(settings.clone()));
        assert!(shown.contains("device-3") && !shown.contains(PIN), "{shown}");
    }
}
