//! `openssl ca`, as certificates are issued in bulk without a CA of one's own making: the same token and key, one process,
//! nothing recorded but its index.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use line::Line;

use crate::{Failed, because, drain, process};

/// What it took.
pub(crate) struct Issued {
    /// Certificates a second, its start included.
    pub(crate) rate: f64,
    /// Seconds of the processor for one.
    pub(crate) cpu: f64,
}

/// Has `openssl ca` issue for so many devices in one run.
pub(crate) fn measure(line: &Line, count: usize) -> Result<Issued, Failed> {
    let directory = line.directory().join("openssl-ca");
    fs::create_dir_all(directory.join("issued")).map_err(because("make a directory for openssl ca"))?;
    let token = line.hardware().ca();
    let certificate = line.directory().join("pki/product/device-ca.pem");
    write(&directory.join("openssl.cnf"), &configuration(&directory, &certificate, token.module()))?;
    write(&directory.join("index.txt"), "")?;
    let mut requests = Vec::with_capacity(count);
    for request in drain::requests("openssl", count)?.into_iter().flat_map(|batch| batch.requests) {
        let path = directory.join(format!("{}.csr", request.device_serial));
        let block = pem::Pem::new("CERTIFICATE REQUEST", request.certification_request);
        write(&path, &pem::encode(&block))?;
        requests.push(path);
    }
    let pin = line.hardware().pin_file(token.label());
    let key = format!("pkcs11:token={};object=device-ca;type=private?pin-source=file:{}", token.label(), pin.display());
    let mut command = Command::new("openssl");
    command.args(["ca", "-batch", "-notext", "-engine", "pkcs11", "-keyform", "engine", "-keyfile", &key]);
    command.args(["-out", "/dev/null", "-infiles"]).args(&requests);
    command.env("OPENSSL_CONF", directory.join("openssl.cnf")).envs(token.environment());
    command.stdin(Stdio::null());
    let (before, began) = (process::ended_children()?, Instant::now());
    let output = command.output().map_err(because("run openssl ca"))?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = process::ended_children()?.saturating_sub(before);
    let index = fs::read_to_string(directory.join("index.txt")).map_err(because("read what openssl ca issued"))?;
    let issued = index.lines().count();
    if !output.status.success() || issued != count {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        return Err(Failed::new(format!("of {count} requests openssl ca issued {issued}: {}", last.join("; "))));
    }
    fs::remove_dir_all(&directory).map_err(because("remove what openssl ca left"))?;
    Ok(Issued { rate: count as f64 / seconds, cpu: cpu.as_secs_f64() / count as f64 })
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    fs::write(path, text).map_err(because("write a file for openssl ca"))
}

/// The same certificates as the profile `device-ca` gives, with random serials; CNs are held distinct, as ours are.
fn configuration(directory: &Path, certificate: &Path, module: &Path) -> String {
    let place = directory.display();
    format!(
        "openssl_conf = all\n[all]\nengines = engines\n[engines]\npkcs11 = pkcs11\n\
         [pkcs11]\nengine_id = pkcs11\nMODULE_PATH = {}\ninit = 0\n\
         [ca]\ndefault_ca = one\n\
         [one]\ndatabase = {place}/index.txt\nnew_certs_dir = {place}/issued\nrand_serial = yes\ndefault_md = sha256\n\
         default_days = 365\npolicy = any\nunique_subject = yes\nx509_extensions = device\nemail_in_dn = no\n\
         certificate = {}\n\
         [any]\ncommonName = supplied\n\
         [device]\nbasicConstraints = critical,CA:TRUE,pathlen:0\nkeyUsage = critical,digitalSignature,keyCertSign\n\
         subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n",
        module.display(),
        certificate.display()
    )
}
