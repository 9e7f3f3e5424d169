//! The report of a lot: what was ordered, issued, revoked and scrapped, and each certificate by its fingerprint. It is a
//! JWS that anybody checks with the issuing CA's certificate; README.md says how, with OpenSSL and with Python.

use issuance::{
    KeyAlgorithm, PublicKey, Timestamp,
    public_key::{hex, sha256},
};
use serde_json::{Map, Value, json};

use super::{
    Lot, LotCertificate,
    jws::{self, base64url},
};
use crate::pki::CaCertificate;

/// A page is one visit to the register: short enough that nobody waits behind it.
pub(crate) fn page_size() -> usize {
    256
}

/// A report that is being written.
pub(crate) struct Report {
    head: Map<String, Value>,
    /// DER of the issuer.
    issuer: Vec<u8>,
    certificates: Vec<Value>,
    issued: u64,
    revoked: u64,
    scrapped: std::collections::BTreeSet<String>,
}

/// A report that waits for its signature.
pub(crate) struct Unsigned {
    pub(crate) signing_input: String,
    pub(crate) payload_sha256: [u8; 32],
}

impl Report {
    pub(crate) fn begin(ca: &str, lot: &Lot, issuer: &CaCertificate, now: Timestamp) -> Self {
        let mut head = Map::new();
        head.insert("iss".into(), ca.into());
        head.insert("iat".into(), now.seconds().into());
        head.insert("lot".into(), lot.lot.as_str().into());
        head.insert("profile".into(), lot.profile.as_str().into());
        head.insert("state".into(), if lot.open { "open" } else { "closed" }.into());
        head.insert("ordered".into(), lot.quantity.into());
        head.insert("used".into(), lot.used.into());
        if let Some(signature) = &lot.signature {
            let authorisation = json!({ "jti": signature.jti, "key_sha256": hex(&signature.key_sha256) });
            head.insert("authorisation".into(), authorisation);
        }
        Self {
            head,
            issuer: issuer.der.clone(),
            certificates: Vec::new(),
            issued: 0,
            revoked: 0,
            scrapped: std::collections::BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, certificate: LotCertificate) {
        self.issued += u64::from(certificate.sha256.is_some());
        self.revoked += u64::from(certificate.revoked.is_some());
        let mut row = json!({
            "device_serial": certificate.device_serial,
            "issuance": certificate.issuance.to_string(),
            "generation": certificate.generation,
            "certificate_serial": certificate.certificate_serial,
            "sha256": certificate.sha256.map(|digest| hex(&digest)),
        });
        if let Value::Object(row) = &mut row {
            if let Some(reason) = certificate.revoked {
                row.insert("revoked".into(), reason.as_str().into());
            }
            if let Some(by) = certificate.superseded_by {
                row.insert("superseded_by".into(), by.to_string().into());
            }
            if certificate.scrapped {
                row.insert("scrapped".into(), true.into());
            }
        }
        if certificate.scrapped {
            self.scrapped.insert(certificate.device_serial);
        }
        self.certificates.push(row);
    }

    pub(crate) fn end(self, key: &PublicKey) -> Unsigned {
        let Self { mut head, issuer, certificates, issued, revoked, scrapped } = self;
        head.insert("issued".into(), issued.into());
        head.insert("revoked".into(), revoked.into());
        head.insert("scrapped".into(), scrapped.len().into());
        head.insert("certificates".into(), Value::Array(certificates));
        let payload = Value::Object(head).to_string();
        let header = header(key.algorithm(), &issuer);
        Unsigned {
            payload_sha256: sha256(payload.as_bytes()),
            signing_input: format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes())),
        }
    }
}

/// RFC 7515 §4.1: who signed stands beside it as `x5c`, to be held against a root and never believed by itself.
fn header(key: KeyAlgorithm, issuer: &[u8]) -> String {
    // x5c is base64, not base64url (RFC 7515 §4.1.6).
    let certificate = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, issuer);
    json!({ "alg": jws::algorithm(key), "typ": "lot-report+jws", "x5c": [certificate] }).to_string()
}
