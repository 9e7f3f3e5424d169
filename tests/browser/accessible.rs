//! Every page in every language: at three sizes on one look, and held against axe-core, which others wrote.

use std::fs;

use fantoccini::Locator;
use proto::station::v1::{Failure, Health, IssuanceStory, NeededCertificate, RecordedStep, issuance::State};
use serde_json::{Value, json};
use station_ui::words::Language;

use crate::{
    chromium::{Chromium, SIZES, output, target},
    fake::{Fake, issuance},
    states::{FAINT, OVERFLOWING, Page, bad_day, none},
};

/// Where `deploy/dependencies.sh test` puts it.
fn axe() -> String {
    let file = target().join("npm/node_modules/axe-core/axe.min.js");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}: run `make test-deps`", file.display()))
}

/// What axe-core says against the page, by WCAG 2.2 up to AA: rule, and the elements it is about.
async fn violations(chromium: &Chromium, axe: &str) -> Value {
    chromium.script(axe).await;
    let run = "const done = arguments[arguments.length - 1];
        const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
        axe.run(document, { runOnly: { type: 'tag', values: tags } }).then((results) => done(results.violations.map(
            (one) => [one.id, one.help, one.nodes.map((node) => node.html.slice(0, 160))])), (error) => done(String(error)));";
    chromium.client.execute_async(run, Vec::new()).await.expect("axe runs")
}

/// A day on which every page has something to show.
fn whole_day(fake: &Fake) {
    bad_day(fake);
    fake.script(|script| {
        let mut stands = issuance("SN-2026-000122", State::Quarantined);
        stands.stopped_in = State::Requested.into();
        stands.certificate_serial = "4f1c8a".into();
        stands.key = "0x81010010".into();
        stands.claimed_by = "B-17".into();
        stands.authenticated_by = "page-1".into();
        stands.failure = Some(Failure { reason: "NOT_SAME_DEVICE".into(), message: "another fingerprint".into() });
        let step = |sequence, kind: &str| RecordedStep {
            sequence,
            time: Some(std::time::SystemTime::now().into()),
            kind: kind.into(),
            sentence: "The device in fixture-5 is a TPM of IBM, firmware 8217.4131.".into(),
            record: Vec::new(),
        };
        let kinds = ["requested", "device-identified", "key-generated", "quarantined"];
        let steps = (1..).zip(kinds).map(|(sequence, kind)| step(sequence, kind)).collect();
        script.lots[0].started = 5;
        script.stories = vec![IssuanceStory { issuance: Some(stands), steps }];
        script.health = Health {
            time: Some(std::time::SystemTime::now().into()),
            disk_free: 45_000_000_000,
            disk_size: 252_000_000_000,
            certificates: vec![NeededCertificate {
                common_name: "station-1".into(),
                expire_time: Some(std::time::SystemTime::now().into()),
                ..NeededCertificate::default()
            }],
            webhook_trouble: String::new(),
            tls_problems: vec![],
        };
    });
}

const PAGES: [(&str, &str); 6] = [
    ("board", "/"),
    ("lots", "/lots"),
    ("find", "/find?wanted=nothing"),
    ("story", "/issuances/SN-2026-000122"),
    ("golden", "/golden"),
    ("station", "/station"),
];

/// Chooses each language as an operator does, then opens every page at every size: a picture of each, all text on the screen
/// and readable, and nothing that axe-core finds.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody_in_every_language() {
    let axe = axe();
    let fake = Fake::start().await;
    whole_day(&fake);
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    let mut faults = Vec::new();
    for language in Language::ALL {
        chromium.open(&page.origin).await;
        let choice = chromium.client.find(Locator::Css("#choose-language")).await.expect("a choice of languages");
        choice.select_by_value(language.tag()).await.expect("chosen");
        chromium.until(&format!("html[lang={}]", language.tag())).await;
        for (name, path) in PAGES {
            chromium.open(&format!("{}{path}", page.origin)).await;
            if name == "board" {
                chromium.until("#tile-fixture-5[data-kind=set-aside]").await;
            }
            for size in SIZES {
                chromium.resize(size).await;
                chromium.picture(&output(&format!("{name}-{}-{}x{}.png", language.tag(), size.0, size.1))).await;
                faults.push((size, chromium.script(OVERFLOWING).await));
            }
            faults.push((SIZES[2], chromium.script(FAINT).await));
            chromium.resize(SIZES[0]).await;
            let found = violations(&chromium, &axe).await;
            if found != json!([]) {
                faults.push((SIZES[0], json!([name, language.tag(), found])));
            }
        }
    }
    none(faults);
    chromium.is_clean(&page.origin).await;
}
