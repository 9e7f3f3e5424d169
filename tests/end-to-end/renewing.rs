//! TLS files that somebody replaces under load, rightly and wrongly.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use line::{Line, Options};
use proto::station::v1::{GetHealthRequest, GetStationRequest};

use crate::asking::{bounded, complete, line_of, mes, open_lot, scan, start, watch};

const CERTIFICATE: &str = "control-plane/station-1-server.pem";
const KEY: &str = "control-plane/station-1-server.key";

/// What the station says is wrong with its TLS files.
async fn problems(line: &Line) -> Vec<String> {
    bounded("health", mes(line).get_health(GetHealthRequest {})).await.unwrap().into_inner().tls_problems
}

/// Connects anew until the station's log has so many lines with these words: it looks at its files when somebody connects.
async fn logged(line: &mut Line, words: &str, due: usize) {
    let log = line.station().log().to_owned();
    let told = async {
        while fs::read_to_string(&log).unwrap().matches(words).count() < due {
            mes(line).get_station(GetStationRequest {}).await.unwrap();
        }
    };
    bounded(words, told).await;
}

/// Writes a file in its place, or beside it and over it.
fn replace(path: &Path, content: &str, by_rename: bool) {
    if !by_rename {
        return fs::write(path, content).unwrap();
    }
    let beside: PathBuf = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::set_permissions(&beside, fs::metadata(path).unwrap().permissions()).unwrap();
    fs::rename(beside, path).unwrap();
}

/// The station's certificate and key are replaced while calls and a watch go on: by half a file, by nothing, by another's key, in
/// place and by rename. None breaks a connection or keeps a new one out; log and health say what is wrong until it is put right,
/// and what is right is taken up.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load() {
    // It calls as often as it can.
    let station_extra = "[limits]\ncalls_per_second = 100000\ncalls_burst = 100000\n".into();
    let mut line = start(Options { station_extra, ..line_of(0, 1) }).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let enough = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let (mut client, stop, made) = (mes(&line), Arc::clone(&enough), Arc::clone(&calls));
    let calling = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            client.get_station(GetStationRequest {}).await.expect("a call on a connection that stands");
            made.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut events = watch(&mut mes(&line), Some(0)).await;
    let stop = Arc::clone(&enough);
    let watching = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            events.message().await.expect("a watch that stands").expect("a watch without end");
        }
    });
    assert_eq!(problems(&line).await, [""; 0]);
    let file = |name: &str| line.directory().join(name);
    let (certificate, key) = (file(CERTIFICATE), file(KEY));
    let (good, own) = (fs::read_to_string(&certificate).unwrap(), fs::read_to_string(&key).unwrap());
    let other = fs::read_to_string(file("control-plane/mes-1.key")).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for by_rename in [false, true] {
        for (path, right, wrong, words) in [
            (&certificate, &good, &good[..good.len() / 2], "station-1-server.pem"),
            (&certificate, &good, "", "holds no certificate"),
            (&key, &own, &*other, "does not match the certificate"),
            (&key, &own, &own[..own.len() / 2], "station-1-server.key"),
        ] {
            replace(path, wrong, by_rename);
            refused += 1;
            logged(&mut line, "the old ones stay", refused).await;
            let told = problems(&line).await;
            assert!(told.len() == 1 && told[0].starts_with("listen: ") && told[0].contains(words), "{words}: {told:?}");
            replace(path, right, by_rename);
            taken += 1;
            logged(&mut line, "were read again", taken).await;
            assert_eq!(problems(&line).await, [""; 0]);
        }
    }
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    enough.store(true, Ordering::Relaxed);
    bounded("the calls", calling).await.unwrap();
    // A state is told every few seconds.
    bounded("the watch", watching).await.unwrap();
    assert!(calls.load(Ordering::Relaxed) > 0);
    line.stop().unwrap();
}
