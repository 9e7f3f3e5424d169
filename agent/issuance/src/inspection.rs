//! A device that was certified, looked at again: what stands on it now, held against what the journal says of it.

#[cfg(test)]
mod tests;

use crate::{
    Context, DeviceSerial, Fault, FaultKind, Issuance, PublicKey, State, Timestamp,
    certificate::{certificate_serial, public_key},
    public_key::sha256,
    record::{Refuted, shortened},
    state::{IssuedCertificate, PlacedCertificate},
};

/// What is asked of a device. Each question is answered by itself, so that a person sees all that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether it is the device that the journal knows under its serial.
    Device,
    /// Whether an issuance for it is completed, and nothing stands in for it.
    Issuance,
    /// Whether its key stands where it was made.
    Key,
    /// Whether the certificate stands where it was written, byte for byte.
    Certificate,
    /// Whether what was read passes validation: key, name, purpose, validity, path to a trusted root.
    Path,
    /// Whether the key in what was read is the key on the device.
    PublicKey,
    /// Whether the device's key signs, so that the key in what was read verifies it.
    Signature,
}

impl Question {
    /// Stable name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "DEVICE",
            Self::Issuance => "ISSUANCE",
            Self::Key => "KEY",
            Self::Certificate => "CERTIFICATE",
            Self::Path => "PATH",
            Self::PublicKey => "PUBLIC_KEY",
            Self::Signature => "SIGNATURE",
        }
    }
}

/// An answer: a sentence that says what holds, or what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was asked.
    pub question: Question,
    /// What came of it.
    pub outcome: Result<String, Fault>,
}

impl Check {
    /// An answer to a question.
    #[must_use]
    pub fn new(question: Question, outcome: Result<String, Fault>) -> Self {
        Self { question, outcome }
    }

    /// For the record, when it does not hold.
    #[must_use]
    pub fn refuted(&self) -> Option<Refuted> {
        let fault = self.outcome.as_ref().err()?;
        Some(Refuted {
            question: self.question.as_str().to_owned(),
            reason: fault.kind.reason().to_owned(),
            message: shortened(fault),
        })
    }
}

/// What a device showed where one of its certificates should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The key at the key's place.
    pub key: Option<PublicKey>,
    /// The bytes at the certificate's place.
    pub certificate: Option<Vec<u8>>,
    /// What its key was to sign, made for this look.
    pub nonce: Vec<u8>,
    /// What it made of it; `None` where no key stands.
    pub signature: Option<Vec<u8>>,
}

impl Shown {
    /// SHA-256 of the bytes at the certificate's place.
    #[must_use]
    pub fn certificate_sha256(&self) -> Option<[u8; 32]> {
        self.certificate.as_deref().map(sha256)
    }
}

/// Whether this is the device that is meant. `known_as` is the serial of this hardware in the journal; `meant`, what
/// somebody says it is, with whether the journal knows that serial with other hardware.
pub fn device(known_as: Option<DeviceSerial>, meant: Option<(&DeviceSerial, bool)>) -> Result<DeviceSerial, Fault> {
    match (known_as, meant) {
        (Some(known), Some((meant, _))) if known != *meant => {
            Err(Fault::new(FaultKind::NotSameDevice, format!("this device is {known}, and not {meant}")))
        }
        (Some(known), _) => Ok(known),
        (None, Some((meant, true))) => {
            Err(Fault::new(FaultKind::NotSameDevice, format!("{meant} has other hardware than this device")))
        }
        (None, _) => {
            let words =
                "the journal does not know this device: it was certified at another station, or its TPM was cleared";
            Err(Fault::new(FaultKind::NotFound, words))
        }
    }
}

/// Of the issuances for one device and profile, newest first: the one whose certificate stands on the device, and whether
/// that is the last word.
///
/// # Errors
/// In words, why there is none; with the issuance that is on its way.
pub fn completed(issuances: &[Issuance]) -> (Option<&Issuance>, Result<String, Fault>) {
    let is_completed = |issuance: &&Issuance| matches!(issuance.state, State::Completed(..));
    let profile = issuances.first().map_or_else(String::new, |newest| newest.request.profile.to_string());
    let Some(at) = issuances.iter().position(|issuance| is_completed(&issuance)) else {
        let told = match issuances.first() {
            Some(newest) => {
                format!("no issuance under {profile} is completed: {} stands in {}", newest.id, newest.state)
            }
            None => "there is no issuance for it".to_owned(),
        };
        return (None, Err(Fault::new(FaultKind::NotFound, told)));
    };
    let (newer, from) = issuances.split_at(at);
    let found = from.first();
    let outcome = match newer.iter().find(|issuance| !matches!(issuance.state, State::Cancelled(..))) {
        Some(newer) => Err(Fault::new(
            FaultKind::Mismatch,
            format!("its certificate under {profile} is being superseded: {} stands in {}", newer.id, newer.state),
        )),
        None => Ok(format!("its issuance under {profile} is completed, and nothing supersedes it")),
    };
    (found, outcome)
}

impl Issuance {
    /// Holds what the device showed against this completed issuance. `superseded`: the certificates that it stands in for.
    #[must_use]
    pub fn inspect(&self, shown: &Shown, superseded: &[Vec<u8>], context: Context<'_>, now: Timestamp) -> Vec<Check> {
        let State::Completed(PlacedCertificate { issued, location }, _) = &self.state else { return Vec::new() };
        let mut checks = Vec::new();
        let made = &issued.key;
        checks.push(Check::new(
            Question::Key,
            match &shown.key {
                Some(found) if *found == made.public_key => {
                    Ok(format!("the key that it generated stands at {}", made.location))
                }
                Some(_) => Err(Fault::new(FaultKind::Mismatch, format!("another key stands at {}", made.location))),
                None => Err(Fault::new(FaultKind::NotFound, format!("no key stands at {}", made.location))),
            },
        ));
        let others: Vec<(&[u8], &str)> = (superseded.iter().map(|der| (der.as_slice(), "was superseded")))
            .chain(self.surplus.iter().map(|der| (der.as_slice(), "the CA made besides its own")))
            .collect();
        let stands = certificate(issued, shown.certificate.as_deref(), &others);
        checks.push(Check::new(
            Question::Certificate,
            stands.map(|der| {
                let serial = certificate_serial(der).unwrap_or_default();
                format!("the certificate with the serial {serial} stands at {location}, byte for byte")
            }),
        ));
        let Some(read) = shown.certificate.as_deref() else { return checks };
        let valid = self.validate(read, &issued.chain, &made.public_key, context, now);
        checks.push(Check::new(
            Question::Path,
            match valid {
                Ok(_) => {
                    Ok("what was read is for this key and name, valid now, and leads to a trusted root".to_owned())
                }
                Err(Fault { kind, cause, .. }) => {
                    Err(Fault { kind, cause, act: "what was read does not pass".to_owned() })
                }
            },
        ));
        let Some(found) = &shown.key else { return checks };
        checks.push(Check::new(
            Question::PublicKey,
            match public_key(read) {
                Some(certified) if certified == *found => Ok("the certificate is for the key on the device".to_owned()),
                Some(_) => Err(Fault::new(FaultKind::Mismatch, "the certificate is for another key than the device's")),
                None => Err(Fault::new(FaultKind::Mismatch, "the key of what was read cannot be read")),
            },
        ));
        let signed = signature(read, &shown.nonce, shown.signature.as_deref().unwrap_or_default());
        checks.push(Check::new(
            Question::Signature,
            signed.map(|()| "the device's key signed a fresh nonce, and the certificate's key verifies it".to_owned()),
        ));
        checks
    }
}

/// The bytes that stand on the device, when they are those that were issued. `others`: certificates that may stand there
/// instead, each with what it is.
pub(crate) fn certificate<'a>(
    issued: &IssuedCertificate,
    read: Option<&'a [u8]>,
    others: &[(&[u8], &str)],
) -> Result<&'a [u8], Fault> {
    let Some(read) = read else {
        return Err(Fault::new(FaultKind::NotFound, "no certificate stands where it was written"));
    };
    if read == issued.certificate {
        return Ok(read);
    }
    let act = "the certificate reads back with other bytes";
    Err(match (others.iter().find(|(other, _)| *other == read), certificate_serial(read)) {
        (Some((_, what)), serial) => {
            let words = format!("it is the one with the serial {} that {what}", serial.unwrap_or_default());
            Fault::caused(FaultKind::Mismatch, act, words)
        }
        (None, Some(serial)) => Fault::caused(FaultKind::Mismatch, act, format!("they have the serial {serial}")),
        (None, None) => Fault::caused(FaultKind::Mismatch, act, "they are no certificate"),
    })
}

/// Whether the key of the certificate that was read verifies what the device's key made of the nonce.
pub(crate) fn signature(read: &[u8], nonce: &[u8], signature: &[u8]) -> Result<(), Fault> {
    let Some(certified) = public_key(read) else {
        return Err(Fault::new(FaultKind::Mismatch, "the certificate's key cannot be read"));
    };
    if certified.verifies(nonce, signature) {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Mismatch, "its key did not sign what the certificate's key verifies"))
}
