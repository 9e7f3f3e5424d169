//! `init`: complete, twice, interrupted anywhere, and on what does not fit.

use std::{collections::BTreeMap, fs, fs::File};

use issuance::{
    CertificateLocation, CommonName, DeviceIdentity, Fault, FaultKind, KeyAlgorithm, KeyLocation, Keystore, PublicKey,
    ResidencyEvidence, ValidatedCertificate,
};
use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::InitError;

fn run(world: &World) -> Result<crate::Initialised, InitError> {
    init(&world.settings, &mut world.keystore.clone(), world.now(), &[])
}

fn files(world: &World) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(&world.settings.pki)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// The first run makes three keys, three certificates, and the bundle and chains of them; the second makes nothing and changes no byte.
#[test]
fn a_second_init_changes_nothing() {
    let world = World::blank();
    assert_eq!(run(&world).unwrap().made.len(), 6);
    let first = files(&world);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let published = ["bundle.pem", "device-ca.chain.pem", "device-ca.issuers.pem"];
    assert_eq!(names[..3], published);
    assert_eq!(
        names[3..],
        [
            "device-ca.pem",
            "device-identity.chain.pem",
            "device-identity.issuers.pem",
            "device-identity.pem",
            "root.pem"
        ]
    );
    for (file, of) in published.iter().zip(["root.pem", "device-ca.pem", "device-ca.pem"]) {
        assert_eq!(first[*file], first[of], "{file}");
    }
    world.time.fetch_add(1_000_000, Ordering::SeqCst);
    assert_eq!(run(&world).unwrap().made, Vec::<String>::new());
    assert_eq!(files(&world), first);
    assert_eq!(world.keystore.token().keys.len(), 3);
}

/// Stopped at each signature in turn and run again, init completes with one key and one certificate each, and what
/// stood before stays as it was. The software keystore panics on a second key.
#[test]
fn an_interrupted_init_completes() {
    for stop_at in 0..3 {
        let world = World::blank();
        let mut interrupted = Interrupted { keystore: world.keystore.clone(), visits_left: stop_at };
        let error = init(&world.settings, &mut interrupted, world.now(), &[]).unwrap_err();
        assert!(matches!(error, InitError::Token(_)), "{error}");
        let before = files(&world);
        assert_eq!(before.len(), stop_at);
        assert_eq!(run(&world).unwrap().made.len(), 3 * 2 - (2 * stop_at + 1), "stopped at {stop_at}");
        let after = files(&world);
        assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
        assert_eq!((after.len(), world.keystore.token().keys.len()), (8, 3));
    }
}

/// Passes everything on, and fails the visit to sign after so many.
struct Interrupted {
    keystore: SoftwareKeystore,
    visits_left: usize,
}

impl Keystore for Interrupted {
    fn identify(&mut self) -> Result<DeviceIdentity, Fault> {
        self.keystore.identify()
    }
    fn find_key(&mut self, location: &KeyLocation) -> Result<Option<PublicKey>, Fault> {
        self.keystore.find_key(location)
    }
    fn generate_key(&mut self, location: &KeyLocation, algorithm: KeyAlgorithm) -> Result<PublicKey, Fault> {
        self.keystore.generate_key(location, algorithm)
    }
    fn residency_evidence(&mut self, location: &KeyLocation) -> Result<ResidencyEvidence, Fault> {
        self.keystore.residency_evidence(location)
    }
    fn sign(&mut self, location: &KeyLocation, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
        self.visits_left =
            self.visits_left.checked_sub(1).ok_or_else(|| Fault::new(FaultKind::WorkerCrashed, "killed"))?;
        self.keystore.sign(location, messages)
    }
    fn read_certificate(&mut self, location: &CertificateLocation) -> Result<Option<Vec<u8>>, Fault> {
        self.keystore.read_certificate(location)
    }
    fn write_certificate(
        &mut self,
        location: &CertificateLocation,
        certificate: &ValidatedCertificate,
    ) -> Result<(), Fault> {
        self.keystore.write_certificate(location, certificate)
    }
    fn remove_certificate(&mut self, location: &CertificateLocation, certificate: &[u8]) -> Result<(), Fault> {
        self.keystore.remove_certificate(location, certificate)
    }
}

/// Files that do not fit key, name, pathlen or issuer, and half-written ones, are errors that name file and problem;
/// nothing is made then.
#[test]
fn a_file_that_does_not_fit_is_named() {
    let other = World::new();
    let taken = |name: &str, world: &World| {
        fs::copy(other.settings.pki.join(name), world.settings.pki.join(name)).unwrap();
    };
    type Change<'a> = &'a dyn Fn(&mut World);
    let changes: [(Change<'_>, &str, &str); 6] = [
        (&|world| world.settings.issuers[0].path_length = Some(2), "device-ca.pem", "its pathlen is 1"),
        (&|world| world.settings.root.organization = None, "root.pem", "its subject's O"),
        (
            &|world| world.settings.issuers[1].common_name = CommonName::parse("Other").unwrap(),
            "device-identity.pem",
            "its subject's CN",
        ),
        (&|world| fs::write(world.settings.pki.join("root.pem"), "half").unwrap(), "root.pem", "it holds 0 PEM blocks"),
        (&|world| taken("root.pem", world), "root.pem", "its key has SHA-256"),
        (&|world| taken("device-ca.pem", world), "device-ca.pem", "it is not issued by root"),
    ];
    for (change, file, words) in changes {
        let mut world = World::new();
        change(&mut world);
        let before = files(&world);
        let error = run(&world).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(words), "{error}");
        assert_eq!((files(&world), world.keystore.token().keys.len()), (before, 3));
    }
}

/// A key of another algorithm, a token that lost its key, an issuer that the root cannot carry, and a second init at the
/// same time are told apart.
#[test]
fn init_refuses_what_it_cannot_repair() {
    let mut world = World::new();
    world.settings.issuers[0].key = KeyAlgorithm::P384;
    assert!(matches!(run(&world), Err(InitError::OtherAlgorithm { found: KeyAlgorithm::P256, .. })));

    let world = World::new();
    world.keystore.token().keys.clear();
    assert!(matches!(run(&world), Err(InitError::KeyGone { .. })));

    let world = World::new();
    fs::remove_file(world.settings.pki.join("device-ca.pem")).unwrap();
    world.time.fetch_add(3_651 * 86_400_000, Ordering::SeqCst);
    let error = run(&world).unwrap_err().to_string();
    assert!(error.contains("shorten device-ca's validity"), "{error}");

    let world = World::new();
    let held = File::open(&world.settings.pki).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(run(&world), Err(InitError::AtWork(_))));
}
