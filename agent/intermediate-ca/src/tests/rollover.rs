//! A root's rollover: the order of its steps, what each verifier accepts at each of them, and that nothing is made twice.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use issuance::{
    CertificateExpectation, CertificateLocation, CommonName, DeviceIdentity, Fault, FaultKind, KeyAlgorithm,
    KeyLocation, Keystore, PublicKey, ResidencyEvidence, ValidatedCertificate, request::CertificationRequest,
};
use journal::{Journal, JournalOptions};

use super::{revoking::serial_of, *};
use crate::{
    Order, Revocation, RevocationReason, RolledOver, RolloverError, RolloverStep, Target,
    records::{self, Event},
    rollover, rollover_status,
};

pub(super) const OUT: RolloverStep = RolloverStep::OldRootOut { abandon: false };
pub(super) const ABANDON: RolloverStep = RolloverStep::OldRootOut { abandon: true };

fn step(world: &World, step: RolloverStep) -> Result<RolledOver, RolloverError> {
    rollover(
        &world.settings,
        &mut world.keystore.clone(),
        world.clock(),
        step,
        Order { claimed_by: "B-7", brought: &[] },
    )
}

#[track_caller]
pub(super) fn assert_order(world: &World, wanted: RolloverStep, words: &str) {
    let error = step(world, wanted).unwrap_err();
    assert!(matches!(error, RolloverError::Order { .. }) && error.to_string().contains(words), "{error}");
}

/// A device's certificate with the chain that it was answered with.
pub(super) struct Device {
    pub(super) submission: Submission,
    pub(super) outcome: Outcome,
    root: &'static str,
}

pub(super) async fn device(authority: &Authority, number: u8, root: &'static str) -> Device {
    let submission = submission(number);
    let outcome = issue_one(authority, &submission).await;
    Device { submission, outcome, root }
}

fn pki(world: &World, name: &str) -> String {
    fs::read_to_string(world.settings.pki.join(name)).unwrap()
}

/// OpenSSL as three verifiers, with the old root, both, and the new one, where they stand; and as one that follows the
/// bundle. Each device sends its certificate with its chain.
pub(super) fn verify(world: &World, devices: &[&Device]) {
    let old = pki(world, "root.pem");
    let new = fs::read_to_string(world.settings.pki.join("root.2.pem")).unwrap_or_default();
    let bundle = pki(world, "bundle.pem");
    let file = |name: &str, text: &str| {
        let path = world.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for device in devices {
        let Issued { certificate, chain } = issued(&device.outcome);
        let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
        let leaf = file("leaf.pem", &pem(certificate));
        let chain = file("chain.pem", &chain.iter().map(|der| pem(der)).collect::<String>());
        for (who, roots) in [("old", &old), ("both", &(old.clone() + &new)), ("new", &new), ("bundle", &bundle)] {
            if roots.is_empty() {
                continue;
            }
            let trusted = file("trusted.pem", roots);
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-x509_strict", "-check_ss_sig", "-no-CApath", "-no-CAstore", "-CAfile", &trusted]);
            let output = openssl.args(["-untrusted", &chain, &leaf]).output().unwrap();
            let is_due = roots.contains(pki(world, device.root).trim());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), is_due, "{who} of {}: {said}", device.submission.device_serial);
        }
    }
}

/// A station that pins what `pki` says of the issuers, and trusts its bundle.
fn accepted_by_a_station(world: &World, device: &Device) -> bool {
    let ders = |name: &str| -> Vec<Vec<u8>> {
        pem::parse_many(pki(world, name)).unwrap().into_iter().map(pem::Pem::into_contents).collect()
    };
    let request = CertificationRequest::from_der(&device.submission.certification_request).unwrap();
    let expectation = CertificateExpectation {
        public_key: request.public_key().clone(),
        common_name: CommonName::parse(request.common_name().as_str()).unwrap(),
        purpose: Purpose::DeviceCa { path_length: 0 },
        issuers: ders("device-ca.issuers.pem"),
        intermediates: Vec::new(),
        roots: ders("bundle.pem"),
        at: world.now(),
    };
    ValidatedCertificate::validate(&issued(&device.outcome).certificate, expectation).is_ok()
}

fn blocks(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

/// Today, with CRLs, before `init`.
pub(super) fn at_work() -> World {
    let world = World::blank().with_crls([24, 7 * 24, 3 * 24]);
    // OpenSSL has a clock of its own.
    world.time.store(service::clock::Clock::system().unjudged(), Ordering::SeqCst);
    world
}

fn at_work_today() -> World {
    let world = at_work();
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
    world
}

/// The three steps with a device before, between and after: OpenSSL with the old root, both or the new one accepts what is
/// under a root that it has, and by the bundle what is due; a station by what `pki` says too. What was issued keeps its bytes
/// and its chain; GetAuthority follows; each wrong order says what is first; each step again does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_replaced_in_three_steps() {
    let world = at_work_today();
    assert_order(&world, RolloverStep::NewIssuers, "begin with `rollover new-root`");
    assert_order(&world, OUT, "begin with `rollover new-root`");
    let authority = world.open();
    let before = device(&authority, 1, "root.pem").await;
    authority.close().await.unwrap();
    verify(&world, &[&before]);

    assert_eq!(step(&world, RolloverStep::NewRoot).unwrap().made.len(), 4);
    assert_order(&world, OUT, "`rollover new-issuers`");
    let again = step(&world, RolloverStep::NewRoot).unwrap();
    assert!(again.made.is_empty() && again.status.to_string().contains("bring bundle.pem"), "{again:?}");
    let authority = world.open();
    assert_eq!(authority.bundle().len(), 2);
    let between = device(&authority, 2, "root.pem").await;
    assert_eq!(issued(&between.outcome).chain, issued(&before.outcome).chain);
    authority.close().await.unwrap();
    assert_eq!((blocks(&pki(&world, "bundle.pem")), blocks(&pki(&world, "device-ca.issuers.pem"))), (2, 1));
    verify(&world, &[&before, &between]);

    assert_eq!(step(&world, RolloverStep::NewIssuers).unwrap().made.len(), 10);
    assert!(step(&world, RolloverStep::NewIssuers).unwrap().made.is_empty());
    assert_order(&world, RolloverStep::NewRoot, "end the rollover before");
    let authority = world.open();
    let after = device(&authority, 3, "root.2.pem").await;
    assert_eq!(issue_one(&authority, &before.submission).await, before.outcome, "the same bytes and the same chain");
    let chain = &issued(&after.outcome).chain;
    let profiles = authority.profile_issuers();
    assert!(profiles.iter().any(|one| one.profile.as_str() == "device-ca" && one.chain == *chain));
    assert_ne!(*chain, issued(&before.outcome).chain);
    let newest = &authority.bundle()[0];
    assert_eq!(pki(&world, "root.2.pem"), crate::pki::pem_of([newest.as_slice()]), "who issues comes first");
    // Old and new issuer have lists of their own, each with what it issued.
    let target = Target::Certificate(serial_of(&between.outcome));
    let revocation = Revocation { target, reason: RevocationReason::Superseded };
    authority.revoke("supervisor-1", revocation).await.unwrap().unwrap();
    assert_eq!(authority.renew_crls().await, 0);
    let lists: BTreeMap<String, u64> =
        authority.crls().iter().map(|crl| (crl.list.clone(), crl.revoked as u64)).collect();
    let expected = [("device-ca", 1), ("device-ca.2", 0), ("device-identity", 0), ("device-identity.2", 0)];
    assert_eq!(lists, expected.map(|(name, count)| (name.to_owned(), count)).into());
    authority.close().await.unwrap();
    assert_eq!((blocks(&pki(&world, "device-ca.chain.pem")), blocks(&pki(&world, "device-ca.issuers.pem"))), (1, 2));
    verify(&world, &[&before, &between, &after]);
    assert!(accepted_by_a_station(&world, &before) && accepted_by_a_station(&world, &after));

    let error = step(&world, OUT).unwrap_err().to_string();
    assert!(error.starts_with("1 certificates under the old root are valid still"), "{error}");
    assert!(
        rollover_status(&world.settings, world.clock()).unwrap().to_string().contains("valid under the old root: 1")
    );
    step(&world, ABANDON).unwrap();
    assert!(step(&world, OUT).unwrap().made.is_empty());
    assert_eq!((blocks(&pki(&world, "bundle.pem")), blocks(&pki(&world, "device-ca.issuers.pem"))), (1, 1));
    verify(&world, &[&before, &between, &after]);
    assert!(!accepted_by_a_station(&world, &before) && accepted_by_a_station(&world, &after));

    // The old keys are destroyed, and files are lost: the CA needs neither, and writes these anew.
    let old = [&world.settings.root, &world.settings.issuers[0], &world.settings.issuers[1]];
    let old = old.map(|ca| ca.name.key_location());
    world.keystore.token().keys.retain(|(at, _)| !old.contains(at));
    assert_eq!(world.keystore.token().keys.len(), 3);
    for lost in ["bundle.pem", "device-ca.chain.pem", "root.2.pem", "device-ca.2.pem"] {
        fs::remove_file(world.settings.pki.join(lost)).unwrap();
    }
    let authority = world.open();
    assert_eq!(authority.bundle().len(), 1);
    assert_eq!(issue_one(&authority, &after.submission).await, after.outcome);
    assert_eq!(issue_one(&authority, &before.submission).await, before.outcome);
    device(&authority, 4, "root.2.pem").await;
    authority.close().await.unwrap();
    verify(&world, &[&after]);
    assert_eq!(step(&world, RolloverStep::NewRoot).unwrap().status.roots[1].0, "root.3");
}

/// Each step, ended at each call to the token in turn and run again: one key, one plan and one signature of each CA, and the
/// certificates are those that were planned.
#[test]
fn an_interrupted_step_completes() {
    for wanted in [RolloverStep::NewRoot, RolloverStep::NewIssuers] {
        let mut stops = 0;
        loop {
            let world = World::new();
            if wanted == RolloverStep::NewIssuers {
                step(&world, RolloverStep::NewRoot).unwrap();
            }
            let mut interrupted = Interrupted { keystore: world.keystore.clone(), calls_left: stops };
            let first = rollover(&world.settings, &mut interrupted, world.clock(), wanted, Order::default());
            // A day later a certificate that was made anew would say so.
            world.time.fetch_add(86_400_000, Ordering::SeqCst);
            let again = step(&world, wanted).unwrap();
            let cas = if wanted == RolloverStep::NewRoot { 1 } else { 3 };
            made_once(&world, cas);
            assert_eq!(world.keystore.token().keys.len(), 3 + cas, "stopped at {stops}");
            if first.is_ok() {
                assert!(again.made.is_empty());
                break;
            }
            stops += 1;
        }
        assert!(stops >= 3, "{stops}");
    }
}

/// A certificate that was signed and could not be written is written by the next run as it was signed; a file with another
/// one is no certificate of this CA.
#[test]
fn what_was_signed_is_written_later() {
    let world = World::new();
    let obstacle = world.settings.pki.join("root.2.pem.new");
    fs::create_dir(&obstacle).unwrap();
    let error = step(&world, RolloverStep::NewRoot).unwrap_err();
    assert!(matches!(error, RolloverError::Pki(_)), "{error}");
    fs::remove_dir(obstacle).unwrap();
    let signed = world.keystore.token().signed;
    fs::copy(world.settings.pki.join("root.pem"), world.settings.pki.join("root.2.pem")).unwrap();
    let error = step(&world, RolloverStep::NewRoot).unwrap_err().to_string();
    assert!(error.contains("root.2.pem does not fit"), "{error}");
    fs::remove_file(world.settings.pki.join("root.2.pem")).unwrap();
    step(&world, RolloverStep::NewRoot).unwrap();
    assert_eq!(world.keystore.token().signed, signed);
    made_once(&world, 1);
}

/// New issuers that could not carry a profile do not take over; a clock behind the newest record does nothing.
#[test]
fn what_cannot_work_is_not_begun() {
    let mut world = World::new();
    step(&world, RolloverStep::NewRoot).unwrap();
    world.time.fetch_sub(5_000, Ordering::SeqCst);
    assert!(matches!(step(&world, RolloverStep::NewIssuers), Err(RolloverError::Clock(_))));
    world.time.fetch_add(5_000, Ordering::SeqCst);
    world.settings.profiles[0].validity = crate::End::At(world.now().seconds() + 4_000 * 86_400);
    let error = step(&world, RolloverStep::NewIssuers).unwrap_err();
    assert!(matches!(error, RolloverError::Uncarried(_)), "{error}");
    world.settings.profiles[0].validity = crate::End::After(Duration::from_secs(86_400));
    let status = rollover_status(&world.settings, world.clock()).unwrap();
    assert_eq!(status.issuers[0].0, "device-ca");
    step(&world, RolloverStep::NewIssuers).unwrap();
    made_once(&world, 3);
}

/// So many CAs of the second generation, each with one plan and one signature in the journal, and these in its file.
fn made_once(world: &World, count: usize) {
    let (mut planned, mut signed) = (BTreeMap::new(), BTreeMap::new());
    let (journal, _) = Journal::open(&JournalOptions::new(&world.settings.journal, "ca-1")).unwrap();
    for entry in journal.read(0..journal.length()).unwrap() {
        match records::decode(&entry).unwrap().1 {
            Event::CaCertificatePlanned(ca) => assert!(planned.insert(ca.ca, ca.tbs_certificate).is_none()),
            Event::CaCertificateSigned(ca) => assert!(signed.insert(ca.ca, ca.signature).is_none()),
            _ => {}
        }
    }
    journal.close().unwrap();
    assert_eq!((planned.len(), signed.len()), (count, count));
    for (ca, tbs) in planned {
        let der = crate::certificate::assemble(&tbs, &signed[&ca]).unwrap();
        assert_eq!(pki(world, &format!("{ca}.pem")), crate::pki::pem_of([der.as_slice()]));
    }
}

/// Passes everything on, and fails every call after so many.
struct Interrupted {
    keystore: SoftwareKeystore,
    calls_left: usize,
}

impl Interrupted {
    fn call(&mut self) -> Result<&mut SoftwareKeystore, Fault> {
        let killed = || Fault::new(FaultKind::WorkerCrashed, "killed");
        self.calls_left = self.calls_left.checked_sub(1).ok_or_else(killed)?;
        Ok(&mut self.keystore)
    }
}

impl Keystore for Interrupted {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.call()?.identify()
    }
    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        self.call()?.find_key(location)
    }
    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        self.call()?.generate_key(location, algorithm)
    }
    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        self.call()?.residency_evidence(location)
    }
    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        self.call()?.sign(location, messages)
    }
    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        self.call()?.read_certificate(location)
    }
    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        self.call()?.write_certificate(location, certificate)
    }
    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault> {
        self.call()?.remove_certificate(location, certificate)
    }
}
