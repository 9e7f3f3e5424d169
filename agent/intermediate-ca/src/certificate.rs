//! Certificates as bytes: the TBSCertificate that rcgen makes of parameters without touching a key, and the certificate
//! that it becomes with a signature.

use issuance::{
    KeyAlgorithm, PublicKey,
    public_key::{Hash, signature_algorithm},
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, PublicKeyData, SignatureAlgorithm, SigningKey,
};

/// A certificate serial: 16 random octets. The first has its top bit clear, so that the INTEGER is positive, and is not
/// zero, so that all of them have the same length (RFC 5280 §4.1.2.2 wants a positive one of at most 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CertificateSerial([u8; 16]);

impl CertificateSerial {
    /// 126 bits from the operating system's generator.
    pub(crate) fn random() -> Result<Self, CertificateError> {
        loop {
            let mut octets = [0; 16];
            aws_lc_rs::rand::fill(&mut octets).map_err(|_| CertificateError::NoRandomness)?;
            octets[0] &= 0x7f;
            if octets[0] != 0 {
                return Ok(Self(octets));
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The system gives no random octets.
    #[error("the system's random generator failed")]
    NoRandomness,
    /// The key's encoding is not the one that every CA writes, so it could not be copied into a certificate unchanged.
    #[error("the public key cannot stand in a certificate as it is encoded")]
    KeyEncoding,
    /// The CA certificate is not one that rcgen can issue from.
    #[error("the CA certificate cannot be issued from")]
    Issuer(#[source] rcgen::Error),
    /// rcgen refused the parameters.
    #[error("the certificate could not be encoded")]
    Encoding(#[source] rcgen::Error),
    /// The bytes are not a TBSCertificate.
    #[error("these bytes are not a TBSCertificate (RFC 5280 §4.1)")]
    NotDer,
}

/// Who issues, as rcgen knows it. Made once: parsing a CA's certificate costs more than writing what it issues.
pub(crate) type Template = Issuer<'static, PublicHalf>;

/// The template of a CA, from its certificate (DER) and its key.
pub(crate) fn template(certificate: &[u8], key: &PublicKey) -> Result<Template, CertificateError> {
    Issuer::from_ca_cert_der(&certificate.to_vec().into(), PublicHalf::new(key)?).map_err(CertificateError::Issuer)
}

/// The TBSCertificate of these parameters, DER: what the issuer's key will sign, with the hash that its algorithm has; without
/// an issuer, its own. [`signed_with`] has it name another hash.
pub(crate) fn tbs_certificate(
    params: &CertificateParams,
    key: &PublicKey,
    issuer: Option<&Template>,
) -> Result<Vec<u8>, CertificateError> {
    let subject = PublicHalf::new(key)?;
    let unsigned = match issuer {
        None => params.self_signed(&subject),
        Some(issuer) => params.signed_by(&subject, issuer),
    };
    to_be_signed(unsigned.map_err(CertificateError::Encoding)?.der())
}

/// The same TBSCertificate, to be signed by `key` with this hash: rcgen knows of each curve one hash alone.
pub(crate) fn signed_with(tbs: &[u8], key: &PublicKey, hash: Hash) -> Result<Vec<u8>, CertificateError> {
    let parts = || {
        let (_, content, _) = element(tbs, 0x30)?;
        let (version, _, after) = element(content, 0xa0)?;
        let (serial, _, after) = element(after, 0x02)?;
        let (_, _, rest) = element(after, 0x30)?;
        Some(der(0x30, &[version, serial, signature_algorithm(hash, key.algorithm().is_rsa()), rest]))
    };
    parts().ok_or(CertificateError::NotDer)
}

/// The hash that a TBSCertificate says it is to be signed with; `None` when it names what a key of that kind does not do.
pub(crate) fn hash_of(tbs: &[u8], key: &PublicKey) -> Option<Hash> {
    let named = inner_algorithm(tbs)?;
    let is_named = |hash: &Hash| signature_algorithm(*hash, key.algorithm().is_rsa()) == named;
    Hash::NAMES.into_iter().map(|(_, hash)| hash).find(is_named)
}

/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }. The outer algorithm is the inner one,
/// byte for byte (RFC 5280 §4.1.1.2), so recorded bytes alone make the same certificate for ever.
pub(crate) fn assemble(tbs: &[u8], signature: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let algorithm = inner_algorithm(tbs).ok_or(CertificateError::NotDer)?;
    Ok(sealed(tbs, algorithm, signature))
}

/// CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue } (RFC 5280 §5.1), as [`assemble`].
pub(crate) fn assemble_crl(tbs: &[u8], signature: &[u8]) -> Result<Vec<u8>, CertificateError> {
    // version comes first, plainly: a CRL's has no tag of its own.
    let algorithm = || {
        let (_, content, _) = element(tbs, 0x30)?;
        let (_, _, content) = element(content, 0x02)?;
        element(content, 0x30).map(|(whole, _, _)| whole)
    };
    algorithm().map(|algorithm| sealed(tbs, algorithm, signature)).ok_or(CertificateError::NotDer)
}

/// The TBSCertList of these parameters, DER: what the issuer's key will sign.
pub(crate) fn tbs_cert_list(
    params: &CertificateRevocationListParams,
    issuer: &Template,
) -> Result<Vec<u8>, CertificateError> {
    to_be_signed(params.signed_by(issuer).map_err(CertificateError::Encoding)?.der())
}

/// CertificationRequestInfo and the algorithm that its key signs it with (RFC 2986 §4), DER.
pub(crate) struct RequestInfo {
    pub(crate) info: Vec<u8>,
    algorithm: Vec<u8>,
}

impl RequestInfo {
    /// The certification request, DER.
    pub(crate) fn whole(&self, signature: &[u8]) -> Vec<u8> {
        sealed(&self.info, &self.algorithm, signature)
    }
}

/// What a key signs to ask for a certificate.
pub(crate) fn request_info(params: &CertificateParams, key: &PublicKey) -> Result<RequestInfo, CertificateError> {
    let unsigned = params.serialize_request(&PublicHalf::new(key)?).map_err(CertificateError::Encoding)?;
    let parts = || {
        let (_, content, _) = element(unsigned.der(), 0x30)?;
        let (info, _, content) = element(content, 0x30)?;
        let (algorithm, _, _) = element(content, 0x30)?;
        Some(RequestInfo { info: info.to_vec(), algorithm: algorithm.to_vec() })
    };
    parts().ok_or(CertificateError::NotDer)
}

/// A certificate's TBSCertificate and its signature; `None` unless [`assemble`] makes the same certificate of them.
pub(crate) fn taken_apart(certificate: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, content, _) = element(certificate, 0x30)?;
    let (tbs, _, content) = element(content, 0x30)?;
    let (_, _, content) = element(content, 0x30)?;
    let (_, bits, _) = element(content, 0x03)?;
    let signature = bits.strip_prefix(&[0])?;
    assemble(tbs, signature).is_ok_and(|whole| whole == certificate).then(|| (tbs.to_vec(), signature.to_vec()))
}

/// What stands before the signature.
fn to_be_signed(unsigned: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let tbs = element(unsigned, 0x30).and_then(|(_, content, _)| element(content, 0x30));
    tbs.map(|(tbs, _, _)| tbs.to_vec()).ok_or(CertificateError::NotDer)
}

fn sealed(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let bits = der(0x03, &[&[0], signature]);
    der(0x30, &[tbs, algorithm, &bits])
}

/// One DER element with the parts as its content.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    let octets: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0).collect();
    match octets.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // A usize has at most 8 octets.
            out.push(0x80 | long.len() as u8);
            out.extend(long);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// The `signature` field of a TBSCertificate: the element after version and serialNumber.
pub(crate) fn inner_algorithm(tbs: &[u8]) -> Option<&[u8]> {
    let (_, content, rest) = element(tbs, 0x30)?;
    if !rest.is_empty() {
        return None;
    }
    let (_, _, content) = element(content, 0xa0)?;
    let (_, _, content) = element(content, 0x02)?;
    element(content, 0x30).map(|(whole, _, _)| whole)
}

/// The first element: all of it, its content, and what follows.
pub(crate) fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let (&found, after) = bytes.split_first()?;
    let (&first, after) = after.split_first()?;
    let (length, after) = if first < 0x80 {
        (usize::from(first), after)
    } else {
        let (octets, after) = after.split_at_checked(usize::from(first & 0x7f))?;
        if octets.is_empty() || octets.len() > 4 {
            return None;
        }
        (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), after)
    };
    let (content, rest) = after.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    (found == tag).then_some((whole, content, rest))
}

/// A key as rcgen writes it. It signs nothing: what would be signed stands before an empty signature.
#[derive(Debug)]
pub(crate) struct PublicHalf(PublicKey);

impl PublicHalf {
    fn new(key: &PublicKey) -> Result<Self, CertificateError> {
        let own = Self(key.clone());
        if own.subject_public_key_info() == key.spki() { Ok(own) } else { Err(CertificateError::KeyEncoding) }
    }
}

impl PublicKeyData for PublicHalf {
    fn der_bytes(&self) -> &[u8] {
        self.0.raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        // By the key, never by a request's signature: a P-384 key that signed with SHA-256 is no P-256 one.
        match self.0.algorithm() {
            KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl SigningKey for PublicHalf {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serials have 16 octets, are positive, and none begins with a zero octet.
    #[test]
    fn certificate_serials_have_one_shape() {
        for _ in 0..2_000 {
            let serial = CertificateSerial::random().unwrap();
            assert!((1..0x80).contains(&serial.as_bytes()[0]), "{serial:?}");
        }
    }

    /// The assembled certificate is byte for byte what rcgen makes with the same signature.
    #[test]
    fn assembling_gives_what_rcgen_gives() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let whole = CertificateParams::default().self_signed(&key).unwrap();
            let (_, content, _) = element(whole.der(), 0x30).unwrap();
            let (tbs, _, content) = element(content, 0x30).unwrap();
            let (_, _, content) = element(content, 0x30).unwrap();
            let (_, bits, _) = element(content, 0x03).unwrap();
            assert_eq!(assemble(tbs, &bits[1..]).unwrap(), whole.der().to_vec());
        }
    }

    /// Another hash changes the `signature` field and nothing else, and is read back from it; that of another kind of key is none.
    #[test]
    fn a_hash_stands_in_the_bytes_alone() {
        let of = |algorithm| {
            PublicKey::from_der(&rcgen::KeyPair::generate_for(algorithm).unwrap().subject_public_key_info())
        };
        let keys = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256];
        let keys = keys.map(|algorithm| of(algorithm).unwrap());
        for key in &keys {
            let tbs = tbs_certificate(&CertificateParams::default(), key, None).unwrap();
            assert_eq!(hash_of(&tbs, key), Some(key.algorithm().hash()));
            for (_, hash) in Hash::NAMES {
                let other = signed_with(&tbs, key, hash).unwrap();
                assert_eq!(hash_of(&other, key), Some(hash));
                assert_eq!(signed_with(&other, key, key.algorithm().hash()).unwrap(), tbs);
                let foreign = keys.iter().find(|other| other.algorithm().is_rsa() != key.algorithm().is_rsa()).unwrap();
                assert_eq!(hash_of(&other, foreign), None);
            }
        }
    }

    /// Cut or foreign bytes are an error, never a panic.
    #[test]
    fn assembling_refuses_what_is_no_tbs() {
        let key = rcgen::KeyPair::generate().unwrap();
        let key = PublicKey::from_der(&key.subject_public_key_info()).unwrap();
        let tbs = tbs_certificate(&CertificateParams::default(), &key, None).unwrap();
        assert!(assemble(&tbs, &[1]).is_ok());
        for length in 0..tbs.len() {
            assert!(matches!(assemble(&tbs[..length], &[1]), Err(CertificateError::NotDer)), "{length}");
            assert!(signed_with(&tbs[..length], &key, Hash::Sha512).is_err(), "{length}");
        }
    }
}
