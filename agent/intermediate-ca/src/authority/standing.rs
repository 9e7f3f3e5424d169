//! How the CA is: what keeps it from its work or soon will. Health and `status` say it.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use issuance::Timestamp;
use tokio::time::timeout;

use super::Authority;
use crate::{
    certify::outlives,
    metrics::Counts,
    pki::{CaCertificate, moment_text},
    profile::CaName,
    register::Condition,
};

/// A look is a few milliseconds; one that takes longer than this waits for a module that hangs.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// A CA certificate that ends within this is to be replaced: an order at a vault, a rollover, new files on every device.
const REPLACE_WITHIN: i64 = 90 * 86_400;
/// Then it is late.
const DAYS: i64 = 7 * 86_400;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// For programs: `JOURNAL`, `CLOCK`, `TOKEN`, `CRL`, `ISSUER`, `ROOT`.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether it keeps the CA, or whoever trusts its certificates, from working, or will within days.
    pub red: bool,
}

impl Problem {
    fn red(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), red: true }
    }
}

impl Authority {
    /// How many calls of a caller wait for its turn.
    #[cfg(test)]
    pub(crate) fn waiting(&self, caller: &str) -> usize {
        self.inner.turns.waiting(caller)
    }

    /// How many calls wait for the token's next visit.
    #[cfg(test)]
    pub(crate) fn waiting_for_token(&self) -> usize {
        self.inner.hsm.waiting()
    }

    /// How many requests are worked on, and how many wait for their turn.
    pub(crate) fn load(&self) -> (usize, usize) {
        self.inner.turns.load()
    }

    /// Records on the disk.
    pub(crate) fn records(&self) -> u64 {
        self.inner.journal.synced()
    }

    /// What was done since the start.
    pub(crate) fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// All that is wrong; none when all is well. What it says of the token is what [`Authority::look_at_token`] found last.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let inner = &self.inner;
        let now = Timestamp(inner.clock.best());
        let mut problems = Vec::new();
        if let Condition::DiskFailed(reason) | Condition::Failed(reason) = &*inner.register.condition().borrow() {
            problems.push(Problem::red("JOURNAL", format!("the CA cannot record, so it issues nothing: {reason}")));
        }
        if let Err(wrong) = inner.clock.now() {
            problems.push(Problem::red("CLOCK", format!("{wrong}. {}", wrong.remedy())));
        }
        let token = inner.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        problems.extend(token.map(|words| Problem::red("TOKEN", words)));
        let crls = inner.crls.iter().flat_map(|crls| crls.overdue(now));
        problems.extend(crls.map(|message| Problem::red("CRL", message)));
        problems.extend(self.ends(now));
        problems
    }

    /// Looks whether the token answers and has the issuers' keys; what it finds is in [`Authority::problems`] from then on.
    pub async fn look_at_token(&self) {
        let mut found = None;
        for issuer in self.issuing() {
            let name = &issuer.name;
            found = match timeout(LOOK_WITHIN, self.inner.hsm.look(name.key_location())).await {
                Ok(Ok(Some(key))) if key == issuer.public_key => continue,
                Ok(Ok(_)) => Some(format!("the token has no key {name} any more: bring the right token back")),
                Ok(Err(fault)) => Some(format!(
                    "the token does not answer ({}): {fault}; nothing is signed until it does, and then the CA goes on by \
                     itself",
                    fault.kind.reason()
                )),
                Err(_) => Some(format!(
                    "the token has not answered for {} s: look at the HSM and its connection",
                    LOOK_WITHIN.as_secs()
                )),
            };
            break;
        }
        *self.inner.token.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// The CA's certificates that issue: the root first, then the issuers by name.
    #[must_use]
    pub fn standing(&self) -> Vec<&CaCertificate> {
        self.inner.roots.first().into_iter().chain(self.issuing()).collect()
    }

    fn issuing(&self) -> Vec<&CaCertificate> {
        let by_name: BTreeMap<_, _> = self.inner.rules.profiles().map(|(_, issuer)| (&issuer.name, issuer)).collect();
        by_name.into_values().collect()
    }

    /// Profiles that nothing can be issued under any more, and certificates of the CA that end.
    fn ends(&self, now: Timestamp) -> Vec<Problem> {
        let profiles = self.inner.rules.profiles();
        let spent = profiles.filter_map(|(profile, issuer)| outlives(profile, issuer, now));
        let mut problems: Vec<Problem> = spent.map(|message| Problem::red("ISSUER", message)).collect();
        for one in self.standing() {
            let left = one.not_after.saturating_sub(now.seconds());
            if left < REPLACE_WITHIN {
                let reason = if one.name == CaName::root() { "ROOT" } else { "ISSUER" };
                let message = format!(
                    "the certificate of {} ends {}: replace it (`intermediate-ca rollover`)",
                    one.name,
                    moment_text(one.not_after)
                );
                problems.push(Problem { reason, message, red: left < DAYS });
            }
        }
        problems
    }
}
