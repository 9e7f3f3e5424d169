//! What the register does with words on lots, and what it tells of them.

use issuance::{IssuanceId, LotName, ProfileName, Timestamp, public_key::hex};
use service::clock::Wrong;

use super::{JournaledRegister, Stage, broken};
use crate::{
    lots::{
        Lot, LotAnswer, LotCertificate, LotQuestion, LotRefused, LotRefusedKind as Kind, LotSaid, LotWord,
        authorisation::Authorisation,
        rows::{
            AUTHORISATIONS, LOT_CERTIFICATES, LOT_ENDS, LOT_OPENINGS, LOT_ORDER, LOT_PLACES, LOT_SCRAPPED, LOT_USED,
            LOTS, LotRow, authorisation_key, device_key, lot_prefix,
        },
    },
    records::{
        self, CertificatePlanned, DeviceScrapped, Event, LotAuthorisationPart, LotEnded, LotReported, LotSet,
        LotSignature, REVOKED, SUPERSEDED,
    },
    register::RegisterError,
    revocation::RevocationReason,
};

/// A record has at most 65,535 bytes.
const PART_BYTES: usize = 60_000;

type Told = Result<Lot, LotRefused>;

impl JournaledRegister {
    /// Judges a word on a lot, records it, and answers with the lot as it then stands.
    pub(super) fn say_of_lot(&self, said: LotSaid) -> Result<Told, RegisterError> {
        let mut stage = Stage::new(self)?;
        // Nothing is opened that would hold by a wrong clock.
        if let Some(wrong) = self.clock_wrong()? {
            let reason = if let Wrong::Behind(_) = wrong { "CLOCK_BEHIND" } else { "CLOCK_AHEAD" };
            let message = format!("the CA records nothing while its clock is wrong: {wrong}. {}", wrong.remedy());
            return Ok(Err(LotRefused::new(Kind::NotNow, reason, message)));
        }
        let LotSaid { word, claimed_by, authenticated_by } = said;
        let by = By { claimed_by, authenticated_by: authenticated_by.to_string() };
        let judged = match word {
            LotWord::Open { lot, profile, quantity } => {
                let set = LotSet { profile: profile.to_string(), quantity, ..by.set(&lot) };
                self.open(&mut stage, lot, set)?
            }
            LotWord::Authorise(authorisation) => self.authorise(&mut stage, *authorisation, &by)?,
            LotWord::Close { lot } => self.end(&mut stage, lot, &by)?,
            LotWord::Amend { lot, quantity, reason } => self.amend(&mut stage, lot, quantity, reason, &by)?,
            LotWord::Scrap { lot, device_serial, reason, brought_by } => {
                let device = device_serial.as_str();
                let given = self.given(&stage, &lot, device)?;
                if let Some(refused) = of_another_station(&given, brought_by.as_deref(), device) {
                    return Ok(Err(refused));
                }
                match (self.lot(&lot)?, given.first()) {
                    // There is no place to give back, and what was issued under its name is revoked all the same.
                    (None, Some((_, first))) => {
                        let profile = ProfileName::parse(&first.profile)
                            .map_err(|_| broken("a plan's profile cannot be read"))?;
                        let opened = stage.time;
                        self.revoke_given(&mut stage, given, &by)?;
                        stage.sync()?;
                        return Ok(Ok(Lot {
                            lot,
                            profile,
                            quantity: 0,
                            used: 0,
                            open: false,
                            opened,
                            signature: None,
                        }));
                    }
                    _ => self.scrap(&mut stage, lot, device, reason, given, &by)?,
                }
            }
            LotWord::Report { lot, payload_sha256 } => {
                let payload_sha256 = payload_sha256.to_vec();
                let reported =
                    LotReported { lot: lot.to_string(), payload_sha256, authenticated_by: by.authenticated_by.clone() };
                stage.add(None, Event::LotReported(reported))?;
                Ok(lot)
            }
        };
        let lot = match judged {
            Ok(lot) => lot,
            Err(refused) => return Ok(Err(refused)),
        };
        stage.sync()?;
        self.lot(&lot)
            .map(|lot| lot.ok_or_else(|| LotRefused::new(Kind::NotFound, "LOT_UNKNOWN", "there is no such lot")))
    }

    pub(super) fn answer_of_lots(&self, question: LotQuestion) -> Result<LotAnswer, RegisterError> {
        Ok(match question {
            LotQuestion::One(lot) => LotAnswer::One(self.lot(&lot)?),
            LotQuestion::Page { before, limit } => {
                let before = before.map(u64::to_be_bytes);
                let rows = self.projections.scan(LOT_ORDER, &[], before.as_ref().map(|key| &key[..]), true, limit)?;
                let mut lots = Vec::with_capacity(rows.len());
                for (key, name) in rows {
                    let name = std::str::from_utf8(&name).ok().and_then(|name| LotName::parse(name).ok());
                    let (index, name) =
                        records::number(&key).zip(name).ok_or_else(|| broken("a lot's row is broken"))?;
                    lots.extend(self.lot(&name)?.map(|lot| (index, lot)));
                }
                LotAnswer::Page(lots)
            }
            LotQuestion::Certificates { lot, after, limit } => {
                LotAnswer::Certificates(self.lot_certificates(&lot, after, limit)?)
            }
        })
    }

    fn open(
        &self,
        stage: &mut Stage<'_>,
        lot: LotName,
        set: LotSet,
    ) -> Result<Result<LotName, LotRefused>, RegisterError> {
        let Some(standing) = self.lot(&lot)? else {
            if !self.lots.unsigned {
                let message = "lots are opened by the brand owner's signature here: bring the authorisation";
                return Ok(Err(LotRefused::new(Kind::Precondition, "AUTHORISATION_REQUIRED", message)));
            }
            stage.add(None, Event::LotSet(set))?;
            return Ok(Ok(lot));
        };
        let same = standing.signature.is_none()
            && (standing.profile.as_str(), standing.quantity) == (set.profile.as_str(), set.quantity);
        if standing.open && same {
            return Ok(Ok(lot));
        }
        let message = format!(
            "the lot {lot} exists with the profile {}, the quantity {} and is {}: a lot is opened once; a supervisor \
             amends it, or a new signature does",
            standing.profile,
            standing.quantity,
            if standing.open { "open" } else { "closed" }
        );
        Ok(Err(LotRefused::new(Kind::Exists, "LOT_EXISTS", message)))
    }

    fn authorise(
        &self,
        stage: &mut Stage<'_>,
        authorisation: Authorisation,
        by: &By,
    ) -> Result<Result<LotName, LotRefused>, RegisterError> {
        let Authorisation { jws, content_sha256, lot, profile, quantity, signature } = authorisation;
        let refuse = |kind, reason, message| Ok(Err(LotRefused::new(kind, reason, message)));
        if let Some(row) = stage.get(AUTHORISATIONS, &authorisation_key(&signature.key_sha256, &signature.jti))? {
            if row.get(..32) == Some(&content_sha256) {
                // The exact repeat: whatever became of the lot since, it is not undone.
                return Ok(Ok(lot));
            }
            let message = format!(
                "the jti {} was used for another authorisation, of the lot {}: the brand owner gives each its own",
                signature.jti,
                String::from_utf8_lossy(row.get(32..).unwrap_or_default())
            );
            return refuse(Kind::Exists, "AUTHORISATION_REPLAYED", message);
        }
        if stage.time.seconds() >= signature.expires {
            let message = format!("the authorisation {} of the lot {lot} has expired", signature.jti);
            return refuse(Kind::Precondition, "AUTHORISATION_EXPIRED", message);
        }
        let standing = self.lot(&lot)?;
        if let Some(standing) = &standing {
            let by_other = standing.signature.as_ref().is_some_and(|other| other.key_sha256 != signature.key_sha256);
            if by_other || standing.profile != profile {
                let message = format!(
                    "the lot {lot} exists with the profile {} and {}: give this one another name",
                    standing.profile,
                    standing.signature.as_ref().map_or_else(
                        || "without a signature".to_owned(),
                        |other| format!("signed by the key with SHA-256 {}", hex(&other.key_sha256))
                    )
                );
                return refuse(Kind::Exists, "LOT_EXISTS", message);
            }
            // One that was signed before it and kept back would undo it.
            if standing.signature.as_ref().is_some_and(|other| signature.not_before < other.not_before) {
                let message = format!("the lot {lot} stands by a newer authorisation: this one begins before it");
                return refuse(Kind::Precondition, "AUTHORISATION_OUTDATED", message);
            }
            if quantity < standing.used {
                return Ok(Err(below_used(&lot, quantity, standing.used)));
            }
        }
        let parts: Vec<&[u8]> = jws.as_bytes().chunks(PART_BYTES).collect();
        for part in &parts {
            stage.add(None, Event::LotAuthorisationPart(LotAuthorisationPart { part: part.to_vec() }))?;
        }
        let signature = LotSignature {
            parts: u32::try_from(parts.len()).map_err(|_| broken("an authorisation has too many parts"))?,
            jti: signature.jti,
            key_sha256: signature.key_sha256.to_vec(),
            content_sha256: content_sha256.to_vec(),
            device_serials: signature.device_serials,
            pattern: signature.pattern,
            not_before: signature.not_before,
            expires: signature.expires,
        };
        let set = LotSet { profile: profile.to_string(), quantity, again: standing.is_some(), ..by.set(&lot) };
        stage.add(None, Event::LotSet(LotSet { signature: Some(signature), ..set }))?;
        Ok(Ok(lot))
    }

    fn end(&self, stage: &mut Stage<'_>, lot: LotName, by: &By) -> Result<Result<LotName, LotRefused>, RegisterError> {
        let Some(standing) = self.lot(&lot)? else { return Ok(Err(LotRefused::unknown(&lot))) };
        if standing.open {
            let ended = LotEnded { lot: lot.to_string(), authenticated_by: by.authenticated_by.clone() };
            stage.add(None, Event::LotEnded(ended))?;
        }
        Ok(Ok(lot))
    }

    fn amend(
        &self,
        stage: &mut Stage<'_>,
        lot: LotName,
        quantity: u32,
        reason: String,
        by: &By,
    ) -> Result<Result<LotName, LotRefused>, RegisterError> {
        let Some(standing) = self.lot(&lot)? else { return Ok(Err(LotRefused::unknown(&lot))) };
        if standing.signature.is_some() {
            let message =
                format!("the lot {lot} is the brand owner's: only a new signature widens it or opens it again");
            return Ok(Err(LotRefused::new(Kind::Precondition, "LOT_IS_SIGNED", message)));
        }
        if quantity < standing.used {
            return Ok(Err(below_used(&lot, quantity, standing.used)));
        }
        if standing.open && standing.quantity == quantity {
            return Ok(Ok(lot));
        }
        let set = LotSet { profile: standing.profile.to_string(), quantity, reason, again: true, ..by.set(&lot) };
        stage.add(None, Event::LotSet(set))?;
        Ok(Ok(lot))
    }

    fn scrap(
        &self,
        stage: &mut Stage<'_>,
        lot: LotName,
        device: &str,
        reason: String,
        given: Vec<(IssuanceId, CertificatePlanned)>,
        by: &By,
    ) -> Result<Result<LotName, LotRefused>, RegisterError> {
        let Some(standing) = self.lot(&lot)? else { return Ok(Err(LotRefused::unknown(&lot))) };
        let key = device_key(lot.as_str(), device);
        let Some(holder) = stage.get(LOT_PLACES, &key)? else {
            if stage.get(LOT_SCRAPPED, &key)?.is_some() {
                self.revoke_given(stage, given, by)?;
                return Ok(Ok(lot));
            }
            let message = format!("the device {device} has no place in the lot {lot}: check the device serial");
            return Ok(Err(LotRefused::new(Kind::NotFound, "NO_PLACE", message)));
        };
        IssuanceId::from_slice(&holder).ok_or_else(|| broken("a place's row cannot be read"))?;
        let scrapped = DeviceScrapped {
            lot: lot.to_string(),
            device_serial: device.to_owned(),
            reason,
            claimed_by: by.claimed_by.clone(),
            authenticated_by: by.authenticated_by.clone(),
            lot_used: standing.used.saturating_sub(1),
        };
        stage.call("scrapped");
        // Revoked first: the place is free only when no certificate of its device is left.
        self.revoke_given(stage, given, by)?;
        stage.add(None, Event::DeviceScrapped(scrapped))?;
        Ok(Ok(lot))
    }

    /// What a device was given under a lot.
    fn given(
        &self,
        stage: &Stage<'_>,
        lot: &LotName,
        device: &str,
    ) -> Result<Vec<(IssuanceId, CertificatePlanned)>, RegisterError> {
        let prefix = records::device_prefix(device);
        let mut given = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.projections.scan(records::DEVICES, &prefix, after.as_deref(), false, 256)?;
            for (key, _) in &rows {
                let id = IssuanceId::from_slice(key.get(prefix.len()..).unwrap_or_default());
                let id = id.ok_or_else(|| broken("a device's row has no issuance id"))?;
                let planned =
                    self.planned_before(stage, id)?.ok_or_else(|| broken("a device's issuance has no plan"))?;
                if planned.lot == lot.as_str() {
                    given.push((id, planned));
                }
            }
            match rows.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => return Ok(given),
            }
        }
    }

    fn revoke_given(
        &self,
        stage: &mut Stage<'_>,
        given: Vec<(IssuanceId, CertificatePlanned)>,
        by: &By,
    ) -> Result<(), RegisterError> {
        for (id, planned) in given {
            self.revoke_one(stage, id, planned, RevocationReason::CessationOfOperation, &by.authenticated_by)?;
        }
        Ok(())
    }

    fn lot(&self, lot: &LotName) -> Result<Option<Lot>, RegisterError> {
        let key = lot.as_str().as_bytes();
        let Some(row) = self.projections.get(LOTS, key)? else { return Ok(None) };
        let row = LotRow::decode(&row).ok_or_else(|| broken("a lot's row cannot be read"))?;
        let used = self.projections.get(LOT_USED, key)?.as_deref().and_then(records::number).unwrap_or(0);
        let open = self.projections.get(LOT_ENDS, key)?.is_none();
        let opening = self.projections.get(LOT_OPENINGS, key)?;
        let opened = opening.as_deref().and_then(|row| row.get(8..)).and_then(records::number);
        let opened = opened.ok_or_else(|| broken("a lot's opening cannot be read"))?;
        let used = u32::try_from(used).map_err(|_| broken("a lot's count cannot be read"))?;
        Ok(Some(row.lot(lot.clone(), used, open, Timestamp(opened.cast_signed()))))
    }

    fn lot_certificates(
        &self,
        lot: &LotName,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, LotCertificate)>, RegisterError> {
        let stage = Stage::new(self)?;
        let prefix = lot_prefix(lot.as_str());
        let after = after.map(|index| [&prefix[..], &index.to_be_bytes()].concat());
        let rows = self.projections.scan(LOT_CERTIFICATES, &prefix, after.as_deref(), false, limit)?;
        let mut certificates = Vec::with_capacity(rows.len());
        for (key, id) in rows {
            let index = key.get(prefix.len()..).and_then(records::number);
            let (index, issuance) =
                index.zip(IssuanceId::from_slice(&id)).ok_or_else(|| broken("a lot's certificate has a broken row"))?;
            let planned = self.read_planned(index)?;
            let superseded_by = stage.get(SUPERSEDED, issuance.as_bytes())?;
            let device = device_key(lot.as_str(), &planned.device_serial);
            certificates.push((
                index,
                LotCertificate {
                    sha256: self.certificate_sha256(&stage, issuance, &planned)?,
                    revoked: self.revocation_reason(&stage, issuance)?,
                    scrapped: stage.get(LOT_SCRAPPED, &device)?.is_some(),
                    superseded_by: superseded_by.and_then(|id| IssuanceId::from_slice(&id)),
                    certificate_serial: hex(&planned.certificate_serial),
                    generation: planned.generation.max(1),
                    device_serial: planned.device_serial,
                    issuance,
                },
            ));
        }
        Ok(certificates)
    }

    fn revocation_reason(
        &self,
        stage: &Stage<'_>,
        issuance: IssuanceId,
    ) -> Result<Option<RevocationReason>, RegisterError> {
        let Some(index) = stage.get(REVOKED, issuance.as_bytes())? else { return Ok(None) };
        let index = records::number(&index).ok_or_else(|| broken("a revoked row cannot be read"))?;
        match self.read(index)? {
            Event::Revoked(revoked) => RevocationReason::parse(&revoked.reason)
                .map(Some)
                .map_err(|error| broken(format!("entry {index}: {error}"))),
            _ => Err(broken(format!("entry {index} is no revocation"))),
        }
    }
}

/// Whose word it is.
struct By {
    claimed_by: String,
    authenticated_by: String,
}

impl By {
    fn set(&self, lot: &LotName) -> LotSet {
        LotSet {
            lot: lot.to_string(),
            authenticated_by: self.authenticated_by.clone(),
            claimed_by: self.claimed_by.clone(),
            ..LotSet::default()
        }
    }
}

/// A station has no say in what another one brought.
fn of_another_station(
    given: &[(IssuanceId, CertificatePlanned)],
    brought_by: Option<&str>,
    device: &str,
) -> Option<LotRefused> {
    let other =
        given.iter().find(|(_, planned)| brought_by.is_some_and(|station| station != planned.authenticated_by))?;
    let message = format!(
        "the device {device} was brought by {}: scrap it at that station, or as a supervisor at the CA",
        other.1.authenticated_by
    );
    Some(LotRefused::new(Kind::Denied, "OTHER_STATION", message))
}

fn below_used(lot: &LotName, quantity: u32, used: u32) -> LotRefused {
    let message = format!("the lot {lot} has {used} devices already, and {quantity} is less: give that many or more");
    LotRefused::new(Kind::Precondition, "LOT_BELOW_USED", message)
}
