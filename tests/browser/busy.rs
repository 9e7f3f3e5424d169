//! A busy line: many fixtures, many updates.

use std::{
    fs,
    time::{Duration, Instant},
};

use proto::station::v1::{event::Change, issuance::State};
use serde_json::json;

use crate::{
    chromium::{Chromium, SIZES, output},
    fake::{self, Fake, issuance},
    states::Page,
};

const FIXTURES: usize = 32;
const UPDATES: usize = 200;
const EVERY: Duration = Duration::from_millis(20);

/// 32 fixtures and fifty updates a second: the browser's main thread is never all taken, by its own count of
/// the processor's, which other programs do not touch; and in the end every tile shows the last of it. How soon the page
/// painted and how long an update took is told in `figures.json`, and is no gate: the machine has others to serve.
#[tokio::test(flavor = "multi_thread")]
async fn many_updates_leave_the_screen_smooth() {
    let fake = Fake::start().await;
    let name = |number: usize| format!("fixture-{number}");
    fake.script(|script| {
        script.station.fixtures = (1..=FIXTURES).map(|number| fake::fixture(&name(number), None)).collect();
    });
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[1]).await;
    chromium.open(&page.origin).await;
    chromium.until("#tile-fixture-32").await;
    let painted = chromium.script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime").await;
    chromium
        .script(
            "window.frames = 0; const count = () => { frames += 1; requestAnimationFrame(count); }; count();
             window.long = 0; new PerformanceObserver((list) => { long += list.getEntries().length; })
                .observe({ type: 'longtask' });",
        )
        .await;
    let before = chromium.busy_seconds().await;
    let begun = Instant::now();
    let mut every = tokio::time::interval(EVERY);
    let steps = [State::DeviceIdentified, State::KeyGenerated, State::RequestSigned, State::Submitted, State::Written];
    for update in 0..UPDATES {
        every.tick().await;
        let mut shown = issuance(&format!("SN-{update}"), steps[update % steps.len()]);
        shown.fixture = name(update % FIXTURES + 1);
        shown.sequence = update as u64 + 1;
        fake.shows(&name(update % FIXTURES + 1), shown);
    }
    let last = Instant::now();
    let tile = format!("#tile-{} .serial", name((UPDATES - 1) % FIXTURES + 1));
    let text = format!("SN-{}", UPDATES - 1);
    while chromium.text(&tile).await != text {
        assert!(last.elapsed() < Duration::from_secs(30), "the last update did not come");
    }
    let (elapsed, busy) = (begun.elapsed().as_secs_f64(), chromium.busy_seconds().await - before);
    let frames = chromium.script("return [frames, long]").await;
    let shown = chromium.script("return document.querySelectorAll('.tile .serial').length").await;
    assert_eq!(shown, json!(FIXTURES), "every tile shows its device");
    let figures = json!({
        "updates": UPDATES,
        "seconds": elapsed,
        "main thread, processor seconds": busy,
        "frames, long tasks": frames,
        "first contentful paint, milliseconds": painted,
        "last update until it was read through WebDriver, milliseconds": last.elapsed().as_millis() as u64,
    });
    let file = output("figures.json");
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    fs::write(file, format!("{figures:#}\n")).expect("written");
    // Of a core that it has for itself it draws what it can: more than twice as many frames as one that is shared.
    assert!(busy / elapsed < 0.9, "the main thread does nothing else: {figures:#}");
    // Not more often than the station speaks: an update that changes nothing for a tile does not touch it.
    fake.happens(Change::Lot(fake::lot("LOT-1", 10, 4)));
    chromium.until("#lots progress[value='4']").await;
}
