//! The pages besides the board: lots, search, a device's story, the station's health, and a supervisor's act.

use axum::http::StatusCode;
use prost_types::{Duration, Timestamp};
use proto::station::v1::{
    Failure, Health, Issuance, IssuanceStory, NeededCertificate, Queue, RecordedStep, issuance::State,
    needed_certificate::Purpose,
};
use station_ui::{server::Settings, words::Language};
use tonic::Code;

use crate::{
    fake::{Fake, issuance},
    visitor::Visitor,
};

fn told(serial: &str, state: State) -> IssuanceStory {
    let mut stands = issuance(serial, state);
    stands.certificate_serial = "0a1b".into();
    stands.certificate = vec![0x30, 0x00];
    stands.chain = vec![vec![0x30, 0x00]];
    stands.claimed_by = "B-17".into();
    let step = |sequence, kind: &str| RecordedStep {
        sequence,
        time: Some(Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        kind: kind.into(),
        sentence: format!("<b>{kind}</b> of it"),
        record: Vec::new(),
    };
    IssuanceStory { issuance: Some(stands), steps: vec![step(7, "requested"), step(9, "moon-phase")] }
}

fn set_aside(serial: &str) -> IssuanceStory {
    let mut story = told(serial, State::Quarantined);
    let stands = story.issuance.get_or_insert_default();
    stands.failure = Some(Failure { reason: "NOT_SAME_DEVICE".into(), message: "another fingerprint".into() });
    story
}

/// Searches by each of the three; expects the way to the one story, and words for nothing and for several.
#[tokio::test]
async fn a_device_is_found_by_serial_name_and_certificate() {
    let fake = Fake::start().await;
    fake.script(|script| script.stories = vec![told("SN-1", State::Completed), told("SN-2", State::Completed)]);
    fake.script(|script| {
        script.stories[1].issuance.get_or_insert_default().certificate_serial = "ffff".into();
    });
    let visitor = Visitor::new(fake.client()).await;
    for wanted in ["SN-1", "%20SN-1%0D", "SN-1.ca", "0a1b"] {
        let answer = visitor.get(&format!("/find?wanted={wanted}")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{wanted}");
        assert_eq!(answer.headers["location"], "/issuances/SN-1", "{wanted}");
    }
    assert!(visitor.get("/find?wanted=%3Cscript%3E").await.text.contains("Nothing found for &lt;script&gt;"));
    assert!(visitor.get("/find").await.text.contains("Device serial, CN or certificate serial"));
    fake.script(|script| script.stories.push(told("SN-1", State::Cancelled)));
    assert!(visitor.get("/find?wanted=SN-1").await.text.contains("2 found"));
    assert!(fake.script(|script| script.started.is_empty()), "a search starts nothing");
}

/// Opens a story in two languages; expects the steps in words, with the station's sentences, and the files to download.
#[tokio::test]
async fn a_story_tells_each_step_and_gives_its_files() {
    let fake = Fake::start().await;
    fake.script(|script| script.stories = vec![told("SN-1", State::Completed)]);
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/issuances/SN-1").await.text;
    for expected in
        ["The story of SN-1", "Requested", "moon-phase", "&lt;b&gt;requested&lt;/b&gt; of it", "0a1b", "B-17"]
    {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(page.contains("2026-09-21"), "when: {page}");
    let german = Visitor::with(fake.client(), Settings { language: Language::German, ..Settings::default() }).await;
    assert!(german.get("/issuances/SN-1").await.text.contains("Angefordert"));

    let certificate = visitor.get("/issuances/SN-1/certificate.pem").await;
    assert!(certificate.headers["content-disposition"].to_str().unwrap().contains("SN-1-certificate.pem"));
    let blocks = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    assert_eq!((blocks(&certificate.text), blocks(&visitor.get("/issuances/SN-1/chain.pem").await.text)), (1, 2));
    let records = visitor.get("/issuances/SN-1/records.json").await.text;
    assert!(records.contains("\"sequence\": 7") && records.contains("issuances/SN-1"), "{records}");
    for nothing in ["/issuances/SN-1/key.pem", "/issuances/SN-9", "/issuances/SN-9/certificate.pem"] {
        assert_eq!(visitor.get(nothing).await.status, StatusCode::NOT_FOUND, "{nothing}");
    }
}

/// A supervisor decides: badge, PIN, act and reason reach the station, the PIN no page; without the token nothing does.
#[tokio::test]
async fn a_supervisors_word_reaches_the_station() {
    let fake = Fake::start().await;
    fake.script(|script| script.stories = vec![set_aside("SN-1"), told("SN-2", State::Completed)]);
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/issuances/SN-1").await.text;
    assert!(page.contains("Label and device do not belong together") && page.contains("Let it go on"), "{page}");
    assert!(page.contains("Cancel it") && !page.contains("Certify again"), "{page}");
    assert!(visitor.get("/issuances/SN-2").await.text.contains("Certify again, with a new key"));

    let decide = |serial: &str, fields: &str| {
        let (path, fields) = (format!("/issuances/{serial}"), fields.to_owned());
        let visitor = &visitor;
        async move {
            let answer = visitor.submit(&path, &visitor.token, &fields).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
            visitor.get(answer.headers["location"].to_str().unwrap()).await.text
        }
    };
    let said = decide("SN-1", "act=act-release&badge=S-1&pin=271828&reason=reason-repaired").await;
    assert!(said.contains("Done: Let it go on") && !said.contains("271828"), "{said}");
    decide("SN-1", "act=act-cancel&badge=S-1&pin=271828&reason=reason-lot").await;
    decide("SN-2", "act=act-rework-key&badge=S-1&pin=271828&reason=nonsense").await;
    let decided = fake.script(|script| script.decided.clone());
    let expected =
        [("release", ""), ("cancel", "It was in the wrong lot"), ("rework with a new key", "The fault was repaired")];
    let expected = expected.map(|(act, why)| (act.to_owned(), why.to_owned(), "S-1".to_owned(), "271828".to_owned()));
    assert_eq!(decided, expected);

    let wrong = service::status::refused(Code::PermissionDenied, "SUPERVISOR_WRONG", "the badge or the PIN is wrong");
    fake.script(|script| script.ruling = Err(wrong));
    assert!(decide("SN-1", "act=act-release&badge=S-1&pin=000000").await.contains("the badge or the PIN is wrong"));
    assert!(decide("SN-1", "act=act-release&badge=&pin=000000").await.contains("badge first"));
    let before = fake.script(|script| script.decided.len());
    let forged = visitor.submit("/issuances/SN-1", "0", "act=act-release&badge=S-1&pin=271828").await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    assert_eq!(fake.script(|script| script.decided.len()), before);
}

/// Two lots, one with a device set aside; expects figures, and the way to what is stuck.
#[tokio::test]
async fn lots_show_what_is_stuck() {
    let fake = Fake::start().await;
    fake.script(|script| {
        script.lots[0].started = 4;
        let of_lot = |mut story: IssuanceStory| {
            story.issuance.get_or_insert_default().lot = "LOT-1".into();
            story
        };
        script.stories = vec![of_lot(set_aside("SN-8")), of_lot(told("SN-9", State::Completed))];
    });
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/lots").await.text;
    assert!(page.contains("3 of 10 done") && page.contains("75 %"), "{page}");
    assert!(page.contains("/issuances/SN-8") && !page.contains("/issuances/SN-9"), "{page}");
    assert!(page.contains("data-renewed"), "it renews itself");
}

/// The CA is away, the disk nearly full, the clock wrong, a certificate at its end; expects all of it in words.
#[tokio::test]
async fn the_station_page_tells_what_may_stop_it() {
    let fake = Fake::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    fake.script(|script| {
        script.station.queue = Some(Queue {
            length: 42,
            bound: 100,
            link_time: Some(Timestamp { seconds: now - 60, nanos: 0 }),
            last_error: "connection refused".into(),
            drain_duration: Some(Duration { seconds: 300, nanos: 0 }),
            in_doubt: 2,
            ..Queue::default()
        });
        let certificate = |purpose: Purpose, name: &str, days: i64| NeededCertificate {
            purpose: purpose.into(),
            common_name: name.into(),
            expire_time: Some(Timestamp { seconds: now + days * 86_400 + 3_600, nanos: 0 }),
        };
        script.health = Health {
            time: Some(Timestamp { seconds: now + 90, nanos: 0 }),
            disk_free: 3_000_000_000,
            disk_size: 100_000_000_000,
            certificates: vec![
                certificate(Purpose::Server, "station-1", 3),
                certificate(Purpose::Issuer, "Device CA", 900),
            ],
        };
    });
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/station").await.text;
    for expected in [
        "The CA does not answer",
        "42 of 100 places",
        "2 in doubt",
        "connection refused",
        "3 GB of 100 GB free",
        "s from this screen",
        "in 3 days",
        "in 900 days",
        "fixture-2",
        "<polyline",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert_eq!(page.matches(r#"class="soon""#).count(), 1, "{page}");
}

/// The station is gone; expects every page to say so, with a code that a machine sees as well.
#[tokio::test]
async fn without_a_station_the_pages_say_so() {
    let mut fake = Fake::start().await;
    fake.script(|script| script.stories = vec![IssuanceStory { issuance: Some(Issuance::default()), steps: vec![] }]);
    let visitor = Visitor::new(fake.client()).await;
    fake.stop();
    for path in ["/lots", "/station", "/find?wanted=SN-1", "/issuances/SN-1"] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{path}");
        assert!(answer.text.contains("The station does not answer"), "{path}");
    }
}
