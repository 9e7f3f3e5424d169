//! What comes from hardware: a worker's frames, and what a token or a TPM says of its keys.

use std::{io::Write as _, os::unix::net::UnixStream};

use issuance::{
    CertificateExpectation, CertificateLocation, CommonName, DeviceIdentity, Fault, FaultKind, KeyAlgorithm,
    KeyLocation, PublicKey, Purpose, ResidencyEvidence, Timestamp,
    device::{AttestationKey, Endorsement, Statement},
    residency::{Challenge, credential::Credential},
};
use keystore::{
    der,
    worker::{
        frame::{self, Limit},
        message::{Answer, Bytes, Call, Request, Response},
    },
};
use x509_parser::der_parser::{
    ber::BerObjectContent,
    der::{parse_der, parse_der_sequence},
};

use crate::{
    Door,
    input::{Parts, sized},
    key::{issued, named, spki},
};

pub(super) const WORKER: Door = Door {
    name: "worker-frame",
    property: "a frame is taken whole or not at all, never beyond its limit; a message that is read is read again as it was from what \
               would be sent",
    enter: worker,
    seeds: frames,
    taken: 17,
    octets_most: 16_384,
};

pub(super) const DEVICE_ANSWER: Door = Door {
    name: "device-answer",
    property: "what we make of a token's or a TPM's octets is DER that another parser reads as the same numbers; what is cut out of \
               padding is what another parser finds there",
    enter: device_answer,
    seeds: device_answers,
    taken: 6,
    octets_most: 4096,
};

/// The first octet: as what the content is read.
fn worker(octets: &[u8]) -> bool {
    let Some((choice, octets)) = octets.split_first() else { return false };
    let (mut near, far) = UnixStream::pair().expect("a socket pair");
    near.set_nonblocking(true).expect("a socket");
    // What does not fit into the socket's buffer is a peer that ends in the middle.
    let sent = near.write(octets).unwrap_or(0);
    drop(near);
    let limit = if choice & 1 == 0 { Limit::CALL } else { Limit::SETTINGS };
    let (mut taken, mut understood) = (0, false);
    while let Ok(Some(content)) = frame::receive(&far, limit, None) {
        taken += 4 + content.len();
        assert!(content.len() <= limit.octets() && taken <= sent, "more than was sent");
        understood |= message(&content);
    }
    understood
}

fn message(content: &[u8]) -> bool {
    let mut understood = false;
    macro_rules! read_back {
        ($($kind:ty)*) => {$(
            if let Ok(value) = frame::decode::<$kind>(content) {
                let sent = frame::encode(&value, Limit::CALL).expect("what came in a frame fits into one");
                let again = frame::decode::<$kind>(&sent[4..]).expect("what is sent is read");
                assert_eq!(format!("{again:?}"), format!("{value:?}"));
                assert_eq!(frame::encode(&again, Limit::CALL).expect("as before")[..], sent[..]);
                understood = true;
            }
        )*};
    }
    read_back!(Request Response);
    if let Ok(Request { call, .. }) = frame::decode::<Request>(content) {
        assert!(!call.doing().is_empty());
    }
    understood
}

fn frames() -> Vec<Vec<u8>> {
    let key = PublicKey::from_der(&spki("device")).expect("a P-256 key");
    let token = || KeyLocation::Pkcs11 { cka_id: vec![1, 2], label: "device".to_owned() };
    let certificate = || issued(&named("SN-1.ca"));
    let expectation = CertificateExpectation {
        public_key: key.clone(),
        common_name: CommonName::parse("SN-1.ca").expect("a CN"),
        purpose: Purpose::DeviceCa { path_length: 0 },
        issuers: vec![crate::key::intermediate()],
        intermediates: Vec::new(),
        roots: vec![crate::key::root()],
        at: Timestamp(crate::key::NOW),
    };
    let nv = || CertificateLocation::NvIndex(0x0180_0010);
    let calls = [
        Call::Identify,
        Call::FindKey(token()),
        Call::GenerateKey(KeyLocation::TpmHandle(0x8100_0010), KeyAlgorithm::P384),
        Call::ActivateCredential(Credential { blob: vec![1], encrypted_secret: vec![2; 3] }),
        Call::Attest(token(), Challenge([9; 32])),
        Call::Sign(token(), None, vec![Bytes(vec![1; 40]), Bytes(Vec::new())]),
        Call::WriteCertificate(nv(), Bytes(certificate()), Box::new(expectation)),
        Call::RemoveKey(token(), key.clone()),
    ];
    let endorsement = Endorsement { certificate: Some(certificate()), chain: vec![vec![1]], public_area: vec![2; 9] };
    let tpm = DeviceIdentity::Tpm {
        ek_certificate: None,
        srk_name: vec![0; 34],
        manufacturer: "IBM".to_owned(),
        firmware: "1".to_owned(),
    };
    let outcomes = [
        Ok(Answer::Identity(tpm)),
        Ok(Answer::Found(Some(key.clone()))),
        Ok(Answer::AttestationKey(Some(AttestationKey { endorsement, ak_public_area: vec![3; 9] }))),
        Ok(Answer::Evidence(ResidencyEvidence::Tpm { public_area: vec![1], name: vec![2], attestation: None })),
        Ok(Answer::Attested(Statement { certify_info: vec![1], signature: vec![2] })),
        Ok(Answer::Signatures(vec![Bytes(vec![1; 70]), Bytes(vec![2; 71])])),
        Ok(Answer::Certificate(Some(Bytes(certificate())))),
        Err(Fault::new(FaultKind::DeviceBusy, "it is busy")),
    ];
    let requests = calls
        .into_iter()
        .zip(1..)
        .map(|(call, number)| frame::encode(&Request { number, call }, Limit::CALL).expect("a request fits").to_vec());
    let responses = outcomes.into_iter().zip(1..).map(|(outcome, number)| {
        let response = Response { number, outcome, rejected: vec!["a token".to_owned()] };
        frame::encode(&response, Limit::CALL).expect("a response fits").to_vec()
    });
    let each: Vec<Vec<u8>> = requests.chain(responses).collect();
    let all = [vec![0], each.concat()].concat();
    each.into_iter().map(|frame| [vec![0], frame].concat()).chain([all]).collect()
}

/// The first octet: what kind of answer follows.
fn device_answer(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    match parts.octet() % 4 {
        0 => elliptic(&mut parts),
        1 => rsa(&mut parts),
        2 => signature(&mut parts),
        _ => padded(parts.rest()),
    }
}

/// CKA_EC_PARAMS and CKA_EC_POINT: DER for most tokens, the bare point for some.
fn elliptic(parts: &mut Parts<'_>) -> bool {
    let (curve, point) = (parts.sized(), parts.sized());
    if let Some(content) = der::octet_string(point) {
        let (rest, parsed) = parse_der(point).expect("another parser reads it");
        assert!(rest.is_empty());
        assert_eq!(parsed.content, BerObjectContent::OctetString(content));
    }
    let bare = der::octet_string(point).filter(|point| matches!(point.len(), 65 | 97)).unwrap_or(point);
    let Ok(key) = PublicKey::from_der(&der::ec_public_key(curve, bare)) else { return false };
    assert_eq!(key.raw(), bare);
    assert_eq!(der::named_curve(key.algorithm()).as_deref(), Some(curve), "{key:?}");
    true
}

fn rsa(parts: &mut Parts<'_>) -> bool {
    let (modulus, exponent) = (parts.sized(), parts.sized());
    let spki = der::rsa_public_key(modulus, exponent);
    let Ok(key) = PublicKey::from_der(&spki) else { return false };
    let (_, numbers) = parse_der_sequence(key.raw()).expect("RSAPublicKey is a SEQUENCE");
    let BerObjectContent::Sequence(numbers) = &numbers.content else { panic!("RSAPublicKey is a SEQUENCE") };
    for (number, given) in numbers.iter().zip([modulus, exponent]) {
        same_number(number.as_slice().expect("an INTEGER"), given);
    }
    true
}

fn signature(parts: &mut Parts<'_>) -> bool {
    let (r, s) = (parts.sized(), parts.sized());
    let made = der::ecdsa_signature(r, s);
    let (rest, parsed) = parse_der_sequence(&made).expect("ECDSA-Sig-Value is a SEQUENCE");
    assert!(rest.is_empty());
    let BerObjectContent::Sequence(numbers) = &parsed.content else { panic!("ECDSA-Sig-Value is a SEQUENCE") };
    assert_eq!(numbers.len(), 2);
    for (number, given) in numbers.iter().zip([r, s]) {
        same_number(number.as_slice().expect("an INTEGER"), given);
    }
    true
}

/// An INTEGER's content and an unsigned number: the same, and minimal.
fn same_number(content: &[u8], unsigned: &[u8]) {
    let significant = |octets: &[u8]| octets.iter().copied().skip_while(|octet| *octet == 0).collect::<Vec<u8>>();
    assert_eq!(significant(content), significant(unsigned));
    assert!(content.first().is_some_and(|first| first & 0x80 == 0), "negative");
    assert!(!matches!(content, [0, second, ..] if second & 0x80 == 0), "not minimal");
}

/// NV indexes hold padding behind a certificate, and several of them one after the other.
fn padded(octets: &[u8]) -> bool {
    let (mut rest, mut found) = (octets, 0);
    while let Some(sequence) = der::leading_sequence(rest) {
        assert!(sequence.len() >= 2 && rest.starts_with(sequence));
        // Ours takes lengths that are not in the fewest octets; who does not, finds the same or nothing.
        if let Ok((behind, _)) = parse_der(rest) {
            assert_eq!(rest.len() - behind.len(), sequence.len());
        }
        rest = &rest[sequence.len()..];
        found += sequence.len();
    }
    assert!(found <= octets.len());
    found > 0
}

fn device_answers() -> Vec<Vec<u8>> {
    let point = spki("device")[26..].to_vec();
    let curve = der::named_curve(KeyAlgorithm::P256).expect("a curve");
    let wrapped = der::element(0x04, &point);
    let certificate = issued(&named("EK"));
    vec![
        [vec![0], sized(&curve), sized(&wrapped)].concat(),
        [vec![0], sized(&curve), sized(&point)].concat(),
        [vec![1], sized([0xC1; 256]), sized([1, 0, 1])].concat(),
        [vec![2], sized([0x81; 32]), sized([0, 0, 7])].concat(),
        [vec![3], certificate.clone(), vec![0xFF; 20]].concat(),
        [vec![3], certificate.clone(), certificate].concat(),
    ]
}
