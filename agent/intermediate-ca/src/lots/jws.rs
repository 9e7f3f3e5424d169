//! JSON Web Signatures in compact serialisation (RFC 7515): ES256 is read, and what a CA's key signs is written. One
//! algorithm is accepted, by name; keys never come from the header.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use issuance::{KeyAlgorithm, PublicKey};
use serde::Deserialize;
use x509_parser::der_parser::{ber::BerObjectContent, der::parse_der_sequence};

/// A JWS that was taken apart and not yet believed.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    signing_input: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The header's parameters that matter (RFC 7515 §4.1). Others are ignored, as §4 says.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// Why a JWS is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwsError {
    #[error("it is no JWS in compact serialisation, three base64url parts with dots between: {0}")]
    Malformed(String),
    #[error("its alg is {0:?}: only ES256 is accepted")]
    Algorithm(String),
    #[error("its header has crit, and none of the extensions it names is understood: leave crit out")]
    Critical,
    #[error("no configured key of a brand owner verifies its signature")]
    Signature,
}

impl<'a> Compact<'a> {
    /// Takes a JWS apart and looks at its header.
    pub(crate) fn parse(text: &'a str) -> Result<Self, JwsError> {
        let malformed = |what: &str| JwsError::Malformed(what.to_owned());
        let (signing_input, signature) = text.rsplit_once('.').ok_or_else(|| malformed("it has no dot"))?;
        let (header, payload) = signing_input.split_once('.').ok_or_else(|| malformed("it has one dot"))?;
        // A fourth part leaves a dot in the payload, which is not base64url.
        let decode = |what: &str, part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|error| malformed(&format!("its {what}: {error}")))
        };
        let (header, payload, signature) =
            (decode("header", header)?, decode("payload", payload)?, decode("signature", signature)?);
        let header: Header = object(&header).map_err(|error| malformed(&format!("its header: {error}")))?;
        if header.alg != "ES256" {
            return Err(JwsError::Algorithm(header.alg.chars().take(32).collect()));
        }
        match header.crit {
            Some(_) => Err(JwsError::Critical),
            None => Ok(Self { signing_input, payload, signature }),
        }
    }

    /// The payload and the key that signed it.
    pub(crate) fn verified<'k>(&self, keys: &'k [PublicKey]) -> Result<(&[u8], &'k PublicKey), JwsError> {
        // RFC 7518 §3.4: the signature is R and S, 32 octets each.
        let signed = |key: &&PublicKey| {
            key.algorithm() == KeyAlgorithm::P256
                && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.raw())
                    .verify(self.signing_input.as_bytes(), &self.signature)
                    .is_ok()
        };
        keys.iter().find(signed).map(|key| (self.payload.as_slice(), key)).ok_or(JwsError::Signature)
    }

    /// What the signature covers.
    pub(crate) fn signing_input(&self) -> &str {
        self.signing_input
    }
}

/// A JSON object, each key once. serde would take an array of the values as well.
pub(crate) fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    match json.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(json).map_err(|error| error.to_string()),
        _ => Err("it is no JSON object".to_owned()),
    }
}

/// The payload of a JWS that was verified when it was recorded.
pub(crate) fn payload(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()
}

/// Base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The `alg` of what a key signs (RFC 7518 §3.1).
pub(crate) fn algorithm(key: KeyAlgorithm) -> &'static str {
    match key {
        KeyAlgorithm::P256 => "ES256",
        KeyAlgorithm::P384 => "ES384",
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => "RS256",
    }
}

/// The signature's part: a token's DER `ECDSA-Sig-Value` becomes R and S of fixed length (RFC 7518 §3.4); RSA stays.
pub(crate) fn signature_part(key: KeyAlgorithm, signature: &[u8]) -> Option<String> {
    let length = match key {
        KeyAlgorithm::P256 => 32,
        KeyAlgorithm::P384 => 48,
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => return Some(base64url(signature)),
    };
    let (rest, sequence) = parse_der_sequence(signature).ok()?;
    let BerObjectContent::Sequence(parts) = &sequence.content else { return None };
    let [r, s] = parts.as_slice() else { return None };
    let mut fixed = Vec::with_capacity(2 * length);
    for part in [r, s] {
        let BerObjectContent::Integer(octets) = &part.content else { return None };
        let octets = octets.strip_prefix(&[0]).unwrap_or(octets);
        fixed.resize(fixed.len() + length.checked_sub(octets.len())?, 0);
        fixed.extend_from_slice(octets);
    }
    rest.is_empty().then(|| base64url(&fixed))
}
