//! One device's story, what it left to download, and what a supervisor may decide of it.

use maud::{Markup, html};
use proto::station::v1::{Issuance, IssuanceStory, issuance::State};

use super::{moment, tiles::Sentences};
use crate::{
    scan::Prefixes,
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
    /// Let it go on: the hardware in the fixture is this device from now on.
    Hardware,
    /// Certify other hardware as this device: its board was swapped, or its label.
    Swap,
    /// Revoke it, and give its place in the lot back.
    Scrap,
}

/// Why, by the catalogues' keys: chosen and not typed, since a typed word and a scan could not be told apart.
pub const REASONS: [&str; 7] = [
    "reason-repaired",
    "reason-label",
    "reason-lot",
    "reason-damaged",
    "reason-returned",
    "reason-test",
    "reason-board",
];

impl Act {
    const ALL: [Self; 7] =
        [Self::Release, Self::Cancel, Self::Rework, Self::ReworkKey, Self::Hardware, Self::Swap, Self::Scrap];

    /// Its key in form and catalogues.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Release => "act-release",
            Self::Cancel => "act-cancel",
            Self::Rework => "act-rework",
            Self::ReworkKey => "act-rework-key",
            Self::Hardware => "act-hardware",
            Self::Swap => "act-swap",
            Self::Scrap => "act-scrap",
        }
    }

    /// The act of a key.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.key() == key)
    }

    /// What makes sense for an issuance; the station has the last word.
    #[must_use]
    pub fn of(issuance: &Issuance) -> &'static [Self] {
        let reason = issuance.failure.as_ref().map_or("", |failure| failure.reason.as_str());
        match (state(issuance), reason) {
            // Before anything was done to the hardware that is there.
            (State::Quarantined, "NOT_SAME_DEVICE") if issuance.stopped_in() == State::Requested => {
                &[Self::Release, Self::Hardware, Self::Cancel, Self::Scrap]
            }
            (State::Quarantined | State::InDoubt, _) => &[Self::Release, Self::Cancel, Self::Scrap],
            (State::Completed, _) => &[Self::Rework, Self::ReworkKey, Self::Swap, Self::Scrap],
            (State::Cancelled, "SCRAPPED") | (State::Unspecified, _) => &[],
            (State::Cancelled, _) => &[Self::Rework, Self::Swap, Self::Scrap],
            _ => &[Self::Cancel, Self::Scrap],
        }
    }

    /// Whether a fixture holds what it is about.
    #[must_use]
    pub fn at_fixture(self) -> bool {
        matches!(self, Self::Rework | Self::ReworkKey | Self::Swap)
    }
}

/// What a supervisor's form needs to know of the line.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// The form's token.
    pub token: &'a str,
    /// What codes begin with.
    pub prefixes: &'a Prefixes,
    /// The fixtures' names, in order.
    pub fixtures: &'a [&'a str],
}

/// The page. `operator`: what the screen calls a badge.
#[must_use]
pub fn story(story: &IssuanceStory, desk: Desk<'_>, operator: impl Fn(&str) -> String, language: Language) -> Markup {
    let issuance = story.issuance.clone().unwrap_or_default();
    let kind = Kind::of(state(&issuance), false, false);
    html! {
        h2 { (language.with("story", &[("device_serial", issuance.device_serial.as_str().into())])) }
        p { span.chip.(kind.class()) { (super::icon(kind)) (language.headline(kind)) } }
        (failure(&issuance, kind, language))
        div.cards {
            section.card { (facts(&issuance, operator, language)) (downloads(&issuance, language)) }
            @let acts = Act::of(&issuance);
            @if !acts.is_empty() { (supervise(&issuance, acts, desk, language)) }
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
            ("proof.json", "download-proof"),
            ("records.json", "download-records"),
        ]
    };
    // A proof may have to wait: then the way leads back here, with words, and nothing is saved under its name.
    let saved = |file: &str| (file != "proof.json").then(|| format!("{}-{file}", issuance.device_serial));
    html! {
        h3 { (language.say("downloads")) }
        ul { @for (file, name) in files {
            li { a href={ "/" (issuance.name) "/" (file) } download=[saved(file)] { (language.say(name)) } }
        } }
    }
}

/// The form: acts and reasons to choose, a badge by scan, a PIN by the pad alone, so that no scan ever lands in it.
fn supervise(issuance: &Issuance, acts: &[Act], desk: Desk<'_>, language: Language) -> Markup {
    let reason = issuance.failure.as_ref().map_or("", |failure| failure.reason.as_str());
    let chooses = desk.fixtures.len() > 1 && acts.iter().any(|act| act.at_fixture());
    html! {
        section.card {
            h3 { (language.say("supervise")) }
            @if let Some(hint) = language.find(&format!("fault-{reason}.supervisor"), &[]) { p.hint { (hint) } }
            form #supervise method="post" action={ "/" (issuance.name) } data-badge-prefix=(desk.prefixes.badge)
                data-fixture-prefix=(desk.prefixes.fixture) autocomplete="off" {
                input type="hidden" name="token" value=(desk.token);
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
                @if chooses {
                    p { label for="at-fixture" { (language.say("fixture")) } " "
                        select #at-fixture name="fixture" {
                            option value="" { (language.say("any-fixture")) }
                            @for fixture in desk.fixtures { option value=(fixture) { (fixture) } }
                        }
                    }
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
