//! A board as HTML: the whole page, and the parts of it that are replaced while it is open.
//!
//! maud escapes all that comes from outside. There is no inline script and no inline style: the policy forbids both.

use maud::{DOCTYPE, Markup, html};

use crate::{
    board::{Board, Link},
    scan::{Notice, Tone},
    tile::Kind,
    words::Language,
};

mod alerts;
mod find;
mod golden;
mod icons;
mod lots;
mod station;
mod story;
mod tiles;

use icons::icon;

pub use find::found;
pub use golden::golden;
pub use lots::{LotSeen, lots as all_lots};
pub use station::{Sample, station as station_page};
pub use story::{Act, Desk, REASONS, story};

/// What one request adds to the board.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The token for the forms.
    pub token: &'a str,
    /// The language that this browser's operator reads.
    pub language: Language,
    /// Who is signed in at this browser; empty: nobody.
    pub operator: &'a str,
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
    /// Whether the station is checked for this shift.
    Shift,
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
        let Some(old) = old else { return vec![Self::Station, Self::Alerts, Self::Shift, Self::Lots, Self::Tiles] };
        let mut parts = Vec::new();
        if old.station != new.station || (old.link == Link::Live) != (new.link == Link::Live) {
            parts.push(Self::Station);
        }
        if (&old.link, &old.halted, &old.authority_down) != (&new.link, &new.halted, &new.authority_down) {
            parts.push(Self::Alerts);
        }
        if old.shift != new.shift {
            parts.push(Self::Shift);
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
    pub fn render(&self, board: &Board, language: Language, now: i64) -> Markup {
        match self {
            Self::Station => station(board, language),
            Self::Alerts => alerts::alerts(board, language, now),
            Self::Shift => golden::link(board.shift, false, language),
            Self::Lots => lots(board, None, language),
            Self::Tiles => tiles::tiles(board, None, language, now),
            Self::Tile(index) => {
                board.tiles.get(*index).map(|shown| tiles::tile(shown, language, now)).unwrap_or_default()
            }
        }
    }
}

/// The whole page.
#[must_use]
pub fn whole(board: &Board, visit: Visit<'_>) -> Markup {
    let language = visit.language;
    let chosen_lot = visit.notice.map(|notice| notice.lot.as_str());
    let chosen_fixture = visit.notice.map(|notice| notice.fixture.as_str()).filter(|fixture| !fixture.is_empty());
    let title = if board.station.is_empty() { language.say("station") } else { board.station.clone() };
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            (head(&title, true))
            body {
                header {
                    (bar(board, visit, Place::Board))
                    form #scan method="post" action="/scan" autocomplete="off" {
                        input #token type="hidden" name="token" value=(visit.token);
                        span.field {
                            label for="scanned" { (language.say("scan")) }
                            input #scanned type="text" name="scanned" autofocus autocapitalize="off" autocorrect="off"
                                spellcheck="false" enterkeyhint="go" aria-describedby="notice";
                        }
                        (lots(board, chosen_lot, language))
                        span #any-fixture hidden[board.tiles.len() < 2] {
                            span.caption { (language.say("fixture")) }
                            input #any type="radio" name="fixture" value="" checked[chosen_fixture.is_none()];
                            label for="any" { (language.say("any-fixture")) }
                        }
                        button type="submit" { (language.say("start")) }
                    }
                }
                noscript { p.alert.quiet { strong { (language.say("no-script")) } } }
                div #notice role="status" aria-live="assertive" aria-atomic="true" {
                    @if let Some(shown) = visit.notice { (notice(shown, language)) }
                }
                div #page-lost role="alert" hidden {
                    p.alert.lost {
                        (icon(Kind::Unknown)) strong { (language.say("page-lost")) } span { (language.say("page-lost.next")) }
                    }
                }
                (alerts::alerts(board, language, visit.now))
                (tiles::tiles(board, chosen_fixture, language, visit.now))
                form #acknowledge method="post" action="/acknowledge" {
                    input type="hidden" name="token" value=(visit.token);
                }
                p #announced role="status" aria-live="polite" {}
                template #unsent { (notice(&Notice::unsent(language), language)) }
            }
        }
    }
}

/// The pages that the line above leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The tiles.
    Board,
    /// Lots.
    Lots,
    /// Search, and what it found.
    Find,
    /// The check with the golden device.
    Golden,
    /// The station's health.
    Station,
}

const PLACES: [(Place, &str, &str); 5] = [
    (Place::Board, "/", "page-board"),
    (Place::Lots, "/lots", "page-lots"),
    (Place::Find, "/find", "page-find"),
    (Place::Golden, "/golden", "page-golden"),
    (Place::Station, "/station", "page-station"),
];

fn head(title: &str, renewed: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) }
            link rel="icon" type="image/svg+xml" href="/icon.svg";
            link rel="stylesheet" href="/page.css";
            script src="/script/page.js" type="module" {}
            @if renewed { noscript { meta http-equiv="refresh" content="10"; } }
        }
    }
}

/// A page besides the board: the same line above, the same field for a scan, and `content`, which is renewed by itself when
/// `renewed`.
#[must_use]
pub fn page(board: &Board, visit: Visit<'_>, place: Place, renewed: bool, content: &Markup) -> Markup {
    let language = visit.language;
    let name = PLACES.iter().find(|(known, ..)| *known == place).map_or("station", |(.., name)| name);
    let title = format!("{} · {}", language.say(name), board.station);
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            (head(&title, renewed))
            body.document {
                header {
                    (bar(board, visit, place))
                    @if place == Place::Find { (find::field(language, "")) }
                    @else if place == Place::Golden { (golden::field(board, visit, language)) } @else {
                        form #scan method="post" action="/scan" autocomplete="off" {
                            input #token type="hidden" name="token" value=(visit.token);
                            span.field {
                                label for="scanned" { (language.say("scan")) }
                                input #scanned type="text" name="scanned" autocapitalize="off" autocorrect="off"
                                    spellcheck="false" enterkeyhint="go" required;
                            }
                            button type="submit" { (language.say("start")) }
                        }
                    }
                }
                @if let Some(shown) = visit.notice { div #notice role="status" { (notice(shown, language)) } }
                div #page-lost role="alert" hidden {
                    p.alert.lost {
                        (icon(Kind::Unknown)) strong { (language.say("page-lost")) } span { (language.say("page-lost.next")) }
                    }
                }
                main #content data-renewed[renewed] { (content) }
            }
        }
    }
}

/// What a page shows when the station does not answer.
#[must_use]
pub fn not_available(language: Language) -> Markup {
    html! { p.alert.lost { (icon(Kind::Unknown)) strong { (language.say("not-available")) } span { (language.say("not-available.next")) } } }
}

/// A moment in UTC, as people and machines both read it.
fn moment(milliseconds: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1000));
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

/// The line above: where this is, who works here, and how this screen is set.
fn bar(board: &Board, visit: Visit<'_>, place: Place) -> Markup {
    let language = visit.language;
    html! {
        div #bar {
            (station(board, language))
            nav aria-label=(language.say("pages")) {
                @for (known, path, name) in PLACES {
                    @if known == Place::Golden { (golden::link(board.shift, known == place, language)) } @else {
                        a href=(path) aria-current=[(known == place).then_some("page")] { (language.say(name)) }
                    }
                }
            }
            (operator(visit.operator, language))
            button #sound type="button" role="switch" aria-checked="true" hidden {
                (icons::sound()) span.words { (language.say("sound")) }
                span.when-on { (language.say("on")) } span.when-off { (language.say("off")) }
            }
            form #language method="post" action="/language" {
                input type="hidden" name="token" value=(visit.token);
                label.hidden-words for="choose-language" { (language.say("choose-language")) }
                select #choose-language name="language" {
                    @for offered in Language::ALL {
                        option value=(offered.tag()) lang=(offered.tag()) selected[offered == language] {
                            (offered.say("language"))
                        }
                    }
                }
                button.without-scripts type="submit" { (language.say("change")) }
            }
            form #sign-out method="post" action="/sign-out" { input type="hidden" name="token" value=(visit.token); }
        }
    }
}

/// Who is signed in at this browser.
#[must_use]
pub fn operator(name: &str, language: Language) -> Markup {
    html! {
        span #operator {
            (icons::badge())
            @if name.is_empty() { span.nobody { (language.say("scan-badge")) } } @else {
                span.hidden-words { (language.say("operator")) } strong { (name) }
                button.quiet form="sign-out" type="submit" { (language.say("sign-out")) }
            }
        }
    }
}

/// What became of a scan.
#[must_use]
pub fn notice(notice: &Notice, language: Language) -> Markup {
    let (tone, kind) = match notice.tone {
        Tone::Good => ("good", Kind::ShipIt),
        Tone::Plain => ("plain", Kind::Ready),
        Tone::Bad => ("bad", Kind::Stopped),
    };
    html! {
        p.notice.(tone) data-tone=(tone) data-fixture=(notice.fixture) {
            (icon(kind))
            code.scanned { @if notice.scanned.is_empty() { (language.say("nothing")) } @else { (notice.scanned) } }
            strong { (notice.headline) }
            @if !notice.detail.is_empty() { span { (notice.detail) } }
            @if !notice.said.is_empty() { small lang="en" { (notice.said) } }
        }
    }
}

fn station(board: &Board, language: Language) -> Markup {
    let live = board.link == Link::Live;
    html! {
        h1 #station data-link=(if live { "live" } else { "lost" }) {
            span.name { @if board.station.is_empty() { (language.say("station")) } @else { (board.station) } }
            span.link.live hidden[!live] { (language.say("live")) }
            span.link.lost hidden[live] { (language.say("reconnecting")) }
        }
    }
}

fn lots(board: &Board, chosen: Option<&str>, language: Language) -> Markup {
    let progress = |completed: u32, quantity: u32| {
        language.with("lot-progress", &[("completed", completed.into()), ("quantity", quantity.into())])
    };
    html! {
        span #lots {
            @match board.lots.as_slice() {
                [] => {
                    span.caption { (language.say("lot")) }
                    span.no-lot { strong { (language.say("no-lot")) } " " (language.say("no-lot.next")) }
                }
                [only] => {
                    span.caption { (language.say("lot")) }
                    input type="hidden" name="lot" value=(only.name);
                    span.lot {
                        strong { (only.name) }
                        progress max=(only.quantity) value=(only.completed) aria-hidden="true" {}
                        span { (progress(only.completed, only.quantity)) }
                    }
                }
                several => {
                    @let obvious = board.obvious_lot().map(|lot| lot.name.as_str());
                    @let chosen = several.iter().map(|lot| lot.name.as_str()).find(|lot| Some(*lot) == chosen).or(obvious);
                    label.caption for="lot" { (language.say("lot")) }
                    select #lot name="lot" {
                        option value="" selected[chosen.is_none()] { (language.say("choose-lot")) }
                        @for lot in several {
                            option value=(lot.name) selected[chosen == Some(lot.name.as_str())] {
                                (language.with("lot-choice", &[
                                    ("lot", lot.name.as_str().into()),
                                    ("completed", lot.completed.into()),
                                    ("quantity", lot.quantity.into()),
                                ]))
                            }
                        }
                    }
                }
            }
        }
    }
}
