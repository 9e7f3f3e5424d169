//! TLS for HTTP/1.1 clients that others wrote: 1.2 and up, with a client certificate or without one.

use std::{net::SocketAddr, time::Duration};

use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, info};

use super::{
    Peer, TlsError, TlsFiles,
    material::Material,
    reload::{LOOK_EVERY, Reloading},
    trust::in_words,
};

/// Clients in the field fail against 1.3 alone (strongSwan 5.9.8 does).
pub(super) const HTTP_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// As for gRPC: a handshake takes under 10 ms of work; ten seconds forgive a lossy link.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A client certificate that was shown and verified: issued directly by one of the `trust` file, whatever else was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Who it names.
    pub peer: Peer,
    /// DER.
    pub certificate: Vec<u8>,
}

/// Shakes hands on connections that somebody else accepted and bounds.
pub struct HttpAcceptor {
    config: Reloading<ServerConfig>,
}

impl HttpAcceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be used; the error says what to do.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let build = |files: &TlsFiles| Material::read(files)?.http_server_config(HTTP_VERSIONS);
        Ok(Self { config: Reloading::new(files, LOOK_EVERY, build)? })
    }

    /// The connection and the certificate that came with it; `None` when the handshake failed, which is logged.
    pub async fn accept(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Option<Shown>)> {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %address, %error, "could not switch off Nagle's algorithm");
        }
        let handshake = TlsAcceptor::from(self.config.current()).accept(stream);
        let refused = |words: String| {
            info!(peer = %address, "refused a connection: {words}");
            None
        };
        let stream = match timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return refused(in_words(&error)),
            Err(_) => return refused(format!("no handshake in {HANDSHAKE_TIME:?}")),
        };
        let shown = match stream.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => match Peer::of(certificate, address) {
                Ok(peer) => Some(Shown { peer, certificate: certificate.to_vec() }),
                Err(problem) => return refused(format!("its certificate {problem}")),
            },
            _ => None,
        };
        Some((stream, shown))
    }
}
