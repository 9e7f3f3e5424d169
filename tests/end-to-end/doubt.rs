//! A CA that makes a second certificate of the same request, and whose answers are lost, late, or under way when the station
//! dies: nobody is asked twice without a word, and every certificate that arrives is on record.

use line::{Line, Options};
use proto::station::v1::{GetStationRequest, Issuance, ListIssuancesRequest, issuance::State};

use crate::{
    asking::{assert_stopped, bounded, line_of, mes, open_lot, scan, settled, start, start_issuance, told, until},
    looking::{Expected, files_of},
    rejected::put_in_place_of_the_ca,
    rogue::Rogue,
    rulings::{cancel, release, supervisor},
};

const DEVICES: usize = 5;

impl Rogue {
    /// How many certificates it made for a device.
    fn made_for(&self, serial: &str) -> usize {
        self.made.lock().unwrap().iter().filter(|made| *made == serial).count()
    }
}

async fn forgetful() -> (Line, Rogue) {
    let mut options = Options { ca: false, ..line_of(DEVICES, 0) };
    options.repeats = "repeats = \"new\"\nin_doubt = \"ask\"\n".into();
    options.station_extra = "[queue]\nretry_first = \"50ms\"\nretry_most = \"500ms\"\ntimeout = \"1s\"\n".into();
    let mut line = start(options).await;
    let rogue = put_in_place_of_the_ca(&mut line).await;
    open_lot(&line, "LOT-1", "device-ca", 20).await;
    (line, rogue)
}

async fn in_doubt(line: &Line, serial: &str, fixture: usize) -> Issuance {
    let started = start_issuance(line, scan("LOT-1", serial, &format!("fixture-{fixture}"))).await.unwrap();
    doubted(line, &started).await
}

async fn doubted(line: &Line, started: &Issuance) -> Issuance {
    let issuance = until(line, started, "its doubt", |issuance| issuance.state() == State::InDoubt).await;
    assert_stopped(&issuance, State::InDoubt, "IN_DOUBT");
    issuance
}

async fn completed(line: &Line, issuance: &Issuance) -> Issuance {
    let done = settled(line, issuance).await;
    assert_eq!(done.state(), State::Completed, "{}", told(&done));
    files_of(line.directory(), &done, Expected::Ca(0));
    done
}

/// Lost answers leave their issuances in doubt, listed as such, with one certificate made; a release makes the second and
/// completes it, a cancellation ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_waits_for_a_supervisor() {
    let (line, rogue) = forgetful().await;
    let (lost, silent) = (in_doubt(&line, "LOST-1", 1).await, in_doubt(&line, "SILENT-1", 2).await);
    assert_eq!((rogue.made_for("LOST-1"), rogue.made_for("SILENT-1")), (1, 1));
    let station = bounded("the station", mes(&line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    let queue = station.queue.unwrap_or_default();
    assert_eq!((queue.in_doubt, queue.length), (2, 0));
    let request = ListIssuancesRequest { in_doubt: true, ..Default::default() };
    let listed = bounded("a list", mes(&line).list_issuances(request)).await.unwrap().into_inner().issuances;
    assert_eq!(listed, [silent.clone(), lost.clone()]);
    let released = release(&mut supervisor(&line), &lost).await.unwrap();
    completed(&line, &released).await;
    let cancelled = cancel(&mut supervisor(&line), &silent, "scrapped").await.unwrap();
    assert_eq!((cancelled.state(), cancelled.stopped_in()), (State::Cancelled, State::InDoubt));
    assert_eq!((rogue.made_for("LOST-1"), rogue.made_for("SILENT-1")), (2, 1));
    let station = bounded("the station", mes(&line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    assert_eq!(station.queue.unwrap_or_default().in_doubt, 0);
}

/// An answer that comes after the station gave up is taken, and the device completes with the one certificate; one that
/// comes after a release made another is kept beside it, to be revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_is_taken() {
    let (line, rogue) = forgetful().await;
    let late = in_doubt(&line, "HELD-1", 1).await;
    rogue.held.add_permits(1);
    completed(&line, &late).await;
    assert_eq!(rogue.made_for("HELD-1"), 1);

    let twice = in_doubt(&line, "HELD-2", 2).await;
    let released = release(&mut supervisor(&line), &twice).await.unwrap();
    let done = completed(&line, &released).await;
    rogue.held.add_permits(1);
    let after = until(&line, &done, "its second certificate", |issuance| !issuance.surplus.is_empty()).await;
    assert_eq!((after.state(), &after.certificate, after.surplus.len()), (State::Completed, &done.certificate, 1));
    assert_ne!(after.surplus[0].certificate, after.certificate);
    assert_eq!(rogue.made_for("HELD-2"), 2);
}

/// The station is killed while the answer is under way: after its start it is in doubt, and not asked again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_station_killed_meanwhile_does_not_ask_again() {
    let (mut line, rogue) = forgetful().await;
    let started = start_issuance(&line, scan("LOT-1", "HELD-1", "fixture-1")).await.unwrap();
    bounded("the CA to be asked", async {
        while rogue.made_for("HELD-1") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    line.kill_station().unwrap();
    line.start_station().await.unwrap();
    let issuance = doubted(&line, &started).await;
    assert_eq!(rogue.made_for("HELD-1"), 1);
    let released = release(&mut supervisor(&line), &issuance).await.unwrap();
    completed(&line, &released).await;
    assert_eq!(rogue.made_for("HELD-1"), 2);
}
