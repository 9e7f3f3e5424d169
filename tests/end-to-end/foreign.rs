//! The station as a client sees it that others wrote and that knows nothing but its address: Python's grpcio, by reflection.

use std::{fs, path::Path, process::Command, time::Duration};

use bench::past::{self, Stand};
use line::{Device, Line, Options};

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    looking::run_within,
};

/// Ten thousand calls on a machine that does much else.
const SCRIPT_MOST: Duration = Duration::from_secs(300);

/// Every RPC with what no proper client sends, pages with every token, deadlines, cancelled watches, and watches that resume:
/// `foreign.py` holds each answer against what gRPC and the API promise. The station serves on, and nothing panicked.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_is_answered_as_it_expects() {
    // It asks more often than a client does.
    let station_extra = "[limits]\ncalls_per_second = 100000\ncalls_burst = 100000\n".into();
    let mut line = start(Options { station_extra, ..line_of(0, 1) }).await;
    for lot in ["LOT-1", "LOT-2", "LOT-3"] {
        open_lot(&line, lot, "device-ca", 10).await;
    }
    for serial in ["SN-1", "SN-2", "SN-3"] {
        complete(&line, scan("LOT-1", serial, "fixture-1")).await;
        let Some(Device::Token(token)) = line.hardware_mut().device(1) else { panic!("the device is a token") };
        token.exchange().unwrap();
    }
    foreign(&line, "foreign.py", &["LOT-1"]);
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    complete(&line, scan("LOT-1", "SN-4", "fixture-1")).await;
    line.stop().unwrap();
}

/// Runs a script of ours, as the station's supervisor; it must find nothing.
fn foreign(line: &Line, script: &str, arguments: &[&str]) {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let python = target.join("mes/venv/bin/python");
    assert!(python.is_file(), "there is no {}: `deploy/dependencies.sh test` makes it", python.display());
    let file = |name: &str| line.directory().join("control-plane").join(name);
    let mut client = Command::new(python);
    client.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("end-to-end").join(script));
    client.arg(line.station_url().trim_start_matches("https://"));
    client.arg(file("supervisor-1.pem")).arg(file("supervisor-1.key")).arg(file("root.pem")).args(arguments);
    let told = format!("{client:?}");
    let ran = run_within(SCRIPT_MOST, client);
    assert!(ran.status.success(), "{told}: {}\n{}{}", ran.status, ran.text(), ran.err);
}

/// Issuances that do not fit in one answer that gRPC clients take, as a thousand with RSA keys do not; here fewer with longer
/// chains: `long.py` goes through them in pages, with masks and without, and through the whole journal.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_larger_than_a_client_takes() {
    let mut line = start(Options { ca: false, ..line_of(0, 1) }).await;
    line.stop_station().unwrap();
    past::write(&line.directory().join("station.toml"), "SN", 250, Stand::Completed { longer: 30_000 }).unwrap();
    line.start_station().await.unwrap();
    foreign(&line, "long.py", &["past", "250"]);
    line.stop().unwrap();
}

/// A hostile or careless MES: `hostile.py` sends what no proper one does, ten thousand calls at once, watches without reading,
/// and works on one lot with two clients. Each answer is the right one, nothing is started twice, the station stays small, and
/// serves the next device.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_mes_changes_nothing_that_it_may_not() {
    let station_extra = "[limits]\ncalls_per_second = 100000\ncalls_burst = 100000\n".into();
    let mut line = start(Options { station_extra, ..line_of(0, 1) }).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let process = line.station().process_id().unwrap().to_string();
    foreign(&line, "hostile.py", &["LOT-1", "SN-1", &process]);
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    let Some(Device::Token(token)) = line.hardware_mut().device(1) else { panic!("the device is a token") };
    token.exchange().unwrap();
    complete(&line, scan("LOT-1", "SN-2", "fixture-1")).await;
    line.stop().unwrap();
}
