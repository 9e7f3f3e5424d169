//! Disks that are full, read-only or broken beneath the journals: nothing is acknowledged that is not kept, everybody is
//! told, and station and CA go on by themselves.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use hsm_sim::child;
use line::{Line, Options};
use proto::{
    ca::v1::{
        IssueBatchRequest, IssueResult, certificate_authority_service_client::CertificateAuthorityServiceClient,
        issue_result::Outcome,
    },
    station::v1::{GetIssuanceRequest, GetLotRequest, GetStationRequest, Issuance, OpenLotRequest, issuance::State},
};
use rustix::process::Signal;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    asking::{
        IMPATIENT_QUEUE, bounded, complete, is_settled, line_of, mes, of_software, open_lot, refusal, scan, start,
        start_issuance, station_until, told,
    },
    looking::{must, run},
};

/// The probes come ten seconds apart at most, and a start takes one or two.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// What tells whom something is refused until the disk is well: the first, and those who come later.
const REASONS: [&str; 2] = ["JOURNAL_FAILED", "STATION_HALTED"];

/// A file system in memory, of a size that can be filled.
struct Small(PathBuf);

impl Small {
    /// `None` when nobody may mount here.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&at);
        let mounted = run(command);
        if !mounted.status.success() {
            println!("skipped: {}", mounted.err);
            return None;
        }
        Some(Self(at))
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("something-else")).unwrap();
        for piece in [64 * 1024, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("something-else")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(&self.0);
        run(command);
    }
}

/// A process whose system calls fail, from outside, for as long as this lives.
struct Failing(Child);

impl Failing {
    fn start(process: u32, injection: &str) -> Self {
        let mut command = Command::new("strace");
        let process = process.to_string();
        let trace = format!("inject={injection}");
        command.args(["-f", "-q", "-o", "/dev/null", "-p", &process, "-e", &trace]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(child::spawn(command).unwrap())
    }

    fn end(mut self) {
        child::signal(&mut self.0, Signal::INT).unwrap();
        child::wait_at_most(&mut self.0, PATIENCE).unwrap().expect("strace ends");
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = child::kill_group(&mut self.0);
    }
}

fn strace_works() -> bool {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "true"]);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Opens lots, eight at a time, until each of the eight is refused; the names of those that were acknowledged.
async fn lots_until_refused(line: &Line, prefix: &str) -> Vec<String> {
    let mut openers = JoinSet::new();
    for opener in 0..8 {
        let (mut client, prefix) = (mes(line), format!("{prefix}-{opener}"));
        openers.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let lot = format!("{prefix}-{}", acknowledged.len());
                let request = OpenLotRequest { lot: lot.clone(), profile: "device-ca".into(), quantity: 1 };
                match client.open_lot(request).await {
                    Ok(_) => acknowledged.push(lot),
                    Err(status) => {
                        let (code, reason, _) = refusal(&status);
                        assert_eq!((code, REASONS.contains(&&*reason)), (Code::Unavailable, true), "{status:?}");
                        return acknowledged;
                    }
                }
            }
        });
    }
    bounded("the disk to fail", openers.join_all()).await.concat()
}

async fn expect_lots(line: &Line, lots: &[String]) {
    let mut client = mes(line);
    for lot in lots {
        let request = GetLotRequest { name: format!("lots/{lot}") };
        bounded("a lot", client.get_lot(request)).await.unwrap_or_else(|status| panic!("{lot} is lost: {status:?}"));
    }
}

async fn health(channel: tonic::transport::Channel) -> ServingStatus {
    let mut client = HealthClient::new(channel);
    bounded("the health", client.check(HealthCheckRequest::default())).await.unwrap().into_inner().status()
}

/// What everybody is told while the station cannot record; what is on the disk is answered all the same.
async fn halted_everywhere(line: &mut Line, words: &[&str], done: &Issuance) {
    let station = station_until(line, "the halt", |station| !station.halted.is_empty()).await;
    for words in words.iter().copied().chain(["goes on by itself"]) {
        assert!(station.halted.contains(words), "{words}: {}", station.halted);
    }
    let refused = start_issuance(line, scan("LOT-1", "SN-99", "fixture-1")).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "STATION_HALTED".into(), String::new()), "{refused:?}");
    assert!(service::status::retry_after(&refused).is_some() && refused.message() == station.halted, "{refused:?}");
    let name = done.name.clone();
    let read = bounded("a read", mes(line).get_issuance(GetIssuanceRequest { name })).await.unwrap().into_inner();
    assert_eq!(read.state(), State::Completed, "{}", told(&read));
    let seen = bounded("the station", mes(line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    assert_eq!(seen.halted, station.halted);

    let mut command = Command::new(std::env::current_exe().unwrap().parent().unwrap().join("../station-agent"));
    command.args(["status", "--config"]).arg(line.directory().join("station.toml"));
    let status = must(command);
    assert!(status.text().contains(&format!("HALTED   {}", station.halted)), "{}", status.text());
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(log.contains("the station halts"), "{log}");
    let channel = line.station_channel().unwrap();
    eventually("a health that says so", async || health(channel.clone()).await == ServingStatus::NotServing).await;
}

/// Asks again and again until it is so.
async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        sleep(PAUSE).await;
    }
}

async fn state_of(line: &Line, name: &str) -> Option<Issuance> {
    let request = GetIssuanceRequest { name: name.to_owned() };
    bounded("an answer", mes(line).get_issuance(request)).await.ok().map(tonic::Response::into_inner)
}

/// What was accepted comes to its end by itself; a refused scan is repeated.
async fn completes(line: &Line, accepted: Result<Issuance, tonic::Status>, again: (&str, &str)) -> Issuance {
    let name = match accepted {
        Ok(issuance) => issuance.name,
        Err(_) => {
            let mut name = None;
            let deadline = Instant::now() + PATIENCE;
            while name.is_none() {
                match start_issuance(line, scan("LOT-1", again.0, again.1)).await {
                    Ok(issuance) => name = Some(issuance.name),
                    Err(status) => assert!(Instant::now() < deadline, "still refused: {status:?}"),
                }
                sleep(PAUSE).await;
            }
            name.unwrap()
        }
    };
    eventually("the end of what was accepted", async || {
        state_of(line, &name).await.is_some_and(|issuance| is_settled(&issuance))
    })
    .await;
    let issuance = state_of(line, &name).await.unwrap();
    assert_eq!(issuance.state(), State::Completed, "{}", told(&issuance));
    issuance
}

fn in_directory(place: &Path, tpms: usize, tokens: usize) -> Options {
    Options { directory: Some(place.to_owned()), station_extra: IMPATIENT_QUEUE.to_owned(), ..line_of(tpms, tokens) }
}

/// Writers fill the station's disk while a device is issued: what was acknowledged is there afterwards, and when there is
/// room again the station goes on by itself, in the same process, with the device.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_halts_the_station_until_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(place.path().join("journal/station")) else { return };
    // So that it is the journal that meets the full disk, and not the rows before it.
    fs::create_dir(place.path().join("rows")).unwrap();
    symlink(place.path().join("rows"), place.path().join("journal/station/projections")).unwrap();
    let mut line = start(in_directory(place.path(), 1, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    line.stop_station().unwrap();
    leave_little_ahead(&line);
    line.start_station().await.unwrap();
    small.fill();
    let (lots, second) =
        tokio::join!(lots_until_refused(&line, "L"), start_issuance(&line, scan("LOT-1", "SN-2", "fixture-2")));
    println!("{} lots were acknowledged", lots.len());
    halted_everywhere(&mut line, &["No space left on device", "Make room on that disk"], &first).await;
    small.make_room();
    eventually("a station that goes on", async || goes_on(&line).await).await;
    let second = completes(&line, second, ("SN-2", "fixture-2")).await;
    assert_ne!(second.certificate_serial, first.certificate_serial);
    expect_lots(&line, &lots).await;
    line.check().unwrap();
}

/// Cuts the zeros that the station's journal has written ahead down to a few records, so that its disk can be full at once,
/// while the station does not run.
fn leave_little_ahead(line: &Line) {
    let segment = line.directory().join("journal/station/00000000000000000000.seg");
    let used = fs::read(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
    File::options().write(true).open(&segment).unwrap().set_len(used + 4096).unwrap();
}

/// Whether the station answers, and is not halted.
async fn goes_on(line: &Line) -> bool {
    let station = bounded("the station", mes(line).get_station(GetStationRequest {})).await;
    station.is_ok_and(|station| station.into_inner().halted.is_empty())
}

/// The CA's disk is full: its stations are told why and wait, and with room again the CA answers them, each once.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_ca_until_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(place.path().join("journal/ca")) else { return };
    let mut line = start(in_directory(place.path(), 0, 2)).await;
    open_lot(&line, "LOT-1", "device-ca", 50).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    small.fill();
    until_the_ca_cannot_record(&line).await;
    let (serial, fixture) = ("SN-2", "fixture-2");
    let issuance = start_issuance(&line, scan("LOT-1", serial, fixture)).await.unwrap();
    eventually("the CA's word", async || queue_error(&line).await.contains("No space left")).await;
    let full = queue_error(&line).await;
    assert!(full.contains("the CA cannot record") && full.contains("room"), "{full}");
    assert_eq!(health(line.authority().unwrap()).await, ServingStatus::NotServing);
    small.make_room();
    completes(&line, Ok(issuance), (serial, fixture)).await;
    line.check().unwrap();
    eventually("a CA that serves", async || health(line.authority().unwrap()).await == ServingStatus::Serving).await;
}

/// Asks the CA for certificates until what it has written ahead is used up.
async fn until_the_ca_cannot_record(line: &Line) {
    let mut ca = CertificateAuthorityServiceClient::new(line.authority().unwrap());
    for batch in 0..64 {
        let serial = |number: usize| format!("F-{batch}-{number}");
        let requests = (0..64).map(|number| of_software(&serial(number), &format!("{}.ca", serial(number)))).collect();
        let answer = bounded("the CA's answer", ca.issue_batch(IssueBatchRequest { requests })).await;
        let issued = |result: &IssueResult| matches!(result.outcome, Some(Outcome::Issued(_)));
        if !answer.is_ok_and(|answer| answer.get_ref().results.iter().all(issued)) {
            return;
        }
    }
    panic!("4096 certificates found room on a full disk");
}

/// What the station tells of its last attempt to reach the CA.
async fn queue_error(line: &Line) -> String {
    let station = bounded("the station", mes(line).get_station(GetStationRequest {})).await.unwrap().into_inner();
    station.queue.unwrap_or_default().last_error
}

/// The system refuses to sync, then to write: the same, with the words that fit. A failed sync is not believed the second
/// time either: what it was about is written anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_halts_the_station_until_it_is_well() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut line = start(in_directory(place.path(), 0, 3)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let first = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let faults = [
        ("fdatasync:error=EIO", ["Input/output error", "the system's log"]),
        ("pwrite64:error=EROFS", ["Read-only file system", "Mount that disk for writing again"]),
    ];
    for (number, (injection, words)) in faults.into_iter().enumerate() {
        let process = line.station().process_id().expect("a station");
        let failing = Failing::start(process, injection);
        let lots = lots_until_refused(&line, &format!("F-{number}")).await;
        println!("{injection}: {} lots were acknowledged", lots.len());
        halted_everywhere(&mut line, &words, &first).await;
        failing.end();
        eventually("a station that goes on", async || goes_on(&line).await).await;
        let (serial, fixture) = (format!("SN-{}", number + 2), format!("fixture-{}", number + 2));
        let refused = Err(tonic::Status::unavailable("not asked yet"));
        completes(&line, refused, (&serial, &fixture)).await;
        expect_lots(&line, &lots).await;
        line.check().unwrap();
    }
}

/// The CA's syncs fail: the station is told why, and what it sent is answered once they do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_stops_the_ca_until_it_is_well() {
    if !strace_works() {
        println!("skipped: needs strace");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut line = start(in_directory(place.path(), 0, 4)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let process = line.ca().process_id().expect("a CA");
    let failing = Failing::start(process, "fdatasync:error=EIO");
    // Until strace has found the process, the CA may still answer.
    let (mut accepted, mut error) = (Vec::new(), String::new());
    while !error.contains("Input/output error") {
        let number = accepted.len() + 1;
        let (serial, fixture) = (format!("SN-{number}"), format!("fixture-{number}"));
        let issuance = start_issuance(&line, scan("LOT-1", &serial, &fixture)).await.unwrap();
        let name = issuance.name.clone();
        accepted.push((serial, fixture, issuance));
        eventually("an end, or the CA's word", async || {
            state_of(&line, &name).await.is_some_and(|issuance| is_settled(&issuance))
                || queue_error(&line).await.contains("Input/output error")
        })
        .await;
        error = queue_error(&line).await;
    }
    assert_eq!(health(line.authority().unwrap()).await, ServingStatus::NotServing);
    failing.end();
    for (serial, fixture, issuance) in accepted {
        completes(&line, Ok(issuance), (&serial, &fixture)).await;
    }
    line.check().unwrap();
}
