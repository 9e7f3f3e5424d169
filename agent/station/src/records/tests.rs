//! Every record comes back as it went.

use issuance::{
    ResidencyEvidence,
    device::{AttestationKey, Endorsement, Statement, TpmAttestation},
    record::{DeviceChecked, Refuted},
    residency::{SealedCertificate, Standing, credential::Credential},
};
use rcgen::{KeyPair, PublicKeyData as _};

use super::*;

fn attested() -> ResidencyEvidence {
    let endorsement = Endorsement { certificate: Some(vec![3]), chain: vec![vec![4], vec![5]], public_area: vec![6] };
    let attestation = TpmAttestation {
        key: AttestationKey { endorsement, ak_public_area: vec![7] },
        nonce: vec![10],
        statement: Statement { certify_info: vec![8], signature: vec![9] },
    };
    ResidencyEvidence::Tpm { public_area: vec![1], name: vec![2], attestation: Some(Box::new(attestation)) }
}

fn round_trip(what: What) {
    let entry = Entry { at: Timestamp(1_790_000_000_123), what };
    assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
}

/// What was written is what is read: a record of each kind survives the journal.
#[test]
fn every_record_round_trips() {
    let id = IssuanceId::from_uuid(uuid::Uuid::now_v7());
    let lot = LotName::parse("lot-1").unwrap();
    let profile = ProfileName::parse("device-ca").unwrap();
    let fixture = FixtureName::parse("fixture-1").unwrap();
    let stop = Stop { reason: "R".into(), message: "m".into(), next_action: "n".into() };
    let token = CertificateLocation::Pkcs11 { cka_id: vec![1, 2], label: "key".into() };
    round_trip(What::LotOpened {
        lot: lot.clone(),
        profile: profile.clone(),
        quantity: 10,
        authorisation_id: "order-1".into(),
        authenticated_by: "mes-1".into(),
    });
    round_trip(What::RequestRepeated {
        issuance: id,
        request_id: "r-2".into(),
        claimed_by: "badge".into(),
        authenticated_by: "mes-1".into(),
    });
    round_trip(What::LotClosed { lot: lot.clone(), authenticated_by: "mes-1".into() });
    for record in [
        Record::Requested(Box::new(Requested {
            request_id: "r".into(),
            lot,
            device_serial: DeviceSerial::parse("SN-1").unwrap(),
            profile,
            common_name: CommonName::parse("SN-1.ca").unwrap(),
            fixture: fixture.clone(),
            claimed_by: "badge".into(),
            authenticated_by: "mes-1".into(),
            supersedes: Some(id),
            reason: "scratched".into(),
            new_hardware: true,
            lineage: id,
            provenance: Provenance { site: "s".into(), profile_sha256: [7; 32], ..Provenance::default() },
        })),
        Record::DeviceIdentified {
            fixture: fixture.clone(),
            identity: DeviceIdentity::Tpm {
                ek_certificate: None,
                srk_name: vec![1],
                manufacturer: "IBM".into(),
                firmware: "1".into(),
            },
        },
        Record::KeyGenerationStarted {
            location: KeyLocation::TpmHandle(0x8100_0010),
            algorithm: KeyAlgorithm::P384,
            replaces: None,
        },
        Record::KeyGenerationStarted {
            location: KeyLocation::TpmHandle(0x8100_0010),
            algorithm: KeyAlgorithm::P256,
            replaces: Some(ReplacedKey {
                public_key: PublicKey::from_der(&KeyPair::generate().unwrap().subject_public_key_info()).unwrap(),
                issuance: id,
            }),
        },
        Record::ResidencyProven { evidence: attested(), standing: Standing::Certified },
        Record::ResidencyProven {
            evidence: ResidencyEvidence::Tpm { public_area: vec![1], name: vec![2], attestation: None },
            standing: Standing::Stated,
        },
        Record::RequestSigned { certification_request: vec![3] },
        Record::Submitted { authority: "ca-1".into(), sends_recorded: true },
        Record::SendStarted { authority: "ca-1".into() },
        Record::NotTaken { message: "m".into() },
        Record::InDoubt { message: "m".into() },
        Record::Resubmitted {
            authority: "ca-2".into(),
            sends_recorded: true,
            claimed_by: "badge".into(),
            authenticated_by: "supervisor-1".into(),
        },
        Record::Surplus { certificate: vec![4], chain: vec![vec![5], vec![6]] },
        Record::Sealed(SealedCertificate {
            credential: Credential { blob: vec![1], encrypted_secret: vec![2] },
            certificate: vec![3],
            chain: vec![vec![4]],
        }),
        Record::Issued { certificate: vec![4], chain: vec![vec![5], vec![6]] },
        Record::Refused { reason: "R".into(), message: "m".into() },
        Record::WriteStarted { location: CertificateLocation::NvIndex(0x0180_0010) },
        Record::WriteStarted { location: token },
        Record::Written,
        Record::Verified(Verification { certificate_sha256: [1; 32], nonce: vec![2], signature: vec![3] }),
        Record::Completed,
        Record::Failed(stop.clone()),
        Record::Quarantined(stop),
        Record::Released { claimed_by: "badge".into(), authenticated_by: "supervisor-1".into(), new_hardware: true },
        Record::Cancelled {
            scrapped: true,
            reason: "scrapped".into(),
            claimed_by: "badge".into(),
            authenticated_by: "supervisor-1".into(),
        },
        Record::Confirmed { refusal: "R: m".into() },
        Record::DeviceChecked(Box::new(DeviceChecked {
            fixture: fixture.clone(),
            refuted: vec![Refuted { question: "KEY".into(), reason: "NOT_FOUND".into(), message: "m".into() }],
            certificate_sha256: Some([7; 32]),
            nonce: vec![1],
            signature: vec![2],
            claimed_by: "badge".into(),
            authenticated_by: "auditor-1".into(),
            golden: true,
        })),
        Record::Resumed { fixture, claimed_by: "badge".into(), authenticated_by: "mes-1".into() },
    ] {
        round_trip(What::Issuance(id, record));
    }
}

/// What an issuance supersedes is 16 octets or nothing: of any other length it is refused, and not taken for nothing.
#[test]
fn a_cut_predecessor_is_refused() {
    let id = IssuanceId::from_uuid(uuid::Uuid::now_v7());
    let decoded = |length: usize| {
        let requested = wire::Requested {
            lot: "lot-1".into(),
            device_serial: "SN-1".into(),
            profile: "device-ca".into(),
            common_name: "SN-1.ca".into(),
            fixture: "fixture-1".into(),
            lineage: id.as_bytes().to_vec(),
            supersedes: id.as_bytes()[..length].to_vec(),
            configuration_sha256: vec![0; 32],
            profile_sha256: vec![0; 32],
            ..wire::Requested::default()
        };
        let (issuance, event) = (id.as_bytes().to_vec(), Some(Event::Requested(requested)));
        Entry::decode(&wire::StationRecord { time_ms: 1, issuance, event }.encode_to_vec())
    };
    assert!(decoded(0).is_ok() && decoded(16).is_ok());
    assert!(matches!(decoded(15), Err(EntryError::Field("supersedes"))));
}

/// An event of a newer version is refused with what to do, not skipped.
#[test]
fn an_unknown_event_is_refused() {
    // Field 99, length-delimited, empty.
    let bytes = [0x9a, 0x06, 0x00];
    assert!(matches!(Entry::decode(&bytes), Err(EntryError::Unknown)));
}
