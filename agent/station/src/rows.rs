//! What the station keeps of its records to find things by: names, keys, hardware, lots, the queue. All of it can be
//! rebuilt from the journal.

use issuance::{
    DeviceSerial, FixtureName, IssuanceId, LotName, ProfileName, Record, Timestamp, certificate, record::Requested,
};
use journal::{Projection, Rows};
use serde::{Deserialize, Serialize};

use crate::records::{Entry, GoldenCheckFailed, What};

/// Issuance id → [`IssuanceRow`].
pub const ISSUANCES: &str = "issuances";
/// Journal index of the request → issuance id: all issuances in their order.
pub const ORDER: &str = "order";
/// Lot, 0, index → issuance id.
pub const BY_LOT: &str = "by-lot";
/// Device serial, 0, index → issuance id.
pub const BY_SERIAL: &str = "by-serial";
/// Journal index of the submission → [`waiting`], while the CA's answer is awaited.
pub const QUEUE: &str = "queue";
/// Journal index of the doubt → issuance id, while a supervisor is to decide.
pub const DOUBTS: &str = "doubts";
/// Profile, 0, CN without case → issuance id: over everything ever accepted.
pub const NAMES: &str = "names";
/// Lot, 0, device serial, 0, profile → issuance id: the station's key for "the same".
pub const SUBJECTS: &str = "subjects";
/// Journal index of the completion → issuance id, while the CA is not told that the certificate is verified.
pub const CONFIRMATIONS: &str = "confirmations";
/// Lot, 0, device serial → nothing, or one octet: the device has its place in the lot ([`Place`]).
pub const PLACES: &str = "places";
/// Nothing → [`GoldenRow`]: the last check with the golden device.
pub const GOLDEN: &str = "golden";
/// The caller's request id → issuance id.
pub const REQUESTS: &str = "requests";
/// A certificate serial's octets → issuance id.
pub const CERTIFICATES: &str = "certificates";
/// SHA-256 of a public key → issuance id.
pub const KEYS: &str = "keys";
/// Fingerprint of hardware → device serial.
pub const HARDWARE: &str = "hardware";
/// Device serial → fingerprint of its hardware.
pub const SERIALS: &str = "serials";
/// Fixture → the last issuance there.
pub const FIXTURES: &str = "fixtures";
/// Lot → [`LotRow`].
pub const LOTS: &str = "lots";
/// Journal index of the opening → lot.
pub const LOT_ORDER: &str = "lot-order";
/// Journal index of an opening or closing → [`LotRow`] as it stood after it.
pub const LOT_CHANGES: &str = "lot-changes";

/// An issuance, by the journal indexes of its records: the rest is a fold over those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuanceRow {
    /// Its lot.
    pub lot: LotName,
    /// Its device.
    pub device_serial: DeviceSerial,
    /// Its profile.
    pub profile: ProfileName,
    /// Where its submission stands in [`QUEUE`].
    pub submission: Option<u64>,
    /// Where it stands in [`DOUBTS`].
    pub doubt: Option<u64>,
    /// Whether the CA is told once it is verified: it stands in for another one, or only its TPM could release the certificate,
    /// and then the CA learns by this that it did.
    pub tells: bool,
    /// Where its completion stands in [`CONFIRMATIONS`].
    pub confirmation: Option<u64>,
    /// Its records, ascending.
    pub indexes: Vec<u64>,
}

/// What became of a device's place in its lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Started.
    Taken,
    /// Counted as completed.
    Completed,
    /// Given back: the device was scrapped, and gets none in this lot again.
    Scrapped,
}

impl Place {
    fn value(self) -> Vec<u8> {
        match self {
            Self::Taken => vec![],
            Self::Completed => vec![1],
            Self::Scrapped => vec![2],
        }
    }

    /// From its row.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        match value {
            [] => Self::Taken,
            [2] => Self::Scrapped,
            _ => Self::Completed,
        }
    }
}

/// The last check with the golden device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenRow {
    /// When, UTC milliseconds.
    pub at_ms: i64,
    /// Which device; `None` when nobody said which it should be, and the journal does not know it.
    pub device_serial: Option<DeviceSerial>,
    /// Where.
    pub fixture: FixtureName,
    /// Whether all of it held.
    pub verified: bool,
    /// Who asked, as a pseudonym.
    pub claimed_by: String,
    /// The client certificate that asked.
    pub authenticated_by: String,
}

impl GoldenRow {
    /// Of a check that failed.
    #[must_use]
    pub fn failed(at: Timestamp, failed: GoldenCheckFailed) -> Self {
        Self {
            at_ms: at.0,
            device_serial: failed.device_serial.or(failed.known_as),
            fixture: failed.fixture,
            verified: false,
            claimed_by: failed.claimed_by,
            authenticated_by: failed.authenticated_by,
        }
    }
}

/// A lot and its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotRow {
    /// Its profile.
    pub profile: ProfileName,
    /// How many may be started.
    pub quantity: u32,
    /// How many were.
    pub started: u32,
    /// How many are completed.
    pub completed: u32,
    /// Whether more may be started.
    pub open: bool,
    /// When it was opened, UTC milliseconds.
    pub opened_ms: i64,
    /// The index of its newest record.
    pub index: u64,
    /// The `jti` of what the brand owner signed; empty when nobody did.
    pub authorisation_id: String,
}

impl LotRow {
    /// A lot as it is when it is opened.
    #[must_use]
    pub fn opened(profile: ProfileName, quantity: u32, at: Timestamp, index: u64) -> Self {
        Self {
            profile,
            quantity,
            started: 0,
            completed: 0,
            open: true,
            opened_ms: at.0,
            index,
            authorisation_id: String::new(),
        }
    }
}

/// The station's projection.
#[derive(Debug, Clone, Copy)]
pub struct StationRows;

/// Key parts with a zero between them: names hold none.
#[must_use]
pub fn key(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// A name, 0, and an index: sorts by name, then by index.
#[must_use]
pub fn indexed(name: &str, index: u64) -> Vec<u8> {
    [name.as_bytes(), &[0], &index.to_be_bytes()].concat()
}

/// A submission that waits: its issuance's id, then since when, UTC milliseconds, so that a start reads no record for it.
#[must_use]
pub fn waiting(id: IssuanceId, since: Timestamp) -> Vec<u8> {
    [id.as_bytes().as_slice(), &since.0.to_be_bytes()].concat()
}

/// The parts of [`waiting`].
#[must_use]
pub fn parse_waiting(value: &[u8]) -> Option<(IssuanceId, Timestamp)> {
    let (id, since) = value.split_last_chunk()?;
    Some((IssuanceId::from_slice(id)?, Timestamp(i64::from_be_bytes(*since))))
}

/// A row's value.
pub fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(row).map_err(|error| error.to_string())
}

/// A row from its value.
pub fn decode<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, String> {
    postcard::from_bytes(value).map_err(|error| format!("a row cannot be read: {error}"))
}

impl Projection for StationRows {
    const VERSION: u32 = 10;
    // What waits was changed long ago: a hundred thousand of them are to cost no memory.
    const CACHE_BYTES: u64 = 8 * 1024 * 1024;

    fn apply(&self, index: u64, entry: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
        let entry = Entry::decode(entry).map_err(|error| error.to_string())?;
        match entry.what {
            What::LotOpened { lot, profile, quantity, authorisation_id, .. } => {
                let key = lot.as_str().as_bytes();
                let before = rows.get(LOTS, key);
                if before.is_none() {
                    rows.put(LOT_ORDER, &index.to_be_bytes(), key.to_vec());
                }
                let row = match before {
                    // A newer signature widens it or opens it again: its place and its counts stay.
                    Some(value) => LotRow { quantity, open: true, index, authorisation_id, ..decode(&value)? },
                    None => LotRow { authorisation_id, ..LotRow::opened(profile, quantity, entry.at, index) },
                };
                rows.put(LOTS, key, encode(&row)?);
                rows.put(LOT_CHANGES, &index.to_be_bytes(), encode(&row)?);
                Ok(())
            }
            What::RequestRepeated { issuance: id, request_id, .. } => {
                rows.put(REQUESTS, request_id.as_bytes(), id.as_bytes().to_vec());
                let mut row = requested_before(rows, id)?;
                row.indexes.push(index);
                rows.put(ISSUANCES, id.as_bytes(), encode(&row)?);
                Ok(())
            }
            What::GoldenCheckFailed(failed) => {
                rows.put(GOLDEN, &[], encode(&GoldenRow::failed(entry.at, *failed))?);
                Ok(())
            }
            What::LotClosed { lot, .. } => {
                change_lot(rows, &lot, index, |row| row.open = false)?;
                let row = rows.get(LOTS, lot.as_str().as_bytes()).unwrap_or_default();
                rows.put(LOT_CHANGES, &index.to_be_bytes(), row);
                Ok(())
            }
            What::Issuance(id, record) => issuance(rows, index, entry.at, id, &record),
        }
    }
}

fn issuance(rows: &mut Rows<'_>, index: u64, at: Timestamp, id: IssuanceId, record: &Record) -> Result<(), String> {
    let mut row = match record {
        Record::Requested(request) => requested(rows, index, id, request)?,
        _ => requested_before(rows, id)?,
    };
    row.indexes.push(index);
    match record {
        Record::DeviceIdentified { fixture, identity } => {
            let serial = row.device_serial.as_str().as_bytes();
            rows.put(HARDWARE, &identity.fingerprint(), serial.to_vec());
            rows.put(SERIALS, serial, identity.fingerprint().to_vec());
            rows.put(FIXTURES, fixture.as_str().as_bytes(), id.as_bytes().to_vec());
        }
        Record::Resumed { fixture, .. } => {
            rows.put(FIXTURES, fixture.as_str().as_bytes(), id.as_bytes().to_vec());
        }
        Record::KeyGenerated { public_key, .. } => rows.put(KEYS, &public_key.sha256(), id.as_bytes().to_vec()),
        Record::Submitted { .. } | Record::Resubmitted { .. } => {
            leave_queue(rows, &mut row);
            rows.put(QUEUE, &index.to_be_bytes(), waiting(id, at));
            row.submission = Some(index);
        }
        // One that was cancelled meanwhile is in no queue, and nobody is to decide it.
        Record::InDoubt { .. } if row.submission.is_some() => {
            leave_queue(rows, &mut row);
            rows.put(DOUBTS, &index.to_be_bytes(), id.as_bytes().to_vec());
            row.doubt = Some(index);
        }
        Record::Issued { certificate, .. } => {
            if let Some(serial) =
                certificate::certificate_serial(certificate).and_then(|serial| certificate::serial_octets(&serial).ok())
            {
                rows.put(CERTIFICATES, &serial, id.as_bytes().to_vec());
            }
            leave_queue(rows, &mut row);
        }
        Record::Refused { .. } => leave_queue(rows, &mut row),
        Record::Sealed(_) => {
            leave_queue(rows, &mut row);
            row.tells = true;
        }
        Record::Completed => {
            // Rework completes a device that the lot has counted.
            let place = key(&[row.lot.as_str(), row.device_serial.as_str()]);
            if rows.get(PLACES, &place).is_none_or(|place| Place::of(&place) == Place::Taken) {
                rows.put(PLACES, &place, Place::Completed.value());
                change_lot(rows, &row.lot, index, |lot| lot.completed += 1)?;
            }
            if row.tells {
                rows.put(CONFIRMATIONS, &index.to_be_bytes(), id.as_bytes().to_vec());
                row.confirmation = Some(index);
            }
        }
        Record::Confirmed { .. } => {
            if let Some(completion) = row.confirmation.take() {
                rows.delete(CONFIRMATIONS, &completion.to_be_bytes());
            }
        }
        Record::DeviceChecked(checked) if checked.golden => {
            let golden = GoldenRow {
                at_ms: at.0,
                device_serial: Some(row.device_serial.clone()),
                fixture: checked.fixture.clone(),
                verified: checked.refuted.is_empty(),
                claimed_by: checked.claimed_by.clone(),
                authenticated_by: checked.authenticated_by.clone(),
            };
            rows.put(GOLDEN, &[], encode(&golden)?);
        }
        Record::Cancelled { scrapped, .. } => {
            leave_queue(rows, &mut row);
            if *scrapped {
                scrap(rows, index, &mut row)?;
            }
            // The same request starts anew; its name stays with the device.
            rows.delete(SUBJECTS, &key(&[row.lot.as_str(), row.device_serial.as_str(), row.profile.as_str()]));
        }
        Record::Failed(_)
        | Record::Quarantined(_)
        | Record::Released { .. }
        | Record::Requested(_)
        | Record::KeyGenerationStarted { .. }
        | Record::ResidencyProven { .. }
        | Record::RequestSigned { .. }
        | Record::SendStarted { .. }
        | Record::NotTaken { .. }
        | Record::InDoubt { .. }
        | Record::Surplus { .. }
        | Record::DeviceChecked(_)
        | Record::WriteStarted { .. }
        | Record::Written
        | Record::Verified(_) => {}
    }
    rows.put(ISSUANCES, id.as_bytes(), encode(&row)?);
    Ok(())
}

/// The device's place is free for another, and the CA has nothing more to be told of it.
fn scrap(rows: &mut Rows<'_>, index: u64, row: &mut IssuanceRow) -> Result<(), String> {
    if let Some(completion) = row.confirmation.take() {
        rows.delete(CONFIRMATIONS, &completion.to_be_bytes());
    }
    let place = key(&[row.lot.as_str(), row.device_serial.as_str()]);
    let before = rows.get(PLACES, &place).map_or(Place::Taken, |place| Place::of(&place));
    rows.put(PLACES, &place, Place::Scrapped.value());
    change_lot(rows, &row.lot, index, |lot| {
        if before != Place::Scrapped {
            lot.started = lot.started.saturating_sub(1);
        }
        if before == Place::Completed {
            lot.completed = lot.completed.saturating_sub(1);
        }
    })
}

fn requested_before(rows: &Rows<'_>, id: IssuanceId) -> Result<IssuanceRow, String> {
    decode(&rows.get(ISSUANCES, id.as_bytes()).ok_or_else(|| format!("{id} was never requested"))?)
}

/// What is answered or ended neither waits nor is in doubt.
fn leave_queue(rows: &mut Rows<'_>, row: &mut IssuanceRow) {
    if let Some(submission) = row.submission.take() {
        rows.delete(QUEUE, &submission.to_be_bytes());
    }
    if let Some(doubt) = row.doubt.take() {
        rows.delete(DOUBTS, &doubt.to_be_bytes());
    }
}

fn requested(rows: &mut Rows<'_>, index: u64, id: IssuanceId, request: &Requested) -> Result<IssuanceRow, String> {
    let (lot, serial, profile) = (request.lot.as_str(), request.device_serial.as_str(), request.profile.as_str());
    let bytes = id.as_bytes().to_vec();
    rows.put(ORDER, &index.to_be_bytes(), bytes.clone());
    rows.put(BY_LOT, &indexed(lot, index), bytes.clone());
    rows.put(BY_SERIAL, &indexed(serial, index), bytes.clone());
    rows.put(NAMES, &key(&[profile, &request.common_name.folded()]), bytes.clone());
    rows.put(SUBJECTS, &key(&[lot, serial, profile]), bytes.clone());
    rows.put(FIXTURES, request.fixture.as_str().as_bytes(), bytes.clone());
    if !request.request_id.is_empty() {
        rows.put(REQUESTS, request.request_id.as_bytes(), bytes);
    }
    // A device that is started anew in its lot has its place there already.
    let place = key(&[lot, serial]);
    if rows.get(PLACES, &place).is_none() {
        rows.put(PLACES, &place, Place::Taken.value());
        change_lot(rows, &request.lot, index, |row| row.started += 1)?;
    }
    Ok(IssuanceRow {
        lot: request.lot.clone(),
        device_serial: request.device_serial.clone(),
        profile: request.profile.clone(),
        submission: None,
        doubt: None,
        tells: request.supersedes.is_some(),
        confirmation: None,
        indexes: vec![],
    })
}

fn change_lot(rows: &mut Rows<'_>, lot: &LotName, index: u64, change: impl FnOnce(&mut LotRow)) -> Result<(), String> {
    let key = lot.as_str().as_bytes();
    let value = rows.get(LOTS, key).ok_or_else(|| format!("the lot {lot} was never opened"))?;
    let mut row: LotRow = decode(&value)?;
    change(&mut row);
    row.index = index;
    rows.put(LOTS, key, encode(&row)?);
    Ok(())
}
