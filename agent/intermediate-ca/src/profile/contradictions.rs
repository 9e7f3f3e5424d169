//! Everything in a configuration that contradicts itself, all at once and before anything is made: names given twice,
//! what the chain cannot carry, and purposes that must not share an issuer.

use issuance::{
    DeviceSerial, Purpose,
    certificate::name_constraints::{NameConstraints, Subtree},
};

use super::{CaProfile, CaSettings, ExtendedUsage, Usage, is_host_name};

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
    if !root.name_constraints.is_empty() {
        // RFC 5280 §6.1 takes nothing but the name and the key of a trust anchor: some verifiers would not look.
        let message = "not every verifier looks at a root's: give them to each [[issuer]] instead".to_owned();
        say(Place::Root, "name_constraints", message);
    }
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
        if issuer.validity.is_after(root.validity) {
            say(
                place,
                "validity",
                format!("ends after the root's ({}): a CA cannot outlive its issuer; shorten it", root.validity),
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
        if profile.validity.is_after(issuer.validity) && !profile.outlives_issuer {
            say(
                place,
                "validity",
                format!(
                    "ends after the issuer {}'s ({}): nothing outlives its issuer; shorten it, lengthen the issuer's, or \
                     say outlives_issuer = true where devices without a clock are to go on after it",
                    issuer.name, issuer.validity
                ),
            );
        }
        terms(profile, &mut |key, message| say(place, key, message));
        for (key, objection) in uncarried(profile, &issuer.name_constraints) {
            let remedy = "keep to them, or change them there (that is a new certificate for the issuer)";
            say(place, key, format!("{objection}, as {}'s name_constraints have it: {remedy}", issuer.name));
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

/// All of them, one after the other.
pub(crate) fn sentences(found: Vec<Contradiction>) -> String {
    let messages: Vec<String> = found.into_iter().map(|contradiction| contradiction.message).collect();
    messages.join("; ")
}

/// What a profile says that its own purpose or keys do not allow.
fn terms(profile: &CaProfile, say: &mut dyn FnMut(&'static str, String)) {
    let is_ca = matches!(profile.purpose, Purpose::DeviceCa { .. });
    let (extensions, names) = (&profile.extensions, &profile.alternative_names);
    for (usage, is_wrong, why) in [
        (Usage::CrlSign, !is_ca, "cRLSign is for CAs (RFC 5280 §4.2.1.3)"),
        (Usage::KeyEncipherment, is_ca, "keyEncipherment is for leaves: a CA's key signs"),
        (Usage::KeyAgreement, is_ca, "keyAgreement is for leaves: a CA's key signs"),
        (
            Usage::KeyEncipherment,
            profile.keys.iter().any(|key| !key.is_rsa()),
            "keyEncipherment is for RSA keys alone (RFC 3279 §2.3): make a profile for them",
        ),
        (
            Usage::KeyAgreement,
            profile.keys.iter().any(|key| key.is_rsa()),
            "keyAgreement is for EC keys alone (RFC 3279 §2.3): make a profile for them",
        ),
    ] {
        if is_wrong && extensions.usages.contains(&usage) {
            say("key_usages", format!("{why}; leave it out"));
        }
    }
    if is_ca {
        if !extensions.extended_usages.is_empty() || extensions.extended_usages_critical {
            let message = "a device CA has none: verifiers would hold what it signs against it; leave it out";
            say("extended_key_usages", message.to_owned());
        }
        if names.gives_any() {
            say(
                "subject_alternative_names",
                "a device CA has none: clients talk to what it signs; remove it".to_owned(),
            );
        }
    } else {
        if !extensions.name_constraints.is_empty() {
            let message = "a leaf has none (RFC 5280 §4.2.1.10: in CA certificates alone); remove it";
            say("name_constraints", message.to_owned());
        }
        let own =
            if profile.purpose == Purpose::Server { ExtendedUsage::ServerAuth } else { ExtendedUsage::ClientAuth };
        if extensions.extended_usages.contains(&own) {
            say("extended_key_usages", "the purpose gives this one already; list the others alone".to_owned());
        }
    }
    if profile.purpose == Purpose::Server
        && !names.common_name
        && names.dns_suffixes.is_empty()
        && names.ip_networks.is_empty()
    {
        let message =
            "no client would find its server's name here (RFC 9525 §2): allow the CN, dns_suffixes or ip_networks";
        say("subject_alternative_names", message.to_owned());
    }
    if names.common_name
        && let Some(sample) = sample_common_name(profile)
        && !is_host_name(&sample)
    {
        say("common_name", format!("{sample:?}, say, is no host name, and would be a dNSName: change the template"));
    }
}

/// What a profile's CNs look like; `None` when the requests say.
fn sample_common_name(profile: &CaProfile) -> Option<String> {
    let serial = DeviceSerial::parse("SN-1").ok()?;
    profile.subject.common_name.as_ref().map(|template| template.fill(&serial))
}

/// The names of a profile that a CA with such constraints may not give: the key, and why.
pub(crate) fn uncarried(profile: &CaProfile, constraints: &NameConstraints) -> Vec<(&'static str, String)> {
    let names = &profile.alternative_names;
    let mut found = Vec::new();
    let mut hold =
        |key, subtree: Subtree| found.extend(constraints.objection(&subtree).map(|objection| (key, objection)));
    for suffix in &names.dns_suffixes {
        hold("subject_alternative_names", Subtree::Dns(suffix.clone()));
    }
    for network in &names.ip_networks {
        hold("subject_alternative_names", Subtree::Ip(network.clone()));
    }
    if let Some(sample) = sample_common_name(profile).filter(|_| names.common_name) {
        hold("subject_alternative_names", Subtree::Dns(sample));
    }
    for subtree in &profile.extensions.name_constraints.permitted {
        hold("name_constraints", subtree.clone());
    }
    found
}
