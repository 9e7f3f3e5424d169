//! What must hold after every event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use issuance::{DeviceSerial, Issuance, State, certificate};

use crate::{floor::look, said, world::World};

/// The number of a device, by what it says of itself.
pub(crate) fn hardware(issuance: &Issuance) -> Option<usize> {
    match issuance.state.identity()? {
        issuance::DeviceIdentity::Token { serial_number, .. } => serial_number.parse().ok(),
        issuance::DeviceIdentity::Tpm { .. } => None,
    }
}

/// Holds all rules against the world.
pub(crate) fn check(world: &mut World) -> Result<(), String> {
    // Watchers hear of every record once, in order.
    let all = world.all()?;
    for issuance in all.iter() {
        if !world.names.contains(&issuance.id) {
            world.names.push(issuance.id);
        }
    }
    nothing_is_recorded_by_a_wrong_clock(world)?;
    nothing_is_lost(world, &all)?;
    names_are_given_once(world, &all)?;
    lots_are_kept(world, &all)?;
    the_queue_is_bounded(world, &all)?;
    for issuance in all.iter() {
        says_what_to_do(world, issuance)?;
        somebody_works_on_it(world, issuance)?;
        device_and_journal_agree(world, issuance)?;
    }
    nothing_unknown_is_on_devices(world, &all)
}

fn nothing_is_recorded_by_a_wrong_clock(world: &World) -> Result<(), String> {
    let now = world.ledger().journal().length();
    match world.records_at_jump {
        Some(then) if then != now => Err(format!("{} records were made by a wrong clock", now.abs_diff(then))),
        _ => Ok(()),
    }
}

/// What somebody was told stays so.
fn nothing_is_lost(world: &World, all: &[Issuance]) -> Result<(), String> {
    let there: BTreeMap<_, _> = all.iter().map(|issuance| (issuance.id, issuance)).collect();
    for (id, told) in &world.told {
        let name = world.name(*id);
        let Some(now) = there.get(id) else {
            return Err(format!("lost: {name} was acknowledged and is not there"));
        };
        let same = (&now.request.device_serial, &now.request.lot) == (&told.serial, &told.lot)
            && now.request.common_name.folded() == told.common_name;
        if !same {
            return Err(format!("{name} is not what was acknowledged"));
        }
        if told.completed && !matches!(now.state, State::Completed(..)) {
            return Err(format!("lost: {name} was told to be completed and stands in {}", now.state));
        }
        if told.cancelled && !matches!(now.state, State::Cancelled(..)) {
            return Err(format!("lost: {name} was told to be cancelled and stands in {}", now.state));
        }
        if let Some(certificate) = &told.certificate
            && now.state.issued().map(|issued| &issued.certificate) != Some(certificate)
        {
            return Err(format!("duplicated: {name} had another certificate, or is without one now"));
        }
    }
    for id in &look(&world.floor).ca.submitted {
        if there.get(id).is_none_or(|issuance| issuance.state.key().is_none()) {
            return Err(format!("lost: {} was submitted, and the journal does not say so", world.name(*id)));
        }
    }
    let authority = world.authority.lock().unwrap_or_else(PoisonError::into_inner);
    for (id, issued) in authority.issued() {
        // With a CA that makes another one each time, each but one is owed to a doubt that the journal has.
        let doubts = world.doubts.get(id).map_or(0, |doubts| doubts.all) as usize;
        let count = issued.certificates.len();
        if count > 1 + doubts {
            let name = world.name(*id);
            return Err(format!("duplicated: {name} has {count} certificates that are valid, and {doubts} doubts"));
        }
    }
    Ok(())
}

/// A CN belongs to one device for ever.
fn names_are_given_once(world: &World, all: &[Issuance]) -> Result<(), String> {
    let mut names: BTreeMap<(String, String), &DeviceSerial> = BTreeMap::new();
    for issuance in all {
        let request = &issuance.request;
        let name = (request.profile.to_string(), request.common_name.folded());
        let owner = names.entry(name).or_insert(&request.device_serial);
        if **owner != request.device_serial {
            return Err(format!("{} has the CN of another device", world.name(issuance.id)));
        }
    }
    // Of one device and profile, all but the newest are cancelled.
    let mut live = BTreeSet::new();
    for issuance in all.iter().filter(|issuance| !matches!(issuance.state, State::Cancelled(..))) {
        if !live.insert((&issuance.request.profile, &issuance.request.device_serial)) {
            return Err(format!("duplicated: {} is a second one for its device", world.name(issuance.id)));
        }
    }
    Ok(())
}

fn lots_are_kept(world: &World, all: &[Issuance]) -> Result<(), String> {
    for (_, lot, row) in world.ledger().lots(None, usize::MAX).map_err(said("the lots"))? {
        let of_lot = || all.iter().filter(|issuance| issuance.request.lot == lot);
        // However often it is started anew, a device has one place in its lot.
        let started = of_lot().map(|issuance| &issuance.request.device_serial).collect::<BTreeSet<_>>().len();
        let completed = of_lot().filter(|issuance| matches!(issuance.state, State::Completed(..))).count();
        let counted = row.started as usize;
        if started != counted || row.started > row.quantity || row.completed as usize != completed {
            return Err(format!(
                "{lot} counts {counted} started and {} completed of {}, and has {started} and {completed}",
                row.completed, row.quantity
            ));
        }
    }
    Ok(())
}

fn the_queue_is_bounded(world: &World, all: &[Issuance]) -> Result<(), String> {
    let (length, _) = world.ledger().queue();
    if length > world.queue_bound {
        return Err(format!("the queue has {length} submissions, and its bound is {}", world.queue_bound));
    }
    let await_answers = all
        .iter()
        .filter(|issuance| issuance.state.awaits_answer().is_some() && !matches!(issuance.state, State::Cancelled(..)));
    let waiting = await_answers.clone().filter(|issuance| world.ledger().is_waiting(issuance.id)).count();
    if (waiting, await_answers.count()) != (length, length) {
        return Err(format!("{length} submissions are in the queue, and others await an answer"));
    }
    Ok(())
}

/// What is neither at an end nor waiting is worked on, unless its fixture has met another one since.
fn somebody_works_on_it(world: &World, issuance: &Issuance) -> Result<(), String> {
    let name = world.name(issuance.id);
    let settled = station::driver::is_settled(&issuance.state) || issuance.state.awaits_answer().is_some();
    let fixture = world.place().fixtures.get(&issuance.fixture).map(station::fixtures::Fixture::status);
    let Some((_, last)) = fixture else { return Err(format!("{name} is at no fixture")) };
    // What its fixture last met, it works on.
    if !settled && last == Some(issuance.id) && !world.place().fixtures.at_work().contains(&issuance.id) {
        return Err(format!("{name} stands in {} at its fixture, and nobody works on it", issuance.state));
    }
    Ok(())
}

/// What is said of an issuance in each of its states.
fn says_what_to_do(world: &mut World, issuance: &Issuance) -> Result<(), String> {
    if !world.judged.insert((issuance.id, format!("{} {}", issuance.state, issuance.state.underlying()))) {
        return Ok(());
    }
    let name = world.name(issuance.id);
    if station::view::issuance(issuance, 0).next_action.is_empty() {
        return Err(format!("{name} stands in {} and says nothing of what to do", issuance.state));
    }
    if let Some(stop) = issuance.state.stop()
        && (stop.reason.is_empty() || stop.message.is_empty())
    {
        return Err(format!("{name} stopped without words"));
    }
    let issued = issuance.state.issued();
    if let (State::Completed(..), Some(issued), Some(key)) = (&issuance.state, issued, issuance.state.key())
        && certificate::public_key(&issued.certificate).as_ref() != Some(&key.public_key)
    {
        return Err(format!("{name} is completed with a certificate for another key"));
    }
    Ok(())
}

/// What the journal says was done to a device was done to it.
fn device_and_journal_agree(world: &World, issuance: &Issuance) -> Result<(), String> {
    let Some(device) = hardware(issuance) else { return Ok(()) };
    let name = world.name(issuance.id);
    let floor = look(&world.floor);
    let Some(device) = floor.devices.get(device) else { return Err(format!("{name} is on no device")) };
    if let Some(key) = issuance.state.key()
        && !device.keys.values().any(|(_, there)| *there == key.public_key)
    {
        return Err(format!("the key of {name} is not on its device"));
    }
    if let State::Completed(placed, _) = &issuance.state
        && !device.certificates.values().any(|there| *there == placed.issued.certificate)
    {
        return Err(format!("{name} is completed, and its certificate is not on its device"));
    }
    Ok(())
}

/// Each key on a device was announced in the journal before it was made, and so was each certificate.
fn nothing_unknown_is_on_devices(world: &World, all: &[Issuance]) -> Result<(), String> {
    let floor = look(&world.floor);
    for (number, device) in floor.devices.iter().enumerate() {
        let here = || all.iter().filter(|issuance| hardware(issuance) == Some(number));
        let announced = here()
            .filter(|issuance| !matches!(issuance.state.underlying(), State::Requested | State::DeviceIdentified(_)));
        // One key for each line of issuances.
        let lines: BTreeSet<_> = announced.map(|issuance| issuance.request.lineage).collect();
        if device.keys.len() > lines.len() {
            let (keys, lines) = (device.keys.len(), lines.len());
            return Err(format!("device {number} holds {keys} keys, and the journal announced {lines}"));
        }
        for certificate in device.certificates.values() {
            let written = |issuance: &Issuance| {
                issuance.state.placed().is_some_and(|placed| placed.issued.certificate == *certificate)
            };
            if !here().any(written) {
                return Err(format!("device {number} holds a certificate whose write the journal did not announce"));
            }
        }
    }
    Ok(())
}
