//! The device's files: `<devices>/<device serial>/{certificate,chain,bundle}.pem`, for whoever configures the device.

use std::{fs, io, path::Path};

use issuance::{DeviceSerial, Fault, FaultKind, ValidatedCertificate};
use service::{crash, file};

/// Writes the three files, each at once or not at all: the certificate; the chain, leaf first, no root; the roots.
pub fn write(directory: &Path, serial: &DeviceSerial, certificate: &ValidatedCertificate) -> Result<(), Fault> {
    crash::point("station.files.intended");
    let directory = directory.join(serial.as_str());
    let leaf = certificate.der();
    let chain: Vec<&[u8]> = [leaf].into_iter().chain(certificate.intermediates().iter().map(Vec::as_slice)).collect();
    let roots: Vec<&[u8]> = certificate.expectation().roots.iter().map(Vec::as_slice).collect();
    let files: [(&str, &[&[u8]]); 3] = [("certificate.pem", &[leaf]), ("chain.pem", &chain), ("bundle.pem", &roots)];
    let written = make(&directory)
        .and_then(|()| files.iter().try_for_each(|(name, certificates)| replace(&directory, name, &pem(certificates))));
    written.map_err(|error| {
        Fault::caused(
            FaultKind::FileWriteFailed,
            format!("could not write the files in {}", directory.display()),
            error,
        )
    })
}

fn pem(certificates: &[&[u8]]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates.iter().map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", *der), config)).collect()
}

/// A directory whose own name is on the disk as well.
fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    directory.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
}

/// A reader sees the old file or the new one, also after a power cut.
fn replace(directory: &Path, name: &str, content: &str) -> io::Result<()> {
    let path = directory.join(name);
    let fresh = file::write_beside(&path, content.as_bytes())?;
    crash::point("station.files.synced");
    file::put_in_place(&fresh, &path)?;
    crash::point("station.files.done");
    Ok(())
}

#[cfg(test)]
mod tests;
