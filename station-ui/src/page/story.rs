//! One device's story, what it left to download, and what a supervisor may decide of it.

use maud::{Markup, html};
use proto::station::v1::{Issuance, IssuanceStory, issuance::State};

use super::{moment, tiles::Sentences};
use crate::{
    tile::{Kind, milliseconds, short_name, state},
    words::Language,
};

/// What a supervisor may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Let it go on.
    Release,
    /// End it.
    Cancel,
    /// Certify it again, with the key that it has.
    Rework,
    /// Certify it again, with a new key.
    ReworkKey,
}

/// Why, by the catalogues' keys: chosen and not typed, since a typed word and a scan could not be told apart.
pub const REASONS: [&str; 6] =
    ["reason-repaired", "reason-label", "reason-lot", "reason-damaged", "reason-returned", "reason-test"];

impl Act {
    /// Its key in form and catalogues.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Release => "act-release",
            Self::Cancel => "act-cancel",
            Self::Rework => "act-rework",
            Self::ReworkKey => "act-rework-key",
        }
    }

    /// The act of a key.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        [Self::Release, Self::Cancel, Self::Rework, Self::ReworkKey].into_iter().find(|act| act.key() == key)
    }

    /// What makes sense for an issuance; the station has the last word.
    #[must_use]
    pub fn of(state: State) -> &'static [Self] {
        match state {
            State::Quarantined | State::InDoubt => &[Self::Release, Self::Cancel],
            State::Completed => &[Self::Rework, Self::ReworkKey],
            State::Cancelled => &[Self::Rework],
            State::Unspecified => &[],
            _ => &[Self::Cancel],
        }
    }
}

/// The page. `operator`: what the screen calls a badge; `badge_prefix`: what a badge's code begins with.
#[must_use]
pub fn story(
    story: &IssuanceStory,
    token: &str,
    badge_prefix: &str,
    operator: impl Fn(&str) -> String,
    language: Language,
) -> Markup {
    let issuance = story.issuance.clone().unwrap_or_default();
    let kind = Kind::of(state(&issuance), false, false);
    html! {
        h2 { (language.with("story", &[("device_serial", issuance.device_serial.as_str().into())])) }
        p { span.chip.(kind.class()) { (super::icon(kind)) (language.headline(kind)) } }
        (failure(&issuance, kind, language))
        div.cards {
            section.card { (facts(&issuance, operator, language)) (downloads(&issuance, language)) }
            @let acts = Act::of(state(&issuance));
            @if !acts.is_empty() { (supervise(&issuance, acts, token, badge_prefix, language)) }
        }
        h3 { (language.say("steps")) }
        div.wide { table {
            thead { tr { th scope="col" { (language.say("time")) } th scope="col" { (language.say("step")) } th scope="col" {} } }
            tbody { @for step in &story.steps {
                tr {
                    td { (step.time.as_ref().map(|time| moment(milliseconds(time))).unwrap_or_default()) }
                    th scope="row" { (language.find(&format!("record-{}", step.kind), &[]).unwrap_or_else(|| step.kind.clone())) }
                    td lang="en" { small { (step.sentence) } }
                }
            } }
        } }
    }
}

fn failure(issuance: &Issuance, kind: Kind, language: Language) -> Markup {
    let Some(failure) = &issuance.failure else { return Markup::default() };
    let sentences = Sentences::of_failure(failure, &issuance.device_serial, &issuance.next_action, kind, language);
    html! { p { (sentences.happened) " " strong { (sentences.next) } " " small lang="en" { (sentences.support) } } }
}

fn facts(issuance: &Issuance, operator: impl Fn(&str) -> String, language: Language) -> Markup {
    let known = [
        ("lot", issuance.lot.clone()),
        ("profile", issuance.profile.clone()),
        ("fixture", issuance.fixture.clone()),
        ("common-name", issuance.common_name.clone()),
        ("key", issuance.key.clone()),
        ("certificate-place", issuance.certificate_location.clone()),
        ("certificate-serial", issuance.certificate_serial.clone()),
        ("scanned-by", operator(&issuance.claimed_by)),
        ("asked-by", issuance.authenticated_by.clone()),
    ];
    html! {
        dl {
            @for (name, value) in known.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (language.say(name)) } dd { code { (value) } } }
            }
            @if !issuance.supersedes.is_empty() {
                div { dt { (language.say("supersedes")) } dd { a href={ "/" (issuance.supersedes) } { code { (short_name(&issuance.supersedes)) } } } }
            }
        }
    }
}

fn downloads(issuance: &Issuance, language: Language) -> Markup {
    let files: &[(&str, &str)] = if issuance.certificate.is_empty() {
        &[("records.json", "download-records")]
    } else {
        &[
            ("certificate.pem", "download-certificate"),
            ("chain.pem", "download-chain"),
            ("records.json", "download-records"),
        ]
    };
    html! {
        h3 { (language.say("downloads")) }
        ul { @for (file, name) in files {
            li { a href={ "/" (issuance.name) "/" (file) } download={ (issuance.device_serial) "-" (file) } { (language.say(name)) } }
        } }
    }
}

/// The form: acts and reasons to choose, a badge by scan, a PIN by the pad alone, so that no scan ever lands in it.
fn supervise(issuance: &Issuance, acts: &[Act], token: &str, badge_prefix: &str, language: Language) -> Markup {
    html! {
        section.card {
            h3 { (language.say("supervise")) }
            form #supervise method="post" action={ "/" (issuance.name) } data-badge-prefix=(badge_prefix) autocomplete="off" {
                input type="hidden" name="token" value=(token);
                input #pin type="hidden" name="pin" value="";
                input #badge type="hidden" name="badge" value="";
                fieldset { legend { (language.say("act")) }
                    @for (place, act) in acts.iter().enumerate() {
                        label.choice { input type="radio" name="act" value=(act.key()) checked[place == 0]; span { (language.say(act.key())) } }
                    }
                }
                p { label for="reason" { (language.say("reason")) } " "
                    select #reason name="reason" { @for reason in REASONS { option value=(reason) { (language.say(reason)) } } }
                }
                p #badge-step { (language.say("badge-first")) " " strong #badge-shown aria-live="polite" {} }
                p #pin-step { (language.say("pin-then")) " " strong #pin-shown aria-hidden="true" {}
                    span.hidden-words #pin-said role="status" data-words=(language.with("pin-digits", &[("count", "#".into())])) {}
                }
                div #pad role="group" aria-label=(language.say("pin")) {
                    @for digit in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] { button type="button" value=(digit) { (digit) } }
                    button type="button" value="" { (language.say("pin-clear")) }
                    button type="button" value="0" { "0" }
                    button #decide type="submit" disabled { (language.say("decide")) }
                }
            }
        }
    }
}
