//! CRLs: what they say, that OpenSSL takes them, when they are renewed, that no number is used twice.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use issuance::{DeviceSerial, KeyAlgorithm, ProfileName};
use journal::{Journal, JournalOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use x509_parser::{
    extensions::ParsedExtension, oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

use super::{revoking::serial_of, *};
use crate::{
    Crl, CrlPartition, PartitionScope, Revocation, RevocationReason, Target, crl_http,
    profile::CaName,
    records::{self, Event},
};

const HOUR: i64 = 3_600;

/// A new list each hour, valid for a day, twelve hours early.
fn with_crls() -> World {
    World::blank().with_crls([1, 24, 12])
}

fn started(world: &World) -> Authority {
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
    world.open()
}

fn standing(authority: &Authority, list: &str) -> Arc<Crl> {
    authority.crls().into_iter().find(|crl| crl.list == list).unwrap()
}

async fn revoke(authority: &Authority, outcome: &Outcome, reason: RevocationReason) {
    let target = Target::Certificate(serial_of(outcome));
    authority.revoke("supervisor-1", Revocation { target, reason }).await.unwrap().unwrap();
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

/// Under P-256, P-384 and RSA issuers: `openssl crl -verify` accepts each list, which says v2, AKI, number, the reason;
/// `openssl verify -crl_check` refuses the revoked certificate and takes its neighbour, and refuses all by an expired one.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_takes_the_lists() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let mut world = with_crls();
        world.settings.issuers.iter_mut().for_each(|ca| ca.key = algorithm);
        world.time.store(service::clock::Clock::system().unjudged(), Ordering::SeqCst);
        let authority = started(&world);
        let outcomes = issue(&authority, &[&submission(1), &submission(2)]).await;
        revoke(&authority, &outcomes[0], RevocationReason::KeyCompromise).await;
        assert_eq!(authority.renew_crls().await, 0);
        let path = |name: &str| world.path().join(name).to_str().unwrap().to_owned();
        let (ca, list) = (path("pki/device-ca.pem"), path("crl/device-ca.crl.pem"));
        let (done, text) = run(&["crl", "-in", &list, "-CAfile", &ca, "-noout", "-text"]);
        assert!(done && text.contains("verify OK"), "{text}");
        let (done, der) = run(&["crl", "-in", &path("crl/device-ca.crl"), "-inform", "DER", "-noout", "-crlnumber"]);
        assert!(done && der.contains("0x01"), "{der}");
        for wanted in ["Version 2", "Authority Key Identifier", "CRL Number", "Key Compromise"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let serial = issuance::public_key::hex(&serial_of(&outcomes[0])).to_uppercase();
        assert!(text.replace(':', "").contains(&serial), "{serial}: {text}");
        for (number, outcome) in (1..).zip(&outcomes) {
            fs::write(path(&format!("{number}.der")), &issued(outcome).certificate).unwrap();
        }
        let root = path("pki/root.pem");
        let verify = |number: u8, more: &[&str]| {
            let device = path(&format!("{number}.der"));
            let first = ["verify", "-crl_check", "-CAfile", &root, "-untrusted", &ca, "-CRLfile", &list];
            run(&[&first, more, &[&device]].concat())
        };
        let (refused, text) = verify(1, &[]);
        assert!(!refused && text.contains("certificate revoked"), "{text}");
        let (accepted, text) = verify(2, &[]);
        assert!(accepted, "{text}");
        let later = (world.now().seconds() + 25 * HOUR).to_string();
        let (expired, text) = verify(2, &["-attime", &later]);
        assert!(!expired && text.contains("CRL has expired"), "{text}");
        authority.close().await.unwrap();
    }
}

/// A list stands until its hour is over; then, and after each revocation, comes the next number. What OpenSSL is told is
/// what is answered: the files are the standing lists.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_renewed_in_time() {
    let world = with_crls();
    let authority = started(&world);
    assert!(authority.crls().is_empty());
    assert_eq!(authority.renew_crls().await, 0);
    let first = standing(&authority, "device-ca");
    assert_eq!((first.number, first.revoked), (1, 0));
    assert_eq!(first.next_update, START / 1_000 + 24 * HOUR);
    world.time.fetch_add((HOUR - 1) * 1_000, Ordering::SeqCst);
    authority.renew_crls().await;
    assert_eq!(standing(&authority, "device-ca"), first);
    world.time.fetch_add(1_000, Ordering::SeqCst);
    authority.renew_crls().await;
    assert_eq!(standing(&authority, "device-ca").number, 2);

    let outcome = issue_one(&authority, &submission(1)).await;
    revoke(&authority, &outcome, RevocationReason::Superseded).await;
    authority.renew_crls().await;
    revoke(&authority, &outcome, RevocationReason::Superseded).await;
    authority.renew_crls().await;
    let third = standing(&authority, "device-ca");
    assert_eq!((third.number, third.revoked), (3, 1), "a repeated revocation makes no new list");
    assert_eq!(fs::read(world.path().join("crl/device-ca.crl")).unwrap(), third.der);
    assert_eq!(fs::read_to_string(world.path().join("crl/device-ca.crl.pem")).unwrap(), third.pem);
    assert_eq!(standing(&authority, "device-identity").revoked, 0);
    authority.close().await.unwrap();
}

/// A token that fails after the number was recorded, a restart, lost rows, a lost journal: the number of each list only
/// grows, none is planned twice, and what stood is served until its successor stands.
#[tokio::test(flavor = "multi_thread")]
async fn no_number_is_used_twice() {
    let world = with_crls();
    let authority = started(&world);
    authority.renew_crls().await;
    let outcome = issue_one(&authority, &submission(1)).await;
    revoke(&authority, &outcome, RevocationReason::KeyCompromise).await;
    world.keystore.token().failing = 2;
    assert_eq!(authority.renew_crls().await, 2);
    let first = standing(&authority, "device-ca");
    assert_eq!((first.number, first.revoked), (1, 0));
    authority.close().await.unwrap();

    fs::remove_dir_all(world.settings.journal.join("projections")).unwrap();
    let authority = world.open();
    assert_eq!(standing(&authority, "device-ca").der, first.der, "what stood is served at once");
    assert_eq!(authority.renew_crls().await, 0);
    let third = standing(&authority, "device-ca");
    assert_eq!((third.number, third.revoked), (3, 1));
    authority.close().await.unwrap();
    let (mut planned, mut signed) = (BTreeMap::new(), BTreeMap::new());
    let (journal, _) = Journal::open(&JournalOptions::new(&world.settings.journal, "ca-1")).unwrap();
    for entry in journal.read(0..journal.length()).unwrap() {
        match records::decode(&entry).unwrap().1 {
            Event::CrlPlanned(crl) => *planned.entry((crl.list, crl.number)).or_insert(0) += 1,
            Event::CrlSigned(crl) => *signed.entry((crl.list, crl.number)).or_insert(0) += 1,
            _ => {}
        }
    }
    drop(journal);
    assert!(planned.len() == 6 && planned.values().all(|times| *times == 1), "{planned:?}");
    assert!(signed.len() == 4 && signed.keys().all(|key| planned.contains_key(key)), "{signed:?}");

    fs::remove_dir_all(&world.settings.journal).unwrap();
    let authority = world.open();
    authority.renew_crls().await;
    assert_eq!(standing(&authority, "device-ca").number, 4, "the standing list's number counts as well");
    authority.close().await.unwrap();
}

/// Below the newest record no list is signed, and what stands is served; a file that somebody else signed is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_floor_holds_for_lists() {
    let world = with_crls();
    let authority = started(&world);
    authority.renew_crls().await;
    let first = standing(&authority, "device-ca");
    authority.close().await.unwrap();
    fs::copy(world.path().join("crl/device-ca.crl"), world.path().join("crl/device-identity.crl")).unwrap();
    world.time.fetch_sub(5_000, Ordering::SeqCst);
    let signed = world.keystore.token().signed;
    let authority = world.open();
    assert_eq!(authority.renew_crls().await, 2);
    assert_eq!(world.keystore.token().signed, signed);
    let standing: Vec<Vec<u8>> = authority.crls().iter().map(|crl| crl.der.clone()).collect();
    assert_eq!(standing, std::slice::from_ref(&first.der), "a list of another issuer is no list of this one");
    authority.close().await.unwrap();
}

/// A partition lists what its profiles issued and names its distribution point, critically; the issuer's own lists all.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_name_their_distribution_point() {
    let mut world = with_crls();
    let url = "http://crl.example.com/crl/servers.crl";
    world.settings.crl.as_mut().unwrap().partitions.push(CrlPartition {
        name: CaName::parse("servers").unwrap(),
        issuer: CaName::parse("device-identity").unwrap(),
        profiles: vec![ProfileName::parse("server").unwrap()],
        url: url.to_owned(),
        scope: Some(PartitionScope::EndEntities),
    });
    let authority = started(&world);
    for (number, profile) in [(1, "server"), (2, "device-identity")] {
        let wanted = Submission {
            profile: profile.to_owned(),
            certification_request: request(&params(&format!("sn-{number}.example")), &key()),
            ..submission(number)
        };
        issued(&issue_one(&authority, &wanted).await);
        let serial = DeviceSerial::parse(&wanted.device_serial).unwrap();
        let revocation = Revocation {
            target: Target::Device { serial, profile: None },
            reason: RevocationReason::CessationOfOperation,
        };
        authority.revoke("supervisor-1", revocation).await.unwrap().unwrap();
    }
    assert_eq!(authority.renew_crls().await, 0);
    for (list, revoked, partition) in [("servers", 1, true), ("device-identity", 2, false), ("device-ca", 0, false)] {
        let crl = standing(&authority, list);
        assert_eq!(crl.revoked, revoked, "{list}");
        let (_, parsed) = CertificateRevocationList::from_der(&crl.der).unwrap();
        let point =
            parsed.extensions().iter().find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
        assert_eq!(point.is_some(), partition, "{list}");
        let Some(point) = point else { continue };
        let ParsedExtension::IssuingDistributionPoint(named) = point.parsed_extension() else { panic!("{point:?}") };
        assert!(point.critical && named.only_contains_user_certs && !named.only_contains_ca_certs);
        assert!(point.value.windows(url.len()).any(|window| window == url.as_bytes()));
    }
    authority.close().await.unwrap();
}

/// Over plain HTTP: DER and PEM with their types; 304 by tag and by date; HEAD without a body; 404 that names the lists;
/// 405 for anything else; a first list that is not there yet is 503.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_served_over_http() {
    let world = with_crls();
    let authority = started(&world);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(crl_http::serve(socket, authority.clone(), async move { drop(stopped.await) }));
    let ask = |line: &str, header: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n{header}\r\n");
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
        }
    };
    let (early, _) = ask("GET /crl/device-ca.crl", "").await;
    assert!(early.contains(" 503 ") && early.contains("retry-after: 5"), "{early}");
    authority.renew_crls().await;
    let crl = standing(&authority, "device-ca");
    let (der, body) = ask("GET /crl/device-ca.crl", "").await;
    assert!(der.contains(" 200 ") && der.contains("content-type: application/pkix-crl"), "{der}");
    assert_eq!(body, crl.der);
    let (pem, body) = ask("GET /crl/device-ca.crl.pem", "").await;
    assert!(pem.contains("content-type: application/x-pem-file"), "{pem}");
    assert_eq!(body, crl.pem.as_bytes());
    let (head, body) = ask("HEAD /crl/device-ca.crl", "").await;
    assert!(head.contains(" 200 ") && head.contains(&format!("content-length: {}", crl.der.len())), "{head}");
    assert!(body.is_empty());
    let value = |name: &str| {
        let line = der.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    let (tag, modified) = (value("etag:"), value("last-modified:"));
    assert_eq!(modified, "thu, 01 jan 2026 00:00:00 gmt");
    let since = |date: &str| format!("If-Modified-Since: {date}\r\n");
    for (header, status) in [
        (format!("If-None-Match: {tag}\r\n"), " 304 "),
        ("If-None-Match: \"1-0\"\r\n".to_owned(), " 200 "),
        (since("Thu, 01 Jan 2026 00:00:00 GMT"), " 304 "),
        (since("Wed, 31 Dec 2025 23:59:59 GMT"), " 200 "),
    ] {
        let (answer, body) = ask("GET /crl/device-ca.crl", &header).await;
        assert!(answer.contains(status) && body.is_empty() == (status == " 304 "), "{header}: {answer}");
    }
    for (line, status) in [
        ("GET /crl/other.crl", " 404 "),
        ("GET /crl/..%2Fpki%2Froot.pem", " 404 "),
        ("GET /", " 404 "),
        ("POST /crl/device-ca.crl", " 405 "),
        ("DELETE /crl/device-ca.crl", " 405 "),
    ] {
        let (answer, _) = ask(line, "").await;
        assert!(answer.contains(status), "{line}: {answer}");
    }
    let _ = stop.send(());
    tokio::time::timeout(Duration::from_secs(60), serving).await.unwrap().unwrap();
    authority.close().await.unwrap();
}

/// The keeper makes the first lists by itself, and the next ones at once when something was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_published_at_once() {
    let world = with_crls();
    let authority = started(&world);
    let keeper = authority.clone();
    let keeping = tokio::spawn(async move { keeper.keep_crls().await });
    let within = Duration::from_secs(60);
    let first = authority.fresh_crls(false, within).await.unwrap();
    assert!(first.len() == 2 && first.iter().all(|crl| crl.revoked == 0), "{first:?}");
    let outcome = issue_one(&authority, &submission(1)).await;
    revoke(&authority, &outcome, RevocationReason::KeyCompromise).await;
    let second = authority.fresh_crls(false, within).await.unwrap();
    assert_eq!(second.iter().map(|crl| crl.revoked).collect::<Vec<_>>(), [1, 0]);
    let numbers = |crls: &[Arc<Crl>]| crls.iter().map(|crl| crl.number).collect::<Vec<_>>();
    let forced = authority.fresh_crls(true, within).await.unwrap();
    assert!(numbers(&forced)[0] > numbers(&second)[0]);
    keeping.abort();
    authority.close().await.unwrap();
}
