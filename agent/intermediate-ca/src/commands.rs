//! The commands that call a running CA: they are gRPC clients like any other, with the certificate of `[client]`.

mod client;
mod crl;
mod revoke;

pub use crl::CrlArguments;
pub use revoke::RevokeArguments;
