//! What every process of ours needs, once: configuration that reports every mistake, mutual TLS, roles, secrets,
//! telemetry, orderly shutdown, and gRPC statuses that say what to do.
//!
//! The order in which a process uses them at its start:
//! [`telemetry::init`] → [`configuration::File::read`] → [`roles::Callers::from_table`] → [`shutdown::Shutdown::listen`]
//! → [`tls::Listener::bind`] → [`grpc::server`] with its [`gate::Gate`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod causes;
pub mod clock;
pub mod command;
pub mod configuration;
pub mod crash;
pub mod doctor;
pub mod file;
pub mod gate;
pub mod grpc;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod page;
pub mod restart;
pub mod roles;
pub mod secrets;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod traces;

pub use causes::in_full;
