//! What may stop the station later, and that somebody can look after in time.

use std::{fs, path::PathBuf};

use issuance::Timestamp;
use proto::station::v1::{self as wire, needed_certificate::Purpose};
use rustix::fs::statvfs;
use service::tls::TlsFiles;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{configuration::StationConfiguration, events::Standing, view::timestamp};

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct Health {
    journal: PathBuf,
    /// Renewed while the station runs: read each time.
    own: Vec<(Purpose, TlsFiles)>,
    pinned: Vec<(Purpose, Vec<u8>)>,
    told: Option<Standing>,
}

impl Health {
    /// What this configuration needs.
    #[must_use]
    pub fn of(configuration: &StationConfiguration) -> Self {
        let mut pinned: Vec<(Purpose, Vec<u8>)> = Vec::new();
        for profile in configuration.profiles.iter() {
            let issuers = profile.issuers.iter().map(|der| (Purpose::Issuer, der));
            for (purpose, der) in issuers.chain(profile.roots.iter().map(|der| (Purpose::Root, der))) {
                if !pinned.iter().any(|(_, known)| known == der) {
                    pinned.push((purpose, der.clone()));
                }
            }
        }
        let own = vec![
            (Purpose::Server, configuration.listen.tls.clone()),
            (Purpose::Client, configuration.authority.tls.clone()),
        ];
        Self { journal: configuration.journal.clone(), own, pinned, told: None }
    }

    /// The same, and how whoever is told of events is doing.
    #[must_use]
    pub fn with_events(self, told: Option<Standing>) -> Self {
        Self { told, ..self }
    }

    /// How it is now. `now`: the station's clock, UTC milliseconds.
    #[must_use]
    pub fn now(&self, now: i64) -> wire::Health {
        let space = statvfs(&self.journal).ok();
        let read = |(purpose, files): &(Purpose, TlsFiles)| {
            let blocks = pem::parse_many(fs::read(&files.certificate).ok()?).ok()?;
            // The first is the station's own; what follows is on the way to its root.
            Some((*purpose, blocks.into_iter().find(|block| block.tag() == "CERTIFICATE")?.into_contents()))
        };
        let needed = self.own.iter().filter_map(read).chain(self.pinned.iter().cloned());
        let mut certificates: Vec<_> = needed.filter_map(|(purpose, der)| certificate(purpose, &der)).collect();
        certificates.sort_by_key(|needed| needed.expire_time.map(|time| time.seconds));
        wire::Health {
            time: Some(timestamp(Timestamp(now))),
            disk_free: space.as_ref().map_or(0, |space| space.f_bavail * space.f_frsize),
            disk_size: space.as_ref().map_or(0, |space| space.f_blocks * space.f_frsize),
            certificates,
            webhook_trouble: self.told.as_ref().and_then(Standing::trouble).unwrap_or_default(),
            tls_problems: self.own.iter().filter_map(|(purpose, files)| problem(*purpose, files)).collect(),
        }
    }
}

/// What keeps these files from being taken up. A key in hardware is not asked to sign for it.
fn problem(purpose: Purpose, files: &TlsFiles) -> Option<String> {
    files.key.file()?;
    let error = files.check().err()?;
    let table = if purpose == Purpose::Server { "listen" } else { "authority" };
    Some(format!("{table}: {}", service::in_full(&error)))
}

fn certificate(purpose: Purpose, der: &[u8]) -> Option<wire::NeededCertificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(wire::NeededCertificate {
        purpose: purpose.into(),
        common_name: issuance::certificate::subject_common_name(der).unwrap_or_default(),
        expire_time: Some(timestamp(Timestamp(parsed.validity().not_after.timestamp() * 1000))),
    })
}
