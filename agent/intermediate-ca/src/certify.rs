//! From a request that fits its profile to the exact bytes that would be signed.

use std::time::Duration;

use issuance::{
    CommonName, DeviceSerial, PublicKey, Purpose, Timestamp,
    certificate::name_constraints::{NameConstraints, Subtree},
    request::{CertificationRequest, RequestedExtensions},
};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CrlDistributionPoint, DistinguishedName, DnType, DnValue,
    GeneralSubtree, IsCa, KeyUsagePurpose, SerialNumber, string::PrintableString,
};

use crate::{
    certificate::{CertificateError, CertificateSerial, signed_with, tbs_certificate},
    extension,
    lint::{self, Expected},
    pki::{CLOCK_ALLOWANCE, CaCertificate, moment, moment_text},
    plan::{Later, Stop, refuse},
    profile::{CaProfile, ExtendedUsage, Given, SubjectRules, Usage, is_host_name},
    refusal::{Reason, Refusal},
};

/// What would be signed.
pub(crate) struct Certified {
    pub(crate) tbs_certificate: Vec<u8>,
    pub(crate) certificate_serial: CertificateSerial,
    /// It ends after its issuer, as the profile says it may.
    pub(crate) outlives_issuer: bool,
}

/// Holds a request against its profile, and makes and lints what would be signed.
pub(crate) fn certify(
    request: &CertificationRequest,
    device_serial: &DeviceSerial,
    profile: &CaProfile,
    issuer: &CaCertificate,
    now: Timestamp,
) -> Result<Certified, Stop> {
    let names = give(request.extensions(), profile, request.common_name(), device_serial)?;
    for name in names.names() {
        if let Err(error) = issuer.name_constraints.permit(&name) {
            let message = format!("the issuer {} may not give it: {error}; ask for another name", issuer.name);
            return refuse(Reason::ExtensionsContradictProfile, message);
        }
    }
    make(request.common_name(), request.public_key(), &names, profile, issuer, now)
}

/// What the request gets of what it asks for: a request may leave extensions to the profile; what it does ask for must be
/// what the profile gives.
fn give(
    asked: &RequestedExtensions,
    profile: &CaProfile,
    common_name: &CommonName,
    device_serial: &DeviceSerial,
) -> Result<Given, Stop> {
    let contradicts = |what: &str, gives: &str| {
        refuse(
            Reason::ExtensionsContradictProfile,
            format!(
                "the request asks for {what}, and the profile {} gives {gives}: ask for that or leave it out",
                profile.name
            ),
        )
    };
    if let Err(expected) = profile.subject.fits(common_name, device_serial) {
        return refuse(
            Reason::CommonNameNotAccepted,
            format!("the CN {common_name} is not {expected:?}, as the profile {} has it for this device", profile.name),
        );
    }
    let is_ca = matches!(profile.purpose, Purpose::DeviceCa { .. });
    if let Some((asks_ca, asks_length)) = asked.basic_constraints {
        let text = |is_ca: bool| if is_ca { "CA:TRUE" } else { "CA:FALSE" };
        if asks_ca != is_ca {
            return contradicts(text(asks_ca), text(is_ca));
        }
        if let (Purpose::DeviceCa { path_length }, Some(asked)) = (profile.purpose, asks_length)
            && asked != u32::from(path_length)
        {
            return contradicts(&format!("pathlen:{asked}"), &format!("pathlen:{path_length}"));
        }
    }
    for (asks, usage) in [(asked.key_cert_sign, "keyCertSign"), (asked.crl_sign, "cRLSign")] {
        if asks && !is_ca {
            return contradicts(&format!("the KeyUsage {usage}"), "CA:FALSE");
        }
    }
    let usages = extended_usages(profile);
    let offer = || match usages.iter().map(word).collect::<Vec<_>>().as_slice() {
        [] => "no EKU".to_owned(),
        [alone] => format!("{alone} alone"),
        all => all.join(", "),
    };
    for (asks, usage) in
        [(asked.client_auth, ExtendedUsage::ClientAuth), (asked.server_auth, ExtendedUsage::ServerAuth)]
    {
        if asks && !usages.contains(&usage) {
            return contradicts(&format!("the EKU {}", word(&usage)), &offer());
        }
    }
    if let Some(other) = asked.other_usages.iter().find(|other| !usages.iter().any(|usage| usage.oid() == **other)) {
        return contradicts(&format!("the EKU {other}"), &offer());
    }
    if profile.alternative_names.common_name && !is_host_name(common_name.as_str()) {
        return refuse(
            Reason::CommonNameNotAccepted,
            format!(
                "the CN {common_name} is no host name: under {} it becomes the certificate's dNSName",
                profile.name
            ),
        );
    }
    let names = match profile.alternative_names.give(asked, common_name, device_serial) {
        Ok(names) => names,
        Err(name) => return contradicts(&name.to_string(), &profile.alternative_names.offer()),
    };
    if names.is_empty() && profile.purpose == Purpose::Server {
        return refuse(
            Reason::ExtensionsContradictProfile,
            format!(
                "the request asks for no name that a client could look for: under {} ask for {}",
                profile.name,
                profile.alternative_names.offer()
            ),
        );
    }
    Ok(names)
}

/// The purposes of the EKU: the purpose's own, then what the profile adds; none for a device CA.
pub(crate) fn extended_usages(profile: &CaProfile) -> Vec<ExtendedUsage> {
    let own = match profile.purpose {
        Purpose::DeviceCa { .. } => return Vec::new(),
        Purpose::DeviceIdentity => ExtendedUsage::ClientAuth,
        Purpose::Server => ExtendedUsage::ServerAuth,
    };
    std::iter::once(own).chain(profile.extensions.extended_usages.iter().cloned()).collect()
}

fn word(usage: &ExtendedUsage) -> String {
    match usage {
        ExtendedUsage::ServerAuth => "serverAuth".to_owned(),
        ExtendedUsage::ClientAuth => "clientAuth".to_owned(),
        ExtendedUsage::Other(oid) => oid.to_string(),
    }
}

/// Makes and lints the bytes.
pub(crate) fn make(
    common_name: &CommonName,
    public_key: &PublicKey,
    names: &Given,
    profile: &CaProfile,
    issuer: &CaCertificate,
    now: Timestamp,
) -> Result<Certified, Stop> {
    let start = (now.seconds() - CLOCK_ALLOWANCE.as_secs().cast_signed()).max(issuer.not_before);
    let end = profile.validity.seconds(now);
    // Cutting the validity short would hand out something that nobody configured; refusing for good would set aside
    // devices for an issuer's age.
    if let Some(message) = outlives(profile, issuer, now) {
        /// Only an administrator ends this: an hour keeps a waiting queue quiet.
        const ADMINISTRATOR: Duration = Duration::from_secs(3_600);
        return Err(Stop::Defer(Later { retry_after: ADMINISTRATOR, message }));
    }
    let (Some(not_before), Some(not_after)) = (moment(start), moment(end)) else {
        return refuse(Reason::LintFailed, "the validity ends after the year 9999 (RFC 5280 §4.1.2.5)");
    };
    let serial = CertificateSerial::random().map_err(broken)?;
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = subject(&profile.subject, common_name).map_err(broken)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match profile.purpose {
        Purpose::DeviceCa { path_length } => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        // `NoCa` would leave out the SKI.
        Purpose::DeviceIdentity | Purpose::Server => params.is_ca = IsCa::ExplicitNoCa,
    }
    let rules = &profile.extensions;
    params.key_usages.extend(rules.usages.iter().map(|usage| match usage {
        Usage::ContentCommitment => KeyUsagePurpose::ContentCommitment,
        Usage::KeyEncipherment => KeyUsagePurpose::KeyEncipherment,
        Usage::KeyAgreement => KeyUsagePurpose::KeyAgreement,
        Usage::CrlSign => KeyUsagePurpose::CrlSign,
    }));
    params.name_constraints = rcgen_constraints(&rules.name_constraints);
    if !rules.crl_distribution_points.is_empty() {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: rules.crl_distribution_points.clone() }];
    }
    params.custom_extensions = [
        extension::extended_key_usage(&extended_usages(profile), rules.extended_usages_critical),
        extension::subject_alternative_names(names, profile.alternative_names.critical),
        extension::certificate_policies(&rules.policies, rules.policies_critical),
        extension::authority_information(&rules.ocsp, &rules.ca_issuers),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut tbs = tbs_certificate(&params, public_key, Some(&issuer.template)).map_err(broken)?;
    if let Some(hash) = profile.signature_hash {
        tbs = signed_with(&tbs, &issuer.public_key, hash).map_err(broken)?;
    }
    let expected = Expected {
        issuer,
        profile,
        serial: serial.as_bytes(),
        common_name,
        public_key,
        names,
        not_before: start,
        not_after: end,
    };
    lint::lint(&tbs, &expected).map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Stop::Refuse(Refusal::new(
            Reason::LintFailed,
            format!("what would be signed is not what the profile {} says: {}", profile.name, findings.join("; ")),
        ))
    })?;
    Ok(Certified { tbs_certificate: tbs, certificate_serial: serial, outlives_issuer: end > issuer.not_after })
}

/// From the widest to the narrowest, the CN last.
fn subject(rules: &SubjectRules, common_name: &CommonName) -> Result<DistinguishedName, CertificateError> {
    let mut name = DistinguishedName::new();
    if let Some(country) = &rules.country {
        let country = PrintableString::try_from(country.as_str()).map_err(CertificateError::Encoding)?;
        name.push(DnType::CountryName, DnValue::PrintableString(country));
    }
    for (kind, text) in
        [(DnType::OrganizationName, &rules.organization), (DnType::OrganizationalUnitName, &rules.organizational_unit)]
    {
        if let Some(text) = text {
            name.push(kind, text.as_str());
        }
    }
    name.push(DnType::CommonName, common_name.as_str());
    Ok(name)
}

/// As rcgen writes them; `None` when nothing is constrained.
pub(crate) fn rcgen_constraints(constraints: &NameConstraints) -> Option<rcgen::NameConstraints> {
    let subtrees = |subtrees: &[Subtree]| {
        subtrees
            .iter()
            .filter_map(|subtree| match subtree {
                Subtree::Dns(domain) => Some(GeneralSubtree::DnsName(domain.clone())),
                Subtree::Ip(network) => {
                    let (address, mask) = (network.address(), network.mask());
                    let four = || Some(CidrSubnet::V4(address.try_into().ok()?, mask.try_into().ok()?));
                    let sixteen = || Some(CidrSubnet::V6(address.try_into().ok()?, mask.try_into().ok()?));
                    four().or_else(sixteen).map(GeneralSubtree::IpAddress)
                }
                // The configuration has none; the lint would find it missing.
                Subtree::Other(_) => None,
            })
            .collect()
    };
    (!constraints.is_empty()).then(|| rcgen::NameConstraints {
        permitted_subtrees: subtrees(&constraints.permitted),
        excluded_subtrees: subtrees(&constraints.excluded),
    })
}

/// Why a profile cannot be carried by its issuer now: its certificates would end after the issuer's, or the issuer is
/// not valid.
pub(crate) fn outlives(profile: &CaProfile, issuer: &CaCertificate, now: Timestamp) -> Option<String> {
    let end = profile.validity.seconds(now);
    if now.seconds() < issuer.not_before {
        return Some(format!(
            "the issuer {} is valid from {} only, and by this machine's clock it is {}: set the clock right",
            issuer.name,
            moment_text(issuer.not_before),
            moment_text(now.seconds())
        ));
    }
    if now.seconds() > issuer.not_after {
        return Some(format!(
            "the issuer {} ended {}, and what it signs now nobody accepts: renew the issuer",
            issuer.name,
            moment_text(issuer.not_after)
        ));
    }
    if end <= now.seconds() {
        return Some(format!(
            "a certificate under the profile {} would have ended already, {}: set its not_after anew",
            profile.name,
            moment_text(end)
        ));
    }
    (end > issuer.not_after && !profile.outlives_issuer).then(|| {
        format!(
            "a certificate under the profile {} would be valid until {}, and its issuer {} ends {}: shorten the \
             profile's validity, or renew the issuer (or say outlives_issuer = true where devices without a clock are \
             to go on after it)",
            profile.name,
            moment_text(end),
            issuer.name,
            moment_text(issuer.not_after)
        )
    })
}

/// A key that cannot be copied into a certificate is the request's fault, everything else ours.
fn broken(error: CertificateError) -> Stop {
    match error {
        CertificateError::KeyEncoding => Stop::Refuse(Refusal::because(Reason::KeyNotAccepted, &error)),
        CertificateError::NoRandomness
        | CertificateError::Issuer(_)
        | CertificateError::Encoding(_)
        | CertificateError::NotDer => {
            Stop::Defer(Later { retry_after: Duration::from_secs(60), message: service::in_full(&error) })
        }
    }
}
