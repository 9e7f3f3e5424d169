//! Generations of the root and its issuers. The first is `init`'s; each rollover adds one, with keys, names and files of its
//! own: the root's successor is `root.2`, its subject's CN ends with `G2`. What a generation was is never changed, so that
//! what it issued and the lists of what it revoked stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use issuance::CommonName;
use tracing::warn;

use crate::{
    crl::{CrlPartition, CrlSettings},
    pki::{self, CaCertificate, PkiError},
    profile::{AuthoritySettings, CaProfile, CaSettings},
    records::RolloverStepped,
};

/// Which generations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generations {
    /// The newest root to be trusted.
    pub(crate) newest: u32,
    /// Who issues.
    pub(crate) issuing: u32,
    /// The oldest root to be trusted.
    pub(crate) oldest: u32,
}

impl Generations {
    /// Before any rollover.
    pub(crate) const FIRST: Self = Self { newest: 1, issuing: 1, oldest: 1 };

    /// What a record says.
    pub(crate) fn of(stepped: &RolloverStepped) -> Result<Self, String> {
        let RolloverStepped { newest_root, issuers, oldest_root, .. } = *stepped;
        if !(1 <= oldest_root && oldest_root <= issuers && issuers <= newest_root) {
            return Err(format!("its generations {oldest_root}, {issuers} and {newest_root} are out of order"));
        }
        Ok(Self { newest: newest_root, issuing: issuers, oldest: oldest_root })
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        [self.newest, self.issuing, self.oldest].map(u32::to_be_bytes).concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let word = |at: usize| row.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        Some(Self { newest: word(0)?, issuing: word(4)?, oldest: word(8)? })
    }

    /// The roots to trust, who issues first.
    pub(crate) fn trusted(self) -> impl Iterator<Item = u32> {
        [self.issuing].into_iter().chain((self.oldest..=self.newest).filter(move |other| *other != self.issuing))
    }
}

/// What a CA of that generation must be.
pub(crate) fn settings_of(pki: &Path, ca: &CaSettings, generation: u32) -> Result<CaSettings, PkiError> {
    let name = ca.name.in_generation(generation);
    let common_name = common_name(ca, generation)
        .map_err(|problem| PkiError::DoesNotFit { path: pki::path_of(pki, &name), problem })?;
    Ok(CaSettings { name, common_name, ..ca.clone() })
}

/// The CN of that generation. Names that differ spare every verifier the question which of two equal ones is meant.
pub(crate) fn common_name(ca: &CaSettings, generation: u32) -> Result<CommonName, String> {
    if generation <= 1 {
        return Ok(ca.common_name.clone());
    }
    let text = format!("{} G{generation}", ca.common_name);
    CommonName::parse(&text).map_err(|error| format!("its successor's CN would be {text:?}: {error}"))
}

/// Where something of that generation is fetched: the stem of the last segment takes the generation, as the files do.
fn url_of(url: &str, generation: u32) -> String {
    if generation <= 1 {
        return url.to_owned();
    }
    let file = url.rfind('/').map_or(0, |slash| slash + 1);
    match url.get(file..).and_then(|name| name.rfind('.')) {
        Some(dot) => format!("{}.{generation}{}", &url[..file + dot], &url[file + dot..]),
        None => format!("{url}.{generation}"),
    }
}

/// The profiles, issued from that generation.
pub(crate) fn profiles_of(profiles: &[CaProfile], generation: u32) -> Vec<CaProfile> {
    let mut profiles = profiles.to_vec();
    for profile in &mut profiles {
        profile.issuer = profile.issuer.in_generation(generation);
        let rules = &mut profile.extensions;
        for url in rules.crl_distribution_points.iter_mut().chain(&mut rules.ca_issuers) {
            *url = url_of(url, generation);
        }
    }
    profiles
}

/// The CRLs' settings: each generation that may still be trusted has its partitions.
pub(crate) fn crl_of(settings: &CrlSettings, generations: Generations) -> CrlSettings {
    let of = |part: &CrlPartition, generation| CrlPartition {
        name: part.name.in_generation(generation),
        issuer: part.issuer.in_generation(generation),
        url: url_of(&part.url, generation),
        ..part.clone()
    };
    let parts = (generations.oldest..=generations.issuing)
        .flat_map(|generation| settings.partitions.iter().map(move |part| of(part, generation)));
    CrlSettings { partitions: parts.collect(), ..settings.clone() }
}

/// The CA's own certificates, as they stand.
pub(crate) struct Certificates {
    /// To be trusted, who issues first.
    pub(crate) roots: Vec<CaCertificate>,
    /// Under a trusted root, who issues first.
    pub(crate) issuers: Vec<CaCertificate>,
    /// Under a root that is not trusted any more: what they issued is still known.
    pub(crate) retired: Vec<CaCertificate>,
}

/// Reads every certificate that stands.
pub(crate) fn read(settings: &AuthoritySettings, generations: Generations) -> Result<Certificates, PkiError> {
    let pki = &settings.pki;
    let one = |ca: &CaSettings, generation, root: Option<&CaCertificate>| {
        let ca = settings_of(pki, ca, generation)?;
        pki::read(pki, &ca, root)?.ok_or_else(|| PkiError::Missing { path: pki::path_of(pki, &ca.name) })
    };
    let (mut roots, mut issuers, mut retired) = (Vec::new(), Vec::new(), Vec::new());
    for generation in generations.trusted() {
        let root = one(&settings.root, generation, None)?;
        if generation <= generations.issuing {
            for issuer in &settings.issuers {
                issuers.push(one(issuer, generation, Some(&root))?);
            }
        }
        roots.push(root);
    }
    for generation in 1..generations.oldest {
        let old = || {
            let root = one(&settings.root, generation, None)?;
            settings.issuers.iter().map(|issuer| one(issuer, generation, Some(&root))).collect()
        };
        match old() {
            Ok(some) => retired.extend::<Vec<_>>(some),
            Err(error) => {
                warn!(
                    generation,
                    error = service::in_full(&error),
                    "what these issuers issued cannot be answered again"
                );
            }
        }
    }
    Ok(Certificates { roots, issuers, retired })
}

/// The newest generation whose certificates are all there: who issues, as far as the files alone tell.
pub(crate) fn standing(settings: &AuthoritySettings) -> u32 {
    let is_there = |generation: u32| {
        let mut all = settings.issuers.iter().chain([&settings.root]);
        all.all(|ca| pki::path_of(&settings.pki, &ca.name.in_generation(generation)).exists())
    };
    (2..).take_while(|generation| is_there(*generation)).last().unwrap_or(1)
}

/// What others read of the CA: the bundle of the roots to trust, and for each issuer its chain (who issues first, no root) and
/// all who may have issued under a trusted root, as stations pin them. Paths with their content.
pub(crate) fn published(
    settings: &AuthoritySettings,
    roots: &[CaCertificate],
    issuers: &[CaCertificate],
) -> Vec<(PathBuf, String)> {
    let ders = |some: &[CaCertificate]| pki::pem_of(some.iter().map(|ca| ca.der.as_slice()));
    let mut files = vec![(settings.pki.join("bundle.pem"), ders(roots))];
    for ca in &settings.issuers {
        let is_of = |issuer: &&CaCertificate| {
            let name = issuer.name.as_str();
            name.strip_prefix(ca.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let all: Vec<CaCertificate> = issuers.iter().filter(is_of).cloned().collect();
        files.push((settings.pki.join(format!("{}.chain.pem", ca.name)), ders(all.get(..1).unwrap_or_default())));
        files.push((settings.pki.join(format!("{}.issuers.pem", ca.name)), ders(&all)));
    }
    files
}

/// Brings what others read up to date; what is right already is not touched. Gives the files that were written.
pub(crate) fn publish(settings: &AuthoritySettings, certificates: &Certificates) -> Result<Vec<PathBuf>, PkiError> {
    let mut written = Vec::new();
    for (path, text) in published(settings, &certificates.roots, &certificates.issuers) {
        if fs::read(&path).is_ok_and(|standing| standing == text.as_bytes()) {
            continue;
        }
        replace(&path, &text)?;
        written.push(path);
    }
    Ok(written)
}

/// Whole or not at all.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), PkiError> {
    pki::put_in_place(&pki::write_beside(path, text.as_bytes())?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A URL's file takes the generation as the CA's own files do; a dot in the host is none of its business.
    #[test]
    fn urls_follow_the_generation() {
        for (url, expected) in [
            ("http://pki.example/crl/device-ca.crl", "http://pki.example/crl/device-ca.2.crl"),
            ("http://pki.example/crl/device-ca", "http://pki.example/crl/device-ca.2"),
        ] {
            assert_eq!((url_of(url, 1), url_of(url, 2)), (url.to_owned(), expected.to_owned()));
        }
    }
}
