//! The steps, their order, and what is told of them.

use std::fmt;

use journal::LogError;
use service::clock::Wrong;

use crate::{generation::Generations, init::InitError, pki::PkiError, register::RegisterError};

/// A step of a rollover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloverStep {
    /// A new root is made, and is to be trusted beside the old one.
    NewRoot,
    /// New issuers under the new root take over.
    NewIssuers,
    /// The old root is to be trusted no more.
    OldRootOut {
        /// Also while certificates beneath it are valid still: no verifier accepts them from then on.
        abandon: bool,
    },
}

impl RolloverStep {
    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewRoot => "new-root",
            Self::NewIssuers => "new-issuers",
            Self::OldRootOut { .. } => "old-root-out",
        }
    }

    /// The generations after it; `None` when it was the last step that was done. The error says what is to be done first.
    pub(super) fn after(self, now: Generations) -> Result<Option<Generations>, &'static str> {
        let Generations { newest, issuing, oldest } = now;
        match self {
            Self::NewRoot if newest > issuing => Ok(None),
            Self::NewRoot if oldest < issuing => {
                Err("the old root is still trusted: end the rollover before with `rollover old-root-out`")
            }
            Self::NewRoot => Ok(Some(Generations { newest: newest + 1, ..now })),
            Self::NewIssuers if newest > issuing => Ok(Some(Generations { issuing: newest, ..now })),
            Self::NewIssuers if oldest < issuing => Ok(None),
            Self::NewIssuers => Err("there is no new root for them: begin with `rollover new-root`"),
            Self::OldRootOut { .. } if newest > issuing => Err(
                "the issuers are still under the old root: bring the new one into every bundle, then `rollover new-issuers`",
            ),
            Self::OldRootOut { .. } if oldest < issuing => Ok(Some(Generations { oldest: issuing, ..now })),
            Self::OldRootOut { .. } if oldest > 1 => Ok(None),
            Self::OldRootOut { .. } => Err("there is one root alone: begin with `rollover new-root`"),
        }
    }
}

/// Who has a step done, and what they bring for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Order<'a> {
    /// Who decided it, as a pseudonym.
    pub claimed_by: &'a str,
    /// Certificates that an offline root signed, and its own, DER.
    pub brought: &'a [Vec<u8>],
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledOver {
    /// One line for each key, certificate and file that was made; empty when all of it was done before.
    pub made: Vec<String>,
    /// Where the rollover is now.
    pub status: RolloverStatus,
}

/// Where a rollover is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloverStatus {
    pub(super) generations: Generations,
    /// The roots to trust, who issues first: name and CN.
    pub roots: Vec<(String, String)>,
    /// Who issues.
    pub issuers: Vec<(String, String)>,
    /// How many certificates under the older of two roots are valid still.
    pub standing: Option<u64>,
}

impl fmt::Display for RolloverStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |some: &[(String, String)]| {
            some.iter().map(|(name, cn)| format!("{name} ({cn})")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "trusted: {}", list(&self.roots))?;
        writeln!(f, "issuing: {}", list(&self.issuers))?;
        if let Some(standing) = self.standing {
            writeln!(f, "valid under the old root: {standing}")?;
        }
        let Generations { newest, issuing, oldest } = self.generations;
        f.write_str(if newest > issuing {
            "next: bring bundle.pem to every verifier, start the CA, and when all have it: `rollover new-issuers`"
        } else if oldest < issuing {
            "next: have the stations read <issuer>.issuers.pem, start the CA, and when nothing under the old root is needed: \
             `rollover old-root-out`"
        } else {
            "no rollover is under way; `rollover new-root` begins one"
        })
    }
}

/// Why a step was not done. What it made before stands, and is found again.
#[derive(Debug, thiserror::Error)]
pub enum RolloverError {
    /// The settings contradict themselves.
    #[error("the configuration contradicts itself: {0}")]
    Contradiction(String),
    /// Not in this order.
    #[error("`rollover {step}` is not due: {remedy}")]
    Order {
        /// The step.
        step: &'static str,
        /// What is to be done.
        remedy: &'static str,
    },
    /// Certificates under the old root are valid still.
    #[error(
        "{count} certificates under the old root are valid still, the last until {until}: replace or revoke them first, or \
         give --abandon, and no verifier accepts them any more"
    )]
    Standing {
        /// How many.
        count: u64,
        /// The last end.
        until: String,
    },
    /// The clock is wrong.
    #[error("{0}. {remedy}", remedy = .0.remedy())]
    Clock(Wrong),
    /// The new chain does not carry the profiles.
    #[error("the new issuers cannot carry every profile: {0}")]
    Uncarried(String),
    /// The successor cannot be named.
    #[error("{0}")]
    Name(String),
    /// Key or certificate.
    #[error(transparent)]
    Make(#[from] InitError),
    /// A file.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The journal, which a running CA holds.
    #[error("the CA's journal cannot be opened; a rollover's step is done while the CA does not run")]
    Journal(#[from] LogError),
    /// The register.
    #[error("the CA's register cannot be used: {0}")]
    Register(String),
}

impl From<RegisterError> for RolloverError {
    fn from(error: RegisterError) -> Self {
        Self::Register(service::in_full(&error))
    }
}
