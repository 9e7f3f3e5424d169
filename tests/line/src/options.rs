//! What a line consists of.

use std::path::PathBuf;

/// What a line consists of. The default is what the demo shows, with the page on any free port.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where configuration, journals, logs and results go, made when it is not there; `None`: a temporary directory,
    /// removed with the line.
    pub directory: Option<PathBuf>,
    /// Where the binaries are; `None`: beside the running one, or one directory up, as a test's are.
    pub binaries: Option<PathBuf>,
    /// How many TPM devices.
    pub tpms: usize,
    /// How many PKCS#11 devices.
    pub tokens: usize,
    /// Whether the CA starts with the line; if not, [`Line::start_ca`](crate::Line::start_ca) starts it.
    pub ca: bool,
    /// Whether there is an operators' page.
    pub page: bool,
    /// The page's port, or the next free one after it; `None`: any free port.
    pub page_port: Option<u16>,
    /// The key of the profile `device-ca`: `P-256`, `P-384` or `RSA-2048`.
    pub key: String,
    /// What the station is told of the CA's promises, in its table `[authority]`.
    pub repeats: String,
    /// Added to the end of station.toml, such as more `[[profile]]` tables.
    pub station_extra: String,
    /// Added to the end of ca.toml.
    pub ca_extra: String,
    /// Added to the end of ui.toml.
    pub page_extra: String,
    /// Whether a [`hsm_sim::Relay`] stands before each TPM and a [`hsm_sim::FaultModule`] before each token
    /// ([`Hardware::relay`](crate::Hardware::relay), [`Hardware::module`](crate::Hardware::module)).
    pub faults: bool,
    /// In place of the `[[fixture]]` tables of station.toml.
    pub fixtures: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            directory: None,
            binaries: None,
            tpms: 2,
            tokens: 2,
            ca: true,
            page: true,
            page_port: None,
            key: "P-256".into(),
            repeats: "repeats = \"same\"\n".into(),
            station_extra: String::new(),
            ca_extra: String::new(),
            page_extra: String::new(),
            faults: false,
            fixtures: None,
        }
    }
}
