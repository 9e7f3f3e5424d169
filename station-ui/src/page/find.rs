//! Search: by device serial, CN or certificate serial, scanned or typed.

use maud::{Markup, html};
use proto::station::v1::Issuance;

use super::moment;
use crate::{
    tile::{Kind, milliseconds, state},
    words::Language,
};

/// The one field of this page: a scan finds, and starts nothing.
pub(super) fn field(language: Language, wanted: &str) -> Markup {
    html! {
        form #scan method="get" action="/find" autocomplete="off" {
            span.field {
                label for="scanned" { (language.say("find-what")) }
                input #scanned type="text" name="wanted" value=(wanted) autofocus autocapitalize="off" autocorrect="off"
                    spellcheck="false" enterkeyhint="search";
            }
            button type="submit" { (language.say("page-find")) }
        }
    }
}

/// What was found, newest first.
#[must_use]
pub fn found(issuances: &[Issuance], wanted: &str, language: Language) -> Markup {
    html! {
        @if wanted.is_empty() { p.empty { (language.say("find-none.next")) } }
        @else if issuances.is_empty() {
            p.empty { strong { (language.with("find-none", &[("wanted", wanted.into())])) } }
            p.empty { (language.say("find-none.next")) }
        } @else {
            h2 { (language.with("find-some", &[("count", issuances.len().into())])) }
            (listed(issuances, language))
        }
    }
}

/// Issuances as a table, each leading to its story.
pub(super) fn listed(issuances: &[Issuance], language: Language) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { (language.say("device")) } th scope="col" { (language.say("state")) }
                th scope="col" { (language.say("common-name")) } th scope="col" { (language.say("lot")) }
                th scope="col" { (language.say("time")) }
            } }
            tbody { @for issuance in issuances {
                @let kind = Kind::of(state(issuance), false, false);
                tr {
                    th scope="row" { a href={ "/" (issuance.name) } { code { (issuance.device_serial) } } }
                    td { span.chip.(kind.class()) { (super::icon(kind)) (language.headline(kind)) } }
                    td { code { (issuance.common_name) } }
                    td { code { (issuance.lot) } }
                    td { (issuance.update_time.as_ref().map(|time| moment(milliseconds(time))).unwrap_or_default()) }
                }
            } }
        } }
    }
}
