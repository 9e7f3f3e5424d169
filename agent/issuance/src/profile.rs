//! Profiles: what kind of key and certificate a device gets.

use serde::{Deserialize, Serialize};

use crate::{
    CertificateLocation, CommonName, DeviceSerial, IssuanceId, KeyAlgorithm, KeyLocation, ProfileName, names::NameError,
};

/// What a certificate is for, and so which extensions it carries (DESIGN §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// The device signs its own certificates with it: CA:TRUE, keyCertSign and digitalSignature, no EKU.
    DeviceCa {
        /// BasicConstraints' pathLenConstraint: how many CAs may stand beneath it.
        path_length: u8,
    },
    /// The device names itself to a service: a leaf with clientAuth, CN = registration ID.
    DeviceIdentity,
    /// The device serves TLS: a leaf with serverAuth.
    Server,
}

/// The profile as a station understands it: where the key and the certificate are on the device, and how it is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name, the same at the station and at the CA.
    pub name: ProfileName,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// The key's algorithm.
    pub key_algorithm: KeyAlgorithm,
    /// The subject's CN.
    pub common_name: NameTemplate,
    /// The host name that the device will have: a device CA's CN must differ from it (TARGETS.md, `edge_ca`).
    pub hostname: NameTemplate,
    /// The device ID that a hub will know it by: a device CA's CN must differ from it.
    pub device_id: NameTemplate,
    /// Where things are in a TPM; `None` when this profile is not for TPMs.
    pub tpm: Option<TpmPlaces>,
    /// Where things are in a token; `None` when this profile is not for tokens.
    pub pkcs11: Option<Pkcs11Places>,
}

/// A profile's places in a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmPlaces {
    /// The key's persistent handle, `0x81000002` to `0x817FFFFF` (owner hierarchy, TCG registry of reserved handles).
    pub handle: u32,
    /// The certificate's NV index, `0x01800000` to `0x01BFFFFF` (owner).
    pub nv_index: u32,
    /// Whether the index is locked against writing once the certificate stands in it.
    pub write_lock: bool,
}

/// A profile's places in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pkcs11Places {
    /// CKA_ID of key and certificate; `None`: the issuance's id.
    pub cka_id: Option<Vec<u8>>,
    /// CKA_LABEL of key and certificate.
    pub label: String,
}

/// The kind of keystore behind a fixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeystoreKind {
    /// A TPM 2.0.
    Tpm,
    /// A PKCS#11 token.
    Pkcs11,
}

impl KeystoreKind {
    /// As configuration and the API spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tpm => "tpm",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

impl Profile {
    /// Where this profile keeps key and certificate on such a device; `None` when it is not for that kind. Unless the profile
    /// names a CKA_ID, it is the issuance's: the first one for this device ([`Requested::lineage`](crate::record::Requested::lineage)).
    #[must_use]
    pub fn places(&self, kind: KeystoreKind, issuance: IssuanceId) -> Option<(KeyLocation, CertificateLocation)> {
        match kind {
            KeystoreKind::Tpm => self
                .tpm
                .map(|places| (KeyLocation::TpmHandle(places.handle), CertificateLocation::NvIndex(places.nv_index))),
            KeystoreKind::Pkcs11 => self.pkcs11.as_ref().map(|places| {
                let cka_id = places.cka_id.clone().unwrap_or_else(|| issuance.as_bytes().to_vec());
                let label = places.label.clone();
                (
                    KeyLocation::Pkcs11 { cka_id: cka_id.clone(), label: label.clone() },
                    CertificateLocation::Pkcs11 { cka_id, label },
                )
            }),
        }
    }

    /// Makes the CN for a device and holds it against the rules that need no journal. `issuers` are the CNs of every
    /// CA above it.
    pub fn common_name_for(&self, serial: &DeviceSerial, issuers: &[String]) -> Result<CommonName, CommonNameRefused> {
        let text = self.common_name.fill(serial);
        let name = CommonName::parse(&text).map_err(|source| CommonNameRefused::Invalid {
            profile: self.name.clone(),
            name: text,
            source,
        })?;
        let folded = name.folded();
        if matches!(self.purpose, Purpose::DeviceCa { .. }) {
            for (other, of_what) in [(&self.hostname, "host name"), (&self.device_id, "device ID")] {
                if other.fill(serial).to_ascii_lowercase() == folded {
                    return Err(CommonNameRefused::Equals { profile: self.name.clone(), name, of_what });
                }
            }
        }
        if issuers.iter().any(|issuer| issuer.to_ascii_lowercase() == folded) {
            return Err(CommonNameRefused::Equals { profile: self.name.clone(), name, of_what: "issuer's CN" });
        }
        Ok(name)
    }
}

/// Why a device gets no CN from its profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommonNameRefused {
    /// Too long, or with characters that are not accepted.
    #[error("the profile {profile} makes the CN {name:?} of this device serial: use a shorter serial or template")]
    Invalid {
        /// The profile.
        profile: ProfileName,
        /// What it made.
        name: String,
        /// The rule it breaks.
        source: NameError,
    },
    /// Equal to a name that it must differ from, compared without case.
    #[error(
        "the profile {profile} makes the CN {name}, which equals the {of_what} (compared without case): \
         a device CA with that name breaks TLS on the device; change the profile's common_name"
    )]
    Equals {
        /// The profile.
        profile: ProfileName,
        /// What it made.
        name: CommonName,
        /// What it equals.
        of_what: &'static str,
    },
}

/// A name with `{serial}` where the device serial goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameTemplate(String);

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameTemplateError {
    /// Every device would get the same name.
    #[error("the template {0:?} has no {{serial}}: every device would get the same name")]
    NoSerial(String),
    /// Braces around something else.
    #[error("the template {0:?} has braces around something else than serial: only {{serial}} is known")]
    Unknown(String),
}

impl NameTemplate {
    const PLACE: &str = "{serial}";

    /// Parses a template such as `{serial}.ca`.
    pub fn parse(text: &str) -> Result<Self, NameTemplateError> {
        if !text.contains(Self::PLACE) {
            return Err(NameTemplateError::NoSerial(text.to_owned()));
        }
        if text.replace(Self::PLACE, "").contains(['{', '}']) {
            return Err(NameTemplateError::Unknown(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name of one device.
    #[must_use]
    pub fn fill(&self, serial: &DeviceSerial) -> String {
        self.0.replace(Self::PLACE, serial.as_str())
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(common_name: &str) -> Profile {
        Profile {
            name: ProfileName::parse("device-ca").unwrap(),
            purpose: Purpose::DeviceCa { path_length: 0 },
            key_algorithm: KeyAlgorithm::P256,
            common_name: NameTemplate::parse(common_name).unwrap(),
            hostname: NameTemplate::parse("{serial}").unwrap(),
            device_id: NameTemplate::parse("{serial}.device").unwrap(),
            tpm: Some(TpmPlaces { handle: 0x8100_0010, nv_index: 0x0180_0010, write_lock: true }),
            pkcs11: None,
        }
    }

    /// The template's CN is refused when it is too long or equals host name, device ID or an issuer, in any case.
    #[test]
    fn a_common_name_keeps_its_distance() {
        let serial = DeviceSerial::parse("SN-1").unwrap();
        let issuers = ["Factory CA".to_owned(), "sn-1.CA".to_owned()];
        assert_eq!(profile("{serial}.ca").common_name_for(&serial, &issuers[..1]).unwrap().as_str(), "SN-1.ca");
        for (template, of_what) in
            [("{serial}", "host name"), ("{serial}.DEVICE", "device ID"), ("{serial}.ca", "issuer's CN")]
        {
            let error = profile(template).common_name_for(&serial, &issuers).unwrap_err();
            assert!(error.to_string().contains(of_what), "{template}: {error}");
        }
        let longest = DeviceSerial::parse(&"x".repeat(61)).unwrap();
        assert!(profile("{serial}.ca").common_name_for(&longest, &[]).is_ok());
        let too_long = DeviceSerial::parse(&"x".repeat(62)).unwrap();
        assert!(matches!(
            profile("{serial}.ca").common_name_for(&too_long, &[]),
            Err(CommonNameRefused::Invalid { source: NameError::TooLong { length: 65, .. }, .. })
        ));
    }

    /// A template without the serial, or with other braces, is refused.
    #[test]
    fn a_template_names_the_serial() {
        assert!(matches!(NameTemplate::parse("ca"), Err(NameTemplateError::NoSerial(_))));
        assert!(matches!(NameTemplate::parse("{serial}.{site}"), Err(NameTemplateError::Unknown(_))));
    }
}
