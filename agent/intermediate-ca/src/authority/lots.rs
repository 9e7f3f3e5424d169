//! Lots and confirmations, as the authority's callers see them.

use std::sync::Arc;

use issuance::{DeviceSerial, IssuanceId, LotName, ProfileName, Timestamp};
use service::crash;

use super::Authority;
use crate::{
    lots::{
        Lot, LotAnswer, LotQuestion, LotRefused, LotRefusedKind as Kind, LotSaid, LotWord, authorisation, jws,
        report::{Report, page_size},
    },
    plan::Later,
    refusal::{Reason, Refusal},
    register::{Confirmation, Unavailable},
};

/// Who says something of a lot.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client certificate.
    pub authenticated_by: String,
    /// Who decided it, as a pseudonym; may be empty.
    pub claimed_by: String,
}

/// Why a report is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is not given.
    #[error(transparent)]
    Refused(#[from] LotRefused),
    /// The CA cannot record.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The token does not sign now.
    #[error("{}", .0.message)]
    Later(Later),
}

impl Authority {
    /// Records which certificates are verified on their devices; what they supersede is revoked with it. Answers in order;
    /// the same word again changes nothing.
    pub async fn confirm(
        &self,
        authenticated_by: &str,
        confirmations: Vec<Result<Confirmation, String>>,
    ) -> Result<Vec<Result<(), Refusal>>, Unavailable> {
        let by = authenticated_by.to_owned();
        let parsed: Vec<Confirmation> = confirmations.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let mut answers = self.inner.register.act(move |register| register.confirm(&by, &parsed)).await?.into_iter();
        let malformed = |message: String| Err(Refusal::new(Reason::InvalidIssuance, message));
        let lost = || Err(Refusal::new(Reason::InvalidIssuance, "it was not answered: send it again"));
        Ok(confirmations
            .into_iter()
            .map(|one| match one {
                Ok(_) => answers.next().unwrap_or_else(lost),
                Err(message) => malformed(message),
            })
            .collect())
    }

    /// Opens a lot that nobody signed for, or returns it when it is open with the same content.
    pub async fn open_lot(
        &self,
        caller: Caller,
        lot: LotName,
        profile: ProfileName,
        quantity: u32,
    ) -> Result<Result<Lot, LotRefused>, Unavailable> {
        if self.inner.rules.issuer_of(&profile).is_none() {
            let message = format!("profile: this CA has no profile {profile}");
            return Ok(Err(LotRefused::new(Kind::Invalid, "UNKNOWN_PROFILE", message)));
        }
        self.say(caller, LotWord::Open { lot, profile, quantity }).await
    }

    /// Opens a lot as its brand owner signed it: a JWS in compact serialisation.
    pub async fn authorise_lot(&self, caller: Caller, jws: String) -> Result<Result<Lot, LotRefused>, Unavailable> {
        let inner = Arc::clone(&self.inner);
        // A list of fifty thousand devices is the processor's work.
        let verified = tokio::task::spawn_blocking(move || {
            let audience = |profile: &ProfileName| {
                inner.rules.issuer_of(profile).map(|issuer| jws::base64url(&issuer.public_key.sha256()))
            };
            authorisation::verify(&jws, &inner.brand_owners, audience)
        })
        .await
        .map_err(|_| Unavailable("the authorisation was broken off".into()))?;
        match verified {
            Ok(authorisation) => self.say(caller, LotWord::Authorise(Box::new(authorisation))).await,
            Err(refused) => {
                tracing::warn!(
                    by = caller.authenticated_by,
                    reason = refused.reason,
                    "a lot's authorisation is refused"
                );
                Ok(Err(refused))
            }
        }
    }

    /// Closes a lot; closing a closed one changes nothing.
    pub async fn close_lot(&self, caller: Caller, lot: LotName) -> Result<Result<Lot, LotRefused>, Unavailable> {
        self.say(caller, LotWord::Close { lot }).await
    }

    /// Sets another quantity on a lot that nobody signed for, and opens it again.
    pub async fn amend_lot(
        &self,
        caller: Caller,
        lot: LotName,
        quantity: u32,
        reason: String,
    ) -> Result<Result<Lot, LotRefused>, Unavailable> {
        self.say(caller, LotWord::Amend { lot, quantity, reason }).await
    }

    /// Gives a scrapped device's place back, and revokes what it was given; only what one station brought, where one is named.
    pub async fn scrap_device(
        &self,
        caller: Caller,
        lot: LotName,
        device_serial: DeviceSerial,
        reason: String,
        brought_by: Option<String>,
    ) -> Result<Result<Lot, LotRefused>, Unavailable> {
        self.say(caller, LotWord::Scrap { lot, device_serial, reason, brought_by }).await
    }

    /// One lot.
    pub async fn lot(&self, lot: LotName) -> Result<Option<Lot>, Unavailable> {
        match self.ask(LotQuestion::One(lot)).await? {
            LotAnswer::One(lot) => Ok(lot),
            _ => Err(Unavailable("the register answered something else".into())),
        }
    }

    /// Lots, newest first, opened before this index; each with its opening's index.
    pub async fn lots(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, Lot)>, Unavailable> {
        match self.ask(LotQuestion::Page { before, limit }).await? {
            LotAnswer::Page(lots) => Ok(lots),
            _ => Err(Unavailable("the register answered something else".into())),
        }
    }

    /// The report of a lot, signed by the issuer of its profile: a JWS in compact serialisation. What is signed is recorded
    /// first, by its hash.
    pub async fn report_lot(&self, caller: Caller, lot: LotName) -> Result<String, ReportError> {
        let standing = self.lot(lot.clone()).await?.ok_or_else(|| LotRefused::unknown(&lot))?;
        let Some(issuer) = self.inner.rules.issuer_of(&standing.profile) else {
            let message =
                format!("the profile {} of the lot {lot} is no longer configured: put it back", standing.profile);
            return Err(LotRefused::new(Kind::Precondition, "UNKNOWN_PROFILE", message).into());
        };
        let mut report = Report::begin(&self.inner.name, &standing, issuer, Timestamp(self.inner.clock.best()));
        let mut after = None;
        loop {
            let question = LotQuestion::Certificates { lot: lot.clone(), after, limit: page_size() };
            let LotAnswer::Certificates(page) = self.ask(question).await? else {
                return Err(Unavailable("the register answered something else".into()).into());
            };
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            page.into_iter().for_each(|(_, certificate)| report.add(certificate));
        }
        let unsigned = report.end(&issuer.public_key);
        self.say(caller, LotWord::Report { lot, payload_sha256: unsigned.payload_sha256 }).await??;
        crash::point("ca.lot-report.intended");
        let message = vec![unsigned.signing_input.clone().into_bytes()];
        let signed = self.inner.hsm.sign(&issuer.signer(), message).await.map_err(|fault| {
            let message = format!("the CA's token does not sign ({}): ask again", fault.kind.reason());
            ReportError::Later(Later { retry_after: std::time::Duration::from_secs(5), message })
        })?;
        crash::point("ca.lot-report.done");
        let part = signed.first().and_then(|one| jws::signature_part(issuer.public_key.algorithm(), one.as_bytes()));
        let part = part.ok_or_else(|| Unavailable("the token's signature cannot be read".into()))?;
        Ok(format!("{}.{part}", unsigned.signing_input))
    }

    async fn say(&self, caller: Caller, word: LotWord) -> Result<Result<Lot, LotRefused>, Unavailable> {
        let Caller { authenticated_by, claimed_by } = caller;
        let said = LotSaid { word, claimed_by, authenticated_by: authenticated_by.into() };
        self.inner.register.act(move |register| register.tell_lot(said)).await
    }

    async fn ask(&self, question: LotQuestion) -> Result<LotAnswer, Unavailable> {
        self.inner.register.act(move |register| register.tell_of_lots(question)).await
    }
}

/// A confirmation as it came; the error says which field is wrong.
pub(crate) fn confirmation(issuance: &str, certificate_sha256: &[u8]) -> Result<Confirmation, String> {
    let issuance =
        IssuanceId::parse(issuance).ok_or("issuance is no UUID: send the issuance's id as 36 characters".to_owned())?;
    let certificate_sha256 = certificate_sha256
        .try_into()
        .map_err(|_| format!("certificate_sha256 has {} octets, a SHA-256 has 32", certificate_sha256.len()))?;
    Ok(Confirmation { issuance, certificate_sha256 })
}
