//! `verify`: what was altered, for a person or as JSON.

use std::path::Path;

use serde_json::{Value, json};

use super::{Failed, Opened, bar, moment, not, say};
use crate::{
    Finding, Verification, VerifyOptions, VerifyingKey,
    audit::bounded::{self, NOTE_MOST},
    hex, verify,
};

pub(super) fn run(place: &Opened, kept: Option<&Path>, tiles: bool, json: bool) -> Result<(), Failed> {
    let key = place.key()?;
    let kept = kept.map(|path| bounded::read_text(path, NOTE_MOST)).transpose();
    let options = VerifyOptions {
        journal: place.journal.clone(),
        tlog: place.tlog.clone(),
        key: key.clone(),
        hardware: place.hardware.clone(),
        witness: place.witness.clone(),
        kept: kept.map_err(|error| Failed::Usage(format!("could not read the kept checkpoint: {error}")))?,
        tiles,
    };
    let bar = bar(0, json);
    let verified = verify(&options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let found = verified.map_err(|error| not(&error))?;
    if json {
        say(as_json(&found))?
    } else {
        tell(&found, key)?
    }
    if found.is_unaltered() { Ok(()) } else { Err(Failed::Not(None)) }
}

fn as_json(found: &Verification) -> Value {
    let list = |findings: &[Finding]| {
        let one = |finding: &Finding| json!({"file": finding.path, "record": finding.record, "wrong": finding.wrong});
        findings.iter().map(one).collect::<Vec<_>>()
    };
    json!({
        "unaltered": found.is_unaltered(),
        "records": found.records,
        "covered": found.covered,
        "root": found.root.map(hex),
        "hardware_signed": found.hardware,
        "cosigned": found.cosigned.map(|(records, time)| json!({"records": records, "time": time})),
        "tiles": found.tiles,
        "findings": list(&found.findings),
        "remarks": list(&found.remarks),
    })
}

fn tell(found: &Verification, key: &VerifyingKey) -> Result<(), Failed> {
    for finding in &found.findings {
        say(format!("ALTERED  {finding}"))?;
    }
    for remark in &found.remarks {
        say(format!("remark   {remark}"))?;
    }
    let covered = format!("{} records are covered by the checkpoint of {}", found.covered, key.name());
    let cosigned = match found.cosigned {
        Some((records, time)) => {
            format!("; a witness cosigned {records} at {}", moment(time.saturating_mul(1000) as i64))
        }
        None => String::new(),
    };
    let hardware = found.hardware.map_or_else(String::new, |records| format!("; the hardware key signed {records}"));
    match found.findings.first() {
        None => say(format!("unaltered: {covered}{hardware}{cosigned}")),
        Some(first) => {
            let first = first.record.map_or_else(String::new, |record| format!(", the first at record {record}"));
            say(format!("ALTERED: {} findings{first}", found.findings.len()))
        }
    }
}
