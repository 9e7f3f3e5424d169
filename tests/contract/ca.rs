//! Certificates of any length, from a CA of this test alone.

use std::sync::OnceLock;

use issuance::{CertificateExpectation, CommonName, PublicKey, Purpose, Timestamp, ValidatedCertificate};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};

struct Ca {
    root: CertifiedIssuer<'static, KeyPair>,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn ca() -> &'static Ca {
    static CA: OnceLock<Ca> = OnceLock::new();
    CA.get_or_init(|| {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = Default::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root = CertifiedIssuer::self_signed(params("R"), KeyPair::generate().unwrap()).unwrap();
        let issuer = CertifiedIssuer::signed_by(params("I"), KeyPair::generate().unwrap(), &root).unwrap();
        Ca { root, issuer }
    })
}

/// A valid certificate for `key` that is exactly `length` bytes long.
pub(crate) fn certificate(key: &PublicKey, length: usize) -> ValidatedCertificate {
    /// ECDSA signatures are of 70 to 72 bytes, by luck.
    const ATTEMPTS: usize = 1000;
    let mut padding = length.saturating_sub(350);
    for _ in 0..ATTEMPTS {
        let der = issue(key, padding);
        if der.len() == length {
            return validate(key, &der);
        }
        padding = (padding + length).checked_sub(der.len()).expect("the shortest certificate is longer than that");
    }
    panic!("no certificate of {length} bytes in {ATTEMPTS} attempts");
}

fn issue(key: &PublicKey, padding: usize) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, "d");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let padding = (0..padding).map(|number| number as u8).collect();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999], padding)];
    let spki = SubjectPublicKeyInfo::from_der(key.spki()).unwrap();
    params.signed_by(&spki, &ca().issuer).unwrap().der().to_vec()
}

fn validate(key: &PublicKey, der: &[u8]) -> ValidatedCertificate {
    let expectation = CertificateExpectation {
        public_key: key.clone(),
        common_name: CommonName::parse("d").unwrap(),
        purpose: Purpose::DeviceIdentity,
        issuers: vec![ca().issuer.der().to_vec()],
        intermediates: Vec::new(),
        roots: vec![ca().root.der().to_vec()],
        at: Timestamp(1_900_000_000_000),
    };
    ValidatedCertificate::validate(der, expectation).unwrap()
}

/// A key that is in no device.
pub(crate) fn key() -> PublicKey {
    use rcgen::PublicKeyData as _;
    PublicKey::from_der(&KeyPair::generate().unwrap().subject_public_key_info()).unwrap()
}
