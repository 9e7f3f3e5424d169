//! The heart of an issuance: its states, names, profiles and validation.
//!
//! No I/O, no async, no clock, no hardware: whoever calls brings the time, the bytes and the device. The journal is the
//! truth, an [`Issuance`] is a fold over it ([`Issuance::apply`]), and every rule stands in [`Issuance::decide`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod certificate;
pub mod decide;
mod der;
pub mod device;
pub mod fault;
pub mod inspection;
pub mod names;
pub mod profile;
pub mod public_key;
pub mod record;
pub mod request;
pub mod residency;
pub mod rule;
#[cfg(test)]
mod simulated;
pub mod state;
pub mod submission;

pub use certificate::{CertificateExpectation, ValidatedCertificate};
pub use decide::{Action, Context, Decision, Input, Made};
pub use record::Record;
pub use state::{Issuance, State};

pub use device::{CertificateLocation, DeviceIdentity, KeyLocation, Keystore, ResidencyEvidence};
pub use fault::{Disposition, Fault, FaultKind};
pub use names::{CommonName, DeviceSerial, FixtureName, IssuanceId, LotName, ProfileName, Timestamp};
pub use profile::{Profile, Purpose};
pub use public_key::{KeyAlgorithm, PublicKey};
