//! Requests by their ids, and lots that a brand owner signed for: over restarts, with and without the rows.

use issuance::{ProfileName, rule::Ruling};

use super::{lot, reason, refused, with};
use crate::{
    ledger::{Changed, LedgerRefused, SignedLot},
    rows::LotRow,
    testing::{Desk, asked},
};

/// A request_id that came with an issuance which stood already is its own from then on: for other content it is refused, and
/// after the issuance was cancelled it does not start another one. Watchers miss no sequence over it.
#[test]
fn a_second_request_id_is_kept() {
    let mut desk = Desk::new(10);
    let id = desk.submitted("SN-1");
    let by_id = |serial: &str, id: &str| {
        with(serial, |asked| {
            asked.subject.request_id = id.into();
            asked.fixture_is_free = false;
        })
    };
    while desk.told.try_recv().is_ok() {}
    let length = desk.ledger.journal().length();
    for (request_id, due) in [("mes-1", 1), ("mes-1", 1), ("mes-2", 2)] {
        let again = desk.start(&by_id("SN-1", request_id)).unwrap();
        assert_eq!((again.issuance.id, again.begin), (id, false));
        assert_eq!(desk.ledger.journal().length(), length + due, "{request_id} is recorded once");
    }
    desk.ledger.journal().sync().unwrap();
    for index in length..length + 2 {
        let told = desk.told.try_recv().unwrap();
        let Changed::Issuance(issuance) = &told.what else { panic!("{told:?}") };
        assert_eq!((told.index, issuance.id), (index, id));
        assert_eq!(**issuance, desk.issuance(id), "it changes nothing");
        let replayed = desk.ledger.changes(index, index + 1).unwrap();
        assert!(matches!(&replayed[..], [change] if change.index == index), "{replayed:?}");
    }
    assert_eq!(desk.ledger.get(id).unwrap().unwrap().1, length + 1, "it is the issuance's newest record");
    let cancel = Ruling::Cancel { reason: "wrong lot".into() };
    desk.ledger.rule(id, cancel, String::new(), "s".into(), 0).unwrap().wait().unwrap();
    for rebuilt in [false, true] {
        desk = desk.reopened(rebuilt);
        for request_id in ["mes-1", "mes-2"] {
            assert_eq!(desk.start(&by_id("SN-1", request_id)).unwrap().issuance.id, id, "rebuilt: {rebuilt}");
            refused(&desk, &by_id("SN-2", request_id), "REQUEST_ID_REUSED", "use a new one");
        }
    }
    assert_ne!(desk.start(&asked("SN-1")).unwrap().issuance.id, id, "without an id it starts anew");
}

fn signed(quantity: u32, authorisation_id: &str) -> SignedLot {
    let profile = ProfileName::parse("device-ca").unwrap();
    SignedLot { lot: lot("signed"), profile, quantity, authorisation_id: authorisation_id.into() }
}

fn authorise(desk: &Desk, lot: &SignedLot) -> Result<(LotRow, bool), LedgerRefused> {
    let (row, appended) = desk.ledger.authorise_lot(lot, "mes")?;
    let recorded = appended.map(|appended| appended.wait().unwrap()).is_some();
    Ok((row, recorded))
}

/// A signature opens a lot once, the next one widens it, with its place and its counts; what the station closed is opened by
/// a new signature alone.
#[test]
fn a_signed_lot_is_widened_by_the_next_signature() {
    let mut desk = Desk::new(10);
    assert!(authorise(&desk, &signed(1, "order-1")).unwrap().1);
    assert!(!authorise(&desk, &signed(1, "order-1")).unwrap().1, "the exact repeat");
    let in_signed = |serial| with(serial, |asked| asked.subject.lot = lot("signed"));
    desk.start(&in_signed("SN-1")).unwrap();
    refused(&desk, &in_signed("SN-2"), "LOT_USED_UP", "1 of 1");
    let other = SignedLot { profile: ProfileName::parse("other").unwrap(), ..signed(2, "order-2") };
    assert_eq!(reason(&authorise(&desk, &other).unwrap_err()), "LOT_EXISTS");
    let unknown = SignedLot { profile: ProfileName::parse("none").unwrap(), ..signed(2, "order-2") };
    assert_eq!(reason(&authorise(&desk, &unknown).unwrap_err()), "authorisation");

    let (widened, recorded) = authorise(&desk, &signed(2, "order-2")).unwrap();
    assert!(recorded);
    assert_eq!((widened.quantity, widened.started, widened.authorisation_id.as_str()), (2, 1, "order-2"));
    desk.start(&in_signed("SN-2")).unwrap();
    assert_eq!(reason(&authorise(&desk, &signed(1, "order-3")).unwrap_err()), "LOT_BELOW_STARTED");

    desk.ledger.close_lot(&lot("signed"), "mes").unwrap();
    assert!(!authorise(&desk, &signed(2, "order-2")).unwrap().0.open, "the same signature opens nothing");
    assert!(authorise(&desk, &signed(3, "order-3")).unwrap().0.open);
    for rebuilt in [false, true] {
        desk = desk.reopened(rebuilt);
        let row = desk.ledger.lot(&lot("signed")).unwrap().unwrap();
        assert_eq!((row.quantity, row.started, row.open, row.authorisation_id.as_str()), (3, 2, true, "order-3"));
        let lots: Vec<String> = desk.ledger.lots(None, 10).unwrap().iter().map(|(_, lot, _)| lot.to_string()).collect();
        assert_eq!(lots, ["signed", "lot-1"], "each is listed once");
    }
}
