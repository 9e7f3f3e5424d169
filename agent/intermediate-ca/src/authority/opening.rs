//! Opening an authority: certificates, journal, register and token are held against each other, and what an earlier run
//! planned and did not sign is signed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use issuance::{Fault, FaultKind, Keystore, ProfileName, Timestamp, public_key::Hash};
use journal::{LogError, Projections, TransparencyLog};
use service::{clock::Clock, crash};
use tracing::{info, warn};

use super::{Authority, BATCH_MAX, Inner, crl};
use crate::{
    callers::DisabledCallers,
    carry::uncarried,
    generation::{self, Certificates, Generations},
    hsm::{self, Hsm},
    journaled::{JournaledRegister, generations},
    metrics::Counts,
    pki::{CaCertificate, PkiError},
    plan::Rules,
    production,
    profile::{AuthoritySettings, CaName, contradictions, sentences},
    publication::Crls,
    records::{self, CaProjection},
    register::{Planned, Register as _, RegisterError, RegisterHandle, Signed},
    rollover::{self, RolloverError},
    turns::Turns,
    witnessed,
};

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
    /// What is for development alone.
    #[error("{0}")]
    NotForProduction(String),
    /// The journal is not what its witness saw.
    #[error("{0}")]
    Witnessed(String),
    /// The token does not sign as a profile has it.
    #[error(
        "the token does not sign with {hash} by the key of {issuer}, as the profile {profile} has it: take another \
         signature_hash, or leave it out"
    )]
    Hash {
        /// The profile.
        profile: ProfileName,
        /// Its issuer.
        issuer: CaName,
        /// The hash.
        hash: Hash,
        /// What the token said.
        #[source]
        source: Fault,
    },
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
        if let Some(seen) = &settings.witnessed {
            witnessed::check(&log, &settings.name, seen).map_err(OpenError::Witnessed)?;
        }
        if let Some(client) = &settings.witness {
            witnessed::ask(&log, client).map_err(OpenError::Witnessed)?;
        }
        let witness = Arc::new(settings.own_witness()?);
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
        require_hashes(&rules, keystore.as_mut())?;
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
        let handle = journal.clone();
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
                turns: Turns::default(),
                hsm,
                clock,
                crls,
                disabled,
                token: Mutex::default(),
                journal: handle,
                counts: Counts::default(),
                log,
                witness,
                witnessed_by: settings.witness.clone(),
                name: settings.name.clone(),
                brand_owners: settings.lots.brand_owners.clone(),
            }),
        })
    }
}

/// The root's key is not asked for: it may be locked away.
fn require_keys(
    settings: &AuthoritySettings,
    issuers: &[CaCertificate],
    keystore: &mut dyn Keystore,
) -> Result<(), OpenError> {
    let identity = keystore.identify().map_err(OpenError::Token)?;
    if let Some(problem) = production::token(&identity).filter(|_| settings.production) {
        return Err(OpenError::NotForProduction(problem));
    }
    for issuer in issuers {
        let key = keystore.find_key(&issuer.name.key_location()).map_err(OpenError::Token)?;
        let key = key.ok_or_else(|| OpenError::NoKey(issuer.name.clone()))?;
        issuer.require_key(&settings.pki, &key)?;
    }
    Ok(())
}

/// A token tells what it can do with a key by doing it: of raw ECDSA its mechanisms say nothing about hashes.
fn require_hashes(rules: &Rules, keystore: &mut dyn Keystore) -> Result<(), OpenError> {
    /// Neither a certificate nor a list: nobody could pass this signature off for one of the CA's.
    const PROBE: &[u8] = b"Station Agent asks whether this key signs with this hash";
    let mut known = Vec::new();
    for (profile, issuer) in rules.profiles() {
        let Some(hash) = profile.signature_hash.filter(|hash| *hash != issuer.public_key.algorithm().hash()) else {
            continue;
        };
        if known.contains(&(&issuer.name, hash)) {
            continue;
        }
        hsm::sign_verified(keystore, &issuer.signer().with(hash), &[PROBE.to_vec()]).map_err(
            |source| match source.kind {
                FaultKind::Unsupported | FaultKind::Mismatch => {
                    OpenError::Hash { profile: profile.name.clone(), issuer: issuer.name.clone(), hash, source }
                }
                _ => OpenError::Token(source),
            },
        )?;
        known.push((&issuer.name, hash));
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
        // By issuer and hash: the recorded bytes name the one that they are signed with.
        let mut groups: BTreeMap<(&str, Option<Hash>), Vec<&Planned>> = BTreeMap::new();
        for planned in &waiting {
            groups.entry((&planned.issuer, planned.hash(rules))).or_default().push(planned);
        }
        for ((name, hash), planned) in groups {
            let issuer = rules.issuer(name);
            let (planned, strange): (Vec<&Planned>, Vec<_>) =
                planned.into_iter().partition(|planned| issuer.is_some_and(|issuer| planned.is_of(issuer)));
            if !strange.is_empty() {
                warn!(issuer = name, waiting = strange.len(), "planned for an issuer that this CA no longer has");
            }
            let (Some((issuer, hash)), false) = (issuer.zip(hash), planned.is_empty()) else { continue };
            let messages: Vec<Vec<u8>> = planned.iter().map(|planned| planned.tbs_certificate.clone()).collect();
            crash::point("ca.start.sign.intended");
            match hsm::sign_verified(keystore, &issuer.signer().with(hash), &messages) {
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
