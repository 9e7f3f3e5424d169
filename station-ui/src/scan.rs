//! A scan: what was typed, which fixture and lot it is for, and what the station answered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand;
use proto::station::v1::{Issuance, StartIssuanceRequest};
use serde::Deserialize;
use tonic::{Code, Request, Status};
use tracing::{info, warn};

use crate::{
    board::{Board, Link},
    feed::Client,
    tile::{Kind, short_name, state},
    words,
};

/// A start is acknowledged once it is on the station's disk; an operator waits this long at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What a fixture's barcode says before the fixture's name.
const FIXTURE_PREFIX: &str = "fixture:";

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
    /// The station's own words; may be empty.
    pub detail: String,
    /// The fixture that stays chosen for the next scan; empty: none.
    pub fixture: String,
    /// The lot that stays chosen.
    pub lot: String,
}

impl Notice {
    fn bad(form: &Form, headline: &str, detail: &str) -> Self {
        Self {
            tone: Tone::Bad,
            scanned: form.scanned.clone(),
            headline: headline.to_owned(),
            detail: detail.to_owned(),
            fixture: form.fixture.clone(),
            lot: form.lot.clone(),
        }
    }

    /// For the script, when the page's server does not answer either.
    #[must_use]
    pub fn unsent() -> Self {
        Self {
            tone: Tone::Bad,
            scanned: String::new(),
            headline: words::UNSENT.to_owned(),
            detail: String::new(),
            fixture: String::new(),
            lot: String::new(),
        }
    }

    /// The form came from before this process, or from elsewhere.
    #[must_use]
    pub fn expired(form: &Form) -> Self {
        Self::bad(form, words::FORM_EXPIRED, "")
    }
}

/// Does what the scan asks for.
pub async fn scan(mut client: Client, board: &Board, form: &Form) -> Notice {
    let scanned = form.scanned.trim();
    if let Some(fixture) = scanned.strip_prefix(FIXTURE_PREFIX) {
        return choose(board, form, fixture.trim());
    }
    if board.link != Link::Live {
        return Notice::bad(form, words::NOT_CONNECTED, "");
    }
    let lot = match form.lot.trim() {
        "" => board.obvious_lot().map(|lot| lot.name.clone()),
        chosen => Some(chosen.to_owned()),
    };
    let Some(lot) = lot else {
        let missing = if board.lots.is_empty() { words::LOT_MISSING } else { words::LOT_NOT_CHOSEN };
        return Notice::bad(form, missing, "");
    };
    let mut request = Request::new(StartIssuanceRequest {
        lot: lot.clone(),
        device_serial: scanned.to_owned(),
        fixture: form.fixture.trim().to_owned(),
        ..StartIssuanceRequest::default()
    });
    request.set_timeout(ANSWER_WITHIN);
    // The deadline of gRPC is the station's promise; this one holds when the station is gone.
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.start_issuance(request))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("")));
    match answer {
        Ok(issuance) => started(form, lot, issuance.get_ref()),
        Err(status) => {
            warn!(code = ?status.code(), words = status.message(), scanned, "the station did not start the device");
            refused(form, &status)
        }
    }
}

fn choose(board: &Board, form: &Form, fixture: &str) -> Notice {
    let known = board.fixtures().any(|known| known == fixture);
    Notice {
        tone: if known { Tone::Plain } else { Tone::Bad },
        scanned: form.scanned.clone(),
        headline: if known { words::fixture_chosen(fixture) } else { words::fixture_unknown(fixture) },
        detail: String::new(),
        fixture: if known { fixture.to_owned() } else { form.fixture.clone() },
        lot: form.lot.clone(),
    }
}

fn started(form: &Form, lot: String, issuance: &Issuance) -> Notice {
    info!(issuance = issuance.name, device_serial = issuance.device_serial, fixture = issuance.fixture, "started");
    let kind = Kind::of(state(issuance), true, false);
    let (tone, headline) = match kind {
        Kind::Working | Kind::Ready => (Tone::Good, words::started(short_name(&issuance.fixture))),
        Kind::ShipIt | Kind::WaitsForAuthority => (Tone::Good, words::already(kind)),
        Kind::ScanAgain | Kind::NotReady => (Tone::Plain, words::already(kind)),
        Kind::Stopped | Kind::SetAside | Kind::Unknown => (Tone::Bad, words::already(kind)),
    };
    let next = if kind == Kind::Working { "" } else { issuance.next_action.as_str() };
    // The choice was for this device; the next one may sit elsewhere.
    Notice { tone, scanned: form.scanned.clone(), headline, detail: next.to_owned(), fixture: String::new(), lot }
}

fn refused(form: &Form, status: &Status) -> Notice {
    // What the transport says when nobody answered is no word of the station, and no help to an operator.
    let detail = match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled if std::error::Error::source(status).is_some() => {
            ""
        }
        _ => status.message(),
    };
    Notice::bad(form, words::refused(status.code()), detail)
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
