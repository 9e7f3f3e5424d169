//! One fixture as the operator sees it: a pure function of what the station said.

use prost_types::Timestamp;
use proto::station::v1::{Fixture, Issuance, Queue, fixture, issuance::State};

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
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::NotReady,
        Self::Working,
        Self::ShipIt,
        Self::WaitsForAuthority,
        Self::ScanAgain,
        Self::Stopped,
        Self::SetAside,
        Self::Unknown,
    ];

    /// What an issuance in `state` means to the operator.
    ///
    /// `attended`: its fixture works on it, or has just done so. `link_down`: the last attempt did not reach the CA.
    #[must_use]
    pub fn of(state: State, attended: bool, link_down: bool) -> Self {
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
            State::Submitted if attended && !link_down => Self::Working,
            State::Submitted => Self::WaitsForAuthority,
            State::Issued if attended => Self::Working,
            State::Issued => Self::ScanAgain,
            State::Completed => Self::ShipIt,
            State::Failed | State::Cancelled => Self::Stopped,
            State::Quarantined | State::InDoubt => Self::SetAside,
        }
    }

    /// The kind's name in style sheet, script and catalogues.
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

    /// Whether the device is on its way or at its end: then its CN is worth the room.
    #[must_use]
    pub fn is_step_or_done(self) -> bool {
        matches!(self, Self::Working | Self::ShipIt | Self::WaitsForAuthority | Self::ScanAgain)
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
    /// Which.
    pub state: State,
}

impl Step {
    fn of(state: State) -> Option<Self> {
        let number = STEPS.iter().position(|step| *step == state)? + 1;
        Some(Self { number, state })
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
    /// Why it stopped, the station's sentence; else empty.
    pub message: String,
    /// What to do next, the station's sentence; may be empty.
    pub next_action: String,
    /// Why it stopped, as the catalogues and support know it; else empty.
    pub reason: String,
    /// It failed, and nobody has acknowledged that yet.
    pub attention: bool,
    /// The issuance that it shows, `issuances/{issuance}`; empty before the first scan.
    pub issuance: String,
    /// From when the shown time counts, UTC milliseconds.
    pub since: Option<i64>,
    /// How long it took, milliseconds, once it is over: shown in place of a running clock.
    pub took: Option<i64>,
    /// The station does not answer: what stands here is the last that was known.
    pub stale: bool,
}

impl Tile {
    /// The tile of `fixture`. `began`: when the work on what it holds began, as far as this page saw.
    /// `settled`: it shows the same for longer than a glance.
    #[must_use]
    pub fn new(
        fixture: &Fixture,
        queue: Option<&Queue>,
        began: Option<i64>,
        settled: bool,
        halted: bool,
        stale: bool,
    ) -> Self {
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
                next_action: String::new(),
                reason: String::new(),
                attention: false,
                issuance: String::new(),
                since: None,
                took: None,
                stale,
            };
        };
        let state = state(issuance);
        let kind = Kind::of(state, busy || !settled, queue.is_some_and(link_is_down));
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
            Kind::SetAside if state == State::InDoubt => Step::of(State::Submitted),
            Kind::Stopped | Kind::SetAside => Step::of(issuance.stopped_in()),
            _ => None,
        };
        let (message, reason) = issuance
            .failure
            .as_ref()
            .map(|failure| (failure.message.clone(), failure.reason.clone()))
            .unwrap_or_default();
        Self {
            fixture: name,
            kind,
            step,
            device_serial: issuance.device_serial.clone(),
            common_name: issuance.common_name.clone(),
            message,
            next_action: issuance.next_action.clone(),
            // What a supervisor ended is known to a person already.
            attention: matches!(kind, Kind::Stopped | Kind::SetAside | Kind::Unknown) && state != State::Cancelled,
            reason,
            issuance: issuance.name.clone(),
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
    name.split_once('/').map_or(name, |(_, short)| short)
}

/// UTC milliseconds since 1970.
#[must_use]
pub fn milliseconds(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use proto::station::v1::Failure;

    use super::*;

    /// The state after `state`, so that every state is visited once; a new one does not compile before it stands here.
    fn next(state: State) -> Option<State> {
        Some(match state {
            State::Unspecified => State::Requested,
            State::Requested => State::DeviceIdentified,
            State::DeviceIdentified => State::KeyGenerationStarted,
            State::KeyGenerationStarted => State::KeyGenerated,
            State::KeyGenerated => State::ResidencyProven,
            State::ResidencyProven => State::RequestSigned,
            State::RequestSigned => State::Submitted,
            State::Submitted => State::Issued,
            State::Issued => State::WriteStarted,
            State::WriteStarted => State::Written,
            State::Written => State::Verified,
            State::Verified => State::Completed,
            State::Completed => State::Failed,
            State::Failed => State::Quarantined,
            State::Quarantined => State::Cancelled,
            State::Cancelled => State::InDoubt,
            State::InDoubt => return None,
        })
    }

    fn fixture(state: State, busy: bool) -> Fixture {
        let place = if busy { fixture::State::Busy } else { fixture::State::Idle };
        let issuance = Issuance {
            name: "issuances/1".into(),
            device_serial: "SN-1".into(),
            common_name: "SN-1.ca".into(),
            state: state.into(),
            stopped_in: State::KeyGenerated.into(),
            create_time: Some(Timestamp { seconds: 100, nanos: 0 }),
            update_time: Some(Timestamp { seconds: 107, nanos: 0 }),
            failure: Some(Failure { reason: "DEVICE_ABSENT".into(), message: "Nothing there.".into() }),
            ..Issuance::default()
        };
        Fixture {
            name: "fixtures/fixture-1".into(),
            keystore: "tpm".into(),
            state: place.into(),
            issuance: Some(issuance),
        }
    }

    /// Walks all states and compares what the tile says with what the operator must do.
    #[test]
    fn every_state_says_what_to_do() {
        let mut kinds = Vec::new();
        let mut state = Some(State::Unspecified);
        while let Some(visited) = state {
            let tile = |busy| Tile::new(&fixture(visited, busy), None, Some(100_000), true, false, false);
            kinds.push((tile(true).kind, tile(false).kind));
            for tile in [tile(true), tile(false)] {
                assert_eq!(
                    tile.attention,
                    matches!(tile.kind, Kind::Stopped | Kind::SetAside | Kind::Unknown) && visited != State::Cancelled
                );
                assert_eq!((tile.device_serial.as_str(), tile.common_name.as_str()), ("SN-1", "SN-1.ca"));
                assert!(tile.kind != Kind::Working || tile.step.is_some(), "{visited:?} is a step");
            }
            state = next(visited);
        }
        use Kind::{ScanAgain, SetAside, ShipIt, Stopped, Unknown, WaitsForAuthority, Working};
        let mut expected = vec![(Unknown, Unknown)];
        expected.extend([(Working, Working); 6]);
        expected.extend([(Working, WaitsForAuthority), (Working, ScanAgain)]);
        expected.extend([(Working, Working); 3]);
        expected.extend([(ShipIt, ShipIt), (Stopped, Stopped), (SetAside, SetAside), (Stopped, Stopped)]);
        expected.push((SetAside, SetAside));
        assert_eq!(kinds, expected);
    }

    /// With the CA away, a busy fixture's submission is no step but a wait.
    #[test]
    fn a_submission_waits_when_the_link_is_down() {
        let mut queue = Queue { link_up: false, link_time: None, ..Queue::default() };
        let kind =
            |queue: &Queue| Tile::new(&fixture(State::Submitted, true), Some(queue), None, true, false, false).kind;
        assert_eq!(kind(&queue), Kind::Working, "before the first attempt nobody knows");
        queue.link_time = Some(Timestamp::default());
        assert_eq!(kind(&queue), Kind::WaitsForAuthority);
    }

    /// The clock runs while the device is worked on, and stands when it is done.
    #[test]
    fn time_runs_while_it_works_and_stands_after() {
        let tile = |state| Tile::new(&fixture(state, true), None, Some(100_000), true, false, false);
        assert_eq!((tile(State::Written).since, tile(State::Written).took), (Some(100_000), None));
        assert_eq!((tile(State::Completed).since, tile(State::Completed).took), (None, Some(7_000)));
        assert_eq!((tile(State::Failed).since, tile(State::Failed).took), (None, None));
    }

    /// A state from a newer station is shown as not known, and never as done.
    #[test]
    fn a_state_of_a_newer_station_is_not_known() {
        let mut newer = fixture(State::Completed, false);
        if let Some(issuance) = &mut newer.issuance {
            issuance.state = 99;
        }
        assert_eq!(Tile::new(&newer, None, None, true, false, false).kind, Kind::Unknown);
    }

    /// An empty fixture is ready, unless the station has stopped.
    #[test]
    fn an_empty_fixture_is_ready_unless_the_station_halted() {
        let empty = Fixture { name: "fixtures/f".into(), state: fixture::State::Idle.into(), ..Fixture::default() };
        assert_eq!(Tile::new(&empty, None, None, true, false, false).kind, Kind::Ready);
        assert_eq!(Tile::new(&empty, None, None, true, true, false).kind, Kind::NotReady);
    }

    /// A certificate that was just awaited or just came is a step; after a glance it is a wait.
    #[test]
    fn a_short_wait_is_a_step() {
        for (state, waits) in [(State::Submitted, Kind::WaitsForAuthority), (State::Issued, Kind::ScanAgain)] {
            let kind = |settled| Tile::new(&fixture(state, false), None, None, settled, false, false).kind;
            assert_eq!((kind(false), kind(true)), (Kind::Working, waits));
        }
    }
}
