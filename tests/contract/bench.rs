//! A device on the bench, and a keystore that has it.

use std::{fs, num::NonZeroUsize};

use hsm_sim::{SoftHsm, Stop, Swtpm};
use issuance::{CertificateLocation, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore};
use keystore::{Deadlines, KeystoreSettings, Tpm, Worker, WorkerSettings};
use secrecy::SecretString;

use crate::wire::Wire;

/// The PIN of every token here. Nothing else looks like it.
pub(crate) const PIN: &str = "pin-8c1f5e0a";

/// One device and the keystore under test.
pub(crate) struct Bench {
    // Before the device: a worker says farewell to a device that is still there.
    pub(crate) keystore: Box<dyn Keystore>,
    device: Device,
    make: fn(&Device) -> Box<dyn Keystore>,
}

pub(crate) enum Device {
    Tpm(Swtpm),
    Token(SoftHsm),
}

impl Bench {
    pub(crate) fn tpm_in_process() -> Self {
        Self::new(Device::Tpm(Swtpm::start().unwrap()), |device| Box::new(Tpm::new(device.tcti())))
    }

    pub(crate) fn tpm_behind_a_worker() -> Self {
        Self::new(Device::Tpm(Swtpm::start().unwrap()), |device| Box::new(Worker::new(device.worker())))
    }

    pub(crate) fn token_behind_a_worker() -> Self {
        let token = SoftHsm::create("device-1", PIN).unwrap();
        Self::new(Device::Token(token), |device| Box::new(Worker::new(device.worker())))
    }

    fn new(device: Device, make: fn(&Device) -> Box<dyn Keystore>) -> Self {
        Self { keystore: make(&device), device, make }
    }

    /// Another keystore for the same device, as after a restart of the station.
    pub(crate) fn reopen(&mut self) {
        self.keystore = (self.make)(&self.device);
    }

    /// Takes the device out of its fixture, the keystore unaware.
    pub(crate) fn remove_device(&mut self) {
        match &mut self.device {
            Device::Tpm(tpm) => tpm.stop(Stop::PowerCut).unwrap(),
            Device::Token(token) => {
                let tokens = token.directory().join("tokens");
                fs::remove_dir_all(&tokens).unwrap();
                fs::create_dir(&tokens).unwrap();
            }
        }
    }

    /// Takes a TPM's power and gives it back; a token has none, so that only its process starts anew.
    pub(crate) fn restart_device(&mut self) {
        match &mut self.device {
            Device::Tpm(tpm) => tpm.restart().unwrap(),
            Device::Token(_) => self.reopen(),
        }
    }

    /// What is loaded in the device besides the one session that guards a link that lingers, seen by another client of it.
    /// Proves, too, that another client is served.
    pub(crate) fn loaded_objects(&self) -> usize {
        match &self.device {
            Device::Tpm(tpm) => {
                let (sessions, objects): (Vec<u32>, Vec<u32>) =
                    Wire::of(tpm).loaded().into_iter().partition(|handle| handle >> 24 == 0x02);
                objects.len() + sessions.len().saturating_sub(1)
            }
            // Sessions end with their process.
            Device::Token(_) => 0,
        }
    }

    /// Where the `number`th key may be.
    pub(crate) fn key(&self, number: u8) -> KeyLocation {
        match &self.device {
            Device::Tpm(_) => KeyLocation::TpmHandle(0x8100_0010 + u32::from(number)),
            Device::Token(_) => KeyLocation::Pkcs11 { cka_id: vec![0xA0, number], label: format!("key-{number}") },
        }
    }

    /// Where the `number`th certificate may be.
    pub(crate) fn certificate(&self, number: u8) -> CertificateLocation {
        match &self.device {
            Device::Tpm(_) => CertificateLocation::NvIndex(0x0180_0010 + u32::from(number)),
            Device::Token(_) => {
                CertificateLocation::Pkcs11 { cka_id: vec![0xA0, number], label: format!("key-{number}") }
            }
        }
    }

    /// Places on the other kind of device.
    pub(crate) fn foreign_places(&self) -> (KeyLocation, CertificateLocation) {
        match &self.device {
            Device::Tpm(_) => (
                KeyLocation::Pkcs11 { cka_id: vec![1], label: "key".into() },
                CertificateLocation::Pkcs11 { cka_id: vec![1], label: "key".into() },
            ),
            Device::Token(_) => (KeyLocation::TpmHandle(0x8100_0010), CertificateLocation::NvIndex(0x0180_0010)),
        }
    }

    /// How long a certificate this device takes: swtpm's NV indexes end at 2048 bytes, and a TPM has no others.
    pub(crate) fn certificate_lengths(&self) -> &'static [usize] {
        match &self.device {
            Device::Tpm(_) => &[400, 900, 1024, 2048],
            Device::Token(_) => &[400, 900, 1024, 2500],
        }
    }

    /// What this device must be able to make.
    pub(crate) fn algorithms(&self) -> &'static [KeyAlgorithm] {
        &[KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048]
    }
}

impl Device {
    pub(crate) fn tcti(&self) -> String {
        match self {
            Self::Tpm(tpm) => tpm.tcti(),
            Self::Token(_) => unreachable!("a token has no TCTI"),
        }
    }

    fn worker(&self) -> WorkerSettings {
        match self {
            Self::Tpm(tpm) => tpm_worker(tpm),
            Self::Token(token) => token_worker(token, PIN),
        }
    }
}

/// A worker for a TPM.
pub(crate) fn tpm_worker(tpm: &Swtpm) -> WorkerSettings {
    worker(KeystoreSettings::Tpm { tcti: tpm.tcti() }, Vec::new())
}

/// A worker for a token, with whatever PIN.
pub(crate) fn token_worker(token: &SoftHsm, pin: &str) -> WorkerSettings {
    let keystore = KeystoreSettings::Pkcs11 {
        module: token.module().to_owned(),
        token: token.label().to_owned(),
        pin: SecretString::from(pin),
        sessions: NonZeroUsize::MIN,
    };
    worker(keystore, token.environment())
}

/// A worker for any device.
pub(crate) fn worker(keystore: KeystoreSettings, environment: Vec<(String, String)>) -> WorkerSettings {
    WorkerSettings {
        program: env!("CARGO_BIN_EXE_keystore-worker").into(),
        arguments: vec!["keystore-worker".into()],
        keystore,
        environment,
        lock: None,
        deadlines: Deadlines::default(),
    }
}

/// The fault's kind; the fault is shown when there is none.
#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(outcome: Result<T, Fault>) -> FaultKind {
    outcome.expect_err("a fault was expected").kind
}
