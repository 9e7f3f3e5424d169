//! The control plane's PKI: a root of its own, apart from the product's, that issues every mTLS certificate directly.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use service::tls::TlsFiles;
use time::{Duration, OffsetDateTime};

use crate::LineError;

/// A demo or a test outlives neither; a forgotten directory is no risk for long.
const VALIDITY: Duration = Duration::days(365);
/// Clocks of one machine may be set back a little.
const BACKDATE: Duration = Duration::hours(1);

/// The control plane's root, its key in this process alone, and the certificates it issued, in a directory.
#[derive(Debug)]
pub struct ControlPlane {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl ControlPlane {
    /// A fresh root, and its certificate in the directory, which is made.
    pub fn create(directory: PathBuf) -> Result<Self, LineError> {
        fs::create_dir_all(&directory).map_err(LineError::file("make", &directory))?;
        let name = "Demo Control Plane Root";
        let failed = |source| LineError::Certificate { name: name.into(), source };
        let mut parameters = parameters(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let root = parameters.self_signed(&key).map_err(failed)?;
        let plane = Self { directory, issuer: Issuer::new(parameters, key) };
        write(&plane.root(), root.pem().as_bytes(), 0o644)?;
        Ok(plane)
    }

    /// The root's certificate, PEM.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root.pem")
    }

    /// Issues a client certificate for `common_name`.
    pub fn client(&self, common_name: &str) -> Result<TlsFiles, LineError> {
        self.issue(common_name, ExtendedKeyUsagePurpose::ClientAuth, Vec::new())
    }

    /// Issues a server certificate for localhost and 127.0.0.1.
    pub fn server(&self, common_name: &str) -> Result<TlsFiles, LineError> {
        let localhost = "localhost".try_into().map_err(|source| certificate(common_name, source))?;
        let names = vec![SanType::DnsName(localhost), SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        self.issue(common_name, ExtendedKeyUsagePurpose::ServerAuth, names)
    }

    /// Signs a certification request, PEM, for a server or a client, as `name`; its key stays where it is.
    pub fn sign(&self, name: &str, request: &str, purpose: ExtendedKeyUsagePurpose) -> Result<PathBuf, LineError> {
        let failed = |source| certificate(name, source);
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(failed)?;
        let now = OffsetDateTime::now_utc();
        (request.params.not_before, request.params.not_after) = (now - BACKDATE, now + VALIDITY);
        request.params.is_ca = IsCa::ExplicitNoCa;
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages = vec![purpose];
        let issued = request.signed_by(&self.issuer).map_err(failed)?;
        let path = self.directory.join(format!("{name}.pem"));
        write(&path, issued.pem().as_bytes(), 0o644)?;
        Ok(path)
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose, names: Vec<SanType>) -> Result<TlsFiles, LineError> {
        let failed = |source| certificate(name, source);
        let mut parameters = parameters(name);
        parameters.subject_alt_names = names;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![purpose];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let issued = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        let files = self.files(name);
        write(&files.certificate, issued.pem().as_bytes(), 0o644)?;
        write(&self.directory.join(format!("{name}.key")), key.serialize_pem().as_bytes(), 0o600)?;
        Ok(files)
    }

    /// Where the certificate and key of `common_name` are.
    pub(crate) fn files(&self, common_name: &str) -> TlsFiles {
        TlsFiles {
            certificate: self.directory.join(format!("{common_name}.pem")),
            key: self.directory.join(format!("{common_name}.key")).into(),
            trust: self.root(),
        }
    }
}

fn parameters(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::now_utc();
    (parameters.not_before, parameters.not_after) = (now - BACKDATE, now + VALIDITY);
    parameters
}

fn certificate(name: &str, source: rcgen::Error) -> LineError {
    LineError::Certificate { name: name.into(), source }
}

/// Writes a file that only `mode` may read.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), LineError> {
    let mut options = fs::OpenOptions::new();
    let open = options.write(true).create(true).truncate(true).mode(mode).open(path);
    open.and_then(|mut file| std::io::Write::write_all(&mut file, content)).map_err(LineError::file("write", path))
}
