//! The station's memory: what is accepted and decided, in one order. Everything that changes an issuance or a lot passes
//! here, under one lock: look, decide, append to the journal, apply. Nobody is told before the journal has synced.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use issuance::{
    Action, DeviceIdentity, DeviceSerial, FixtureName, Input, Issuance, IssuanceId, LotName, ProfileName, PublicKey,
    Record, State, Timestamp,
    record::{Provenance, Requested},
};
use journal::{Appended, Journal, JournalError, Projections};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::{
    profiles::Profiles,
    records::{Entry, What},
    rows::{self, IssuanceRow, LotRow, StationRows},
};

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

/// What became of a request.
#[derive(Debug)]
pub struct Started {
    /// The issuance: new, resumed, or as it was.
    pub issuance: Issuance,
    /// Whether a fixture has something to do for it.
    pub begin: bool,
    /// To be awaited before anybody is told; `None` when nothing was recorded.
    pub appended: Option<Appended>,
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

    /// Starts an issuance, resumes the stopped one, or returns the one that the same request started.
    pub fn start(&self, asked: &Asked, provenance: &Provenance) -> Result<Started, LedgerRefused> {
        let subject = &asked.subject;
        let mut memory = self.lock();
        let lot = self.lot(&subject.lot)?.ok_or_else(|| unknown_lot(&subject.lot))?;
        let profile = subject.profile.clone().unwrap_or_else(|| lot.profile.clone());
        if let Some(before) = self.same_request(&mut memory, subject, &profile)? {
            return self.go_on(&mut memory, before, asked);
        }
        let named = self.profiles.get(&profile).ok_or_else(|| LedgerRefused::Invalid {
            field: "profile",
            message: format!("there is no profile {profile}: this station has {}", self.profiles.names()),
        })?;
        if profile != lot.profile {
            return Err(LedgerRefused::precondition(
                "WRONG_PROFILE",
                format!("the lot {} is for the profile {}, and {profile} was asked for", subject.lot, lot.profile),
            ));
        }
        if !lot.open {
            let message = format!("the lot {} is closed: open another lot", subject.lot);
            return Err(LedgerRefused::precondition("LOT_CLOSED", message));
        }
        if lot.started >= lot.quantity {
            return Err(LedgerRefused::precondition(
                "LOT_USED_UP",
                format!("the lot {} is used up: {} of {} devices were started", subject.lot, lot.started, lot.quantity),
            ));
        }
        let common_name = named
            .profile
            .common_name_for(&subject.device_serial, &named.issuer_names)
            .map_err(|refused| LedgerRefused::Invalid { field: "device_serial", message: crate::sentence(&refused) })?;
        if let Some(taken) = self.rows.get(rows::NAMES, &rows::key(&[profile.as_str(), &common_name.folded()]))? {
            let taken = self.load(&mut memory, &taken)?;
            return Err(LedgerRefused::Exists {
                reason: "COMMON_NAME_TAKEN",
                message: format!(
                    "the CN {common_name} belongs to the device {} since its issuance {} in lot {}: a CN is given once",
                    taken.request.device_serial, taken.id, taken.request.lot
                ),
            });
        }
        if memory.queue.len() >= self.queue_bound {
            return Err(LedgerRefused::Full(format!(
                "{} submissions wait for the CA, which is the bound: wait until the CA answers again",
                memory.queue.len()
            )));
        }
        asked.fixture_free()?;
        let request = Requested {
            request_id: subject.request_id.clone(),
            lot: subject.lot.clone(),
            device_serial: subject.device_serial.clone(),
            profile,
            common_name,
            fixture: asked.fixture.clone(),
            claimed_by: asked.claimed_by.clone(),
            authenticated_by: asked.authenticated_by.clone(),
            provenance: Provenance { profile_sha256: named.sha256, ..provenance.clone() },
        };
        let id = IssuanceId::from_uuid(Uuid::now_v7());
        let appended = self.append(&mut memory, id, vec![Record::Requested(Box::new(request))])?;
        let issuance = self.issuance(&mut memory, id)?;
        Ok(Started { issuance, begin: true, appended: Some(appended) })
    }

    /// The issuance that the same request started before, if any.
    pub fn started_before(&self, subject: &Subject) -> Result<Option<Issuance>, LedgerRefused> {
        let mut memory = self.lock();
        let Some(lot) = self.lot(&subject.lot)? else { return Ok(None) };
        self.same_request(&mut memory, subject, subject.profile.as_ref().unwrap_or(&lot.profile))
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
            return Err(LedgerRefused::Exists {
                reason: "LOT_EXISTS",
                message: format!(
                    "the lot {lot} exists with profile {}, quantity {} and is {}: a lot is opened once",
                    row.profile,
                    row.quantity,
                    if row.open { "open" } else { "closed" }
                ),
            });
        }
        let what = What::LotOpened {
            lot: lot.clone(),
            profile: profile.clone(),
            quantity,
            authenticated_by: authenticated_by.to_owned(),
        };
        let appended = self.append_entries(&mut memory, vec![what])?;
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
        let appended = self.append_entries(&mut memory, vec![what])?;
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
                What::LotOpened { lot, .. } | What::LotClosed { lot, .. } => match self.lot(&lot)? {
                    Some(row) => Changed::Lot(lot, row),
                    None => continue,
                },
            };
            changes.push(Change { index, at: entry.at, what });
        }
        Ok(changes)
    }

    /// Closes rows and journal: the last sync.
    pub fn close(&self) -> Result<(), JournalError> {
        self.journal.sync()?;
        self.rows.close()?;
        self.journal.close()
    }

    /// The issuance that the same request started, if any. Same key with other content is refused.
    fn same_request(
        &self,
        memory: &mut Memory,
        subject: &Subject,
        profile: &ProfileName,
    ) -> Result<Option<Issuance>, LedgerRefused> {
        if !subject.request_id.is_empty()
            && let Some(id) = self.rows.get(rows::REQUESTS, subject.request_id.as_bytes())?
        {
            let before = self.load(memory, &id)?;
            let request = &before.request;
            if (&request.lot, &request.device_serial, &request.profile)
                != (&subject.lot, &subject.device_serial, profile)
            {
                return Err(LedgerRefused::Exists {
                    reason: "REQUEST_ID_REUSED",
                    message: format!(
                        "the request_id {} was used for device {} in lot {} with profile {}: use a new one",
                        subject.request_id, request.device_serial, request.lot, request.profile
                    ),
                });
            }
            return Ok(Some(before));
        }
        let key = rows::key(&[subject.lot.as_str(), subject.device_serial.as_str(), profile.as_str()]);
        match self.rows.get(rows::SUBJECTS, &key)? {
            Some(id) => Ok(Some(self.load(memory, &id)?)),
            None => Ok(None),
        }
    }

    /// The same request again: a stopped issuance goes on, one whose device was met again too, a finished one is returned.
    fn go_on(&self, memory: &mut Memory, before: Issuance, asked: &Asked) -> Result<Started, LedgerRefused> {
        let resumes = match &before.state {
            State::Completed(..) | State::Quarantined(..) => false,
            State::Failed(..) => {
                asked.fixture_free()?;
                true
            }
            // Being worked on right now: nothing to add. Else the device was put back, perhaps elsewhere.
            _ => asked.fixture_is_free && !asked.at_work.contains(&before.id),
        };
        if !resumes {
            return Ok(Started { issuance: before, begin: false, appended: None });
        }
        if self.profiles.get(&before.request.profile).is_none() {
            let message = format!("the profile {} is no longer configured: put it back", before.request.profile);
            return Err(LedgerRefused::Invalid { field: "profile", message });
        }
        let record = Record::Resumed {
            fixture: asked.fixture.clone(),
            claimed_by: asked.claimed_by.clone(),
            authenticated_by: asked.authenticated_by.clone(),
        };
        let appended = self.append(memory, before.id, vec![record])?;
        let issuance = self.issuance(memory, before.id)?;
        Ok(Started { issuance, begin: true, appended: Some(appended) })
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

/// What decides whether a request is the same as one before.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The caller's id of its request; may be empty.
    pub request_id: String,
    /// The lot.
    pub lot: LotName,
    /// The device.
    pub device_serial: DeviceSerial,
    /// The profile; `None`: the lot's.
    pub profile: Option<ProfileName>,
}

/// A request for an issuance, with where and by whom it was made.
#[derive(Debug, Clone)]
pub struct Asked {
    /// For what.
    pub subject: Subject,
    /// Where the device sits.
    pub fixture: FixtureName,
    /// Who scanned it.
    pub claimed_by: String,
    /// Who asked.
    pub authenticated_by: String,
    /// What fixtures are working on at this moment.
    pub at_work: Vec<IssuanceId>,
    /// Whether the fixture is free for it.
    pub fixture_is_free: bool,
}

impl Asked {
    fn fixture_free(&self) -> Result<(), LedgerRefused> {
        if self.fixture_is_free {
            return Ok(());
        }
        let message = format!("the fixture {} is at work: wait until it is done, or use another one", self.fixture);
        Err(LedgerRefused::precondition("FIXTURE_BUSY", message))
    }
}

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

/// Whether nothing happens to it unless somebody asks; it need not be kept in memory.
fn is_settled(issuance: &Issuance) -> bool {
    matches!(issuance.state, State::Completed(..) | State::Failed(..) | State::Quarantined(..))
}

fn unknown_lot(lot: &LotName) -> LedgerRefused {
    LedgerRefused::NotFound(format!("there is no lot {lot}: open it first"))
}

fn last_index(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
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
