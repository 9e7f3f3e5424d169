//! Signing keys: children of the storage root key, at a persistent handle.

use issuance::{Fault, FaultKind, KeyAlgorithm, KeyLocation, PublicKey, ResidencyEvidence};
use tss_esapi::{
    Context,
    attributes::ObjectAttributesBuilder,
    constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK},
    handles::{KeyHandle, PersistentTpmHandle, TpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        dynamic_handles::Persistent,
        ecc::EccCurve,
        key_bits::RsaKeyBits,
        resource_handles::{Hierarchy, Provision},
    },
    structures::{
        Digest, EccParameter, EccPoint, EccScheme, HashScheme, HashcheckTicket, KeyDerivationFunctionScheme, Public,
        PublicBuilder, PublicEccParameters, PublicKeyRsa, PublicRsaParameters, RsaExponent, RsaScheme, Signature,
        SignatureScheme, SymmetricDefinitionObject,
    },
    traits::Marshall as _,
    tss2_esys::TPMT_TK_HASHCHECK,
};

use super::{
    fault,
    link::{Held, is_there},
    patience::Patience,
    session::authorised,
};
use crate::der;

/// Owner persistent handles (TPM 2.0 part 2, 7.4; TCG registry of reserved handles): the first two are the SRK's.
const HANDLES: std::ops::RangeInclusive<u32> = 0x8100_0002..=0x817F_FFFF;

/// The handle of a location, when it is one that a key of ours may have.
pub(super) fn handle(location: &KeyLocation) -> Result<u32, Fault> {
    match location {
        KeyLocation::TpmHandle(handle) if HANDLES.contains(handle) => Ok(*handle),
        KeyLocation::TpmHandle(handle) => Err(Fault::new(
            FaultKind::Misconfigured,
            format!("the TPM handle {handle:#010x} is not an owner's: use one of 0x81000002 to 0x817fffff"),
        )),
        KeyLocation::Pkcs11 { .. } => Err(Fault::new(
            FaultKind::Misconfigured,
            "the key's location is a PKCS#11 one and this device is a TPM: give the profile a TPM handle",
        )),
    }
}

pub(super) fn find(context: &mut Context, handle: u32) -> Result<Option<PublicKey>, Fault> {
    if !is_there(context, handle)? {
        return Ok(None);
    }
    let public = with_key(context, handle, |context, key| {
        context.read_public(key).map_err(fault::during(format!("could not read the key at {handle:#010x}")))
    })?;
    signing_key(&public.0, handle).map(Some)
}

/// `expected_srk` is the storage root key's name of the TPM that was identified. `was_absent` is kept by the caller over a
/// healed connection: a key that stands there in the second round, and did not in the first, is the one that the first
/// round made.
pub(super) fn generate(
    context: &mut Context,
    handle: u32,
    algorithm: KeyAlgorithm,
    expected_srk: Option<&[u8]>,
    was_absent: &mut bool,
) -> Result<PublicKey, Fault> {
    let template = signing_template(algorithm)?;
    match is_there(context, handle)? {
        true if *was_absent => {
            let standing = find(context, handle)?.filter(|key| key.algorithm() == algorithm);
            return standing.ok_or_else(|| occupied(handle, "another object appeared there"));
        }
        true => return Err(occupied(handle, "an object stands there already")),
        false => *was_absent = true,
    }
    let mut srk = srk(context)?;
    if let Some(expected) = expected_srk
        && srk.name()? != expected
    {
        return Err(Fault::new(
            FaultKind::NotSameDevice,
            "did not generate a key: another TPM is there than was identified, or it was cleared",
        ));
    }
    let parent = KeyHandle::from(srk.handle());
    let context = srk.context();
    let created = authorised(context, |context| context.create(parent, template, None, None, None, None))
        .map_err(fault::during(format!("could not generate a {algorithm} key")))?;
    let public = created.out_public;
    let loaded = authorised(context, |context| context.load(parent, created.out_private, public.clone()))
        .map_err(fault::during("could not load the generated key"))?;
    let mut loaded = Held::transient(context, loaded.into());
    let object = loaded.handle();
    let act = || format!("could not persist the key at {handle:#010x}");
    let persistent = PersistentTpmHandle::new(handle).map_err(|error| fault::during(act())(error))?;
    let mut patience = Patience::new();
    let mut standing = loop {
        let persisted = authorised(loaded.context(), |context| {
            context.evict_control(Provision::Owner, object, Persistent::Persistent(persistent))
        });
        match persisted {
            // Here and not by the caller, who would have another key generated: minutes, for an RSA key.
            Err(error) if fault::is_busy(error) && patience.wait() => {}
            other => break other.map_err(|error| fault::during(act())(error))?,
        }
    };
    loaded.context().tr_close(&mut standing).map_err(|error| fault::during(act())(error))?;
    signing_key(&public, handle)
}

/// Evicts the key at `handle` (TPM2_EvictControl with the owner's authorisation, part 3 section 28.5) when it is this one; the
/// private half exists nowhere else.
pub(super) fn remove(context: &mut Context, handle: u32, public_key: &PublicKey) -> Result<(), Fault> {
    match find(context, handle)? {
        None => return Ok(()),
        Some(found) if found == *public_key => {}
        Some(_) => return Err(occupied(handle, "another key stands there than the one that was to be removed")),
    }
    let act = || format!("could not evict the key at {handle:#010x}");
    let persistent = PersistentTpmHandle::new(handle).map_err(|error| fault::during(act())(error))?;
    let mut standing =
        Held::standing(context, TpmHandle::Persistent(persistent)).map_err(|error| fault::during(act())(error))?;
    let object = standing.handle();
    authorised(standing.context(), |context| {
        context.evict_control(Provision::Owner, object, Persistent::Persistent(persistent))
    })
    .map_err(|error| fault::during(act())(error))?;
    standing.forget();
    Ok(())
}

pub(super) fn evidence(context: &mut Context, handle: u32) -> Result<ResidencyEvidence, Fault> {
    must_be_there(context, handle)?;
    with_key(context, handle, |context, key| {
        let act = || format!("could not read the key at {handle:#010x}");
        let (public, name, _) = context.read_public(key).map_err(|error| fault::during(act())(error))?;
        let public_area = public.marshall().map_err(|error| fault::during(act())(error))?;
        Ok(ResidencyEvidence::Tpm { public_area, name: name.value().to_vec(), attestation: None })
    })
}

/// Adds the signatures that are still missing to `signatures`, so that a healed connection goes on where it was lost.
pub(super) fn sign(
    context: &mut Context,
    handle: u32,
    messages: &[Vec<u8>],
    signatures: &mut Vec<Vec<u8>>,
) -> Result<(), Fault> {
    must_be_there(context, handle)?;
    with_key(context, handle, |context, key| {
        let act = || format!("could not sign with the key at {handle:#010x}");
        let (public, _, _) = context.read_public(key).map_err(|error| fault::during(act())(error))?;
        let public = signing_key(&public, handle)?;
        for message in &messages[signatures.len()..] {
            let algorithm = public.algorithm();
            let signature = sign_digest(context, key, algorithm, algorithm.hash().digest(message))
                .map_err(|error| fault::during(act())(error))?;
            // Whatever came back, and whoever sent it. A verification is nothing beside a TPM's signature.
            if !public.verifies(message, &signature) {
                return Err(Fault::new(FaultKind::Mismatch, format!("{}: what came back does not verify", act())));
            }
            signatures.push(signature);
        }
        Ok(())
    })
}

fn sign_digest(
    context: &mut Context,
    key: KeyHandle,
    algorithm: KeyAlgorithm,
    digest: Vec<u8>,
) -> Result<Vec<u8>, tss_esapi::Error> {
    let hash = match algorithm {
        KeyAlgorithm::P384 => HashingAlgorithm::Sha384,
        KeyAlgorithm::P256 | KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
            HashingAlgorithm::Sha256
        }
    };
    let hash_scheme = HashScheme::new(hash);
    let scheme = match algorithm.is_rsa() {
        true => SignatureScheme::RsaSsa { hash_scheme },
        false => SignatureScheme::EcDsa { hash_scheme },
    };
    // The key is not restricted, so that it signs digests that the TPM did not make: a NULL ticket.
    let ticket = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    let (digest, ticket) = (Digest::try_from(digest)?, HashcheckTicket::try_from(ticket)?);
    let signature = authorised(context, |context| context.sign(key, digest, scheme, ticket))?;
    match signature {
        Signature::EcDsa(pair) => Ok(der::ecdsa_signature(pair.signature_r().value(), pair.signature_s().value())),
        Signature::RsaSsa(signature) => Ok(signature.signature().value().to_vec()),
        _ => Err(tss_esapi::Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm)),
    }
}

/// The name of the storage root key, which changes with the TPM and with TPM2_Clear.
pub(super) fn srk_name(context: &mut Context) -> Result<Vec<u8>, Fault> {
    srk(context)?.name()
}

/// Re-creates the storage root key: the owner seed always gives the same one for the same template.
pub(super) fn srk(context: &mut Context) -> Result<Held<'_>, Fault> {
    const ACT: &str = "could not re-create the storage root key";
    let template = srk_template().map_err(fault::during(ACT))?;
    let created =
        authorised(context, |context| context.create_primary(Hierarchy::Owner, template, None, None, None, None))
            .map_err(fault::during(ACT))?;
    Ok(Held::transient(context, created.key_handle.into()))
}

/// A key that is made in this TPM and never leaves it, outside dictionary-attack protection: its authorisation is empty, and
/// unclean power cycles would lock it.
pub(super) fn resident() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

/// TCG TPM v2.0 Provisioning Guidance, 7.5.1: the ECC P-256 storage template, its unique field all zeros.
fn srk_template() -> Result<Public, tss_esapi::Error> {
    let attributes = resident().with_restricted(true).with_decrypt(true).build()?;
    let zeros = || EccParameter::try_from(vec![0; 32]);
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(PublicEccParameters::new(
            SymmetricDefinitionObject::AES_128_CFB,
            EccScheme::Null,
            EccCurve::NistP256,
            KeyDerivationFunctionScheme::Null,
        ))
        .with_ecc_unique_identifier(EccPoint::new(zeros()?, zeros()?))
        .build()
}

/// A signing key that is not restricted. The scheme is chosen at each signature.
fn signing_template(algorithm: KeyAlgorithm) -> Result<Public, Fault> {
    let curve_or_bits = match algorithm {
        KeyAlgorithm::P256 => Ok(EccCurve::NistP256),
        KeyAlgorithm::P384 => Ok(EccCurve::NistP384),
        KeyAlgorithm::Rsa2048 => Err(RsaKeyBits::Rsa2048),
        KeyAlgorithm::Rsa3072 => Err(RsaKeyBits::Rsa3072),
        KeyAlgorithm::Rsa4096 => Err(RsaKeyBits::Rsa4096),
    };
    let build = || {
        let attributes = resident().with_sign_encrypt(true).build()?;
        let builder = PublicBuilder::new()
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes);
        match curve_or_bits {
            Ok(curve) => builder
                .with_public_algorithm(PublicAlgorithm::Ecc)
                .with_ecc_parameters(PublicEccParameters::new(
                    SymmetricDefinitionObject::Null,
                    EccScheme::Null,
                    curve,
                    KeyDerivationFunctionScheme::Null,
                ))
                .with_ecc_unique_identifier(EccPoint::default()),
            Err(bits) => builder
                .with_public_algorithm(PublicAlgorithm::Rsa)
                .with_rsa_parameters(PublicRsaParameters::new(
                    SymmetricDefinitionObject::Null,
                    RsaScheme::Null,
                    bits,
                    RsaExponent::ZERO_EXPONENT,
                ))
                .with_rsa_unique_identifier(PublicKeyRsa::default()),
        }
        .build()
    };
    build().map_err(fault::during("could not describe the key"))
}

/// The public key of a signing key; anything else at that handle is not ours.
fn signing_key(public: &Public, handle: u32) -> Result<PublicKey, Fault> {
    let attributes = public.object_attributes();
    if !attributes.sign_encrypt() || attributes.restricted() {
        return Err(occupied(handle, "what stands there is not an unrestricted signing key"));
    }
    let spki = match public {
        Public::Ecc { parameters, unique, .. } => {
            let (algorithm, width) = match parameters.ecc_curve() {
                EccCurve::NistP256 => (KeyAlgorithm::P256, 32),
                EccCurve::NistP384 => (KeyAlgorithm::P384, 48),
                _ => return Err(occupied(handle, "what stands there is on a curve that we do not use")),
            };
            let mut point = vec![0x04];
            for coordinate in [unique.x().value(), unique.y().value()] {
                // A TPM may drop leading zero octets of a coordinate.
                point.extend(std::iter::repeat_n(0, usize::saturating_sub(width, coordinate.len())));
                point.extend_from_slice(coordinate);
            }
            der::named_curve(algorithm).map(|curve| der::ec_public_key(&curve, &point)).unwrap_or_default()
        }
        Public::Rsa { parameters, unique, .. } => {
            let exponent = match parameters.exponent().value() {
                // 0 stands for 2^16 + 1 (TPM 2.0 part 2, 12.2.3.5).
                0 => 65_537,
                other => other,
            };
            der::rsa_public_key(unique.value(), &exponent.to_be_bytes())
        }
        Public::KeyedHash { .. } | Public::SymCipher { .. } => {
            return Err(occupied(handle, "what stands there is not an asymmetric key"));
        }
    };
    PublicKey::from_der(&spki).map_err(|error| occupied(handle, error))
}

pub(super) fn with_key<T>(
    context: &mut Context,
    handle: u32,
    act: impl FnOnce(&mut Context, KeyHandle) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let opening = || format!("could not open the key at {handle:#010x}");
    let persistent = PersistentTpmHandle::new(handle).map_err(|error| fault::during(opening())(error))?;
    let mut held =
        Held::standing(context, TpmHandle::Persistent(persistent)).map_err(|error| fault::during(opening())(error))?;
    let key = KeyHandle::from(held.handle());
    act(held.context(), key)
}

pub(super) fn must_be_there(context: &mut Context, handle: u32) -> Result<(), Fault> {
    match is_there(context, handle)? {
        true => Ok(()),
        false => Err(Fault::new(FaultKind::NotFound, format!("no key stands at {handle:#010x}"))),
    }
}

fn occupied(handle: u32, why: impl std::fmt::Display) -> Fault {
    Fault::caused(FaultKind::LocationOccupied, format!("the TPM handle {handle:#010x} is not free for our key"), why)
}
