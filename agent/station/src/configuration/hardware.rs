//! Which TPM or token: of a fixture, and of the station itself.

use issuance::{KeyLocation, profile::KeystoreKind};
use keystore::KeystoreSettings;
use service::{configuration::Table, secrets};

use super::cka_id;

/// `[checkpoints.hardware_key]`: the key of the station's own TPM or token that signs its journal's checkpoints beside the one
/// in the file. Made there at the first start.
#[derive(Debug)]
pub struct HardwareKeySettings {
    /// What holds it.
    pub keystore: KeystoreSettings,
    /// The worker's additional environment.
    pub environment: Vec<(String, String)>,
    /// Where it stands.
    pub location: KeyLocation,
}

/// The keystore that a table names, and its worker's environment.
pub(super) fn read(table: &Table<'_>) -> Option<(KeystoreSettings, Vec<(String, String)>)> {
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
            KeystoreSettings::Pkcs11 { module: module?, token: token?, pin: pin? }
        }
    };
    Some((keystore, environment))
}

/// `None`: there is none; `Some(None)`: it was given wrong, which was reported.
pub(super) fn hardware_key(root: &Table<'_>) -> Option<Option<HardwareKeySettings>> {
    let table = root.optional_table("checkpoints")?.optional_table("hardware_key")?;
    let keystore = read(&table);
    let location = match keystore.as_ref().map(|(keystore, _)| keystore) {
        Some(KeystoreSettings::Tpm { .. }) => {
            let handle = table.integer("handle", 0x8100_0002..=0x817F_FFFF);
            handle.and_then(|handle| u32::try_from(handle).ok()).map(KeyLocation::TpmHandle)
        }
        Some(KeystoreSettings::Pkcs11 { .. }) => {
            let (label, cka_id) = (table.string("label"), table.parsed("cka_id", cka_id));
            label.zip(cka_id).map(|(label, cka_id)| KeyLocation::Pkcs11 { cka_id, label })
        }
        // Which of them belongs here hangs on the keystore.
        None => {
            for key in ["handle", "label", "cka_id"] {
                let _ = table.has(key);
            }
            table.overlook_rest();
            None
        }
    };
    Some(keystore.zip(location).map(|((keystore, environment), location)| HardwareKeySettings {
        keystore,
        environment,
        location,
    }))
}
