//! What is asked and answered: an input that happened, records and an act that follow.

use std::time::Duration;

use crate::{
    CertificateLocation, DeviceIdentity, DeviceSerial, Fault, IssuanceId, KeyAlgorithm, KeyLocation, Profile,
    PublicKey, Purpose, Record, ResidencyEvidence,
    names::FixtureName,
    profile::KeystoreKind,
    residency::{EndorsementPolicy, SealedCertificate, credential::Credential},
    submission::Terms,
};

/// What the rules must know besides the state.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The issuance's profile.
    pub profile: &'a Profile,
    /// The CAs that may issue under it, DER.
    pub issuers: &'a [Vec<u8>],
    /// The roots to trust, DER.
    pub roots: &'a [Vec<u8>],
    /// Which TPMs are believed, where the profile wants its key's residency attested.
    pub endorsement: Option<&'a EndorsementPolicy>,
    /// The CA that gets the request.
    pub authority: &'a str,
    /// What that CA promises.
    pub terms: Terms,
    /// The fixture at work.
    pub fixture: &'a FixtureName,
    /// What is behind it.
    pub keystore: KeystoreKind,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The device said who it is.
    Identified {
        /// Who.
        identity: DeviceIdentity,
        /// The serial under which our journal knows this hardware, if it does.
        known_as: Option<DeviceSerial>,
        /// The hardware under which our journal knows this serial, if it does, by its fingerprint.
        known_fingerprint: Option<[u8; 32]>,
    },
    /// The place of the key was looked at.
    KeySought {
        /// What is there.
        found: Option<PublicKey>,
        /// For whom our journal says that it was made.
        made: Made,
    },
    /// The key was generated.
    KeyGenerated(PublicKey),
    /// The device said where its key lives.
    EvidenceGiven(ResidencyEvidence),
    /// A TPM attested where its key lives, and released the credential that was made for it.
    Attested {
        /// What it showed.
        evidence: ResidencyEvidence,
        /// CertificationRequestInfo of the request that the key will sign, DER: what the evidence is bound to.
        request_info: Vec<u8>,
    },
    /// The key signed its request: PKCS#10, DER.
    RequestSigned(Vec<u8>),
    /// The request is about to be handed to the queue.
    Submitting,
    /// The request is about to be sent, for the first time or again.
    Sending,
    /// The send reached no CA, or one that said it did nothing.
    NotTaken {
        /// One sentence.
        message: String,
    },
    /// Nobody knows whether a CA has taken the request.
    AnswerLost {
        /// One sentence: how it was lost.
        message: String,
    },
    /// The CA sent a certificate.
    Issued {
        /// DER.
        certificate: Vec<u8>,
        /// DER, issuer first, no root.
        chain: Vec<Vec<u8>>,
    },
    /// The CA sent a certificate that only the device's TPM can release.
    Sealed(SealedCertificate),
    /// The TPM released the secret, and it opened the certificate.
    Opened {
        /// DER.
        certificate: Vec<u8>,
    },
    /// The CA refused for good.
    Refused {
        /// Stable reason.
        reason: String,
        /// One sentence.
        message: String,
    },
    /// The certificate is about to be written.
    Writing,
    /// The device took the certificate and its files are written.
    Written,
    /// What stands on the device, and what its key signed.
    ReadBack {
        /// The bytes at the certificate's place.
        certificate: Option<Vec<u8>>,
        /// What was to be signed.
        nonce: Vec<u8>,
        /// The key's signature.
        signature: Vec<u8>,
    },
    /// An act failed, for the `attempt`th time (from 1).
    Failed {
        /// How.
        fault: Fault,
        /// How often.
        attempt: u32,
    },
}

/// For whom a key was made, as the journal knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// An earlier issuance for this device under this profile.
    Here,
    /// Another device, or another profile, by this issuance.
    For(IssuanceId),
    /// Nobody: the journal does not know it.
    Unknown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look whether the key is there.
    FindKey(KeyLocation),
    /// Generate it, once the key that it replaces is removed.
    GenerateKey(KeyLocation, KeyAlgorithm, Option<PublicKey>),
    /// Ask the device where its key lives.
    ProveResidency(KeyLocation),
    /// Have the TPM show that it is that TPM, and attest where its key lives.
    Attest {
        /// Where the key is.
        location: KeyLocation,
        /// Its public half.
        public_key: PublicKey,
        /// What the request will ask for.
        purpose: Purpose,
    },
    /// Have the key sign a certification request.
    SignRequest {
        /// Where the key is.
        location: KeyLocation,
        /// Its public half.
        public_key: PublicKey,
        /// What the request asks for.
        purpose: Purpose,
    },
    /// Hand the request to the queue.
    Submit,
    /// Wait for the CA. The device may leave.
    AwaitAnswer,
    /// Have the TPM release what the CA's certificate is encrypted under, and open it.
    Activate(Credential),
    /// Write the certificate and the device's files.
    Write {
        /// Where the certificate goes.
        location: CertificateLocation,
        /// Whether its place is closed against writing then.
        locks: bool,
    },
    /// Read it back and have the key sign a nonce.
    Verify(CertificateLocation, KeyLocation),
    /// Try the same again.
    Retry {
        /// Not before this long.
        after: Duration,
    },
    /// Nothing: it is done, or waits for a person.
    Rest,
    /// Acknowledge nothing more; say why.
    Halt(String),
}

impl Action {
    /// Whether it cannot be undone, so that what was decided must be on the disk before it.
    #[must_use]
    pub fn is_irreversible(&self) -> bool {
        match self {
            // AwaitAnswer is the submission itself: the queue sends what is recorded as submitted.
            Self::GenerateKey(..) | Self::Write { .. } | Self::Rest | Self::AwaitAnswer => true,
            Self::Submit
            | Self::FindKey(_)
            | Self::ProveResidency(_)
            | Self::Attest { .. }
            | Self::SignRequest { .. }
            | Self::Activate(_)
            | Self::Verify(..)
            | Self::Retry { .. }
            | Self::Halt(_) => false,
        }
    }
}

/// What an input means: records for the journal, then an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// In this order.
    pub records: Vec<Record>,
    /// Once they are applied.
    pub action: Action,
}

/// An input that this state does not await: a mistake in the caller, not in the device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an issuance that stands in {state} does not await {input}")]
pub struct Unexpected {
    /// The state's name.
    pub state: String,
    /// The input's name.
    pub input: &'static str,
}
