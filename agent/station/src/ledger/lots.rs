//! Lots: opened, closed, counted.

use issuance::{LotName, ProfileName};
use journal::Appended;

use super::{Ledger, LedgerRefused, read::last_index, row, unknown_lot};
use crate::{
    records::What,
    rows::{self, LotRow},
};

impl Ledger {
    /// Opens a lot, or returns it when it is open with the same content.
    pub fn open_lot(
        &self,
        lot: &LotName,
        profile: &ProfileName,
        quantity: u32,
        authenticated_by: &str,
    ) -> Result<(LotRow, Option<Appended>), LedgerRefused> {
        let mut memory = self.lock();
        if self.profiles.get(profile).is_none() {
            return Err(LedgerRefused::Invalid {
                field: "profile",
                message: format!("there is no profile {profile}: this station has {}", self.profiles.names()),
            });
        }
        if let Some(row) = self.lot(lot)? {
            if row.open && row.profile == *profile && row.quantity == quantity {
                return Ok((row, None));
            }
            let message = format!(
                "the lot {lot} exists with profile {}, quantity {} and is {}: a lot is opened once",
                row.profile,
                row.quantity,
                if row.open { "open" } else { "closed" }
            );
            return Err(LedgerRefused::exists("LOT_EXISTS", message).about("lot", lot));
        }
        let what = What::LotOpened {
            lot: lot.clone(),
            profile: profile.clone(),
            quantity,
            authenticated_by: authenticated_by.to_owned(),
        };
        let appended = self.append_entries(&mut memory, vec![what], true)?;
        let row = self.lot(lot)?.ok_or_else(|| unknown_lot(lot))?;
        Ok((row, Some(appended)))
    }

    /// Closes a lot; closing a closed one changes nothing.
    pub fn close_lot(
        &self,
        lot: &LotName,
        authenticated_by: &str,
    ) -> Result<(LotRow, Option<Appended>), LedgerRefused> {
        let mut memory = self.lock();
        let row = self.lot(lot)?.ok_or_else(|| unknown_lot(lot))?;
        if !row.open {
            return Ok((row, None));
        }
        let what = What::LotClosed { lot: lot.clone(), authenticated_by: authenticated_by.to_owned() };
        let appended = self.append_entries(&mut memory, vec![what], true)?;
        let row = self.lot(lot)?.ok_or_else(|| unknown_lot(lot))?;
        Ok((row, Some(appended)))
    }

    /// One lot.
    pub fn lot(&self, lot: &LotName) -> Result<Option<LotRow>, LedgerRefused> {
        Ok(match self.rows.get(rows::LOTS, lot.as_str().as_bytes())? {
            Some(value) => Some(row(&value)?),
            None => None,
        })
    }

    /// Lots, newest first, opened before the index `before`; each with its opening's index.
    pub fn lots(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, LotName, LotRow)>, LedgerRefused> {
        let after = before.map(u64::to_be_bytes);
        let found = self.rows.scan(rows::LOT_ORDER, &[], after.as_ref().map(<[u8; 8]>::as_slice), true, limit)?;
        let mut lots = Vec::with_capacity(found.len());
        for (key, name) in found {
            let name = std::str::from_utf8(&name).ok().and_then(|name| LotName::parse(name).ok());
            if let (Some(name), Some(index)) = (name, last_index(&key))
                && let Some(row) = self.lot(&name)?
            {
                lots.push((index, name, row));
            }
        }
        Ok(lots)
    }
}
