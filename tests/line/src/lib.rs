//! A whole line on one machine: devices, CA, station and page, each as the process that a factory runs; for the demo and
//! the tests.
//!
//! ```text
//! directory/
//!   ca.toml station.toml ui.toml
//!   control-plane/   the mTLS certificates, under a root of their own
//!   secrets/         PINs
//!   pki/product/     what `intermediate-ca init` makes: root and issuers
//!   journal/ca journal/station
//!   devices/         what the station writes for each device
//!   logs/            one for each process
//!   hardware         a link to the devices' temporary directory
//! ```
//!
//! Everything is stopped by [`Line::stop`] or on drop: page, station, CA, then the devices.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod configuration;
mod control_plane;
mod error;
mod hardware;
mod options;
mod ports;
mod process;
mod whole;

pub use client::{CALLERS, Caller};
pub use control_plane::ControlPlane;
pub use error::LineError;
pub use hardware::{Device, Hardware};
pub use hsm_sim::Stop;
pub use options::Options;
pub use process::Process;
pub use whole::Line;
