//! What the CA issues, as OpenSSL sees it: an implementation that is not ours.

use std::{fs, path::PathBuf, process::Command};

use issuance::{
    CertificateExpectation, CommonName, KeyAlgorithm, PublicKey, ValidatedCertificate, public_key::Hash,
    request::CertificationRequest,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::*;
use crate::init;

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}

/// Each profile × each device key, with requests made by OpenSSL (P-384 signed with SHA-256 and SHA-384), under P-256,
/// P-384 and RSA issuers: `openssl verify -x509_strict` passes, our own validation passes, the key's bytes are the request's,
/// the issuer's bytes the CA's subject.
#[tokio::test(flavor = "multi_thread")]
async fn openssl_accepts_every_profile_and_key() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let mut world = World::blank();
        for ca in world.settings.issuers.iter_mut().chain([&mut world.settings.root]) {
            ca.key = algorithm;
        }
        world.time.store(service::clock::Clock::system().unjudged(), Ordering::SeqCst);
        init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
        let authority = world.open();
        let mut number = 0;
        for (profile, issuer) in
            [("device-ca", "device-ca"), ("device-identity", "device-identity"), ("server", "device-identity")]
        {
            for (name, new_key, hash) in [
                ("p256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..], "-sha256"),
                ("p384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "-sha384"),
                ("p384-sha256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "-sha256"),
                ("rsa", &["rsa:2048"], "-sha256"),
            ] {
                number += 1;
                let common_name = format!("{profile}-{name}.example");
                let wanted = Submission {
                    profile: profile.to_owned(),
                    certification_request: openssl_request(&world, &common_name, new_key, hash),
                    ..submission(number)
                };
                let issued = issued(&issue_one(&authority, &wanted).await).clone();
                check(&world, &authority, &wanted, &issued, issuer, &common_name);
            }
        }
        authority.close().await.unwrap();
    }
}

/// Each CA key × each hash that a profile may name: the certificate names it and is signed with it, as OpenSSL and the station
/// find; without a word the key's own is used. What was planned with one hash is signed with it after a crash, whatever the
/// profile says by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_names_the_hash() {
    for (algorithm, family) in
        [(KeyAlgorithm::P256, "ecdsa-with-SHA"), (KeyAlgorithm::P384, "ecdsa-with-SHA"), (KeyAlgorithm::Rsa2048, "sha")]
    {
        let mut world = World::blank();
        for ca in world.settings.issuers.iter_mut().chain([&mut world.settings.root]) {
            ca.key = algorithm;
        }
        world.time.store(service::clock::Clock::system().unjudged(), Ordering::SeqCst);
        init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
        let (mut number, own) = (0, algorithm.hash());
        for named in Hash::NAMES.into_iter().map(|(_, hash)| Some(hash)).chain([None]) {
            world.settings.profiles[0].signature_hash = named;
            let hash = named.unwrap_or(own);
            let bits = hash.to_string().replace("SHA-", "");
            let words = if algorithm.is_rsa() { format!("{family}{bits}WithRSA") } else { format!("{family}{bits}") };
            let authority = world.open();
            for crashed in [false, true] {
                number += 1;
                let common_name = format!("sn-{number}.example");
                let wanted =
                    Submission { certification_request: request(&params(&common_name), &key()), ..submission(number) };
                let authority = if crashed {
                    world.keystore.token().failing = 1;
                    assert_deferred(&issue_one(&authority, &wanted).await, "does not sign");
                    authority.close().await.unwrap();
                    world.settings.profiles[0].signature_hash = None;
                    world.open()
                } else {
                    authority.clone()
                };
                let issued = issued(&issue_one(&authority, &wanted).await).clone();
                check(&world, &authority, &wanted, &issued, "device-ca", &common_name);
                let file = world.path().join("issued.der");
                let text = openssl(&["x509", "-noout", "-text", "-in", file.to_str().unwrap()]);
                assert_eq!(text.matches(&format!("Signature Algorithm: {words}")).count(), 2, "{words}: {text}");
                if crashed {
                    authority.close().await.unwrap();
                }
            }
        }
    }
}

/// A token that does not sign with a profile's hash is found at the start, and the words name profile, hash and issuer; a token
/// that is away is another matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_the_token_cannot_do_is_refused_at_the_start() {
    let mut world = World::new();
    world.settings.profiles[1].signature_hash = Some(Hash::Sha256);
    world.keystore.token().own_hash_alone = true;
    world.open().close().await.unwrap();
    world.settings.profiles[1].signature_hash = Some(Hash::Sha512);
    let refused = world.try_open().err().unwrap();
    let words = service::in_full(&refused);
    for word in ["SHA-512", "device-identity", "signature_hash", "told not to know this"] {
        assert!(words.contains(word), "{words} lacks {word}");
    }
    world.keystore.token().own_hash_alone = false;
    world.keystore.token().failing = 1;
    assert!(matches!(world.try_open(), Err(OpenError::Token(_))));
    world.open().close().await.unwrap();
}

fn openssl_request(world: &World, common_name: &str, new_key: &[&str], hash: &str) -> Vec<u8> {
    let path = |name: &str| world.path().join(name).to_str().unwrap().to_owned();
    let (key, out, subject) = (path("device.key"), path("device.csr"), format!("/CN={common_name}"));
    let mut arguments = vec!["req", "-new", "-nodes", "-subj", &subject, hash, "-outform", "DER"];
    arguments.extend(["-keyout", &key, "-out", &out, "-newkey"]);
    arguments.extend(new_key);
    openssl(&arguments);
    fs::read(out).unwrap()
}

fn check(world: &World, authority: &Authority, wanted: &Submission, issued: &Issued, issuer: &str, common_name: &str) {
    let file: PathBuf = world.path().join("issued.der");
    fs::write(&file, &issued.certificate).unwrap();
    let file = file.to_str().unwrap();
    let pki = |name: &str| world.settings.pki.join(format!("{name}.pem")).to_str().unwrap().to_owned();
    let verified = openssl(&[
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-CAfile",
        &pki("root"),
        "-untrusted",
        &pki(issuer),
        file,
    ]);
    assert!(verified.contains("OK"), "{verified}");

    let request = CertificationRequest::from_der(&wanted.certification_request).unwrap();
    let (_, certificate) = X509Certificate::from_der(&issued.certificate).unwrap();
    assert_eq!(certificate.tbs_certificate.subject_pki.raw, request.public_key().spki());
    let (_, above) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert_eq!(certificate.issuer().as_raw(), above.subject().as_raw());
    assert_ne!(above.subject().as_raw(), above.issuer().as_raw(), "no root in the chain");
    let purpose =
        world.settings.profiles.iter().find(|profile| profile.name.as_str() == wanted.profile).unwrap().purpose;
    let expectation = CertificateExpectation {
        public_key: PublicKey::from_der(request.public_key().spki()).unwrap(),
        common_name: CommonName::parse(common_name).unwrap(),
        purpose,
        issuers: issued.chain.clone(),
        intermediates: Vec::new(),
        roots: authority.bundle(),
        at: world.now(),
    };
    let validated = ValidatedCertificate::validate(&issued.certificate, expectation).unwrap();
    assert_eq!(validated.intermediates(), issued.chain);
}
