//! For tests: certificates written by hand, octet by octet, so that each can be wrong in one way; a CA; and a device
//! that keeps its key and its certificate over crashes of the station.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    Action, CertificateExpectation, CommonName, Context, DeviceIdentity, DeviceSerial, FixtureName, Input, Issuance,
    IssuanceId, KeyAlgorithm, LotName, Made, Profile, ProfileName, PublicKey, Purpose, Record, ResidencyEvidence,
    Timestamp,
    der::element as der,
    profile::{KeystoreKind, NameTemplate, Pkcs11Places, TpmPlaces},
    record::{Provenance, Requested},
    residency::{Sealing, credential::Credential},
    state::{SealedAnswer, State},
    submission::Terms,
};

/// 2026-01-01.
pub(crate) const NOW: Timestamp = Timestamp(1_767_225_600_000);
pub(crate) const DAY: i64 = 24 * 3600;

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

/// Name with one attribute per RDN: (last arc of 2.5.4.x, string's tag, text).
pub(crate) fn name(attributes: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(arc, tag, text)| der(0x31, &sequence(&[vec![0x06, 0x03, 0x55, 0x04, *arc], der(*tag, text)])))
        .collect();
    sequence(&rdns)
}

pub(crate) fn common_name(text: &str) -> Vec<u8> {
    name(&[(3, 0x0C, text.as_bytes())])
}

pub(crate) fn generate(algorithm: KeyAlgorithm) -> KeyPair {
    match algorithm {
        KeyAlgorithm::P256 => KeyPair::generate(),
        KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        _ => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
    }
    .unwrap()
}

pub(crate) fn public_key(pair: &KeyPair) -> PublicKey {
    PublicKey::from_der(&pair.subject_public_key_info()).unwrap()
}

/// An extension: last arc of 2.5.29.x, critical, the content of its OCTET STRING.
#[derive(Debug, Clone)]
pub(crate) struct Extension(pub(crate) u8, pub(crate) bool, pub(crate) Vec<u8>);

pub(crate) const BASIC_CONSTRAINTS: u8 = 19;
pub(crate) const KEY_USAGE: u8 = 15;
pub(crate) const EXTENDED_KEY_USAGE: u8 = 37;
/// 2.5.29.100 is nobody's.
pub(crate) const UNKNOWN: u8 = 100;

pub(crate) fn basic_constraints(ca: bool, path_length: Option<u8>) -> Vec<u8> {
    let mut parts = Vec::new();
    if ca {
        parts.push(vec![0x01, 0x01, 0xFF]);
    }
    if let Some(most) = path_length {
        parts.push(vec![0x02, 0x01, most]);
    }
    sequence(&parts)
}

/// Bits as RFC 5280 §4.2.1.3 numbers them.
pub(crate) fn key_usage(bits: &[u8]) -> Vec<u8> {
    let octet = bits.iter().fold(0u8, |sum, bit| sum | 0x80 >> bit);
    vec![0x03, 0x02, octet.trailing_zeros().min(7) as u8, octet]
}

/// Purposes as RFC 5280 §4.2.1.12 numbers them under id-kp.
pub(crate) fn extended_key_usage(purposes: &[u8]) -> Vec<u8> {
    let oids: Vec<Vec<u8>> =
        purposes.iter().map(|arc| vec![0x06, 0x08, 0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, *arc]).collect();
    sequence(&oids)
}

pub(crate) const DIGITAL_SIGNATURE: u8 = 0;
pub(crate) const KEY_CERT_SIGN: u8 = 5;
pub(crate) const SERVER_AUTH: u8 = 1;
pub(crate) const CLIENT_AUTH: u8 = 2;

/// What stands in a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    /// From and to, in seconds relative to [`NOW`].
    pub(crate) validity: (i64, i64),
    pub(crate) extensions: Vec<Extension>,
}

impl Recipe {
    /// What a profile of this purpose asks for.
    pub(crate) fn right(purpose: Purpose, subject: &str, key: &KeyPair) -> Self {
        let extensions = match purpose {
            Purpose::DeviceCa { path_length } => vec![
                Extension(BASIC_CONSTRAINTS, true, basic_constraints(true, Some(path_length))),
                Extension(KEY_USAGE, true, key_usage(&[DIGITAL_SIGNATURE, KEY_CERT_SIGN])),
            ],
            Purpose::DeviceIdentity | Purpose::Server => vec![
                Extension(KEY_USAGE, true, key_usage(&[DIGITAL_SIGNATURE])),
                Extension(
                    EXTENDED_KEY_USAGE,
                    false,
                    extended_key_usage(&[if purpose == Purpose::Server { SERVER_AUTH } else { CLIENT_AUTH }]),
                ),
            ],
        };
        Self {
            subject: common_name(subject),
            spki: key.subject_public_key_info(),
            validity: (-DAY, 365 * DAY),
            extensions,
        }
    }

    pub(crate) fn without(mut self, arc: u8) -> Self {
        self.extensions.retain(|extension| extension.0 != arc);
        self
    }

    pub(crate) fn with(self, arc: u8, critical: bool, content: Vec<u8>) -> Self {
        let mut recipe = self.without(arc);
        recipe.extensions.push(Extension(arc, critical, content));
        recipe
    }

    pub(crate) fn valid(mut self, from: i64, to: i64) -> Self {
        self.validity = (from, to);
        self
    }

    fn tbs(&self, issuer: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let moment = |seconds: i64| {
            let at = OffsetDateTime::from_unix_timestamp(NOW.seconds() + seconds).unwrap();
            let format = format_description!("[year][month][day][hour][minute][second]Z");
            der(0x18, at.format(&format).unwrap().as_bytes())
        };
        let extensions: Vec<Vec<u8>> = self
            .extensions
            .iter()
            .map(|Extension(arc, critical, content)| {
                let critical = if *critical { vec![0x01, 0x01, 0xFF] } else { vec![] };
                sequence(&[vec![0x06, 0x03, 0x55, 0x1D, *arc], critical, der(0x04, content)])
            })
            .collect();
        sequence(&[
            der(0xA0, &[0x02, 0x01, 0x02]),
            vec![0x02, 0x02, 0x12, 0x34],
            algorithm.to_vec(),
            issuer.to_vec(),
            sequence(&[moment(self.validity.0), moment(self.validity.1)]),
            self.subject.clone(),
            self.spki.clone(),
            der(0xA3, &sequence(&extensions)),
        ])
    }
}

/// A CA whose key is at hand.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) subject: Vec<u8>,
    pub(crate) key: KeyPair,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn recipe(subject: &str, key: &KeyPair, path_length: Option<u8>) -> Recipe {
        Recipe {
            subject: common_name(subject),
            spki: key.subject_public_key_info(),
            validity: (-DAY, 3650 * DAY),
            extensions: vec![
                Extension(BASIC_CONSTRAINTS, true, basic_constraints(true, path_length)),
                Extension(KEY_USAGE, true, key_usage(&[KEY_CERT_SIGN, 6])),
            ],
        }
    }

    pub(crate) fn root(subject: &str, path_length: Option<u8>) -> Self {
        let key = generate(KeyAlgorithm::P256);
        let recipe = Self::recipe(subject, &key, path_length);
        let der = sign(&recipe, &recipe.subject, &key);
        Self { subject: recipe.subject, key, der }
    }

    pub(crate) fn beneath(&self, subject: &str, path_length: Option<u8>) -> Self {
        let key = generate(KeyAlgorithm::P256);
        let recipe = Self::recipe(subject, &key, path_length);
        let der = self.issue(&recipe);
        Self { subject: recipe.subject, key, der }
    }

    pub(crate) fn issue(&self, recipe: &Recipe) -> Vec<u8> {
        sign(recipe, &self.subject, &self.key)
    }
}

pub(crate) fn sign(recipe: &Recipe, issuer: &[u8], key: &KeyPair) -> Vec<u8> {
    const ECDSA: [u8; 7] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03];
    let algorithm = match public_key(key).algorithm() {
        KeyAlgorithm::P256 => sequence(&[der(0x06, &[&ECDSA[..], &[0x02]].concat())]),
        KeyAlgorithm::P384 => sequence(&[der(0x06, &[&ECDSA[..], &[0x03]].concat())]),
        _ => sequence(&[der(0x06, &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B]), vec![0x05, 0x00]]),
    };
    let tbs = recipe.tbs(issuer, &algorithm);
    let signature = [vec![0], key.sign(&tbs).unwrap()].concat();
    sequence(&[tbs, algorithm, der(0x03, &signature)])
}

/// A root, the profile's issuer beneath it, and a device's key.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
    pub(crate) key: KeyPair,
}

impl Place {
    pub(crate) fn new(algorithm: KeyAlgorithm) -> Self {
        let root = Authority::root("Root", None);
        let issuer = root.beneath("Issuer", Some(1));
        Self { root, issuer, key: generate(algorithm) }
    }

    pub(crate) fn expectation(&self, purpose: Purpose) -> CertificateExpectation {
        CertificateExpectation {
            public_key: public_key(&self.key),
            common_name: CommonName::parse("SN-1.ca").unwrap(),
            purpose,
            issuers: vec![self.issuer.der.clone()],
            intermediates: vec![self.issuer.der.clone()],
            roots: vec![self.root.der.clone()],
            at: NOW,
        }
    }
}

pub(crate) fn profile() -> Profile {
    Profile {
        name: ProfileName::parse("device-ca").unwrap(),
        purpose: Purpose::DeviceCa { path_length: 0 },
        key_algorithm: KeyAlgorithm::P256,
        common_name: NameTemplate::parse("{serial}.ca").unwrap(),
        hostname: NameTemplate::parse("{serial}").unwrap(),
        device_id: NameTemplate::parse("{serial}").unwrap(),
        tpm: Some(TpmPlaces { handle: 0x8100_0010, nv_index: 0x0180_0010, write_lock: true }),
        pkcs11: Some(Pkcs11Places { cka_id: Some(vec![1]), label: "device".into() }),
    }
}

pub(crate) fn requested() -> Issuance {
    let request = Requested {
        request_id: "r-1".into(),
        lot: LotName::parse("lot-1").unwrap(),
        device_serial: DeviceSerial::parse("SN-1").unwrap(),
        profile: ProfileName::parse("device-ca").unwrap(),
        common_name: CommonName::parse("SN-1.ca").unwrap(),
        fixture: FixtureName::parse("fixture-1").unwrap(),
        claimed_by: "badge".into(),
        authenticated_by: "mes".into(),
        supersedes: None,
        reason: String::new(),
        new_hardware: false,
        lineage: IssuanceId::from_slice(&[7; 16]).unwrap(),
        provenance: Provenance::default(),
    };
    Issuance::requested(IssuanceId::from_slice(&[7; 16]).unwrap(), &request, NOW)
}

/// What the device's TPM releases.
pub(crate) const SECRET: [u8; 32] = [3; 32];

/// A token with its key and certificate, and the CA behind the queue. Both outlive the station's crashes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) issuer: Authority,
    pub(crate) profile: Profile,
    pub(crate) fixture: FixtureName,
    pub(crate) issuers: Vec<Vec<u8>>,
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) key: Option<KeyPair>,
    pub(crate) generated: u32,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) known_as: Option<DeviceSerial>,
    pub(crate) terms: Terms,
    /// Whether the CA encrypts what it answers.
    pub(crate) seals: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Authority::root("Root", None);
        let issuer = root.beneath("Issuer", Some(1));
        Self {
            issuers: vec![issuer.der.clone()],
            roots: vec![root.der.clone()],
            issuer,
            profile: profile(),
            fixture: FixtureName::parse("fixture-1").unwrap(),
            key: None,
            generated: 0,
            certificate: None,
            known_as: None,
            terms: Terms::default(),
            seals: false,
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            profile: &self.profile,
            issuers: &self.issuers,
            roots: &self.roots,
            endorsement: None,
            authority: "ca-1",
            terms: self.terms,
            fixture: &self.fixture,
            keystore: KeystoreKind::Pkcs11,
        }
    }

    pub(crate) fn identity(serial_number: &str) -> DeviceIdentity {
        DeviceIdentity::Token {
            label: "device".into(),
            serial_number: serial_number.into(),
            manufacturer: "maker".into(),
            model: "model".into(),
            firmware: "1".into(),
        }
    }

    pub(crate) fn identified(&self) -> Input {
        Input::Identified { identity: Self::identity("1"), known_as: self.known_as.clone(), known_fingerprint: None }
    }

    pub(crate) fn good_evidence() -> ResidencyEvidence {
        ResidencyEvidence::Token {
            local: true,
            sensitive: true,
            always_sensitive: true,
            extractable: false,
            never_extractable: true,
        }
    }

    /// Does what is asked, and says what came of it; `None` when there is nothing to do.
    pub(crate) fn act(&mut self, issuance: &Issuance, action: &Action) -> Option<Input> {
        Some(match action {
            Action::FindKey(_) => Input::KeySought { found: self.key.as_ref().map(public_key), made: Made::Unknown },
            Action::GenerateKey(_, algorithm, _) => {
                assert!(self.key.is_none(), "a second key");
                self.generated += 1;
                Input::KeyGenerated(public_key(self.key.insert(generate(*algorithm))))
            }
            Action::ProveResidency(_) | Action::Attest { .. } => Input::EvidenceGiven(Self::good_evidence()),
            Action::SignRequest { .. } => Input::RequestSigned(request(self.key.as_ref().unwrap(), "SN-1.ca")),
            Action::Submit => Input::Submitting,
            Action::AwaitAnswer => {
                assert!(issuance.state.awaits_answer().is_some());
                if self.seals { self.sealed_answer(issuance) } else { self.answer() }
            }
            Action::Activate(_) => {
                let State::Sealed(SealedAnswer { request, sealed }) = &issuance.state else {
                    panic!("nothing to open")
                };
                let certificate = sealed.open(&SECRET, issuance.id, &request.certification_request).unwrap();
                Input::Opened { certificate }
            }
            Action::Write { .. } if !matches!(issuance.state, State::WriteStarted(_)) => Input::Writing,
            Action::Write { .. } => {
                let valid = issuance.validated_certificate(self.context(), NOW).unwrap();
                self.certificate = Some(valid.der().to_vec());
                Input::Written
            }
            Action::Verify(..) => Input::ReadBack {
                certificate: self.certificate.clone(),
                nonce: vec![9; 32],
                signature: self.key.as_ref().unwrap().sign(&[9; 32]).unwrap(),
            },
            Action::Retry { .. } | Action::Rest | Action::Halt(_) => return None,
        })
    }

    pub(crate) fn answer(&self) -> Input {
        let recipe = Recipe::right(self.profile.purpose, "SN-1.ca", self.key.as_ref().unwrap());
        Input::Issued { certificate: self.issuer.issue(&recipe), chain: self.issuers.clone() }
    }

    /// The same answer, encrypted under [`SECRET`].
    pub(crate) fn sealed_answer(&self, issuance: &Issuance) -> Input {
        let Input::Issued { certificate, chain } = self.answer() else { panic!() };
        let request = &issuance.state.awaits_answer().unwrap().certification_request;
        let request_sha256 = crate::public_key::sha256(request);
        let sealing = Sealing { issuance: issuance.id, request_sha256, certificate: &certificate, chain: &chain };
        let credential = Credential { blob: vec![1], encrypted_secret: vec![2] };
        Input::Sealed(sealing.seal_with(&SECRET, credential).unwrap())
    }

    /// Identifies the device and goes on until there is nothing to do. Returns the records and actions on the way.
    pub(crate) fn run(&mut self, mut issuance: Issuance) -> (Issuance, Vec<Record>, Vec<Action>) {
        let (mut records, mut actions) = (Vec::new(), Vec::new());
        let mut input = self.identified();
        for _ in 0..64 {
            let decision = issuance.decide(input, self.context(), NOW).unwrap();
            for record in &decision.records {
                issuance = issuance.apply(record, NOW);
            }
            records.extend(decision.records);
            actions.push(decision.action.clone());
            match self.act(&issuance, &decision.action) {
                Some(next) => input = next,
                None => return (issuance, records, actions),
            }
        }
        panic!("it does not come to an end: {actions:?}");
    }
}

/// A PKCS#10 with one CN and no extensions.
pub(crate) fn request(key: &KeyPair, subject: &str) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    params.serialize_request(key).unwrap().der().to_vec()
}
