//! The pages besides the board: lots, search, a device's story, the station's health, and a supervisor's act.

use axum::http::StatusCode;
use prost_types::{Duration, Timestamp};
use proto::station::v1::{
    DeviceCheck, DeviceVerification, Failure, GoldenCheck, Health, Issuance, IssuanceStory, NeededCertificate, Queue,
    RecordedStep, issuance::State, needed_certificate::Purpose,
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
    decide("SN-2", "act=act-swap&badge=S-1&pin=271828&reason=reason-board&fixture=fixture-2").await;
    decide("SN-2", "act=act-scrap&badge=S-1&pin=271828&reason=reason-damaged").await;
    let decided = fake.script(|script| script.decided.clone());
    let expected = [
        ("release", ""),
        ("cancel", "It was in the wrong lot"),
        ("rework with a new key", "The fault was repaired"),
        ("rework with new hardware in fixture-2", "The board was replaced"),
        ("scrap", "The device is damaged"),
    ];
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

/// A label that stands on other hardware: the supervisor reads what may be done, and says that the hardware is this device; of
/// one that is scrapped nothing is left to decide, and of a key that is not the station's the page says what to do.
#[tokio::test]
async fn what_a_supervisor_may_say_follows_from_what_happened() {
    let fake = Fake::start().await;
    let stopped = |serial: &str, state: State, reason: &str| {
        let mut story = told(serial, state);
        let stands = story.issuance.get_or_insert_default();
        stands.stopped_in = State::Requested.into();
        stands.failure = Some(Failure { reason: reason.into(), message: "m".into() });
        story
    };
    fake.script(|script| {
        script.stories = vec![
            stopped("SN-1", State::Quarantined, "NOT_SAME_DEVICE"),
            stopped("SN-2", State::Cancelled, "SCRAPPED"),
            stopped("SN-3", State::Failed, "LOCATION_OCCUPIED"),
        ];
    });
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/issuances/SN-1").await.text;
    assert!(page.contains("This hardware is this device from now on") && page.contains("A wrong label was scanned?"));
    visitor.submit("/issuances/SN-1", &visitor.token, "act=act-hardware&badge=S-1&pin=271828").await;
    assert_eq!(fake.script(|script| script.decided[0].0.clone()), "release with new hardware");
    let page = visitor.get("/issuances/SN-2").await.text;
    assert!(page.contains("A supervisor scrapped this device") && !page.contains("id=\"supervise\""), "{page}");
    let page = visitor.get("/issuances/SN-3").await.text;
    assert!(
        page.contains("The station removes only what it made itself") && page.contains("Scrap the device"),
        "{page}"
    );
    fake.shows("fixture-1", fake.script(|script| script.stories[2].issuance.clone().unwrap()));
    let mut events = visitor.events().await;
    events.until("href=\"/issuances/SN-3\"").await;
}

/// The proof is one link: a file of that name, or words about when there will be one.
#[tokio::test]
async fn a_proof_is_downloaded_or_told_of() {
    let fake = Fake::start().await;
    fake.script(|script| {
        script.stories = vec![told("SN-1", State::Completed)];
        script.proof = Ok("{\"format\": \"journal-proof/v1\"}".into());
    });
    let visitor = Visitor::new(fake.client()).await;
    assert!(visitor.get("/issuances/SN-1").await.text.contains("href=\"/issuances/SN-1/proof.json\""));
    let file = visitor.get("/issuances/SN-1/proof.json").await;
    assert!(file.headers["content-disposition"].to_str().unwrap().contains("SN-1-proof.json"));
    assert!(file.text.contains("journal-proof/v1"));
    let due = service::status::retry_later("CHECKPOINT_DUE", "not yet", std::time::Duration::from_secs(1));
    fake.script(|script| script.proof = Err(due));
    let later = visitor.get("/issuances/SN-1/proof.json").await;
    assert_eq!(later.status, StatusCode::SEE_OTHER);
    let page = visitor.get(later.headers["location"].to_str().unwrap()).await.text;
    assert!(page.contains("No proof yet") && page.contains("Try again in a minute"), "{page}");
}

/// A shift begins: the check is due, done by a badge in a fixture, and told on each page until the shift is over; a check that
/// fails is told large, and what could not be checked is not told as checked.
#[tokio::test]
async fn a_shift_begins_with_the_golden_device() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let page = visitor.get("/golden").await.text;
    assert!(page.contains("This station is not checked for this shift") && page.contains("Shift check due"), "{page}");
    let check = |fields: &str| {
        let (fields, visitor) = (fields.to_owned(), &visitor);
        async move {
            let answer = visitor.submit("/golden", &visitor.token, &fields).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
            visitor.get(answer.headers["location"].to_str().unwrap()).await.text
        }
    };
    assert!(check("scanned=badge%3AB-17").await.contains("Signed in: B-17"));
    assert!(check("scanned=fixture%3Afixture-2").await.contains("value=\"fixture-2\" selected"));
    let now = |ago: u64| Some((std::time::SystemTime::now() - std::time::Duration::from_secs(ago)).into());
    let checked = |verified, ago| GoldenCheck {
        time: now(ago),
        device_serial: "GOLDEN-1".into(),
        fixture: "fixture-2".into(),
        verified,
        claimed_by: "B-17".into(),
        authenticated_by: "page-1".into(),
    };
    fake.script(|script| {
        script.verification = Ok(DeviceVerification { verified: true, ..DeviceVerification::default() });
        script.station.golden_check = Some(checked(true, 60));
    });
    let page = check("scanned=GOLDEN-1&fixture=fixture-2").await;
    assert!(page.contains("This station is checked for this shift") && page.contains("by B-17"), "{page}");
    assert!(page.contains("with GOLDEN-1 in fixture-2"), "{page}");
    let asked = fake.script(|script| script.checked[0].clone());
    assert_eq!((asked.device_serial.as_str(), asked.badge.as_str(), asked.golden), ("GOLDEN-1", "B-17", true));
    assert!(fake.script(|script| script.started.is_empty()), "it takes no place in a lot");

    let wrong = DeviceCheck {
        holds: false,
        reason: "NOT_FOUND".into(),
        message: "no key stands at 0x81010010".into(),
        ..DeviceCheck::default()
    };
    fake.script(|script| {
        script.verification = Ok(DeviceVerification { checks: vec![wrong], ..DeviceVerification::default() });
        script.station.golden_check = Some(checked(false, 1));
    });
    let page = check("scanned=GOLDEN-1").await;
    assert!(page.contains("The check failed: do not ship") && page.contains("no key stands at 0x81010010"), "{page}");
    assert!(page.contains("call the administrator") && !page.contains("is checked for this shift"), "{page}");
    let gone = service::status::refused(Code::FailedPrecondition, "NO_DEVICE", "none");
    fake.script(|script| {
        script.verification = Err(gone);
        script.station.golden_check = Some(checked(true, 60));
    });
    let page = check("scanned=GOLDEN-1").await;
    assert!(page.contains("The check was not done") && page.contains("Put the device in a fixture"), "{page}");
    assert!(visitor.get("/golden").await.text.contains("is checked for this shift"), "it was, and still is");
    fake.script(|script| script.station.golden_check = Some(checked(true, 9 * 3600)));
    assert!(visitor.get("/golden").await.text.contains("is not checked for this shift"), "another shift");
    assert_eq!(visitor.submit("/golden", "0", "scanned=GOLDEN-1").await.status, StatusCode::FORBIDDEN);
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
            webhook_trouble: "mes.example answers 500".into(),
            tls_problems: vec!["the new certificate is another key's".into()],
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
        "For the administrator",
        "mes.example answers 500",
        "the new certificate is another key",
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
