//! The station's health: its link, its queue over time, hardware, disk, clock, certificates.

use std::fmt::Write as _;

use maud::{Markup, html};
use proto::station::v1::{Health, Queue, Station, fixture, needed_certificate::Purpose};

use super::moment;
use crate::{
    tile::{milliseconds, short_name},
    words::Language,
};

/// How many waited, and when: UTC milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: i64,
    /// How many submissions waited.
    pub waiting: u64,
}

/// Clocks that are nearer than this (milliseconds) agree: an answer takes a moment.
const CLOCKS_AGREE: i64 = 2000;
/// Certificates that end sooner are worth an eye, days.
const SOON: i64 = 30;
const GIGABYTE: u64 = 1_000_000_000;
const DAY: i64 = 24 * 3600 * 1000;

/// The page.
#[must_use]
pub fn station(station: &Station, health: &Health, history: &[Sample], now: i64, language: Language) -> Markup {
    let queue = station.queue.clone().unwrap_or_default();
    html! {
        h2 { (language.say("page-station")) " " code { (station.station) } }
        div.cards {
            section.card { h3 { (language.say("station-link")) } (link(&queue, language)) }
            section.card {
                h3 { (language.say("station-graph")) }
                (graph(history, now))
                p {
                    (language.with("station-of-room", &[("length", queue.length.into()), ("bound", queue.bound.into())]))
                    @if queue.in_doubt > 0 { " · " (language.with("station-doubt", &[("count", queue.in_doubt.into())])) }
                }
            }
            section.card {
                h3 { (language.say("station-fixtures")) }
                ul { @for fixture in &station.fixtures {
                    li {
                        strong { (short_name(&fixture.name)) } " " span.quiet { (fixture.keystore) } " "
                        (language.say(if fixture.state() == fixture::State::Busy { "station-busy" } else { "station-idle" }))
                    }
                } }
            }
            section.card {
                h3 { (language.say("station-disk")) }
                progress max=(health.disk_size) value=(health.disk_size.saturating_sub(health.disk_free)) aria-hidden="true" {}
                p { (language.with("station-disk-free", &[
                    ("free", (health.disk_free / GIGABYTE).into()), ("size", (health.disk_size / GIGABYTE).into()),
                ])) }
                h3 { (language.say("station-clock")) }
                @let apart = health.time.as_ref().map_or(0, |time| milliseconds(time) - now);
                p { @if apart.abs() < CLOCKS_AGREE { (language.say("station-clock-same")) } @else {
                    strong { (language.with("station-clock-differs", &[("seconds", (apart / 1000).into())])) }
                } }
            }
            section.card {
                h3 { (language.say("station-certificates")) }
                ul { @for needed in &health.certificates {
                    @let days = needed.expire_time.as_ref().map_or(0, |time| (milliseconds(time) - now).div_euclid(DAY));
                    li.soon[days < SOON] {
                        strong { (needed.common_name) } " " span.quiet { (language.say(purpose(needed.purpose()))) } " "
                        span.days { (language.with("station-days", &[("days", days.into())])) }
                    }
                } }
            }
            (troubles(health, language))
        }
        p.quiet { (language.with("as-of", &[("time", moment(now).into())])) }
    }
}

fn link(queue: &Queue, language: Language) -> Markup {
    let words = match (&queue.link_time, queue.link_up) {
        (None, _) => "station-link-unknown",
        (Some(_), true) => "station-link-up",
        (Some(_), false) => "station-link-down",
    };
    html! {
        p { strong { (language.say(words)) }
            @if let Some(since) = &queue.link_time {
                " " (language.with("station-since", &[("time", moment(milliseconds(since)).into())]))
            }
        }
        p { (language.say("station-waiting")) ": " strong { (queue.length) }
            @if let Some(drain) = &queue.drain_duration { " · " (language.drain(drain.seconds * 1000)) }
        }
        @if !queue.last_error.is_empty() { small lang="en" { (queue.last_error) } }
    }
}

/// What an administrator is to look at, in the station's own words; nothing where there is nothing.
fn troubles(health: &Health, language: Language) -> Markup {
    let webhook = Some(&health.webhook_trouble).filter(|words| !words.is_empty());
    let all: Vec<&String> = health.tls_problems.iter().chain(webhook).collect();
    html! { @if !all.is_empty() {
        section.card {
            h3 { (language.say("station-troubles")) }
            ul lang="en" { @for words in all { li { strong { (words) } } } }
        }
    } }
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Server => "needs-server",
        Purpose::Client => "needs-client",
        Purpose::Issuer => "needs-issuer",
        Purpose::Root => "needs-root",
        Purpose::Unspecified => "unknown",
    }
}

/// The queue as a line over the last hour; what it says in words stands below it.
fn graph(history: &[Sample], now: i64) -> Markup {
    const WIDTH: i64 = 360;
    const HEIGHT: u64 = 80;
    const HOUR: i64 = 3600 * 1000;
    let most = history.iter().map(|sample| sample.waiting).max().unwrap_or(0).max(1);
    let points = history.iter().fold(String::new(), |mut points, sample| {
        let x = WIDTH - ((now - sample.at).clamp(0, HOUR) * WIDTH / HOUR);
        let y = HEIGHT - sample.waiting * HEIGHT / most;
        // Writing to a string does not fail.
        let _ = write!(points, "{x},{y} ");
        points
    });
    html! {
        p.scale aria-hidden="true" { span { (most) } }
        svg.graph viewBox="-2 -4 364 88" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            line x1="0" y1="80" x2="360" y2="80" {}
            polyline points=(points) {}
        }
        p.scale aria-hidden="true" { span { "−60 min" } span { "0 min" } }
    }
}
