//! A root's rollover in three steps, each at a time that people choose: the new root into every bundle, then issuers under
//! it, then the old root out. The CA does not run meanwhile; what stands after each step is what the next `serve` follows.
//!
//! Key, plan, signature, file, step: each is looked for before it is made, so that a step killed anywhere and run again
//! completes what is missing and makes nothing twice.

use std::{collections::BTreeSet, fmt, fs, path::PathBuf};

use issuance::{Fault, FaultKind, Keystore, Timestamp};
use journal::{Journal, LogError, Projections, TransparencyLog};
use service::{
    clock::{Clock, Wrong},
    crash,
};
use tracing::info;

use crate::{
    carry::uncarried,
    certificate,
    generation::{self, Generations},
    hsm, init,
    init::InitError,
    journaled::{self, JournaledRegister},
    pki::{self, CaCertificate, PkiError, moment_text},
    profile::{AuthoritySettings, CaSettings, contradictions, sentences},
    records::{CaCertificatePlanned, CaCertificateSigned, CaProjection, Event, RolloverStepped},
    register::{Register as _, RegisterError},
};

/// A step of a rollover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloverStep {
    /// A new root is made, and is to be trusted beside the old one.
    NewRoot,
    /// New issuers under the new root take over.
    NewIssuers,
    /// The old root is to be trusted no more.
    OldRootOut {
        /// Also while certificates beneath it are valid still: no verifier accepts them from then on.
        abandon: bool,
    },
}

impl RolloverStep {
    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewRoot => "new-root",
            Self::NewIssuers => "new-issuers",
            Self::OldRootOut { .. } => "old-root-out",
        }
    }

    /// The generations after it; `None` when it was the last step that was done. The error says what is to be done first.
    fn after(self, now: Generations) -> Result<Option<Generations>, &'static str> {
        let Generations { newest, issuing, oldest } = now;
        match self {
            Self::NewRoot if newest > issuing => Ok(None),
            Self::NewRoot if oldest < issuing => {
                Err("the old root is still trusted: end the rollover before with `rollover old-root-out`")
            }
            Self::NewRoot => Ok(Some(Generations { newest: newest + 1, ..now })),
            Self::NewIssuers if newest > issuing => Ok(Some(Generations { issuing: newest, ..now })),
            Self::NewIssuers if oldest < issuing => Ok(None),
            Self::NewIssuers => Err("there is no new root for them: begin with `rollover new-root`"),
            Self::OldRootOut { .. } if newest > issuing => Err(
                "the issuers are still under the old root: bring the new one into every bundle, then `rollover new-issuers`",
            ),
            Self::OldRootOut { .. } if oldest < issuing => Ok(Some(Generations { oldest: issuing, ..now })),
            Self::OldRootOut { .. } if oldest > 1 => Ok(None),
            Self::OldRootOut { .. } => Err("there is one root alone: begin with `rollover new-root`"),
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledOver {
    /// One line for each key, certificate and file that was made; empty when all of it was done before.
    pub made: Vec<String>,
    /// Where the rollover is now.
    pub status: RolloverStatus,
}

/// Where a rollover is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloverStatus {
    generations: Generations,
    /// The roots to trust, who issues first: name and CN.
    pub roots: Vec<(String, String)>,
    /// Who issues.
    pub issuers: Vec<(String, String)>,
    /// How many certificates under the older of two roots are valid still.
    pub standing: Option<u64>,
}

impl fmt::Display for RolloverStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |some: &[(String, String)]| {
            some.iter().map(|(name, cn)| format!("{name} ({cn})")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "trusted: {}", list(&self.roots))?;
        writeln!(f, "issuing: {}", list(&self.issuers))?;
        if let Some(standing) = self.standing {
            writeln!(f, "valid under the old root: {standing}")?;
        }
        let Generations { newest, issuing, oldest } = self.generations;
        f.write_str(if newest > issuing {
            "next: bring bundle.pem to every verifier, start the CA, and when all have it: `rollover new-issuers`"
        } else if oldest < issuing {
            "next: have the stations read <issuer>.issuers.pem, start the CA, and when nothing under the old root is needed: \
             `rollover old-root-out`"
        } else {
            "no rollover is under way; `rollover new-root` begins one"
        })
    }
}

/// Why a step was not done. What it made before stands, and is found again.
#[derive(Debug, thiserror::Error)]
pub enum RolloverError {
    /// The settings contradict themselves.
    #[error("the configuration contradicts itself: {0}")]
    Contradiction(String),
    /// Not in this order.
    #[error("`rollover {step}` is not due: {remedy}")]
    Order {
        /// The step.
        step: &'static str,
        /// What is to be done.
        remedy: &'static str,
    },
    /// Certificates under the old root are valid still.
    #[error(
        "{count} certificates under the old root are valid still, the last until {until}: replace or revoke them first, or \
         give --abandon, and no verifier accepts them any more"
    )]
    Standing {
        /// How many.
        count: u64,
        /// The last end.
        until: String,
    },
    /// The clock is wrong.
    #[error("{0}. {remedy}", remedy = .0.remedy())]
    Clock(Wrong),
    /// The new chain does not carry the profiles.
    #[error("the new issuers cannot carry every profile: {0}")]
    Uncarried(String),
    /// The successor cannot be named.
    #[error("{0}")]
    Name(String),
    /// Key or certificate.
    #[error(transparent)]
    Make(#[from] InitError),
    /// A file.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The journal, which a running CA holds.
    #[error("the CA's journal cannot be opened; a rollover's step is done while the CA does not run")]
    Journal(#[from] LogError),
    /// The register.
    #[error("the CA's register cannot be used: {0}")]
    Register(String),
}

impl From<RegisterError> for RolloverError {
    fn from(error: RegisterError) -> Self {
        Self::Register(service::in_full(&error))
    }
}

/// Does a step of a rollover, or what is missing of it. Blocks.
///
/// # Errors
/// [`RolloverError`]: among them a wrong order, with what to do first.
pub fn rollover(
    settings: &AuthoritySettings,
    keystore: &mut dyn Keystore,
    clock: Clock,
    step: RolloverStep,
    claimed_by: &str,
) -> Result<RolledOver, RolloverError> {
    let contradictions = contradictions(&settings.root, &settings.issuers, &settings.profiles);
    if !contradictions.is_empty() {
        return Err(RolloverError::Contradiction(sentences(contradictions)));
    }
    let _lock = init::lock(&settings.pki)?;
    let (mut register, log) = open(settings, clock.clone())?;
    let done = match register.clock_wrong()? {
        None => {
            Rollover { settings, keystore, register: &mut register, now: Timestamp(clock.best()), made: Vec::new() }
                .run(step, claimed_by)
        }
        Some(wrong) => Err(RolloverError::Clock(wrong)),
    };
    close(register, &log)?;
    done
}

/// Where the rollover is. The CA must not run. Blocks.
///
/// # Errors
/// [`RolloverError`].
pub fn rollover_status(settings: &AuthoritySettings, clock: Clock) -> Result<RolloverStatus, RolloverError> {
    let (register, log) = open(settings, clock.clone())?;
    let status = register.generations().map_err(RolloverError::from).and_then(|generations| {
        generation::read(settings, generations)?;
        status(settings, &register, generations, Timestamp(clock.unjudged()))
    });
    close(register, &log)?;
    status
}

/// What is under a checkpoint, as whoever serves it leaves it.
fn close(mut register: JournaledRegister, log: &TransparencyLog) -> Result<(), RolloverError> {
    log.close().map_err(RolloverError::Register)?;
    Ok(register.close()?)
}

fn open(settings: &AuthoritySettings, clock: Clock) -> Result<(JournaledRegister, TransparencyLog), RolloverError> {
    let (journal, log, _) = TransparencyLog::open(&settings.journal_options(), settings.checkpoints.clone())?;
    let rows = settings.journal.join("projections");
    let projections = Projections::open(&journal, &rows, CaProjection, &mut |done, all| {
        info!(done, all, "rebuilding the register");
    })
    .map_err(LogError::from)?;
    restore(settings, &journal, &projections)?;
    // Nothing is revoked here.
    Ok((JournaledRegister::new(journal, projections, clock, settings.lots.clone(), Box::new(|| {})), log))
}

/// Puts certificates of later generations back whose files are gone.
pub(crate) fn restore(
    settings: &AuthoritySettings,
    journal: &Journal,
    projections: &Projections<CaProjection>,
) -> Result<(), RolloverError> {
    let generations = journaled::generations(projections)?;
    for generation in 2..=generations.newest {
        for ca in settings.issuers.iter().chain([&settings.root]) {
            let name = ca.name.in_generation(generation);
            let path = pki::path_of(&settings.pki, &name);
            if path.exists() {
                continue;
            }
            let Some(record) = journaled::ca_certificate(journal, projections, &name)? else { continue };
            let Some(signature) = record.signature else { continue };
            let der = certificate::assemble(&record.tbs_certificate, &signature)
                .map_err(|source| InitError::Assemble { name: name.clone(), source })?;
            pki::write(&settings.pki, &name, &der)?;
            info!(ca = %name, path = %path.display(), "certificate written anew from the journal");
        }
    }
    Ok(())
}

struct Rollover<'a> {
    settings: &'a AuthoritySettings,
    keystore: &'a mut dyn Keystore,
    register: &'a mut JournaledRegister,
    now: Timestamp,
    made: Vec<String>,
}

impl Rollover<'_> {
    fn run(mut self, step: RolloverStep, claimed_by: &str) -> Result<RolledOver, RolloverError> {
        let settings = self.settings;
        let mut generations = self.register.generations()?;
        // What stands must be whole before anything is built on it.
        generation::read(settings, generations)?;
        let next = step.after(generations).map_err(|remedy| RolloverError::Order { step: step.name(), remedy })?;
        if let Some(next) = next {
            let standing = self.prepare(step, next)?;
            self.register.record_rollover(Event::RolloverStepped(RolloverStepped {
                step: step.name().to_owned(),
                newest_root: next.newest,
                issuers: next.issuing,
                oldest_root: next.oldest,
                claimed_by: claimed_by.to_owned(),
                standing,
            }))?;
            info!(step = step.name(), newest = next.newest, issuing = next.issuing, oldest = next.oldest, "rollover");
            self.made.push(format!("step {}", step.name()));
            generations = next;
        }
        let certificates = generation::read(settings, generations)?;
        let written = generation::publish(settings, &certificates)?;
        self.made.extend(written.iter().map(|path| format!("file {}", path.display())));
        let status = status(settings, self.register, generations, self.now)?;
        Ok(RolledOver { made: self.made, status })
    }

    /// Makes what the step needs. For the old root's end: how many certificates it leaves.
    fn prepare(&mut self, step: RolloverStep, next: Generations) -> Result<u64, RolloverError> {
        let settings = self.settings;
        let of = |ca: &CaSettings, generation| {
            generation::common_name(ca, generation).map_err(RolloverError::Name)?;
            Ok::<_, RolloverError>(generation::settings_of(&settings.pki, ca, generation)?)
        };
        match step {
            RolloverStep::NewRoot => {
                // That an issuer cannot be named is better known now.
                for issuer in &settings.issuers {
                    of(issuer, next.newest)?;
                }
                self.make(&of(&settings.root, next.newest)?, None)?;
                Ok(0)
            }
            RolloverStep::NewIssuers => {
                let root = self.make(&of(&settings.root, next.issuing)?, None)?;
                let mut issuers = Vec::new();
                for issuer in &settings.issuers {
                    issuers.push(self.make(&of(issuer, next.issuing)?, Some(&root))?);
                }
                let profiles = generation::profiles_of(&settings.profiles, next.issuing);
                let pairs = profiles.iter().filter_map(|profile| {
                    issuers.iter().find(|issuer| issuer.name == profile.issuer).map(|issuer| (profile, issuer))
                });
                match uncarried(&root, pairs, self.now) {
                    problems if problems.is_empty() => Ok(0),
                    problems => Err(RolloverError::Uncarried(problems.join("; "))),
                }
            }
            RolloverStep::OldRootOut { abandon } => {
                let standing = self.register.standing_under(&issuers_before(settings, next.oldest), self.now)?;
                if standing.count > 0 && !abandon {
                    let until = moment_text(standing.last_end);
                    return Err(RolloverError::Standing { count: standing.count, until });
                }
                Ok(standing.count)
            }
        }
    }

    /// Makes what is missing of one CA of the new generation. `root` is `None` for the root itself.
    fn make(&mut self, ca: &CaSettings, root: Option<&CaCertificate>) -> Result<CaCertificate, RolloverError> {
        let (pki, name) = (&self.settings.pki, &ca.name);
        let (path, location) = (pki::path_of(pki, name), name.key_location());
        let record = self.register.ca_certificate(name)?;
        let key = match self.keystore.find_key(&location).map_err(InitError::Token)? {
            Some(key) => key,
            None if record.is_some() => return Err(InitError::KeyGone { path, name: name.clone() }.into()),
            None => {
                crash::point("ca.rollover.generate.intended");
                let key = self.keystore.generate_key(&location, ca.key).map_err(InitError::Token)?;
                crash::point("ca.rollover.generate.done");
                info!(ca = %name, algorithm = %ca.key, cka_id = %location, "key generated in the token");
                self.made.push(format!("key {name} ({}, CKA_ID {location})", ca.key));
                key
            }
        };
        if key.algorithm() != ca.key {
            let (found, wanted) = (key.algorithm(), ca.key);
            return Err(InitError::OtherAlgorithm { name: name.clone(), found, wanted }.into());
        }
        let (tbs, signature) = match record {
            Some(record) => (record.tbs_certificate, record.signature),
            None => {
                let tbs = pki::ca_tbs(ca, &key, root, self.now).map_err(InitError::CaCertificate)?;
                self.register.record_rollover(Event::CaCertificatePlanned(CaCertificatePlanned {
                    ca: name.to_string(),
                    tbs_certificate: tbs.clone(),
                    key_sha256: key.sha256().to_vec(),
                }))?;
                (tbs, None)
            }
        };
        let whole = |signature: &[u8]| {
            let der = certificate::assemble(&tbs, signature)
                .map_err(|source| InitError::Assemble { name: name.clone(), source })?;
            CaCertificate::parse(ca, &der, root).map_err(|problem| InitError::Unfit { name: name.clone(), problem })
        };
        let made = match signature {
            Some(signature) => whole(&signature)?,
            None => {
                let (signer, signer_key) = root.map_or((name, &key), |root| (&root.name, &root.public_key));
                let one = std::slice::from_ref(&tbs);
                crash::point("ca.rollover.sign.intended");
                let signatures = hsm::sign_verified(self.keystore, &signer.key_location(), signer_key, one)
                    .map_err(InitError::Token)?;
                crash::point("ca.rollover.sign.done");
                let [signature] = signatures.as_slice() else {
                    let fault = Fault::new(FaultKind::Mismatch, "the token gave no signature");
                    return Err(InitError::Token(fault).into());
                };
                let made = whole(signature.as_bytes())?;
                let (ca, signature) = (name.to_string(), signature.as_bytes().to_vec());
                self.register.record_rollover(Event::CaCertificateSigned(CaCertificateSigned { ca, signature }))?;
                made
            }
        };
        made.require_key(pki, &key)?;
        self.put(&made, path)?;
        Ok(made)
    }

    fn put(&mut self, made: &CaCertificate, path: PathBuf) -> Result<(), PkiError> {
        if path.exists() {
            let is_it = fs::read_to_string(&path).is_ok_and(|standing| standing == pki::pem_of([made.der.as_slice()]));
            let problem = "it is not the certificate that the CA's journal has".to_owned();
            return if is_it { Ok(()) } else { Err(PkiError::DoesNotFit { path, problem }) };
        }
        pki::write(&self.settings.pki, &made.name, &made.der)?;
        crash::point("ca.rollover.write.done");
        self.made.push(format!("certificate {}", path.display()));
        Ok(())
    }
}

/// The issuers of the generations before this one, as records name them.
fn issuers_before(settings: &AuthoritySettings, generation: u32) -> BTreeSet<String> {
    let before = |old: u32| settings.issuers.iter().map(move |issuer| issuer.name.in_generation(old).to_string());
    (1..generation).flat_map(before).collect()
}

fn status(
    settings: &AuthoritySettings,
    register: &JournaledRegister,
    generations: Generations,
    now: Timestamp,
) -> Result<RolloverStatus, RolloverError> {
    let named = |generation: u32, ca: &CaSettings| {
        let of = generation::settings_of(&settings.pki, ca, generation)?;
        Ok::<_, PkiError>((of.name.to_string(), of.common_name.to_string()))
    };
    let standing = match generations.oldest < generations.issuing {
        true => Some(register.standing_under(&issuers_before(settings, generations.issuing), now)?.count),
        false => None,
    };
    Ok(RolloverStatus {
        generations,
        roots: generations.trusted().map(|one| named(one, &settings.root)).collect::<Result<_, _>>()?,
        issuers: settings.issuers.iter().map(|ca| named(generations.issuing, ca)).collect::<Result<_, _>>()?,
        standing,
    })
}
