//! The three files, read and checked to fit together, and the rustls configurations made of them.

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tracing::warn;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    ALPN_H2, ALPN_HTTP1, TlsError, TlsFiles, TlsKey, hardware, provider,
    trust::{Anchors, ClientsOf, ServersOf},
};

/// A chain of RSA-4096 certificates is under 10 KiB, and a CRL of a thousand certificates under 64 KiB; more than this is not
/// a PEM file of ours.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Long enough before the end for a technician's next visit.
const EXPIRY_WARNING_SECONDS: i64 = 30 * 24 * 3600;

/// A certificate with its key, and the certificates that may vouch for the other end.
#[derive(Debug)]
pub(super) struct Material {
    identity: Arc<CertifiedKey>,
    anchors: Anchors,
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = read_certificates(&files.certificate)?;
        check_validity(&files.certificate, &chain[0])?;
        let identity = match &files.key {
            TlsKey::File(path) => in_file(path, &files.certificate, chain)?,
            TlsKey::Hardware(key) => hardware::certified(key, &files.certificate, chain)?,
        };
        let anchors = Anchors::new(&files.trust, read_certificates(&files.trust)?, read_crls(&files.trust)?)?;
        Ok(Self { identity: Arc::new(identity), anchors })
    }

    /// Has a key in hardware sign.
    pub(super) fn check(&self, files: &TlsFiles) -> Result<(), TlsError> {
        match &files.key {
            TlsKey::File(_) => Ok(()),
            TlsKey::Hardware(key) => hardware::check(key, &files.certificate, &self.identity.cert[0]),
        }
    }

    /// Every client must show a certificate.
    pub(super) fn server_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, TlsError> {
        self.listening(versions, ALPN_H2, self.clients())
    }

    /// Which clients are accepted.
    pub(super) fn clients(&self) -> ClientsOf {
        ClientsOf::new(self.anchors.clone(), &provider())
    }

    /// A client may show a certificate.
    pub(super) fn http_server_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, TlsError> {
        self.listening(versions, ALPN_HTTP1, self.clients().or_nobody())
    }

    fn listening(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocol: &[u8],
        clients: ClientsOf,
    ) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?
            .with_client_cert_verifier(Arc::new(clients))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.identity.clone())));
        config.alpn_protocols = vec![protocol.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }

    pub(super) fn client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, TlsError> {
        self.calling(versions, ALPN_H2)
    }

    pub(super) fn http_client_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, TlsError> {
        self.calling(versions, ALPN_HTTP1)
    }

    fn calling(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocol: &[u8],
    ) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(TlsError::Setup)?
            // The verifier is stricter than the usual one, see `trust`.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServersOf::new(self.anchors.clone(), &provider)))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.identity.clone())));
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn in_file(path: &Path, certificate: &Path, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, TlsError> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&read_key(path)?).map_err(|_| {
        let problem = "holds a private key of a kind that TLS does not use; make a P-256, P-384 or RSA-2048 key";
        TlsError::content(path, problem)
    })?;
    let identity = CertifiedKey::new(chain, key);
    identity.keys_match().map_err(|_| {
        let certificate = certificate.display();
        let problem = format!("does not match the certificate in {certificate}; name the key that it was issued for");
        TlsError::content(path, problem)
    })?;
    Ok(identity)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::content(path, format!("is larger than {FILE_BYTES_MAX} bytes; name a PEM file")));
    }
    Ok(bytes)
}

/// At least one certificate, each of which parses.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(&read_file(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::content(path, format!("is damaged PEM ({error}); write the certificate again")))?;
    if certificates.is_empty() {
        return Err(TlsError::content(path, "holds no certificate; it must contain a PEM section CERTIFICATE"));
    }
    for (index, certificate) in certificates.iter().enumerate() {
        parse(certificate).map_err(|problem| {
            TlsError::content(path, format!("certificate {} {problem}; write it again", index + 1))
        })?;
    }
    Ok(certificates)
}

fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    CertificateRevocationListDer::pem_slice_iter(&read_file(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::content(path, format!("is damaged PEM ({error}); write the CRL again")))
}

pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, &'static str> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err("is not an X.509 certificate"),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read_file(path)?;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o004 != 0
    {
        warn!(path = %path.display(), "every user may read this private key; run `chmod 600` on it");
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        TlsError::content(
            path,
            match error {
                pem::Error::NoItemsFound => {
                    "holds no private key; it must contain an unencrypted PEM section PRIVATE KEY".to_owned()
                }
                // The error's text may quote the file, and that is a key.
                _ => "is damaged PEM; write the key again".to_owned(),
            },
        )
    })
}

fn check_validity(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), TlsError> {
    let parsed = parse(certificate).map_err(|problem| TlsError::content(path, problem))?;
    let (validity, now) = (parsed.validity(), ASN1Time::now());
    if validity.not_after < now {
        let problem =
            format!("the certificate expired on {}; renew it, or check this machine's clock", validity.not_after);
        return Err(TlsError::content(path, problem));
    }
    if now < validity.not_before {
        let problem = format!("the certificate is valid only from {}; check this machine's clock", validity.not_before);
        return Err(TlsError::content(path, problem));
    }
    if validity.not_after.timestamp() - now.timestamp() < EXPIRY_WARNING_SECONDS {
        warn!(path = %path.display(), not_after = %validity.not_after, "the certificate expires soon; renew it");
    }
    Ok(())
}
