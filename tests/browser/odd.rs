//! What a stranger would scan and do: the page says what was wrong in words, and goes on.

use std::time::Duration;

use proto::station::v1::{Failure, issuance::State};
use serde_json::json;

use crate::{
    chromium::{Chromium, SIZES, output},
    fake::{Fake, issuance},
    states::{FAINT, OVERFLOWING, Page},
};

/// Scans with nothing in them, without end, with control characters, pictures, markup, another kind's prefix: each is shown as
/// it was scanned, with what to do, and no more of it than fits; the script in it does not run.
#[tokio::test(flavor = "multi_thread")]
async fn odd_scans_are_told_in_words() {
    let fake = Fake::start().await;
    let refusal = service::status::invalid_argument("device_serial", "this is no device serial");
    fake.script(|script| script.answer = Err(refusal));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&page.origin).await;
    let long = "9".repeat(500);
    for (scanned, expected) in [
        (long.as_str(), "Not started: this is no device serial of this lot"),
        ("<script>document.title='x'</script><img src=x onerror=alert(1)>", "Not started: this is no device serial"),
        ("SN-1\u{7}\u{1b}[31m", "Not started: this is no device serial"),
        ("📦🔥 SN", "Not started: this is no device serial"),
        ("' OR 1=1 --", "Not started: this is no device serial"),
        ("../../etc/passwd", "Not started: this is no device serial"),
        ("badge:", "The badge is empty"),
        ("badge:a b", "This is no badge of this line"),
        ("badge:<b>x</b>", "This is no badge of this line"),
        ("fixture:", "This station has no fixture"),
        ("fixture:fixture-99", "This station has no fixture fixture-99"),
        ("BADGE:B-1", "Not started: this is no device serial"),
    ] {
        // As a scanner without a keyboard layout for it would have it.
        chromium.script(&format!("document.getElementById('scanned').value = {}", json!(scanned))).await;
        chromium.script("document.getElementById('notice').replaceChildren()").await;
        chromium.script("document.getElementById('scan').requestSubmit()").await;
        chromium.until("#notice .notice.bad").await;
        let notice = chromium.text("#notice").await;
        assert!(notice.contains(expected), "{scanned}: {notice}");
        assert_eq!(chromium.script(OVERFLOWING).await, json!([]), "{scanned}");
        assert_eq!(chromium.script(FAINT).await, json!([]), "{scanned}");
        assert_eq!(chromium.script("return document.querySelector('#notice img, #notice script')").await, json!(null));
        let kept =
            chromium.script("return document.querySelector('#tiles').getBoundingClientRect().top < innerHeight / 2");
        assert_eq!(kept.await, true, "the tiles stay on the screen: {scanned}");
    }
    chromium.picture(&output("odd-scan.png")).await;
    let before = fake.script(|script| script.started.len());
    for nothing in ["", "   ", "\t"] {
        chromium.script(&format!("document.getElementById('scanned').value = {}", json!(nothing))).await;
        chromium.keys("\u{E007}").await;
    }
    chromium.scan("fixture:fixture-1").await;
    chromium.until("#notice .notice.plain").await;
    assert_eq!(fake.script(|script| script.started.len()), before, "nothing is no scan");
    // The title is the station's: no script ran.
    assert_eq!(chromium.script("return document.title").await, "station-1");
    chromium.is_clean(&page.origin).await;
}

/// Two scans in the same breath, then a reload before the answer; two tabs of one operator: nothing is lost, nothing is started
/// twice by the page, an acknowledgement in one tab is one in the other, and so is the badge.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_and_tabs_lose_nothing() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&page.origin).await;
    chromium.scan("badge:B-17").await;
    chromium.until("#operator strong").await;
    let both = "for (const serial of ['SN-1', 'SN-2']) {
          document.getElementById('scanned').value = serial;
          document.getElementById('scan').requestSubmit();
        }";
    chromium.script(both).await;
    let second = fantoccini::Locator::XPath("//*[@id='notice']//code[text()='SN-2']");
    chromium.client.wait().at_most(Duration::from_secs(30)).for_element(second).await.expect("the second's notice");
    let started = |fake: &Fake| {
        fake.script(|script| {
            script.started.iter().map(|one| (one.device_serial.clone(), one.badge.clone())).collect::<Vec<_>>()
        })
    };
    let expected = ["SN-1", "SN-2"].map(|serial| (serial.to_owned(), "B-17".to_owned()));
    assert_eq!(started(&fake), expected);
    chromium.client.refresh().await.expect("again");
    chromium.until("html[data-page=live]").await;
    chromium.until("#operator strong").await;
    assert_eq!(started(&fake), expected, "a reload sends nothing again");

    let first = chromium.client.window().await.expect("a tab");
    let other = chromium.client.new_window(true).await.expect("another tab").handle;
    chromium.client.switch_to_window(other.clone()).await.expect("there");
    chromium.open(&page.origin).await;
    assert!(chromium.text("#operator").await.contains("B-17"));
    let mut stopped = issuance("SN-3", State::Failed);
    stopped.failure = Some(Failure { reason: "DEVICE_ABSENT".into(), message: "m".into() });
    fake.shows("fixture-2", stopped);
    chromium.until("#tile-fixture-2.attention").await;
    chromium.client.switch_to_window(first.clone()).await.expect("back");
    chromium.until("#tile-fixture-2.attention").await;
    chromium.script("document.querySelector('#tile-fixture-2 .acknowledge').click()").await;
    chromium.until("#tile-fixture-2:not(.attention)").await;
    chromium.client.switch_to_window(other).await.expect("there");
    chromium.until("#tile-fixture-2:not(.attention)").await;
    // Signed out here, the other tab is nobody's either.
    chromium.script("document.querySelector('#operator button').click()").await;
    chromium.until("#operator .nobody").await;
    chromium.until("html[data-page=live]").await;
    chromium.client.switch_to_window(first).await.expect("back");
    chromium.scan("SN-4").await;
    chromium.until("#operator .nobody").await;
    chromium.until("#notice .notice.good").await;
    assert_eq!(started(&fake).last(), Some(&("SN-4".to_owned(), String::new())));
}
