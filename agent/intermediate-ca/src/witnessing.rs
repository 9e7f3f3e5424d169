//! Takes checkpoints of a journal, a station's or a CA's, to the CA that is its witness: a disk that was restored from last
//! week, or a record that was changed, is told by whoever saw the other history.

use std::{pin::pin, time::Duration};

use journal::{Note, Purpose, Signature, TransparencyLog, VerifyingKey};
use proto::ca::v1::{
    self as wire, certificate_authority_service_client::CertificateAuthorityServiceClient,
    cosign_checkpoint_response::Outcome,
};
use service::status;
use tonic::{Request, transport::Channel};
use tracing::{debug, info, warn};

/// How often it is looked whether there is a checkpoint that was not witnessed. Checkpoints come each minute or so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A witness that does not answer is asked again after this long: nobody's work waits for it.
const PAUSE: Duration = Duration::from_secs(10);
/// An end does not wait longer for a witness: a process has 30 s for all of it.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a witness said to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The checkpoint of so many records bears the witness's signature, and that is kept beside it.
    Cosigned(u64),
    /// It contradicts what the witness saw; one sentence.
    Contradicted(String),
}

/// The witness of one journal.
#[derive(Debug, Clone)]
pub struct Witnessing {
    log: TransparencyLog,
    client: CertificateAuthorityServiceClient<Channel>,
    timeout: Duration,
}

impl Witnessing {
    /// Asks the CA at the other end, and waits for each answer at most so long.
    #[must_use]
    pub fn new(log: TransparencyLog, channel: Channel, timeout: Duration) -> Self {
        Self { log, client: CertificateAuthorityServiceClient::new(channel), timeout }
    }

    /// Sends each new checkpoint until `stop`, or until the witness contradicts one: then what it said.
    pub async fn follow(&self, stop: impl Future<Output = ()>) -> Option<String> {
        let mut stop = pin!(stop);
        let (mut witnessed, mut silent) = (None, false);
        loop {
            let size = self.log.newest().0.size;
            let mut pause = LOOK_EVERY;
            if witnessed != Some(size) {
                let told = tokio::select! {
                    () = &mut stop => return None,
                    told = self.send(witnessed.unwrap_or(0)) => told,
                };
                match told {
                    Ok(Told::Cosigned(size)) => {
                        if silent || witnessed.is_none() {
                            info!(size, "the witness cosigned the journal's checkpoint");
                        }
                        (witnessed, silent) = (Some(size), false);
                    }
                    Ok(Told::Contradicted(message)) => return Some(message),
                    Err(wrong) => {
                        // Said once: the work goes on.
                        if silent {
                            debug!(wrong, "the checkpoint was not witnessed");
                        } else {
                            warn!(wrong, size, "the checkpoint was not witnessed; it is tried again");
                        }
                        (silent, pause) = (true, PAUSE);
                    }
                }
            }
            tokio::select! {
                () = &mut stop => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes the last checkpoint of an orderly end to the witness, which need not be there: the next start does it otherwise.
    pub async fn farewell(&self) {
        let size = self.log.newest().0.size;
        match tokio::time::timeout(FAREWELL, self.send(0)).await {
            Ok(Ok(Told::Cosigned(size))) => info!(size, "the witness cosigned the journal's last checkpoint"),
            Ok(Ok(Told::Contradicted(message))) => {
                warn!(message, "the witness contradicts the journal's last checkpoint")
            }
            Ok(Err(wrong)) => info!(wrong, size, "the last checkpoint was not witnessed; the next start does it"),
            Err(_) => info!(size, "the last checkpoint was not witnessed in time; the next start does it"),
        }
    }

    /// Sends the newest checkpoint with the proof that it goes on from the `old` records that the witness saw last; when that
    /// is not what it saw, once more.
    ///
    /// # Errors
    /// No answer that could be used, in words.
    pub async fn send(&self, mut old: u64) -> Result<Told, String> {
        for _ in 0..2 {
            let (checkpoint, note) = self.log.newest();
            let proof = {
                let (log, checkpoint) = (self.log.clone(), checkpoint.clone());
                let proof = tokio::task::spawn_blocking(move || log.consistency(old, &checkpoint)).await;
                proof.map_err(|error| error.to_string())?.map_err(|error| service::in_full(&error))?
            };
            let request = wire::CosignCheckpointRequest {
                checkpoint: note.to_string(),
                key: self.log.key().to_string(),
                old_size: old,
                proof: proof.iter().map(|hash| hash.to_vec()).collect(),
            };
            match self.ask(request).await? {
                Outcome::Cosigned(wire::Cosigned { signature, key }) => {
                    let (cosignature, by) = check(&note, &signature, &key)?;
                    debug!(by, size = checkpoint.size, "cosigned");
                    let log = self.log.clone();
                    let kept = tokio::task::spawn_blocking(move || log.keep_cosignature(note, cosignature)).await;
                    kept.map_err(|error| error.to_string())?.map_err(|error| service::in_full(&error))?;
                    return Ok(Told::Cosigned(checkpoint.size));
                }
                Outcome::ProofFrom(seen) => old = seen,
                Outcome::Contradicted(wire::Contradicted { message, .. }) => return Ok(Told::Contradicted(message)),
            }
        }
        Err("the witness asks for one proof after another".to_owned())
    }

    async fn ask(&self, request: wire::CosignCheckpointRequest) -> Result<Outcome, String> {
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        let mut client = self.client.clone();
        let answered = tokio::time::timeout(self.timeout, client.cosign_checkpoint(request)).await;
        let answer = answered.map_err(|_| format!("no answer within {} s", self.timeout.as_secs()))?;
        let response = answer.map_err(|status| status::in_full(&status))?.into_inner();
        response.outcome.ok_or_else(|| "an answer that says nothing".to_owned())
    }
}

/// A line that its key does not bear out is not kept. The key is the one the witness sent over mutual TLS.
fn check(note: &Note, signature: &str, key: &str) -> Result<(Signature, String), String> {
    let wrong = || "the witness's cosignature does not verify".to_owned();
    let cosignature = Signature::parse(signature).ok_or_else(wrong)?;
    let verifying = VerifyingKey::parse(key).filter(|key| key.purpose() == Purpose::Witness).ok_or_else(wrong)?;
    let mut cosigned = note.clone();
    cosigned.add(cosignature.clone());
    let by = verifying.name().to_owned();
    cosigned.cosigned_at(&verifying).map(|_| (cosignature, by)).ok_or_else(wrong)
}
