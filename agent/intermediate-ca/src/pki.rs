//! The CA's own certificates: how they are made, and the files in which they stand.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use issuance::{
    PublicKey, Timestamp,
    certificate::name_constraints::NameConstraints,
    public_key::{algorithm_words, hex, signature_hash},
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, SerialNumber};
use service::{crash, file};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer};

use crate::{
    certificate::{self, CertificateError, CertificateSerial, Template, tbs_certificate},
    certify::rcgen_constraints,
    hsm::Signer,
    profile::{CaName, CaSettings},
};

/// Certificates begin this long ago: a device's clock may lag behind ours by minutes, and it would refuse a certificate
/// from its future. Longer would claim trust that was not there.
pub(crate) const CLOCK_ALLOWANCE: Duration = Duration::from_secs(300);

/// A CA certificate that fits its configuration and its issuer.
#[derive(Debug, Clone)]
pub struct CaCertificate {
    /// `root` or the issuer's name.
    pub name: CaName,
    /// DER.
    pub der: Vec<u8>,
    /// Its key.
    pub public_key: PublicKey,
    /// What rcgen needs of it to issue.
    pub(crate) template: Arc<Template>,
    /// Its subject, DER: every certificate that it issues repeats these bytes.
    pub(crate) subject: Vec<u8>,
    /// Its SKI.
    pub(crate) key_identifier: Vec<u8>,
    /// Its pathLenConstraint.
    pub(crate) path_length: Option<u8>,
    /// What the names beneath it must keep to.
    pub(crate) name_constraints: NameConstraints,
    /// Valid from, seconds since 1970.
    pub(crate) not_before: i64,
    /// Valid to, seconds since 1970.
    pub(crate) not_after: i64,
}

/// What is wrong with a file of the CA.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file system refused.
    #[error("could not {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There, but not what it must be.
    #[error("{path} does not fit: {problem}; put the right file back, or move this one away and run `init`")]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file that was brought holds something else than certificates.
    #[error("{path} cannot be imported: {problem}; bring the certificates that the root signed, and its own, as PEM")]
    Brought {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not there.
    #[error("{path} is not there: run `intermediate-ca init` first")]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

/// Where a CA's certificate stands.
pub(crate) fn path_of(directory: &Path, name: &CaName) -> PathBuf {
    directory.join(format!("{name}.pem"))
}

/// Reads a CA's certificate and holds it against its configuration and against who issued it: `None` is the CA itself.
/// Absent is `Ok(None)`; anything there that does not fit is an error.
pub(crate) fn read(
    directory: &Path,
    settings: &CaSettings,
    issuer: Option<&CaCertificate>,
) -> Result<Option<CaCertificate>, PkiError> {
    let path = path_of(directory, &settings.name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PkiError::Io { act: "read", path, source }),
    };
    let parse = || {
        let blocks = pem::parse_many(&bytes).map_err(|_| "it is not PEM".to_owned())?;
        let [block] = blocks.as_slice() else {
            return Err(format!("it holds {} PEM blocks, not one", blocks.len()));
        };
        if block.tag() != "CERTIFICATE" {
            return Err(format!("it holds a {}, not a CERTIFICATE", block.tag()));
        }
        CaCertificate::parse(settings, block.contents(), issuer)
    };
    parse().map(Some).map_err(|problem| PkiError::DoesNotFit { path, problem })
}

impl CaCertificate {
    /// Parses a certificate, DER, and holds it against its configuration and against who issued it: `None` is the CA itself.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn parse(settings: &CaSettings, der: &[u8], issuer: Option<&Self>) -> Result<Self, String> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err("it is not one DER certificate".to_owned());
        };
        let tbs = &certificate.tbs_certificate;
        let public_key = PublicKey::from_der(tbs.subject_pki.raw).map_err(|error| error.to_string())?;
        let names = |found: Vec<&str>, wanted: Vec<&str>| found == wanted;
        let common_names = tbs.subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
        if !names(common_names, vec![settings.common_name.as_str()]) {
            return Err(format!("its subject's CN is not {:?}", settings.common_name.as_str()));
        }
        let organizations = tbs.subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
        if !names(organizations, settings.organization.as_deref().into_iter().collect()) {
            return Err(format!("its subject's O is not {:?}", settings.organization.as_deref().unwrap_or("absent")));
        }
        // rcgen would collapse repeated attributes (HARDWARE.md, traps 1), and every certificate would name another issuer.
        if tbs.subject.iter_attributes().count() != 1 + usize::from(settings.organization.is_some()) {
            return Err("its subject has other attributes than O and CN".to_owned());
        }
        let constraints = tbs.basic_constraints().ok().flatten().ok_or("it has no BasicConstraints")?;
        if !constraints.critical || !constraints.value.ca {
            return Err("it is not a CA: BasicConstraints must be critical with CA:TRUE".to_owned());
        }
        if constraints.value.path_len_constraint != settings.path_length.map(u32::from) {
            let text = |length: Option<u32>| length.map_or("absent".to_owned(), |length| length.to_string());
            return Err(format!(
                "its pathlen is {}, the configuration says {}",
                text(constraints.value.path_len_constraint),
                text(settings.path_length.map(u32::from))
            ));
        }
        let name_constraints =
            NameConstraints::of(&certificate).map_err(|error| error.to_string())?.unwrap_or_default();
        if name_constraints != settings.name_constraints {
            return Err("its name constraints are not the configuration's".to_owned());
        }
        let usage = tbs.key_usage().ok().flatten().ok_or("it has no KeyUsage")?;
        if !usage.critical || !usage.value.key_cert_sign() || !usage.value.crl_sign() {
            return Err("its KeyUsage is not critical with keyCertSign and cRLSign".to_owned());
        }
        let key_identifier = subject_key_identifier(&certificate).ok_or("it has no SubjectKeyIdentifier")?;
        let (issuer_subject, issuer_key) = match issuer {
            Some(issuer) => (issuer.subject.as_slice(), &issuer.public_key),
            None => (tbs.subject.as_raw(), &public_key),
        };
        let whose = issuer.map_or("itself", |issuer| issuer.name.as_str());
        let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        let Some(hash) = signature_hash(&algorithm, issuer_key.algorithm().is_rsa()) else {
            let words = algorithm_words(&algorithm);
            return Err(format!("it is signed with {words}: have it signed with SHA-256, SHA-384 or SHA-512"));
        };
        if tbs.issuer.as_raw() != issuer_subject
            || !issuer_key.verifies_with(hash, tbs.as_ref(), &certificate.signature_value.data)
        {
            return Err(format!("it is not issued by {whose}"));
        }
        Ok(Self {
            name: settings.name.clone(),
            der: der.to_vec(),
            template: certificate::template(der, &public_key)
                .map(Arc::new)
                .map_err(|error| service::in_full(&error))?,
            subject: tbs.subject.as_raw().to_vec(),
            key_identifier,
            path_length: settings.path_length,
            name_constraints,
            not_before: tbs.validity.not_before.timestamp(),
            not_after: tbs.validity.not_after.timestamp(),
            public_key,
        })
    }

    /// Its key, with the key's own hash.
    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer::own(&self.name, &self.public_key)
    }

    /// Holds the certificate against the key that the token holds under its name.
    pub(crate) fn require_key(&self, directory: &Path, key: &PublicKey) -> Result<(), PkiError> {
        if *key == self.public_key {
            return Ok(());
        }
        Err(PkiError::DoesNotFit {
            path: path_of(directory, &self.name),
            problem: format!(
                "its key has SHA-256 {}, the token's key {} has {}",
                hex(&self.public_key.sha256()),
                self.name,
                hex(&key.sha256())
            ),
        })
    }
}

/// The SKI of a certificate.
pub(crate) fn subject_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

/// Why a CA certificate cannot be made today.
#[derive(Debug, thiserror::Error)]
pub enum CaCertificateError {
    /// It would end after its issuer.
    #[error("{name}'s certificate would be valid until {until}, the root's ends {root}: shorten {name}'s validity")]
    OutlivesRoot {
        /// The issuer.
        name: CaName,
        /// Its end.
        until: String,
        /// The root's end.
        root: String,
    },
    /// Its end has passed.
    #[error("{name}'s certificate would have ended already, {end}: set its not_after anew")]
    Ended {
        /// The CA.
        name: CaName,
        /// Its end.
        end: String,
    },
    /// It would end after the year 9999.
    #[error("{0}'s certificate would end after the year 9999: shorten its validity")]
    TooLong(CaName),
    /// It could not be encoded.
    #[error("{name}'s certificate could not be made")]
    Certificate {
        /// The CA.
        name: CaName,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

/// The TBSCertificate of a CA, to be signed by `root`'s key; `None`: by its own.
pub(crate) fn ca_tbs(
    settings: &CaSettings,
    key: &PublicKey,
    root: Option<&CaCertificate>,
    now: Timestamp,
) -> Result<Vec<u8>, CaCertificateError> {
    let name = || settings.name.clone();
    let failed = |source| CaCertificateError::Certificate { name: name(), source };
    let start = now.seconds() - CLOCK_ALLOWANCE.as_secs().cast_signed();
    let start = root.map_or(start, |root| start.max(root.not_before));
    let end = settings.validity.seconds(now);
    if end <= now.seconds() {
        return Err(CaCertificateError::Ended { name: name(), end: moment_text(end) });
    }
    if let Some(root) = root.filter(|root| root.not_after < end) {
        return Err(CaCertificateError::OutlivesRoot {
            name: name(),
            until: moment_text(end),
            root: moment_text(root.not_after),
        });
    }
    let mut params = request_params(settings);
    params.not_before = moment(start).ok_or_else(|| CaCertificateError::TooLong(name()))?;
    params.not_after = moment(end).ok_or_else(|| CaCertificateError::TooLong(name()))?;
    params.serial_number = Some(SerialNumber::from_slice(CertificateSerial::random().map_err(failed)?.as_bytes()));
    params.name_constraints = rcgen_constraints(&settings.name_constraints);
    params.use_authority_key_identifier_extension = root.is_some();
    tbs_certificate(&params, key, root.map(|root| &*root.template)).map_err(failed)
}

/// What a CA's own request asks for: its subject, CA:TRUE with its pathlen, and its key's usages. rcgen has no place for name
/// constraints in a request: whoever certifies it is told them.
pub(crate) fn request_params(settings: &CaSettings) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = &settings.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, settings.common_name.as_str());
    params.is_ca =
        IsCa::Ca(settings.path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Seconds since 1970 as a moment; `None` after the year 9999, where certificates end (RFC 5280 §4.1.2.5).
pub(crate) fn moment(seconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// For messages: `2031-05-04 12:00:00 UTC`.
pub(crate) fn moment_text(seconds: i64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    moment(seconds).and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// Writes a certificate as PEM: whole or not at all, and on the disk when this returns.
pub(crate) fn write(directory: &Path, name: &CaName, der: &[u8]) -> Result<(), PkiError> {
    let path = path_of(directory, name);
    let fresh = write_beside(&path, pem_of([der]).as_bytes())?;
    crash::point("ca.init.write.synced");
    put_in_place(&fresh, &path)
}

/// Certificates as PEM, one after the other.
pub(crate) fn pem_of<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates.into_iter().map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)).collect()
}

/// The first half of replacing a file: its new content stands beside it, on the disk.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, PkiError> {
    file::write_beside(path, bytes).map_err(io("write", path))
}

/// The second half: whoever reads finds the old content or the new, and after this the new is on the disk.
pub(crate) fn put_in_place(fresh: &Path, path: &Path) -> Result<(), PkiError> {
    file::put_in_place(fresh, path).map_err(io("put in place", path))
}

fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::Io { act, path, source }
}
