//! From a submission to the exact bytes that would be signed: everything that needs neither the register nor the HSM.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use issuance::{
    CommonName, DeviceSerial, IssuanceId, LotName, ProfileName, Timestamp,
    public_key::sha256,
    request::CertificationRequest,
    residency::{Known, ResidencyUnproven},
};

use crate::{
    certificate::CertificateSerial,
    certify::certify,
    pki::CaCertificate,
    profile::{CaName, CaProfile},
    refusal::{Reason, Refusal},
    residency::Shown,
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
    /// The issuances that it stands in for, nearest first, UUIDs as text.
    pub supersedes: Vec<String>,
    /// What a TPM showed of where the key lives.
    pub residency: Option<Shown>,
    /// The id that the station's caller gave the request, for record and log; empty for none.
    pub request_id: String,
}

/// As long as a UUID with room for a prefix.
const REQUEST_ID_MAX: usize = 64;

/// A rework of a rework of a rework: nobody means more.
pub(crate) const SUPERSEDES_MAX: usize = 16;

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
    pub(crate) request_id: String,
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
    pub(crate) outlives_issuer: bool,
    /// Nearest first.
    pub(crate) supersedes: Vec<IssuanceId>,
    /// What was verified of where the key lives, where the profile asks for it.
    pub(crate) residency: Option<(Shown, Known)>,
}

/// The profiles and the CAs that they are issued from.
#[derive(Debug)]
pub struct Rules {
    profiles: BTreeMap<ProfileName, CaProfile>,
    issuers: BTreeMap<CaName, CaCertificate>,
    /// CNs of every CA, folded: no device gets one.
    ca_names: HashSet<String>,
}

impl Rules {
    /// Of these profiles and issuers; `ca_names` are the CNs of every CA, folded: no device gets one.
    #[must_use]
    pub fn new(profiles: &[CaProfile], issuers: Vec<CaCertificate>, ca_names: HashSet<String>) -> Self {
        Self {
            profiles: profiles.iter().map(|profile| (profile.name.clone(), profile.clone())).collect(),
            issuers: issuers.into_iter().map(|issuer| (issuer.name.clone(), issuer)).collect(),
            ca_names,
        }
    }

    /// An issuer by the name that records carry.
    pub(crate) fn issuer(&self, name: &str) -> Option<&CaCertificate> {
        self.issuers.get(name)
    }

    /// Whether an issuer has that subject, DER.
    pub(crate) fn has_issuer(&self, subject: &[u8]) -> bool {
        self.issuers.values().any(|issuer| issuer.subject == subject)
    }

    /// Each profile with its issuer.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (&CaProfile, &CaCertificate)> {
        self.profiles.values().filter_map(|profile| self.issuers.get(&profile.issuer).map(|issuer| (profile, issuer)))
    }

    /// The issuer of a profile.
    pub(crate) fn issuer_of(&self, profile: &ProfileName) -> Option<&CaCertificate> {
        self.profiles.get(profile).and_then(|profile| self.issuers.get(&profile.issuer))
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
            request_id: valid(&submission.request_id, is_request_id(&submission.request_id)),
            request_sha256,
            content: content(&submission.device_serial, &submission.lot, &submission.profile, &request_sha256),
            verdict: self.judge(authenticated_by, issuance, submission, now).map_or_else(
                |stop| match stop {
                    Stop::Refuse(refusal) => Verdict::Refuse(refusal),
                    Stop::Defer(later) => Verdict::Defer(later),
                },
                |plan| Verdict::Plan(Box::new(plan)),
            ),
        }
    }

    /// The TBSCertificate, DER, that would be signed for a submission if its names, key and lot are free. Reserves nothing.
    ///
    /// # Errors
    /// Why there is none.
    pub fn rehearse(&self, caller: &str, submission: Submission, now: Timestamp) -> Result<Vec<u8>, Stop> {
        let issuance = IssuanceId::parse(&submission.issuance);
        self.judge(caller, issuance, submission, now).map(|plan| plan.tbs_certificate)
    }

    fn judge(
        &self,
        caller: &str,
        issuance: Option<IssuanceId>,
        submission: Submission,
        now: Timestamp,
    ) -> Result<Plan, Stop> {
        let Some(issuance_id) = issuance else {
            return refuse(Reason::InvalidIssuance, "issuance is no UUID: send the issuance's id as 36 characters");
        };
        if !is_request_id(&submission.request_id) {
            let message = format!("request_id: give at most {REQUEST_ID_MAX} bytes of printable characters, or none");
            return refuse(Reason::InvalidIssuance, message);
        }
        let supersedes: Option<Vec<IssuanceId>> =
            submission.supersedes.iter().map(|text| IssuanceId::parse(text)).collect();
        let Some(supersedes) = supersedes.filter(|all| all.len() <= SUPERSEDES_MAX && !all.contains(&issuance_id))
        else {
            return refuse(
                Reason::InvalidIssuance,
                format!(
                    "supersedes: name at most {SUPERSEDES_MAX} issuances, UUIDs of 36 characters, not this one itself"
                ),
            );
        };
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
        if profile.callers.as_ref().is_some_and(|callers| !callers.iter().any(|known| known == caller)) {
            return refuse(
                Reason::ProfileNotAllowed,
                format!("{caller} may not use the profile {name}: ask where it may be used, or add it to its callers"),
            );
        }
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
        if self.ca_names.contains(&request.common_name().folded()) {
            return refuse(
                Reason::CommonNameNotAccepted,
                format!(
                    "the CN {} is a CA's (compared without case): give the device another one",
                    request.common_name()
                ),
            );
        }
        let residency = match &profile.endorsement {
            None => None,
            Some(policy) => {
                let shown = submission.residency.ok_or_else(|| because_unproven(ResidencyUnproven::NotAttested))?;
                let known = shown.verify(issuance_id, &request, policy, now).map_err(because_unproven)?;
                Some((shown, known))
            }
        };
        let certified = certify(&request, &device_serial, profile, issuer, now)?;
        Ok(Plan {
            device_serial,
            lot: submission.lot,
            profile: name,
            issuer: profile.issuer.clone(),
            common_name: request.common_name().clone(),
            key_sha256: request.public_key().sha256(),
            certification_request: submission.certification_request,
            tbs_certificate: certified.tbs_certificate,
            certificate_serial: certified.certificate_serial,
            outlives_issuer: certified.outlives_issuer,
            supersedes,
            residency,
        })
    }
}

/// As a station takes them from its callers.
fn is_request_id(text: &str) -> bool {
    text.len() <= REQUEST_ID_MAX && !text.chars().any(char::is_control)
}

fn because_unproven(problem: ResidencyUnproven) -> Stop {
    Stop::Refuse(Refusal::new(
        Reason::ResidencyUnproven,
        format!("residency: the key is not proven to live in a TPM: {}", service::in_full(&problem)),
    ))
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// For good.
    Refuse(Refusal),
    /// For now.
    Defer(Later),
}

pub(crate) fn refuse<T>(reason: Reason, message: impl Into<String>) -> Result<T, Stop> {
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

#[cfg(test)]
mod tests {
    use issuance::Purpose;
    use rcgen::{CertificateParams, DnType};

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
            supersedes: Vec::new(),
            residency: None,
            request_id: String::new(),
        };
        let verdict = |issuer: CaCertificate| {
            let mut profile = profile("device-ca", Purpose::DeviceCa { path_length: 0 }, "device-ca");
            profile.validity = crate::profile::End::After(Duration::from_secs(3_600));
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
