//! Keys that did not come into being where they are: another program puts them there, and no evidence makes them resident.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use hsm_sim::{SoftHsm, Swtpm, programs};
use issuance::{KeyLocation, Keystore, PublicKey, residency};
use keystore::{Tpm, Worker};

use crate::bench::{PIN, token_worker};

/// Runs a program of another package to its end.
#[track_caller]
fn run(mut command: Command, directory: &Path) {
    let output = command.current_dir(directory).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn program(name: &'static str, package: &'static str, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::find(name, package).unwrap());
    command.args(arguments);
    command
}

/// A P-256 key in software, as `key.pem`, and as PKCS#8 `key.der`.
fn software_key(directory: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(directory.join("key.der"), key.serialize_der()).unwrap();
    // tpm2_import reads SEC 1.
    fs::write(directory.join("pkcs8.pem"), key.serialize_pem()).unwrap();
    run(program("openssl", "openssl", &["ec", "-in", "pkcs8.pem", "-out", "key.pem"]), directory);
}

#[track_caller]
fn refused(keystore: &mut dyn Keystore, place: &KeyLocation, words: &str) {
    keystore.identify().unwrap();
    let key: PublicKey = keystore.find_key(place).unwrap().expect("the other program's key");
    let problem = residency::verify(&keystore.residency_evidence(place).unwrap(), &key).unwrap_err().to_string();
    assert!(problem.contains(words), "{problem}");
}

/// A key that was imported into a TPM, and one that was made there and may leave it, stand where ours would: both are told by
/// their attributes.
#[test]
fn a_key_that_may_leave_its_tpm_is_refused() {
    let tpm = Swtpm::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    software_key(directory.path());
    let tool = |name: &'static str, arguments: &[&str]| {
        let mut command = program(name, "tpm2-tools", arguments);
        command.env("TPM2TOOLS_TCTI", tpm.tcti());
        run(command, directory.path());
    };
    let make_place = || tool("tpm2_flushcontext", &["-t"]);
    tool("tpm2_createprimary", &["-C", "o", "-G", "ecc", "-c", "parent.ctx"]);
    make_place();
    let attributes = "userwithauth|noda|sign";
    let import =
        ["-C", "parent.ctx", "-G", "ecc", "-i", "key.pem", "-a", attributes, "-u", "imported.pub", "-r", "imported"];
    tool("tpm2_import", &import);
    make_place();
    let attributes = "sensitivedataorigin|userwithauth|noda|sign";
    tool("tpm2_create", &["-C", "parent.ctx", "-G", "ecc", "-a", attributes, "-u", "movable.pub", "-r", "movable"]);
    for (name, handle) in [("imported", "0x81000010"), ("movable", "0x81000011")] {
        make_place();
        tool("tpm2_load", &["-C", "parent.ctx", "-u", &format!("{name}.pub"), "-r", name, "-c", "key.ctx"]);
        tool("tpm2_evictcontrol", &["-C", "o", "-c", "key.ctx", handle]);
    }
    make_place();
    let mut keystore = Tpm::new(tpm.tcti());
    refused(&mut keystore, &KeyLocation::TpmHandle(0x8100_0010), "fixedTPM is clear");
    refused(&mut keystore, &KeyLocation::TpmHandle(0x8100_0011), "fixedTPM is clear");
}

/// A key that was put into a token (C_CreateObject), and one that was generated there and can be taken out, stand under our
/// CKA_ID: both are told by what the token states of them.
#[test]
fn a_key_that_may_leave_its_token_is_refused() {
    let token = SoftHsm::create("device-1", PIN).unwrap();
    let directory = tempfile::tempdir().unwrap();
    software_key(directory.path());
    let tool = |arguments: &[&str]| {
        let mut command = program("pkcs11-tool", "opensc", &["--login", "--pin", PIN]);
        command.arg("--module").arg(token.module()).args(["--token-label", token.label()]).args(arguments);
        command.envs(token.environment());
        run(command, directory.path());
    };
    tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--extractable", "--id", "a001", "--label", "device-ca"]);
    tool(&["--write-object", "key.der", "--type", "privkey", "--id", "a002", "--label", "device-ca"]);
    let public = ["pkey", "-inform", "DER", "-in", "key.der", "-pubout", "-outform", "DER", "-out", "public.der"];
    run(program("openssl", "openssl", &public), directory.path());
    tool(&["--write-object", "public.der", "--type", "pubkey", "--id", "a002", "--label", "device-ca"]);
    let mut keystore = Worker::new(token_worker(&token, PIN));
    let place = |last: u8| KeyLocation::Pkcs11 { cka_id: vec![0xA0, last], label: "device-ca".into() };
    refused(&mut keystore, &place(1), "CKA_EXTRACTABLE is true");
    refused(&mut keystore, &place(2), "CKA_LOCAL is false");
}
