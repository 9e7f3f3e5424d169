//! Keys of station and CA themselves that live in a TPM or a token, as their configurations name them; and such a key as TLS
//! uses it.

use std::{
    env, fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use issuance::{Fault, KeyAlgorithm, KeyLocation, Keystore, profile::KeystoreKind, public_key::octets};
use keystore::{Deadlines, KeystoreSettings, Worker, WorkerSettings};
use service::{
    configuration::Table,
    secrets,
    tls::{HardwareKey, TlsFiles},
};

/// A key in a TPM or a token.
#[derive(Debug, Clone)]
pub struct HardwareKeySettings {
    /// What holds it.
    pub keystore: KeystoreSettings,
    /// The worker's additional environment.
    pub environment: Vec<(String, String)>,
    /// Where it stands.
    pub location: KeyLocation,
}

impl HardwareKeySettings {
    /// Reads `keystore = "tpm"` with `tcti` and `handle`, or `"pkcs11"` with `module`, `token`, `pin_file`, `label` and
    /// `cka_id`; and `environment`. What is wrong is collected in the table.
    #[must_use]
    pub fn from_table(table: &Table<'_>) -> Option<Self> {
        let keystore = parse_keystore(table);
        let location = match keystore.as_ref().map(|(keystore, _)| keystore) {
            Some(KeystoreSettings::Tpm { .. }) => {
                let handle = table.integer("handle", 0x8100_0002..=0x817F_FFFF);
                handle.and_then(|handle| u32::try_from(handle).ok()).map(KeyLocation::TpmHandle)
            }
            Some(KeystoreSettings::Pkcs11 { .. }) => {
                let (label, cka_id) = (table.string("label"), table.parsed("cka_id", parse_cka_id));
                label.zip(cka_id).map(|(label, cka_id)| KeyLocation::Pkcs11 { cka_id, label })
            }
            // Which of them belongs here hangs on the keystore.
            None => {
                table.overlook_rest();
                None
            }
        };
        let ((keystore, environment), location) = keystore.zip(location)?;
        Some(Self { keystore, environment, location })
    }
}

/// The keystore that a table names, and its worker's environment. What is wrong is collected in the table.
#[must_use]
pub fn parse_keystore(table: &Table<'_>) -> Option<(KeystoreSettings, Vec<(String, String)>)> {
    let kind = table.parsed("keystore", |text| match text {
        "tpm" => Ok(KeystoreKind::Tpm),
        "pkcs11" => Ok(KeystoreKind::Pkcs11),
        _ => Err(format!("{text:?} is no keystore: use tpm or pkcs11")),
    });
    let environment = table.string_map("environment");
    let Some(kind) = kind else {
        // Which keys belong here hangs on the keystore: only its own mistake is told.
        for key in ["tcti", "module", "token", "pin_file"] {
            let _ = table.optional_string(key);
        }
        return None;
    };
    let keystore = match kind {
        KeystoreKind::Tpm => KeystoreSettings::Tpm { tcti: table.string("tcti")? },
        KeystoreKind::Pkcs11 => {
            let module = table.path("module");
            if let Some(module) = module.as_ref().filter(|module| !module.is_file()) {
                table.mistake("module", format!("{} is no file: give the PKCS#11 module's library", module.display()));
            }
            let token = table.string("token");
            let pin = table.path("pin_file").and_then(|path| match secrets::read(&path) {
                Ok(pin) => Some(pin),
                Err(error) => {
                    table.mistake("pin_file", service::in_full(&error));
                    None
                }
            });
            // One key of a device's, a checkpoint's or a listener's.
            KeystoreSettings::Pkcs11 { module: module?, token: token?, pin: pin?, sessions: NonZeroUsize::MIN }
        }
    };
    Some((keystore, environment))
}

/// A CKA_ID as configurations write it.
///
/// # Errors
/// Not 1 to 32 octets in hexadecimal.
pub fn parse_cka_id(text: &str) -> Result<Vec<u8>, String> {
    octets(text)
        .filter(|id| (1..=32).contains(&id.len()))
        .ok_or_else(|| format!("{text:?} is no CKA_ID: give 1 to 32 octets in hexadecimal"))
}

/// Reads `certificate`, `key` and `trust`; the key is a file, or a table as [`HardwareKeySettings`] has it.
#[must_use]
pub fn parse_tls(table: &Table<'_>) -> Option<TlsFiles> {
    TlsFiles::from_table_or_hardware(table, |key| {
        let settings = HardwareKeySettings::from_table(key)?;
        match TlsKeyInHardware::new(settings) {
            Ok(key) => Some(Arc::new(key) as Arc<dyn HardwareKey>),
            Err(problem) => {
                key.mistake("keystore", problem);
                None
            }
        }
    })
}

/// A key behind a worker of its own: this same program, started with `keystore-worker` by the first call.
struct TlsKeyInHardware {
    keystore: Mutex<Worker>,
    location: KeyLocation,
    place: String,
}

impl TlsKeyInHardware {
    fn new(settings: HardwareKeySettings) -> Result<Self, String> {
        let HardwareKeySettings { keystore, environment, location } = settings;
        let program =
            env::current_exe().map_err(|error| format!("the path of this program cannot be told: {error}"))?;
        let place = match &keystore {
            KeystoreSettings::Tpm { tcti } => format!("{location} in the TPM {tcti}"),
            KeystoreSettings::Pkcs11 { token, .. } => format!("{location} in the token {token}"),
        };
        let worker = Worker::new(WorkerSettings {
            program,
            arguments: vec!["keystore-worker".into()],
            keystore,
            environment,
            lock: None,
            deadlines: Deadlines::default(),
        });
        Ok(Self { keystore: Mutex::new(worker), location, place })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Worker) -> Result<T, Fault>) -> Result<T, String> {
        let mut keystore = self.keystore.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut keystore).map_err(|fault| fault.to_string())
    }

    fn absent(&self) -> String {
        format!("no key stands at {}: `tls-request` makes one", self.location)
    }
}

impl fmt::Debug for TlsKeyInHardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsKeyInHardware").field(&self.place).finish()
    }
}

impl HardwareKey for TlsKeyInHardware {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn public_key(&self) -> Result<Vec<u8>, String> {
        let found = self.with(|keystore| {
            keystore.identify()?;
            keystore.find_key(&self.location)
        })?;
        found.map(|key| key.spki().to_vec()).ok_or_else(|| self.absent())
    }

    fn made(&self) -> Result<Vec<u8>, String> {
        let key = self.with(|keystore| {
            keystore.identify()?;
            match keystore.find_key(&self.location)? {
                Some(key) => Ok(key),
                None => keystore.generate_key(&self.location, KeyAlgorithm::P256),
            }
        })?;
        Ok(key.spki().to_vec())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let messages = [message.to_vec()];
        let signatures = self.with(|keystore| {
            keystore.sign(&self.location, &messages).or_else(|_| {
                // It may have been away: a visit begins anew.
                keystore.identify()?;
                keystore.sign(&self.location, &messages)
            })
        })?;
        signatures.into_iter().next().ok_or_else(|| "it gave no signature".to_owned())
    }
}
