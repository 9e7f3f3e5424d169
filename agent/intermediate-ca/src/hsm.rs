//! The CA's signing keys: one thread that owns the keystore, and signatures that count only once they verify.

use std::thread;

use issuance::{Fault, FaultKind, KeyLocation, Keystore, PublicKey, public_key::Hash};
use tokio::sync::{mpsc, oneshot};

use crate::profile::CaName;

/// Calls that may wait for the token and share its next visit; more wait to get there.
const WAITING_MAX: usize = 256;

/// Messages that share a visit: enough that the visit's own cost is lost in them, and 50 ms of a token that signs 20,000
/// times a second, so that the first does not wait long for the last.
const VISIT_MAX: usize = 1_024;

/// A signature that verified with the CA's public key over the bytes it was asked for. Only this file makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedSignature(Vec<u8>);

impl VerifiedSignature {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A key in the token, and the hash that it signs with.
#[derive(Debug, Clone)]
pub(crate) struct Signer<'k> {
    pub(crate) location: KeyLocation,
    pub(crate) key: &'k PublicKey,
    pub(crate) hash: Hash,
}

impl<'k> Signer<'k> {
    /// With the key's own hash.
    pub(crate) fn own(name: &CaName, key: &'k PublicKey) -> Self {
        Self { location: name.key_location(), key, hash: key.algorithm().hash() }
    }

    /// With the hash of a profile.
    pub(crate) fn with(self, hash: Hash) -> Self {
        Self { hash, ..self }
    }

    /// What the keystore is asked for besides its key: nothing, where that is the key's own hash.
    fn task(&self) -> Task {
        let own = self.key.algorithm().hash();
        Task { location: self.location.clone(), hash: Some(self.hash).filter(|hash| *hash != own) }
    }
}

/// What messages must have in common to be signed in one visit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    location: KeyLocation,
    /// Another hash than the key's own.
    hash: Option<Hash>,
}

/// Signs in one visit to the hardware, and verifies each signature.
pub(crate) fn sign_verified(
    keystore: &mut dyn Keystore,
    signer: &Signer<'_>,
    messages: &[Vec<u8>],
) -> Result<Vec<VerifiedSignature>, Fault> {
    verify(signed(keystore, &signer.task(), messages)?, signer.key, signer.hash, messages)
}

/// As many signatures as messages.
fn signed(keystore: &mut dyn Keystore, task: &Task, messages: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
    let signatures = match task.hash {
        None => keystore.sign(&task.location, messages)?,
        Some(hash) => keystore.sign_with(&task.location, hash, messages)?,
    };
    if signatures.len() == messages.len() {
        return Ok(signatures);
    }
    let act = format!("the token gave {} signatures for {} messages", signatures.len(), messages.len());
    Err(Fault::new(FaultKind::Mismatch, act))
}

fn verify(
    signatures: Vec<Vec<u8>>,
    key: &PublicKey,
    hash: Hash,
    messages: &[Vec<u8>],
) -> Result<Vec<VerifiedSignature>, Fault> {
    if messages.iter().zip(&signatures).any(|(message, signature)| !key.verifies_with(hash, message, signature)) {
        return Err(Fault::new(
            FaultKind::Mismatch,
            "a signature of the token does not verify with the CA's certificate",
        ));
    }
    Ok(signatures.into_iter().map(VerifiedSignature).collect())
}

/// What an administrator does about a token that cannot be used at the start.
pub(crate) fn remedy(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::PinRejected => "put the right PIN into pin_file; until then it is not tried again by this process",
        FaultKind::PinLocked => "the token's security officer resets its PIN",
        FaultKind::DeviceAbsent => "check the token's label and environment, and that the HSM is connected",
        FaultKind::Misconfigured | FaultKind::Unsupported => "check the module's path and what it supports",
        FaultKind::LocationOccupied => "two keys share one CKA_ID: remove the one that no certificate belongs to",
        FaultKind::StorageFull => "make room in the token",
        FaultKind::WorkerCrashed | FaultKind::DeadlineExceeded | FaultKind::LinkLost | FaultKind::HardwareFailure => {
            "check the HSM and its module's log, and start again"
        }
        _ => "start again; what stands is kept",
    }
}

/// A handle to the thread; it ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Hsm {
    asks: mpsc::Sender<Ask>,
}

enum Ask {
    Sign(Job),
    /// Whether a key is there and can be reached.
    Look(KeyLocation, oneshot::Sender<Result<Option<PublicKey>, Fault>>),
}

struct Job {
    task: Task,
    messages: Vec<Vec<u8>>,
    reply: oneshot::Sender<Result<Signed, Fault>>,
}

/// Messages and their signatures, in order.
type Signed = (Vec<Vec<u8>>, Vec<Vec<u8>>);

impl Hsm {
    pub(crate) fn start(mut keystore: Box<dyn Keystore>) -> std::io::Result<Self> {
        let (asks, mut queue) = mpsc::channel::<Ask>(WAITING_MAX);
        thread::Builder::new().name("hsm".to_owned()).spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                let (visits, looks) = waiting(first, &mut queue);
                for (task, jobs) in visits {
                    visit(keystore.as_mut(), &task, jobs);
                }
                for (location, reply) in looks {
                    // Who asked may have lost patience.
                    let _ = reply.send(keystore.find_key(&location));
                }
            }
        })?;
        Ok(Self { asks })
    }

    /// How much waits for the next visit.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.asks.max_capacity() - self.asks.capacity()
    }

    /// Looks for a key, after what waits to be signed.
    pub(crate) async fn look(&self, location: KeyLocation) -> Result<Option<PublicKey>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Look(location, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Signs every message with one key, in one visit to the hardware, which others' messages may share.
    pub(crate) async fn sign(
        &self,
        signer: &Signer<'_>,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<VerifiedSignature>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Sign(Job { task: signer.task(), messages, reply })).await.map_err(|_| gone())?;
        let (messages, signed) = answer.await.map_err(|_| gone())??;
        // A verification costs more than a signature: it must not keep the token waiting.
        let (key, hash) = (signer.key.clone(), signer.hash);
        beside(messages.len(), move || verify(signed, &key, hash, &messages)).await.ok_or_else(gone)?
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::WorkerCrashed, "the signing thread has ended")
}

type Visits = Vec<(Task, Vec<Job>)>;
type Looks = Vec<(KeyLocation, oneshot::Sender<Result<Option<PublicKey>, Fault>>)>;

/// What waits for the token: to be signed, by key and hash, each in the order in which it came; and to be looked for.
fn waiting(first: Ask, queue: &mut mpsc::Receiver<Ask>) -> (Visits, Looks) {
    let (mut visits, mut looks): (Visits, Looks) = (Vec::new(), Vec::new());
    let (mut count, mut next) = (0, Some(first));
    while let Some(ask) = next {
        match ask {
            Ask::Sign(job) => {
                count += job.messages.len();
                match visits.iter_mut().find(|(task, _)| *task == job.task) {
                    Some((_, jobs)) => jobs.push(job),
                    None => visits.push((job.task.clone(), vec![job])),
                }
            }
            Ask::Look(location, reply) => looks.push((location, reply)),
        }
        next = if count < VISIT_MAX { queue.try_recv().ok() } else { None };
    }
    (visits, looks)
}

/// One visit for all of them; each gets the signatures of its own messages, or the visit's fault. What the token cannot do
/// for one of them, it may do for the others: then each has a visit of its own.
fn visit(keystore: &mut dyn Keystore, task: &Task, mut jobs: Vec<Job>) {
    let counts: Vec<usize> = jobs.iter().map(|job| job.messages.len()).collect();
    let mut all: Vec<Vec<u8>> = jobs.iter_mut().flat_map(|job| job.messages.drain(..)).collect();
    let mut signed = signed(keystore, task, &all);
    let of_one = matches!(&signed, Err(fault) if matches!(fault.kind, FaultKind::Unsupported | FaultKind::Mismatch));
    let alone = of_one && jobs.len() > 1;
    for (job, count) in jobs.into_iter().zip(counts) {
        let messages: Vec<Vec<u8>> = all.drain(..count).collect();
        let answer = match &mut signed {
            _ if alone => self::signed(keystore, task, &messages),
            Ok(signed) => Ok(signed.drain(..count).collect()),
            Err(fault) => Err(fault.clone()),
        };
        // Who asked may have gone: then nobody records this signature, and nobody sees it.
        let _ = job.reply.send(answer.map(|signatures| (messages, signatures)));
    }
}

/// Runs the processor's work for so many requests: few where they are, for a thread's wake-up costs as much as one of them,
/// more on a thread of their own, so that they do not keep the network's. `None` when it was broken off.
pub(crate) async fn beside<T: Send + 'static>(count: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    /// A request is a tenth of a millisecond, or a whole one with what a TPM showed.
    const FEW: usize = 4;
    if count <= FEW { Some(work()) } else { tokio::task::spawn_blocking(work).await.ok() }
}
