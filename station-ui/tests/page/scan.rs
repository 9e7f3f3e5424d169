//! A scan, without a script: the form, the redirect, and what is said of it.

use axum::http::StatusCode;
use proto::station::v1::issuance::State;
use tonic::Status;

use crate::{
    fake::{Fake, issuance, lot},
    visitor::Visitor,
};

/// Scans with one open lot and no choice; expects the station asked for that lot, and the result after a redirect.
#[tokio::test]
async fn a_scan_starts_the_device_in_the_only_lot() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.scan("scanned=%20SN-1%0D&fixture=&lot=").await;
    assert!(page.contains("Started in fixture-1") && page.contains("SN-1"), "{page}");
    let started = fake.script(|script| script.started.clone());
    let [one] = started.as_slice() else { panic!("{started:?}") };
    assert_eq!((one.device_serial.as_str(), one.lot.as_str(), one.fixture.as_str()), ("SN-1", "LOT-1", ""));
}

/// The station refuses; expects its words, what was scanned, and the chosen fixture still chosen.
#[tokio::test]
async fn a_refusal_shows_the_stations_words_and_loses_nothing() {
    let fake = Fake::start().await;
    let words = "device_serial: `SN 1` holds a space; scan the device's own barcode";
    fake.script(|script| script.answer = Err(Status::invalid_argument(words)));
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.scan("scanned=SN+1&fixture=fixture-2").await;
    assert!(page.contains("Not started: the station does not accept this"), "{page}");
    assert!(page.contains(words) && page.contains(r#"<code class="scanned">SN 1</code>"#), "{page}");
    assert!(page.contains(r#"value="fixture-2" checked"#), "{page}");
    assert_eq!(fake.script(|script| script.started[0].fixture.clone()), "fixture-2");
}

/// A device that is done is scanned once more; expects to read what to do with it.
#[tokio::test]
async fn a_device_that_is_done_says_so() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Completed)));
    let visitor = Visitor::new(fake.client()).await;
    assert!(visitor.scan("scanned=SN-1").await.contains("Ship it: this device was started before"));
}

/// Two lots are open: nothing is started before one is chosen, unless only one of them is unfinished.
#[tokio::test]
async fn with_two_lots_one_is_chosen() {
    let fake = Fake::start().await;
    fake.script(|script| {
        script.lots = vec![lot("LOT-1", 10, 3), lot("LOT-2", 5, 4)];
        script.answer = Ok(issuance("SN-1", State::Requested));
    });
    let visitor = Visitor::new(fake.client()).await;
    assert!(visitor.scan("scanned=SN-1&lot=").await.contains("choose the lot, then scan again"));
    assert!(fake.script(|script| script.started.is_empty()));
    let page = visitor.scan("scanned=SN-1&lot=LOT-2").await;
    assert!(page.contains(r#"<option value="LOT-2" selected>LOT-2: 4 of 5 done"#), "it stays chosen: {page}");
    assert_eq!(fake.script(|script| script.started[0].lot.clone()), "LOT-2");
    fake.script(|script| script.lots = vec![lot("LOT-1", 10, 3), lot("LOT-2", 5, 5)]);
    let visitor = Visitor::new(fake.client()).await;
    visitor.scan("scanned=SN-1&lot=").await;
    assert_eq!(fake.script(|script| script.started[1].lot.clone()), "LOT-1");
}

/// No lot is open; expects a sentence and no question to the station.
#[tokio::test]
async fn without_a_lot_nothing_is_started() {
    let fake = Fake::start().await;
    fake.script(|script| script.lots.clear());
    let visitor = Visitor::new(fake.client()).await;
    assert!(visitor.scan("scanned=SN-1").await.contains("no lot is open"));
    assert!(fake.script(|script| script.started.is_empty()));
}

/// A fixture's barcode chooses it for the next scan, and is no device.
#[tokio::test]
async fn a_fixtures_barcode_chooses_it() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.scan("scanned=fixture%3Afixture-2").await;
    assert!(page.contains("fixture-2 is chosen: scan the device"), "{page}");
    assert!(page.contains(r#"value="fixture-2" checked"#), "{page}");
    assert!(visitor.scan("scanned=fixture%3Anone").await.contains("no fixture none"));
    assert!(fake.script(|script| script.started.is_empty()));
}

/// The station is gone; expects that the scan says so and is still shown.
#[tokio::test]
async fn without_a_station_a_scan_is_not_lost_silently() {
    let mut fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    fake.stop();
    events.until("The station does not answer").await;
    let page = visitor.scan("scanned=SN-9").await;
    assert!(page.contains("Not started: the station does not answer") && page.contains("SN-9"), "{page}");
}

/// The script's way: the answer is the notice alone, and no redirect.
#[tokio::test]
async fn a_live_page_gets_the_notice_alone() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let visitor = Visitor::new(fake.client()).await;
    let answer = visitor.post("scanned=SN-1&live=1").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.starts_with(r#"<p class="notice good" data-tone="good""#), "{}", answer.text);
}
