//! Which trace each issuance belongs to, for as long as this process remembers: traces are no part of the record.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use issuance::IssuanceId;
use service::traces::Cause;

/// The newest ones, at some 100 octets each: what waits longer goes on in a trace of its own, as after a restart.
const KEPT_MOST: usize = 16 * 1024;

/// What each issuance's work is begun for; empty while traces are off.
#[derive(Debug, Default)]
pub struct Trails(Mutex<BTreeMap<IssuanceId, Cause>>);

impl Trails {
    /// Remembers it; the newest word counts.
    pub fn put(&self, issuance: IssuanceId, cause: Cause) {
        if cause.is_unknown() {
            return;
        }
        let mut kept = self.lock();
        kept.insert(issuance, cause);
        if kept.len() > KEPT_MOST {
            // Ids begin with their time: the oldest.
            kept.pop_first();
        }
    }

    /// Unknown, when it is not remembered.
    #[must_use]
    pub fn of(&self, issuance: IssuanceId) -> Cause {
        self.lock().get(&issuance).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IssuanceId, Cause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
