//! One batch, step by step.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use issuance::{Timestamp, public_key::Hash, residency::Sealing};
use service::{crash, traces::Span};
use tracing::warn;

use super::{Inner, Issued, Outcome};
use crate::{
    certificate,
    hsm::beside,
    pki::CaCertificate,
    plan::{Later, Proposal, Rules, Submission},
    register::{Planned, Recorded, Reservation, Seal, Signed, Unavailable},
};

/// What is signed in one visit has issuer and hash in common.
type Visit = (String, Option<Hash>);

impl Inner {
    pub(super) async fn issue(
        &self,
        authenticated_by: Arc<str>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let came = Instant::now();
        let outcomes = self.work(authenticated_by, submissions).await?;
        self.counts.answered(&outcomes, came.elapsed());
        Ok(outcomes)
    }

    async fn work(
        &self,
        authenticated_by: Arc<str>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Outcome>, Unavailable> {
        let count = submissions.len();
        let Ok(_turn) = Span::begin("turn").follow(self.turns.take(&authenticated_by, count)).await else {
            return Ok(vec![Outcome::Deferred(too_many(&authenticated_by)); count]);
        };
        let proposals = Span::begin("propose").follow(self.propose(authenticated_by, submissions)).await?;
        crash::point("ca.propose.done");
        let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
        let mut to_sign: BTreeMap<Visit, (Vec<usize>, Vec<Planned>)> = BTreeMap::new();
        let mut recorded_at = Vec::new();
        let reservations = Span::begin("reserve").follow(self.register.reserve(proposals)).await?;
        for (place, reservation) in reservations.into_iter().enumerate() {
            let planned = match reservation {
                Reservation::Planned(planned) => Ok(planned),
                Reservation::Resumed(planned) => match self.rules.issuer(&planned.issuer) {
                    Some(issuer) if planned.is_of(issuer) => Ok(planned),
                    _ => Err(Outcome::Deferred(strange_issuer(&planned.issuer))),
                },
                Reservation::Issued(recorded) => {
                    recorded_at.push((place, recorded));
                    continue;
                }
                Reservation::Refused(refusal) => Err(Outcome::Refused(refusal)),
                Reservation::Deferred(later) => Err(Outcome::Deferred(later)),
            };
            match planned {
                Ok(planned) => {
                    let visit = (planned.issuer.clone(), planned.hash(&self.rules));
                    let (places, group) = to_sign.entry(visit).or_default();
                    places.push(place);
                    group.push(planned);
                }
                Err(outcome) => outcomes[place] = Some(outcome),
            }
        }
        let (mut places, mut signed) = (Vec::new(), Vec::new());
        for ((name, hash), (group, own)) in to_sign {
            // A plan was made for it.
            let Some((issuer, hash)) = self.rules.issuer(&name).zip(hash) else { continue };
            crash::point("ca.sign.intended");
            let signatures = Span::begin("sign").follow(self.sign(issuer, hash, own)).await;
            crash::point("ca.sign.done");
            match signatures {
                Ok(some) => {
                    places.extend(group);
                    signed.extend(some);
                }
                Err(later) => group.iter().for_each(|place| outcomes[*place] = Some(Outcome::Deferred(later.clone()))),
            }
        }
        if !signed.is_empty() {
            let committed = Span::begin("commit").follow(self.register.commit(signed)).await?;
            recorded_at.extend(places.into_iter().zip(committed));
        }
        for (place, answer) in self.answers(recorded_at).await? {
            outcomes[place] = Some(answer);
        }
        crash::point("ca.answer.intended");
        let lost = || {
            Outcome::Deferred(Later {
                retry_after: Duration::from_secs(1),
                message: "the request was not answered: send it again".to_owned(),
            })
        };
        Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
    }

    /// Proof of possession and planning.
    async fn propose(
        &self,
        authenticated_by: Arc<str>,
        submissions: Vec<Submission>,
    ) -> Result<Vec<Proposal>, Unavailable> {
        let (rules, now) = (self.rules.clone(), Timestamp(self.clock.best()));
        beside(submissions.len(), move || {
            submissions.into_iter().map(|submission| rules.propose(&authenticated_by, submission, now)).collect()
        })
        .await
        .ok_or_else(|| Unavailable("the batch was broken off".into()))
    }

    async fn sign(&self, issuer: &CaCertificate, hash: Hash, planned: Vec<Planned>) -> Result<Vec<Signed>, Later> {
        /// Long enough for a module's restart, short enough that a line does not notice an HSM's reboot twice.
        const TOKEN_BACK: Duration = Duration::from_secs(5);
        let messages: Vec<Vec<u8>> = planned.iter().map(|planned| planned.tbs_certificate.clone()).collect();
        let signer = issuer.signer().with(hash);
        let asked = Instant::now();
        let signatures = self.hsm.sign(&signer, messages).await.map_err(|fault| {
            warn!(issuer = %issuer.name, reason = fault.kind.reason(), %fault, waiting = planned.len(), "the token did not sign");
            Later {
                retry_after: TOKEN_BACK,
                message: format!(
                    "the CA's token does not sign ({}): the request is recorded, send the same one again",
                    fault.kind.reason()
                ),
            }
        })?;
        self.counts.signed(signatures.len(), asked.elapsed());
        Ok(planned.into_iter().zip(signatures).map(|(planned, signature)| Signed { planned, signature }).collect())
    }

    /// What is sealed costs the processor a public-key operation each: beside the network's threads, not on them.
    async fn answers(&self, recorded: Vec<(usize, Recorded)>) -> Result<Vec<(usize, Outcome)>, Unavailable> {
        let sealed = recorded.iter().filter(|(_, recorded)| recorded.seal.is_some()).count();
        let rules = self.rules.clone();
        beside(sealed, move || {
            recorded.into_iter().map(|(place, recorded)| (place, answer(&rules, recorded))).collect()
        })
        .await
        .ok_or_else(|| Unavailable("the batch was broken off".into()))
    }
}

fn answer(rules: &Rules, recorded: Recorded) -> Outcome {
    let unanswerable = |message: String| {
        warn!(message, "a recorded certificate cannot be answered");
        Outcome::Deferred(Later { retry_after: Duration::from_secs(300), message })
    };
    let Some(issuer) = rules.issuer(&recorded.issuer) else {
        return unanswerable(format!(
            "the certificate was issued by {}, which this CA no longer has: bring its file back",
            recorded.issuer
        ));
    };
    let chain = vec![issuer.der.clone()];
    let certificate = match certificate::assemble(&recorded.tbs_certificate, &recorded.signature) {
        Ok(certificate) => certificate,
        Err(error) => return unanswerable(service::in_full(&error)),
    };
    let Some(Seal { key, issuance, request_sha256 }) = recorded.seal else {
        return Outcome::Issued(Issued { certificate, chain });
    };
    match (Sealing { issuance, request_sha256, certificate: &certificate, chain: &chain }).seal(&key) {
        Ok(sealed) => Outcome::Sealed(sealed),
        Err(error) => unanswerable(service::in_full(&error)),
    }
}

fn too_many(caller: &str) -> Later {
    /// By then a fast CA has done what waits.
    const WORKED_OFF: Duration = Duration::from_secs(2);
    Later {
        retry_after: WORKED_OFF,
        message: format!("{caller} has as many requests waiting as one caller may: send fewer batches at a time"),
    }
}

fn strange_issuer(name: &str) -> Later {
    /// Only an administrator brings an issuer back.
    const ISSUER_BACK: Duration = Duration::from_secs(300);
    Later {
        retry_after: ISSUER_BACK,
        message: format!(
            "the request was planned for the issuer {name}, which this CA no longer has with that name and key: bring \
             it back"
        ),
    }
}
