//! strongSwan's `pki`.

use std::{fs, process::Command};

use super::shop::{self, Shop};

impl Shop {
    /// Runs `pki`, and keeps what it writes in a file.
    #[track_caller]
    fn pki(&self, arguments: &[&str], file: &str) {
        let out = Command::new("pki").args(arguments).current_dir(self.place.directory()).output().unwrap();
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {words} {}", self.output());
        fs::write(self.place.path(file), out.stdout).unwrap();
    }
}

/// It fetches the CA certificates, enrols by Basic and renews by its certificate, with EC and with RSA keys; OpenSSL verifies
/// what it stored against the root.
#[test]
fn strongswan_enrolls_and_renews() {
    let shop = Shop::new();
    // It knows no labels.
    let url = shop.origin();
    shop.pki(
        &["--estca", "--url", &url, "--cacert", "control.pem", "--caout", "est-ca.pem", "--outform", "pem"],
        "none",
    );
    let fetched = fs::read_dir(shop.place.directory())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("est-ca"));
    assert!(fetched.count() >= 2, "the root and the issuer");
    let trust = ["--cacert", "control.pem", "--cacert", "pki/root.pem", "--cacert", "pki/device-identity.pem"];
    for (kind, size) in [("ecdsa", "256"), ("rsa", "2048")] {
        let name = format!("CN={kind}-1.line.example");
        for (round, key) in ["first.key", "second.key"].into_iter().enumerate() {
            shop.pki(&["--gen", "--type", kind, "--size", size, "--outform", "pem"], key);
            shop.pki(&["--req", "--type", kind, "--in", key, "--dn", &name], "request.der");
            let common = [&["--est", "--url", &url, "--in", "request.der", "--outform", "pem"], &trust[..]].concat();
            match round {
                0 => shop.pki(&[&common[..], &["--userpass", shop::USER]].concat(), "first.pem"),
                _ => {
                    let old = ["--cert", "first.pem", "--key", "first.key"];
                    shop.pki(&[&common[..], &old].concat(), "second.pem");
                }
            }
        }
        assert_ne!(fs::read(shop.place.path("first.pem")).unwrap(), fs::read(shop.place.path("second.pem")).unwrap());
        for file in ["first.pem", "second.pem"] {
            let verify =
                ["verify", "-x509_strict", "-CAfile", "pki/root.pem", "-untrusted", "pki/device-identity.pem", file];
            shop.openssl(&verify, b"");
        }
    }
}
