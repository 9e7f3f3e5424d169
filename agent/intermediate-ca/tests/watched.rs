//! What others see of a running CA: its witness, Prometheus, and whoever reads its log and journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod place;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use proto::ca::v1::{
    CertificationRequest, IssueBatchRequest, certificate_authority_service_client::CertificateAuthorityServiceClient,
    issue_result::Outcome,
};
use tonic::{Code, Status, transport::Channel};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

use place::{Place, Server};

/// What hangs longer than this on a busy machine is a failure.
const LONGEST: Duration = Duration::from_secs(60);

async fn ask(place: &Place, server: &Server, number: u8, request_id: &str) -> Result<Outcome, Status> {
    let request = CertificationRequest { request_id: request_id.to_owned(), ..place::request(number) };
    let mut client = CertificateAuthorityServiceClient::new(place.channel(server, "station-1"));
    let batch = IssueBatchRequest { requests: vec![request] };
    let answer = tokio::time::timeout(LONGEST, client.issue_batch(batch)).await.unwrap()?;
    Ok(answer.into_inner().results.remove(0).outcome.unwrap())
}

async fn issue(place: &Place, server: &Server, number: u8) {
    let outcome = ask(place, server, number, "").await.unwrap();
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
}

async fn await_health(channel: Channel, wanted: ServingStatus) {
    let check = HealthCheckRequest { service: "ca.v1.CertificateAuthorityService".to_owned() };
    let mut changes = HealthClient::new(channel).watch(check).await.unwrap().into_inner();
    let awaited = async { while changes.message().await.unwrap().expect("health ended").status != wanted as i32 {} };
    tokio::time::timeout(LONGEST, awaited).await.unwrap_or_else(|_| panic!("health is not {wanted:?}"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Two CAs, the second one the first one's witness, and a checkpoint each second.
fn with_witness() -> (Place, Place, Server) {
    with_witness_each("1s")
}

fn with_witness_each(interval: &str) -> (Place, Place, Server) {
    let (first, second) = (Place::new(), Place::new());
    second.run(&["init"], 0);
    let witness = second.serve();
    first.run(&["init"], 0);
    let port = witness.port();
    let file = |name: &str| second.path(name).display().to_string();
    let [certificate, key, trust] = ["station-1.pem", "station-1.key", "control.pem"].map(file);
    first.add(&format!(
        "[checkpoints]\ninterval = {interval:?}\n[witness]\nendpoint = \"https://localhost:{port}\"\ncertificate = \
         {certificate:?}\nkey = {key:?}\ntrust = {trust:?}\n"
    ));
    (first, second, witness)
}

/// An older copy of a CA's whole journal, checkpoint and all, is put back: its witness remembers more, and it is refused at
/// the start with words that say what to do, nothing signed. The newest one, put back again, is served; and with its witness
/// away too.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_refused_by_its_witness() {
    let (place, _witnesses, witness) = with_witness();
    let (journal, backup, newest) = (place.path("journal"), place.path("backup"), place.path("newest"));
    let server = place.serve();
    issue(&place, &server, 1).await;
    assert_eq!(server.terminate(), Some(0));
    copy(&journal, &backup);
    let server = place.serve();
    issue(&place, &server, 2).await;
    assert_eq!(server.terminate(), Some(0));
    // What was recorded last is witnessed at the start at the latest.
    assert_eq!(place.serve().terminate(), Some(0));
    copy(&journal, &newest);

    fs::remove_dir_all(&journal).unwrap();
    copy(&backup, &journal);
    assert_eq!(place.run(&["serve"], 1), "", "it listens nowhere");
    let told = place.output();
    for words in ["contradicts this CA's journal", "an older copy of it was put back", "Put the newest copy"] {
        assert!(told.contains(words), "{words}: {told}");
    }

    fs::remove_dir_all(&journal).unwrap();
    copy(&newest, &journal);
    let server = place.serve();
    issue(&place, &server, 3).await;
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(witness.terminate(), Some(0));
    let server = place.serve();
    issue(&place, &server, 4).await;
    assert_eq!(server.terminate(), Some(0));
    assert!(place.output().contains("it is asked while the CA serves"), "{}", place.output());
}

/// The checkpoint that an orderly end makes is the witness's too: nothing that was issued is known to this CA's disk alone. A
/// checkpoint comes once an hour here, so that no other one can have told it. A witness that hangs does not keep the end.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_is_witnessed() {
    let (place, witnesses, witness) = with_witness_each("1h");
    let size = |note: &str| note.lines().nth(1).unwrap().parse::<u64>().unwrap();
    let seen = || {
        let kept = fs::read_dir(witnesses.path("journal/witness")).unwrap().map(|file| file.unwrap().path());
        let kept: Vec<String> = kept.map(|file| fs::read_to_string(file).unwrap()).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept.into_iter().next().unwrap()
    };
    let server = place.serve();
    issue(&place, &server, 1).await;
    assert_eq!(server.terminate(), Some(0), "{}", place.output());
    let last = fs::read_to_string(place.path("journal/tlog/checkpoint")).unwrap();
    assert!(size(&last) > 2, "{last}");
    let cosigned = fs::read_to_string(place.path("journal/tlog/checkpoint.cosigned")).unwrap();
    assert_eq!(size(&cosigned), size(&last), "{last} {cosigned}");
    assert!(cosigned.contains("\u{2014} ca-1/witness "), "{cosigned}");
    assert!(seen().contains(&format!("ca-1\n{}\n", size(&last))), "{}", seen());

    let server = place.serve();
    issue(&place, &server, 2).await;
    witness.pause();
    assert_eq!(server.terminate(), Some(0), "{}", place.output());
    assert!(place.output().contains("the last checkpoint was not witnessed"), "{}", place.output());
}

/// A CA and its copy both start from what the witness saw, and both go on: the one that the witness hears of second is told
/// while it serves, halts with the words, and its health is red; the first one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_goes_on_beside_its_original_halts() {
    let (place, _witnesses, _witness) = with_witness();
    let server = place.serve();
    issue(&place, &server, 1).await;
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(place.serve().terminate(), Some(0));
    copy(&place.path("journal"), &place.path("copy"));
    let text = fs::read_to_string(place.configuration()).unwrap();
    let original = place.serve();
    let elsewhere = text
        .replace("journal = \"journal\"", "journal = \"copy\"")
        .replace("directory = \"crl\"", "directory = \"crl-copy\"")
        .replace("[checkpoints]\n", "[checkpoints]\nkey_file = \"journal.key\"\n");
    fs::write(place.configuration(), elsewhere).unwrap();
    let other = place.serve();
    // Whoever is second is told: perhaps before this, for both have made lists of what is revoked.
    for (server, number) in [(&original, 2), (&other, 3)] {
        match ask(&place, server, number, "").await {
            Ok(outcome) => assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}"),
            Err(refused) => assert!(refused.message().contains("contradicts this CA's journal"), "{refused:?}"),
        }
    }
    let [one, two] = [&original, &other].map(|server| place.channel(server, "station-1"));
    let halted = tokio::select! {
        () = await_health(one, ServingStatus::NotServing) => &original,
        () = await_health(two, ServingStatus::NotServing) => &other,
    };
    let refused = ask(&place, halted, 4, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    for words in ["contradicts this CA's journal", "its history was changed", "Nothing is signed"] {
        assert!(refused.message().contains(words), "{words}: {refused:?}");
    }
    assert!(place.output().contains("ALARM"), "{}", place.output());
    let goes_on = if std::ptr::eq(halted, &original) { &other } else { &original };
    issue(&place, goes_on, 5).await;
}

fn metrics(place: &Place) -> String {
    let log = place.output();
    let told = log.lines().find(|line| line.contains("metrics are served")).expect("where metrics are served");
    let address = told.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", &format!("http://{address}/metrics")]);
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Prometheus reads what was answered, how long it took and how the CA stands, and no name of a device or a caller; the
/// request's id that came with each request stands in the log's line and in the journal's record, of refusals too.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_and_found_by_their_id() {
    let place = Place::new();
    place.add("[metrics]\naddress = \"127.0.0.1:0\"\n");
    place.run(&["init"], 0);
    let server = place.serve();
    await_health(place.channel(&server, "station-1"), ServingStatus::Serving).await;
    assert!(matches!(ask(&place, &server, 1, "mes-4711").await, Ok(Outcome::Issued(_))));
    // The same name for another device.
    let Ok(Outcome::Refused(refused)) = ask(&place, &server, 1, "mes-4712").await else { panic!("{}", place.output()) };
    assert_eq!(refused.reason, "ALREADY_EXISTS");
    let Ok(Outcome::Refused(wrong)) = ask(&place, &server, 3, &"x".repeat(65)).await else { panic!() };
    assert!(wrong.message.contains("request_id: give at most 64"), "{wrong:?}");

    let until = Instant::now() + LONGEST;
    let told = loop {
        let told = metrics(&place);
        // The lists are made once it serves.
        if told.matches("ca_crl_next_update_timestamp_seconds{list=").count() == 2 {
            break told;
        }
        assert!(Instant::now() < until, "{told}");
    };
    for line in [
        "ca_serving 1",
        "ca_requests_total{outcome=\"issued\"} 1",
        "ca_requests_total{outcome=\"refused\"} 2",
        "ca_batch_duration_seconds_count 3",
        "ca_signing_duration_seconds_count 1",
        "ca_signatures_total 1",
        "ca_requests_waiting 0",
    ] {
        assert!(told.lines().any(|other| other == line), "{line}: {told}");
    }
    assert_eq!(told.matches("ca_certificate_not_after_timestamp_seconds{ca=").count(), 3, "{told}");
    assert!(!told.contains("SN-1") && !told.contains("station-1"), "{told}");

    let log = place.output();
    let line = |word: &str, id: &str| log.lines().any(|line| line.contains(word) && line.contains(id));
    assert!(line("issued", "mes-4711") && line("refused", "mes-4712"), "{log}");
    assert_eq!(server.terminate(), Some(0));
    let shown = place.run(&["journal", "show", "SN-1"], 0);
    for id in ["mes-4711", "mes-4712"] {
        assert_eq!(shown.matches(&format!("The request_id was {id}.")).count(), 1, "{shown}");
    }
}
