//! `station.toml`: read once, every mistake reported at once, with its place in the file.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use intermediate_ca::{
    HardwareKeySettings, parse_checkpoints, parse_cka_id, parse_keystore, parse_residency, parse_tls,
};
use issuance::{
    FixtureName, KeyAlgorithm, Profile, ProfileName, Purpose, certificate,
    profile::{KeystoreKind, NameTemplate, Pkcs11Places, TpmPlaces},
    public_key::sha256,
    submission::Terms,
};
use journal::{JournalOptions, LogOptions};
use keystore::KeystoreSettings;
use service::{
    command::{self, Client},
    configuration::{File, Mistakes, Table},
    limits::Limits,
    metrics,
    roles::Callers,
    tls::TlsFiles,
    traces,
};

use crate::{
    events::webhook,
    profiles::{PinnedProfile, Profiles},
    supervisors::{self, PinHash},
};

mod authority;

/// A station's configuration.
#[derive(Debug)]
pub struct StationConfiguration {
    /// The station's name.
    pub station: String,
    /// Where it stands; for the record.
    pub site: String,
    /// On which line; for the record.
    pub line: String,
    /// What part is made; for the record.
    pub part_revision: String,
    /// The journal's directory.
    pub journal: PathBuf,
    /// Where checkpoints of the journal are kept and what signs them.
    pub checkpoints: LogOptions,
    /// The key of the station's own TPM or token that signs them too, when it has one; it is among their signers already.
    pub hardware_key: Option<HardwareKeySettings>,
    /// Where the devices' files go.
    pub devices: PathBuf,
    /// Where gRPC is served.
    pub listen: ListenSettings,
    /// Where metrics are served, when they are.
    pub metrics: Option<SocketAddr>,
    /// Where traces go, when they are made.
    pub traces: Option<traces::Settings>,
    /// Whom events are posted to, when somebody is.
    pub webhook: Option<webhook::Settings>,
    /// Who may call.
    pub callers: Callers,
    /// How often, and over how many connections.
    pub limits: Limits,
    /// The CA.
    pub authority: AuthoritySettings,
    /// What waits for it.
    pub queue: QueueSettings,
    /// The profiles.
    pub profiles: Profiles,
    /// The fixtures, in the file's order.
    pub fixtures: Vec<FixtureSettings>,
    /// Supervisors' badges and the hashes of their PINs; empty: nobody decides at somebody else's screen.
    pub supervisors: Vec<(String, PinHash)>,
    /// How this program's own commands call the station, when that is configured.
    pub client: Option<Client>,
    /// The file itself.
    pub file: PathBuf,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// A listener.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Its certificate, key and trust.
    pub tls: TlsFiles,
}

/// The CA that requests go to.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// Its name, for the record.
    pub name: String,
    /// `https://host:port`.
    pub endpoint: String,
    /// This station's certificate, key and trust for it.
    pub tls: TlsFiles,
    /// What it does with the same request, sent twice, and what follows from a lost answer.
    pub terms: Terms,
}

/// Bounds and times of the queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueSettings {
    /// At this many waiting submissions new issuances are refused. A submission is about 1 KiB on disk and some 100
    /// bytes in memory: 100,000 are weeks of one station's work.
    pub bound: usize,
    /// Requests in one batch: one batch is two syncs at the CA; 256 is its bound.
    pub batch: usize,
    /// Full batches that are under way at once while the CA answers: with two it has the next one when it is done with one.
    /// One, where it makes another certificate of the same request.
    pub in_flight: usize,
    /// One attempt's time. A CA answers a batch in under a second; a minute covers an HSM that reconnects.
    pub timeout: Duration,
    /// The first pause after a failed attempt.
    pub retry_first: Duration,
    /// The longest pause: after an outage the line waits at most this long.
    pub retry_most: Duration,
}

/// One fixture.
#[derive(Debug)]
pub struct FixtureSettings {
    /// Its name.
    pub name: FixtureName,
    /// What is behind it.
    pub keystore: KeystoreSettings,
    /// The worker's additional environment.
    pub environment: Vec<(String, String)>,
}

impl FixtureSettings {
    /// The kind of keystore behind it.
    #[must_use]
    pub fn kind(&self) -> KeystoreKind {
        match self.keystore {
            KeystoreSettings::Tpm { .. } => KeystoreKind::Tpm,
            KeystoreSettings::Pkcs11 { .. } => KeystoreKind::Pkcs11,
        }
    }
}

impl StationConfiguration {
    /// Reads the file and every file it names (certificates, PINs). Reports all mistakes at once.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let file = File::read(path)?;
        let read = Self::from_root(&file.root(), path, file.sha256());
        file.finish()?;
        // What is missing was reported by `finish`.
        read.ok_or_else(|| Mistakes(vec![]))
    }

    /// How the station's journal is opened and mended.
    #[must_use]
    pub fn journal_options(&self) -> JournalOptions {
        let repair = command::as_typed(&["journal", "repair", "--from", "COPY"], &self.file);
        JournalOptions { repair, ..JournalOptions::new(&self.journal, origin(&self.station)) }
    }

    fn from_root(root: &Table<'_>, file: &Path, sha256: [u8; 32]) -> Option<Self> {
        let station = root.parsed("station", |name| FixtureName::parse(name).map(|_| name.to_owned()));
        let site = root.optional_string("site").unwrap_or_default();
        let line = root.optional_string("line").unwrap_or_default();
        let part_revision = root.optional_string("part_revision").unwrap_or_default();
        let journal = root.path("journal");
        let origin = origin(station.as_deref().unwrap_or_default());
        let checkpoints = journal.as_deref().map(|journal| parse_checkpoints(root, journal, &origin));
        let devices = root.path("devices");
        let listen = root.table("listen").and_then(|table| listen(&table));
        let metrics = metrics::address(root);
        let traces = traces::Settings::from_table(root);
        let webhook = webhook::Settings::from_table(root);
        let callers = Callers::from_table(root);
        let limits = Limits::from_table(root, Limits::OF_A_STATION);
        let authority = root.table("authority").and_then(|table| authority::read(&table));
        let queue = queue(root.optional_table("queue").as_ref());
        let profiles = profiles(root);
        let supervisors = root.optional_table("supervisors").map(|table| supervisors(&table)).unwrap_or_default();
        let client = root.optional_table("client").map(|table| Client::from_table(&table));
        let fixtures = fixtures(root);
        check_places(root, &profiles, &fixtures);
        let (checkpoints, hardware_key) = checkpoints?;
        Some(Self {
            station: station?,
            site,
            line,
            part_revision,
            journal: journal?,
            checkpoints,
            hardware_key,
            devices: devices?,
            listen: listen?,
            metrics,
            traces,
            webhook,
            callers,
            limits,
            authority: authority?,
            queue,
            profiles: Profiles::new(profiles),
            fixtures,
            supervisors,
            // A client that was given wrong was reported.
            client: match client {
                Some(client) => Some(client?),
                None => None,
            },
            file: file.to_owned(),
            sha256,
        })
    }
}

fn listen(table: &Table<'_>) -> Option<ListenSettings> {
    let address = table.parsed("address", |text| {
        text.parse::<SocketAddr>().map_err(|_| format!("{text:?} is no address: write it as 127.0.0.1:7070"))
    });
    let tls = parse_tls(table);
    Some(ListenSettings { address: address?, tls: tls? })
}

fn supervisors(table: &Table<'_>) -> Vec<(String, PinHash)> {
    let Some(file) = table.path("file") else { return Vec::new() };
    supervisors::read(&file).unwrap_or_else(|error| {
        table.mistake("file", service::in_full(&error));
        Vec::new()
    })
}

fn queue(table: Option<&Table<'_>>) -> QueueSettings {
    let integer = |key, range, default: i64| {
        usize::try_from(table.map_or(default, |table| table.integer_or(key, range, default))).unwrap_or(usize::MAX)
    };
    let duration = |key, default| table.map_or(default, |table| table.duration_or(key, default));
    let settings = QueueSettings {
        bound: integer("bound", 1..=10_000_000, 100_000),
        batch: integer("batch", 1..=256, 256),
        in_flight: integer("in_flight", 1..=16, 2),
        timeout: duration("timeout", Duration::from_secs(60)),
        retry_first: duration("retry_first", Duration::from_millis(500)),
        retry_most: duration("retry_most", Duration::from_secs(30)),
    };
    if let Some(table) = table
        && settings.retry_first > settings.retry_most
    {
        table.mistake("retry_first", "is longer than retry_most: make it shorter, or retry_most longer");
    }
    settings
}

fn profiles(root: &Table<'_>) -> Vec<PinnedProfile> {
    let tables = root.tables("profile");
    if tables.is_empty() && !root.has("profile") {
        root.mistake("profile", "there is no [[profile]]: a station issues under at least one");
    }
    let mut names = BTreeSet::new();
    tables
        .iter()
        .filter_map(|table| {
            let pinned = profile(table)?;
            if !names.insert(pinned.profile.name.clone()) {
                table
                    .mistake("name", format!("there are two profiles {}: give each its own name", pinned.profile.name));
            }
            Some(pinned)
        })
        .collect()
}

fn profile(table: &Table<'_>) -> Option<PinnedProfile> {
    let name = table.parsed("name", ProfileName::parse);
    let purpose = purpose(table);
    let key_algorithm = table.parsed("key", |text| {
        // Devices are made to order: these are what TPMs and tokens both generate.
        match KeyAlgorithm::parse(text) {
            Some(algorithm @ (KeyAlgorithm::P256 | KeyAlgorithm::P384 | KeyAlgorithm::Rsa2048)) => Ok(algorithm),
            _ => Err(format!("{text:?} is no device key: use P-256, P-384 or RSA-2048")),
        }
    });
    let template = |key, default| match table.optional_parsed(key, NameTemplate::parse) {
        Some(template) => Some(template),
        None if table.has(key) => None,
        None => NameTemplate::parse(default).ok(),
    };
    let common_name = template("common_name", "{serial}.ca");
    let hostname = template("hostname", "{serial}");
    let device_id = template("device_id", "{serial}");
    let issuers = certificates(table, "issuers");
    let roots = certificates(table, "roots");
    let endorsement = parse_residency(table);
    let tpm = table.optional_table("tpm").map(|places| {
        let handle = places.integer("handle", 0x8100_0002..=0x817F_FFFF);
        let nv_index = places.integer("nv_index", 0x0180_0000..=0x01BF_FFFF);
        let write_lock = places.boolean_or("write_lock", true);
        let (handle, nv_index) = (u32::try_from(handle?).ok()?, u32::try_from(nv_index?).ok()?);
        Some(TpmPlaces { handle, nv_index, write_lock })
    });
    let pkcs11 = table.optional_table("pkcs11").map(|places| {
        let label = places.string("label");
        let cka_id = places.optional_parsed("cka_id", parse_cka_id);
        Some(Pkcs11Places { cka_id, label: label? })
    });
    if tpm.is_none() && pkcs11.is_none() {
        table.mistake("tpm", "the profile has neither `tpm` nor `pkcs11`: say where a device keeps its key");
    }
    let profile = Profile {
        name: name?,
        purpose: purpose?,
        key_algorithm: key_algorithm?,
        common_name: common_name?,
        hostname: hostname?,
        device_id: device_id?,
        // A place that was given wrong was reported; without it the profile is not used.
        tpm: match tpm {
            Some(places) => Some(places?),
            None => None,
        },
        pkcs11: match pkcs11 {
            Some(places) => Some(places?),
            None => None,
        },
    };
    if matches!(profile.purpose, Purpose::DeviceCa { .. }) {
        for (other, what) in [(&profile.hostname, "hostname"), (&profile.device_id, "device_id")] {
            if other.as_str().eq_ignore_ascii_case(profile.common_name.as_str()) {
                table.mistake(
                    "common_name",
                    format!("equals {what}: a device CA with that name breaks TLS on the device"),
                );
            }
        }
    }
    let (issuers, roots) = (issuers?, roots?);
    Some(PinnedProfile {
        sha256: sha256(format!("{profile:?}").as_bytes()),
        issuer_names: issuers.iter().chain(&roots).filter_map(|der| certificate::subject_common_name(der)).collect(),
        profile,
        issuers,
        roots,
        endorsement,
    })
}

fn purpose(table: &Table<'_>) -> Option<Purpose> {
    let purpose = table.parsed("purpose", |text| match text {
        "device-ca" | "device-identity" | "server" => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no purpose: use device-ca, device-identity or server")),
    });
    let Some(purpose) = purpose else {
        // Which keys belong here hangs on the purpose: only its own mistake is told.
        if table.has("path_length") {
            let _ = table.integer("path_length", 0..=8);
        }
        return None;
    };
    match purpose.as_str() {
        "device-ca" => {
            let path_length = table.integer("path_length", 0..=8)?;
            Some(Purpose::DeviceCa { path_length: u8::try_from(path_length).ok()? })
        }
        leaf => {
            if table.has("path_length") {
                let _ = table.integer("path_length", 0..=8);
                table.mistake("path_length", format!("a {leaf} certificate is no CA: leave it out"));
            }
            Some(if leaf == "server" { Purpose::Server } else { Purpose::DeviceIdentity })
        }
    }
}

fn certificates(table: &Table<'_>, key: &str) -> Option<Vec<Vec<u8>>> {
    let path = table.path(key)?;
    let read = fs::read(&path).map_err(|error| format!("could not read {}: {error}", path.display()));
    let found = read.and_then(|bytes| {
        let blocks = pem::parse_many(&bytes).map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
        let found: Vec<Vec<u8>> =
            blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::into_contents).collect();
        if found.is_empty() {
            return Err(format!("{} holds no CERTIFICATE block: give a PEM file with at least one", path.display()));
        }
        match found.iter().find(|der| certificate::certificate_serial(der).is_none()) {
            Some(_) => Err(format!("{} holds a CERTIFICATE block that is not a certificate", path.display())),
            None => Ok(found),
        }
    });
    match found {
        Ok(found) => Some(found),
        Err(problem) => {
            table.mistake(key, problem);
            None
        }
    }
}

fn fixtures(root: &Table<'_>) -> Vec<FixtureSettings> {
    let tables = root.tables("fixture");
    if tables.is_empty() && !root.has("fixture") {
        root.mistake("fixture", "there is no [[fixture]]: a station has at least one");
    }
    let mut names = BTreeSet::new();
    let mut devices = BTreeSet::new();
    tables
        .iter()
        .filter_map(|table| {
            let settings = fixture(table)?;
            if !names.insert(settings.name.clone()) {
                table.mistake("name", format!("there are two fixtures {}: give each its own name", settings.name));
            }
            let (device, key) = match &settings.keystore {
                KeystoreSettings::Tpm { tcti } => (format!("tcti {tcti}"), "tcti"),
                KeystoreSettings::Pkcs11 { module, token, .. } => {
                    (format!("module {}, token {token}, {:?}", module.display(), settings.environment), "token")
                }
            };
            if !devices.insert(device) {
                table.mistake(key, "another fixture has the same device: two fixtures would work on one key");
            }
            Some(settings)
        })
        .collect()
}

fn fixture(table: &Table<'_>) -> Option<FixtureSettings> {
    let name = table.parsed("name", FixtureName::parse);
    let (keystore, environment) = parse_keystore(table)?;
    Some(FixtureSettings { name: name?, keystore, environment })
}

/// A fixture that no profile can serve is a mistake that would show at the first scan only.
fn check_places(root: &Table<'_>, profiles: &[PinnedProfile], fixtures: &[FixtureSettings]) {
    for fixture in fixtures {
        let served = profiles.iter().any(|pinned| match fixture.kind() {
            KeystoreKind::Tpm => pinned.profile.tpm.is_some(),
            KeystoreKind::Pkcs11 => pinned.profile.pkcs11.is_some(),
        });
        if !served && !profiles.is_empty() {
            let kind = fixture.kind().as_str();
            root.mistake("fixture", format!("{} is a {kind} fixture, and no profile has `{kind}`", fixture.name));
        }
    }
    // What one profile leaves open for the device's software, the other would lock beneath it.
    for (at, pinned) in profiles.iter().enumerate() {
        let Some(places) = pinned.profile.tpm else { continue };
        let of_other = |other: &&PinnedProfile| {
            let other = other.profile.tpm.filter(|other| other.nv_index == places.nv_index);
            other.is_some_and(|other| other.write_lock != places.write_lock)
        };
        if let Some(other) = profiles[..at].iter().find(of_other) {
            let (name, other, index) = (&pinned.profile.name, &other.profile.name, places.nv_index);
            let words = format!(
                "{other} and {name} share the NV index {index:#010x}, and one of them locks it: give both the same write_lock, \
                 or each an index of its own"
            );
            root.mistake("profile", words);
        }
    }
}

/// What the station's journal is called.
fn origin(station: &str) -> String {
    format!("station-agent/{station}")
}

#[cfg(test)]
mod tests;
