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
    ceremony,
    certificate::{self, CertificateError},
    generation,
    hsm::{self, Signer},
    pki::{self, CaCertificate, CaCertificateError, PkiError},
    production,
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
    /// What is for development alone.
    #[error("{0}")]
    NotForProduction(String),
    /// A certificate that was brought does not fit.
    #[error("the certificate that was brought for {name} does not fit: {problem}")]
    Brought {
        /// The CA.
        name: CaName,
        /// What is wrong.
        problem: String,
    },
    /// The root's key is offline, and its certificate was not brought.
    #[error("the root's key is offline: bring its certificate, with the CN {common_name:?}, by --import FILE")]
    RootAway {
        /// Its CN.
        common_name: String,
    },
    /// Certificates were brought, and the configuration has the root's key in the token.
    #[error(
        "certificates were brought by --import, and the root's key is in this token: say `offline = true` in [root] where it is \
         elsewhere, or leave --import out"
    )]
    NotOffline,
    /// Requests await the offline root.
    #[error("{0}")]
    Awaited(String),
    /// The certificate that was made does not pass the checks that reading it makes.
    #[error("{name}'s certificate was made, and does not fit: {problem}")]
    Unfit {
        /// The CA.
        name: CaName,
        /// What is wrong.
        problem: String,
    },
}

/// Makes what is missing of the root and the issuers: key, then certificate, then file. With an offline root it takes its
/// certificates from `brought`, DER, and writes a certification request for each that is missing.
///
/// # Errors
/// [`InitError`]; what was made before stands, and is found again.
pub fn init(
    settings: &AuthoritySettings,
    keystore: &mut dyn Keystore,
    now: Timestamp,
    brought: &[Vec<u8>],
) -> Result<Initialised, InitError> {
    let contradictions = contradictions(&settings.root, &settings.issuers, &settings.profiles);
    if !contradictions.is_empty() {
        return Err(InitError::Contradiction(sentences(contradictions)));
    }
    if !settings.root.offline && !brought.is_empty() {
        return Err(InitError::NotOffline);
    }
    let _lock = lock(&settings.pki)?;
    let identity = keystore.identify().map_err(InitError::Token)?;
    if let Some(problem) = production::token(&identity).filter(|_| settings.production) {
        return Err(InitError::NotForProduction(problem));
    }
    let mut done = Initialised::default();
    let root = match settings.root.offline {
        true => brought_root(settings, brought, &mut done)?,
        false => complete(settings, &settings.root, None, keystore, now, &mut done)?,
    };
    let (mut issuers, mut awaited) = (Vec::new(), Vec::new());
    for issuer in &settings.issuers {
        if !settings.root.offline {
            issuers.push(complete(settings, issuer, Some(&root), keystore, now, &mut done)?);
            continue;
        }
        match complete_brought(settings, issuer, &root, keystore, brought, &mut done)? {
            Ok(made) => issuers.push(made),
            Err(request) => awaited.push(request),
        }
    }
    if !awaited.is_empty() {
        return Err(InitError::Awaited(ceremony::asked(&awaited, brought.len(), "intermediate-ca init")));
    }
    // What stands may be of a later generation: `serve` knows.
    for (path, text) in generation::published(settings, &[root], &issuers) {
        if !path.exists() {
            generation::replace(&path, &text)?;
        }
    }
    Ok(done)
}

/// The certificate of a root whose key is elsewhere.
fn brought_root(
    settings: &AuthoritySettings,
    brought: &[Vec<u8>],
    done: &mut Initialised,
) -> Result<CaCertificate, InitError> {
    let (ca, path) = (&settings.root, pki::path_of(&settings.pki, &settings.root.name));
    done.files.push(path.clone());
    if let Some(standing) = pki::read(&settings.pki, ca, None)? {
        return Ok(standing);
    }
    let Some(made) = ceremony::root(brought, ca)? else {
        return Err(InitError::RootAway { common_name: ca.common_name.to_string() });
    };
    pki::write(&settings.pki, &ca.name, &made.der)?;
    crash::point("ca.ceremony.import.done");
    done.made.push(format!("certificate {}", path.display()));
    Ok(made)
}

/// Makes what is missing of one issuer under such a root; the inner error is the request that awaits its certificate.
fn complete_brought(
    settings: &AuthoritySettings,
    ca: &CaSettings,
    root: &CaCertificate,
    keystore: &mut dyn Keystore,
    brought: &[Vec<u8>],
    done: &mut Initialised,
) -> Result<Result<CaCertificate, PathBuf>, InitError> {
    let path = pki::path_of(&settings.pki, &ca.name);
    let standing = pki::read(&settings.pki, ca, Some(root))?;
    let key = key_of(settings, ca, standing.is_some(), keystore, done)?;
    done.files.push(path.clone());
    if let Some(standing) = standing {
        standing.require_key(&settings.pki, &key)?;
        return Ok(Ok(standing));
    }
    let Some(made) = ceremony::issuer(brought, ca, &key, root)? else {
        return ceremony::export(&settings.pki, ca, &key, keystore).map(Err);
    };
    pki::write(&settings.pki, &ca.name, &made.der)?;
    crash::point("ca.ceremony.import.done");
    done.made.push(format!("certificate {}", path.display()));
    Ok(Ok(made))
}

/// The key of one CA, made where there is neither key nor certificate.
fn key_of(
    settings: &AuthoritySettings,
    ca: &CaSettings,
    is_certified: bool,
    keystore: &mut dyn Keystore,
    done: &mut Initialised,
) -> Result<PublicKey, InitError> {
    let location = ca.name.key_location();
    let key = match keystore.find_key(&location).map_err(InitError::Token)? {
        Some(key) => key,
        None if is_certified => {
            return Err(InitError::KeyGone { path: pki::path_of(&settings.pki, &ca.name), name: ca.name.clone() });
        }
        None => {
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
    Ok(key)
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
    let key = key_of(settings, ca, standing.is_some(), keystore, done)?;
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
    let signer = root.map_or_else(|| Signer::own(&ca.name, key), CaCertificate::signer);
    let signatures = hsm::sign_verified(keystore, &signer, std::slice::from_ref(&tbs)).map_err(InitError::Token)?;
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
