//! Revocation: which certificates, for which reason, and what is answered.

use std::fmt;

use issuance::{DeviceSerial, IssuanceId, ProfileName, Timestamp, certificate::serial_octets, public_key::hex};

/// Why a certificate is revoked: the reasons of RFC 5280 §5.3.1 that end a device's certificate for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevocationReason {
    /// No reason given; the CRL then says none.
    Unspecified,
    /// The private key is in other hands, or may be.
    KeyCompromise,
    /// As `KeyCompromise`, for a device that is a CA.
    CaCompromise,
    /// The subject's names are no longer right.
    AffiliationChanged,
    /// Another certificate took its place, as in rework.
    Superseded,
    /// The device is no longer in use, as when it was scrapped.
    CessationOfOperation,
    /// The device may no longer do what the certificate lets it.
    PrivilegeWithdrawn,
}

/// The word is no reason for which this CA revokes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownReason {
    /// No reason of RFC 5280 §5.3.1.
    #[error(
        "{0:?} is no reason: give one of unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, \
         cessationOfOperation, privilegeWithdrawn (RFC 5280 §5.3.1)"
    )]
    Word(String),
    /// One of RFC 5280's that would not be for good, or is not for public-key certificates.
    #[error("{0} is not for this CA: its revocations are for good, and of devices' certificates; give another reason")]
    NotForDevices(&'static str),
}

impl RevocationReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// As RFC 5280 §5.3.1 spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    /// Parses RFC 5280's word, in any case.
    ///
    /// # Errors
    /// A word that is none, or one for which this CA does not revoke.
    pub fn parse(text: &str) -> Result<Self, UnknownReason> {
        if let Some(reason) = Self::ALL.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(text)) {
            return Ok(reason);
        }
        let other = ["certificateHold", "removeFromCRL", "aACompromise"];
        match other.into_iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Err(UnknownReason::NotForDevices(word)),
            None => Err(UnknownReason::Word(text.chars().take(64).collect())),
        }
    }

    /// CRLReason's number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be revoked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which certificates.
    pub target: Target,
    /// Why.
    pub reason: RevocationReason,
}

/// Which certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one with this certificate serial, as its octets.
    Certificate(Vec<u8>),
    /// The one of this issuance.
    Issuance(IssuanceId),
    /// Every one that was ever given to a device, or those under one profile. What was planned and not yet signed is
    /// among them, and will not be signed.
    Device {
        /// The device.
        serial: DeviceSerial,
        /// Under this profile only.
        profile: Option<ProfileName>,
    },
}

impl Target {
    /// Parses a certificate serial as programs print it: hexadecimal, colons, `0x` and leading zeros allowed.
    ///
    /// # Errors
    /// Says what was wrong.
    pub fn certificate(text: &str) -> Result<Self, &'static str> {
        serial_octets(text).map(Self::Certificate)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(serial) => write!(f, "the certificate serial {}", hex(serial)),
            Self::Issuance(issuance) => write!(f, "the issuance {issuance}"),
            Self::Device { serial, profile: None } => write!(f, "the device {serial}"),
            Self::Device { serial, profile: Some(profile) } => {
                write!(f, "the device {serial} under the profile {profile}")
            }
        }
    }
}

/// A certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Whose CRL lists it.
    pub issuer: String,
    /// Its serial.
    pub certificate_serial: Vec<u8>,
    /// The issuance that it came from.
    pub issuance: IssuanceId,
    /// The device that has it.
    pub device_serial: String,
    /// The profile under which it was issued.
    pub profile: String,
    /// Why.
    pub reason: RevocationReason,
    /// Since when.
    pub at: Timestamp,
    /// The client certificate of who asked for it.
    pub by: String,
    /// Whether an earlier call had revoked it.
    pub before: bool,
}

/// Why nothing was revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRevoked {
    /// There is no such certificate.
    #[error("this CA issued nothing for {0}: check it, or ask the CA that issued the certificate")]
    Unknown(Target),
    /// It is revoked for another reason, and what is recorded stays.
    #[error(
        "{target} was revoked for {recorded} already, and that stands: ask again with that reason, or leave it as it is"
    )]
    OtherReason {
        /// What was asked for.
        target: Target,
        /// The first revocation's.
        recorded: RevocationReason,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each reason is found by its word and by its number; those that are not for devices say so.
    #[test]
    fn reasons_are_rfc_5280s() {
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::parse(&reason.as_str().to_uppercase()), Ok(reason));
            assert_eq!(RevocationReason::from_code(reason.code()), Some(reason));
        }
        for (word, expected) in
            [("certificateHold", "for good"), ("removefromcrl", "for good"), ("7", "give one of"), ("", "give one of")]
        {
            let error = RevocationReason::parse(word).unwrap_err().to_string();
            assert!(error.contains(expected), "{word}: {error}");
        }
        assert_eq!((RevocationReason::from_code(6), RevocationReason::from_code(7)), (None, None));
    }

    /// A certificate serial is read as OpenSSL, browsers and people write it, and nothing else is.
    #[test]
    fn certificate_serials_are_read_as_they_are_printed() {
        for text in ["0A0bff", "0a:0b:ff", "0x0a0bff", "00:0a:0b:ff", "a0bff"] {
            assert_eq!(Target::certificate(text), Ok(Target::Certificate(vec![0x0a, 0x0b, 0xff])), "{text}");
        }
        for text in ["", "0x", "SN-1", "12 34", "+1", &"1".repeat(41)] {
            assert!(Target::certificate(text).is_err(), "{text}");
        }
    }
}
