//! From a submission to the exact bytes that would be signed: everything that needs neither the register nor the HSM.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use issuance::{
    CommonName, DeviceSerial, IssuanceId, LotName, ProfileName, Purpose, Timestamp,
    public_key::sha256,
    request::{CertificationRequest, RequestedExtensions},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};

use crate::{
    certificate::{CertificateError, CertificateSerial, IssuedBy, tbs_certificate},
    lint::{self, Expected},
    pki::{CLOCK_ALLOWANCE, CaCertificate, moment, moment_text},
    profile::{CaName, CaProfile},
    refusal::{Reason, Refusal},
};

/// One certification request as it came, unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The issuance's id, a UUID as text.
    pub issuance: String,
    /// The device serial.
    pub device_serial: String,
    /// The lot under which it was asked for; empty for none.
    pub lot: String,
    /// The profile asked for.
    pub profile: String,
    /// PKCS#10, DER.
    pub certification_request: Vec<u8>,
}

/// A submission that went through the door, on its way to the register.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// The client certificate that asked.
    pub(crate) authenticated_by: Arc<str>,
    /// `None` when it is no UUID.
    pub(crate) issuance: Option<IssuanceId>,
    /// Device serial and profile for the record: empty when they break their rules.
    pub(crate) device_serial: String,
    pub(crate) profile: String,
    pub(crate) request_sha256: [u8; 32],
    /// By this "the same request" is known.
    pub(crate) content: [u8; 32],
    /// The register looks first whether the issuance was answered before: only then does the verdict count.
    pub(crate) verdict: Verdict,
}

/// What the door says of a submission that was never seen before.
#[derive(Debug)]
pub(crate) enum Verdict {
    Plan(Box<Plan>),
    Refuse(Refusal),
    Defer(Later),
}

/// Not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Not before this long.
    pub retry_after: Duration,
    /// One sentence.
    pub message: String,
}

/// What would be signed, and what it reserves.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) device_serial: DeviceSerial,
    pub(crate) lot: String,
    pub(crate) profile: ProfileName,
    pub(crate) issuer: CaName,
    pub(crate) common_name: CommonName,
    pub(crate) key_sha256: [u8; 32],
    pub(crate) certification_request: Vec<u8>,
    pub(crate) tbs_certificate: Vec<u8>,
    pub(crate) certificate_serial: CertificateSerial,
}

/// The profiles and the CAs that they are issued from.
#[derive(Debug)]
pub(crate) struct Rules {
    profiles: BTreeMap<ProfileName, CaProfile>,
    issuers: BTreeMap<CaName, CaCertificate>,
    /// CNs of every CA, folded: no device gets one.
    ca_names: HashSet<String>,
}

impl Rules {
    pub(crate) fn new(profiles: &[CaProfile], issuers: Vec<CaCertificate>, ca_names: HashSet<String>) -> Self {
        Self {
            profiles: profiles.iter().map(|profile| (profile.name.clone(), profile.clone())).collect(),
            issuers: issuers.into_iter().map(|issuer| (issuer.name.clone(), issuer)).collect(),
            ca_names,
        }
    }

    /// An issuer by the name that records carry.
    pub(crate) fn issuer(&self, name: &str) -> Option<&CaCertificate> {
        CaName::parse(name).ok().and_then(|name| self.issuers.get(&name))
    }

    /// Each profile with its issuer.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (&CaProfile, &CaCertificate)> {
        self.profiles.values().filter_map(|profile| self.issuers.get(&profile.issuer).map(|issuer| (profile, issuer)))
    }

    /// The door.
    pub(crate) fn propose(&self, authenticated_by: &Arc<str>, submission: Submission, now: Timestamp) -> Proposal {
        let issuance = IssuanceId::parse(&submission.issuance);
        let valid = |text: &str, is_valid: bool| if is_valid { text.to_owned() } else { String::new() };
        let request_sha256 = sha256(&submission.certification_request);
        Proposal {
            authenticated_by: authenticated_by.clone(),
            issuance,
            device_serial: valid(&submission.device_serial, DeviceSerial::parse(&submission.device_serial).is_ok()),
            profile: valid(&submission.profile, ProfileName::parse(&submission.profile).is_ok()),
            request_sha256,
            content: content(&submission.device_serial, &submission.lot, &submission.profile, &request_sha256),
            verdict: self.judge(issuance, submission, now).map_or_else(
                |stop| match stop {
                    Stop::Refuse(refusal) => Verdict::Refuse(refusal),
                    Stop::Defer(later) => Verdict::Defer(later),
                },
                |plan| Verdict::Plan(Box::new(plan)),
            ),
        }
    }

    fn judge(&self, issuance: Option<IssuanceId>, submission: Submission, now: Timestamp) -> Result<Plan, Stop> {
        if issuance.is_none() {
            return refuse(Reason::InvalidIssuance, "issuance is no UUID: send the issuance's id as 36 characters");
        }
        let because = |reason| move |error| Stop::Refuse(Refusal::because(reason, &error));
        let device_serial =
            DeviceSerial::parse(&submission.device_serial).map_err(because(Reason::InvalidDeviceSerial))?;
        if !submission.lot.is_empty() {
            LotName::parse(&submission.lot).map_err(because(Reason::InvalidLot))?;
        }
        let name = ProfileName::parse(&submission.profile).map_err(because(Reason::UnknownProfile))?;
        let Some((profile, issuer)) =
            self.profiles.get(&name).and_then(|profile| Some((profile, self.issuers.get(&profile.issuer)?)))
        else {
            let known: Vec<&str> = self.profiles.keys().map(ProfileName::as_str).collect();
            return refuse(
                Reason::UnknownProfile,
                format!("this CA has no profile {name}: it has {}", known.join(", ")),
            );
        };
        let request = CertificationRequest::from_der(&submission.certification_request)
            .map_err(|error| Stop::Refuse(Refusal::because(Reason::InvalidRequest, &error)))?;
        let algorithm = request.public_key().algorithm();
        if !profile.keys.contains(&algorithm) {
            let accepted: Vec<String> = profile.keys.iter().map(ToString::to_string).collect();
            return refuse(
                Reason::KeyNotAccepted,
                format!("the key is {algorithm}: the profile {name} accepts {}", accepted.join(", ")),
            );
        }
        check_extensions(request.extensions(), profile, request.common_name())?;
        if self.ca_names.contains(&request.common_name().folded()) {
            return refuse(
                Reason::CommonNameNotAccepted,
                format!(
                    "the CN {} is a CA's (compared without case): give the device another one",
                    request.common_name()
                ),
            );
        }
        let (tbs_certificate, certificate_serial) = certify(&request, profile, issuer, now)?;
        Ok(Plan {
            device_serial,
            lot: submission.lot,
            profile: name,
            issuer: profile.issuer.clone(),
            common_name: request.common_name().clone(),
            key_sha256: request.public_key().sha256(),
            certification_request: submission.certification_request,
            tbs_certificate,
            certificate_serial,
        })
    }
}

enum Stop {
    Refuse(Refusal),
    Defer(Later),
}

fn refuse<T>(reason: Reason, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(Refusal::new(reason, message)))
}

/// SHA-256 over everything that makes a request what it is. Each part is preceded by its length, so that none can
/// borrow from the next.
pub(crate) fn content(device_serial: &str, lot: &str, profile: &str, request_sha256: &[u8]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in [device_serial.as_bytes(), lot.as_bytes(), profile.as_bytes(), request_sha256] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    sha256(&bytes)
}

/// A request may leave extensions to the profile; what it does ask for must be what the profile gives.
fn check_extensions(asked: &RequestedExtensions, profile: &CaProfile, name: &CommonName) -> Result<(), Stop> {
    let contradicts = |what: &str, gives: &str| {
        refuse(
            Reason::ExtensionsContradictProfile,
            format!(
                "the request asks for {what}, and the profile {} gives {gives}: ask for that or leave it out",
                profile.name
            ),
        )
    };
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
    if asked.client_auth && profile.purpose != Purpose::DeviceIdentity {
        return contradicts("the EKU clientAuth", if is_ca { "no EKU" } else { "serverAuth alone" });
    }
    if asked.server_auth && profile.purpose != Purpose::Server {
        return contradicts("the EKU serverAuth", if is_ca { "no EKU" } else { "clientAuth alone" });
    }
    if profile.purpose == Purpose::Server {
        if !is_host_name(name.as_str()) {
            return refuse(
                Reason::CommonNameNotAccepted,
                format!("the CN {name} is no host name: under {} it becomes the certificate's dNSName", profile.name),
            );
        }
        if let Some(other) = asked.dns_names.iter().find(|other| !other.eq_ignore_ascii_case(name.as_str())) {
            return contradicts(&format!("the dNSName {other:?}"), &format!("the CN {name} alone"));
        }
    } else if !asked.dns_names.is_empty() {
        return contradicts("a dNSName", "no subjectAltName");
    }
    Ok(())
}

/// RFC 1123 §2.1: labels of letters, digits and inner hyphens.
fn is_host_name(name: &str) -> bool {
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.chars().all(|character| character.is_ascii_alphanumeric() || character == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Makes and lints what would be signed.
fn certify(
    request: &CertificationRequest,
    profile: &CaProfile,
    issuer: &CaCertificate,
    now: Timestamp,
) -> Result<(Vec<u8>, CertificateSerial), Stop> {
    let start = (now.seconds() - CLOCK_ALLOWANCE.as_secs().cast_signed()).max(issuer.not_before);
    let end = now.seconds().saturating_add(profile.validity.as_secs().cast_signed());
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
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, request.common_name().as_str());
    params.use_authority_key_identifier_extension = true;
    match profile.purpose {
        Purpose::DeviceCa { path_length } => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        }
        Purpose::DeviceIdentity | Purpose::Server => {
            // `NoCa` would leave out the SKI.
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
    }
    match profile.purpose {
        Purpose::DeviceCa { .. } => {}
        Purpose::DeviceIdentity => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Purpose::Server => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let name = request.common_name().as_str().try_into().map_err(CertificateError::Encoding).map_err(broken)?;
            params.subject_alt_names = vec![SanType::DnsName(name)];
        }
    }
    let by = IssuedBy::Ca { certificate: &issuer.der, key: &issuer.public_key };
    let tbs = tbs_certificate(&params, request.public_key(), by).map_err(broken)?;
    let expected = Expected {
        issuer,
        serial: serial.as_bytes(),
        common_name: request.common_name(),
        public_key: request.public_key(),
        purpose: profile.purpose,
        not_before: start,
        not_after: end,
    };
    lint::lint(&tbs, &expected).map_err(|problem| {
        Stop::Refuse(Refusal::new(
            Reason::LintFailed,
            format!("what would be signed is not what the profile {} says: {problem}", profile.name),
        ))
    })?;
    Ok((tbs, serial))
}

/// Why a profile cannot be carried by its issuer now: its certificates would end after the issuer's, or the issuer is
/// not valid.
pub(crate) fn outlives(profile: &CaProfile, issuer: &CaCertificate, now: Timestamp) -> Option<String> {
    let end = now.seconds().saturating_add(profile.validity.as_secs().cast_signed());
    if now.seconds() < issuer.not_before {
        return Some(format!(
            "the issuer {} is valid from {} only, and by this machine's clock it is {}: set the clock right",
            issuer.name,
            moment_text(issuer.not_before),
            moment_text(now.seconds())
        ));
    }
    (end > issuer.not_after).then(|| {
        format!(
            "a certificate under the profile {} would be valid until {}, and its issuer {} ends {}: shorten the \
             profile's validity, or renew the issuer",
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
        CertificateError::KeyEncoding(_) => Stop::Refuse(Refusal::because(Reason::KeyNotAccepted, &error)),
        CertificateError::NoRandomness
        | CertificateError::Issuer(_)
        | CertificateError::Encoding(_)
        | CertificateError::NotDer => {
            Stop::Defer(Later { retry_after: Duration::from_secs(60), message: service::in_full(&error) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lint::tests::issuer, profile::tests::profile};

    /// What the lint finds is refused before anything could be recorded: here an issuer whose certificate has another
    /// subject than the one that rcgen writes.
    #[test]
    fn what_the_lint_finds_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "SN-1.ca");
        let submission = Submission {
            issuance: "01234567-89ab-7def-8123-456789abcdef".to_owned(),
            device_serial: "SN-1".to_owned(),
            lot: String::new(),
            profile: "device-ca".to_owned(),
            certification_request: params.serialize_request(&key).unwrap().der().to_vec(),
        };
        let verdict = |issuer: CaCertificate| {
            let mut profile = profile("device-ca", Purpose::DeviceCa { path_length: 0 }, "device-ca");
            profile.validity = Duration::from_secs(3_600);
            let rules = Rules::new(&[profile], vec![issuer], HashSet::new());
            rules.propose(&"station-1".into(), submission.clone(), Timestamp(1_767_225_600_000)).verdict
        };
        let right = issuer("device-ca");
        let mut wrong = right.clone();
        wrong.subject.push(0);
        assert!(matches!(verdict(right), Verdict::Plan(_)));
        let refused = verdict(wrong);
        let Verdict::Refuse(refusal) = &refused else { panic!("{refused:?}") };
        assert!(refusal.reason == Reason::LintFailed && refusal.message.contains("byte for byte"), "{refusal}");
    }
}
