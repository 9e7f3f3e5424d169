//! Tells the CA which certificates are verified on their devices, so that it revokes what they supersede. What the CA is
//! still to be told stands in the journal: a completion without its `Confirmed`.

use std::{future::Future, sync::Arc};

use issuance::IssuanceId;
use service::{crash, shutdown::Shutdown};
use tracing::{info, warn};

use crate::{
    configuration::QueueSettings,
    connector::Unanswered,
    ledger::{Ledger, LedgerRefused, Unconfirmed},
    submission::{full_jitter, random_fraction},
};

/// What the CA said to one confirmation; the refusal is empty when it took it.
pub type Answer = (IssuanceId, String);

/// A CA that is told of verified certificates.
pub trait Confirmer: Send + Sync + 'static {
    /// Tells it. Answers come for what was answered; the rest is told again.
    fn confirm(&self, batch: &[Unconfirmed]) -> impl Future<Output = Result<Vec<Answer>, Unanswered>> + Send;
}

/// Tells until shutdown is requested, or the journal takes no more.
pub async fn run(ledger: Arc<Ledger>, confirmer: impl Confirmer, settings: QueueSettings, shutdown: Shutdown) {
    let mut stop = std::pin::pin!(shutdown.requested());
    let mut failures = 0_u32;
    loop {
        let told = tokio::select! {
            () = &mut stop => return,
            told = tell(&ledger, &confirmer, settings.batch) => told,
        };
        let pause = match told {
            Ok(Told::Nothing) => None,
            Ok(Told::Some) => {
                failures = 0;
                continue;
            }
            Ok(Told::Unanswered(Unanswered { message, retry_after, .. })) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    warn!(%message, "the CA was not told of verified certificates; they are told again");
                }
                let jitter = || full_jitter(settings.retry_first, settings.retry_most, failures, random_fraction());
                Some(retry_after.map_or_else(jitter, |after| after.max(settings.retry_first)))
            }
            // The journal's failure halts the station elsewhere.
            Err(error) => {
                warn!(%error, "confirmations cannot be read or recorded");
                return;
            }
        };
        tokio::select! {
            () = &mut stop => return,
            () = wait(&ledger, pause) => {}
        }
    }
}

async fn wait(ledger: &Ledger, pause: Option<std::time::Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => ledger.rung_completed().await,
    }
}

enum Told {
    Nothing,
    Some,
    Unanswered(Unanswered),
}

async fn tell(ledger: &Ledger, confirmer: &impl Confirmer, most: usize) -> Result<Told, LedgerRefused> {
    let batch = ledger.unconfirmed(most)?;
    if batch.is_empty() {
        return Ok(Told::Nothing);
    }
    crash::point("station.confirmation.intended");
    let answers = match confirmer.confirm(&batch).await {
        Ok(answers) => answers,
        Err(unanswered) => return Ok(Told::Unanswered(unanswered)),
    };
    crash::point("station.confirmation.done");
    let mut got = 0;
    for (issuance, refusal) in answers {
        if !batch.iter().any(|unconfirmed| unconfirmed.issuance == issuance) {
            warn!(%issuance, "the CA answered for a confirmation that was not in the batch");
            continue;
        }
        got += 1;
        match refusal.as_str() {
            "" => info!(%issuance, "the CA knows that the certificate is verified"),
            refusal => warn!(%issuance, refusal, "the CA refuses a confirmation: what it supersedes is not revoked"),
        }
        ledger.confirmed(issuance, refusal)?;
    }
    let unanswered = || Unanswered {
        message: "the CA answered without a result".to_owned(),
        retry_after: None,
        may_have_arrived: true,
    };
    Ok(if got == 0 { Told::Unanswered(unanswered()) } else { Told::Some })
}
