//! Real devices for a demo or a test: swtpm as the TPM 2.0, SoftHSM as the PKCS#11 token.
//!
//! Each [`Swtpm`] and each [`SoftHsm`] lives in a temporary directory of its own, on Unix sockets and files, so that any
//! number of them run side by side without a port, a system directory or each other. Dropped, they leave nothing.
//!
//! ```no_run
//! let tpm = hsm_sim::Swtpm::start()?;
//! let token = hsm_sim::SoftHsm::create("device-3", "123456")?;
//! println!("{} {}", tpm.tcti(), token.module().display());
//! # Ok::<(), hsm_sim::SimError>(())
//! ```
//!
//! The faults that can be put into a device here:
//!
//! - a power cut ([`Stop::PowerCut`]) and an orderly stop, each followed by [`Swtpm::restart`] with the same state;
//! - a [`Relay`] before a TPM: latency, a link cut in the middle, response codes, wrong bits, a hang, another device
//!   ([`TpmFault`]);
//! - a [`FaultModule`] before a token: return values, latency, a hang, a crash ([`ModuleFault`]).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod child;
pub mod ckr;
mod directory;
mod error;
mod fault_module;
mod injection;
mod maker;
pub mod programs;
pub mod relay;
mod softhsm;
mod swtpm;

pub use error::SimError;
pub use fault_module::{FaultModule, ModuleFault, ModuleInjection};
pub use injection::Injection;
pub use maker::TpmMaker;
pub use relay::{Relay, TpmFault, TpmInjection};
pub use softhsm::SoftHsm;
pub use swtpm::{Stop, Swtpm, SwtpmOptions};
