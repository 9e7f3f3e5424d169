//! Requests that nobody should send, to a running CA over gRPC and EST.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use issuance::IssuanceId;
use proto::ca::v1::{CertificationRequest, IssueBatchRequest, IssueResult, issue_result::Outcome};
use serde_json::Value;

use super::shop::{self, Shop};

/// Not slowed down: it sends more than a station does.
const FAST: &str = "[limits]\ncalls_per_second = 100000\ncalls_burst = 100000\n";

struct Odd {
    name: String,
    der: String,
    /// Empty: it is issued.
    reason: String,
    /// What the refusal says; what the certificate does not, where it is issued.
    words: String,
    profile: String,
}

/// What `odd.py` makes.
fn odd() -> Vec<Odd> {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let python = target.join("interop/venv/bin/python");
    assert!(python.is_file(), "there is no {}: `deploy/dependencies.sh test` makes it", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/est/odd.py");
    let output = Command::new(python).arg("-B").arg(script).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let read = |line| {
        let told: Value = serde_json::from_str(line).unwrap();
        let [name, der, reason, words, profile] =
            ["name", "der", "reason", "words", "profile"].map(|key| told[key].as_str().unwrap().to_owned());
        Odd { name, der, reason, words, profile }
    };
    text.lines().map(read).collect()
}

/// Of the device `SN-1`, whose issuance is the same each time.
fn asks(profile: &str, certification_request: Vec<u8>) -> CertificationRequest {
    CertificationRequest {
        issuance: IssuanceId::from_slice(&[7; 16]).unwrap().to_string(),
        device_serial: "SN-1".to_owned(),
        lot: String::new(),
        profile: profile.to_owned(),
        certification_request,
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    }
}

fn send(shop: &Shop, requests: Vec<CertificationRequest>) -> Vec<IssueResult> {
    let mut station = shop.station();
    shop.block_on(station.issue_batch(IssueBatchRequest { requests })).unwrap().into_inner().results
}

/// Every request of `odd.py`, each under the id, the name and the serial of an honest one: over gRPC the reason and words that
/// say what is wrong, over EST the same with a 4xx. Nothing was signed, and then the honest request is issued under that id.
#[test]
fn odd_requests_are_refused_and_leave_nothing() {
    let shop = Shop::with(FAST);
    let odd = odd();
    assert!(odd.len() > 80, "{}", odd.len());
    let mut wrong = Vec::new();
    for Odd { name, der, reason, words, profile } in odd.iter().filter(|odd| !odd.reason.is_empty()) {
        let octets = STANDARD.decode(der).unwrap();
        let result = send(&shop, vec![asks(profile, octets)]).remove(0);
        match result.outcome.unwrap() {
            Outcome::Refused(refused) if refused.reason == *reason && refused.message.contains(words.as_str()) => {
                if refused.message.len() > 2_000 {
                    wrong.push(format!("{name}: {} characters of words", refused.message.len()));
                }
            }
            other => wrong.push(format!("{name}: {reason} {words:?} is wanted, and it says {other:?}")),
        }
        // Of a body that it does not read a server may close the connection before its client has sent it.
        if profile == "enrolled" && der.len() < 100_000 {
            let reply = shop.post("simpleenroll", der, &["-u", shop::USER]);
            let is_told = reply.body.contains(reason.as_str()) && reply.body.contains(words.as_str());
            if !(reply.status == 400 && is_told || reply.status == 413 && octets_of(der) > 16_384) {
                wrong.push(format!("{name} over EST: {reply:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!shop.output().contains("panicked"), "{}", shop.output());

    let passed_over = odd.iter().find(|odd| odd.reason.is_empty()).unwrap();
    let honest = asks("enrolled", STANDARD.decode(&passed_over.der).unwrap());
    let Some(Outcome::Issued(issued)) = send(&shop, vec![honest]).remove(0).outcome else {
        panic!("{}", shop.output())
    };
    let text = shop.openssl(&["x509", "-inform", "DER", "-noout", "-text"], &issued.certificate);
    assert!(text.contains("Subject: CN = SN-1.line.example\n"), "{text}");
    for word in [passed_over.words.as_str(), "Somebody", "1.2.3.4"] {
        assert!(!text.contains(word), "{text}");
    }
}

fn octets_of(base64: &str) -> usize {
    base64.len() / 4 * 3
}

/// One name from two stations at once, and one request under two ids at once: each time one is issued, and the other one is told
/// who has the name. A batch that names one issuance twice is no other matter.
#[test]
fn one_name_is_given_once_however_it_is_asked_for() {
    let shop = Shop::with(FAST);
    let id = |number: u8| IssuanceId::from_slice(&[number; 16]).unwrap().to_string();
    for round in 0..8_u8 {
        let name = format!("SN-{round}.line.example");
        let serial = format!("SN-{round}");
        let asks = |number: u8, der: &[u8]| CertificationRequest {
            issuance: id(number),
            device_serial: serial.clone(),
            ..asks("enrolled", der.to_vec())
        };
        let (first, second) = (shop::request(&name, |_| ()).1, shop::request(&name, |_| ()).1);
        let (one, two) = match round % 2 {
            0 => (asks(2 * round + 1, &first), asks(2 * round + 2, &second)),
            _ => (asks(2 * round + 1, &first), asks(2 * round + 2, &first)),
        };
        let outcomes = if round < 6 {
            let (mut station, mut other) = (shop.station_named("station-1"), shop.station_named("station-2"));
            shop.block_on(async {
                let one = station.issue_batch(IssueBatchRequest { requests: vec![one] });
                let two = other.issue_batch(IssueBatchRequest { requests: vec![two] });
                let (one, two) = tokio::join!(one, two);
                [one, two].map(|answer| answer.unwrap().into_inner().results.remove(0).outcome.unwrap())
            })
        } else {
            let results = send(&shop, vec![one, two]);
            <[_; 2]>::try_from(results).unwrap().map(|result| result.outcome.unwrap())
        };
        let mut count = BTreeMap::new();
        for outcome in outcomes {
            *count
                .entry(match outcome {
                    Outcome::Issued(_) => "issued".to_owned(),
                    Outcome::Refused(refused) => {
                        assert!(
                            refused.message.contains(&id(2 * round + 1))
                                || refused.message.contains(&id(2 * round + 2))
                        );
                        refused.reason
                    }
                    other => format!("{other:?}"),
                })
                .or_insert(0) += 1;
        }
        let expected = BTreeMap::from([("COMMON_NAME_TAKEN".to_owned(), 1), ("issued".to_owned(), 1)]);
        assert_eq!(count, expected, "round {round}");
    }
}

/// What an HTTP client may do to a POST: bodies in chunks, of unknown length, compressed, announced before they come, under other
/// names of the same type, over HTTP/2; paths that climb, are encoded or do not end; passwords with what RFC 7617 allows in them.
#[test]
fn odd_http_is_answered_in_words() {
    let shop = Shop::new();
    let body = STANDARD.encode(shop::request("SN-1.line.example", |_| ()).1);
    let kind = "Content-Type: application/pkcs10";
    let user = ["-u", shop::USER];
    let with = |more: &[&'static str]| [&["-H", kind][..], more, &user].concat();
    let enrol = "line-1/simpleenroll";
    for (what, more) in [
        ("chunks", &["-H", "Transfer-Encoding: chunked"][..]),
        ("announced", &["-H", "Expect: 100-continue"]),
        ("asked for by HTTP/2", &["--http2"]),
        ("a name of its own for base64", &["-H", "Content-Transfer-Encoding: BASE64"]),
    ] {
        let out = shop.try_curl(enrol, &with(more), Some(&body));
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains("HTTP/1.1 200 OK"), "{what}: {said} {}", String::from_utf8_lossy(&out.stderr));
    }
    let of_type = |kind: &str| shop.curl(enrol, &["-H", kind, user[0], user[1]], Some(&body)).status;
    assert_eq!(of_type("Content-Type: APPLICATION/PKCS10; charset=us-ascii"), 200);
    for kind in ["application/x-pkcs10", "application/pkcs10x", "application/json", "multipart/form-data"] {
        assert_eq!(of_type(&format!("Content-Type: {kind}")), 415, "{kind}");
    }
    assert_eq!(of_type("Content-Type:"), 415, "none");
    let cases: [(&str, Vec<&str>, u16, &str); 4] = [
        (enrol, with(&["-H", "Content-Encoding: gzip"]), 415, "Content-Encoding"),
        (enrol, with(&["-H", "Content-Length: 0"]), 400, "empty"),
        (enrol, with(&["-X", "PUT"]), 405, "PUT is not for this path"),
        (enrol, with(&["-X", "DELETE"]), 405, "DELETE is not for this path"),
    ];
    for (path, more, status, words) in cases {
        let reply = shop.curl(path, &more, Some(&body));
        assert!(reply.status == status && reply.body.contains(words), "{more:?}: {reply:?}");
    }
    let long = format!("{}/simpleenroll", "x".repeat(4_000));
    for path in [
        "line-7/..%2fline-1/simpleenroll",
        "line-7%2f..%2fline-1/simpleenroll",
        "..%2f..%2f..%2fetc/passwd",
        "line-1%00/simpleenroll",
        "LINE-1/simpleenroll",
        "line-1//simpleenroll",
        "line-1/simpleenroll/",
        "%6Cine-1/simpleenroll",
        "line-1/..;/simpleenroll",
        &long,
    ] {
        let reply = shop.curl(path, &with(&["--path-as-is"]), Some(&body));
        assert!(reply.status == 404 && reply.body.contains("there are cacerts"), "{path}: {reply:?}");
        assert!(reply.body.len() < 400, "{path}: {reply:?}");
    }
    let refused = shop.try_curl(&"x".repeat(100_000), &with(&[]), Some(&body));
    assert!(!String::from_utf8_lossy(&refused.stdout).contains(" 200 "), "a path of 100,000 characters");
    for version in ["1.0", "1.1"] {
        let old = shop.try_curl(enrol, &with(&["--tls-max", version, "--ciphers", "DEFAULT@SECLEVEL=0"]), Some(&body));
        assert!(!old.status.success() && old.stdout.is_empty(), "TLS {version}: {old:?}");
    }
    // The first colon ends the user; octets that are no UTF-8 are a wrong password and no more.
    let encoded = |octets: &[u8]| format!("Authorization: Basic {}", STANDARD.encode(octets));
    for wrong in [&b"line-user"[..], b"", b":", b"line-user\xe9:\xff\xfe", b"line-user:0123456789abcdef-secret:more"] {
        let reply = shop.curl(enrol, &["-H", kind, "-H", &encoded(wrong)], Some(&body));
        assert!(reply.status == 401 || reply.status == 429, "{wrong:?}: {reply:?}");
    }
    assert!(!shop.output().contains("panicked"), "{}", shop.output());
}
