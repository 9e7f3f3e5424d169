//! The commands as nobody should use them: twice at once, beside a CA that runs, and with arguments that are wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod place;

use std::{process::Command, thread};

use proto::ca::v1::{
    IssueBatchRequest, certificate_authority_service_client::CertificateAuthorityServiceClient, issue_result::Outcome,
};

use place::{Place, Server};

async fn issue(place: &Place, server: &Server, number: u8) {
    let mut client = CertificateAuthorityServiceClient::new(place.channel(server, "station-1"));
    let batch = IssueBatchRequest { requests: vec![place::request(number)] };
    let outcome = client.issue_batch(batch).await.unwrap().into_inner().results.remove(0).outcome.unwrap();
    assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
}

/// Four `init` at once make one set of keys and certificates: each one is done, or says that another is at work; what stands is
/// whole, and a last `init` finds nothing to do.
#[test]
fn several_inits_at_once_make_one_ca() {
    let place = Place::new();
    let (file, empty) = (place.configuration(), place.objects());
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_intermediate-ca"));
        command.args(["init", "--config"]).arg(&file).env_remove("SOFTHSM2_CONF");
        command.output().unwrap()
    };
    let outputs: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let done = outputs.iter().filter(|output| output.status.success()).count();
    for output in outputs.iter().filter(|output| !output.status.success()) {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains("another `init` is at work"), "{told}");
    }
    assert!(done >= 1, "{outputs:?}");
    let made: usize =
        outputs.iter().map(|output| String::from_utf8_lossy(&output.stdout).matches("made certificate").count()).sum();
    assert_eq!((made, place.objects() - empty), (3, 6), "a certificate and a pair for root and issuers: {outputs:?}");
    let before = place.pki();
    assert_eq!(place.run(&["init"], 0), "complete: nothing to do\n");
    assert_eq!(place.pki(), before);
}

/// Beside a CA that runs, a second `serve`, every step of a rollover and a repair are refused with the reason, and change nothing:
/// no key in the token, no certificate, no list. The first goes on.
#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_ca_nothing_is_changed() {
    let place = Place::new();
    place.run(&["init"], 0);
    let server = place.serve();
    issue(&place, &server, 1).await;
    let (pki, objects) = (place.pki(), place.objects());
    for arguments in [
        &["serve"][..],
        &["rollover", "new-root"],
        &["rollover", "new-issuers"],
        &["rollover", "old-root-out", "--abandon"],
        &["journal", "repair", "--from", "journal"],
    ] {
        let before = place.output().len();
        place.run(arguments, 1);
        let told = place.output().split_off(before);
        assert!(told.contains("already in use by process"), "{arguments:?}: {told}");
        assert!(!told.contains("panicked"), "{told}");
        assert_eq!((place.pki(), place.objects()), (pki.clone(), objects), "{arguments:?}");
    }
    assert_eq!(place.run(&["init"], 0), "complete: nothing to do\n");
    issue(&place, &server, 2).await;
    assert_eq!(server.terminate(), Some(0));
}

/// Each command with arguments that make no sense: 2 where the command line shows it, 1 where the CA refuses it, words that name
/// what was wrong, no panic, and nothing done: no lot, no revocation, nobody disabled.
#[test]
fn wrong_arguments_are_told_and_do_nothing() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    place.run(&["init"], 0);
    let server = place.serve();
    runtime.block_on(issue(&place, &server, 1));
    place.write_client(&server, "supervisor-1");
    let long = "x".repeat(5_000);
    let open = |quantity: &'static str| vec!["lot", "open", "WO-1", "--profile", "device-ca", "--quantity", quantity];
    let revoke = |target: &'static str, value: &'static str, reason: &'static str| {
        vec!["revoke", target, value, "--reason", reason]
    };
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (open("-1"), 2, "quantity"),
        (open("1.5"), 2, "quantity"),
        (open("4294967296"), 2, "quantity"),
        (open("0"), 1, "quantity"),
        (open("10000001"), 1, "quantity"),
        (vec!["lot", "open", "a/b", "--profile", "device-ca", "--quantity", "1"], 1, "lot"),
        (vec!["lot", "open", "WO-1", "--profile", "vpn", "--quantity", "1"], 1, "vpn"),
        (vec!["lot", "open", &long, "--profile", "device-ca", "--quantity", "1"], 1, "lot"),
        (vec!["lot", "close", "WO-9"], 1, "WO-9"),
        (vec!["lot", "amend", "WO-9", "--quantity", "1", "--reason", "more"], 1, "WO-9"),
        (vec!["lot", "amend", "WO-9", "--quantity", "1", "--reason", ""], 1, "reason"),
        (vec!["lot", "scrap", "WO-9", "--serial", "SN-1", "--reason", "dropped"], 1, "WO-9"),
        (vec!["lot", "scrap", "WO-9", "--serial", "S N", "--reason", "dropped"], 1, "device serial"),
        (vec!["lot", "report", "WO-9"], 1, "WO-9"),
        (vec!["lot", "authorise", "no-such-file"], 1, "no-such-file"),
        (vec!["lot", "authorise", "ca.toml"], 1, "authorisation"),
        (revoke("--certificate-serial", "xyz", "keyCompromise"), 1, "certificate_serial"),
        (revoke("--certificate-serial", "00", "keyCompromise"), 1, ""),
        (revoke("--device-serial", "SN-9", "keyCompromise"), 1, "SN-9"),
        (revoke("--device-serial", "SN-1", "boredom"), 1, "boredom"),
        (revoke("--device-serial", "SN-1", "removeFromCRL"), 1, "removeFromCRL"),
        (revoke("--issuance", "x", "keyCompromise"), 1, "issuance"),
        (vec!["revoke", "--reason", "keyCompromise"], 2, "--certificate-serial"),
        (
            vec!["revoke", "--issuance", "x", "--device-serial", "SN-1", "--reason", "keyCompromise"],
            2,
            "cannot be used",
        ),
        (vec!["caller", "disable", "", "--reason", "x"], 1, "name"),
        (vec!["caller", "disable", "station-9", "--reason", "x"], 1, "no caller of that name"),
        (vec!["caller", "disable", "station-1", "--reason", ""], 1, "reason"),
        (vec!["caller", "enable", "nobody-here", "--reason", "x"], 1, "no caller of that name"),
        (vec!["crl", "--pem", "no-such-list"], 2, "no-such-list"),
        (vec!["rollover", "sideways"], 2, "sideways"),
        (vec!["journal", "show", "--no-such"], 2, "--no-such"),
        (vec!["serve", "now"], 2, "now"),
        (vec![], 2, "Usage"),
    ];
    let mut wrong = Vec::new();
    for (arguments, code, words) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_intermediate-ca"));
        command.args(&arguments).env_remove("SOFTHSM2_CONF").current_dir(place.directory());
        if !arguments.is_empty() {
            command.arg("--config").arg(place.path("client.toml"));
        }
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(code)
            || !told.contains(words)
            || told.contains("panicked")
            || told.len() > 4_000
        {
            wrong.push(format!("{arguments:?}: {:?} where {code} is wanted, {told}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(place.call(&["lot", "list"], 0), "");
    assert!(!place.call(&["caller", "list"], 0).contains("disabled"));
    let lists = place.call(&["crl"], 0);
    assert_eq!(lists.lines().filter(|list| list.contains(" 0 revoked")).count(), 2, "{lists}");
    assert_eq!(server.terminate(), Some(0));
}
