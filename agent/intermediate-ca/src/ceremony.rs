//! A root whose key is elsewhere, `[root] offline = true`: each issuer's certification request goes out, its certificate
//! comes in, and nothing is taken that is not exactly what the configuration says.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use issuance::{Keystore, PublicKey, request::CertificationRequest};
use service::crash;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    certificate,
    hsm::{self, Signer, VerifiedSignature},
    init::InitError,
    pki::{self, CaCertificate, PkiError},
    profile::CaSettings,
};

/// Reads the certificates that somebody brings, DER: of each file all that it holds.
///
/// # Errors
/// A file that cannot be read, or that holds something else than certificates in PEM.
pub fn read_certificates(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, PkiError> {
    let mut all = Vec::new();
    for path in paths {
        let bytes = fs::read(path).map_err(|source| PkiError::Io { act: "read", path: path.clone(), source })?;
        let strange = |problem: &'static str| PkiError::Brought { path: path.clone(), problem };
        let blocks = pem::parse_many(bytes).map_err(|_| strange("it is not PEM"))?;
        if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
            return Err(strange("it holds something else than certificates in PEM"));
        }
        all.extend(blocks.into_iter().map(pem::Pem::into_contents));
    }
    Ok(all)
}

/// The root's certificate among those that were brought: the one with its CN that signed itself.
pub(crate) fn root(brought: &[Vec<u8>], ca: &CaSettings) -> Result<Option<CaCertificate>, InitError> {
    let is_it = |der: &&Vec<u8>| {
        X509Certificate::from_der(der).is_ok_and(|(_, parsed)| {
            let names: Vec<&str> = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
            names == [ca.common_name.as_str()]
        })
    };
    brought.iter().find(is_it).map(|der| fitting(ca, der, None)).transpose()
}

/// The certificate of a key among those that were brought.
pub(crate) fn issuer(
    brought: &[Vec<u8>],
    ca: &CaSettings,
    key: &PublicKey,
    root: &CaCertificate,
) -> Result<Option<CaCertificate>, InitError> {
    let is_it =
        |der: &&Vec<u8>| X509Certificate::from_der(der).is_ok_and(|(_, parsed)| parsed.public_key().raw == key.spki());
    brought.iter().find(is_it).map(|der| fitting(ca, der, Some(root))).transpose()
}

fn fitting(ca: &CaSettings, der: &[u8], root: Option<&CaCertificate>) -> Result<CaCertificate, InitError> {
    let unfit = |problem| InitError::Brought { name: ca.name.clone(), problem };
    let made = CaCertificate::parse(ca, der, root).map_err(unfit)?;
    match made.public_key.algorithm() {
        algorithm if algorithm == ca.key => {
            crash::point("ca.ceremony.import.intended");
            Ok(made)
        }
        algorithm => Err(unfit(format!("its key is {algorithm}, the configuration says {}", ca.key))),
    }
}

/// Writes the issuer's certification request, signed by its key, unless one of that key stands there; where it stands.
pub(crate) fn export(
    directory: &Path,
    ca: &CaSettings,
    key: &PublicKey,
    keystore: &mut dyn Keystore,
) -> Result<PathBuf, InitError> {
    let path = directory.join(format!("{}.csr.pem", ca.name));
    let stands = match fs::read(&path) {
        Ok(bytes) => pem::parse(bytes).is_ok_and(|block| {
            CertificationRequest::from_der(block.contents()).is_ok_and(|request| request.public_key() == key)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(PkiError::Io { act: "read", path, source }.into()),
    };
    if stands {
        return Ok(path);
    }
    let assemble = |source| InitError::Assemble { name: ca.name.clone(), source };
    let unsigned = certificate::request_info(&pki::request_params(ca), key).map_err(assemble)?;
    crash::point("ca.ceremony.request.intended");
    let signed = hsm::sign_verified(keystore, &Signer::own(&ca.name, key), std::slice::from_ref(&unsigned.info));
    let signature = signed.map_err(InitError::Token)?.into_iter().next().map(VerifiedSignature::into_bytes);
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let text = pem::encode_config(
        &pem::Pem::new("CERTIFICATE REQUEST", unsigned.whole(&signature.unwrap_or_default())),
        config,
    );
    let fresh = pki::write_beside(&path, text.as_bytes())?;
    crash::point("ca.ceremony.request.synced");
    pki::put_in_place(&fresh, &path)?;
    crash::point("ca.ceremony.request.done");
    Ok(path)
}

/// What is asked of whoever holds the root's key, in words.
pub(crate) fn asked(requests: &[PathBuf], brought: usize, command: &str) -> String {
    let requests: Vec<String> = requests.iter().map(|path| path.display().to_string()).collect();
    let unused = match brought {
        0 => String::new(),
        _ => ", for none of the certificates given is of these keys".to_owned(),
    };
    format!(
        "the root's key is offline{unused}: have it certify {}, and bring the certificates with `{command} --import FILE`",
        requests.join(", ")
    )
}
