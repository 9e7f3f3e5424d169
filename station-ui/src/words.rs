//! Every word that the page shows. Nothing else in this crate holds text for people.
//!
//! Short sentences in the imperative: they are read from three metres, by people who do something else meanwhile.

use proto::station::v1::issuance::State;
use tonic::Code;

use crate::tile::Kind;

/// The language of this catalogue, for `<html lang>`.
pub const LANGUAGE: &str = "en";

/// The label of the field.
pub const SCAN: &str = "Scan the device";
/// Beside the field, for touch and for pages without a scanner.
pub const START: &str = "Start";
/// Above the choice of a lot.
pub const LOT: &str = "Lot";
/// The entry that stands for no choice yet.
pub const CHOOSE_LOT: &str = "Choose the lot";
/// In place of the choice.
pub const NO_LOT: &str = "No lot is open";
/// What to do then.
pub const NO_LOT_NEXT: &str = "Ask for a lot to be opened.";
/// Above which fixture the next scan is for.
pub const FIXTURE: &str = "Fixture";
/// The station looks for the device itself.
pub const ANY_FIXTURE: &str = "Automatic";
/// On a tile that the operator tapped.
pub const CHOSEN: &str = "Next scan";
/// What a screen reader calls the tiles.
pub const BOARD: &str = "Fixtures";
/// The link to the station, in the header.
pub const LIVE: &str = "Live";
/// As `LIVE`, when it is not.
pub const RECONNECTING: &str = "Reconnecting";
/// In the header before the station said its name.
pub const STATION: &str = "Station";
/// The station answers, but lists no fixture.
pub const NO_FIXTURES: &str = "This station has no fixtures. Tell the administrator.";

/// On a tile whose state is not known at the moment.
pub const UNKNOWN_HEADLINE: &str = "Reconnecting";
/// What to do with such a tile.
pub const UNKNOWN_NEXT: &str = "Wait. Do not ship by this screen.";
/// Before what the tile showed last.
pub const LAST_KNOWN: &str = "Last known:";

/// The browser lost the page's server.
pub const PAGE_LOST: &str = "This screen lost its connection: reconnecting";
/// What to do then.
pub const PAGE_LOST_NEXT: &str = "What it shows may be old. Wait, or call the administrator if it stays.";
/// A scan could not be sent at all.
pub const UNSENT: &str = "Nobody answered: scan it again when the screen is live";
/// In place of what was scanned when that was nothing.
pub const EMPTY_SCAN: &str = "(nothing)";
/// No update without a script.
pub const NO_SCRIPT: &str = "Scripts are off in this browser: the screen renews itself every ten seconds.";

/// The page's title.
pub fn title(station: &str) -> String {
    if station.is_empty() { STATION.to_owned() } else { format!("{station} · {STATION}") }
}

/// The headline of a tile: at most three words.
pub fn headline(kind: Kind) -> &'static str {
    match kind {
        Kind::Ready => "Ready",
        Kind::NotReady => "Not ready",
        Kind::Working => "Working",
        Kind::ShipIt => "Ship it",
        Kind::WaitsForAuthority => "Waits for the CA",
        Kind::ScanAgain => "Scan it again",
        Kind::Stopped => "Stopped",
        Kind::SetAside => "Set it aside",
        Kind::Unknown => "Not known",
    }
}

/// What to do next, where the station says nothing better.
pub fn next_action(kind: Kind) -> &'static str {
    match kind {
        Kind::Ready => "Put a device in and scan it.",
        Kind::NotReady => "Wait: the station has stopped.",
        Kind::Working => "Leave the device in place.",
        Kind::ShipIt => "Take it out and ship it.",
        Kind::WaitsForAuthority => "Put it on the shelf. Scan it again when the CA is back.",
        Kind::ScanAgain => "Its certificate is here: put the device in and scan it again.",
        Kind::Stopped => "Scan it again; if it stops again, set it aside.",
        Kind::SetAside => "Set it aside for a supervisor.",
        Kind::Unknown => "This screen is older than the station: call the administrator.",
    }
}

/// What is being done to the device: the step's name, for a tile that works.
pub fn step(state: State) -> &'static str {
    match state {
        State::Unspecified => "Unknown",
        State::Requested => "Looking who the device is",
        State::DeviceIdentified => "Looking for its key",
        State::KeyGenerationStarted => "Making its key",
        State::KeyGenerated => "Proving where the key lives",
        State::ResidencyProven => "Signing the request",
        State::RequestSigned => "Queueing for the CA",
        State::Submitted => "The CA is signing",
        State::Issued => "Checking the certificate",
        State::WriteStarted => "Writing the certificate",
        State::Written => "Reading it back",
        State::Verified => "Finishing",
        State::Completed => "Done",
        State::Failed => "Stopped",
        State::Quarantined => "Set aside",
        State::Cancelled => "Cancelled",
        State::InDoubt => "In doubt",
    }
}

/// How far a device is.
pub fn step_of(step: usize, steps: usize) -> String {
    format!("Step {step} of {steps}")
}

/// In a tile whose fixture began before the station named a step.
pub const PREPARING: &str = "Starting";

/// A lot's progress.
pub fn lot_progress(completed: u32, quantity: u32) -> String {
    format!("{completed} of {quantity} done")
}

/// A lot in a list to choose from.
pub fn lot_choice(lot: &str, completed: u32, quantity: u32) -> String {
    format!("{lot}: {}", lot_progress(completed, quantity))
}

/// The station's words for support.
pub fn for_support(reason: &str) -> String {
    format!("For support: {reason}")
}

/// A duration in digits: `0:07`, `12:30`, `1:02:03`. The script counts on in the same form.
pub fn elapsed(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How long a device took, once it is done.
pub fn took(milliseconds: i64) -> String {
    if milliseconds < 60_000 {
        let tenths = milliseconds.max(0) / 100;
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        elapsed(milliseconds)
    }
}

/// The banner while the CA does not answer: how many wait.
pub fn authority_down(waiting: u64) -> String {
    match waiting {
        0 => "The CA is away: no device waits".to_owned(),
        1 => "The CA is away: 1 device waits".to_owned(),
        more => format!("The CA is away: {more} devices wait"),
    }
}

/// What the operator does then.
pub fn authority_down_next(full: bool) -> &'static str {
    if full {
        "Start no new devices: the queue is full. Put waiting devices on the shelf; scan them again when the CA is back."
    } else {
        "Go on scanning. Put waiting devices on the shelf; scan them again when the CA is back."
    }
}

/// Before how long it lasts.
pub const FOR: &str = "for";

/// The page runs and never met its station yet.
pub const SEARCHING: &str = "Looking for the station";
/// What to do then.
pub const SEARCHING_NEXT: &str = "Wait. If it stays, call the administrator.";
/// The page lost its station.
pub const STATION_LOST: &str = "The station does not answer: reconnecting";
/// What to do then.
pub const STATION_LOST_NEXT: &str = "Wait, and leave devices where they are. Nothing that was started is lost.";
/// The station stopped by itself.
pub const HALTED: &str = "The station has stopped";

/// The head of a notice: a device was started.
pub fn started(fixture: &str) -> String {
    if fixture.is_empty() { "Started".to_owned() } else { format!("Started in {fixture}") }
}

/// The head of a notice: the scan met a device that is further already.
pub fn already(kind: Kind) -> String {
    format!("{}: this device was started before", headline(kind))
}

/// A fixture's barcode was scanned.
pub fn fixture_chosen(fixture: &str) -> String {
    format!("{fixture} is chosen: scan the device")
}

/// A fixture's barcode that this station does not have.
pub fn fixture_unknown(fixture: &str) -> String {
    format!("This station has no fixture {fixture}: choose one of the tiles")
}

/// No lot is open.
pub const LOT_MISSING: &str = "Not started: no lot is open. Ask for one to be opened, then scan again";
/// Several are, and none was chosen.
pub const LOT_NOT_CHOSEN: &str = "Not started: choose the lot, then scan again";
/// The page lost its station, so nothing was sent.
pub const NOT_CONNECTED: &str = "Not started: the station does not answer. Scan it again when the screen is live";
/// The form is older than the page's server, or not from this page.
pub const FORM_EXPIRED: &str = "Not started: the screen was restarted meanwhile. Scan it again";

/// Why the station did not start the device, by the kind of its answer; the station's own words follow.
pub fn refused(code: Code) -> &'static str {
    match code {
        Code::Ok => "Started",
        Code::InvalidArgument | Code::OutOfRange => "Not started: the station does not accept this",
        Code::NotFound => "Not started: the station does not know this",
        Code::AlreadyExists => "Not started: it exists already, with other content",
        Code::FailedPrecondition => "Not started: something else must be done first",
        Code::Aborted => "Not started: something else came between. Scan it again",
        Code::ResourceExhausted => "Not started: there is no more room. Try again later",
        Code::PermissionDenied | Code::Unauthenticated => {
            "Not started: this screen may not do that. Call the administrator"
        }
        Code::Unimplemented => "Not started: screen and station do not fit together. Call the administrator",
        Code::Internal | Code::DataLoss | Code::Unknown => {
            "Not started: the station has a fault. Call the administrator"
        }
        // Both may have reached the station. A second scan is answered with the same issuance, so it does no harm.
        Code::Unavailable => "The station did not answer. Scan it again when the screen is live",
        Code::DeadlineExceeded | Code::Cancelled => "The station did not answer in time. Scan it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations read like a clock, and never below zero.
    #[test]
    fn durations_read_like_a_clock() {
        let written: Vec<String> = [-5, 0, 7_900, 750_000, 3_723_000].into_iter().map(elapsed).collect();
        assert_eq!(written, ["0:00", "0:00", "0:07", "12:30", "1:02:03"]);
        assert_eq!([took(-1), took(740), took(12_999), took(61_000)], ["0.0 s", "0.7 s", "12.9 s", "1:01"]);
    }
}
