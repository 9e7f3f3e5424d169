//! One fixture as the operator sees it: a pure function of what the station said.

use prost_types::Timestamp;
use proto::station::v1::{Fixture, Issuance, Queue, fixture, issuance::State};

use crate::words;

/// What the whole tile says, in colour, icon and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing is done here.
    Ready,
    /// Nothing is done here, and nothing can be started.
    NotReady,
    /// A device is worked on.
    Working,
    /// The device holds its verified certificate.
    ShipIt,
    /// The device's request waits for the CA; the device may leave.
    WaitsForAuthority,
    /// The certificate is here and the device is not.
    ScanAgain,
    /// It stopped, and the same scan goes on.
    Stopped,
    /// Only a supervisor decides what follows.
    SetAside,
    /// The station speaks of a state that this page does not know.
    Unknown,
}

impl Kind {
    /// What an issuance in `state` means to the operator.
    ///
    /// `busy`: its fixture works on it. `link_down`: the last attempt did not reach the CA.
    #[must_use]
    pub fn of(state: State, busy: bool, link_down: bool) -> Self {
        match state {
            State::Unspecified => Self::Unknown,
            State::Requested
            | State::DeviceIdentified
            | State::KeyGenerationStarted
            | State::KeyGenerated
            | State::ResidencyProven
            | State::RequestSigned
            | State::WriteStarted
            | State::Written
            | State::Verified => Self::Working,
            // While all is well the CA answers in less than a glance: that is a step like any other.
            State::Submitted if busy && !link_down => Self::Working,
            State::Submitted => Self::WaitsForAuthority,
            State::Issued if busy => Self::Working,
            State::Issued => Self::ScanAgain,
            State::Completed => Self::ShipIt,
            State::Failed => Self::Stopped,
            State::Quarantined => Self::SetAside,
        }
    }

    /// The kind's name in style sheet and script.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not-ready",
            Self::Working => "working",
            Self::ShipIt => "ship-it",
            Self::WaitsForAuthority => "waits",
            Self::ScanAgain => "scan-again",
            Self::Stopped => "stopped",
            Self::SetAside => "set-aside",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is something that an operator must hear of, not a step on the way.
    #[must_use]
    pub fn is_result(self) -> bool {
        match self {
            Self::ShipIt
            | Self::WaitsForAuthority
            | Self::ScanAgain
            | Self::Stopped
            | Self::SetAside
            | Self::Unknown => true,
            Self::Ready | Self::NotReady | Self::Working => false,
        }
    }
}

/// The steps that a device passes, in order; `Step::number` counts in them from 1.
pub const STEPS: [State; 11] = [
    State::Requested,
    State::DeviceIdentified,
    State::KeyGenerationStarted,
    State::KeyGenerated,
    State::ResidencyProven,
    State::RequestSigned,
    State::Submitted,
    State::Issued,
    State::WriteStarted,
    State::Written,
    State::Verified,
];

/// Where a device is among `STEPS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From 1 to `STEPS.len()`.
    pub number: usize,
    /// Its name.
    pub words: &'static str,
}

impl Step {
    fn of(state: State) -> Option<Self> {
        let number = STEPS.iter().position(|step| *step == state)? + 1;
        Some(Self { number, words: words::step(state) })
    }
}

/// One fixture on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The fixture's name.
    pub fixture: String,
    /// What the whole tile says.
    pub kind: Kind,
    /// How far the device is, or where it stopped.
    pub step: Option<Step>,
    /// The device serial; empty before the first scan.
    pub device_serial: String,
    /// The subject's CN.
    pub common_name: String,
    /// Why it stopped, one sentence; else empty.
    pub message: String,
    /// What to do next, one sentence.
    pub next_action: String,
    /// The failure's stable name, for support; else empty.
    pub reason: String,
    /// From when the shown time counts, UTC milliseconds.
    pub since: Option<i64>,
    /// How long it took, milliseconds, once it is over: shown in place of a running clock.
    pub took: Option<i64>,
    /// The station does not answer: what stands here is the last that was known.
    pub stale: bool,
}

impl Tile {
    /// The tile of `fixture`. `began`: when the work on what it holds began, as far as this page saw.
    #[must_use]
    pub fn new(fixture: &Fixture, queue: Option<&Queue>, began: Option<i64>, halted: bool, stale: bool) -> Self {
        let busy = fixture.state() == fixture::State::Busy;
        let name = short_name(&fixture.name).to_owned();
        let Some(issuance) = &fixture.issuance else {
            let kind = match (busy, halted) {
                (true, _) => Kind::Working,
                (false, true) => Kind::NotReady,
                (false, false) => Kind::Ready,
            };
            return Self {
                fixture: name,
                kind,
                step: None,
                device_serial: String::new(),
                common_name: String::new(),
                message: String::new(),
                next_action: words::next_action(kind).to_owned(),
                reason: String::new(),
                since: None,
                took: None,
                stale,
            };
        };
        let state = state(issuance);
        let kind = Kind::of(state, busy, queue.is_some_and(link_is_down));
        let updated = issuance.update_time.as_ref().map(milliseconds);
        let (since, took) = match kind {
            Kind::Working => (began.or(updated), None),
            Kind::WaitsForAuthority => (updated, None),
            Kind::ShipIt => (None, began.zip(updated).map(|(began, updated)| (updated - began).max(0))),
            Kind::Ready | Kind::NotReady | Kind::ScanAgain | Kind::Stopped | Kind::SetAside | Kind::Unknown => {
                (None, None)
            }
        };
        let step = match kind {
            Kind::Working => Step::of(state),
            Kind::Stopped | Kind::SetAside => Step::of(issuance.stopped_in()),
            _ => None,
        };
        let (message, reason) = issuance
            .failure
            .as_ref()
            .map(|failure| (failure.message.clone(), failure.reason.clone()))
            .unwrap_or_default();
        let next_action = if issuance.next_action.trim().is_empty() {
            words::next_action(kind).to_owned()
        } else {
            issuance.next_action.clone()
        };
        Self {
            fixture: name,
            kind,
            step,
            device_serial: issuance.device_serial.clone(),
            common_name: issuance.common_name.clone(),
            message,
            next_action,
            reason,
            since,
            took,
            stale,
        }
    }
}

/// The state of an issuance; one that this page does not know is `Unspecified`, which shows as `Kind::Unknown`.
#[must_use]
pub fn state(issuance: &Issuance) -> State {
    State::try_from(issuance.state).unwrap_or(State::Unspecified)
}

/// Whether the last attempt did not reach the CA. Before the first attempt nobody knows, and nobody is alarmed.
#[must_use]
pub fn link_is_down(queue: &Queue) -> bool {
    !queue.link_up && queue.link_time.is_some()
}

/// `fixture-1` of `fixtures/fixture-1`; `lot-1` of `lots/lot-1`.
#[must_use]
pub fn short_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

/// UTC milliseconds since 1970.
#[must_use]
pub fn milliseconds(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}
