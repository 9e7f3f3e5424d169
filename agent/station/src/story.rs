//! What each record says, as a sentence for whoever reads the journal years later.

use issuance::{
    DeviceIdentity, Record, ResidencyEvidence, certificate,
    public_key::hex,
    record::{DeviceChecked, Refuted, ReplacedKey, Requested, Stop},
    residency::Standing,
};
use journal::commands::{Head, Wanted, Words};
use serde_json::Value;

use crate::{
    records::{Entry, GoldenCheckFailed, What},
    words,
};

/// The station's entries, for the journal's commands.
#[derive(Debug, Clone, Copy)]
pub struct Story;

fn decode(entry: &[u8]) -> Result<Entry, String> {
    Entry::decode(entry).map_err(|error| service::in_full(&error))
}

impl Words for Story {
    fn head(&self, entry: &[u8]) -> Result<Head, String> {
        let entry = decode(entry)?;
        let issuance = match &entry.what {
            What::Issuance(id, _) | What::RequestRepeated { issuance: id, .. } => {
                Some((id.to_string(), id.as_bytes().to_vec()))
            }
            What::LotOpened { .. } | What::LotClosed { .. } | What::GoldenCheckFailed(_) => None,
        };
        Ok(Head { time_ms: entry.at.0, issuance, kind: words::of_record(&entry.what).to_owned() })
    }

    fn json(&self, entry: &[u8]) -> Result<Value, String> {
        proto::as_json("journal.v1.StationRecord", entry)
    }

    fn sentence(&self, entry: &[u8]) -> Result<String, String> {
        Ok(match decode(entry)?.what {
            What::Issuance(_, record) => sentence(&record),
            What::RequestRepeated { request_id, claimed_by, authenticated_by, .. } => {
                let whom = if claimed_by.is_empty() { String::new() } else { format!(" for {claimed_by}") };
                format!(
                    "{authenticated_by} asked for it again{whom} with the request_id {request_id}, which is its own from now on."
                )
            }
            What::GoldenCheckFailed(failed) => golden_check_failed(&failed),
            What::LotOpened { .. } | What::LotClosed { .. } => {
                proto::as_json("journal.v1.StationRecord", entry)?.to_string()
            }
        })
    }

    fn needle(&self, wanted: &Wanted) -> Result<Vec<u8>, String> {
        match wanted {
            Wanted::DeviceSerial(serial) => Ok(serial.as_bytes().to_vec()),
            Wanted::CertificateSerial(serial) => certificate::serial_octets(serial)
                .map_err(|wrong| format!("{serial:?} is no certificate serial: it {wrong}")),
        }
    }

    fn names(&self, entry: &[u8], wanted: &Wanted) -> bool {
        let record = match (decode(entry).map(|entry| entry.what), wanted) {
            (Ok(What::Issuance(_, record)), _) => record,
            (Ok(What::GoldenCheckFailed(failed)), Wanted::DeviceSerial(serial)) => {
                let named = [&failed.device_serial, &failed.known_as];
                return named.into_iter().flatten().any(|named| named.as_str() == serial);
            }
            _ => return false,
        };
        match (wanted, record) {
            (Wanted::DeviceSerial(serial), Record::Requested(request)) => request.device_serial.as_str() == serial,
            (Wanted::CertificateSerial(serial), Record::Issued { certificate, .. }) => {
                certificate::certificate_serial(&certificate)
                    .is_some_and(|found| certificate::serial_octets(&found) == certificate::serial_octets(serial))
            }
            _ => false,
        }
    }

    fn certificate(&self, entries: &[&[u8]]) -> Option<Vec<u8>> {
        entries.iter().rev().find_map(|entry| match decode(entry).ok()?.what {
            What::Issuance(_, Record::Issued { certificate, .. }) => Some(certificate),
            _ => None,
        })
    }
}

fn sentence(record: &Record) -> String {
    match record {
        Record::Requested(request) => requested(request),
        Record::DeviceIdentified { fixture, identity } => format!("The device in {fixture} is {}.", device(identity)),
        Record::KeyGenerationStarted { location, algorithm, replaces: None } => {
            format!("A key {algorithm} was about to be generated at {location}.")
        }
        Record::KeyGenerationStarted { location, algorithm, replaces: Some(ReplacedKey { public_key, issuance }) } => {
            format!(
                "The key at {location} that was made for the issuance {issuance}, when this hardware was another device \
                 (SHA-256 of its public half {}), was about to be removed, and a key {algorithm} generated in its place.",
                hex(&public_key.sha256())
            )
        }
        Record::KeyGenerated { location, public_key, reused } => {
            let made = if *reused { "The key made for it before was found" } else { "The device generated its key" };
            format!("{made} at {location}; the SHA-256 of its public half is {}.", hex(&public_key.sha256()))
        }
        Record::ResidencyProven { evidence, standing } => residency(evidence, *standing),
        Record::RequestSigned { certification_request } => {
            let hash = issuance::public_key::sha256(certification_request);
            format!("The device's key signed its certification request (SHA-256 {}).", hex(&hash))
        }
        Record::Submitted { authority, .. } => format!("The request was about to be sent to the CA {authority}."),
        Record::SendStarted { authority, .. } => format!("The request was about to be sent to the CA {authority}."),
        Record::NotTaken { .. } => "The CA certainly did not take the request.".to_owned(),
        Record::InDoubt { message } => format!("Whether the CA took the request is in doubt: {message}"),
        Record::Resubmitted { authority, claimed_by, authenticated_by, .. } => {
            let by = person(claimed_by, authenticated_by);
            let by = if by.is_empty() { "As configured".to_owned() } else { by };
            format!("{by}: the request was put in the queue for the CA {authority} again.")
        }
        Record::Surplus { .. } => "The CA sent another certificate than the one that is kept.".to_owned(),
        Record::Sealed(_) => {
            "The CA answered with a certificate that it encrypted for this TPM: only where EK and AK are in one TPM is \
                              it ever released (ca-activated)."
                .to_owned()
        }
        Record::Issued { certificate, .. } => {
            let serial = certificate::certificate_serial(certificate).unwrap_or_else(|| "unreadable".to_owned());
            format!("The CA issued the certificate with the serial {serial}.")
        }
        Record::Refused { reason, message } => format!("The CA refused: {message} ({reason})"),
        Record::WriteStarted { location } => format!("The certificate was about to be written to {location}."),
        Record::Written => "The device took the certificate.".to_owned(),
        Record::Verified(verified) => format!(
            "The certificate was read back (SHA-256 {}), and the device's key signed a nonce that verifies with it.",
            hex(&verified.certificate_sha256)
        ),
        Record::Completed => "Done: the device may be shipped.".to_owned(),
        Record::Confirmed { refusal } => match refusal.as_str() {
            "" => "The CA took note that the certificate is verified, and has revoked what it supersedes.".to_owned(),
            refusal => format!("The CA did not accept that the certificate is verified: {refusal}"),
        },
        Record::DeviceChecked(checked) => self::checked(checked),
        Record::Failed(stop) => stopped("It stopped", stop),
        Record::Quarantined(stop) => stopped("It was set aside", stop),
        Record::Released { claimed_by, authenticated_by, new_hardware } => {
            let by = person(claimed_by, authenticated_by);
            match new_hardware {
                false => format!("{by} let it go on."),
                true => format!("{by} let it go on: the hardware in the fixture is this device from now on."),
            }
        }
        Record::Cancelled { scrapped, reason, claimed_by, authenticated_by } => {
            let by = person(claimed_by, authenticated_by);
            match scrapped {
                false => format!("{by} ended it: {reason}"),
                true => format!(
                    "{by} scrapped the device: {reason}. The CA has revoked what it issued to it in this lot, and its place \
                     is free."
                ),
            }
        }
        Record::Resumed { fixture, claimed_by, authenticated_by } => {
            format!("The device was met again in {fixture}, scanned by {}.", person(claimed_by, authenticated_by))
        }
    }
}

fn checked(checked: &DeviceChecked) -> String {
    let by = person(&checked.claimed_by, &checked.authenticated_by);
    let as_what = if checked.golden { "golden device" } else { "device" };
    let words = format!("{by} had the {as_what} in {} verified", checked.fixture);
    if checked.refuted.is_empty() {
        return format!(
            "{words}: it holds its certificate and key, and its key signed the nonce {} ({}).",
            hex(&checked.nonce),
            hex(&checked.signature)
        );
    }
    format!("{words}, and it did not hold: {}.", checked.refuted.iter().map(wrong).collect::<Vec<_>>().join("; "))
}

fn golden_check_failed(failed: &GoldenCheckFailed) -> String {
    let GoldenCheckFailed { fixture, device_serial, known_as, hardware, refuted, .. } = failed;
    let by = person(&failed.claimed_by, &failed.authenticated_by);
    let meant = device_serial.as_ref().map(|serial| format!(", which should be {serial},")).unwrap_or_default();
    let what = match (hardware, known_as) {
        (Some(hardware), Some(serial)) => format!("hardware {}, known as {serial}", hex(hardware)),
        (Some(hardware), None) => format!("hardware {}, not known", hex(hardware)),
        (None, _) => "it did not say who it is".to_owned(),
    };
    let wrong: Vec<String> = refuted.iter().map(wrong).collect();
    format!(
        "{by} had the golden device{meant} in {fixture} verified, and it did not hold: {} ({what}).",
        wrong.join("; ")
    )
}

fn wrong(Refuted { question, reason, message }: &Refuted) -> String {
    format!("{message} ({question}, {reason})")
}

fn requested(request: &Requested) -> String {
    let Requested { lot, device_serial, profile, common_name, fixture, provenance, .. } = request;
    let asked = person(&request.claimed_by, &request.authenticated_by);
    let mut words = format!(
        "{asked} asked for a certificate for the device {device_serial} in {fixture}: lot {lot}, profile {profile}, CN \
         {common_name}; station {}",
        provenance.station
    );
    for (what, text) in
        [("line", &provenance.line), ("site", &provenance.site), ("part revision", &provenance.part_revision)]
    {
        if !text.is_empty() {
            words.push_str(&format!(", {what} {text}"));
        }
    }
    words.push_str(&format!(", software {}", provenance.software_version));
    if let Some(superseded) = &request.supersedes {
        words.push_str(&format!("; it stands in for {superseded}"));
    }
    if request.new_hardware {
        words.push_str(", and other hardware is this device from now on");
    }
    words + "."
}

fn device(identity: &DeviceIdentity) -> String {
    match identity {
        DeviceIdentity::Tpm { ek_certificate, manufacturer, firmware, .. } => {
            let endorsed = match ek_certificate {
                Some(der) => format!("its EK certificate has the SHA-256 {}", hex(&issuance::public_key::sha256(der))),
                None => "it keeps no EK certificate".to_owned(),
            };
            format!("a TPM of {manufacturer}, firmware {firmware}; {endorsed}")
        }
        DeviceIdentity::Token { label, serial_number, manufacturer, model, firmware } => format!(
            "the token {label:?} with the serial number {serial_number} of {manufacturer}, model {model}, firmware {firmware}"
        ),
    }
}

fn residency(evidence: &ResidencyEvidence, standing: Standing) -> String {
    match evidence {
        ResidencyEvidence::Tpm { name, .. } => {
            let vouches = match standing {
                Standing::Stated => {
                    return format!(
                        "The TPM showed the key's public area, and attested nothing; its name is {}.",
                        hex(name)
                    );
                }
                Standing::Certified => "whose maker certified it",
                Standing::AllowListed => "whose EK is on the configuration's list, and has no certificate",
                Standing::Unattested => "for which nobody vouches: it has no EK certificate",
            };
            format!(
                "A TPM {vouches} attested that the key with the name {} lives in it; that its EK and its AK are in one TPM was \
                 shown to the station (station-vouched).",
                hex(name)
            )
        }
        ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable } => format!(
            "The token states of the private key: made there {local}, sensitive {sensitive}, always {always_sensitive}, \
             extractable {extractable}, never extractable {never_extractable}."
        ),
    }
}

fn stopped(how: &str, stop: &Stop) -> String {
    format!("{how}: {} ({}). {}", stop.message, stop.reason, stop.next_action)
}

fn person(claimed_by: &str, authenticated_by: &str) -> String {
    if claimed_by.is_empty() {
        authenticated_by.to_owned()
    } else {
        format!("{claimed_by} (through {authenticated_by})")
    }
}
