//! Lots: what they cover, who may change them, and that places and names are taken together.

use issuance::{DeviceSerial, LotName, ProfileName};

use super::*;
use crate::{Caller, Lot, LotRefused};

pub(super) fn by(name: &str) -> Caller {
    Caller { authenticated_by: name.to_owned(), claimed_by: String::new() }
}

pub(super) fn lot_name(name: &str) -> LotName {
    LotName::parse(name).unwrap()
}

pub(super) async fn open_lot(authority: &Authority, lot: &str, quantity: u32) -> Result<Lot, LotRefused> {
    let profile = ProfileName::parse("device-ca").unwrap();
    authority.open_lot(by("mes-1"), lot_name(lot), profile, quantity).await.unwrap()
}

pub(super) async fn used(authority: &Authority, lot: &str) -> u32 {
    authority.lot(lot_name(lot)).await.unwrap().unwrap().used
}

async fn scrap(authority: &Authority, lot: &str, serial: &str) -> Result<Lot, LotRefused> {
    let serial = DeviceSerial::parse(serial).unwrap();
    authority.scrap_device(by("supervisor-1"), lot_name(lot), serial, "dropped".to_owned(), None).await.unwrap()
}

pub(super) fn in_lot(number: u8, lot: &str) -> Submission {
    Submission { lot: lot.to_owned(), ..submission(number) }
}

/// A world whose CA issues under its own lots alone.
pub(super) fn strict() -> World {
    let mut world = World::new();
    world.settings.lots.required = true;
    world
}

/// With `required`, what no open lot covers is refused, each with its reason, and reserves nothing: the same request passes
/// once the lot is there.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_open_lot_nothing_is_issued() {
    let world = strict();
    let authority = world.open();
    assert_refused(&issue_one(&authority, &in_lot(1, "")).await, Reason::LotRequired, "no lot is named");
    assert_refused(&issue_one(&authority, &in_lot(1, "WO-1")).await, Reason::LotUnknown, "no lot WO-1");
    open_lot(&authority, "WO-1", 2).await.unwrap();
    let identity = Submission { profile: "device-identity".to_owned(), ..in_lot(1, "WO-1") };
    assert_refused(&issue_one(&authority, &identity).await, Reason::LotOtherProfile, "for the profile device-ca");
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap();
    assert_refused(&issue_one(&authority, &in_lot(2, "WO-1")).await, Reason::LotClosed, "is closed");
    assert_eq!(used(&authority, "WO-1").await, 1);
    authority.close().await.unwrap();
}

/// Without `required` a lot that the CA does not have counts nothing, and one that it has binds all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_lot_binds_wherever_it_was_opened() {
    let world = World::new();
    let authority = world.open();
    issued(&issue_one(&authority, &in_lot(1, "elsewhere")).await);
    open_lot(&authority, "WO-1", 1).await.unwrap();
    issued(&issue_one(&authority, &in_lot(2, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(3, "WO-1")).await, Reason::LotUsedUp, "1 of 1");
    authority.close().await.unwrap();
}

/// Of sixteen at once in one batch and in many, as many are issued as were ordered; a refused one leaves its name free, and
/// the count survives closing and the loss of all rows.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_one_more_than_was_ordered() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 5).await.unwrap();
    open_lot(&authority, "WO-2", 16).await.unwrap();
    let batch: Vec<Submission> = (1..=4).map(|number| in_lot(number, "WO-1")).collect();
    issue(&authority, &batch.iter().collect::<Vec<_>>()).await.iter().for_each(|outcome| {
        issued(outcome);
    });
    let mut callers = tokio::task::JoinSet::new();
    for number in 5..=16 {
        let authority = authority.clone();
        callers.spawn(async move { (number, issue_one(&authority, &in_lot(number, "WO-1")).await) });
    }
    let outcomes = callers.join_all().await;
    let (winners, others): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|(_, outcome)| matches!(outcome, Outcome::Issued(_)));
    assert_eq!((winners.len(), used(&authority, "WO-1").await), (1, 5));
    for (number, outcome) in others {
        assert_refused(&outcome, Reason::LotUsedUp, "5 of 5");
        issued(&issue_one(&authority, &in_lot(number, "WO-2")).await);
    }
    authority.close().await.unwrap();

    std::fs::remove_dir_all(world.settings.journal.join("projections")).unwrap();
    let authority = world.open();
    assert_eq!((used(&authority, "WO-1").await, used(&authority, "WO-2").await), (5, 11));
    assert_refused(&issue_one(&authority, &in_lot(17, "WO-1")).await, Reason::LotUsedUp, "5 of 5");
    issued(&issue_one(&authority, &batch[0]).await);
    assert_eq!(used(&authority, "WO-1").await, 5, "the same request takes no second place");
    authority.close().await.unwrap();
}

/// A device has one place and one row of certificates in a lot: a second certificate under another CN is refused, with the
/// first one's issuance.
#[tokio::test(flavor = "multi_thread")]
async fn one_place_is_one_certificate() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 5).await.unwrap();
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    let second = Submission {
        device_serial: "SN-1".to_owned(),
        certification_request: request(&params("other-name"), &key()),
        ..in_lot(2, "WO-1")
    };
    assert_refused(&issue_one(&authority, &second).await, Reason::DeviceAlreadyIssued, &id(1));
    authority.close().await.unwrap();
}

/// Opening again with the same content returns the lot; other content, a closed lot and an unknown profile are refused. Only
/// an amendment widens or opens again, and never below what is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_lot_is_opened_once() {
    let world = strict();
    let authority = world.open();
    let first = open_lot(&authority, "WO-1", 2).await.unwrap();
    assert_eq!((first.quantity, first.used, first.open), (2, 0, true));
    assert_eq!(open_lot(&authority, "WO-1", 2).await.unwrap(), first);
    assert_eq!(open_lot(&authority, "WO-1", 3).await.unwrap_err().reason, "LOT_EXISTS");
    let unknown = ProfileName::parse("vpn").unwrap();
    let refused = authority.open_lot(by("mes-1"), lot_name("WO-9"), unknown, 1).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "UNKNOWN_PROFILE");
    issued(&issue_one(&authority, &in_lot(1, "WO-1")).await);
    issued(&issue_one(&authority, &in_lot(2, "WO-1")).await);
    authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap();
    assert_eq!(open_lot(&authority, "WO-1", 2).await.unwrap_err().reason, "LOT_EXISTS", "closed is not opened again");

    let amend =
        |quantity| authority.amend_lot(by("supervisor-1"), lot_name("WO-1"), quantity, "more were ordered".to_owned());
    assert_eq!(amend(1).await.unwrap().unwrap_err().reason, "LOT_BELOW_USED");
    let amended = amend(3).await.unwrap().unwrap();
    assert_eq!((amended.quantity, amended.used, amended.open, amended.opened), (3, 2, true, first.opened));
    issued(&issue_one(&authority, &in_lot(3, "WO-1")).await);
    assert_eq!(authority.lots(None, 10).await.unwrap().len(), 1, "an amended lot is listed once");
    authority.close().await.unwrap();
}

/// A scrapped device gives its place back and its certificate is revoked; it gets none again in that lot, neither anew nor
/// as rework; scrapping it twice gives one place, and one that has none gives none.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrapped_device_gives_its_place_back() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 2).await.unwrap();
    let first = in_lot(1, "WO-1");
    issued(&issue_one(&authority, &first).await);
    issued(&issue_one(&authority, &in_lot(2, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(3, "WO-1")).await, Reason::LotUsedUp, "2 of 2");
    for _ in 0..2 {
        assert_eq!(scrap(&authority, "WO-1", "SN-1").await.unwrap().used, 1);
    }
    assert_eq!(scrap(&authority, "WO-1", "SN-9").await.unwrap_err().reason, "NO_PLACE");
    issued(&issue_one(&authority, &in_lot(3, "WO-1")).await);
    assert_refused(&issue_one(&authority, &in_lot(4, "WO-1")).await, Reason::LotUsedUp, "2 of 2");
    assert_refused(&issue_one(&authority, &first).await, Reason::Revoked, &id(1));
    let again = Submission {
        device_serial: "SN-1".to_owned(),
        certification_request: request(&params("SN-1.ca"), &key()),
        supersedes: vec![id(1)],
        residency: None,
        request_id: String::new(),
        ..in_lot(5, "WO-1")
    };
    assert_refused(&issue_one(&authority, &again).await, Reason::DeviceScrapped, "was scrapped");
    authority.close().await.unwrap();
}

/// A lot is not changed while the clock is behind the newest record.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_changes_no_lot() {
    let world = strict();
    let authority = world.open();
    open_lot(&authority, "WO-1", 2).await.unwrap();
    world.time.fetch_sub(5_000, Ordering::SeqCst);
    let refused = authority.close_lot(by("mes-1"), lot_name("WO-1")).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "CLOCK_BEHIND");
    authority.close().await.unwrap();
}
