//! The signed report of a lot, checked with OpenSSL alone.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use issuance::{
    KeyAlgorithm,
    public_key::{hex, sha256},
};
use serde_json::Value;

use super::{
    lots::{by, in_lot, lot_name, open_lot, strict},
    *,
};
use crate::{Confirmation, ReportError};

/// Whether OpenSSL, given the root alone, says that the report was signed beneath it; and what it then says.
fn verified(world: &World, report: &str) -> Option<Value> {
    let (file, script) = (world.path().join("report.jws"), "../../deploy/verify-lot-report.sh");
    fs::write(&file, format!("{report}\n")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let out = Command::new("sh").arg(script).arg(&file).arg(world.path().join("pki/root.pem")).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    match out.status.code() {
        Some(0) => Some(serde_json::from_slice(&out.stdout).unwrap()),
        Some(1) => None,
        _ => panic!("{told}"),
    }
}

/// Ordered, issued, revoked and scrapped, with each certificate's serial and fingerprint as the stations got them; OpenSSL
/// verifies it to the root, and no longer once one character is another.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_signed_and_complete() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 5).await.unwrap();
    let mut certificates = Vec::new();
    for number in 1..=3 {
        certificates.push(issued(&issue_one(&authority, &in_lot(number, "WO-1")).await).certificate.clone());
    }
    // SN-1 is reworked, SN-2 scrapped.
    let second = Submission {
        issuance: id(4),
        supersedes: vec![id(1)],
        residency: None,
        request_id: String::new(),
        certification_request: request(&params("SN-1.ca"), &key()),
        ..in_lot(1, "WO-1")
    };
    certificates.push(issued(&issue_one(&authority, &second).await).certificate.clone());
    let confirmation =
        Confirmation { issuance: IssuanceId::parse(&id(4)).unwrap(), certificate_sha256: sha256(&certificates[3]) };
    authority.confirm("station-1", vec![Ok(confirmation)]).await.unwrap().remove(0).unwrap();
    let serial = issuance::DeviceSerial::parse("SN-2").unwrap();
    authority
        .scrap_device(by("supervisor-1"), lot_name("WO-1"), serial, "dropped".into(), None)
        .await
        .unwrap()
        .unwrap();
    // Planned, and the token was away: not issued.
    world.keystore.token().failing = 1;
    assert_deferred(&issue_one(&authority, &in_lot(5, "WO-1")).await, "does not sign");
    authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap();

    let report = authority.report_lot(by("auditor-1"), lot_name("WO-1")).await.unwrap();
    let told = verified(&world, &report).expect(&report);
    let mut forged = report.clone().into_bytes();
    let place = report.find('.').unwrap() + 40;
    forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
    assert_eq!(verified(&world, &String::from_utf8(forged).unwrap()), None);
    // The same key beneath another root is nobody's.
    assert_eq!(verified(&World::new(), &report), None);

    for (key, expected) in
        [("ordered", 5), ("used", 3), ("issued", 4), ("revoked", 2), ("scrapped", 1), ("iat", START / 1_000)]
    {
        assert_eq!(told[key], expected, "{key}: {told:#}");
    }
    assert_eq!(
        (told["iss"].as_str(), told["lot"].as_str(), told["state"].as_str()),
        (Some("ca-1"), Some("WO-1"), Some("closed"))
    );
    let rows = told["certificates"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for (row, certificate) in rows.iter().zip(&certificates) {
        assert_eq!(row["sha256"].as_str(), Some(hex(&sha256(certificate)).as_str()));
        let serial = issuance::certificate::certificate_serial(certificate).unwrap();
        assert_eq!(row["certificate_serial"].as_str().unwrap().to_lowercase(), serial.to_lowercase());
    }
    assert_eq!((&rows[0]["revoked"], &rows[0]["superseded_by"]), (&"superseded".into(), &id(4).into()));
    assert_eq!((&rows[1]["revoked"], &rows[1]["scrapped"]), (&"cessationOfOperation".into(), &true.into()));
    assert_eq!((&rows[2]["revoked"], &rows[3]["generation"]), (&Value::Null, &2.into()));
    assert_eq!(rows[4]["sha256"], Value::Null, "planned and not issued");
    authority.close().await.unwrap();
}

/// The script verifies what each kind of issuer's key signs, and nothing whose signature or words are others.
#[tokio::test(flavor = "multi_thread")]
async fn the_script_verifies_every_kind_of_key() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let mut world = World::blank();
        world.settings.issuers[0].key = algorithm;
        // The script asks OpenSSL, which goes by the machine's clock.
        world.time.store(service::clock::Clock::system().unjudged(), Ordering::SeqCst);
        crate::init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
        let authority = world.open();
        open_lot(&authority, "WO-1", 5).await.unwrap();
        issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
        let report = authority.report_lot(by("auditor-1"), lot_name("WO-1")).await.unwrap();
        let told = verified(&world, &report).unwrap_or_else(|| panic!("{algorithm}: {report}"));
        assert_eq!((&told["ordered"], &told["issued"]), (&5.into(), &1.into()), "{algorithm}");
        let parts: Vec<&str> = report.split('.').collect();
        let other = |place: usize| {
            let mut octets = URL_SAFE_NO_PAD.decode(parts[place]).unwrap();
            octets[9] ^= 1;
            let mut parts = parts.clone();
            let changed = URL_SAFE_NO_PAD.encode(octets);
            parts[place] = &changed;
            parts.join(".")
        };
        for forged in [other(1), other(2), parts[..2].join("."), format!("{}.{}.", parts[0], parts[1])] {
            assert_eq!(verified(&world, &forged), None, "{algorithm}: {forged}");
        }
        authority.close().await.unwrap();
    }
}

/// A token that is away makes no report, and neither does a lot that is not there; asked again it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_waits_for_the_token() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 1).await.unwrap();
    let unknown = authority.report_lot(by("auditor-1"), lot_name("WO-9")).await.unwrap_err();
    assert!(matches!(&unknown, ReportError::Refused(refused) if refused.reason == "LOT_UNKNOWN"), "{unknown}");
    world.keystore.token().failing = 1;
    let away = authority.report_lot(by("auditor-1"), lot_name("WO-1")).await.unwrap_err();
    assert!(matches!(away, ReportError::Later(_)), "{away}");
    let report = authority.report_lot(by("auditor-1"), lot_name("WO-1")).await.unwrap();
    assert!(verified(&world, &report).is_some());
    authority.close().await.unwrap();
}

/// A short R or S keeps its 32 octets, and one with its top bit set loses the octet that DER puts before it.
#[test]
fn signatures_have_their_fixed_length() {
    for (r, s) in [(vec![1_u8], vec![0x7f; 32]), (vec![0xff; 32], vec![0x80; 31])] {
        let integer = |octets: &[u8]| {
            let pad: &[u8] = if octets[0] & 0x80 == 0 { &[] } else { &[0] };
            let length = u8::try_from(octets.len() + pad.len()).unwrap();
            [&[2, length], pad, octets].concat()
        };
        let content = [integer(&r), integer(&s)].concat();
        let der = [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat();
        let part = crate::lots::jws::signature_part(issuance::KeyAlgorithm::P256, &der).unwrap();
        let raw = URL_SAFE_NO_PAD.decode(part).unwrap();
        let padded = |octets: &[u8]| [vec![0; 32 - octets.len()], octets.to_vec()].concat();
        assert_eq!(raw, [padded(&r), padded(&s)].concat());
        assert_eq!(crate::lots::jws::signature_part(issuance::KeyAlgorithm::P256, &der[1..]), None);
    }
}
