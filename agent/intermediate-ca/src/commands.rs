//! The commands that call a running CA: they are gRPC clients like any other, with the certificate of `[client]`.

mod caller;
mod check;
pub(crate) mod client;
mod crl;
mod revoke;
mod rollover;
mod status;
mod tls_request;

pub use caller::CallerArguments;
pub use check::CheckArguments;
pub use crl::CrlArguments;
pub use revoke::RevokeArguments;
pub use rollover::{RolloverCommand, run as run_rollover};
pub use status::StatusArguments;
pub use tls_request::{RequestedNames, tls_request};
