//! A group of entries in the making: what it changes is seen before it is appended.

use issuance::{IssuanceId, Timestamp};
use journal::{Draft, ENTRY_MAX};
use prost::Message as _;
use service::crash;

use super::{JournaledRegister, broken};
use crate::{
    records::{self, CaProjection, Event},
    register::RegisterError,
};

/// Entries of one group before they are appended, with what they change on top of the rows.
pub(super) struct Stage<'a> {
    register: &'a JournaledRegister,
    pub(super) time: Timestamp,
    draft: Draft<'a, CaProjection>,
    /// What the first of them says, for crash points.
    word: &'static str,
    /// Whether one of them revokes.
    revokes: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(register: &'a JournaledRegister) -> Result<Self, RegisterError> {
        // A signature that was made must be recorded even when the clock went wrong since.
        register.clock.raise(register.newest()?.0);
        let time = Timestamp(register.clock.best());
        Ok(Self { register, time, draft: register.projections.draft(), word: "", revokes: false })
    }

    pub(super) fn get(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, RegisterError> {
        Ok(self.draft.get(tree, key)?)
    }

    /// [`RegisterError::Unfit`] leaves the stage as it was.
    pub(super) fn add(&mut self, issuance: Option<IssuanceId>, event: Event) -> Result<(), RegisterError> {
        let (word, revokes) = (records::word(&event), matches!(event, Event::Revoked(_)));
        let entry = records::entry(self.time, issuance, event).encode_to_vec();
        if entry.len() > ENTRY_MAX {
            let wrong = format!("its record would have {} bytes, and one has at most {ENTRY_MAX}", entry.len());
            return Err(RegisterError::Unfit(wrong));
        }
        self.draft.add(entry)?.map_err(RegisterError::Unfit)?;
        if self.word.is_empty() {
            self.word = word;
        }
        self.revokes |= revokes;
        Ok(())
    }

    /// Names the group otherwise than after its first record.
    pub(super) fn call(&mut self, word: &'static str) {
        self.word = word;
    }

    /// What stands at an index, when it is one of this stage's.
    pub(super) fn event(&self, index: u64) -> Result<Option<Event>, RegisterError> {
        let event = self.draft.entry(index).map(records::decode).transpose().map_err(broken)?;
        Ok(event.map(|(_, event)| event))
    }

    /// Appends as one group, and returns once it is on the disk.
    pub(super) fn sync(self) -> Result<(), RegisterError> {
        if self.draft.is_empty() {
            return Ok(());
        }
        crash::point(format_args!("ca.{}.decided", self.word));
        let appended = self.draft.append_later()?;
        crash::point(format_args!("ca.{}.appended", self.word));
        appended.wait()?;
        crash::point(format_args!("ca.{}.synced", self.word));
        if self.revokes {
            (self.register.on_revoked)();
        }
        Ok(())
    }
}
