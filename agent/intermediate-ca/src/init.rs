//! `init`: the CA's keys and certificates. Everything is looked for before it is made, so that `init` killed anywhere
//! and run again completes what is missing and makes nothing twice.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use issuance::{Fault, FaultKind, KeyAlgorithm, Keystore, PublicKey, Timestamp};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use service::crash;
use tracing::info;

use crate::{
    certificate::{self, CertificateError},
    generation, hsm,
    pki::{self, CaCertificate, CaCertificateError, PkiError},
    profile::{AuthoritySettings, CaName, CaSettings, contradictions, sentences},
};

/// What `init` did, in words; empty when everything was there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Initialised {
    /// One line for each key and certificate that was made.
    pub made: Vec<String>,
    /// The files that now stand, root first.
    pub files: Vec<PathBuf>,
}

/// Why `init` stopped. Run again when the cause is gone: it goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The settings contradict themselves.
    #[error("the configuration contradicts itself: {0}")]
    Contradiction(String),
    /// Another `init` is at work.
    #[error("another `init` is at work in {0}: let it end")]
    AtWork(PathBuf),
    /// The token failed.
    #[error("the token cannot be used; {}", hsm::remedy(.0))]
    Token(#[source] Fault),
    /// The key under this name is of another algorithm.
    #[error(
        "the token's key {name} is {found}, the configuration says {wanted}: set `key` to {found}, or use another token"
    )]
    OtherAlgorithm {
        /// The CA.
        name: CaName,
        /// The key's.
        found: KeyAlgorithm,
        /// The configuration's.
        wanted: KeyAlgorithm,
    },
    /// There is a certificate, and its key is gone.
    #[error(
        "{path} is there, but the token has no key {name}: this is another token; `init` never replaces a CA's key"
    )]
    KeyGone {
        /// The file.
        path: PathBuf,
        /// The CA.
        name: CaName,
    },
    /// A file is wrong or cannot be written.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate cannot be made.
    #[error(transparent)]
    CaCertificate(#[from] CaCertificateError),
    /// A signed certificate could not be put together.
    #[error("{name}'s certificate could not be put together")]
    Assemble {
        /// The CA.
        name: CaName,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// The certificate that was made does not pass the checks that reading it makes.
    #[error("{name}'s certificate was made, and does not fit: {problem}")]
    Unfit {
        /// The CA.
        name: CaName,
        /// What is wrong.
        problem: String,
    },
}

/// Makes what is missing of the root and the issuers: key, then certificate, then file.
pub fn init(
    settings: &AuthoritySettings,
    keystore: &mut dyn Keystore,
    now: Timestamp,
) -> Result<Initialised, InitError> {
    let contradictions = contradictions(&settings.root, &settings.issuers, &settings.profiles);
    if !contradictions.is_empty() {
        return Err(InitError::Contradiction(sentences(contradictions)));
    }
    let _lock = lock(&settings.pki)?;
    keystore.identify().map_err(InitError::Token)?;
    let mut done = Initialised::default();
    let root = complete(settings, &settings.root, None, keystore, now, &mut done)?;
    let mut issuers = Vec::new();
    for issuer in &settings.issuers {
        issuers.push(complete(settings, issuer, Some(&root), keystore, now, &mut done)?);
    }
    // What stands may be of a later generation: `serve` knows.
    for (path, text) in generation::published(settings, &[root], &issuers) {
        if !path.exists() {
            generation::replace(&path, &text)?;
        }
    }
    Ok(done)
}

/// Makes what is missing of one CA. `root` is `None` for the root itself.
fn complete(
    settings: &AuthoritySettings,
    ca: &CaSettings,
    root: Option<&CaCertificate>,
    keystore: &mut dyn Keystore,
    now: Timestamp,
    done: &mut Initialised,
) -> Result<CaCertificate, InitError> {
    let path = pki::path_of(&settings.pki, &ca.name);
    let standing = pki::read(&settings.pki, ca, root)?;
    let location = ca.name.key_location();
    let key = match (keystore.find_key(&location).map_err(InitError::Token)?, &standing) {
        (Some(key), _) => key,
        (None, Some(_)) => return Err(InitError::KeyGone { path, name: ca.name.clone() }),
        (None, None) => {
            crash::point("ca.init.generate.intended");
            let key = keystore.generate_key(&location, ca.key).map_err(InitError::Token)?;
            crash::point("ca.init.generate.done");
            info!(ca = %ca.name, algorithm = %ca.key, cka_id = %location, "key generated in the token");
            done.made.push(format!("key {} ({}, CKA_ID {location})", ca.name, ca.key));
            key
        }
    };
    if key.algorithm() != ca.key {
        return Err(InitError::OtherAlgorithm { name: ca.name.clone(), found: key.algorithm(), wanted: ca.key });
    }
    done.files.push(path.clone());
    if let Some(standing) = standing {
        standing.require_key(&settings.pki, &key)?;
        return Ok(standing);
    }
    crash::point("ca.init.sign.intended");
    let made = certify(ca, &key, root, keystore, now)?;
    crash::point("ca.init.sign.done");
    pki::write(&settings.pki, &ca.name, &made.der)?;
    crash::point("ca.init.write.done");
    info!(ca = %ca.name, path = %path.display(), "certificate written");
    done.made.push(format!("certificate {}", path.display()));
    Ok(made)
}

fn certify(
    ca: &CaSettings,
    key: &PublicKey,
    root: Option<&CaCertificate>,
    keystore: &mut dyn Keystore,
    now: Timestamp,
) -> Result<CaCertificate, InitError> {
    let tbs = pki::ca_tbs(ca, key, root, now)?;
    let (signer, signer_key) = root.map_or((&ca.name, key), |root| (&root.name, &root.public_key));
    let signatures = hsm::sign_verified(keystore, &signer.key_location(), signer_key, std::slice::from_ref(&tbs))
        .map_err(InitError::Token)?;
    let [signature] = signatures.as_slice() else {
        return Err(InitError::Token(Fault::new(FaultKind::Mismatch, "the token gave no signature")));
    };
    let der = certificate::assemble(&tbs, signature.as_bytes())
        .map_err(|source| InitError::Assemble { name: ca.name.clone(), source })?;
    CaCertificate::parse(ca, &der, root).map_err(|problem| InitError::Unfit { name: ca.name.clone(), problem })
}

/// Two at once could each find no key, and each make one. The lock goes with the process.
pub(crate) fn lock(directory: &Path) -> Result<File, InitError> {
    let io = |act| move |source| PkiError::Io { act, path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(io("create"))?;
    let file = File::open(directory).map_err(io("open"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(InitError::AtWork(directory.to_owned())),
        Err(error) => Err(io("lock")(error.into()).into()),
    }
}
