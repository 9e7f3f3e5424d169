//! Rework: a supervisor has a device certified again. The new issuance supersedes the one before; the CA revokes that one's
//! certificate once it is told that the new one is verified on the device.

use issuance::{
    Issuance, IssuanceId, Record, State,
    profile::KeystoreKind,
    record::{Provenance, Requested},
};
use uuid::Uuid;

use super::{Asked, Ledger, LedgerRefused, Memory, Started, last_index, start::scrapped};
use crate::rows::{self, Place};

/// The CA takes no more (`ca.v1`, `CertificationRequest.supersedes`).
const ANCESTORS_MOST: usize = 16;

/// What a supervisor said of a rework.
#[derive(Debug, Clone)]
pub struct Why {
    /// Why, for the record.
    pub reason: String,
    /// Whether the device makes another key; else the one that it has serves on.
    pub new_key: bool,
    /// Whether other hardware is this device from now on.
    pub new_hardware: bool,
    /// What is behind the fixture.
    pub keystore: KeystoreKind,
}

/// A certificate that the CA is to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The issuance.
    pub issuance: IssuanceId,
    /// SHA-256 of what was read from the device.
    pub certificate_sha256: [u8; 32],
}

impl Ledger {
    /// Starts the issuance that supersedes `of`, or returns it when it was started before.
    pub fn rework(
        &self,
        of: IssuanceId,
        asked: &Asked,
        why: &Why,
        provenance: &Provenance,
    ) -> Result<Started, LedgerRefused> {
        let mut memory = self.lock();
        let before = self.issuance(&mut memory, of)?;
        let (request, profile) = (&before.request, &before.request.profile);
        let named = self.profiles.get(profile).ok_or_else(|| LedgerRefused::Invalid {
            field: "name",
            message: format!("the profile {profile} of {of} is no longer configured: put it back"),
        })?;
        let name = rows::key(&[profile.as_str(), &request.common_name.folded()]);
        let holder = match self.rows.get(rows::NAMES, &name)? {
            Some(holder) => self.load(&mut memory, &holder)?,
            None => before.clone(),
        };
        if holder.id != before.id {
            if holder.request.supersedes == Some(before.id) && !matches!(holder.state, State::Cancelled(..)) {
                return Ok(Started { issuance: holder, begin: false, appended: None });
            }
            let message = format!("the issuance {of} was superseded by {}: rework that one", holder.id);
            return Err(LedgerRefused::precondition("ALREADY_SUPERSEDED", message));
        }
        let ended = matches!(before.state, State::Completed(..) | State::Cancelled(..));
        if !ended || !self.was_ever_issued(&mut memory, &before)? {
            let message = format!(
                "the issuance {of} stands in {}: only a completed one is reworked, or one that was cancelled after its \
                 certificate was issued; cancel it first, or scan its device again",
                before.state
            );
            return Err(LedgerRefused::precondition("NOT_REWORKABLE", message));
        }
        if self.place(&request.lot, &request.device_serial)? == Some(Place::Scrapped) {
            return Err(scrapped(&request.lot, &request.device_serial));
        }
        let id = IssuanceId::from_uuid(Uuid::now_v7());
        let lineage = if why.new_key { id } else { request.lineage };
        let place = |lineage| named.profile.places(why.keystore, lineage);
        // Other hardware has that place free.
        if why.new_key && !why.new_hardware && place(lineage) == place(request.lineage) {
            let message = format!(
                "the profile {profile} names the one place of its key in a {} device, and the key there is not replaced: \
                 rework it with the same key",
                why.keystore.as_str()
            );
            return Err(LedgerRefused::precondition("NEW_KEY_UNSUPPORTED", message));
        }
        self.room(&memory, asked)?;
        asked.fixture_free()?;
        let request = Requested {
            request_id: asked.subject.request_id.clone(),
            lot: request.lot.clone(),
            device_serial: request.device_serial.clone(),
            profile: profile.clone(),
            common_name: request.common_name.clone(),
            fixture: asked.fixture.clone(),
            claimed_by: asked.claimed_by.clone(),
            authenticated_by: asked.authenticated_by.clone(),
            supersedes: Some(before.id),
            reason: why.reason.clone(),
            new_hardware: why.new_hardware,
            lineage,
            provenance: Provenance { profile_sha256: named.sha256, ..provenance.clone() },
        };
        let appended = self.append(&mut memory, id, vec![Record::Requested(Box::new(request))])?;
        let issuance = self.issuance(&mut memory, id)?;
        Ok(Started { issuance, begin: true, appended: Some(appended) })
    }

    /// Whether the CA gave a certificate to this issuance or to one that it stands in for.
    pub(super) fn was_ever_issued(&self, memory: &mut Memory, issuance: &Issuance) -> Result<bool, LedgerRefused> {
        if issuance.state.was_issued() {
            return Ok(true);
        }
        let mut before = issuance.request.supersedes;
        while let Some(id) = before {
            let superseded = self.issuance(memory, id)?;
            if superseded.state.was_issued() {
                return Ok(true);
            }
            before = superseded.request.supersedes;
        }
        Ok(false)
    }

    /// The issuances that one stands in for, nearest first.
    pub fn ancestors(&self, issuance: &Issuance) -> Result<Vec<Issuance>, LedgerRefused> {
        let mut ancestors = Vec::new();
        let mut before = issuance.request.supersedes;
        while let Some(id) = before
            && ancestors.len() < ANCESTORS_MOST
            && let Some((superseded, _)) = self.get(id)?
        {
            before = superseded.request.supersedes;
            ancestors.push(superseded);
        }
        Ok(ancestors)
    }

    /// The certificates that an issuance supersedes, DER, nearest first; then those of the key that made place for its own.
    pub fn superseded_certificates(&self, issuance: &Issuance) -> Result<Vec<Vec<u8>>, LedgerRefused> {
        let mut before = self.ancestors(issuance)?;
        if let Some(replaced) = issuance.replaces
            && let Some((replaced, _)) = self.get(replaced)?
        {
            let ancestors = self.ancestors(&replaced)?;
            before.push(replaced);
            before.extend(ancestors);
        }
        let issued = |ancestor: &Issuance| Some(ancestor.state.issued()?.certificate.clone());
        Ok(before.iter().filter_map(issued).collect())
    }

    /// The first certificates that are verified on the disk, and of which the CA is not told yet.
    pub fn unconfirmed(&self, limit: usize) -> Result<Vec<Unconfirmed>, LedgerRefused> {
        let synced = self.journal.synced();
        let mut unconfirmed = Vec::new();
        for (key, id) in self.rows.scan(rows::CONFIRMATIONS, &[], None, false, limit)? {
            let Some(id) = IssuanceId::from_slice(&id).filter(|_| last_index(&key).is_some_and(|at| at < synced))
            else {
                continue;
            };
            if let Some((issuance, _)) = self.get(id)?
                && let State::Completed(_, verification) = &issuance.state
            {
                let certificate_sha256 = verification.certificate_sha256;
                unconfirmed.push(Unconfirmed { issuance: id, certificate_sha256 });
            }
        }
        Ok(unconfirmed)
    }

    /// Records what the CA said to a confirmation; `refusal` is empty when it took it.
    pub fn confirmed(&self, id: IssuanceId, refusal: String) -> Result<(), LedgerRefused> {
        let mut memory = self.lock();
        let row = self.issuance_row(id)?;
        if row.is_none_or(|row| row.confirmation.is_none()) {
            return Ok(());
        }
        let appended = self.append(&mut memory, id, vec![Record::Confirmed { refusal }])?;
        drop(memory);
        Ok(appended.wait()?)
    }

    /// Says that something was completed: the CA may have to be told.
    pub fn ring_completed(&self) {
        self.completed.notify_one();
    }

    /// Ends when something was completed since the last time.
    pub async fn rung_completed(&self) {
        self.completed.notified().await;
    }
}
