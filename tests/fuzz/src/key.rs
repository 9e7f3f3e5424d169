//! Keys that are the same in every run, so that an input means the same in every run. Nobody's: they follow from their names,
//! and none is kept in a file.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    digest,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SerialNumber, SigningKey as _,
};

/// 2026-01-01, in milliseconds: the moment at which everything here happens.
pub(crate) const NOW: i64 = 1_767_225_600_000;

/// PKCS#8 (RFC 5208) of a P-256 key before its private octets, and between these and its point (RFC 5915).
const BEFORE: &[u8] = b"\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01\x06\x08\x2A\x86\x48\xCE\x3D\x03\x01\x07\x04\x6D\x30\x6B\x02\x01\x01\x04\x20";
const BETWEEN: &[u8] = b"\xA1\x44\x03\x42\x00";

/// ecdsa-with-SHA256 (RFC 5758 §3.2), DER.
const ECDSA_SHA256: &[u8] = b"\x30\x0A\x06\x08\x2A\x86\x48\xCE\x3D\x04\x03\x02";

/// SHA-256.
pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, octets).as_ref().try_into().expect("SHA-256 has 32 octets")
}

/// PKCS#8 of the P-256 key of that name.
pub(crate) fn pkcs8(name: &str) -> Vec<u8> {
    let private = sha256(format!("a key for fuzzing: {name}").as_bytes());
    let key = PrivateKey::from_private_key(&ECDH_P256, &private).expect("below the curve's order");
    let point = key.compute_public_key().expect("it has a point");
    [BEFORE, &private, BETWEEN, point.as_ref()].concat()
}

/// The P-256 key of that name.
pub(crate) fn key(name: &str) -> KeyPair {
    KeyPair::try_from(pkcs8(name)).expect("a PKCS#8 key")
}

/// The SubjectPublicKeyInfo of the key of that name, DER.
pub(crate) fn spki(name: &str) -> Vec<u8> {
    key(name).subject_public_key_info()
}

/// Whatever was to be signed, with the key's signature behind it: a certificate, a certification request or a CRL, DER.
pub(crate) fn signed(to_be_signed: &[u8], key: &KeyPair) -> Vec<u8> {
    let signature = key.sign(to_be_signed).expect("a P-256 key signs");
    let bits = element(0x03, &[&[0], signature.as_slice()].concat());
    element(0x30, &[to_be_signed, ECDSA_SHA256, &bits].concat())
}

/// One DER element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    keystore::der::element(tag, content)
}

/// What stands before algorithm and signature in a SEQUENCE that was signed, DER.
pub(crate) fn to_be_signed(signed: &[u8]) -> Vec<u8> {
    let header = signed.len() - content(signed).len();
    let inner = keystore::der::leading_sequence(&signed[header..]);
    inner.expect("what was signed is a SEQUENCE in a SEQUENCE").to_vec()
}

fn content(sequence: &[u8]) -> &[u8] {
    match sequence {
        [_, short, rest @ ..] if *short < 0x80 => rest,
        [_, 0x81, _, rest @ ..] | [_, 0x82, _, _, rest @ ..] => rest,
        _ => &[],
    }
}

/// Parameters with that CN, valid around [`NOW`].
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    params.serial_number = Some(SerialNumber::from(0x0102_0304_u64));
    params
}

/// Parameters of a certification request: what a request cannot say is left out.
pub(crate) fn asked(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.serial_number = None;
    params.is_ca = IsCa::NoCa;
    params
}

/// BasicConstraints (RFC 5280 §4.2.1.9) with CA:TRUE and this pathLenConstraint, for a request: rcgen has no place for it there.
pub(crate) fn asks_for_ca(path_length: u8) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 6, 1, 1, 0xFF, 2, 1, path_length])
}

/// Parameters of a CA, as [`named`].
pub(crate) fn ca(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The root, DER; its key has the name `root`.
pub(crate) fn root() -> Vec<u8> {
    ca("Root", Some(2)).self_signed(&key("root")).expect("a root").der().to_vec()
}

/// The intermediate beneath it, DER; its key has the name `issuer`.
pub(crate) fn intermediate() -> Vec<u8> {
    let root = Issuer::new(ca("Root", Some(2)), key("root"));
    ca("Factory CA", Some(1)).signed_by(&key("issuer"), &root).expect("an intermediate").der().to_vec()
}

/// A certificate of the intermediate's for the key `device`, DER.
pub(crate) fn issued(params: &CertificateParams) -> Vec<u8> {
    let issuer = Issuer::new(ca("Factory CA", Some(1)), key("issuer"));
    params.signed_by(&key("device"), &issuer).expect("a certificate").der().to_vec()
}

/// Certificates as PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}
