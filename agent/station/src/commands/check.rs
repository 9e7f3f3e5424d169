//! `check`: the doctor. Every problem at once, each with its remedy; it changes nothing.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use issuance::{
    Fault, FaultKind, Keystore as _, Purpose,
    submission::{Repeats, WhenInDoubt},
};
use keystore::worker::{Deadlines, Worker, WorkerSettings};
use serde_json::json;
use service::{
    command::EXIT_CONFIGURATION,
    tls::{self, TlsFiles},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::client::{Failed, say};
use crate::{configuration::StationConfiguration, profiles::PinnedProfile};

/// Certificates that end sooner than this are a finding.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Below this much space the next segments of the journal may not fit: two of 64 MiB and as much again.
const SPACE_LEAST: u64 = 256 * 1024 * 1024;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// It works, but somebody should look.
    Notice,
    /// It does not work.
    Problem,
}

struct Finding {
    severity: Severity,
    about: String,
    message: String,
    remedy: String,
}

pub(super) fn run(path: &Path, json: bool) -> ExitCode {
    let mut findings = Vec::new();
    let read = StationConfiguration::read(path);
    match &read {
        Err(mistakes) => {
            for mistake in &mistakes.0 {
                findings.push(Finding {
                    severity: Severity::Problem,
                    about: format!("{}: {}", mistake.place, mistake.key),
                    message: mistake.message.clone(),
                    remedy: "Correct the configuration.".to_owned(),
                });
            }
        }
        Ok(configuration) => examine(configuration, &mut findings),
    }
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    // A closed pipe does not change the verdict.
    let _ = print(&findings, json);
    match (&read, problems) {
        (Err(_), _) => ExitCode::from(EXIT_CONFIGURATION),
        (Ok(_), 0) => ExitCode::SUCCESS,
        (Ok(_), _) => ExitCode::FAILURE,
    }
}

fn print(findings: &[Finding], json: bool) -> Result<(), Failed> {
    if json {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({
                    "severity": if finding.severity == Severity::Problem { "problem" } else { "notice" },
                    "about": finding.about,
                    "message": finding.message,
                    "remedy": finding.remedy,
                })
            })
            .collect();
        return say(json!({ "findings": findings }));
    }
    for finding in findings {
        let word = if finding.severity == Severity::Problem { "PROBLEM" } else { "notice " };
        say(format!("{word}  {}: {}\n         {}", finding.about, finding.message, finding.remedy))?;
    }
    if findings.is_empty() { say("No problems found.") } else { Ok(()) }
}

fn examine(configuration: &StationConfiguration, findings: &mut Vec<Finding>) {
    for (about, files) in [("listen", &configuration.listen.tls), ("authority", &configuration.authority.tls)] {
        tls_files(about, files, findings);
    }
    if same_trust(configuration) {
        findings.push(Finding {
            severity: Severity::Problem,
            about: "listen.trust".to_owned(),
            message: "the control plane trusts a root or issuer of the product: a device's CA could sign a caller"
                .to_owned(),
            remedy: "Give the control plane a root of its own.".to_owned(),
        });
    }
    for directory in [&configuration.journal, &configuration.devices] {
        directory_check(directory, findings);
    }
    for pinned in configuration.profiles.iter() {
        profile(pinned, findings);
    }
    reach(configuration, findings);
    terms(configuration, findings);
    fixtures(configuration, findings);
}

fn tls_files(about: &str, files: &TlsFiles, findings: &mut Vec<Finding>) {
    if let Err(error) = files.check() {
        findings.push(Finding {
            severity: Severity::Problem,
            about: about.to_owned(),
            message: service::in_full(&error),
            remedy: "Give a PEM certificate with its key, and the root of the other end.".to_owned(),
        });
        return;
    }
    let certificates = fs::read(&files.certificate).ok().and_then(|bytes| pem::parse_many(bytes).ok());
    for block in certificates.unwrap_or_default() {
        expiry(&format!("{about}.certificate {}", files.certificate.display()), block.contents(), findings);
    }
}

fn expiry(about: &str, der: &[u8], findings: &mut Vec<Finding>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return };
    let ends = certificate.validity().not_after.timestamp();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let left = ends - i64::try_from(now).unwrap_or(i64::MAX);
    if left <= i64::try_from(EXPIRY_NOTICE.as_secs()).unwrap_or(0) {
        let severity = if left <= 0 { Severity::Problem } else { Severity::Notice };
        findings.push(Finding {
            severity,
            about: about.to_owned(),
            message: format!("is valid until {}", certificate.validity().not_after),
            remedy: "Renew it: the file is read again without a restart.".to_owned(),
        });
    }
}

/// SECURITY.md: trust is not one tree.
fn same_trust(configuration: &StationConfiguration) -> bool {
    let control: Vec<Vec<u8>> = [&configuration.listen.tls.trust, &configuration.authority.tls.trust]
        .into_iter()
        .filter_map(|path| pem::parse_many(fs::read(path).ok()?).ok())
        .flatten()
        .map(pem::Pem::into_contents)
        .collect();
    configuration
        .profiles
        .iter()
        .flat_map(|pinned| pinned.issuers.iter().chain(&pinned.roots))
        .any(|product| control.contains(product))
}

fn directory_check(directory: &Path, findings: &mut Vec<Finding>) {
    let existing = directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(directory);
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK);
    if writable.is_err() || !existing.is_dir() {
        findings.push(Finding {
            severity: Severity::Problem,
            about: directory.display().to_string(),
            message: format!("{} is not a directory that can be written to", existing.display()),
            remedy: "Give the station's user a directory of its own.".to_owned(),
        });
        return;
    }
    if let Ok(space) = rustix::fs::statvfs(existing)
        && space.f_bavail.saturating_mul(space.f_frsize) < SPACE_LEAST
    {
        findings.push(Finding {
            severity: Severity::Problem,
            about: directory.display().to_string(),
            message: format!("has less than {} MiB free", SPACE_LEAST / 1024 / 1024),
            remedy: "Make room: the station stops accepting when the disk is full.".to_owned(),
        });
    }
}

fn profile(pinned: &PinnedProfile, findings: &mut Vec<Finding>) {
    let name = &pinned.profile.name;
    for der in pinned.issuers.iter().chain(&pinned.roots) {
        expiry(&format!("profile {name}"), der, findings);
    }
    let Purpose::DeviceCa { path_length } = pinned.profile.purpose else { return };
    for der in &pinned.issuers {
        let Ok((_, issuer)) = X509Certificate::from_der(der) else { continue };
        let budget = issuer.basic_constraints().ok().flatten().and_then(|found| found.value.path_len_constraint);
        if budget.is_some_and(|budget| budget <= u32::from(path_length)) {
            findings.push(Finding {
                severity: Severity::Problem,
                about: format!("profile {name}"),
                message: format!(
                    "asks for pathlen:{path_length}, and its issuer {} has pathlen:{}",
                    issuer.subject(),
                    budget.unwrap_or_default()
                ),
                remedy: "Use an issuer with a longer pathlen: verifiers refuse this chain.".to_owned(),
            });
        }
    }
}

fn reach(configuration: &StationConfiguration, findings: &mut Vec<Finding>) {
    let authority = &configuration.authority;
    let reached = tokio::runtime::Builder::new_current_thread().enable_all().build().map_or_else(
        |error| Err(error.to_string()),
        |runtime| {
            runtime.block_on(async {
                let connect_timeout = Duration::from_secs(5);
                let channel = tls::channel(&authority.endpoint, &authority.tls, connect_timeout)
                    .map_err(|error| service::in_full(&error))?;
                let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
                let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
                let answered = tokio::time::timeout(connect_timeout * 2, client.check(request)).await;
                match answered {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(status)) => Err(service::status::in_full(&status)),
                    Err(_) => Err("no answer within 10 s".to_owned()),
                }
            })
        },
    );
    if let Err(message) = reached {
        findings.push(Finding {
            severity: Severity::Notice,
            about: format!("authority {}", authority.endpoint),
            message,
            remedy: "Start the CA, or correct the endpoint: until then submissions wait in the queue.".to_owned(),
        });
    }
}

/// What the station does when the CA's answer is lost: to be known before it happens.
fn terms(configuration: &StationConfiguration, findings: &mut Vec<Finding>) {
    let authority = &configuration.authority;
    let (what, remedy) = match (authority.terms.repeats, authority.terms.in_doubt) {
        (Repeats::Same, _) => return,
        (Repeats::New, WhenInDoubt::Ask) => (
            "a lost answer leaves its issuances in doubt until a supervisor decides",
            "in_doubt = \"resubmit\" does not ask.",
        ),
        (Repeats::New, WhenInDoubt::Resubmit) => (
            "a lost answer is submitted again, and makes a second certificate",
            "Revoke what `surplus` lists; in_doubt = \"ask\" asks a supervisor first.",
        ),
    };
    findings.push(Finding {
        severity: Severity::Notice,
        about: format!("authority {}", authority.name),
        message: format!("repeats = \"new\": {what}, up to queue.batch = {} at a time", configuration.queue.batch),
        remedy: remedy.to_owned(),
    });
}

fn fixtures(configuration: &StationConfiguration, findings: &mut Vec<Finding>) {
    let Ok(program) = std::env::current_exe() else { return };
    for settings in &configuration.fixtures {
        let mut worker = Worker::new(WorkerSettings {
            program: program.clone(),
            arguments: vec!["keystore-worker".into()],
            keystore: settings.keystore.clone(),
            environment: settings.environment.clone(),
            lock: None,
            deadlines: Deadlines::default(),
        });
        let Err(fault) = worker.identify() else { continue };
        findings.push(fixture_finding(settings.name.as_str(), &fault));
    }
}

fn fixture_finding(name: &str, fault: &Fault) -> Finding {
    let absent = fault.kind == FaultKind::DeviceAbsent;
    Finding {
        severity: if absent { Severity::Notice } else { Severity::Problem },
        about: format!("fixture {name}"),
        message: fault.to_string(),
        remedy: match fault.kind.disposition(u32::MAX) {
            issuance::Disposition::AskOperator(words)
            | issuance::Disposition::Quarantine(words)
            | issuance::Disposition::HaltStation(words) => words.to_owned(),
            issuance::Disposition::Retry { .. } => "Try again.".to_owned(),
        },
    }
}
