//! `ui.toml`.

use std::{net::SocketAddr, path::Path};

use service::{
    configuration::{File, Mistakes, Table},
    metrics,
    tls::TlsFiles,
    traces,
};

use crate::{
    operators::{self, IDLE_DEFAULT},
    scan::Prefixes,
    server::{SHIFT_DEFAULT, Settings},
    words::Language,
};

/// On this machine only, unless the configuration says otherwise: the page has no log-in.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// What the page is told.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where the page listens.
    pub listen: SocketAddr,
    /// Names under which browsers ask for it, besides loopback and the address above; without a port.
    pub names: Vec<String>,
    /// `https://host:port` of the station.
    pub endpoint: String,
    /// The page's certificate, its key, and who may have issued the station's.
    pub files: TlsFiles,
    /// How the page behaves at this line.
    pub settings: Settings,
    /// Where metrics are served, when they are.
    pub metrics: Option<SocketAddr>,
    /// Where traces go, when they are made.
    pub traces: Option<traces::Settings>,
}

impl Configuration {
    /// Reads the file.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        Self::parse(File::read(path)?)
    }

    fn parse(file: File) -> Result<Self, Mistakes> {
        let read = Self::from_root(&file.root());
        file.finish()?;
        // With no mistake found nothing is missing.
        read.ok_or_else(|| Mistakes(Vec::new()))
    }

    fn from_root(root: &Table<'_>) -> Option<Self> {
        let listen = root.optional_parsed("listen", |text| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("`{text}` is no address; write `ADDRESS:PORT`, such as `{LISTEN_DEFAULT}`"))
        });
        let names = root.string_list("names");
        for name in &names {
            if !is_name(name) {
                root.mistake("names", format!("`{name}` is no host name; write it without scheme, port and path"));
            }
        }
        let (endpoint, files) = root
            .table("station")
            .map(|station| {
                let endpoint = station.parsed("endpoint", |text| {
                    let host = text.strip_prefix("https://").filter(|host| !host.is_empty());
                    host.map(|_| text.to_owned())
                        .ok_or_else(|| format!("`{text}` is no endpoint; write `https://HOST:PORT`"))
                });
                (endpoint, TlsFiles::from_table(&station))
            })
            .unwrap_or_default();
        let language = root.optional_parsed("language", |text| {
            let tags = Language::ALL.map(Language::tag).join(", ");
            Language::parse(text).ok_or_else(|| format!("`{text}` is none of the page's languages: {tags}"))
        });
        let language = language.unwrap_or_default();
        let shift = root.duration_or("shift", SHIFT_DEFAULT);
        let prefixes = prefixes(root.optional_table("prefixes").as_ref());
        let operators = root.optional_table("operators").map(|table| operators::Settings {
            required: table.boolean_or("required", false),
            idle: table.duration_or("idle", IDLE_DEFAULT),
            names: table.optional_path("names"),
        });
        let settings = Settings { language, prefixes, operators: operators.unwrap_or_default(), shift };
        let (metrics, traces) = (metrics::address(root), traces::Settings::from_table(root));
        // The default address always parses.
        let listen = listen.or_else(|| LISTEN_DEFAULT.parse().ok());
        Some(Self { listen: listen?, names, endpoint: endpoint?, files: files?, settings, metrics, traces })
    }
}

/// What codes begin with: apart, or one would be taken for another.
fn prefixes(table: Option<&Table<'_>>) -> Prefixes {
    let Some(table) = table else { return Prefixes::default() };
    let default = Prefixes::default();
    let prefixes = Prefixes {
        badge: table.optional_string("badge").unwrap_or(default.badge),
        fixture: table.optional_string("fixture").unwrap_or(default.fixture),
        device: table.optional_string("device").unwrap_or(default.device),
    };
    let overlap = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
    if prefixes.badge.is_empty() || prefixes.fixture.is_empty() {
        table.mistake("badge", "badge and fixture need prefixes that no device serial begins with");
    } else if overlap(&prefixes.badge, &prefixes.fixture) {
        table.mistake("fixture", "begins as the badges' prefix does: give them prefixes that differ");
    }
    prefixes
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in `deploy/` is read as it stands, and has every key that is known.
    #[test]
    fn the_example_is_complete() {
        let text = include_str!("../../deploy/examples/ui.toml");
        let file = File::parse("/etc/station-ui/ui.toml".as_ref(), text.to_owned()).unwrap();
        let read = Configuration::from_root(&file.root());
        assert_eq!(file.unmentioned(), Vec::<String>::new());
        file.finish().unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(read.is_some());
    }
}
