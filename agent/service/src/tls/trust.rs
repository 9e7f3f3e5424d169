//! Who may be at the other end: the verifiers, stricter than webpki's own in what SECURITY calls "the issuing CA and the
//! depth", in CA certificates, and in that the extended key usage must be there.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tracing::warn;
use x509_parser::{
    certificate::{Validity, X509Certificate},
    prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

use super::{TlsError, material::parse};

/// What the other end sends besides its own certificate is never looked at.
const NO_INTERMEDIATES: &[CertificateDer<'static>] = &[];

/// The CA certificates of a `trust` file.
#[derive(Debug, Clone)]
pub(super) struct Anchors(Vec<Anchor>);

/// One issuer in a store of its own, so that its validity can be minded: webpki does not look at a trust anchor's.
#[derive(Debug, Clone)]
struct Anchor {
    not_before: u64,
    not_after: u64,
    store: Arc<RootCertStore>,
    /// Whom it revoked.
    crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Anchors {
    pub(super) fn new(
        path: &Path,
        certificates: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, TlsError> {
        let mut anchors = Vec::with_capacity(certificates.len());
        let mut of_nobody = crls;
        for certificate in certificates {
            let parsed = parse(&certificate).map_err(|problem| TlsError::content(path, problem))?;
            let subject = parsed.subject().to_string();
            if !parsed.is_ca() {
                let problem =
                    format!("holds {subject:?}, which is not a CA certificate; put the issuer's certificate there");
                return Err(TlsError::content(path, problem));
            }
            let (not_before, not_after) = bounds(parsed.validity());
            let (its_own, others) = of_nobody.into_iter().partition(|crl| is_signed_by(crl, &parsed));
            of_nobody = others;
            let mut store = RootCertStore::empty();
            store.add(certificate).map_err(|_| {
                TlsError::content(path, format!("holds {subject:?}, which cannot be used as an issuer; write it again"))
            })?;
            anchors.push(Anchor { not_before, not_after, store: Arc::new(store), crls: its_own });
        }
        if !of_nobody.is_empty() {
            let problem = "holds a CRL that none of its certificates signed; put there the CRLs of these issuers alone";
            return Err(TlsError::content(path, problem));
        }
        let now = UnixTime::now();
        let expired = anchors.iter().filter(|anchor| !anchor.valid(now)).count();
        if expired == anchors.len() {
            let problem =
                "every certificate in it expired or is not yet valid; renew it, or check this machine's clock";
            return Err(TlsError::content(path, problem));
        }
        if expired > 0 {
            warn!(path = %path.display(), expired, "some trusted certificates are outside their validity and vouch for nobody");
        }
        Ok(Self(anchors))
    }

    /// The first answer of the anchors that are valid now, or the error that says most.
    fn ask<V>(&self, now: UnixTime, verify: impl Fn(&Anchor) -> Result<V, Error>) -> Result<V, Error> {
        let mut refused = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for anchor in self.0.iter().filter(|anchor| anchor.valid(now)) {
            match verify(anchor) {
                Ok(verified) => return Ok(verified),
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl Anchor {
    fn valid(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_secs())
    }
}

/// By name and by signature: what another one signed under its name revokes nobody.
fn is_signed_by(crl: &CertificateRevocationListDer<'_>, issuer: &X509Certificate<'_>) -> bool {
    CertificateRevocationList::from_der(crl)
        .is_ok_and(|(_, crl)| crl.issuer() == issuer.subject() && crl.verify_signature(issuer.public_key()).is_ok())
}

fn bounds(validity: &Validity) -> (u64, u64) {
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()))
}

/// Why a certificate that a trusted issuer signed still does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is a CA certificate; show one issued for this end alone")]
    Ca,
    #[error("its extended key usage does not say {0}; have it issued with that usage")]
    Usage(&'static str),
    #[error("its key usage does not allow digital signatures; have it issued with that usage")]
    Signature,
    #[error("an extension occurs twice or is damaged; have it issued again")]
    Extensions,
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unfit))))
    }
}

#[derive(Clone, Copy)]
enum Part {
    Client,
    Server,
}

/// webpki lets a certificate without extended key usage serve any purpose; here it serves none.
fn fit(certificate: &CertificateDer<'_>, part: Part) -> Result<(), Error> {
    let parsed = parse(certificate).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let constraints = parsed.basic_constraints().map_err(|_| Unfit::Extensions)?;
    let usage = parsed.key_usage().map_err(|_| Unfit::Extensions)?;
    let extended = parsed.extended_key_usage().map_err(|_| Unfit::Extensions)?;
    if constraints.is_some_and(|constraints| constraints.value.ca)
        || usage.as_ref().is_some_and(|u| u.value.key_cert_sign())
    {
        return Err(Unfit::Ca.into());
    }
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err(Unfit::Signature.into());
    }
    let (named, name) = match part {
        Part::Client => (extended.is_some_and(|extended| extended.value.client_auth), "clientAuth"),
        Part::Server => (extended.is_some_and(|extended| extended.value.server_auth), "serverAuth"),
    };
    if named { Ok(()) } else { Err(Unfit::Usage(name).into()) }
}

/// Accepts the clients whose certificates the anchors issued themselves.
#[derive(Debug)]
pub(super) struct ClientsOf {
    anchors: Anchors,
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientsOf {
    pub(super) fn new(anchors: Anchors, provider: &Arc<CryptoProvider>) -> Self {
        let hints = anchors.0.iter().flat_map(|anchor| anchor.store.subjects()).collect();
        Self { anchors, hints, provider: provider.clone(), mandatory: true }
    }

    /// Also clients without any certificate; one that is shown is held to the same.
    pub(super) fn or_nobody(self) -> Self {
        Self { mandatory: false, ..self }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ClientCertVerifier for ClientsOf {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        fit(end_entity, Part::Client)?;
        self.anchors.ask(now, |anchor| {
            WebPkiClientVerifier::builder_with_provider(anchor.store.clone(), self.provider.clone())
                .with_crls(anchor.crls.iter().cloned())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| Error::General(error.to_string()))?
                .verify_client_cert(end_entity, NO_INTERMEDIATES, now)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

/// Accepts the servers whose certificates the anchors issued themselves, under the name that was asked for.
#[derive(Debug)]
pub(super) struct ServersOf {
    anchors: Anchors,
    provider: Arc<CryptoProvider>,
}

impl ServersOf {
    pub(super) fn new(anchors: Anchors, provider: &Arc<CryptoProvider>) -> Self {
        Self { anchors, provider: provider.clone() }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for ServersOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        fit(end_entity, Part::Server)?;
        self.anchors.ask(now, |anchor| {
            WebPkiServerVerifier::builder_with_provider(anchor.store.clone(), self.provider.clone())
                .with_crls(anchor.crls.iter().cloned())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| Error::General(error.to_string()))?
                .verify_server_cert(end_entity, NO_INTERMEDIATES, server_name, ocsp_response, now)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

/// What went wrong in a handshake, in words for a log or an error.
pub(super) fn in_words(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => error_in_words(error),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the other end closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}

/// Why a certificate or a handshake was refused.
pub(super) fn error_in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not issued directly by a trusted issuer".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate expired".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; check both clocks".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Revoked) => "its certificate was revoked".to_owned(),
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "its certificate is not signed by the issuer that it names".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => format!(
            "its certificate is not for {:?} but for {}",
            expected.to_str(),
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
        ),
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            format!("its certificate does not do: {inner}")
        }
        Error::NoCertificatesPresented => "it showed no certificate".to_owned(),
        Error::PeerIncompatible(_) => format!("it does not speak TLS 1.3 as we do ({error})"),
        Error::AlertReceived(alert) => format!("the other end refused ours ({alert:?})"),
        Error::InvalidMessage(_) => format!("it does not speak TLS ({error})"),
        other => other.to_string(),
    }
}
