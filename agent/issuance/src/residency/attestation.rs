//! What one TPM says of one of its keys: an attestation key in the endorsement hierarchy certifies it (TPM2_Certify).

use super::{
    Challenge, EndorsementPolicy, ResidencyUnproven as Unproven, Standing, endorsement,
    public_area::{
        DECRYPT, FIXED_PARENT, FIXED_TPM, NameHash, PublicArea, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN, TPM_ALG_ECDSA,
        TPM_ALG_RSASSA, TPM_ALG_SHA256,
    },
    reader::Reader,
};
use crate::{PublicKey, Timestamp, device::TpmAttestation};

/// TPM_GENERATED_VALUE: only a TPM puts it before what a restricted key signs (TPM 2.0 part 2, 6.2).
const TPM_GENERATED_VALUE: u32 = 0xFF54_4347;
const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
const TPM_RH_OWNER: u32 = 0x4000_0001;
const TPM_RH_ENDORSEMENT: u32 = 0x4000_000B;

const OTHER_CHALLENGE: Unproven =
    Unproven::Certify("it answers another challenge: it is old, or of another issuance or request");

/// Whether an attestation answers this challenge; nothing else of it is looked at.
pub(super) fn check_challenge(attestation: &TpmAttestation, challenge: &Challenge) -> Result<(), Unproven> {
    match Certified::parse(&attestation.statement.certify_info)?.extra_data == challenge.0 {
        true => Ok(()),
        false => Err(OTHER_CHALLENGE),
    }
}

/// TPM2B_NAME's content of an attestation key; the credential is made for this name.
pub fn ak_name(ak_public: &[u8]) -> Result<Vec<u8>, Unproven> {
    Ok(PublicArea::parse(ak_public)?.name())
}

/// Holds an attestation against the key named `key_name` under the storage root key named `srk_name`: EK and its
/// certificate, AK, and the AK's word on the key over `challenge`.
pub(super) fn check(
    attestation: &TpmAttestation,
    key_name: &[u8],
    srk_name: &[u8],
    challenge: &Challenge,
    policy: &EndorsementPolicy,
    at: Timestamp,
) -> Result<Standing, Unproven> {
    let standing = endorsement::check(&attestation.key.endorsement, policy, at)?;
    let ak = PublicArea::parse(&attestation.key.ak_public_area)?;
    ak.check(
        "AK",
        &[
            (FIXED_TPM, true, "fixedTPM is clear"),
            (FIXED_PARENT, true, "fixedParent is clear"),
            (SENSITIVE_DATA_ORIGIN, true, "sensitiveDataOrigin is clear"),
            (RESTRICTED, true, "restricted is clear: it would sign what no TPM said"),
            (SIGN, true, "sign is clear"),
            (DECRYPT, false, "decrypt is set"),
        ],
    )?;
    if ak.name_hash != NameHash::Sha256 {
        return Err(Unproven::Attribute { whose: "AK", problem: "nameAlg is not SHA-256" });
    }
    if !matches!(ak.scheme, Some((TPM_ALG_ECDSA | TPM_ALG_RSASSA, TPM_ALG_SHA256))) {
        return Err(Unproven::Attribute { whose: "AK", problem: "scheme is neither ECDSA nor RSASSA with SHA-256" });
    }
    let statement = Certified::parse(&attestation.statement.certify_info)?;
    let signer = PublicKey::from_der(&ak.key.spki()).map_err(|_| Unproven::Malformed)?;
    if !signer.verifies(&attestation.statement.certify_info, &attestation.statement.signature) {
        return Err(Unproven::Certify("its signature is not the AK's"));
    }
    // The AK is a primary key of the endorsement hierarchy, the device's key a child of the SRK: so says the TPM itself.
    if statement.signer != qualified(TPM_RH_ENDORSEMENT, &[&ak.name()]) {
        return Err(Unproven::Certify("its signer is not this AK in the endorsement hierarchy"));
    }
    if statement.extra_data != challenge.0 {
        return Err(OTHER_CHALLENGE);
    }
    if statement.name != key_name {
        return Err(Unproven::Certify("it is about another key"));
    }
    if statement.qualified_name != qualified(TPM_RH_OWNER, &[srk_name, key_name]) {
        return Err(Unproven::Certify("its key is not under this TPM's storage root key"));
    }
    Ok(standing)
}

/// The qualified name of the last of `names` under a hierarchy (TPM 2.0 part 1, 16.3), all with SHA-256.
fn qualified(hierarchy: u32, names: &[&[u8]]) -> Vec<u8> {
    names.iter().fold(hierarchy.to_be_bytes().to_vec(), |parent, name| {
        NameHash::Sha256.name(&[parent.as_slice(), name].concat())
    })
}

/// TPMS_ATTEST of TPM2_Certify (TPM 2.0 part 2, 10.12.12).
struct Certified<'a> {
    signer: &'a [u8],
    extra_data: &'a [u8],
    name: &'a [u8],
    qualified_name: &'a [u8],
}

impl<'a> Certified<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Unproven> {
        let mut reader = Reader(bytes);
        if reader.u32()? != TPM_GENERATED_VALUE {
            return Err(Unproven::Certify("no TPM made it: its magic is not TPM_GENERATED_VALUE"));
        }
        if reader.u16()? != TPM_ST_ATTEST_CERTIFY {
            return Err(Unproven::Certify("its type is not TPM_ST_ATTEST_CERTIFY"));
        }
        let (signer, extra_data) = (reader.sized()?, reader.sized()?);
        // TPMS_CLOCK_INFO (17 octets) and firmwareVersion (8): a TPM's clock says nothing of ours.
        reader.take(17 + 8)?;
        let (name, qualified_name) = (reader.sized()?, reader.sized()?);
        reader.end()?;
        Ok(Self { signer, extra_data, name, qualified_name })
    }
}
