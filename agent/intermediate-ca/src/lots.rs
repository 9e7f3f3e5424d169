//! Lots at the CA: how many devices may have a certificate under a profile, which ones, and on whose word.
//!
//! A lot that a brand owner signed for ([`authorisation`]) is changed by the brand owner's next signature alone; one that
//! nobody signed for, by a supervisor. What a lot still covers is decided where names are ([`crate::register`]), so that a
//! device's name and its place in the lot are taken in one act.

pub(crate) mod authorisation;
pub(crate) mod client;
pub(crate) mod grpc;
pub(crate) mod jws;
pub(crate) mod report;
pub(crate) mod rows;

use std::sync::Arc;

use issuance::{DeviceSerial, IssuanceId, LotName, ProfileName, PublicKey, Timestamp};

use crate::revocation::RevocationReason;
use authorisation::Authorisation;

/// A label on a million devices is the largest work order that anybody could mean.
pub(crate) const QUANTITY_MAX: u32 = 10_000_000;

/// What the CA asks of lots: `[lots]` of its configuration.
#[derive(Debug, Clone)]
pub struct LotSettings {
    /// Whether the CA refuses what no open lot of its own covers.
    pub required: bool,
    /// Whether a lot may be opened without a brand owner's signature.
    pub unsigned: bool,
    /// The brand owners' keys, P-256.
    pub brand_owners: Vec<PublicKey>,
}

impl Default for LotSettings {
    fn default() -> Self {
        Self { required: false, unsigned: true, brand_owners: Vec::new() }
    }
}

/// A lot as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    /// Its name.
    pub lot: LotName,
    /// The profile of its devices.
    pub profile: ProfileName,
    /// How many devices.
    pub quantity: u32,
    /// How many have their place.
    pub used: u32,
    /// Whether further devices are covered.
    pub open: bool,
    /// When it was opened.
    pub opened: Timestamp,
    /// What the brand owner signed.
    pub signature: Option<LotSignature>,
}

/// What a brand owner signed, without the list of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LotSignature {
    /// The authorisation's id.
    pub jti: String,
    /// SHA-256 of the brand owner's SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    /// How many device serials it lists; 0 with a pattern.
    pub device_serials: u32,
    /// Which device serials it covers; empty when it lists them.
    pub pattern: String,
    /// Nothing is issued before; seconds since 1970.
    pub not_before: i64,
    /// Nothing new is issued from then on; seconds since 1970.
    pub expires: i64,
}

/// What is to become of a lot.
#[derive(Debug)]
pub(crate) enum LotWord {
    Open {
        lot: LotName,
        profile: ProfileName,
        quantity: u32,
    },
    Authorise(Box<Authorisation>),
    Close {
        lot: LotName,
    },
    Amend {
        lot: LotName,
        quantity: u32,
        reason: String,
    },
    Scrap {
        lot: LotName,
        device_serial: DeviceSerial,
        reason: String,
        /// The one station whose devices may be scrapped with this word; `None`: anybody's.
        brought_by: Option<String>,
    },
    Report {
        lot: LotName,
        payload_sha256: [u8; 32],
    },
}

/// A word on a lot, and whose it is.
#[derive(Debug)]
pub(crate) struct LotSaid {
    pub(crate) word: LotWord,
    /// A pseudonym; may be empty.
    pub(crate) claimed_by: String,
    /// The client certificate.
    pub(crate) authenticated_by: Arc<str>,
}

/// What is asked of lots without changing them.
#[derive(Debug)]
pub(crate) enum LotQuestion {
    One(LotName),
    /// Newest first, opened before this index.
    Page {
        before: Option<u64>,
        limit: usize,
    },
    /// The certificates under a lot that were planned after this index, oldest first.
    Certificates {
        lot: LotName,
        after: Option<u64>,
        limit: usize,
    },
}

/// The answers, each to its question.
#[derive(Debug)]
pub(crate) enum LotAnswer {
    One(Option<Lot>),
    Page(Vec<(u64, Lot)>),
    Certificates(Vec<(u64, LotCertificate)>),
}

/// A certificate that was issued under a lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LotCertificate {
    pub(crate) device_serial: String,
    pub(crate) issuance: IssuanceId,
    pub(crate) generation: u32,
    /// Lower-case hexadecimal.
    pub(crate) certificate_serial: String,
    /// SHA-256 of the certificate's DER; `None` while it is planned and not signed.
    pub(crate) sha256: Option<[u8; 32]>,
    /// Why it is revoked, once it is.
    pub(crate) revoked: Option<RevocationReason>,
    pub(crate) scrapped: bool,
    pub(crate) superseded_by: Option<IssuanceId>,
}

/// Why a word on a lot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LotRefused {
    /// What kind of mistake it is.
    pub kind: LotRefusedKind,
    /// Stable, for programs.
    pub reason: &'static str,
    /// One sentence: what was wrong, what to do.
    pub message: String,
}

/// Kinds of refusals: each is one gRPC status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LotRefusedKind {
    /// What was sent can never be right.
    Invalid,
    /// It is not signed by whom it must be.
    Denied,
    /// There is no such lot or device.
    NotFound,
    /// Something else stands there.
    Exists,
    /// Not as the lot stands.
    Precondition,
    /// The clock is wrong.
    NotNow,
}

impl LotRefused {
    pub(crate) fn new(kind: LotRefusedKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into() }
    }

    pub(crate) fn unknown(lot: &LotName) -> Self {
        Self::new(LotRefusedKind::NotFound, "LOT_UNKNOWN", format!("there is no lot {lot}: open it first"))
    }
}
