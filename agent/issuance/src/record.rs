//! The records of one issuance, in the heart's own types. The journal's protobuf is made from them at the process's edge.

use crate::{
    CertificateLocation, CommonName, DeviceIdentity, DeviceSerial, Disposition, Fault, FixtureName, IssuanceId,
    KeyAlgorithm, KeyLocation, LotName, ProfileName, PublicKey, ResidencyEvidence,
    residency::{SealedCertificate, Standing},
};

/// What happened to an issuance. Each is either an intent (written and synced before the act) or an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// It was accepted.
    Requested(Box<Requested>),
    /// The device in the fixture said who it is.
    DeviceIdentified {
        /// Where.
        fixture: FixtureName,
        /// Who.
        identity: DeviceIdentity,
    },
    /// Intent: a key is about to be generated, where nothing was found, or in the place of another device's key.
    KeyGenerationStarted {
        /// Where.
        location: KeyLocation,
        /// Of which algorithm.
        algorithm: KeyAlgorithm,
        /// What is removed first.
        replaces: Option<ReplacedKey>,
    },
    /// Outcome: the device holds its key.
    KeyGenerated {
        /// Where.
        location: KeyLocation,
        /// Its public half.
        public_key: PublicKey,
        /// Whether an earlier issuance for this device had made it.
        reused: bool,
    },
    /// The station verified where the private key lives.
    ResidencyProven {
        /// What the device said.
        evidence: ResidencyEvidence,
        /// What it is worth.
        standing: Standing,
    },
    /// The device's key signed its certification request: these exact bytes are what is ever submitted.
    RequestSigned {
        /// PKCS#10, DER.
        certification_request: Vec<u8>,
    },
    /// Intent: the request is on its way to a CA.
    Submitted {
        /// The CA's name in the station's configuration.
        authority: String,
        /// Whether each send is recorded, because the CA does not answer the same request twice alike.
        sends_recorded: bool,
    },
    /// Intent: the request is being sent to a CA that makes a second certificate of the same request.
    SendStarted {
        /// The CA's name in the station's configuration.
        authority: String,
    },
    /// Outcome: that send reached no CA, or one that said it did nothing. The request waits as before.
    NotTaken {
        /// One sentence.
        message: String,
    },
    /// Nobody knows whether a CA made a certificate.
    InDoubt {
        /// One sentence: how the answer was lost.
        message: String,
    },
    /// Intent: what was in doubt goes to the queue again.
    Resubmitted {
        /// The CA's name in the station's configuration.
        authority: String,
        /// As of a submission.
        sends_recorded: bool,
        /// Who asked, as a pseudonym; empty when the configuration says so.
        claimed_by: String,
        /// The client certificate that asked; empty when the configuration says so.
        authenticated_by: String,
    },
    /// A certificate that came besides the issuance's own, or when none was awaited: recorded so that it can be revoked,
    /// and never written.
    Surplus {
        /// DER.
        certificate: Vec<u8>,
        /// DER, issuer first, no root.
        chain: Vec<Vec<u8>>,
    },
    /// The CA's answer: a certificate that only the device's TPM can release. Once it did, `Issued` follows.
    Sealed(SealedCertificate),
    /// The CA's answer: a certificate. Recorded as it came, validated before each write.
    Issued {
        /// DER.
        certificate: Vec<u8>,
        /// DER, issuer first, no root.
        chain: Vec<Vec<u8>>,
    },
    /// The CA's answer: no.
    Refused {
        /// Stable, such as `COMMON_NAME_TAKEN`.
        reason: String,
        /// One sentence.
        message: String,
    },
    /// Intent: the certificate is about to be written.
    WriteStarted {
        /// Where.
        location: CertificateLocation,
    },
    /// Outcome: the device took it, and its files are written.
    Written,
    /// Read back byte for byte, and the device's key signed a nonce that the certificate's key verifies.
    Verified(Verification),
    /// Done.
    Completed,
    /// Stopped; the same request goes on from here.
    Failed(Stop),
    /// Set aside; only a supervisor decides.
    Quarantined(Stop),
    /// A supervisor let a quarantined issuance go on: the next scan of its device does.
    Released {
        /// Who asked, as a pseudonym.
        claimed_by: String,
        /// The client certificate that asked.
        authenticated_by: String,
        /// Whether the hardware in the fixture is this device from now on.
        new_hardware: bool,
    },
    /// A supervisor ended it. What the CA may still answer is recorded, and never written to a device.
    Cancelled {
        /// Whether the device was scrapped with it: the only end that a completed issuance has.
        scrapped: bool,
        /// Why, in the supervisor's words.
        reason: String,
        /// Who asked, as a pseudonym.
        claimed_by: String,
        /// The client certificate that asked.
        authenticated_by: String,
    },
    /// The CA knows that the certificate is verified on its device, and has revoked what it supersedes.
    Confirmed {
        /// What the CA said against it, and what a person must look at; empty when nothing.
        refusal: String,
    },
    /// A device that was certified was looked at again, and held against the journal.
    DeviceChecked(Box<DeviceChecked>),
    /// A stopped issuance goes on, or a device was met again.
    Resumed {
        /// Where.
        fixture: FixtureName,
        /// Who scanned it, as a pseudonym.
        claimed_by: String,
        /// The client certificate that asked.
        authenticated_by: String,
    },
}

/// What was asked for, and under which configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The caller's own id of its request; empty when it gave none.
    pub request_id: String,
    /// The lot.
    pub lot: LotName,
    /// The device.
    pub device_serial: DeviceSerial,
    /// The profile.
    pub profile: ProfileName,
    /// The CN that was made and reserved for it.
    pub common_name: CommonName,
    /// Where the device sits.
    pub fixture: FixtureName,
    /// Who scanned it, as a pseudonym.
    pub claimed_by: String,
    /// The client certificate that asked.
    pub authenticated_by: String,
    /// The issuance that it stands in for, for the same device and profile: cancelled, or reworked.
    pub supersedes: Option<IssuanceId>,
    /// Why a supervisor had it reworked; empty when nobody did.
    pub reason: String,
    /// Whether a supervisor said that other hardware is this device from now on.
    pub new_hardware: bool,
    /// The first issuance of that row, or this one: the key is named after it, so that a later issuance finds it again.
    pub lineage: IssuanceId,
    /// What the auditor will ask of the place.
    pub provenance: Provenance,
}

/// A key that the journal knows as another device's, on hardware that is this device from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedKey {
    /// Its public half: nothing else is removed.
    pub public_key: PublicKey,
    /// The issuance that it was made for.
    pub issuance: IssuanceId,
}

/// Where, with which software and under which configuration an issuance was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The site.
    pub site: String,
    /// The line.
    pub line: String,
    /// The station.
    pub station: String,
    /// The part revision, when the configuration names one.
    pub part_revision: String,
    /// Version of the station's software.
    pub software_version: String,
    /// SHA-256 of the configuration file.
    pub configuration_sha256: [u8; 32],
    /// SHA-256 of the profile as the station understood it.
    pub profile_sha256: [u8; 32],
}

/// What was verified on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// SHA-256 of the bytes that were read from the device.
    pub certificate_sha256: [u8; 32],
    /// What the device's key signed.
    pub nonce: Vec<u8>,
    /// Its signature.
    pub signature: Vec<u8>,
}

/// What was found of a certificate on its device, and who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChecked {
    /// Where.
    pub fixture: FixtureName,
    /// What did not hold; empty when all of it did.
    pub refuted: Vec<Refuted>,
    /// SHA-256 of the bytes that were read from the device; `None` when none stand there.
    pub certificate_sha256: Option<[u8; 32]>,
    /// What the device's key was to sign.
    pub nonce: Vec<u8>,
    /// Its signature; empty when there is none.
    pub signature: Vec<u8>,
    /// Who asked, as a pseudonym.
    pub claimed_by: String,
    /// The client certificate that asked.
    pub authenticated_by: String,
    /// Whether it was the check with the golden device that starts a shift.
    pub golden: bool,
}

/// Something that was asked of a device and does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuted {
    /// Stable: the question's name, such as `CERTIFICATE`.
    pub question: String,
    /// Stable: the fault's reason, such as `MISMATCH`.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// Why an issuance stopped, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Stable, such as `DEVICE_ABSENT`.
    pub reason: String,
    /// One sentence: what was being done and what went wrong.
    pub message: String,
    /// One sentence for the operator: what to do next.
    pub next_action: String,
}

impl Stop {
    /// What a fault stops with.
    #[must_use]
    pub fn of(fault: &Fault) -> Self {
        // Words do not depend on the attempt: only whether to try again does.
        let next_action = match fault.kind.disposition(u32::MAX) {
            Disposition::AskOperator(words) | Disposition::Quarantine(words) | Disposition::HaltStation(words) => words,
            Disposition::Retry { .. } => "Scan the device again.",
        };
        Self { reason: fault.kind.reason().to_owned(), message: shortened(fault), next_action: next_action.to_owned() }
    }
}

impl Stop {
    /// The same stop, once a supervisor let the issuance go on.
    #[must_use]
    pub fn released(self) -> Self {
        Self {
            next_action: "A supervisor let it go on: put the device in a fixture and scan it again.".to_owned(),
            ..self
        }
    }
}

/// A record has at most 65,535 bytes, and what a library or a CA says of a fault has no bound: a screenful is kept.
pub(crate) fn shortened(fault: &Fault) -> String {
    shortened_words(&fault.to_string())
}

pub(crate) fn shortened_words(message: &str) -> String {
    const CHARACTERS_MOST: usize = 2000;
    match message.char_indices().nth(CHARACTERS_MOST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
