//! What is decided without the rules of a profile: by a supervisor, or when the profile is gone.

use issuance::{
    Action, Input, Issuance, IssuanceId, Record,
    rule::{Ruling, RulingRefused},
};
use journal::Appended;

use super::{Ledger, LedgerRefused, Memory};
use crate::rows;

impl Ledger {
    /// A supervisor's word on an issuance, while fixtures work on `at_work` others.
    pub fn rule(
        &self,
        id: IssuanceId,
        ruling: Ruling,
        claimed_by: String,
        authenticated_by: String,
        at_work: usize,
    ) -> Result<Appended, LedgerRefused> {
        let mut memory = self.lock();
        let before = self.issuance(&mut memory, id)?;
        if matches!(ruling, Ruling::Scrap { .. }) {
            self.is_newest(&before)?;
        }
        let record = before.rule(ruling, claimed_by, authenticated_by, self.authority()).map_err(|refused| {
            let reason = match refused {
                RulingRefused::NotQuarantined => "NOT_QUARANTINED",
                RulingRefused::Ended => "ALREADY_ENDED",
                RulingRefused::NotHardware => "NOT_HARDWARE",
            };
            LedgerRefused::precondition(reason, format!("issuance {id} stands in {}: {refused}", before.state))
        })?;
        if matches!(record, Record::Resubmitted { .. }) && memory.queue.len() + at_work >= self.queue_bound {
            // What fixtures work on was let in with a place in the queue.
            let message = format!(
                "{} submissions wait for the CA or will soon, and the bound is {}: release it later",
                memory.queue.len() + at_work,
                self.queue_bound
            );
            return Err(LedgerRefused::Full(message));
        }
        self.append(&mut memory, id, vec![record])
    }

    /// Refuses what another issuance stands in for.
    pub fn is_newest(&self, issuance: &Issuance) -> Result<(), LedgerRefused> {
        let name = rows::key(&[issuance.request.profile.as_str(), &issuance.request.common_name.folded()]);
        match self.rows.get(rows::NAMES, &name)?.and_then(|holder| IssuanceId::from_slice(&holder)) {
            Some(holder) if holder != issuance.id => {
                let message = format!("the issuance {} was superseded by {holder}: decide on that one", issuance.id);
                Err(LedgerRefused::precondition("ALREADY_SUPERSEDED", message))
            }
            _ => Ok(()),
        }
    }

    /// Whoever took a profile out of the configuration did not take back what is under way: an answer is recorded as it
    /// came, to be validated before it is written, and everything else waits until the profile is back.
    pub(super) fn without_profile(
        &self,
        memory: &mut Memory,
        before: &Issuance,
        input: Input,
    ) -> Result<(Action, Option<Appended>), LedgerRefused> {
        let awaited = before.state.submission().is_some();
        let records = match input {
            Input::Issued { certificate, chain } if awaited => vec![Record::Issued { certificate, chain }],
            Input::Issued { certificate, chain } => before.unawaited(certificate, chain),
            Input::Sealed(sealed) if awaited => vec![Record::Sealed(sealed)],
            Input::Sealed(_) => vec![],
            Input::Refused { reason, message } if awaited => vec![Record::Refused { reason, message }],
            Input::Refused { .. } => vec![],
            input @ (Input::Sending | Input::NotTaken { .. } | Input::AnswerLost { .. }) => {
                before.send(&input, &self.authority.0, self.authority.1)
            }
            _ => {
                let profile = &before.request.profile;
                let message = format!("the profile {profile} of {} is no longer configured: put it back", before.id);
                return Err(LedgerRefused::precondition("PROFILE_GONE", message));
            }
        };
        if records.is_empty() {
            return Ok((Action::Rest, None));
        }
        Ok((Action::Rest, Some(self.append(memory, before.id, records)?)))
    }
}
