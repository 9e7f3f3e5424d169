//! Metrics: what a scraper reads, and that none are served unless asked for.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use line::Options;
use proto::station::v1::issuance::State;

use crate::{
    asking::{IMPATIENT_QUEUE, complete, line_of, open_lot, scan, start, start_issuance, until},
    looking::must,
};

/// What is served at an address, by name with labels.
pub(crate) fn scraped(address: &str) -> BTreeMap<String, f64> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "10", &format!("http://{address}/metrics")]);
    let text = must(command).text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Where a process serves them, as its log says.
pub(crate) fn address(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap();
    let told = log.lines().find(|line| line.contains("metrics are served")).unwrap();
    told.rsplit_once("address=").unwrap().1.trim().to_owned()
}

/// A scraper reads how much waits, how the link is and which fixture is at work, and no device's serial; the figures follow
/// what happens. Without the table nothing listens besides gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_reads_the_stations_figures() {
    let extra = format!("{IMPATIENT_QUEUE}[metrics]\naddress = \"127.0.0.1:0\"\n");
    let mut line = start(Options { station_extra: extra, ..line_of(0, 2) }).await;
    let address = address(line.station().log());
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let up = scraped(&address);
    assert_eq!((up["station_link_up"], up["station_queue_length"], up["station_halted"]), (1.0, 0.0, 0.0), "{up:?}");
    assert_eq!(up["station_fixture_busy{fixture=\"fixture-2\"}"], 0.0, "{up:?}");
    let names: Vec<&String> = up.keys().collect();
    assert!(!names.iter().any(|name| name.contains("SN-1")), "{names:?}");

    line.stop_ca().unwrap();
    let waiting = start_issuance(&line, scan("LOT-1", "SN-2", "fixture-2")).await.unwrap();
    until(&line, &waiting, "the queue", |issuance| issuance.state() == State::Submitted).await;
    let down = scraped(&address);
    assert_eq!(down["station_queue_length"], 1.0, "{down:?}");
    assert!(down["station_journal_records_total"] > up["station_journal_records_total"], "{down:?}");
}
