//! What only a token can show. `pkcs11-tool` is the other client that looks at it and changes it.

use std::{
    fs,
    num::NonZeroUsize,
    process::{Command, Output, Stdio},
};

use hsm_sim::{SoftHsm, programs};
use issuance::{CertificateLocation, DeviceIdentity, FaultKind, KeyAlgorithm, KeyLocation, Keystore as _};
use keystore::{KeystoreSettings, Worker};
use secrecy::SecretString;

use crate::{
    bench::{PIN, kind, token_worker},
    ca,
    process::kill,
};

const WRONG: &str = "pin-wrong-51d0";

fn key() -> KeyLocation {
    KeyLocation::Pkcs11 { cka_id: vec![0xA0, 0x01], label: "device-ca".into() }
}

fn certificate() -> CertificateLocation {
    CertificateLocation::Pkcs11 { cka_id: vec![0xA0, 0x01], label: "device-ca".into() }
}

fn other_key() -> KeyLocation {
    KeyLocation::Pkcs11 { cka_id: vec![0xA0, 0x02], label: "device-ca".into() }
}

/// Takes every token out of its slot.
fn take_out(token: &SoftHsm) {
    let tokens = token.directory().join("tokens");
    fs::remove_dir_all(&tokens).unwrap();
    fs::create_dir(&tokens).unwrap();
}

fn start() -> (SoftHsm, Worker) {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let keystore = Worker::new(token_worker(&token, PIN));
    (token, keystore)
}

/// Runs `pkcs11-tool` on a token, and gives what it printed.
#[track_caller]
fn tool(token: &SoftHsm, arguments: &[&str]) -> Vec<u8> {
    let output = try_tool(token, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same, which the token may refuse.
fn try_tool(token: &SoftHsm, arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::find("pkcs11-tool", "opensc").unwrap());
    command.arg("--module").arg(token.module()).args(["--token-label", token.label()]).args(arguments);
    command.envs(token.environment()).stdin(Stdio::null()).output().unwrap()
}

/// Runs `pkcs11-tool` on a token as its user.
#[track_caller]
fn user_tool(token: &SoftHsm, arguments: &[&str]) -> Vec<u8> {
    tool(token, &[&["--login", "--pin", PIN], arguments].concat())
}

/// A wrong PIN is rejected by every call, and tried once: not again after the worker was killed, and not even when the
/// token would take it by now. A station that starts anew tries it.
#[test]
fn a_wrong_pin_is_tried_once() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let mut keystore = Worker::new(token_worker(&token, WRONG));
    assert_eq!(kind(keystore.identify()), FaultKind::PinRejected);
    assert!(String::from_utf8(tool(&token, &["--list-token-slots"])).unwrap().contains("user PIN count low"));
    user_tool(&token, &["--change-pin", "--new-pin", WRONG]);
    for killed in [false, true, false] {
        if killed {
            kill(keystore.process_id().unwrap());
        }
        assert_eq!(kind(keystore.identify()), FaultKind::PinRejected);
        assert_eq!(kind(keystore.find_key(&key())), FaultKind::PinRejected);
        assert_eq!(kind(keystore.sign(&key(), &[vec![1]])), FaultKind::PinRejected);
    }
    Worker::new(token_worker(&token, WRONG)).identify().unwrap();
}

/// A rejected PIN belongs to a token's serial number: another token in the same place gets its own try.
#[test]
fn another_token_gets_its_own_try() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let mut worker = Worker::new(token_worker(&token, WRONG));
    assert_eq!(kind(worker.identify()), FaultKind::PinRejected);
    take_out(&token);
    let _other = token.add_token("device-1", WRONG).unwrap();
    worker.identify().unwrap();
}

/// A token that is taken out in the middle of a visit and put back is used again, without a new visit.
#[test]
fn a_token_that_comes_back_is_used_again() {
    let (token, mut keystore) = start();
    let made = keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    let (there, elsewhere) = (token.directory().join("tokens"), token.directory().join("elsewhere"));
    fs::rename(&there, &elsewhere).unwrap();
    fs::create_dir(&there).unwrap();
    assert_eq!(kind(keystore.generate_key(&other_key(), KeyAlgorithm::P256)), FaultKind::DeviceAbsent);
    assert_eq!(kind(keystore.find_key(&key())), FaultKind::DeviceAbsent);
    fs::remove_dir(&there).unwrap();
    fs::rename(&elsewhere, &there).unwrap();
    assert_eq!(keystore.find_key(&key()).unwrap(), Some(made));
}

/// Another token of the same label in the middle of a visit is not taken for the first, by the same worker nor by the
/// next; a new visit meets it.
#[test]
fn another_token_in_the_middle_is_told_apart() {
    for killed in [false, true] {
        let (token, mut keystore) = start();
        let first = keystore.identify().unwrap();
        take_out(&token);
        let _other = token.add_token("device-1", PIN).unwrap();
        if killed {
            kill(keystore.process_id().unwrap());
        }
        assert_eq!(kind(keystore.generate_key(&key(), KeyAlgorithm::P256)), FaultKind::NotSameDevice);
        assert!(!keystore.identify().unwrap().is_same_device(&first));
        assert_eq!(keystore.find_key(&key()).unwrap(), None);
    }
}

/// The identity is the token's own, and a token that was put in after the module was loaded is met.
#[test]
fn a_new_token_is_met_by_its_label() {
    let (token, mut keystore) = start();
    let first = keystore.identify().unwrap();
    let DeviceIdentity::Token { label, serial_number, manufacturer, model, .. } = &first else { panic!("{first:?}") };
    assert_eq!((label.as_str(), manufacturer.as_str(), model.as_str()), ("device-1", "SoftHSM project", "SoftHSM v2"));
    assert_eq!(serial_number.len(), 16);
    let mut settings = token_worker(&token, PIN);
    settings.keystore = KeystoreSettings::Pkcs11 {
        module: token.module().to_owned(),
        token: "device-2".into(),
        pin: SecretString::from(PIN),
        sessions: NonZeroUsize::MIN,
    };
    let mut keystore = Worker::new(settings);
    assert_eq!(kind(keystore.identify()), FaultKind::DeviceAbsent);
    let _second = token.add_token("device-2", PIN).unwrap();
    let second = keystore.identify().unwrap();
    assert!(!second.is_same_device(&first));
}

/// Two tokens of one label are nobody's: nothing is done with either.
#[test]
fn two_tokens_of_one_label_are_misconfigured() {
    let (token, mut keystore) = start();
    let _twin = token.add_token("device-1", PIN).unwrap();
    let fault = keystore.identify().unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(fault.act.contains("2 tokens"), "{fault}");
}

/// A module that is not there, and a library that is none: the configuration is wrong, and says which file.
#[test]
fn a_module_that_does_not_load_is_misconfigured() {
    let (token, _) = start();
    for module in ["/nowhere/module.so", "libc.so.6"] {
        let mut settings = token_worker(&token, PIN);
        settings.keystore = KeystoreSettings::Pkcs11 {
            module: module.into(),
            token: "device-1".into(),
            pin: SecretString::from(PIN),
            sessions: NonZeroUsize::MIN,
        };
        let fault = Worker::new(settings).identify().unwrap_err();
        assert_eq!(fault.kind, FaultKind::Misconfigured, "{fault}");
        assert!(fault.act.contains(module), "{fault}");
    }
}

/// The public key alone, which an interrupted generation leaves: no key is there, and generation makes one.
#[test]
fn an_orphan_of_ours_does_not_stop_generation() {
    let (token, mut keystore) = start();
    let lost = keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    user_tool(&token, &["--delete-object", "--type", "privkey", "--id", "a001"]);
    assert_eq!(keystore.find_key(&key()).unwrap(), None);
    let made = keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    assert_ne!(made, lost);
    assert_eq!(keystore.find_key(&key()).unwrap(), Some(made));
}

/// A public key alone under another label is not ours to remove.
#[test]
fn a_foreign_public_key_is_left_alone() {
    let (token, mut keystore) = start();
    let KeyLocation::Pkcs11 { cka_id, .. } = key() else { unreachable!() };
    let foreign = KeyLocation::Pkcs11 { cka_id, label: "foreign".into() };
    keystore.generate_key(&foreign, KeyAlgorithm::P256).unwrap();
    user_tool(&token, &["--delete-object", "--type", "privkey", "--id", "a001"]);
    assert_eq!(kind(keystore.generate_key(&key(), KeyAlgorithm::P256)), FaultKind::LocationOccupied);
    assert!(!user_tool(&token, &["--read-object", "--type", "pubkey", "--id", "a001"]).is_empty());
}

/// The private key alone: an RSA key still tells its public half, any other is a supervisor's to look at, never replaced.
#[test]
fn a_private_key_alone_is_never_replaced() {
    let (token, mut keystore) = start();
    let rsa = keystore.generate_key(&key(), KeyAlgorithm::Rsa2048).unwrap();
    user_tool(&token, &["--delete-object", "--type", "pubkey", "--id", "a001"]);
    assert_eq!(keystore.find_key(&key()).unwrap().as_ref(), Some(&rsa));
    let signatures = keystore.sign(&key(), &[vec![1]]).unwrap();
    assert!(rsa.verifies(&[1], &signatures[0]));

    let ec = other_key();
    keystore.generate_key(&ec, KeyAlgorithm::P256).unwrap();
    user_tool(&token, &["--delete-object", "--type", "pubkey", "--id", "a002"]);
    assert_eq!(kind(keystore.find_key(&ec)), FaultKind::LocationOccupied);
    assert_eq!(kind(keystore.generate_key(&ec, KeyAlgorithm::P256)), FaultKind::LocationOccupied);
}

/// Two key pairs under one CKA_ID: no call picks one.
#[test]
fn two_keys_under_one_id_are_nobodys() {
    let (token, mut keystore) = start();
    keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    user_tool(&token, &["--keypairgen", "--key-type", "EC:prime256v1", "--id", "a001", "--label", "twin"]);
    assert_eq!(kind(keystore.find_key(&key())), FaultKind::LocationOccupied);
    assert_eq!(kind(keystore.sign(&key(), &[vec![1]])), FaultKind::LocationOccupied);
    assert_eq!(kind(keystore.generate_key(&key(), KeyAlgorithm::P256)), FaultKind::LocationOccupied);
}

/// Another client reads the certificate byte for byte and the public key as it was told, and finds both by their label.
#[test]
fn another_client_reads_the_same() {
    let (token, mut keystore) = start();
    let made = keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    let written = ca::certificate(&made, 900);
    keystore.write_certificate(&certificate(), &written).unwrap();
    for by in [["--id", "a001"], ["--label", "device-ca"]] {
        assert_eq!(tool(&token, &[&["--read-object", "--type", "cert"], &by[..]].concat()), written.der());
        assert_eq!(tool(&token, &[&["--read-object", "--type", "pubkey"], &by[..]].concat()), made.spki());
    }
    let listed = String::from_utf8(user_tool(&token, &["--list-objects", "--type", "privkey"])).unwrap();
    assert!(listed.contains("sensitive, always sensitive, never extractable, local"), "{listed}");
}

/// Key and certificate cannot be changed: another label, through another client, is refused. The PIN's holder can destroy
/// them, and then they are gone, not changed.
#[test]
fn key_and_certificate_cannot_be_modified() {
    let (token, mut keystore) = start();
    let made = keystore.generate_key(&key(), KeyAlgorithm::P256).unwrap();
    let written = ca::certificate(&made, 900);
    keystore.write_certificate(&certificate(), &written).unwrap();
    for kind in ["privkey", "pubkey", "cert"] {
        let changed = ["--login", "--pin", PIN, "--set-id", "b002", "--id", "a001", "--type", kind];
        let refused = try_tool(&token, &changed);
        assert!(!refused.status.success(), "{kind} was changed: {}", String::from_utf8_lossy(&refused.stdout));
    }
    assert_eq!(keystore.find_key(&key()).unwrap(), Some(made));
    assert_eq!(keystore.read_certificate(&certificate()).unwrap().as_deref(), Some(written.der()));
    user_tool(&token, &["--delete-object", "--type", "cert", "--id", "a001"]);
    assert_eq!(keystore.read_certificate(&certificate()).unwrap(), None);
}
