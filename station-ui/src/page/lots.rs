//! Lots: how far, how good, and what is stuck.

use maud::{Markup, html};
use proto::station::v1::{Issuance, Lot, lot};

use super::find::listed;
use crate::{tile::short_name, words::Language};

/// A lot with what is stuck in it.
#[derive(Debug, Clone)]
pub struct LotSeen {
    /// The lot.
    pub lot: Lot,
    /// Stopped, set aside or in doubt, newest first.
    pub stuck: Vec<Issuance>,
}

/// The page.
#[must_use]
pub fn lots(lots: &[LotSeen], language: Language) -> Markup {
    html! {
        h2 { (language.say("page-lots")) }
        @if lots.is_empty() { p.empty { (language.say("lots-none")) } }
        @for seen in lots {
            @let lot = &seen.lot;
            section.card aria-label=(short_name(&lot.name)) {
                h3 {
                    code { (short_name(&lot.name)) }
                    span.quiet { (lot.profile) " · " (language.say(if lot.state() == lot::State::Open { "lots-open" } else { "lots-closed" })) }
                }
                p.figures {
                    progress max=(lot.quantity) value=(lot.completed) aria-hidden="true" {}
                    span { (language.with("lot-progress", &[("completed", lot.completed.into()), ("quantity", lot.quantity.into())])) }
                    span { (language.say("lots-started")) " " strong { (lot.started) } }
                    @if lot.started > 0 { span { (language.say("lots-yield")) " " strong { (percent(lot.completed, lot.started)) } } }
                    span { (language.say("lots-stuck")) " " strong { (seen.stuck.len()) } }
                }
                @if !seen.stuck.is_empty() { (listed(&seen.stuck, language)) }
            }
        }
    }
}

/// Of those that were started, how many are done: rounded down, so that only all of them are 100 %.
fn percent(completed: u32, started: u32) -> String {
    format!("{} %", u64::from(completed) * 100 / u64::from(started.max(1)))
}
