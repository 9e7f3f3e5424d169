//! Rework: a certificate that stands in for another, and what becomes of the other.

use issuance::public_key::sha256;
use journal::{Journal, JournalOptions};

use super::{
    lots::{in_lot, open_lot, strict, used},
    *,
};
use crate::{
    Confirmation, Refusal,
    records::{self, Event},
};

/// The n-th issuance: for the device SN-1, standing in for others.
fn rework(number: u8, supersedes: &[u8], key: &KeyPair) -> Submission {
    Submission {
        issuance: id(number),
        device_serial: "SN-1".to_owned(),
        certification_request: request(&params("SN-1.ca"), key),
        supersedes: supersedes.iter().map(|number| id(*number)).collect(),
        residency: None,
        request_id: String::new(),
        ..in_lot(number, "WO-1")
    }
}

async fn confirm(authority: &Authority, number: u8, certificate: &[u8]) -> Result<(), Refusal> {
    let confirmation =
        Confirmation { issuance: IssuanceId::parse(&id(number)).unwrap(), certificate_sha256: sha256(certificate) };
    authority.confirm("station-1", vec![Ok(confirmation)]).await.unwrap().remove(0)
}

/// What the journal says, in order: plans with their generation and place, verifications, revocations.
fn story(world: &World) -> Vec<String> {
    let (journal, _) = Journal::open(&JournalOptions::new(&world.settings.journal, "ca-1")).unwrap();
    let entries = journal.read(0..journal.length()).unwrap();
    let say = |entry: &Vec<u8>| {
        let (record, event) = records::decode(entry).unwrap();
        let number = record.issuance.first().copied().unwrap_or_default();
        match event {
            Event::CertificatePlanned(planned) => {
                Some(format!("planned {number} generation {} place {}", planned.generation, planned.lot_used))
            }
            Event::IssuanceVerified(_) => Some(format!("verified {number}")),
            Event::Revoked(revoked) => Some(format!("revoked {number} {}", revoked.reason)),
            _ => None,
        }
    };
    entries.iter().filter_map(say).collect()
}

/// The same device gets a second generation under the same CN and place, with the same key; the first is revoked only once
/// the second is confirmed, once, however often that is said.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_certificate_ends_when_the_new_one_is_verified() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 1).await.unwrap();
    let key = key();
    let first = rework(1, &[], &key);
    let old = issued(&issue_one(&authority, &first).await).clone();
    assert_refused(&issue_one(&authority, &rework(2, &[], &key)).await, Reason::CommonNameTaken, &id(1));
    let second = rework(2, &[1], &key);
    let new = issued(&issue_one(&authority, &second).await).clone();
    assert_ne!(new.certificate, old.certificate);
    assert_eq!(used(&authority, "WO-1").await, 1, "the place is not taken twice");
    assert_eq!(issued(&issue_one(&authority, &first).await), &old, "not revoked yet");

    let wrong = confirm(&authority, 2, &old.certificate).await.unwrap_err();
    assert_eq!(wrong.reason, Reason::ConfirmationMismatch, "{wrong}");
    assert_eq!(confirm(&authority, 9, &new.certificate).await.unwrap_err().reason, Reason::ConfirmationMismatch);
    issued(&issue_one(&authority, &first).await);
    for _ in 0..2 {
        confirm(&authority, 2, &new.certificate).await.unwrap();
    }
    assert_refused(&issue_one(&authority, &first).await, Reason::Revoked, &id(1));
    assert_eq!(issued(&issue_one(&authority, &second).await), &new);
    authority.close().await.unwrap();
    let expected =
        ["planned 1 generation 1 place 1", "planned 2 generation 2 place 1", "verified 2", "revoked 1 superseded"];
    assert_eq!(story(&world), expected);
}

/// A rework of a rework whose first never reached its device: the nearest ancestor that the CA knows is superseded, and at
/// the end all of them are revoked. What the CA never saw is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_reworks_leaves_one_certificate() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 1).await.unwrap();
    issued(&issue_one(&authority, &rework(1, &[], &key())).await);
    issued(&issue_one(&authority, &rework(2, &[1], &key())).await);
    let last = issued(&issue_one(&authority, &rework(4, &[3, 2, 1], &key())).await).clone();
    confirm(&authority, 4, &last.certificate).await.unwrap();
    assert_refused(&issue_one(&authority, &rework(5, &[2], &key())).await, Reason::AlreadySuperseded, &id(4));
    authority.close().await.unwrap();
    assert_eq!(
        story(&world),
        [
            "planned 1 generation 1 place 1",
            "planned 2 generation 2 place 1",
            "planned 4 generation 3 place 1",
            "verified 4",
            "revoked 2 superseded",
            "revoked 1 superseded",
        ]
    );
}

/// Nobody takes over a neighbour's name or place: another device's issuance is not superseded, nor another profile's, nor by
/// itself; and both of two that supersede the same one in one batch do not pass.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_device_supersedes() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 5).await.unwrap();
    issued(&issue_one(&authority, &rework(1, &[], &key())).await);
    let neighbour = Submission { device_serial: "SN-2".to_owned(), ..rework(2, &[1], &key()) };
    assert_refused(&issue_one(&authority, &neighbour).await, Reason::SupersedesOther, "for the device SN-1");
    let identity = Submission { profile: "device-identity".to_owned(), ..rework(2, &[1], &key()) };
    assert_refused(&issue_one(&authority, &identity).await, Reason::SupersedesOther, "under the profile device-ca");
    for wrong in [vec![id(2)], vec!["SN-1".to_owned()], vec![id(1); 17]] {
        let wrong = Submission { supersedes: wrong, ..rework(2, &[], &key()) };
        assert_refused(&issue_one(&authority, &wrong).await, Reason::InvalidIssuance, "supersedes");
    }
    let (one, other) = (rework(2, &[1], &key()), rework(3, &[1], &key()));
    let outcomes = issue(&authority, &[&one, &other]).await;
    issued(&outcomes[0]);
    assert_refused(&outcomes[1], Reason::AlreadySuperseded, &id(2));
    let (third, fourth) = (rework(3, &[2], &key()), rework(4, &[3], &key()));
    issue(&authority, &[&third, &fourth]).await.iter().for_each(|outcome| {
        issued(outcome);
    });
    assert_eq!(used(&authority, "WO-1").await, 1);
    authority.close().await.unwrap();
}

/// A key that came back with rework still names the issuance that first brought it, when another device shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloned_key_names_the_first_issuance() {
    let world = World::new();
    let authority = world.open();
    let key = key();
    issued(&issue_one(&authority, &rework(1, &[], &key)).await);
    issued(&issue_one(&authority, &rework(2, &[1], &key)).await);
    let clone = Submission {
        device_serial: "SN-7".to_owned(),
        certification_request: request(&params("SN-7.ca"), &key),
        ..submission(7)
    };
    let outcome = issue_one(&authority, &clone).await;
    assert_refused(
        &outcome,
        Reason::KeyTaken,
        &format!("belongs to the device SN-1 under the profile device-ca since the issuance {}", id(1)),
    );
    authority.close().await.unwrap();
}

/// A confirmation before the certificate is signed is refused, and so is what is no issuance at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_is_not_confirmed() {
    let world = World::new();
    let authority = world.open();
    world.keystore.token().failing = 1;
    assert_deferred(&issue_one(&authority, &submission(1)).await, "does not sign");
    let refused = confirm(&authority, 1, b"anything").await.unwrap_err();
    assert!(refused.message.contains("no certificate yet"), "{refused}");
    let malformed = authority.confirm("station-1", vec![Err("issuance is no UUID".to_owned())]).await.unwrap();
    assert_eq!(malformed[0].as_ref().unwrap_err().reason, Reason::InvalidIssuance);
    authority.close().await.unwrap();
}
