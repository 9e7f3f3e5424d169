//! Clocks that jump beneath real processes, by Debian's faketime: nothing is acknowledged meanwhile, everybody is told, and
//! station and CA go on by themselves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use journal::{Journal, JournalOptions};
use line::{Line, Options};
use prost::Message as _;
use proto::{
    journal::v1::{CaRecord, StationRecord},
    station::v1::{GetStationRequest, Issuance, Station, issuance::State},
};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    asking::{
        IMPATIENT_QUEUE, bounded, complete, is_settled, line_of, mes, open_lot, refusal, scan, settled, start,
        start_issuance, told,
    },
    looking::must,
};

/// It looks again every ten seconds at most, and a start takes a few.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
/// libfaketime for programs with threads.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clocks of a line's station and CA.
struct Clocks(PathBuf);

impl Clocks {
    /// Writes programs into `directory` that are the real ones with a clock of their own; `None` where faketime is not
    /// installed.
    fn new(directory: PathBuf) -> Option<Self> {
        if !Path::new(LIBRARY).exists() {
            println!("skipped: needs faketime");
            return None;
        }
        fs::create_dir_all(&directory).unwrap();
        let clocks = Self(directory);
        for program in ["station-agent", "intermediate-ca"] {
            clocks.set(program, "+0");
            let real = binary(program);
            let script = format!(
                "#!/bin/sh\nexport LD_PRELOAD={LIBRARY} FAKETIME_TIMESTAMP_FILE={} FAKETIME_DONT_FAKE_MONOTONIC=1 \
                 FAKETIME_NO_CACHE=1\nexec {} \"$@\"\n",
                clocks.file(program).display(),
                real.display(),
            );
            let path = clocks.0.join(program);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Some(clocks)
    }

    fn file(&self, program: &str) -> PathBuf {
        self.0.join(format!("{program}.clock"))
    }

    /// Puts a program's clock this far from the machine's, such as `-1h`, at once.
    fn set(&self, program: &str, offset: &str) {
        let new = self.0.join("new");
        fs::write(&new, format!("{offset}\n")).unwrap();
        fs::rename(new, self.file(program)).unwrap();
    }
}

fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("..").join(name).canonicalize().unwrap()
}

async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        sleep(PAUSE).await;
    }
}

async fn health(channel: tonic::transport::Channel) -> Option<ServingStatus> {
    let mut client = HealthClient::new(channel);
    let checked = bounded("the health", client.check(HealthCheckRequest::default())).await;
    checked.ok().map(|answer| answer.into_inner().status())
}

/// `None` while it starts anew.
async fn station(line: &Line) -> Option<Station> {
    let asked = bounded("the station", mes(line).get_station(GetStationRequest {})).await;
    asked.ok().map(tonic::Response::into_inner)
}

fn ms(since: SystemTime) -> i64 {
    since.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A line whose clocks the test sets, with one device issued.
async fn line_with_clocks(place: &Path) -> Option<(Line, Clocks)> {
    let clocks = Clocks::new(place.join("programs"))?;
    let line = start(Options {
        directory: Some(place.join("line")),
        binaries: Some(clocks.0.clone()),
        station_extra: IMPATIENT_QUEUE.to_owned(),
        ..line_of(0, 4)
    })
    .await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    Some((line, clocks))
}

/// Stops the line and holds every record's time against the test's own clock, and against the record before.
fn true_times(mut line: Line, began: i64) {
    let directory = line.directory().to_owned();
    line.stop().unwrap();
    let ended = ms(SystemTime::now());
    let mut looked = 0;
    for (name, origin, time) in [
        (
            "station",
            "station-agent/station-1",
            (|entry: &[u8]| StationRecord::decode(entry).unwrap().time_ms) as fn(&[u8]) -> i64,
        ),
        ("ca", "ca-1", |entry| CaRecord::decode(entry).unwrap().time_ms),
    ] {
        let mut newest = began;
        let options = JournalOptions::new(directory.join("journal").join(name), origin);
        let (journal, _) = Journal::open(&options).unwrap();
        for entry in journal.read(0..journal.length()).unwrap() {
            let at = time(&entry);
            assert!((newest..=ended).contains(&at), "{name}: {at} is not from {newest} to {ended}");
            newest = at;
            looked += 1;
        }
    }
    assert!(looked > 20, "{looked}");
}

/// Back an hour and right again, forward most of a year and right again: the station refuses with words on every surface,
/// goes on by itself, and no record has a wrong time. (The line's TLS certificates hold for a year.)
#[tokio::test(flavor = "multi_thread")]
async fn a_station_whose_clock_jumps_stops_until_it_is_right() {
    let (place, began) = (tempfile::tempdir().unwrap(), ms(SystemTime::now()));
    let Some((line, clocks)) = line_with_clocks(place.path()).await else { return };
    let jumps =
        [("-1h", "behind the newest record", "SN-2", "fixture-2"), ("+300d", "days ahead", "SN-3", "fixture-3")];
    for (jump, words, serial, fixture) in jumps {
        clocks.set("station-agent", jump);
        // Nothing is acknowledged from the jump on, whether or not anybody has noticed it before.
        let refused = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap_err();
        let (code, reason, _) = refusal(&refused);
        assert_eq!(code, Code::Unavailable, "{refused:?}");
        assert!(["CLOCK_WRONG", "STATION_HALTED"].contains(&&*reason), "{refused:?}");
        assert!(service::status::retry_after(&refused).is_some(), "{refused:?}");
        eventually("the halt", async || station(&line).await.is_some_and(|seen| !seen.halted.is_empty())).await;
        let halted = station(&line).await.unwrap().halted;
        for part in [words, "Set the machine's clock right", "goes on by itself"] {
            assert!(halted.contains(part), "{part}: {halted}");
        }
        let mut command = Command::new(binary("station-agent"));
        command.args(["status", "--config"]).arg(line.directory().join("station.toml"));
        assert!(must(command).text().contains(&format!("HALTED   {halted}")));
        let channel = line.station_channel().unwrap();
        eventually("a health that says so", async || health(channel.clone()).await == Some(ServingStatus::NotServing))
            .await;
        let refused = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap_err();
        assert_eq!((refusal(&refused).1.as_str(), refused.message()), ("STATION_HALTED", halted.as_str()));

        clocks.set("station-agent", "+0");
        eventually("a station that goes on", async || station(&line).await.is_some_and(|seen| seen.halted.is_empty()))
            .await;
        complete(&line, scan("LOT-1", serial, fixture)).await;
    }
    true_times(line, began);
}

/// The CA, the same: what is sent to it waits with its words, and is answered once its clock is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_whose_clock_jumps_signs_nothing_until_it_is_right() {
    let (place, began) = (tempfile::tempdir().unwrap(), ms(SystemTime::now()));
    let Some((line, clocks)) = line_with_clocks(place.path()).await else { return };
    let jumps =
        [("-1h", "behind the newest record", "SN-2", "fixture-2"), ("+300d", "days ahead", "SN-3", "fixture-3")];
    for (jump, words, serial, fixture) in jumps {
        clocks.set("intermediate-ca", jump);
        let waiting: Issuance = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap();
        eventually("the CA's words", async || {
            let queue = station(&line).await.and_then(|seen| seen.queue).unwrap_or_default();
            queue.length == 1 && queue.last_error.contains(words) && queue.last_error.contains("clock right")
        })
        .await;
        let channel = line.authority().unwrap();
        eventually("a health that says so", async || health(channel.clone()).await == Some(ServingStatus::NotServing))
            .await;
        clocks.set("intermediate-ca", "+0");
        let issuance = settled(&line, &waiting).await;
        assert!(is_settled(&issuance) && issuance.state() == State::Completed, "{}", told(&issuance));
        eventually("a health that is well", async || health(channel.clone()).await == Some(ServingStatus::Serving))
            .await;
    }
    true_times(line, began);
}

/// A station that starts with another time than its CA's says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_station_that_starts_with_another_time_says_so() {
    let place = tempfile::tempdir().unwrap();
    let Some((mut line, clocks)) = line_with_clocks(place.path()).await else { return };
    line.stop_station().unwrap();
    clocks.set("station-agent", "+3h");
    line.start_station().await.unwrap();
    eventually("the words", async || {
        let queue = station(&line).await.and_then(|seen| seen.queue).unwrap_or_default();
        queue.link_up && queue.last_error.contains("ahead of the CA's")
    })
    .await;
    line.stop().unwrap();
}
