//! What the page shows, and that it stays current or says that it is not.

use proto::station::v1::{Failure, Queue, event::Change, issuance::State};

use crate::{
    fake::{self, Fake, issuance},
    visitor::{SOON, Visitor},
};

/// Opens a stream after the fact, and expects the whole state in it before anything else happens.
#[tokio::test]
async fn a_browser_first_gets_everything() {
    let fake = Fake::start().await;
    fake.shows("fixture-2", issuance("SN-7", State::Completed));
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    let first = events.until(r#"id="tile-fixture-2""#).await;
    assert!(first.starts_with("event: token\ndata: "), "{first}");
    for part in [r#"id="station""#, r#"id="alerts""#, r#"id="lots""#, r#"id="tiles""#, r#"id="tile-fixture-1""#] {
        assert!(first.contains(part), "{part}");
    }
    events.until("SN-7.ca").await;
}

/// A device goes through its steps; expects each in the stream, and only its own tile in it.
#[tokio::test]
async fn a_step_reaches_the_browser_as_one_tile() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    events.until(r#"id="tile-fixture-2""#).await;
    fake.shows("fixture-1", issuance("SN-1", State::Requested));
    events.until("Step 1 of 11").await;
    fake.happens(Change::Issuance(issuance("SN-1", State::Written)));
    let update = events.until("Step 10 of 11").await;
    assert!(update.contains(r#"id="tile-fixture-1""#) && !update.contains("fixture-2"), "{update}");
    fake.shows("fixture-1", issuance("SN-1", State::Completed));
    events.until("Ship it").await;
    assert!(visitor.get("/").await.text.contains("Ship it"), "a page that is opened later shows the same");
}

/// An event that a replay repeats, or that is about a device that left the fixture, does not change the tile.
#[tokio::test]
async fn an_old_event_changes_nothing() {
    let fake = Fake::start().await;
    fake.shows("fixture-1", issuance("SN-2", State::Completed));
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    events.until("SN-2.ca").await;
    fake.happens(Change::Issuance(issuance("SN-2", State::Written)));
    fake.happens(Change::Issuance(issuance("SN-1", State::Issued)));
    // Not the station as a whole, which would set right what the two had spoilt.
    fake.happens(Change::Lot(fake::lot("LOT-1", 10, 4)));
    let update = events.until("4 of 10 done").await;
    assert!(!update.contains("fixture-1"), "{update}");
    assert!(visitor.get("/").await.text.contains("Ship it"));
}

/// Stops the station, expects every tile stale; starts it with news, expects them after the sequence that was seen.
#[tokio::test]
async fn a_restart_of_the_station_is_seen_and_survived() {
    let mut fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    let seen = fake.shows("fixture-1", issuance("SN-1", State::Completed));
    events.until("Ship it").await;

    fake.stop();
    events.until("The station does not answer: reconnecting").await;
    let tile = events.until("Last known:").await;
    assert!(tile.contains("stale") && tile.contains("Do not ship by this screen"), "{tile}");
    let page = visitor.get("/").await.text;
    assert!(page.contains(r#"data-link="lost""#), "a page that is opened now is stale from the beginning");
    assert!(!page.contains("data-result"), "and announces no result");
    assert!(visitor.get("/healthz").await.text.contains("not connected"));

    fake.shows("fixture-2", issuance("SN-2", State::Quarantined));
    fake.serve().await;
    let back = events.until("SN-2</span>").await;
    assert!(back.contains(r#"data-link="live""#) && !back.contains("does not answer"), "{back}");
    assert_eq!(fake.script(|script| script.watched.last().copied()), Some(Some(seen)));
}

/// Starts the page before its station; expects words and no tiles.
#[tokio::test]
async fn a_page_that_never_met_its_station_says_so() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    fake.stop();
    let routes = station_ui::server::routes(
        client,
        station_ui::guard::Hosts::new(crate::visitor::HOST.parse().unwrap(), &[]),
        station_ui::server::Settings::default(),
        service::shutdown::Shutdown::new(),
    )
    .unwrap();
    let request = axum::http::Request::get("/").header("host", crate::visitor::HOST).body(axum::body::Body::empty());
    let response = tower::ServiceExt::oneshot(routes, request.unwrap()).await.unwrap();
    let octets =
        tokio::time::timeout(SOON, axum::body::to_bytes(response.into_body(), 1 << 20)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&octets).contains("Looking for the station"));
}

/// The station comes back with a journal that begins anew; expects the page to start over by itself.
#[tokio::test]
async fn a_new_journal_is_followed_from_its_beginning() {
    let mut fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    fake.shows("fixture-1", issuance("SN-1", State::Completed));
    events.until("SN-1.ca").await;
    fake.stop();
    events.until("Last known:").await;
    fake.script(|script| {
        script.events.clear();
        script.station.fixtures[0].issuance = Some(issuance("SN-2", State::Requested));
    });
    fake.serve().await;
    events.until("SN-2.ca").await;
    assert_eq!(fake.script(|script| script.watched.last().copied()), Some(None));
}

/// The CA goes away with three devices waiting, and comes back; expects the banner to come and go.
#[tokio::test]
async fn the_banner_says_how_many_wait_for_the_authority() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    let queue = |link_up, length| Queue {
        length,
        bound: 100,
        link_up,
        link_time: Some(std::time::SystemTime::now().into()),
        last_error: if link_up { String::new() } else { "connection refused".into() },
        drain_duration: (!link_up).then_some(prost_types::Duration { seconds: 20, nanos: 0 }),
        ..Queue::default()
    };
    let tell = |queue: Queue| {
        let station = fake.script(|script| {
            script.station.queue = Some(queue);
            script.station.clone()
        });
        fake.happens(Change::Station(station));
    };
    tell(queue(false, 3));
    events.until("The CA is away: 3 devices wait").await;
    let rest = events.until("connection refused").await;
    assert!(rest.contains("Go on scanning") && rest.contains("data-elapsed"), "{rest}");
    assert!(rest.contains("done in about 21 seconds"), "{rest}");
    tell(queue(false, 100));
    events.until("Start no new devices").await;
    tell(queue(true, 0));
    let gone = events.until(r#"<div id="alerts" role="status" aria-live="polite"></div>"#).await;
    assert!(!gone.contains("The CA is away"), "{gone}");
}

/// The station halts; expects its words, and no fixture that claims to be ready.
#[tokio::test]
async fn a_halted_station_is_not_ready() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let mut events = visitor.events().await;
    let station = fake.script(|script| {
        script.station.halted = "The disk is full: call the administrator.".into();
        script.station.clone()
    });
    fake.happens(Change::Station(station));
    events.until("The disk is full: call the administrator.").await;
    events.until("Not ready").await;
    let page = visitor.get("/").await.text;
    assert!(page.contains("The station has stopped") && !page.contains(">Ready<"));
}

/// Hostile text in every field that comes from outside; expects none of it as markup, in page, stream and notice.
#[tokio::test]
async fn hostile_text_stays_text() {
    let fake = Fake::start().await;
    let hostile = |place: &str| format!("{place}\"'><script>alert(1)</script>&");
    fake.script(|script| {
        let mut bad = issuance(&hostile("serial"), State::Failed);
        let mut good = issuance("SN-2", State::Completed);
        good.common_name = hostile("cn");
        bad.next_action = hostile("next");
        bad.failure = Some(Failure { reason: hostile("reason"), message: hostile("message") });
        script.station.station = hostile("station");
        script.station.halted = hostile("halted");
        script.station.fixtures =
            vec![fake::fixture(&hostile("fixture"), Some(bad)), fake::fixture("fixture-2", Some(good))];
        script.lots = vec![fake::lot(&hostile("one"), 10, 0), fake::lot(&hostile("two"), 10, 0)];
        script.answer = Err(tonic::Status::invalid_argument(hostile("words")));
        script.station.queue = Some(Queue {
            last_error: hostile("error"),
            link_time: Some(std::time::SystemTime::now().into()),
            ..Queue::default()
        });
    });
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.scan("lot=x&scanned=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    let mut stream = visitor.events().await;
    let streamed = stream.until("For support: reason").await + &stream.until("event: beat").await;
    for (where_, text) in [("page", page), ("stream", streamed)] {
        assert!(!text.contains("<script>alert"), "{where_}");
        assert!(text.contains("&lt;script&gt;alert"), "{where_}");
        for word in ["serial", "cn", "next", "reason", "message", "station", "halted", "fixture", "one", "error"] {
            assert!(text.contains(&format!("{word}&quot;'&gt;&lt;script")), "{word} in {where_}");
        }
    }
}
