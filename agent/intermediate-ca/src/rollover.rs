//! A root's rollover in three steps, each at a time that people choose: the new root into every bundle, then issuers under
//! it, then the old root out. The CA does not run meanwhile; what stands after each step is what the next `serve` follows.
//!
//! Key, plan, signature, file, step: each is looked for before it is made, so that a step killed anywhere and run again
//! completes what is missing and makes nothing twice.

mod step;

use std::{collections::BTreeSet, fs, path::PathBuf};

use issuance::{Fault, FaultKind, Keystore, PublicKey, Timestamp};
use journal::{Journal, LogError, Projections, TransparencyLog};
use service::{clock::Clock, crash};
use tracing::info;

use crate::{
    carry::uncarried,
    ceremony, certificate,
    generation::{self, Generations},
    hsm::{self, Signer},
    init,
    init::InitError,
    journaled::{self, JournaledRegister},
    pki::{self, CaCertificate, PkiError, moment_text},
    profile::{AuthoritySettings, CaSettings, contradictions, sentences},
    records::{CaCertificatePlanned, CaCertificateSigned, CaProjection, Event, RolloverStepped},
    register::Register as _,
};

pub use step::{Order, RolledOver, RolloverError, RolloverStatus, RolloverStep};

/// Does a step of a rollover, or what is missing of it. Blocks.
///
/// # Errors
/// [`RolloverError`]: among them a wrong order, with what to do first.
pub fn rollover(
    settings: &AuthoritySettings,
    keystore: &mut dyn Keystore,
    clock: Clock,
    step: RolloverStep,
    by: Order<'_>,
) -> Result<RolledOver, RolloverError> {
    let contradictions = contradictions(&settings.root, &settings.issuers, &settings.profiles);
    if !contradictions.is_empty() {
        return Err(RolloverError::Contradiction(sentences(contradictions)));
    }
    if !settings.root.offline && !by.brought.is_empty() {
        return Err(InitError::NotOffline.into());
    }
    let _lock = init::lock(&settings.pki)?;
    let (mut register, log) = open(settings, clock.clone())?;
    let done = match register.clock_wrong()? {
        None => {
            let (now, register) = (Timestamp(clock.best()), &mut register);
            Rollover { settings, keystore, register, now, brought: by.brought, made: Vec::new() }
                .run(step, by.claimed_by)
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
    brought: &'a [Vec<u8>],
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
                self.make_root(&of(&settings.root, next.newest)?)?;
                Ok(0)
            }
            RolloverStep::NewIssuers => {
                let root = self.make_root(&of(&settings.root, next.issuing)?)?;
                let (mut issuers, mut awaited) = (Vec::new(), Vec::new());
                for issuer in &settings.issuers {
                    let issuer = of(issuer, next.issuing)?;
                    if !settings.root.offline {
                        issuers.push(self.make(&issuer, Some(&root))?);
                        continue;
                    }
                    match self.take(&issuer, &root)? {
                        Ok(taken) => issuers.push(taken),
                        Err(request) => awaited.push(request),
                    }
                }
                if !awaited.is_empty() {
                    let command = format!("intermediate-ca rollover {}", step.name());
                    let words = ceremony::asked(&awaited, self.brought.len(), &command);
                    return Err(InitError::Awaited(words).into());
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

    /// The root of the new generation: made, or, where its key is elsewhere, taken from what was brought.
    fn make_root(&mut self, ca: &CaSettings) -> Result<CaCertificate, RolloverError> {
        if !ca.offline {
            return self.make(ca, None);
        }
        let taken = match self.recorded(ca, None)? {
            Some(taken) => taken,
            None => {
                let brought = ceremony::root(self.brought, ca)?;
                let taken = brought.ok_or_else(|| InitError::RootAway { common_name: ca.common_name.to_string() })?;
                self.record(&taken)?;
                taken
            }
        };
        self.put(&taken, pki::path_of(&self.settings.pki, &ca.name))?;
        Ok(taken)
    }

    /// An issuer under a root whose key is elsewhere; the inner error is the request that awaits its certificate.
    fn take(&mut self, ca: &CaSettings, root: &CaCertificate) -> Result<Result<CaCertificate, PathBuf>, RolloverError> {
        let pki = &self.settings.pki;
        let recorded = self.recorded(ca, Some(root))?;
        let key = self.key_of(ca, recorded.is_some())?;
        let taken = match recorded {
            Some(taken) => taken,
            None => match ceremony::issuer(self.brought, ca, &key, root)? {
                Some(taken) => {
                    self.record(&taken)?;
                    taken
                }
                None => return Ok(Err(ceremony::export(pki, ca, &key, self.keystore)?)),
            },
        };
        taken.require_key(pki, &key)?;
        self.put(&taken, pki::path_of(pki, &ca.name))?;
        Ok(Ok(taken))
    }

    /// What the journal has of a certificate that was brought.
    fn recorded(&self, ca: &CaSettings, root: Option<&CaCertificate>) -> Result<Option<CaCertificate>, RolloverError> {
        let Some(record) = self.register.ca_certificate(&ca.name)? else { return Ok(None) };
        let Some(signature) = record.signature else { return Ok(None) };
        let der = certificate::assemble(&record.tbs_certificate, &signature)
            .map_err(|source| InitError::Assemble { name: ca.name.clone(), source })?;
        let unfit = |problem| InitError::Unfit { name: ca.name.clone(), problem };
        Ok(Some(CaCertificate::parse(ca, &der, root).map_err(unfit)?))
    }

    /// Records a certificate that was brought, as if it had been made here.
    fn record(&mut self, taken: &CaCertificate) -> Result<(), RolloverError> {
        let ca = taken.name.to_string();
        let (tbs_certificate, signature) = certificate::taken_apart(&taken.der).ok_or_else(|| InitError::Brought {
            name: taken.name.clone(),
            problem: "its two signature algorithms differ".to_owned(),
        })?;
        let key_sha256 = taken.public_key.sha256().to_vec();
        let planned = CaCertificatePlanned { ca: ca.clone(), tbs_certificate, key_sha256 };
        self.register.record_rollover(Event::CaCertificatePlanned(planned))?;
        self.register.record_rollover(Event::CaCertificateSigned(CaCertificateSigned { ca, signature }))?;
        crash::point("ca.ceremony.import.done");
        Ok(())
    }

    /// The key of one CA of the new generation; `is_planned` says that there was one before.
    fn key_of(&mut self, ca: &CaSettings, is_planned: bool) -> Result<PublicKey, RolloverError> {
        let (name, location) = (&ca.name, ca.name.key_location());
        let key = match self.keystore.find_key(&location).map_err(InitError::Token)? {
            Some(key) => key,
            None if is_planned => {
                let path = pki::path_of(&self.settings.pki, name);
                return Err(InitError::KeyGone { path, name: name.clone() }.into());
            }
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
        Ok(key)
    }

    /// Makes what is missing of one CA of the new generation. `root` is `None` for the root itself.
    fn make(&mut self, ca: &CaSettings, root: Option<&CaCertificate>) -> Result<CaCertificate, RolloverError> {
        let (pki, name) = (&self.settings.pki, &ca.name);
        let path = pki::path_of(pki, name);
        let record = self.register.ca_certificate(name)?;
        let key = self.key_of(ca, record.is_some())?;
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
                let signer = root.map_or_else(|| Signer::own(name, &key), CaCertificate::signer);
                let one = std::slice::from_ref(&tbs);
                crash::point("ca.rollover.sign.intended");
                let signatures = hsm::sign_verified(self.keystore, &signer, one).map_err(InitError::Token)?;
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
