//! What the chain as it stands today carries: the profiles held against the certificates, all problems at once. Looked at
//! when the CA opens, and by `profile check` before that.

use issuance::{
    CommonName, DeviceSerial, KeyAlgorithm, PublicKey, Timestamp, certificate::name_constraints::Subtree,
    request::RequestedExtensions,
};

use crate::{
    certify::{make, outlives},
    generation,
    pki::{self, CaCertificate, PkiError, moment_text},
    plan::Stop,
    profile::{AuthoritySettings, CaProfile, CaSettings, contradictions},
};

/// Everything that keeps this CA from issuing under its profiles today, in sentences: contradictions of the settings, and
/// what its certificates, where they stand already, do not carry. Needs neither the token nor the journal.
///
/// # Errors
/// A file that cannot be read, or does not fit its settings.
pub fn check(settings: &AuthoritySettings, now: Timestamp) -> Result<Vec<String>, PkiError> {
    let found = contradictions(&settings.root, &settings.issuers, &settings.profiles);
    let mut problems: Vec<String> = found.into_iter().map(|contradiction| contradiction.message).collect();
    // Before `init` there is nothing more to look at.
    let generation = generation::standing(settings);
    let of_today = |ca: &CaSettings| generation::settings_of(&settings.pki, ca, generation);
    let Some(root) = pki::read(&settings.pki, &of_today(&settings.root)?, None)? else { return Ok(problems) };
    let mut issuers = Vec::new();
    for issuer in &settings.issuers {
        issuers.extend(pki::read(&settings.pki, &of_today(issuer)?, Some(&root))?);
    }
    let profiles = generation::profiles_of(&settings.profiles, generation);
    let pairs = profiles.iter().filter_map(|profile| {
        let issuer = issuers.iter().find(|issuer| issuer.name == profile.issuer)?;
        Some((profile, issuer))
    });
    problems.extend(uncarried(&root, pairs, now));
    Ok(problems)
}

/// What the certificates do not carry today.
pub(crate) fn uncarried<'a>(
    root: &CaCertificate,
    profiles: impl Iterator<Item = (&'a CaProfile, &'a CaCertificate)>,
    now: Timestamp,
) -> Vec<String> {
    let mut problems = Vec::new();
    if !(root.not_before..=root.not_after).contains(&now.seconds()) {
        problems.push(format!(
            "the root is valid from {} to {}, and by this machine's clock it is {}: set the clock right, or renew the \
             root",
            moment_text(root.not_before),
            moment_text(root.not_after),
            moment_text(now.seconds())
        ));
    }
    problems.extend(profiles.filter_map(|(profile, issuer)| {
        outlives(profile, issuer, now).or_else(|| rehearse(profile, issuer, now).err())
    }));
    problems
}

/// Makes and lints what a device with the serial `SN-1` would get, and throws it away: what cannot be encoded, or is not
/// what the profile says, is known before the first device is there.
fn rehearse(profile: &CaProfile, issuer: &CaCertificate, now: Timestamp) -> Result<(), String> {
    let failed =
        |problem: String| format!("the profile {} cannot be issued by {}: {problem}", profile.name, issuer.name);
    let serial = DeviceSerial::parse("SN-1").map_err(|error| failed(error.to_string()))?;
    let common_name = match &profile.subject.common_name {
        Some(template) => template.fill(&serial),
        None => under_constraints(issuer),
    };
    let common_name = CommonName::parse(&common_name).map_err(|error| failed(error.to_string()))?;
    let key = sample_key().ok_or_else(|| failed("the sample's key cannot be read".to_owned()))?;
    let names = profile
        .alternative_names
        .give(&RequestedExtensions::default(), &common_name, &serial)
        .map_err(|name| failed(format!("it does not give {name}")))?;
    match make(&common_name, &key, &names, profile, issuer, now) {
        Ok(_) => Ok(()),
        Err(Stop::Refuse(refusal)) => Err(failed(refusal.message)),
        Err(Stop::Defer(later)) => Err(failed(later.message)),
    }
}

/// A CN that the issuer's constraints permit as dNSName.
fn under_constraints(issuer: &CaCertificate) -> String {
    let domain = issuer.name_constraints.permitted.iter().find_map(|subtree| match subtree {
        Subtree::Dns(domain) => Some(domain.trim_start_matches('.')),
        _ => None,
    });
    domain.map_or("sn-1".to_owned(), |domain| format!("sn-1.{domain}"))
}

/// A P-256 key whose private half nobody has: the curve's base point (SEC 2 §2.4.2).
fn sample_key() -> Option<PublicKey> {
    const SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07\
        \x03\x42\x00\x04\
        \x6B\x17\xD1\xF2\xE1\x2C\x42\x47\xF8\xBC\xE6\xE5\x63\xA4\x40\xF2\x77\x03\x7D\x81\x2D\xEB\x33\xA0\xF4\xA1\x39\x45\
        \xD8\x98\xC2\x96\x4F\xE3\x42\xE2\xFE\x1A\x7F\x9B\x8E\xE7\xEB\x4A\x7C\x0F\x9E\x16\x2B\xCE\x33\x57\x6B\x31\x5E\xCE\
        \xCB\xB6\x40\x68\x37\xBF\x51\xF5";
    PublicKey::from_der(SPKI).ok().filter(|key| key.algorithm() == KeyAlgorithm::P256)
}
