//! The CA makes the credential itself: what it sends opens in one TPM, and a station that lies about a TPM has nothing.

use std::sync::Mutex;

use hsm_sim::{Swtpm, SwtpmOptions};
use issuance::{
    FaultKind, IssuanceId, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    device::AttestationKey,
    public_key::sha256,
    request::CertificationRequest as Request,
    residency::{Challenge, SealedCertificate, credential::Credential},
};
use journal::{Journal, JournalOptions};
use keystore::Tpm;
use line::{Device, Line, Options, Stop};
use proto::{
    ca::v1::{
        CertificationRequest, ConfirmBatchRequest, Confirmation, IssueBatchRequest,
        certificate_authority_service_client::CertificateAuthorityServiceClient as Ca, confirm_result, issue_result,
    },
    evidence::v1::{self as evidence, Activation, Standing},
    journal::v1::{CaRecord, ca_record::Event},
    station::v1::issuance::State,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SigningKey};
use tonic::transport::Channel;

use crate::{
    asking::{
        IMPATIENT_QUEUE, assert_stopped, bounded, complete, line_of, open_lot, scan, settled, start, start_issuance,
        stop, told, until,
    },
    looking::{Expected, files_of},
};

const KEY: KeyLocation = KeyLocation::TpmHandle(0x8100_0010);
const SEALED: &str = "device-ca-tpm";
const VOUCHED: &str = "vouched";

/// At the CA a profile that takes the station's word.
fn at_the_ca(name: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\nissuer = \"device-ca\"\n\
         validity = \"365d\"\nkeys = [\"P-256\"]\nresidency = \"tpm\"\nek = {{ roots = \"pki/tpm-makers\" }}\n"
    )
}

/// The same at the station, with whose word it wants.
fn at_the_station(name: &str, place: u8, activation: &str) -> String {
    format!(
        "[[profile]]\nname = \"{name}\"\npurpose = \"device-ca\"\npath_length = 0\nkey = \"P-256\"\n\
         common_name = \"{{serial}}.{name}\"\nissuers = \"pki/product/device-ca.pem\"\n\
         roots = \"pki/product/root.pem\"\ntpm = {{ handle = 0x810000{place:02x}, nv_index = 0x018000{place:02x} }}\n\
         residency = \"tpm\"\nek = {{ roots = \"pki/tpm-makers\" }}\nactivation = \"{activation}\"\n"
    )
}

type Sign<'a> = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send + 'a>;

/// A key that signs a certification request: the TPM's, or one in software.
struct Signer<'a> {
    public_key: PublicKey,
    sign: Mutex<Sign<'a>>,
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok((self.sign.lock().unwrap())(message))
    }
}

fn request(signer: &Signer<'_>, common_name: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(signer).unwrap().der().to_vec()
}

/// A TPM of the line's maker, in no fixture.
struct Owned {
    // Its power is its process.
    _tpm: Swtpm,
    keystore: Tpm,
}

impl Owned {
    fn of(line: &Line) -> Self {
        let Some((_, Device::Tpm(of_the_line))) = line.hardware().devices().next() else { panic!("no TPM") };
        let maker = Some(of_the_line.maker().clone());
        let tpm = Swtpm::start_with(SwtpmOptions { maker, ..Default::default() }).unwrap();
        Self { keystore: Tpm::new(tpm.tcti()), _tpm: tpm }
    }

    fn srk_name(&mut self) -> Vec<u8> {
        match self.keystore.identify().unwrap() {
            issuance::DeviceIdentity::Tpm { srk_name, .. } => srk_name,
            other => panic!("{other:?}"),
        }
    }

    /// Honest evidence of a key that it made.
    fn prove(&mut self, issuance: IssuanceId, common_name: &str) -> (Vec<u8>, evidence::Residency) {
        let srk_name = self.srk_name();
        let public_key = match self.keystore.find_key(&KEY).unwrap() {
            Some(made) => made,
            None => self.keystore.generate_key(&KEY, KeyAlgorithm::P256).unwrap(),
        };
        let keystore = &mut self.keystore;
        let sign = Box::new(|message: &[u8]| keystore.sign(&KEY, &[message.to_vec()]).unwrap().remove(0));
        let der = request(&Signer { public_key, sign: Mutex::new(sign) }, common_name);
        let challenge = Challenge::new(&[1; 32], issuance, Request::from_der(&der).unwrap().info());
        let issuance::ResidencyEvidence::Tpm { public_area, name, .. } =
            self.keystore.residency_evidence(&KEY).unwrap()
        else {
            panic!()
        };
        let key = self.keystore.attestation_key().unwrap().unwrap();
        let statement = self.keystore.attest(&KEY, challenge).unwrap();
        let attestation = attestation(&key, statement.certify_info, statement.signature);
        (der, evidence::Residency { srk_name, public_area, name, attestation })
    }

    /// The liar's: the EK and its certificate are this TPM's, AK and key are software, and what no TPM said is signed with
    /// that AK.
    fn forge(&mut self, issuance: IssuanceId, common_name: &str) -> (Vec<u8>, evidence::Residency) {
        let srk_name = self.srk_name();
        let mut genuine = self.keystore.attestation_key().unwrap().unwrap();
        let (ak, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let public_key = PublicKey::from_der(&key.subject_public_key_info()).unwrap();
        let sign = Box::new(|message: &[u8]| key.sign(message).unwrap());
        let der = request(&Signer { public_key, sign: Mutex::new(sign) }, common_name);
        let challenge = Challenge::new(&[1; 32], issuance, Request::from_der(&der).unwrap().info());
        // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign; the AK restricted, ECDSA with SHA-256.
        let public_area = area(&key, 0x0004_0472, &[0x0010]);
        genuine.ak_public_area = area(&ak, 0x0005_0472, &[0x0018, 0x000B]);
        let name = hash(&public_area);
        let signer = hash(&[&0x4000_000B_u32.to_be_bytes()[..], &hash(&genuine.ak_public_area)].concat());
        let parent = hash(&[&0x4000_0001_u32.to_be_bytes()[..], &srk_name].concat());
        let qualified = hash(&[parent, name.clone()].concat());
        let certify_info = [
            &0xFF54_4347_u32.to_be_bytes()[..],
            &0x8017_u16.to_be_bytes(),
            &sized(&signer),
            &sized(&challenge.0),
            &[0; 25],
            &sized(&name),
            &sized(&qualified),
        ]
        .concat();
        let signature = ak.sign(&certify_info).unwrap();
        let attestation = attestation(&genuine, certify_info, signature);
        (der, evidence::Residency { srk_name, public_area, name, attestation })
    }

    /// What the TPM releases of a sealed certificate.
    fn open(&mut self, sealed: &SealedCertificate, issuance: IssuanceId, request: &[u8]) -> Result<Vec<u8>, FaultKind> {
        let secret = self.keystore.activate_credential(&sealed.credential).map_err(|fault| fault.kind)?;
        Ok(sealed.open(&secret, issuance, request).unwrap())
    }
}

fn attestation(
    key: &AttestationKey,
    certify_info: Vec<u8>,
    certify_signature: Vec<u8>,
) -> Option<evidence::TpmAttestation> {
    let AttestationKey { endorsement, ak_public_area } = key.clone();
    Some(evidence::TpmAttestation {
        endorsement: Some(evidence::Endorsement {
            certificate: endorsement.certificate.unwrap(),
            chain: endorsement.chain,
            public_area: endorsement.public_area,
        }),
        ak_public_area,
        certify_info,
        certify_signature,
        nonce: vec![1; 32],
    })
}

fn sized(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u16).to_be_bytes(), octets].concat()
}

fn hash(octets: &[u8]) -> Vec<u8> {
    [&0x000B_u16.to_be_bytes()[..], &sha256(octets)].concat()
}

/// TPMT_PUBLIC of a P-256 key (TPM 2.0 part 2, 12.2.4).
fn area(key: &KeyPair, attributes: u32, scheme: &[u16]) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let (x, y) = key.der_bytes()[1..].split_at(32);
    let head = [words(&[0x0023, 0x000B]), attributes.to_be_bytes().to_vec(), sized(&[]), words(&[0x0010])].concat();
    [head, words(scheme), words(&[0x0003, 0x0010]), sized(x), sized(y)].concat()
}

fn id(number: u8) -> IssuanceId {
    IssuanceId::from_slice(&[number; 16]).unwrap()
}

/// What the CA answers to one request of the station.
async fn answer(
    ca: &mut Ca<Channel>,
    number: u8,
    profile: &str,
    (request, residency): &(Vec<u8>, evidence::Residency),
) -> issue_result::Outcome {
    let request = CertificationRequest {
        issuance: id(number).to_string(),
        device_serial: format!("SN-{number}"),
        lot: "LOT-1".into(),
        profile: profile.into(),
        certification_request: request.clone(),
        supersedes: vec![],
        residency: Some(residency.clone()),
        request_id: String::new(),
    };
    let answered = bounded("the CA", ca.issue_batch(IssueBatchRequest { requests: vec![request] })).await;
    answered.unwrap().into_inner().results.remove(0).outcome.unwrap()
}

fn sealed(outcome: issue_result::Outcome) -> SealedCertificate {
    let issue_result::Outcome::Sealed(sealed) = outcome else { panic!("{outcome:?}") };
    let evidence::SealedCertificate { credential: blob, encrypted_secret, certificate, chain } = sealed;
    SealedCertificate { credential: Credential { blob, encrypted_secret }, certificate, chain }
}

/// An honest TPM opens what it is sent, each time the same certificate, whatever a repeat brings as evidence. Of a forged
/// transcript (a genuine EK with its certificate, an AK and a key in software) the CA that takes the station's word knows
/// nothing; the one that makes the credential sends what no TPM opens, the liar's included. The CA's journal says which it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_lying_station_gets_nothing() {
    let mut line = start(Options { ca_extra: at_the_ca(VOUCHED), ..line_of(1, 0) }).await;
    let mut ca = Ca::new(line.authority_as("station-1").unwrap());
    let (mut honest, mut liar) = (Owned::of(&line), Owned::of(&line));

    let proof = honest.prove(id(1), "SN-1.ca");
    let first = sealed(answer(&mut ca, 1, SEALED, &proof).await);
    let certificate = honest.open(&first, id(1), &proof.0).unwrap();
    let certified = issuance::certificate::public_key(&certificate).unwrap();
    assert_eq!(certified, *Request::from_der(&proof.0).unwrap().public_key());
    assert!(!first.certificate.windows(16).any(|window| certificate.windows(16).any(|plain| plain == window)));
    let again = sealed(answer(&mut ca, 1, SEALED, &proof).await);
    assert_ne!(first, again, "encrypted anew");
    assert_eq!(honest.open(&again, id(1), &proof.0), Ok(certificate.clone()), "and the same certificate");

    // Who repeats the request with evidence of its own TPM has not become the one that was verified.
    let forged = liar.forge(id(1), "SN-1.ca");
    let repeated = sealed(answer(&mut ca, 1, SEALED, &(proof.0.clone(), forged.1)).await);
    assert_eq!(liar.open(&repeated, id(1), &proof.0), Err(FaultKind::ResidencyUnproven));
    assert_eq!(honest.open(&repeated, id(1), &proof.0), Ok(certificate.clone()));

    // The station's word alone: the CA cannot tell.
    let forged = liar.forge(id(2), "SN-2.ca");
    assert!(matches!(answer(&mut ca, 2, VOUCHED, &forged).await, issue_result::Outcome::Issued(_)));
    let forged = liar.forge(id(3), "SN-3.ca");
    let useless = sealed(answer(&mut ca, 3, SEALED, &forged).await);
    assert_eq!(liar.open(&useless, id(3), &forged.0), Err(FaultKind::ResidencyUnproven));
    assert_eq!(honest.open(&useless, id(3), &forged.0), Err(FaultKind::ResidencyUnproven));

    // Only who has read a certificate can say which one it is; the refusal does not.
    for (number, digest, is_right) in [(3, sha256(b"a guess"), false), (1, sha256(&certificate), true)] {
        let confirmation = Confirmation { issuance: id(number).to_string(), certificate_sha256: digest.to_vec() };
        let told = ca.confirm_batch(ConfirmBatchRequest { confirmations: vec![confirmation] }).await.unwrap();
        match told.into_inner().results.remove(0).outcome.unwrap() {
            confirm_result::Outcome::Confirmed(_) => assert!(is_right),
            confirm_result::Outcome::Refused(refused) => {
                assert!(!is_right);
                let hashes = refused.message.split(|character: char| !character.is_ascii_hexdigit());
                assert_eq!(hashes.filter(|word| word.len() == 64).count(), 1, "the guess alone: {}", refused.message);
            }
        }
    }

    line.stop().unwrap();
    let (journal, _) = Journal::open(&JournalOptions::new(line.directory().join("journal/ca"), "ca-1")).unwrap();
    let mut said = Vec::new();
    for bytes in journal.read(0..journal.length()).unwrap() {
        let record = <CaRecord as prost::Message>::decode(bytes.as_slice()).unwrap();
        match record.event.unwrap() {
            Event::CertificatePlanned(planned) => said.push((record.issuance[0], planned.residency_activation())),
            Event::IssuanceVerified(_) => said.push((record.issuance[0], Activation::Unspecified)),
            _ => {}
        }
    }
    let due = [(1, Activation::Ca), (2, Activation::Station), (3, Activation::Ca), (1, Activation::Unspecified)];
    assert_eq!(said, due);
}

/// Evidence that is not of this request, in this issuance, from this TPM: the CA refuses each by itself and says what is wrong,
/// where it takes the station's word and where it makes the credential alike. None of it keeps the honest one from its own.
/// (Another TPM's EK beside this one's AK is what the credential alone shows: see above.)
#[tokio::test(flavor = "multi_thread")]
async fn borrowed_evidence_is_refused() {
    let line = start(Options { ca_extra: at_the_ca(VOUCHED), ..line_of(1, 0) }).await;
    let mut ca = Ca::new(line.authority_as("station-1").unwrap());
    let (mut honest, mut other) = (Owned::of(&line), Owned::of(&line));
    // Two issuances for one key of one TPM, and one of another TPM.
    let (first, second) = (honest.prove(id(1), "SN-1.ca"), honest.prove(id(2), "SN-2.ca"));
    let theirs = other.prove(id(2), "SN-2.ca");

    type Change = fn(&mut evidence::Residency, evidence::Residency);
    type Attestation = evidence::TpmAttestation;
    fn said(residency: &mut evidence::Residency) -> &mut Attestation {
        residency.attestation.as_mut().unwrap()
    }
    // What is put into the second one's evidence, from whose, and what the CA says.
    let changes: [(&str, &evidence::Residency, Change, &str); 8] = [
        ("all of the first issuance's", &first.1, |ours, first| *ours = first, "another challenge"),
        (
            "the statement of the first issuance",
            &first.1,
            |ours, mut first| {
                said(ours).certify_info = std::mem::take(&mut said(&mut first).certify_info);
                said(ours).certify_signature = std::mem::take(&mut said(&mut first).certify_signature);
            },
            "another challenge",
        ),
        ("an old nonce", &first.1, |ours, _| said(ours).nonce = vec![2; 32], "another challenge"),
        ("all of another TPM's", &theirs.1, |ours, theirs| *ours = theirs, "of another key"),
        (
            "another TPM's AK",
            &theirs.1,
            |ours, mut theirs| said(ours).ak_public_area = std::mem::take(&mut said(&mut theirs).ak_public_area),
            "not the AK's",
        ),
        (
            "another TPM's storage root key",
            &theirs.1,
            |ours, theirs| ours.srk_name = theirs.srk_name,
            "storage root key",
        ),
        ("a name off by one bit", &first.1, |ours, _| ours.name[33] ^= 1, "not the digest"),
        ("no attestation", &first.1, |ours, _| ours.attestation = None, "no attestation"),
    ];
    for profile in [VOUCHED, SEALED] {
        for (what, from, change, words) in &changes {
            let mut borrowed = second.clone();
            change(&mut borrowed.1, (*from).clone());
            match answer(&mut ca, 2, profile, &borrowed).await {
                issue_result::Outcome::Refused(refused) => {
                    let told = (refused.reason.as_str(), refused.message.contains(words));
                    assert_eq!(told, ("RESIDENCY_UNPROVEN", true), "{profile}, {what}: {refused:?}");
                }
                other => panic!("{profile}, {what}: {other:?}"),
            }
        }
    }
    let first = sealed(answer(&mut ca, 2, SEALED, &second).await);
    assert!(honest.open(&first, id(2), &second.0).is_ok());
}

/// Through the station: a device is certified and verified under each way, and the station tells which it was; the CA is told
/// of what its TPM released. Where the station's profile wants the CA's credential, and the CA's does not make one, the
/// certificate in the open is set aside.
#[tokio::test(flavor = "multi_thread")]
async fn the_station_tells_who_was_shown_what() {
    let options = Options {
        ca_extra: [at_the_ca(VOUCHED), at_the_ca("open")].concat(),
        station_extra: [at_the_station(VOUCHED, 0x31, "station"), at_the_station("open", 0x32, "ca")].concat(),
        ..line_of(1, 1)
    };
    let mut line = start(options).await;
    for profile in ["device-ca", SEALED, VOUCHED, "open"] {
        open_lot(&line, profile, profile, 5).await;
    }
    for (profile, fixture, standing, activation) in [
        ("device-ca", "fixture-2", Standing::Stated, Activation::Unspecified),
        ("device-ca", "fixture-1", Standing::Stated, Activation::Unspecified),
        (VOUCHED, "fixture-1", Standing::Certified, Activation::Station),
        (SEALED, "fixture-1", Standing::Certified, Activation::Ca),
    ] {
        let serial = fixture.replace("fixture", "SN");
        let done = complete(&line, scan(profile, &serial, fixture)).await;
        let told = done.residency.expect("a residency");
        assert_eq!((told.standing(), told.activation()), (standing, activation), "{profile} at {fixture}");
        files_of(line.directory(), &done, Expected::Ca(0));
    }
    let open = stop(&line, scan("open", "SN-1", "fixture-1"), State::Quarantined, "CERTIFICATE_REJECTED").await;
    assert_eq!(open.stopped_in(), State::Issued);
    assert!(open.failure.clone().unwrap_or_default().message.contains("in the open"), "{}", told(&open));
    line.stop().unwrap();
    let (journal, _) = Journal::open(&JournalOptions::new(line.directory().join("journal/ca"), "ca-1")).unwrap();
    let records = journal.read(0..journal.length()).unwrap();
    let records =
        records.iter().map(|bytes| <CaRecord as prost::Message>::decode(bytes.as_slice()).unwrap().event.unwrap());
    assert_eq!(records.filter(|event| matches!(event, Event::IssuanceVerified(_))).count(), 1, "the sealed one");
}

/// The device leaves before the CA answers: what is sealed waits for it over a restart of the station, and is opened when the
/// device is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_certificate_waits_for_its_device() {
    let mut line = start(Options { station_extra: IMPATIENT_QUEUE.into(), ..line_of(1, 0) }).await;
    open_lot(&line, "LOT-1", SEALED, 5).await;
    line.stop_ca().unwrap();
    let started = start_issuance(&line, scan("LOT-1", "SN-1", "fixture-1")).await.unwrap();
    let waiting = until(&line, &started, "its submission", |issuance| issuance.state() == State::Submitted).await;
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(1) else { panic!() };
    tpm.stop(Stop::PowerCut).unwrap();
    line.start_ca().await.unwrap();
    let away = settled(&line, &waiting).await;
    assert_stopped(&away, State::Failed, "DEVICE_ABSENT");
    assert_eq!(away.stopped_in(), State::Issued);
    assert!(away.certificate.is_empty(), "nobody has seen it yet");
    assert_eq!(away.residency.unwrap().activation(), Activation::Station);
    line.kill_station().unwrap();
    line.start_station().await.unwrap();
    let Some(Device::Tpm(tpm)) = line.hardware_mut().device(1) else { panic!() };
    tpm.restart().unwrap();
    let done = complete(&line, scan("LOT-1", "SN-1", "fixture-1")).await;
    assert_eq!((done.name, done.key), (away.name, away.key));
    assert_eq!(done.residency.unwrap().activation(), Activation::Ca);
}
