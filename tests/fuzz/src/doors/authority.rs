//! What comes to the CA: certification requests, EST bodies, what brand owners signed.

use std::{collections::HashSet, path::Path, sync::LazyLock};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use intermediate_ca::{CaCertificate, CaProfile, Configuration, Reason, Rules, Stop, Submission};
use issuance::{PublicKey, Purpose, Timestamp, request::CertificationRequest};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use x509_parser::{certificate::TbsCertificate, extensions::ParsedExtension, prelude::FromDer as _};

use crate::{
    Door,
    input::Parts,
    key::{NOW, asked, asks_for_ca, ca, key, signed, spki, to_be_signed},
    tree::{self, Form},
};

pub(super) const REQUEST: Door = Door {
    name: "certification-request",
    property: "what the CA would sign holds the request's own key and CN, octet for octet, says CA:TRUE only under a device CA's \
               profile, and never needed the lint to be stopped",
    enter: request,
    seeds: requests,
    taken: 18,
    octets_most: 4096,
};

pub(super) const EST_BODY: Door = Door {
    name: "est-body",
    property: "base64 is read to the same octets however it is folded, and what is read is read again from its plain form",
    enter: est_body,
    seeds: est_bodies,
    taken: 3,
    octets_most: 8192,
};

pub(super) const LOT_AUTHORISATION: Door = Door {
    name: "lot-authorisation",
    property: "only what a brand owner's key signed, for this CA, with a quantity and an end is taken, and it says what was signed",
    enter: lot_authorisation,
    seeds: lot_authorisations,
    taken: 2,
    octets_most: 4096,
};

const CA_TOML: &str = include_str!("ca.toml");

/// The profiles of a CA, and the door that they make.
static AUTHORITY: LazyLock<(Vec<CaProfile>, Rules)> = LazyLock::new(|| {
    let file = service::configuration::File::parse(Path::new("/etc/ca/ca.toml"), CA_TOML.to_owned());
    let read = Configuration::parse(file.expect("the configuration is TOML")).expect("the configuration is right");
    let issuers = read.authority.issuers.iter().map(|settings| {
        let params = ca(settings.common_name.as_str(), settings.path_length);
        let der = params.self_signed(&key("issuer")).expect("an issuer").der().to_vec();
        CaCertificate::parse(settings, &der, None).expect("an issuer that fits its configuration")
    });
    let names = HashSet::from(["factory device ca".to_owned(), "root".to_owned()]);
    let profiles = read.authority.profiles;
    let rules = Rules::new(&profiles, issuers.collect(), names);
    (profiles, rules)
});

/// The first octet chooses the profile; with its top bit, what follows is signed anew, with the key that the seeds ask for; with
/// the next one, it is a tree.
fn request(octets: &[u8]) -> bool {
    let Some((choice, rest)) = octets.split_first() else { return false };
    let rest = if choice & 0x40 == 0 { rest.to_vec() } else { tree::built(Form::Der, rest) };
    let der = if choice & 0x80 == 0 { rest } else { signed(&rest, &key("device")) };
    let (profiles, rules) = &*AUTHORITY;
    let profile = &profiles[usize::from(choice & 0x3F) % profiles.len()];
    let submission = Submission {
        issuance: "01234567-89ab-7def-8123-456789abcdef".to_owned(),
        device_serial: "SN-1".to_owned(),
        lot: String::new(),
        profile: profile.name.to_string(),
        certification_request: der.clone(),
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    };
    match rules.rehearse("station-1", submission, Timestamp(NOW)) {
        Ok(tbs) => {
            let request = CertificationRequest::from_der(&der).expect("what the CA takes is a request");
            would_sign(&tbs, &request, profile);
            true
        }
        Err(Stop::Refuse(refusal)) => {
            assert_ne!(refusal.reason, Reason::LintFailed, "the lint is the last look, not the first: {refusal}");
            assert!(!refusal.message.is_empty());
            false
        }
        Err(Stop::Defer(later)) => panic!("nothing here gets better by waiting: {later:?}"),
    }
}

/// What comes of a submission at this CA.
pub(super) fn rehearse(submission: Submission) -> Result<Vec<u8>, Stop> {
    AUTHORITY.1.rehearse("station-1", submission, Timestamp(NOW))
}

fn would_sign(tbs: &[u8], request: &CertificationRequest, profile: &CaProfile) {
    let (rest, parsed) = TbsCertificate::from_der(tbs).expect("what is signed is a TBSCertificate");
    assert!(rest.is_empty());
    assert_eq!(parsed.subject_pki.raw, request.public_key().spki(), "the key");
    let names: Vec<_> = parsed.subject.iter_common_name().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, [request.common_name().as_str()], "the CN");
    let is_ca = parsed.basic_constraints().expect("one BasicConstraints").is_some_and(|found| found.value.ca);
    assert_eq!(is_ca, matches!(profile.purpose, Purpose::DeviceCa { .. }), "CA");
    let unread = |extension: &&x509_parser::extensions::X509Extension<'_>| {
        matches!(extension.parsed_extension(), ParsedExtension::ParseError { .. })
    };
    assert!(!parsed.extensions().iter().any(|extension| unread(&extension)), "an extension that nobody reads");
}

fn requests() -> Vec<Vec<u8>> {
    let (profiles, _) = &*AUTHORITY;
    let mut seeds = Vec::new();
    let mut add = |choice: usize, params: &CertificateParams| {
        let der = params.serialize_request(&key("device")).expect("a request").der().to_vec();
        let choice = u8::try_from(choice).expect("few profiles");
        seeds.push([&[choice | 0x80], to_be_signed(&der).as_slice()].concat());
        seeds.push([&[choice], der.as_slice()].concat());
        seeds.push([&[choice | 0xC0], tree::taken_apart(Form::Der, &to_be_signed(&der)).as_slice()].concat());
    };
    for (choice, profile) in profiles.iter().enumerate() {
        let name = match profile.purpose {
            Purpose::DeviceCa { .. } => "SN-1.ca",
            Purpose::DeviceIdentity => "SN-1",
            Purpose::Server => "SN-1.line.example",
        };
        add(choice, &asked(name));
        let mut full = asked(name);
        match profile.purpose {
            Purpose::DeviceCa { path_length } => full.custom_extensions = vec![asks_for_ca(path_length)],
            Purpose::DeviceIdentity => full.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server => {
                full.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                full.subject_alt_names = vec![
                    SanType::DnsName("SN-1.line.example".try_into().expect("a host name")),
                    SanType::IpAddress([10, 0, 0, 1].into()),
                    SanType::URI("urn:example:SN-1".try_into().expect("a URI")),
                ];
            }
        }
        add(choice, &full);
    }
    let mut odd = asked("SN-1.ca");
    odd.distinguished_name.push(DnType::OrganizationName, "Example Devices");
    odd.subject_alt_names = vec![SanType::Rfc822Name("device@line.example".try_into().expect("an address"))];
    add(0, &odd);
    seeds
}

fn est_body(body: &[u8]) -> bool {
    let Ok(octets) = intermediate_ca::from_base64(body) else { return false };
    let plain = STANDARD.encode(&octets);
    assert_eq!(intermediate_ca::from_base64(plain.as_bytes()).as_ref(), Ok(&octets), "in one line");
    let folded: Vec<&[u8]> = plain.as_bytes().chunks(64).collect();
    assert_eq!(intermediate_ca::from_base64(&folded.join(&b"\r\n"[..])).as_ref(), Ok(&octets), "in many lines");
    // What a body holds goes the way of every request.
    request(&[&[0], octets.as_slice()].concat())
}

fn est_bodies() -> Vec<Vec<u8>> {
    let der = asked("SN-1.ca").serialize_request(&key("device")).expect("a request");
    let line = STANDARD.encode(der.der());
    let folded: Vec<&str> = line.as_bytes().chunks(76).map(|part| std::str::from_utf8(part).expect("base64")).collect();
    let pem = crate::key::pem("CERTIFICATE REQUEST", der.der());
    vec![line.clone().into_bytes(), folded.join("\r\n").into_bytes(), pem.into_bytes()]
}

fn brand_owners() -> [PublicKey; 1] {
    [PublicKey::from_der(&spki("brand owner")).expect("a P-256 key")]
}

/// What `aud` must be.
const AUDIENCE: &str = "this-ca";

/// The first octet says whether what follows is a JWS, or header and claims that the brand owner's key signs.
fn lot_authorisation(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let is_signed = parts.octet() & 1 == 1;
    let text = if is_signed {
        let header = parts.sized();
        jws(header, parts.rest(), "brand owner")
    } else {
        String::from_utf8_lossy(parts.rest()).into_owned()
    };
    let owners = brand_owners();
    let audience = |profile: &issuance::ProfileName| (profile.as_str() == "device-ca").then(|| AUDIENCE.to_owned());
    match intermediate_ca::verify_authorisation(&text, &owners, audience) {
        Ok(taken) => {
            assert!(taken.quantity > 0 && taken.signature.expires > taken.signature.not_before, "{taken:?}");
            assert_eq!(taken.signature.key_sha256, owners[0].sha256());
            assert!(taken.signature.device_serials == taken.quantity || !taken.signature.pattern.is_empty());
            let payload = text.trim().split('.').nth(1).expect("a JWS");
            let claims = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
            assert!(claims.windows(AUDIENCE.len()).any(|part| part == AUDIENCE.as_bytes()) || claims.contains(&b'\\'));
            // The same by a stranger's hand.
            let header = URL_SAFE_NO_PAD.decode(text.trim().split('.').next().expect("a JWS")).expect("base64url");
            let forged = jws(&header, &claims, "stranger");
            assert!(intermediate_ca::verify_authorisation(&forged, &owners, audience).is_err());
            true
        }
        Err(refused) => {
            assert!(!refused.message.is_empty());
            false
        }
    }
}

fn jws(header: &[u8], claims: &[u8], signer: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &crate::key::pkcs8(signer)).expect("a key");
    let signature = key.sign(&SystemRandom::new(), input.as_bytes()).expect("a P-256 key signs");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn lot_authorisations() -> Vec<Vec<u8>> {
    const HEADER: &[u8] = br#"{"alg":"ES256","typ":"JWT","kid":"1"}"#;
    let claims = |rest: &str| {
        format!(
            r#"{{"aud":"{AUDIENCE}","jti":"order-1","lot":"WO-1","profile":"device-ca","quantity":2,"nbf":1767225600,"exp":1769904000,{rest}}}"#
        )
    };
    let pattern = claims(r#""pattern":"SN-22*","iss":"brand","iat":1"#);
    let listed = claims(r#""serials":["SN-1","SN-2"]"#);
    let signed = |claims: &str| [&[1], crate::input::sized(HEADER).as_slice(), claims.as_bytes()].concat();
    let whole = [&[0], jws(HEADER, pattern.as_bytes(), "stranger").as_bytes()].concat();
    vec![signed(&pattern), signed(&listed), whole]
}
