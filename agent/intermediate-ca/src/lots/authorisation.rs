//! What a brand owner signs: a lot for this one CA, with its profile, its quantity, its devices and its time.
//!
//! ```json
//! { "aud": "<base64url SHA-256 of the issuing CA's SubjectPublicKeyInfo>", "jti": "order-4711",
//!   "lot": "WO-2041", "profile": "device-ca", "quantity": 200, "pattern": "SN-22*",
//!   "nbf": 1767225600, "exp": 1769904000 }
//! ```
//!
//! Instead of `pattern` it may list `serials`. A claim that is not known is refused: to ignore a limit would be to widen.

use std::collections::BTreeSet;

use issuance::{DeviceSerial, LotName, ProfileName, PublicKey, public_key::sha256};
use serde::Deserialize;
use service::in_full;

use super::{
    LotRefused, LotRefusedKind as Kind, LotSignature, QUANTITY_MAX,
    jws::{self, Compact, JwsError},
};

/// Some 50,000 device serials of 12 characters.
pub(crate) const AUTHORISATION_MAX: usize = 1 << 20;

/// An identifier that people can read in a log.
const JTI_MAX: usize = 128;

/// What was signed, verified and understood.
#[derive(Debug)]
pub struct Authorisation {
    /// As it came.
    pub jws: String,
    /// SHA-256 of the signing input: by it the exact repeat is known, whatever nonce its signature was made with.
    pub content_sha256: [u8; 32],
    /// The lot.
    pub lot: LotName,
    /// The profile of its devices.
    pub profile: ProfileName,
    /// How many.
    pub quantity: u32,
    /// Who signed, for which devices and until when.
    pub signature: LotSignature,
}

/// The claims (RFC 7519 §4). `aud` is one CA: a list would count the same order at each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    jti: String,
    lot: String,
    profile: String,
    quantity: u32,
    #[serde(default)]
    serials: Option<Vec<String>>,
    #[serde(default)]
    pattern: Option<String>,
    nbf: i64,
    exp: i64,
    /// Accepted and not used: who signed is known by the key.
    #[serde(default, rename = "iss")]
    _issuer: Option<String>,
    #[serde(default, rename = "iat")]
    _issued_at: Option<i64>,
}

/// Verifies an authorisation. `audience` is what `aud` must be for a profile of this CA.
///
/// # Errors
/// It is malformed, not a brand owner's, for another CA, or claims what no lot can have.
pub fn verify(
    text: &str,
    brand_owners: &[PublicKey],
    audience: impl Fn(&ProfileName) -> Option<String>,
) -> Result<Authorisation, LotRefused> {
    let text = text.trim();
    if text.len() > AUTHORISATION_MAX {
        return Err(malformed(format!("it has {} characters, at most {AUTHORISATION_MAX} are taken", text.len())));
    }
    let compact = Compact::parse(text).map_err(refused)?;
    let (payload, key) = compact.verified(brand_owners).map_err(refused)?;
    let claims: Claims = jws::object(payload).map_err(|error| claim(format!("its claims: {error}")))?;
    let named = |what: &str, error: &dyn std::error::Error| claim(format!("{what}: {}", in_full(error)));
    let lot = LotName::parse(&claims.lot).map_err(|error| named("lot", &error))?;
    let profile = ProfileName::parse(&claims.profile).map_err(|error| named("profile", &error))?;
    let Some(audience) = audience(&profile) else {
        return Err(claim(format!("profile: this CA has no profile {profile}")));
    };
    if claims.aud != audience {
        return Err(LotRefused::new(
            Kind::Denied,
            "AUTHORISATION_AUDIENCE",
            format!(
                "the authorisation is for another CA: its aud is {:?}, and the issuer of {profile} here is {audience}",
                claims.aud.chars().take(64).collect::<String>()
            ),
        ));
    }
    if claims.jti.is_empty() || claims.jti.len() > JTI_MAX || !claims.jti.bytes().all(|octet| octet.is_ascii_graphic())
    {
        return Err(claim(format!("jti: give 1 to {JTI_MAX} printable ASCII characters without spaces")));
    }
    if !(1..=QUANTITY_MAX).contains(&claims.quantity) {
        return Err(claim(format!("quantity: {} is none, give 1 to {QUANTITY_MAX}", claims.quantity)));
    }
    if claims.exp <= claims.nbf {
        return Err(claim("exp: it is not after nbf".to_owned()));
    }
    let (device_serials, pattern) = match (&claims.serials, &claims.pattern) {
        (Some(serials), None) => (listed(serials, claims.quantity)?, String::new()),
        (None, Some(pattern)) => (0, checked_pattern(pattern)?),
        _ => return Err(claim("give either serials or pattern".to_owned())),
    };
    Ok(Authorisation {
        content_sha256: sha256(compact.signing_input().as_bytes()),
        lot,
        profile,
        quantity: claims.quantity,
        signature: LotSignature {
            jti: claims.jti,
            key_sha256: key.sha256(),
            device_serials,
            pattern,
            not_before: claims.nbf,
            expires: claims.exp,
        },
        jws: text.to_owned(),
    })
}

/// The device serials that a recorded authorisation lists.
pub(crate) fn listed_serials(jws: &str) -> Option<BTreeSet<String>> {
    let claims: Claims = jws::object(&jws::payload(jws)?).ok()?;
    Some(claims.serials?.into_iter().collect())
}

fn listed(serials: &[String], quantity: u32) -> Result<u32, LotRefused> {
    let mut known = BTreeSet::new();
    for serial in serials {
        DeviceSerial::parse(serial).map_err(|error| claim(format!("serials: {}", in_full(&error))))?;
        if !known.insert(serial.as_str()) {
            return Err(claim(format!("serials: {serial} stands twice")));
        }
    }
    u32::try_from(serials.len())
        .ok()
        .filter(|count| *count == quantity)
        .ok_or_else(|| claim(format!("serials: {} are listed, and quantity is {quantity}", serials.len())))
}

fn checked_pattern(pattern: &str) -> Result<String, LotRefused> {
    let accepted = |character: char| character.is_ascii_alphanumeric() || "._:-*?".contains(character);
    if pattern.is_empty() || pattern.len() > 64 || !pattern.chars().all(accepted) {
        return Err(claim("pattern: give 1 to 64 of [A-Za-z0-9._:-], `*` for any run and `?` for one".to_owned()));
    }
    Ok(pattern.to_owned())
}

/// Whether a device serial fits a pattern: `*` is any run, also an empty one, `?` one character, all else itself.
pub(crate) fn fits(pattern: &str, serial: &str) -> bool {
    let (pattern, serial) = (pattern.as_bytes(), serial.as_bytes());
    // Where the last `*` stands and how much it has taken: only that one ever takes more.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < serial.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(b'?') => (at, read) = (at + 1, read + 1),
            Some(octet) if *octet == serial[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, read) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|octet| *octet == b'*')
}

fn refused(error: JwsError) -> LotRefused {
    let (kind, reason) = match error {
        JwsError::Malformed(_) => (Kind::Invalid, "AUTHORISATION_MALFORMED"),
        JwsError::Algorithm(_) => (Kind::Denied, "AUTHORISATION_ALGORITHM"),
        JwsError::Critical => (Kind::Denied, "AUTHORISATION_CRITICAL"),
        JwsError::Signature => (Kind::Denied, "AUTHORISATION_SIGNATURE"),
    };
    LotRefused::new(kind, reason, format!("the authorisation is not taken: {error}"))
}

fn malformed(problem: String) -> LotRefused {
    LotRefused::new(Kind::Invalid, "AUTHORISATION_MALFORMED", format!("the authorisation is not taken: {problem}"))
}

fn claim(problem: String) -> LotRefused {
    LotRefused::new(Kind::Invalid, "AUTHORISATION_CLAIMS", format!("the authorisation is not taken: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern covers what it says and nothing besides.
    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, serial, expected) in [
            ("*", "SN-1", true),
            ("SN-*", "SN-", true),
            ("SN-*", "SN", false),
            ("SN-?", "SN-1", true),
            ("SN-?", "SN-12", false),
            ("SN-?", "SN-", false),
            ("*-1", "a-1-1", true),
            ("*-1", "a-1-2", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyycd", false),
            ("SN-1", "sn-1", false),
            ("SN-1", "SN-1", true),
            ("SN-1**", "SN-1", true),
        ] {
            assert_eq!(fits(pattern, serial), expected, "{pattern} {serial}");
        }
    }
}
