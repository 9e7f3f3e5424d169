//! A board as HTML: the whole page, and the parts of it that are replaced while it is open.
//!
//! maud escapes all that comes from outside. There is no inline script and no inline style: the policy forbids both.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    board::{AuthorityDown, Board, Link},
    scan::{Notice, Tone},
    tile::{Kind, STEPS, Tile},
    words,
};

/// What one request adds to the board.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The token for the form.
    pub token: &'a str,
    /// What became of this browser's last scan.
    pub notice: Option<&'a Notice>,
    /// UTC milliseconds.
    pub now: i64,
}

/// A part of the page that is replaced as one, by its element's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The station's name and link.
    Station,
    /// What concerns all fixtures.
    Alerts,
    /// The choice of a lot.
    Lots,
    /// All tiles, when fixtures came or went.
    Tiles,
    /// One tile, by its place.
    Tile(usize),
}

impl Part {
    /// What must be sent so that a browser that shows `old` shows `new`; everything when it shows nothing yet.
    #[must_use]
    pub fn changed(old: Option<&Board>, new: &Board) -> Vec<Self> {
        let Some(old) = old else { return vec![Self::Station, Self::Alerts, Self::Lots, Self::Tiles] };
        let mut parts = Vec::new();
        if old.station != new.station || (old.link == Link::Live) != (new.link == Link::Live) {
            parts.push(Self::Station);
        }
        if (&old.link, &old.halted, &old.authority_down) != (&new.link, &new.halted, &new.authority_down) {
            parts.push(Self::Alerts);
        }
        if old.lots != new.lots {
            parts.push(Self::Lots);
        }
        if old.fixtures().eq(new.fixtures()) {
            let tiles = old.tiles.iter().zip(&new.tiles).enumerate();
            parts.extend(tiles.filter(|(_, (old, new))| old != new).map(|(index, _)| Self::Tile(index)));
        } else {
            parts.push(Self::Tiles);
        }
        parts
    }

    /// The part's HTML: one element with an id. Empty for a tile that is not on the board.
    #[must_use]
    pub fn render(&self, board: &Board, now: i64) -> Markup {
        match self {
            Self::Station => station(board),
            Self::Alerts => alerts(board, now),
            Self::Lots => lots(board, None),
            Self::Tiles => tiles(board, None, now),
            Self::Tile(index) => board.tiles.get(*index).map(|shown| tile(shown, now)).unwrap_or_default(),
        }
    }
}

/// The whole page.
#[must_use]
pub fn whole(board: &Board, visit: Visit<'_>) -> Markup {
    let chosen_lot = visit.notice.map(|notice| notice.lot.as_str());
    let chosen_fixture = visit.notice.map(|notice| notice.fixture.as_str()).filter(|fixture| !fixture.is_empty());
    html! {
        (DOCTYPE)
        html lang=(words::LANGUAGE) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (words::title(&board.station)) }
                link rel="icon" type="image/svg+xml" href="/icon.svg";
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="10"; }
            }
            body {
                header {
                    (station(board))
                    form #scan method="post" action="/scan" autocomplete="off" {
                        input #token type="hidden" name="token" value=(visit.token);
                        span.field {
                            label for="scanned" { (words::SCAN) }
                            input #scanned type="text" name="scanned" autofocus autocapitalize="off" autocorrect="off"
                                spellcheck="false" enterkeyhint="go" aria-describedby="notice";
                        }
                        (lots(board, chosen_lot))
                        span #any-fixture hidden[board.tiles.len() < 2] {
                            span.caption { (words::FIXTURE) }
                            input #any type="radio" name="fixture" value="" checked[chosen_fixture.is_none()];
                            label for="any" { (words::ANY_FIXTURE) }
                        }
                        button type="submit" { (words::START) }
                    }
                }
                noscript { p.alert.quiet { strong { (words::NO_SCRIPT) } } }
                div #notice role="status" aria-live="assertive" aria-atomic="true" {
                    @if let Some(shown) = visit.notice { (notice(shown)) }
                }
                div #page-lost role="alert" hidden {
                    p.alert.lost { (icon(Kind::Unknown)) strong { (words::PAGE_LOST) } span { (words::PAGE_LOST_NEXT) } }
                }
                (alerts(board, visit.now))
                (tiles(board, chosen_fixture, visit.now))
                p #announced role="status" aria-live="polite" {}
                template #unsent { (notice(&Notice::unsent())) }
            }
        }
    }
}

/// What became of a scan.
#[must_use]
pub fn notice(notice: &Notice) -> Markup {
    let (tone, kind) = match notice.tone {
        Tone::Good => ("good", Kind::ShipIt),
        Tone::Plain => ("plain", Kind::Ready),
        Tone::Bad => ("bad", Kind::Stopped),
    };
    html! {
        p.notice.(tone) data-tone=(tone) data-fixture=(notice.fixture) {
            (icon(kind))
            code.scanned { @if notice.scanned.is_empty() { (words::EMPTY_SCAN) } @else { (notice.scanned) } }
            strong { (notice.headline) }
            @if !notice.detail.is_empty() { span { (notice.detail) } }
        }
    }
}

fn station(board: &Board) -> Markup {
    let live = board.link == Link::Live;
    html! {
        h1 #station data-link=(if live { "live" } else { "lost" }) {
            span.name { @if board.station.is_empty() { (words::STATION) } @else { (board.station) } }
            span.link.live hidden[!live] { (words::LIVE) }
            span.link.lost hidden[live] { (words::RECONNECTING) }
        }
    }
}

fn alerts(board: &Board, now: i64) -> Markup {
    html! {
        div #alerts role="status" aria-live="polite" {
            @match &board.link {
                Link::Live => {
                    @if !board.halted.is_empty() {
                        p.alert.halted { (icon(Kind::SetAside)) strong { (words::HALTED) } span { (board.halted) } }
                    }
                    @if let Some(down) = &board.authority_down { (authority_down(down, now)) }
                }
                Link::Searching { since, words } => {
                    p.alert.lost {
                        (icon(Kind::Working)) strong { (words::SEARCHING) } (lasting(*since, now))
                        span { (words::SEARCHING_NEXT) } (said(words))
                    }
                }
                Link::Lost { since, words } => {
                    p.alert.lost {
                        (icon(Kind::Unknown)) strong { (words::STATION_LOST) } (lasting(*since, now))
                        span { (words::STATION_LOST_NEXT) } (said(words))
                    }
                }
            }
        }
    }
}

fn authority_down(down: &AuthorityDown, now: i64) -> Markup {
    html! {
        p.alert.away {
            (icon(Kind::WaitsForAuthority))
            strong { (words::authority_down(down.waiting)) }
            @if let Some(since) = down.since { (lasting(since, now)) }
            span { (words::authority_down_next(down.full)) }
            (said(&down.words))
        }
    }
}

/// What a machine said: for support, and quiet.
fn said(words: &str) -> Markup {
    html! { @if !words.is_empty() { small { (words) } } }
}

fn lasting(since: i64, now: i64) -> Markup {
    html! { span.lasting { (words::FOR) " " (clock(since, now)) } }
}

/// A time that runs on.
fn clock(since: i64, now: i64) -> Markup {
    let elapsed = (now - since).max(0);
    html! { span.clock data-elapsed=(elapsed) { (words::elapsed(elapsed)) } }
}

fn lots(board: &Board, chosen: Option<&str>) -> Markup {
    html! {
        span #lots {
            @match board.lots.as_slice() {
                [] => {
                    span.caption { (words::LOT) }
                    span.no-lot { strong { (words::NO_LOT) } " " (words::NO_LOT_NEXT) }
                }
                [only] => {
                    span.caption { (words::LOT) }
                    input type="hidden" name="lot" value=(only.name);
                    span.lot {
                        strong { (only.name) }
                        progress max=(only.quantity) value=(only.completed) aria-hidden="true" {}
                        span { (words::lot_progress(only.completed, only.quantity)) }
                    }
                }
                several => {
                    @let obvious = board.obvious_lot().map(|lot| lot.name.as_str());
                    @let chosen = several.iter().map(|lot| lot.name.as_str()).find(|lot| Some(*lot) == chosen).or(obvious);
                    label.caption for="lot" { (words::LOT) }
                    select #lot name="lot" {
                        option value="" selected[chosen.is_none()] { (words::CHOOSE_LOT) }
                        @for lot in several {
                            option value=(lot.name) selected[chosen == Some(lot.name.as_str())] {
                                (words::lot_choice(&lot.name, lot.completed, lot.quantity))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tiles(board: &Board, chosen: Option<&str>, now: i64) -> Markup {
    html! {
        main #tiles class=(columns(board.tiles.len())) aria-label=(words::BOARD) {
            @if board.tiles.is_empty() && board.link == Link::Live { p.empty { (words::NO_FIXTURES) } }
            @for shown in &board.tiles {
                article.place {
                    input type="radio" form="scan" name="fixture" id={ "choose-" (shown.fixture) } value=(shown.fixture)
                        checked[chosen == Some(shown.fixture.as_str())];
                    (tile(shown, now))
                }
            }
        }
    }
}

/// How many stand side by side, so that tiles stay as large as the screen allows.
fn columns(tiles: usize) -> &'static str {
    match tiles {
        0 | 1 => "columns-1",
        2 | 4 => "columns-2",
        3 | 5 | 6 | 9 => "columns-3",
        7 | 8 | 10..=16 => "columns-4",
        _ => "columns-6",
    }
}

fn tile(tile: &Tile, now: i64) -> Markup {
    let headline = words::headline(tile.kind);
    let long = tile.device_serial.chars().count() > 20;
    // More text than the others: all of it smaller.
    let full = long || !tile.message.is_empty();
    html! {
        label.tile.(tile.kind.class()).stale[tile.stale].full[full] id={ "tile-" (tile.fixture) } for={ "choose-" (tile.fixture) }
            data-kind=(tile.kind.class()) data-result[tile.kind.is_result() && !tile.stale]
        {
            span.top {
                span.fixture { (tile.fixture) }
                span.chosen { (words::CHOSEN) }
                @if let Some(since) = tile.since { (clock(since, now)) }
                @if let Some(took) = tile.took { span.took { (words::took(took)) } }
                @if !tile.reason.is_empty() { span.reason { (words::for_support(&tile.reason)) } }
            }
            span.state { (icon(tile.kind)) span.headline { (headline) } }
            span.state.not-known { (icon(Kind::Unknown)) span.headline { (words::UNKNOWN_HEADLINE) } }
            @if !tile.device_serial.is_empty() {
                span.device.long[long] {
                    span.serial { (tile.device_serial) }
                    span.common-name { (tile.common_name) }
                }
            }
            @if tile.kind == Kind::Working { (progress(tile)) }
            span.next { (tile.next_action) }
            span.next.not-known { (words::UNKNOWN_NEXT) " " span.last { (words::LAST_KNOWN) " " (headline) } }
            @if !tile.message.is_empty() { span.message { (tile.message) } }
        }
    }
}

fn progress(tile: &Tile) -> Markup {
    let number = tile.step.map_or(0, |step| step.number);
    html! {
        span.progress {
            span.bar aria-hidden="true" {
                @for step in 1..=STEPS.len() { i.done[step < number].at[step == number] {} }
            }
            span.step {
                @match tile.step {
                    Some(step) => { strong { (words::step_of(step.number, STEPS.len())) } " " (step.words) }
                    None => (words::PREPARING),
                }
            }
        }
    }
}

/// The kind as a drawing. Its words always stand beside it, so a screen reader skips it.
fn icon(kind: Kind) -> Markup {
    PreEscaped(
        match kind {
            Kind::Ready => include_str!("../assets/icons/ready.svg"),
            Kind::NotReady => include_str!("../assets/icons/not-ready.svg"),
            Kind::Working => include_str!("../assets/icons/working.svg"),
            Kind::ShipIt => include_str!("../assets/icons/ship-it.svg"),
            Kind::WaitsForAuthority => include_str!("../assets/icons/waits.svg"),
            Kind::ScanAgain => include_str!("../assets/icons/scan-again.svg"),
            Kind::Stopped => include_str!("../assets/icons/stopped.svg"),
            Kind::SetAside => include_str!("../assets/icons/set-aside.svg"),
            Kind::Unknown => include_str!("../assets/icons/unknown.svg"),
        }
        .to_owned(),
    )
}
