//! What extensions say beyond what the purpose gives.

use std::fmt;

use issuance::certificate::name_constraints::NameConstraints;
use x509_parser::asn1_rs::Oid;

/// What extensions say beyond what the purpose gives. BasicConstraints, KeyUsage and NameConstraints are critical, SKI,
/// AKI, CRL distribution points and AIA are not: RFC 5280 leaves no choice. Of EKU and policies the profile says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtensionRules {
    /// Bits of KeyUsage beside the purpose's.
    pub usages: Vec<Usage>,
    /// Purposes of EKU beside the purpose's own; none for a device CA.
    pub extended_usages: Vec<ExtendedUsage>,
    /// Whether EKU is critical (§4.2.1.12 leaves it to the CA).
    pub extended_usages_critical: bool,
    /// Where the issuer's CRL is: `http` URIs, each of the same CRL (§4.2.1.13).
    pub crl_distribution_points: Vec<String>,
    /// AIA: where OCSP is answered (§4.2.2.1).
    pub ocsp: Vec<String>,
    /// AIA: where the issuer's certificate is (§4.2.2.1).
    pub ca_issuers: Vec<String>,
    /// Certificate policies, without qualifiers (§4.2.1.4 recommends none).
    pub policies: Vec<ObjectIdentifier>,
    /// Whether the policies are critical: whoever does not process them must then refuse.
    pub policies_critical: bool,
    /// A device CA's own name constraints (§4.2.1.10).
    pub name_constraints: NameConstraints,
}

/// A bit of KeyUsage that a profile may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// contentCommitment, once nonRepudiation.
    ContentCommitment,
    /// keyEncipherment: RSA keys (RFC 3279 §2.3.1).
    KeyEncipherment,
    /// keyAgreement: EC keys (RFC 3279 §2.3.5).
    KeyAgreement,
    /// cRLSign: device CAs.
    CrlSign,
}

impl Usage {
    /// As configuration spells them, in RFC 5280's words.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("contentCommitment", Self::ContentCommitment),
        ("keyEncipherment", Self::KeyEncipherment),
        ("keyAgreement", Self::KeyAgreement),
        ("cRLSign", Self::CrlSign),
    ];

    /// The bit, counted as RFC 5280 §4.2.1.3 does.
    pub(crate) fn bit(self) -> u16 {
        match self {
            Self::ContentCommitment => 1,
            Self::KeyEncipherment => 2,
            Self::KeyAgreement => 4,
            Self::CrlSign => 6,
        }
    }
}

/// A purpose of EKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtendedUsage {
    /// id-kp-serverAuth.
    ServerAuth,
    /// id-kp-clientAuth.
    ClientAuth,
    /// Any other.
    Other(ObjectIdentifier),
}

impl ExtendedUsage {
    /// The object identifier, dotted (§4.2.1.12).
    pub(crate) fn oid(&self) -> String {
        match self {
            Self::ServerAuth => "1.3.6.1.5.5.7.3.1".to_owned(),
            Self::ClientAuth => "1.3.6.1.5.5.7.3.2".to_owned(),
            Self::Other(oid) => oid.to_string(),
        }
    }
}

/// An object identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIdentifier(Vec<u64>);

/// Not an object identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an object identifier such as 1.3.6.1.4.1.99999.1")]
pub struct NotAnObjectIdentifier;

impl ObjectIdentifier {
    /// Parses the dotted form.
    pub fn parse(text: &str) -> Result<Self, NotAnObjectIdentifier> {
        let is_arc = |arc: &str| {
            arc.bytes().all(|octet| octet.is_ascii_digit()) && !arc.is_empty() && (arc == "0" || !arc.starts_with('0'))
        };
        let arcs: Vec<u64> = text
            .split('.')
            .map(|arc| is_arc(arc).then(|| arc.parse().ok()).flatten().ok_or(NotAnObjectIdentifier))
            .collect::<Result<_, _>>()?;
        // X.660: beneath 0 and 1 there are 40 arcs.
        match arcs.as_slice() {
            [0 | 1, 0..=39, _, ..] | [2, _, _, ..] if Oid::from(&arcs).is_ok_and(|oid| oid.to_id_string() == text) => {
                Ok(Self(arcs))
            }
            _ => Err(NotAnObjectIdentifier),
        }
    }

    /// The content of its DER.
    pub(crate) fn content(&self) -> Vec<u8> {
        // What was parsed was encoded once.
        Oid::from(&self.0).map(|oid| oid.as_bytes().to_vec()).unwrap_or_default()
    }
}

impl fmt::Display for ObjectIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arcs: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&arcs.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Object identifiers are what X.660 has, and come out as they went in.
    #[test]
    fn object_identifiers_are_parsed() {
        for wrong in ["", "1", "1.2", "1.40.3", "3.1.1", "1.2.x", "1..2", "1.2.03", "1.2.-3", " 1.2.3", "1.2.3."] {
            assert_eq!(ObjectIdentifier::parse(wrong), Err(NotAnObjectIdentifier), "{wrong:?}");
        }
        for (right, content) in [
            ("1.3.6.1.4.1.99999.1", vec![0x2B, 6, 1, 4, 1, 0x86, 0x8D, 0x1F, 1]),
            ("2.5.29.32.0", vec![0x55, 0x1D, 0x20, 0]),
            ("0.0.0", vec![0, 0]),
        ] {
            let parsed = ObjectIdentifier::parse(right).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.content()), (right, content));
        }
    }
}
