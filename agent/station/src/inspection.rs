//! Looks at a device that was certified, and holds what stands on it against the journal.

use issuance::{
    DeviceSerial, Fault, FixtureName, Issuance, IssuanceId, Keystore, Record, State,
    inspection::{self, Check, Question, Shown},
    profile::KeystoreKind,
    record::DeviceChecked,
};

use crate::{
    attest,
    ledger::{Ledger, LedgerRefused},
    records::GoldenCheckFailed,
};

/// Who wants which device looked at.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where it sits.
    pub fixture: FixtureName,
    /// What is behind that fixture.
    pub keystore: KeystoreKind,
    /// Which device it should be; `None`: whichever is there.
    pub device_serial: Option<DeviceSerial>,
    /// Who asked, as a pseudonym.
    pub claimed_by: String,
    /// The client certificate that asked.
    pub authenticated_by: String,
    /// Whether it is the golden device, whose check starts a shift.
    pub golden: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Inspection {
    /// As which the journal knows this hardware.
    pub device_serial: Option<DeviceSerial>,
    /// The fingerprint of the hardware; `None` when it did not say who it is.
    pub hardware: Option<[u8; 32]>,
    /// What was asked and answered: of the device, then of each profile's issuance.
    pub checks: Vec<(Option<IssuanceId>, Check)>,
}

impl Inspection {
    /// Whether all of it holds.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(_, check)| check.outcome.is_ok())
    }

    fn answer(&mut self, question: Question, outcome: Result<String, Fault>) {
        self.checks.push((None, Check::new(question, outcome)));
    }
}

/// Asks the device all that can be asked of it, and records what came of it with each completed issuance; of a golden device
/// that comes to none, by itself.
///
/// # Errors
/// What keeps the ledger from answering or recording. What does not hold is an answer.
pub fn inspect(keystore: &mut impl Keystore, ledger: &Ledger, asked: &Asked) -> Result<Inspection, LedgerRefused> {
    let mut found = Inspection::default();
    let records = ask(keystore, ledger, asked, &mut found)?;
    let verified = found.is_verified();
    if records.is_empty() && asked.golden {
        ledger.golden_check_failed(golden_failed(asked, &found))?.wait()?;
    }
    for (id, mut record) in records {
        // A golden device is one device: what holds of a part of it says nothing of the station.
        record.golden = asked.golden && record.refuted.is_empty() == verified;
        ledger.checked(id, Record::DeviceChecked(Box::new(record)))?.wait()?;
    }
    Ok(found)
}

fn golden_failed(asked: &Asked, found: &Inspection) -> GoldenCheckFailed {
    GoldenCheckFailed {
        fixture: asked.fixture.clone(),
        device_serial: asked.device_serial.clone(),
        known_as: found.device_serial.clone(),
        hardware: found.hardware,
        refuted: found.checks.iter().filter_map(|(_, check)| check.refuted()).collect(),
        claimed_by: asked.claimed_by.clone(),
        authenticated_by: asked.authenticated_by.clone(),
    }
}

/// What is to be recorded of each completed issuance.
type ToRecord = Vec<(IssuanceId, DeviceChecked)>;

fn ask(
    keystore: &mut impl Keystore,
    ledger: &Ledger,
    asked: &Asked,
    found: &mut Inspection,
) -> Result<ToRecord, LedgerRefused> {
    let identity = match keystore.identify() {
        Ok(identity) => identity,
        Err(fault) => {
            found.answer(Question::Device, Err(fault));
            return Ok(ToRecord::new());
        }
    };
    found.hardware = Some(identity.fingerprint());
    found.device_serial = ledger.known_as(&identity)?;
    let meant = match &asked.device_serial {
        Some(serial) => Some((serial, ledger.known_device(serial, &identity)?.1.is_some())),
        None => None,
    };
    let serial = match inspection::device(found.device_serial.clone(), meant) {
        Ok(serial) => serial,
        Err(fault) => {
            found.answer(Question::Device, Err(fault));
            return Ok(ToRecord::new());
        }
    };
    found.answer(Question::Device, Ok(format!("the device in {} is {serial}", asked.fixture)));
    let issuances = ledger.issuances_of(&serial)?;
    let mut profiles: Vec<Vec<Issuance>> = Vec::new();
    for issuance in issuances {
        match profiles.iter_mut().find(|rows| rows.iter().all(|row| row.request.profile == issuance.request.profile)) {
            Some(row) => row.push(issuance),
            None => profiles.push(vec![issuance]),
        }
    }
    let mut records = ToRecord::new();
    for row in &profiles {
        let (completed, outcome) = inspection::completed(row);
        let mut checks = vec![Check::new(Question::Issuance, outcome)];
        if let Some(completed) = completed {
            let (record, answers) = inspect_one(keystore, ledger, asked, completed, checks[0].refuted())?;
            records.push((completed.id, record));
            checks.extend(answers);
        }
        let whose = completed.or(row.first()).map(|issuance| issuance.id);
        found.checks.extend(checks.into_iter().map(|check| (whose, check)));
    }
    Ok(records)
}

/// One completed issuance, and what is to be recorded of it; `superseded` is what was wrong with it before its device was asked.
fn inspect_one(
    keystore: &mut impl Keystore,
    ledger: &Ledger,
    asked: &Asked,
    issuance: &Issuance,
    superseded: Option<issuance::record::Refuted>,
) -> Result<(DeviceChecked, Vec<Check>), LedgerRefused> {
    let (shown, checks) = match look(keystore, issuance) {
        Ok(shown) => {
            let checks = ledger.inspect(issuance, &shown, &asked.fixture, asked.keystore)?;
            (Some(shown), checks)
        }
        Err((question, fault)) => (None, vec![Check::new(question, Err(fault))]),
    };
    let refuted = superseded.into_iter().chain(checks.iter().filter_map(Check::refuted)).collect();
    let certificate_sha256 = shown.as_ref().and_then(Shown::certificate_sha256);
    let (nonce, signature) = shown.map_or_else(Default::default, |shown| (shown.nonce, shown.signature));
    let checked = DeviceChecked {
        fixture: asked.fixture.clone(),
        refuted,
        certificate_sha256,
        nonce,
        signature: signature.unwrap_or_default(),
        claimed_by: asked.claimed_by.clone(),
        authenticated_by: asked.authenticated_by.clone(),
        golden: false,
    };
    Ok((checked, checks))
}

/// Reads what stands at the issuance's places, and has its key sign. What fails names the question it would answer.
fn look(keystore: &mut impl Keystore, issuance: &Issuance) -> Result<Shown, (Question, Fault)> {
    let State::Completed(placed, _) = &issuance.state else {
        let fault = Fault::new(issuance::FaultKind::NotFound, "the issuance is not completed");
        return Err((Question::Issuance, fault));
    };
    let place = &placed.issued.key.location;
    let key = keystore.find_key(place).map_err(|fault| (Question::Key, fault))?;
    let read = keystore.read_certificate(&placed.location).map_err(|fault| (Question::Certificate, fault))?;
    // The device's signature over it was not made before.
    let nonce = attest::random().map_err(|fault| (Question::Signature, fault))?.to_vec();
    let signature = match key {
        Some(_) => {
            let signed = keystore.sign(place, std::slice::from_ref(&nonce));
            signed.map_err(|fault| (Question::Signature, fault))?.into_iter().next()
        }
        None => None,
    };
    Ok(Shown { key, certificate: read, nonce, signature })
}

#[cfg(test)]
mod tests;
