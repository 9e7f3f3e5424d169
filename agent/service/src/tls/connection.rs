//! An accepted connection, and who it is from.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::digest;
use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier as _,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tracing::info;
use x509_parser::prelude::GeneralName;

use super::{
    material::parse,
    trust::{ClientsOf, error_in_words},
};
use crate::limits::One;

/// Who the other end proved to be; an extension of every tonic request (`request.extensions().get::<Peer>()`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The subject's common name; empty when there is none, or more than one.
    pub common_name: String,
    /// The URIs of the subject alternative name.
    pub uris: Vec<String>,
    /// SHA-256 of the certificate (DER).
    pub fingerprint_sha256: [u8; 32],
    /// Where it connected from.
    pub address: SocketAddr,
}

impl Peer {
    /// Reads a verified certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>, address: SocketAddr) -> Result<Self, &'static str> {
        let parsed = parse(certificate)?;
        let mut names = parsed.subject().iter_common_name();
        // With two names, which one counts would depend on who reads: neither does.
        let common_name = match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let alternatives =
            parsed.subject_alternative_name().map_err(|_| "has a subject alternative name that cannot be read")?;
        let uris = alternatives
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            })
            .collect();
        let mut fingerprint_sha256 = [0; 32];
        fingerprint_sha256.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Ok(Self { common_name, uris, fingerprint_sha256, address })
    }
}

/// An mTLS connection whose other end is known. It ends, with all that goes over it, when the other end's certificate does.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// Ends when its certificate is accepted no more, and says why.
    unfit: Pin<Box<dyn Future<Output = String> + Send>>,
    _places: Places,
}

/// A connection's place among all, and among its caller's.
pub(super) type Places = (Option<OwnedSemaphorePermit>, One<[u8; 32]>);

/// The clock is looked at so often: a certificate is used no longer than that after its end.
const CLOCK_EVERY: Duration = Duration::from_secs(10);

/// Ends when a client's certificate is accepted no more, and says why. `clients` changes with the files; the clock is looked
/// at `every` so often.
pub(super) async fn unfit(
    certificate: CertificateDer<'static>,
    mut clients: watch::Receiver<Arc<ClientsOf>>,
    every: Duration,
    now: impl Fn() -> UnixTime,
) -> String {
    loop {
        let accepted = clients.borrow_and_update().clone();
        if let Err(error) = accepted.verify_client_cert(&certificate, &[], now()) {
            return error_in_words(&error);
        }
        if let Ok(Err(_)) = timeout(every, clients.changed()).await {
            // The listener is gone, and its files are looked at no more.
            sleep(every).await;
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        peer: Peer,
        certificate: CertificateDer<'static>,
        clients: watch::Receiver<Arc<ClientsOf>>,
        places: Places,
    ) -> Self {
        let unfit = Box::pin(unfit(certificate, clients, CLOCK_EVERY, UnixTime::now));
        Self { stream, peer, unfit, _places: places }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A server always reads, also while it only writes.
        if let Poll::Ready(why) = self.unfit.as_mut().poll(cx) {
            info!(peer = %self.peer.address, common_name = %self.peer.common_name, "closed a connection: {why}");
            self.unfit = Box::pin(std::future::pending());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
