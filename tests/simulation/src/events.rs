//! What people and fixtures do: each is an event, and says in a line what came of it.

use std::sync::Arc;

use issuance::{DeviceSerial, Issuance, IssuanceId, LotName, State, record::Provenance, rule::Ruling};
use station::{
    driver::{Asked as Because, Driver, Halted},
    fixtures::Task,
    ledger::{Asked, LedgerRefused, Subject},
};

use crate::{
    desk::Desk,
    floor::{FixtureKeystore, look},
    place::fixture_name,
    said,
    world::{DEVICES, FIXTURES, LOTS, World},
};

/// What somebody outside was told of an issuance.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) serial: DeviceSerial,
    pub(crate) lot: LotName,
    pub(crate) common_name: String,
    pub(crate) completed: bool,
    pub(crate) cancelled: bool,
    pub(crate) certificate: Option<Vec<u8>>,
}

impl World {
    pub(crate) fn somebody_scans(&mut self) -> Result<String, String> {
        let (device, fixture) = (self.chance.below(DEVICES), self.chance.below(FIXTURES));
        let is_busy = self.place().fixtures.all()[fixture].status().0;
        if !self.chance.once_in(8) && (!is_busy || self.chance.once_in(6)) {
            look(&self.floor).put(device, fixture);
        }
        let barcode = if self.chance.once_in(20) { self.chance.below(DEVICES) } else { device };
        let serial = look(&self.floor).devices[barcode].barcode.clone();
        let lot = if self.chance.once_in(6) { self.chance.below(LOTS.len()) } else { barcode % 2 };
        let request = match self.chance.below(8) {
            0 | 1 => format!("r-{lot}-{serial}"),
            2 => format!("r-{}", self.chance.below(6)),
            _ => String::new(),
        };
        self.scan(fixture, &serial, LOTS[lot].0, request)
    }

    /// A scan, from the request to what its caller is told: as `station::grpc` has it.
    pub(crate) fn scan(
        &mut self,
        fixture: usize,
        serial: &DeviceSerial,
        lot: &str,
        request_id: String,
    ) -> Result<String, String> {
        let holds = look(&self.floor).places[fixture];
        let line = format!("scan of {serial} in {lot} at fixture-{fixture}, which holds {holds:?} {request_id:?}");
        let subject = Subject { request_id, lot: lot_name(lot)?, device_serial: serial.clone(), profile: None };
        let mut asked = Asked {
            subject,
            fixture: fixture_name(fixture)?,
            claimed_by: "badge".to_owned(),
            authenticated_by: "kiosk".to_owned(),
            at_work: self.place().fixtures.at_work(),
            fixture_is_free: false,
        };
        if self.pass().is_err() {
            return Ok(line);
        }
        let fixtures = Arc::clone(&self.place().fixtures);
        let place = &fixtures.all()[fixture];
        let reservation = fixtures.reserve(place);
        asked.fixture_is_free = reservation.is_some();
        let started = match self.ledger().start(&asked, &Provenance::default()) {
            Ok(started) => started,
            Err(refused) => {
                let words = match &refused {
                    LedgerRefused::Exists { reason, .. } | LedgerRefused::Precondition { reason, .. } => *reason,
                    LedgerRefused::Full(_) => "QUEUE_FULL",
                    LedgerRefused::Invalid { field, .. } => field,
                    LedgerRefused::Journal(_) if self.is_broken() => "JOURNAL_FAILED",
                    LedgerRefused::Clock(_) if self.is_clock_wrong() => "CLOCK_WRONG",
                    LedgerRefused::Journal(_)
                    | LedgerRefused::Clock(_)
                    | LedgerRefused::Damaged(_)
                    | LedgerRefused::NotFound(_) => {
                        return Err(format!("{line}: {}", service::in_full(&refused)));
                    }
                };
                return Ok(format!("{line}: refused, {words}"));
            }
        };
        let issuance = started.issuance;
        match reservation {
            Some(reservation) if started.begin => reservation.begin(issuance.id, Because::Scanned),
            Some(reservation) => {
                drop(reservation);
                fixtures.show(place, issuance.id);
            }
            None => {}
        }
        let line = format!("{line}: {} in {}", self.name(issuance.id), issuance.state);
        if self.pass().is_err() || !self.planted.ack_before_sync && self.durable().is_err() || self.pass().is_err() {
            return Ok(format!("{line}, nobody is told"));
        }
        self.tell(&issuance);
        Ok(line)
    }

    /// Somebody outside knows now.
    pub(crate) fn tell(&mut self, issuance: &Issuance) {
        let told = self.told.entry(issuance.id).or_insert_with(|| Told {
            serial: issuance.request.device_serial.clone(),
            lot: issuance.request.lot.clone(),
            common_name: issuance.request.common_name.folded(),
            completed: false,
            cancelled: false,
            certificate: None,
        });
        told.completed |= matches!(issuance.state, State::Completed(..));
        told.cancelled |= matches!(issuance.state, State::Cancelled(..));
        if let Some(issued) = issuance.state.issued() {
            told.certificate = Some(issued.certificate.clone());
        }
    }

    /// A fixture's thread does what it was asked to.
    pub(crate) fn work(&mut self) -> Result<String, String> {
        if self.halted_by_clock {
            return Ok("no fixture works, for the clock is wrong".to_owned());
        }
        let first = self.chance.below(FIXTURES);
        for fixture in (first..FIXTURES).chain(0..first) {
            if let Ok(Task::Work(id, because)) = self.place().tasks[fixture].try_recv() {
                return self.work_at(fixture, id, because);
            }
        }
        Ok("no fixture has work".to_owned())
    }

    fn work_at(&mut self, fixture: usize, id: IssuanceId, because: Because) -> Result<String, String> {
        let holds = look(&self.floor).places[fixture];
        let line = format!("fixture-{fixture}, which holds {holds:?}, works on {} ({because:?})", self.name(id));
        let desk =
            Desk { ledger: Arc::clone(self.ledger()), floor: Arc::clone(&self.floor), fixture: fixture_name(fixture)? };
        let mut keystore = FixtureKeystore::new(Arc::clone(&self.floor), fixture);
        let devices = self.directory.path().join("devices");
        let worked = Driver { keystore: &mut keystore, records: &desk, devices: &devices }.work(id, because);
        if look(&self.floor).crashed {
            return Ok(format!("{line}: killed"));
        }
        if let Err(Halted(words)) = worked {
            if !self.is_broken() && self.is_clock_wrong() {
                self.halted_by_clock = true;
                return Ok(format!("{line}: halted by the clock"));
            }
            let sound = !self.is_broken();
            self.halted = true;
            return if sound {
                Err(format!("{line}: the station halts: {words}"))
            } else {
                Ok(format!("{line}: halted"))
            };
        }
        self.place().fixtures.release(&self.place().fixtures.all()[fixture]);
        Ok(format!("{line}: {}", self.issuance(id)?.state))
    }

    pub(crate) fn devices_move(&mut self) -> String {
        let (fixture, other) = (self.chance.below(FIXTURES), self.chance.below(FIXTURES));
        let mut floor = look(&self.floor);
        match self.chance.below(3) {
            0 => floor.places[fixture] = None,
            1 => floor.put(self.chance.below(DEVICES), fixture),
            _ => floor.places.swap(fixture, other),
        }
        format!("devices move: {:?}", floor.places)
    }

    pub(crate) fn supervise(&mut self) -> Result<String, String> {
        let all = self.all()?;
        let ids: Vec<(IssuanceId, bool)> = all.iter().map(|issuance| (issuance.id, is_aside(issuance))).collect();
        let aside: Vec<_> = ids.iter().filter(|(_, quarantined)| *quarantined).copied().collect();
        let of = if aside.is_empty() || self.chance.once_in(5) { ids } else { aside };
        let Some((id, quarantined)) = self.chance.of(&of) else { return Ok("nothing is to be supervised".to_owned()) };
        let release = quarantined && !self.chance.once_in(3);
        self.rule(id, release)
    }

    /// A supervisor's word, until that is told.
    pub(crate) fn rule(&mut self, id: IssuanceId, release: bool) -> Result<String, String> {
        let ruling = if release {
            Ruling::Release { new_hardware: false }
        } else {
            Ruling::Cancel { reason: "scrapped".to_owned() }
        };
        let line = format!("{} is {}", self.name(id), if release { "released" } else { "cancelled" });
        if self.pass().is_err() {
            return Ok(line);
        }
        let at_work = self.place().fixtures.at_work().len();
        match self.ledger().rule(id, ruling, "badge".to_owned(), "supervisor".to_owned(), at_work) {
            Ok(_) => {}
            Err(LedgerRefused::Precondition { reason, .. }) => return Ok(format!("{line}: refused, {reason}")),
            Err(LedgerRefused::Full(_)) => return Ok(format!("{line}: refused, QUEUE_FULL")),
            Err(LedgerRefused::Journal(_)) if self.is_broken() => {
                return Ok(format!("{line}: refused, JOURNAL_FAILED"));
            }
            Err(LedgerRefused::Clock(_)) if self.is_clock_wrong() => {
                return Ok(format!("{line}: refused, CLOCK_WRONG"));
            }
            Err(refused) => return Err(format!("{line}: {}", service::in_full(&refused))),
        }
        if self.pass().is_err() || self.durable().is_err() || self.pass().is_err() {
            return Ok(format!("{line}, nobody is told"));
        }
        // As `station::grpc` does: it may be to be sent again.
        self.ledger().ring();
        let issuance = self.issuance(id)?;
        self.tell(&issuance);
        Ok(line)
    }

    /// A reader is told what is on the disk.
    pub(crate) fn look_around(&mut self) -> Result<String, String> {
        if self.durable().is_err() {
            let sound = !self.disk.is_dead() && !self.disk.is_troubled();
            self.halted = true;
            return if sound {
                Err("a sync failed on a good disk".to_owned())
            } else {
                Ok("nobody is told".to_owned())
            };
        }
        for issuance in self.all()?.iter() {
            self.tell(issuance);
        }
        Ok("somebody looks at everything".to_owned())
    }
}

/// The station is gone or takes no more: what was begun has no end.
pub(crate) struct Stopped;

pub(crate) fn lot_name(lot: &str) -> Result<LotName, String> {
    LotName::parse(lot).map_err(said("lot"))
}

/// Whether a supervisor's word is awaited.
pub(crate) fn is_aside(issuance: &Issuance) -> bool {
    matches!(issuance.state, State::Quarantined(..)) || matches!(issuance.state.underlying(), State::InDoubt(..))
}
