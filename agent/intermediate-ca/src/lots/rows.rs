//! The rows that the register keeps of lots, and what each record changes of them. Counts stand in the records, so that a
//! record alone says what becomes of the rows.

use issuance::{LotName, ProfileName, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Lot, LotSignature};
use crate::records::{CertificatePlanned, Change, Event};

/// Lot → [`LotRow`].
pub(crate) const LOTS: &str = "lots";
/// Lot → index and time of its opening, eight octets each.
pub(crate) const LOT_OPENINGS: &str = "lot-openings";
/// Index of the opening → lot.
pub(crate) const LOT_ORDER: &str = "lot-order";
/// Lot → nothing, while it is closed.
pub(crate) const LOT_ENDS: &str = "lot-ends";
/// Lot → how many devices have their place, eight octets.
pub(crate) const LOT_USED: &str = "lot-used";
/// [`device_key`] → the device's newest issuance in the lot.
pub(crate) const LOT_PLACES: &str = "lot-places";
/// [`device_key`] → index of the scrapping.
pub(crate) const LOT_SCRAPPED: &str = "lot-scrapped";
/// Lot, 0, index of the plan → issuance id.
pub(crate) const LOT_CERTIFICATES: &str = "lot-certificates";
/// [`authorisation_key`] → SHA-256 of what was signed, lot.
pub(crate) const AUTHORISATIONS: &str = "authorisations";

/// A lot's terms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LotRow {
    pub(crate) profile: ProfileName,
    pub(crate) quantity: u32,
    /// Of the `LotSet` that says so.
    pub(crate) index: u64,
    pub(crate) signature: Option<SignatureRow>,
}

/// What was signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SignatureRow {
    /// How many entries before the `LotSet` hold the JWS.
    pub(crate) parts: u32,
    pub(crate) jti: String,
    pub(crate) key_sha256: [u8; 32],
    pub(crate) device_serials: u32,
    pub(crate) pattern: String,
    pub(crate) not_before: i64,
    pub(crate) expires: i64,
}

impl LotRow {
    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        postcard::from_bytes(row).ok()
    }

    /// The lot, with what stands in other rows.
    pub(crate) fn lot(self, lot: LotName, used: u32, open: bool, opened: Timestamp) -> Lot {
        let signature = self.signature.map(|row| LotSignature {
            jti: row.jti,
            key_sha256: row.key_sha256,
            device_serials: row.device_serials,
            pattern: row.pattern,
            not_before: row.not_before,
            expires: row.expires,
        });
        Lot { lot, profile: self.profile, quantity: self.quantity, used, open, opened, signature }
    }
}

/// A device in a lot. Names have no zero octet.
pub(crate) fn device_key(lot: &str, device_serial: &str) -> Vec<u8> {
    [lot.as_bytes(), &[0], device_serial.as_bytes()].concat()
}

/// An authorisation: each brand owner counts its own.
pub(crate) fn authorisation_key(key_sha256: &[u8], jti: &str) -> Vec<u8> {
    [key_sha256, jti.as_bytes()].concat()
}

/// Everything of one lot in [`LOT_CERTIFICATES`].
pub(crate) fn lot_prefix(lot: &str) -> Vec<u8> {
    [lot.as_bytes(), &[0]].concat()
}

fn indexed(lot: &str, index: u64) -> Vec<u8> {
    [lot.as_bytes(), &[0], &index.to_be_bytes()].concat()
}

/// What a plan changes of its lot.
pub(crate) fn planned(index: u64, issuance: &[u8], planned: &CertificatePlanned, put: &mut dyn FnMut(Change)) {
    let CertificatePlanned { lot, device_serial, lot_used, .. } = planned;
    if *lot_used > 0 {
        put(Change::put(LOT_USED, lot.as_bytes(), u64::from(*lot_used).to_be_bytes().to_vec()));
        put(Change::put(LOT_PLACES, &device_key(lot, device_serial), issuance.to_vec()));
        put(Change::put(LOT_CERTIFICATES, &indexed(lot, index), issuance.to_vec()));
    }
}

/// What any other record changes of lots.
pub(crate) fn changes(index: u64, time_ms: i64, event: &Event, put: &mut dyn FnMut(Change)) -> Result<(), String> {
    match event {
        Event::LotSet(set) => {
            let lot = set.lot.as_bytes();
            let signature = set.signature.as_ref().map(|signed| {
                put(Change::put(
                    AUTHORISATIONS,
                    &authorisation_key(&signed.key_sha256, &signed.jti),
                    [&signed.content_sha256, lot].concat(),
                ));
                let key_sha256 = signed.key_sha256.as_slice().try_into();
                Ok::<_, String>(SignatureRow {
                    parts: signed.parts,
                    jti: signed.jti.clone(),
                    key_sha256: key_sha256.map_err(|_| "a brand owner's key has no 32 octets".to_owned())?,
                    device_serials: signed.device_serials,
                    pattern: signed.pattern.clone(),
                    not_before: signed.not_before,
                    expires: signed.expires,
                })
            });
            let row = LotRow {
                profile: ProfileName::parse(&set.profile).map_err(|error| error.to_string())?,
                quantity: set.quantity,
                index,
                signature: signature.transpose()?,
            };
            put(Change::put(LOTS, lot, postcard::to_stdvec(&row).map_err(|error| error.to_string())?));
            put(Change { tree: LOT_ENDS, key: lot.to_vec(), value: None });
            if !set.again {
                let opening = [index.to_be_bytes(), time_ms.to_be_bytes()].concat();
                put(Change::put(LOT_OPENINGS, lot, opening));
                put(Change::put(LOT_ORDER, &index.to_be_bytes(), lot.to_vec()));
            }
        }
        Event::LotEnded(ended) => put(Change::put(LOT_ENDS, ended.lot.as_bytes(), Vec::new())),
        Event::DeviceScrapped(scrapped) => {
            let device = device_key(&scrapped.lot, &scrapped.device_serial);
            put(Change::put(LOT_USED, scrapped.lot.as_bytes(), u64::from(scrapped.lot_used).to_be_bytes().to_vec()));
            put(Change { tree: LOT_PLACES, key: device.clone(), value: None });
            put(Change::put(LOT_SCRAPPED, &device, index.to_be_bytes().to_vec()));
        }
        _ => {}
    }
    Ok(())
}
