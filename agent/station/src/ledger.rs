//! The station's memory: what is accepted and decided, in one order. Everything that changes an issuance or a lot passes
//! here, under one lock: look, decide, append to the journal, apply. Nobody is told before the journal has synced.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use issuance::{
    Action, DeviceIdentity, DeviceSerial, FixtureName, Input, Issuance, IssuanceId, LotName, PublicKey, Record, State,
    Timestamp,
};
use journal::{Appended, Journal, JournalError, Projections};
use tokio::sync::{Notify, mpsc};

use crate::{
    profiles::Profiles,
    records::{Entry, What},
    rows::{self, IssuanceRow, LotRow, StationRows},
};

mod lots;
mod read;
mod start;

pub use read::Listed;
pub use start::{Asked, Started, Subject};

/// What the ledger is made of.
pub struct Ledger {
    journal: Journal,
    rows: Projections<StationRows>,
    profiles: Profiles,
    queue_bound: usize,
    memory: Mutex<Memory>,
    /// Changes in journal order, for whoever tells them once they are synced.
    changes: mpsc::UnboundedSender<Change>,
    /// Rung when a submission was queued.
    pub queued: Notify,
}

#[derive(Default)]
struct Memory {
    /// What is being worked on or awaited. The rest is folded from the journal when it is asked for.
    active: HashMap<IssuanceId, Issuance>,
    /// Submissions without an answer, by the index of their record.
    queue: BTreeMap<u64, Waiting>,
    /// No record is older than the one before it.
    newest: i64,
}

/// A submission without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub issuance: IssuanceId,
    /// Since when.
    pub since: Timestamp,
}

/// One journal entry, with what it changed as it stood afterwards.
#[derive(Debug, Clone)]
pub struct Change {
    /// The entry's index.
    pub index: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What it changed.
    pub what: Changed,
}

/// What an entry changed.
#[derive(Debug, Clone)]
pub enum Changed {
    /// An issuance.
    Issuance(Box<Issuance>),
    /// A lot.
    Lot(LotName, LotRow),
}

/// Why the ledger said no. The kind is the gRPC status.
#[derive(Debug, thiserror::Error)]
pub enum LedgerRefused {
    /// A field that cannot be right.
    #[error("{message}")]
    Invalid {
        /// The request's field.
        field: &'static str,
        /// What was wrong and what to do.
        message: String,
    },
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Something else stands there already.
    #[error("{message}")]
    Exists {
        /// Stable reason.
        reason: &'static str,
        /// One sentence.
        message: String,
    },
    /// Not in this state.
    #[error("{message}")]
    Precondition {
        /// Stable reason.
        reason: &'static str,
        /// One sentence.
        message: String,
    },
    /// At a bound; later it may pass.
    #[error("{0}")]
    Full(String),
    /// The journal takes no more.
    #[error("the station cannot record, so it accepts nothing")]
    Journal(#[from] JournalError),
}

impl LedgerRefused {
    fn precondition(reason: &'static str, message: String) -> Self {
        Self::Precondition { reason, message }
    }
}

impl Ledger {
    /// A ledger over an open journal and its rows. Changes are sent to `changes` in journal order, before they are synced.
    pub fn new(
        journal: Journal,
        rows: Projections<StationRows>,
        profiles: Profiles,
        queue_bound: usize,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Result<Self, JournalError> {
        let ledger =
            Self { journal, rows, profiles, queue_bound, memory: Mutex::default(), changes, queued: Notify::new() };
        let mut memory = Memory::default();
        if let Some(last) = ledger.journal.length().checked_sub(1) {
            let bytes = ledger.journal.read(last..last + 1)?.pop().unwrap_or_default();
            memory.newest = Entry::decode(&bytes).map_or(0, |entry| entry.at.0);
        }
        for (key, value) in ledger.rows.scan(rows::QUEUE, &[], None, false, usize::MAX)? {
            if let (Ok(index), Some(issuance)) =
                (key.try_into().map(u64::from_be_bytes), IssuanceId::from_slice(&value))
            {
                let since = ledger.fold(issuance, u64::MAX)?.map_or(Timestamp(0), |issuance| issuance.updated);
                memory.queue.insert(index, Waiting { issuance, since });
            }
        }
        *ledger.lock() = memory;
        Ok(ledger)
    }

    /// The profiles it issues under.
    #[must_use]
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The journal beneath.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The bound of the queue.
    #[must_use]
    pub fn queue_bound(&self) -> usize {
        self.queue_bound
    }

    /// What an input means for an issuance: its records are appended and applied, and what is to be done is returned
    /// with what must be awaited before it.
    pub fn decide(
        &self,
        id: IssuanceId,
        fixture: &FixtureName,
        keystore: issuance::profile::KeystoreKind,
        authority: &str,
        input: Input,
    ) -> Result<(Action, Option<Appended>), LedgerRefused> {
        let mut memory = self.lock();
        let before = self.issuance(&mut memory, id)?;
        let Some(named) = self.profiles.get(&before.request.profile) else {
            return Err(LedgerRefused::NotFound(format!(
                "the profile {} of issuance {id} is no longer configured: put it back",
                before.request.profile
            )));
        };
        let context = issuance::Context {
            profile: &named.profile,
            issuers: &named.issuers,
            roots: &named.roots,
            authority,
            fixture,
            keystore,
        };
        let now = self.now(&memory);
        let decision = match before.decide(input, context, now) {
            Ok(decision) => decision,
            Err(unexpected) => {
                return Err(LedgerRefused::precondition("UNEXPECTED", unexpected.to_string()));
            }
        };
        if decision.records.is_empty() {
            return Ok((decision.action, None));
        }
        let appended = self.append(&mut memory, id, decision.records)?;
        Ok((decision.action, Some(appended)))
    }

    /// The certificate of an issuance, validated anew.
    pub fn validated_certificate(
        &self,
        id: IssuanceId,
        fixture: &FixtureName,
        keystore: issuance::profile::KeystoreKind,
    ) -> Result<Result<issuance::ValidatedCertificate, issuance::Fault>, LedgerRefused> {
        let mut memory = self.lock();
        let issuance = self.issuance(&mut memory, id)?;
        let Some(named) = self.profiles.get(&issuance.request.profile) else {
            return Err(LedgerRefused::NotFound(format!("the profile of issuance {id} is no longer configured")));
        };
        let context = issuance::Context {
            profile: &named.profile,
            issuers: &named.issuers,
            roots: &named.roots,
            authority: "",
            fixture,
            keystore,
        };
        Ok(issuance.validated_certificate(context, self.now(&memory)))
    }

    /// What the journal knows of the hardware that was met, for the issuance of `serial`.
    pub fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), LedgerRefused> {
        let known_as = self.rows.get(rows::HARDWARE, &identity.fingerprint())?;
        let known_as = known_as.and_then(|serial| DeviceSerial::parse(std::str::from_utf8(&serial).ok()?).ok());
        let fingerprint = self.rows.get(rows::SERIALS, serial.as_str().as_bytes())?;
        Ok((known_as, fingerprint.and_then(|bytes| bytes.try_into().ok())))
    }

    /// Whether the journal says that an issuance for this device made this key.
    pub fn made_key(&self, serial: &DeviceSerial, public_key: &PublicKey) -> Result<bool, LedgerRefused> {
        let Some(id) = self.rows.get(rows::KEYS, &public_key.sha256())? else { return Ok(false) };
        Ok(self.load(&mut self.lock(), &id)?.request.device_serial == *serial)
    }

    /// Closes rows and journal: the last sync.
    pub fn close(&self) -> Result<(), JournalError> {
        self.journal.sync()?;
        self.rows.close()?;
        self.journal.close()
    }

    fn append(&self, memory: &mut Memory, id: IssuanceId, records: Vec<Record>) -> Result<Appended, LedgerRefused> {
        self.append_entries(memory, records.into_iter().map(|record| What::Issuance(id, record)).collect())
    }

    fn append_entries(&self, memory: &mut Memory, whats: Vec<What>) -> Result<Appended, LedgerRefused> {
        let at = self.now(memory);
        let entries: Vec<Entry> = whats.into_iter().map(|what| Entry { at, what }).collect();
        // What these records change is loaded before they are appended: a fold would see them twice.
        let mut touched = HashMap::new();
        for entry in &entries {
            if let What::Issuance(id, record) = &entry.what
                && !matches!(record, Record::Requested(_))
            {
                touched.insert(*id, self.issuance(memory, *id)?);
            }
        }
        let bytes: Vec<Vec<u8>> = entries.iter().map(Entry::encode).collect();
        let appended = self.journal.append(bytes.clone())?;
        let first = appended.first_index();
        self.rows.apply(first, &bytes)?;
        memory.newest = at.0;
        for (index, entry) in (first..).zip(entries) {
            if let Some(what) = self.apply(memory, &mut touched, index, entry)? {
                // The receiver ends with the process only.
                let _ = self.changes.send(Change { index, at, what });
            }
        }
        for (id, issuance) in touched {
            if is_settled(&issuance) {
                memory.active.remove(&id);
            } else {
                memory.active.insert(id, issuance);
            }
        }
        Ok(appended)
    }

    fn apply(
        &self,
        memory: &mut Memory,
        touched: &mut HashMap<IssuanceId, Issuance>,
        index: u64,
        entry: Entry,
    ) -> Result<Option<Changed>, LedgerRefused> {
        let (id, record) = match entry.what {
            What::LotOpened { lot, .. } | What::LotClosed { lot, .. } => {
                return Ok(self.lot(&lot)?.map(|row| Changed::Lot(lot, row)));
            }
            What::Issuance(id, record) => (id, record),
        };
        let after = match (&record, touched.remove(&id)) {
            (Record::Requested(request), _) => Issuance::requested(id, request, entry.at),
            (record, Some(before)) => before.apply(record, entry.at),
            (_, None) => return Ok(None),
        };
        match &record {
            Record::Submitted { .. } => {
                memory.queue.insert(index, Waiting { issuance: id, since: entry.at });
                self.queued.notify_one();
            }
            Record::Issued { .. } | Record::Refused { .. } => memory.queue.retain(|_, waiting| waiting.issuance != id),
            _ => {}
        }
        touched.insert(id, after.clone());
        Ok(Some(Changed::Issuance(Box::new(after))))
    }

    fn load(&self, memory: &mut Memory, id: &[u8]) -> Result<Issuance, LedgerRefused> {
        let id = IssuanceId::from_slice(id).ok_or_else(|| corrupt(&"an issuance id has not 16 octets"))?;
        self.issuance(memory, id)
    }

    fn issuance(&self, memory: &mut Memory, id: IssuanceId) -> Result<Issuance, LedgerRefused> {
        if let Some(issuance) = memory.active.get(&id) {
            return Ok(issuance.clone());
        }
        let issuance =
            self.fold(id, u64::MAX)?.ok_or_else(|| LedgerRefused::NotFound(format!("there is no issuance {id}")))?;
        if !is_settled(&issuance) {
            memory.active.insert(id, issuance.clone());
        }
        Ok(issuance)
    }

    /// An issuance as it stood after the record at index `to`.
    fn fold(&self, id: IssuanceId, to: u64) -> Result<Option<Issuance>, JournalError> {
        let Some(value) = self.rows.get(rows::ISSUANCES, id.as_bytes())? else { return Ok(None) };
        let Ok(row) = rows::decode::<IssuanceRow>(&value) else { return Ok(None) };
        if row.indexes.iter().any(|index| *index >= self.journal.synced()) {
            self.journal.sync()?;
        }
        let mut issuance: Option<Issuance> = None;
        for index in row.indexes.into_iter().take_while(|index| *index <= to) {
            for bytes in self.journal.read(index..index + 1)? {
                let Ok(Entry { at, what: What::Issuance(_, record) }) = Entry::decode(&bytes) else { continue };
                issuance = match (issuance, &record) {
                    (None, Record::Requested(request)) => Some(Issuance::requested(id, request, at)),
                    (before, record) => before.map(|before| before.apply(record, at)),
                };
            }
        }
        Ok(issuance)
    }

    /// UTC now, never behind the newest record: order is the journal's, and time must not contradict it.
    fn now(&self, memory: &Memory) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Timestamp(i64::try_from(now).unwrap_or(i64::MAX).max(memory.newest))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic under the lock leaves memory behind the journal at worst; the journal is the truth.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing happens to it unless somebody asks; it need not be kept in memory.
fn is_settled(issuance: &Issuance) -> bool {
    matches!(issuance.state, State::Completed(..) | State::Failed(..) | State::Quarantined(..))
}

fn unknown_lot(lot: &LotName) -> LedgerRefused {
    LedgerRefused::NotFound(format!("there is no lot {lot}: open it first"))
}

fn row<'a, T: serde::Deserialize<'a>>(value: &'a [u8]) -> Result<T, LedgerRefused> {
    rows::decode(value).map_err(|problem| corrupt(&problem))
}

fn corrupt(problem: &dyn std::fmt::Display) -> LedgerRefused {
    LedgerRefused::precondition(
        "PROJECTION_DAMAGED",
        format!("{problem}: restart the station, which rebuilds its rows"),
    )
}
