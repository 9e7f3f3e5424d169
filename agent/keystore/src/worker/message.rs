//! What goes over the wire.

use std::fmt;

use issuance::{
    CertificateExpectation, CertificateLocation, DeviceIdentity, Fault, KeyAlgorithm, KeyLocation, PublicKey,
    ResidencyEvidence,
    device::{AttestationKey, Statement},
    public_key::Hash,
    residency::{Challenge, credential::Credential},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// One call of the trait.
#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    /// `identify`.
    Identify,
    /// `find_key`.
    FindKey(KeyLocation),
    /// `generate_key`.
    GenerateKey(KeyLocation, KeyAlgorithm),
    /// `attestation_key`.
    AttestationKey,
    /// `activate_credential`.
    ActivateCredential(Credential),
    /// `residency_evidence`.
    ResidencyEvidence(KeyLocation),
    /// `attest`.
    Attest(KeyLocation, Challenge),
    /// `sign`, with this hash, or the key's own.
    Sign(KeyLocation, Option<Hash>, Vec<Bytes>),
    /// `read_certificate`.
    ReadCertificate(CertificateLocation),
    /// The DER and what it was held against: a `ValidatedCertificate` cannot be sent, only made anew.
    WriteCertificate(CertificateLocation, Bytes, Box<CertificateExpectation>),
    /// `lock_certificate`.
    LockCertificate(CertificateLocation),
    /// `remove_certificate`.
    RemoveCertificate(CertificateLocation, Bytes),
    /// `remove_key`.
    RemoveKey(KeyLocation, PublicKey),
}

impl Call {
    /// For messages: what the device was to do.
    #[must_use]
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Identify => "identify itself",
            Self::FindKey(_) => "find its key",
            Self::GenerateKey(..) => "generate a key",
            Self::AttestationKey => "show its attestation key",
            Self::ActivateCredential(_) => "activate a credential",
            Self::Attest(..) => "attest to its key",
            Self::ResidencyEvidence(_) => "give its residency evidence",
            Self::Sign(..) => "sign",
            Self::ReadCertificate(_) => "give its certificate back",
            Self::WriteCertificate(..) => "take its certificate",
            Self::LockCertificate(_) => "lock its certificate",
            Self::RemoveCertificate(..) => "give its superseded certificate up",
            Self::RemoveKey(..) => "give its replaced key up",
        }
    }
}

/// A call with its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Counted by the parent.
    pub number: u64,
    /// What is to be done.
    pub call: Call,
}

/// What came of one call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Of `identify`.
    Identity(DeviceIdentity),
    /// Of `find_key`.
    Found(Option<PublicKey>),
    /// Of `generate_key`.
    Generated(PublicKey),
    /// Of `attestation_key`.
    AttestationKey(Option<AttestationKey>),
    /// Of `activate_credential`.
    Secret(Bytes),
    /// Of `residency_evidence`.
    Evidence(ResidencyEvidence),
    /// Of `attest`.
    Attested(Statement),
    /// Of `sign`.
    Signatures(Vec<Bytes>),
    /// Of `read_certificate`.
    Certificate(Option<Bytes>),
    /// Of `write_certificate`.
    Written,
    /// Of `lock_certificate`.
    Locked,
    /// Of `remove_certificate` and `remove_key`.
    Removed,
}

/// An answer with the number of its call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's.
    pub number: u64,
    /// What came of it.
    pub outcome: Result<Answer, Fault>,
    /// The serial numbers of the tokens that refused the PIN, ever.
    pub rejected: Vec<String>,
}

/// Octets as one run. A plain `Vec<u8>` would go through serde octet by octet, which is most of a batch's time.
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl Visitor<'_> for Octets {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octets")
            }
            fn visit_bytes<E>(self, octets: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(octets.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

/// Cuts a batch so that each part fits into a frame with room to spare, in order.
pub(super) fn batches(messages: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    /// A quarter of a frame: one message more, and the rest of a request, still fit.
    const OCTETS: usize = super::frame::Limit::CALL.octets() / 4;
    messages.chunk_by({
        let mut sum = messages.first().map_or(0, Vec::len);
        move |_, next| {
            sum += next.len();
            let fits = sum <= OCTETS;
            if !fits {
                sum = next.len();
            }
            fits
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the sizes, nothing is lost or reordered, and only a single message may exceed a part.
    #[test]
    fn batches_keep_every_message_in_order() {
        for (count, size) in [(0, 0), (1, 10), (300, 60_000), (3, 9_000_000), (1000, 0)] {
            let messages: Vec<Vec<u8>> = (0..count).map(|number| vec![number as u8; size]).collect();
            let parts: Vec<_> = batches(&messages).collect();
            assert_eq!(parts.concat(), messages);
            assert!(parts.iter().all(|part| part.len() == 1 || part.len() * size <= 4 << 20));
        }
    }
}
