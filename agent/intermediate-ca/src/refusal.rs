//! Why a request is refused for good: a stable reason for programs, and a sentence for people.

use std::{error::Error, fmt};

/// A refusal for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// One sentence: which field, what was wrong, what to do.
    pub message: String,
}

/// The reasons, stable for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The issuance's id is no UUID.
    InvalidIssuance,
    /// The device serial breaks its rules.
    InvalidDeviceSerial,
    /// The lot's name breaks its rules.
    InvalidLot,
    /// The profile is not one of this CA's.
    UnknownProfile,
    /// The caller may not use the profile.
    ProfileNotAllowed,
    /// Not a PKCS#10 that is accepted, or its possession of the key is not proven.
    InvalidRequest,
    /// The key's algorithm or encoding is not accepted under the profile.
    KeyNotAccepted,
    /// The request asks for extensions that the profile does not give.
    ExtensionsContradictProfile,
    /// The CN is not accepted under the profile, or is a CA's.
    CommonNameNotAccepted,
    /// The CN was given to another issuance.
    CommonNameTaken,
    /// The profile asks for a TPM's proof that the key lives in it, and there is none that holds.
    ResidencyUnproven,
    /// The key belongs to another device or profile.
    KeyTaken,
    /// The issuance's id was used for another request.
    AlreadyExists,
    /// What would be signed is not what the profile says.
    LintFailed,
    /// The issuance's certificate was revoked.
    Revoked,
    /// The CA issues under lots only, and none is named.
    LotRequired,
    /// The CA has no such lot.
    LotUnknown,
    /// The lot is closed.
    LotClosed,
    /// Every place of the lot is taken.
    LotUsedUp,
    /// The lot is for another profile.
    LotOtherProfile,
    /// What the brand owner signed does not cover this device.
    LotNotForDevice,
    /// What the brand owner signed does not hold yet.
    LotNotYetValid,
    /// What the brand owner signed holds no longer.
    LotExpired,
    /// The device was scrapped out of the lot.
    DeviceScrapped,
    /// The device has its place in the lot and a certificate there, which the request does not supersede.
    DeviceAlreadyIssued,
    /// What is to be superseded belongs to another device or profile.
    SupersedesOther,
    /// What is to be superseded was superseded by another issuance.
    AlreadySuperseded,
    /// What is confirmed is not what was issued.
    ConfirmationMismatch,
    /// What would be recorded is too long, or contradicts itself.
    Unrecordable,
}

impl Reason {
    /// As it stands in answers and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidIssuance => "INVALID_ISSUANCE",
            Self::InvalidDeviceSerial => "INVALID_DEVICE_SERIAL",
            Self::InvalidLot => "INVALID_LOT",
            Self::UnknownProfile => "UNKNOWN_PROFILE",
            Self::ProfileNotAllowed => "PROFILE_NOT_ALLOWED",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::KeyNotAccepted => "KEY_NOT_ACCEPTED",
            Self::ExtensionsContradictProfile => "EXTENSIONS_CONTRADICT_PROFILE",
            Self::CommonNameNotAccepted => "COMMON_NAME_NOT_ACCEPTED",
            Self::CommonNameTaken => "COMMON_NAME_TAKEN",
            Self::ResidencyUnproven => "RESIDENCY_UNPROVEN",
            Self::KeyTaken => "KEY_TAKEN",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::LintFailed => "LINT_FAILED",
            Self::Revoked => "REVOKED",
            Self::LotRequired => "LOT_REQUIRED",
            Self::LotUnknown => "LOT_UNKNOWN",
            Self::LotClosed => "LOT_CLOSED",
            Self::LotUsedUp => "LOT_USED_UP",
            Self::LotOtherProfile => "LOT_OTHER_PROFILE",
            Self::LotNotForDevice => "LOT_NOT_FOR_DEVICE",
            Self::LotNotYetValid => "LOT_NOT_YET_VALID",
            Self::LotExpired => "LOT_EXPIRED",
            Self::DeviceScrapped => "DEVICE_SCRAPPED",
            Self::DeviceAlreadyIssued => "DEVICE_ALREADY_ISSUED",
            Self::SupersedesOther => "SUPERSEDES_OTHER",
            Self::AlreadySuperseded => "ALREADY_SUPERSEDED",
            Self::ConfirmationMismatch => "CONFIRMATION_MISMATCH",
            Self::Unrecordable => "UNRECORDABLE",
        }
    }
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        /// A request can make a message long (a name or an object identifier of many KiB); a record is at most 65,535
        /// bytes. Four octets each leave room to spare.
        const CHARACTERS_MAX: usize = 1_000;
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(CHARACTERS_MAX) {
            message.truncate(end);
            message.push('…');
        }
        Self { reason, message }
    }

    /// With an error's message and its causes.
    pub(crate) fn because(reason: Reason, error: &dyn Error) -> Self {
        Self::new(reason, service::in_full(error))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}
