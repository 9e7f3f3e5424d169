//! What a TPM says of itself and of its keys: the endorsement key, an attestation key beside it, credential activation and
//! TPM2_Certify.
//!
//! ```text
//! Endorsement hierarchy
//!   ├ EK, by the TCG's template for the algorithm of its certificate (transient)
//!   └ AK, ECC P-256, restricted, ECDSA with SHA-256 (transient)
//! ```
//!
//! Both are primary keys: the TPM re-creates the same ones whenever they are needed, also after a restart and at another
//! station, so that a credential which comes back days later still finds its AK.

use issuance::{
    Fault, FaultKind,
    device::{AttestationKey, Endorsement, Statement},
    residency::{Challenge, credential::Credential},
};
use tss_esapi::{
    Context,
    abstraction::{AsymmetricAlgorithmSelection, ek::create_ek_public_from_default_template_2},
    constants::SessionType,
    handles::{AuthHandle, KeyHandle, TpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        ecc::EccCurve,
        resource_handles::Hierarchy,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{
        Data, EccPoint, EccScheme, EncryptedSecret, HashScheme, IdObject, KeyDerivationFunctionScheme, Nonce, Public,
        PublicBuilder, PublicEccParameters, Signature, SignatureScheme, SymmetricDefinition, SymmetricDefinitionObject,
    },
    traits::Marshall as _,
    tss2_esys::TPM2B_DIGEST,
};

use super::{
    fault, identity, key,
    link::{Held, handles},
    nv,
};
use crate::der;

/// The intermediates that a TPM may keep beside its EK certificates (TCG EK Credential Profile, 2.2.1.5.2).
const EK_CHAIN: std::ops::RangeInclusive<u32> = 0x01C0_0100..=0x01C0_01FF;
/// The EK that stands for a TPM without an EK certificate.
const UNCERTIFIED: AsymmetricAlgorithmSelection = AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256);

/// The TPM's EK, with its certificate when it keeps one, and its AK.
pub(super) fn attestation_key(context: &mut Context) -> Result<AttestationKey, Fault> {
    let (certificate, algorithm) = match identity::ek_certificate(context)? {
        Some((certificate, algorithm)) => (Some(certificate), algorithm),
        None => (None, UNCERTIFIED),
    };
    let chain = chain(context)?;
    let (_, public_area) = ek(context, algorithm)?;
    let (_, ak_public_area) = ak(context)?;
    Ok(AttestationKey { endorsement: Endorsement { certificate, chain, public_area }, ak_public_area })
}

/// The secret of a credential that was made for this TPM's EK and AK.
pub(super) fn activate(context: &mut Context, credential: &Credential) -> Result<Vec<u8>, Fault> {
    const ACT: &str = "could not activate the credential: it is for another TPM or another attestation key";
    let algorithm = identity::ek_certificate(context)?.map_or(UNCERTIFIED, |(_, algorithm)| algorithm);
    let (mut ak, _) = ak(context)?;
    let ak_handle = KeyHandle::from(ak.handle());
    let (mut ek, _) = ek(ak.context(), algorithm)?;
    let ek_handle = KeyHandle::from(ek.handle());
    let context = ek.context();
    let mut act = || -> Result<_, tss_esapi::Error> {
        let blob = IdObject::try_from(credential.blob.clone())?;
        let secret = EncryptedSecret::try_from(credential.encrypted_secret.clone())?;
        let session = endorsement_session(context, algorithm)?;
        let sessions = (Some(AuthSession::Password), Some(session), None);
        context
            .execute_with_sessions(sessions, |context| context.activate_credential(ak_handle, ek_handle, blob, secret))
    };
    let digest = act().map_err(|error| Fault::caused(FaultKind::ResidencyUnproven, ACT, error))?;
    Ok(digest.value().to_vec())
}

/// The AK's word on the key at `handle`.
pub(super) fn certify(context: &mut Context, handle: u32, challenge: Challenge) -> Result<Statement, Fault> {
    let act = || format!("could not certify the key at {handle:#010x}");
    key::must_be_there(context, handle)?;
    let (mut ak, _) = ak(context)?;
    let ak_handle = KeyHandle::from(ak.handle());
    let (statement, signature) = key::with_key(ak.context(), handle, |context, key| {
        let sessions = (Some(AuthSession::Password), Some(AuthSession::Password), None);
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

fn ek(context: &mut Context, algorithm: AsymmetricAlgorithmSelection) -> Result<(Held<'_>, Vec<u8>), Fault> {
    const ACT: &str = "could not re-create the endorsement key";
    let template = create_ek_public_from_default_template_2(algorithm, None).map_err(fault::during(ACT))?;
    primary(context, template, ACT)
}

fn ak(context: &mut Context) -> Result<(Held<'_>, Vec<u8>), Fault> {
    const ACT: &str = "could not re-create the attestation key";
    primary(context, ak_template().map_err(fault::during(ACT))?, ACT)
}

/// A primary key of the endorsement hierarchy, with its marshalled public area.
fn primary<'c>(context: &'c mut Context, template: Public, act: &'static str) -> Result<(Held<'c>, Vec<u8>), Fault> {
    let created = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
        })
        .map_err(fault::during(act))?;
    let held = Held::transient(context, created.key_handle.into());
    let public_area = created.out_public.marshall().map_err(fault::during(act))?;
    Ok((held, public_area))
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

/// What authorises the use of an EK: the endorsement hierarchy's authorisation, by policy where the template says so
/// (TCG EK Credential Profile, B.6: PolicyA), else the EK's own, which is empty.
fn endorsement_session(
    context: &mut Context,
    algorithm: AsymmetricAlgorithmSelection,
) -> Result<AuthSession, tss_esapi::Error> {
    let template = create_ek_public_from_default_template_2(algorithm, None)?;
    if template.object_attributes().user_with_auth() {
        return Ok(AuthSession::Password);
    }
    let session = context.execute_without_session(|context| {
        context.start_auth_session(
            None,
            None,
            None,
            SessionType::Policy,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
    })?;
    let session = session.ok_or(tss_esapi::Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))?;
    let policy = PolicySession::try_from(session)?;
    let nothing = TPM2B_DIGEST::default();
    context.execute_with_session(Some(AuthSession::Password), |context| {
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
