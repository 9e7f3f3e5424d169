//! What only a TPM can show.

use hsm_sim::{Stop, Swtpm, SwtpmOptions};
use issuance::{CertificateLocation, DeviceIdentity, FaultKind, KeyAlgorithm, KeyLocation, Keystore};
use keystore::Tpm;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{bench::kind, ca, wire::Wire};

const HANDLE: u32 = 0x8100_0010;
const KEY: KeyLocation = KeyLocation::TpmHandle(HANDLE);
const INDEX: u32 = 0x0180_0010;
const CERTIFICATE: CertificateLocation = CertificateLocation::NvIndex(INDEX);

/// OWNERWRITE, WRITEDEFINE, OWNERREAD, AUTHREAD and NO_DA: an index of ours (TPM 2.0 part 2, 13.4).
const OURS: u32 = 1 << 1 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 25;
const WRITELOCKED: u32 = 1 << 11;
const WRITTEN: u32 = 1 << 29;
/// TPM_RC_NV_LOCKED.
const LOCKED: u32 = 0x148;
/// TPM_RC_OBJECT_MEMORY: no slot left.
const NO_SLOT: u32 = 0x902;
/// TPM_RC_NV_SPACE.
const NO_SPACE: u32 = 0x14B;

fn start() -> (Swtpm, Tpm, Wire) {
    let tpm = Swtpm::start().unwrap();
    let (keystore, wire) = (Tpm::new(tpm.tcti()), Wire::of(&tpm));
    (tpm, keystore, wire)
}

/// A killed owner left every slot and two sessions filled: the next call of any kind works, and nothing is left.
#[test]
fn what_a_killed_owner_left_is_flushed() {
    let (_tpm, mut keystore, wire) = start();
    let acts: [fn(&mut Tpm); 2] = [
        |keystore| drop(keystore.identify().unwrap()),
        |keystore| drop(keystore.generate_key(&KEY, KeyAlgorithm::P256).unwrap()),
    ];
    for act in acts {
        let mut left = 0;
        while wire.leave_an_object().map_err(|response| assert_eq!(response, NO_SLOT)).is_ok() {
            left += 1;
        }
        assert_eq!(left, 3);
        wire.leave_a_session(0);
        wire.leave_a_session(1);
        act(&mut keystore);
        assert_eq!(wire.loaded(), []);
    }
}

/// The identity has the EK certificate without padding, and is of this TPM alone.
#[test]
fn a_tpm_says_who_it_is() {
    let (tpm, mut keystore, _) = start();
    let identity = keystore.identify().unwrap();
    let DeviceIdentity::Tpm { ek_certificate, srk_name, manufacturer, firmware } = &identity else {
        panic!("{identity:?}")
    };
    let (rest, certificate) = X509Certificate::from_der(ek_certificate.as_ref().unwrap()).unwrap();
    assert!(rest.is_empty());
    assert!(matches!(certificate.public_key().parsed().unwrap(), x509_parser::public_key::PublicKey::RSA(_)));
    assert_eq!((srk_name.len(), manufacturer.as_str()), (34, "IBM"));
    assert_eq!(firmware.split('.').count(), 4);
    let other = Swtpm::start_with(SwtpmOptions { maker: Some(tpm.maker().clone()), ..Default::default() }).unwrap();
    assert!(!Tpm::new(other.tcti()).identify().unwrap().is_same_device(&identity));
}

/// A foreign object at our handle is neither found as a key nor replaced.
#[test]
fn an_occupied_handle_is_left_alone() {
    let (_tpm, mut keystore, wire) = start();
    let object = wire.leave_an_object().unwrap();
    wire.persist(object, HANDLE);
    wire.flush(object);
    let before = wire.handles(HANDLE);
    assert_eq!(kind(keystore.find_key(&KEY)), FaultKind::LocationOccupied);
    assert_eq!(kind(keystore.generate_key(&KEY, KeyAlgorithm::P256)), FaultKind::LocationOccupied);
    assert_eq!(kind(keystore.sign(&KEY, &[vec![1]])), FaultKind::LocationOccupied);
    assert_eq!(wire.handles(HANDLE), before);
    assert_eq!(wire.loaded(), []);
}

/// A certificate that is locked stays so against writing, also after the TPM's power was cut, and where a write was
/// interrupted before the lock; the owner can still remove it, so that the one that supersedes it takes its place.
#[test]
fn a_certificate_is_locked_against_writing() {
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 1500);
    keystore.write_certificate(&CERTIFICATE, &certificate).unwrap();
    for _ in 0..2 {
        keystore.lock_certificate(&CERTIFICATE).unwrap();
        assert_eq!(wire.attributes(INDEX), OURS | WRITELOCKED | WRITTEN);
    }
    let nobody_writes = || assert_eq!(wire.try_write(INDEX, 0, &[0xAA]), Err(LOCKED));
    nobody_writes();
    wire.reset();
    keystore.identify().unwrap();
    nobody_writes();
    keystore.write_certificate(&CERTIFICATE, &certificate).unwrap();
    assert_eq!(keystore.read_certificate(&CERTIFICATE).unwrap().as_deref(), Some(certificate.der()));

    let (index, place) = (INDEX + 1, CertificateLocation::NvIndex(INDEX + 1));
    wire.define(index, OURS, 1500).unwrap();
    for (number, octets) in certificate.der().chunks(1024).enumerate() {
        wire.write(index, 1024 * number as u16, octets);
    }
    keystore.write_certificate(&place, &certificate).unwrap();
    keystore.lock_certificate(&place).unwrap();
    assert_eq!(wire.attributes(index), OURS | WRITELOCKED | WRITTEN);

    let next = ca::certificate(&ca::key(), 1500);
    assert_eq!(kind(keystore.write_certificate(&place, &next)), FaultKind::LocationOccupied);
    keystore.remove_certificate(&place, certificate.der()).unwrap();
    keystore.write_certificate(&place, &next).unwrap();
    keystore.lock_certificate(&place).unwrap();
    assert_eq!(wire.attributes(index), OURS | WRITELOCKED | WRITTEN);
    assert_eq!(keystore.read_certificate(&place).unwrap().as_deref(), Some(next.der()));
}

/// A certificate that is not to be locked can be written over by the device's owner, and is locked later when it is to be;
/// where none stands, nothing is locked.
#[test]
fn a_certificate_is_locked_only_where_it_is_to_be() {
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 700);
    assert_eq!(kind(keystore.lock_certificate(&CERTIFICATE)), FaultKind::NotFound);
    keystore.write_certificate(&CERTIFICATE, &certificate).unwrap();
    assert_eq!(wire.attributes(INDEX), OURS | WRITTEN);
    wire.write(INDEX, 0, &certificate.der()[..8]);
    keystore.lock_certificate(&CERTIFICATE).unwrap();
    assert_eq!(wire.try_write(INDEX, 0, &[0xAA]), Err(LOCKED));
}

/// Our own write, interrupted at each point where it can be, is completed: defined only, of another length, first chunk.
#[test]
fn our_own_interrupted_write_is_completed() {
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 1500);
    for (number, (length, written)) in [(1500, 0), (900, 0), (1500, 1024)].into_iter().enumerate() {
        let index = INDEX + number as u32;
        let place = CertificateLocation::NvIndex(index);
        wire.define(index, OURS, length).unwrap();
        if written > 0 {
            wire.write(index, 0, &certificate.der()[..written]);
        } else {
            assert_eq!(keystore.read_certificate(&place).unwrap(), None, "nothing was written yet");
        }
        keystore.write_certificate(&place, &certificate).unwrap();
        assert_eq!(keystore.read_certificate(&place).unwrap().as_deref(), Some(certificate.der()));
    }
}

/// An index with a foreign octet in any chunk, of another length, or defined by others stays as it is.
#[test]
fn an_occupied_index_is_left_alone() {
    /// What is written at which offset.
    type Octets<'o> = Option<(u16, &'o [u8])>;
    const OTHERS: u32 = 1 << 1 | 1 << 2 | 1 << 17 | 1 << 18;
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 1500);
    let cases: [(u32, u16, Octets<'_>); 5] = [
        (OURS, 1500, Some((0, &[0xAA]))),
        (OURS, 1500, Some((1499, &[0xAA]))),
        (OURS, 1499, Some((0, &certificate.der()[..1024]))),
        (OTHERS, 1500, None),
        (OTHERS, 1500, Some((0, &certificate.der()[..1024]))),
    ];
    for (number, (attributes, length, written)) in cases.into_iter().enumerate() {
        let index = INDEX + number as u32;
        let place = CertificateLocation::NvIndex(index);
        wire.define(index, attributes, length).unwrap();
        if let Some((offset, octets)) = written {
            wire.write(index, offset, octets);
        }
        let before = keystore.read_certificate(&place).unwrap();
        let refused = keystore.write_certificate(&place, &certificate);
        assert_eq!(kind(refused), FaultKind::LocationOccupied, "case {number}");
        assert_eq!(keystore.read_certificate(&place).unwrap(), before, "case {number}");
    }
}

/// What an earlier tool wrote completely, with attributes of its own, is already as it should be.
#[test]
fn the_same_certificate_under_other_attributes_is_accepted() {
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 800);
    wire.define(INDEX, 1 << 1 | 1 << 17, 800).unwrap();
    wire.write(INDEX, 0, certificate.der());
    keystore.write_certificate(&CERTIFICATE, &certificate).unwrap();
}

/// A full TPM says so for a certificate and for a key, and keeps nothing of either.
#[test]
fn a_full_tpm_says_so() {
    let (_tpm, mut keystore, wire) = start();
    let certificate = ca::certificate(&ca::key(), 1500);
    let mut defined = 0;
    for size in [1600, 16] {
        while wire.define(0x0190_0000 + defined, OURS, size).map_err(|code| assert_eq!(code, NO_SPACE)).is_ok() {
            defined += 1;
        }
    }
    assert_eq!(kind(keystore.write_certificate(&CERTIFICATE, &certificate)), FaultKind::StorageFull);
    assert_eq!(keystore.read_certificate(&CERTIFICATE).unwrap(), None);
    // A TPM keeps room for a few keys apart from its indexes.
    let mut handles = (HANDLE..HANDLE + 100).map(KeyLocation::TpmHandle);
    let (full, fault) = handles
        .find_map(|place| keystore.generate_key(&place, KeyAlgorithm::P256).err().map(|fault| (place, fault)))
        .unwrap();
    assert_eq!(fault.kind, FaultKind::StorageFull, "{fault}");
    assert_eq!(keystore.find_key(&full).unwrap(), None);
    assert_eq!(wire.loaded(), []);
}

/// A certificate longer than this TPM's indexes may be is refused with the limit, before anything is defined.
#[test]
fn a_certificate_over_the_limit_is_refused() {
    let (_tpm, mut keystore, wire) = start();
    let fault = keystore.write_certificate(&CERTIFICATE, &ca::certificate(&ca::key(), 2049)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::StorageFull);
    assert!(fault.to_string().contains("2048"), "{fault}");
    assert!(!wire.handles(INDEX).contains(&INDEX));
}

/// A locked TPM is met with what its counter says now, before and after it is locked by another client.
#[test]
fn a_locked_tpm_is_said_to_be_locked() {
    let (_tpm, mut keystore, wire) = start();
    keystore.identify().unwrap();
    wire.lock_out();
    assert_eq!(kind(keystore.identify()), FaultKind::DictionaryAttackLockout);
}

/// A TPM that lost its power and was not started by anyone is started, and saw an orderly end before.
#[test]
fn a_reset_tpm_is_started_and_was_shut_down_in_order() {
    /// TPM_PT_STARTUP_CLEAR, and its bit "orderly" (TPM 2.0 part 2, 8.7).
    const STARTUP_CLEAR: u32 = 0x201;
    const ORDERLY: u32 = 1 << 31;
    let (_tpm, mut keystore, wire) = start();
    let key = keystore.generate_key(&KEY, KeyAlgorithm::P256).unwrap();
    wire.reset();
    assert_eq!(keystore.find_key(&KEY).unwrap(), Some(key));
    assert_ne!(wire.property(STARTUP_CLEAR) & ORDERLY, 0);
}

/// A TPM whose power goes between two calls of a visit: the link is lost, not the device absent, until the next visit.
#[test]
fn a_tpm_that_goes_in_the_middle_is_a_lost_link() {
    let (mut tpm, mut keystore, _) = start();
    keystore.identify().unwrap();
    tpm.stop(Stop::PowerCut).unwrap();
    assert_eq!(kind(keystore.find_key(&KEY)), FaultKind::LinkLost);
    assert_eq!(kind(keystore.identify()), FaultKind::DeviceAbsent);
    tpm.restart().unwrap();
    keystore.identify().unwrap();
}

/// Handles and indexes that belong to others are refused by their range, without a TPM.
#[test]
fn places_of_others_are_misconfigured() {
    let mut keystore = Tpm::new("swtpm:path=/nowhere");
    for handle in [0x8100_0000, 0x8100_0001, 0x8180_0000, 0x8000_0000, 0] {
        let fault = keystore.find_key(&KeyLocation::TpmHandle(handle)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Misconfigured);
        assert!(fault.act.contains(&format!("{handle:#010x}")), "{fault}");
    }
    for index in [0x017F_FFFF, 0x01C0_0000, 0x01C0_0002, 0] {
        let refused = keystore.read_certificate(&CertificateLocation::NvIndex(index));
        assert_eq!(kind(refused), FaultKind::Misconfigured);
    }
    for (handle, index) in [(0x8100_0002, 0x0180_0000), (0x817F_FFFF, 0x01BF_FFFF)] {
        assert_eq!(kind(keystore.find_key(&KeyLocation::TpmHandle(handle))), FaultKind::LinkLost);
        assert_eq!(kind(keystore.read_certificate(&CertificateLocation::NvIndex(index))), FaultKind::LinkLost);
    }
}
