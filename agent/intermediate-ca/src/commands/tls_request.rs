//! `tls-request`: the certification request for a TLS key in hardware, which is made there when none stands.

use std::{net::IpAddr, sync::Arc};

use issuance::PublicKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SanType, SignatureAlgorithm, SigningKey};
use service::{
    command::{Failed, say},
    tls::{HardwareKey, TlsFiles, TlsKey},
};

/// What the request says; whoever issues the certificate decides on usages and validity.
#[derive(Debug, clap::Args)]
pub struct RequestedNames {
    /// The subject's CN.
    #[arg(long)]
    common_name: String,
    /// A DNS name of a server; may be given several times.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An IP address of a server; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

/// Prints the request, PEM. `about` is the table of `files`.
///
/// # Errors
/// The key is in a file, or the hardware does not do it.
pub fn tls_request(about: &str, files: &TlsFiles, what: RequestedNames) -> Result<(), Failed> {
    let TlsKey::Hardware(key) = &files.key else {
        let words =
            format!("[{about}] key is a file: this is for a key in hardware, key = {{ keystore = \"tpm\", … }}");
        return Err(Failed::Usage(words));
    };
    let said = |problem: String| Failed::Not(Some(format!("the TLS key at {}: {problem}", key.place())));
    let public = PublicKey::from_der(&key.made().map_err(said)?).map_err(|error| said(service::in_full(&error)))?;
    let mut params = CertificateParams::new(what.dns).map_err(|error| Failed::Usage(format!("--dns: {error}")))?;
    params.subject_alt_names.extend(what.ip.into_iter().map(SanType::IpAddress));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, what.common_name);
    let signing = Signing { key: Arc::clone(key), public };
    let request = params.serialize_request(&signing).and_then(|request| request.pem());
    say(request.map_err(|_| said("it did not sign the request".to_owned()))?.trim_end())
}

/// The key, as rcgen signs with it.
struct Signing {
    key: Arc<dyn HardwareKey>,
    public: PublicKey,
}

impl PublicKeyData for Signing {
    fn der_bytes(&self) -> &[u8] {
        self.public.raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.public.algorithm() {
            issuance::KeyAlgorithm::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            issuance::KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            _ => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|problem| {
            tracing::warn!(problem, "the TLS key did not sign");
            rcgen::Error::RemoteKeyError
        })
    }
}
