//! What a supervisor decides: what was set aside goes on, what shall not be ends, and its device starts anew.

use line::{Line, Options};
use proto::station::v1::{CancelIssuanceRequest, Issuance, ReleaseIssuanceRequest, issuance::State};
use tonic::{Code, Status};

use crate::{
    asking::{
        Client, IMPATIENT_QUEUE, assert_stopped, bounded, complete, line_of, mes, open_lot, refusal, scan, start,
        start_issuance, stop, until,
    },
    looking::{Expected, TokenTools, files_of},
};

/// A serial that was scanned at another's device is set aside; only a supervisor lets it go on, and then its own device
/// completes it, also after a restart in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_goes_on_when_a_supervisor_says_so() {
    let mut line = start(line_of(2, 0)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let mistaken = stop(&line, scan("LOT-1", "SN-2", "fixture-1"), State::Quarantined, "NOT_SAME_DEVICE").await;

    let denied = release(&mut mes(&line), &mistaken).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
    let released = release(&mut supervisor(&line), &mistaken).await.unwrap();
    assert_stopped(&released, State::Failed, "NOT_SAME_DEVICE");
    assert_eq!(refusal(&release(&mut supervisor(&line), &mistaken).await.unwrap_err()).1, "NOT_QUARANTINED");

    line.kill_station().unwrap();
    line.start_station().await.unwrap();
    let second = complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    assert_eq!(second.name, mistaken.name);
    assert_eq!(refusal(&cancel(&mut supervisor(&line), &first, "no").await.unwrap_err()).1, "ALREADY_ENDED");
}

/// A cancelled issuance leaves the queue and ends; its device starts anew with the key that it has, under the same CN and in
/// its own place of the lot.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_starts_anew_with_the_same_key() {
    let options = Options { ca: false, station_extra: IMPATIENT_QUEUE.into(), ..line_of(1, 1) };
    let mut line = start(options).await;
    open_lot(&line, "LOT-1", "device-ca", 2).await;
    for (serial, fixture) in [("SN-1", "fixture-1"), ("SN-2", "fixture-2")] {
        let started = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap();
        let waiting = until(&line, &started, "the queue", |issuance| issuance.state() == State::Submitted).await;
        let mut supervisor = supervisor(&line);
        let wordless = cancel(&mut supervisor, &waiting, " ").await.unwrap_err();
        assert_eq!(refusal(&wordless), (Code::InvalidArgument, "INVALID_ARGUMENT".into(), "reason".into()));
        let cancelled = cancel(&mut supervisor, &waiting, "wrong lot").await.unwrap();
        assert_stopped(&cancelled, State::Cancelled, "CANCELLED");
        assert!(cancelled.failure.unwrap_or_default().message.contains("wrong lot"));
        let again = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap();
        assert_ne!(again.name, waiting.name);
        assert_eq!(again.common_name, waiting.common_name);
        let again = until(&line, &again, "the queue", |issuance| issuance.state() == State::Submitted).await;
        assert_eq!(again.key, waiting.key, "the key is found again");
    }
    line.start_ca().await.unwrap();
    for (serial, fixture) in [("SN-1", "fixture-1"), ("SN-2", "fixture-2")] {
        let issuance = complete(&line, scan("LOT-1", serial, fixture)).await;
        files_of(line.directory(), &issuance, Expected::Ca(0));
    }
    let (_, device) = line.hardware().devices().nth(1).unwrap();
    let line::Device::Token(token) = device else { panic!("the second device is a token") };
    assert_eq!(TokenTools::of(token).count("privkey"), 1, "one key for one device");
}

pub(crate) fn supervisor(line: &Line) -> Client {
    line.client("supervisor-1").unwrap()
}

pub(crate) async fn release(client: &mut Client, issuance: &Issuance) -> Result<Issuance, Status> {
    let request = ReleaseIssuanceRequest { name: issuance.name.clone(), badge: "B-1".into(), ..Default::default() };
    bounded("a release", client.release_issuance(request)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn cancel(client: &mut Client, issuance: &Issuance, reason: &str) -> Result<Issuance, Status> {
    let (name, reason, badge) = (issuance.name.clone(), reason.into(), "B-1".into());
    let request = CancelIssuanceRequest { name, reason, badge, supervisor: None };
    bounded("a cancellation", client.cancel_issuance(request)).await.map(tonic::Response::into_inner)
}
