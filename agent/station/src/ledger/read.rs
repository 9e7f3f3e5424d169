//! What is asked of the ledger without changing it.

use std::collections::HashMap;

use issuance::{DeviceSerial, FixtureName, Issuance, IssuanceId, LotName, Record, Timestamp};

use super::{Change, Changed, Ledger, LedgerRefused, Waiting, corrupt, row};
use crate::{
    records::{Entry, What},
    rows::{self, GoldenRow},
    watch,
};

/// Records of one issuance with fewer of others between them are read in one go: a read by itself walks over as many on the
/// average.
const NEAR: u64 = 8;

/// Which issuances to list.
#[derive(Debug, Clone)]
pub enum Listed {
    /// All.
    All,
    /// Of one lot.
    Lot(LotName),
    /// For one device.
    Device(DeviceSerial),
    /// In doubt.
    InDoubt,
    /// With a CN, as [`issuance::CommonName::folded`] writes it, whatever the profile.
    CommonName(String),
    /// With a certificate serial, as [`issuance::certificate::serial_octets`] reads it.
    CertificateSerial(Vec<u8>),
}

impl Ledger {
    /// One issuance with the index of its newest record; `None` when it was never accepted.
    pub fn get(&self, id: IssuanceId) -> Result<Option<(Issuance, u64)>, LedgerRefused> {
        let row = {
            let memory = self.lock();
            let Some(row) = self.issuance_row(id)? else { return Ok(None) };
            let index = row.indexes.last().copied().unwrap_or_default();
            if let Some(issuance) = memory.recent.get(id) {
                return Ok(Some((issuance.clone(), index)));
            }
            row
        };
        // From the disk, so without the lock: the fixtures go on meanwhile.
        let index = row.indexes.last().copied().unwrap_or_default();
        let Some(issuance) = self.fold(id, &row.indexes, index)? else { return Ok(None) };
        let mut memory = self.lock();
        if memory.recent.get(id).is_none() && self.issuance_row(id)? == Some(row) {
            memory.recent.put(issuance.clone());
        }
        Ok(Some((issuance, index)))
    }

    /// One issuance as callers may be told of it: waits until what is told is on the disk. When the journal has failed, that
    /// is what it was at the last sync.
    pub fn told(&self, id: IssuanceId) -> Result<Option<(Issuance, u64)>, LedgerRefused> {
        let found = self.get(id);
        match watch::on_disk(&self.journal) {
            Ok(()) => found,
            Err(_) => self.as_synced(id),
        }
    }

    /// One issuance as it was at the last sync; `None` when it was not accepted by then.
    pub fn as_synced(&self, id: IssuanceId) -> Result<Option<(Issuance, u64)>, LedgerRefused> {
        let Some(row) = self.issuance_row(id)? else { return Ok(None) };
        let synced = self.journal.synced();
        let Some(last) = row.indexes.iter().rev().find(|index| **index < synced) else { return Ok(None) };
        Ok(self.fold(id, &row.indexes, *last)?.map(|issuance| (issuance, *last)))
    }

    /// Issuances, newest first, accepted before the index `before`: all, or of one lot, or for one device.
    pub fn list(
        &self,
        of: &Listed,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, IssuanceId)>, LedgerRefused> {
        let (tree, name) = match of {
            // At most one for each profile.
            Listed::CommonName(name) => return Ok(page_of(self.named(name)?, before, limit)),
            Listed::CertificateSerial(serial) => {
                let found = self.rows.get(rows::CERTIFICATES, serial)?;
                return Ok(page_of(self.placed(found.into_iter().collect())?, before, limit));
            }
            Listed::All => (rows::ORDER, None),
            Listed::InDoubt => (rows::DOUBTS, None),
            Listed::Lot(lot) => (rows::BY_LOT, Some(lot.as_str())),
            Listed::Device(serial) => (rows::BY_SERIAL, Some(serial.as_str())),
        };
        let prefix = name.map(|name| [name.as_bytes(), &[0]].concat()).unwrap_or_default();
        let after = before.map(|index| [prefix.as_slice(), &index.to_be_bytes()].concat());
        let found = self.rows.scan(tree, &prefix, after.as_deref(), true, limit)?;
        Ok(found.into_iter().filter_map(|(key, id)| Some((last_index(&key)?, IssuanceId::from_slice(&id)?))).collect())
    }

    /// Who has a CN under each profile.
    fn named(&self, folded: &str) -> Result<Vec<(u64, IssuanceId)>, LedgerRefused> {
        let mut found = Vec::new();
        for pinned in self.profiles.iter() {
            let key = rows::key(&[pinned.profile.name.as_str(), folded]);
            found.extend(self.rows.get(rows::NAMES, &key)?);
        }
        self.placed(found)
    }

    /// Issuances with the indexes of their requests, newest first.
    fn placed(&self, found: Vec<Vec<u8>>) -> Result<Vec<(u64, IssuanceId)>, LedgerRefused> {
        let mut placed = Vec::new();
        for id in found.iter().filter_map(|id| IssuanceId::from_slice(id)) {
            let first = self.issuance_row(id)?.and_then(|row| row.indexes.first().copied());
            placed.extend(first.map(|first| (first, id)));
        }
        placed.sort_unstable_by(|one, other| other.cmp(one));
        Ok(placed)
    }

    /// The records of an issuance that are on the disk with their indexes, oldest first; none when it was never accepted.
    pub fn story(&self, id: IssuanceId) -> Result<Vec<(u64, Vec<u8>)>, LedgerRefused> {
        let Some(row) = self.issuance_row(id)? else { return Ok(Vec::new()) };
        let synced = self.journal.synced();
        self.records_at(&row.indexes[..row.indexes.partition_point(|index| *index < synced)])
    }

    /// What a fixture last worked on.
    pub fn last_at(&self, fixture: &FixtureName) -> Result<Option<IssuanceId>, LedgerRefused> {
        let id = self.rows.get(rows::FIXTURES, fixture.as_str().as_bytes())?;
        Ok(id.and_then(|id| IssuanceId::from_slice(&id)))
    }

    /// The first submissions without an answer that are on the disk, in their order, leaving out those that `skip` names.
    #[must_use]
    pub fn waiting(&self, limit: usize, skip: impl Fn(IssuanceId) -> bool) -> Vec<Waiting> {
        let synced = self.journal.synced();
        self.lock().queue.until(synced).filter(|waiting| !skip(waiting.issuance)).take(limit).copied().collect()
    }

    /// Whether a submission is still without an answer.
    #[must_use]
    pub fn is_waiting(&self, issuance: IssuanceId) -> bool {
        self.lock().queue.contains(issuance)
    }

    /// Since when a submission is without an answer.
    #[must_use]
    pub fn waiting_since(&self, issuance: IssuanceId) -> Option<Timestamp> {
        self.lock().queue.since(issuance)
    }

    /// How many issuances are in doubt.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.lock().doubts.len()
    }

    /// How many submissions wait, and the oldest.
    #[must_use]
    pub fn queue(&self) -> (usize, Option<Timestamp>) {
        let memory = self.lock();
        (memory.queue.len(), memory.queue.oldest().map(|waiting| waiting.since))
    }

    /// Changes from the journal, after one index up to another, as they were told when they happened.
    pub fn changes(&self, from: u64, to: u64) -> Result<Vec<Change>, LedgerRefused> {
        let mut changes = Vec::new();
        // As they stand so far: an issuance of many records is folded once, and not for each of them.
        let mut stood: HashMap<IssuanceId, Issuance> = HashMap::new();
        for (index, bytes) in (from..to).zip(self.journal.read(from..to)?) {
            let entry = Entry::decode(&bytes).map_err(|error| corrupt(&error))?;
            let what = match entry.what {
                What::Issuance(id, _) | What::RequestRepeated { issuance: id, .. } => {
                    let issuance = match (stood.remove(&id), entry.what) {
                        (Some(before), What::Issuance(_, record)) => Some(before.apply(&record, entry.at)),
                        (Some(before), _) => Some(before),
                        (None, _) => {
                            let row = self.issuance_row(id)?.ok_or_else(|| corrupt(&format!("{id} has no row")))?;
                            self.fold(id, &row.indexes, index)?
                        }
                    };
                    let Some(issuance) = issuance else { continue };
                    stood.insert(id, issuance.clone());
                    Changed::Issuance(Box::new(issuance))
                }
                What::GoldenCheckFailed(failed) => Changed::GoldenCheck(GoldenRow::failed(entry.at, *failed)),
                What::LotOpened { lot, .. } | What::LotClosed { lot, .. } => {
                    match self.rows.get(rows::LOT_CHANGES, &index.to_be_bytes())? {
                        Some(value) => Changed::Lot(lot, row(&value)?),
                        None => return Err(corrupt(&format!("the lot {lot} has no row for {index}"))),
                    }
                }
            };
            changes.push(Change { index, at: entry.at, what });
        }
        Ok(changes)
    }

    /// An issuance as it stood after the record at index `to`, from its records.
    pub(super) fn fold(&self, id: IssuanceId, indexes: &[u64], to: u64) -> Result<Option<Issuance>, LedgerRefused> {
        if indexes.last().is_some_and(|last| *last.min(&to) >= self.journal.synced()) {
            self.journal.sync()?;
        }
        let indexes = &indexes[..indexes.partition_point(|index| *index <= to)];
        let mut issuance: Option<Issuance> = None;
        for (index, bytes) in self.records_at(indexes)? {
            let Entry { at, what } = Entry::decode(&bytes).map_err(|error| corrupt(&error))?;
            let (whose, record) = match what {
                What::Issuance(whose, record) => (whose, Some(record)),
                What::RequestRepeated { issuance: whose, .. } => (whose, None),
                What::LotOpened { .. } | What::LotClosed { .. } | What::GoldenCheckFailed(_) => {
                    return Err(corrupt(&format!("the record {index} is none of an issuance")));
                }
            };
            if whose != id {
                return Err(corrupt(&format!("the record {index} is of issuance {whose}, not of {id}")));
            }
            issuance = match (issuance, record) {
                (None, Some(Record::Requested(request))) => Some(Issuance::requested(id, &request, at)),
                (before, Some(record)) => before.map(|before| before.apply(&record, at)),
                (before, None) => before,
            };
        }
        Ok(issuance)
    }

    /// The records at these indexes, ascending. What lies close together is read in one go.
    fn records_at(&self, indexes: &[u64]) -> Result<Vec<(u64, Vec<u8>)>, LedgerRefused> {
        let mut records = Vec::with_capacity(indexes.len());
        for near in indexes.chunk_by(|one, next| next.checked_sub(*one).is_some_and(|gap| gap <= NEAR)) {
            let &[first, ..] = near else { continue };
            let last = near.last().copied().unwrap_or(first);
            let read = self.journal.read(first..last + 1)?;
            if read.len() as u64 != last + 1 - first {
                return Err(corrupt(&format!("there is no record {last}")));
            }
            let wanted = |(index, _): &(u64, Vec<u8>)| near.binary_search(index).is_ok();
            records.extend((first..).zip(read).filter(wanted));
        }
        Ok(records)
    }
}

fn page_of(mut found: Vec<(u64, IssuanceId)>, before: Option<u64>, limit: usize) -> Vec<(u64, IssuanceId)> {
    found.retain(|(index, _)| before.is_none_or(|before| *index < before));
    found.truncate(limit);
    found
}

pub(super) fn last_index(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
