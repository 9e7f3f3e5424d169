//! For tests: a ledger over a real journal in a directory of its own, a CA in software, and a device that keeps its key.

use std::path::Path;

use issuance::{
    Action, CertificateLocation, DeviceIdentity, DeviceSerial, Fault, FaultKind, FixtureName, Input, Issuance,
    IssuanceId, KeyAlgorithm, KeyLocation, Keystore, LotName, Made, Profile, ProfileName, PublicKey, Purpose,
    ResidencyEvidence, ValidatedCertificate,
    profile::{KeystoreKind, NameTemplate, Pkcs11Places},
    record::Provenance,
    submission::Terms,
};
use journal::{Journal, JournalOptions, Projections};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SigningKey as _,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    ledger::{Asked, Change, Ledger, LedgerRefused, Started, Subject},
    profiles::{PinnedProfile, Profiles},
    rows::StationRows,
};

pub(crate) const FIXTURE: &str = "fixture-1";

/// A root and its intermediate, in software.
pub(crate) struct Authority {
    pub(crate) root: Vec<u8>,
    pub(crate) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn ca(name: &str, path_length: u8) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = ca("Root", 2).self_signed(&root_key).unwrap();
        let der = ca("Factory CA", 1).signed_by(&key, &Issuer::new(ca("Root", 2), root_key)).unwrap();
        let issuer = Issuer::new(ca("Factory CA", 1), key);
        Self { root: root.der().to_vec(), der: der.der().to_vec(), issuer }
    }

    /// A device CA's certificate for what the request asks.
    pub(crate) fn issue(&self, request: &[u8]) -> Vec<u8> {
        let request = issuance::request::CertificationRequest::from_der(request).unwrap();
        let mut params = named(request.common_name().as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = rcgen::SubjectPublicKeyInfo::from_der(request.public_key().spki()).unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn answer(&self, issuance: &Issuance) -> Input {
        let request = &issuance.state.awaits_answer().expect("submitted").certification_request;
        Input::Issued { certificate: self.issue(request), chain: vec![self.der.clone()] }
    }

    pub(crate) fn profile(&self, name: &str) -> PinnedProfile {
        PinnedProfile {
            profile: Profile {
                name: ProfileName::parse(name).unwrap(),
                purpose: Purpose::DeviceCa { path_length: 0 },
                key_algorithm: KeyAlgorithm::P256,
                common_name: NameTemplate::parse("{serial}.ca").unwrap(),
                hostname: NameTemplate::parse("{serial}").unwrap(),
                device_id: NameTemplate::parse("{serial}").unwrap(),
                tpm: None,
                pkcs11: Some(Pkcs11Places { cka_id: Some(vec![1]), label: "device".into() }),
            },
            issuers: vec![self.der.clone()],
            issuer_names: vec!["Factory CA".into()],
            roots: vec![self.root.clone()],
            endorsement: None,
            sha256: [1; 32],
        }
    }
}

/// A ledger in a directory of its own, and what it tells.
pub(crate) struct Desk {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) ledger: std::sync::Arc<Ledger>,
    pub(crate) told: mpsc::UnboundedReceiver<Change>,
    /// The CA's name and promises.
    pub(crate) asked: (&'static str, Terms),
}

impl Desk {
    /// With the profile `device-ca`, a lot `lot-1` of a hundred, and this bound of the queue.
    pub(crate) fn new(queue_bound: usize) -> Self {
        let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let profiles = Profiles::new(vec![authority.profile("device-ca"), authority.profile("other")]);
        let asked = ("ca-1", Terms::default());
        let (ledger, told) = open(directory.path(), profiles, queue_bound, asked);
        let desk = Self { directory, authority, ledger: ledger.into(), told, asked };
        desk.open_lot("lot-1", 100).unwrap();
        desk
    }

    /// The same directory, configured for this CA.
    pub(crate) fn asking(mut self, authority: &'static str, terms: Terms) -> Self {
        self.asked = (authority, terms);
        self.reopened(false)
    }

    /// The same directory opened again, as after a crash; `rebuilt`: without the rows that were there.
    pub(crate) fn reopened(mut self, rebuilt: bool) -> Self {
        self.ledger.close().unwrap();
        if rebuilt {
            std::fs::remove_dir_all(self.directory.path().join("projections")).unwrap();
        }
        let (profiles, bound) = (self.ledger.profiles().clone(), self.ledger.queue_bound());
        let (ledger, told) = open(self.directory.path(), profiles, bound, self.asked);
        (self.ledger, self.told) = (ledger.into(), told);
        self
    }

    /// A ledger over the first `records` of this journal, in a directory of its own.
    pub(crate) fn prefix(&self, records: u64) -> (TempDir, Ledger) {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(&JournalOptions::new(directory.path(), "station-agent/test")).unwrap();
        journal.append(self.ledger.journal().read(0..records).unwrap()).unwrap().wait().unwrap();
        journal.close().unwrap();
        drop(journal);
        let (profiles, bound) = (self.ledger.profiles().clone(), self.ledger.queue_bound());
        let (ledger, _) = open(directory.path(), profiles, bound, self.asked);
        (directory, ledger)
    }

    /// The same directory with other profiles.
    pub(crate) fn with_profiles(mut self, names: &[&str]) -> Self {
        self.ledger.close().unwrap();
        let profiles = Profiles::new(names.iter().map(|name| self.authority.profile(name)).collect());
        let (ledger, told) = open(self.directory.path(), profiles, self.ledger.queue_bound(), self.asked);
        (self.ledger, self.told) = (ledger.into(), told);
        self
    }

    pub(crate) fn open_lot(&self, lot: &str, quantity: u32) -> Result<(), LedgerRefused> {
        let (lot, profile) = (LotName::parse(lot).unwrap(), ProfileName::parse("device-ca").unwrap());
        let (_, appended) = self.ledger.open_lot(&lot, &profile, quantity, "mes")?;
        if let Some(appended) = appended {
            appended.wait().unwrap();
        }
        Ok(())
    }

    pub(crate) fn start(&self, asked: &Asked) -> Result<Started, LedgerRefused> {
        self.ledger.start(asked, &Provenance::default())
    }

    /// Starts the device's issuance and takes it to its submission, on the disk.
    pub(crate) fn submitted(&self, serial: &str) -> IssuanceId {
        let id = self.start(&asked(serial)).unwrap().issuance.id;
        self.work_until(id, &mut Device::new(serial), "Submitted");
        self.ledger.journal().sync().unwrap();
        id
    }

    pub(crate) fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, LedgerRefused> {
        let fixture = FixtureName::parse(FIXTURE).unwrap();
        let authority = self.ledger.authority().0;
        self.ledger.decide(id, &fixture, KeystoreKind::Pkcs11, authority, input).map(|(action, _)| action)
    }

    pub(crate) fn issuance(&self, id: IssuanceId) -> Issuance {
        self.ledger.get(id).unwrap().unwrap().0
    }

    /// Does what the ledger says, with the device, until the issuance stands in this state.
    pub(crate) fn work_until(&self, id: IssuanceId, device: &mut Device, state: &str) {
        let identity = device.identify().unwrap();
        let mut action =
            self.decide(id, Input::Identified { identity, known_as: None, known_fingerprint: None }).unwrap();
        for _ in 0..32 {
            let issuance = self.issuance(id);
            if issuance.state.to_string() == state {
                return;
            }
            let input = match &action {
                Action::FindKey(place) => {
                    Input::KeySought { found: device.find_key(place).unwrap(), made: Made::Unknown }
                }
                Action::GenerateKey(place, algorithm, _) => {
                    Input::KeyGenerated(device.generate_key(place, *algorithm).unwrap())
                }
                Action::ProveResidency(place) => Input::EvidenceGiven(device.residency_evidence(place).unwrap()),
                Action::SignRequest { location, public_key, purpose } => {
                    let name = &issuance.request.common_name;
                    Input::RequestSigned(crate::csr::build(device, location, public_key, name, *purpose).unwrap())
                }
                Action::Submit => Input::Submitting,
                Action::AwaitAnswer => self.authority.answer(&issuance),
                Action::Write { .. } if issuance.state.to_string() == "Issued" => Input::Writing,
                Action::Write { location: place, .. } => {
                    let fixture = FixtureName::parse(FIXTURE).unwrap();
                    let valid = self.ledger.validated_certificate(id, &fixture, KeystoreKind::Pkcs11).unwrap();
                    device.write_certificate(place, &valid.unwrap()).unwrap();
                    Input::Written
                }
                Action::Verify(place, key) => Input::ReadBack {
                    certificate: device.read_certificate(place).unwrap(),
                    nonce: vec![1; 32],
                    signature: device.sign(key, &[vec![1; 32]]).unwrap().remove(0),
                },
                other => panic!("{other:?} in {} before {state}", issuance.state),
            };
            action = self.decide(id, input).unwrap();
        }
        panic!("{state} does not come");
    }
}

fn open(
    directory: &Path,
    profiles: Profiles,
    queue_bound: usize,
    (authority, terms): (&str, Terms),
) -> (Ledger, mpsc::UnboundedReceiver<Change>) {
    let (changes, told) = mpsc::unbounded_channel();
    let (journal, _) = Journal::open(&JournalOptions::new(directory, "station-agent/test")).unwrap();
    let rows = Projections::open(&journal, &directory.join("projections"), StationRows, &mut |_, _| {}).unwrap();
    let ledger = Ledger::new(journal, rows, profiles, queue_bound, changes).unwrap();
    (ledger.with_authority(authority, terms), told)
}

/// A request for a device in lot-1 at a free fixture.
pub(crate) fn asked(serial: &str) -> Asked {
    Asked {
        subject: Subject {
            request_id: String::new(),
            lot: LotName::parse("lot-1").unwrap(),
            device_serial: DeviceSerial::parse(serial).unwrap(),
            profile: None,
        },
        fixture: FixtureName::parse(FIXTURE).unwrap(),
        claimed_by: "badge".into(),
        authenticated_by: "mes".into(),
        at_work: vec![],
        fixture_is_free: true,
    }
}

/// A token in software: keeps its key and certificate, and fails when a test says so.
pub(crate) struct Device {
    pub(crate) serial_number: String,
    pub(crate) algorithm: Option<KeyAlgorithm>,
    pub(crate) key: Option<KeyPair>,
    pub(crate) certificate: Option<Vec<u8>>,
    /// What was asked of it, in order.
    pub(crate) acts: Vec<&'static str>,
    /// The next call of this name fails so, so many times; `true`: after its effect.
    pub(crate) fails: Option<(&'static str, FaultKind, u32, bool)>,
}

impl Device {
    pub(crate) fn new(serial_number: &str) -> Self {
        Self {
            serial_number: serial_number.into(),
            algorithm: None,
            key: None,
            certificate: None,
            acts: vec![],
            fails: None,
        }
    }

    /// Records the act; whether it fails, and whether after its effect.
    fn act(&mut self, name: &'static str) -> (Option<Fault>, bool) {
        self.acts.push(name);
        match &mut self.fails {
            Some((act, kind, times, after)) if *act == name && *times > 0 => {
                *times -= 1;
                (Some(Fault::new(*kind, format!("could not {name}"))), *after)
            }
            _ => (None, false),
        }
    }

    fn public_key(&self) -> Option<PublicKey> {
        self.key.as_ref().map(|key| PublicKey::from_der(&key.subject_public_key_info()).unwrap())
    }
}

/// Does the body unless the act fails before it; fails after it when the test says so.
macro_rules! act {
    ($device:ident, $name:literal, $body:expr) => {
        match $device.act($name) {
            (Some(fault), false) => Err(fault),
            (Some(fault), true) => {
                let _ = $body;
                Err(fault)
            }
            (None, _) => Ok($body),
        }
    };
}

impl Keystore for Device {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        act!(
            self,
            "identify",
            DeviceIdentity::Token {
                label: "device".into(),
                serial_number: self.serial_number.clone(),
                manufacturer: "maker".into(),
                model: "model".into(),
                firmware: "1".into(),
            }
        )
    }

    fn find_key(&mut self, _: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        act!(self, "find_key", self.public_key())
    }

    fn generate_key(&mut self, _: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        act!(self, "generate_key", {
            assert!(self.key.is_none(), "a second key");
            self.key = Some(match self.algorithm.unwrap_or(algorithm) {
                KeyAlgorithm::P256 => KeyPair::generate().unwrap(),
                KeyAlgorithm::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
                _ => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
            });
            self.public_key().unwrap()
        })
    }

    fn residency_evidence(&mut self, _: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        act!(
            self,
            "residency_evidence",
            ResidencyEvidence::Token {
                local: true,
                sensitive: true,
                always_sensitive: true,
                extractable: false,
                never_extractable: true,
            }
        )
    }

    fn sign(&mut self, _: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        act!(self, "sign", {
            let key = self.key.as_ref().unwrap();
            messages.iter().map(|message| key.sign(message).unwrap()).collect::<Vec<_>>()
        })
    }

    fn read_certificate(&mut self, _: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        act!(self, "read_certificate", self.certificate.clone())
    }

    fn write_certificate(&mut self, _: &CertificateLocation, valid: &ValidatedCertificate) -> Result<(), Fault> {
        act!(self, "write_certificate", self.certificate = Some(valid.der().to_vec()))
    }

    fn remove_certificate(&mut self, _: &CertificateLocation, superseded: &[u8]) -> Result<(), Fault> {
        act!(self, "remove_certificate", self.certificate.take_if(|there| there == superseded).map_or((), drop))
    }

    fn remove_key(&mut self, _: &KeyLocation, public_key: &PublicKey) -> Result<(), Fault> {
        assert_eq!(self.public_key().as_ref(), Some(public_key), "only the key that was named");
        act!(self, "remove_key", self.key = None)
    }
}
