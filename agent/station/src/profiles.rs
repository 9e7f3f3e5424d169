//! The profiles that this station issues under, each with the CAs and roots it is pinned to.

use std::collections::BTreeMap;

use issuance::{Profile, ProfileName, residency::EndorsementPolicy};

/// A profile and whom it trusts.
#[derive(Debug, Clone)]
pub struct PinnedProfile {
    /// The profile.
    pub profile: Profile,
    /// The CAs that may issue under it, DER.
    pub issuers: Vec<Vec<u8>>,
    /// Their CNs: no device may have one of them.
    pub issuer_names: Vec<String>,
    /// The roots to trust, DER.
    pub roots: Vec<Vec<u8>>,
    /// Which TPMs are believed, when the key's residency must be attested.
    pub endorsement: Option<EndorsementPolicy>,
    /// SHA-256 of the profile as understood: for the record.
    pub sha256: [u8; 32],
}

/// All profiles, by name.
#[derive(Debug, Clone, Default)]
pub struct Profiles(BTreeMap<ProfileName, PinnedProfile>);

impl Profiles {
    /// Collects profiles; of two with one name the later is kept (configuration refuses that before).
    #[must_use]
    pub fn new(profiles: Vec<PinnedProfile>) -> Self {
        Self(profiles.into_iter().map(|pinned| (pinned.profile.name.clone(), pinned)).collect())
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, name: &ProfileName) -> Option<&PinnedProfile> {
        self.0.get(name)
    }

    /// Their names, for a person.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().map(ProfileName::as_str).collect::<Vec<_>>().join(", ")
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &PinnedProfile> {
        self.0.values()
    }
}
