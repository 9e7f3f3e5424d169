//! Faults of hardware and network: a kind, what was being done, and the cause. A kind decides what follows, once.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What went wrong, as far as it matters for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// No device answers in the fixture, or no token has the label.
    DeviceAbsent,
    /// The device stopped answering in the middle.
    LinkLost,
    /// A call did not end before its deadline; the worker was killed.
    DeadlineExceeded,
    /// The worker process ended by itself.
    WorkerCrashed,
    /// The device asks to try again: TPM_RC_RETRY, NV_RATE and their like.
    DeviceBusy,
    /// The session or object handle was lost.
    SessionLost,
    /// The token refused the PIN. It is not tried again.
    PinRejected,
    /// The token's PIN is locked, or at its last try.
    PinLocked,
    /// The TPM is in dictionary-attack lockout.
    DictionaryAttackLockout,
    /// No room for a key or a certificate.
    StorageFull,
    /// The place holds something else that is not ours.
    LocationOccupied,
    /// What should be there is not.
    NotFound,
    /// Another device than before.
    NotSameDevice,
    /// The device cannot do what the profile asks.
    Unsupported,
    /// The device says that it is broken: TPM_RC_FAILURE, CKR_DEVICE_ERROR that stays.
    HardwareFailure,
    /// What was read, signed or answered does not fit what was asked.
    Mismatch,
    /// What came back over a guarded link is not what the device sent.
    AnswerAltered,
    /// The key's residency was not proven.
    ResidencyUnproven,
    /// The configuration of this keystore cannot work: such as a module that does not load.
    Misconfigured,
    /// The certificate that came back did not pass validation.
    CertificateRejected,
    /// The CA refused the request for good.
    RequestRefused,
    /// The device's files could not be written.
    FileWriteFailed,
    /// The journal takes no more records.
    JournalFailed,
}

impl FaultKind {
    /// Stable name for programs and support, such as `DEVICE_ABSENT`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::DeviceAbsent => "DEVICE_ABSENT",
            Self::LinkLost => "LINK_LOST",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::WorkerCrashed => "WORKER_CRASHED",
            Self::DeviceBusy => "DEVICE_BUSY",
            Self::SessionLost => "SESSION_LOST",
            Self::PinRejected => "PIN_REJECTED",
            Self::PinLocked => "PIN_LOCKED",
            Self::DictionaryAttackLockout => "DICTIONARY_ATTACK_LOCKOUT",
            Self::StorageFull => "STORAGE_FULL",
            Self::LocationOccupied => "LOCATION_OCCUPIED",
            Self::NotFound => "NOT_FOUND",
            Self::NotSameDevice => "NOT_SAME_DEVICE",
            Self::Unsupported => "UNSUPPORTED",
            Self::HardwareFailure => "HARDWARE_FAILURE",
            Self::Mismatch => "MISMATCH",
            Self::AnswerAltered => "ANSWER_ALTERED",
            Self::ResidencyUnproven => "RESIDENCY_UNPROVEN",
            Self::Misconfigured => "MISCONFIGURED",
            Self::CertificateRejected => "CERTIFICATE_REJECTED",
            Self::RequestRefused => "REQUEST_REFUSED",
            Self::FileWriteFailed => "FILE_WRITE_FAILED",
            Self::JournalFailed => "JOURNAL_FAILED",
        }
    }

    /// What follows, decided here and nowhere else. `attempt` counts from 1.
    #[must_use]
    pub fn disposition(self, attempt: u32) -> Disposition {
        use Disposition::{AskOperator, HaltStation, Quarantine, Retry};
        /// What is worth trying again is tried this often in all; a device that needs more is looked at by a person.
        const ATTEMPTS: u32 = 4;
        let backed_off = |words| {
            if attempt < ATTEMPTS {
                // 100 ms, 200 ms, 400 ms: a TPM's NV rate limit and a USB reset both pass within a second.
                Retry { after: Duration::from_millis(100 << attempt.saturating_sub(1).min(5)) }
            } else {
                AskOperator(words)
            }
        };
        match self {
            Self::DeviceAbsent => AskOperator("Put the device in the fixture and scan it again."),
            Self::LinkLost => backed_off("The device does not answer: seat it again and scan it again."),
            Self::DeadlineExceeded | Self::WorkerCrashed => {
                backed_off("The device does not answer in time: seat it again and scan it again.")
            }
            Self::DeviceBusy | Self::SessionLost => {
                backed_off("The device stays busy: wait a minute and scan it again.")
            }
            Self::PinRejected => AskOperator("The PIN was rejected and is not tried again: call the administrator."),
            Self::PinLocked => AskOperator("The PIN is locked or at its last try: call the administrator."),
            Self::DictionaryAttackLockout => AskOperator(
                "The TPM is locked after wrong authorisations: leave it powered for ten minutes and scan it again.",
            ),
            Self::StorageFull => AskOperator("The device's storage is full: set the device aside."),
            Self::LocationOccupied => {
                AskOperator("The device already holds something there: set it aside for a supervisor.")
            }
            Self::NotFound => {
                Quarantine("What the journal says is no longer on the device: set it aside for a supervisor.")
            }
            Self::NotSameDevice => Quarantine("This is not the same device as before: set it aside for a supervisor."),
            Self::Unsupported => {
                Quarantine("The device cannot do what the profile asks: set it aside for a supervisor.")
            }
            Self::HardwareFailure => Quarantine("The device reports that it is broken: set it aside."),
            Self::Mismatch => Quarantine("The device's answers do not fit together: set it aside for a supervisor."),
            Self::AnswerAltered => Quarantine(
                "Something between the station and the device changes what it says: set the device aside for a supervisor.",
            ),
            Self::ResidencyUnproven => {
                Quarantine("The key is not proven to live in the hardware: set the device aside for a supervisor.")
            }
            Self::Misconfigured => AskOperator("The fixture's configuration does not work: call the administrator."),
            Self::CertificateRejected => Quarantine(
                "The CA's certificate is not what was asked for: set the device aside, call the administrator.",
            ),
            Self::RequestRefused => Quarantine("The CA refused the request: set the device aside for a supervisor."),
            Self::FileWriteFailed => {
                AskOperator("The station could not write the device's files: call the administrator.")
            }
            Self::JournalFailed => HaltStation("The station cannot record: call the administrator."),
        }
    }
}

/// What follows from a fault. Words are for the operator: what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try the same again.
    Retry {
        /// Not before this long.
        after: Duration,
    },
    /// Stop; the next scan of the same device goes on from here.
    AskOperator(&'static str),
    /// Set aside; only a supervisor decides.
    Quarantine(&'static str),
    /// Acknowledge nothing more.
    HaltStation(&'static str),
}

/// A fault: kind, what was being done, and the cause as text. It crosses process borders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// What was being done, such as "could not persist the key at 0x81000010".
    pub act: String,
    /// What the library or the device said; `None` when the act says all.
    pub cause: Option<String>,
}

impl Fault {
    /// A fault without a deeper cause.
    #[must_use]
    pub fn new(kind: FaultKind, act: impl Into<String>) -> Self {
        Self { kind, act: act.into(), cause: None }
    }

    /// A fault with its cause.
    #[must_use]
    pub fn caused(kind: FaultKind, act: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { kind, act: act.into(), cause: Some(cause.to_string()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.act),
            None => f.write_str(&self.act),
        }
    }
}

impl std::error::Error for Fault {}
