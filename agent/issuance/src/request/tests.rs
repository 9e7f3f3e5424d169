use super::*;
use crate::{KeyAlgorithm, simulated::*};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

/// A PKCS#10 written by hand: subject, attributes, and which signature algorithm it names.
fn handmade(key: &KeyPair, subject: &[u8], extensions: &[Vec<u8>], named: &[u8]) -> Vec<u8> {
    let requests: Vec<u8> = match extensions {
        [] => vec![],
        // pkcs-9-at-extensionRequest.
        _ => sequence(&[
            vec![0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x0E],
            crate::der::element(0x31, &sequence(extensions)),
        ]),
    };
    let info = sequence(&[
        vec![0x02, 0x01, 0x00],
        subject.to_vec(),
        key.subject_public_key_info(),
        crate::der::element(0xA0, &requests),
    ]);
    let signature = [vec![0], key.sign(&info).unwrap()].concat();
    sequence(&[info, named.to_vec(), crate::der::element(0x03, &signature)])
}

const ECDSA_SHA256: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
const ECDSA_SHA1: [u8; 11] = [0x30, 0x09, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
const RSA_SHA256: [u8; 15] = [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05, 0x00];

fn extension(arc: u8, content: &[u8]) -> Vec<u8> {
    sequence(&[vec![0x06, 0x03, 0x55, 0x1D, arc], crate::der::element(0x04, content)])
}

fn asked(extensions: &[Vec<u8>]) -> Result<CertificationRequest, CertificationRequestError> {
    let key = generate(KeyAlgorithm::P256);
    CertificationRequest::from_der(&handmade(&key, &common_name("SN-1.ca"), extensions, &ECDSA_SHA256))
}

/// A request of each algorithm passes, and gives back its CN, its key and its bytes.
#[test]
fn the_right_request_passes() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let key = generate(algorithm);
        let der = request(&key, "SN-1.ca");
        let parsed = CertificationRequest::from_der(&der).unwrap();
        assert_eq!((parsed.der(), parsed.common_name().as_str()), (der.as_slice(), "SN-1.ca"));
        assert_eq!(parsed.public_key(), &public_key(&key));
        assert_eq!(parsed.extensions(), &RequestedExtensions::default());
    }
}

/// A P-384 key that signed with SHA-256, as some devices do, has proven its possession. OpenSSL made the request; its key
/// was thrown away.
#[test]
fn p384_with_sha256_passes() {
    let pem = x509_parser::pem::parse_x509_pem(include_bytes!("tests/p384-sha256.pem")).unwrap().1;
    let parsed = CertificationRequest::from_der(&pem.contents).unwrap();
    assert_eq!(parsed.public_key().algorithm(), KeyAlgorithm::P384);
}

/// Possession may be proven with each of the three hashes, and each is told from the others. What signs an EC request with
/// SHA-384 or SHA-512 is OpenSSL, in the CA's tests.
#[test]
fn every_hash_passes() {
    let key = generate(KeyAlgorithm::Rsa2048);
    let signer = aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    for (used, padding) in [
        (1_u8, &aws_lc_rs::signature::RSA_PKCS1_SHA256),
        (2, &aws_lc_rs::signature::RSA_PKCS1_SHA384),
        (3, &aws_lc_rs::signature::RSA_PKCS1_SHA512),
    ] {
        let info = sequence(&[
            vec![0x02, 0x01, 0x00],
            common_name("SN-1.ca"),
            key.subject_public_key_info(),
            vec![0xA0, 0x00],
        ]);
        let mut signature = vec![0; 256];
        signer.sign(padding, &random, &info, &mut signature).unwrap();
        let signature = crate::der::element(0x03, &[vec![0], signature].concat());
        for named in 1..=3 {
            let mut algorithm = RSA_SHA256.to_vec();
            algorithm[12] = 0x0A + named;
            let parsed = CertificationRequest::from_der(&sequence(&[info.clone(), algorithm, signature.clone()]));
            assert_eq!(parsed.is_ok(), named == used, "{used} named as {named}: {parsed:?}");
        }
    }
}

/// What a request may not be signed with is refused by its name, before anything is verified.
#[test]
fn refused_algorithms_are_named() {
    let key = generate(KeyAlgorithm::Rsa2048);
    let info =
        sequence(&[vec![0x02, 0x01, 0x00], common_name("SN-1.ca"), key.subject_public_key_info(), vec![0xA0, 0x00]]);
    let rsa = |last: u8| [&[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, last][..], &[5, 0]].concat();
    for (algorithm, name) in [
        (rsa(5), "SHA-1 (sha1WithRSAEncryption)"),
        (rsa(4), "MD5 (md5WithRSAEncryption)"),
        (rsa(14), "SHA-224"),
        (rsa(10), "RSASSA-PSS"),
        (vec![0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01], "SHA-1 (ecdsa-with-SHA1)"),
        (vec![0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02], "ECDSA and SHA-256"),
        (vec![0x06, 0x03, 0x2B, 0x65, 0x70], "Ed25519"),
        (vec![0x06, 0x03, 0x2A, 0x03, 0x04], "1.2.3.4"),
    ] {
        let signed = sequence(&[info.clone(), sequence(&[algorithm]), crate::der::element(0x03, &[0, 1])]);
        let refused = CertificationRequest::from_der(&signed).unwrap_err().to_string();
        assert!(refused.contains(&format!("signed with {name}")), "{refused} lacks {name}");
    }
}

/// An RSA key without its NULL and a compressed point could not be copied into a certificate that everybody reads.
#[test]
fn keys_are_encoded_as_everybody_reads_them() {
    let rsa = public_key(&generate(KeyAlgorithm::Rsa2048)).spki().to_vec();
    assert_eq!(rsa[17..19], [0x05, 0x00]);
    let without_null = [&[0x30, 0x82, 1, rsa[3] - 2, 0x30, 11], &rsa[6..17], &rsa[19..]].concat();
    assert_eq!(PublicKey::from_der(&without_null), Err(PublicKeyError::RsaParameters));

    let ec = public_key(&generate(KeyAlgorithm::P256));
    let point = [&[0, 2 + (ec.raw()[64] & 1)], &ec.raw()[1..33]].concat();
    let compressed = sequence(&[ec.spki()[2..23].to_vec(), crate::der::element(0x03, &point)]);
    assert_eq!(PublicKey::from_der(&compressed), Err(PublicKeyError::Point));
}

/// An EC key names its curve: parameters that are spelt out, or the curve's octets under another tag, are told as that.
#[test]
fn a_curve_is_named() {
    let spki = generate(KeyAlgorithm::P256).subject_public_key_info();
    let curve = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
    let at = spki.windows(curve.len()).position(|window| window == curve).unwrap();
    for tag in [0x04, 0x30, 0x02] {
        let mut other = spki.clone();
        other[at] = tag;
        let error = PublicKey::from_der(&other).unwrap_err().to_string();
        assert!(error.contains("no named curve") || error.contains("not a SubjectPublicKeyInfo"), "{tag}: {error}");
    }
    let mut other = spki.clone();
    other[at] = 0x04;
    assert!(PublicKey::from_der(&other).unwrap_err().to_string().contains("no named curve"));
    assert!(PublicKey::from_der(&spki).is_ok());
}

/// A bit of the signature or of what is signed, and the possession is not proven.
#[test]
fn possession_must_be_proven() {
    let key = generate(KeyAlgorithm::P256);
    let der = request(&key, "SN-1.ca");
    let mut broken = der.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(CertificationRequest::from_der(&broken), Err(CertificationRequestError::NoProofOfPossession));
    let mut renamed = der;
    let at = renamed.windows(7).position(|window| window == b"SN-1.ca").unwrap();
    renamed[at + 3] = b'2';
    assert_eq!(CertificationRequest::from_der(&renamed), Err(CertificationRequestError::NoProofOfPossession));
    // Signed by another key than the one it holds.
    let (other, subject) = (generate(KeyAlgorithm::P256), common_name("SN-1.ca"));
    let info = sequence(&[vec![0x02, 0x01, 0x00], subject, key.subject_public_key_info(), vec![0xA0, 0x00]]);
    let signature = crate::der::element(0x03, &[vec![0], other.sign(&info).unwrap()].concat());
    let der = sequence(&[info, ECDSA_SHA256.to_vec(), signature]);
    assert_eq!(CertificationRequest::from_der(&der), Err(CertificationRequestError::NoProofOfPossession));
}

/// SHA-1, and an algorithm that does not belong to the key, are refused by name before anything is verified.
#[test]
fn the_algorithm_is_the_keys_own() {
    let (ec, rsa) = (generate(KeyAlgorithm::P256), generate(KeyAlgorithm::Rsa2048));
    for (key, named) in [(&ec, ECDSA_SHA1.as_slice()), (&ec, &RSA_SHA256), (&rsa, &ECDSA_SHA256)] {
        let der = handmade(key, &common_name("SN-1.ca"), &[], named);
        let error = CertificationRequest::from_der(&der).unwrap_err();
        assert!(matches!(error, CertificationRequestError::SignatureAlgorithm(_)), "{error}");
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let error = CertificationRequest::from_der(&request(&key, "SN-1.ca")).unwrap_err();
    assert!(matches!(error, CertificationRequestError::Key(_)), "{error}");
}

/// Exactly one CN that can be read and breaks no rule.
#[test]
fn the_subject_has_one_common_name() {
    let key = generate(KeyAlgorithm::P256);
    let refused =
        |subject: &[u8]| CertificationRequest::from_der(&handmade(&key, subject, &[], &ECDSA_SHA256)).unwrap_err();
    assert_eq!(refused(&name(&[])), CertificationRequestError::CommonNames(0));
    assert_eq!(refused(&name(&[(11, 0x0C, b"SN-1.ca")])), CertificationRequestError::CommonNames(0));
    assert_eq!(refused(&name(&[(3, 0x0C, b"a"), (3, 0x0C, b"b")])), CertificationRequestError::CommonNames(2));
    for (tag, string) in
        [(0x1E, "a BMPString"), (0x14, "a TeletexString"), (0x1C, "a UniversalString"), (0x04, "no text")]
    {
        let error = refused(&name(&[(3, tag, b"\0\0\0a")]));
        assert_eq!(error, CertificationRequestError::CommonNameString(string));
    }
    let no_utf8 = refused(&name(&[(3, 0x0C, b"\xff")]));
    assert_eq!(no_utf8, CertificationRequestError::CommonNameString("a UTF8String that is no UTF-8"));
    for subject in ["x".repeat(65).as_str(), "", "caf\u{e9}", "a\nb"] {
        let error = refused(&common_name(subject));
        assert!(matches!(error, CertificationRequestError::CommonName(_)), "{subject:?}: {error}");
    }
}

/// What is asked for is read; what is asked twice, or cannot be read, is refused: it would not be clear what was meant.
#[test]
fn extensions_are_clear() {
    let extensions = [
        extension(BASIC_CONSTRAINTS, &basic_constraints(true, Some(0))),
        extension(15, &[0x03, 0x02, 0x02, 0x84]),
        extension(EXTENDED_KEY_USAGE, &extended_key_usage(&[CLIENT_AUTH, SERVER_AUTH, 9])),
        extension(
            17,
            &sequence(&[
                crate::der::element(0x82, b"a.example"),
                crate::der::element(0x87, &[10, 0, 0, 1]),
                crate::der::element(0x82, b"b.example"),
                crate::der::element(0x86, b"urn:x"),
            ]),
        ),
    ];
    assert_eq!(
        asked(&extensions).unwrap().extensions(),
        &RequestedExtensions {
            basic_constraints: Some((true, Some(0))),
            key_cert_sign: true,
            crl_sign: false,
            client_auth: true,
            server_auth: true,
            other_usages: vec!["OCSPSigning".into()],
            dns_names: vec!["a.example".into(), "b.example".into()],
            other_names: vec![GivenName::Ip([10, 0, 0, 1].into()), GivenName::Uri("urn:x".into())],
        }
    );
    let twice = [
        extension(BASIC_CONSTRAINTS, &basic_constraints(false, None)),
        extension(BASIC_CONSTRAINTS, &basic_constraints(true, None)),
    ];
    assert!(asked(&twice).unwrap_err().to_string().contains("the same extension twice"));
    let unreadable = [extension(BASIC_CONSTRAINTS, &[0x30, 0x7F])];
    assert!(asked(&unreadable).unwrap_err().to_string().contains("cannot be read"));
}

/// Garbage, a request cut anywhere, more behind it, and more than 16 KiB are errors and no panic.
#[test]
fn what_is_not_one_request_is_refused() {
    let der = request(&generate(KeyAlgorithm::P256), "SN-1.ca");
    for end in 0..der.len() {
        assert_eq!(CertificationRequest::from_der(&der[..end]), Err(CertificationRequestError::NotDer), "{end}");
    }
    let trailing = [der.as_slice(), &[0]].concat();
    assert_eq!(CertificationRequest::from_der(&trailing), Err(CertificationRequestError::NotDer));
    let large = vec![0x30; CertificationRequest::MAX + 1];
    assert_eq!(CertificationRequest::from_der(&large), Err(CertificationRequestError::TooLarge(16_385)));
}
