//! Whether a lot covers a plan, and which place of the lot it takes. It is judged in the stage in which the name is
//! reserved, so both are taken or neither is.

use std::{collections::BTreeSet, sync::Arc};

use issuance::IssuanceId;

use super::{JournaledRegister, Stage, broken, supersede::Superseded};
use crate::{
    lots::{
        authorisation,
        rows::{LOT_ENDS, LOT_PLACES, LOT_SCRAPPED, LOT_USED, LOTS, LotRow, device_key},
    },
    plan::Plan,
    records::{self, Event},
    refusal::{Reason, Refusal},
    register::RegisterError,
};

/// Lots whose lists are kept at hand, some MiB each at most: a factory works on a few at a time.
const LISTS_MAX: usize = 8;

impl JournaledRegister {
    /// How many devices have their place in the plan's lot once it has its own; 0 when no lot of this CA counts it.
    pub(super) fn place(
        &self,
        stage: &Stage<'_>,
        plan: &Plan,
        superseded: Option<&Superseded>,
    ) -> Result<Result<u32, Refusal>, RegisterError> {
        let refuse = |reason, message: String| Ok(Err(Refusal::new(reason, message)));
        let (lot, device) = (plan.lot.as_str(), plan.device_serial.as_str());
        if lot.is_empty() {
            let message = "no lot is named, and this CA issues under lots alone: name the work order's";
            return if self.lots.required { refuse(Reason::LotRequired, message.to_owned()) } else { Ok(Ok(0)) };
        }
        let Some(row) = stage.get(LOTS, lot.as_bytes())? else {
            let message = format!(
                "this CA has no lot {lot}: bring the brand owner's authorisation or open it at the CA, then let the issuance go on"
            );
            return if self.lots.required { refuse(Reason::LotUnknown, message) } else { Ok(Ok(0)) };
        };
        let row = LotRow::decode(&row).ok_or_else(|| broken("a lot's row cannot be read"))?;
        if row.profile != plan.profile {
            let message =
                format!("the lot {lot} is for the profile {}, and {} was asked for", row.profile, plan.profile);
            return refuse(Reason::LotOtherProfile, message);
        }
        let key = device_key(lot, device);
        if stage.get(LOT_SCRAPPED, &key)?.is_some() {
            let message =
                format!("the device {device} was scrapped out of the lot {lot}: it gets no certificate there");
            return refuse(Reason::DeviceScrapped, message);
        }
        let used = stage.get(LOT_USED, lot.as_bytes())?.as_deref().and_then(records::number).unwrap_or(0);
        let used = u32::try_from(used).map_err(|_| broken("a lot's count cannot be read"))?;
        if let Some(holder) = stage.get(LOT_PLACES, &key)? {
            let holder = IssuanceId::from_slice(&holder).ok_or_else(|| broken("a place's row cannot be read"))?;
            if superseded.is_some_and(|superseded| superseded.issuance == holder) {
                return Ok(Ok(used));
            }
            let message = format!(
                "the device {device} has its certificate in the lot {lot} by the issuance {holder}: a supervisor's \
                 rework supersedes it"
            );
            return refuse(Reason::DeviceAlreadyIssued, message);
        }
        // Who has a place renews beyond the authorisation's end and the lot's: it takes no other place.
        if let Some(refusal) = self.signed_terms(stage, plan, &row)? {
            return Ok(Err(refusal));
        }
        if stage.get(LOT_ENDS, lot.as_bytes())?.is_some() {
            return refuse(Reason::LotClosed, format!("the lot {lot} is closed: use another one"));
        }
        if used >= row.quantity {
            let message = format!("the lot {lot} is used up: {used} of {} devices have their place", row.quantity);
            return refuse(Reason::LotUsedUp, message);
        }
        Ok(Ok(used + 1))
    }

    /// Time and devices, as the brand owner signed them.
    fn signed_terms(&self, stage: &Stage<'_>, plan: &Plan, row: &LotRow) -> Result<Option<Refusal>, RegisterError> {
        let Some(signature) = &row.signature else { return Ok(None) };
        let (lot, device, now) = (&plan.lot, plan.device_serial.as_str(), stage.time.seconds());
        let refuse = |reason, message| Ok(Some(Refusal::new(reason, message)));
        if now < signature.not_before {
            let wait = signature.not_before - now;
            return refuse(
                Reason::LotNotYetValid,
                format!("the lot {lot} is authorised from {wait} s from now on only"),
            );
        }
        if now >= signature.expires {
            let message = format!(
                "the authorisation of the lot {lot} has expired: the brand owner signs another, or the lot ends"
            );
            return refuse(Reason::LotExpired, message);
        }
        let covered = match signature.device_serials {
            0 => authorisation::fits(&signature.pattern, device),
            _ => self.listed(row.index, signature.parts)?.contains(device),
        };
        if covered {
            return Ok(None);
        }
        let which = match signature.pattern.as_str() {
            "" => format!("the {} devices that are listed", signature.device_serials),
            pattern => format!("devices that fit {pattern}"),
        };
        let message =
            format!("the lot {lot} is authorised for {which}, and {device} is none of them: check the device serial");
        refuse(Reason::LotNotForDevice, message)
    }

    /// The devices that the authorisation recorded at `index` lists.
    fn listed(&self, index: u64, parts: u32) -> Result<Arc<BTreeSet<String>>, RegisterError> {
        let mut lists = self.lists.borrow_mut();
        if let Some(list) = lists.get(&index) {
            return Ok(Arc::clone(list));
        }
        let jws = self.authorisation(index, parts)?;
        let list =
            authorisation::listed_serials(&jws).ok_or_else(|| broken("a recorded authorisation lists nothing"))?;
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        let list = Arc::new(list);
        lists.insert(index, Arc::clone(&list));
        Ok(list)
    }

    /// The JWS whose parts stand before `index`.
    pub(super) fn authorisation(&self, index: u64, parts: u32) -> Result<String, RegisterError> {
        let first = index.checked_sub(parts.into()).ok_or_else(|| broken("an authorisation's parts are not there"))?;
        let mut jws = Vec::new();
        for at in first..index {
            match self.read(at)? {
                Event::LotAuthorisationPart(part) => jws.extend(part.part),
                _ => return Err(broken(format!("entry {at} is no part of an authorisation"))),
            }
        }
        String::from_utf8(jws).map_err(|_| broken("an authorisation is not text"))
    }
}
