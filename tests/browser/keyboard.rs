//! An operator's and a supervisor's hour by keyboard alone: no pointer, no script that clicks.

use fantoccini::Locator;
use proto::station::v1::{Failure, IssuanceStory, issuance::State};

use crate::{
    chromium::{Chromium, SIZES, output},
    fake::{Fake, issuance},
    states::Page,
};

const TAB: &str = "\u{E004}";
const ENTER: &str = "\u{E007}";
const DOWN: &str = "\u{E015}";

/// What has the focus and cannot be seen to have it: neither itself, nor the label of a choice that is drawn instead of it.
const UNSEEN: &str = "
    const has = document.activeElement;
    // Beyond the last stop the browser has the focus, and not the page.
    if (has === document.body || !document.hasFocus()) return null;
    const drawn = [has, has.nextElementSibling].filter(Boolean).map((one) => getComputedStyle(one));
    const seen = drawn.some((style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2);
    return seen ? null : has.outerHTML + drawn.map((style) => style.outline).join();";

/// Presses Tab until this element has the focus; each stop on the way is seen.
async fn tab_to(chromium: &Chromium, selector: &str) {
    for _ in 0..80 {
        let there = format!("return document.activeElement.matches({})", serde_json::json!(selector));
        if chromium.script(&there).await == true {
            return;
        }
        chromium.keys(TAB).await;
        assert_eq!(chromium.script(UNSEEN).await, serde_json::Value::Null, "the focus is not seen");
    }
    panic!("no way to `{selector}` by Tab");
}

async fn follow(chromium: &Chromium, selector: &str, arrived: &str) {
    tab_to(chromium, selector).await;
    chromium.keys(ENTER).await;
    chromium.until(arrived).await;
    chromium.until("html[data-page=live]").await;
}

/// Signs in by badge, scans a device and sees it done, acknowledges another's failure, changes the language, opens every page, and
/// a supervisor decides with badge and PIN: the pad's buttons are reached by Tab and pressed with Space, and digits that are
/// typed land in the field above and never in the PIN.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_by_keyboard_alone() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let page = Page::of(&fake).await;
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&page.origin).await;
    chromium.scan("badge:B-17").await;
    chromium.until("#operator strong").await;
    chromium.scan("SN-1").await;
    chromium.until(".notice.good").await;
    fake.shows("fixture-1", issuance("SN-1", State::KeyGenerationStarted));
    chromium.until("#tile-fixture-1[data-kind=working]").await;
    fake.shows("fixture-1", issuance("SN-1", State::Completed));
    chromium.until("#tile-fixture-1[data-kind=ship-it]").await;

    let mut stopped = issuance("SN-2", State::Quarantined);
    stopped.stopped_in = State::Requested.into();
    stopped.failure = Some(Failure { reason: "NOT_SAME_DEVICE".into(), message: "another fingerprint".into() });
    fake.script(|script| {
        script.stories = vec![IssuanceStory { issuance: Some(stopped.clone()), steps: Vec::new() }];
    });
    fake.shows("fixture-2", stopped);
    chromium.until("#tile-fixture-2.attention").await;
    tab_to(&chromium, "#tile-fixture-2 .acknowledge").await;
    chromium.picture(&output("keyboard-focus.png")).await;
    chromium.keys(" ").await;
    chromium.until("#tile-fixture-2:not(.attention)").await;

    tab_to(&chromium, "#choose-language").await;
    chromium.keys(DOWN).await;
    assert_eq!(chromium.script("return document.documentElement.lang").await, "en", "an arrow alone changes nothing");
    chromium.keys(ENTER).await;
    chromium.until("html[lang=de]").await;
    chromium.until("html[data-page=live]").await;
    follow(&chromium, "nav a[href='/lots']", "nav a[href='/lots'][aria-current]").await;
    assert!(chromium.text("#content").await.contains("Lose"));
    tab_to(&chromium, "#choose-language").await;
    chromium.keys(&format!("\u{E013}{ENTER}")).await;
    chromium.until("html[lang=en]").await;
    chromium.until("nav a[href='/lots'][aria-current]").await;
    chromium.until("html[data-page=live]").await;
    follow(&chromium, "nav a[href='/golden']", "nav a[href='/golden'][aria-current]").await;
    follow(&chromium, "nav a[href='/station']", "nav a[href='/station'][aria-current]").await;
    follow(&chromium, "nav a[href='/find']", "nav a[href='/find'][aria-current]").await;
    // What is typed goes to the one field, wherever the focus is.
    chromium.scan("SN-2").await;
    chromium.until("#supervise").await;
    chromium.until("html[data-page=live]").await;

    tab_to(&chromium, "input[name=act]").await;
    chromium.keys(DOWN).await;
    chromium.until("input[value=act-hardware]:checked").await;
    tab_to(&chromium, "#reason").await;
    chromium.keys(DOWN).await;
    chromium.scan("badge:S-1").await;
    chromium.until("#pad button:focus").await;
    for digit in ["2", "7", "1", "8", "2", "8"] {
        tab_to(&chromium, &format!("#pad button[value='{digit}']")).await;
        chromium.keys(" ").await;
    }
    chromium.picture(&output("keyboard-pin.png")).await;
    chromium.keys("9").await;
    let landed =
        chromium.script("return [document.getElementById('scanned').value, document.getElementById('pin').value]");
    assert_eq!(landed.await, serde_json::json!(["9", "271828"]), "a digit that is typed is a scan");
    chromium.keys("\u{E003}").await;
    tab_to(&chromium, "#decide").await;
    chromium.keys(" ").await;
    chromium.until("#notice .notice.good").await;
    let decided = fake.script(|script| script.decided.clone());
    let expected = ("release with new hardware", "", "S-1", "271828");
    let one = decided.first().map(|(act, why, badge, pin)| (act.as_str(), why.as_str(), badge.as_str(), pin.as_str()));
    assert_eq!((one, decided.len()), (Some(expected), 1));
    follow(&chromium, "nav a[href='/']", "#tiles").await;
    tab_to(&chromium, "#operator button").await;
    chromium.keys(ENTER).await;
    chromium.client.wait().for_element(Locator::Css("#operator .nobody")).await.expect("signed out");
    chromium.is_clean(&page.origin).await;
}
