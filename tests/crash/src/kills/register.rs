//! The CA's journal, read as it stands on the disk: one plan and one signature for each issuance.

use std::{collections::BTreeMap, path::Path};

use journal::{Journal, JournalOptions};
use prost::Message as _;
use proto::{
    journal::v1::{CaRecord, CertificatePlanned, CertificateSigned, ca_record::Event},
    station::v1::Issuance,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{calls::told, devices::Findings};
use crate::{Broken, said};

#[derive(Default)]
struct Entry {
    planned: Vec<CertificatePlanned>,
    signed: Vec<CertificateSigned>,
}

/// Holds the journal of a CA that does not run against what its station was answered.
pub(super) fn holds(directory: &Path, issued: &[Issuance]) -> Result<Findings, Broken> {
    let mut findings = Findings::default();
    let (entries, names) = read(directory)?;
    for (name, count) in names.iter().filter(|(_, count)| **count > 1) {
        findings.double.push(format!("{count} certificates for {name}"));
    }
    let mut answered = 0;
    for issuance in issued.iter().filter(|issuance| !issuance.certificate.is_empty()) {
        answered += 1;
        let id = octets(&issuance.name)?;
        let Some(entry) = entries.get(&id) else {
            findings.missing.push(format!("the CA knows nothing of {}", told(issuance)));
            continue;
        };
        let ([planned], [signed]) = (entry.planned.as_slice(), entry.signed.as_slice()) else {
            let (planned, signed) = (entry.planned.len(), entry.signed.len());
            findings.double.push(format!("{planned} plans and {signed} signatures for {}", told(issuance)));
            continue;
        };
        let (_, certificate) = X509Certificate::from_der(&issuance.certificate).map_err(said("a certificate"))?;
        let same = certificate.tbs_certificate.as_ref() == planned.tbs_certificate
            && certificate.signature_value.data.as_ref() == signed.signature;
        if !same {
            findings.double.push(format!("another certificate than the CA recorded: {}", told(issuance)));
        }
    }
    let signed = entries.values().filter(|entry| !entry.signed.is_empty()).count();
    if signed > answered {
        findings.double.push(format!("{signed} certificates were signed, {answered} were answered"));
    }
    Ok(findings)
}

type Entries = BTreeMap<Vec<u8>, Entry>;

fn read(directory: &Path) -> Result<(Entries, BTreeMap<String, usize>), Broken> {
    let (journal, _) = Journal::open(&JournalOptions::new(directory, "ca-1")).map_err(said("the CA's journal"))?;
    let (mut entries, mut names) = (Entries::new(), BTreeMap::new());
    for bytes in journal.read(0..journal.length()).map_err(said("the CA's journal"))? {
        let record = CaRecord::decode(bytes.as_slice()).map_err(said("a CA's record"))?;
        let entry = entries.entry(record.issuance).or_default();
        match record.event {
            Some(Event::CertificatePlanned(planned)) => {
                *names
                    .entry(format!("{} under {}", planned.common_name.to_lowercase(), planned.profile))
                    .or_insert(0) += 1;
                entry.planned.push(planned);
            }
            Some(Event::CertificateSigned(signed)) => entry.signed.push(signed),
            // Whatever else a CA records makes no certificate.
            _ => {}
        }
    }
    Ok((entries, names))
}

/// The 16 octets of `issuances/<uuid>`.
fn octets(name: &str) -> Result<Vec<u8>, Broken> {
    let digits: Vec<u8> = name.trim_start_matches("issuances/").bytes().filter(|byte| *byte != b'-').collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    octets.filter(|octets| octets.len() == 16).ok_or_else(|| format!("{name} is no issuance"))
}
