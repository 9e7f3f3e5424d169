//! `ca.toml`, read with every mistake reported at once.

mod crl;
mod est;
mod lots;
mod profile;
pub(crate) mod residency;

use std::{net::SocketAddr, num::NonZeroUsize, path::Path, path::PathBuf};

use issuance::{CommonName, KeyAlgorithm};
use journal::LogOptions;
use keystore::KeystoreSettings;
use service::{
    command::Client,
    configuration::{File, Mistakes, Table},
    limits::Limits,
    metrics,
    roles::Callers,
    tls::TlsFiles,
    traces,
};

use crate::{
    est::EstSettings,
    hardware_key::{HardwareKeySettings, parse_tls},
    production,
    profile::{AuthoritySettings, CaName, CaSettings, Contradiction, Place, contradictions},
};
use profile::{parse_end, parse_name_constraints, parse_profile};

/// The whole file, parsed.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where stations call.
    pub listen: Listen,
    /// Who may call.
    pub callers: Callers,
    /// How often, and over how many connections.
    pub limits: Limits,
    /// Where and how devices enrol by EST.
    pub est: Option<EstSettings>,
    /// Where metrics are served, when they are.
    pub metrics: Option<SocketAddr>,
    /// Where traces go, when they are made.
    pub traces: Option<traces::Settings>,
    /// How the commands that call the running CA do so.
    pub client: Option<Client>,
    /// Where the keys are.
    pub token: Token,
    /// What the CA is.
    pub authority: AuthoritySettings,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// `[listen]`.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server's certificate and key, and the control plane's root.
    pub files: TlsFiles,
}

/// `[token]`.
#[derive(Debug, Clone)]
pub struct Token {
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// Where its PIN stands.
    pub pin_file: PathBuf,
    /// What the process that loads the module finds in its environment.
    pub environment: Vec<(String, String)>,
    /// How many sessions may sign at the same time; the token may allow fewer.
    pub sessions: NonZeroUsize,
}

impl Token {
    /// Four: every core of a small machine for a token in its memory, and four times one session's rate for an HSM that is a
    /// network away.
    const SESSIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
    /// Beyond that a token is the bottleneck, and each session is a thread.
    const SESSIONS_MOST: i64 = 64;
}

impl Configuration {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        Self::parse(File::read(path)?)
    }

    /// Parses a file that was read.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn parse(file: File) -> Result<Self, Mistakes> {
        let sha256 = file.sha256();
        let parsed = parse(&file.root(), file.path());
        file.finish()?;
        match parsed {
            Some((listen, callers, limits, est, metrics, traces, client, token, authority)) => {
                Ok(Self { listen, callers, limits, est, metrics, traces, client, token, authority, sha256 })
            }
            // What is missing was collected as a mistake, and `finish` told it.
            None => Err(Mistakes(Vec::new())),
        }
    }
}

type Parts = (
    Listen,
    Callers,
    Limits,
    Option<EstSettings>,
    Option<SocketAddr>,
    Option<traces::Settings>,
    Option<Client>,
    Token,
    AuthoritySettings,
);

fn parse(root: &Table<'_>, file: &Path) -> Option<Parts> {
    let name = root.parsed("name", parse_origin);
    let production = root.optional_parsed("mode", production::parse_mode).unwrap_or(false);
    let (journal, pki) = (root.path("journal"), root.path("pki"));
    let origin = name.as_deref().unwrap_or_default();
    let checkpoints = journal.as_deref().map(|journal| parse_checkpoints(root, journal, origin));
    let (witnessed, witness) = root.optional_table("witness").map(|table| parse_witness(&table)).unwrap_or_default();
    let listen = root.table("listen").and_then(|table| {
        let address = table.parsed("address", |text| {
            text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:7443")
        });
        let files = parse_tls(&table);
        Some(Listen { address: address?, files: files? })
    });
    let callers = Callers::from_table(root);
    let limits = Limits::from_table(root, Limits::OF_A_CA);
    let (metrics, traces) = (metrics::address(root), traces::Settings::from_table(root));
    // A client that was given wrong is a mistake already.
    let client = root.optional_table("client").and_then(|table| Client::from_table(&table));
    let lots = lots::parse(root);
    let token = root.table("token").and_then(|table| {
        let (module, label, pin_file) = (table.path("module"), table.string("label"), table.path("pin_file"));
        let environment = table.string_map("environment");
        let refused = module.as_deref().filter(|_| production).and_then(production::module);
        refused.iter().for_each(|problem| table.mistake("module", problem.as_str()));
        let sessions = table.optional_integer("sessions", 1..=Token::SESSIONS_MOST);
        let sessions = sessions.and_then(|number| NonZeroUsize::new(usize::try_from(number).ok()?));
        let sessions = sessions.unwrap_or(Token::SESSIONS);
        Some(Token { module: module?, label: label?, pin_file: pin_file?, environment, sessions })
    });
    let root_ca = root.table("root").and_then(|table| parse_ca(&table, Some(CaName::root())));
    let issuer_tables = root.tables("issuer");
    let profile_tables = root.tables("profile");
    for (key, tables) in [("issuer", &issuer_tables), ("profile", &profile_tables)] {
        if tables.is_empty() && !root.has(key) {
            root.mistake(key, format!("is missing; add a [[{key}]]"));
        }
    }
    let issuers: Option<Vec<CaSettings>> = all(issuer_tables.iter().map(|table| {
        let name = table.parsed("name", CaName::parse);
        parse_ca(table, name)
    }));
    let profiles = all(profile_tables.iter().map(|table| parse_profile(table, &callers)));
    let (root_ca, issuers, profiles) = (root_ca?, issuers?, profiles?);
    for Contradiction { place, key, message } in contradictions(&root_ca, &issuers, &profiles) {
        match place {
            Place::Root => root.table("root").iter().for_each(|table| table.mistake(key, message.as_str())),
            Place::Issuer(index) => issuer_tables[index].mistake(key, message),
            Place::Profile(index) => profile_tables[index].mistake(key, message),
        }
    }
    if production {
        let root_table = root.table("root");
        let tables = root_table.iter().chain(&issuer_tables).zip(std::iter::once(&root_ca).chain(&issuers));
        for (table, problem) in tables.filter_map(|(table, ca)| Some((table, production::authority(ca)?))) {
            table.mistake("common_name", problem);
        }
        for (table, profile) in profile_tables.iter().zip(&profiles) {
            production::makers(profile).iter().for_each(|problem| table.mistake("ek", problem.as_str()));
        }
    }
    // A wrong [crl] is a mistake already: without it the rest of the file is read all the same.
    let crl = root.optional_table("crl").and_then(|table| crl::parse(&table, &issuers, &profiles));
    let est = root.optional_table("est").and_then(|table| est::parse(&table, &profiles, &callers));
    let (checkpoints, hardware_key) = checkpoints?;
    if let Some(KeystoreSettings::Pkcs11 { module, .. }) = hardware_key.as_ref().map(|key| &key.keystore)
        && let Some(problem) = production::module(module).filter(|_| production)
        && let Some(table) = root.optional_table("checkpoints").and_then(|table| table.optional_table("hardware_key"))
    {
        table.mistake("module", problem);
    }
    let file = file.to_owned();
    let authority = AuthoritySettings {
        file,
        name: name?,
        production,
        journal: journal?,
        pki: pki?,
        checkpoints,
        hardware_key,
        witnessed,
        witness,
        root: root_ca,
        issuers,
        profiles,
        lots,
        crl,
    };
    Some((listen?, callers, limits, est, metrics, traces, client, token?, authority))
}

/// `[checkpoints]`, each of its keys optional: where the log `origin` of this journal is, and which key of a TPM or token signs
/// it beside the one in a file. A station reads its own with the same words.
#[must_use]
pub fn parse_checkpoints(root: &Table<'_>, journal: &Path, origin: &str) -> (LogOptions, Option<HardwareKeySettings>) {
    let beside = LogOptions::beside(journal);
    let Some(table) = root.optional_table("checkpoints") else { return (beside, None) };
    let mut options = LogOptions {
        directory: table.optional_path("directory").unwrap_or(beside.directory),
        key_file: table.optional_path("key_file").unwrap_or(beside.key_file),
        interval: table.duration_or("interval", beside.interval),
        signers: beside.signers,
    };
    let hardware_key = table.optional_table("hardware_key").and_then(|table| HardwareKeySettings::from_table(&table));
    if let Some(key) = &hardware_key {
        options.signers.push(key.signer(origin, journal, options.hardware_key_file()));
    }
    (options, hardware_key)
}

/// `[witness]`: a file with what it saw, a CA that is asked, or both.
fn parse_witness(table: &Table<'_>) -> (Option<PathBuf>, Option<Client>) {
    let file = table.optional_path("file");
    let asked = ["endpoint", "certificate", "key", "trust"].iter().any(|key| table.has(key));
    if !asked && !table.has("file") {
        table.mistake(
            "file",
            "is missing; give the file that the witness wrote, or endpoint, certificate, key and trust",
        );
    }
    (file, asked.then(|| Client::from_table(table)).flatten())
}

/// Every one, or none when one is missing; each is asked for, so that each one's mistakes are collected.
fn all<T>(parsed: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = parsed.collect();
    parsed.into_iter().collect()
}

fn parse_ca(table: &Table<'_>, name: Option<CaName>) -> Option<CaSettings> {
    let common_name = table.parsed("common_name", CommonName::parse);
    let organization = match table.optional_string("organization") {
        // RFC 5280's ub-organization-name.
        Some(text) if text.chars().count() > 64 => {
            table.mistake("organization", "has more than 64 characters, and none is ever cut off; give a shorter one");
            None
        }
        text => text,
    };
    let key = table.parsed("key", parse_algorithm);
    let offline = name.as_ref().is_some_and(|name| *name == CaName::root()) && table.boolean_or("offline", false);
    let validity = parse_end(table);
    let path_length = parse_path_length(table);
    let name_constraints = parse_name_constraints(table);
    Some(CaSettings {
        name: name?,
        common_name: common_name?,
        organization,
        key: key?,
        offline,
        validity: validity?,
        path_length,
        name_constraints,
    })
}

fn parse_path_length(table: &Table<'_>) -> Option<u8> {
    // rcgen and our own types carry one octet; no chain is longer.
    table.optional_integer("path_length", 0..=i64::from(u8::MAX)).and_then(|length| u8::try_from(length).ok())
}

fn parse_algorithm(text: &str) -> Result<KeyAlgorithm, String> {
    KeyAlgorithm::parse(text).ok_or_else(|| {
        let known: Vec<&str> = KeyAlgorithm::NAMES.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", known.join(", "))
    })
}

/// The name becomes the journal's origin (C2SP signed-note: no spaces, no plus signs).
fn parse_origin(text: &str) -> Result<String, &'static str> {
    let accepted = |character: char| character.is_ascii_alphanumeric() || "._:/-".contains(character);
    if text.len() > 64 || !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || !text.chars().all(accepted)
    {
        return Err("must be 1 to 64 of [A-Za-z0-9._:/-], beginning with a letter or a digit");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
