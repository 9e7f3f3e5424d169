//! The CA's signing keys: one thread that owns the keystore, and signatures that count only once they verify.

use std::{sync::Arc, thread};

use issuance::{Fault, FaultKind, KeyLocation, Keystore, PublicKey};
use tokio::sync::{mpsc, oneshot};

/// Batches that may wait for the token. Each waiting one is at most 256 TBSCertificates; more would only grow the wait
/// beyond what a station's deadline allows.
const WAITING_MAX: usize = 64;

/// A signature that verified with the CA's public key over the bytes it was asked for. Only this file makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedSignature(Vec<u8>);

impl VerifiedSignature {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Signs in one visit to the hardware, and verifies each signature.
pub(crate) fn sign_verified(
    keystore: &mut dyn Keystore,
    location: &KeyLocation,
    key: &PublicKey,
    messages: &[Vec<u8>],
) -> Result<Vec<VerifiedSignature>, Fault> {
    verify(keystore.sign(location, messages)?, key, messages)
}

fn verify(signatures: Vec<Vec<u8>>, key: &PublicKey, messages: &[Vec<u8>]) -> Result<Vec<VerifiedSignature>, Fault> {
    if signatures.len() != messages.len() {
        let act = format!("the token gave {} signatures for {} messages", signatures.len(), messages.len());
        return Err(Fault::new(FaultKind::Mismatch, act));
    }
    if messages.iter().zip(&signatures).any(|(message, signature)| !key.verifies(message, signature)) {
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
    jobs: mpsc::Sender<Job>,
}

struct Job {
    location: KeyLocation,
    messages: Arc<[Vec<u8>]>,
    reply: oneshot::Sender<Result<Vec<Vec<u8>>, Fault>>,
}

impl Hsm {
    pub(crate) fn start(mut keystore: Box<dyn Keystore>) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING_MAX);
        thread::Builder::new().name("hsm".to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                let signed = keystore.sign(&job.location, &job.messages);
                // Who asked may have gone: then nobody records this signature, and nobody sees it.
                let _ = job.reply.send(signed);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Signs every message with one key, in one visit to the hardware.
    pub(crate) async fn sign(
        &self,
        location: KeyLocation,
        key: PublicKey,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<VerifiedSignature>, Fault> {
        let gone = || Fault::new(FaultKind::WorkerCrashed, "the signing thread has ended");
        let (reply, answer) = oneshot::channel();
        let messages: Arc<[Vec<u8>]> = messages.into();
        self.jobs.send(Job { location, messages: messages.clone(), reply }).await.map_err(|_| gone())?;
        let signed = answer.await.map_err(|_| gone())??;
        // A verification costs more than a signature: it must not keep the token waiting.
        tokio::task::spawn_blocking(move || verify(signed, &key, &messages)).await.map_err(|_| gone())?
    }
}
