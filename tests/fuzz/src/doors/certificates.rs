//! Certificates that the station is to write to devices, and the files that say whom to trust.

use std::{fs, path::PathBuf, sync::LazyLock};

use issuance::{
    CertificateExpectation, CommonName, PublicKey, Purpose, Timestamp, ValidatedCertificate,
    certificate::{self, name_constraints::NameConstraints},
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use service::tls::{TlsFiles, TlsKey};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    Door,
    input::{Parts, sized},
    key::{NOW, ca, intermediate, issued, key, named, pem, root, signed, spki, to_be_signed},
    scratch,
    tree::{self, Form},
};

pub(super) const CERTIFICATE: Door = Door {
    name: "certificate",
    property: "what the station would write is for its device's key and CN, is a CA exactly where that was asked for, and is signed \
               by the pinned issuer",
    enter: certificate,
    seeds: certificates,
    taken: 15,
    octets_most: 4096,
};

pub(super) const TRUST_FILE: Door = Door {
    name: "trust-file",
    property: "a trust file that is taken holds a CA certificate; one that is refused is named, with what was wrong",
    enter: trust_file,
    seeds: trust_files,
    taken: 4,
    octets_most: 8192,
};

struct Line {
    key: PublicKey,
    issuer: Vec<u8>,
    root: Vec<u8>,
}

static LINE: LazyLock<Line> = LazyLock::new(|| Line {
    key: PublicKey::from_der(&spki("device")).expect("a P-256 key"),
    issuer: intermediate(),
    root: root(),
});

/// The first octet: the purpose, with its top bit, that the issuer's key signs what follows, and with the next one, that it is a
/// tree. Then the certificate, and
/// certificates that came beside it; an odd octet before one of them has the root sign it.
fn certificate(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let choice = parts.octet();
    let purpose = match choice & 3 {
        0 | 1 => Purpose::DeviceCa { path_length: choice & 1 },
        2 => Purpose::DeviceIdentity,
        _ => Purpose::Server,
    };
    let sign =
        |octets: &[u8], is_signed: bool, signer| if is_signed { signed(octets, &key(signer)) } else { octets.to_vec() };
    let part = parts.sized();
    let part = if choice & 0x40 == 0 { part.to_vec() } else { tree::built(Form::Der, part) };
    let der = sign(&part, choice & 0x80 != 0, "issuer");
    let mut intermediates = Vec::new();
    while !parts.is_empty() && intermediates.len() < 8 {
        let is_signed = parts.octet() & 1 == 1;
        intermediates.push(sign(parts.sized(), is_signed, "root"));
    }
    look_at(&der);
    intermediates.iter().for_each(|der| look_at(der));
    let expectation = CertificateExpectation {
        public_key: LINE.key.clone(),
        common_name: CommonName::parse("SN-1.ca").expect("a CN"),
        purpose,
        issuers: vec![LINE.issuer.clone()],
        intermediates,
        roots: vec![LINE.root.clone()],
        at: Timestamp(NOW),
    };
    let Ok(valid) = ValidatedCertificate::validate(&der, expectation.clone()) else { return false };
    assert_eq!(valid.der(), der);
    let (rest, parsed) = X509Certificate::from_der(&der).expect("what is written is a certificate");
    assert!(rest.is_empty());
    assert_eq!(parsed.public_key().raw, LINE.key.spki(), "the key");
    assert_eq!(certificate::subject_common_name(&der).as_deref(), Some("SN-1.ca"));
    assert_eq!(parsed.is_ca(), matches!(purpose, Purpose::DeviceCa { .. }), "CA");
    let (_, issuer) = X509Certificate::from_der(&LINE.issuer).expect("the issuer");
    parsed.verify_signature(Some(issuer.public_key())).expect("x509-parser finds the issuer's signature too");
    assert_eq!(valid.intermediates().first(), Some(&LINE.issuer), "the issuer comes first");
    assert_eq!(ValidatedCertificate::validate(&der, expectation).as_ref(), Ok(&valid), "twice the same");
    true
}

/// Whatever is asked of a certificate elsewhere.
fn look_at(der: &[u8]) {
    let is_one = certificate::is_self_issued(der).is_some();
    assert_eq!(is_one, certificate::certificate_serial(der).is_some());
    assert_eq!(is_one, certificate::subject_public_key(der).is_some());
    if let Some(key) = certificate::public_key(der) {
        assert_eq!(PublicKey::from_der(key.spki()).as_ref(), Ok(&key));
        assert_eq!(certificate::subject_public_key(der).as_deref(), Some(key.raw()));
    }
    if let Some(serial) = certificate::certificate_serial(der) {
        let _ = certificate::serial_octets(&serial);
    }
    if let Ok((_, parsed)) = X509Certificate::from_der(der)
        && let Ok(Some(constraints)) = NameConstraints::of(&parsed)
    {
        for subtree in constraints.permitted.iter().chain(&constraints.excluded) {
            let _ = (constraints.objection(subtree), subtree.to_string(), subtree.is_within(subtree));
        }
    }
}

fn certificates() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |choice: u8, params: &CertificateParams, beside: &[u8]| {
        let der = issued(params);
        seeds.push([&[choice | 0x80], sized(to_be_signed(&der)).as_slice(), beside].concat());
        seeds.push([&[choice], sized(&der).as_slice(), beside].concat());
        let tree = tree::taken_apart(Form::Der, &to_be_signed(&der));
        seeds.push([&[choice | 0xC0], sized(tree).as_slice(), beside].concat());
    };
    let mut device_ca = ca("SN-1.ca", Some(0));
    device_ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    device_ca.use_authority_key_identifier_extension = true;
    let other = Issuer::new(ca("Root", Some(2)), key("root"));
    let other = ca("Other CA", Some(1)).signed_by(&key("other"), &other).expect("an intermediate");
    let beside = [&[1], sized(to_be_signed(other.der())).as_slice(), &[0], sized(intermediate()).as_slice()].concat();
    add(0, &device_ca, &[]);
    add(0, &device_ca, &beside);
    let mut constrained = device_ca.clone();
    constrained.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![
            rcgen::GeneralSubtree::DnsName("line.example".to_owned()),
            rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0])),
        ],
        excluded_subtrees: vec![rcgen::GeneralSubtree::Rfc822Name("example".to_owned())],
    });
    add(0, &constrained, &[]);
    for (choice, usage) in [(2, ExtendedKeyUsagePurpose::ClientAuth), (3, ExtendedKeyUsagePurpose::ServerAuth)] {
        let mut leaf = named("SN-1.ca");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![usage];
        leaf.subject_alt_names = vec![rcgen::SanType::DnsName("SN-1.line.example".try_into().expect("a host name"))];
        add(choice, &leaf, &[]);
    }
    seeds
}

/// A client's certificate and key, and the place of the file that is trusted.
static CLIENT: LazyLock<(TlsFiles, PathBuf)> = LazyLock::new(|| {
    let write = |name: &str, text: &str| {
        let path = scratch::directory().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let mut params = named("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = write("client.pem", &pem("CERTIFICATE", &issued(&params)));
    let secret = write("client.key", &key("device").serialize_pem());
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    let trust = scratch::directory().join("trust.pem");
    (TlsFiles { certificate, key: TlsKey::from(secret), trust: trust.clone() }, trust)
});

/// PEM as it stands; behind a first octet of zero, DER parts that become certificates and CRLs, signed anew on demand.
fn trust_file(octets: &[u8]) -> bool {
    let text = match octets.split_first() {
        Some((0, parts)) => armoured(Parts::new(parts)),
        _ => octets.to_vec(),
    };
    let (files, trust) = &*CLIENT;
    fs::write(trust, &text).expect("a file in memory");
    let checked = files.check();
    match &checked {
        Ok(()) => {
            let is_ca = |block: &pem::Pem| X509Certificate::from_der(block.contents()).is_ok_and(|(_, it)| it.is_ca());
            // Where rustls reads PEM between lines that are no text, this parser reads nothing.
            let blocks = pem::parse_many(&text);
            assert!(blocks.is_err() || blocks.is_ok_and(|blocks| blocks.iter().any(is_ca)), "nobody to trust");
        }
        Err(error) => {
            let words = service::in_full(error);
            assert!(words.contains("trust.pem"), "the file is named: {words}");
        }
    }
    // The same files are read by whoever brings a root.
    if let Ok(read) = intermediate_ca::read_certificates(std::slice::from_ref(trust)) {
        read.iter().for_each(|der| look_at(der));
    }
    checked.is_ok()
}

fn armoured(mut parts: Parts<'_>) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..4 {
        let choice = parts.octet();
        let octets = parts.sized();
        let der = if choice & 2 == 0 { octets.to_vec() } else { signed(octets, &key("issuer")) };
        text += &pem(if choice & 1 == 0 { "CERTIFICATE" } else { "X509 CRL" }, &der);
        if parts.is_empty() {
            break;
        }
    }
    text.into_bytes()
}

fn revocation_list() -> Vec<u8> {
    let issuer = Issuer::new(ca("Factory CA", Some(1)), key("issuer"));
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2025, 1, 1),
        next_update: rcgen::date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7_u64),
            revocation_time: rcgen::date_time_ymd(2025, 2, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).expect("a CRL").der().to_vec()
}

fn trust_files() -> Vec<Vec<u8>> {
    let (issuer, crl) = (intermediate(), revocation_list());
    let text = pem("CERTIFICATE", &issuer) + &pem("X509 CRL", &crl);
    let parts = [&[0, 0], sized(&issuer).as_slice(), &[3], sized(to_be_signed(&crl)).as_slice()].concat();
    let plain = [&[0, 0], sized(&issuer).as_slice(), &[1], sized(&crl).as_slice()].concat();
    vec![text.into_bytes(), pem("CERTIFICATE", &root()).into_bytes(), parts, plain]
}
