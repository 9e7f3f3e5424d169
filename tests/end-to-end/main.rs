//! The whole way, with real devices (swtpm, SoftHSM), the real binaries, and the eyes of other programs.
//!
//! The binaries are those beside this test: `cargo build --workspace --bins` makes them, and a test that misses one says
//! so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asking;
mod auditing;
mod broken;
mod chance;
mod clocks;
mod commands;
mod crashes;
mod disk;
mod doctors;
mod doubt;
mod events;
mod foreign;
mod forgetting;
mod hardware;
mod hardware_key;
mod hardware_tls;
mod killing;
mod limits;
mod looking;
mod mending;
mod mes;
mod metrics;
mod outage;
mod refusals;
mod rejected;
mod renewing;
mod repeats;
mod residency;
mod rework;
mod rogue;
mod roles;
mod rulings;
mod sealed;
mod secrets;
mod seeking;
mod traces;
mod trouble;
mod unaltered;
mod verified;
mod verifying;
