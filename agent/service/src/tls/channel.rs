//! Connecting to a server.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{
    GRPC_VERSIONS, TlsError, TlsFiles,
    material::Material,
    reload::{LOOK_EVERY, Reloading},
    trust::in_words,
};

/// Below the minute or so after which firewalls forget a silent connection.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);

/// A server that is alive answers a ping in milliseconds.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

/// A lazily connecting tonic channel to `https://name:port`; the server's certificate must be issued directly by
/// `files.trust` and be valid for the endpoint's host. It connects at the first call, again after every loss, and reads
/// changed files then. `connect_timeout` bounds TCP and TLS together.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// An endpoint that is not one, or a file that cannot be used. That nobody answers is an error of the call.
pub fn channel(endpoint: &str, files: &TlsFiles, connect_timeout: Duration) -> Result<Channel, TlsError> {
    channel_with(endpoint, files, connect_timeout, LOOK_EVERY)
}

pub(super) fn channel_with(
    endpoint: &str,
    files: &TlsFiles,
    connect_timeout: Duration,
    look_every: Duration,
) -> Result<Channel, TlsError> {
    let server = Server::parse(endpoint)?;
    let config = Reloading::new(files, look_every, |files| Material::read(files)?.client_config(GRPC_VERSIONS))?;
    let target = Arc::new((server, config));
    let endpoint = Endpoint::from(target.0.uri.clone())
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let target = target.clone();
        async move { target.0.connect(&target.1).await.map(TokioIo::new) }
    })))
}

/// Checks an endpoint as [`channel`] would, for configuration readers.
///
/// # Errors
/// Names the endpoint and what was wrong.
pub fn check_endpoint(endpoint: &str) -> Result<(), TlsError> {
    Server::parse(endpoint).map(drop)
}

pub(super) struct Server {
    uri: Uri,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Server {
    fn parse(endpoint: &str) -> Result<Self, TlsError> {
        let server = Self::with_path(endpoint)?;
        if !matches!(server.uri.path(), "" | "/") || server.uri.query().is_some() {
            return Err(TlsError::Endpoint {
                endpoint: endpoint.to_owned(),
                problem: "has a path after the port".into(),
            });
        }
        Ok(server)
    }

    /// The same, for what is reached by a path.
    pub(super) fn with_path(endpoint: &str) -> Result<Self, TlsError> {
        let wrong = |problem: &str| TlsError::Endpoint { endpoint: endpoint.to_owned(), problem: problem.to_owned() };
        let uri: Uri = endpoint.parse().map_err(|_| wrong("is not a URL"))?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") => return Err(wrong("is without TLS")),
            _ => return Err(wrong("does not begin with https://")),
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("names a user, and certificates do that here"));
        }
        let port = uri.port_u16().ok_or_else(|| wrong("names no port"))?;
        // An IPv6 address stands in brackets, RFC 3986 §3.2.2.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone())
            .map_err(|_| wrong("names a host that is neither a name nor an address"))?;
        Ok(Self { host, port, name, uri })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) async fn connect(&self, config: &Reloading<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        let Self { host, port, .. } = self;
        let failed = |kind, problem: String| io::Error::new(kind, format!("could not reach {host}:{port}: {problem}"));
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| failed(error.kind(), error.to_string()))?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config.current())
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| failed(error.kind(), in_words(&error)))
    }
}
