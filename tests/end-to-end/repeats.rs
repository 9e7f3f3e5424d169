//! The same request again, and the stream of what happened: once each, in order, over restarts.

use line::Line;
use proto::station::v1::{
    Event, GetLotRequest, Issuance, ListIssuancesRequest, StartIssuanceRequest, event::Change, issuance::State,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::asking::{
    Client, bounded, complete, journal_length, line_of, mes, open_lot, scan, settled, start, start_issuance, told,
    watch,
};

/// One request twenty times at once, with and without a request_id, is one issuance; and again after it is done, and
/// after the station was restarted.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_one_issuance() {
    let mut line = start(line_of(1, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    let with_id = StartIssuanceRequest { request_id: "order-7".into(), ..scan("LOT-1", "SN-1", "fixture-1") };
    let without_id = scan("LOT-1", "SN-2", "fixture-2");
    let requests = [with_id, without_id];
    let mut ended = Vec::new();
    for request in &requests {
        let answers = twenty_times(&line, request).await;
        assert!(answers.iter().all(|issuance| issuance.name == answers[0].name), "{answers:?}");
        let issuance = settled(&line, &answers[0]).await;
        assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
        ended.push(issuance);
    }
    for restarted in [false, true] {
        if restarted {
            line.stop_station().unwrap();
            line.start_station().await.unwrap();
        }
        let before = journal_length(&line).await;
        for (request, issuance) in requests.iter().zip(&ended) {
            for answer in twenty_times(&line, request).await {
                assert_eq!(answer, *issuance, "restarted: {restarted}");
            }
        }
        assert_eq!(journal_length(&line).await, before, "a repeated request left a record");
    }
    let listed = mes(&line).list_issuances(ListIssuancesRequest::default()).await.unwrap().into_inner().issuances;
    assert_eq!(listed, [ended[1].clone(), ended[0].clone()], "newest first");
    let lot = mes(&line).get_lot(GetLotRequest { name: "lots/LOT-1".into() }).await.unwrap().into_inner();
    assert_eq!((lot.started, lot.completed), (2, 2));
}

async fn twenty_times(line: &Line, request: &StartIssuanceRequest) -> Vec<Issuance> {
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let (mut client, request) = (mes(line), request.clone());
        calls.spawn(async move { client.start_issuance(request).await });
    }
    let answers = bounded("twenty answers", calls.join_all()).await;
    answers.into_iter().map(|answer| answer.unwrap().into_inner()).collect()
}

/// A watch from the beginning tells every sequence once and in order, to each watcher alike, live and again after a
/// restart; one that resumes gets what follows; and a stop of the station ends the stream with words.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_no_gap_and_no_repeat() {
    let mut line = start(line_of(0, 2)).await;
    let mut live = [mes(&line), mes(&line)];
    let mut streams = Vec::new();
    for client in &mut live {
        streams.push(watch(client, Some(0)).await);
    }
    open_lot(&line, "LOT-1", "device-ca", 2).await;
    let first = start_issuance(&line, scan("LOT-1", "SN-1", "fixture-1")).await.unwrap();
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    settled(&line, &first).await;
    let length = journal_length(&line).await;
    assert!(length >= 2 * 11, "two issuances of eleven steps and a lot, not {length} records");

    let mut told = Vec::new();
    for stream in &mut streams {
        let events = bounded("every event", async {
            let mut events: Vec<Event> = Vec::new();
            while events.last().is_none_or(|event| event.sequence < length) {
                let event = stream.message().await.unwrap().expect("the stream goes on");
                events.extend(of_the_journal(event));
            }
            events
        });
        told.push(events.await);
    }
    assert_same(&told[0], &told[1], "both watchers");
    let sequences: Vec<u64> = told[0].iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=length).collect::<Vec<_>>());
    states_go_forward(&told[0]);

    for from in [0, 1, length / 2, length] {
        let replayed = events_until(&mut mes(&line), from, length).await;
        assert_same(&replayed, &told[0][from as usize..], &format!("after {from}"));
    }

    line.stop_station().unwrap();
    for stream in &mut streams {
        let end = bounded("the end of the stream", async {
            loop {
                match stream.message().await {
                    Ok(Some(event)) => assert!(of_the_journal(event).is_none(), "nothing happened since"),
                    ended => return ended,
                }
            }
        });
        let status: Status = end.await.expect_err("the station says that it stops");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains(&format!("watch again from sequence {length}")), "{}", status.message());
    }
    line.start_station().await.unwrap();
    assert_same(&events_until(&mut mes(&line), 0, length).await, &told[0], "after the restart");
}

/// What happened after one sequence up to another.
async fn events_until(client: &mut Client, after: u64, last: u64) -> Vec<Event> {
    let mut stream = watch(client, Some(after)).await;
    bounded("the journal's events", async {
        let mut events = Vec::new();
        // The state comes when the replay is over: then there was nothing more.
        loop {
            let event = stream.message().await.unwrap().expect("the stream goes on");
            match of_the_journal(event.clone()) {
                Some(event) => events.push(event),
                None => {
                    assert_eq!(event.sequence, last, "the state says how far the stream has told");
                    return events;
                }
            }
        }
    })
    .await
}

/// Whole events are too long to be told.
#[track_caller]
fn assert_same(one: &[Event], other: &[Event], what: &str) {
    let differs = one.iter().zip(other).find(|(one, other)| one != other);
    let differs = differs.map(|(one, other)| format!("{one:?}\n{other:?}").chars().take(4000).collect::<String>());
    assert_eq!((differs, one.len()), (None, other.len()), "{what}");
}

/// The station's state is told beside the journal.
fn of_the_journal(event: Event) -> Option<Event> {
    (!matches!(event.change, Some(Change::Station(_)))).then_some(event)
}

/// Each issuance runs through its states in order, from REQUESTED to COMPLETED.
fn states_go_forward(events: &[Event]) {
    for serial in ["SN-1", "SN-2"] {
        let states: Vec<i32> = events
            .iter()
            .filter_map(|event| match &event.change {
                Some(Change::Issuance(issuance)) if issuance.device_serial == serial => {
                    assert_eq!(issuance.sequence, event.sequence);
                    Some(issuance.state)
                }
                _ => None,
            })
            .collect();
        let every: Vec<i32> = (State::Requested as i32..=State::Completed as i32).collect();
        assert_eq!(states, every, "{serial}");
    }
}
