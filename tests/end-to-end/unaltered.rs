//! The record is unaltered: both journals are shown, proven, exported and verified with the real commands, beside the
//! running processes and from copies; and the CA, as the witness, notices a station whose disk was put back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use journal::{Checkpoint, Note};
use line::{Line, Options};
use proto::station::v1::{Issuance, issuance::State};
use serde_json::Value;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    asking::{
        bounded, complete, journal_length, line_of, open_lot, refusal, scan, start, start_issuance, station_until,
        told, until,
    },
    looking::{Ran, must, run},
};

/// Checkpoints come at once, so that nothing waits a minute for one.
const SOON: &str = "[checkpoints]\ninterval = \"100ms\"\n";
/// The station looks for a new checkpoint each second, and asks a CA that was away each ten.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

fn options() -> Options {
    Options { station_extra: SOON.into(), ca_extra: SOON.into(), ..line_of(0, 2) }
}

/// One of the two programs with its journal.
struct Journal<'a> {
    line: &'a Line,
    program: &'static str,
    configuration: &'static str,
    name: &'static str,
}

fn journals(line: &Line) -> [Journal<'_>; 2] {
    [
        Journal { line, program: "station-agent", configuration: "station.toml", name: "station" },
        Journal { line, program: "intermediate-ca", configuration: "ca.toml", name: "ca" },
    ]
}

impl Journal<'_> {
    fn directory(&self) -> PathBuf {
        self.line.directory().join("journal").join(self.name)
    }

    /// The public key, as it would be printed and sent to an auditor.
    fn key(&self) -> String {
        fs::read_to_string(self.directory().with_extension("vkey")).unwrap().trim().to_owned()
    }

    /// Without a configuration, in a directory where there is nothing.
    fn anywhere(&self, place: &Path, arguments: &[&str]) -> Ran {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own.parent().and_then(Path::parent).unwrap().join(self.program));
        command.arg("journal").args(arguments).env_clear().current_dir(place);
        run(command)
    }

    fn run(&self, place: &Path, arguments: &[&str]) -> Ran {
        let configuration = self.line.directory().join(self.configuration);
        self.anywhere(place, &[arguments, &["--config", &configuration.to_string_lossy()]].concat())
    }
}

#[track_caller]
fn ends(ran: &Ran, code: i32, words: &[&str]) {
    let said = ran.text() + &ran.err;
    assert_eq!(ran.status.code(), Some(code), "{said}");
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.text(), ran.err))
}

/// Runs until no record is newer than the checkpoint; the command's own time is the pause.
fn once_covered(mut command: impl FnMut() -> Ran) -> Ran {
    let began = Instant::now();
    loop {
        let ran = command();
        if ran.status.code() != Some(1) || !ran.err.contains("is newer than the checkpoint") {
            return ran;
        }
        assert!(began.elapsed() < PATIENCE, "no checkpoint covers it: {}", ran.err);
    }
}

fn serial(issuance: &Issuance) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(&issuance.certificate).unwrap();
    certificate.raw_serial_as_string()
}

/// A device's story in both journals, from the scan to the proof that an auditor checks offline with a public key alone:
/// every command beside the running processes, for people and as JSON, what is altered is told, and so is wrong use.
#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_shown_proven_and_exported() {
    let line = start(options()).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let issuance = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let [station, ca] = journals(&line);
    let shown = station.run(place, &["show", "SN-1"]);
    ends(&shown, 0, &["asked for a certificate for the device SN-1", "The CA issued the certificate", "be shipped."]);
    assert!(!shown.text().contains("SN-2"), "{}", shown.text());
    ends(
        &ca.run(place, &["show", "SN-1"]),
        0,
        &["station-1 asked for a certificate for the device SN-1", "was signed"],
    );
    for (journal, other) in [(&station, &ca), (&ca, &station)] {
        told_as_json(journal, place);
        proven(journal, other, place, &issuance);
        exported(journal, other, place);
        used_wrongly(journal, place);
    }
}

fn told_as_json(journal: &Journal<'_>, place: &Path) {
    let shown = json(&journal.run(place, &["show", "SN-1", "--json"]));
    let records = shown["records"].as_array().unwrap();
    assert!(records.len() >= 2, "{shown}");
    for record in records {
        assert_eq!(record["issuance"], records[0]["issuance"], "{shown}");
        assert!(record["index"].is_u64() && record["record"].is_object() && !record["words"].is_null(), "{record}");
    }
}

fn proven(journal: &Journal<'_>, other: &Journal<'_>, place: &Path, issuance: &Issuance) {
    let serial = serial(issuance);
    ends(&once_covered(|| journal.run(place, &["prove", &serial])), 0, &["the certificate and "]);
    // What an auditor gets: this file, and the key by another way.
    let file = place.join(format!("{serial}.proof.json"));
    let sent = place.join(format!("{}.json", journal.name));
    fs::rename(&file, &sent).unwrap();
    let text = fs::read_to_string(&sent).unwrap();
    let certificate: Value = serde_json::from_str(&text).unwrap();
    let certificate = pem::parse(certificate["certificate"].as_str().unwrap()).unwrap();
    assert_eq!(certificate.contents(), issuance.certificate, "the proven certificate is what the API tells");
    let check =
        |file: &Path, key: &str| journal.anywhere(place, &["check-proof", &file.to_string_lossy(), "--key", key]);
    ends(&check(&sent, &journal.key()), 0, &["SN-1", "proven: "]);
    ends(&check(&sent, &other.key()), 1, &["is not signed by"]);
    let checked = journal.anywhere(place, &["check-proof", &sent.to_string_lossy(), "--key", &journal.key(), "--json"]);
    assert_eq!((checked.status.code(), json(&checked)["certificate"].is_string()), (Some(0), true), "{}", checked.err);

    let altered = place.join("altered.json");
    let mut file: Value = serde_json::from_str(&text).unwrap();
    let entry = file["records"][0]["entry"].as_str().unwrap().to_owned();
    let last = if entry.starts_with('C') { "D" } else { "C" };
    file["records"][0]["entry"] = format!("{last}{}", &entry[1..]).into();
    fs::write(&altered, file.to_string()).unwrap();
    ends(&check(&altered, &journal.key()), 1, &["is not in the journal that the checkpoint covers"]);
    fs::write(&altered, text.replace("journal-proof/v1", "journal-proof/v9")).unwrap();
    ends(&check(&altered, &journal.key()), 1, &["journal-proof/v9"]);
    ends(&check(Path::new("/nowhere"), &journal.key()), 1, &["could not read /nowhere"]);
}

fn exported(journal: &Journal<'_>, other: &Journal<'_>, place: &Path) {
    for format in ["jsonl", "csv"] {
        let file = place.join(format!("{}.{format}", journal.name));
        let name = file.to_string_lossy();
        ends(&journal.run(place, &["export", "--format", format, "--out", &name]), 0, &["signed by "]);
        let manifest = fs::read_to_string(format!("{name}.manifest")).unwrap();
        let said = |what: &str| {
            let line =
                manifest.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_else(|| panic!("{manifest}"));
            line.trim().to_owned()
        };
        let text = fs::read_to_string(&file).unwrap();
        let header = usize::from(format == "csv");
        assert_eq!(text.lines().count() - header, said("records ").parse::<usize>().unwrap(), "{manifest}");
        if format == "jsonl" {
            for (index, line) in text.lines().enumerate() {
                assert_eq!(serde_json::from_str::<Value>(line).unwrap()["index"], index, "{line}");
            }
        }
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.arg(&file);
        assert_eq!(must(sha256sum).text().split(' ').next(), Some(said("sha256 ").as_str()));

        let check = |key: &str| journal.anywhere(place, &["check-export", &name, "--key", key]);
        ends(&check(&journal.key()), 0, &["unaltered: "]);
        ends(&check(&other.key()), 1, &["is not signed by"]);
        fs::write(&file, text.replacen("SN-1", "SN-9", 1)).unwrap();
        ends(&check(&journal.key()), 1, &["it was changed since it was exported"]);
        fs::write(&file, text).unwrap();
        fs::write(format!("{name}.manifest"), manifest.replace("records ", "records 1")).unwrap();
        ends(&check(&journal.key()), 1, &["was changed since"]);
    }
}

fn used_wrongly(journal: &Journal<'_>, place: &Path) {
    ends(&journal.run(place, &["prove", "no serial"]), 2, &["is no certificate serial"]);
    ends(&journal.run(place, &["prove", "00ff"]), 1, &["no record of this journal tells of"]);
    ends(&journal.run(place, &["show", "SN-none"]), 1, &["no record of this journal tells of the device SN-none"]);
    ends(&journal.anywhere(place, &["show", "SN-1", "--config", "none.toml"]), 2, &["none.toml"]);
    let directory = journal.directory();
    ends(&journal.anywhere(place, &["verify", "--journal", &directory.to_string_lossy()]), 2, &["--key"]);
    ends(&journal.anywhere(place, &["verify", "--journal", "/nowhere", "--key", &journal.key()]), 1, &["/nowhere"]);
    ends(&journal.anywhere(place, &["check-proof", "file"]), 2, &["--key"]);
    ends(&journal.anywhere(place, &["verify", "--help"]), 0, &["Exit codes: 0"]);
}

/// `verify` beside the running processes, on the copy of a journal, and on copies in each of which something else was
/// altered: a record, a tile, the checkpoint. What was altered is named, and the copy is left as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_altered_in_a_copy_is_named() {
    let mut line = start(options()).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    for journal in journals(&line) {
        ends(&journal.run(place, &["verify"]), 0, &["unaltered: "]);
        let live = json(&journal.run(place, &["verify", "--json"]));
        assert_eq!((&live["unaltered"], &live["findings"]), (&true.into(), &Value::Array(vec![])), "{live}");
    }
    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    for journal in journals(&line) {
        let shown = json(&journal.run(place, &["show", "SN-1", "--json"]));
        let record = shown["records"][0]["index"].as_u64().unwrap();
        let copy = |name: &str| {
            let copy = place.join(format!("{}-{name}", journal.name));
            copy_of(&journal.directory(), &copy);
            copy
        };
        let verify = |copy: &Path| {
            let arguments = ["verify", "--journal", &copy.to_string_lossy(), "--key", &journal.key(), "--json"];
            let ran = journal.anywhere(place, &arguments);
            (ran.status.code(), json(&ran))
        };
        let whole = copy("whole");
        let (code, told) = verify(&whole);
        assert_eq!((code, &told["unaltered"], &told["covered"]), (Some(0), &true.into(), &told["records"]), "{told}");

        let altered = copy("record");
        let segment = altered.join("00000000000000000000.seg");
        let mut bytes = fs::read(&segment).unwrap();
        let at = bytes.windows(4).position(|window| window == b"SN-1").unwrap();
        bytes[at + 3] = b'9';
        fs::write(&segment, &bytes).unwrap();
        let (code, told) = verify(&altered);
        assert_eq!((code, &told["findings"][0]["record"]), (Some(1), &record.into()), "{told}");
        assert_eq!(fs::read(&segment).unwrap(), bytes, "verifying changes nothing");

        let altered = copy("tile");
        let bundles = fs::read_dir(altered.join("tlog/tile/entries/000.p")).unwrap().map(|entry| entry.unwrap().path());
        let tile = bundles.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&tile).unwrap();
        let at = bytes.windows(4).position(|window| window == b"SN-1").unwrap();
        bytes[at + 3] = b'9';
        fs::write(&tile, bytes).unwrap();
        let (code, told) = verify(&altered);
        let file = tile.to_string_lossy();
        assert_eq!((code, told["findings"][0]["file"].as_str()), (Some(1), Some(&*file)), "{told}");
        assert!(told["findings"][0]["record"].is_null(), "the record is right, its tile is not: {told}");

        let altered = copy("checkpoint");
        let checkpoint = altered.join("tlog/checkpoint");
        let text = fs::read_to_string(&checkpoint).unwrap();
        let size = text.lines().nth(1).unwrap();
        fs::write(&checkpoint, text.replacen(size, &format!("1{size}"), 1)).unwrap();
        let (code, told) = verify(&altered);
        assert_eq!(code, Some(1), "{told}");
        assert!(told["findings"].to_string().contains("is not signed by the key"), "{told}");
    }
}

fn copy_of(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    must(copy);
}

/// A station whose disk is put back to an earlier copy halts once the CA sees it, and says so everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_put_back_halts_the_station() {
    let mut line = start(options()).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    witnessed(&line).await;
    let kept = kept_copy(&mut line);
    line.start_station().await.unwrap();
    complete(&line, scan("LOT-1", "SN-2", "fixture-2")).await;
    witnessed(&line).await;
    put_back(&mut line, &kept);
    line.start_station().await.unwrap();
    halted_everywhere(&line, "an older copy of it was put back").await;
    // Another start does not make it forget.
    line.stop_station().unwrap();
    line.start_station().await.unwrap();
    halted_everywhere(&line, "an older copy of it was put back").await;
}

/// Put back and gone on with while the CA is away, which stops nothing: the CA, once there, sees two histories, halts the
/// station, and keeps the note that shows the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_history_halts_the_station() {
    let mut line = start(options()).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    witnessed(&line).await;
    let kept = kept_copy(&mut line);
    line.start_station().await.unwrap();
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    witnessed(&line).await;
    let seen = journal_length(&line).await;
    put_back(&mut line, &kept);
    line.stop_ca().unwrap();
    line.start_station().await.unwrap();
    let started = start_issuance(&line, scan("LOT-1", "SN-2", "fixture-2")).await.unwrap();
    let waits = until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await;
    assert!(waits.next_action.contains("may go on the shelf"), "{}", told(&waits));
    let mut lot = 2;
    while journal_length(&line).await <= seen {
        open_lot(&line, &format!("LOT-{lot}"), "device-ca", 5).await;
        lot += 1;
    }
    // What the station closes with covers all of it: the first that the CA sees is longer than what it saw.
    line.stop_station().unwrap();
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();
    halted_everywhere(&line, "its history was changed").await;
    let evidence = line.directory().join("journal/ca/witness/station-1.forked");
    assert!(fs::read_to_string(&evidence).unwrap().starts_with("station-agent/station-1\n"));
}

/// Waits until the CA cosigned all that the station recorded, as the station keeps it.
async fn witnessed(line: &Line) {
    let length = journal_length(line).await;
    let file = line.directory().join("journal/station/tlog/checkpoint.cosigned");
    let size = || Checkpoint::parse(Note::parse(&fs::read_to_string(&file).ok()?)?.text()).map(|found| found.size);
    bounded("the CA's cosignature", async {
        while size().is_none_or(|size| size < length) {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Stops the station and copies its disk.
fn kept_copy(line: &mut Line) -> PathBuf {
    line.stop_station().unwrap();
    let kept = line.directory().join("kept");
    copy_of(&line.directory().join("journal/station"), &kept);
    kept
}

fn put_back(line: &mut Line, kept: &Path) {
    line.stop_station().unwrap();
    let journal = line.directory().join("journal/station");
    fs::remove_dir_all(&journal).unwrap();
    copy_of(kept, &journal);
}

async fn halted_everywhere(line: &Line, words: &str) {
    let station = station_until(line, "the halt", |station| !station.halted.is_empty()).await;
    for words in ["The CA contradicts this station's journal", words, "Call the administrator"] {
        assert!(station.halted.contains(words), "{words}: {}", station.halted);
    }
    let refused = start_issuance(line, scan("LOT-1", "SN-3", "fixture-1")).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "STATION_HALTED".into(), String::new()), "{refused:?}");
    assert_eq!(refused.message(), station.halted);
    let mut health = HealthClient::new(line.station_channel().unwrap());
    bounded("the health to be told", async {
        loop {
            let answer =
                health.check(HealthCheckRequest { service: "station.v1.StationService".into() }).await.unwrap();
            if answer.into_inner().status() == ServingStatus::NotServing {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    let mut status =
        Command::new(std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join("station-agent"));
    status.arg("status").arg("--config").arg(line.directory().join("station.toml"));
    let status = run(status);
    assert!(status.text().contains(&station.halted), "{}{}", status.text(), status.err);
}
