//! What is asked of the ledger when a device is held against the journal.

use issuance::{
    DeviceIdentity, DeviceSerial, Fault, FaultKind, FixtureName, Issuance, IssuanceId, Record,
    inspection::{Check, Question, Shown},
    profile::KeystoreKind,
};
use journal::Appended;

use super::{Ledger, LedgerRefused, Listed, row};
use crate::{
    records::{GoldenCheckFailed, What},
    rows::{self, GoldenRow},
};

/// A device is certified a few times in its life; more than this many issuances are not looked through.
const ISSUANCES_MOST: usize = 1000;

impl Ledger {
    /// The serial under which the journal knows this hardware.
    pub fn known_as(&self, identity: &DeviceIdentity) -> Result<Option<DeviceSerial>, LedgerRefused> {
        let serial = self.rows.get(rows::HARDWARE, &identity.fingerprint())?;
        Ok(serial.and_then(|serial| DeviceSerial::parse(std::str::from_utf8(&serial).ok()?).ok()))
    }

    /// The issuances for a device, newest first.
    pub fn issuances_of(&self, serial: &DeviceSerial) -> Result<Vec<Issuance>, LedgerRefused> {
        let mut issuances = Vec::new();
        for (_, id) in self.list(&Listed::Device(serial.clone()), None, ISSUANCES_MOST)? {
            issuances.extend(self.get(id)?.map(|(issuance, _)| issuance));
        }
        Ok(issuances)
    }

    /// Holds what a device showed against a completed issuance.
    pub fn inspect(
        &self,
        issuance: &Issuance,
        shown: &Shown,
        fixture: &FixtureName,
        keystore: KeystoreKind,
    ) -> Result<Vec<Check>, LedgerRefused> {
        let profile = &issuance.request.profile;
        let Some(named) = self.profiles.get(profile) else {
            let words = format!("the profile {profile} is no longer configured: nobody knows whom it trusts");
            return Ok(vec![Check::new(Question::Path, Err(Fault::new(FaultKind::Misconfigured, words)))]);
        };
        let superseded = self.superseded_certificates(issuance)?;
        Ok(issuance.inspect(shown, &superseded, self.context(named, "", fixture, keystore), self.now()?))
    }

    /// The last check with the golden device.
    pub fn golden_check(&self) -> Result<Option<GoldenRow>, LedgerRefused> {
        self.rows.get(rows::GOLDEN, &[])?.as_deref().map(row).transpose()
    }

    /// Records that a check with the golden device failed of which no issuance has a record.
    pub fn golden_check_failed(&self, failed: GoldenCheckFailed) -> Result<Appended, LedgerRefused> {
        self.append_entries(&mut self.lock(), vec![What::GoldenCheckFailed(Box::new(failed))], true)
    }

    /// Records what came of it.
    pub fn checked(&self, id: IssuanceId, record: Record) -> Result<Appended, LedgerRefused> {
        self.append(&mut self.lock(), id, vec![record])
    }
}
