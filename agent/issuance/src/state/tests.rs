use proptest::prelude::*;

use super::*;
use crate::{
    Disposition, LotName, ResidencyEvidence,
    simulated::{NOW, World, requested},
};

fn stop() -> Stop {
    Stop { reason: "R".into(), message: "m".into(), next_action: "n".into() }
}

fn resumed() -> Record {
    Record::Resumed {
        fixture: FixtureName::parse("fixture-2").unwrap(),
        claimed_by: "badge-2".into(),
        authenticated_by: "mes".into(),
    }
}

fn issued() -> Record {
    Record::Issued { certificate: vec![1], chain: vec![vec![2]] }
}

fn refused() -> Record {
    Record::Refused { reason: "NO".into(), message: "no".into() }
}

fn fold(records: &[Record]) -> Issuance {
    records.iter().fold(requested(), |issuance, record| issuance.apply(record, NOW))
}

/// The records of a good issuance, as the rules make them.
fn good() -> Vec<Record> {
    World::new().run(requested()).1
}

fn until(records: &[Record], last: fn(&Record) -> bool) -> Vec<Record> {
    let end = records.iter().position(last).unwrap() + 1;
    records[..end].to_vec()
}

fn submitted() -> Vec<Record> {
    until(&good(), |record| matches!(record, Record::Submitted { .. }))
}

fn any_record() -> impl Strategy<Value = Record> {
    let mut records = good();
    records.extend([
        issued(),
        refused(),
        resumed(),
        Record::Failed(stop()),
        Record::Quarantined(stop()),
        Record::Completed,
        Record::ResidencyProven {
            evidence: ResidencyEvidence::Tpm { public_area: vec![], name: vec![], attestation: None },
            standing: crate::residency::Standing::Stated,
        },
        Record::SendStarted { authority: "ca-1".into() },
        Record::NotTaken { message: "m".into() },
        Record::InDoubt { message: "m".into() },
        Record::Resubmitted {
            authority: "ca-2".into(),
            sends_recorded: true,
            claimed_by: "s".into(),
            authenticated_by: "s".into(),
        },
        Record::Surplus { certificate: vec![9], chain: vec![] },
        Record::Sealed(crate::residency::SealedCertificate {
            credential: crate::residency::credential::Credential { blob: vec![1], encrypted_secret: vec![2] },
            certificate: vec![3],
            chain: vec![],
        }),
    ]);
    records.push(Record::Released { claimed_by: "s".into(), authenticated_by: "s".into(), new_hardware: false });
    records.push(Record::Cancelled {
        scrapped: true,
        reason: "r".into(),
        claimed_by: "s".into(),
        authenticated_by: "s".into(),
    });
    records.push(Record::Cancelled {
        scrapped: false,
        reason: "r".into(),
        claimed_by: "s".into(),
        authenticated_by: "s".into(),
    });
    records.push(Record::Requested(Box::new(crate::record::Requested {
        lot: LotName::parse("lot-2").unwrap(),
        ..requested().request
    })));
    prop::sample::select(records)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any records in any order: no panic; what is completed or cancelled stays so, what is quarantined leaves it by a
    /// supervisor's word alone, what was asked for never changes, and a key or certificate that is here is never lost.
    #[test]
    fn a_fold_is_total(records in prop::collection::vec(any_record(), 0..40)) {
        let mut issuance = requested();
        for record in &records {
            let before = issuance.clone();
            issuance = issuance.apply(record, NOW);
            prop_assert_eq!(&issuance.request, &before.request);
            match &before.state {
                State::Completed(..) if issuance.scrapped => {
                    prop_assert!(matches!(&issuance.state, State::Cancelled(inner, _) if **inner == before.state));
                }
                State::Completed(..) => prop_assert_eq!(&issuance.state, &before.state),
                State::Cancelled(..) => prop_assert!(matches!(issuance.state, State::Cancelled(..))),
                // It leaves doubt by an answer, a supervisor's word, or the device's own trouble.
                State::InDoubt(..) => {
                    let follows = matches!((&issuance.state, record),
                    (State::InDoubt(..), _)
                        | (State::Submitted(_), Record::Resubmitted { .. })
                        | (State::Issued(_), Record::Issued { .. })
                        | (State::Sealed(_), Record::Sealed(_))
                        | (State::Quarantined(..), Record::Refused { .. } | Record::Quarantined(_))
                        | (State::Failed(..), Record::Failed(_))
                        | (State::Cancelled(..), Record::Cancelled { .. })
                    );
                    prop_assert!(follows, "{} after {record:?}", issuance.state);
                }
                State::Quarantined(_, stop) if !matches!(record, Record::Released { .. } | Record::Cancelled { .. }) => {
                    prop_assert_eq!(issuance.state.stop(), Some(stop));
                }
                _ => {}
            }
            if before.state.issued().is_some() {
                prop_assert_eq!(issuance.state.issued(), before.state.issued());
            }
            if before.state.was_issued() {
                prop_assert!(issuance.state.was_issued(), "what is sealed is kept until it is open");
            }
            prop_assert!(issuance.surplus.starts_with(&before.surplus), "what is to be revoked is never forgotten");
            if before.state.key().is_some() {
                prop_assert_eq!(issuance.state.key(), before.state.key());
            }
        }
    }
}

/// The records of a good issuance lead through each state once, in order.
#[test]
fn a_good_issuance_passes_through_every_state() {
    let mut issuance = requested();
    let mut names = vec![issuance.state.to_string()];
    for record in good() {
        issuance = issuance.apply(&record, NOW);
        names.push(issuance.state.to_string());
    }
    assert_eq!(
        names,
        [
            "Requested",
            "DeviceIdentified",
            "KeyGenerationStarted",
            "KeyGenerated",
            "ResidencyProven",
            "RequestSigned",
            "Submitted",
            "Issued",
            "WriteStarted",
            "Written",
            "Verified",
            "Completed"
        ]
    );
}

/// An answer that comes after the device failed or was set aside is kept, and a resumed issuance goes on from it.
#[test]
fn a_late_certificate_is_kept() {
    let records = submitted();
    for stopped in [Record::Failed(stop()), Record::Quarantined(stop())] {
        let issuance = fold(&[records.clone(), vec![stopped]].concat());
        assert!(issuance.state.awaits_answer().is_some());
        let after = issuance.apply(&issued(), NOW);
        assert_eq!(after.state.issued().unwrap().certificate, [1]);
        assert!(after.state.awaits_answer().is_none());
        assert!(after.state.stop().is_some());
    }
    let after = fold(&[records, vec![Record::Failed(stop()), issued(), resumed()]].concat());
    assert!(matches!(after.state, State::Issued(_)), "{}", after.state);
    assert_eq!((after.fixture.as_str(), after.claimed_by.as_str()), ("fixture-2", "badge-2"));
}

/// A refusal sets aside by itself, wherever the device is: also when a crash cut the record that says so.
#[test]
fn a_refusal_sets_aside() {
    let records = submitted();
    for (before, reason) in [
        (vec![], "REQUEST_REFUSED"),
        (vec![Record::Failed(stop())], "REQUEST_REFUSED"),
        (vec![Record::Quarantined(stop())], "R"),
    ] {
        let after = fold(&[records.clone(), before, vec![refused()]].concat());
        assert!(matches!(&after.state, State::Quarantined(inner, _) if matches!(**inner, State::Refused(_))));
        assert!(after.state.awaits_answer().is_none());
        assert_eq!(after.state.stop().unwrap().reason, reason);
        assert_eq!(after.clone().apply(&resumed(), NOW).state, after.state);
        assert_eq!(after.clone().apply(&issued(), NOW).state, after.state);
    }
}

/// Failed goes on from where it stopped; a second fault does not replace the first, a quarantine does.
#[test]
fn failed_goes_on_from_where_it_stopped() {
    let records = good();
    for end in 0..records.len() - 1 {
        let before = fold(&records[..end]);
        let failed = before.clone().apply(&Record::Failed(stop()), NOW);
        assert_eq!(failed.state.underlying(), &before.state);
        assert_eq!(
            failed.clone().apply(&Record::Failed(Stop { reason: "X".into(), ..stop() }), NOW).state,
            failed.state
        );
        assert_eq!(failed.clone().apply(&resumed(), NOW).state, before.state);
        let aside = failed.apply(&Record::Quarantined(Stop { reason: "Q".into(), ..stop() }), NOW);
        assert_eq!(aside.state.stop().unwrap().reason, "Q");
        assert_eq!(aside.clone().apply(&resumed(), NOW).state, aside.state);
        assert_eq!(aside.state.underlying(), &before.state);
    }
}

const KINDS: [FaultKind; 23] = [
    FaultKind::DeviceAbsent,
    FaultKind::LinkLost,
    FaultKind::DeadlineExceeded,
    FaultKind::WorkerCrashed,
    FaultKind::DeviceBusy,
    FaultKind::SessionLost,
    FaultKind::PinRejected,
    FaultKind::PinLocked,
    FaultKind::DictionaryAttackLockout,
    FaultKind::StorageFull,
    FaultKind::LocationOccupied,
    FaultKind::NotFound,
    FaultKind::NotSameDevice,
    FaultKind::Unsupported,
    FaultKind::HardwareFailure,
    FaultKind::Mismatch,
    FaultKind::AnswerAltered,
    FaultKind::ResidencyUnproven,
    FaultKind::Misconfigured,
    FaultKind::CertificateRejected,
    FaultKind::RequestRefused,
    FaultKind::FileWriteFailed,
    FaultKind::JournalFailed,
];

/// Every fault, at every attempt, says what follows; in the end it is words that a person can act on, in a sentence.
#[test]
fn every_fault_has_words() {
    let mut reasons = std::collections::BTreeSet::new();
    for kind in KINDS {
        assert!(reasons.insert(kind.reason()), "{} stands for two kinds", kind.reason());
        for attempt in [0, 1, 2, 3, 4, u32::MAX] {
            match kind.disposition(attempt) {
                Disposition::Retry { after } => {
                    assert!(attempt < 4 && after.as_millis() >= 100 && after.as_secs() < 2, "{kind:?}");
                }
                Disposition::AskOperator(words) | Disposition::Quarantine(words) | Disposition::HaltStation(words) => {
                    assert!(words.ends_with('.') && words.len() > 20, "{kind:?}: {words}");
                }
            }
        }
        assert!(!matches!(kind.disposition(4), Disposition::Retry { .. }), "{kind:?} is tried for ever");
        let stop = Stop::of(&Fault::caused(kind, "could not", "x".repeat(100_000)));
        assert!(stop.next_action.ends_with('.') && stop.message.len() < 10_000);
    }
    // A PIN is never tried twice.
    for kind in [FaultKind::PinRejected, FaultKind::PinLocked] {
        assert!(matches!(kind.disposition(1), Disposition::AskOperator(_)));
    }
}
