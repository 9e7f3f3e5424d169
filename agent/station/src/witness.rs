//! Takes checkpoints of the journal to a witness, and stops the station when the witness has seen another history: a
//! disk that was restored from last week, or a record that was changed.

use std::{sync::Arc, time::Duration};

use journal::{Note, Purpose, Signature, TransparencyLog, VerifyingKey};
use service::shutdown::Shutdown;
use tracing::{debug, info, warn};

use crate::{
    board::Board,
    connector::{Witnessed, Witnessing},
};

/// How often it is looked whether there is a checkpoint that was not witnessed. Checkpoints come each minute or so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A witness that does not answer is asked again after this long: the line goes on without it.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends each new checkpoint until shutdown, or until the witness contradicts one.
pub async fn run(log: TransparencyLog, witness: impl Witnessing, board: Arc<Board>, shutdown: Shutdown) {
    let mut stop = std::pin::pin!(shutdown.requested());
    let (mut witnessed, mut silent) = (None, false);
    loop {
        let (checkpoint, note) = log.newest();
        let mut pause = LOOK_EVERY;
        if witnessed != Some(checkpoint.size) {
            let sent = send(&log, &witness, witnessed.unwrap_or(0));
            let outcome = tokio::select! {
                () = &mut stop => return,
                outcome = sent => outcome,
            };
            match outcome {
                Ok(Told::Kept(size)) => {
                    if silent || witnessed.is_none() {
                        info!(size, "the CA cosigned the journal's checkpoint");
                    }
                    (witnessed, silent) = (Some(size), false);
                }
                Ok(Told::Contradicted(message)) => {
                    return board.halt(&format!(
                        "The CA contradicts this station's journal: {message}. Call the administrator: its disk must not \
                         be used until that is explained."
                    ));
                }
                Err(wrong) => {
                    // Said once: the line goes on, and the link's state is shown elsewhere.
                    if silent {
                        debug!(wrong, "the checkpoint was not witnessed");
                    } else {
                        warn!(wrong, size = checkpoint.size, "the checkpoint was not witnessed; it is tried again");
                    }
                    (silent, pause) = (true, PAUSE);
                }
            }
        }
        drop(note);
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

enum Told {
    /// The checkpoint of so many entries bears the witness's signature.
    Kept(u64),
    Contradicted(String),
}

/// Sends the newest checkpoint; when the proof must begin elsewhere, once more.
async fn send(log: &TransparencyLog, witness: &impl Witnessing, mut old: u64) -> Result<Told, String> {
    for _ in 0..2 {
        let (checkpoint, note) = log.newest();
        let proof = {
            let (log, checkpoint) = (log.clone(), checkpoint.clone());
            let proof = tokio::task::spawn_blocking(move || log.consistency(old, &checkpoint)).await;
            proof.map_err(|error| error.to_string())?.map_err(|error| service::in_full(&error))?
        };
        let answer = witness.cosign(&note, log.key(), old, &proof).await;
        match answer.map_err(|unanswered| unanswered.message)? {
            Witnessed::Cosigned { signature, key } => {
                let (cosignature, by) = check(&note, &signature, &key)?;
                debug!(by, size = checkpoint.size, "cosigned");
                let log = log.clone();
                let kept = tokio::task::spawn_blocking(move || log.keep_cosignature(note, cosignature)).await;
                kept.map_err(|error| error.to_string())?.map_err(|error| service::in_full(&error))?;
                return Ok(Told::Kept(checkpoint.size));
            }
            Witnessed::ProofFrom(seen) => old = seen,
            Witnessed::Contradicted(message) => return Ok(Told::Contradicted(message)),
        }
    }
    Err("the witness asks for one proof after another".to_owned())
}

/// A line that its key does not bear out is not kept. The key is the one the CA sent over mutual TLS.
fn check(note: &Note, signature: &str, key: &str) -> Result<(Signature, String), String> {
    let wrong = || "the CA's cosignature does not verify".to_owned();
    let cosignature = Signature::parse(signature).ok_or_else(wrong)?;
    let verifying = VerifyingKey::parse(key).filter(|key| key.purpose() == Purpose::Witness).ok_or_else(wrong)?;
    let mut cosigned = note.clone();
    cosigned.add(cosignature.clone());
    let by = verifying.name().to_owned();
    cosigned.cosigned_at(&verifying).map(|_| (cosignature, by)).ok_or_else(wrong)
}
