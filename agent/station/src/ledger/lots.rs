//! Lots: opened, closed, counted.

use issuance::{LotName, ProfileName};
use journal::Appended;

use super::{Ledger, LedgerRefused, Memory, read::last_index, row, unknown_lot};
use crate::{
    records::What,
    rows::{self, LotRow},
};

/// A lot as a brand owner signed it.
#[derive(Debug, Clone)]
pub struct SignedLot {
    /// Its name.
    pub lot: LotName,
    /// The profile of its devices.
    pub profile: ProfileName,
    /// How many.
    pub quantity: u32,
    /// The `jti` of what was signed.
    pub authorisation_id: String,
}

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
        let opened = What::LotOpened {
            lot: lot.clone(),
            profile: profile.clone(),
            quantity,
            authorisation_id: String::new(),
            authenticated_by: authenticated_by.to_owned(),
        };
        self.change_lot(&mut memory, lot, opened)
    }

    /// Opens a lot as its brand owner signed it and the CA took it, or widens it or opens it again; the exact repeat returns
    /// it.
    pub fn authorise_lot(
        &self,
        signed: &SignedLot,
        authenticated_by: &str,
    ) -> Result<(LotRow, Option<Appended>), LedgerRefused> {
        let SignedLot { lot, profile, quantity, authorisation_id } = signed;
        let mut memory = self.lock();
        if self.profiles.get(profile).is_none() {
            return Err(LedgerRefused::Invalid {
                field: "authorisation",
                message: format!("it is for the profile {profile}, and this station has {}", self.profiles.names()),
            });
        }
        if let Some(row) = self.lot(lot)? {
            if row.profile != *profile {
                let message = format!("the lot {lot} exists with profile {}: it stays with that one", row.profile);
                return Err(LedgerRefused::exists("LOT_EXISTS", message).about("lot", lot));
            }
            // One that was closed since stays closed: a new signature opens it.
            if (row.quantity, &row.authorisation_id) == (*quantity, authorisation_id) {
                return Ok((row, None));
            }
            if *quantity < row.started {
                let message = format!("{} devices of the lot {lot} were started, more than {quantity}", row.started);
                return Err(LedgerRefused::precondition("LOT_BELOW_STARTED", message));
            }
        }
        let opened = What::LotOpened {
            lot: lot.clone(),
            profile: profile.clone(),
            quantity: *quantity,
            authorisation_id: authorisation_id.clone(),
            authenticated_by: authenticated_by.to_owned(),
        };
        self.change_lot(&mut memory, lot, opened)
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
        let closed = What::LotClosed { lot: lot.clone(), authenticated_by: authenticated_by.to_owned() };
        self.change_lot(&mut memory, lot, closed)
    }

    fn change_lot(
        &self,
        memory: &mut Memory,
        lot: &LotName,
        what: What,
    ) -> Result<(LotRow, Option<Appended>), LedgerRefused> {
        let appended = self.append_entries(memory, vec![what], true)?;
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
