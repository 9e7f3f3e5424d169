//! What `check` finds: every problem at once, each with its remedy; nothing is changed. Here is what station and CA both have
//! to look at; each adds what is its own.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{command::EXIT_CONFIGURATION, configuration::Mistakes, tls::TlsFiles};

/// Certificates that end sooner than this are a finding.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Below this much space the next segments of the journal may not fit: two of 64 MiB and as much again.
const SPACE_LEAST: u64 = 256 * 1024 * 1024;
/// Clocks of one machine and its file server may be apart a little.
const AHEAD_MOST: Duration = Duration::from_secs(60);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It works, but somebody should look.
    Notice,
    /// It does not work.
    Problem,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, such as a table of the configuration or a file.
    pub about: String,
    /// What was found, a sentence without its full stop.
    pub message: String,
    /// What to do, a sentence.
    pub remedy: String,
}

/// Everything that was found, in the order in which it was looked for.
#[derive(Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    misconfigured: bool,
}

impl Findings {
    /// Something that does not work.
    pub fn problem(&mut self, about: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Problem, about.into(), message.into(), remedy.into());
    }

    /// Something to look at.
    pub fn notice(&mut self, about: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Notice, about.into(), message.into(), remedy.into());
    }

    fn add(&mut self, severity: Severity, about: String, message: String, remedy: String) {
        self.found.push(Finding { severity, about, message, remedy });
    }

    /// The configuration's mistakes: with them nothing else can be looked at.
    pub fn mistakes(&mut self, mistakes: &Mistakes) {
        self.misconfigured = true;
        for mistake in &mistakes.0 {
            let about = format!("{}: {}", mistake.place, mistake.key);
            self.problem(about, mistake.message.clone(), "Correct the configuration.");
        }
    }

    /// One end's TLS files: whether they fit together, and for how long.
    pub fn tls(&mut self, about: &str, files: &TlsFiles) {
        if let Err(error) = files.check() {
            let remedy = "Give a PEM certificate with its key, and the issuers of the other end's.";
            return self.problem(about, crate::in_full(&error), remedy);
        }
        if let Some(key) = files.key.file()
            && fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
        {
            let message = "every user of this machine may read this private key";
            self.problem(
                format!("{about}.key {}", key.display()),
                message,
                "`chmod 600` it, and have another one certified.",
            );
        }
        if PrivateKeyDer::from_pem_file(&files.trust).is_ok() {
            let remedy = "Take it out: others' issuers belong there, and whoever has this key can make callers.";
            self.problem(format!("{about}.trust {}", files.trust.display()), "holds a private key", remedy);
        }
        for (what, path) in [("certificate", &files.certificate), ("trust", &files.trust)] {
            for certificate in certificates(path) {
                self.expiry(&format!("{about}.{what} {}", path.display()), &certificate);
            }
        }
    }

    /// Whether a certificate, DER, is at its end or near.
    pub fn expiry(&mut self, about: &str, certificate: &[u8]) {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return };
        let validity = certificate.validity();
        let left = validity.not_after.timestamp() - seconds_now();
        let remedy = "Renew it.";
        if left <= 0 {
            self.problem(about, format!("has ended: it was valid until {}", validity.not_after), remedy);
        } else if left <= EXPIRY_NOTICE.as_secs().cast_signed() {
            self.notice(about, format!("ends in {} days, on {}", left / 86_400, validity.not_after), remedy);
        } else if validity.not_before.timestamp() > seconds_now() {
            let message = format!("is valid only from {}", validity.not_before);
            self.problem(about, message, "Set this machine's clock right.");
        }
    }

    /// The control plane and the product must not trust one tree: a device's CA could sign a caller.
    pub fn apart<'a>(&mut self, about: &str, control: &[&TlsFiles], mut product: impl Iterator<Item = &'a [u8]>) {
        let control: Vec<CertificateDer<'_>> = control.iter().flat_map(|files| certificates(&files.trust)).collect();
        if product.any(|product| control.iter().any(|control| control.as_ref() == product || issued(product, control)))
        {
            let message = "the control plane trusts a root or issuer of the product: a device's CA could sign a caller";
            self.problem(about, message, "Give the control plane a root of its own.");
        }
    }

    /// A directory that is written to: whether it can be, whether there is room, and whether what stands in it is of a time to
    /// come.
    pub fn directory(&mut self, directory: &Path) {
        let about = directory.display().to_string();
        let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
        if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() || !existing.is_dir() {
            let message = format!("{} is not a directory that can be written to", existing.display());
            return self.problem(about, message, "Give this program's user a directory of its own.");
        }
        if let Ok(space) = rustix::fs::statvfs(existing)
            && space.f_bavail.saturating_mul(space.f_frsize) < SPACE_LEAST
        {
            let message = format!("has less than {} MiB free", SPACE_LEAST / 1024 / 1024);
            self.problem(about.as_str(), message, "Make room: nothing is accepted while the disk is full.");
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let newest = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
        if newest
            .and_then(|newest| newest.duration_since(SystemTime::now()).ok())
            .is_some_and(|ahead| ahead > AHEAD_MOST)
        {
            let message = "holds files of a time that is still to come by this machine's clock";
            self.problem(about, message, "Set the clock right: nothing is recorded behind the newest record's time.");
        }
    }

    /// An address to listen on.
    pub fn listener(&mut self, about: &str, address: SocketAddr) {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let message = format!("{address} is in use");
                self.notice(
                    about,
                    message,
                    "Nothing to do when this program runs already; else `ss -ltnp` names who has it.",
                );
            }
            Err(error) => {
                let remedy = "Configure an address of this machine (`ip address` lists them) and a port from 1024 on.";
                self.problem(about, format!("{address} cannot be listened on: {error}"), remedy);
            }
        }
    }

    /// Prints them, as JSON if asked, and says how it went: 0 without a problem, 1 with one, 2 when the configuration is
    /// wrong. A closed pipe does not change the verdict.
    #[must_use]
    pub fn tell(&self, json: bool) -> ExitCode {
        let _ = self.print(&mut io::stdout().lock(), json);
        match self.found.iter().any(|finding| finding.severity == Severity::Problem) {
            _ if self.misconfigured => ExitCode::from(EXIT_CONFIGURATION),
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }

    fn print(&self, out: &mut impl io::Write, json: bool) -> io::Result<()> {
        if json {
            let findings: Vec<_> = self.found.iter().map(Finding::as_json).collect();
            return writeln!(out, "{}", json!({ "findings": findings }));
        }
        for Finding { severity, about, message, remedy } in &self.found {
            let word = if *severity == Severity::Problem { "PROBLEM" } else { "notice " };
            writeln!(out, "{word}  {about}: {message}\n         {remedy}")?;
        }
        if self.found.is_empty() { writeln!(out, "No problems found.") } else { Ok(()) }
    }
}

impl Finding {
    fn as_json(&self) -> serde_json::Value {
        let severity = if self.severity == Severity::Problem { "problem" } else { "notice" };
        json!({ "severity": severity, "about": self.about, "message": self.message, "remedy": self.remedy })
    }
}

/// Those of a PEM file that can be read.
fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).into_iter().flatten().flatten().collect()
}

/// Whether one certificate's key signed the other.
fn issued(issuer: &[u8], certificate: &[u8]) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) =
        (X509Certificate::from_der(issuer), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    issuer.subject().as_raw() == certificate.issuer().as_raw()
        && certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

fn seconds_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}
