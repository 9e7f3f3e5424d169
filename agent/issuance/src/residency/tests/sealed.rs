//! What one secret opens, for one issuance and request.

use super::super::{
    credential::Credential,
    sealed::{DoesNotOpen, Sealing},
    *,
};
use crate::public_key::sha256;

const SECRET: [u8; 32] = [5; 32];
const CERTIFICATE: &[u8] = b"a certificate";
const REQUEST: &[u8] = b"a request";

fn id(number: u8) -> IssuanceId {
    IssuanceId::from_slice(&[number; 16]).unwrap()
}

fn sealed() -> SealedCertificate {
    let chain = [b"an issuer".to_vec()];
    let sealing = Sealing { issuance: id(1), request_sha256: sha256(REQUEST), certificate: CERTIFICATE, chain: &chain };
    sealing.seal_with(&SECRET, Credential { blob: vec![1], encrypted_secret: vec![2] }).unwrap()
}

/// The secret opens it for its issuance and its request; nothing of it is readable before.
#[test]
fn the_secret_opens_what_was_sealed() {
    let sealed = sealed();
    assert_eq!(sealed.open(&SECRET, id(1), REQUEST).unwrap(), CERTIFICATE);
    assert!(!sealed.certificate.windows(4).any(|window| CERTIFICATE.windows(4).any(|plain| plain == window)));
}

/// Another secret, issuance or request, and any bit turned round, opens nothing.
#[test]
fn nothing_else_opens_it() {
    let sealed = sealed();
    assert_eq!(sealed.open(&[6; 32], id(1), REQUEST), Err(DoesNotOpen));
    assert_eq!(sealed.open(&[], id(1), REQUEST), Err(DoesNotOpen));
    assert_eq!(sealed.open(&SECRET, id(2), REQUEST), Err(DoesNotOpen));
    assert_eq!(sealed.open(&SECRET, id(1), b"another"), Err(DoesNotOpen));
    for bit in 0..sealed.certificate.len() * 8 {
        let mut changed = sealed.clone();
        changed.certificate[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(changed.open(&SECRET, id(1), REQUEST), Err(DoesNotOpen), "bit {bit}");
    }
    for end in 0..sealed.certificate.len() {
        let cut = SealedCertificate { certificate: sealed.certificate[..end].to_vec(), ..sealed.clone() };
        assert_eq!(cut.open(&SECRET, id(1), REQUEST), Err(DoesNotOpen), "cut at {end}");
    }
}

/// The format that the .proto file documents, by fixed bytes: whoever reads a journal years later can open it with the
/// secret and any library.
#[test]
fn the_format_is_fixed() {
    use aws_lc_rs::{aead, hmac};
    // RFC 5869 by hand: extract with a salt of 32 zero octets, then one block of expand.
    let prk = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]), &SECRET);
    let info = [b"station-agent sealed certificate 1".as_slice(), &[1]].concat();
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, prk.as_ref()), &info);
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).unwrap());
    let binding = [id(1).as_bytes().as_slice(), &sha256(REQUEST)].concat();
    let mut bytes = sealed().certificate;
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    assert_eq!(key.open_in_place(nonce, aead::Aad::from(binding), &mut bytes).unwrap(), CERTIFICATE);
}
