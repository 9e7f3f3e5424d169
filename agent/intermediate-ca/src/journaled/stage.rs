//! A group of entries in the making: what it changes is seen before it is appended.

use std::collections::HashMap;

use issuance::{IssuanceId, Timestamp};
use journal::ENTRY_MAX;
use prost::Message as _;
use service::crash;

use super::{JournaledRegister, broken};
use crate::{
    records::{self, CaRecord, Event},
    register::RegisterError,
};

/// Entries of one group before they are appended, with what they change on top of the rows.
pub(super) struct Stage<'a> {
    register: &'a JournaledRegister,
    pub(super) time: Timestamp,
    first_index: u64,
    entries: Vec<Vec<u8>>,
    /// What the first of them says, for crash points.
    word: &'static str,
    /// Whether one of them revokes.
    revokes: bool,
    /// By tree and key.
    changed: HashMap<&'static str, HashMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(register: &'a JournaledRegister) -> Result<Self, RegisterError> {
        // A signature that was made must be recorded even when the clock went wrong since.
        register.clock.raise(register.newest()?.0);
        let time = Timestamp(register.clock.best());
        let first_index = register.journal.length();
        Ok(Self { register, time, first_index, entries: Vec::new(), word: "", revokes: false, changed: HashMap::new() })
    }

    pub(super) fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, RegisterError> {
        match self.changed.get(tree).and_then(|rows| rows.get(key)) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.register.projections.get(tree, key)?),
        }
    }

    /// [`RegisterError::Unfit`] leaves the stage as it was.
    pub(super) fn add(&mut self, issuance: Option<IssuanceId>, event: Event) -> Result<(), RegisterError> {
        let (word, revokes) = (records::word(&event), matches!(event, Event::Revoked(_)));
        let record = self.encode(issuance, event);
        let entry = record.encode_to_vec();
        if entry.len() > ENTRY_MAX {
            let wrong = format!("its record would have {} bytes, and one has at most {ENTRY_MAX}", entry.len());
            return Err(RegisterError::Unfit(wrong));
        }
        let index = self.first_index + self.entries.len() as u64;
        let changes = records::changes_of(index, record).map_err(RegisterError::Unfit)?;
        self.name(word);
        self.revokes |= revokes;
        for change in changes {
            self.changed.entry(change.tree).or_default().insert(change.key, change.value);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Names the group otherwise than after its first record.
    pub(super) fn call(&mut self, word: &'static str) {
        self.word = word;
    }

    /// What stands at an index, when it is one of this stage's.
    pub(super) fn event(&self, index: u64) -> Result<Option<Event>, RegisterError> {
        let Some(at) = index.checked_sub(self.first_index).and_then(|at| usize::try_from(at).ok()) else {
            return Ok(None);
        };
        let entry = self.entries.get(at).map(|entry| records::decode(entry));
        Ok(entry.transpose().map_err(broken)?.map(|(_, event)| event))
    }

    /// For records that change no row but the clock's.
    pub(super) fn add_unchecked(&mut self, issuance: Option<IssuanceId>, event: Event) {
        self.name(records::word(&event));
        let entry = self.encode(issuance, event).encode_to_vec();
        self.entries.push(entry);
    }

    fn name(&mut self, word: &'static str) {
        if self.word.is_empty() {
            self.word = word;
        }
    }

    fn encode(&self, issuance: Option<IssuanceId>, event: Event) -> CaRecord {
        records::entry(self.time, issuance, event)
    }

    /// Appends as one group, and returns once it is on the disk.
    pub(super) fn sync(self) -> Result<(), RegisterError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        crash::point(format_args!("ca.{}.decided", self.word));
        let appended = self.register.journal.append(self.entries.clone())?;
        crash::point(format_args!("ca.{}.appended", self.word));
        if appended.first_index() != self.first_index {
            return Err(broken("somebody else appended to the CA's journal"));
        }
        self.register.projections.apply(self.first_index, &self.entries)?;
        appended.wait()?;
        crash::point(format_args!("ca.{}.synced", self.word));
        if self.revokes {
            (self.register.on_revoked)();
        }
        Ok(())
    }
}
