//! The authority: one issuing CA with its register and its keys, to be served or embedded.
//!
//! A batch goes one way: door and plan (`plan.rs`), reserve and sync (`register.rs`), sign and verify (`hsm.rs`), record
//! and sync, answer. After a crash between the two syncs the same bytes are signed again.

mod callers;
mod crl;
mod lots;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use issuance::{
    Fault, Keystore, ProfileName, PublicKey, Timestamp,
    residency::{SealedCertificate, Sealing},
};
use journal::{
    Hash, LogError, Projections, Refusal as WitnessRefusal, Signature, TransparencyLog, VerifyingKey, Witness,
};
use service::{clock::Clock, crash};
use tokio::sync::watch;
use tracing::{info, warn};

pub(crate) use lots::confirmation;
pub use lots::{Caller, ReportError};

use crate::{
    callers::DisabledCallers,
    carry::uncarried,
    certificate,
    generation::{self, Certificates, Generations},
    hsm,
    hsm::Hsm,
    journaled::{JournaledRegister, generations},
    pki::{CaCertificate, PkiError},
    plan::{Later, Proposal, Rules, Submission},
    profile::{AuthoritySettings, CaName, contradictions, sentences},
    publication::Crls,
    records::{self, CaProjection},
    refusal::Refusal,
    register::{
        Condition, Planned, Recorded, Register as _, RegisterError, RegisterHandle, Reservation, Seal, Signed,
        Unavailable,
    },
    revocation::{NotRevoked, Revocation, Revoked},
    rollover::{self, RolloverError},
};

/// One batch is one signing visit and two syncs; 256 keeps it under 20 ms with a token that signs 20,000 times a second.
pub const BATCH_MAX: usize = 256;

/// An issuing CA. Clones share it.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    rules: Arc<Rules>,
    /// Who issues first.
    roots: Vec<CaCertificate>,
    register: RegisterHandle,
    hsm: Hsm,
    clock: Clock,
    name: String,
    brand_owners: Vec<PublicKey>,
    crls: Option<Arc<Crls>>,
    disabled: DisabledCallers,
    log: TransparencyLog,
    witness: Arc<Witness>,
}

/// A station's checkpoint that is to be witnessed.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// The signed note.
    pub(crate) note: String,
    /// The key that signed it, as C2SP signed-note writes keys.
    pub(crate) key: String,
    /// How many entries the proof begins with.
    pub(crate) old_size: u64,
    /// That it goes on from there.
    pub(crate) proof: Vec<Hash>,
}

/// The answer to one submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was issued, now or before.
    Issued(Issued),
    /// The same, for one TPM alone.
    Sealed(SealedCertificate),
    /// It will never be issued as it stands.
    Refused(Refusal),
    /// Not now: the same request may be sent again.
    Deferred(Later),
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// DER, issuer first, no root.
    pub chain: Vec<Vec<u8>>,
}

/// Who issues under one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileIssuer {
    /// The profile.
    pub profile: ProfileName,
    /// DER, issuer first, no root.
    pub chain: Vec<Vec<u8>>,
}

/// Why a CA cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings contradict themselves.
    #[error("the configuration contradicts itself: {0}")]
    Contradiction(String),
    /// A file of the CA is missing or wrong.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The token failed.
    #[error("the token cannot be used; {}", hsm::remedy(.0))]
    Token(#[source] Fault),
    /// The token lacks an issuer's key.
    #[error("the token has no key {0}: this is another token, or `init` did not complete")]
    NoKey(CaName),
    /// A profile or a CA does not fit the day.
    #[error("{0}")]
    NotToday(String),
    /// The journal or its checkpoints failed.
    #[error("the CA's journal cannot be opened")]
    Journal(#[from] LogError),
    /// The register failed.
    #[error("the CA's register cannot be opened: {0}")]
    Register(String),
    /// A certificate of a later generation cannot be put back.
    #[error("the CA's own certificates cannot be put back")]
    Generation(#[from] RolloverError),
    /// No thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<RegisterError> for OpenError {
    fn from(error: RegisterError) -> Self {
        Self::Register(service::in_full(&error))
    }
}

impl Authority {
    /// Opens the CA: certificates held against configuration and token, journal and register, and what an earlier run
    /// planned and did not sign. Blocks for as long as the hardware and the journal take.
    pub fn open(
        settings: &AuthoritySettings,
        mut keystore: Box<dyn Keystore>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let contradictions = contradictions(&settings.root, &settings.issuers, &settings.profiles);
        if !contradictions.is_empty() {
            return Err(OpenError::Contradiction(sentences(contradictions)));
        }
        let (journal, log, recovery) =
            TransparencyLog::open(&settings.journal_options(), settings.checkpoints.clone())?;
        let witness = Arc::new(settings.witness()?);
        info!(ca = settings.name, records = recovery.records, torn = recovery.torn, "journal opened");
        crash::point("ca.start.journal-open");
        let projections =
            Projections::open(&journal, &settings.journal.join("projections"), CaProjection, &mut |done, all| {
                info!(done, all, "rebuilding the register");
            })
            .map_err(LogError::from)?;
        if let Some(last) = journal.length().checked_sub(1) {
            let entry = journal.read(last..last + 1).map_err(LogError::from)?.pop().unwrap_or_default();
            // Rows that a newer release left would hide that it is not understood.
            records::decode(&entry).map_err(|wrong| LogError::from(journal.not_understood(last, wrong)))?;
        }
        crash::point("ca.start.rows-open");
        let generations = generations(&projections)?;
        rollover::restore(settings, &journal, &projections)?;
        let certificates = generation::read(settings, generations)?;
        if let Err(error) = generation::publish(settings, &certificates) {
            warn!(error = service::in_full(&error), "the bundle and the chains could not be written");
        }
        let Certificates { roots, mut issuers, retired } = certificates;
        let crls = settings.crl.as_ref().map(|crl| generation::crl_of(crl, generations));
        let crls = crls.map(|crl| Crls::open(&crl, crl::lists(&crl, &issuers))).transpose()?.map(Arc::new);
        require_keys(settings, &issuers, keystore.as_mut())?;
        issuers.extend(retired);
        let rules = rules(settings, generations, issuers)?;
        let uncarried: Vec<String> = roots
            .first()
            .map(|root| uncarried(root, rules.profiles(), Timestamp(clock.unjudged())))
            .unwrap_or_default();
        if !uncarried.is_empty() {
            return Err(OpenError::NotToday(uncarried.join("; ")));
        }
        for (profile, issuer) in rules.profiles().filter(|(profile, _)| profile.outlives_issuer) {
            warn!(profile = %profile.name, issuer = %issuer.name, "its certificates may end after their issuer");
        }

        let lists = crls.clone();
        // At once: also for what rework and scrapping revoke.
        let on_revoked = Box::new(move || lists.iter().for_each(|crls| crls.wish()));
        let mut register =
            JournaledRegister::new(journal, projections, clock.clone(), settings.lots.clone(), on_revoked);
        let disabled = DisabledCallers::new(register.disabled_callers()?);
        finish_planned(&mut register, keystore.as_mut(), &rules)?;

        let register = RegisterHandle::start(Box::new(register)).map_err(OpenError::Thread)?;
        let hsm = Hsm::start(keystore).map_err(OpenError::Thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                rules: Arc::new(rules),
                roots,
                register,
                hsm,
                clock,
                crls,
                disabled,
                log,
                witness,
                name: settings.name.clone(),
                brand_owners: settings.lots.brand_owners.clone(),
            }),
        })
    }

    /// Issues for each submission, in order. It runs to its end even when the caller goes away.
    pub async fn issue(
        &self,
        authenticated_by: &str,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let inner = self.inner.clone();
        let authenticated_by: Arc<str> = authenticated_by.into();
        tokio::spawn(async move { inner.issue(authenticated_by, submissions).await })
            .await
            .map_err(|_| Unavailable("the batch was broken off".into()))?
    }

    /// Revokes for good, and answers once it is recorded: each certificate of the target, also those that were revoked
    /// before, with the first revocation's time and reason. Asked again it changes nothing.
    pub async fn revoke(
        &self,
        authenticated_by: &str,
        revocation: Revocation,
    ) -> Result<Result<Vec<Revoked>, NotRevoked>, Unavailable> {
        let by = authenticated_by.to_owned();
        self.inner.register.act(move |register| register.revoke(&by, &revocation)).await
    }

    /// The roots to trust, DER: both during a rollover, who issues first.
    #[must_use]
    pub fn bundle(&self) -> Vec<Vec<u8>> {
        self.inner.roots.iter().map(|root| root.der.clone()).collect()
    }

    /// Who issues under each profile.
    #[must_use]
    pub fn profile_issuers(&self) -> Vec<ProfileIssuer> {
        let issuers = self.inner.rules.profiles();
        issuers
            .map(|(profile, issuer)| ProfileIssuer { profile: profile.name.clone(), chain: vec![issuer.der.clone()] })
            .collect()
    }

    /// Whether the CA can record; changes once, when it no longer can.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.inner.register.condition()
    }

    /// Cosigns a station's checkpoint when it goes on from the last one that was seen of that station.
    pub(crate) async fn cosign(
        &self,
        station: &str,
        submitted: Submitted,
    ) -> Result<Result<(Signature, VerifyingKey), WitnessRefusal>, Unavailable> {
        if let Err(wrong) = self.inner.clock.now() {
            return Err(Unavailable(format!("{wrong}. {}", wrong.remedy()).into()));
        }
        let (witness, station) = (self.inner.witness.clone(), station.to_owned());
        // It waits for a sync.
        tokio::task::spawn_blocking(move || {
            let Submitted { note, key, old_size, proof } = submitted;
            let signature = witness.cosign(&station, &key, &note, old_size, &proof)?;
            Ok((signature, witness.key().clone()))
        })
        .await
        .map_err(|_| Unavailable("the witness was broken off".into()))
    }

    /// The clock that it records by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// What was accepted is finished, then the last checkpoint is signed and the journal is closed. Later calls are
    /// [`Unavailable`].
    pub async fn close(&self) -> Result<(), Unavailable> {
        let log = self.inner.log.clone();
        let settled = tokio::task::spawn_blocking(move || log.close()).await;
        if let Ok(Err(wrong)) = settled {
            warn!(wrong, "the last checkpoint of the CA's journal was not written; the next start makes it");
        }
        self.inner.register.close().await
    }
}

impl Inner {
    async fn issue(
        &self,
        authenticated_by: Arc<str>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let count = submissions.len();
        let proposals = self.propose(authenticated_by, submissions).await?;
        crash::point("ca.propose.done");
        let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
        let mut to_sign: BTreeMap<String, Vec<(usize, Planned)>> = BTreeMap::new();
        let mut recorded_at = Vec::new();
        for (place, reservation) in self.register.reserve(proposals).await?.into_iter().enumerate() {
            outcomes[place] = match reservation {
                Reservation::Issued(recorded) => {
                    recorded_at.push((place, recorded));
                    None
                }
                Reservation::Refused(refusal) => Some(Outcome::Refused(refusal)),
                Reservation::Deferred(later) => Some(Outcome::Deferred(later)),
                Reservation::Planned(planned) => {
                    to_sign.entry(planned.issuer.clone()).or_default().push((place, planned));
                    None
                }
            };
        }
        let (mut places, mut signed) = (Vec::new(), Vec::new());
        for (name, planned) in to_sign {
            let issuer = self.rules.issuer(&name);
            let (own, strange): (Vec<_>, Vec<_>) =
                planned.into_iter().partition(|(_, planned)| issuer.is_some_and(|issuer| planned.is_of(issuer)));
            for (place, _) in strange {
                outcomes[place] = Some(Outcome::Deferred(strange_issuer(&name)));
            }
            let (Some(issuer), false) = (issuer, own.is_empty()) else { continue };
            let (group, own): (Vec<usize>, Vec<Planned>) = own.into_iter().unzip();
            crash::point("ca.sign.intended");
            let signatures = self.sign(issuer, own).await;
            crash::point("ca.sign.done");
            match signatures {
                Ok(some) => {
                    places.extend(group);
                    signed.extend(some);
                }
                Err(later) => group.iter().for_each(|place| outcomes[*place] = Some(Outcome::Deferred(later.clone()))),
            }
        }
        if !signed.is_empty() {
            recorded_at.extend(places.into_iter().zip(self.register.commit(signed).await?));
        }
        for (place, answer) in self.answers(recorded_at).await? {
            outcomes[place] = Some(answer);
        }
        crash::point("ca.answer.intended");
        let lost = || {
            Outcome::Deferred(Later {
                retry_after: Duration::from_secs(1),
                message: "the request was not answered: send it again".to_owned(),
            })
        };
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
    }

    /// Proof of possession and planning are the processor's work: beside the network's threads, not on them.
    async fn propose(
        &self,
        authenticated_by: Arc<str>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Proposal>, Unavailable> {
        let (rules, now) = (self.rules.clone(), Timestamp(self.clock.best()));
        tokio::task::spawn_blocking(move || {
            submissions.into_iter().map(|submission| rules.propose(&authenticated_by, submission, now)).collect()
        })
        .await
        .map_err(|_| Unavailable("the batch was broken off".into()))
    }

    async fn sign(&self, issuer: &CaCertificate, planned: Vec<Planned>) -> Result<Vec<Signed>, Later> {
        /// Long enough for a module's restart, short enough that a line does not notice an HSM's reboot twice.
        const TOKEN_BACK: Duration = Duration::from_secs(5);
        let messages: Vec<Vec<u8>> = planned.iter().map(|planned| planned.tbs_certificate.clone()).collect();
        let location = issuer.name.key_location();
        let signatures = self.hsm.sign(location, issuer.public_key.clone(), messages).await.map_err(|fault| {
            warn!(issuer = %issuer.name, reason = fault.kind.reason(), %fault, waiting = planned.len(), "the token did not sign");
            Later {
                retry_after: TOKEN_BACK,
                message: format!(
                    "the CA's token does not sign ({}): the request is recorded, send the same one again",
                    fault.kind.reason()
                ),
            }
        })?;
        Ok(planned.into_iter().zip(signatures).map(|(planned, signature)| Signed { planned, signature }).collect())
    }

    /// What is sealed costs the processor a public-key operation each: beside the network's threads, not on them.
    async fn answers(&self, recorded: Vec<(usize, Recorded)>) -> Result<Vec<(usize, Outcome)>, Unavailable> {
        let all = |rules: &Rules, recorded: Vec<(usize, Recorded)>| {
            recorded.into_iter().map(|(place, recorded)| (place, answer(rules, recorded))).collect()
        };
        if recorded.iter().all(|(_, recorded)| recorded.seal.is_none()) {
            return Ok(all(&self.rules, recorded));
        }
        let rules = self.rules.clone();
        tokio::task::spawn_blocking(move || all(&rules, recorded))
            .await
            .map_err(|_| Unavailable("the batch was broken off".into()))
    }
}

fn answer(rules: &Rules, recorded: Recorded) -> Outcome {
    let unanswerable = |message: String| {
        warn!(message, "a recorded certificate cannot be answered");
        Outcome::Deferred(Later { retry_after: Duration::from_secs(300), message })
    };
    let Some(issuer) = rules.issuer(&recorded.issuer) else {
        return unanswerable(format!(
            "the certificate was issued by {}, which this CA no longer has: bring its file back",
            recorded.issuer
        ));
    };
    let chain = vec![issuer.der.clone()];
    let certificate = match certificate::assemble(&recorded.tbs_certificate, &recorded.signature) {
        Ok(certificate) => certificate,
        Err(error) => return unanswerable(service::in_full(&error)),
    };
    let Some(Seal { key, issuance, request_sha256 }) = recorded.seal else {
        return Outcome::Issued(Issued { certificate, chain });
    };
    match (Sealing { issuance, request_sha256, certificate: &certificate, chain: &chain }).seal(&key) {
        Ok(sealed) => Outcome::Sealed(sealed),
        Err(error) => unanswerable(service::in_full(&error)),
    }
}

fn strange_issuer(name: &str) -> Later {
    /// Only an administrator brings an issuer back.
    const ISSUER_BACK: Duration = Duration::from_secs(300);
    Later {
        retry_after: ISSUER_BACK,
        message: format!(
            "the request was planned for the issuer {name}, which this CA no longer has with that name and key: bring \
             it back"
        ),
    }
}

/// The root's key is not asked for: it may be locked away.
fn require_keys(
    settings: &AuthoritySettings,
    issuers: &[CaCertificate],
    keystore: &mut dyn Keystore,
) -> Result<(), OpenError> {
    keystore.identify().map_err(OpenError::Token)?;
    for issuer in issuers {
        let key = keystore.find_key(&issuer.name.key_location()).map_err(OpenError::Token)?;
        let key = key.ok_or_else(|| OpenError::NoKey(issuer.name.clone()))?;
        issuer.require_key(&settings.pki, &key)?;
    }
    Ok(())
}

fn rules(
    settings: &AuthoritySettings,
    generations: Generations,
    issuers: Vec<CaCertificate>,
) -> Result<Rules, PkiError> {
    let mut ca_names = HashSet::new();
    for generation in 1..=generations.newest {
        for ca in settings.issuers.iter().chain([&settings.root]) {
            ca_names.insert(generation::settings_of(&settings.pki, ca, generation)?.common_name.folded());
        }
    }
    let profiles = generation::profiles_of(&settings.profiles, generations.issuing);
    Ok(Rules::new(&profiles, issuers, ca_names))
}

/// Signs what an earlier run planned and did not sign: the same bytes. A token that fails now does not keep the CA
/// closed: the same request gets them signed later.
fn finish_planned(
    register: &mut JournaledRegister,
    keystore: &mut dyn Keystore,
    rules: &Rules,
) -> Result<(), RegisterError> {
    if let Some(wrong) = register.clock_wrong()? {
        warn!(%wrong, "nothing is signed until the clock is right");
        return Ok(());
    }
    let mut after = None;
    loop {
        let waiting = register.unsigned(after, BATCH_MAX)?;
        let Some(last) = waiting.last() else { return Ok(()) };
        after = Some(last.issuance);
        let mut groups: BTreeMap<&str, Vec<&Planned>> = BTreeMap::new();
        for planned in &waiting {
            groups.entry(&planned.issuer).or_default().push(planned);
        }
        for (name, planned) in groups {
            let issuer = rules.issuer(name);
            let (planned, strange): (Vec<&Planned>, Vec<_>) =
                planned.into_iter().partition(|planned| issuer.is_some_and(|issuer| planned.is_of(issuer)));
            if !strange.is_empty() {
                warn!(issuer = name, waiting = strange.len(), "planned for an issuer that this CA no longer has");
            }
            let (Some(issuer), false) = (issuer, planned.is_empty()) else { continue };
            let messages: Vec<Vec<u8>> = planned.iter().map(|planned| planned.tbs_certificate.clone()).collect();
            crash::point("ca.start.sign.intended");
            match hsm::sign_verified(keystore, &issuer.name.key_location(), &issuer.public_key, &messages) {
                Ok(signatures) => {
                    crash::point("ca.start.sign.done");
                    let pairs = planned.into_iter().cloned().zip(signatures);
                    let count = pairs.len();
                    register.commit(pairs.map(|(planned, signature)| Signed { planned, signature }).collect())?;
                    info!(issuer = name, count, "signed what an earlier run had planned");
                }
                Err(fault) => {
                    warn!(issuer = name, reason = fault.kind.reason(), %fault, "what an earlier run planned waits on");
                }
            }
        }
    }
}
