//! Who and what EST refuses, each with words that say why.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::shop::{self, Shop};

/// A wrong password, no credentials at all, a listed client at another's label, an unlisted certificate: 401 or 403.
#[test]
fn who_is_not_known_is_refused() {
    let shop = Shop::new();
    let (_, request) = shop::request("SN-1.line.example", |_| ());
    let body = STANDARD.encode(request);
    let bootstrap = ["--cert", "bootstrap.pem", "--key", "bootstrap.key"];
    let cases: [(&str, &[&str], u16, &str); 7] = [
        ("line-1", &["-u", "line-user:0123456789abcdef-secres"], 401, "user or password is wrong"),
        ("line-1", &["-u", "nobody:0123456789abcdef-secret"], 401, "user or password is wrong"),
        ("line-1", &["-H", "Authorization: Bearer abc"], 401, "only Basic"),
        ("line-1", &[], 401, "show a client certificate"),
        ("plain", &bootstrap, 403, "may not use this label"),
        ("line-1", &["--cert", "unlisted.pem", "--key", "unlisted.key"], 403, "may not enrol here"),
        // Both came, and both must hold.
        ("line-1", &[&bootstrap[..], &["-u", "line-user:wrong"]].concat(), 401, "user or password is wrong"),
    ];
    for (label, with, status, words) in cases {
        let reply = shop.post(&format!("{label}/simpleenroll"), &body, with);
        assert!(reply.status == status && reply.body.contains(words), "{with:?}: {reply:?}");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.header("www-authenticate").starts_with("Basic realm="), status == 401, "{reply:?}");
    }
    let reply = shop.post("line-1/simplereenroll", &body, &["-u", shop::USER]);
    assert!(reply.status == 403 && reply.body.contains("that is to be renewed"), "{reply:?}");
    let reply = shop.post("line-1/simpleenroll", &body, &["--tls-max", "1.2", "-u", shop::USER]);
    assert_eq!(reply.status, 200, "the same request with the right password, over TLS 1.2: {reply:?}");
}

/// Client certificates of another CA by the same name, and one that a device CA's key signed for a neighbour, with its
/// chain: the handshake fails, over TLS 1.3 and 1.2.
#[test]
fn forged_client_certificates_are_refused() {
    let shop = Shop::new();
    let (key, request) = shop::request("SN-1", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let reply = shop.post("line-1/simpleenroll", &STANDARD.encode(request), &["-u", shop::USER]);
    let certificate = shop.certificates(&reply).remove(0);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "unused");
    let stolen = Issuer::from_ca_cert_der(&certificate.clone().into(), key).unwrap();
    shop::client(&shop.place, "forged", "bootstrap-1", &stolen);
    let chain = [
        fs::read_to_string(shop.place.path("forged.pem")).unwrap(),
        pem::encode(&pem::Pem::new("CERTIFICATE", certificate)),
        fs::read_to_string(shop.place.path("pki/device-ca.pem")).unwrap(),
    ];
    fs::write(shop.place.path("forged-chain.pem"), chain.concat()).unwrap();
    // One that names the right issuer, too, and is signed by another key.
    let mut identity = CertificateParams::default();
    identity.distinguished_name = rcgen::DistinguishedName::new();
    identity.distinguished_name.push(DnType::CommonName, "Test Identity CA");
    shop::client(&shop.place, "named", "SN-1", &Issuer::new(identity, KeyPair::generate().unwrap()));
    let (_, request) = shop::request("SN-2.line.example", |_| ());
    let body = STANDARD.encode(request);
    let with_key = [
        ("forged.pem", "forged.key"),
        ("forged-chain.pem", "forged.key"),
        ("stranger.pem", "stranger.key"),
        ("named.pem", "named.key"),
    ];
    for (certificate, key) in with_key {
        for version in ["1.2", "1.3"] {
            let with =
                ["--tls-max", version, "--cert", certificate, "--key", key, "-H", "Content-Type: application/pkcs10"];
            let out = shop.try_curl("line-1/simpleenroll", &with, Some(&body));
            let said = String::from_utf8_lossy(&out.stdout);
            assert!(!out.status.success() && !said.contains("200"), "{certificate} over {version}: {said}");
        }
    }
    assert!(shop.output().contains("refused a connection"), "{}", shop.output());
}

/// After five wrong passwords even the right one is told to come back later, with the time as a number of seconds; another
/// user at the same address and a client certificate go on, and so does everybody after a restart.
#[test]
fn guessing_passwords_is_slowed_down() {
    let mut shop = Shop::new();
    let (_, request) = shop::request("SN-1.line.example", |_| ());
    let body = STANDARD.encode(&request);
    for number in 0..5 {
        let reply = shop.post("line-1/simpleenroll", &body, &["-u", &format!("line-user:wrong-password-{number}")]);
        assert!(reply.status == 401 && reply.header("www-authenticate").starts_with("Basic"), "{reply:?}");
    }
    let reply = shop.post("line-1/simpleenroll", &body, &["-u", shop::USER]);
    assert!(reply.status == 429 && reply.body.contains("too many wrong passwords"), "{reply:?}");
    let wait: u32 = reply.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{reply:?}");
    assert_eq!(shop.post("line-1/simpleenroll", &body, &["-u", "other-user:x"]).status, 401);
    let with = ["--cert", "bootstrap.pem", "--key", "bootstrap.key"];
    assert_eq!(shop.get("line-1/csrattrs", &with).status, 200);
    let (_, other) = shop::request("SN-2.line.example", |_| ());
    let reply = shop.post("line-7/simpleenroll", &STANDARD.encode(other), &with);
    assert_eq!(reply.status, 403, "by its label, not by its address: {reply:?}");
    shop.restart();
    assert_eq!(shop.post("line-1/simpleenroll", &body, &["-u", shop::USER]).status, 200);
}

/// What is no request, too large a body, another type, an unknown label or operation and the wrong method: a 4xx each with
/// words; and a refusal of the CA's has its reason.
#[test]
fn what_is_no_enrolment_is_refused() {
    let shop = Shop::new();
    let (_, request) = shop::request("SN-1.line.example", |_| ());
    let body = STANDARD.encode(&request);
    let user: [&str; 2] = ["-u", shop::USER];
    let mut broken = request.clone();
    *broken.last_mut().unwrap() ^= 1;
    let garbage = "!".repeat(200);
    let cases: [(&str, &str, u16, &str); 8] = [
        ("line-1/simpleenroll", &garbage, 400, "no base64"),
        ("line-1/simpleenroll", "", 400, "empty"),
        ("line-1/simpleenroll", "AAAA", 400, "INVALID_REQUEST"),
        ("line-1/simpleenroll", &STANDARD.encode(broken), 400, "INVALID_REQUEST"),
        ("line-1/simpleenroll", &"A".repeat(200_000), 413, "larger than"),
        ("line-9/simpleenroll", &body, 404, "/.well-known/est/line-1/"),
        ("line-1/line-7/simpleenroll", &body, 404, "no such label"),
        ("line-1/fullcmc", &body, 404, "no such operation"),
    ];
    for (path, body, status, words) in cases {
        let reply = shop.post(path, body, &user);
        assert!(reply.status == status && reply.body.contains(words), "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    }
    let reply = shop.get("line-1/simpleenroll", &user);
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"), "{reply:?}");
    let reply = shop.post("line-1/cacerts", &body, &user);
    assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{reply:?}");
    let reply = shop.curl("line-1/simpleenroll", &["-H", "Content-Type: text/plain", "-u", shop::USER], Some(&body));
    assert_eq!(reply.status, 415, "{reply:?}");

    let (_, elsewhere) = shop::request("SN-1.elsewhere.example", |_| ());
    let reply = shop.post("line-1/simpleenroll", &STANDARD.encode(elsewhere), &user);
    assert!(reply.status == 400 && reply.body.contains("{serial}.line.example"), "{reply:?}");
    assert_eq!(shop.post("line-1/simpleenroll", &body, &user).status, 200);
    let (_, again) = shop::request("SN-1.line.example", |_| ());
    let reply = shop.post("line-1/simpleenroll", &STANDARD.encode(again), &user);
    assert!(reply.status == 409 && reply.body.contains("COMMON_NAME_TAKEN"), "{reply:?}");
}
