//! `station-agent` on the command line: the doctor, the client's commands, and stations that must not start.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use hsm_sim::child;
use line::{Device, Line, Stop};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    looking::{Ran, run},
};

/// A line of output, or an end, that does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The binary beside this test, one directory up.
fn station_agent() -> PathBuf {
    let own = env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("station-agent")
}

fn command(line: &Line, arguments: &[&str], configuration: &str) -> Command {
    let mut command = Command::new(station_agent());
    command.args(arguments).arg("--config").arg(line.directory().join(configuration));
    command
}

pub(crate) fn agent(line: &Line, arguments: &[&str]) -> Ran {
    run(command(line, arguments, "station.toml"))
}

/// Runs a command with another configuration. Exit code, and what it said on either stream.
fn with(line: &Line, arguments: &[&str], configuration: &str, text: &str) -> (Option<i32>, String) {
    fs::write(line.directory().join(configuration), text).unwrap();
    let ran = run(command(line, arguments, configuration));
    (ran.status.code(), ran.text() + &ran.err)
}

#[track_caller]
pub(crate) fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.text(), ran.err))
}

/// `check`, `status`, `issue` and `watch` against a running station: what they print and how they end, for people and as
/// JSON, when all is well and when it is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_reach_the_running_station() {
    let mut line = start(line_of(1, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let watching = Watching::start(command(&line, &["watch", "--after", "0", "--json"], "station.toml"));

    let checked = agent(&line, &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}{}", checked.text(), checked.err);
    assert!(!checked.text().contains("PROBLEM"), "{}", checked.text());
    let checked = json(&agent(&line, &["check", "--json"]));
    let severities: Vec<_> = checked["findings"].as_array().unwrap().iter().map(|found| &found["severity"]).collect();
    assert!(!severities.iter().any(|severity| **severity == "problem"), "{checked}");

    let status = agent(&line, &["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", status.err);
    for words in ["station-1", "0 of 100000 wait", "fixture-1", "fixture-2", "ready"] {
        assert!(status.text().contains(words), "{words}: {}", status.text());
    }

    let issue = |serial, fixture, more: &[&str]| {
        let arguments = ["issue", "--lot", "LOT-1", "--serial", serial, "--fixture", fixture];
        agent(&line, &[&arguments, more].concat())
    };
    let issued = issue("SN-1", "fixture-1", &[]);
    assert_eq!(issued.status.code(), Some(0), "{}{}", issued.text(), issued.err);
    assert!(issued.text().contains("COMPLETED") && issued.text().contains("ship it."), "{}", issued.text());
    let second = json(&issue("SN-2", "fixture-2", &["--json"]));
    assert_eq!((&second["state"], &second["common_name"]), (&"COMPLETED".into(), &"SN-2.ca".into()));
    let again = issue("SN-2", "fixture-2", &["--json"]);
    assert_eq!((again.status.code(), json(&again)), (Some(0), second), "the same again");

    let refused = issue("..", "fixture-1", &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.err.contains("device_serial") && refused.err.contains("no letter and no digit"), "{}", refused.err);
    assert_eq!(agent(&line, &["issue", "--lot", "LOT-1"]).status.code(), Some(2), "a serial is missing");
    let status = json(&agent(&line, &["status", "--json"]));
    assert_eq!(status["fixtures"][1]["issuance"]["device_serial"], "SN-2", "{status}");
    watching.expect(|event| event["issuance"]["device_serial"] == "SN-2" && event["issuance"]["state"] == "COMPLETED");
    assert_eq!(watching.interrupted(), Some(0));

    when_things_are_away(&mut line);
}

/// No device, no station: the commands say so and end with 1.
fn when_things_are_away(line: &mut Line) {
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(1) else { panic!("the first device is a TPM") };
    tpm.stop(Stop::PowerCut).unwrap();
    let arguments = ["issue", "--lot", "LOT-1", "--serial", "SN-3", "--fixture", "fixture-1"];
    let absent = agent(line, &arguments);
    assert_eq!(absent.status.code(), Some(1), "{}", absent.text());
    assert!(absent.text().contains("FAILED") && absent.text().contains("DEVICE_ABSENT"), "{}", absent.text());
    let checked = agent(line, &["check"]);
    assert!(checked.text().contains("fixture fixture-1: "), "{}", checked.text());
    assert!(checked.text().contains("Put the device in the fixture"), "{}", checked.text());

    line.stop_station().unwrap();
    line.stop_ca().unwrap();
    let status = agent(line, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    let address = line.station_url().trim_start_matches("https://").to_owned();
    assert!(status.err.contains(&format!("could not reach {address}")), "{}", status.err);
    let checked = agent(line, &["check"]);
    assert!(checked.text().contains("Start the CA, or correct the endpoint"), "{}", checked.text());
}

/// A `watch` at work, line by line.
struct Watching {
    running: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = child::spawn(command).unwrap();
        let out = BufReader::new(running.stdout.take().unwrap());
        let (told, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { running, lines }
    }

    /// Reads on until an event fits.
    fn expect(&self, fits: impl Fn(&Value) -> bool) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("an event");
            if fits(&serde_json::from_str(&line).unwrap()) {
                return;
            }
        }
    }

    /// Ctrl-C, and the exit code.
    fn interrupted(mut self) -> Option<i32> {
        child::signal(&mut self.running, Signal::INT).unwrap();
        child::wait_at_most(&mut self.running, PATIENCE).unwrap().expect("it ends").code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// Every mistake of a configuration is told at once with its line, by `check` and by `serve`, which ends with 2; what is
/// right to read and wrong to run is the doctor's to find, or ends the start with the directory or address it is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_told_with_its_lines() {
    let line = start(line_of(0, 2)).await;
    let right = fs::read_to_string(line.directory().join("station.toml")).unwrap();
    every_mistake_is_told(&line, &right);
    contradictions_are_told(&line, &right);
    what_is_no_configuration_is_told(&line, &right);
    a_station_that_cannot_run_says_why(&line, &right);
    // The one that runs did not notice.
    open_lot(&line, "LOT-1", "device-ca", 1).await;
    complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
}

/// Replaces the first occurrence, which must be there.
fn with_mistake(text: &str, right: &str, wrong: &str) -> String {
    assert!(text.contains(right), "{right} in\n{text}");
    text.replacen(right, wrong, 1)
}

/// The line, counted from 1, on which `piece` first stands.
fn line_number(text: &str, piece: &str) -> usize {
    text.lines().position(|line| line.contains(piece)).unwrap_or_else(|| panic!("no {piece}")) + 1
}

#[track_caller]
fn assert_told(told: &str, file: &str, text: &str, pieces: &[(&str, &str)]) {
    for (piece, words) in pieces {
        let place = format!("{file}:{}", line_number(text, piece));
        let found = told.lines().any(|line| line.contains(&place) && line.contains(words));
        assert!(found, "{place}: {words} in\n{told}");
    }
}

fn every_mistake_is_told(line: &Line, right: &str) {
    let mut text = right.to_owned();
    for (right, wrong) in [
        ("site = \"demo\"", "sitee = \"demo\""),
        ("address = \"127.0.0.1:", "address = \"nowhere:"),
        ("role = \"auditor\"", "role = \"auditer\""),
        ("purpose = \"device-ca\"", "purpose = \"device\""),
        ("key = \"P-256\"", "key = \"P-512\""),
        ("issuers = \"pki/product/device-ca.pem\"", "issuers = \"pki/nothing.pem\""),
        ("handle = 0x81000010", "handle = 0x01"),
        ("keystore = \"pkcs11\"", "keystore = \"floppy\""),
        ("secrets/device-2.pin", "secrets/nothing.pin"),
    ] {
        text = with_mistake(&text, right, wrong);
    }
    text += "[queue]\nbatch = 257\nretry_first = \"soon\"\n";
    let expected = [
        ("sitee", "site"),
        ("nowhere:", "is no address"),
        ("auditer", "must be one of"),
        ("purpose = \"device\"", "is no purpose"),
        ("P-512", "is no device key"),
        ("pki/nothing.pem", "nothing.pem"),
        ("handle = 0x01", "handle"),
        ("floppy", "is no keystore"),
        ("secrets/nothing.pin", "nothing.pin"),
        ("batch = 257", "batch"),
        ("retry_first = \"soon\"", "retry_first"),
    ];
    for command in ["check", "serve", "status"] {
        let (code, told) = with(line, &[command], "mistakes.toml", &text);
        assert_eq!(code, Some(2), "{command}: {told}");
        assert_told(&told, "mistakes.toml", &text, &expected);
    }
}

fn contradictions_are_told(line: &Line, right: &str) {
    let mut text = with_mistake(right, "hostname = \"{serial}\"", "hostname = \"{serial}.CA\"");
    text = with_mistake(&text, "name = \"fixture-2\"", "name = \"fixture-1\" # again");
    text += "[queue]\nretry_first = \"1min\"\nretry_most = \"1s\"\n";
    text += "[[caller]]\ncommon_name = \"mes-1\" # again\nrole = \"auditor\"\n";
    let (code, told) = with(line, &["check"], "contradictory.toml", &text);
    assert_eq!(code, Some(2), "{told}");
    let expected = [
        ("common_name = \"{serial}.ca\"", "equals hostname"),
        ("\"fixture-1\" # again", "two fixtures fixture-1"),
        ("retry_first = \"1min\"", "longer than retry_most"),
        ("\"mes-1\" # again", "already the mark"),
    ];
    assert_told(&told, "contradictory.toml", &text, &expected);

    let trust = with_mistake(right, "trust = \"control-plane/root.pem\"", "trust = \"pki/product/root.pem\"");
    let (code, told) = with(line, &["check"], "one-tree.toml", &trust);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("PROBLEM  listen.trust") && told.contains("a root of its own"), "{told}");
}

fn what_is_no_configuration_is_told(line: &Line, right: &str) {
    let (code, told) = with(line, &["check"], "broken.toml", "station = \"one\"\nsite = = 2\n");
    assert_eq!((code, told.contains("broken.toml:2")), (Some(2), true), "{told}");
    let ran = run(command(line, &["check"], "no-such.toml"));
    assert_eq!((ran.status.code(), ran.text().contains("no-such.toml")), (Some(2), true), "{}", ran.text());
    let start = right.find("[client]").unwrap();
    let end = start + right[start..].find("[[").unwrap();
    let without = [&right[..start], &right[end..]].concat();
    let (code, told) = with(line, &["status"], "no-client.toml", &without);
    assert_eq!((code, told.contains("there is no [client]")), (Some(2), true), "{told}");
}

fn a_station_that_cannot_run_says_why(line: &Line, right: &str) {
    let address = line.station_url().trim_start_matches("https://").to_owned();
    let elsewhere = with_mistake(right, &format!("address = \"{address}\""), "address = \"127.0.0.1:0\"");
    let (code, told) = with(line, &["serve"], "second.toml", &elsewhere);
    assert_eq!(code, Some(1), "{told}");
    let journal = line.directory().join("journal/station");
    assert!(told.contains(&*journal.to_string_lossy()) && told.contains("in use"), "{told}");

    // Even root makes no directory under a file.
    let under_a_file = with_mistake(&elsewhere, "journal = \"journal/station\"", "journal = \"ca.toml/journal\"");
    let (code, told) = with(line, &["serve"], "under-a-file.toml", &under_a_file);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&*line.directory().join("ca.toml/journal").to_string_lossy()), "{told}");
    let (code, told) = with(line, &["check"], "under-a-file.toml", &under_a_file);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is not a directory that can be written to"), "{told}");

    let same_port = with_mistake(right, "journal = \"journal/station\"", "journal = \"journal/other\"");
    let (code, told) = with(line, &["serve"], "same-port.toml", &same_port);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(&address) && told.contains("in use"), "{told}");
}
