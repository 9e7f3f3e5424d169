//! The CA away, late, or killed: submissions wait, devices may leave, and every issuance gets one certificate.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use journal::{Journal, JournalOptions};
use line::{Line, Options};
use prost::Message as _;
use proto::{
    journal::v1::{CaRecord, ca_record::Event as CaEvent},
    station::v1::{Event, GetStationRequest, Issuance, event::Change, fixture, issuance::State},
};

use crate::{
    asking::{
        IMPATIENT_QUEUE, bounded, complete, is_settled, line_of, mes, open_lot, scan, settled, start, start_issuance,
        station_until, told, until, watch,
    },
    chance::Chance,
    killing::TokenFiles,
};

/// How late the CA comes.
const LATE: Duration = Duration::from_secs(10);

/// Without a CA the devices make their keys and may leave; the station says what waits and why. Started ten seconds late,
/// the CA gets everything, and every device is verified.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_ca_finds_everything_waiting() {
    let mut line = start(Options { ca: false, ..line_of(2, 2) }).await;
    let began = Instant::now();
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let mut waiting = Vec::new();
    for number in 1..=4 {
        let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
        let started = start_issuance(&line, request).await.unwrap();
        waiting.push(until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await);
    }
    for issuance in &waiting {
        assert!(issuance.next_action.contains("may go on the shelf"), "{}", issuance.next_action);
        assert!(issuance.certificate.is_empty() && !issuance.key.is_empty(), "{}", told(issuance));
    }
    let station = station_until(&line, "idle fixtures and a link that is down", |station| {
        let idle = station.fixtures.iter().all(|fixture| fixture.state() == fixture::State::Idle);
        idle && station.queue.as_ref().is_some_and(|queue| !queue.last_error.is_empty())
    })
    .await;
    let queue = station.queue.unwrap_or_default();
    assert_eq!((queue.length, queue.link_up), (4, false));
    assert!(queue.oldest_time.is_some() && queue.next_attempt_time.is_some(), "{queue:?}");
    assert_eq!(station.halted, "");
    let (again, same) = (start_issuance(&line, scan("LOT-1", "SN-1", "fixture-1")).await.unwrap(), &waiting[0]);
    assert_eq!((&again.name, &again.key), (&same.name, &same.key), "scanned again while it waits");

    // The station tells its state at least every five seconds.
    station_until(&line, "ten seconds without the CA", |_| began.elapsed() >= LATE).await;
    line.start_ca().await.unwrap();
    for issuance in &waiting {
        let done = settled(&line, issuance).await;
        assert_eq!(done.state(), State::Completed, "{}", told(&done));
        assert_eq!((&done.name, &done.key, &done.common_name), (&issuance.name, &issuance.key, &issuance.common_name));
    }
    let station = bounded("the station", mes(&line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    let queue = station.queue.unwrap_or_default();
    assert_eq!((queue.length, queue.link_up, queue.last_error.as_str()), (0, true, ""));
}

/// What waits for the CA survives a restart of the station, and goes out once both are there.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_survives_a_restart_of_the_station() {
    let mut options = Options { ca: false, ..line_of(1, 1) };
    options.station_extra = IMPATIENT_QUEUE.into();
    let mut line = start(options).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
        let started = start_issuance(&line, request).await.unwrap();
        waiting.push(until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await);
    }
    TokenFiles::of(&line).kill_station(&mut line);
    line.start_station().await.unwrap();
    let station = bounded("the station", mes(&line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    assert_eq!(station.queue.unwrap_or_default().length, 2);
    line.start_ca().await.unwrap();
    for issuance in &waiting {
        let done = settled(&line, issuance).await;
        assert_eq!((done.state(), &done.key), (State::Completed, &issuance.key), "{}", told(&done));
    }
}

/// A full queue refuses new devices and says when to come back; what waits already is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_new_devices() {
    let mut options = Options { ca: false, ..line_of(0, 2) };
    options.station_extra = format!("{IMPATIENT_QUEUE}bound = 1\n");
    let mut line = start(options).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let first = start_issuance(&line, scan("LOT-1", "SN-1", "fixture-1")).await.unwrap();
    until(&line, &first, "its submission", |issuance| issuance.state() == State::Submitted).await;
    let status = start_issuance(&line, scan("LOT-1", "SN-2", "fixture-2")).await.unwrap_err();
    assert_eq!(service::status::reason(&status).as_deref(), Some("QUEUE_FULL"), "{status:?}");
    assert!(service::status::retry_after(&status).is_some(), "{status:?}");
    line.start_ca().await.unwrap();
    assert_eq!(settled(&line, &first).await.state(), State::Completed);
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
}

/// The CA is killed again and again while it is asked: everything completes, and its journal holds one planned and one
/// signed certificate for each issuance, the one that the device got.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ca_signs_once_for_each_issuance() {
    const DEVICES: usize = 8;
    let mut options = line_of(0, DEVICES);
    options.station_extra = IMPATIENT_QUEUE.into();
    let mut line = start(options).await;
    let mut chance = Chance::new();
    let tokens = TokenFiles::of(&line);
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let mut client = mes(&line);
    let mut events = watch(&mut client, Some(0)).await;
    let mut started = Vec::new();
    for number in 1..=DEVICES {
        let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
        started.push(start_issuance(&line, request).await.unwrap());
        // Between two devices or in the middle of one: the CA goes after a few more events, whatever they are.
        let more = chance.below(6);
        bounded("some events", async {
            let mut left = more;
            while left > 0 {
                let event: Event = events.message().await.unwrap().expect("the stream goes on");
                left -= usize::from(matches!(event.change, Some(Change::Issuance(_))));
            }
        })
        .await;
        tokens.kill_ca(&mut line);
        line.start_ca().await.unwrap();
    }
    let mut done = Vec::new();
    for issuance in &started {
        let ended = until(&line, issuance, "its end", is_settled).await;
        assert_eq!(ended.state(), State::Completed, "{}", told(&ended));
        done.push(ended);
    }
    line.stop_ca().unwrap();
    one_certificate_each(&line, &done);
}

fn one_certificate_each(line: &Line, issued: &[Issuance]) {
    let options = JournalOptions::new(line.directory().join("journal/ca"), "ca-1");
    let (journal, _) = Journal::open(&options).unwrap();
    let (mut planned, mut signed) = (BTreeMap::new(), BTreeMap::new());
    for record in journal.read(0..journal.length()).unwrap() {
        let record = CaRecord::decode(record.as_slice()).unwrap();
        match record.event.unwrap() {
            CaEvent::CertificatePlanned(plan) => {
                let again = planned.insert(record.issuance.clone(), plan.tbs_certificate);
                assert_eq!(again, None, "two certificates were planned for one issuance");
            }
            CaEvent::CertificateSigned(signature) => {
                let again = signed.insert(record.issuance.clone(), signature.signature);
                assert_eq!(again, None, "two certificates were signed for one issuance");
            }
            CaEvent::RequestRefused(refused) => panic!("refused: {}", refused.message),
            // Whatever else a CA records makes no certificate.
            _ => {}
        }
    }
    journal.close().unwrap();
    assert_eq!((planned.len(), signed.len()), (issued.len(), issued.len()));
    for issuance in issued {
        let id = issuance.name.trim_start_matches("issuances/").replace('-', "");
        let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
        let (tbs, signature) = (&planned[&id], &signed[&id]);
        let holds = |part: &[u8]| issuance.certificate.windows(part.len()).any(|window| window == part);
        assert!(holds(tbs) && holds(signature), "{} has another certificate than the CA's", told(issuance));
    }
}
