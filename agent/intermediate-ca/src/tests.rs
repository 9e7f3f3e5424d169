//! The authority on a software keystore: everything but the token itself.

mod authorisations;
mod batches;
mod broker;
mod ceremony;
mod crashes;
mod flood;
mod initialising;
mod listing;
mod lots;
mod openssl;
mod refusals;
mod reports;
mod revoking;
mod rework;
mod rollover;
pub(crate) mod software;
mod standing;
mod visits;
mod witnessed;
mod witnesses;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use issuance::{IssuanceId, Purpose, Timestamp};
use journal::LogOptions;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use service::clock::{Clock, Moment};
use tempfile::TempDir;

use crate::{
    Authority, AuthoritySettings, CrlSettings, Issued, LotSettings, OpenError, Outcome, Reason, Submission, init,
    profile::tests::{ca, profile},
};
use software::SoftwareKeystore;

/// 2026-01-01, in milliseconds: tests own their time.
const START: i64 = 1_767_225_600_000;

/// A CA that was initialised, in a directory of its own.
struct World {
    settings: AuthoritySettings,
    keystore: SoftwareKeystore,
    time: Arc<AtomicI64>,
    ahead: Arc<AtomicI64>,
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self::blank();
        init(&world.settings, &mut world.keystore.clone(), world.now(), &[]).unwrap();
        world
    }

    /// Before `init`.
    fn blank() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = AuthoritySettings {
            file: directory.path().join("ca.toml"),
            name: "ca-1".to_owned(),
            production: false,
            witnessed: None,
            witness: None,
            journal: directory.path().join("journal"),
            checkpoints: LogOptions::beside(&directory.path().join("journal")),
            hardware_key: None,
            pki: directory.path().join("pki"),
            root: ca("root", None, 7_300),
            issuers: vec![ca("device-ca", Some(1), 3_650), ca("device-identity", Some(0), 3_650)],
            profiles: vec![
                profile("device-ca", Purpose::DeviceCa { path_length: 0 }, "device-ca"),
                profile("device-identity", Purpose::DeviceIdentity, "device-identity"),
                profile("server", Purpose::Server, "device-identity"),
            ],
            lots: LotSettings::default(),
            crl: None,
        };
        let time = Arc::new(AtomicI64::new(START));
        let ahead = Arc::default();
        Self { settings, keystore: SoftwareKeystore::default(), time, ahead, directory }
    }

    /// With CRLs, in its own `crl/`: a new one so often, valid so long, renewed so early; in hours.
    fn with_crls(mut self, [every, valid_for, early]: [u64; 3]) -> Self {
        let hours = |number: u64| Duration::from_secs(number * 3_600);
        self.settings.crl = Some(CrlSettings {
            every: hours(every),
            valid_for: hours(valid_for),
            early: hours(early),
            directory: self.path().join("crl"),
            address: None,
            partitions: Vec::new(),
        });
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.time.load(Ordering::SeqCst))
    }

    /// Time passes with the time of day, but for what it is ahead by.
    fn clock(&self) -> Clock {
        let (time, ahead) = (self.time.clone(), self.ahead.clone());
        Clock::reading(move || {
            let day = time.load(Ordering::SeqCst);
            Moment { day, boot: day - ahead.load(Ordering::SeqCst) }
        })
    }

    fn try_open(&self) -> Result<Authority, OpenError> {
        Authority::open(&self.settings, Box::new(self.keystore.clone()), self.clock())
    }

    fn open(&self) -> Authority {
        self.try_open().unwrap()
    }
}

/// The n-th issuance's id.
fn id(number: u8) -> String {
    let mut octets = [number; 16];
    octets[6] = 0x70;
    IssuanceId::from_slice(&octets).unwrap().to_string()
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn request(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

/// A submission under `device-ca` for the device `SN-<number>` with a key of its own.
fn submission(number: u8) -> Submission {
    Submission {
        issuance: id(number),
        device_serial: format!("SN-{number}"),
        lot: "lot-1".to_owned(),
        profile: "device-ca".to_owned(),
        certification_request: request(&params(&format!("SN-{number}.ca")), &key()),
        supersedes: Vec::new(),
        residency: None,
        request_id: String::new(),
    }
}

async fn issue(authority: &Authority, submissions: &[&Submission]) -> Vec<Outcome> {
    let submissions = submissions.iter().map(|submission| (*submission).clone()).collect();
    authority.issue("station-1", submissions).await.unwrap()
}

async fn issue_one(authority: &Authority, submission: &Submission) -> Outcome {
    issue(authority, &[submission]).await.remove(0)
}

fn issued(outcome: &Outcome) -> &Issued {
    match outcome {
        Outcome::Issued(issued) => issued,
        other => panic!("not issued: {other:?}"),
    }
}

#[track_caller]
fn assert_refused(outcome: &Outcome, reason: Reason, words: &str) {
    match outcome {
        Outcome::Refused(refusal) => {
            assert_eq!(refusal.reason, reason, "{refusal}");
            assert!(refusal.message.contains(words), "{refusal} lacks {words:?}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn assert_deferred(outcome: &Outcome, words: &str) {
    match outcome {
        Outcome::Deferred(later) => assert!(later.message.contains(words), "{later:?} lacks {words:?}"),
        other => panic!("not deferred: {other:?}"),
    }
}
