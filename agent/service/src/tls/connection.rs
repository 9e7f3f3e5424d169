//! An accepted connection, and who it is from.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::prelude::GeneralName;

use super::material::parse;

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

/// An mTLS connection whose other end is known.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) peer: Peer,
}

impl Connection {
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
