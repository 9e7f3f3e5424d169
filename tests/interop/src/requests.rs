//! Keys and certification requests, made by OpenSSL as a device's own software would.

use std::{fs, path::Path, process::Command};

use issuance::{KeyAlgorithm, public_key::Hash};
use proto::ca::v1::CertificationRequest;

use crate::{Case, Outcome, because, place::Place, profiles::Kind};

pub(crate) fn make(place: &Place, kind: &'static Kind, key: KeyAlgorithm, hash: Hash) -> Outcome<Case> {
    let device_serial = format!("{}-{key}-{hash}", kind.name).to_lowercase();
    let (private_key, out) = (place.path(&format!("{device_serial}.key")), place.path(&format!("{device_serial}.csr")));
    let mut command = new_request(&private_key, &out, key, hash, &format!("{device_serial}{}", kind.suffix));
    for asked in kind.asks {
        command.arg("-addext").arg(asked.replace("{serial}", &device_serial));
    }
    openssl(&mut command)?;
    let request = fs::read(out).map_err(because("no request"))?;
    Ok(Case { kind, key, hash, device_serial, private_key, request, certificate: Vec::new() })
}

/// A device CA's own leaf, as the device would make it: the certificate, PEM, in `out`.
pub(crate) fn beneath(place: &Place, case: &Case, ca: &Path, name: &str, out: &Path) -> Outcome<()> {
    let (key, request, extensions) = (place.path("leaf.key"), place.path("leaf.csr"), place.path("leaf.cnf"));
    openssl(&mut new_request(&key, &request, KeyAlgorithm::P256, Hash::Sha256, name))?;
    let text = format!(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n\
         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\nsubjectAltName=DNS:{name}\n"
    );
    fs::write(&extensions, text).map_err(because("could not write the extensions"))?;
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "30", "-sha256", "-inform", "DER", "-in"]).arg(request);
    command.arg("-CA").arg(ca).arg("-CAkey").arg(&case.private_key);
    command.arg("-extfile").arg(extensions).arg("-out").arg(out);
    openssl(&mut command)
}

fn new_request(private_key: &Path, out: &Path, key: KeyAlgorithm, hash: Hash, common_name: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", "-batch", "-outform", "DER", "-subj"]).arg(format!("/CN={common_name}"));
    command.arg(match hash {
        Hash::Sha256 => "-sha256",
        Hash::Sha384 => "-sha384",
        Hash::Sha512 => "-sha512",
    });
    command.arg("-keyout").arg(private_key).arg("-out").arg(out).arg("-newkey");
    match key {
        KeyAlgorithm::P256 => command.args(["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        KeyAlgorithm::P384 => command.args(["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        KeyAlgorithm::Rsa2048 => command.arg("rsa:2048"),
        KeyAlgorithm::Rsa3072 => command.arg("rsa:3072"),
        KeyAlgorithm::Rsa4096 => command.arg("rsa:4096"),
    };
    command
}

fn openssl(command: &mut Command) -> Outcome<()> {
    let output = command.output().map_err(because("could not run openssl"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn wire(case: &Case) -> CertificationRequest {
    CertificationRequest {
        issuance: uuid::Uuid::now_v7().to_string(),
        device_serial: case.device_serial.clone(),
        lot: String::new(),
        profile: case.kind.name.to_owned(),
        certification_request: case.request.clone(),
        ..CertificationRequest::default()
    }
}
