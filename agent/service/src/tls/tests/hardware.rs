//! A key in hardware, as far as TLS goes: what the hardware does is told it here. Real tokens and TPMs stand in the end-to-end
//! tests.

use std::sync::{Arc, Mutex};

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::authority::{Authority, End, Server, client, server};
use crate::tls::{TlsFiles, TlsKey, hardware::HardwareKey};

/// What holds one key, until it is told otherwise: `None` is away.
#[derive(Debug, Clone)]
struct Told(Arc<Mutex<Option<String>>>);

impl Told {
    fn new(key: &str) -> Self {
        Self(Arc::new(Mutex::new(Some(key.to_owned()))))
    }

    fn holds(&self, key: Option<&str>) {
        *self.0.lock().unwrap() = key.map(str::to_owned);
    }

    fn key(&self) -> Result<KeyPair, String> {
        let held = self.0.lock().unwrap();
        held.as_ref().map(|pem| KeyPair::from_pem(pem).unwrap()).ok_or_else(|| "it is away".to_owned())
    }
}

impl HardwareKey for Told {
    fn place(&self) -> String {
        "slot 1".to_owned()
    }

    fn public_key(&self) -> Result<Vec<u8>, String> {
        self.key().map(|key| key.subject_public_key_info())
    }

    fn made(&self) -> Result<Vec<u8>, String> {
        self.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.key().map(|key| key.sign(message).unwrap())
    }
}

/// One end whose key is in such hardware.
fn in_hardware(root: &Authority) -> (End, Told, TlsFiles) {
    let (certificate, key) = root.issue(&server());
    let told = Told::new(&key);
    let end = End::new((certificate, key), &root.pem);
    let files = TlsFiles { key: TlsKey::Hardware(Arc::new(told.clone())), ..end.files.clone() };
    (end, told, files)
}

/// Connections come up while the hardware has the key, fail while it is away or another key took its place, and come up again; one
/// that was away at the start is no other matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_hardware_may_go_and_come_back() {
    let root = Authority::root("root");
    let (_end, told, files) = in_hardware(&root);
    let own = told.0.lock().unwrap().clone();
    told.holds(None);
    let serving = Server::start(&files).await;
    let caller = End::new(root.issue(&client("caller")), &root.pem);
    serving.call(&caller.files).await.unwrap_err();
    told.holds(own.as_deref());
    serving.call(&caller.files).await.unwrap();
    told.holds(Some(&KeyPair::generate().unwrap().serialize_pem()));
    serving.call(&caller.files).await.unwrap_err();
    told.holds(own.as_deref());
    serving.call(&caller.files).await.unwrap();
    assert_eq!(serving.names(), ["caller", "caller"]);
}

/// A certificate of another key is refused at the start, and by the doctor; so is one on a curve that hardware does not sign with
/// here. What the hardware signs is held against the certificate, whatever key it says that it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_hardware_is_its_certificates() {
    let root = Authority::root("root");
    let (end, told, files) = in_hardware(&root);
    files.check().unwrap();
    let refused = |files: &TlsFiles, words: &str| {
        let text = crate::in_full(&files.check().unwrap_err());
        assert!(text.contains(words), "{words} in {text}");
    };
    let other = KeyPair::generate().unwrap().serialize_pem();
    told.holds(Some(&other));
    refused(&files, "was not issued for the key at slot 1");
    told.holds(None);
    refused(&files, "it is away");

    /// Says that it has the one key, and signs with another.
    #[derive(Debug)]
    struct Liar(Told, Told);
    impl HardwareKey for Liar {
        fn place(&self) -> String {
            self.0.place()
        }
        fn public_key(&self) -> Result<Vec<u8>, String> {
            self.0.public_key()
        }
        fn made(&self) -> Result<Vec<u8>, String> {
            self.0.made()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
            self.1.sign(message)
        }
    }
    let own = std::fs::read_to_string(end.files.key.file().unwrap()).unwrap();
    let liar = Liar(Told::new(&own), Told::new(&other));
    refused(&TlsFiles { key: TlsKey::Hardware(Arc::new(liar)), ..files.clone() }, "does not verify with");

    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = root.issue_for(&server(), &rsa);
    let end = End::new((certificate, rsa.serialize_pem()), &root.pem);
    refused(&TlsFiles { key: files.key, ..end.files.clone() }, "P-256 or P-384");
}
