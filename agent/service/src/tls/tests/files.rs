//! Files that cannot be used: each error names the file, and what was wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::date_time_ymd;

use super::authority::{Authority, End, authority_params, client, server};
use crate::tls::TlsFiles;

/// Checks the files, and demands an error that names one of them and the problem, and quotes no key.
fn wrong(files: &TlsFiles, named: &Path, problem: &str) {
    let text = crate::in_full(&files.check().unwrap_err());
    assert!(text.contains(&named.display().to_string()) && text.contains(problem), "{problem:?} in {text:?}");
    assert!(!text.contains("MIGH"), "{text}");
}

/// Good files are fine, and stay fine with a key that every user may read (a warning) and with a whole chain.
#[test]
fn good_files_are_fine() {
    let root = Authority::root("root");
    let (certificate, key) = root.issue(&server());
    let end = End::new((format!("{certificate}{}", root.pem), key), &root.pem);
    end.files.check().unwrap();
    fs::set_permissions(end.files.key.file().unwrap(), fs::Permissions::from_mode(0o644)).unwrap();
    end.files.check().unwrap();
}

/// Each file missing, empty, of the wrong kind or damaged.
#[test]
fn unusable_files_are_named() {
    let root = Authority::root("root");
    let (certificate, key) = root.issue(&server());
    let TlsFiles { certificate: at_certificate, key: at_key, trust: at_trust } =
        &End::new((certificate.clone(), key.clone()), &root.pem).files;
    let at_key = &at_key.file().unwrap().to_owned();
    let file_name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let damaged = certificate.replacen("MII", "M!I", 1);
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    let cut_key: String = key.lines().take(2).map(|line| format!("{line}\n")).collect();
    for (path, text, problem) in [
        (at_certificate, String::new(), "holds no certificate"),
        (at_certificate, key.clone(), "holds no certificate"),
        (at_certificate, damaged, "damaged PEM"),
        (at_certificate, no_certificate, "certificate 1 is not an X.509 certificate"),
        (at_certificate, "x".repeat(300_000), "is larger than"),
        (at_key, String::new(), "holds no private key"),
        (at_key, certificate.clone(), "holds no private key"),
        (at_key, cut_key, "damaged PEM"),
        (at_key, root.issue(&server()).1, "does not match the certificate"),
        (at_trust, String::new(), "holds no certificate"),
        (at_trust, certificate.clone(), "not a CA certificate"),
        (at_trust, format!("{}{certificate}", root.pem), "not a CA certificate"),
    ] {
        let end = End::new((certificate.clone(), key.clone()), &root.pem);
        let path = end.directory.path().join(file_name(path));
        fs::write(&path, text).unwrap();
        wrong(&end.files, &path, problem);
        fs::remove_file(&path).unwrap();
        wrong(&end.files, &path, "No such file");
    }
}

/// Certificates outside their validity are told apart, with the day.
#[test]
fn validity_is_checked() {
    let root = Authority::root("root");
    let mut params = client("mes-1");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    let end = End::new(root.issue(&params), &root.pem);
    wrong(&end.files, &end.files.certificate, "expired on Feb  3");
    (params.not_before, params.not_after) = (date_time_ymd(2999, 1, 1), date_time_ymd(3000, 1, 1));
    let end = End::new(root.issue(&params), &root.pem);
    wrong(&end.files, &end.files.certificate, "valid only from");
}

/// An expired issuer beside a good one is left out; alone it is an error.
#[test]
fn expired_issuers_vouch_for_nobody() {
    let root = Authority::root("root");
    let mut params = authority_params("old");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let expired = Authority::root_from(params);
    let end = End::new(root.issue(&client("mes-1")), &format!("{}{}", expired.pem, root.pem));
    end.files.check().unwrap();
    let end = End::new(root.issue(&client("mes-1")), &expired.pem);
    wrong(&end.files, &end.files.trust, "every certificate in it expired");
}

/// The three keys of a table are read together, and each one missing is a mistake.
#[test]
fn files_come_from_a_table() {
    let read = |text: &str| {
        let file = crate::configuration::File::parse("/etc/s.toml".as_ref(), text.to_owned()).unwrap();
        let files = TlsFiles::from_table(&file.root());
        (files, file.finish().map_or_else(|mistakes| mistakes.0.len(), |()| 0))
    };
    let (files, mistakes) = read("certificate = \"c\"\nkey = \"k\"\ntrust = \"/t\"\n");
    let TlsFiles { certificate, key, trust } = files.unwrap();
    let found = [&certificate, key.file().unwrap(), &trust].map(|path| path.to_str().unwrap());
    assert_eq!((found, mistakes), (["/etc/c", "/etc/k", "/t"], 0));
    let (files, mistakes) = read("trust = \"t\"\n");
    assert!(files.is_none() && mistakes == 2);
}
