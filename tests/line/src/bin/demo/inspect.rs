//! Looks at what the station wrote for a device with eyes other than the station's.

use std::{fs, path::Path, process::Command};

use proto::station::v1::issuance::State;

use crate::Row;

/// Checks what the station says about a device and the files it wrote for it; what was wrong, in words.
pub(crate) fn inspect(directory: &Path, row: &Row) -> Result<(), String> {
    let issuance = &row.issuance;
    if issuance.state() != State::Completed {
        let reason = issuance.failure.as_ref().map(|failure| failure.message.clone());
        return Err(reason.unwrap_or_else(|| format!("stopped in {}", issuance.state().as_str_name())));
    }
    let files = directory.join("devices").join(&row.device_serial);
    let certificate = read(&files.join("certificate.pem"))?;
    match pem::parse(&certificate) {
        Ok(found) if found.tag() == "CERTIFICATE" && found.contents() == issuance.certificate => {}
        Ok(_) => return Err("certificate.pem is not the certificate that was issued".into()),
        Err(error) => return Err(format!("certificate.pem: {error}")),
    }
    if !read(&files.join("chain.pem"))?.starts_with(&certificate) {
        return Err("chain.pem does not begin with the certificate".into());
    }
    read(&files.join("bundle.pem"))?;
    verify_with_openssl(&files)
}

/// What the word "verified" rests on.
pub(crate) fn how() -> &'static str {
    match has_openssl() {
        true => {
            "Verified: the station read the certificate back from the device and had the device's key sign a nonce;\n\
             `openssl verify -x509_strict` accepted the chain; the certificate says CA:TRUE."
        }
        false => {
            "Verified: the station read the certificate back from the device and had the device's key sign a nonce.\n\
             (openssl is not installed, so the chain was not checked by a second program.)"
        }
    }
}

fn verify_with_openssl(files: &Path) -> Result<(), String> {
    if !has_openssl() {
        return Ok(());
    }
    let verify = ["verify", "-x509_strict", "-CAfile", "bundle.pem", "-untrusted", "chain.pem", "certificate.pem"];
    openssl(files, &verify)?;
    let constraints = openssl(files, &["x509", "-in", "certificate.pem", "-noout", "-ext", "basicConstraints"])?;
    match constraints.contains("critical") && constraints.contains("CA:TRUE, pathlen:0") {
        true => Ok(()),
        false => Err(format!("the certificate's constraints are not CA:TRUE, pathlen:0: {}", constraints.trim())),
    }
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success())
}

fn openssl(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = ran.map_err(|error| format!("openssl could not be run: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("openssl {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
