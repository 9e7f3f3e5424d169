//! What one caller may take of station and CA, at the real binaries.

use proto::{
    ca::v1::{ListLotsRequest, lot_service_client::LotServiceClient},
    station::v1::GetStationRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::asking::{bounded, line_of, open_lot, refusal, start};

/// What a status says of a quota: its reason, whose quota, and whether it says when to come again.
fn quota(status: &Status) -> (Code, String, String, bool) {
    let (code, reason, _) = refusal(status);
    let violations = status.get_details_quota_failure().map(|failure| failure.violations).unwrap_or_default();
    let subject = violations.into_iter().map(|violation| violation.subject).collect();
    (code, reason, subject, service::status::retry_after(status).is_some_and(|after| !after.is_zero()))
}

/// Who calls in a loop is let through a burst and then told when to come again, at station and CA alike, and is let through
/// then; who calls with another certificate meanwhile is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_a_loop_is_slowed_down() {
    let limits = "[limits]\ncalls_per_second = 1\ncalls_burst = 5\n";
    let mut options = line_of(0, 1);
    (options.station_extra, options.ca_extra) = (limits.into(), limits.into());
    let mut line = start(options).await;
    let mut auditor = line.client("auditor-1").unwrap();
    let mut refused = Vec::new();
    for number in 0..20 {
        match bounded("an answer", auditor.get_station(GetStationRequest {})).await {
            Ok(_) => {}
            Err(status) => refused.push((number, status)),
        }
    }
    assert!(refused.len() > 5 && refused[0].0 >= 5, "{refused:?}");
    for (_, status) in &refused {
        let due = (Code::ResourceExhausted, "RATE_EXCEEDED".to_owned(), "client:auditor-1".to_owned(), true);
        assert_eq!(quota(status), due, "{status:?}");
    }
    let mut supervisor = line.client("supervisor-1").unwrap();
    bounded("an answer", supervisor.get_station(GetStationRequest {})).await.expect("another caller is held up");
    let again = async { while auditor.get_station(GetStationRequest {}).await.is_err() {} };
    bounded("the bucket to fill", again).await;

    let mut at_the_ca = LotServiceClient::new(line.authority_as("administrator-1").unwrap());
    let list = async |client: &mut LotServiceClient<_>| client.list_lots(ListLotsRequest::default()).await.map(drop);
    let mut last = Ok(());
    for _ in 0..20 {
        last = bounded("an answer", list(&mut at_the_ca)).await;
    }
    assert_eq!(quota(&last.unwrap_err()).1, "RATE_EXCEEDED");
    line.stop().unwrap();
}

/// One certificate has as many connections as it may; the station's other callers have theirs, and it serves on.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_never_hangs_up_is_held_to_its_connections() {
    let mut options = line_of(0, 1);
    options.station_extra = "[limits]\nconnections_per_caller = 4\n".into();
    let mut line = start(options).await;
    let mut stand = Vec::new();
    for _ in 0..4 {
        let mut client = line.client("auditor-1").unwrap();
        bounded("an answer", client.get_station(GetStationRequest {})).await.unwrap();
        stand.push(client);
    }
    let further = line.client("auditor-1").unwrap().get_station(GetStationRequest {}).await.unwrap_err();
    assert!(service::status::is_lost_connection(&further), "{further:?}");
    for client in &mut stand {
        bounded("an answer", client.get_station(GetStationRequest {})).await.unwrap();
    }
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    stand.pop();
    let again = async {
        loop {
            let mut client = line.client("auditor-1").unwrap();
            if client.get_station(GetStationRequest {}).await.is_ok() {
                return;
            }
        }
    };
    bounded("a place to be given again", again).await;
    line.stop().unwrap();
}
