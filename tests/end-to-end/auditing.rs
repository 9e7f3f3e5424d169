//! The auditor, a year later: neither station nor CA runs, and there is nothing but files that were copied out, two programs and
//! OpenSSL. And whoever brings files that are none.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    asking::{complete, line_of, open_lot, scan, start},
    looking::{Ran, must, run},
};

/// A directory with what an auditor gets, where the programs find nothing else.
struct Copies {
    place: tempfile::TempDir,
    serial: String,
}

impl Copies {
    /// One TPM is certified with the TPM's own proof, all is stopped in order, and what an auditor gets is copied out.
    async fn made() -> Self {
        let mut line = start(line_of(1, 0)).await;
        open_lot(&line, "LOT-1", "device-ca-tpm", 5).await;
        complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
        line.stop().unwrap();
        let place = tempfile::tempdir().unwrap();
        for path in
            ["journal/station", "journal/ca", "devices", "pki/tpm-makers", "journal/station.vkey", "journal/ca.vkey"]
                .into_iter()
                .chain(["journal/ca.witness.vkey", "pki/product/root.pem"])
        {
            let to = place.path().join(Path::new(path).file_name().unwrap());
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(line.directory().join(path)).arg(to);
            must(copy);
        }
        let mut copies = Self { place, serial: String::new() };
        let told = copies.openssl("openssl x509 -in devices/SN-1/certificate.pem -noout -serial");
        copies.serial = told.trim().strip_prefix("serial=").unwrap().to_owned();
        copies
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// `station …` or `ca …`: what follows is typed behind `journal`, in the directory of the copies.
    fn journal(&self, typed: &str) -> Ran {
        let (whose, arguments) = typed.split_once(' ').unwrap();
        let program = if whose == "ca" { "intermediate-ca" } else { "station-agent" };
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own.parent().and_then(Path::parent).unwrap().join(program));
        command.arg("journal").args(arguments.split(' ')).env_clear().current_dir(self.place.path());
        run(command)
    }

    #[track_caller]
    fn answer(&self, typed: &str) -> String {
        let ran = self.journal(typed);
        assert!(ran.status.success(), "{typed}: {}{}", ran.text(), ran.err);
        ran.text()
    }

    fn openssl(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.place.path());
        must(command).text()
    }
}

/// Who made this certificate, for which key, in which hardware, under which lot, and was the record altered: each answered with
/// the commands that deploy/auditing.md says, and held against OpenSSL.
#[tokio::test(flavor = "multi_thread")]
async fn every_question_is_answered_from_copies() {
    let copies = Copies::made().await;
    let serial = &copies.serial;
    // Was the record altered? All of it is signed, and cosigned by the CA, up to the last record: a stop tells its witness.
    for (whose, keys) in [("station", "--witness ca.witness.vkey"), ("ca", "")] {
        let typed = format!("{whose} verify --json --journal {whose} --key {whose}.vkey {keys}");
        let told: Value = serde_json::from_str(&copies.answer(typed.trim_end())).unwrap();
        assert_eq!((&told["unaltered"], &told["records"]), (&true.into(), &told["covered"]), "{told}");
        assert_eq!(told["remarks"].as_array().unwrap().len(), 0, "{told}");
        if whose == "station" {
            assert_eq!(told["cosigned"]["records"], told["records"], "{told}");
        }
    }
    // One file for each journal says the rest, to whoever has it and the keys.
    for (whose, keys) in [("station", "--witness ca.witness.vkey"), ("ca", "")] {
        copies.answer(&format!("{whose} prove {serial} --journal {whose} --out {whose}.proof"));
        let story = copies.answer(format!("{whose} check-proof {whose}.proof --key {whose}.vkey {keys}").trim_end());
        for words in ["SN-1", "LOT-1", "proven: "] {
            assert!(story.contains(words), "{words}: {story}");
        }
    }
    let story = copies.answer("station show SN-1 --journal station");
    for words in ["mes-1 asked for", "in fixture-1", "station station-1", "whose maker certified it", "be shipped"] {
        assert!(story.contains(words), "{words}: {story}");
    }
    let story = copies.answer("ca show SN-1 --journal ca");
    assert!(story.contains("only that TPM can release the certificate (ca-activated)"), "{story}");
    // For which key: what the journal calls it is what OpenSSL makes of the certificate.
    let key = copies.openssl(
        "openssl x509 -in devices/SN-1/certificate.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum",
    );
    let key = key.split(' ').next().unwrap();
    assert!(story.contains(key), "{key}: {story}");
    // In which hardware: the maker's certificate is in the record, and leads to the maker's root.
    let told: Value = serde_json::from_str(&copies.answer("station show SN-1 --journal station --json")).unwrap();
    let records = told["records"].as_array().unwrap();
    let identified = records.iter().find(|record| record["type"] == "device-identified").unwrap();
    let ek = identified["record"]["deviceIdentified"]["tpm"]["ekCertificate"].as_str().unwrap();
    fs::write(copies.path("ek.base64"), ek).unwrap();
    let verified = copies.openssl(
        "base64 -d ek.base64 | openssl x509 -inform DER -out ek.pem
         openssl verify -ignore_critical -CAfile tpm-makers/swtpm-localca-rootca-cert.pem -untrusted tpm-makers/issuercert.pem ek.pem
         openssl verify -x509_strict -CAfile root.pem -untrusted devices/SN-1/chain.pem devices/SN-1/certificate.pem",
    );
    assert_eq!(verified.matches(": OK").count(), 2, "{verified}");
}

/// What is no proof, no key, no journal, another station's, cut short, without an end or not there: refused in words, with an
/// exit code that says whose mistake it is, and never a panic.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_is_refused_in_words() {
    let copies = Copies::made().await;
    copies.answer(&format!("station prove {} --journal station --out whole", copies.serial));
    copies.answer(&format!("ca prove {} --journal ca --out theirs", copies.serial));
    let whole = fs::read(copies.path("whole")).unwrap();
    for length in [0, 1, whole.len() / 3, whole.len() - 3] {
        fs::write(copies.path(&format!("cut-{length}")), &whole[..length]).unwrap();
        refused(&copies, &format!("station check-proof cut-{length} --key station.vkey"), 1, "is no proof");
    }
    let noise: Vec<u8> = (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    fs::write(copies.path("noise"), noise).unwrap();
    fs::copy(copies.path("noise"), copies.path("noise.manifest")).unwrap();
    fs::copy(copies.path("noise"), copies.path("exported")).unwrap();
    fs::write(copies.path("sealed.key"), "PRIVATE+KEY+station+0+AAAA").unwrap();
    fs::create_dir_all(copies.path("empty")).unwrap();
    copies.openssl("cp -a station noisy; cp noise noisy/00000000000000000000.seg; cp noise noisy/tlog/checkpoint");
    copies.openssl("cp -a station lost; cp noise lost/00000000000000000000.seg");
    copies.openssl("cp -a station endless; rm endless/tlog/checkpoint; ln -s /dev/zero endless/tlog/checkpoint");
    for (typed, code, words) in [
        ("station check-proof noise --key station.vkey", 1, "not text"),
        ("station check-proof /dev/zero --key station.vkey", 1, "longer than"),
        ("station check-proof station --key station.vkey", 1, "directory"),
        ("station check-proof nowhere --key station.vkey", 1, "could not read nowhere"),
        ("station check-proof theirs --key ca.vkey", 1, "by intermediate-ca"),
        ("ca check-proof whole --key station.vkey", 1, "by station-agent"),
        ("station check-proof whole --key ca.vkey", 1, "is not signed by"),
        ("station check-proof whole --key station.vkey --witness ca.vkey", 2, "ca.vkey"),
        ("station check-proof whole --key noise", 2, "noise is neither a key"),
        ("station check-proof whole --key /dev/zero", 2, "/dev/zero is neither a key"),
        ("station check-proof whole --key sealed.key", 2, "sealed.key is neither a key"),
        ("station check-proof whole --key station", 2, "station is neither a key"),
        ("station verify --journal noise --key station.vkey", 1, "could not list noise"),
        ("station verify --journal empty --key station.vkey", 1, "there is no journal in empty"),
        ("station verify --journal nowhere --key station.vkey", 1, "nowhere"),
        ("station verify --journal ca --key station.vkey", 1, "belongs to another journal"),
        ("station verify --journal station --key ca.vkey", 1, "belongs to another journal"),
        ("station verify --journal station --key station.vkey --tlog empty", 1, "empty/checkpoint"),
        ("station verify --journal station --key station.vkey --kept noise", 2, "kept checkpoint"),
        ("station verify --journal station --key station.vkey --kept ca/tlog/checkpoint", 1, "the kept checkpoint"),
        ("station verify --journal noisy --key station.vkey", 1, "its header is not one"),
        ("station verify --journal endless --key station.vkey", 1, "longer than"),
        ("station show SN-1 --journal noisy", 1, "no record of this journal"),
        ("station show SN-1 --journal lost", 1, "records are whole: run `journal verify`"),
        ("station show SN-1 --journal ca", 1, "no record of this journal"),
        ("station show SN-2 --journal station", 1, "SN-2"),
        ("station prove zz --journal station", 2, "is no certificate serial"),
        ("station prove 00 --journal station", 1, "with the serial 00"),
        ("station export --journal station --out exported", 2, "with its configuration"),
        ("station check-export noise --key station.vkey", 1, "noise.manifest"),
        ("station check-export whole --key station.vkey", 1, "whole.manifest"),
        ("station show SN-1", 2, "station.toml"),
        ("ca show SN-1", 2, "ca.toml"),
    ] {
        refused(&copies, typed, code, words);
    }
    // What may not be read is told; who is root reads everything.
    let key = copies.path("station.vkey");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&key).is_err() {
        refused(&copies, "station check-proof whole --key station.vkey", 2, "is neither a key");
    }
}

#[track_caller]
fn refused(copies: &Copies, typed: &str, code: i32, words: &str) {
    let ran = copies.journal(typed);
    let said = ran.text() + &ran.err;
    assert!(!said.contains("panicked"), "{typed}: {said}");
    assert!(said.contains(words), "{typed}: {words}: {said}");
    assert_eq!(ran.status.code(), Some(code), "{typed}: {said}");
}
