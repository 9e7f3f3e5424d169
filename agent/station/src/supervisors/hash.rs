//! A PIN as the file keeps it: PBKDF2-HMAC-SHA256 (RFC 8018), written like a PHC string in hexadecimal,
//! `$pbkdf2-sha256$i=600000$<salt>$<hash>`. A PIN is short, so the file is a secret all the same.

use std::{fmt, num::NonZeroU32};

use aws_lc_rs::{pbkdf2, rand};
use secrecy::{ExposeSecret as _, SecretString};

use issuance::public_key::{hex, octets, sha256};

/// OWASP's number for PBKDF2-HMAC-SHA256; a fifth of a second of one core.
const ROUNDS: u32 = 600_000;
/// Less is not worth its name, more stops the station.
const ROUNDS_ALLOWED: std::ops::RangeInclusive<u32> = 1_000..=10_000_000;
const SALT_OCTETS: usize = 16;
const HASH_OCTETS: usize = 32;
/// What a keypad has; less is guessed in the tries that there are.
const DIGITS: std::ops::RangeInclusive<usize> = 6..=32;

/// A PIN's hash. Shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PinHash {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// The text is no hash, or the PIN is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not the format.
    #[error("this is no PIN hash: copy the line that `station-agent pin` prints")]
    Format,
    /// Too few or too many rounds.
    #[error("a PIN hash has 1000 to 10000000 rounds: make it again with `station-agent pin`")]
    Rounds,
    /// Not a PIN.
    #[error("a PIN has 6 to 32 digits, not all of them the same")]
    Pin,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

impl PinHash {
    /// A new PIN's hash, with a salt of its own.
    ///
    /// # Errors
    /// The PIN is too short, or not of digits.
    pub fn of(pin: &SecretString) -> Result<Self, HashError> {
        Self::with_rounds(pin, ROUNDS)
    }

    pub(super) fn with_rounds(pin: &SecretString, rounds: u32) -> Result<Self, HashError> {
        let digits = pin.expose_secret().as_bytes();
        let same = digits.iter().all(|digit| Some(digit) == digits.first());
        if !DIGITS.contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) || same {
            return Err(HashError::Pin);
        }
        let rounds = NonZeroU32::new(rounds).ok_or(HashError::Rounds)?;
        let mut salt = vec![0; SALT_OCTETS];
        rand::fill(&mut salt).map_err(|_| HashError::NoRandomness)?;
        let mut hash = vec![0; HASH_OCTETS];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, digits, &mut hash);
        Ok(Self { rounds, salt, hash })
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let parts: Vec<&str> = text.split('$').collect();
        let ["", "pbkdf2-sha256", rounds, salt, hash] = parts.as_slice() else { return Err(HashError::Format) };
        let rounds: u32 = rounds.strip_prefix("i=").and_then(|number| number.parse().ok()).ok_or(HashError::Format)?;
        if !ROUNDS_ALLOWED.contains(&rounds) {
            return Err(HashError::Rounds);
        }
        let (salt, hash) = (octets(salt).ok_or(HashError::Format)?, octets(hash).ok_or(HashError::Format)?);
        match NonZeroU32::new(rounds) {
            Some(rounds) if salt.len() >= SALT_OCTETS && hash.len() == HASH_OCTETS => Ok(Self { rounds, salt, hash }),
            _ => Err(HashError::Format),
        }
    }

    /// As the file keeps it.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("$pbkdf2-sha256$i={}${}${}", self.rounds, hex(&self.salt), hex(&self.hash))
    }

    /// Whether it is the hash of this PIN; takes as long whether it is or not.
    #[must_use]
    pub fn verify(&self, pin: &SecretString) -> bool {
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::verify(algorithm, self.rounds, &self.salt, pin.expose_secret().as_bytes(), &self.hash).is_ok()
    }

    /// What its tries are counted by: another PIN begins anew.
    pub(super) fn fingerprint(&self) -> String {
        hex(&sha256(self.to_text().as_bytes()))
    }
}

impl fmt::Debug for PinHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinHash(..)")
    }
}
