//! Who may call: what the configuration says, less whom a supervisor or an administrator disabled.
//!
//! It is asked at every request, not at the handshake: a connection that stands gives nobody another answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use issuance::Timestamp;
use service::{
    gate,
    roles::{Caller, Callers, Role},
    status,
    tls::Peer,
};
use tonic::{Code, Status};
use tracing::warn;

use crate::{authority::Authority, records};

/// Leads the names of EST's clients in records and commands: no caller's name may begin so.
pub(crate) const EST: &str = "est/";

/// Since when somebody is disabled, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// When it was recorded.
    pub at: Timestamp,
    /// The caller who said so.
    pub by: String,
    /// In words.
    pub reason: String,
}

impl Disabled {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.at.0.to_be_bytes()[..], self.by.as_bytes(), &[0], self.reason.as_bytes()].concat()
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (at, words) = row.split_at_checked(8)?;
        // Neither a mark nor a reason has a zero octet.
        let (by, reason) = std::str::from_utf8(words).ok()?.split_once('\0')?;
        let at = Timestamp(records::number(at)?.cast_signed());
        Some(Self { at, by: by.to_owned(), reason: reason.to_owned() })
    }
}

/// What somebody says of a caller.
#[derive(Debug, Clone)]
pub(crate) struct CallerSaid {
    pub(crate) name: String,
    /// Or enable.
    pub(crate) disable: bool,
    pub(crate) reason: String,
    pub(crate) by: String,
}

/// Everybody who is disabled, as the register has it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DisabledCallers(Arc<RwLock<BTreeMap<String, Disabled>>>);

impl DisabledCallers {
    pub(crate) fn new(all: BTreeMap<String, Disabled>) -> Self {
        Self(Arc::new(RwLock::new(all)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Disabled> {
        // The map is whole after every statement.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Disabled> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, name: String, disabled: Option<Disabled>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match disabled {
            Some(disabled) => all.insert(name, disabled),
            None => all.remove(&name),
        };
    }
}

/// The door of every gRPC call.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) callers: Callers,
    pub(crate) authority: Authority,
}

impl gate::Door for Door {
    /// Besides, nobody disabled them.
    fn admit(&self, peer: Option<&Peer>, allowed: &[Role]) -> Result<Caller, Status> {
        let caller = self.callers.authorise(peer, allowed)?;
        match self.authority.disabled_caller(&caller.name) {
            None => Ok(caller),
            Some(disabled) => {
                warn!(name = caller.name, "refused a call: the caller is disabled");
                Err(status::refused(Code::PermissionDenied, "CALLER_DISABLED", refusal(&caller.name, &disabled)))
            }
        }
    }
}

/// What a disabled caller is told.
pub(crate) fn refusal(name: &str, disabled: &Disabled) -> String {
    format!("{name:?} was disabled by {} ({}): ask a supervisor or an administrator", disabled.by, disabled.reason)
}
