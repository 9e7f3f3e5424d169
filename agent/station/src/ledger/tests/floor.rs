//! The floor that no record goes below: a clock that is wrong, and a newest record that is not understood.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, Ordering},
};

use journal::{JournalOptions, Projection, Rows};
use service::clock::Moment;

use super::*;

const HOUR: i64 = 3_600_000;

/// The newest record's time.
fn newest(desk: &Desk) -> i64 {
    desk.ledger.journal().sync().unwrap();
    let length = desk.ledger.journal().length();
    Entry::decode(&desk.ledger.journal().read(length - 1..length).unwrap()[0]).unwrap().at.0
}

/// While the clock is behind or was put ahead nothing is accepted and nothing recorded; once it is right, by itself, with
/// the right time.
#[test]
fn a_wrong_clock_records_nothing() {
    let desk = Desk::new(10);
    let began = newest(&desk);
    let off = Arc::new(AtomicI64::new(0));
    let passed = Arc::new(Mutex::new(0));
    let Desk { directory, authority, ledger, told, asked: asked_of } = desk;
    let ledger = Arc::into_inner(ledger).unwrap().with_clock(Clock::reading({
        let (off, passed) = (Arc::clone(&off), Arc::clone(&passed));
        move || {
            let boot = *passed.lock().unwrap();
            Moment { day: began + boot + off.load(Ordering::SeqCst), boot }
        }
    }));
    let desk = Desk { directory, authority, ledger: Arc::new(ledger), told, asked: asked_of };
    for (number, wrong) in [-HOUR, 365 * 24 * HOUR].into_iter().enumerate() {
        let (serial, early) = (format!("SN-{number}"), format!("SN-{number}-early"));
        *passed.lock().unwrap() += 1000;
        off.store(-1500, Ordering::SeqCst);
        desk.start(&asked(&early)).unwrap();
        assert!(newest(&desk) >= began, "the floor holds");
        off.store(wrong, Ordering::SeqCst);
        refused(&desk, &asked(&serial), "CLOCK", "the clock");
        let submitted = desk.ledger.clock().now().unwrap_err();
        assert!(!submitted.remedy().is_empty());
        off.store(0, Ordering::SeqCst);
        desk.start(&asked(&serial)).unwrap();
        assert_eq!(newest(&desk), began + *passed.lock().unwrap());
    }
}

/// What a newer release would have made of the entries.
struct Newer;

impl Projection for Newer {
    const VERSION: u32 = StationRows::VERSION;
    fn apply(&self, _: u64, _: &[u8], _: &mut Rows<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// An entry whose bytes are whole and that is no record of this release stops the start, with its index, its file and what
/// to do; also where a newer release left its rows, so that nothing but its time is missing.
#[test]
fn a_record_that_is_not_understood_stops_the_start() {
    // An event of field 99, and no protobuf.
    for (entry, wrong) in
        [(vec![0x9a, 0x06, 0x00], "no event that this version knows"), (vec![0xff], "not a StationRecord")]
    {
        for rows_left in [false, true] {
            let desk = Desk::new(10);
            desk.ledger.close().unwrap();
            let index = desk.ledger.journal().length();
            let options = JournalOptions::new(desk.directory.path(), "station-agent/test");
            let open = || Journal::open(&options).unwrap().0;
            let rows = desk.directory.path().join("projections");
            let journal = open();
            if rows_left {
                let newer = Projections::open(&journal, &rows, Newer, &mut |_, _| {}).unwrap();
                newer.append(vec![entry.clone()]).unwrap().wait().unwrap();
                newer.close().unwrap();
            } else {
                journal.append(vec![entry.clone()]).unwrap().wait().unwrap();
            }
            journal.close().unwrap();
            let journal = open();
            let opened = Projections::open(&journal, &rows, StationRows, &mut |_, _| {}).and_then(|rows| {
                let (changes, _told) = mpsc::unbounded_channel();
                Ledger::new(journal.clone(), rows, desk.ledger.profiles().clone(), 10, changes).map(drop)
            });
            let words = opened.unwrap_err().to_string();
            for part in
                [format!("record {index} in "), "00000000000000000000.seg".into(), "install".into(), wrong.into()]
            {
                assert!(words.contains(&part), "{part}: {words}");
            }
        }
    }
}
