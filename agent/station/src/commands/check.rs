//! `check`: the doctor. Every problem at once, each with its remedy; it changes nothing.

use std::{path::Path, process::ExitCode};

use issuance::{
    Fault, FaultKind, Keystore as _, Purpose,
    submission::{Repeats, WhenInDoubt},
};
use keystore::worker::{Deadlines, Worker, WorkerSettings};
use service::{doctor::Findings, tls::HttpsClient};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    configuration::StationConfiguration,
    connector::{Connector as _, grpc::GrpcConnector},
    events::{self, cursor_file, webhook},
    profiles::PinnedProfile,
};

pub(super) fn run(path: &Path, json: bool) -> ExitCode {
    let mut findings = Findings::default();
    match StationConfiguration::read(path) {
        Err(mistakes) => findings.mistakes(&mistakes),
        Ok(configuration) => examine(&configuration, &mut findings),
    }
    findings.tell(json)
}

fn examine(configuration: &StationConfiguration, findings: &mut Findings) {
    let StationConfiguration { listen, authority, client, profiles, .. } = configuration;
    findings.tls("listen", &listen.tls);
    findings.tls("authority", &authority.tls);
    if let Some(client) = client {
        findings.tls("client", &client.tls);
    }
    if let Some(files) = configuration.traces.as_ref().and_then(|traces| traces.files()) {
        findings.tls("traces", files);
    }
    if let Some(webhook) = &configuration.webhook {
        findings.tls("webhook", webhook.files());
    }
    let product = profiles.iter().flat_map(|pinned| pinned.issuers.iter().chain(&pinned.roots)).map(Vec::as_slice);
    findings.apart("listen.trust", &[&listen.tls, &authority.tls], product);
    findings.listener("listen.address", listen.address);
    if let Some(address) = configuration.metrics {
        findings.listener("metrics.address", address);
    }
    for directory in [&configuration.journal, &configuration.devices] {
        findings.directory(directory);
    }
    for pinned in profiles.iter() {
        profile(pinned, findings);
    }
    reach(configuration, findings);
    if let Some(webhook) = &configuration.webhook {
        examine_webhook(configuration, webhook, findings);
    }
    terms(configuration, findings);
    fixtures(configuration, findings);
}

fn profile(pinned: &PinnedProfile, findings: &mut Findings) {
    let name = &pinned.profile.name;
    for der in pinned.issuers.iter().chain(&pinned.roots) {
        findings.expiry(&format!("profile {name}"), der);
    }
    if pinned.profile.tpm.is_some_and(|places| !places.write_lock) {
        let message =
            "tpm.write_lock = false: whoever has the TPM's owner authorisation can write over the certificate";
        let remedy = "Leave it out, unless the device's own software renews the certificate in place.";
        findings.notice(format!("profile {name}"), message, remedy);
    }
    let Purpose::DeviceCa { path_length } = pinned.profile.purpose else { return };
    for der in &pinned.issuers {
        let Ok((_, issuer)) = X509Certificate::from_der(der) else { continue };
        let budget = issuer.basic_constraints().ok().flatten().and_then(|found| found.value.path_len_constraint);
        if budget.is_some_and(|budget| budget <= u32::from(path_length)) {
            let message = format!(
                "asks for pathlen:{path_length}, and its issuer {} has pathlen:{}",
                issuer.subject(),
                budget.unwrap_or_default()
            );
            let remedy = "Use an issuer with a longer pathlen: verifiers refuse this chain.";
            findings.problem(format!("profile {name}"), message, remedy);
        }
    }
}

/// Whether the CA answers, and whether its clock is this machine's.
fn reach(configuration: &StationConfiguration, findings: &mut Findings) {
    let authority = &configuration.authority;
    let about = format!("authority {}", authority.endpoint);
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| {
        runtime.block_on(async {
            let connector =
                GrpcConnector::new(authority, configuration.queue.timeout).map_err(|error| service::in_full(&error))?;
            connector.reach().await.map_err(|unanswered| unanswered.message)?;
            connector.clock_differs().await.map_err(|unanswered| unanswered.message)
        })
    });
    match asked {
        Ok(None) => {}
        Ok(Some(differs)) => findings.problem("clock", differs, "Set both clocks right: each end believes its own."),
        Err(message) => {
            let remedy = "Start the CA, or correct the endpoint: until then submissions wait in the queue.";
            findings.notice(about, message, remedy);
        }
    }
}

/// Whether the receiver of events is there, and whether it is known how far it was told.
fn examine_webhook(configuration: &StationConfiguration, webhook: &webhook::Settings, findings: &mut Findings) {
    let about = format!("webhook {}", webhook.url());
    let file = cursor_file(&configuration.journal, webhook::KIND);
    if let Err(error) = events::confirmed(&file) {
        let remedy = "Put its number right, or remove it: then events are told from the next start on.";
        findings.problem(about.clone(), format!("{}: {error}", file.display()), remedy);
    }
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
    let asked = asked.and_then(|runtime| {
        let client = HttpsClient::new(webhook.url(), webhook.files()).map_err(|error| service::in_full(&error));
        client.and_then(|mut client| runtime.block_on(client.reach()))
    });
    if let Err(message) = asked {
        let remedy = "Start the receiver, or correct the endpoint: until then events wait in the journal, and nothing else does.";
        findings.notice(about, message, remedy);
    }
}

/// What the station does when the CA's answer is lost: to be known before it happens.
fn terms(configuration: &StationConfiguration, findings: &mut Findings) {
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
    let message = format!("repeats = \"new\": {what}, up to queue.batch = {} at a time", configuration.queue.batch);
    findings.notice(format!("authority {}", authority.name), message, remedy);
}

fn fixtures(configuration: &StationConfiguration, findings: &mut Findings) {
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
        fixture(settings.name.as_str(), &fault, findings);
    }
    if let Some(key) = &configuration.hardware_key {
        key.examine(findings);
    }
}

fn fixture(name: &str, fault: &Fault, findings: &mut Findings) {
    let remedy = match fault.kind.disposition(u32::MAX) {
        issuance::Disposition::AskOperator(words)
        | issuance::Disposition::Quarantine(words)
        | issuance::Disposition::HaltStation(words) => words.to_owned(),
        issuance::Disposition::Retry { .. } => "Try again.".to_owned(),
    };
    let about = format!("fixture {name}");
    match fault.kind {
        FaultKind::DeviceAbsent => findings.notice(about, fault.to_string(), remedy),
        _ => findings.problem(about, fault.to_string(), remedy),
    }
}
