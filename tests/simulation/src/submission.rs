//! What goes to the CA, and what comes back: as `station::submission` and `station::station` have it.

use issuance::{Input, IssuanceId, profile::KeystoreKind};
use station::ledger::LedgerRefused;

use crate::{
    desk::AUTHORITY,
    floor::look,
    said,
    world::{Stopped, World},
};

/// More bytes than an answer may have.
const TOO_LARGE: usize = 100_000;

impl World {
    /// A batch goes to the CA, and its answers, if any, are recorded: as `station::submission` has it.
    pub(crate) fn submit(&mut self) -> Result<String, String> {
        let calm = look(&self.floor).calm;
        if calm || self.chance.once_in(3) {
            self.deferred.clear();
        }
        let most = 1 + self.chance.below(4);
        let skip = |id| self.deferred.contains(&id) || self.place().forgotten.contains(&id);
        let batch = self.ledger().waiting(most, skip);
        if batch.is_empty() {
            return Ok("nothing is to be submitted".to_owned());
        }
        if batch.windows(2).any(|two| two[0].since > two[1].since) {
            return Err("the queue is not in the order of its records".to_owned());
        }
        let mut line = "submitted".to_owned();
        let mut requests = vec![];
        for waiting in batch {
            let issuance = self.issuance(waiting.issuance)?;
            let Some(signed) = issuance.state.awaits_answer() else {
                return Err(format!("{} is in the queue and awaits no answer", self.name(issuance.id)));
            };
            line.push_str(&format!(" {}", self.name(issuance.id)));
            requests.push((issuance.id, signed.certification_request.clone()));
        }
        if self.pass().is_err() {
            return Ok(line);
        }
        let mood = if calm { 9 } else { self.chance.below(10) };
        let away = !calm && self.outcome.steps < self.away_until;
        if mood == 0 || away {
            self.outcome.faults += 1;
            if !away && self.chance.once_in(3) {
                self.away_until = self.outcome.steps + self.chance.below(80) as u64;
            }
            return Ok(format!("{line}: the CA is away"));
        }
        let mut answers = vec![];
        for (id, request) in requests {
            self.submitted.insert(id);
            let (input, word) = self.answer(id, &request, calm)?;
            line.push_str(&format!(", {word}"));
            answers.extend(input.map(|input| (id, input)));
        }
        match mood {
            1 => {
                self.outcome.faults += 1;
                return Ok(format!("{line}: the answer is lost"));
            }
            2 => {
                self.outcome.faults += 1;
                self.late.append(&mut answers);
                return Ok(format!("{line}: the answer is late"));
            }
            3 => {
                self.outcome.faults += 1;
                answers.truncate(answers.len() / 2);
                line.push_str(": half of it is answered");
            }
            _ => {}
        }
        for (id, input) in answers {
            if self.deliver(id, input)?.is_err() {
                break;
            }
        }
        Ok(line)
    }

    /// What the CA says to one submission; `None`: later.
    fn answer(&mut self, id: IssuanceId, request: &[u8], calm: bool) -> Result<(Option<Input>, &'static str), String> {
        let chain = self.authority.chain();
        let mood = if calm { 99 } else { self.chance.below(30) };
        self.outcome.faults += u64::from(mood < 5);
        Ok(match mood {
            0 | 1 => {
                let refused = Input::Refused { reason: "POLICY".to_owned(), message: "not today".to_owned() };
                (Some(refused), "refused")
            }
            2 => {
                self.deferred.insert(id);
                (None, "deferred")
            }
            3 => (Some(Input::Issued { certificate: self.authority.wrong(request)?, chain }), "with another name"),
            4 => {
                let bytes = if self.chance.once_in(2) { TOO_LARGE } else { 10 };
                (Some(Input::Issued { certificate: vec![0x30; bytes], chain }), "with garbage")
            }
            _ => (Some(Input::Issued { certificate: self.authority.issue(id, request)?, chain }), "issued"),
        })
    }

    /// Records an answer and lets the fixture go on.
    fn deliver(&mut self, id: IssuanceId, input: Input) -> Result<Result<(), Stopped>, String> {
        if self.pass().is_err() {
            return Ok(Err(Stopped));
        }
        let Some((before, _)) = self.ledger().get(id).map_err(said("an answered issuance"))? else {
            return Err(format!("{} is answered and not in the journal", self.name(id)));
        };
        match self.ledger().decide(id, &before.fixture, KeystoreKind::Pkcs11, AUTHORITY, input) {
            Ok(_) | Err(LedgerRefused::Precondition { .. }) => {}
            Err(refused) => return Err(format!("an answer is not recorded: {}", service::in_full(&refused))),
        }
        if self.pass().is_err() {
            return Ok(Err(Stopped));
        }
        if self.ledger().is_waiting(id) {
            self.deferred.insert(id);
        }
        self.place().fixtures.go_on(&before.fixture, id);
        Ok(Ok(()))
    }

    /// An answer arrives that was on its way.
    pub(crate) fn late_answer(&mut self) -> Result<String, String> {
        if self.late.is_empty() {
            return Ok("no answer is late".to_owned());
        }
        let (id, input) = self.late.swap_remove(self.chance.below(self.late.len()));
        let line = format!("a late answer for {}", self.name(id));
        let _ = self.deliver(id, input)?;
        Ok(line)
    }
}
