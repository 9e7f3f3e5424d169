//! What a real station shows only in bad hours, forced by a fake one: every state, and the loss of either connection.

use std::time::{Duration, SystemTime};

use fantoccini::Locator;
use proto::station::v1::{Failure, Queue, event::Change, issuance::State};
use serde_json::json;
use service::shutdown::Shutdown;
use station_ui::{
    guard::Hosts,
    server::{self, Settings},
};

use crate::{
    chromium::{Chromium, SIZES, Size, output},
    fake::{self, Fake, issuance},
};

/// A page in this process.
pub(crate) struct Page {
    pub(crate) origin: String,
    shutdown: Shutdown,
}

impl Page {
    pub(crate) async fn of(fake: &Fake) -> Self {
        Self::at(fake, "127.0.0.1:0").await
    }

    async fn at(fake: &Fake, address: &str) -> Self {
        let listener = server::bind(address.parse().expect("an address")).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let shutdown = Shutdown::new();
        let routes = server::routes(fake.client(), Hosts::new(address, &[]), Settings::default(), shutdown.clone())
            .expect("routes");
        tokio::spawn(server::serve(listener, routes, shutdown.clone()));
        Self { origin: format!("http://{address}"), shutdown }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

fn failed(device_serial: &str, state: State, reason: &str, message: &str, next: &str) -> proto::station::v1::Issuance {
    let mut failed = issuance(device_serial, state);
    failed.stopped_in = State::KeyGenerated.into();
    failed.failure = Some(Failure { reason: reason.into(), message: message.into() });
    failed.next_action = next.into();
    failed
}

/// What an operator sees on a bad day.
pub(crate) fn bad_day(fake: &Fake) {
    fake.script(|script| {
        script.station.fixtures = (1..=6).map(|number| fake::fixture(&format!("fixture-{number}"), None)).collect();
        script.lots.push(fake::lot("LOT-2026-118", 500, 211));
    });
    fake.shows("fixture-1", issuance("SN-2026-000118", State::ResidencyProven));
    fake.shows("fixture-2", issuance("SN-2026-000119", State::Completed));
    fake.shows("fixture-3", issuance("SN-2026-000120", State::Submitted));
    fake.shows(
        "fixture-4",
        failed(
            "SN-2026-000121",
            State::Failed,
            "DEVICE_ABSENT",
            "No device answers in the fixture.",
            "Put the device in the fixture and scan it again.",
        ),
    );
    fake.shows(
        "fixture-5",
        failed(
            "SN-2026-000122",
            State::Quarantined,
            "MISMATCH",
            "The certificate on the device is not the one that was written.",
            "Set the device aside for a supervisor.",
        ),
    );
    authority(fake, false);
}

fn authority(fake: &Fake, link_up: bool) {
    let changed = SystemTime::now() - Duration::from_secs(754);
    let station = fake.script(|script| {
        script.station.queue = Some(Queue {
            length: u64::from(!link_up) * 3,
            bound: 100_000,
            link_up,
            link_time: Some(changed.into()),
            last_error: if link_up { String::new() } else { "ca-1 at localhost:7443: connection refused".into() },
            ..Queue::default()
        });
        script.station.clone()
    });
    fake.happens(Change::Station(station));
}

/// Every element whose text does not fit, or that stands outside of the screen.
pub(crate) const OVERFLOWING: &str = r#"
    const wide = document.documentElement;
    const over = wide.scrollWidth > wide.clientWidth ? ["the page is wider than the screen"] : [];
    for (const one of document.querySelectorAll(".tile, header, #scan, .alert, .notice")) {
      if (one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1) over.push(one.id + " " + one.className);
    }
    return over;
"#;

/// Contrast by WCAG 2.2 of every text that is shown, against the nearest ground behind it; those below AA.
pub(crate) const FAINT: &str = r#"
    const light = (colour) => {
      const [r, g, b] = colour.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const parts = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
    const faint = [];
    for (const one of document.querySelectorAll("body *")) {
      const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      const box = one.getBoundingClientRect();
      if (!text || box.width < 2 || !one.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      let ground = [0, 0, 0, 0];
      for (let behind = one; behind; behind = behind.parentElement) {
        const colour = parts(getComputedStyle(behind).backgroundColor);
        const opaque = colour.length < 4 ? 1 : colour[3];
        const rest = 1 - ground[3];
        ground = [0, 1, 2].map((i) => ground[i] + colour[i] * opaque * rest).concat(ground[3] + opaque * rest);
        if (ground[3] > 0.99) break;
      }
      const style = getComputedStyle(one);
      const [a, b] = [light(parts(style.color).slice(0, 3)), light(ground.slice(0, 3))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) faint.push(`${one.className || one.id} "${one.textContent.trim()}" ${ratio.toFixed(2)}`);
    }
    return faint;
"#;

/// After all pictures are taken, so that one look shows all that is wrong.
pub(crate) fn none(faults: Vec<(Size, serde_json::Value)>) {
    let faults: Vec<_> = faults.into_iter().filter(|(_, faults)| *faults != json!([])).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Shows every kind of tile with the CA away, at three sizes; expects all text on the screen and readable.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_fits_and_can_be_read() {
    let fake = Fake::start().await;
    bad_day(&fake);
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.open(&page.origin).await;
    for kind in ["working", "ship-it", "waits", "stopped", "set-aside", "ready"] {
        chromium.until(&format!("[data-kind={kind}]")).await;
    }
    chromium.client.find(Locator::Css("#lot")).await.expect("a choice").select_by_value("LOT-2026-118").await.unwrap();
    let refusal = service::status::invalid_argument("device_serial", "`SN 2026` holds a space");
    fake.script(|script| script.answer = Err(refusal));
    // A failure is held until somebody has taken notice: here of one by a tap, of the other not at all.
    chromium.scan("SN 2026").await;
    chromium.until(".notice.bad").await;
    assert!(chromium.text("#notice").await.contains("fixture-4 has a device to set right"));
    chromium.script("document.querySelector('#tile-fixture-4 .acknowledge').click()").await;
    chromium.until("#tile-fixture-4:not(.attention)").await;
    chromium.scan("fixture:fixture-6").await;
    chromium.until("input[value=fixture-6]:checked").await;
    chromium.scan("SN 2026").await;
    chromium.until("#notice small").await;
    let mut faults = Vec::new();
    for size in SIZES {
        chromium.resize(size).await;
        chromium.picture(&output(&format!("states-{}x{}.png", size.0, size.1))).await;
        faults.push((size, chromium.script(OVERFLOWING).await));
        faults.push((size, chromium.script(FAINT).await));
    }
    none(faults);
    chromium.is_clean(&page.origin).await;
}

/// Four fixtures and an ordinary hour; the picture that a person looks at first.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_hour_fits() {
    let fake = Fake::start().await;
    fake.script(|script| {
        script.station.fixtures = (1..=4).map(|number| fake::fixture(&format!("fixture-{number}"), None)).collect();
    });
    fake.shows("fixture-1", issuance("SN-2026-000118", State::Completed));
    fake.shows("fixture-2", issuance("SN-2026-000119", State::WriteStarted));
    fake.shows("fixture-3", issuance(&"SN-2026-000120.".repeat(4), State::KeyGenerationStarted));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.open(&page.origin).await;
    let mut faults = Vec::new();
    for size in SIZES {
        chromium.resize(size).await;
        chromium.picture(&output(&format!("ordinary-{}x{}.png", size.0, size.1))).await;
        faults.push((size, chromium.script(OVERFLOWING).await));
    }
    fake.script(|script| {
        script.station.fixtures = (1..=32)
            .map(|number| fake::fixture(&format!("fixture-{number}"), Some(issuance("SN-1", State::Completed))))
            .collect();
    });
    fake.happens(Change::Station(fake.script(|script| script.station.clone())));
    chromium.until("#tile-fixture-32").await;
    for size in SIZES {
        chromium.resize(size).await;
        chromium.picture(&output(&format!("many-{}x{}.png", size.0, size.1))).await;
        faults.push((size, chromium.script(OVERFLOWING).await));
    }
    none(faults);
}

/// The station dies and comes back; then the page's own server. Expects nothing old shown as current, and the scan
/// after all that to work without a reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_shown_and_comes_back() {
    let mut fake = Fake::start().await;
    fake.shows("fixture-1", issuance("SN-1", State::Completed));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&page.origin).await;
    chromium.until("#tile-fixture-1[data-kind=ship-it]:not(.stale)").await;

    fake.stop();
    chromium.until("#tile-fixture-1.stale").await;
    let tile = chromium.text("#tile-fixture-1").await;
    assert!(tile.contains("Reconnecting") && tile.contains("Last known: Ship it"), "{tile}");
    assert!(chromium.text("#alerts").await.contains("The station does not answer"));
    assert_eq!(chromium.script(FAINT).await, json!([]));
    chromium.picture(&output("stale-station.png")).await;
    fake.serve().await;
    chromium.until("#tile-fixture-1:not(.stale)").await;
    chromium.is_clean(&page.origin).await;

    let origin = page.origin.clone();
    drop(page);
    chromium.until("html[data-page=lost]").await;
    assert!(chromium.text("#page-lost").await.contains("lost its connection"));
    assert!(chromium.text("#tile-fixture-1").await.contains("Do not ship by this screen"));
    assert_eq!(chromium.script(FAINT).await, json!([]));
    chromium.picture(&output("stale-page.png")).await;
    chromium.scan("SN-2").await;
    chromium.until(".notice.bad").await;
    assert!(chromium.text("#notice").await.contains("SN-2"));

    // The streams that were cut still close.
    let address = origin.strip_prefix("http://").expect("an origin");
    let again = tokio::time::timeout(Duration::from_secs(30), async {
        while tokio::net::TcpListener::bind(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Page::at(&fake, address).await
    });
    let again = again.await.expect("the address is free again");
    chromium.until("html[data-page=live]").await;
    fake.script(|script| script.answer = Ok(issuance("SN-2", State::Requested)));
    // What was scanned stands in the field, so that Enter alone tries again.
    chromium.keys("\u{E007}").await;
    chromium.until(".notice.good").await;
    assert_eq!(
        fake.script(|script| script.started.last().map(|one| one.device_serial.clone())).as_deref(),
        Some("SN-2")
    );
    drop(again);
}

/// A scanner types wherever the focus is; expects it in the field, and fixtures chosen by tap, key and barcode.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_lands_in_the_field_from_anywhere() {
    let fake = Fake::start().await;
    fake.script(|script| {
        script.lots.push(fake::lot("LOT-2", 5, 0));
        script.answer = Ok(issuance("SN-1", State::Requested));
    });
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(Size(1024, 600)).await;
    chromium.open(&page.origin).await;

    // Without a lot nothing starts, and what was scanned stays to be sent with Enter.
    chromium.scan("SN-1").await;
    chromium.until(".notice.bad").await;
    let lot = chromium.client.find(Locator::Css("#lot")).await.expect("a choice of lots");
    lot.select_by_value("LOT-2").await.expect("chosen");

    // A tap on a tile chooses it; a second one takes it back.
    let tile = chromium.client.find(Locator::Css("#tile-fixture-2")).await.expect("a tile");
    tile.click().await.expect("tapped");
    chromium.until("input[value=fixture-2]:checked").await;
    tile.click().await.expect("tapped");
    chromium.until("#any:checked").await;
    tile.click().await.expect("tapped");

    // From the choice of a lot, where the focus may have stayed.
    chromium.script("document.getElementById('lot').focus()").await;
    let keys = chromium.client.active_element().await.expect("focus");
    keys.send_keys("\u{E008}").await.expect("a key");
    chromium.script("document.querySelector('button').focus()").await;
    chromium.script("document.getElementById('scanned').value = ''").await;
    chromium.keys("S").await;
    chromium.scan("N-7").await;
    chromium.until(".notice.good").await;
    let last = fake.script(|script| script.started.last().cloned()).expect("started");
    assert_eq!((last.device_serial.as_str(), last.lot.as_str(), last.fixture.as_str()), ("SN-7", "LOT-2", "fixture-2"));
    chromium.until("#any:checked").await;

    chromium.scan("fixture:fixture-1").await;
    chromium.until("input[value=fixture-1]:checked").await;
    // A live update leaves both choices alone.
    fake.shows("fixture-1", issuance("SN-7", State::Written));
    chromium.until("#tile-fixture-1[data-kind=working]").await;
    chromium.until("input[value=fixture-1]:checked").await;
    assert_eq!(chromium.script("return document.getElementById('lot').value").await, json!("LOT-2"));
    chromium.is_clean(&page.origin).await;
}

/// Twenty scans as fast as keys come; expects all of them at the station, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_fast_hand_loses_no_scan() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.open(&page.origin).await;
    let serials: Vec<String> = (1..=20).map(|number| format!("SN-{number}")).collect();
    let typed: String = serials.iter().map(|serial| format!("{serial}\u{E007}")).collect();
    chromium.keys(&typed).await;
    let last = Locator::XPath("//*[@id='notice']//code[text()='SN-20']");
    chromium.client.wait().at_most(Duration::from_secs(30)).for_element(last).await.expect("the last one's notice");
    let started: Vec<String> =
        fake.script(|script| script.started.iter().map(|one| one.device_serial.clone()).collect());
    assert_eq!(started, serials);
}

/// A browser whose scripts are off: the form starts a device and shows the result.
#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_the_form_still_works() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.scripts_off().await;
    chromium.client.goto(&page.origin).await.expect("the page");
    chromium.until("#scanned").await;
    chromium.scan("SN-1").await;
    chromium.until(".notice.good").await;
    assert!(chromium.text("#notice").await.contains("Started in fixture-1"));
}
