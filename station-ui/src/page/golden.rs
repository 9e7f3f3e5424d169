//! The check with the golden device: how the station stands in this shift, and how it is checked.

use maud::{Markup, html};
use proto::station::v1::GoldenCheck;

use super::{Visit, icon, moment};
use crate::{
    board::{Board, Shift},
    scan::{Notice, Tone},
    tile::{Kind, milliseconds, short_name},
    words::Language,
};

/// How a shift looks: its class, its icon, and its words in short.
fn look(shift: Shift) -> (&'static str, Kind, &'static str) {
    match shift {
        Shift::Due => ("due", Kind::ScanAgain, "golden-due"),
        Shift::Checked(_) => ("good", Kind::ShipIt, "golden-good"),
        Shift::Failed(_) => ("bad", Kind::Stopped, "golden-bad"),
    }
}

/// The way to the page says how the station stands.
pub(super) fn link(shift: Shift, here: bool, language: Language) -> Markup {
    let (class, kind, words) = look(shift);
    html! {
        a #golden.(class) href="/golden" aria-current=[here.then_some("page")] title=(language.say("page-golden")) {
            (icon(kind)) (language.say(words))
        }
    }
}

/// The one field of this page: a scan checks, and starts nothing.
pub(super) fn field(board: &Board, visit: Visit<'_>, language: Language) -> Markup {
    let chosen = visit.notice.map_or("", |notice| notice.fixture.as_str());
    html! {
        form #scan method="post" action="/golden" autocomplete="off" {
            input type="hidden" name="token" value=(visit.token);
            span.field {
                label for="scanned" { (language.say("golden-scan")) }
                input #scanned type="text" name="scanned" autofocus autocapitalize="off" autocorrect="off"
                    spellcheck="false" enterkeyhint="go" required;
            }
            @if board.tiles.len() > 1 {
                span.places {
                    label.caption for="at-fixture" { (language.say("fixture")) }
                    select #at-fixture name="fixture" {
                        option value="" { (language.say("any-fixture")) }
                        @for fixture in board.fixtures() { option value=(fixture) selected[fixture == chosen] { (fixture) } }
                    }
                }
            }
            button type="submit" { (language.say("golden-check")) }
        }
    }
}

/// The page. `operator`: what the screen calls a badge.
#[must_use]
pub fn golden(
    check: Option<&GoldenCheck>,
    shift: Shift,
    notice: Option<&Notice>,
    operator: impl Fn(&str) -> String,
    language: Language,
) -> Markup {
    let (class, kind, _) = look(shift);
    // What was asked last and came to nothing stands above what was known before.
    let (class, kind, headline) = match (notice.filter(|notice| notice.tone == Tone::Bad), shift) {
        (_, Shift::Failed(_)) => (class, kind, "golden-failed"),
        // What the station says of it is still on its way.
        (Some(notice), _) if notice.headline == language.say("golden-failed") => {
            ("bad", Kind::Stopped, "golden-failed")
        }
        (Some(_), _) => ("bad", Kind::Stopped, "golden-not-done"),
        (None, Shift::Due) => (class, kind, "golden-unchecked"),
        (None, Shift::Checked(_)) => (class, kind, "golden-checked"),
    };
    let next = match headline {
        "golden-not-done" => "golden-failed.next".to_owned(),
        stands => format!("{stands}.next"),
    };
    html! {
        section.verdict.(class) {
            p.state { (icon(kind)) strong { (language.say(headline)) } }
            p { (language.say(&next)) }
            @if let Some(check) = check.filter(|_| shift != Shift::Due) {
                p.when {
                    (language.with("golden-when", &[
                        ("time", check.time.as_ref().map(|time| moment(milliseconds(time))).unwrap_or_default().into()),
                        ("device_serial", check.device_serial.as_str().into()),
                        ("fixture", short_name(&check.fixture).into()),
                    ]))
                    @let who = if check.claimed_by.is_empty() { check.authenticated_by.clone() } else { operator(&check.claimed_by) };
                    " " (language.with("golden-by", &[("operator", who.into())]))
                }
            }
        }
        section.card {
            h2 { (language.say("golden-how")) }
            ol { @for step in ["golden-step-1", "golden-step-2", "golden-step-3"] { li { (language.say(step)) } } }
        }
    }
}
