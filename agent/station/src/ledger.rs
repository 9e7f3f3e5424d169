//! The station's memory: what is accepted and decided, in one order. Everything that changes an issuance or a lot passes
//! here, under one lock: look, decide, append to the journal, apply. Nobody is told before the journal has synced.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use issuance::{
    Action, DeviceIdentity, DeviceSerial, FixtureName, Input, Issuance, IssuanceId, KeyLocation, LotName, Made,
    PublicKey, Record, State, Timestamp, submission::Terms,
};
use journal::{Appended, Journal, JournalError, Projections};
use service::{
    clock::{Clock, Wrong},
    crash,
};
use tokio::sync::{Notify, mpsc};

use crate::{
    profiles::{PinnedProfile, Profiles},
    records::{Entry, What},
    rows::{self, GoldenRow, IssuanceRow, LotRow, StationRows},
    trails::Trails,
    words,
};

mod inspection;
mod lots;
mod memory;
mod read;
mod rework;
mod ruling;
mod start;

pub use lots::SignedLot;
use memory::Memory;
pub use memory::Waiting;
pub use read::Listed;
use read::last_index;
pub use rework::{Unconfirmed, Why};
pub use start::{Asked, Started, Subject};

/// What the ledger is made of.
pub struct Ledger {
    journal: Journal,
    rows: Projections<StationRows>,
    profiles: Profiles,
    queue_bound: usize,
    /// The CA that is configured, and what it promises.
    authority: (String, Terms),
    /// Knows the newest record's time.
    clock: Clock,
    memory: Mutex<Memory>,
    /// Changes in journal order, for whoever tells them once they are synced.
    changes: mpsc::UnboundedSender<Change>,
    /// Rung when a submission is on the disk, so that it may be sent.
    queued: Notify,
    /// Rung when something was completed.
    completed: Notify,
    trails: Trails,
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
    /// The last check with the golden device.
    GoldenCheck(GoldenRow),
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
        /// What it speaks of, by name.
        about: About,
    },
    /// Not in this state.
    #[error("{message}")]
    Precondition {
        /// Stable reason.
        reason: &'static str,
        /// One sentence.
        message: String,
        /// What it speaks of, by name.
        about: About,
    },
    /// At a bound; later it may pass.
    #[error("{0}")]
    Full(String),
    /// The journal takes no more.
    #[error("the station cannot record, so it accepts nothing")]
    Journal(#[from] JournalError),
    /// The clock is wrong, so that nothing can be recorded.
    #[error("the station cannot record, so it accepts nothing")]
    Clock(#[from] Wrong),
    /// The rows contradict the journal.
    #[error("{0}: restart the station, which rebuilds its rows")]
    Damaged(String),
}

/// What a refusal speaks of, so that whoever shows it can say it in other words: such as `lot` and `LOT-1`.
pub type About = Vec<(&'static str, String)>;

impl LedgerRefused {
    pub(crate) fn precondition(reason: &'static str, message: String) -> Self {
        Self::Precondition { reason, message, about: About::new() }
    }

    fn exists(reason: &'static str, message: String) -> Self {
        Self::Exists { reason, message, about: About::new() }
    }

    /// The same, about this.
    pub(crate) fn about(mut self, name: &'static str, value: impl ToString) -> Self {
        if let Self::Exists { about, .. } | Self::Precondition { about, .. } = &mut self {
            about.push((name, value.to_string()));
        }
        self
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
        let ledger = Self {
            journal,
            rows,
            profiles,
            queue_bound,
            authority: Default::default(),
            clock: Clock::system(),
            memory: Mutex::default(),
            changes,
            queued: Notify::new(),
            completed: Notify::new(),
            trails: Trails::default(),
        };
        let mut memory = Memory::default();
        if let Some(last) = ledger.journal.length().checked_sub(1) {
            let bytes = ledger.journal.read(last..last + 1)?.pop().unwrap_or_default();
            // Without its time the floor would be lost.
            let newest =
                Entry::decode(&bytes).map_err(|error| ledger.journal.not_understood(last, error.to_string()))?;
            ledger.clock.raise(newest.at.0);
        }
        for row in ledger.rows.walk(rows::QUEUE) {
            let (key, value) = row?;
            if let (Ok(index), Some((issuance, since))) =
                (key.try_into().map(u64::from_be_bytes), rows::parse_waiting(&value))
            {
                memory.queue.put(index, Waiting { issuance, since });
            }
        }
        for row in ledger.rows.walk(rows::DOUBTS) {
            memory.doubts.extend(IssuanceId::from_slice(&row?.1));
        }
        *ledger.lock() = memory;
        Ok(ledger)
    }

    /// Which trace each issuance belongs to.
    #[must_use]
    pub fn trails(&self) -> &Trails {
        &self.trails
    }

    /// The same, for a CA of this name that promises this. Without it, a CA without a name that answers the same request
    /// with the same certificate.
    #[must_use]
    pub fn with_authority(self, name: &str, terms: Terms) -> Self {
        Self { authority: (name.to_owned(), terms), ..self }
    }

    /// The same, with another clock than the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        clock.raise(self.clock.floor());
        Self { clock, ..self }
    }

    /// The clock that its records are made by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The name of the CA that is configured, and what it promises.
    #[must_use]
    pub fn authority(&self) -> (&str, Terms) {
        (&self.authority.0, self.authority.1)
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

    /// Why nothing can be recorded any more, when nothing can.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<JournalError>> {
        self.journal.failure().or_else(|| self.rows.failure().map(Arc::new))
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
            return self.without_profile(&mut memory, &before, input);
        };
        let context = self.context(named, authority, fixture, keystore);
        let now = self.now()?;
        let is_answer = matches!(input, Input::Issued { .. } | Input::Sealed(_) | Input::Refused { .. });
        let decision = match before.decide(input, context, now) {
            Ok(decision) => decision,
            Err(unexpected) => {
                return Err(LedgerRefused::precondition("UNEXPECTED", unexpected.to_string()));
            }
        };
        if decision.records.is_empty() {
            return Ok((decision.action, None));
        }
        // What can be done or asked for again rides along with the next sync: so one issuance costs about five, and a
        // batch of answers one.
        let whats = decision.records.into_iter().map(|record| What::Issuance(id, record)).collect();
        let appended = self.append_entries(&mut memory, whats, decision.action.is_irreversible() && !is_answer)?;
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
            let message = format!("the profile {} of {id} is no longer configured", issuance.request.profile);
            return Ok(Err(issuance::Fault::new(issuance::FaultKind::Misconfigured, message)));
        };
        let context = self.context(named, "", fixture, keystore);
        Ok(issuance.validated_certificate(context, self.now()?))
    }

    fn context<'a>(
        &self,
        named: &'a PinnedProfile,
        authority: &'a str,
        fixture: &'a FixtureName,
        keystore: issuance::profile::KeystoreKind,
    ) -> issuance::Context<'a> {
        issuance::Context {
            profile: &named.profile,
            issuers: &named.issuers,
            roots: &named.roots,
            endorsement: named.endorsement.as_ref(),
            authority,
            terms: self.authority.1,
            fixture,
            keystore,
        }
    }

    /// What the journal knows of the hardware that was met, for the issuance of `serial`.
    pub fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), LedgerRefused> {
        let known_as = self.known_as(identity)?;
        let fingerprint = self.rows.get(rows::SERIALS, serial.as_str().as_bytes())?;
        Ok((known_as, fingerprint.and_then(|bytes| bytes.try_into().ok())))
    }

    /// For whom the journal says that this key, found at this place of the issuance's device, was made.
    pub fn made_key(
        &self,
        issuance: &Issuance,
        location: &KeyLocation,
        public_key: &PublicKey,
    ) -> Result<Made, LedgerRefused> {
        let mut memory = self.lock();
        if let Some(id) = self.rows.get(rows::KEYS, &public_key.sha256())? {
            let (made, asked) = (self.load(&mut memory, &id)?, &issuance.request);
            let here = (&made.request.device_serial, &made.request.profile) == (&asked.device_serial, &asked.profile);
            return Ok(if here { Made::Here } else { Made::For(made.id) });
        }
        // An intent without its outcome, because a supervisor came in between: the place was empty before it.
        let mut before = issuance.request.supersedes;
        while let Some(id) = before {
            let superseded = self.issuance(&mut memory, id)?;
            if let State::KeyGenerationStarted(intent) = superseded.state.underlying() {
                let same_device = issuance.state.identity().is_some_and(|now| now.is_same_device(&intent.identity));
                return Ok(if same_device && intent.location == *location { Made::Here } else { Made::Unknown });
            }
            before = superseded.request.supersedes;
        }
        Ok(Made::Unknown)
    }

    /// Says that a submission is on the disk: the queue may send it.
    pub fn ring(&self) {
        self.queued.notify_one();
    }

    /// Ends when a submission has come since the last time.
    pub async fn rung(&self) {
        self.queued.notified().await;
    }

    /// Closes rows and journal: the last sync.
    pub fn close(&self) -> Result<(), JournalError> {
        self.journal.sync()?;
        crash::point("station.stop.synced");
        self.rows.close()?;
        crash::point("station.stop.rows-closed");
        self.journal.close()?;
        crash::point("station.stop.journal-closed");
        Ok(())
    }

    fn append(&self, memory: &mut Memory, id: IssuanceId, records: Vec<Record>) -> Result<Appended, LedgerRefused> {
        self.append_entries(memory, records.into_iter().map(|record| What::Issuance(id, record)).collect(), true)
    }

    /// Appends, to be on the disk `now` or with what comes next, and applies.
    fn append_entries(&self, memory: &mut Memory, whats: Vec<What>, now: bool) -> Result<Appended, LedgerRefused> {
        let at = self.now()?;
        let entries: Vec<Entry> = whats.into_iter().map(|what| Entry { at, what }).collect();
        // What these records change is loaded before they are appended: a fold would see them twice.
        let mut touched = HashMap::new();
        for entry in &entries {
            match &entry.what {
                What::Issuance(_, Record::Requested(_))
                | What::LotOpened { .. }
                | What::LotClosed { .. }
                | What::GoldenCheckFailed(_) => {}
                What::Issuance(id, _) | What::RequestRepeated { issuance: id, .. } => {
                    touched.insert(*id, self.issuance(memory, *id)?);
                }
            }
        }
        let bytes: Vec<Vec<u8>> = entries.iter().map(Entry::encode).collect();
        // Rows first see whether they understand the entries: what is in the journal stays there.
        let word = entries.first().map_or("nothing", |entry| words::of_record(&entry.what));
        crash::point(format_args!("station.{word}.decided"));
        let appended = if now { self.rows.append(bytes)? } else { self.rows.append_later(bytes)? };
        crash::point(format_args!("station.{word}.appended"));
        let first = appended.first_index();
        self.clock.raise(at.0);
        for (index, entry) in (first..).zip(entries) {
            if let Some(what) = self.apply(memory, &mut touched, index, entry)? {
                // The receiver ends with the process only.
                let _ = self.changes.send(Change { index, at, what });
            }
        }
        touched.into_values().for_each(|issuance| memory.recent.put(issuance));
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
            What::GoldenCheckFailed(failed) => {
                return Ok(Some(Changed::GoldenCheck(GoldenRow::failed(entry.at, *failed))));
            }
            // It changes whom a request_id belongs to: told all the same, so that no sequence is left out.
            What::RequestRepeated { issuance, .. } => {
                return Ok(touched.get(&issuance).map(|issuance| Changed::Issuance(Box::new(issuance.clone()))));
            }
            What::Issuance(id, record) => (id, record),
        };
        let after = match (&record, touched.remove(&id)) {
            (Record::Requested(request), _) => Issuance::requested(id, request, entry.at),
            (record, Some(before)) => before.apply(record, entry.at),
            (_, None) => return Ok(None),
        };
        match &record {
            Record::Submitted { .. } | Record::Resubmitted { .. } => {
                memory.doubts.remove(&id);
                memory.queue.put(index, Waiting { issuance: id, since: entry.at });
            }
            // One that was cancelled meanwhile is in no queue, and nobody is to decide it.
            Record::InDoubt { .. } if memory.queue.contains(id) => {
                memory.queue.remove(id);
                memory.doubts.insert(id);
            }
            Record::Issued { .. } | Record::Sealed(_) | Record::Refused { .. } | Record::Cancelled { .. } => {
                memory.queue.remove(id);
                memory.doubts.remove(&id);
            }
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
        if let Some(issuance) = memory.recent.get(id) {
            return Ok(issuance.clone());
        }
        let unknown = || LedgerRefused::NotFound(format!("there is no issuance {id}"));
        let row = self.issuance_row(id)?.ok_or_else(unknown)?;
        let issuance = self.fold(id, &row.indexes, u64::MAX)?.ok_or_else(unknown)?;
        memory.recent.put(issuance.clone());
        Ok(issuance)
    }

    fn issuance_row(&self, id: IssuanceId) -> Result<Option<IssuanceRow>, LedgerRefused> {
        self.rows.get(rows::ISSUANCES, id.as_bytes())?.as_deref().map(row).transpose()
    }

    /// UTC now, never behind the newest record: order is the journal's, and time must not contradict it.
    fn now(&self) -> Result<Timestamp, Wrong> {
        self.clock.now().map(Timestamp)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // A panic under the lock leaves memory behind the journal at worst; the journal is the truth.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown_lot(lot: &LotName) -> LedgerRefused {
    LedgerRefused::NotFound(format!("there is no lot {lot}: open it first"))
}

fn row<'a, T: serde::Deserialize<'a>>(value: &'a [u8]) -> Result<T, LedgerRefused> {
    rows::decode(value).map_err(|problem| corrupt(&problem))
}

fn corrupt(problem: &dyn std::fmt::Display) -> LedgerRefused {
    LedgerRefused::Damaged(problem.to_string())
}

#[cfg(test)]
mod tests;
