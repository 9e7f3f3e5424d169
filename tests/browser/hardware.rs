//! Devices whose hardware changed, on a real line: swapped labels, a swapped board, a scrapped device; and the golden device that
//! began the shift.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use line::{Device, Line, Options};
use proto::station::v1::OpenLotRequest;
use serde_json::json;

use crate::{
    chromium::{Chromium, SIZES, output},
    supervised::{PIN, decide, supervisors},
};

const KEY: &str = "0x81000010";

fn run(mut command: Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The public key at the profile's handle of a TPM, as others' tools read it.
fn key_in(line: &mut Line, number: usize) -> String {
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(number) else { panic!("device {number} is no TPM") };
    let place = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("tpm2_readpublic");
    command.args(["-c", KEY, "-f", "pem", "-o", "key.pem"]);
    command.env("TPM2TOOLS_TCTI", tpm.tcti()).current_dir(place.path());
    let said = run(command);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fs::read_to_string(place.path().join("key.pem")).expect("a key")
}

async fn scan_at(chromium: &Chromium, fixture: &str, serial: &str) {
    chromium.scan(&format!("fixture:{fixture}")).await;
    chromium.until(&format!("input[value={fixture}]:checked")).await;
    chromium.scan(serial).await;
}

/// Opens a device's story by a scan, newest first where it has several.
async fn story(chromium: &Chromium, origin: &str, serial: &str) {
    chromium.open(&format!("{origin}/find")).await;
    chromium.scan(serial).await;
    chromium.until("#content dl, #content table").await;
    chromium.script("document.querySelector('#content tbody a')?.click()").await;
    chromium.until("#content dl").await;
    chromium.until("html[data-page=live]").await;
}

/// A supervisor's act on the story that is open.
async fn act(chromium: &Chromium, act: &str, fixture: &str) -> String {
    chromium.script(&format!("document.querySelector('input[value={act}]').click()")).await;
    if !fixture.is_empty() {
        chromium.scan(&format!("fixture:{fixture}")).await;
        assert_eq!(chromium.script("return document.getElementById('at-fixture').value").await, json!(fixture));
    }
    decide(chromium, "S-1", PIN).await;
    chromium.text("#notice").await
}

/// The file that the page gave, checked by the station's own program with the log's public key alone.
fn is_proven(line: &Line, proof: &str, serial: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("device.proof.json");
    fs::write(&file, proof).expect("written");
    let key = fs::read_to_string(line.directory().join("journal/station.vkey")).expect("the log's key");
    let own = std::env::current_exe().expect("this test");
    let mut command = Command::new(own.parent().and_then(Path::parent).expect("target").join("station-agent"));
    command.args(["journal", "check-proof"]).arg(&file).args(["--key", key.trim()]);
    let said = run(command);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("proven:") && text.contains(serial), "{text}{said:?}");
}

/// The golden device begins the shift and takes no place. Two labels were swapped before anybody noticed: each device is
/// certified under its own serial, with a key of its own in the place of the other's. A board is swapped: the fixture with the
/// unknown one is found by itself. A device is scrapped, once the CA is back: its place is free, and a scan of it is refused in
/// words. The proof of what happened is one link. Every act stands in the story with the badge.
#[tokio::test(flavor = "multi_thread")]
async fn hardware_changes_by_a_supervisors_word() {
    let directory = tempfile::tempdir().expect("a directory");
    supervisors(&directory.path().join("supervisors"));
    let options = Options {
        directory: Some(directory.path().to_owned()),
        tpms: 3,
        tokens: 0,
        station_extra: "\n[supervisors]\nfile = \"supervisors\"\n\n[checkpoints]\ninterval = \"1s\"\n".into(),
        ..Options::default()
    };
    let mut line = Line::start(options).await.expect("a line");
    let lot = OpenLotRequest { lot: "LOT-1".into(), profile: "device-ca".into(), quantity: 2 };
    line.mes().expect("a client").open_lot(lot).await.expect("a lot");
    let origin = line.page_url().expect("a page");
    let chromium = Chromium::start().await;
    chromium.resize(SIZES[0]).await;
    chromium.open(&origin).await;
    chromium.until("#golden.due").await;
    chromium.scan("badge:B-17").await;
    chromium.until("#operator strong").await;
    for (fixture, serial) in [("fixture-1", "SN-2"), ("fixture-2", "SN-1")] {
        scan_at(&chromium, fixture, serial).await;
        chromium.until(&format!("#tile-{fixture}[data-kind=ship-it]")).await;
    }

    chromium.open(&format!("{origin}/golden")).await;
    chromium.until(".verdict.due").await;
    chromium.scan("SN-9").await;
    chromium.until(".verdict.bad").await;
    assert!(chromium.text("#content").await.contains("The check failed: do not ship"));
    chromium.picture(&output("golden-failed.png")).await;
    chromium.scan("SN-2").await;
    chromium.until(".verdict.good").await;
    let told = chromium.text("#content").await;
    assert!(told.contains("with SN-2 in fixture-1 by B-17"), "{told}");
    chromium.picture(&output("golden-good.png")).await;
    chromium.open(&origin).await;
    chromium.until("#golden.good").await;
    chromium.until("#lots progress[max='2'][value='2']").await;

    // Two labels were swapped.
    let before = [key_in(&mut line, 1), key_in(&mut line, 2)];
    for (serial, fixture) in [("SN-1", "fixture-1"), ("SN-2", "fixture-2")] {
        story(&chromium, &origin, serial).await;
        let said = act(&chromium, "act-swap", fixture).await;
        assert!(said.contains("Done: Board or label swapped"), "{said}");
        chromium.open(&origin).await;
        chromium.until(&format!("#tile-{fixture}[data-kind=ship-it]")).await;
        assert!(chromium.text(&format!("#tile-{fixture}")).await.contains(serial));
        story(&chromium, &origin, serial).await;
        let told = chromium.text("#content").await;
        assert!(told.contains("S-1 (through page-1 with the PIN of S-1) asked for a certificate"), "{told}");
        assert!(told.contains("was about to be removed, and a key P-256 generated in its place"), "{told}");
    }
    let after = [key_in(&mut line, 1), key_in(&mut line, 2)];
    assert!(before.iter().all(|key| !after.contains(key)), "each has a key of its own: {before:?} {after:?}");

    // The board of SN-2 is swapped for one that nobody knows.
    story(&chromium, &origin, "SN-2").await;
    let said = act(&chromium, "act-swap", "").await;
    assert!(said.contains("Done"), "{said}");
    chromium.open(&origin).await;
    chromium.until("#tile-fixture-3[data-kind=ship-it]").await;
    assert!(chromium.text("#tile-fixture-3").await.contains("SN-2"));
    // The old board is that device no longer.
    chromium.open(&format!("{origin}/golden")).await;
    chromium.scan("fixture:fixture-2").await;
    chromium.until("#at-fixture option[value=fixture-2]:checked").await;
    chromium.scan("SN-2").await;
    chromium.until(".verdict.bad").await;
    assert!(!chromium.text("#content").await.contains("is checked for this shift"));

    // A device is scrapped: not while the CA is away.
    line.stop_ca().expect("the CA stops");
    story(&chromium, &origin, "SN-1").await;
    let said = act(&chromium, "act-scrap", "").await;
    assert!(said.contains("Not done: the CA is away"), "{said}");
    line.start_ca().await.expect("the CA is back");
    let said = act(&chromium, "act-scrap", "").await;
    assert!(said.contains("Done: Scrap the device"), "{said}");
    let told = chromium.text("#content").await;
    assert!(told.contains("A supervisor scrapped this device") && told.contains("S-1 (through page-1"), "{told}");
    chromium.picture(&output("scrapped.png")).await;
    chromium.open(&format!("{origin}/lots")).await;
    assert!(chromium.text("#content").await.contains("1 of 2 done"));
    chromium.open(&origin).await;
    scan_at(&chromium, "fixture-1", "SN-1").await;
    chromium.until(".notice.bad").await;
    assert!(chromium.text("#notice").await.contains("this device was scrapped"), "{}", chromium.text("#notice").await);

    story(&chromium, &origin, "SN-2").await;
    let fetched = "const done = arguments[0];
        const get = async () => {
          for (;;) {
            const answer = await fetch(document.querySelector('a[href$=\"proof.json\"]').href);
            const text = await answer.text();
            if (text.startsWith('{')) return text;
          }
        };
        get().then(done)";
    let proof = chromium.client.execute_async(fetched, Vec::new()).await.expect("a proof");
    is_proven(&line, proof.as_str().expect("text"), "SN-2");
    line.stop().expect("all ends in order");
}
