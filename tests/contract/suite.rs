//! What every keystore promises.

use issuance::{DeviceIdentity, FaultKind, KeyAlgorithm, public_key::Hash, residency};

use crate::{
    bench::{Bench, kind},
    ca,
};

/// Asks a fresh device for a key: "it is not there" is an answer, not a fault, with and without a visit's beginning.
pub(crate) fn an_absent_key_is_none(bench: &mut Bench) {
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap(), None);
    bench.keystore.identify().unwrap();
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap(), None);
    assert_eq!(bench.keystore.read_certificate(&bench.certificate(0)).unwrap(), None);
}

/// The key that generation tells of is the one that is found, by this keystore and by another one.
pub(crate) fn a_generated_key_is_found_again(bench: &mut Bench) {
    let before = bench.keystore.identify().unwrap();
    let key = bench.keystore.generate_key(&bench.key(0), KeyAlgorithm::P256).unwrap();
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap().as_ref(), Some(&key));
    assert_eq!(bench.keystore.find_key(&bench.key(1)).unwrap(), None);
    bench.reopen();
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap().as_ref(), Some(&key));
    assert_eq!(bench.keystore.identify().unwrap(), before);
}

/// A second generation in the same place is refused and leaves the first key as it is.
pub(crate) fn generating_twice_keeps_the_first_key(bench: &mut Bench) {
    let key = bench.keystore.generate_key(&bench.key(0), KeyAlgorithm::P256).unwrap();
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384] {
        let refused = bench.keystore.generate_key(&bench.key(0), algorithm);
        assert_eq!(kind(refused), FaultKind::LocationOccupied);
    }
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap().as_ref(), Some(&key));
}

/// The key that is named is removed, and another is not: the next generation has its place. What is gone already is well.
pub(crate) fn a_removed_key_makes_place(bench: &mut Bench) {
    let (first, second) = (bench.key(0), bench.key(1));
    let key = bench.keystore.generate_key(&first, KeyAlgorithm::P256).unwrap();
    let other = bench.keystore.generate_key(&second, KeyAlgorithm::P256).unwrap();
    assert_eq!(kind(bench.keystore.remove_key(&first, &other)), FaultKind::LocationOccupied);
    assert!(bench.keystore.sign(&first, &[vec![1]]).is_ok(), "it is still there");
    for _ in 0..2 {
        bench.keystore.remove_key(&first, &key).unwrap();
        assert_eq!(bench.keystore.find_key(&first).unwrap(), None);
    }
    let next = bench.keystore.generate_key(&first, KeyAlgorithm::P256).unwrap();
    assert_ne!(next, key);
    let signed = bench.keystore.sign(&first, &[vec![1]]).unwrap();
    assert!(next.verifies(&[1], &signed[0]), "a session knows nothing of the removed key");
    assert_eq!(bench.keystore.find_key(&second).unwrap(), Some(other));
}

/// Each algorithm's signature verifies with the public key that the device gave, and with no other message.
pub(crate) fn signatures_verify_for_each_algorithm(bench: &mut Bench) {
    for (number, algorithm) in bench.algorithms().iter().enumerate() {
        let place = bench.key(number as u8);
        let key = bench.keystore.generate_key(&place, *algorithm).unwrap();
        assert_eq!(key.algorithm(), *algorithm);
        let message = b"a certification request".to_vec();
        let signatures = bench.keystore.sign(&place, std::slice::from_ref(&message)).unwrap();
        assert_eq!(signatures.len(), 1);
        assert!(key.verifies(&message, &signatures[0]), "{algorithm}");
        assert!(!key.verifies(b"another one", &signatures[0]), "{algorithm}");
    }
}

/// With a hash of the caller's choice a token signs, longer and shorter than the key's own; a TPM's keys have one hash, and it
/// says so. Neither gives a signature that was made with another one.
pub(crate) fn another_hash_is_signed_with_or_refused(bench: &mut Bench) {
    let is_tpm = matches!(bench.keystore.identify().unwrap(), DeviceIdentity::Tpm { .. });
    let message = b"a certificate".to_vec();
    for (number, algorithm) in bench.algorithms().iter().enumerate() {
        let place = bench.key(number as u8);
        let key = bench.keystore.generate_key(&place, *algorithm).unwrap();
        for (_, hash) in Hash::NAMES {
            match bench.keystore.sign_with(&place, hash, std::slice::from_ref(&message)) {
                Err(fault) if is_tpm => assert_eq!(fault.kind, FaultKind::Unsupported, "{fault}"),
                signed => {
                    let signed = signed.unwrap();
                    for (_, other) in Hash::NAMES {
                        assert_eq!(
                            key.verifies_with(other, &message, &signed[0]),
                            other == hash,
                            "{algorithm} {hash} {other}"
                        );
                    }
                }
            }
        }
        let own = bench.keystore.sign(&place, std::slice::from_ref(&message)).unwrap();
        assert!(key.verifies(&message, &own[0]), "{algorithm}: its own hash is the default still");
    }
}

/// Fifty messages of very different lengths in one call: as many signatures, in order. None: none.
pub(crate) fn many_messages_are_signed_in_one_call(bench: &mut Bench) {
    let key = bench.keystore.generate_key(&bench.key(0), KeyAlgorithm::P256).unwrap();
    let messages: Vec<Vec<u8>> = (0..50_usize).map(|number| vec![number as u8; number * number * 40]).collect();
    let signatures = bench.keystore.sign(&bench.key(0), &messages).unwrap();
    assert_eq!(signatures.len(), messages.len());
    for (message, signature) in messages.iter().zip(&signatures) {
        assert!(key.verifies(message, signature), "the message of {} bytes", message.len());
    }
    assert!(bench.keystore.sign(&bench.key(0), &[]).unwrap().is_empty());
}

/// The evidence of each kind of key passes the heart's check; a TPM's, which names its key, fails for another one.
pub(crate) fn evidence_is_proof_for_its_key_alone(bench: &mut Bench) {
    let is_tpm = matches!(bench.keystore.identify().unwrap(), DeviceIdentity::Tpm { .. });
    for (number, algorithm) in bench.algorithms().iter().enumerate() {
        let place = bench.key(number as u8);
        let key = bench.keystore.generate_key(&place, *algorithm).unwrap();
        let evidence = bench.keystore.residency_evidence(&place).unwrap();
        residency::verify(&evidence, &key).unwrap();
        assert_eq!(residency::verify(&evidence, &ca::key()).is_err(), is_tpm);
    }
}

/// Certificates below, at and above the size of one NV command come back exactly as they were written.
pub(crate) fn a_certificate_comes_back_byte_for_byte(bench: &mut Bench) {
    let key = bench.keystore.generate_key(&bench.key(0), KeyAlgorithm::P256).unwrap();
    for (number, length) in bench.certificate_lengths().iter().enumerate() {
        let certificate = ca::certificate(&key, *length);
        let place = bench.certificate(number as u8);
        bench.keystore.write_certificate(&place, &certificate).unwrap();
        let read = bench.keystore.read_certificate(&place).unwrap();
        assert_eq!(read.as_deref(), Some(certificate.der()), "{length} bytes");
    }
}

/// The same certificate again is no fault; another one, of the same or another length, is refused, and the first stays.
pub(crate) fn writing_again_changes_nothing_and_another_is_refused(bench: &mut Bench) {
    let place = bench.certificate(0);
    let certificate = ca::certificate(&ca::key(), 900);
    for _ in 0..2 {
        bench.keystore.write_certificate(&place, &certificate).unwrap();
    }
    for length in [900, 901] {
        let refused = bench.keystore.write_certificate(&place, &ca::certificate(&ca::key(), length));
        assert_eq!(kind(refused), FaultKind::LocationOccupied);
    }
    assert_eq!(bench.keystore.read_certificate(&place).unwrap().as_deref(), Some(certificate.der()));
}

/// Exactly the certificate that is named is removed, also twice, and then another one is written in its place; where another
/// one stands, of the same length, nothing is touched.
pub(crate) fn a_superseded_certificate_makes_place(bench: &mut Bench) {
    let place = bench.certificate(0);
    let (old, new) = (ca::certificate(&ca::key(), 900), ca::certificate(&ca::key(), 900));
    bench.keystore.remove_certificate(&place, old.der()).unwrap();
    bench.keystore.write_certificate(&place, &old).unwrap();
    bench.keystore.remove_certificate(&place, new.der()).unwrap();
    assert_eq!(bench.keystore.read_certificate(&place).unwrap().as_deref(), Some(old.der()));
    for _ in 0..2 {
        bench.keystore.remove_certificate(&place, old.der()).unwrap();
        assert_eq!(bench.keystore.read_certificate(&place).unwrap(), None);
    }
    bench.keystore.write_certificate(&place, &new).unwrap();
    assert_eq!(bench.keystore.read_certificate(&place).unwrap().as_deref(), Some(new.der()));
}

/// Ten whole visits, each with a fault in it, leave no transient object and no session in the device.
pub(crate) fn ten_visits_leave_nothing_behind(bench: &mut Bench) {
    for visit in 0..10 {
        let place = bench.key(visit);
        bench.keystore.identify().unwrap();
        bench.keystore.generate_key(&place, KeyAlgorithm::P256).unwrap();
        assert!(bench.keystore.generate_key(&place, KeyAlgorithm::P256).is_err());
        bench.keystore.sign(&place, &[vec![visit]]).unwrap();
        bench.keystore.residency_evidence(&place).unwrap();
        assert!(bench.keystore.sign(&bench.key(99), &[vec![visit]]).is_err());
        assert_eq!(bench.loaded_objects(), 0, "visit {visit}");
    }
}

/// After a power cut the same device is met again, with its key and its certificate.
pub(crate) fn key_and_certificate_outlive_a_restart(bench: &mut Bench) {
    let device = bench.keystore.identify().unwrap();
    let key = bench.keystore.generate_key(&bench.key(0), KeyAlgorithm::P256).unwrap();
    let certificate = ca::certificate(&key, 900);
    bench.keystore.write_certificate(&bench.certificate(0), &certificate).unwrap();
    bench.restart_device();
    assert!(bench.keystore.identify().unwrap().is_same_device(&device));
    assert_eq!(bench.keystore.find_key(&bench.key(0)).unwrap().as_ref(), Some(&key));
    let read = bench.keystore.read_certificate(&bench.certificate(0)).unwrap();
    assert_eq!(read.as_deref(), Some(certificate.der()));
    let signatures = bench.keystore.sign(&bench.key(0), &[vec![1]]).unwrap();
    assert!(key.verifies(&[1], &signatures[0]));
}

/// A fixture that was never filled, and one that was emptied after a visit: no device, each time it is asked.
pub(crate) fn no_device_is_absent(bench: &mut Bench) {
    bench.keystore.identify().unwrap();
    bench.remove_device();
    for _ in 0..2 {
        assert_eq!(kind(bench.keystore.identify()), FaultKind::DeviceAbsent);
    }
    bench.reopen();
    assert_eq!(kind(bench.keystore.identify()), FaultKind::DeviceAbsent);
}

/// Signing and evidence without a key are faults that say so.
pub(crate) fn what_is_not_there_is_not_found(bench: &mut Bench) {
    assert_eq!(kind(bench.keystore.sign(&bench.key(0), &[vec![1]])), FaultKind::NotFound);
    assert_eq!(kind(bench.keystore.residency_evidence(&bench.key(0))), FaultKind::NotFound);
}

/// A TPM handle on a token, or a CKA_ID on a TPM, is a mistake in the profile, for every call.
pub(crate) fn a_place_on_another_kind_of_device_is_misconfigured(bench: &mut Bench) {
    let (key, place) = bench.foreign_places();
    let certificate = ca::certificate(&ca::key(), 500);
    let keystore = &mut bench.keystore;
    let faults = [
        kind(keystore.find_key(&key)),
        kind(keystore.generate_key(&key, KeyAlgorithm::P256)),
        kind(keystore.residency_evidence(&key)),
        kind(keystore.sign(&key, &[vec![1]])),
        kind(keystore.read_certificate(&place)),
        kind(keystore.write_certificate(&place, &certificate)),
        kind(keystore.remove_certificate(&place, certificate.der())),
    ];
    assert_eq!(faults, [FaultKind::Misconfigured; 7]);
}
