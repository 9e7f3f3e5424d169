//! What is asked of the ledger without changing it.

use issuance::{DeviceSerial, FixtureName, Issuance, IssuanceId, LotName, Timestamp};

use super::{Change, Changed, Ledger, LedgerRefused, Waiting, corrupt, row};
use crate::{
    records::{Entry, What},
    rows::{self, IssuanceRow, LotRow},
};

/// Which issuances to list.
#[derive(Debug, Clone)]
pub enum Listed {
    /// All.
    All,
    /// Of one lot.
    Lot(LotName),
    /// For one device.
    Device(DeviceSerial),
}

impl Ledger {
    /// One issuance with the index of its newest record; `None` when it was never accepted.
    pub fn get(&self, id: IssuanceId) -> Result<Option<(Issuance, u64)>, LedgerRefused> {
        let Some(value) = self.rows.get(rows::ISSUANCES, id.as_bytes())? else { return Ok(None) };
        let row: IssuanceRow = row(&value)?;
        let index = row.indexes.last().copied().unwrap_or_default();
        let mut memory = self.lock();
        Ok(Some((self.issuance(&mut memory, id)?, index)))
    }

    /// Issuances, newest first, accepted before the index `before`: all, or of one lot, or for one device.
    pub fn list(
        &self,
        of: &Listed,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, IssuanceId)>, LedgerRefused> {
        let (tree, name) = match of {
            Listed::All => (rows::ORDER, None),
            Listed::Lot(lot) => (rows::BY_LOT, Some(lot.as_str())),
            Listed::Device(serial) => (rows::BY_SERIAL, Some(serial.as_str())),
        };
        let prefix = name.map(|name| [name.as_bytes(), &[0]].concat()).unwrap_or_default();
        let after = before.map(|index| [prefix.as_slice(), &index.to_be_bytes()].concat());
        let found = self.rows.scan(tree, &prefix, after.as_deref(), true, limit)?;
        Ok(found.into_iter().filter_map(|(key, id)| Some((last_index(&key)?, IssuanceId::from_slice(&id)?))).collect())
    }

    /// What a fixture last worked on.
    pub fn last_at(&self, fixture: &FixtureName) -> Result<Option<IssuanceId>, LedgerRefused> {
        let id = self.rows.get(rows::FIXTURES, fixture.as_str().as_bytes())?;
        Ok(id.and_then(|id| IssuanceId::from_slice(&id)))
    }

    /// Issuances that the station goes on with by itself after a start.
    pub fn open_issuances(&self) -> Result<Vec<Issuance>, LedgerRefused> {
        let mut memory = self.lock();
        let open = self.rows.scan(rows::OPEN, &[], None, false, usize::MAX)?;
        open.iter().map(|(id, _)| self.load(&mut memory, id)).collect()
    }

    /// The first submissions without an answer, in their order, leaving out those that `skip` names.
    #[must_use]
    pub fn waiting(&self, limit: usize, skip: impl Fn(IssuanceId) -> bool) -> Vec<Waiting> {
        self.lock().queue.values().filter(|waiting| !skip(waiting.issuance)).take(limit).copied().collect()
    }

    /// How many submissions wait, and the oldest.
    #[must_use]
    pub fn queue(&self) -> (usize, Option<Timestamp>) {
        let memory = self.lock();
        (memory.queue.len(), memory.queue.values().next().map(|waiting| waiting.since))
    }

    /// Changes from the journal, after one index up to another, as they were told when they happened.
    pub fn changes(&self, from: u64, to: u64) -> Result<Vec<Change>, LedgerRefused> {
        let mut changes = Vec::new();
        for (index, bytes) in (from..to).zip(self.journal.read(from..to)?) {
            let entry = Entry::decode(&bytes).map_err(|error| corrupt(&error))?;
            let what = match entry.what {
                What::Issuance(id, _) => match self.fold(id, index)? {
                    Some(issuance) => Changed::Issuance(Box::new(issuance)),
                    None => continue,
                },
                What::LotOpened { lot, profile, quantity, .. } => {
                    Changed::Lot(lot, LotRow::opened(profile, quantity, entry.at, index))
                }
                // Its counts are those of now: they are not the closing's business.
                What::LotClosed { lot, .. } => match self.lot(&lot)? {
                    Some(row) => Changed::Lot(lot, row),
                    None => continue,
                },
            };
            changes.push(Change { index, at: entry.at, what });
        }
        Ok(changes)
    }
}

pub(super) fn last_index(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
