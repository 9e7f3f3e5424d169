//! One issuance, whole: its records, and what may happen to it.

use std::sync::LazyLock;

use issuance::{
    CertificateLocation, CommonName, DeviceIdentity, DeviceSerial, Fault, FaultKind, FixtureName, Input, IssuanceId,
    KeyAlgorithm, KeyLocation, LotName, Made, Profile, ProfileName, PublicKey, Purpose, Record, ResidencyEvidence,
    Timestamp,
    profile::{NameTemplate, Pkcs11Places},
    record::{DeviceChecked, Provenance, Refuted, ReplacedKey, Requested, Stop, Verification},
    residency::{SealedCertificate, Standing, credential::Credential},
};
use rcgen::{KeyUsagePurpose, SigningKey as _};

use crate::key::{NOW, asked, asks_for_ca, ca, intermediate, issued, key, root, sha256, spki};

pub(super) static LINE: LazyLock<Line> = LazyLock::new(Line::new);

/// The profile of every issuance here, for a key under this CKA_ID.
pub(super) fn profile(cka_id: Option<Vec<u8>>) -> Profile {
    let template = |text: &str| NameTemplate::parse(text).expect("a template");
    Profile {
        name: ProfileName::parse("device-ca").expect("a name"),
        purpose: Purpose::DeviceCa { path_length: 0 },
        key_algorithm: KeyAlgorithm::P256,
        common_name: template("{serial}.ca"),
        hostname: template("{serial}"),
        device_id: template("{serial}"),
        tpm: None,
        pkcs11: Some(Pkcs11Places { cka_id, label: "device".to_owned() }),
    }
}

/// What a whole issuance is made of.
pub(super) struct Line {
    pub(super) id: IssuanceId,
    pub(super) key: PublicKey,
    pub(super) certificate: Vec<u8>,
    pub(super) request: Vec<u8>,
    pub(super) issuers: Vec<Vec<u8>>,
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) fixture: FixtureName,
    pub(super) profile: Profile,
    pub(super) records: Vec<Record>,
    pub(super) inputs: Vec<Input>,
}

/// As [`key::NOW`](crate::key::NOW).
pub(super) const AT: Timestamp = Timestamp(NOW);

impl Line {
    fn new() -> Self {
        let key = PublicKey::from_der(&spki("device")).expect("a P-256 key");
        let mut params = ca("SN-1.ca", Some(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let mut asked = asked("SN-1.ca");
        asked.custom_extensions = vec![asks_for_ca(0)];
        let request = asked.serialize_request(&crate::key::key("device")).expect("a request").der().to_vec();
        let mut line = Self {
            id: IssuanceId::parse("01234567-89ab-7def-8123-456789abcdef").expect("a UUID"),
            certificate: issued(&params),
            request,
            issuers: vec![intermediate()],
            roots: vec![root()],
            fixture: FixtureName::parse("fixture-1").expect("a name"),
            profile: profile(Some(vec![1])),
            key,
            records: Vec::new(),
            inputs: Vec::new(),
        };
        line.records = line.all_records();
        line.inputs = line.all_inputs();
        line
    }

    pub(super) fn requested(&self) -> Requested {
        Requested {
            request_id: "r".to_owned(),
            lot: LotName::parse("lot-1").expect("a name"),
            device_serial: DeviceSerial::parse("SN-1").expect("a name"),
            profile: self.profile.name.clone(),
            common_name: CommonName::parse("SN-1.ca").expect("a CN"),
            fixture: self.fixture.clone(),
            claimed_by: "badge".to_owned(),
            authenticated_by: "mes-1".to_owned(),
            supersedes: None,
            reason: String::new(),
            new_hardware: false,
            lineage: self.id,
            provenance: Provenance { site: "plant-1".to_owned(), ..Provenance::default() },
        }
    }

    fn identity(&self) -> DeviceIdentity {
        let text = || "token".to_owned();
        let (label, manufacturer, model, firmware) = (text(), text(), text(), text());
        DeviceIdentity::Token { label, serial_number: "1".to_owned(), manufacturer, model, firmware }
    }

    fn evidence(&self) -> ResidencyEvidence {
        ResidencyEvidence::Token {
            local: true,
            sensitive: true,
            always_sensitive: true,
            extractable: false,
            never_extractable: true,
        }
    }

    fn sealed(&self) -> SealedCertificate {
        let credential = Credential { blob: vec![1], encrypted_secret: vec![2] };
        SealedCertificate { credential, certificate: vec![3], chain: self.issuers.clone() }
    }

    fn place(&self) -> KeyLocation {
        KeyLocation::Pkcs11 { cka_id: vec![1], label: "device".to_owned() }
    }

    fn verification(&self) -> Verification {
        let nonce = vec![1; 32];
        let signature = key("device").sign(&nonce).expect("a key signs");
        Verification { certificate_sha256: sha256(&self.certificate), nonce, signature }
    }

    fn all_records(&self) -> Vec<Record> {
        let text = |text: &str| text.to_owned();
        let stop = || Stop { reason: text("NOT_SAME_DEVICE"), message: text("m"), next_action: text("n") };
        let replaces = || Some(ReplacedKey { public_key: self.key.clone(), issuance: self.id });
        let started =
            |replaces| Record::KeyGenerationStarted { location: self.place(), algorithm: KeyAlgorithm::P256, replaces };
        let (claimed_by, authenticated_by) = (text("badge"), text("supervisor-1"));
        let cancelled = |scrapped| Record::Cancelled {
            scrapped,
            reason: text("r"),
            claimed_by: claimed_by.clone(),
            authenticated_by: authenticated_by.clone(),
        };
        let released = |new_hardware| Record::Released {
            claimed_by: claimed_by.clone(),
            authenticated_by: authenticated_by.clone(),
            new_hardware,
        };
        let location = CertificateLocation::Pkcs11 { cka_id: vec![1], label: text("device") };
        let tpm = DeviceIdentity::Tpm {
            ek_certificate: Some(vec![3]),
            srk_name: vec![1],
            manufacturer: text("IBM"),
            firmware: text("1"),
        };
        vec![
            Record::Requested(Box::new(self.requested())),
            Record::DeviceIdentified { fixture: self.fixture.clone(), identity: self.identity() },
            started(None),
            Record::KeyGenerated { location: self.place(), public_key: self.key.clone(), reused: false },
            Record::ResidencyProven { evidence: self.evidence(), standing: Standing::Stated },
            Record::RequestSigned { certification_request: self.request.clone() },
            Record::Submitted { authority: text("ca-1"), sends_recorded: false },
            Record::Issued { certificate: self.certificate.clone(), chain: self.issuers.clone() },
            Record::WriteStarted { location },
            Record::Written,
            Record::Verified(self.verification()),
            Record::Completed,
            Record::Failed(stop()),
            Record::Resumed { fixture: self.fixture.clone(), claimed_by: text("b"), authenticated_by: text("k") },
            Record::Quarantined(stop()),
            released(false),
            released(true),
            cancelled(false),
            cancelled(true),
            Record::SendStarted { authority: text("ca-1") },
            Record::NotTaken { message: text("m") },
            Record::InDoubt { message: text("m") },
            Record::Resubmitted {
                authority: text("ca-2"),
                sends_recorded: true,
                claimed_by: claimed_by.clone(),
                authenticated_by: authenticated_by.clone(),
            },
            Record::Surplus { certificate: vec![4], chain: vec![vec![5]] },
            Record::Sealed(self.sealed()),
            Record::Refused { reason: text("R"), message: text("m") },
            started(replaces()),
            Record::DeviceIdentified { fixture: self.fixture.clone(), identity: tpm },
            Record::Confirmed { refusal: String::new() },
            Record::Submitted { authority: text("ca-1"), sends_recorded: true },
            Record::DeviceChecked(Box::new(DeviceChecked {
                fixture: self.fixture.clone(),
                refuted: vec![Refuted { question: text("KEY"), reason: text("NOT_FOUND"), message: text("m") }],
                certificate_sha256: Some([7; 32]),
                nonce: vec![1],
                signature: vec![2],
                claimed_by,
                authenticated_by,
                golden: true,
            })),
        ]
    }

    fn all_inputs(&self) -> Vec<Input> {
        let words = || "w".to_owned();
        let known = DeviceSerial::parse("SN-2").expect("a name");
        let identified =
            |known_as, known_fingerprint| Input::Identified { identity: self.identity(), known_as, known_fingerprint };
        let sought = |found, made| Input::KeySought { found, made };
        let failed = |kind| Input::Failed { fault: Fault::new(kind, "w"), attempt: 9 };
        let Verification { nonce, signature, .. } = self.verification();
        vec![
            identified(None, None),
            identified(Some(known), Some([1; 32])),
            sought(None, Made::Unknown),
            sought(Some(self.key.clone()), Made::Here),
            sought(Some(self.key.clone()), Made::For(self.id)),
            sought(Some(self.key.clone()), Made::Unknown),
            Input::KeyGenerated(self.key.clone()),
            Input::EvidenceGiven(self.evidence()),
            Input::Attested { evidence: self.evidence(), request_info: vec![1] },
            Input::RequestSigned(self.request.clone()),
            Input::Submitting,
            Input::Sending,
            Input::NotTaken { message: words() },
            Input::AnswerLost { message: words() },
            Input::Issued { certificate: self.certificate.clone(), chain: self.issuers.clone() },
            Input::Issued { certificate: self.issuers[0].clone(), chain: Vec::new() },
            Input::Sealed(self.sealed()),
            Input::Opened { certificate: self.certificate.clone() },
            Input::Refused { reason: words(), message: words() },
            Input::Writing,
            Input::Written,
            Input::ReadBack { certificate: Some(self.certificate.clone()), nonce, signature },
            Input::ReadBack { certificate: None, nonce: Vec::new(), signature: Vec::new() },
            failed(FaultKind::DeviceAbsent),
            failed(FaultKind::NotSameDevice),
            failed(FaultKind::JournalFailed),
        ]
    }
}
