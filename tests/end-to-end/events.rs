//! Events to a web hook, as a receiver takes them that verifies each with a library that others wrote (Python's
//! `standardwebhooks`).

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use line::{ControlPlane, Line, Options};
use proto::station::v1::event::Change;
use serde_json::Value;
use service::tls::TlsFiles;
use tempfile::TempDir;

use crate::asking::{IMPATIENT_QUEUE, bounded, complete, line_of, mes, open_lot, scan, start, watch};

/// Events come within moments; a machine that does much else takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What its messages are signed with, in base64.
const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A receiver that can be killed and started again at its address.
struct Receiver {
    child: Option<Child>,
    address: String,
    files: TlsFiles,
    station: TlsFiles,
    place: TempDir,
}

impl Receiver {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let plane = ControlPlane::create(place.path().join("plane")).unwrap();
        let (files, station) = (plane.server("hook").unwrap(), plane.client("station").unwrap());
        let secret = place.path().join("secret");
        fs::write(&secret, format!("whsec_{KEY}\n")).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let mut receiver = Self { child: None, address: "127.0.0.1:0".into(), files, station, place };
        receiver.start();
        receiver
    }

    fn start(&mut self) {
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
        let python = target.join("mes/venv/bin/python");
        assert!(python.is_file(), "there is no {}: `deploy/dependencies.sh test` makes it", python.display());
        let mut command = Command::new(python);
        command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/end-to-end/receiver.py")).arg(&self.address);
        command.args([&self.files.certificate, self.files.key.file().unwrap(), &self.files.trust]);
        command.arg(self.secret()).arg(self.place.path().join("events")).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        self.child = Some(child);
        assert!(said.starts_with("127.0.0.1:"), "the receiver says where it listens: {said}");
        self.address = said.trim().to_owned();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn secret(&self) -> PathBuf {
        self.place.path().join("secret")
    }

    fn table(&self) -> String {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        format!(
            "[webhook]\nendpoint = \"https://{}/station-events?line=1\"\ncertificate = {}\nkey = {}\ntrust = {}\nsecret_file = {}\n",
            self.address,
            quoted(&self.station.certificate),
            quoted(self.station.key.file().unwrap()),
            quoted(&self.station.trust),
            quoted(&self.secret()),
        )
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.place.path().join("events")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events' sequences as they came, once this one is among them.
    fn until(&self, sequence: u64) -> Vec<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let came: Vec<u64> = self.events().iter().map(sequence_of).collect();
            if came.contains(&sequence) {
                return came;
            }
            assert!(Instant::now() < deadline, "no event {sequence} among {came:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Protobuf's JSON has 64-bit numbers in quotes.
fn sequence_of(event: &Value) -> u64 {
    event["data"]["sequence"].as_str().unwrap().parse().unwrap()
}

/// What a watch tells from the beginning up to this event.
async fn watched(line: &Line, last: u64) -> Vec<u64> {
    let mut events = watch(&mut mes(line), Some(0)).await;
    let mut sequences = Vec::new();
    while sequences.last() != Some(&last) {
        let event = bounded("an event", events.message()).await.unwrap().unwrap();
        if !matches!(event.change, Some(Change::Station(_)) | None) {
            sequences.push(event.sequence);
        }
    }
    sequences
}

/// Devices are issued while the receiver is killed in the middle, is away, and comes back, and while the station is killed as well:
/// none waits for it, and the receiver gets each event that a watch tells, signed, in order and without a gap; again only what was
/// under way when one of them died. The log has no word of the key, however much it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_dies_misses_nothing() {
    let mut receiver = Receiver::new();
    let extra = format!("{IMPATIENT_QUEUE}{}", receiver.table());
    let mut line = start(Options { station_extra: extra, ..line_of(0, 3) }).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    receiver.until(first.sequence);

    receiver.kill();
    let second = complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    line.kill_station().unwrap();
    line.station().set_variable("STATION_LOG", Some("trace".into()));
    line.start_station().await.unwrap();
    receiver.start();
    receiver.until(second.sequence);

    let third = tokio::join!(complete(&line, scan("LOT-1", "SN-3", "fixture-3")), async {
        receiver.kill();
        receiver.start();
    })
    .0;
    let came = receiver.until(third.sequence);
    let told = watched(&line, third.sequence).await;
    let mut once = came.clone();
    once.dedup();
    assert_eq!(once, told, "{came:?}");
    assert!(came.len() - once.len() <= 4, "one for each end of either: {came:?}");
    let events = receiver.events();
    let last = events.iter().find(|event| sequence_of(event) == third.sequence).unwrap();
    assert_eq!(
        (last["id"].as_str(), last["station"].as_str(), last["data"]["issuance"]["state"].as_str()),
        (Some(&*format!("station-1-{}", third.sequence)), Some("station-1"), Some("STATE_COMPLETED"))
    );
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(
        log.contains("TRACE") && !log.contains(KEY) && !log.contains("01234567890123456789"),
        "the key is in the log"
    );
    line.stop().unwrap();
}
