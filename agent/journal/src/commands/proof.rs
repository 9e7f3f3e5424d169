//! What one certificate's or one device's records say: `prove`, `check-proof` and `show`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Failed, Opened, Wanted, Words, moment, newest, not, read_key, say, select};
use crate::{ProofFile, Purpose, Reader, VerifyingKey, tree::checkpoint::Checkpoint};

pub(super) fn prove(
    place: &Opened,
    words: &dyn Words,
    serial: String,
    out: Option<PathBuf>,
    json: bool,
) -> Result<(), Failed> {
    let wanted = Wanted::CertificateSerial(serial.clone());
    let records = select::records(&place.journal, words, &wanted)?;
    if records.is_empty() {
        return Err(untold(place, &format!("a certificate with the serial {serial}")));
    }
    let entries: Vec<&[u8]> = records.iter().map(|(_, entry)| entry.as_slice()).collect();
    let certificate = words.certificate(&entries).ok_or_else(|| {
        Failed::Not(Some(format!("the journal tells of the serial {serial}, but holds no certificate for it")))
    })?;
    let file = crate::prove(&place.tlog, &certificate, &records).map_err(|error| not(&error))?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{serial}.proof.json")));
    let text = file.encode().map_err(|error| not(&error))?;
    fs::write(&path, text)
        .map_err(|error| Failed::Not(Some(format!("could not write {}: {error}", path.display()))))?;
    if json {
        return say(json!({"file": path, "certificate_serial": serial, "records": records.len()}));
    }
    say(format!("{}: the certificate and {} records", path.display(), records.len()))
}

/// By whose word a proof holds.
pub(super) struct Keys {
    log: VerifyingKey,
    hardware: Option<VerifyingKey>,
    witness: Option<VerifyingKey>,
}

impl Keys {
    pub(super) fn read(log: &str, hardware: Option<String>, witness: Option<String>) -> Result<Self, Failed> {
        let read = |text: Option<String>, purpose| text.map(|text| read_key(&text, purpose)).transpose();
        Ok(Self {
            log: read_key(log, Purpose::Log)?,
            hardware: read(hardware, Purpose::Hardware)?,
            witness: read(witness, Purpose::Witness)?,
        })
    }
}

pub(super) fn check(file: &Path, keys: &Keys, words: &dyn Words, json: bool) -> Result<(), Failed> {
    let Keys { log, hardware, witness } = keys;
    let file = ProofFile::read(file).map_err(|error| not(&error))?;
    let checked = file.check(log, hardware.as_ref(), witness.as_ref()).map_err(|error| not(&error))?;
    let entries: Vec<&[u8]> = checked.records.iter().map(|(_, entry)| entry.as_slice()).collect();
    if let Some(index) = checked.records.iter().find(|(_, entry)| words.head(entry).is_err()).map(|(index, _)| index) {
        let words = format!(
            "record {index} stands in {}, and is none that this program reads: what a station's journal proves is checked by \
             station-agent, and what a CA's proves by intermediate-ca",
            checked.checkpoint.origin
        );
        return Err(Failed::Not(Some(words)));
    }
    if words.certificate(&entries).map(|der| pem(&der)) != Some(file.certificate.clone()) {
        let words = "its records are in the journal, but they do not tell of its certificate".to_owned();
        return Err(Failed::Not(Some(words)));
    }
    let Checkpoint { origin, size, .. } = &checked.checkpoint;
    if json {
        return say(json!({
            "origin": origin,
            "size": size,
            "cosigned": checked.cosigned,
            "hardware_signed": hardware.is_some(),
            "certificate": file.certificate,
            "records": as_json(&checked.records, words)?,
        }));
    }
    story(&checked.records, words)?;
    let cosigned = match checked.cosigned {
        Some(time) => format!(", which a witness cosigned at {}", moment(time.saturating_mul(1000) as i64)),
        None => ", which no witness's key was given for".to_owned(),
    };
    let hardware = if hardware.is_some() { ", which the hardware key signed" } else { "" };
    say(format!("proven: {} records stand in {origin}, of {size} records{hardware}{cosigned}", entries.len()))
}

pub(super) fn show(place: &Opened, words: &dyn Words, device_serial: String, json: bool) -> Result<(), Failed> {
    let wanted = Wanted::DeviceSerial(device_serial.clone());
    let records = select::records(&place.journal, words, &wanted)?;
    if records.is_empty() {
        return Err(untold(place, &format!("the device {device_serial}")));
    }
    if json {
        return say(json!({"device_serial": device_serial, "records": as_json(&records, words)?}));
    }
    story(&records, words)
}

/// Nothing was found: which is another thing in a journal of which not all can be read.
fn untold(place: &Opened, of_what: &str) -> Failed {
    let whole = Reader::open(&place.journal).and_then(|reader| reader.visit(|_, _, _| true)).unwrap_or_default();
    let signed = newest(&place.tlog).map_or(0, |checkpoint| checkpoint.size);
    let missing = match whole < signed {
        true => format!("; only {whole} of {signed} records are whole: run `journal verify`"),
        false => String::new(),
    };
    Failed::Not(Some(format!("no record of this journal tells of {of_what}{missing}")))
}

fn unreadable(index: u64) -> impl Fn(String) -> Failed {
    move |wrong| Failed::Not(Some(format!("record {index}: {wrong}")))
}

fn as_json(records: &[(u64, Vec<u8>)], words: &dyn Words) -> Result<Vec<Value>, Failed> {
    let one = |(index, entry): &(u64, Vec<u8>)| {
        let head = words.head(entry)?;
        Ok(json!({
            "index": index, "time": moment(head.time_ms), "issuance": head.issuance.map(|(text, _)| text),
            "type": head.kind, "words": words.sentence(entry)?, "record": words.json(entry)?,
        }))
    };
    records.iter().map(|record| one(record).map_err(unreadable(record.0))).collect()
}

fn story(records: &[(u64, Vec<u8>)], words: &dyn Words) -> Result<(), Failed> {
    let mut issuance = None;
    for (index, entry) in records {
        let head = words.head(entry).map_err(unreadable(*index))?;
        let belongs = head.issuance.map(|(text, _)| text);
        if belongs != issuance {
            if let Some(belongs) = &belongs {
                say(format!("issuance {belongs}"))?;
            }
            issuance = belongs;
        }
        let sentence = words.sentence(entry).map_err(unreadable(*index))?;
        say(format!("{index:>8}  {}  {sentence}", moment(head.time_ms)))?;
    }
    Ok(())
}

/// RFC 7468.
fn pem(certificate: &[u8]) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate))
}
