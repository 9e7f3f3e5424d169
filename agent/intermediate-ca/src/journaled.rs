//! The register on the journal: rows answer "is it free?", and every answer is on the disk before it is given.

mod callers;
mod est;
mod lots;
mod place;
mod revocation;
mod rollover;
mod stage;
mod supersede;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use issuance::{CommonName, IssuanceId, ProfileName, Timestamp, public_key::hex};
use journal::{Journal, JournalError, Projections};
use service::{
    clock::{Clock, Wrong},
    crash, restart,
};
use tracing::error;

use self::stage::Stage;
use crate::{
    callers::{CallerSaid, Disabled},
    lots::{Lot, LotAnswer, LotQuestion, LotRefused, LotSaid, LotSettings},
    plan::{Later, Plan, Proposal, Verdict},
    records::{
        self, CLOCK, CaProjection, CaRecord, CertificatePlanned, CertificateSigned, Event, KEYS, KeyRow, NAMES, NEWEST,
        PLANNED, PlannedRow, REVOKED, Reserved, SERIALS, SIGNED, UNSIGNED,
    },
    refusal::{Reason, Refusal},
    register::{
        Confirmation, CrlBasis, CrlEvent, Held, Planned, Recorded, Register, RegisterError, Reservation, Seal, Signed,
    },
    residency,
    revocation::{NotRevoked, Revocation, Revoked},
};

pub(crate) use rollover::{ca_certificate, generations};

/// Called when a revocation is on the disk, whatever brought it.
pub(crate) type OnRevoked = Box<dyn Fn() + Send>;

/// The register of one CA.
pub(crate) struct JournaledRegister {
    journal: Journal,
    projections: Projections<CaProjection>,
    clock: Clock,
    lots: LotSettings,
    /// The devices that authorisations list, by the index of their `LotSet`.
    lists: RefCell<BTreeMap<u64, Arc<BTreeSet<String>>>>,
    on_revoked: OnRevoked,
    stopped: bool,
}

/// What a proposal came to, before the sync.
enum Draft {
    Issued { planned: u64, signed: u64 },
    Resumed { issuance: IssuanceId, planned: u64 },
    Planned(Planned),
    Refused(Refusal),
    Deferred(Later),
}

impl JournaledRegister {
    pub(crate) fn new(
        journal: Journal,
        projections: Projections<CaProjection>,
        clock: Clock,
        lots: LotSettings,
        on_revoked: OnRevoked,
    ) -> Self {
        Self { journal, projections, clock, lots, lists: RefCell::default(), on_revoked, stopped: false }
    }

    /// Plans without a signature, in the order of their issuance ids, after `after`.
    pub(crate) fn unsigned(&self, after: Option<IssuanceId>, limit: usize) -> Result<Vec<Planned>, RegisterError> {
        let after = after.as_ref().map(|id| &id.as_bytes()[..]);
        let rows = self.projections.scan(UNSIGNED, &[], after, false, limit)?;
        rows.iter()
            .map(|(key, _)| {
                let id = IssuanceId::from_slice(key).ok_or_else(|| broken("an unsigned row has no issuance id"))?;
                let row = self.projections.get(PLANNED, key)?.as_deref().and_then(PlannedRow::decode);
                let row = row.ok_or_else(|| broken("an unsigned row has no plan"))?;
                to_sign(id, self.read_planned(row.index)?)
            })
            .collect()
    }

    /// What is wrong with the clock, when something is.
    pub(crate) fn clock_wrong(&self) -> Result<Option<Wrong>, RegisterError> {
        self.clock.raise(self.newest()?.0);
        Ok(self.clock.now().err())
    }

    fn newest(&self) -> Result<Timestamp, RegisterError> {
        let row = self.projections.get(CLOCK, NEWEST)?;
        let newest = row.map(|row| records::number(&row).ok_or_else(|| broken("the newest time has no 8 octets")));
        Ok(Timestamp(newest.transpose()?.unwrap_or(0).cast_signed()))
    }

    fn judge(&self, stage: &mut Stage<'_>, proposal: Proposal, clock: Option<Wrong>) -> Result<Draft, RegisterError> {
        if let Some(issuance) = proposal.issuance
            && let Some(row) = stage.get(PLANNED, issuance.as_bytes())?
        {
            let row = PlannedRow::decode(&row).ok_or_else(|| broken("a planned row cannot be read"))?;
            if row.content == proposal.content {
                if stage.get(REVOKED, issuance.as_bytes())?.is_some() {
                    return refuse(stage, &proposal, clock, revocation::no_longer(issuance));
                }
                let planned = row.index;
                return Ok(match stage.get(SIGNED, issuance.as_bytes())? {
                    Some(index) => {
                        let signed = records::number(&index).ok_or_else(|| broken("a signed row cannot be read"))?;
                        Draft::Issued { planned, signed }
                    }
                    None => match clock {
                        Some(wrong) => Draft::Deferred(until_right(wrong)),
                        None => Draft::Resumed { issuance, planned },
                    },
                });
            }
            let message = format!(
                "the issuance {issuance} was used before for another request, device serial, profile or lot: \
                 send that one again, or start a new issuance"
            );
            return refuse(stage, &proposal, clock, Refusal::new(Reason::AlreadyExists, message));
        }
        let plan = match &proposal.verdict {
            Verdict::Plan(plan) => plan,
            Verdict::Refuse(refusal) => return refuse(stage, &proposal, clock, refusal.clone()),
            Verdict::Defer(later) => return Ok(Draft::Deferred(later.clone())),
        };
        if let Some(wrong) = clock {
            return Ok(Draft::Deferred(until_right(wrong)));
        }
        let reserved = match self.reserved(stage, plan)? {
            Ok(reserved) => reserved,
            Err(refusal) => return refuse(stage, &proposal, clock, refusal),
        };
        if stage.get(SERIALS, plan.certificate_serial.as_bytes())?.is_some() {
            let message = "the random certificate serial was used before: send the request again".to_owned();
            return Ok(Draft::Deferred(Later { retry_after: Duration::from_secs(1), message }));
        }
        // The door plans nothing without an issuance id.
        let issuance = proposal.issuance.ok_or_else(|| broken("a plan has no issuance id"))?;
        let event = records::planned(&proposal, plan, &reserved);
        let seal = match &event {
            Event::CertificatePlanned(planned) => seal(Some(issuance), planned)?,
            _ => None,
        };
        match stage.add(Some(issuance), event) {
            // The others of its group are no worse for it.
            Err(RegisterError::Unfit(wrong)) => {
                let message = format!("the CA cannot record this request: {wrong}");
                return refuse(stage, &proposal, clock, Refusal::new(Reason::Unrecordable, message));
            }
            added => added?,
        }
        Ok(Draft::Planned(Planned {
            issuance,
            issuer: plan.issuer.to_string(),
            certificate_serial: plan.certificate_serial.as_bytes().to_vec(),
            tbs_certificate: plan.tbs_certificate.clone(),
            seal,
        }))
    }

    /// What a plan takes: its name, its key, its place in the lot and the issuance that it supersedes.
    fn reserved(&self, stage: &Stage<'_>, plan: &Plan) -> Result<Result<Reserved, Refusal>, RegisterError> {
        let superseded = match self.superseded(stage, plan)? {
            Ok(superseded) => superseded,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let supersedes = superseded.as_ref().map(|superseded| superseded.issuance);
        let key_known = match taken(stage, plan, supersedes)? {
            Ok(key_known) => key_known,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(self.place(stage, plan, superseded.as_ref())?.map(|lot_used| Reserved {
            supersedes,
            generation: superseded.as_ref().map_or(1, |superseded| superseded.generation + 1),
            lot_used,
            key_known,
        }))
    }

    /// A record that is not understood concerns who asks for it, and nobody else.
    fn finish(&self, draft: Draft) -> Result<Reservation, RegisterError> {
        /// Only an administrator installs another release.
        const RELEASE_BACK: Duration = Duration::from_secs(300);
        match self.finish_one(draft) {
            Err(RegisterError::Journal(error @ JournalError::Projection { .. })) => {
                error!(error = service::in_full(&error), "a request cannot be answered");
                Ok(Reservation::Deferred(Later { retry_after: RELEASE_BACK, message: service::in_full(&error) }))
            }
            finished => finished,
        }
    }

    fn finish_one(&self, draft: Draft) -> Result<Reservation, RegisterError> {
        Ok(match draft {
            Draft::Issued { planned, signed } => Reservation::Issued(self.recorded(planned, signed)?),
            Draft::Resumed { issuance, planned } => {
                Reservation::Resumed(to_sign(issuance, self.read_planned(planned)?)?)
            }
            Draft::Planned(planned) => Reservation::Planned(planned),
            Draft::Refused(refusal) => Reservation::Refused(refusal),
            Draft::Deferred(later) => Reservation::Deferred(later),
        })
    }

    fn recorded(&self, planned: u64, signed: u64) -> Result<Recorded, RegisterError> {
        let (record, event) = self.read_record(planned)?;
        let Event::CertificatePlanned(planned) = event else {
            return Err(broken(format!("entry {planned} is not a plan")));
        };
        let seal = seal(IssuanceId::from_slice(&record.issuance), &planned)?;
        match self.read(signed)? {
            Event::CertificateSigned(signed) if signed.certificate_serial == planned.certificate_serial => {
                Ok(Recorded {
                    issuer: planned.issuer,
                    tbs_certificate: planned.tbs_certificate,
                    signature: signed.signature,
                    seal,
                })
            }
            _ => Err(broken(format!("entry {signed} is not the signature of its plan"))),
        }
    }

    fn read_planned(&self, index: u64) -> Result<CertificatePlanned, RegisterError> {
        match self.read(index)? {
            Event::CertificatePlanned(planned) => Ok(planned),
            _ => Err(broken(format!("entry {index} is not a plan"))),
        }
    }

    fn read(&self, index: u64) -> Result<Event, RegisterError> {
        Ok(self.read_record(index)?.1)
    }

    fn read_record(&self, index: u64) -> Result<(CaRecord, Event), RegisterError> {
        let entries = self.journal.read(index..index + 1)?;
        let entry = entries.first().ok_or_else(|| broken(format!("the journal has no entry {index}")))?;
        Ok(records::decode(entry).map_err(|problem| self.journal.not_understood(index, problem))?)
    }

    fn reserve_all(&self, proposals: Vec<Proposal>) -> Result<Vec<Reservation>, RegisterError> {
        let mut stage = Stage::new(self)?;
        let clock = self.clock_wrong()?;
        let drafts: Vec<Draft> = proposals
            .into_iter()
            .map(|proposal| self.judge(&mut stage, proposal, clock))
            .collect::<Result<_, RegisterError>>()?;
        stage.sync()?;
        drafts.into_iter().map(|draft| self.finish(draft)).collect()
    }

    fn commit_all(&self, signed: Vec<Signed>) -> Result<Vec<Recorded>, RegisterError> {
        enum Draft {
            /// What this stage records.
            Now(Recorded),
            /// Somebody was first.
            Before { planned: u64, signed: u64 },
        }
        let mut stage = Stage::new(self)?;
        let mut drafts = Vec::with_capacity(signed.len());
        for Signed { planned, signature } in signed {
            let id = planned.issuance.as_bytes();
            // Only what is signed already, or revoked since, is looked up further.
            let before = match stage.get(UNSIGNED, id)? {
                Some(_) => None,
                None => stage.get(SIGNED, id)?,
            };
            drafts.push(if let Some(index) = before {
                let row = stage.get(PLANNED, id)?.as_deref().and_then(PlannedRow::decode);
                let row = row.ok_or_else(|| broken("a signature has no plan"))?;
                let signed = records::number(&index).ok_or_else(|| broken("a signed row cannot be read"))?;
                Draft::Before { planned: row.index, signed }
            } else {
                let Planned { issuance, issuer, certificate_serial, tbs_certificate, seal } = planned;
                let signature = signature.into_bytes();
                let event =
                    Event::CertificateSigned(CertificateSigned { certificate_serial, signature: signature.clone() });
                stage.add(Some(issuance), event)?;
                Draft::Now(Recorded { issuer, tbs_certificate, signature, seal })
            });
        }
        stage.sync()?;
        let recorded = |draft| match draft {
            Draft::Now(recorded) => Ok(recorded),
            Draft::Before { planned, signed } => self.recorded(planned, signed),
        };
        drafts.into_iter().map(recorded).collect()
    }

    /// After a failure nobody knows what is on the disk: only opening the journal again tells.
    fn guard<T>(&mut self, call: impl FnOnce(&Self) -> Result<T, RegisterError>) -> Result<T, RegisterError> {
        if self.stopped {
            return Err(RegisterError::Stopped);
        }
        let result = call(self);
        self.stopped = result.as_ref().is_err_and(|error| !matches!(error, RegisterError::Unfit(_)));
        result
    }
}

impl Register for JournaledRegister {
    fn reserve(&mut self, proposals: Vec<Proposal>) -> Result<Vec<Reservation>, RegisterError> {
        self.guard(|register| register.reserve_all(proposals))
    }

    fn commit(&mut self, signed: Vec<Signed>) -> Result<Vec<Recorded>, RegisterError> {
        self.guard(|register| register.commit_all(signed))
    }

    fn revoke(&mut self, by: &str, revocation: &Revocation) -> Result<Result<Vec<Revoked>, NotRevoked>, RegisterError> {
        self.guard(|register| register.revoke_all(by, revocation))
    }

    fn confirm(&mut self, by: &str, confirmations: &[Confirmation]) -> Result<Vec<Result<(), Refusal>>, RegisterError> {
        self.guard(|register| register.confirm_all(by, confirmations))
    }

    fn tell_lot(&mut self, said: LotSaid) -> Result<Result<Lot, LotRefused>, RegisterError> {
        self.guard(|register| register.say_of_lot(said))
    }

    fn tell_of_lots(&mut self, question: LotQuestion) -> Result<LotAnswer, RegisterError> {
        self.guard(|register| register.answer_of_lots(question))
    }

    fn crl_basis(&mut self, list: &str, issuer: &str) -> Result<CrlBasis, RegisterError> {
        self.guard(|register| register.basis_of(list, issuer))
    }

    fn record_crl(&mut self, event: CrlEvent) -> Result<(), RegisterError> {
        self.guard(|register| register.record(event))
    }

    fn planned_with_serial(&mut self, certificate_serial: &[u8]) -> Result<Option<Held>, RegisterError> {
        self.guard(|register| register.held_by_serial(certificate_serial))
    }

    fn holder_of(&mut self, profile: &ProfileName, common_name: &CommonName) -> Result<Option<Held>, RegisterError> {
        self.guard(|register| register.held_by_name(profile, common_name))
    }

    fn tell_caller(&mut self, said: CallerSaid) -> Result<Option<Disabled>, RegisterError> {
        self.guard(|register| register.say_of_caller(said))
    }

    fn halt(&mut self, words: String) -> Result<(), RegisterError> {
        self.guard(|_| Err(RegisterError::Halted(words)))
    }

    fn close(&mut self) -> Result<(), RegisterError> {
        self.stopped = true;
        let rows = self.projections.close();
        crash::point("ca.stop.rows-closed");
        self.journal.close()?;
        crash::point("ca.stop.journal-closed");
        Ok(rows?)
    }
}

/// Whether name and key are free for this plan; they stay taken for ever. A name comes back for the issuance that it is
/// superseded by. Tells whether the key was brought before.
fn taken(
    stage: &Stage<'_>,
    plan: &Plan,
    supersedes: Option<IssuanceId>,
) -> Result<Result<bool, Refusal>, RegisterError> {
    if let Some(first) = stage.get(NAMES, &records::name_key(plan.profile.as_str(), &plan.common_name))? {
        let first = IssuanceId::from_slice(&first).ok_or_else(|| broken("a name's row cannot be read"))?;
        if supersedes != Some(first) {
            return Ok(Err(Refusal::new(
                Reason::CommonNameTaken,
                format!(
                    "the CN {} was given under the profile {} to the issuance {first} (compared without case): \
                     a CN is given once; check the device serial",
                    plan.common_name, plan.profile
                ),
            )));
        }
    }
    let Some(row) = stage.get(KEYS, &plan.key_sha256)? else { return Ok(Ok(false)) };
    let row = KeyRow::decode(&row).ok_or_else(|| broken("a key's row cannot be read"))?;
    if row.belongs_to(&plan.profile, plan.device_serial.as_str()) {
        return Ok(Ok(true));
    }
    Ok(Err(Refusal::new(
        Reason::KeyTaken,
        format!(
            "the public key (SHA-256 {}) belongs to the device {} under the profile {} since the issuance {}: \
             a key serves one device and one profile; generate another",
            hex(&plan.key_sha256),
            row.device_serial,
            row.profile,
            row.issuance
        ),
    )))
}

/// Records a refusal, unless the clock cannot say when.
fn refuse(
    stage: &mut Stage<'_>,
    proposal: &Proposal,
    clock: Option<Wrong>,
    refusal: Refusal,
) -> Result<Draft, RegisterError> {
    if let Some(wrong) = clock {
        return Ok(Draft::Deferred(until_right(wrong)));
    }
    stage.add(proposal.issuance, records::refused(proposal, &refusal))?;
    Ok(Draft::Refused(refusal))
}

fn until_right(wrong: Wrong) -> Later {
    // A clock that was set back by a day is a person's work: then the line is to go on soon, not tomorrow.
    let lag = if let Wrong::Behind(lag) = wrong { lag } else { restart::PAUSE_MOST };
    Later {
        retry_after: lag.clamp(Duration::from_secs(1), restart::PAUSE_MOST),
        message: format!("the CA records and signs nothing while its clock is wrong: {wrong}. {}", wrong.remedy()),
    }
}

/// For whom alone a planned certificate may be answered.
fn seal(issuance: Option<IssuanceId>, planned: &CertificatePlanned) -> Result<Option<Seal>, RegisterError> {
    if planned.residency_activation() != proto::evidence::v1::Activation::Ca {
        return Ok(None);
    }
    let key = planned.residency.as_ref().and_then(|residency| residency.attestation.clone());
    let key = key.map(|attestation| residency::from_wire(attestation).key);
    let request_sha256 = planned.request_sha256.as_slice().try_into().ok();
    match (key, issuance, request_sha256) {
        (Some(key), Some(issuance), Some(request_sha256)) => Ok(Some(Seal { key, issuance, request_sha256 })),
        _ => Err(broken("a plan is to be sealed and does not say for whom")),
    }
}

fn to_sign(issuance: IssuanceId, planned: CertificatePlanned) -> Result<Planned, RegisterError> {
    Ok(Planned {
        issuance,
        seal: seal(Some(issuance), &planned)?,
        issuer: planned.issuer,
        certificate_serial: planned.certificate_serial,
        tbs_certificate: planned.tbs_certificate,
    })
}

fn broken(problem: impl Into<String>) -> RegisterError {
    RegisterError::Rows(problem.into())
}
