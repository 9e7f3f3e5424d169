//! Secrets that one TPM alone gives back: sealed data objects beneath the storage root key (TPM 2.0 part 1, 27.7). They are
//! kept outside of the TPM, and their bytes are of no use without it.

use issuance::{Fault, FaultKind};
use tss_esapi::{
    Context,
    attributes::ObjectAttributesBuilder,
    handles::KeyHandle,
    interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm},
    structures::{Digest, KeyedHashScheme, Private, Public, PublicBuilder, PublicKeyedHashParameters, SensitiveData},
    traits::{Marshall as _, UnMarshall as _},
};
use zeroize::Zeroizing;

use super::{fault, key, link::Held, session::authorised};

/// MAX_SYM_DATA (TPM 2.0 part 2, table 195).
const OCTETS_MOST: usize = 128;

/// TPM2B_PUBLIC and TPM2B_PRIVATE behind each other, as `tpm2_create -u … -r …` writes them into two files.
pub(super) fn seal(context: &mut Context, secret: &[u8]) -> Result<Vec<u8>, Fault> {
    const ACT: &str = "could not seal the secret";
    if !(1..=OCTETS_MOST).contains(&secret.len()) {
        let act = format!("{ACT}: it has {} octets, and a TPM seals 1 to {OCTETS_MOST}", secret.len());
        return Err(Fault::new(FaultKind::Unsupported, act));
    }
    let template = template().map_err(fault::during(ACT))?;
    let secret = SensitiveData::try_from(secret.to_vec()).map_err(fault::during(ACT))?;
    let mut srk = key::srk(context)?;
    let parent = KeyHandle::from(srk.handle());
    let create = |context: &mut Context| context.create(parent, template, None, Some(secret), None, None);
    let created = authorised(srk.context(), create).map_err(fault::during(ACT))?;
    let public = created.out_public.marshall().map_err(fault::during(ACT))?;
    Ok([sized(&public), sized(created.out_private.value())].concat())
}

/// The secret again. [`FaultKind::NotSameDevice`] from another TPM than it was sealed by, or one that was cleared since.
pub(super) fn unseal(context: &mut Context, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    const ACT: &str = "could not unseal the secret";
    let damaged = || Fault::new(FaultKind::Mismatch, format!("{ACT}: it is damaged; seal it again"));
    let (public, rest) = part(sealed).ok_or_else(damaged)?;
    let (private, rest) = part(rest).ok_or_else(damaged)?;
    if !rest.is_empty() {
        return Err(damaged());
    }
    let public = Public::unmarshall(public).map_err(|_| damaged())?;
    let private = Private::try_from(private.to_vec()).map_err(|_| damaged())?;
    let mut srk = key::srk(context)?;
    let parent = KeyHandle::from(srk.handle());
    let loaded = authorised(srk.context(), |context| context.load(parent, private, public)).map_err(|error| {
        let act = format!("{ACT}: this TPM did not seal it, or was cleared since; seal it again");
        Fault::caused(FaultKind::NotSameDevice, act, error)
    })?;
    let mut loaded = Held::transient(srk.context(), loaded.into());
    let object = loaded.handle();
    let secret = authorised(loaded.context(), |context| context.unseal(object)).map_err(fault::during(ACT))?;
    Ok(Zeroizing::new(secret.value().to_vec()))
}

fn template() -> Result<Public, tss_esapi::Error> {
    // Its authorisation is empty: whoever has the file and the TPM has the secret.
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}

/// With its size before it, as a TPM2B has it.
fn sized(octets: &[u8]) -> Vec<u8> {
    // What a TPM makes is far below 64 KiB.
    let size = u16::try_from(octets.len()).unwrap_or(u16::MAX);
    [size.to_be_bytes().as_slice(), octets].concat()
}

fn part(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))
}
