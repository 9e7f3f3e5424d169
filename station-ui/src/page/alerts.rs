//! What concerns all fixtures: one quiet line for each trouble, with what to do.

use maud::{Markup, html};

use super::{icons::icon, tiles::clock};
use crate::{
    board::{AuthorityDown, Board, Link},
    tile::Kind,
    words::Language,
};

pub(super) fn alerts(board: &Board, language: Language, now: i64) -> Markup {
    html! {
        div #alerts role="status" aria-live="polite" {
            @match &board.link {
                Link::Live => {
                    @if !board.halted.is_empty() {
                        p.alert.halted {
                            (icon(Kind::SetAside)) strong { (language.say("halted")) } span { (language.say("halted.next")) }
                            (said(&board.halted))
                        }
                    }
                    @if let Some(down) = &board.authority_down { (authority_down(down, language, now)) }
                }
                Link::Searching { since, words } => {
                    p.alert.lost {
                        (icon(Kind::Working)) strong { (language.say("searching")) } (lasting(*since, language, now))
                        span { (language.say("searching.next")) } (said(words))
                    }
                }
                Link::Lost { since, words } => {
                    p.alert.lost {
                        (icon(Kind::Unknown)) strong { (language.say("station-lost")) } (lasting(*since, language, now))
                        span { (language.say("station-lost.next")) } (said(words))
                    }
                }
            }
        }
    }
}

fn authority_down(down: &AuthorityDown, language: Language, now: i64) -> Markup {
    html! {
        p.alert.away {
            (icon(Kind::WaitsForAuthority))
            strong { (language.with("authority-away", &[("waiting", down.waiting.into())])) }
            @if let Some(since) = down.since { (lasting(since, language, now)) }
            span { @if down.full { (language.say("authority-away.full")) } @else { (language.say("authority-away.next")) } }
            @if let Some(drain) = down.drain.filter(|_| down.waiting > 0) { span.drain { (language.drain(drain)) } }
            (said(&down.words))
        }
    }
}

/// What a machine said, in its own words: for support, and quiet.
fn said(words: &str) -> Markup {
    html! { @if !words.is_empty() { small lang="en" { (words) } } }
}

fn lasting(since: i64, language: Language, now: i64) -> Markup {
    html! { span.lasting { (language.say("lasting")) " " (clock(since, now)) } }
}
