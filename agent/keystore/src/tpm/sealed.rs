//! Secrets that one TPM alone gives back: sealed data objects beneath the storage root key (TPM 2.0 part 1, 27.7). They are
//! kept outside of the TPM, and their bytes are of no use without it; nor with it, where PCRs are named, once those changed
//! (TPM2_PolicyPCR: part 3, 23.7).

use issuance::{Fault, FaultKind};
use tss_esapi::{
    Context,
    attributes::ObjectAttributesBuilder,
    constants::SessionType,
    handles::{KeyHandle, ObjectHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        session_handles::{AuthSession, PolicySession},
    },
    structures::{
        Digest, KeyedHashScheme, PcrSelectionList, PcrSlot, Private, Public, PublicBuilder, PublicKeyedHashParameters,
        SensitiveData,
    },
    traits::{Marshall as _, UnMarshall as _},
};
use zeroize::Zeroizing;

use super::{
    fault, key,
    link::Held,
    session::{self, authorised},
};

/// MAX_SYM_DATA (TPM 2.0 part 2, table 195).
const OCTETS_MOST: usize = 128;

/// TPM_RC_POLICY_FAIL, without the session's number.
const POLICY_FAIL: u32 = 0x9D;

/// TPM2B_PUBLIC and TPM2B_PRIVATE behind each other, as `tpm2_create -u … -r …` writes them into two files; then, where PCRs are
/// named, their bits in the SHA-256 bank (TPMS_PCR_SELECT) with their size before them.
pub(super) fn seal(context: &mut Context, secret: &[u8], pcrs: &[u8]) -> Result<Vec<u8>, Fault> {
    const ACT: &str = "could not seal the secret";
    if !(1..=OCTETS_MOST).contains(&secret.len()) {
        let act = format!("{ACT}: it has {} octets, and a TPM seals 1 to {OCTETS_MOST}", secret.len());
        return Err(Fault::new(FaultKind::Unsupported, act));
    }
    let bits = pcrs.iter().filter(|pcr| **pcr < 24).fold(0_u32, |bits, pcr| bits | 1 << pcr);
    let policy = if bits == 0 { Digest::default() } else { policy_now(context, bits)? };
    let template = template(policy).map_err(fault::during(ACT))?;
    let secret = SensitiveData::try_from(secret.to_vec()).map_err(fault::during(ACT))?;
    let mut srk = key::srk(context)?;
    let parent = KeyHandle::from(srk.handle());
    let create = |context: &mut Context| context.create(parent, template, None, Some(secret), None, None);
    let created = authorised(srk.context(), create).map_err(fault::during(ACT))?;
    let public = created.out_public.marshall().map_err(fault::during(ACT))?;
    let sealed = [sized(&public), sized(created.out_private.value())].concat();
    let [select @ .., _] = &bits.to_le_bytes();
    Ok(if bits == 0 { sealed } else { [sealed, sized(select)].concat() })
}

/// What the policy comes to with these PCRs as they are.
fn policy_now(context: &mut Context, bits: u32) -> Result<Digest, Fault> {
    const ACT: &str = "could not seal the secret to PCRs";
    for slot in slots(bits) {
        let one = selection(&[slot]).map_err(fault::during(ACT))?;
        let (_, _, values) = authorised(context, |context| context.pcr_read(one)).map_err(fault::during(ACT))?;
        // A TPM leaves out what it has not, and such a policy would hold always.
        if values.len() != 1 {
            let number = u32::from(slot).trailing_zeros();
            return Err(Fault::new(FaultKind::Unsupported, format!("{ACT}: this TPM has no PCR {number} of SHA-256")));
        }
    }
    let trial = begun(context, SessionType::Trial, bits).map_err(fault::during(ACT))?;
    let policy = PolicySession::try_from(trial);
    let digest = policy.and_then(|policy| authorised(context, |context| context.policy_get_digest(policy)));
    session::end(context, trial);
    digest.map_err(fault::during(ACT))
}

/// A session that holds the PCRs as they are.
fn begun(context: &mut Context, kind: SessionType, bits: u32) -> Result<AuthSession, tss_esapi::Error> {
    let session = session::start(context, None, kind)?;
    let slots: Vec<PcrSlot> = slots(bits).collect();
    let held = PolicySession::try_from(session)
        .and_then(|policy| Ok((policy, selection(&slots)?)))
        .and_then(|(policy, pcrs)| authorised(context, |context| context.policy_pcr(policy, Digest::default(), pcrs)));
    held.inspect_err(|_| session::end(context, session)).map(|()| session)
}

fn selection(slots: &[PcrSlot]) -> Result<PcrSelectionList, tss_esapi::Error> {
    PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, slots).build()
}

fn slots(bits: u32) -> impl Iterator<Item = PcrSlot> {
    (0..24).filter_map(move |number| PcrSlot::try_from(bits & 1 << number).ok())
}

/// The secret again. [`FaultKind::NotSameDevice`] from another TPM than it was sealed by, or one that was cleared since.
pub(super) fn unseal(context: &mut Context, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    const ACT: &str = "could not unseal the secret";
    let damaged = || Fault::new(FaultKind::Mismatch, format!("{ACT}: it is damaged; seal it again"));
    let (public, rest) = part(sealed).ok_or_else(damaged)?;
    let (private, rest) = part(rest).ok_or_else(damaged)?;
    let bits = match part(rest) {
        None if rest.is_empty() => 0,
        Some((&[first, second, third], [])) => u32::from_le_bytes([first, second, third, 0]),
        _ => return Err(damaged()),
    };
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
    let secret = opened(loaded.context(), object, bits).map_err(|error| match fault::code_of(error) {
        Some(code) if code & 0xBF == POLICY_FAIL => {
            let numbers: Vec<String> = slots(bits).map(|slot| u32::from(slot).trailing_zeros().to_string()).collect();
            let act = format!(
                "{ACT}: the PCRs {} are not as they were when it was sealed: this machine started other firmware, another \
                 boot loader or with other settings; if that was meant, seal it again",
                numbers.join(", ")
            );
            Fault::caused(FaultKind::Mismatch, act, error)
        }
        _ => fault::during(ACT)(error),
    })?;
    Ok(Zeroizing::new(secret.value().to_vec()))
}

/// With its empty authorisation, or in a session that holds the PCRs; the link's own session encrypts it in both.
fn opened(context: &mut Context, object: ObjectHandle, bits: u32) -> Result<SensitiveData, tss_esapi::Error> {
    if bits == 0 {
        return authorised(context, |context| context.unseal(object));
    }
    let policy = begun(context, SessionType::Policy, bits)?;
    let link = context.sessions().0;
    let secret = context.execute_with_sessions((Some(policy), link, None), |context| context.unseal(object));
    session::end(context, policy);
    secret
}

fn template(policy: Digest) -> Result<Public, tss_esapi::Error> {
    // Its authorisation is empty: without a policy, whoever has the file and the TPM has the secret.
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_user_with_auth(policy.value().is_empty())
        .with_no_da(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
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
