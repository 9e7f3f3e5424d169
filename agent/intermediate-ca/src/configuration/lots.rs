//! `[lots]`: what the CA asks of lots, and whose signatures it takes.

use std::{fs, path::Path};

use issuance::{KeyAlgorithm, PublicKey};
use service::configuration::Table;

use crate::lots::LotSettings;

/// Reads `[lots]`; absent, lots bind only whoever opened one here.
pub(super) fn parse(root: &Table<'_>) -> LotSettings {
    let Some(table) = root.optional_table("lots") else { return LotSettings::default() };
    let required = table.boolean_or("required", false);
    let mut brand_owners: Vec<PublicKey> = Vec::new();
    for table in table.tables("brand_owner") {
        let Some(path) = table.path("key") else { continue };
        match read_key(&path) {
            Ok(key) if brand_owners.contains(&key) => table.mistake("key", "is another brand owner's too; remove one"),
            Ok(key) => brand_owners.push(key),
            Err(problem) => table.mistake("key", format!("{}: {problem}", path.display())),
        }
    }
    // Who names brand owners means their word: to open lots without it besides must be said.
    let unsigned = table.boolean_or("unsigned", brand_owners.is_empty());
    if !unsigned && brand_owners.is_empty() && !table.has("brand_owner") {
        table.mistake("unsigned", "is false and there is no [[lots.brand_owner]]: no lot could ever be opened");
    }
    LotSettings { required, unsigned, brand_owners }
}

/// A public key, PEM, as `openssl pkey -pubout` writes it.
fn read_key(path: &Path) -> Result<PublicKey, String> {
    let text = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let block = pem::parse(text).map_err(|error| format!("is no PEM file: {error}"))?;
    if block.tag() != "PUBLIC KEY" {
        return Err(format!("holds a {}, not a PUBLIC KEY: write one with `openssl pkey -pubout`", block.tag()));
    }
    let key = PublicKey::from_der(block.contents()).map_err(|error| error.to_string())?;
    match key.algorithm() {
        KeyAlgorithm::P256 => Ok(key),
        other => Err(format!("is a {other} key: authorisations are ES256, so give a P-256 key")),
    }
}
