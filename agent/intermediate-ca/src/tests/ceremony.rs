//! A root whose key is in no token of ours: OpenSSL has it, in a file elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use issuance::KeyAlgorithm;

use super::{
    rollover::{ABANDON, OUT, assert_order, at_work, device, verify},
    *,
};
use crate::{InitError, Order, RolledOver, RolloverError, RolloverStep, read_certificates, rollover};

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The vault.
struct Vault(PathBuf);

impl Vault {
    fn new(world: &World) -> Self {
        let vault = world.path().join("vault");
        fs::create_dir(&vault).unwrap();
        Self(vault)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A root's key and certificate; gives the certificate's file.
    fn root(&self, name: &str, common_name: &str) -> PathBuf {
        let (key, out) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.pem")));
        let (config, subject) = (self.path("root.cnf"), format!("/O=Example Devices/CN={common_name}"));
        let text = "[req]\ndistinguished_name=dn\nx509_extensions=root\nstring_mask=utf8only\n[dn]\n[root]\n\
            basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n\
            authorityKeyIdentifier=keyid\n";
        fs::write(&config, text).unwrap();
        let mut arguments = vec!["req", "-x509", "-new", "-nodes", "-newkey", "rsa:2048", "-sha512", "-days", "7000"];
        arguments.extend(["-config", &config, "-subj", &subject, "-keyout", &key, "-out", &out]);
        openssl(&arguments);
        out.into()
    }

    /// Certifies a request; gives the certificate's file.
    fn certify(&self, root: &str, request: &Path, path_length: u8) -> PathBuf {
        let out = self.path(&format!("{}.{root}.pem", request.file_name().unwrap().to_str().unwrap()));
        let extensions = self.path("extensions");
        let text = format!(
            "basicConstraints=critical,CA:TRUE,pathlen:{path_length}\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        );
        fs::write(&extensions, text).unwrap();
        let (ca, key) = (self.path(&format!("{root}.pem")), self.path(&format!("{root}.key")));
        let request = request.to_str().unwrap();
        openssl(&["req", "-verify", "-noout", "-in", request]);
        let mut arguments = vec!["x509", "-req", "-in", request, "-CA", &ca, "-CAkey", &key, "-CAcreateserial"];
        arguments.extend(["-days", "3600", "-sha256", "-extfile", &extensions, "-out", &out]);
        openssl(&arguments);
        out.into()
    }
}

fn initialise(world: &World, brought: &[PathBuf]) -> Result<crate::Initialised, InitError> {
    init(&world.settings, &mut world.keystore.clone(), world.now(), &read_certificates(brought).unwrap())
}

fn step(world: &World, step: RolloverStep, brought: &[PathBuf]) -> Result<RolledOver, RolloverError> {
    let brought = read_certificates(brought).unwrap();
    let order = Order { claimed_by: "B-7", brought: &brought };
    rollover(&world.settings, &mut world.keystore.clone(), world.clock(), step, order)
}

#[track_caller]
fn says<T: std::fmt::Debug>(outcome: Result<T, impl std::fmt::Display>, words: &str) {
    let error = outcome.map_err(|error| error.to_string()).unwrap_err();
    assert!(error.contains(words), "{error} lacks {words:?}");
}

/// The key ceremony and a rollover whose roots are OpenSSL's: at each step what is missing is asked for, what does not fit
/// is refused with its reason, each order but the right one too, and each verifier accepts what is under a root that it has.
/// Keys are made for issuers alone; what was brought comes back from the journal.
#[tokio::test(flavor = "multi_thread")]
async fn an_offline_root_certifies_and_is_replaced() {
    let mut world = at_work();
    (world.settings.root.offline, world.settings.root.key) = (true, KeyAlgorithm::Rsa2048);
    // OpenSSL's certificates begin when they are made.
    world.time.fetch_add(120_000, Ordering::SeqCst);
    let vault = Vault::new(&world);
    let pki = world.settings.pki.clone();
    let requests = |suffix: &str| {
        [("device-ca", 1), ("device-identity", 0)].map(|(name, length)| (pki.join(format!("{name}{suffix}")), length))
    };
    let certified =
        |root: &str, suffix: &str| requests(suffix).map(|(path, length)| vault.certify(root, &path, length));

    says(initialise(&world, &[]), "bring its certificate, with the CN \"Test root\"");
    let root = vault.root("one", "Test root");
    says(initialise(&world, std::slice::from_ref(&root)), "device-identity.csr.pem");
    let first = fs::read(pki.join("device-ca.csr.pem")).unwrap();
    says(initialise(&world, &[vault.root("stranger", "Test root")]), "for none of the certificates given");
    assert_eq!(fs::read(pki.join("device-ca.csr.pem")).unwrap(), first, "one request for one key");
    let (request, _) = &requests(".csr.pem")[0];
    says(initialise(&world, &[vault.certify("one", request, 3)]), "its pathlen is 3, the configuration says 1");
    says(initialise(&world, &[vault.certify("stranger", request, 1)]), "it is not issued by root");
    assert!(initialise(&world, &certified("one", ".csr.pem")).unwrap().made.len() == 2);
    assert_eq!(initialise(&world, &[]).unwrap().made, Vec::<String>::new());
    assert_eq!(world.keystore.token().keys.len(), 2, "the root's key is not here");

    let authority = world.open();
    let before = device(&authority, 1, "root.pem").await;
    authority.close().await.unwrap();
    verify(&world, &[&before]);

    assert_order(&world, RolloverStep::NewIssuers, "begin with `rollover new-root`");
    says(step(&world, RolloverStep::NewRoot, &[]), "with the CN \"Test root G2\"");
    says(step(&world, RolloverStep::NewRoot, &[root]), "with the CN \"Test root G2\"");
    let new_root = vault.root("two", "Test root G2");
    step(&world, RolloverStep::NewRoot, &[new_root]).unwrap();
    assert_order(&world, OUT, "`rollover new-issuers`");
    verify(&world, &[&before]);
    assert!(step(&world, RolloverStep::NewRoot, &[]).unwrap().made.is_empty());

    says(step(&world, RolloverStep::NewIssuers, &[]), "device-ca.2.csr.pem");
    says(step(&world, RolloverStep::NewIssuers, &certified("one", ".2.csr.pem")), "it is not issued by root.2");
    step(&world, RolloverStep::NewIssuers, &certified("two", ".2.csr.pem")).unwrap();
    assert!(step(&world, RolloverStep::NewIssuers, &[]).unwrap().made.is_empty());
    let authority = world.open();
    let after = device(&authority, 2, "root.2.pem").await;
    authority.close().await.unwrap();
    verify(&world, &[&before, &after]);

    assert!(matches!(step(&world, OUT, &[]), Err(RolloverError::Standing { count: 1, .. })));
    step(&world, ABANDON, &[]).unwrap();
    verify(&world, &[&before, &after]);
    assert_eq!(world.keystore.token().keys.len(), 4);
    for lost in ["root.2.pem", "device-ca.2.pem", "bundle.pem"] {
        fs::remove_file(pki.join(lost)).unwrap();
    }
    let authority = world.open();
    assert_eq!(issue_one(&authority, &after.submission).await, after.outcome);
    authority.close().await.unwrap();
    verify(&world, &[&after]);
}

/// Certificates that are brought where the root's key is in the token are refused and nothing is made: whoever brings a root
/// does not get another one. A file without certificates is refused with words of what to bring.
#[test]
fn what_is_brought_is_never_passed_over() {
    let world = World::blank();
    let vault = Vault::new(&world);
    let root = vault.root("one", "Test root");
    says(initialise(&world, std::slice::from_ref(&root)), "`offline = true` in [root]");
    assert!(world.keystore.token().keys.is_empty());
    let key = read_certificates(&[vault.path("one.key").into()]).unwrap_err().to_string();
    assert!(key.contains("cannot be imported") && key.contains("that the root signed"), "{key}");
    initialise(&world, &[]).unwrap();
    says(step(&world, RolloverStep::NewRoot, &[root]), "`offline = true` in [root]");
    assert_eq!(world.keystore.token().keys.len(), 3);
}
