//! `residency`, `ek` and `activation` of a profile: which TPMs are believed, and who puts them to the test. A station reads
//! its own with the same words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use issuance::{
    certificate,
    public_key::octets,
    residency::{Activation, EndorsementPolicy, WithoutCertificate},
};
use service::configuration::Table;

/// What a profile says: `None` for `residency = "stated"`, the default. Mistakes are reported to the table; after one it
/// is `None` as well.
#[must_use]
pub fn parse_residency(table: &Table<'_>) -> Option<EndorsementPolicy> {
    let residency = table.optional_parsed("residency", |text| match text {
        "stated" | "tpm" => Ok(text.to_owned()),
        _ => Err("must be \"stated\" (what the device says is recorded) or \"tpm\" (a TPM must attest to it)"),
    });
    let ek = table.optional_table("ek");
    let activation = table.optional_parsed("activation", |text| match text {
        "station" => Ok(Activation::Station),
        "ca" => Ok(Activation::Ca),
        _ => Err("must be \"station\" (it vouches for the TPM) or \"ca\" (only the TPM can release the certificate)"),
    });
    if residency.as_deref() != Some("tpm") && table.has("activation") {
        table.mistake("activation", "is of no use without residency = \"tpm\"; add that or remove this");
    }
    match (residency.as_deref(), ek) {
        (Some("tpm"), Some(ek)) => {
            parse_ek(&ek).map(|policy| EndorsementPolicy { activation: activation.unwrap_or_default(), ..policy })
        }
        (Some("tpm"), None) => {
            table.mistake(
                "ek",
                "is missing; with residency = \"tpm\" say which TPMs are believed: ek = { roots = \"directory\" }",
            );
            None
        }
        (_, Some(ek)) => {
            let _ = parse_ek(&ek);
            if !table.has("residency") {
                table.mistake("ek", "is of no use without residency = \"tpm\"; add that or remove this");
            }
            None
        }
        (_, None) => None,
    }
}

fn parse_ek(ek: &Table<'_>) -> Option<EndorsementPolicy> {
    let found = ek.path("roots").and_then(|directory| match makers(&directory) {
        Ok(found) => Some(found),
        Err(problem) => {
            ek.mistake("roots", problem);
            None
        }
    });
    let allowed = ek.parsed_list("allowed", |text| {
        octets(text)
            .and_then(|sum| sum.try_into().ok())
            .ok_or("must be SHA-256 of an EK's SubjectPublicKeyInfo, 64 hexadecimal digits")
    });
    let without = ek.optional_parsed("without_certificate", |text| match text {
        "refuse" | "allow-list" | "record" => Ok(text.to_owned()),
        _ => Err("must be \"refuse\", \"allow-list\" (with `allowed`) or \"record\""),
    });
    let without_certificate = match without.as_deref() {
        Some("allow-list") => WithoutCertificate::AllowListed(allowed),
        other => {
            if ek.has("allowed") {
                ek.mistake(
                    "allowed",
                    "is read with without_certificate = \"allow-list\" only; set that or remove this",
                );
            }
            match other {
                Some("record") => WithoutCertificate::Record,
                _ => WithoutCertificate::Refuse,
            }
        }
    };
    let accepts_expired = ek.boolean_or("accepts_expired", false);
    Some(EndorsementPolicy { without_certificate, accepts_expired, ..found? })
}

/// The certificates in a directory's PEM and DER files: those that are their own issuers are roots, the others
/// intermediates.
fn makers(directory: &Path) -> Result<EndorsementPolicy, String> {
    let unreadable = |path: &Path, error: std::io::Error| format!("could not read {}: {error}", path.display());
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| unreadable(directory, error))?;
    files.sort();
    let mut makers = EndorsementPolicy::default();
    for path in files.iter().filter(|path| path.is_file()) {
        let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
        let mut found: Vec<Vec<u8>> = pem::parse_many(&bytes)
            .map_err(|error| format!("{} is not PEM: {error}", path.display()))?
            .into_iter()
            .filter(|block| block.tag() == "CERTIFICATE")
            .map(pem::Pem::into_contents)
            .collect();
        if found.is_empty() {
            found.push(bytes);
        }
        for der in found {
            match certificate::is_self_issued(&der) {
                Some(true) => makers.roots.push(der),
                Some(false) => makers.intermediates.push(der),
                None => return Err(format!("{} holds something that is no certificate; remove it", path.display())),
            }
        }
    }
    match makers.roots.is_empty() {
        true => Err(format!("{} holds no root certificate of a TPM maker", directory.display())),
        false => Ok(makers),
    }
}
