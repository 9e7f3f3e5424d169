//! The station's records as one fixture's driver sees them, as `station::station` has them for a real one.

use std::{sync::Arc, time::Duration};

use issuance::{
    Action, DeviceIdentity, DeviceSerial, Fault, FixtureName, Input, Issuance, IssuanceId, KeyLocation, Made,
    PublicKey, ValidatedCertificate, profile::KeystoreKind, rule::Ruling,
};
use station::{
    driver::{Halted, Records},
    ledger::{Ledger, LedgerRefused},
};

use crate::floor::{Killed, Shared, look};

/// The CA's name.
pub const AUTHORITY: &str = "ca-1";

/// The ledger, for one fixture.
pub struct Desk {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The floor.
    pub floor: Shared,
    /// The fixture.
    pub fixture: FixtureName,
}

fn halted(refused: LedgerRefused) -> Halted {
    Halted(service::in_full(&refused))
}

impl Desk {
    fn pass(&self) -> Result<(), Halted> {
        look(&self.floor).pass().map_err(|Killed| Halted("killed".to_owned()))
    }

    /// A supervisor cancels the issuance while its device is at work.
    fn interrupted(&self, id: IssuanceId) {
        let mut floor = look(&self.floor);
        if !floor.calm && floor.chance.once_in(150) {
            floor.notes.push("a supervisor cancels it meanwhile".to_owned());
            let ruling = Ruling::Cancel { reason: "scrapped".to_owned() };
            let ruled = self.ledger.rule(id, ruling, "badge".to_owned(), "supervisor".to_owned(), 0);
            if let Err(error) = ruled {
                floor.notes.push(service::in_full(&error));
            }
        }
    }
}

impl Records for Desk {
    fn issuance(&self, id: IssuanceId) -> Result<Issuance, Halted> {
        self.pass()?;
        let found = self.ledger.get(id).map_err(halted)?;
        found.map(|(issuance, _)| issuance).ok_or_else(|| Halted("an issuance is not in the journal".to_owned()))
    }

    fn decide(&self, id: IssuanceId, input: Input) -> Result<Action, Halted> {
        self.pass()?;
        self.interrupted(id);
        match self.ledger.decide(id, &self.fixture, KeystoreKind::Pkcs11, AUTHORITY, input) {
            Ok((action, appended)) => {
                self.pass()?;
                let waits = !look(&self.floor).planted.ack_before_sync;
                if let Some(appended) = appended.filter(|_| waits && action.is_irreversible()) {
                    appended.wait().map_err(|error| halted(error.into()))?;
                    self.pass()?;
                }
                if action == Action::AwaitAnswer {
                    self.ledger.ring();
                }
                Ok(match action {
                    // The simulation has no time to wait.
                    Action::Retry { .. } => Action::Retry { after: Duration::ZERO },
                    action => action,
                })
            }
            Err(LedgerRefused::Precondition { .. }) => Ok(Action::Rest),
            Err(refused) => Err(halted(refused)),
        }
    }

    fn known_device(
        &self,
        serial: &DeviceSerial,
        identity: &DeviceIdentity,
    ) -> Result<(Option<DeviceSerial>, Option<[u8; 32]>), Halted> {
        self.ledger.known_device(serial, identity).map_err(halted)
    }

    fn made_key(&self, issuance: &Issuance, location: &KeyLocation, public_key: &PublicKey) -> Result<Made, Halted> {
        self.ledger.made_key(issuance, location, public_key).map_err(halted)
    }

    fn validated_certificate(&self, id: IssuanceId) -> Result<Result<ValidatedCertificate, Fault>, Halted> {
        self.pass()?;
        self.ledger.validated_certificate(id, &self.fixture, KeystoreKind::Pkcs11).map_err(halted)
    }

    fn superseded_certificates(&self, issuance: &Issuance) -> Result<Vec<Vec<u8>>, Halted> {
        self.ledger.superseded_certificates(issuance).map_err(halted)
    }

    fn is_stopping(&self) -> bool {
        let floor = look(&self.floor);
        floor.crashed || floor.stopping
    }
}
