//! A scan: what was typed, which fixture and lot it is for, and what the station answered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use fluent_bundle::FluentValue;
use proto::station::v1::{Issuance, StartIssuanceRequest};
use serde::Deserialize;
use tonic::{Request, Status};
use tracing::{info, warn};

use crate::{
    board::{Board, Link},
    feed::{Acknowledge, Client},
    guard::Visitor,
    operators::Operators,
    tile::{Kind, short_name, state},
    words::{self, Language},
};

/// A start is acknowledged once it is on the station's disk; an operator waits this long at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A badge's code, as the station takes it.
const BADGE_MOST: usize = 64;

/// What a code on the line begins with, so that nothing is taken for something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    /// A badge.
    pub badge: String,
    /// A fixture.
    pub fixture: String,
    /// A device; empty: whatever has none of the others.
    pub device: String,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { badge: "badge:".to_owned(), fixture: "fixture:".to_owned(), device: String::new() }
    }
}

/// A code, told apart by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned<'a> {
    /// Somebody's badge.
    Badge(&'a str),
    /// A fixture's barcode.
    Fixture(&'a str),
    /// A device, by its serial.
    Device(&'a str),
}

impl Prefixes {
    /// What was scanned.
    #[must_use]
    pub fn tell<'a>(&self, scanned: &'a str) -> Scanned<'a> {
        let scanned = scanned.trim();
        if let Some(badge) = scanned.strip_prefix(&self.badge) {
            Scanned::Badge(badge.trim())
        } else if let Some(fixture) = scanned.strip_prefix(&self.fixture) {
            Scanned::Fixture(fixture.trim())
        } else {
            Scanned::Device(scanned.strip_prefix(&self.device).unwrap_or(scanned).trim())
        }
    }
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub struct Form {
    /// The form's token.
    #[serde(default)]
    pub token: String,
    /// What was scanned.
    #[serde(default)]
    pub scanned: String,
    /// The lot; empty: the one that needs no choice.
    #[serde(default)]
    pub lot: String,
    /// The fixture; empty: the station finds it.
    #[serde(default)]
    pub fixture: String,
    /// Sent by the script, which puts the answer into the page by itself.
    #[serde(default)]
    pub live: String,
}

/// How a notice is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It was started.
    Good,
    /// Nothing was started, and nothing is wrong.
    Plain,
    /// It was not started.
    Bad,
}

/// What became of a scan. Stays until the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// What was scanned, as it was scanned.
    pub scanned: String,
    /// One sentence.
    pub headline: String,
    /// What to do; may be empty.
    pub detail: String,
    /// The station's own words, for support; may be empty.
    pub said: String,
    /// The fixture that stays chosen for the next scan; empty: none.
    pub fixture: String,
    /// The lot that stays chosen.
    pub lot: String,
}

impl Notice {
    fn new(tone: Tone, form: &Form, headline: String) -> Self {
        let (fixture, lot) = (form.fixture.clone(), form.lot.clone());
        Self { fixture, lot, ..Self::plain(tone, headline, form.scanned.trim()) }
    }

    fn bad(language: Language, form: &Form, key: &str) -> Self {
        Self::new(Tone::Bad, form, language.say(key))
    }

    /// For the script, when the page's server does not answer either.
    #[must_use]
    pub fn unsent(language: Language) -> Self {
        Self::refused(language, "unsent", "")
    }

    fn plain(tone: Tone, headline: String, scanned: &str) -> Self {
        let (detail, said, fixture, lot) = Default::default();
        Self { tone, scanned: scanned.to_owned(), headline, detail, said, fixture, lot }
    }

    /// Something was done.
    #[must_use]
    pub fn done(headline: String, scanned: &str) -> Self {
        Self::plain(Tone::Good, headline, scanned)
    }

    /// Something was not done, in the words of `key`.
    #[must_use]
    pub fn refused(language: Language, key: &str, scanned: &str) -> Self {
        Self::plain(Tone::Bad, language.say(key), scanned)
    }

    /// What the station refused: by its reason, else by the wrong field, else by the kind of the answer. Its own words follow
    /// for support, or are the detail where nothing better is known.
    #[must_use]
    pub fn of_status(language: Language, scanned: &str, status: &Status) -> Self {
        let parameters = service::status::parameters(status);
        let about: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), FluentValue::from(value.as_str()))).collect();
        // What the transport says when nobody answered is no word of the station, and no help to an operator.
        let said = if service::status::is_lost_connection(status) { "" } else { status.message() }.to_owned();
        for name in service::status::reason(status).into_iter().chain(service::status::fields(status)) {
            let words = |key: &str| language.find(key, &about);
            let key = format!("refused-{name}");
            if let Some((headline, detail)) = words(&key).zip(words(&format!("{key}.next"))) {
                return Self { detail, said, ..Self::plain(Tone::Bad, headline, scanned) };
            }
        }
        Self { detail: said, ..Self::refused(language, words::refused(status.code()), scanned) }
    }

    /// The form came from before this process, or from elsewhere.
    #[must_use]
    pub fn expired(form: &Form, language: Language) -> Self {
        Self::bad(language, form, "form-expired")
    }
}

/// Where a scan was made, and by whom.
#[derive(Debug)]
pub struct Place<'a> {
    /// What is on the screen.
    pub board: &'a Board,
    /// The operator's language.
    pub language: Language,
    /// What codes begin with.
    pub prefixes: &'a Prefixes,
    /// The badges that are signed in.
    pub operators: &'a Operators,
    /// Which browser.
    pub visitor: &'a Visitor,
    /// Takes what an operator has seen.
    pub acknowledge: &'a Acknowledge,
}

/// Does what the scan asks for.
pub async fn scan(client: Client, place: &Place<'_>, form: &Form) -> Notice {
    match place.prefixes.tell(&form.scanned) {
        Scanned::Badge(badge) => sign_in(place, form, badge),
        Scanned::Fixture(fixture) => choose(place, form, fixture),
        Scanned::Device(serial) => device(client, place, form, serial).await,
    }
}

fn sign_in(place: &Place<'_>, form: &Form, badge: &str) -> Notice {
    let language = place.language;
    if badge.is_empty() {
        return Notice::bad(language, form, "badge-empty");
    }
    if badge.len() > BADGE_MOST || !badge.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._:-".contains(&octet))
    {
        return Notice::bad(language, form, "badge-wrong");
    }
    place.operators.sign_in(place.visitor, badge);
    let shown = place.operators.shown(badge);
    Notice::new(Tone::Plain, form, language.with("signed-in", &[("badge", shown.into())]))
}

fn choose(place: &Place<'_>, form: &Form, fixture: &str) -> Notice {
    let (board, language) = (place.board, place.language);
    let about = [("fixture", fixture.into())];
    if !board.fixtures().any(|known| known == fixture) {
        return Notice::new(Tone::Bad, form, language.with("fixture-unknown", &about));
    }
    let failed = board.unacknowledged().any(|tile| tile.fixture == fixture);
    if failed {
        let _ = place.acknowledge.try_send(fixture.to_owned());
    }
    let key = if failed { "acknowledged" } else { "fixture-chosen" };
    Notice { fixture: fixture.to_owned(), ..Notice::new(Tone::Plain, form, language.with(key, &about)) }
}

async fn device(mut client: Client, place: &Place<'_>, form: &Form, serial: &str) -> Notice {
    let (board, language) = (place.board, place.language);
    let badge = place.operators.at_work(place.visitor);
    if board.link != Link::Live {
        return Notice::bad(language, form, "not-connected");
    }
    if place.operators.required() && badge.is_empty() {
        return Notice::bad(language, form, "sign-in-first");
    }
    let chosen = form.fixture.trim();
    // A failure that nobody took notice of is not scanned away: not in its own fixture, and not in one that the station
    // would find. The failed device itself goes on.
    let failed = board.unacknowledged().find(|tile| chosen.is_empty() || tile.fixture == chosen);
    if let Some(failed) = failed.filter(|tile| tile.device_serial != serial) {
        let about = [("fixture", failed.fixture.as_str().into())];
        return Notice::new(Tone::Bad, form, language.with("acknowledge-first", &about));
    }
    let lot = match form.lot.trim() {
        "" => board.obvious_lot().map(|lot| lot.name.clone()),
        chosen => Some(chosen.to_owned()),
    };
    let Some(lot) = lot else {
        return Notice::bad(language, form, if board.lots.is_empty() { "lot-missing" } else { "lot-not-chosen" });
    };
    let mut request = Request::new(StartIssuanceRequest {
        lot: lot.clone(),
        device_serial: serial.to_owned(),
        fixture: chosen.to_owned(),
        badge,
        ..StartIssuanceRequest::default()
    });
    request.set_timeout(ANSWER_WITHIN);
    // The deadline of gRPC is the station's promise; this one holds when the station is gone.
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.start_issuance(request))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("")));
    match answer {
        Ok(issuance) => started(language, form, lot, issuance.get_ref()),
        Err(status) => {
            warn!(code = ?status.code(), words = status.message(), serial, "the station did not start the device");
            let (fixture, lot) = (form.fixture.clone(), form.lot.clone());
            Notice { fixture, lot, ..Notice::of_status(language, form.scanned.trim(), &status) }
        }
    }
}

fn started(language: Language, form: &Form, lot: String, issuance: &Issuance) -> Notice {
    info!(issuance = issuance.name, device_serial = issuance.device_serial, fixture = issuance.fixture, "started");
    let kind = Kind::of(state(issuance), true, false);
    let already = || language.with("already", &[("headline", language.headline(kind).into())]);
    let (tone, headline) = match kind {
        Kind::Working | Kind::Ready if issuance.fixture.is_empty() => (Tone::Good, language.say("started")),
        Kind::Working | Kind::Ready => {
            let fixture = short_name(&issuance.fixture);
            (Tone::Good, language.with("started-in", &[("fixture", fixture.into())]))
        }
        Kind::ShipIt | Kind::WaitsForAuthority => (Tone::Good, already()),
        Kind::ScanAgain | Kind::NotReady => (Tone::Plain, already()),
        Kind::Stopped | Kind::SetAside | Kind::Unknown => (Tone::Bad, already()),
    };
    let detail = if kind == Kind::Working { String::new() } else { language.next_action(kind) };
    // The choice was for this device; the next one may sit elsewhere.
    Notice { detail, fixture: String::new(), lot, ..Notice::new(tone, form, headline) }
}

/// The last notices, for the redirect after a form without a script.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<VecDeque<(String, Notice)>>>);

impl Notices {
    /// A browser asks for its notice right away; more than this many scans do not come in between.
    const KEPT: usize = 64;

    /// Keeps a notice and returns the name to ask for it with; `None` when there is no randomness to name it.
    #[must_use]
    pub fn keep(&self, notice: Notice) -> Option<String> {
        let mut octets = [0; 8];
        rand::fill(&mut octets).ok()?;
        let name = u64::from_be_bytes(octets).to_string();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= Self::KEPT {
            kept.pop_front();
        }
        kept.push_back((name.clone(), notice));
        Some(name)
    }

    /// The notice of that name, while it is kept.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Notice> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(kept, _)| kept == name).map(|(_, notice)| notice.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes with each prefix, with space around them, and a serial that only looks like one.
    #[test]
    fn a_code_is_told_by_its_prefix() {
        let told = |code| Prefixes::default().tell(code);
        assert_eq!(told(" badge:B-1\r"), Scanned::Badge("B-1"));
        assert_eq!(told("fixture: fixture-2"), Scanned::Fixture("fixture-2"));
        assert_eq!(told("SN-1"), Scanned::Device("SN-1"));
        assert_eq!(told("SN-fixture:1"), Scanned::Device("SN-fixture:1"));
        let marked = Prefixes { device: "S".to_owned(), ..Prefixes::default() };
        assert_eq!((marked.tell("S123"), marked.tell("badge:1")), (Scanned::Device("123"), Scanned::Badge("1")));
    }
}
