//! What a device can do: the synchronous trait that every keystore implements, and the words it uses.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Fault, FaultKind, KeyAlgorithm, PublicKey, ValidatedCertificate,
    public_key::{Hash, hex, sha256},
    residency::{Challenge, credential::Credential},
};

/// Where a private key is, inside one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyLocation {
    /// A TPM 2.0 persistent handle, `0x81000000` to `0x817FFFFF`.
    TpmHandle(u32),
    /// A PKCS#11 key pair.
    Pkcs11 {
        /// CKA_ID: by this it is found.
        cka_id: Vec<u8>,
        /// CKA_LABEL: what the device's software calls it.
        label: String,
    },
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TpmHandle(handle) => write!(f, "{handle:#010x}"),
            Self::Pkcs11 { cka_id, .. } => f.write_str(&hex(cka_id)),
        }
    }
}

/// Where a certificate is, on one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CertificateLocation {
    /// A TPM 2.0 NV index, `0x01800000` to `0x01BFFFFF`.
    NvIndex(u32),
    /// A PKCS#11 CKO_CERTIFICATE.
    Pkcs11 {
        /// CKA_ID: the key's.
        cka_id: Vec<u8>,
        /// CKA_LABEL: the key's.
        label: String,
    },
}

impl fmt::Display for CertificateLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NvIndex(index) => write!(f, "{index:#010x}"),
            Self::Pkcs11 { cka_id, .. } => f.write_str(&hex(cka_id)),
        }
    }
}

/// Who a device is, by what cannot be carried to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceIdentity {
    /// A TPM 2.0.
    Tpm {
        /// The EK certificate from NV, DER without padding; `None` when the TPM keeps none.
        ek_certificate: Option<Vec<u8>>,
        /// TPM2B_NAME's content of the storage root key: it changes with the TPM and with TPM2_Clear.
        srk_name: Vec<u8>,
        /// TPM_PT_MANUFACTURER, four characters.
        manufacturer: String,
        /// TPM_PT_FIRMWARE_VERSION_1 and _2.
        firmware: String,
    },
    /// A PKCS#11 token, by its CK_TOKEN_INFO.
    Token {
        /// The label by which it was found.
        label: String,
        /// The token's serial number.
        serial_number: String,
        /// Its manufacturer.
        manufacturer: String,
        /// Its model.
        model: String,
        /// Its firmware version.
        firmware: String,
    },
}

impl DeviceIdentity {
    /// Whether this is the same piece of hardware as `other`. Firmware may have changed in between.
    #[must_use]
    pub fn is_same_device(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Tpm { ek_certificate, srk_name, .. },
                Self::Tpm { ek_certificate: other_certificate, srk_name: other_name, .. },
            ) => ek_certificate == other_certificate && srk_name == other_name,
            (
                Self::Token { serial_number, manufacturer, model, .. },
                Self::Token {
                    serial_number: other_number, manufacturer: other_manufacturer, model: other_model, ..
                },
            ) => (serial_number, manufacturer, model) == (other_number, other_manufacturer, other_model),
            (Self::Tpm { .. }, Self::Token { .. }) | (Self::Token { .. }, Self::Tpm { .. }) => false,
        }
    }
}

impl DeviceIdentity {
    /// SHA-256 over what makes it this device: by this the journal knows it again.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let parts: Vec<&[u8]> = match self {
            Self::Tpm { ek_certificate, srk_name, .. } => {
                vec![b"tpm", ek_certificate.as_deref().unwrap_or_default(), srk_name]
            }
            Self::Token { serial_number, manufacturer, model, .. } => {
                vec![b"token", serial_number.as_bytes(), manufacturer.as_bytes(), model.as_bytes()]
            }
        };
        // Each part with its length before it, so that no two lists of parts give the same bytes.
        let bytes: Vec<u8> =
            parts.iter().flat_map(|part| [(part.len() as u64).to_be_bytes().as_slice(), part].concat()).collect();
        sha256(&bytes)
    }
}

/// What a device says of where its private key lives. [`crate::residency::verify`] decides what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResidencyEvidence {
    /// From TPM2_ReadPublic.
    Tpm {
        /// TPMT_PUBLIC, marshalled (the content of TPM2B_PUBLIC, without its size).
        public_area: Vec<u8>,
        /// TPM2B_NAME's content.
        name: Vec<u8>,
        /// What the TPM says of the key, where that was asked for.
        attestation: Option<Box<TpmAttestation>>,
    },
    /// From C_GetAttributeValue of the private key: a statement of the token, not a proof.
    Token {
        /// CKA_LOCAL.
        local: bool,
        /// CKA_SENSITIVE.
        sensitive: bool,
        /// CKA_ALWAYS_SENSITIVE.
        always_sensitive: bool,
        /// CKA_EXTRACTABLE.
        extractable: bool,
        /// CKA_NEVER_EXTRACTABLE.
        never_extractable: bool,
    },
}

/// What a TPM says of one of its keys, and who that TPM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmAttestation {
    /// Which TPM it is.
    pub key: AttestationKey,
    /// The station's nonce, 32 bytes: with the issuance and the request it makes the [`Challenge`].
    pub nonce: Vec<u8>,
    /// What the TPM said of the key, over that challenge.
    pub statement: Statement,
}

/// What an attestation key says of another key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// TPMS_ATTEST of TPM2_Certify, marshalled: what the AK signed.
    pub certify_info: Vec<u8>,
    /// The AK's signature over SHA-256 of that: DER `ECDSA-Sig-Value`, or PKCS#1 v1.5.
    pub signature: Vec<u8>,
}

/// The keys by which a TPM is known; a credential is made for both together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationKey {
    /// The TPM's endorsement key.
    pub endorsement: Endorsement,
    /// TPMT_PUBLIC of the attestation key, a primary key of the endorsement hierarchy: the TPM re-creates it at any time,
    /// so that nothing of it must be kept.
    pub ak_public_area: Vec<u8>,
}

/// An endorsement key: who a TPM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// Its certificate from NV, DER without padding; `None` when the TPM keeps none.
    pub certificate: Option<Vec<u8>>,
    /// The intermediates that the TPM keeps beside it (NV 0x01C00100 and up), DER.
    pub chain: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the EK as this TPM re-created it.
    pub public_area: Vec<u8>,
}

/// Keys and certificates of one device, or of one token that belongs to a CA or a station.
///
/// Calls block for as long as the hardware takes, bounded by the worker's deadline. A call that failed may be repeated.
/// Only "it is not there" is `Ok(None)`: every other doubt is a [`Fault`].
pub trait Keystore: Send {
    /// Meets the device that is there now, and says who it is. Starts every visit: what an earlier owner left behind
    /// (sessions, transient objects) is cleared away.
    ///
    /// Faults: [`FaultKind::DeviceAbsent`] when no device answers;
    /// [`FaultKind::PinRejected`] and
    /// [`FaultKind::PinLocked`], after which the PIN is not tried again.
    fn identify(&mut self) -> Result<DeviceIdentity, Fault>;

    /// Looks for a key. Two keys in one place are [`FaultKind::LocationOccupied`].
    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault>;

    /// Generates a key pair inside the device, where it stays. Never replaces:
    /// [`FaultKind::LocationOccupied`] when something is there.
    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault>;

    /// What the device says of where that key lives. A TPM's own word on it is [`attest`](Self::attest).
    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault>;

    /// The keys by which a TPM shows that it is that TPM; `None` for a device that has none such.
    fn attestation_key(&mut self) -> Result<Option<AttestationKey>, Fault> {
        Ok(None)
    }

    /// Releases the secret of a credential that was made for this device's [`AttestationKey`].
    /// [`FaultKind::ResidencyUnproven`] when it was made for another.
    fn activate_credential(&mut self, _credential: &Credential) -> Result<Vec<u8>, Fault> {
        Err(Fault::new(FaultKind::ResidencyUnproven, "could not activate a credential: only a TPM does"))
    }

    /// Has the TPM attest to that key, over a challenge.
    /// [`FaultKind::ResidencyUnproven`] from a device that attests nothing.
    fn attest(&mut self, _location: &KeyLocation, _challenge: Challenge) -> Result<Statement, Fault> {
        Err(Fault::new(FaultKind::ResidencyUnproven, "could not attest to the key: only a TPM does"))
    }

    /// Signs each message with the key, hashed as its algorithm says ([`KeyAlgorithm`]). ECDSA signatures are DER
    /// `ECDSA-Sig-Value`, RSA ones PKCS#1 v1.5. One answer for each message, in order; one call is one visit to the
    /// hardware however many there are.
    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault>;

    /// The same with a hash of the caller's choice: a CA's profile may name one. [`FaultKind::Unsupported`] from a device whose
    /// keys sign with their own alone, as a TPM's do.
    fn sign_with(&mut self, _: &KeyLocation, hash: Hash, _: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        Err(Fault::new(
            FaultKind::Unsupported,
            format!("could not sign with {hash}: the key signs with its own hash alone"),
        ))
    }

    /// Reads the certificate that stands there, DER, exactly as long as it was written.
    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault>;

    /// Writes a certificate that passed validation. Writing the same one again changes nothing; one that its own
    /// interrupted write left incomplete is replaced; anything else that is there is
    /// [`FaultKind::LocationOccupied`].
    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault>;

    /// Closes a certificate's place as far as this device has something for it: a TPM's NV index is locked against writing for
    /// as long as it is defined. A place that is closed stays so. A token's attributes were set when it was written.
    fn lock_certificate(&mut self, _location: &CertificateLocation) -> Result<(), Fault> {
        Ok(())
    }

    /// Removes exactly this certificate, DER, to make place for the one that supersedes it; also what its own interrupted
    /// write left of it. Where it does not stand nothing is changed: what stands there is for
    /// [`write_certificate`](Self::write_certificate) to judge.
    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault>;

    /// Removes exactly this key pair for good (TPM2_EvictControl; C_DestroyObject), so that another can be generated in its
    /// place. Nothing there is well; another key there is [`FaultKind::LocationOccupied`], and stays.
    fn remove_key(&mut self, location: &KeyLocation, _public_key: &PublicKey) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::Unsupported, format!("could not remove the key at {location}")))
    }
}
