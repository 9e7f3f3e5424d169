//! What the CA is and what it issues: its root, its issuers and its profiles, and whether they fit together.

use std::{fmt, path::PathBuf, time::Duration};

use issuance::{CommonName, KeyAlgorithm, KeyLocation, ProfileName, Purpose, public_key::sha256};
use journal::JournalOptions;
use service::command;

/// What an authority is made of, parsed.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// The configuration file, for what people are told to type.
    pub file: PathBuf,
    /// The CA's name, as in `ca-1`.
    pub name: String,
    /// The journal's directory.
    pub journal: PathBuf,
    /// The directory of `root.pem` and `<issuer>.pem`.
    pub pki: PathBuf,
    /// The product's root.
    pub root: CaSettings,
    /// The intermediates beneath it; each signs with a key of its own.
    pub issuers: Vec<CaSettings>,
    /// What is issued.
    pub profiles: Vec<CaProfile>,
}

impl AuthoritySettings {
    /// How the CA's journal is opened and mended.
    #[must_use]
    pub fn journal_options(&self) -> JournalOptions {
        let repair = command::as_typed(&["journal", "repair", "--from", "COPY"], &self.file);
        JournalOptions { repair, ..JournalOptions::new(&self.journal, &self.name) }
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
    /// How long its certificate is valid from when it is made.
    pub validity: Duration,
    /// pathLenConstraint; absent means without limit.
    pub path_length: Option<u8>,
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
    /// How long a certificate is valid from when it is issued.
    pub validity: Duration,
    /// The device keys that are accepted.
    pub keys: Vec<KeyAlgorithm>,
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

impl fmt::Display for CaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many CAs a purpose needs beneath the certificate's issuer.
fn depth(purpose: Purpose) -> u16 {
    match purpose {
        Purpose::DeviceCa { path_length } => u16::from(path_length) + 1,
        Purpose::DeviceIdentity | Purpose::Server => 0,
    }
}

/// Where in the configuration a contradiction stands, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The table: `root`, or the index of an issuer or a profile.
    pub place: Place,
    /// The key in it.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// A table of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `[root]`.
    Root,
    /// The n-th `[[issuer]]`, counted from 0.
    Issuer(usize),
    /// The n-th `[[profile]]`, counted from 0.
    Profile(usize),
}

/// Everything that contradicts itself: names given twice, path budget, validity, and purposes that must not share an
/// issuer.
#[must_use]
pub fn contradictions(root: &CaSettings, issuers: &[CaSettings], profiles: &[CaProfile]) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let mut say = |place, key, message: String| found.push(Contradiction { place, key, message });
    for (index, issuer) in issuers.iter().enumerate() {
        let place = Place::Issuer(index);
        let earlier = &issuers[..index];
        if earlier.iter().any(|other| other.name == issuer.name) {
            say(place, "name", format!("the issuer {} stands twice: give each a name of its own", issuer.name));
        }
        // Names are compared without case: a verifier that folds them would take one CA for the other.
        if std::iter::once(root).chain(earlier).any(|other| other.common_name.folded() == issuer.common_name.folded()) {
            say(
                place,
                "common_name",
                format!("another CA has the CN {:?}: give each a CN of its own", issuer.common_name.as_str()),
            );
        }
        if issuer.validity > root.validity {
            say(
                place,
                "validity",
                format!("longer than the root's {}: a CA cannot outlive its issuer", days(root.validity)),
            );
        }
        if let (Some(above), own) = (root.path_length, issuer.path_length.unwrap_or(0))
            && above <= own
        {
            let needed = u16::from(own) + 1;
            say(
                Place::Root,
                "path_length",
                format!("{above} does not allow the issuer {}: give {needed} or more, or leave it out", issuer.name),
            );
        }
    }
    for (index, profile) in profiles.iter().enumerate() {
        let place = Place::Profile(index);
        if profiles[..index].iter().any(|other| other.name == profile.name) {
            say(place, "name", format!("the profile {} stands twice", profile.name));
        }
        let Some(issuer) = issuers.iter().find(|issuer| issuer.name == profile.issuer) else {
            say(place, "issuer", format!("no [[issuer]] is named {}: add it, or name another", profile.issuer));
            continue;
        };
        let needed = depth(profile.purpose);
        for (ca, allows) in [
            (issuer, issuer.path_length.map(u16::from)),
            (root, root.path_length.map(|n| u16::from(n).saturating_sub(1))),
        ] {
            if allows.is_some_and(|allows| allows < needed) {
                say(
                    place,
                    "path_length",
                    format!(
                        "the certificate would have {needed} CA(s) from its issuer down, itself included, and {}'s \
                         path_length does not allow them: raise that one, or leave it out there",
                        ca.name
                    ),
                );
            }
        }
        if profile.validity > issuer.validity {
            say(
                place,
                "validity",
                format!(
                    "longer than the issuer {}'s {}: nothing outlives its issuer",
                    issuer.name,
                    days(issuer.validity)
                ),
            );
        }
        // A device CA can sign anything. Whoever trusts the identity intermediate must not trust what it signs.
        let is_device_ca = |purpose| matches!(purpose, Purpose::DeviceCa { .. });
        let clashes = |other: &&CaProfile| {
            other.issuer == profile.issuer
                && (is_device_ca(profile.purpose) && other.purpose == Purpose::DeviceIdentity
                    || profile.purpose == Purpose::DeviceIdentity && is_device_ca(other.purpose))
        };
        if let Some(other) = profiles[..index].iter().find(clashes) {
            say(
                place,
                "issuer",
                format!(
                    "{} also issues {}: device CAs and device identities need different issuers, or a stolen device CA \
                     could pass for a neighbour",
                    profile.issuer, other.name
                ),
            );
        }
    }
    found
}

/// A duration as configuration spells it.
pub(crate) fn days(duration: Duration) -> String {
    format!("{}d", duration.as_secs() / 86_400)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const DAY: Duration = Duration::from_secs(86_400);

    pub(crate) fn ca(name: &str, path_length: Option<u8>, validity_days: u32) -> CaSettings {
        CaSettings {
            name: if name == "root" { CaName::root() } else { CaName::parse(name).unwrap() },
            common_name: CommonName::parse(&format!("Test {name}")).unwrap(),
            organization: Some("Example Devices".to_owned()),
            key: KeyAlgorithm::P256,
            validity: DAY * validity_days,
            path_length,
        }
    }

    pub(crate) fn profile(name: &str, purpose: Purpose, issuer: &str) -> CaProfile {
        CaProfile {
            name: ProfileName::parse(name).unwrap(),
            purpose,
            issuer: CaName::parse(issuer).unwrap(),
            validity: DAY * 100,
            keys: vec![KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048],
        }
    }

    const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };

    fn found(root: &CaSettings, issuers: &[CaSettings], profiles: &[CaProfile]) -> Vec<(Place, &'static str)> {
        contradictions(root, issuers, profiles).into_iter().map(|found| (found.place, found.key)).collect()
    }

    /// A device CA needs pathlen 1 above it and 2 at the root; absent is without limit.
    #[test]
    fn the_path_budget_is_checked() {
        for (root, issuer, expected) in [
            (None, None, vec![]),
            (None, Some(1), vec![]),
            (Some(2), Some(1), vec![]),
            (Some(2), None, vec![]),
            (None, Some(0), vec![(Place::Profile(0), "path_length")]),
            (Some(1), None, vec![(Place::Profile(0), "path_length")]),
            (Some(1), Some(1), vec![(Place::Root, "path_length"), (Place::Profile(0), "path_length")]),
            (Some(0), Some(1), vec![(Place::Root, "path_length"), (Place::Profile(0), "path_length")]),
        ] {
            let profiles = [profile("device-ca", DEVICE_CA, "device-ca")];
            let issuers = [ca("device-ca", issuer, 1_000)];
            assert_eq!(found(&ca("root", root, 2_000), &issuers, &profiles), expected, "{root:?} {issuer:?}");
        }
        let deep = [profile("deep", Purpose::DeviceCa { path_length: 255 }, "device-ca")];
        assert_eq!(found(&ca("root", None, 9), &[ca("device-ca", Some(255), 1)], &deep).len(), 2);
    }

    /// Names given twice, unknown issuers, validity beyond the issuer's, and purposes that must not meet are all found.
    #[test]
    fn every_contradiction_is_found_at_once() {
        let root = ca("root", None, 1_000);
        let mut twin = ca("two", None, 2_000);
        twin.common_name = CommonName::parse("TEST ROOT").unwrap();
        let issuers = [ca("one", None, 50), ca("one", None, 500), twin];
        let profiles = [
            profile("a", DEVICE_CA, "one"),
            profile("a", Purpose::DeviceIdentity, "one"),
            profile("b", Purpose::Server, "three"),
        ];
        assert_eq!(
            found(&root, &issuers, &profiles),
            [
                (Place::Issuer(1), "name"),
                (Place::Issuer(1), "common_name"),
                (Place::Issuer(2), "common_name"),
                (Place::Issuer(2), "validity"),
                (Place::Profile(0), "validity"),
                (Place::Profile(1), "name"),
                (Place::Profile(1), "validity"),
                (Place::Profile(1), "issuer"),
                (Place::Profile(2), "issuer"),
            ]
        );
    }

    /// Issuers' names are what a file, a label and a command line can all carry.
    #[test]
    fn issuer_names_are_checked() {
        assert_eq!(CaName::parse("root"), Err(CaNameError::Root));
        for wrong in ["", "A", "1a", "../x", "a.b", &"x".repeat(33)] {
            assert!(matches!(CaName::parse(wrong), Err(CaNameError::Shape(_))), "{wrong:?}");
        }
        let KeyLocation::Pkcs11 { cka_id, label } = CaName::parse("device-ca").unwrap().key_location() else {
            panic!("not in a token");
        };
        assert_eq!((cka_id.len(), label.as_str()), (16, "device-ca"));
    }
}
