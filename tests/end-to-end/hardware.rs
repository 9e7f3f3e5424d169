//! Devices that are away, taken, full, or guarded by another PIN: the issuance stops with a reason and the operator's
//! next step, nothing of somebody else's is touched, and the same scan goes on once the device is right.

use std::{fs, path::Path};

use hsm_sim::{SoftHsm, Swtpm};
use line::{Device, Line, Options, Stop};
use proto::station::v1::{Issuance, StartIssuanceRequest, issuance::State};

use crate::{
    asking::{
        IMPATIENT_QUEUE, assert_stopped, complete, issue, line_of, open_lot, scan, settled, start, start_issuance,
        station_until, stop, told, until,
    },
    looking::{TokenTools, TpmTools},
};

const KEY: &str = "0x81000010";
const NV: &str = "0x01800010";

fn tpm(line: &mut Line, number: usize) -> &mut Swtpm {
    match line.hardware_mut().device(number) {
        Some(Device::Tpm(tpm)) => tpm,
        other => panic!("device {number} is {other:?}"),
    }
}

fn token(line: &mut Line, number: usize) -> &mut SoftHsm {
    match line.hardware_mut().device(number) {
        Some(Device::Token(token)) => token,
        other => panic!("device {number} is {other:?}"),
    }
}

/// The same scan, request_id included, as an operator's page repeats it.
fn scan_at(number: usize) -> StartIssuanceRequest {
    let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
    StartIssuanceRequest { request_id: format!("scan-{number}"), ..request }
}

/// Under a profile that leaves its place open, the device's own software writes over the certificate as the TPM's owner; under any
/// other nobody does, as tpm2-tools see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_locked_as_its_profile_says() {
    let ca_extra = "[[profile]]\nname = \"open\"\npurpose = \"device-ca\"\npath_length = 0\nissuer = \"device-ca\"\n\
                    validity = \"365d\"\nkeys = [\"P-256\"]\n";
    let station_extra = "[[profile]]\nname = \"open\"\npurpose = \"device-ca\"\npath_length = 0\nkey = \"P-256\"\n\
                         common_name = \"{serial}.open\"\nissuers = \"pki/product/device-ca.pem\"\n\
                         roots = \"pki/product/root.pem\"\n\
                         tpm = { handle = 0x81000030, nv_index = 0x01800030, write_lock = false }\n";
    let options = Options { ca_extra: ca_extra.into(), station_extra: station_extra.into(), ..line_of(1, 0) };
    let mut line = start(options).await;
    for (lot, profile) in [("LOT-1", "device-ca"), ("LOT-2", "open")] {
        open_lot(&line, lot, profile, 5).await;
        complete(&line, scan(lot, "SN-1", "fixture-1")).await;
    }
    let tools = TpmTools::of(tpm(&mut line, 1));
    fs::write(tools.file("theirs"), "renewed").unwrap();
    for (index, locked) in [(NV, true), ("0x01800030", false)] {
        let written = tools.run("tpm2_nvwrite", &[index, "-C", "o", "-i", "theirs"]);
        assert_eq!(written.status.success(), !locked, "{index}: {}", written.err);
        assert_eq!(tools.nv(index).starts_with(b"renewed"), !locked, "{index}");
        let public = tools.must("tpm2_nvreadpublic", &[index]).text();
        assert_eq!(public.contains("writelocked"), locked, "{public}");
    }
}

/// Each fixture has a device with another trouble; one line shows them one after another.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_in_trouble_stops_with_a_reason_and_goes_on_when_it_is_right() {
    let mut line = start(line_of(4, 2)).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    no_device_in_the_fixture(&mut line, 1).await;
    somebody_elses_key_stands_there(&mut line, 2).await;
    somebody_elses_bytes_stand_there(&mut line, 3).await;
    no_room_in_the_tpm(&mut line, 4).await;
    no_token_in_the_slot(&mut line, 5).await;
    no_place_for_the_files(&mut line, 6).await;
}

/// The fixture is empty, twice: the scan says so both times; with the device in it, the same request completes.
async fn no_device_in_the_fixture(line: &mut Line, number: usize) {
    tpm(line, number).stop(Stop::Orderly).unwrap();
    let absent = stop(line, scan_at(number), State::Failed, "DEVICE_ABSENT").await;
    assert!(absent.next_action.contains("scan it again"), "{}", absent.next_action);
    let again = stop(line, scan_at(number), State::Failed, "DEVICE_ABSENT").await;
    assert_eq!((&again.name, again.key.as_str()), (&absent.name, ""));
    tpm(line, number).restart().unwrap();
    let done = complete(line, scan_at(number)).await;
    assert_eq!((done.name, done.failure), (absent.name, None));
}

/// A key that this station did not make is never used nor replaced.
async fn somebody_elses_key_stands_there(line: &mut Line, number: usize) {
    let tools = TpmTools::of(tpm(line, number));
    tools.occupy(KEY);
    let other = tools.public_key(KEY);
    let stopped = stop(line, scan_at(number), State::Failed, "LOCATION_OCCUPIED").await;
    assert!(stopped.failure.clone().unwrap_or_default().message.contains(KEY), "{}", told(&stopped));
    assert_eq!(tools.public_key(KEY), other, "the other key was touched");
    tools.must("tpm2_evictcontrol", &["-C", "o", "-c", KEY]);
    complete(line, scan_at(number)).await;
    assert_ne!(tools.public_key(KEY), other);
}

/// Other bytes in the certificate's NV index stay as they are.
async fn somebody_elses_bytes_stand_there(line: &mut Line, number: usize) {
    let tools = TpmTools::of(tpm(line, number));
    fs::write(tools.file("theirs"), b"calibration, not a certificate").unwrap();
    tools.must("tpm2_nvdefine", &[NV, "-C", "o", "-s", "30", "-a", "ownerread|ownerwrite|authread"]);
    tools.must("tpm2_nvwrite", &[NV, "-C", "o", "-i", "theirs"]);
    let stopped = stop(line, scan_at(number), State::Failed, "LOCATION_OCCUPIED").await;
    assert!(stopped.failure.clone().unwrap_or_default().message.to_lowercase().contains(NV), "{}", told(&stopped));
    assert_eq!(tools.nv(NV), b"calibration, not a certificate");
    tools.must("tpm2_nvundefine", &["-C", "o", NV]);
    let done = complete(line, scan_at(number)).await;
    assert_eq!((tools.nv(NV), done.key), (done.certificate, stopped.key), "the key made before is the one certified");
}

/// A TPM whose NV others have filled: nothing half-made stays behind, and with room again the same scan completes.
async fn no_room_in_the_tpm(line: &mut Line, number: usize) {
    let tools = TpmTools::of(tpm(line, number));
    let mut filled = Vec::new();
    // Large ones first, then into what is left between.
    for size in ["2048", "512", "64", "8"] {
        while filled.len() < 1000 {
            let index = format!("{:#010x}", 0x0180_1000 + filled.len());
            if !tools.run("tpm2_nvdefine", &[&index, "-C", "o", "-s", size]).status.success() {
                break;
            }
            filled.push(index);
        }
    }
    assert!((1..1000).contains(&filled.len()), "{} indexes filled the TPM", filled.len());
    let stopped = stop(line, scan_at(number), State::Failed, "STORAGE_FULL").await;
    assert!(stopped.next_action.contains("full"), "{}", stopped.next_action);
    for index in &filled {
        tools.must("tpm2_nvundefine", &["-C", "o", index]);
    }
    let done = complete(line, scan_at(number)).await;
    assert_eq!(done.name, stopped.name);
}

/// A token that is not there, then is.
async fn no_token_in_the_slot(line: &mut Line, number: usize) {
    let tokens = token(line, number).directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    stop(line, scan_at(number), State::Failed, "DEVICE_ABSENT").await;
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    complete(line, scan_at(number)).await;
    assert_eq!(TokenTools::of(token(line, number)).count("privkey"), 1);
}

/// The device's files cannot be written: the device has its certificate, but nothing is called done.
async fn no_place_for_the_files(line: &mut Line, number: usize) {
    let directory = line.directory().join("devices").join(format!("SN-{number}"));
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::write(&directory, "in the way").unwrap();
    let stopped = stop(line, scan_at(number), State::Failed, "FILE_WRITE_FAILED").await;
    fs::remove_file(&directory).unwrap();
    let done = complete(line, scan_at(number)).await;
    assert_eq!((done.key, done.certificate), (stopped.key, stopped.certificate));
    let tools = TokenTools::of(token(line, number));
    assert_eq!((tools.count("privkey"), tools.count("cert")), (1, 1));
}

/// The device leaves while its request waits for the CA: the certificate waits for the device, which goes on with the
/// same key; another device scanned in its place is not taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_pulled_out_mid_way_goes_on_with_the_same_key() {
    let mut options = line_of(1, 1);
    options.station_extra = IMPATIENT_QUEUE.into();
    let mut line = start(options).await;
    line.stop_ca().unwrap();
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    let mut waiting = Vec::new();
    for number in [1, 2] {
        let started = start_issuance(&line, scan_at(number)).await.unwrap();
        waiting.push(until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await);
    }
    let tools = TpmTools::of(tpm(&mut line, 1));
    let key = tools.public_key(KEY);
    tpm(&mut line, 1).stop(Stop::PowerCut).unwrap();
    let tokens = token(&mut line, 2).directory().join("tokens");
    let aside = tokens.with_file_name("aside");
    fs::rename(&tokens, &aside).unwrap();
    fs::create_dir(&tokens).unwrap();
    line.start_ca().await.unwrap();
    for issuance in &waiting {
        let stopped = settled(&line, issuance).await;
        assert_stopped(&stopped, State::Failed, "DEVICE_ABSENT");
        assert_eq!(stopped.stopped_in(), State::Issued, "the certificate is here");
    }
    tpm(&mut line, 1).restart().unwrap();
    fs::remove_dir(&tokens).unwrap();
    fs::rename(&aside, &tokens).unwrap();
    for (number, before) in [1, 2].into_iter().zip(&waiting) {
        let done = complete(&line, scan_at(number)).await;
        assert_eq!((&done.name, &done.key, &done.common_name), (&before.name, &before.key, &before.common_name));
    }
    assert_eq!(tools.public_key(KEY), key);
    let tokens = TokenTools::of(token(&mut line, 2));
    assert_eq!((tokens.count("privkey"), tokens.count("pubkey"), tokens.count("cert")), (1, 1, 1));
    another_device_under_the_same_serial(&line, &waiting[0]).await;
}

/// A finished serial scanned at another fixture is answered with what was issued; its hardware is not touched. A known
/// device under a new serial is set aside.
async fn another_device_under_the_same_serial(line: &Line, first: &Issuance) {
    let elsewhere = StartIssuanceRequest { fixture: "fixture-2".into(), ..scan_at(1) };
    let answer = issue(line, elsewhere).await;
    assert_eq!((answer.name.as_str(), answer.state()), (first.name.as_str(), State::Completed));
    let renamed = scan("LOT-1", "SN-RELABELLED", "fixture-1");
    stop(line, renamed, State::Quarantined, "NOT_SAME_DEVICE").await;
}

/// A wrong PIN is tried once: pkcs11-spy stands between the worker and the token and counts the logins. With the right
/// PIN and the station restarted, the same request completes.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once() {
    let mut line = start(line_of(0, 1)).await;
    open_lot(&line, "LOT-1", "device-ca", 5).await;
    line.stop_station().unwrap();
    let configuration = line.directory().join("station.toml");
    let before = fs::read_to_string(&configuration).unwrap();
    let (module, spied) = (token(&mut line, 1).module().to_owned(), line.directory().join("spied"));
    let through = before
        .replace(&format!("module = \"{}\"", module.display()), &format!("module = \"{}\"", spy().display()))
        .replace(
            "environment = { ",
            &format!(
                "environment = {{ PKCS11SPY = \"{}\", PKCS11SPY_OUTPUT = \"{}\", ",
                module.display(),
                spied.display()
            ),
        );
    assert!(through.contains("PKCS11SPY_OUTPUT") && through.contains("pkcs11-spy.so"), "{through}");
    fs::write(&configuration, through).unwrap();
    let pin_file = line.hardware().pin_file("device-1");
    let pin = fs::read_to_string(&pin_file).unwrap();
    fs::write(&pin_file, "a-wrong-pin").unwrap();
    line.start_station().await.unwrap();

    let stopped = stop(&line, scan_at(1), State::Failed, "PIN_REJECTED").await;
    assert!(stopped.next_action.contains("not tried again"), "{}", stopped.next_action);
    assert_eq!(logins(&spied), 1);
    for _ in 0..3 {
        stop(&line, scan_at(1), State::Failed, "PIN_REJECTED").await;
    }
    assert_eq!(logins(&spied), 1, "the rejected PIN was tried again");
    let log = fs::read_to_string(line.station().log()).unwrap();
    assert!(!log.contains("a-wrong-pin"), "the wrong PIN stands in the log");

    line.stop_station().unwrap();
    fs::write(&pin_file, &pin).unwrap();
    line.start_station().await.unwrap();
    complete(&line, scan_at(1)).await;
    let station = station_until(&line, "an idle fixture", |station| !station.fixtures.is_empty()).await;
    assert_eq!(station.halted, "");
}

fn logins(spied: &Path) -> usize {
    let text = fs::read(spied).unwrap();
    String::from_utf8_lossy(&text).lines().filter(|line| line.ends_with(": C_Login")).count()
}

/// OpenSC's spy, which passes every call on to the module in PKCS11SPY.
fn spy() -> &'static Path {
    let places = [
        "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
        "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so",
        "/usr/lib64/pkcs11/pkcs11-spy.so",
        "/usr/lib/pkcs11/pkcs11-spy.so",
    ];
    places.map(Path::new).into_iter().find(|path| path.is_file()).expect("pkcs11-spy.so of the package opensc")
}
