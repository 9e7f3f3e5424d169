//! Keys that never leave hardware.
//!
//! One trait, [`issuance::Keystore`], and two devices behind it:
//!
//! - [`Tpm`]: a TPM 2.0. Keys are children of the storage root key at a persistent handle, certificates NV indexes.
//! - [`Pkcs11`]: a PKCS#11 token. Key pairs and certificates are objects found by CKA_ID.
//!
//! Both block, and a hung C call cannot be cancelled. So a station or a CA does not use them directly: [`Worker`] is the
//! same trait over a child process of its own for each device, with a deadline for each call. The child is any program
//! that calls [`worker::run`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![deny(unsafe_code)]

pub mod der;
pub mod pkcs11;
pub mod tpm;
pub mod worker;

pub use pkcs11::Pkcs11;
pub use tpm::Tpm;
pub use worker::{Deadlines, KeystoreSettings, Worker, WorkerSettings};
