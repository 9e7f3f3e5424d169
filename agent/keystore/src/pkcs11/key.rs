//! Key pairs: found by CKA_ID and class, never replaced.

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use issuance::{Fault, FaultKind, KeyAlgorithm, PublicKey, ResidencyEvidence, public_key::Hash};

use super::{
    Place,
    fault::{Failure, failed},
    sessions::Signer,
};
use crate::der;

/// 2^16 + 1, as every key of ours.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

pub(super) fn find(session: &Session, place: Place<'_>) -> Result<Option<PublicKey>, Failure> {
    match private_key(session, place)? {
        Some(private) => Ok(Some(public_key(session, place, private)?)),
        None => Ok(None),
    }
}

/// `was_absent` is kept by the caller over a healed session: a key that stands there in the second round, and did not in
/// the first, is the one that the first round made.
pub(super) fn generate(
    session: &Session,
    place: Place<'_>,
    algorithm: KeyAlgorithm,
    was_absent: &mut bool,
) -> Result<PublicKey, Failure> {
    match find(session, place)? {
        Some(key) if *was_absent && key.algorithm() == algorithm => return Ok(key),
        Some(_) => return Err(occupied(place, "a key pair stands there already").into()),
        None => *was_absent = true,
    }
    remove_orphan(session, place)?;
    let id = Attribute::Id(place.cka_id.to_vec());
    let label = Attribute::Label(place.label.as_bytes().to_vec());
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Modifiable(false),
        Attribute::Verify(true),
        id.clone(),
        label.clone(),
    ];
    // Not a lock: the PIN's holder can still destroy them.
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        id,
        label,
    ];
    let bits: u64 = match algorithm {
        KeyAlgorithm::P256 | KeyAlgorithm::P384 => 0,
        KeyAlgorithm::Rsa2048 => 2048,
        KeyAlgorithm::Rsa3072 => 3072,
        KeyAlgorithm::Rsa4096 => 4096,
    };
    let mechanism = match der::named_curve(algorithm) {
        Some(curve) => {
            public.push(Attribute::EcParams(curve));
            Mechanism::EccKeyPairGen
        }
        None => {
            public.push(Attribute::ModulusBits(bits.into()));
            public.push(Attribute::PublicExponent(RSA_EXPONENT.to_vec()));
            Mechanism::RsaPkcsKeyPairGen
        }
    };
    let (public, _) = session
        .generate_key_pair(&mechanism, &public, &private)
        .map_err(failed(format!("could not generate a {algorithm} key pair with {place}")))?;
    read_public(session, place, public)?.ok_or_else(|| incomplete(place).into())
}

/// Destroys this key pair (C_DestroyObject), the private half first: what a crash leaves is an orphan that
/// [`generate`] clears away.
pub(super) fn remove(session: &Session, place: Place<'_>, key: &PublicKey) -> Result<(), Failure> {
    let Some(private) = private_key(session, place)? else { return Ok(()) };
    if public_key(session, place, private)? != *key {
        return Err(occupied(place, "another key pair stands there than the one that was to be removed").into());
    }
    let act = || format!("could not destroy the key pair with {place}");
    session.destroy_object(private).map_err(|error| failed(act())(error))?;
    if let Some(public) = only(session, place, ObjectClass::PUBLIC_KEY, "public key")? {
        session.destroy_object(public).map_err(|error| failed(act())(error))?;
    }
    Ok(())
}

pub(super) fn evidence(session: &Session, place: Place<'_>) -> Result<ResidencyEvidence, Failure> {
    let private = must_be_there(session, place)?;
    let asked = [
        AttributeType::Local,
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
    ];
    let told = session
        .get_attributes(private, &asked)
        .map_err(failed(format!("could not read the attributes of the private key with {place}")))?;
    // What a token does not say does not speak for it.
    let (mut local, mut sensitive, mut always_sensitive) = (false, false, false);
    let (mut extractable, mut never_extractable) = (true, false);
    for attribute in told {
        match attribute {
            Attribute::Local(value) => local = value,
            Attribute::Sensitive(value) => sensitive = value,
            Attribute::AlwaysSensitive(value) => always_sensitive = value,
            Attribute::Extractable(value) => extractable = value,
            Attribute::NeverExtractable(value) => never_extractable = value,
            _ => {}
        }
    }
    Ok(ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable, never_extractable })
}

/// A private key as it is in one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct SigningKey {
    private: ObjectHandle,
    algorithm: KeyAlgorithm,
}

impl SigningKey {
    fn find(session: &Session, place: Place<'_>) -> Result<Self, Failure> {
        let private = must_be_there(session, place)?;
        Ok(Self { private, algorithm: public_key(session, place, private)?.algorithm() })
    }
}

/// Signs one message in one session, with this hash or the key's own.
pub(super) fn sign(
    signer: &mut Signer,
    place: Place<'_>,
    hash: Option<Hash>,
    message: &[u8],
) -> Result<Vec<u8>, Failure> {
    let Signer { session, keys } = signer;
    let SigningKey { private, algorithm } = match keys.get(place.cka_id) {
        Some(key) => *key,
        None => *keys.entry(place.cka_id.to_vec()).or_insert(SigningKey::find(session, place)?),
    };
    let act = || format!("could not sign with the private key with {place}");
    let hash = hash.unwrap_or(algorithm.hash());
    if algorithm.is_rsa() {
        let mechanism = match hash {
            Hash::Sha256 => Mechanism::Sha256RsaPkcs,
            Hash::Sha384 => Mechanism::Sha384RsaPkcs,
            Hash::Sha512 => Mechanism::Sha512RsaPkcs,
        };
        return session.sign(&mechanism, private, message).map_err(|error| failed(act())(error));
    }
    // SoftHSM 2.6 knows raw CKM_ECDSA only; every token does. Of a digest that is longer than the curve's order its leftmost
    // bits count (FIPS 186-5, 6.4.1): some tokens leave cutting it to the caller, and none minds that it is done.
    let mut digest = hash.digest(message);
    digest.truncate(if algorithm == KeyAlgorithm::P256 { 32 } else { 48 });
    let raw = session.sign(&Mechanism::Ecdsa, private, &digest).map_err(|error| failed(act())(error))?;
    match raw.len() {
        0 => Err(Fault::new(FaultKind::Mismatch, format!("{}: the signature is empty", act())).into()),
        length => Ok(der::ecdsa_signature(&raw[..length / 2], &raw[length / 2..])),
    }
}

fn must_be_there(session: &Session, place: Place<'_>) -> Result<ObjectHandle, Failure> {
    private_key(session, place)?
        .ok_or_else(|| Fault::new(FaultKind::NotFound, format!("no private key has {place}")).into())
}

fn private_key(session: &Session, place: Place<'_>) -> Result<Option<ObjectHandle>, Failure> {
    only(session, place, ObjectClass::PRIVATE_KEY, "private key")
}

/// The one object of a class and CKA_ID. Two are nobody's.
pub(super) fn only(
    session: &Session,
    place: Place<'_>,
    class: ObjectClass,
    what: &str,
) -> Result<Option<ObjectHandle>, Failure> {
    let found = session
        .find_objects(&[Attribute::Token(true), Attribute::Class(class), Attribute::Id(place.cka_id.to_vec())])
        .map_err(failed(format!("could not look for the {what} with {place}")))?;
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => Err(occupied(place, format!("{} objects of class {what} stand there", several.len())).into()),
    }
}

/// The public half of a private key: from its own object, or, where that was lost, from the private key's attributes.
fn public_key(session: &Session, place: Place<'_>, private: ObjectHandle) -> Result<PublicKey, Failure> {
    let public = only(session, place, ObjectClass::PUBLIC_KEY, "public key")?;
    let key = read_public(session, place, public.unwrap_or(private))?;
    key.ok_or_else(|| incomplete(place).into())
}

/// Reads what makes a public key from an object; `None` when the object does not tell.
fn read_public(session: &Session, place: Place<'_>, object: ObjectHandle) -> Result<Option<PublicKey>, Failure> {
    let read = |asked: &[AttributeType]| {
        session
            .get_attributes(object, asked)
            .map_err(failed(format!("could not read the attributes of the key with {place}")))
    };
    let mut spki = None;
    match read(&[AttributeType::KeyType])?.as_slice() {
        [Attribute::KeyType(KeyType::EC)] => {
            let told = read(&[AttributeType::EcParams, AttributeType::EcPoint])?;
            if let [Attribute::EcParams(curve), Attribute::EcPoint(point)] = told.as_slice() {
                // PKCS#11 v3.1, 6.3.3: a DER OCTET STRING. Some modules give the bare point, which now and then reads
                // like one.
                let point = der::octet_string(point).filter(|point| matches!(point.len(), 65 | 97)).unwrap_or(point);
                if !point.is_empty() {
                    spki = Some(der::ec_public_key(curve, point));
                }
            }
        }
        [Attribute::KeyType(KeyType::RSA)] => {
            let told = read(&[AttributeType::Modulus, AttributeType::PublicExponent])?;
            if let [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] = told.as_slice() {
                spki = Some(der::rsa_public_key(modulus, exponent));
            }
        }
        _ => return Err(occupied(place, "what stands there is neither an EC nor an RSA key").into()),
    }
    match spki {
        Some(spki) => Ok(Some(PublicKey::from_der(&spki).map_err(|error| occupied(place, error))?)),
        None => Ok(None),
    }
}

/// A module makes a pair's public key first: when a generation was interrupted there, our label is on a public key
/// without a private one, which nobody can use.
fn remove_orphan(session: &Session, place: Place<'_>) -> Result<(), Failure> {
    let Some(orphan) = only(session, place, ObjectClass::PUBLIC_KEY, "public key")? else { return Ok(()) };
    let act = format!("could not remove the public key that an interrupted generation left with {place}");
    let label = session.get_attributes(orphan, &[AttributeType::Label]).map_err(failed(act.clone()))?;
    if label != [Attribute::Label(place.label.as_bytes().to_vec())] {
        return Err(occupied(place, "a public key of another label stands there, without a private key").into());
    }
    session.destroy_object(orphan).map_err(failed(act))
}

fn incomplete(place: Place<'_>) -> Fault {
    occupied(place, "a private key stands there whose public key is gone: a generation was interrupted; remove it")
}

pub(super) fn occupied(place: Place<'_>, why: impl std::fmt::Display) -> Fault {
    Fault::caused(FaultKind::LocationOccupied, format!("{place} is not free"), why)
}
