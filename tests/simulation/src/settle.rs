//! The trouble ends: devices behave, the CA answers, operators scan what is open, supervisors decide. Then everything
//! that can complete does.

use std::{collections::BTreeMap, time::Duration};

use issuance::{DeviceSerial, Issuance, IssuanceId, State};

use crate::{events::is_aside, floor::look, rules::hardware, world::World};

/// Twice as many rounds as any issuance needs: released, stopped once more, cancelled, started anew, released, completed.
const ROUNDS: usize = 12;
/// Fixtures' tasks and batches in one round; more is a loop.
const TURNS_MOST: usize = 400;
/// The longest that the station lets a CA keep it waiting, and one attempt more.
const AN_HOUR: Duration = Duration::from_secs(3600 + 660);

impl World {
    /// # Errors
    /// What did not complete, though nothing stood in its way.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        look(&self.floor).calm = true;
        self.disk.trouble(None);
        let happened = self.set_clock_right();
        self.after_event(happened)?;
        let mut ruled: BTreeMap<IssuanceId, u32> = BTreeMap::new();
        for _ in 0..ROUNDS {
            self.turn()?;
            let open: Vec<Issuance> = self.all()?.iter().filter(|issuance| !is_over(issuance)).cloned().collect();
            if open.is_empty() {
                break;
            }
            for (number, issuance) in open.iter().enumerate() {
                if is_aside(issuance) {
                    let times = ruled.entry(issuance.id).or_default();
                    *times += 1;
                    let release = *times < 3;
                    let happened = self.rule(issuance.id, release);
                    self.after_event(happened)?;
                }
                let (lot, serial) = (issuance.request.lot.to_string(), issuance.request.device_serial.clone());
                if let Some(device) = self.hardware_of(&serial)? {
                    let fixture = number % self.place().tasks.len();
                    look(&self.floor).put(device, fixture);
                    let happened = self.scan(fixture, &serial, &lot, String::new());
                    self.after_event(happened)?;
                    self.turn()?;
                }
            }
        }
        let happened = self.look_around();
        self.after_event(happened)?;
        let all = self.all()?;
        for issuance in all.iter() {
            if is_over(issuance) {
                continue;
            }
            let name = self.name(issuance.id);
            let has_device = self.hardware_of(&issuance.request.device_serial)?.is_some();
            if has_device && !is_in_the_way(issuance, &all) {
                return Err(format!("{name} stands in {} for ever: {:?}", issuance.state, issuance.state.stop()));
            }
            self.outcome.waiting += 1;
            let reason = issuance.state.stop().map(|stop| stop.message.clone());
            self.outcome.trace.push(format!("     {name} waits for a person: {reason:?}"));
        }
        Ok(())
    }

    /// Fixtures and the CA, until neither has anything to do.
    fn turn(&mut self) -> Result<(), String> {
        for _ in 0..TURNS_MOST {
            let worked = self.work()?;
            let before = self.ledger().queue().0;
            // What a CA that was away, or asked to wait, can keep the queue for at most.
            let passed = if before > 0 { self.time_passes(AN_HOUR)? } else { String::new() };
            let after = self.ledger().queue().0;
            if worked.starts_with("no fixture") && before == 0 {
                return Ok(());
            }
            self.after_event(Ok(format!("{worked}; {passed}")))?;
            if before > 0 && after == before {
                return Err(format!("{before} submissions wait for a CA that answers"));
            }
        }
        Err("fixtures and CA do not come to an end".to_owned())
    }

    /// The device that the journal knows by this serial, else the one that has the barcode; `None` when that one was scanned
    /// with another barcode before: a wrong scan is a person's to sort out.
    fn hardware_of(&mut self, serial: &DeviceSerial) -> Result<Option<usize>, String> {
        let all = self.all()?;
        let known = |issuance: &&Issuance| issuance.request.device_serial == *serial;
        if let Some(device) = all.iter().filter(known).find_map(hardware) {
            return Ok(Some(device));
        }
        let own = look(&self.floor).devices.iter().position(|device| device.barcode == *serial);
        Ok(own.filter(|own| !all.iter().any(|issuance| hardware(issuance) == Some(*own))))
    }
}

fn is_over(issuance: &Issuance) -> bool {
    matches!(issuance.state, State::Completed(..) | State::Cancelled(..))
}

/// What a cancelled issuance left on the device keeps a later one from its place, and says so.
fn is_in_the_way(issuance: &Issuance, all: &[Issuance]) -> bool {
    let cancelled = |before: &Issuance| {
        matches!(before.state, State::Cancelled(..))
            && (&before.request.device_serial, &before.request.profile)
                == (&issuance.request.device_serial, &issuance.request.profile)
    };
    issuance.state.stop().is_some_and(|stop| stop.reason == "LOCATION_OCCUPIED") && all.iter().any(cancelled)
}
