//! The tiles: each fixture as it is read from three metres.

use maud::{Markup, html};
use proto::station::v1::Failure;

use super::icons::icon;
use crate::{
    board::{Board, Link},
    tile::{Kind, STEPS, Tile},
    words::{self, Language},
};

/// What only stops a device, and is for a supervisor all the same: something stands on it that the station did not put there.
const SUPERVISED: &str = "LOCATION_OCCUPIED";

pub(super) fn tiles(board: &Board, chosen: Option<&str>, language: Language, now: i64) -> Markup {
    html! {
        main #tiles class=(columns(board.tiles.len())) aria-label=(language.say("fixtures")) {
            @if board.tiles.is_empty() && board.link == Link::Live { p.empty { (language.say("no-fixtures")) } }
            @for shown in &board.tiles {
                article.place aria-label=(shown.fixture) {
                    input type="radio" form="scan" name="fixture" id={ "choose-" (shown.fixture) } value=(shown.fixture)
                        checked[chosen == Some(shown.fixture.as_str())];
                    (tile(shown, language, now))
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

/// Why a device stopped and what to do, in the operator's language where the reason is known; else as the station says it.
pub(super) struct Sentences {
    pub(super) happened: String,
    pub(super) next: String,
    /// The reason, and what the station said besides; for support.
    pub(super) support: String,
}

impl Sentences {
    fn of(tile: &Tile, language: Language) -> Self {
        if tile.reason.is_empty() {
            // Nothing went wrong: the kind says it all.
            return Self { happened: String::new(), next: language.next_action(tile.kind), support: String::new() };
        }
        let failure = Failure { reason: tile.reason.clone(), message: tile.message.clone() };
        Self::of_failure(&failure, &tile.device_serial, &tile.next_action, tile.kind, language)
    }

    pub(super) fn of_failure(
        failure: &Failure,
        device_serial: &str,
        next_action: &str,
        kind: Kind,
        language: Language,
    ) -> Self {
        let Failure { reason, message } = failure;
        let about = [("device_serial", device_serial.into())];
        let find = |key: &str| language.find(key, &about);
        match find(&format!("fault-{reason}")).zip(find(&format!("fault-{reason}.next"))) {
            Some((happened, next)) => {
                let said = if message.is_empty() { "" } else { ": " };
                Self { happened, next, support: format!("{reason}{said}{message}") }
            }
            None => Self {
                happened: message.clone(),
                next: if next_action.is_empty() { language.next_action(kind) } else { next_action.to_owned() },
                support: reason.clone(),
            },
        }
    }
}

pub(super) fn tile(tile: &Tile, language: Language, now: i64) -> Markup {
    let headline = language.headline(tile.kind);
    let long = tile.device_serial.chars().count() > 20;
    let sentences = Sentences::of(tile, language);
    // More text than the others: all of it smaller.
    let full = long || !sentences.happened.is_empty();
    html! {
        div.tile.(tile.kind.class()).stale[tile.stale].full[full].attention[tile.attention] id={ "tile-" (tile.fixture) }
            data-kind=(tile.kind.class()) data-result[tile.kind.is_result() && !tile.stale] {
            label.face for={ "choose-" (tile.fixture) } {
                span.top {
                    span.fixture { (tile.fixture) }
                    span.chosen { (language.say("chosen")) }
                    @if let Some(since) = tile.since { (clock(since, now)) }
                    @if let Some(took) = tile.took { span.took { (language.took(took)) } }
                }
                span.state { (icon(tile.kind)) span.headline { (headline) } }
                span.state.not-known { (icon(Kind::Unknown)) span.headline { (language.say("not-current")) } }
                @if !tile.device_serial.is_empty() {
                    span.device.long[long] {
                        span.serial { (tile.device_serial) }
                        @if tile.kind.is_step_or_done() { span.common-name { (tile.common_name) } }
                    }
                }
                @if tile.kind == Kind::Working { (progress(tile, language)) }
                @if !sentences.happened.is_empty() { span.message { (sentences.happened) } }
                span.next { (sentences.next) }
                span.next.not-known {
                    (language.say("not-current.next")) " "
                    span.last { (language.with("last-known", &[("headline", headline.as_str().into())])) }
                }
            }
            @if tile.attention || !sentences.support.is_empty() {
                span.deeds {
                    @if tile.attention && !tile.stale {
                        button.acknowledge form="acknowledge" type="submit" name="fixture" value=(tile.fixture)
                            aria-label=(language.with("acknowledge.label", &[
                                ("fixture", tile.fixture.as_str().into()), ("headline", headline.as_str().into()),
                            ])) { (language.say("acknowledge")) }
                    }
                    @if (tile.kind == Kind::SetAside || tile.reason == SUPERVISED) && !tile.stale {
                        a.supervise href={ "/" (tile.issuance) } { (language.say("supervise")) }
                    }
                    @if !sentences.support.is_empty() {
                        span.reason { (language.with("support", &[("reason", sentences.support.into())])) }
                    }
                }
            }
        }
    }
}

fn progress(tile: &Tile, language: Language) -> Markup {
    let number = tile.step.map_or(0, |step| step.number);
    html! {
        span.progress {
            span.bar aria-hidden="true" {
                @for place in 1..=STEPS.len() { i.done[place < number].at[place == number] {} }
            }
            span.step {
                @match tile.step {
                    Some(step) => {
                        strong {
                            (language.with("step-of", &[("step", step.number.into()), ("steps", STEPS.len().into())]))
                        }
                        " " (language.step(step.state))
                    }
                    None => (language.say("preparing")),
                }
            }
        }
    }
}

/// A time that runs on.
pub(super) fn clock(since: i64, now: i64) -> Markup {
    let elapsed = (now - since).max(0);
    html! { span.clock data-elapsed=(elapsed) { (words::elapsed(elapsed)) } }
}
