//! How soon the page paints, and how soon an event of the station is on it: told beside the promise. Time is no gate; what costs
//! it is: what stands before the first paint, and how often an event is drawn.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use line::{Line, Options};
use proto::station::v1::{OpenLotRequest, event::Change, issuance::State};
use serde_json::{Value, json};

use crate::{
    chromium::{Chromium, SIZES, output},
    fake::{self, Fake, issuance},
    states::Page,
};

/// What DESIGN promises, milliseconds.
const PROMISED: f64 = 100.0;
/// The page and its one style sheet: whatever else is asked for, is asked for beside the first paint.
const BEFORE_PAINT: u64 = 2;
/// Octets of the page with everything that it ever asks for.
const OCTETS_MOST: u64 = 160 * 1024;

/// What the browser counted of its own loading.
const LOADED: &str = "
    const loaded = performance.getEntriesByType('resource').filter((one) => !one.name.endsWith('/events'));
    const page = performance.getEntriesByType('navigation')[0];
    return {
      paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null,
      blocking: 1 + loaded.filter((one) => one.renderBlockingStatus === 'blocking').length,
      requests: 1 + loaded.length,
      octets: page.transferSize + loaded.reduce((sum, one) => sum + one.transferSize, 0),
    };";

/// Notes when each tile of the second fixture came onto the page, by the machine's clock, and which parts were replaced.
const NOTE: &str = "
    window.came = []; window.parts = [];
    new MutationObserver((list) => {
      const now = performance.timeOrigin + performance.now();
      for (const one of list.flatMap((change) => [...change.addedNodes])) {
        if (!one.id) continue;
        parts.push(one.id);
        if (one.id === 'tile-fixture-2') came.push([one.querySelector('.serial')?.textContent, now]);
      }
    }).observe(document.body, { childList: true, subtree: true });";

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1000.0
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

async fn paints(chromium: &Chromium, url: &str) -> (Vec<f64>, Value) {
    let mut times = Vec::new();
    let mut last = Value::Null;
    for _ in 0..7 {
        chromium.open(url).await;
        // A headless browser paints when it is asked for a frame.
        chromium.script("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").await;
        last = chromium.script(LOADED).await;
        times.extend(last["paint"].as_f64());
    }
    (times, last)
}

/// On the demo's line the page paints and asks for no more than it needs; an event of the station is drawn once, in its own tile,
/// and nothing else is. The times are printed and kept in `target/browser/quick.json`.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_paints_and_follows_at_once() {
    let line = Line::start(Options::default()).await.expect("a line");
    let lot = OpenLotRequest { lot: "LOT-1".into(), profile: "device-ca".into(), quantity: 10 };
    line.mes().expect("a client").open_lot(lot).await.expect("a lot");
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[1]).await;
    let origin = line.page_url().expect("a page");
    let (mut demo, loaded) = paints(&chromium, &origin).await;
    assert_eq!(loaded["blocking"], json!(BEFORE_PAINT), "requests before the first paint: {loaded}");
    assert!(loaded["octets"].as_u64().expect("a number") < OCTETS_MOST, "{loaded}");
    let mut other = Vec::new();
    for path in ["lots", "find", "golden", "station"] {
        let (mut times, loaded) = paints(&chromium, &format!("{origin}/{path}")).await;
        assert_eq!(loaded["blocking"], json!(BEFORE_PAINT), "{path}: {loaded}");
        other.push((path, median(&mut times)));
    }

    let fake = Fake::start().await;
    let page = Page::of(&fake).await;
    chromium.open(&page.origin).await;
    fake.shows("fixture-2", issuance("SN-0", State::Requested));
    chromium.until("#tile-fixture-2[data-kind=working]").await;
    chromium.script(NOTE).await;
    let mut sent = Vec::new();
    for number in 1..=20_u64 {
        let mut shown = issuance(&format!("SN-{number}"), State::Requested);
        (shown.fixture, shown.sequence) = ("fixture-2".into(), number + 1);
        sent.push(now());
        fake.shows("fixture-2", shown);
        let serial = format!("SN-{number}");
        while chromium.text("#tile-fixture-2 .serial").await != serial {}
    }
    let came = chromium.script("return came").await;
    let came = came.as_array().expect("tiles");
    let mut took: Vec<f64> = Vec::new();
    for (number, sent) in (1..).zip(&sent) {
        let serial = json!(format!("SN-{number}"));
        let first = came.iter().find(|one| one[0] == serial).expect("it came");
        took.push(first[1].as_f64().expect("a time") - sent);
    }
    assert_eq!(came.len(), sent.len(), "an event is drawn once: {came:?}");
    let parts = chromium.script("return [...new Set(parts)]").await;
    assert_eq!(parts, json!(["tile-fixture-2"]), "nothing but its tile is drawn");
    // What changes nothing draws nothing: a lot's count is another part.
    fake.happens(Change::Lot(fake::lot("LOT-1", 10, 4)));
    chromium.until("#lots progress[value='4']").await;
    assert_eq!(chromium.script("return came.length").await, json!(sent.len()));

    let longest = took.iter().copied().fold(0.0, f64::max);
    let figures = json!({
        "promised, milliseconds": PROMISED,
        "first contentful paint on the demo, median of 7, milliseconds": median(&mut demo),
        "other pages": other.iter().map(|(path, time)| json!([path, time])).collect::<Vec<_>>(),
        "requests before it, in all, octets in all": [loaded["blocking"], loaded["requests"], loaded["octets"]],
        "an event until its tile stands, median and longest of 20, milliseconds": [median(&mut took), longest],
    });
    println!("{figures:#}");
    let file = output("quick.json");
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    fs::write(file, format!("{figures:#}\n")).expect("written");
}
