//! The ledger, as driver and submission see it: what they record is on the disk before what follows from it is done, and a
//! disk that fails halts the station.

use std::sync::Arc;

use issuance::{
    Action, DeviceIdentity, DeviceSerial, Fault, FixtureName, Input, Issuance, IssuanceId, KeyLocation, Made,
    PublicKey, ValidatedCertificate, profile::KeystoreKind,
};
use journal::Appended;
use service::{
    crash,
    traces::{FIXTURE, ISSUANCE, REQUEST_ID, Span},
};
use tracing::warn;

use crate::{
    board::Board,
    driver::{Halted, Records},
    fixtures::Fixtures,
    ledger::{Ledger, LedgerRefused},
    submission::Answered,
    watchman::halt,
    words,
};

/// The ledger, as one fixture's driver sees it.
pub(super) struct FixtureRecords {
    pub(super) ledger: Arc<Ledger>,
    pub(super) fixture: FixtureName,
    pub(super) kind: KeystoreKind,
    pub(super) authority: String,
    pub(super) board: Arc<Board>,
}

impl FixtureRecords {
    /// One device's visit to the fixture, in the issuance's trace; in a new one when it is not known any more.
    pub(super) fn visit(&self, id: IssuanceId) -> Span {
        let (trails, fixture) = (self.ledger.trails(), self.fixture.as_str());
        let cause = trails.of(id);
        let span = Span::of("visit", &cause);
        let request_id = || self.ledger.get(id).ok().flatten().map(|(found, _)| found.request.request_id);
        span.note(|| [(ISSUANCE, id.to_string()), (FIXTURE, fixture.to_owned())]);
        span.note(|| [(REQUEST_ID, request_id().unwrap_or_default())]);
        if cause.is_unknown() {
            trails.put(id, span.cause());
        }
        span
    }
}

impl Records for FixtureRecords {
    fn issuance(&self, id: IssuanceId) -> Result<Issuance, Halted> {
        let found = self.ledger.get(id).map_err(|refused| halt(&self.board, &refused))?;
        found.map(|(issuance, _)| issuance).ok_or_else(|| Halted(format!("there is no issuance {id} in the journal")))
    }

    fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, Halted> {
        match self.ledger.decide(id, &self.fixture, self.kind, &self.authority, input) {
            Ok((action, appended)) => {
                if let Some(appended) = appended.filter(|_| action.is_irreversible()) {
                    appended.wait().map_err(|error| halt(&self.board, &error.into()))?;
                    crash::point(format_args!("station.{}.synced", words::of_act(&action)));
                }
                // Only now: nothing leaves for the CA before the disk says that it did.
                match action {
                    Action::AwaitAnswer => self.ledger.ring(),
                    Action::Rest => self.ledger.ring_completed(),
                    _ => {}
                }
                Ok(action)
            }
            // The CA's refusal or a supervisor came in between: the device is left as it is.
            Err(LedgerRefused::Precondition { message, .. }) => {
                warn!(issuance = %id, %message, "the issuance changed while its device was visited");
                Ok(Action::Rest)
            }
            Err(refused) => Err(halt(&self.board, &refused)),
        }
    }

    fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), Halted> {
        self.ledger.known_device(serial, identity).map_err(|refused| halt(&self.board, &refused))
    }

    fn made_key(&self, issuance: &Issuance, location: &KeyLocation, public_key: &PublicKey) -> Result<Made, Halted> {
        self.ledger.made_key(issuance, location, public_key).map_err(|refused| halt(&self.board, &refused))
    }

    fn validated_certificate(&self, id: IssuanceId) -> Result<Result<ValidatedCertificate, Fault>, Halted> {
        self.ledger.validated_certificate(id, &self.fixture, self.kind).map_err(|refused| halt(&self.board, &refused))
    }

    fn superseded_certificates(&self, issuance: &Issuance) -> Result<Vec<Vec<u8>>, Halted> {
        self.ledger.superseded_certificates(issuance).map_err(|refused| halt(&self.board, &refused))
    }

    fn is_stopping(&self) -> bool {
        self.board.shutdown.is_requested() || self.board.halted().is_some()
    }
}

/// Where the CA's answers are recorded and passed on.
pub(super) struct AnswerDesk {
    pub(super) ledger: Arc<Ledger>,
    pub(super) fixtures: Arc<Fixtures>,
    pub(super) authority: String,
    pub(super) board: Arc<Board>,
}

impl Answered for AnswerDesk {
    fn answered(&self, issuance: IssuanceId) {
        if let Ok(Some((issuance, _))) = self.ledger.get(issuance) {
            self.fixtures.go_on(&issuance.fixture, issuance.id);
        }
    }

    fn record(&self, issuance: IssuanceId, input: Input) -> bool {
        self.decide(issuance, input).is_ok()
    }

    async fn sending(&self, issuances: &[IssuanceId]) -> bool {
        let mut last = None;
        for issuance in issuances {
            match self.decide(*issuance, Input::Sending) {
                Ok(appended) => last = appended.or(last),
                Err(_) => return false,
            }
        }
        // They are on the disk in their order.
        match last.map(Appended::synced) {
            Some(synced) => match synced.await {
                Ok(()) => true,
                Err(error) => {
                    halt(&self.board, &error.into());
                    false
                }
            },
            None => true,
        }
    }
}

impl AnswerDesk {
    fn decide(&self, issuance: IssuanceId, input: Input) -> Result<Option<Appended>, Halted> {
        let Ok(Some((before, _))) = self.ledger.get(issuance) else {
            return Err(Halted(format!("there is no issuance {issuance} in the journal")));
        };
        let kind = self.fixtures.get(&before.fixture).map_or(KeystoreKind::Tpm, |fixture| fixture.kind);
        match self.ledger.decide(issuance, &before.fixture, kind, &self.authority, input) {
            Ok((_, appended)) => Ok(appended),
            Err(LedgerRefused::Precondition { message, .. }) => {
                warn!(%issuance, %message, "the CA's answer was not awaited");
                Ok(None)
            }
            Err(refused) => Err(halt(&self.board, &refused)),
        }
    }
}
