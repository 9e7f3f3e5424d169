//! What the station shows: the heart's types as `station.v1` messages, with the operator's next action in words.

use intermediate_ca::residency::{activation_to_wire, standing_to_wire};
use issuance::{Issuance, LotName, State, Timestamp, certificate, residency::Known};
use journal::commands::Words as _;
use prost_types::Timestamp as WireTimestamp;
use proto::station::v1::{self as wire, issuance::State as WireState};

use crate::{
    board::Board,
    fixtures::Fixtures,
    ledger::{Change, Changed, Ledger},
    rows::{GoldenRow, LotRow},
    story::Story,
    watch,
};

/// An issuance as the API shows it. `index` is that of its newest record; the API counts from 1.
#[must_use]
pub fn issuance(issuance: &Issuance, index: u64) -> wire::Issuance {
    let state = &issuance.state;
    let issued = state.issued();
    let (state_now, stopped_in) = match state {
        State::Failed(inner, _) => (WireState::Failed, wire_state(inner)),
        State::Quarantined(inner, _) => (WireState::Quarantined, wire_state(inner)),
        State::Cancelled(inner, _) => (WireState::Cancelled, wire_state(inner)),
        other => (wire_state(other), WireState::Unspecified),
    };
    wire::Issuance {
        name: format!("issuances/{}", issuance.id),
        lot: issuance.request.lot.to_string(),
        device_serial: issuance.request.device_serial.to_string(),
        profile: issuance.request.profile.to_string(),
        fixture: issuance.fixture.to_string(),
        common_name: issuance.request.common_name.to_string(),
        state: state_now.into(),
        stopped_in: stopped_in.into(),
        failure: failure(issuance),
        next_action: next_action(issuance).to_owned(),
        create_time: Some(timestamp(issuance.created)),
        update_time: Some(timestamp(issuance.updated)),
        sequence: index + 1,
        key: state.key().map(|key| key.location.to_string()).unwrap_or_default(),
        certificate_location: state.placed().map(|placed| placed.location.to_string()).unwrap_or_default(),
        certificate_serial: issued
            .and_then(|issued| certificate::certificate_serial(&issued.certificate))
            .unwrap_or_default(),
        certificate: issued.map(|issued| issued.certificate.clone()).unwrap_or_default(),
        chain: issued.map(|issued| issued.chain.clone()).unwrap_or_default(),
        claimed_by: issuance.claimed_by.clone(),
        supersedes: issuance.request.supersedes.map(|id| format!("issuances/{id}")).unwrap_or_default(),
        authenticated_by: issuance.request.authenticated_by.clone(),
        surplus: issuance.surplus.iter().map(|der| surplus(der)).collect(),
        residency: issuance.residency.map(residency),
    }
}

fn residency(known: Known) -> wire::Residency {
    wire::Residency {
        standing: standing_to_wire(known.standing).into(),
        activation: activation_to_wire(known.activation).into(),
    }
}

fn surplus(der: &[u8]) -> wire::SurplusCertificate {
    let certificate_serial = certificate::certificate_serial(der).unwrap_or_default();
    wire::SurplusCertificate { certificate_serial, certificate: der.to_vec() }
}

fn failure(issuance: &Issuance) -> Option<wire::Failure> {
    match &issuance.state {
        State::Cancelled(_, reason) if issuance.scrapped => {
            let message = format!("a supervisor scrapped the device: {reason}");
            Some(wire::Failure { reason: "SCRAPPED".to_owned(), message })
        }
        State::Cancelled(_, reason) => {
            let message = format!("a supervisor cancelled it: {reason}");
            Some(wire::Failure { reason: "CANCELLED".to_owned(), message })
        }
        other => other.stop().map(|stop| wire::Failure { reason: stop.reason.clone(), message: stop.message.clone() }),
    }
}

/// A lot as the API shows it.
#[must_use]
pub fn lot(name: &LotName, row: &LotRow) -> wire::Lot {
    wire::Lot {
        name: format!("lots/{name}"),
        profile: row.profile.to_string(),
        quantity: row.quantity,
        started: row.started,
        completed: row.completed,
        state: if row.open { wire::lot::State::Open } else { wire::lot::State::Closed }.into(),
        create_time: Some(timestamp(Timestamp(row.opened_ms))),
        authorisation_id: row.authorisation_id.clone(),
    }
}

/// The station as it is now: what it says of issuances is on the disk.
#[must_use]
pub fn station(ledger: &Ledger, fixtures: &Fixtures, board: &Board) -> wire::Station {
    let seen: Vec<_> = fixtures.all().iter().map(|fixture| (fixture, fixture.status())).collect();
    let mut found: Vec<_> =
        seen.iter().map(|(_, (_, last))| last.and_then(|id| ledger.get(id).ok().flatten())).collect();
    if watch::on_disk(ledger.journal()).is_err() {
        found = seen.iter().map(|(_, (_, last))| last.and_then(|id| ledger.as_synced(id).ok().flatten())).collect();
    }
    let fixtures = seen.into_iter().zip(found).map(|((fixture, (busy, _)), issuance)| wire::Fixture {
        name: format!("fixtures/{}", fixture.name),
        keystore: fixture.kind.as_str().to_owned(),
        state: if busy { wire::fixture::State::Busy } else { wire::fixture::State::Idle }.into(),
        issuance: issuance.map(|(issuance, index)| self::issuance(&issuance, index)),
    });
    let link = board.link();
    let (length, oldest) = ledger.queue();
    let time = |at: Option<Timestamp>| at.map(timestamp);
    let drain = link.pace.filter(|_| length > 0).and_then(|pace| pace.for_all(length).try_into().ok());
    wire::Station {
        station: board.provenance.station.clone(),
        fixtures: fixtures.collect(),
        queue: Some(wire::Queue {
            length: length as u64,
            bound: ledger.queue_bound() as u64,
            oldest_time: time(oldest),
            link_up: link.up.unwrap_or(false),
            link_time: time(link.changed),
            next_attempt_time: time(link.next_attempt),
            last_error: if link.last_error.is_empty() { link.clock } else { link.last_error },
            in_doubt: ledger.in_doubt() as u64,
            drain_duration: drain,
        }),
        profiles: ledger.profiles().iter().map(|pinned| pinned.profile.name.to_string()).collect(),
        halted: board.halted().unwrap_or_default(),
        golden_check: ledger.golden_check().ok().flatten().map(golden_check),
    }
}

fn golden_check(row: GoldenRow) -> wire::GoldenCheck {
    wire::GoldenCheck {
        time: Some(timestamp(Timestamp(row.at_ms))),
        device_serial: row.device_serial.map(|serial| serial.to_string()).unwrap_or_default(),
        fixture: row.fixture.to_string(),
        verified: row.verified,
        claimed_by: row.claimed_by,
        authenticated_by: row.authenticated_by,
    }
}

/// A record as its story tells it.
#[must_use]
pub fn step(index: u64, record: Vec<u8>) -> wire::RecordedStep {
    let head = Story.head(&record).ok();
    wire::RecordedStep {
        sequence: index + 1,
        time: head.as_ref().map(|head| timestamp(Timestamp(head.time_ms))),
        kind: head.map(|head| head.kind).unwrap_or_default(),
        sentence: Story.sentence(&record).unwrap_or_default(),
        record,
    }
}

/// A change as the watchers see it.
#[must_use]
pub fn event(change: &Change) -> wire::Event {
    let what = match &change.what {
        Changed::Issuance(changed) => wire::event::Change::Issuance(issuance(changed, change.index)),
        Changed::Lot(name, row) => wire::event::Change::Lot(lot(name, row)),
        Changed::GoldenCheck(row) => wire::event::Change::GoldenCheck(golden_check(row.clone())),
    };
    wire::Event { sequence: change.index + 1, time: Some(timestamp(change.at)), change: Some(what) }
}

/// A moment as protobuf has it.
#[must_use]
pub fn timestamp(at: Timestamp) -> WireTimestamp {
    let nanos = i32::try_from(at.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    WireTimestamp { seconds: at.seconds(), nanos }
}

fn wire_state(state: &State) -> WireState {
    match state {
        State::Requested => WireState::Requested,
        State::DeviceIdentified(_) => WireState::DeviceIdentified,
        State::KeyGenerationStarted(_) => WireState::KeyGenerationStarted,
        State::KeyGenerated(_) => WireState::KeyGenerated,
        State::ResidencyProven(_) => WireState::ResidencyProven,
        State::RequestSigned(_) => WireState::RequestSigned,
        // Refused is told by the quarantine's reason; what it stopped in is the submission.
        State::Submitted(_) | State::Refused(_) => WireState::Submitted,
        State::InDoubt(..) => WireState::InDoubt,
        // For a person the same: it is here, and its device is needed.
        State::Sealed(_) | State::Issued(_) => WireState::Issued,
        State::WriteStarted(_) => WireState::WriteStarted,
        State::Written(_) => WireState::Written,
        State::Verified(..) => WireState::Verified,
        State::Completed(..) => WireState::Completed,
        State::Failed(..) => WireState::Failed,
        State::Quarantined(..) => WireState::Quarantined,
        State::Cancelled(..) => WireState::Cancelled,
    }
}

fn next_action(issuance: &Issuance) -> &str {
    match &issuance.state {
        State::Requested
        | State::DeviceIdentified(_)
        | State::KeyGenerationStarted(_)
        | State::KeyGenerated(_)
        | State::ResidencyProven(_)
        | State::RequestSigned(_)
        | State::WriteStarted(_)
        | State::Written(_)
        | State::Verified(..) => "Leave the device in the fixture.",
        State::Submitted(_) => "Waiting for the CA. The device may go on the shelf: scan it again later.",
        State::Refused(_) => "Set the device aside for a supervisor.",
        State::Sealed(_) | State::Issued(_) => {
            "The certificate is here. If the device was taken out, put it back and scan it again."
        }
        State::Completed(..) => "Take it out and ship it.",
        State::Failed(_, stop) | State::Quarantined(_, stop) | State::InDoubt(_, stop) => &stop.next_action,
        State::Cancelled(..) if issuance.scrapped => "Scrapped by a supervisor: destroy the device, it is not shipped.",
        State::Cancelled(..) => "Cancelled by a supervisor. Scan the device again to start anew.",
    }
}
