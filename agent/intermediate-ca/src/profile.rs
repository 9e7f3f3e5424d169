//! What the CA is and what it issues: its root, its issuers and its profiles, and whether they fit together.

mod contradictions;
mod extensions;
mod names;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    borrow::Borrow,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use issuance::{
    CommonName, KeyAlgorithm, KeyLocation, ProfileName, Purpose, Timestamp,
    certificate::name_constraints::NameConstraints,
    public_key::{Hash, sha256},
    residency::EndorsementPolicy,
};
use journal::{JournalOptions, LogError, LogOptions, Witness};
use service::command::{self, Client};

pub(crate) use contradictions::sentences;
pub use contradictions::{Contradiction, Place, contradictions};
pub use extensions::{ExtendedUsage, ExtensionRules, NotAnObjectIdentifier, ObjectIdentifier, Usage};
pub use names::{AlternativeNameRules, SubjectRules};
pub(crate) use names::{Given, is_host_name};

use crate::{lots::LotSettings, pki::moment_text};

use crate::{crl::CrlSettings, hardware_key::HardwareKeySettings};

/// What an authority is made of, parsed.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// The configuration file, for what people are told to type.
    pub file: PathBuf,
    /// The CA's name, as in `ca-1`.
    pub name: String,
    /// Whether what is for development and demonstrations is refused.
    pub production: bool,
    /// The journal's directory.
    pub journal: PathBuf,
    /// The directory of `root.pem` and `<issuer>.pem`.
    pub pki: PathBuf,
    /// Where checkpoints of the journal are kept and what signs them.
    pub checkpoints: LogOptions,
    /// The key of a TPM or token that signs them too, when there is one; it is among their signers already.
    pub hardware_key: Option<HardwareKeySettings>,
    /// What the brand owner's witness last saw of the journal, a file; `None`: nobody is asked.
    pub witnessed: Option<PathBuf>,
    /// The CA that is asked at the start and while this one serves; `None`: nobody is.
    pub witness: Option<Client>,
    /// The product's root.
    pub root: CaSettings,
    /// The intermediates beneath it; each signs with a key of its own.
    pub issuers: Vec<CaSettings>,
    /// What is issued.
    pub profiles: Vec<CaProfile>,
    /// What is asked of lots.
    pub lots: LotSettings,
    /// The certificate revocation lists; `None` makes none.
    pub crl: Option<CrlSettings>,
}

impl AuthoritySettings {
    /// How the CA's journal is opened and mended.
    #[must_use]
    pub fn journal_options(&self) -> JournalOptions {
        let repair = command::as_typed(&["journal", "repair", "--from", "COPY"], &self.file);
        JournalOptions { repair, ..JournalOptions::new(&self.journal, &self.name) }
    }

    /// This CA as the witness of the stations' journals: what it saw stands in `witness` below the journal's directory, its key
    /// beside that directory.
    pub(crate) fn own_witness(&self) -> Result<Witness, LogError> {
        let mut key_file = self.journal.as_os_str().to_owned();
        key_file.push(".witness.key");
        Witness::open(&self.journal.join("witness"), Path::new(&key_file), &format!("{}/witness", self.name))
    }
}

/// One CA: the root or an issuer.
#[derive(Debug, Clone)]
pub struct CaSettings {
    /// `root`, or the issuer's name: CKA_LABEL of its key and the stem of its file.
    pub name: CaName,
    /// The subject's CN.
    pub common_name: CommonName,
    /// The subject's O, if it has one: 1 to 64 characters (RFC 5280's ub-organization-name).
    pub organization: Option<String>,
    /// Its key's algorithm.
    pub key: KeyAlgorithm,
    /// Its key is not in the token: of a root alone.
    pub offline: bool,
    /// When its certificate ends.
    pub validity: End,
    /// pathLenConstraint; absent means without limit.
    pub path_length: Option<u8>,
    /// What the names beneath it must keep to; empty: nothing.
    pub name_constraints: NameConstraints,
}

/// One kind of certificate.
#[derive(Debug, Clone)]
pub struct CaProfile {
    /// Its name, the same at the stations.
    pub name: ProfileName,
    /// What it is for, and so which extensions it carries.
    pub purpose: Purpose,
    /// Who issues it.
    pub issuer: CaName,
    /// When a certificate ends.
    pub validity: End,
    /// Whether it may end after its issuer: verifiers refuse it from the issuer's end on, and so the configuration must
    /// say that this is meant.
    pub outlives_issuer: bool,
    /// The device keys that are accepted.
    pub keys: Vec<KeyAlgorithm>,
    /// Which TPMs are believed, where the key's residency must be attested.
    pub endorsement: Option<EndorsementPolicy>,
    /// The hash that the issuer signs with; `None`: its key's own ([`KeyAlgorithm::hash`]).
    pub signature_hash: Option<Hash>,
    /// The callers that may use it, by the mark that the configuration knows them by; `None`: every station.
    pub callers: Option<Vec<String>>,
    /// What the subject says.
    pub subject: SubjectRules,
    /// What the SAN says.
    pub alternative_names: AlternativeNameRules,
    /// What the other extensions say, beyond what the purpose gives.
    pub extensions: ExtensionRules,
}

/// When certificates end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// So long after they are made.
    After(Duration),
    /// At this second, since 1970.
    At(i64),
}

impl End {
    /// 9999-12-31T23:59:59Z: a certificate without a well-defined end (RFC 5280 §4.1.2.5), for devices without a clock.
    pub const NEVER: Self = Self::At(253_402_300_799);

    /// The end of a certificate made now, in seconds since 1970.
    pub(crate) fn seconds(self, now: Timestamp) -> i64 {
        match self {
            Self::After(span) => now.seconds().saturating_add_unsigned(span.as_secs()),
            Self::At(end) => end,
        }
    }

    /// Whether it is known before anything is made that this ends after the other. Of a span and a moment only the
    /// certificates tell.
    fn is_after(self, other: Self) -> bool {
        match (self, other) {
            (Self::After(own), Self::After(other)) => own > other,
            (Self::At(own), Self::At(other)) => own > other,
            // A span that reached it would be thousands of years.
            (own, Self::After(_)) => own == Self::NEVER,
            (Self::After(_), Self::At(_)) => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(span) => write!(f, "{}d", span.as_secs() / 86_400),
            Self::At(end) => f.write_str(&moment_text(*end)),
        }
    }
}

/// The name of a root or an issuer: a file's stem and a key's label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaName(String);

/// Why a CA's name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaNameError {
    /// Not 1 to 32 of the accepted characters.
    #[error("{0:?} cannot name an issuer: give 1 to 32 of [a-z0-9-], beginning with a letter")]
    Shape(String),
    /// The root's own.
    #[error("\"root\" is the root's own name: give the issuer another one")]
    Root,
}

impl CaName {
    /// The root's.
    #[must_use]
    pub fn root() -> Self {
        Self("root".to_owned())
    }

    /// Parses an issuer's name. Some tokens keep no more than 32 characters of a label.
    pub fn parse(text: &str) -> Result<Self, CaNameError> {
        let accepted =
            |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
        if text == "root" {
            return Err(CaNameError::Root);
        }
        if text.len() > 32 || !text.starts_with(|first: char| first.is_ascii_lowercase()) || !text.chars().all(accepted)
        {
            return Err(CaNameError::Shape(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name of its successor: generation 1 is the first, and keeps the name. No configured name has a dot.
    #[must_use]
    pub fn in_generation(&self, generation: u32) -> Self {
        if generation <= 1 { self.clone() } else { Self(format!("{}.{generation}", self.0)) }
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its key is in the token. CKA_ID follows from the name alone, so that a key is found before one is made.
    #[must_use]
    pub fn key_location(&self) -> KeyLocation {
        let digest = sha256(self.0.as_bytes());
        KeyLocation::Pkcs11 { cka_id: digest[..16].to_vec(), label: self.0.clone() }
    }
}

/// It orders as its text does.
impl Borrow<str> for CaName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
