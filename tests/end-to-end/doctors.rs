//! The CA's doctor: every problem at once, each with what to do; nothing is changed. The station's is in `commands.rs`.

use std::{collections::BTreeSet, fs, process::Command};

use line::Line;
use serde_json::Value;

use crate::{
    asking::{line_of, start},
    looking::{Ran, files_under, run},
};

fn check(line: &Line, configuration: &str, arguments: &[&str]) -> Ran {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("intermediate-ca");
    let mut command = Command::new(program);
    command.arg("check").args(arguments).arg("--config").arg(line.directory().join(configuration));
    run(command)
}

/// The findings of a run: how bad, about what, and what to do.
fn findings(ran: &Ran) -> Vec<(String, String, String)> {
    let told: Value = serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.text()));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = told["findings"].as_array().unwrap();
    findings.iter().map(|found| (text(found, "severity"), text(found, "about"), text(found, "remedy"))).collect()
}

/// A CA that is well has no findings; one with its trust mixed up, an issuer gone, a journal that cannot be, and a token that is
/// not there has all four in one run; a mistake in the file ends with 2.
#[tokio::test(flavor = "multi_thread")]
async fn the_cas_doctor_tells_everything_at_once() {
    let mut line = start(line_of(0, 1)).await;
    let running = check(&line, "ca.toml", &["--json"]);
    assert_eq!(running.status.code(), Some(0), "{}", running.text());
    let notice = ("notice".to_owned(), "listen.address".to_owned());
    assert!(findings(&running).iter().any(|(severity, about, _)| (severity, about) == (&notice.0, &notice.1)));
    line.stop_ca().unwrap();
    let well = check(&line, "ca.toml", &[]);
    assert_eq!((well.status.code(), well.text().trim()), (Some(0), "No problems found."), "{}", well.err);

    let right = fs::read_to_string(line.directory().join("ca.toml")).unwrap();
    let wrong = right
        .replacen("trust = \"control-plane/root.pem\"", "trust = \"pki/product/root.pem\"", 1)
        .replace("label = \"ca\"", "label = \"nowhere\"")
        .replace("journal = \"journal/ca\"", "journal = \"station.toml/journal\"");
    fs::write(line.directory().join("wrong.toml"), &wrong).unwrap();
    let issuer = line.directory().join("pki/product/device-identity.pem");
    fs::rename(&issuer, line.directory().join("away.pem")).unwrap();
    let before: BTreeSet<_> = files_under(line.directory()).into_iter().collect();
    let ill = check(&line, "wrong.toml", &["--json"]);
    assert_eq!(ill.status.code(), Some(1), "{}{}", ill.text(), ill.err);
    let found = findings(&ill);
    let journal = line.directory().join("station.toml/journal");
    for about in ["listen.trust", "token nowhere", &issuer.to_string_lossy(), &journal.to_string_lossy()] {
        let finding = found.iter().find(|(_, found, _)| found == about);
        let (severity, _, remedy) = finding.unwrap_or_else(|| panic!("nothing about {about}: {found:#?}"));
        assert!(severity == "problem" && remedy.ends_with('.'), "{about}: {severity}: {remedy}");
    }
    assert_eq!(files_under(line.directory()).into_iter().collect::<BTreeSet<_>>(), before, "it changes nothing");

    fs::write(line.directory().join("wrong.toml"), wrong.replace("[token]", "[tokens]")).unwrap();
    let mistaken = check(&line, "wrong.toml", &["--json"]);
    assert_eq!(mistaken.status.code(), Some(2), "{}", mistaken.text());
    assert!(!findings(&mistaken).is_empty());
}
