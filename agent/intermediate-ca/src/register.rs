//! The register: who holds which name, key and certificate serial, and what was planned and signed for each issuance.
//!
//! One thread owns it, so that "is it free?" and "take it" are one act. What waited during the last sync goes to the disk
//! with the next: many callers share one.

use std::{io, sync::Arc, thread};

use issuance::{CommonName, IssuanceId, ProfileName, device::AttestationKey, public_key::Hash};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use crate::{
    callers::{CallerSaid, Disabled},
    certificate,
    hsm::VerifiedSignature,
    lint,
    lots::{Lot, LotAnswer, LotQuestion, LotRefused, LotSaid},
    pki::CaCertificate,
    plan::{Later, Proposal, Rules},
    records::{CrlPlanned, CrlSigned, RevocationRow},
    refusal::Refusal,
    revocation::{NotRevoked, Revocation, Revoked},
};

/// What the register is to the CA. A shared database can implement it as well.
pub(crate) trait Register: Send {
    /// Judges each proposal against everything ever issued, in order, and reserves what is free. When it returns, every
    /// plan and every refusal in the answer is on the disk.
    fn reserve(&mut self, proposals: Vec<Proposal>) -> Result<Vec<Reservation>, RegisterError>;

    /// Records signatures. Answers with the recorded ones, in order: the first signature of a plan stays for ever, and
    /// one that comes later is thrown away. When it returns, each is on the disk.
    fn commit(&mut self, signed: Vec<Signed>) -> Result<Vec<Recorded>, RegisterError>;

    /// Revokes. When it returns, each revocation in the answer is on the disk.
    fn revoke(&mut self, by: &str, revocation: &Revocation) -> Result<Result<Vec<Revoked>, NotRevoked>, RegisterError>;

    /// Records which certificates are verified on their devices, and revokes what they supersede. When it returns, all of
    /// that is on the disk.
    fn confirm(&mut self, by: &str, confirmations: &[Confirmation]) -> Result<Vec<Result<(), Refusal>>, RegisterError>;

    /// Does what is said of a lot. When it returns, the answer is on the disk.
    fn tell_lot(&mut self, said: LotSaid) -> Result<Result<Lot, LotRefused>, RegisterError>;

    /// Tells of lots.
    fn tell_of_lots(&mut self, question: LotQuestion) -> Result<LotAnswer, RegisterError>;

    /// What the next CRL of an issuer is made of.
    fn crl_basis(&mut self, list: &str, issuer: &str) -> Result<CrlBasis, RegisterError>;

    /// Records a CRL's intent or outcome. When it returns, it is on the disk.
    fn record_crl(&mut self, event: CrlEvent) -> Result<(), RegisterError>;

    /// What is known of a certificate that this CA planned, by its certificate serial.
    fn planned_with_serial(&mut self, certificate_serial: &[u8]) -> Result<Option<Held>, RegisterError>;

    /// The newest issuance that holds a CN under a profile.
    fn holder_of(&mut self, profile: &ProfileName, common_name: &CommonName) -> Result<Option<Held>, RegisterError>;

    /// Disables or enables a caller. When it returns, that is on the disk.
    fn tell_caller(&mut self, said: CallerSaid) -> Result<Option<Disabled>, RegisterError>;

    /// Takes nothing more from now on, because of what the words say; that is the answer, too.
    fn halt(&mut self, words: String) -> Result<(), RegisterError>;

    /// Last sync, then everything is closed.
    fn close(&mut self) -> Result<(), RegisterError>;
}

/// What became of a proposal.
#[derive(Debug)]
pub(crate) enum Reservation {
    /// Signed before: this is the answer, for ever.
    Issued(Recorded),
    /// On the disk, to be signed.
    Planned(Planned),
    /// The same, from an earlier call, perhaps of an earlier run: whose issuer may be gone since.
    Resumed(Planned),
    Refused(Refusal),
    Deferred(Later),
}

/// A plan on the disk that has no signature yet.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) issuance: IssuanceId,
    pub(crate) issuer: String,
    pub(crate) certificate_serial: Vec<u8>,
    pub(crate) tbs_certificate: Vec<u8>,
    /// For whom alone its certificate may be answered, where that was planned.
    pub(crate) seal: Option<Seal>,
}

impl Planned {
    /// Whether it was made for this issuer: its name and its key.
    pub(crate) fn is_of(&self, issuer: &CaCertificate) -> bool {
        lint::is_issued_by(&self.tbs_certificate, issuer)
    }

    /// The hash that the recorded bytes say they are signed with; `None` without the issuer that they were planned for.
    pub(crate) fn hash(&self, rules: &Rules) -> Option<Hash> {
        let issuer = rules.issuer(&self.issuer)?;
        certificate::hash_of(&self.tbs_certificate, &issuer.public_key)
    }
}

/// A plan and its signature.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) planned: Planned,
    pub(crate) signature: VerifiedSignature,
}

/// What is on the disk: only this is ever answered.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) issuer: String,
    pub(crate) tbs_certificate: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// For whom alone it may be answered, where that was planned.
    pub(crate) seal: Option<Seal>,
}

/// The TPM that was verified when the certificate was planned, and what it asked for. Whatever a repeated request brings,
/// and whatever the profile says by then, the answer is for this one.
#[derive(Debug, Clone)]
pub(crate) struct Seal {
    pub(crate) key: AttestationKey,
    pub(crate) issuance: IssuanceId,
    pub(crate) request_sha256: [u8; 32],
}

/// A certificate that a station verified on its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The issuance that it came from.
    pub issuance: IssuanceId,
    /// SHA-256 of what was read from the device.
    pub certificate_sha256: [u8; 32],
}

/// What the next CRL of an issuer is made of.
#[derive(Debug)]
pub(crate) struct CrlBasis {
    /// The last number that was planned for the list; 0 for none.
    pub(crate) last_number: u64,
    /// What is wrong with the clock, when something is.
    pub(crate) clock: Option<service::clock::Wrong>,
    /// Certificate serials with what the list says of them, in the serials' order.
    pub(crate) revoked: Vec<(Vec<u8>, RevocationRow)>,
}

/// An issuance of this CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) issuance: IssuanceId,
    pub(crate) device_serial: String,
    pub(crate) profile: String,
    pub(crate) lot: String,
    pub(crate) common_name: String,
    /// Of the certificate; `None` before it is signed.
    pub(crate) certificate_sha256: Option<[u8; 32]>,
    pub(crate) revoked: bool,
}

/// A step in a CRL's making.
#[derive(Debug)]
pub(crate) enum CrlEvent {
    Planned(CrlPlanned),
    Signed(CrlSigned),
}

/// The register cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("the journal failed")]
    Journal(#[from] journal::JournalError),
    #[error("the register's rows do not fit the journal: {0}; move the directory `projections` away, it is rebuilt")]
    Rows(String),
    /// Nothing of it was recorded, and everything else goes on.
    #[error("this request cannot be recorded: {0}")]
    Unfit(String),
    /// The journal is not what its witness saw.
    #[error("{0}")]
    Halted(String),
    #[error("the register stopped after an earlier failure")]
    Stopped,
}

/// Whether the CA can record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It can.
    Serving,
    /// It cannot, until its disk is well again and it is started anew; with the reason.
    DiskFailed(Arc<str>),
    /// It cannot, and will not until it is started again; with the reason.
    Failed(Arc<str>),
}

impl Condition {
    fn of(failure: &RegisterError) -> Self {
        match failure {
            RegisterError::Journal(error) if error.is_of_disk() => {
                let (cause, remedy) = (service::in_full(failure), error.remedy());
                Self::DiskFailed(format!("{cause}. {remedy} The CA goes on by itself within seconds").into())
            }
            failure => Self::Failed(service::in_full(failure).into()),
        }
    }

    /// What whoever cannot be answered is told.
    fn unavailable(&self) -> Unavailable {
        match self {
            Self::DiskFailed(reason) | Self::Failed(reason) => Unavailable(reason.clone()),
            Self::Serving => Unavailable("it is shutting down".into()),
        }
    }
}

/// Nothing can be recorded, so nothing is issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the CA cannot record, so it issues nothing: {0}")]
pub struct Unavailable(pub(crate) Arc<str>);

/// Calls that may wait for the register and share its next sync; more wait to get there.
const WAITING_MAX: usize = 256;

/// Requests that share one sync: enough to hide the sync behind the work, a few MiB in memory.
const GROUP_MAX: usize = 1_024;

type Reply<T> = oneshot::Sender<Result<T, Unavailable>>;

/// Something that is rare enough for a sync of its own; gives the failure, when the register failed.
type Act = Box<dyn FnOnce(&mut dyn Register) -> Option<Condition> + Send>;

enum Work {
    Reserve(Vec<Proposal>, Reply<Vec<Reservation>>),
    Commit(Vec<Signed>, Reply<Vec<Recorded>>),
    Act(Act),
    Close(Reply<()>),
}

/// A handle to the register's thread.
#[derive(Clone)]
pub(crate) struct RegisterHandle {
    work: mpsc::Sender<Work>,
    condition: watch::Receiver<Condition>,
}

impl RegisterHandle {
    pub(crate) fn start(register: Box<dyn Register>) -> io::Result<Self> {
        let (work, queue) = mpsc::channel(WAITING_MAX);
        let (condition_sender, condition) = watch::channel(Condition::Serving);
        thread::Builder::new().name("register".to_owned()).spawn(move || run(register, queue, &condition_sender))?;
        Ok(Self { work, condition })
    }

    pub(crate) async fn reserve(&self, proposals: Vec<Proposal>) -> Result<Vec<Reservation>, Unavailable> {
        self.ask(|reply| Work::Reserve(proposals, reply)).await
    }

    pub(crate) async fn commit(&self, signed: Vec<Signed>) -> Result<Vec<Recorded>, Unavailable> {
        self.ask(|reply| Work::Commit(signed, reply)).await
    }

    /// Has something done by the register's thread.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Register) -> Result<T, RegisterError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.ask(|reply| {
            Work::Act(Box::new(move |register| match call(register) {
                Ok(answer) => {
                    // Who asked may have gone.
                    let _ = reply.send(Ok(answer));
                    None
                }
                Err(RegisterError::Unfit(wrong)) => {
                    let _ = reply.send(Err(unfit(&wrong)));
                    None
                }
                Err(failure) => {
                    let condition = Condition::of(&failure);
                    let _ = reply.send(Err(condition.unavailable()));
                    Some(condition)
                }
            }))
        })
        .await
    }

    pub(crate) async fn close(&self) -> Result<(), Unavailable> {
        self.ask(Work::Close).await
    }

    pub(crate) fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    async fn ask<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.work.send(work(reply)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> Unavailable {
        self.condition.borrow().unavailable()
    }
}

/// Takes what waits, and gives each kind to the register as one group.
fn run(mut register: Box<dyn Register>, mut queue: mpsc::Receiver<Work>, condition: &watch::Sender<Condition>) {
    while let Some(first) = queue.blocking_recv() {
        let (mut reserves, mut commits, mut acts, mut close) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Reserve(proposals, reply) => reserves.push((proposals, reply)),
                Work::Commit(signed, reply) => commits.push((signed, reply)),
                Work::Act(act) => acts.push(act),
                Work::Close(reply) => close = Some(reply),
            }
            let waiting: usize = reserves.iter().map(|(part, _): &(Vec<_>, _)| part.len()).sum();
            next = if waiting < GROUP_MAX { queue.try_recv().ok() } else { None };
        }
        // Signatures first: somebody's device waits for them.
        serve(commits, condition, |signed| register.commit(signed));
        for act in acts {
            if let Some(failed) = act(register.as_mut()) {
                fail(condition, failed);
            }
        }
        serve(reserves, condition, |proposals| register.reserve(proposals));
        if let Some(reply) = close {
            let closed = register.close();
            drop(register);
            let _ = reply.send(closed.map_err(|error| Unavailable(service::in_full(&error).into())));
            return;
        }
    }
    if let Err(error) = register.close() {
        error!(
            error = service::in_full(&error),
            "the register did not close in order; its rows are rebuilt at the next start"
        );
    }
}

/// One call for everybody who waits; each gets the answers to its own part.
fn serve<T, A>(
    waiting: Vec<(Vec<T>, Reply<Vec<A>>)>,
    condition: &watch::Sender<Condition>,
    call: impl FnOnce(Vec<T>) -> Result<Vec<A>, RegisterError>,
) {
    if waiting.is_empty() {
        return;
    }
    let (mut all, mut replies) = (Vec::new(), Vec::new());
    for (part, reply) in waiting {
        replies.push((part.len(), reply));
        all.extend(part);
    }
    match call(all) {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for (count, reply) in replies {
                // Who asked may have gone: what it reserved waits for it.
                let _ = reply.send(Ok(answers.by_ref().take(count).collect()));
            }
        }
        Err(failure) => {
            let unavailable = match &failure {
                RegisterError::Unfit(wrong) => unfit(wrong),
                failure => fail(condition, Condition::of(failure)),
            };
            for (_, reply) in replies {
                let _ = reply.send(Err(unavailable.clone()));
            }
        }
    }
}

fn unfit(wrong: &str) -> Unavailable {
    Unavailable(format!("this request cannot be recorded: {wrong}").into())
}

/// The first failure is the one to tell: what comes after it only follows from it.
fn fail(condition: &watch::Sender<Condition>, failed: Condition) -> Unavailable {
    condition.send_if_modified(|condition| {
        let first = *condition == Condition::Serving;
        if first {
            error!(reason = %failed.unavailable().0, "the CA cannot record and issues nothing more");
            *condition = failed;
        }
        first
    });
    condition.borrow().unavailable()
}
