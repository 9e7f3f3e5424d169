//! `check`: the doctor. Every problem at once, each with its remedy; it changes nothing.

use std::{fs, path::PathBuf, process::ExitCode};

use issuance::Timestamp;
use service::{clock::Clock, doctor::Findings};

use crate::{Configuration, check, open_token};

/// Every problem at once, each with its remedy: certificates and their ends, path budget, the token and its PIN, addresses,
/// disk and clock. Changes nothing. 0 without a problem, 1 with one, 2 when the configuration is wrong.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "ca.toml")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl CheckArguments {
    /// Looks at everything.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut findings = Findings::default();
        match Configuration::read(&self.config) {
            Err(mistakes) => findings.mistakes(&mistakes),
            Ok(configuration) => examine(&configuration, &mut findings),
        }
        findings.tell(self.json)
    }
}

fn examine(configuration: &Configuration, findings: &mut Findings) {
    let Configuration { listen, client, est, metrics, authority, .. } = configuration;
    findings.tls("listen", &listen.files);
    findings.listener("listen.address", listen.address);
    if let Some(client) = client {
        findings.tls("client", &client.tls);
    }
    if let Some(files) = configuration.traces.as_ref().and_then(|traces| traces.files()) {
        findings.tls("traces", files);
    }
    if let Some(est) = est {
        findings.tls("est", &est.files);
        findings.listener("est.address", est.address);
    }
    if let Some(address) = metrics {
        findings.listener("metrics.address", *address);
    }
    if let Some(witness) = &authority.witness {
        findings.tls("witness", &witness.tls);
    }
    if let Some(crl) = &authority.crl {
        findings.directory(&crl.directory);
        if let Some(address) = crl.address {
            findings.listener("crl.address", address);
        }
    }
    for directory in [&authority.journal, &authority.pki] {
        findings.directory(directory);
    }
    certificates(configuration, findings);
    token(configuration, findings);
    if let Some(key) = &authority.hardware_key {
        key.examine(findings);
    }
}

/// The CA's own certificates: whether they are there, how long they stand, and what they carry.
fn certificates(configuration: &Configuration, findings: &mut Findings) {
    let authority = &configuration.authority;
    let mut own = Vec::new();
    for ca in std::iter::once(&authority.root).chain(&authority.issuers) {
        let path = authority.pki.join(format!("{}.pem", ca.name));
        let read = fs::read(&path).ok().and_then(|pem| pem::parse(pem).ok());
        match read {
            Some(certificate) => {
                findings.expiry(&path.display().to_string(), certificate.contents());
                own.push(certificate.into_contents());
            }
            None => {
                let message = "there is no certificate that can be read";
                findings.problem(
                    path.display().to_string(),
                    message,
                    "Run `intermediate-ca init`: it makes what is missing.",
                );
            }
        }
    }
    findings.apart("listen.trust", &[&configuration.listen.files], own.iter().map(Vec::as_slice));
    match check(authority, Timestamp(Clock::system().unjudged())) {
        Ok(problems) => {
            for problem in problems {
                findings.problem("profile", problem, "Correct the profile, or have the chain made anew.");
            }
        }
        Err(error) => {
            findings.problem("pki", service::in_full(&error), "Correct the settings of this CA, or its file.")
        }
    }
}

/// Whether the token is there, takes the PIN, and has the issuers' keys.
fn token(configuration: &Configuration, findings: &mut Findings) {
    let about = format!("token {}", configuration.token.label);
    let mut keystore = match open_token(&configuration.token, None) {
        Ok(keystore) => keystore,
        Err(error) => {
            return findings.problem(
                about,
                service::in_full(&error),
                "Write the token's PIN to the file that is named.",
            );
        }
    };
    if let Err(fault) = keystore.identify() {
        let remedy = "Look at the module, its environment, the token's label and its PIN in [token].";
        findings.problem(about, fault.to_string(), remedy);
    }
}
