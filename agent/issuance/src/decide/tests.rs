mod sealed;

use super::*;
use crate::{IssuanceId, KeyAlgorithm, Purpose, ResidencyEvidence, simulated::*};

fn fold(records: &[Record]) -> Issuance {
    records.iter().fold(requested(), |issuance, record| issuance.apply(record, NOW))
}

fn decide(world: &World, issuance: &Issuance, input: Input) -> Decision {
    issuance.decide(input, world.context(), NOW).unwrap()
}

/// Folds the decision's records.
fn after(issuance: &Issuance, decision: &Decision) -> Issuance {
    decision.records.iter().fold(issuance.clone(), |issuance, record| issuance.apply(record, NOW))
}

#[track_caller]
fn stopped(world: &World, issuance: &Issuance, input: Input, reason: &str, quarantined: bool) {
    let decision = decide(world, issuance, input);
    assert_eq!(decision.action, Action::Rest);
    let after = after(issuance, &decision);
    assert_eq!(after.state.stop().expect("stopped").reason, reason);
    assert_eq!(matches!(after.state, State::Quarantined(..)), quarantined, "{}", after.state);
    let stop = after.state.stop().unwrap();
    assert!(stop.next_action.ends_with('.'), "{stop:?}");
}

/// A world whose issuance has passed through all records up to one of this kind.
fn stands_in(state: &str) -> (World, Issuance) {
    let mut world = World::new();
    let records = world.run(requested()).1;
    let mut issuance = requested();
    for record in &records {
        if issuance.state.to_string() == state {
            break;
        }
        issuance = issuance.apply(record, NOW);
    }
    assert_eq!(issuance.state.to_string(), state);
    (world, issuance)
}

fn name_of(record: &Record) -> &'static str {
    match record {
        Record::Requested(_) => "Requested",
        Record::DeviceIdentified { .. } => "DeviceIdentified",
        Record::KeyGenerationStarted { .. } => "KeyGenerationStarted",
        Record::KeyGenerated { .. } => "KeyGenerated",
        Record::ResidencyProven { .. } => "ResidencyProven",
        Record::RequestSigned { .. } => "RequestSigned",
        Record::Submitted { .. } => "Submitted",
        Record::SendStarted { .. } => "SendStarted",
        Record::NotTaken { .. } => "NotTaken",
        Record::InDoubt { .. } => "InDoubt",
        Record::Resubmitted { .. } => "Resubmitted",
        Record::Surplus { .. } => "Surplus",
        Record::Sealed(_) => "Sealed",
        Record::Issued { .. } => "Issued",
        Record::Refused { .. } => "Refused",
        Record::WriteStarted { .. } => "WriteStarted",
        Record::Written => "Written",
        Record::Verified(_) => "Verified",
        Record::Completed => "Completed",
        Record::Failed(_) => "Failed",
        Record::Quarantined(_) => "Quarantined",
        Record::Confirmed { .. } => "Confirmed",
        Record::DeviceChecked(_) => "DeviceChecked",
        Record::Resumed { .. } => "Resumed",
        Record::Released { .. } => "Released",
        Record::Cancelled { .. } => "Cancelled",
    }
}

/// The flow, step by step: what is recorded, what is done next, and whether it waits for the disk.
#[test]
fn the_whole_flow() {
    let mut world = World::new();
    let mut issuance = requested();
    let mut input = world.identified();
    let mut table = Vec::new();
    loop {
        let decision = decide(&world, &issuance, input);
        issuance = after(&issuance, &decision);
        let action = format!("{:?}", decision.action);
        let action = action.split(['(', ' ']).next().unwrap().to_owned();
        let records: Vec<_> = decision.records.iter().map(name_of).collect();
        table.push((records.join("+"), action, decision.action.is_irreversible()));
        match world.act(&issuance, &decision.action) {
            Some(next) => input = next,
            None => break,
        }
    }
    let table: Vec<_> =
        table.iter().map(|(records, action, synced)| (records.as_str(), action.as_str(), *synced)).collect();
    assert_eq!(
        table,
        [
            ("DeviceIdentified", "FindKey", false),
            ("KeyGenerationStarted", "GenerateKey", true),
            ("KeyGenerated", "ProveResidency", false),
            ("ResidencyProven", "SignRequest", false),
            ("RequestSigned", "Submit", false),
            ("Submitted", "AwaitAnswer", true),
            ("Issued", "Write", true),
            ("WriteStarted", "Write", true),
            ("Written", "Verify", false),
            ("Verified+Completed", "Rest", true),
        ]
    );
}

/// What reads back byte for byte must pass validation as it stands there: one that expired since it was written is set aside.
#[test]
fn what_is_read_back_is_validated() {
    let (mut world, issuance) = stands_in("Written");
    let action = issuance.next(world.context());
    let read = world.act(&issuance, &action).unwrap();
    let later = Timestamp(NOW.0 + 400 * DAY * 1000);
    let decision = issuance.decide(read, world.context(), later).unwrap();
    let stopped = after(&issuance, &decision);
    assert_eq!(stopped.state.stop().map(|stop| stop.reason.as_str()), Some("CERTIFICATE_REJECTED"));
    assert!(matches!(stopped.state, State::Quarantined(..)));
}

/// A crash after any record, and after the act that followed it: the fold asks for what is missing, and the flow ends
/// verified, with one key and the same certificate.
#[test]
fn every_prefix_goes_on() {
    let all = World::new().run(requested()).1.len();
    for end in 0..all {
        for acted in [false, true] {
            let mut world = World::new();
            let mut issuance = requested();
            let mut input = world.identified();
            let mut made = 0;
            // Replay until `end` records are there, then crash: perhaps after the act, before its outcome.
            while made < end {
                let decision = decide(&world, &issuance, input);
                for record in decision.records.iter().take(end - made) {
                    issuance = issuance.apply(record, NOW);
                    made += 1;
                }
                if made == end && !acted {
                    break;
                }
                match world.act(&issuance, &decision.action) {
                    Some(next) => input = next,
                    None => break,
                }
            }
            let had_certificate = issuance.state.issued().map(|issued| issued.certificate.clone());
            let (done, _, actions) = world.run(issuance);
            assert!(matches!(done.state, State::Completed(..)), "after {end} ({acted}): {} {actions:?}", done.state);
            assert_eq!(world.generated, 1, "after {end} ({acted})");
            assert_eq!(world.certificate, done.state.issued().map(|issued| issued.certificate.clone()));
            if let Some(certificate) = had_certificate {
                assert_eq!(world.certificate, Some(certificate));
            }
        }
    }
}

/// A TPM's place is closed when the profile says so; a token has nothing to close.
#[test]
fn a_place_is_closed_as_the_profile_says() {
    let mut profile = World::new().profile;
    let token = CertificateLocation::Pkcs11 { cka_id: vec![1], label: "label".into() };
    for write_lock in [true, false] {
        profile.tpm = profile.tpm.map(|places| crate::profile::TpmPlaces { write_lock, ..places });
        for (location, expected) in [(CertificateLocation::NvIndex(0x0180_0010), write_lock), (token.clone(), false)] {
            let Action::Write { locks, .. } = super::write(location, &profile) else { panic!() };
            assert_eq!(locks, expected);
        }
    }
}

/// The same input twice makes no second record of an intent: the state already says it.
#[test]
fn deciding_twice_is_deciding_once() {
    let (world, issuance) = stands_in("KeyGenerationStarted");
    let again = decide(&world, &issuance, Input::KeySought { found: None, made: Made::Unknown });
    assert!(again.records.is_empty() && matches!(again.action, Action::GenerateKey(..)));
    let (world, issuance) = stands_in("WriteStarted");
    let again = decide(&world, &issuance, Input::Writing);
    assert!(again.records.is_empty() && matches!(again.action, Action::Write { .. }));
    for state in ["DeviceIdentified", "KeyGenerated", "Submitted", "Issued", "Written", "Verified"] {
        let (world, issuance) = stands_in(state);
        let again = decide(&world, &issuance, world.identified());
        assert!(again.records.is_empty(), "{state}");
        assert_eq!(again.action, issuance.next(world.context()));
    }
    let (world, issuance) = stands_in("Issued");
    let issued = issuance.state.issued().unwrap().clone();
    let again = decide(&world, &issuance, Input::Issued { certificate: issued.certificate, chain: issued.chain });
    assert!(again.records.is_empty(), "a repeated answer is the one that is here");
}

/// An input that a state does not await is an error that names both; nothing is recorded.
#[test]
fn what_is_not_awaited_is_refused() {
    let (world, issuance) = stands_in("Requested");
    let error = issuance.decide(Input::Written, world.context(), NOW).unwrap_err();
    assert_eq!(error.to_string(), "an issuance that stands in Requested does not await Written");
    let (world, issuance) = stands_in("Completed");
    assert!(issuance.decide(world.identified(), world.context(), NOW).is_err());
}

/// Another device, in each state that knows its own, is set aside; its certificate and key stay in the record.
#[test]
fn another_device_is_set_aside() {
    for state in
        ["DeviceIdentified", "KeyGenerationStarted", "KeyGenerated", "ResidencyProven", "RequestSigned", "Submitted"]
            .into_iter()
            .chain(["Issued", "WriteStarted", "Written", "Verified"])
    {
        let (world, issuance) = stands_in(state);
        let other = Input::Identified { identity: World::identity("2"), known_as: None, known_fingerprint: None };
        stopped(&world, &issuance, other, "NOT_SAME_DEVICE", true);
    }
    // Firmware may have changed.
    let (world, issuance) = stands_in("Submitted");
    let mut identity = World::identity("1");
    if let DeviceIdentity::Token { firmware, .. } = &mut identity {
        *firmware = "2".into();
    }
    let updated = Input::Identified { identity, known_as: None, known_fingerprint: None };
    assert!(decide(&world, &issuance, updated).records.is_empty());
}

/// Hardware that the journal knows by another serial, and a serial that it knows with other hardware, are set aside
/// before anything is done; the known pair is not.
#[test]
fn the_journal_knows_its_devices() {
    let (world, issuance) = stands_in("Requested");
    let identity = World::identity("1");
    let known = |serial: &str, fingerprint| Input::Identified {
        identity: identity.clone(),
        known_as: Some(DeviceSerial::parse(serial).unwrap()),
        known_fingerprint: Some(fingerprint),
    };
    stopped(&world, &issuance, known("SN-9", identity.fingerprint()), "NOT_SAME_DEVICE", true);
    stopped(&world, &issuance, known("SN-1", [0; 32]), "NOT_SAME_DEVICE", true);
    assert_eq!(decide(&world, &issuance, known("SN-1", identity.fingerprint())).records.len(), 1);
}

/// A profile that has no place in such a device stops before anything is done, also when the place was taken out of the
/// configuration half-way.
#[test]
fn a_profile_without_a_place_stops() {
    for state in ["Requested", "KeyGenerated", "Issued"] {
        let (mut world, issuance) = stands_in(state);
        world.profile.pkcs11 = None;
        stopped(&world, &issuance, world.identified(), "MISCONFIGURED", false);
    }
}

/// A key that is there and not ours stops; ours is used again; of another algorithm, it is set aside.
#[test]
fn what_is_in_the_keys_place_counts() {
    let (world, issuance) = stands_in("DeviceIdentified");
    let found = |algorithm, made| Input::KeySought { found: Some(public_key(&generate(algorithm))), made };
    let other = Made::For(IssuanceId::from_slice(&[9; 16]).unwrap());
    stopped(&world, &issuance, found(KeyAlgorithm::P256, Made::Unknown), "LOCATION_OCCUPIED", false);
    stopped(&world, &issuance, found(KeyAlgorithm::P256, other), "LOCATION_OCCUPIED", false);
    stopped(&world, &issuance, found(KeyAlgorithm::P384, Made::Here), "MISMATCH", true);
    let again = decide(&world, &issuance, found(KeyAlgorithm::P256, Made::Here));
    assert!(matches!(again.records[..], [Record::KeyGenerated { reused: true, .. }]));
    // After the intent, what is there is what a crash left.
    let (world, issuance) = stands_in("KeyGenerationStarted");
    let left = decide(&world, &issuance, found(KeyAlgorithm::P256, Made::Unknown));
    assert!(matches!(left.records[..], [Record::KeyGenerated { reused: false, .. }]));
    stopped(&world, &issuance, found(KeyAlgorithm::P384, Made::Unknown), "MISMATCH", true);
    stopped(&world, &issuance, Input::KeyGenerated(public_key(&generate(KeyAlgorithm::P384))), "MISMATCH", true);
}

/// Hardware that was another device before: its key is replaced by a supervisor's word alone, by an intent that names the key,
/// and again after a crash before the removal; the key that stands there afterwards is ours. A key that nobody knows stays.
#[test]
fn a_key_made_for_another_device_is_replaced_by_a_supervisors_word() {
    let (world, mut issuance) = stands_in("DeviceIdentified");
    issuance.new_hardware = true;
    let other = IssuanceId::from_slice(&[9; 16]).unwrap();
    let (theirs, ours) = (public_key(&generate(KeyAlgorithm::P256)), public_key(&generate(KeyAlgorithm::P256)));
    let found = |key: &PublicKey, made| Input::KeySought { found: Some(key.clone()), made };
    stopped(&world, &issuance, found(&theirs, Made::Unknown), "LOCATION_OCCUPIED", false);
    let decision = decide(&world, &issuance, found(&theirs, Made::For(other)));
    let [intent @ Record::KeyGenerationStarted { replaces: Some(replaced), .. }] = &decision.records[..] else {
        panic!("{decision:?}")
    };
    assert_eq!((&replaced.public_key, replaced.issuance), (&theirs, other));
    assert!(decision.action.is_irreversible(), "the intent is on the disk first");
    let began = issuance.apply(intent, NOW);
    assert_eq!(began.replaces, Some(other));
    for made in [Made::For(other), Made::Unknown] {
        let again = decide(&world, &began, found(&theirs, made));
        assert!(again.records.is_empty());
        assert!(matches!(again.action, Action::GenerateKey(.., Some(key)) if key == theirs));
    }
    let removed = decide(&world, &began, Input::KeySought { found: None, made: Made::Unknown });
    assert!(matches!(removed.action, Action::GenerateKey(.., None)));
    let generated = decide(&world, &began, found(&ours, Made::Unknown));
    assert!(matches!(generated.records[..], [Record::KeyGenerated { reused: false, .. }]));
}

/// Other hardware under a known serial, and known hardware under another serial: set aside, but for a supervisor's word.
#[test]
fn new_hardware_is_met_by_a_supervisors_word() {
    let world = World::new();
    let Input::Identified { identity, .. } = world.identified() else { panic!("identified") };
    let known = [
        Input::Identified { identity: identity.clone(), known_as: None, known_fingerprint: Some([9; 32]) },
        Input::Identified { identity, known_as: DeviceSerial::parse("SN-2").ok(), known_fingerprint: None },
    ];
    for input in known {
        stopped(&world, &requested(), input.clone(), "NOT_SAME_DEVICE", true);
        let said = Issuance { new_hardware: true, ..requested() };
        assert!(matches!(decide(&world, &said, input).records[..], [Record::DeviceIdentified { .. }]));
    }
}

/// Evidence that proves nothing, a request that is not this issuance's, an answer that does not validate, a device that
/// reads back other bytes or does not hold the key: each sets aside, by its reason.
#[test]
fn what_does_not_fit_is_set_aside() {
    let (world, issuance) = stands_in("KeyGenerated");
    let ResidencyEvidence::Token { local, sensitive, always_sensitive, never_extractable, .. } = World::good_evidence()
    else {
        panic!()
    };
    let leaks = ResidencyEvidence::Token { local, sensitive, always_sensitive, extractable: true, never_extractable };
    stopped(&world, &issuance, Input::EvidenceGiven(leaks), "RESIDENCY_UNPROVEN", true);
    let large = ResidencyEvidence::Tpm { public_area: vec![0; 70_000], name: vec![], attestation: None };
    stopped(&world, &issuance, Input::EvidenceGiven(large), "MISMATCH", true);

    let (world, issuance) = stands_in("ResidencyProven");
    let ours = world.key.as_ref().unwrap();
    for request in [request(ours, "sn-1.ca"), request(&generate(KeyAlgorithm::P256), "SN-1.ca"), vec![0x30]] {
        stopped(&world, &issuance, Input::RequestSigned(request), "MISMATCH", true);
    }

    let (world, issuance) = stands_in("Written");
    let key = world.key.as_ref().unwrap();
    let read_back = |certificate: Option<Vec<u8>>, nonce: &[u8], signed: &[u8]| Input::ReadBack {
        certificate,
        nonce: nonce.to_vec(),
        signature: rcgen::SigningKey::sign(key, signed).unwrap(),
    };
    let certificate = world.certificate.clone().unwrap();
    let mut changed = certificate.clone();
    changed[40] ^= 1;
    for state in ["Written", "Verified"] {
        let issuance = if state == "Written" {
            issuance.clone()
        } else {
            after(&issuance, &decide(&world, &issuance, read_back(Some(certificate.clone()), b"n", b"n")))
        };
        let issuance = match &issuance.state {
            State::Completed(placed, verification) => {
                Issuance { state: State::Verified(placed.clone(), verification.clone()), ..issuance.clone() }
            }
            _ => issuance,
        };
        stopped(&world, &issuance, read_back(None, b"n", b"n"), "NOT_FOUND", true);
        stopped(&world, &issuance, read_back(Some(changed.clone()), b"n", b"n"), "MISMATCH", true);
        stopped(&world, &issuance, read_back(Some(certificate.clone()), b"n", b"m"), "MISMATCH", true);
    }
}

/// An answer that does not validate is recorded as it came, set aside, and never written.
#[test]
fn a_wrong_certificate_is_recorded_and_set_aside() {
    let (mut world, issuance) = stands_in("Submitted");
    let key = world.key.take().unwrap();
    let recipe = Recipe::right(Purpose::DeviceCa { path_length: 3 }, "SN-1.ca", &key);
    let answer = Input::Issued { certificate: world.issuer.issue(&recipe), chain: vec![] };
    let decision = decide(&world, &issuance, answer);
    assert_eq!(decision.action, Action::Rest);
    let after = after(&issuance, &decision);
    assert_eq!(after.state.stop().unwrap().reason, "CERTIFICATE_REJECTED");
    assert!(after.state.issued().is_some() && after.state.awaits_answer().is_none());
    assert!(after.validated_certificate(world.context(), NOW).is_err());
}

/// What a CA answers has bounds: a chain or a message that no record can hold is refused, not a reason to stop.
#[test]
fn an_answer_that_is_too_large_is_refused() {
    let (world, issuance) = stands_in("Submitted");
    let answer = Input::Issued { certificate: vec![0; 70_000], chain: vec![] };
    let after_large = after(&issuance, &decide(&world, &issuance, answer));
    assert!(after_large.state.stop().unwrap().message.contains("ANSWER_TOO_LARGE"));
    assert!(after_large.state.awaits_answer().is_none());
    let refused = Input::Refused { reason: "NO".into(), message: "x".repeat(100_000) };
    for record in decide(&world, &issuance, refused).records {
        assert!(format!("{record:?}").len() < 10_000);
    }
}

/// A refusal is recorded, sets aside, and is no longer awaited; repeated, it changes nothing. A certificate that comes all
/// the same is recorded and does not count.
#[test]
fn a_refusal_is_final() {
    let (world, issuance) = stands_in("Submitted");
    let refused = || Input::Refused { reason: "COMMON_NAME_TAKEN".into(), message: "it is taken".into() };
    let decision = decide(&world, &issuance, refused());
    assert!(matches!(decision.records[..], [Record::Refused { .. }, Record::Quarantined(_)]));
    let after = self::after(&issuance, &decision);
    assert!(after.state.awaits_answer().is_none());
    let message = &after.state.stop().unwrap().message;
    assert!(message.contains("it is taken") && message.contains("COMMON_NAME_TAKEN"));
    assert!(decide(&world, &after, refused()).records.is_empty());
    let all_the_same = decide(&world, &after, world.answer());
    assert!(matches!(all_the_same.records[..], [Record::Surplus { .. }]));
    assert_eq!(self::after(&after, &all_the_same).state, after.state);
}

/// What may pass is tried again, up to the fourth time; then a person is asked. What was stopped or done is not changed
/// by a fault that comes after it.
#[test]
fn faults_are_tried_again_and_then_told() {
    let (world, issuance) = stands_in("WriteStarted");
    let fault = |kind, attempt| Input::Failed { fault: Fault::new(kind, "could not write"), attempt };
    for attempt in 1..4 {
        let decision = decide(&world, &issuance, fault(FaultKind::LinkLost, attempt));
        assert!(decision.records.is_empty() && matches!(decision.action, Action::Retry { .. }));
    }
    stopped(&world, &issuance, fault(FaultKind::LinkLost, 4), "LINK_LOST", false);
    stopped(&world, &issuance, fault(FaultKind::HardwareFailure, 1), "HARDWARE_FAILURE", true);
    let halt = decide(&world, &issuance, fault(FaultKind::JournalFailed, 1));
    assert!(halt.records.is_empty() && matches!(halt.action, Action::Halt(words) if words.ends_with('.')));

    let stop = Stop::of(&Fault::new(FaultKind::DeviceAbsent, "absent"));
    for issuance in
        [issuance.clone().apply(&Record::Quarantined(stop.clone()), NOW), fold(&World::new().run(requested()).1)]
    {
        for kind in [FaultKind::DeviceAbsent, FaultKind::HardwareFailure, FaultKind::LinkLost] {
            let decision = decide(&world, &issuance, fault(kind, 9));
            assert_eq!((decision.records.len(), decision.action), (0, Action::Rest));
        }
    }
    let failed = issuance.apply(&Record::Failed(stop), NOW);
    assert!(decide(&world, &failed, fault(FaultKind::DeviceAbsent, 1)).records.is_empty());
    stopped(&world, &failed, fault(FaultKind::HardwareFailure, 1), "HARDWARE_FAILURE", true);
}

/// An identity that no device has is refused before it is recorded.
#[test]
fn an_identity_has_a_bound() {
    let (world, issuance) = stands_in("Requested");
    let identity = DeviceIdentity::Tpm {
        ek_certificate: Some(vec![0; 70_000]),
        srk_name: vec![],
        manufacturer: String::new(),
        firmware: String::new(),
    };
    let input = Input::Identified { identity, known_as: None, known_fingerprint: None };
    stopped(&world, &issuance, input, "MISMATCH", true);
}
