//! The CA's records, and the rows that its register keeps of them.

use issuance::{CommonName, IssuanceId, ProfileName, Timestamp};
use journal::{Projection, Rows};
use prost::Message as _;
use proto::evidence::v1::Standing;
pub(crate) use proto::journal::v1::{
    CaCertificatePlanned, CaCertificateSigned, CaRecord, CallerDisabled, CallerEnabled, CertificatePlanned,
    CertificateSigned, CrlPlanned, CrlSigned, DeviceScrapped, IssuanceVerified, LotAuthorisationPart, LotEnded,
    LotReported, LotSet, LotSignature, RequestRefused, Revoked, RolloverStepped, ca_record::Event,
};

use crate::{
    callers::Disabled,
    generation::Generations,
    lots,
    plan::{Plan, Proposal, content},
    refusal::Refusal,
    residency::{activation_to_wire, standing_to_wire},
    revocation::{self, RevocationReason},
};

/// Issuance id → [`PlannedRow`].
pub(crate) const PLANNED: &str = "planned";
/// Issuance id → index of its `CertificateSigned`.
pub(crate) const SIGNED: &str = "signed";
/// Issuance id → nothing, while it is planned and not signed.
pub(crate) const UNSIGNED: &str = "unsigned";
/// [`name_key`] → issuance id.
pub(crate) const NAMES: &str = "names";
/// SHA-256 of the SubjectPublicKeyInfo → [`KeyRow`].
pub(crate) const KEYS: &str = "keys";
/// Certificate serial → issuance id.
pub(crate) const SERIALS: &str = "serials";
/// [`device_key`] → nothing: what was planned for a device.
pub(crate) const DEVICES: &str = "devices";
/// Issuance id → index of its `Revoked`.
pub(crate) const REVOKED: &str = "revoked";
/// [`revocation_key`] → [`RevocationRow`]: what an issuer's CRLs list.
pub(crate) const REVOCATIONS: &str = "revocations";
/// Issuance id → the id of the one that supersedes it.
pub(crate) const SUPERSEDED: &str = "superseded";
/// Issuance id → index of its `IssuanceVerified`.
pub(crate) const VERIFIED: &str = "verified";
/// A CRL's list → the last number that was planned.
pub(crate) const CRLS: &str = "crls";
/// [`ca_certificate_key`] → index; [`GENERATIONS`] → [`Generations`].
pub(crate) const ROLLOVER: &str = "rollover";
/// Which roots and issuers stand. No CA's name is so long.
pub(crate) const GENERATIONS: &[u8] = b"generations of the roots and the issuers";
/// [`NEWEST`] → milliseconds since 1970.
pub(crate) const CLOCK: &str = "clock";
/// A disabled caller's name → the encoded [`crate::callers::Disabled`].
pub(crate) const DISABLED: &str = "disabled";
/// The newest record's time: below it nothing is signed.
pub(crate) const NEWEST: &[u8] = b"newest";

/// An entry of the journal.
pub(crate) fn entry(time: Timestamp, issuance: Option<IssuanceId>, event: Event) -> CaRecord {
    CaRecord {
        time_ms: time.0,
        issuance: issuance.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        event: Some(event),
    }
}

/// Intent.
pub(crate) fn planned(proposal: &Proposal, plan: &Plan, reserved: &Reserved) -> Event {
    Event::CertificatePlanned(CertificatePlanned {
        authenticated_by: proposal.authenticated_by.to_string(),
        device_serial: plan.device_serial.to_string(),
        lot: plan.lot.clone(),
        profile: plan.profile.to_string(),
        issuer: plan.issuer.to_string(),
        request_sha256: proposal.request_sha256.to_vec(),
        certification_request: plan.certification_request.clone(),
        tbs_certificate: plan.tbs_certificate.clone(),
        common_name: plan.common_name.to_string(),
        certificate_serial: plan.certificate_serial.as_bytes().to_vec(),
        key_sha256: plan.key_sha256.to_vec(),
        outlives_issuer: plan.outlives_issuer,
        supersedes: reserved.supersedes.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        generation: reserved.generation,
        lot_used: reserved.lot_used,
        key_known: reserved.key_known,
        residency: plan.residency.as_ref().and_then(|(shown, _)| shown.to_wire()),
        residency_standing: plan
            .residency
            .as_ref()
            .map_or(Standing::Unspecified, |(_, known)| standing_to_wire(known.standing))
            .into(),
        residency_activation: activation_to_wire(plan.residency.as_ref().and_then(|(_, known)| known.activation))
            .into(),
        request_id: proposal.request_id.clone(),
    })
}

/// What the register finds for a plan, besides that it is free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reserved {
    /// The issuance that it supersedes.
    pub(crate) supersedes: Option<IssuanceId>,
    /// 1 for the first certificate of its row.
    pub(crate) generation: u32,
    /// How many devices then have their place in the lot; 0 when the CA has no such lot.
    pub(crate) lot_used: u32,
    /// Whether an earlier issuance brought the key.
    pub(crate) key_known: bool,
}

/// A refusal.
pub(crate) fn refused(proposal: &Proposal, refusal: &Refusal) -> Event {
    Event::RequestRefused(RequestRefused {
        authenticated_by: proposal.authenticated_by.to_string(),
        device_serial: proposal.device_serial.clone(),
        profile: proposal.profile.clone(),
        request_sha256: proposal.request_sha256.to_vec(),
        reason: refusal.reason.as_str().to_owned(),
        message: refusal.message.clone(),
        request_id: proposal.request_id.clone(),
    })
}

/// A revocation.
pub(crate) fn revoked(revoked: &revocation::Revoked) -> Event {
    Event::Revoked(Revoked {
        issuer: revoked.issuer.clone(),
        certificate_serial: revoked.certificate_serial.clone(),
        reason: revoked.reason.as_str().to_owned(),
        authenticated_by: revoked.by.clone(),
        device_serial: revoked.device_serial.clone(),
        profile: revoked.profile.clone(),
    })
}

/// One word for a record, as crash points name it.
pub(crate) fn word(event: &Event) -> &'static str {
    match event {
        Event::CertificatePlanned(_) => "planned",
        Event::CertificateSigned(_) => "signed",
        Event::RequestRefused(_) => "refused",
        Event::Revoked(_) => "revoked",
        Event::LotAuthorisationPart(_) | Event::LotSet(_) => "lot-set",
        Event::LotEnded(_) => "lot-ended",
        Event::DeviceScrapped(_) => "scrapped",
        Event::IssuanceVerified(_) => "verified",
        Event::LotReported(_) => "lot-reported",
        Event::CallerDisabled(_) | Event::CallerEnabled(_) => "caller",
        Event::CrlPlanned(_) => "crl-planned",
        Event::CrlSigned(_) => "crl-signed",
        Event::CaCertificatePlanned(_) => "rollover-planned",
        Event::CaCertificateSigned(_) => "rollover-signed",
        Event::RolloverStepped(_) => "rollover-stepped",
    }
}

/// Reads an entry. What this version does not know stops it: it would otherwise forget names and keys that were given.
pub(crate) fn decode(entry: &[u8]) -> Result<(CaRecord, Event), String> {
    let mut record = CaRecord::decode(entry).map_err(|error| format!("it is not a CaRecord: {error}"))?;
    let event = record.event.take().ok_or("its event is unknown to this version")?;
    Ok((record, event))
}

/// One change of one row.
pub(crate) struct Change {
    pub(crate) tree: &'static str,
    pub(crate) key: Vec<u8>,
    /// `None` deletes.
    pub(crate) value: Option<Vec<u8>>,
}

impl Change {
    pub(crate) fn put(tree: &'static str, key: &[u8], value: Vec<u8>) -> Self {
        Self { tree, key: key.to_vec(), value: Some(value) }
    }
}

/// What an entry changes. Pure and total: the same entries make the same rows.
fn changes(index: u64, entry: &[u8]) -> Result<Vec<Change>, String> {
    let (record, event) = decode(entry)?;
    let mut changes = Vec::with_capacity(6);
    let mut put =
        |tree, key: &[u8], value: Vec<u8>| changes.push(Change { tree, key: key.to_vec(), value: Some(value) });
    let of_issuance =
        || IssuanceId::from_slice(&record.issuance).ok_or_else(|| "its issuance is not 16 octets".to_owned());
    put(CLOCK, NEWEST, record.time_ms.to_be_bytes().to_vec());
    match event {
        Event::CertificatePlanned(planned) => {
            let id = of_issuance()?;
            let octets = id.as_bytes().to_vec();
            let content = content(&planned.device_serial, &planned.lot, &planned.profile, &planned.request_sha256);
            let common_name = CommonName::parse(&planned.common_name).map_err(|error| error.to_string())?;
            put(PLANNED, &octets, PlannedRow { index, content }.encode());
            put(UNSIGNED, &octets, Vec::new());
            put(NAMES, &name_key(&planned.profile, &common_name), octets.clone());
            // The first issuance that brought a key is named when another device brings it again.
            if !planned.key_known {
                put(KEYS, &planned.key_sha256, KeyRow::encode(id, &planned.profile, &planned.device_serial));
            }
            put(SERIALS, &planned.certificate_serial, octets.clone());
            put(DEVICES, &device_key(&planned.device_serial, id), Vec::new());
            if !planned.supersedes.is_empty() {
                put(SUPERSEDED, &planned.supersedes, octets.clone());
            }
            lots::rows::planned(index, &octets, &planned, &mut |change| changes.push(change));
        }
        Event::CertificateSigned(_) => {
            let id = of_issuance()?;
            put(SIGNED, id.as_bytes(), index.to_be_bytes().to_vec());
            changes.push(Change { tree: UNSIGNED, key: id.as_bytes().to_vec(), value: None });
        }
        Event::CrlPlanned(planned) => put(CRLS, planned.list.as_bytes(), planned.number.to_be_bytes().to_vec()),
        Event::RequestRefused(_) | Event::CrlSigned(_) => {}
        Event::Revoked(revoked) => {
            let id = of_issuance()?;
            let reason = RevocationReason::parse(&revoked.reason).map_err(|error| error.to_string())?;
            let row = RevocationRow { at: Timestamp(record.time_ms), reason, profile: revoked.profile };
            put(REVOKED, id.as_bytes(), index.to_be_bytes().to_vec());
            put(REVOCATIONS, &revocation_key(&revoked.issuer, &revoked.certificate_serial), row.encode());
            // What was planned and never signed will not be signed any more.
            changes.push(Change { tree: UNSIGNED, key: id.as_bytes().to_vec(), value: None });
        }
        Event::CaCertificatePlanned(planned) => {
            put(ROLLOVER, &ca_certificate_key(&planned.ca, false), index.to_be_bytes().to_vec());
        }
        Event::CaCertificateSigned(signed) => {
            put(ROLLOVER, &ca_certificate_key(&signed.ca, true), index.to_be_bytes().to_vec());
        }
        Event::RolloverStepped(stepped) => put(ROLLOVER, GENERATIONS, Generations::of(&stepped)?.encode()),
        Event::IssuanceVerified(_) => put(VERIFIED, of_issuance()?.as_bytes(), index.to_be_bytes().to_vec()),
        Event::CallerDisabled(disabled) => {
            let row =
                Disabled { at: Timestamp(record.time_ms), by: disabled.authenticated_by, reason: disabled.reason };
            put(DISABLED, disabled.name.as_bytes(), row.encode());
        }
        Event::CallerEnabled(enabled) => {
            changes.push(Change { tree: DISABLED, key: enabled.name.into_bytes(), value: None });
        }
        Event::LotSet(_)
        | Event::LotEnded(_)
        | Event::DeviceScrapped(_)
        | Event::LotAuthorisationPart(_)
        | Event::LotReported(_) => {
            lots::rows::changes(index, record.time_ms, &event, &mut |change| changes.push(change))?;
        }
    }
    Ok(changes)
}

/// The key of a name's row: distinct per profile, compared without case. A profile's name has no zero octet.
pub(crate) fn name_key(profile: &str, name: &CommonName) -> Vec<u8> {
    [profile.as_bytes(), &[0], name.folded().as_bytes()].concat()
}

/// The key of a device's row. A device serial has no zero octet.
pub(crate) fn device_key(device_serial: &str, issuance: IssuanceId) -> Vec<u8> {
    [&device_prefix(device_serial)[..], issuance.as_bytes()].concat()
}

/// What the keys of a device's rows begin with.
pub(crate) fn device_prefix(device_serial: &str) -> Vec<u8> {
    [device_serial.as_bytes(), &[0]].concat()
}

/// The key of a revocation's row. An issuer's name has no zero octet.
pub(crate) fn revocation_key(issuer: &str, certificate_serial: &[u8]) -> Vec<u8> {
    [issuer.as_bytes(), &[0], certificate_serial].concat()
}

/// The key of a CA certificate's plan, or of its signature. A CA's name has no zero octet.
pub(crate) fn ca_certificate_key(name: &str, is_signed: bool) -> Vec<u8> {
    [name.as_bytes(), &[0, u8::from(is_signed)]].concat()
}

/// What a CRL says of a revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevocationRow {
    pub(crate) at: Timestamp,
    pub(crate) reason: RevocationReason,
    pub(crate) profile: String,
}

impl RevocationRow {
    fn encode(&self) -> Vec<u8> {
        [&self.at.0.to_be_bytes()[..], &[self.reason.code()], self.profile.as_bytes()].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (at, rest) = row.split_at_checked(8)?;
        let (code, profile) = rest.split_first()?;
        Some(Self {
            at: Timestamp(number(at)?.cast_signed()),
            reason: RevocationReason::from_code(*code)?,
            profile: String::from_utf8(profile.to_vec()).ok()?,
        })
    }
}

/// Where an issuance's plan stands, and what was asked.
pub(crate) struct PlannedRow {
    pub(crate) index: u64,
    pub(crate) content: [u8; 32],
}

impl PlannedRow {
    fn encode(&self) -> Vec<u8> {
        [&self.index.to_be_bytes()[..], &self.content].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (index, content) = row.split_at_checked(8)?;
        Some(Self { index: number(index)?, content: content.try_into().ok()? })
    }
}

/// Eight octets as a number.
pub(crate) fn number(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

/// Whose key it is, and the issuance that brought it.
pub(crate) struct KeyRow {
    pub(crate) issuance: IssuanceId,
    pub(crate) profile: String,
    pub(crate) device_serial: String,
}

impl KeyRow {
    fn encode(issuance: IssuanceId, profile: &str, device_serial: &str) -> Vec<u8> {
        [issuance.as_bytes(), profile.as_bytes(), &[0], device_serial.as_bytes()].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (issuance, names) = row.split_at_checked(16)?;
        let (profile, device_serial) = std::str::from_utf8(names).ok()?.split_once('\0')?;
        Some(Self {
            issuance: IssuanceId::from_slice(issuance)?,
            profile: profile.to_owned(),
            device_serial: device_serial.to_owned(),
        })
    }

    /// Whether it is this device's key under this profile.
    pub(crate) fn belongs_to(&self, profile: &ProfileName, device_serial: &str) -> bool {
        self.profile == profile.as_str() && self.device_serial == device_serial
    }
}

/// The register's rows on sled.
#[derive(Debug, Clone, Copy)]
pub struct CaProjection;

impl Projection for CaProjection {
    const VERSION: u32 = 3;

    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
        for change in changes(index, entry)? {
            match change.value {
                Some(value) => rows.put(change.tree, &change.key, value),
                None => rows.delete(change.tree, &change.key),
            }
        }
        Ok(())
    }
}
