//! Hardware in trouble in the middle of a real issuance: the station heals it unseen, or says what the operator must do.

use std::fs;

use hsm_sim::{
    FaultModule, ModuleFault, ModuleInjection, Relay, Swtpm, TpmFault, TpmInjection, ckr,
    relay::{command, response},
};
use line::{Device, Line, Options};
use proto::station::v1::{StartIssuanceRequest, issuance::State};

use crate::{
    asking::{
        IMPATIENT_QUEUE, assert_stopped, complete, line_of, open_lot, scan, start, start_issuance, stop, told, until,
    },
    looking::TpmTools,
};

const KEY: &str = "0x81000010";

fn relay(line: &Line, number: usize) -> &Relay {
    line.hardware().relay(number).unwrap()
}

fn module(line: &Line, number: usize) -> &FaultModule {
    line.hardware().module(number).unwrap()
}

fn tpm(line: &Line, number: usize) -> &Swtpm {
    match line.hardware().devices().nth(number - 1) {
        Some((_, Device::Tpm(tpm))) => tpm,
        other => panic!("device {number} is {other:?}"),
    }
}

/// The same scan, request_id included, as an operator's page repeats it.
fn scan_at(number: usize) -> StartIssuanceRequest {
    let request = scan("LOT-1", &format!("SN-{number}"), &format!("fixture-{number}"));
    StartIssuanceRequest { request_id: format!("scan-{number}"), ..request }
}

/// How often the driver was told of a fault, by its log.
fn failed_steps(line: &Line) -> usize {
    fs::read_to_string(line.directory().join("logs/station-agent.log")).unwrap().matches("a step failed").count()
}

async fn start_in_trouble(tpms: usize, tokens: usize) -> Line {
    let line = start(Options { faults: true, station_extra: IMPATIENT_QUEUE.into(), ..line_of(tpms, tokens) }).await;
    open_lot(&line, "LOT-1", "device-ca", 10).await;
    line
}

/// A TPM that is busy, has no slot free, and loses answers after it made the key and wrote the certificate; a token that
/// loses its session in the same places. Nobody notices: one key, its certificate, no word of a failure.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_healed_unseen() {
    let line = start_in_trouble(1, 1).await;
    let link = relay(&line, 1);
    link.inject(TpmInjection::of(TpmFault::Answer(response::RETRY)).only(command::CREATE).times(7));
    link.inject(TpmInjection::of(TpmFault::Answer(response::OBJECT_MEMORY)).only(command::CREATE_PRIMARY));
    link.inject(TpmInjection::of(TpmFault::LoseResponse).only(command::EVICT_CONTROL));
    link.inject(TpmInjection::of(TpmFault::CutCommand).only(command::SIGN));
    link.inject(TpmInjection::of(TpmFault::Answer(response::NV_RATE)).only(command::NV_DEFINE_SPACE).times(3));
    link.inject(TpmInjection::of(TpmFault::CutResponse).only(command::NV_WRITE));
    let done = complete(&line, scan_at(1)).await;
    assert_eq!(done.failure, None, "{}", told(&done));
    assert_eq!(link.struck().len(), 7 + 1 + 1 + 1 + 3 + 1);
    assert_eq!(link.count(command::EVICT_CONTROL), 1, "a second key was made");
    assert_eq!(TpmTools::of(tpm(&line, 1)).nv(&done.certificate_location), done.certificate);

    let between = module(&line, 2);
    between.inject(ModuleInjection::of(ModuleFault::ReturnAfter(ckr::DEVICE_REMOVED)).only("C_GenerateKeyPair"));
    between.inject(ModuleInjection::of(ModuleFault::Return(ckr::SESSION_HANDLE_INVALID)).only("C_SignInit"));
    between.inject(ModuleInjection::of(ModuleFault::ReturnAfter(ckr::SESSION_CLOSED)).only("C_CreateObject"));
    let done = complete(&line, scan_at(2)).await;
    assert_eq!(done.failure, None, "{}", told(&done));
    assert_eq!(failed_steps(&line), 0, "the station had to try again");
    assert_eq!(
        (between.struck().len(), between.count("C_GenerateKeyPair"), between.count("C_CreateObject")),
        (3, 1, 1)
    );
}

/// A module that crashes after it made the key, and again after it wrote the certificate: the station goes on by itself
/// from the key and the certificate that are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_module_makes_nothing_twice() {
    let line = start_in_trouble(0, 1).await;
    let between = module(&line, 1);
    between.inject(ModuleInjection::of(ModuleFault::AbortAfter).only("C_GenerateKeyPair"));
    between.inject(ModuleInjection::of(ModuleFault::AbortAfter).only("C_CreateObject"));
    let done = complete(&line, scan_at(1)).await;
    assert_eq!(between.struck().len(), 2);
    assert_eq!((between.count("C_GenerateKeyPair"), between.count("C_CreateObject")), (1, 1), "{}", told(&done));
    assert!(!fs::read(line.directory().join("devices/SN-1/certificate.pem")).unwrap().is_empty());
}

/// What only a person can put right is said in words, tried no more than it may be, and the same scan goes on when it is
/// right: a TPM that is locked, one that stays silent, a PIN that is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_told_and_goes_on_when_it_is_right() {
    let line = start_in_trouble(2, 1).await;

    let link = relay(&line, 1);
    link.inject(TpmInjection::of(TpmFault::Answer(response::LOCKOUT)).only(command::SIGN).for_ever());
    let locked = stop(&line, scan_at(1), State::Failed, "DICTIONARY_ATTACK_LOCKOUT").await;
    assert!(locked.next_action.contains("locked"), "{}", locked.next_action);
    assert_eq!((link.count(command::SIGN), failed_steps(&line)), (1, 1), "a lockout was tried again");
    link.clear();
    assert_eq!(complete(&line, scan_at(1)).await.name, locked.name);
    assert_eq!(link.count(command::CREATE), 1);

    let link = relay(&line, 2);
    link.inject(TpmInjection::of(TpmFault::LoseResponse).only(command::EVICT_CONTROL).for_ever());
    link.inject(TpmInjection::of(TpmFault::LoseResponse).only(command::READ_PUBLIC).for_ever());
    let lost = stop(&line, scan_at(2), State::Failed, "LINK_LOST").await;
    assert!(lost.next_action.contains("seat it again"), "{}", lost.next_action);
    link.clear();
    assert_eq!(complete(&line, scan_at(2)).await.name, lost.name);
    assert_eq!(link.count(command::CREATE), 1, "a second key was made");

    let between = module(&line, 3);
    between.inject(ModuleInjection::of(ModuleFault::Return(ckr::PIN_INCORRECT)).only("C_Login").for_ever());
    let rejected = stop(&line, scan_at(3), State::Failed, "PIN_REJECTED").await;
    assert!(rejected.next_action.contains("administrator"), "{}", rejected.next_action);
    between.clear();
    stop(&line, scan_at(3), State::Failed, "PIN_REJECTED").await;
    assert_eq!(between.count("C_Login"), 1, "a rejected PIN was sent again");
}

/// A TPM in failure mode is set aside: the station does not go on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_tpm_is_set_aside() {
    let line = start_in_trouble(1, 0).await;
    relay(&line, 1).inject(TpmInjection::of(TpmFault::Answer(response::FAILURE)).only(command::CREATE));
    let broken = stop(&line, scan_at(1), State::Quarantined, "HARDWARE_FAILURE").await;
    assert!(broken.next_action.contains("set it aside"), "{}", broken.next_action);
}

/// The device is exchanged while its certificate is awaited: the other one gets nothing, and when the first is back, its
/// issuance goes on by the same scan.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_exchanged_gets_nothing() {
    let mut line = start_in_trouble(2, 0).await;
    line.kill_ca().unwrap();
    let started = start_issuance(&line, scan_at(1)).await.unwrap();
    until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await;
    relay(&line, 1).swap(tpm(&line, 2));
    line.start_ca().await.unwrap();
    // The visit to the other device is over: in the middle of it, another TPM's answers would be an interposer's.
    let waiting = until(&line, &started, "the other device", |issuance| issuance.failure.is_some()).await;
    assert_stopped(&waiting, State::Failed, "DEVICE_ABSENT");
    assert!(!waiting.certificate.is_empty(), "{}", told(&waiting));
    assert!(!TpmTools::of(tpm(&line, 2)).run("tpm2_readpublic", &["-c", KEY]).status.success(), "the other has a key");
    relay(&line, 1).swap(tpm(&line, 1));
    assert_eq!(complete(&line, scan_at(1)).await.name, waiting.name);
}

/// Two devices that wait for their certificates change places while the station is down: both are noticed, neither gets
/// the other's certificate, and each completes by a scan where it now is.
#[tokio::test(flavor = "multi_thread")]
async fn devices_that_changed_places_while_the_station_was_down_are_noticed() {
    let mut line = start_in_trouble(2, 0).await;
    line.kill_ca().unwrap();
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let started = start_issuance(&line, scan_at(number)).await.unwrap();
        waiting.push(until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await);
    }
    line.kill_station().unwrap();
    relay(&line, 1).swap(tpm(&line, 2));
    relay(&line, 2).swap(tpm(&line, 1));
    line.start_ca().await.unwrap();
    line.start_station().await.unwrap();
    for issuance in &waiting {
        let noticed = until(&line, issuance, "the other device", |issuance| issuance.failure.is_some()).await;
        assert_stopped(&noticed, State::Failed, "DEVICE_ABSENT");
        assert!(!noticed.certificate.is_empty(), "{}", told(&noticed));
    }
    for number in 1..=2 {
        let there = TpmTools::of(tpm(&line, number)).run("tpm2_nvreadpublic", &["0x01800010"]);
        assert!(!there.status.success(), "a certificate was written to device {number}");
    }
    for (number, issuance) in (1..=2).zip(&waiting) {
        let scanned = StartIssuanceRequest { fixture: format!("fixture-{}", 3 - number), ..scan_at(number) };
        let done = complete(&line, scanned).await;
        assert_eq!((&done.name, &done.key), (&issuance.name, &issuance.key));
        assert_eq!(TpmTools::of(tpm(&line, number)).nv("0x01800010"), done.certificate, "device {number}");
    }
}
