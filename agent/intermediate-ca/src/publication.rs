//! Keeping the CRLs fresh: plan → record → sign → record → publish, as for certificates.
//!
//! A number is on the disk before anything is signed under it, so that none is ever used twice: what a crash left
//! unsigned or unpublished is not taken up again, the next list has the next number.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use issuance::{Fault, Timestamp, public_key::sha256};
use service::{
    clock::{Clock, Wrong},
    crash,
};
use tokio::{sync::watch, time::timeout};
use tracing::{error, info, warn};

use crate::{
    certificate::{self, CertificateError},
    crl::{self, CrlSettings, Draft, List},
    hsm::Hsm,
    pki::{self, CLOCK_ALLOWANCE, PkiError, moment_text},
    records::{CrlPlanned, CrlSigned},
    register::{CrlEvent, RegisterHandle, Unavailable},
};

/// After a token or a disk that failed: long enough for a module's restart, short against every `early`.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A clock that was set is noticed within this.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A CRL that stands: signed, recorded, and given to whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// The list's name: the issuer's, or the partition's.
    pub list: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number.
    pub number: u64,
    /// thisUpdate, seconds since 1970.
    pub this_update: i64,
    /// nextUpdate, seconds since 1970.
    pub next_update: i64,
    /// How many certificates it lists.
    pub revoked: usize,
    /// DER.
    pub der: Vec<u8>,
    /// The same as PEM.
    pub pem: String,
    /// When it was made, seconds since 1970.
    pub(crate) made: i64,
    /// What was wanted when it was made: see [`Crls::wanted`].
    wish: u64,
}

/// Why a list could not be renewed; the standing one stays.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// Nothing is signed with a wrong time.
    #[error("the CA signs nothing while its clock is wrong: {0}. {remedy}", remedy = .0.remedy())]
    Clock(Wrong),
    /// The register cannot record.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The token failed.
    #[error("the token does not sign")]
    Token(#[source] Fault),
    /// The list could not be encoded.
    #[error("the list cannot be encoded")]
    Encoding(#[from] CertificateError),
    /// What was made does not pass the checks that reading it makes.
    #[error("the list was made, and does not fit: {0}")]
    Unfit(String),
    /// It was signed, and cannot be written; it is served nevertheless.
    #[error("the list cannot be written")]
    File(#[from] PkiError),
    /// Not within the time that was given: it is tried on.
    #[error("no new list within {0:?}: it is tried on, and the log says why")]
    Late(Duration),
}

/// The lists of a CA, and what stands of them.
pub(crate) struct Crls {
    settings: CrlSettings,
    lists: Vec<List>,
    /// One round at a time.
    at_work: tokio::sync::Mutex<()>,
    /// Grows with each wish for fresh lists; a list that was made for an older wish is due.
    wanted: AtomicU64,
    wishes: watch::Sender<()>,
    /// Why a list could not be renewed in the last round, by its name.
    failures: Mutex<BTreeMap<String, String>>,
    shelf: watch::Sender<BTreeMap<String, Arc<Crl>>>,
}

/// What a round works with.
pub(crate) struct Tools<'a> {
    pub(crate) register: &'a RegisterHandle,
    pub(crate) hsm: &'a Hsm,
    pub(crate) clock: &'a Clock,
}

impl Crls {
    /// With what an earlier run left in the directory: it is served until the first round, which makes every list anew.
    pub(crate) fn open(settings: &CrlSettings, lists: Vec<List>) -> Result<Self, PkiError> {
        let directory = &settings.directory;
        let io = |act| move |source| PkiError::Io { act, path: directory.clone(), source };
        fs::create_dir_all(directory).map_err(io("create"))?;
        let mut shelf = BTreeMap::new();
        for list in &lists {
            match standing(directory, list) {
                Ok(Some(crl)) => drop(shelf.insert(list.name.to_string(), Arc::new(crl))),
                Ok(None) => {}
                Err(problem) => warn!(list = %list.name, problem, "the CRL that stands is not used"),
            }
        }
        Ok(Self {
            settings: settings.clone(),
            lists,
            at_work: tokio::sync::Mutex::new(()),
            wanted: AtomicU64::new(1),
            wishes: watch::Sender::new(()),
            failures: Mutex::default(),
            shelf: watch::Sender::new(shelf),
        })
    }

    pub(crate) fn shelf(&self) -> watch::Receiver<BTreeMap<String, Arc<Crl>>> {
        self.shelf.subscribe()
    }

    /// The lists' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().map(|list| list.name.as_str())
    }

    /// From now on what stands is out of date.
    pub(crate) fn wish(&self) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        self.wishes.send_replace(());
    }

    /// Waits until every list was made after the last wish before this call.
    pub(crate) async fn fulfilled(&self, within: Duration) -> Result<Vec<Arc<Crl>>, CrlError> {
        let wish = self.wanted.load(Ordering::SeqCst);
        let mut shelf = self.shelf.subscribe();
        let fresh =
            shelf.wait_for(|shelf| self.names().all(|name| shelf.get(name).is_some_and(|crl| crl.wish >= wish)));
        match timeout(within, fresh).await {
            Ok(Ok(shelf)) => Ok(shelf.values().cloned().collect()),
            // The sender is ours.
            Ok(Err(_)) | Err(_) => Err(CrlError::Late(within)),
        }
    }

    /// Renews what is due, again and again; ends only when it is dropped.
    pub(crate) async fn keep(&self, tools: Tools<'_>) {
        let mut wishes = self.wishes.subscribe();
        loop {
            let failed = self.renew(&tools).await;
            let wait = if failed > 0 { AGAIN_AFTER } else { self.until_due(Timestamp(tools.clock.best())) };
            let _ = timeout(wait, wishes.changed()).await;
        }
    }

    /// One round: each list that is due. How many failed.
    pub(crate) async fn renew(&self, tools: &Tools<'_>) -> usize {
        let _one = self.at_work.lock().await;
        let mut failed = 0;
        for list in &self.lists {
            let name = list.name.as_str();
            let wish = self.wanted.load(Ordering::SeqCst);
            let standing = self.shelf.borrow().get(name).cloned();
            let now = Timestamp(tools.clock.best()).seconds();
            if standing.as_ref().is_some_and(|crl| crl.wish >= wish && now < self.due(crl)) {
                continue;
            }
            let Err(problem) = self.renew_one(list, standing.as_deref(), wish, tools).await else {
                self.failures().remove(name);
                continue;
            };
            failed += 1;
            let problem = service::in_full(&problem);
            self.failures().insert(name.to_owned(), problem.clone());
            match standing {
                Some(crl) if now < crl.next_update - seconds(self.settings.early) => {
                    warn!(list = name, problem, stands = crl.number, "the CRL could not be renewed; it is tried again");
                }
                Some(crl) => {
                    let end = moment_text(crl.next_update);
                    error!(list = name, problem, end, "the CRL is about to expire, and then verifiers refuse everyone");
                }
                None => {
                    error!(list = name, problem, "there is no CRL yet, and verifiers that need one refuse everyone")
                }
            }
        }
        failed
    }

    /// Each list that should have been renewed and was not, in words: long before whoever needs it refuses everyone.
    pub(crate) fn overdue(&self, now: Timestamp) -> Vec<String> {
        let (shelf, failures) = (self.shelf.borrow(), self.failures());
        let overdue = |name: &str| {
            let failure = failures.get(name);
            let why = failure.map_or("the round that makes it has not come yet", String::as_str);
            match shelf.get(name).map(|crl| crl.next_update) {
                // The first round is under way.
                None if failure.is_none() => None,
                None => Some(format!("there is no CRL {name}, and verifiers that need one refuse everyone: {why}")),
                Some(end) if now.seconds() >= end => Some(format!(
                    "the CRL {name} ended {}, and verifiers that need it refuse everyone: {why}",
                    moment_text(end)
                )),
                Some(end) if now.seconds() > end - seconds(self.settings.early) => Some(format!(
                    "the CRL {name} ends {}, and then verifiers that need it refuse everyone; it should have been renewed \
                     before: {why}",
                    moment_text(end)
                )),
                Some(_) => None,
            }
        };
        self.names().filter_map(overdue).collect()
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // The map is whole after every statement.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn renew_one(
        &self,
        list: &List,
        standing: Option<&Crl>,
        wish: u64,
        tools: &Tools<'_>,
    ) -> Result<(), CrlError> {
        let (name, issuer) = (list.name.to_string(), list.issuer.name.to_string());
        let basis = tools.register.act(move |register| register.crl_basis(&name, &issuer)).await?;
        if let Some(wrong) = basis.clock {
            return Err(CrlError::Clock(wrong));
        }
        // A journal that was restored from a backup may know less than what was published.
        let number = basis.last_number.max(standing.map_or(0, |crl| crl.number)) + 1;
        let (own, now, valid_for) = (list.clone(), Timestamp(tools.clock.best()), self.settings.valid_for);
        let draft = tokio::task::spawn_blocking(move || crl::draft(&own, number, &basis.revoked, now, valid_for)).await;
        let draft = draft.map_err(|_| Unavailable("the list's making was broken off".into()))??;
        let planned = planned(list, &draft);
        tools.register.act(move |register| register.record_crl(CrlEvent::Planned(planned))).await?;
        crash::point("ca.crl.sign.intended");
        let signatures =
            tools.hsm.sign(&list.issuer.signer(), vec![draft.tbs.clone()]).await.map_err(CrlError::Token)?;
        crash::point("ca.crl.sign.done");
        let signature = signatures.first().map(|signature| signature.as_bytes()).unwrap_or_default().to_vec();
        let der = certificate::assemble_crl(&draft.tbs, &signature)?;
        let crl = stand(list, der, now.seconds(), wish).map_err(CrlError::Unfit)?;
        let signed = CrlSigned { list: crl.list.clone(), number, signature };
        tools.register.act(move |register| register.record_crl(CrlEvent::Signed(signed))).await?;
        info!(list = crl.list, "CRL {}", crl::in_words(number, crl.revoked, crl.next_update));
        let (directory, crl) = (self.settings.directory.clone(), Arc::new(crl));
        self.shelf.send_modify(|shelf| drop(shelf.insert(crl.list.clone(), crl.clone())));
        let written = tokio::task::spawn_blocking(move || write(&directory, &crl)).await;
        let written = written.map_err(|_| Unavailable("the list's writing was broken off".into()))?;
        if written.is_err() {
            // The next round writes a newer one.
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(written?)
    }

    /// When a list's successor is to be made, seconds since 1970.
    fn due(&self, crl: &Crl) -> i64 {
        (crl.made + seconds(self.settings.every)).min(crl.next_update - seconds(self.settings.early))
    }

    fn until_due(&self, now: Timestamp) -> Duration {
        let first = self.shelf.borrow().values().map(|crl| self.due(crl)).min().unwrap_or_default();
        let wait = u64::try_from(first - now.seconds()).unwrap_or(0);
        Duration::from_secs(wait).clamp(Duration::from_secs(1), LOOK_EVERY)
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn planned(list: &List, draft: &Draft) -> CrlPlanned {
    CrlPlanned {
        list: list.name.to_string(),
        issuer: list.issuer.name.to_string(),
        number: draft.number,
        this_update: draft.this_update,
        next_update: draft.next_update,
        revoked: draft.revoked as u64,
        tbs_sha256: sha256(&draft.tbs).to_vec(),
    }
}

/// A list's bytes, once they are what they must be.
fn stand(list: &List, der: Vec<u8>, made: i64, wish: u64) -> Result<Crl, String> {
    let crl::Parsed { number, this_update, next_update, revoked } = crl::parse(&der, list)?;
    let pem = pem::encode_config(
        &pem::Pem::new("X509 CRL", der.as_slice()),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    );
    let (list, issuer) = (list.name.to_string(), list.issuer.name.to_string());
    Ok(Crl { list, issuer, number, this_update, next_update, revoked, der, pem, made, wish })
}

/// Where a list's DER stands.
fn der_path(directory: &Path, list: &str) -> PathBuf {
    directory.join(format!("{list}.crl"))
}

fn standing(directory: &Path, list: &List) -> Result<Option<Crl>, String> {
    let path = der_path(directory, list.name.as_str());
    let der = match fs::read(&path) {
        Ok(der) => der,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let crl = stand(list, der, 0, 0).map_err(|problem| format!("{}: {problem}", path.display()))?;
    Ok(Some(Crl { made: crl.this_update + seconds(CLOCK_ALLOWANCE), ..crl }))
}

/// Each file whole or not at all. The DER comes first: it is the one that is read back.
fn write(directory: &Path, crl: &Crl) -> Result<(), PkiError> {
    let path = der_path(directory, &crl.list);
    for (path, bytes) in [(path.clone(), crl.der.as_slice()), (path.with_extension("crl.pem"), crl.pem.as_bytes())] {
        let fresh = pki::write_beside(&path, bytes)?;
        crash::point("ca.crl.write.synced");
        pki::put_in_place(&fresh, &path)?;
    }
    crash::point("ca.crl.write.done");
    Ok(())
}
