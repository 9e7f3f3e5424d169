//! What each record of the CA says, as a sentence for whoever reads the journal years later.

use issuance::{IssuanceId, certificate::serial_octets, public_key::hex};
use journal::commands::{Head, Wanted, Words};
use proto::evidence::v1 as evidence;
use serde_json::Value;

use crate::{
    certificate,
    records::{self, CertificatePlanned, Event, RequestRefused},
};

/// The CA's entries, for the journal's commands.
#[derive(Debug, Clone, Copy)]
pub struct Story;

impl Words for Story {
    fn head(&self, entry: &[u8]) -> Result<Head, String> {
        let (record, event) = records::decode(entry)?;
        let issuance = IssuanceId::from_slice(&record.issuance).map(|id| (id.to_string(), record.issuance));
        Ok(Head { time_ms: record.time_ms, issuance, kind: records::word(&event).to_owned() })
    }

    fn json(&self, entry: &[u8]) -> Result<Value, String> {
        proto::as_json("journal.v1.CaRecord", entry)
    }

    fn sentence(&self, entry: &[u8]) -> Result<String, String> {
        Ok(match records::decode(entry)?.1 {
            Event::CertificatePlanned(planned) => self::planned(&planned),
            Event::CertificateSigned(signed) => {
                format!("The certificate with the serial {} was signed.", hex(&signed.certificate_serial))
            }
            Event::RequestRefused(refused) => self::refused(&refused),
            Event::CallerDisabled(said) => {
                format!("{} disabled the caller {}: {}", said.authenticated_by, said.name, said.reason)
            }
            Event::CallerEnabled(said) => {
                format!("{} enabled the caller {} again: {}", said.authenticated_by, said.name, said.reason)
            }
            // All of it, in the words that it was recorded with.
            _ => self.json(entry)?.to_string(),
        })
    }

    fn needle(&self, wanted: &Wanted) -> Result<Vec<u8>, String> {
        match wanted {
            Wanted::DeviceSerial(serial) => Ok(serial.as_bytes().to_vec()),
            Wanted::CertificateSerial(serial) => {
                serial_octets(serial).map_err(|wrong| format!("{serial:?} is no certificate serial: it {wrong}"))
            }
        }
    }

    fn names(&self, entry: &[u8], wanted: &Wanted) -> bool {
        let Ok((_, event)) = records::decode(entry) else { return false };
        match (wanted, event) {
            (Wanted::DeviceSerial(serial), Event::CertificatePlanned(planned)) => planned.device_serial == *serial,
            (Wanted::DeviceSerial(serial), Event::RequestRefused(refused)) => refused.device_serial == *serial,
            (Wanted::CertificateSerial(serial), Event::CertificatePlanned(planned)) => {
                serial_octets(serial) == serial_octets(&hex(&planned.certificate_serial))
            }
            _ => false,
        }
    }

    fn certificate(&self, entries: &[&[u8]]) -> Option<Vec<u8>> {
        let (mut tbs, mut signature) = (None, None);
        for entry in entries {
            match records::decode(entry).ok()?.1 {
                Event::CertificatePlanned(planned) => tbs = Some(planned.tbs_certificate),
                Event::CertificateSigned(signed) => signature = Some(signed.signature),
                _ => {}
            }
        }
        certificate::assemble(&tbs?, &signature?).ok()
    }
}

fn planned(planned: &CertificatePlanned) -> String {
    let CertificatePlanned { authenticated_by, device_serial, lot, profile, issuer, common_name, .. } = planned;
    format!(
        "{authenticated_by} asked for a certificate for the device {device_serial}: lot {lot}, profile {profile}. The one \
         with the serial {} and the CN {common_name}, for the key with the SHA-256 {}, was about to be signed by {issuer}.",
        hex(&planned.certificate_serial),
        hex(&planned.key_sha256)
    ) + &under(&planned.request_id)
        + residency(planned)
}

/// Under which id it was asked for.
fn under(request_id: &str) -> String {
    if request_id.is_empty() { String::new() } else { format!(" The request_id was {request_id}.") }
}

/// What the CA verified of where the key lives.
fn residency(planned: &CertificatePlanned) -> &'static str {
    use evidence::{Activation, Standing};
    match (planned.residency_standing(), planned.residency_activation()) {
        (Standing::Unspecified | Standing::Stated, _) => "",
        (Standing::Certified, Activation::Ca) => {
            " A TPM with its maker's certificate attests the key; only that TPM can release the certificate (ca-activated)."
        }
        (Standing::Certified, _) => {
            " A TPM with its maker's certificate attests the key; that EK and AK are in one TPM is the station's word \
             (station-vouched)."
        }
        (_, Activation::Ca) => {
            " A TPM without an EK certificate attests the key; only that TPM can release the certificate (ca-activated)."
        }
        (_, _) => {
            " A TPM without an EK certificate attests the key; that EK and AK are in one TPM is the station's word \
             (station-vouched)."
        }
    }
}

fn refused(refused: &RequestRefused) -> String {
    let RequestRefused { authenticated_by, device_serial, profile, reason, message, .. } = refused;
    format!(
        "{authenticated_by} asked for a certificate for the device {device_serial} under the profile {profile}, and was \
         refused: {message} ({reason})"
    ) + &under(&refused.request_id)
}
