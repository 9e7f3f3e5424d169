//! EST as real clients speak it: strongSwan's `pki`, and what certd sends, by curl. The keys are in a real SoftHSM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod odd;
#[path = "../place/mod.rs"]
mod place;
mod refused;
mod shop;
mod strongswan;

use std::{fs, thread};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use issuance::public_key::sha256;
use proto::ca::v1::{ConfirmBatchRequest, OpenLotRequest};
use rcgen::{BasicConstraints, IsCa};

use shop::{CERTS_ONLY, Shop};

/// As certd enrols: a bootstrap certificate, leaf alone, base64 in lines of 64, `simpleenroll` and `cacerts` at once; with
/// the identity that it gets it asks at the same URL for its device CA. Both answers are exactly what it takes: 200, the
/// exact type, unfolded base64 with its length, one certificate. The same request again has the same certificate.
#[test]
fn certd_gets_its_identity_and_its_device_ca() {
    let shop = Shop::new();
    let (key, request) = shop::request("SN-1.line.example", |_| ());
    let folded = shop::folded(&request, "\n");
    let send = || shop.post("line-1/simpleenroll", &folded, &["--cert", "bootstrap.pem", "--key", "bootstrap.key"]);
    let (enrolled, authorities) = thread::scope(|scope| {
        let enrolled = scope.spawn(send);
        let authorities = scope.spawn(|| shop.get("line-1/cacerts", &[]));
        (enrolled.join().unwrap(), authorities.join().unwrap())
    });
    for reply in [&enrolled, &authorities] {
        assert_eq!((reply.status, reply.header("content-type")), (200, CERTS_ONLY), "{reply:?}");
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        assert!(!reply.body.contains(['\n', '\r']), "{reply:?}");
    }
    assert_eq!(shop.certificates(&authorities).len(), 3, "the root and the issuers of both profiles");
    let [identity] = &shop.certificates(&enrolled)[..] else { panic!("not exactly one certificate") };
    let unfolded = STANDARD.encode(&request);
    for body in [unfolded, shop::folded(&request, "\r\n")] {
        let again = shop.post("line-1/simpleenroll", &body, &["--cert", "bootstrap.pem", "--key", "bootstrap.key"]);
        assert_eq!(shop.certificates(&again), std::slice::from_ref(identity));
    }

    shop.keep("identity", identity, &key);
    let (_, request) = shop::request("SN-1.line.example", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let with_identity = ["--cert", "identity.pem", "--key", "identity.key"];
    let reply = shop.post("line-1/simpleenroll", &shop::folded(&request, "\n"), &with_identity);
    assert_eq!((reply.status, reply.header("content-type")), (200, CERTS_ONLY), "{reply:?}");
    let [device_ca] = &shop.certificates(&reply)[..] else { panic!("not exactly one certificate") };
    let text = shop.openssl(&["x509", "-inform", "DER", "-noout", "-text"], device_ca);
    assert!(text.contains("CA:TRUE, pathlen:0") && text.contains("Test Device CA"), "{text}");

    let reply = shop.get("line-1/csrattrs", &[]);
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/csrattrs"), "{reply:?}");
    let text = shop.openssl(&["asn1parse", "-inform", "DER"], &STANDARD.decode(&reply.body).unwrap());
    assert!(text.contains("id-ecPublicKey") && text.contains("prime256v1") && text.contains("rsaEncryption"), "{text}");
}

/// Renewal as certd does it, at `simpleenroll` with a new key and the old leaf: the new certificate has the name, and the old
/// one stays valid until the device shows the new one; then it is revoked, and enrols nothing more. An answer that got lost
/// costs nothing: the old certificate renews once more.
#[test]
fn a_renewed_certificate_ends_the_old_one_once_it_is_shown() {
    let shop = Shop::new();
    let enrol = |operation: &str, with: &[&str]| {
        let (key, request) = shop::request("SN-1.line.example", |_| ());
        (key, shop.post(&format!("line-1/{operation}"), &STANDARD.encode(request), with))
    };
    let (key, reply) = enrol("simpleenroll", &["-u", shop::USER]);
    shop.keep("first", &shop.certificates(&reply)[0], &key);
    let first = ["--cert", "first.pem", "--key", "first.key"];
    let (_, lost) = enrol("simplereenroll", &first);
    assert_eq!(lost.status, 200, "{lost:?}");
    let (key, reply) = enrol("simpleenroll", &first);
    shop.keep("second", &shop.certificates(&reply)[0], &key);
    assert_eq!(enrol("simplereenroll", &first).1.status, 200, "the first one is valid still");
    let (_, reply) = enrol("simplereenroll", &["--cert", "second.pem", "--key", "second.key"]);
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, reply) = enrol("simplereenroll", &first);
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("was revoked"), "{reply:?}");
}

/// A lot that the CA needs is bound by the label or by the client, whichever names one; without it the request is refused,
/// and so is one device more than the lot has places. What is renewed takes no second place.
#[test]
fn a_lot_is_bound_by_label_or_client() {
    let shop = Shop::with("[lots]\nrequired = true\n");
    shop.call_lot(OpenLotRequest { lot: "lot-7".to_owned(), profile: "enrolled".to_owned(), quantity: 1 });
    let enrol = |label: &str, serial: &str, with: &[&str]| {
        let (key, request) = shop::request(&format!("{serial}.line.example"), |_| ());
        (key, shop.post(&format!("{label}/simpleenroll"), &STANDARD.encode(request), with))
    };
    let (_, unbound) = enrol("line-1", "SN-1", &["-u", shop::USER]);
    assert!(unbound.status == 403 && unbound.body.contains("LOT_REQUIRED"), "{unbound:?}");
    let (key, bound) = enrol("line-7", "SN-1", &["-u", shop::USER]);
    assert_eq!(bound.status, 200, "{bound:?}");
    let bootstrap = ["--cert", "bootstrap.pem", "--key", "bootstrap.key"];
    let (_, full) = enrol("line-1", "SN-2", &bootstrap);
    assert!(full.status == 403 && full.body.contains("LOT_USED_UP"), "{full:?}");
    shop.keep("first", &shop.certificates(&bound)[0], &key);
    let (_, renewed) = enrol("line-7", "SN-1", &["--cert", "first.pem", "--key", "first.key"]);
    assert_eq!(renewed.status, 200, "{renewed:?}");
}

/// `caller disable` holds at once at a connection that stands, at EST too, and after a kill of the server; `enable` ends it.
/// Stations may not, nobody disables themselves, and unknown names are told.
#[test]
fn a_disabled_caller_is_refused_at_once() {
    let mut shop = Shop::new();
    shop.client("administrator-1");
    let listed = shop.call(&["caller", "list"], 0);
    assert!(listed.contains("est/line-user") && !listed.contains("disabled"), "{listed}");
    let mut station = shop.station();
    let mut ask = |shop: &Shop| {
        let request = ConfirmBatchRequest {
            confirmations: vec![proto::ca::v1::Confirmation {
                issuance: "none".to_owned(),
                certificate_sha256: sha256(b"").to_vec(),
            }],
        };
        shop.block_on(station.confirm_batch(request)).map(drop)
    };
    let enrol = |shop: &Shop, serial: u8| {
        let (_, request) = shop::request(&format!("SN-{serial}.line.example"), |_| ());
        shop.post("line-1/simpleenroll", &STANDARD.encode(request), &["-u", shop::USER])
    };
    ask(&shop).unwrap();
    for name in ["station-1", "est/line-user"] {
        let told = shop.call(&["caller", "disable", name, "--reason", "stolen"], 0);
        assert!(told.contains(name) && told.contains("by administrator-1: stolen"), "{told}");
    }
    let refused = ask(&shop).unwrap_err();
    assert_eq!(service::status::reason(&refused).as_deref(), Some("CALLER_DISABLED"), "{refused}");
    let reply = enrol(&shop, 1);
    assert!(reply.status == 403 && reply.body.contains("CALLER_DISABLED"), "{reply:?}");

    shop.restart();
    shop.client("administrator-1");
    let mut station = shop.station();
    let refused = shop.block_on(station.confirm_batch(ConfirmBatchRequest::default())).unwrap_err();
    assert_eq!(service::status::reason(&refused).as_deref(), Some("CALLER_DISABLED"), "{refused}");
    let reply = enrol(&shop, 1);
    assert_eq!(reply.status, 403, "{reply:?}");
    let listed = shop.call(&["caller", "list", "--json"], 0);
    assert_eq!(listed.matches("\"disabled\":true").count(), 2, "{listed}");
    shop.call(&["caller", "enable", "est/line-user", "--reason", "found"], 0);
    let reply = enrol(&shop, 1);
    assert_eq!(reply.status, 200, "{reply:?}");

    for (name, words) in [("administrator-1", "nobody disables themselves"), ("station-9", "no caller of that name")] {
        shop.call(&["caller", "disable", name, "--reason", "x"], 1);
        assert!(shop.output().contains(words), "{}", shop.output());
    }
    shop.client("mes-1");
    shop.call(&["caller", "disable", "station-1", "--reason", "x"], 1);
    assert!(shop.output().contains("ROLE_NOT_ALLOWED") || shop.output().contains("needs one of"), "{}", shop.output());
    let story = fs::read_dir(shop.place.path("journal")).unwrap().count();
    assert!(story > 0);
}

/// What a device's own certificate is good for: another name, another label and a listed client's rights are refused.
#[test]
fn a_device_enrols_for_itself_alone() {
    let shop = Shop::new();
    let enrol = |label: &str, common_name: &str, with: &[&str]| {
        let (key, request) = shop::request(common_name, |_| ());
        (key, shop.post(&format!("{label}/simpleenroll"), &STANDARD.encode(request), with))
    };
    // Its CN is the bootstrap client's, and it is a device all the same.
    let (key, request) = shop::request("bootstrap-1", |_| ());
    let reply = shop.post("plain/simpleenroll", &STANDARD.encode(request), &["-u", shop::USER]);
    shop.keep("device", &shop.certificates(&reply)[0], &key);
    let device = ["--cert", "device.pem", "--key", "device.key"];
    let (_, other_name) = enrol("plain", "SN-2", &device);
    assert!(other_name.status == 403 && other_name.body.contains("a device enrols for itself"), "{other_name:?}");
    let (_, other_label) = enrol("line-1", "SN-2.line.example", &device);
    assert!(other_label.status == 403 && other_label.body.contains("does not offer"), "{other_label:?}");
}
