//! What a TPM says of itself and of its keys: the endorsement key, an attestation key beside it, credential activation and
//! TPM2_Certify.
//!
//! ```text
//! Endorsement hierarchy
//!   ├ EK, by the TCG's template for the algorithm of its certificate (transient)
//!   └ AK, ECC P-256, restricted, ECDSA with SHA-256 (transient)
//! ```
//!
//! Both are primary keys: the TPM makes the same ones whenever they are needed, also after a restart and at another station, so
//! that a credential which comes back days later still finds its AK.

use issuance::{
    Fault, FaultKind,
    device::{AttestationKey, Endorsement, Statement},
    residency::{Challenge, credential::Credential},
};
use tss_esapi::{
    Context,
    constants::SessionType,
    handles::{AuthHandle, KeyHandle, TpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{
        Data, EccPoint, EccScheme, EncryptedSecret, HashScheme, IdObject, KeyDerivationFunctionScheme, Nonce, Public,
        PublicBuilder, PublicEccParameters, Signature, SignatureScheme, SymmetricDefinitionObject,
    },
    traits::Marshall as _,
    tss2_esys::TPM2B_DIGEST,
};

use super::{
    fault, key,
    link::{Held, Link, handles},
    nv,
    primary::Primary,
    session::{self, authorisation, authorised},
};
use crate::der;

/// The intermediates that a TPM may keep beside its EK certificates (TCG EK Credential Profile, 2.2.1.5.2).
const EK_CHAIN: std::ops::RangeInclusive<u32> = 0x01C0_0100..=0x01C0_01FF;

/// The EK that the link's session is salted to, with its certificate when the TPM keeps one, and the AK.
pub(super) fn attestation_key(link: &mut Link) -> Result<AttestationKey, Fault> {
    let chain = chain(link.context())?;
    let (context, keys) = link.parts()?;
    let (_, ak_public_area) = keys.ak(context)?;
    let (certificate, public_area) = (keys.ek.certificate.clone(), keys.ek.key.public_area.clone());
    let endorsement = Endorsement { certificate, chain, public_area };
    Ok(AttestationKey { endorsement, ak_public_area })
}

/// The secret of a credential that was made for this TPM's EK and AK.
pub(super) fn activate(link: &mut Link, credential: &Credential) -> Result<Vec<u8>, Fault> {
    const ACT: &str = "could not activate the credential: it is for another TPM or another attestation key";
    let (context, keys) = link.parts()?;
    let (mut ak, _) = keys.ak(context)?;
    let ak_handle = KeyHandle::from(ak.handle());
    let mut ek = keys.ek.key.load(ak.context())?;
    let ek_handle = KeyHandle::from(ek.handle());
    let context = ek.context();
    let policy = match keys.ek.wants_policy().map_err(fault::during(ACT))? {
        true => Some(endorsement_session(context).map_err(fault::during(ACT))?),
        false => None,
    };
    let mut act = || -> Result<_, tss_esapi::Error> {
        let blob = IdObject::try_from(credential.blob.clone())?;
        let secret = EncryptedSecret::try_from(credential.encrypted_secret.clone())?;
        let sessions = (Some(authorisation(context)), Some(policy.unwrap_or(AuthSession::Password)), None);
        context
            .execute_with_sessions(sessions, |context| context.activate_credential(ak_handle, ek_handle, blob, secret))
    };
    let released = act();
    if let Some(policy) = policy {
        session::end(context, policy);
    }
    let digest = released.map_err(|error| match fault::during(ACT)(error) {
        // The TPM's own word on the credential: INTEGRITY, VALUE, SIZE and their like, and libtpms says FAILURE to a seed that
        // was encrypted to another RSA key.
        Fault {
            kind:
                FaultKind::NotSameDevice
                | FaultKind::Unsupported
                | FaultKind::Mismatch
                | FaultKind::Misconfigured
                | FaultKind::HardwareFailure,
            act,
            cause,
        } => Fault { kind: FaultKind::ResidencyUnproven, act, cause },
        passing => passing,
    })?;
    Ok(digest.value().to_vec())
}

/// The AK's word on the key at `handle`.
pub(super) fn certify(link: &mut Link, handle: u32, challenge: Challenge) -> Result<Statement, Fault> {
    let act = || format!("could not certify the key at {handle:#010x}");
    key::must_be_there(link.context(), handle)?;
    let (context, keys) = link.parts()?;
    let (mut ak, _) = keys.ak(context)?;
    let ak_handle = KeyHandle::from(ak.handle());
    let (statement, signature) = key::with_key(ak.context(), handle, |context, key| {
        let sessions = (Some(authorisation(context)), Some(AuthSession::Password), None);
        Data::try_from(challenge.0.to_vec())
            .and_then(|challenge| {
                context.execute_with_sessions(sessions, |context| {
                    context.certify(key.into(), ak_handle, challenge, SignatureScheme::Null)
                })
            })
            .map_err(|error| fault::during(act())(error))
    })?;
    let certify_info = statement.marshall().map_err(|error| fault::during(act())(error))?;
    match signature {
        Signature::EcDsa(pair) => {
            let signature = der::ecdsa_signature(pair.signature_r().value(), pair.signature_s().value());
            Ok(Statement { certify_info, signature })
        }
        _ => Err(Fault::new(FaultKind::Mismatch, act())),
    }
}

/// The certificates that stand beside the EK's, in the order of their indexes. What cannot be read there is left out: the
/// station has the makers' intermediates as well.
fn chain(context: &mut Context) -> Result<Vec<Vec<u8>>, Fault> {
    const MOST: u32 = 16;
    let indexes = handles(context, *EK_CHAIN.start(), MOST)?;
    let mut stored = Vec::new();
    for index in indexes.into_iter().filter_map(|handle| match handle {
        TpmHandle::NvIndex(_) if EK_CHAIN.contains(&u32::from(handle)) => Some(u32::from(handle)),
        _ => None,
    }) {
        stored.extend(nv::read(context, index)?.unwrap_or_default());
    }
    // One certificate may go on in the next index, and one index may hold several.
    let mut rest = stored.as_slice();
    let mut chain = Vec::new();
    while let Some(certificate) = der::leading_sequence(rest) {
        chain.push(certificate.to_vec());
        rest = &rest[certificate.len()..];
    }
    Ok(chain)
}

/// Has the TPM make the AK.
pub(super) fn make_ak(context: &mut Context) -> Result<(Primary, Held<'_>), Fault> {
    const ACT: &str = "could not re-create the attestation key";
    Primary::make(context, ak_template().map_err(fault::during(ACT))?, ACT)
}

/// Signs only what this TPM itself made, and never leaves it.
fn ak_template() -> Result<Public, tss_esapi::Error> {
    let attributes = key::resident().with_restricted(true).with_sign_encrypt(true).build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::Null,
            EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)),
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// What authorises the use of an EK by policy: the endorsement hierarchy's authorisation, which is empty.
fn endorsement_session(context: &mut Context) -> Result<AuthSession, tss_esapi::Error> {
    let session = session::start(context, None, SessionType::Policy)?;
    let policy = PolicySession::try_from(session)?;
    let nothing = TPM2B_DIGEST::default();
    authorised(context, |context| {
        context.policy_secret(
            policy,
            AuthHandle::Endorsement,
            Nonce::default(),
            nothing.try_into()?,
            Nonce::default(),
            None,
        )
    })?;
    Ok(session)
}
