//! The CA's journal, read as it stands on the disk: one plan and one signature for each issuance, each word on a lot, each
//! revocation and each list's number once.

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
    let (entries, once) = read(directory)?;
    for (what, count) in once.iter().filter(|(_, count)| **count > 1) {
        findings.double.push(format!("{count} times {what}"));
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
    let (mut entries, mut once) = (Entries::new(), BTreeMap::new());
    let mut note = |what: String| *once.entry(what).or_insert(0) += 1;
    for bytes in journal.read(0..journal.length()).map_err(said("the CA's journal"))? {
        let record = CaRecord::decode(bytes.as_slice()).map_err(said("a CA's record"))?;
        let issuance = record.issuance;
        let entry = entries.entry(issuance.clone()).or_default();
        match record.event {
            Some(Event::CertificatePlanned(planned)) => {
                // A name recurs only for a certificate that supersedes the one before.
                let (name, before) = (planned.common_name.to_lowercase(), hex(&planned.supersedes));
                note(format!("a certificate for {name} under {}, superseding {before:?}", planned.profile));
                entry.planned.push(planned);
            }
            Some(Event::CertificateSigned(signed)) => entry.signed.push(signed),
            Some(Event::Revoked(revoked)) => note(format!("the revocation of {}", hex(&revoked.certificate_serial))),
            Some(Event::LotSet(set)) => note(format!("the lot {} for {}", set.lot, set.quantity)),
            Some(Event::LotEnded(ended)) => note(format!("the end of the lot {}", ended.lot)),
            Some(Event::DeviceScrapped(one)) => note(format!("{} scrapped in {}", one.device_serial, one.lot)),
            Some(Event::IssuanceVerified(_)) => note(format!("the confirmation of {}", hex(&issuance))),
            Some(Event::CrlPlanned(planned)) => {
                note(format!("the plan of the list {} {}", planned.list, planned.number))
            }
            Some(Event::CrlSigned(signed)) => {
                note(format!("the signing of the list {} {}", signed.list, signed.number))
            }
            Some(Event::CaCertificatePlanned(planned)) => note(format!("the plan of the CA {}", planned.ca)),
            Some(Event::CaCertificateSigned(signed)) => note(format!("the signing of the CA {}", signed.ca)),
            Some(Event::RolloverStepped(stepped)) => note(format!("the step {} of a rollover", stepped.step)),
            // A refusal, a report and a part of an authorisation may be repeated; whoever was enabled may be disabled again.
            Some(
                Event::RequestRefused(_)
                | Event::LotReported(_)
                | Event::LotAuthorisationPart(_)
                | Event::CallerDisabled(_)
                | Event::CallerEnabled(_),
            )
            | None => {}
        }
    }
    Ok((entries, once))
}

/// The 16 octets of `issuances/<uuid>`.
fn octets(name: &str) -> Result<Vec<u8>, Broken> {
    let digits: Vec<u8> = name.trim_start_matches("issuances/").bytes().filter(|byte| *byte != b'-').collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    octets.filter(|octets| octets.len() == 16).ok_or_else(|| format!("{name} is no issuance"))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
