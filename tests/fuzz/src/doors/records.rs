//! Records, which another version or another program wrote, and what they are folded into.

use std::sync::Arc;

use intermediate_ca::CaProjection;
use issuance::{
    Issuance, Record, State,
    decide::Context,
    profile::KeystoreKind,
    record::Requested,
    submission::{Repeats, Terms, WhenInDoubt},
};
use journal::{Journal, JournalOptions, Projection, Projections, commands::Words};
use prost::Message as _;
use proto::journal::v1::{self as wire, CaRecord, StationRecord};
use station::{
    records::{Entry, What},
    rows::StationRows,
};

use super::line::{AT, LINE};
use crate::{
    Door,
    input::{Parts, sized},
    key::{NOW, sha256},
    memory_disk::MemoryDisk,
    tree::{self, Form},
};

pub(super) const STATION_RECORD: Door = Door {
    name: "station-record",
    property: "a record of the station is understood in full or refused: what is read is written again without loss, and rows and \
               words are made of exactly what is understood",
    enter: station_record,
    seeds: station_records,
    taken: 213,
    octets_most: 4096,
};

pub(super) const CA_RECORD: Door = Door {
    name: "ca-record",
    property: "a record of the CA without an event that this version knows is refused by all who read it; rows are made of any order \
               of the others, or refused in words",
    enter: ca_record,
    seeds: ca_records,
    taken: 33,
    octets_most: 4096,
};

pub(super) const ISSUANCE: Door = Door {
    name: "issuance",
    property: "any order of records folds; what is decided in the state that comes of it follows from it: no second key beside the \
               first, no certificate for what was cancelled, and nothing for what is completed but its scrapping",
    enter: issuance,
    seeds: issuances,
    taken: 21,
    octets_most: 512,
};

/// An issuance whose certificate is awaited.
pub(super) fn submitted() -> Issuance {
    let line = &*LINE;
    let requested = Issuance::requested(line.id, &line.requested(), AT);
    line.records[1..=6].iter().fold(requested, |issuance, record| issuance.apply(record, AT))
}

/// The certificate that it gets, and what it asks for, DER.
pub(super) fn answered() -> (Vec<u8>, Vec<u8>) {
    (LINE.certificate.clone(), LINE.request.clone())
}

/// The same record, when all that it says is said in one way.
fn plain(mut record: StationRecord) -> StationRecord {
    use wire::station_record::Event;
    // Evidence is older than what it is worth: nothing said is the device's own word. And an endorsement without anything in it
    // is none.
    if let Some(Event::ResidencyProven(proven)) = &mut record.event {
        let standing = intermediate_ca::residency::standing_from_wire(proven.standing());
        proven.standing = intermediate_ca::residency::standing_to_wire(standing).into();
        if let Some(wire::residency_proven::Evidence::Tpm(evidence)) = &mut proven.evidence
            && let Some(attestation) = &mut evidence.attestation
        {
            attestation.endorsement.get_or_insert_default();
        }
    }
    record
}

/// The first octet: whether a record follows, or its tree.
fn station_record(octets: &[u8]) -> bool {
    let Some((choice, octets)) = octets.split_first() else { return false };
    let built = (choice & 1 == 1).then(|| tree::built(Form::Protobuf, octets));
    let octets = built.as_deref().unwrap_or(octets);
    let read = Entry::decode(octets);
    let story = station::story::Story;
    assert_eq!(story.head(octets).is_ok(), read.is_ok());
    assert_eq!(story.sentence(octets).is_ok(), read.is_ok());
    let Ok(entry) = read else { return false };
    let written = entry.encode();
    assert_eq!(Entry::decode(&written).expect("what is written is read"), entry);
    let wire = StationRecord::decode(octets).expect("it was read");
    // What belongs to no issuance says nothing of one.
    if matches!(entry.what, What::Issuance(..) | What::RequestRepeated { .. }) {
        let again = StationRecord::decode(&written[..]).expect("what is written is read");
        assert_eq!(again, plain(wire), "something was lost on the way");
    }
    assert!(!story.sentence(octets).expect("it was read").is_empty());
    story.json(octets).expect("it was read");
    rows(StationRows, vec![octets.to_vec()]);
    true
}

/// Makes rows of entries as a start does.
fn rows<P: Projection>(projection: P, entries: Vec<Vec<u8>>) -> bool {
    let entries: Vec<Vec<u8>> = entries.into_iter().filter(|entry| !entry.is_empty()).collect();
    let options = JournalOptions { segment_bytes: 64 * 1024, ..JournalOptions::new("memory", "station-agent/fuzz") };
    let (journal, _) = Journal::open_unthreaded(Arc::new(MemoryDisk::default()), &options).expect("a new journal");
    journal.append(entries).expect("entries of a fitting size").wait().expect("a sound disk");
    match Projections::in_memory(&journal, projection) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn entry(what: What) -> Vec<u8> {
    Entry { at: AT, what }.encode()
}

fn station_records() -> Vec<Vec<u8>> {
    let line = &*LINE;
    let mut seeds: Vec<Vec<u8>> =
        line.records.iter().map(|record| entry(What::Issuance(line.id, record.clone()))).collect();
    let Requested { lot, profile, .. } = line.requested();
    seeds.push(entry(What::LotOpened {
        lot: lot.clone(),
        profile,
        quantity: 10,
        authorisation_id: "order-1".to_owned(),
        authenticated_by: "mes-1".to_owned(),
    }));
    seeds.push(entry(What::LotClosed { lot, authenticated_by: "mes-1".to_owned() }));
    seeds.push(entry(What::RequestRepeated {
        issuance: line.id,
        request_id: "r-2".to_owned(),
        claimed_by: "badge".to_owned(),
        authenticated_by: "mes-1".to_owned(),
    }));
    // A rework.
    let requested = Requested { supersedes: Some(line.id), new_hardware: true, ..line.requested() };
    seeds.push(entry(What::Issuance(line.id, Record::Requested(Box::new(requested)))));
    let trees: Vec<Vec<u8>> = seeds.iter().map(|record| tree::taken_apart(Form::Protobuf, record)).collect();
    let cut = trees.iter().flat_map(|tree| tree::cuts(tree));
    let trees = trees.iter().cloned().chain(cut).map(|tree| [vec![1], tree].concat());
    seeds.into_iter().map(|record| [vec![0], record].concat()).chain(trees).collect()
}

/// Whether trees follow; then several records, each with its length before it.
fn ca_record(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let are_trees = parts.octet() & 1 == 1;
    let story = intermediate_ca::Story;
    let mut entries = Vec::new();
    while !parts.is_empty() && entries.len() < 8 {
        let built = if are_trees { tree::built(Form::Protobuf, parts.sized()) } else { parts.sized().to_vec() };
        let record = built.as_slice();
        let is_known = CaRecord::decode(record).is_ok_and(|record| record.event.is_some());
        assert_eq!(story.head(record).is_ok(), is_known);
        assert_eq!(story.sentence(record).is_ok_and(|words| !words.is_empty()), is_known);
        if is_known {
            story.json(record).expect("it was read");
        }
        entries.push(record.to_vec());
    }
    let borrowed: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    let _ = story.certificate(&borrowed);
    rows(CaProjection, entries)
}

fn ca_records() -> Vec<Vec<u8>> {
    use wire::ca_record::Event;
    let line = &*LINE;
    let text = |text: &str| text.to_owned();
    let certificate = crate::key::to_be_signed(&line.certificate);
    let planned = wire::CertificatePlanned {
        authenticated_by: text("station-1"),
        device_serial: text("SN-1"),
        lot: text("lot-1"),
        profile: text("device-ca"),
        issuer: text("device-ca"),
        request_sha256: sha256(&line.request).to_vec(),
        certification_request: line.request.clone(),
        tbs_certificate: certificate,
        common_name: text("SN-1.ca"),
        certificate_serial: vec![7; 16],
        key_sha256: line.key.sha256().to_vec(),
        generation: 1,
        lot_used: 1,
        ..wire::CertificatePlanned::default()
    };
    let signature = wire::LotSignature {
        jti: text("order-1"),
        key_sha256: vec![1; 32],
        content_sha256: vec![2; 32],
        ..wire::LotSignature::default()
    };
    let lot = wire::LotSet {
        lot: text("lot-1"),
        profile: text("device-ca"),
        quantity: 2,
        signature: Some(signature),
        ..wire::LotSet::default()
    };
    let events = vec![
        Event::LotSet(lot),
        Event::CertificatePlanned(planned),
        Event::CertificateSigned(wire::CertificateSigned {
            certificate_serial: vec![7; 16],
            ..wire::CertificateSigned::default()
        }),
        Event::IssuanceVerified(wire::IssuanceVerified::default()),
        Event::Revoked(wire::Revoked {
            issuer: text("device-ca"),
            certificate_serial: vec![7; 16],
            reason: text("keyCompromise"),
            ..wire::Revoked::default()
        }),
        Event::RequestRefused(wire::RequestRefused { reason: text("R"), message: text("m"), ..Default::default() }),
        Event::LotAuthorisationPart(wire::LotAuthorisationPart::default()),
        Event::LotEnded(wire::LotEnded { lot: text("lot-1"), ..Default::default() }),
        Event::DeviceScrapped(wire::DeviceScrapped {
            lot: text("lot-1"),
            device_serial: text("SN-1"),
            ..Default::default()
        }),
        Event::LotReported(wire::LotReported { lot: text("lot-1"), ..Default::default() }),
        Event::CallerDisabled(wire::CallerDisabled { name: text("station-1"), ..Default::default() }),
        Event::CallerEnabled(wire::CallerEnabled { name: text("station-1"), ..Default::default() }),
        Event::CrlPlanned(wire::CrlPlanned { list: text("device-ca"), number: 1, ..Default::default() }),
        Event::CrlSigned(wire::CrlSigned::default()),
        Event::CaCertificatePlanned(wire::CaCertificatePlanned { ca: text("device-ca.2"), ..Default::default() }),
        Event::CaCertificateSigned(wire::CaCertificateSigned { ca: text("device-ca.2"), ..Default::default() }),
        Event::RolloverStepped(wire::RolloverStepped::default()),
    ];
    let record = |event: Event| {
        let record = CaRecord { time_ms: NOW, issuance: line.id.as_bytes().to_vec(), event: Some(event) };
        record.encode_to_vec()
    };
    let each: Vec<Vec<u8>> = events.into_iter().map(record).collect();
    let all = [vec![0], each[..6].iter().flat_map(sized).collect()].concat();
    let tree = |record: &Vec<u8>| [vec![1], sized(tree::taken_apart(Form::Protobuf, record))].concat();
    let plain = |record: &Vec<u8>| [vec![0], sized(record)].concat();
    each.iter().map(tree).chain(each.iter().map(plain)).chain([all]).collect()
}

/// The first octet: what the CA promises. Then a record and an input by turns, each by its number.
fn issuance(octets: &[u8]) -> bool {
    let line = &*LINE;
    let Some((promises, steps)) = octets.split_first() else { return false };
    let terms = Terms {
        repeats: if promises & 1 == 0 { Repeats::Same } else { Repeats::New },
        in_doubt: if promises & 2 == 0 { WhenInDoubt::Ask } else { WhenInDoubt::Resubmit },
    };
    let context = Context {
        profile: &line.profile,
        issuers: &line.issuers,
        roots: &line.roots,
        endorsement: None,
        authority: "ca-1",
        terms,
        fixture: &line.fixture,
        keystore: if promises & 4 == 0 { KeystoreKind::Pkcs11 } else { KeystoreKind::Tpm },
    };
    let mut state = Issuance::requested(line.id, &line.requested(), AT);
    let Requested { lot, profile, .. } = line.requested();
    let (authorisation_id, authenticated_by) = (String::new(), "mes-1".to_owned());
    let mut entries = vec![
        entry(What::LotOpened { lot, profile, quantity: 10, authorisation_id, authenticated_by }),
        entry(What::Issuance(line.id, line.records[0].clone())),
    ];
    for step in steps.chunks(2) {
        let [record, rest @ ..] = step else { break };
        let record = &line.records[usize::from(*record) % line.records.len()];
        state = follows(state, record);
        entries.push(entry(What::Issuance(line.id, record.clone())));
        let _ = state.next(context);
        let Some(input) = rest.first() else { break };
        let input = line.inputs[usize::from(*input) % line.inputs.len()].clone();
        let Ok(decision) = state.decide(input, context, AT) else { continue };
        decided(&state, &decision.records);
        for record in &decision.records {
            state = follows(state, record);
            entries.push(entry(What::Issuance(line.id, record.clone())));
        }
        let _ = station::view::issuance(&state, 1);
    }
    rows(StationRows, entries) && matches!(state.state, State::Completed(..))
}

fn follows(state: Issuance, record: &Record) -> Issuance {
    let before = state.clone();
    let after = state.apply(record, AT);
    assert_eq!(before.clone().apply(record, AT), after, "twice the same");
    assert!(before.scrapped <= after.scrapped);
    match (&before.state, &after.state) {
        (State::Completed(..), State::Completed(..)) | (State::Cancelled(..), State::Cancelled(..)) => {}
        (State::Completed(..), State::Cancelled(..)) => assert!(after.scrapped, "completed, and cancelled"),
        (State::Completed(..) | State::Cancelled(..), other) => panic!("an end that was none: {other}"),
        _ => {}
    }
    after
}

fn decided(state: &Issuance, records: &[Record]) {
    let makes_key =
        |record: &&Record| matches!(record, Record::KeyGenerationStarted { .. } | Record::KeyGenerated { .. });
    assert!(state.state.key().is_none() || !records.iter().any(|record| makes_key(&record)), "a second key");
    let writes = |record: &&Record| matches!(record, Record::WriteStarted { .. } | Record::Written | Record::Completed);
    if matches!(state.state, State::Cancelled(..) | State::Completed(..)) {
        assert!(!records.iter().any(|record| writes(&record)), "written after its end: {records:?}");
    }
}

fn issuances() -> Vec<Vec<u8>> {
    // As it goes when all goes well, and the ways aside.
    let well = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    let paired = |records: &[u8], input: u8| records.iter().flat_map(|record| [*record, input]).collect::<Vec<u8>>();
    let mut seeds: Vec<Vec<u8>> = (0..26).map(|input| [vec![input % 8], paired(&well, input)].concat()).collect();
    seeds.push([vec![1], paired(&[1, 3, 4, 5, 29, 19, 21, 22, 24, 7, 8], 13)].concat());
    seeds.push([vec![2], paired(&[14, 16, 13, 1, 26, 3, 12, 13, 4, 5, 6, 25, 15, 17, 7, 23], 14)].concat());
    seeds
}
