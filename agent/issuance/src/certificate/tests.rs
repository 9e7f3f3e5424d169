use super::*;
use crate::{KeyAlgorithm, simulated::*};

const NAME_CONSTRAINTS: u8 = 30;

const DEVICE_CA: Purpose = Purpose::DeviceCa { path_length: 0 };
const PURPOSES: [Purpose; 4] =
    [DEVICE_CA, Purpose::DeviceCa { path_length: 1 }, Purpose::DeviceIdentity, Purpose::Server];

fn recipe(place: &Place, purpose: Purpose) -> Recipe {
    Recipe::right(purpose, "SN-1.ca", &place.key)
}

/// Issues the recipe and validates it for the purpose.
fn validate(place: &Place, purpose: Purpose, recipe: &Recipe) -> Result<ValidatedCertificate, CertificateRejected> {
    ValidatedCertificate::validate(&place.issuer.issue(recipe), place.expectation(purpose))
}

#[track_caller]
fn refused(result: Result<ValidatedCertificate, CertificateRejected>, words: &str) {
    let error = result.expect_err(words).to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

/// What a profile asks for passes: each purpose with each device key, and each issuer's key and hash.
#[test]
fn the_right_certificate_passes() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048] {
        let mut place = Place::new(algorithm);
        for purpose in PURPOSES {
            let valid = validate(&place, purpose, &recipe(&place, purpose)).unwrap();
            assert_eq!(valid.intermediates(), std::slice::from_ref(&place.issuer.der));
            assert_eq!(valid.certificate_serial(), "1234");
        }
        let key = generate(algorithm);
        let der = place.root.issue(&Authority::recipe("Issuer", &key, Some(1)));
        place.issuer = Authority { subject: common_name("Issuer"), key, der };
        for purpose in PURPOSES {
            validate(&place, purpose, &recipe(&place, purpose)).unwrap();
        }
    }
}

/// A certificate for another key is refused, whatever else is right.
#[test]
fn the_key_must_be_the_devices() {
    let place = Place::new(KeyAlgorithm::P256);
    let other = generate(KeyAlgorithm::P256);
    refused(validate(&place, DEVICE_CA, &Recipe::right(DEVICE_CA, "SN-1.ca", &other)), "is for another key");
}

/// The subject has exactly the CN that was asked for, byte for byte: not in another case, not beside another, not
/// beside one in a string type that cannot be read.
#[test]
fn the_subject_has_one_common_name() {
    let place = Place::new(KeyAlgorithm::P256);
    let right = recipe(&place, DEVICE_CA);
    for (subject, words) in [
        (common_name("SN-2.ca"), "\"SN-2.ca\""),
        (common_name("sn-1.ca"), "\"sn-1.ca\""),
        (common_name("SN-1.ca "), "\"SN-1.ca \""),
        (name(&[(3, 0x0C, b"SN-1.ca"), (3, 0x0C, b"evil")]), "SN-1.ca + evil"),
        (name(&[(3, 0x0C, b"SN-1.ca"), (3, 0x1E, b"\0e\0v")]), "SN-1.ca + (unreadable)"),
        (name(&[(11, 0x0C, b"SN-1.ca")]), "the CN \"\""),
        (name(&[]), "the CN \"\""),
    ] {
        refused(validate(&place, DEVICE_CA, &Recipe { subject, ..right.clone() }), words);
    }
    let with_unit = name(&[(11, 0x0C, b"Line 1"), (3, 0x13, b"SN-1.ca")]);
    validate(&place, DEVICE_CA, &Recipe { subject: with_unit, ..right }).unwrap();
}

/// A device CA without CA:TRUE, critical, with another pathlen, or with usages that it must not have, is refused.
#[test]
fn a_device_ca_is_a_ca() {
    let place = Place::new(KeyAlgorithm::P256);
    let right = recipe(&place, DEVICE_CA);
    let bc = |critical, content| right.clone().with(BASIC_CONSTRAINTS, critical, content);
    let ku = |critical, bits: &[u8]| right.clone().with(KEY_USAGE, critical, key_usage(bits));
    let both = [DIGITAL_SIGNATURE, KEY_CERT_SIGN];
    let mut twice = right.clone();
    twice.extensions.push(twice.extensions[0].clone());
    for (recipe, words) in [
        (right.clone().without(BASIC_CONSTRAINTS), "CA:FALSE, and CA:TRUE was asked"),
        (bc(true, basic_constraints(false, None)), "CA:FALSE, and CA:TRUE was asked"),
        (bc(false, basic_constraints(true, Some(0))), "BasicConstraints is not critical"),
        (bc(true, basic_constraints(true, None)), "no pathlen, and pathlen:0"),
        (bc(true, basic_constraints(true, Some(1))), "pathlen:1, and pathlen:0"),
        (bc(true, vec![0x30, 0x7F]), "extension is malformed"),
        (twice, "stands twice"),
        (right.clone().without(KEY_USAGE), "KeyUsage is missing"),
        (ku(false, &both), "KeyUsage is not critical"),
        (ku(true, &[DIGITAL_SIGNATURE]), "lacks keyCertSign"),
        (ku(true, &[KEY_CERT_SIGN]), "lacks keyCertSign or digitalSignature"),
        (right.clone().with(EXTENDED_KEY_USAGE, false, extended_key_usage(&[SERVER_AUTH])), "a device CA has none"),
        (right.clone().with(UNKNOWN, true, vec![0x05, 0]), "critical extension is unknown"),
        // subjectAltName whose GeneralNames end early.
        (right.clone().with(17, false, vec![0x30, 0x05, 0x82]), "extension is malformed"),
    ] {
        refused(validate(&place, DEVICE_CA, &recipe), words);
    }
    validate(&place, DEVICE_CA, &right.clone().with(UNKNOWN, false, vec![0x05, 0])).unwrap();
}

/// A leaf with CA:TRUE or keyCertSign, or without its purpose, is refused.
#[test]
fn a_leaf_is_a_leaf() {
    let place = Place::new(KeyAlgorithm::P256);
    for (purpose, lacks, other) in
        [(Purpose::DeviceIdentity, "lacks clientAuth", SERVER_AUTH), (Purpose::Server, "lacks serverAuth", CLIENT_AUTH)]
    {
        let right = recipe(&place, purpose);
        for (recipe, words) in [
            (right.clone().with(BASIC_CONSTRAINTS, true, basic_constraints(true, Some(0))), "CA:TRUE, and CA:FALSE"),
            (right.clone().with(BASIC_CONSTRAINTS, false, basic_constraints(true, None)), "CA:TRUE, and CA:FALSE"),
            (right.clone().with(KEY_USAGE, true, key_usage(&[DIGITAL_SIGNATURE, KEY_CERT_SIGN])), "has keyCertSign"),
            (right.clone().with(KEY_USAGE, true, key_usage(&[2])), "lacks digitalSignature"),
            (right.clone().without(EXTENDED_KEY_USAGE), "ExtendedKeyUsage is missing"),
            (right.clone().with(EXTENDED_KEY_USAGE, false, extended_key_usage(&[other])), lacks),
        ] {
            refused(validate(&place, purpose, &recipe), words);
        }
        validate(&place, purpose, &right.with(BASIC_CONSTRAINTS, true, basic_constraints(false, None))).unwrap();
    }
}

/// Before and after its time a certificate is refused, and one whose intermediate or root is out of time too; the
/// error says whose.
#[test]
fn everything_on_the_path_is_valid_now() {
    let mut place = Place::new(KeyAlgorithm::P256);
    let right = recipe(&place, DEVICE_CA);
    refused(validate(&place, DEVICE_CA, &right.clone().valid(-2 * DAY, -DAY)), "the certificate is valid from");
    refused(validate(&place, DEVICE_CA, &right.clone().valid(DAY, 2 * DAY)), "the certificate is valid from");
    validate(&place, DEVICE_CA, &right.clone().valid(0, 0)).unwrap();

    let expired = Authority::recipe("Issuer", &place.issuer.key, Some(1)).valid(-2 * DAY, -DAY);
    let good = std::mem::replace(&mut place.issuer.der, place.root.issue(&expired));
    refused(validate(&place, DEVICE_CA, &right), "the intermediate certificate is valid from");
    place.issuer.der = good;

    let expired = Authority::recipe("Root", &place.root.key, None).valid(-2 * DAY, -DAY);
    place.root.der = place.root.issue(&expired);
    refused(validate(&place, DEVICE_CA, &right), "the root certificate is valid from");
}

/// A renewed root or intermediate with the same name and key serves beside the expired one, in either order.
#[test]
fn a_renewed_ca_serves_beside_the_old_one() {
    let place = Place::new(KeyAlgorithm::P256);
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    let old_root = place.root.issue(&Authority::recipe("Root", &place.root.key, None).valid(-2 * DAY, -DAY));
    let old_issuer = place.root.issue(&Authority::recipe("Issuer", &place.issuer.key, Some(1)).valid(-2 * DAY, -DAY));
    for turn in [false, true] {
        let mut expectation = place.expectation(DEVICE_CA);
        expectation.roots.push(old_root.clone());
        expectation.issuers.push(old_issuer.clone());
        if turn {
            expectation.roots.reverse();
            expectation.issuers.reverse();
        }
        let valid = ValidatedCertificate::validate(&leaf, expectation).unwrap();
        assert_eq!(valid.intermediates(), std::slice::from_ref(&place.issuer.der));
    }
}

/// Another intermediate under the same root is not the profile's issuer, even when the CA sends it in the chain.
#[test]
fn the_issuer_is_pinned() {
    let place = Place::new(KeyAlgorithm::P256);
    let other = place.root.beneath("Other", Some(1));
    let leaf = other.issue(&recipe(&place, DEVICE_CA));
    let mut expectation = place.expectation(DEVICE_CA);
    expectation.intermediates.push(other.der.clone());
    refused(ValidatedCertificate::validate(&leaf, expectation.clone()), "is none of the profile's issuers");
    // Directly under the root, which is no issuer here.
    let leaf = place.root.issue(&recipe(&place, DEVICE_CA));
    refused(ValidatedCertificate::validate(&leaf, expectation), "is none of the profile's issuers");
    // A device CA beneath the issuer issues for a neighbour.
    let device_key = generate(KeyAlgorithm::P256);
    let device = Authority {
        subject: common_name("SN-0.ca"),
        der: place.issuer.issue(&Recipe::right(DEVICE_CA, "SN-0.ca", &device_key)),
        key: device_key,
    };
    let leaf = device.issue(&Recipe::right(Purpose::DeviceIdentity, "SN-1.ca", &place.key));
    let mut expectation = place.expectation(Purpose::DeviceIdentity);
    expectation.intermediates.push(device.der);
    refused(ValidatedCertificate::validate(&leaf, expectation), "is none of the profile's issuers");
}

/// One bit of the signature, or of what is signed, and the certificate is refused.
#[test]
fn a_broken_signature_is_refused() {
    let place = Place::new(KeyAlgorithm::P256);
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    let mut broken = leaf.clone();
    *broken.last_mut().unwrap() ^= 1;
    refused(ValidatedCertificate::validate(&broken, place.expectation(DEVICE_CA)), "a signature does not verify");
    // The certificate serial: signed, and nothing else looks at it.
    let mut broken = leaf;
    let at = broken.windows(4).position(|window| window == [0x02, 0x02, 0x12, 0x34]).unwrap();
    broken[at + 3] ^= 1;
    refused(ValidatedCertificate::validate(&broken, place.expectation(DEVICE_CA)), "a signature does not verify");
    // An issuer of the right name with another key.
    let impostor = Authority::root("Issuer", None);
    let leaf = impostor.issue(&recipe(&place, DEVICE_CA));
    refused(ValidatedCertificate::validate(&leaf, place.expectation(DEVICE_CA)), "a signature does not verify");
}

/// The issuer leads to no root that is trusted, or is no CA, or may not have a device CA beneath it.
#[test]
fn the_path_leads_to_a_root() {
    let mut place = Place::new(KeyAlgorithm::P256);
    let right = recipe(&place, DEVICE_CA);
    let mut expectation = place.expectation(DEVICE_CA);
    expectation.roots = vec![Authority::root("Elsewhere", None).der];
    let leaf = place.issuer.issue(&right);
    refused(ValidatedCertificate::validate(&leaf, expectation), "no trusted root issued the last intermediate");

    let issuer_recipe = Authority::recipe("Issuer", &place.issuer.key, Some(1));
    for (recipe, words) in [
        (issuer_recipe.clone().without(BASIC_CONSTRAINTS), "an issuer is not a CA"),
        (
            issuer_recipe.clone().with(BASIC_CONSTRAINTS, true, basic_constraints(true, Some(0))),
            "pathlen does not allow",
        ),
        (issuer_recipe.clone().with(KEY_USAGE, true, key_usage(&[DIGITAL_SIGNATURE])), "may not sign certificates"),
        (issuer_recipe.clone().with(UNKNOWN, true, vec![0x05, 0]), "an issuer has a critical extension"),
    ] {
        place.issuer.der = place.root.issue(&recipe);
        refused(validate(&place, DEVICE_CA, &right), words);
    }
    // A leaf is no CA, so pathlen 0 above it is right; and the root's own pathlen counts.
    place.issuer.der =
        place.root.issue(&issuer_recipe.clone().with(BASIC_CONSTRAINTS, true, basic_constraints(true, Some(0))));
    validate(&place, Purpose::DeviceIdentity, &recipe(&place, Purpose::DeviceIdentity)).unwrap();
    place.issuer.der = place.root.issue(&issuer_recipe);
    let tight = Authority::recipe("Root", &place.root.key, Some(1));
    place.root.der = place.root.issue(&tight);
    refused(validate(&place, DEVICE_CA, &right), "pathlen does not allow");
    validate(&place, Purpose::Server, &recipe(&place, Purpose::Server)).unwrap();
}

/// Three CAs above the device: the middle one comes with the answer or is configured, and all are returned in order,
/// issuer first, no root.
#[test]
fn a_chain_of_three_passes() {
    let mut place = Place::new(KeyAlgorithm::P256);
    let middle = place.root.beneath("Middle", Some(2));
    place.issuer = middle.beneath("Issuer", Some(1));
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    let mut expectation = place.expectation(DEVICE_CA);
    refused(ValidatedCertificate::validate(&leaf, expectation.clone()), "no trusted root");
    // In any order, with the root among them.
    expectation.intermediates = vec![place.root.der.clone(), middle.der.clone(), place.issuer.der.clone()];
    let valid = ValidatedCertificate::validate(&leaf, expectation).unwrap();
    assert_eq!(valid.intermediates(), [place.issuer.der.clone(), middle.der]);
}

/// A profile whose issuer is itself the trusted root: nothing stands between, whether its pathlen is tight or open.
#[test]
fn a_root_may_be_the_issuer() {
    for path_length in [None, Some(1)] {
        let mut place = Place::new(KeyAlgorithm::P256);
        place.root = Authority::root("Root", path_length);
        let leaf = place.root.issue(&recipe(&place, DEVICE_CA));
        let mut expectation = place.expectation(DEVICE_CA);
        expectation.issuers = vec![place.root.der.clone()];
        assert!(ValidatedCertificate::validate(&leaf, expectation.clone()).unwrap().intermediates().is_empty());
        // Self-signed is not enough: it must be trusted.
        expectation.roots = vec![Authority::root("Root", None).der];
        assert!(ValidatedCertificate::validate(&leaf, expectation).is_err());
    }
}

/// A chain of many CAs with one name that sign each other ends in an error, soon.
#[test]
fn a_labyrinth_ends() {
    let place = Place::new(KeyAlgorithm::P256);
    let stranger = Authority::root("Stranger", None);
    let issuer = stranger.beneath("Issuer", Some(9));
    let leaf = issuer.issue(&recipe(&place, DEVICE_CA));
    let mut expectation = place.expectation(DEVICE_CA);
    expectation.issuers = vec![issuer.der.clone()];
    expectation.intermediates = (1..30)
        .map(|day| stranger.issue(&Authority::recipe("Stranger", &stranger.key, None).valid(-day * DAY, DAY)))
        .collect();
    let began = std::time::Instant::now();
    refused(ValidatedCertificate::validate(&leaf, expectation), "no path leads");
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
}

/// Bytes that are not one certificate, cut anywhere or with more behind, are an error and no panic.
#[test]
fn what_is_not_one_certificate_is_refused() {
    let place = Place::new(KeyAlgorithm::P256);
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    for end in 0..leaf.len() {
        refused(ValidatedCertificate::validate(&leaf[..end], place.expectation(DEVICE_CA)), "not one DER-encoded");
    }
    let trailing = [leaf.as_slice(), &[0]].concat();
    refused(ValidatedCertificate::validate(&trailing, place.expectation(DEVICE_CA)), "not one DER-encoded");
    let mut expectation = place.expectation(DEVICE_CA);
    expectation.intermediates.push(b"garbage".to_vec());
    refused(ValidatedCertificate::validate(&leaf, expectation), "the intermediate certificate is not one DER");
    assert_eq!((certificate_serial(b"x"), super::public_key(b"x"), subject_common_name(b"x")), (None, None, None));
    assert_eq!(subject_common_name(&leaf).as_deref(), Some("SN-1.ca"));
    assert_eq!(super::public_key(&leaf).as_ref(), Some(&place.expectation(DEVICE_CA).public_key));
}

/// Any byte changed anywhere is refused, never a panic: the signature covers all of it.
#[test]
fn no_changed_byte_passes() {
    let place = Place::new(KeyAlgorithm::P256);
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 0x10;
        assert!(ValidatedCertificate::validate(&changed, place.expectation(DEVICE_CA)).is_err(), "byte {at}");
    }
}

/// That an issuer's certificate verified under one root says nothing of another root by the same name: it is looked at anew, and
/// refused.
#[test]
fn what_verified_is_remembered_of_its_issuer_alone() {
    let (place, stranger) = (Place::new(KeyAlgorithm::P256), Place::new(KeyAlgorithm::P256));
    let leaf = place.issuer.issue(&recipe(&place, DEVICE_CA));
    ValidatedCertificate::validate(&leaf, place.expectation(DEVICE_CA)).unwrap();
    let beneath_a_stranger =
        CertificateExpectation { roots: vec![stranger.root.der.clone()], ..place.expectation(DEVICE_CA) };
    refused(ValidatedCertificate::validate(&leaf, beneath_a_stranger), "a signature does not verify");
    ValidatedCertificate::validate(&leaf, place.expectation(DEVICE_CA)).unwrap();
}

/// A certificate that the right RSA key signed over SHA-1 is refused for its algorithm. x509-parser by itself would
/// verify it; the certificates were made with OpenSSL, and their keys thrown away.
#[test]
fn sha_1_is_refused() {
    let der = |pem: &str| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
    let root = der(include_str!("tests/sha1-root.pem"));
    let leaf = der(include_str!("tests/sha1-leaf.pem"));
    let parsed_root = parse(&root, "root").unwrap();
    parse(&leaf, "leaf").unwrap().verify_signature(Some(parsed_root.public_key())).unwrap();
    let expectation = CertificateExpectation {
        public_key: super::public_key(&leaf).unwrap(),
        common_name: CommonName::parse("SN-1.ca").unwrap(),
        purpose: DEVICE_CA,
        issuers: vec![root.clone()],
        intermediates: vec![],
        roots: vec![root],
        // They were made later than the others' NOW.
        at: Timestamp(NOW.0 + 400 * DAY * 1000),
    };
    refused(ValidatedCertificate::validate(&leaf, expectation), "signature algorithm is not accepted");
}

/// Names that a CA above constrains lie within its permitted and outside its excluded subtrees: the issuer's and the
/// root's constraints alike; what they do not constrain passes, and so does a validity without an end.
#[test]
fn constrained_names_lie_within() {
    let dns = |name: &str| crate::der::element(0x82, name.as_bytes());
    let subtrees = |tag, bases: &[Vec<u8>]| {
        let each: Vec<u8> = bases.iter().flat_map(|base| sequence(std::slice::from_ref(base))).collect();
        crate::der::element(tag, &each)
    };
    let network = crate::der::element(0x87, &[10, 0, 0, 0, 255, 0, 0, 0]);
    let constrained = |content: Vec<u8>, at_root: bool| {
        let mut place = Place::new(KeyAlgorithm::P256);
        let mut root = Authority::recipe("Root", &place.root.key, None);
        let mut issuer = Authority::recipe("Issuer", &place.issuer.key, Some(1));
        let of = if at_root { &mut root } else { &mut issuer };
        *of = of.clone().with(NAME_CONSTRAINTS, true, content);
        place.root.der = sign(&root, &place.root.subject, &place.root.key);
        place.issuer.der = place.root.issue(&issuer);
        place
    };
    let permitted = subtrees(0xA0, &[dns("line.example"), network.clone()]);
    let excluded = subtrees(0xA1, &[dns("test.line.example")]);
    let both = sequence(&[permitted, excluded]);
    let email = sequence(&[subtrees(0xA0, &[crate::der::element(0x81, b"line.example")])]);
    let directory = sequence(&[subtrees(0xA0, &[crate::der::element(0xA4, &common_name("Line"))])]);
    let long = 253_402_300_799 - NOW.seconds();
    for at_root in [false, true] {
        for (content, name, words) in [
            (&both, None, None),
            (&both, Some(dns("sn-1.line.example")), None),
            (&both, Some(dns("sn-1.elsewhere.example")), Some("lies in no permitted subtree")),
            (&both, Some(dns("sn-1.test.line.example")), Some("lies in an excluded subtree")),
            (&both, Some(crate::der::element(0x87, &[10, 1, 2, 3])), None),
            (&both, Some(crate::der::element(0x87, &[11, 1, 2, 3])), Some("11.1.2.3 lies in no permitted")),
            (&both, Some(crate::der::element(0x86, b"urn:x")), None),
            (&email, Some(dns("sn-1.elsewhere.example")), None),
            (&email, Some(crate::der::element(0x81, b"a@line.example")), Some("are not judged")),
            (&directory, None, Some("the directoryName is constrained")),
        ] {
            let place = constrained(content.clone(), at_root);
            let mut recipe = recipe(&place, Purpose::Server).valid(-DAY, long);
            recipe = match &name {
                Some(name) => recipe.with(17, false, sequence(std::slice::from_ref(name))),
                None => recipe,
            };
            let result = validate(&place, Purpose::Server, &recipe);
            match (words, result) {
                (None, result) => drop(result.unwrap()),
                (Some(words), Err(CertificateRejected::NotPermitted(error))) => {
                    assert!(error.to_string().contains(words), "{error} lacks {words:?}");
                }
                (Some(words), other) => panic!("{words}: {other:?}"),
            }
        }
    }
    let place = constrained(sequence(&[subtrees(0xA0, &[crate::der::element(0x87, &[10, 0, 0])])]), false);
    refused(validate(&place, DEVICE_CA, &recipe(&place, DEVICE_CA)), "name constraints are malformed");
    let leaf = recipe(&place, Purpose::Server).with(NAME_CONSTRAINTS, true, both);
    refused(validate(&Place { ..place }, Purpose::Server, &leaf), "a leaf has none");
}
