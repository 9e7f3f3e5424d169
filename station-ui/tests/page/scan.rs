//! A scan, without a script: the form, the redirect, and what is said of it.

use axum::http::{Request, StatusCode, header::COOKIE};
use proto::station::v1::{Failure, issuance::State};
use station_ui::{operators, server::Settings, words::Language};
use tonic::{Code, Status};

use crate::{
    fake::{Fake, issuance, lot},
    visitor::{HOST, Visitor},
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

/// The station's refusals with what they speak of; expects each in words with what to do, in English and in German, and the
/// station's own words beside them for support.
#[tokio::test]
async fn a_refusal_is_worded_by_its_reason() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let german = Visitor::with(fake.client(), Settings { language: Language::German, ..Settings::default() }).await;
    let about = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    for (reason, about, english, other) in [
        (
            "LOT_USED_UP",
            about(&[("lot", "LOT-1"), ("started", "10"), ("quantity", "10")]),
            "is complete, 10 of 10",
            "ist voll",
        ),
        (
            "COMMON_NAME_TAKEN",
            about(&[("device_serial", "SN-1"), ("lot", "LOT-0")]),
            "SN-1 was certified before, in the lot LOT-0",
            "wurde früher zertifiziert",
        ),
        (
            "WRONG_PROFILE",
            about(&[("lot", "LOT-1"), ("profile", "device-ca"), ("asked", "server")]),
            "is for the profile device-ca, not for server",
            "nicht für server",
        ),
        ("FIXTURE_AMBIGUOUS", about(&[("fixtures", "fixture-1, fixture-2")]), "Which fixture?", "Welcher Platz?"),
    ] {
        let status = service::status::refused_about(Code::FailedPrecondition, reason, "in its own words", &about);
        fake.script(|script| script.answer = Err(status));
        let page = visitor.scan("scanned=SN-1").await;
        assert!(page.contains(english) && page.contains("in its own words"), "{reason}: {page}");
        assert!(german.scan("scanned=SN-1").await.contains(other), "{reason}");
    }
    // What a newer station says is told as it says it.
    let status =
        service::status::refused(Code::FailedPrecondition, "MOON_PHASE", "the moon is wrong: wait for another");
    fake.script(|script| script.answer = Err(status));
    let page = visitor.scan("scanned=SN-1").await;
    assert!(page.contains("something else must be done first") && page.contains("wait for another"), "{page}");
}

/// A failed device stands in a fixture: the next scan is held until it is acknowledged by a tap or by its fixture's barcode;
/// the failed device itself goes on.
#[tokio::test]
async fn a_failure_is_acknowledged_before_the_next_scan() {
    let fake = Fake::start().await;
    let mut stopped = issuance("SN-1", State::Failed);
    stopped.failure = Some(Failure { reason: "DEVICE_ABSENT".into(), message: "no answer".into() });
    fake.shows("fixture-1", stopped);
    fake.script(|script| script.answer = Ok(issuance("SN-2", State::Requested)));
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.scan("scanned=SN-2").await;
    assert!(page.contains("fixture-1 has a device to set right"), "{page}");
    assert!(fake.script(|script| script.started.is_empty()));
    assert!(
        visitor.scan("scanned=SN-2&fixture=fixture-2").await.contains("Started"),
        "another fixture is free to go on"
    );
    visitor.scan("scanned=SN-1").await;
    assert_eq!(fake.script(|script| script.started.len()), 2, "the same device is how it goes on");

    let mut events = visitor.events().await;
    let before = events.until("For support: DEVICE_ABSENT: no answer").await;
    assert!(before.contains("Understood"), "{before}");
    assert_eq!(visitor.submit("/acknowledge", &visitor.token, "fixture=fixture-1").await.status, StatusCode::SEE_OTHER);
    let tile = events.until("For support: DEVICE_ABSENT: no answer").await;
    assert!(!tile.contains("Understood"), "{tile}");
    assert!(visitor.scan("scanned=SN-2").await.contains("Started"));

    // It fails once more, which nobody has seen yet.
    let mut again = issuance("SN-1", State::Quarantined);
    again.failure = Some(Failure { reason: "MISMATCH".into(), message: String::new() });
    fake.shows("fixture-1", again);
    events.until("For support: MISMATCH").await;
    assert!(visitor.scan("scanned=SN-2").await.contains("to set right"));
    assert!(visitor.scan("scanned=fixture%3Afixture-1").await.contains("fixture-1: understood"));
    events.until("For support: MISMATCH").await;
    assert!(visitor.scan("scanned=SN-2").await.contains("Started"));
}

/// A line that needs badges: nothing starts without one, the badge goes to the station, and sign-out ends it.
#[tokio::test]
async fn a_badge_comes_first_where_it_is_required() {
    let fake = Fake::start().await;
    fake.script(|script| script.answer = Ok(issuance("SN-1", State::Requested)));
    let required = operators::Settings { required: true, ..operators::Settings::default() };
    let visitor = Visitor::with(fake.client(), Settings { operators: required, ..Settings::default() }).await;
    assert!(visitor.scan("scanned=SN-1").await.contains("scan your badge first"));
    assert!(visitor.scan("scanned=badge%3A").await.contains("The badge is empty"));
    assert!(visitor.scan("scanned=badge%3A%3Cb%3E").await.contains("no badge of this line"));
    assert!(fake.script(|script| script.started.is_empty()));
    assert!(visitor.scan("scanned=badge%3AB-17").await.contains("Signed in: B-17"));
    visitor.scan("scanned=SN-1").await;
    assert_eq!(fake.script(|script| script.started[0].badge.clone()), "B-17");
    visitor.submit("/sign-out", &visitor.token, "").await;
    assert!(visitor.scan("scanned=SN-1").await.contains("scan your badge first"));
}

/// The page speaks the language that the browser asks for, and the one that was chosen before that.
#[tokio::test]
async fn the_page_speaks_the_operators_language() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let ask = |cookie: String| {
        let request =
            Request::get("/").header("host", HOST).header("accept-language", "fr, vi;q=0.8").header(COOKIE, cookie);
        visitor.ask(request.body(axum::body::Body::empty()).unwrap())
    };
    let asked = ask(visitor.cookie.clone()).await.text;
    assert!(asked.contains(r#"<html lang="vi">"#) && asked.contains("Sẵn sàng"), "{asked}");
    let chosen = visitor.submit("/language", &visitor.token, "language=zh").await;
    let cookie = chosen.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(ask(format!("{}; {cookie}", visitor.cookie)).await.text.contains("放入设备并扫描"));
    assert_eq!(visitor.submit("/language", &visitor.token, "language=xx").await.status, StatusCode::BAD_REQUEST);
    // Whoever chooses on another page stays there; nobody is sent elsewhere.
    for (from, to) in [
        (format!("http://{HOST}/lots"), "/lots"),
        (format!("http://{HOST}/issuances/SN-1?notice=7"), "/issuances/SN-1?notice=7"),
        (format!("http://{HOST}.evil.example/lots"), "/"),
        (format!("http://{HOST}//evil.example/"), "/"),
        ("http://evil.example/lots".to_owned(), "/"),
    ] {
        let sent = visitor.submit_from("/language", &from, "language=de").await;
        assert_eq!(sent.headers["location"], to, "{from}");
    }
}
