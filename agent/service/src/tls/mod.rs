//! Mutual TLS over rustls with aws-lc-rs: gRPC speaks 1.3 only; HTTP/1.1 for clients that others wrote 1.2 as well.
//!
//! Trust is not one tree. The certificate of the other end must be issued **directly** by a certificate in `trust`:
//! intermediates that it sends are ignored, so a CA further down the same tree (a device's, say) can vouch for nobody.
//! It must not be a CA itself, and must say `clientAuth` or `serverAuth` for its part.
//!
//! Files are re-read when they change, looked at once a second by a listener, and by a channel when it connects; a bad new
//! file keeps the old one, with one warning. Sessions are never resumed: every connection proves itself anew, and an accepted
//! one is closed once its client's certificate has expired, was revoked, or is of an issuer that is trusted no more.

mod channel;
mod connection;
mod hardware;
mod http;
mod https;
mod listener;
mod material;
mod reload;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{SupportedProtocolVersion, crypto::CryptoProvider};

pub use self::{
    channel::{channel, check_endpoint},
    connection::{Connection, Peer},
    hardware::HardwareKey,
    http::{HttpAcceptor, Shown},
    https::{HttpsClient, Said, check_url},
    listener::Listener,
};
use crate::configuration::Table;

/// What gRPC listeners and channels speak. A listener for EST has its own list ([`HttpAcceptor`]).
const GRPC_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// gRPC is HTTP/2, RFC 9113 §3.2.
const ALPN_H2: &[u8] = b"h2";

/// RFC 7301 §6.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Where a private key is.
#[derive(Debug, Clone)]
pub enum TlsKey {
    /// In a file: PKCS#8, SEC1 or PKCS#1, PEM.
    File(PathBuf),
    /// In a TPM or a token, which it never leaves.
    Hardware(Arc<dyn HardwareKey>),
}

impl TlsKey {
    /// The file, when it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Hardware(_) => None,
        }
    }
}

impl From<PathBuf> for TlsKey {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// One end's certificate (PEM, chain with the leaf first), key, and the CA certificates (PEM) whose **directly
/// issued** certificates the other end may show.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate to show; further certificates in the file are sent along.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: TlsKey,
    /// The issuers of acceptable certificates; their CRLs may stand beside them (PEM sections `X509 CRL`).
    pub trust: PathBuf,
}

impl TlsFiles {
    /// Reads `certificate`, `key` and `trust` of a table. What is missing is collected there.
    pub fn from_table(table: &Table<'_>) -> Option<Self> {
        let (certificate, key, trust) = (table.path("certificate"), table.path("key"), table.path("trust"));
        Some(Self { certificate: certificate?, key: key?.into(), trust: trust? })
    }

    /// As [`from_table`](Self::from_table), where `key` may also be a table, which `hardware` reads.
    pub fn from_table_or_hardware(
        table: &Table<'_>,
        hardware: impl FnOnce(&Table<'_>) -> Option<Arc<dyn HardwareKey>>,
    ) -> Option<Self> {
        if !table.has_table("key") {
            return Self::from_table(table);
        }
        let (certificate, trust) = (table.path("certificate"), table.path("trust"));
        let key = table.table("key").and_then(|key| hardware(&key)).map(TlsKey::Hardware);
        Some(Self { certificate: certificate?, key: key?, trust: trust? })
    }

    /// Reads the files and checks that they fit together, without opening a connection, and has a key in hardware sign: for
    /// `check` commands.
    ///
    /// # Errors
    /// Names the file or the hardware, and what was wrong with it.
    pub fn check(&self) -> Result<(), TlsError> {
        material::Material::read(self)?.check(self)
    }
}

/// Why TLS could not be set up. A connection that fails later is logged, or an error of that connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file was read, and what it holds cannot be used.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was wrong; what to do.
        problem: String,
    },
    /// The hardware that holds the key does not sign with it.
    #[error("the TLS key at {place}: {problem}")]
    Hardware {
        /// Where it is.
        place: String,
        /// What was wrong; what to do.
        problem: String,
    },
    /// The listener's address could not be bound.
    #[error("could not listen on {address}: {problem}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What was wrong; what to do.
        problem: String,
        /// As the system said it.
        source: io::Error,
    },
    /// The endpoint to connect to is not one.
    #[error("endpoint {endpoint:?} {problem}; write it as \"https://name:port\"")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// What was wrong.
        problem: String,
    },
    /// rustls refused the configuration made of the files.
    #[error("could not set up TLS")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    fn content(path: &Path, problem: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), problem: problem.into() }
    }
}

/// aws-lc-rs is the one crypto provider; named here, so that no process-wide default is needed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
