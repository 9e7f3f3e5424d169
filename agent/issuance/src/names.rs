//! Names and their rules: parsed once at the door, typed inside.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a name was refused. Says which name, what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{what} is empty: give 1 to {max} characters of {allowed}")]
    Empty {
        /// The name's kind.
        what: &'static str,
        /// The longest that is accepted.
        max: usize,
        /// What it may consist of.
        allowed: &'static str,
    },
    /// More characters than are accepted. Names are refused, never cut.
    #[error("{what} has {length} characters: at most {max} are accepted, and none is ever cut off")]
    TooLong {
        /// The name's kind.
        what: &'static str,
        /// What was given, in characters.
        length: usize,
        /// The longest that is accepted.
        max: usize,
    },
    /// A character outside the accepted set.
    #[error("{what} has {found:?} at character {position}: only {allowed} are accepted")]
    Character {
        /// The name's kind.
        what: &'static str,
        /// The first character that is not accepted.
        found: char,
        /// Its place, counted from 1.
        position: usize,
        /// What is accepted.
        allowed: &'static str,
    },
    /// Only punctuation: such as `..`, which would be a path.
    #[error("{what} {value:?} has no letter and no digit: give at least one")]
    NoAlphanumeric {
        /// The name's kind.
        what: &'static str,
        /// What was given.
        value: String,
    },
}

/// What serials, lots, profiles and fixtures may consist of: they end in ACL files, ZPL, CSV, TOML, paths and arguments.
const ALLOWED: &str = "[A-Za-z0-9._:-]";
/// RFC 5280's ub-common-name; a serial is part of a CN, so no name needs to be longer.
const MAX: usize = 64;

fn check(what: &'static str, value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return Err(NameError::Empty { what, max: MAX, allowed: ALLOWED });
    }
    if let Some((position, found)) = value
        .chars()
        .enumerate()
        .find(|(_, character)| !(character.is_ascii_alphanumeric() || "._:-".contains(*character)))
    {
        return Err(NameError::Character { what, found, position: position + 1, allowed: ALLOWED });
    }
    if value.len() > MAX {
        return Err(NameError::TooLong { what, length: value.len(), max: MAX });
    }
    if !value.contains(|character: char| character.is_ascii_alphanumeric()) {
        return Err(NameError::NoAlphanumeric { what, value: value.to_owned() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses 1 to 64 of `[A-Za-z0-9._:-]` with at least one letter or digit.
            pub fn parse(value: &str) -> Result<Self, NameError> {
                check($what, value)?;
                Ok(Self(value.to_owned()))
            }

            /// As it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::parse(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                check($what, &value)?;
                Ok(Self(value))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// What the device's barcode says. A certificate has a *certificate serial*; this is never plain "serial".
    DeviceSerial,
    "the device serial"
);
name!(
    /// A work order from the MES.
    LotName,
    "the lot"
);
name!(
    /// What kind of key and certificate.
    ProfileName,
    "the profile"
);
name!(
    /// A place where one device sits.
    FixtureName,
    "the fixture"
);

/// A subject's common name: 1 to 64 characters (RFC 5280's ub-common-name), never cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommonName(String);

impl CommonName {
    /// Parses 1 to 64 printable ASCII characters. They are what an X.509 name, an ACL file and a label can all carry.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        const WHAT: &str = "the common name (CN)";
        const PRINTABLE: &str = "printable ASCII characters";
        if value.is_empty() {
            return Err(NameError::Empty { what: WHAT, max: MAX, allowed: PRINTABLE });
        }
        if let Some((position, found)) =
            value.chars().enumerate().find(|(_, character)| !matches!(character, ' '..='~'))
        {
            return Err(NameError::Character { what: WHAT, found, position: position + 1, allowed: PRINTABLE });
        }
        if value.len() > MAX {
            return Err(NameError::TooLong { what: WHAT, length: value.len(), max: MAX });
        }
        Ok(Self(value.to_owned()))
    }

    /// As it stands in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared: without case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for CommonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CommonName {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        Self::parse(&value)
    }
}

impl From<CommonName> for String {
    fn from(name: CommonName) -> Self {
        name.0
    }
}

/// One issuance: a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IssuanceId(Uuid);

impl IssuanceId {
    /// From a UUID, whoever made it.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// From its 16 octets; `None` when there are not 16.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse_str(text).ok().map(Self)
    }

    /// Its 16 octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for IssuanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: UTC milliseconds since 1970. For people and validity; order is the journal's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way in which a serial can be wrong is named, with the character and its place.
    #[test]
    fn a_wrong_serial_says_what_is_wrong() {
        for (serial, expected) in [
            ("", "is empty"),
            ("a b", "' ' at character 2"),
            ("SN/1", "'/' at character 3"),
            ("SN\u{e9}", "'é' at character 3"),
            ("..", "no letter and no digit"),
            (&"x".repeat(65), "has 65 characters"),
        ] {
            let error = DeviceSerial::parse(serial).unwrap_err().to_string();
            assert!(error.contains("the device serial") && error.contains(expected), "{serial:?}: {error}");
        }
    }

    /// The longest serial and every accepted character pass.
    #[test]
    fn a_right_serial_is_kept_as_it_is() {
        for serial in ["0", "A.b_C:9-", &"x".repeat(64)] {
            assert_eq!(DeviceSerial::parse(serial).unwrap().as_str(), serial);
        }
    }

    /// 64 characters are a CN, 65 are refused and not cut.
    #[test]
    fn a_common_name_is_never_cut() {
        assert!(CommonName::parse(&"x".repeat(64)).is_ok());
        assert!(matches!(CommonName::parse(&"x".repeat(65)), Err(NameError::TooLong { length: 65, .. })));
    }
}
