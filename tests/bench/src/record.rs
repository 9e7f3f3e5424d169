//! What it costs that the record is verifiable: verifying a journal, proving a record of it, and appending with the tree
//! beside it.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use issuance::public_key::sha256;
use journal::{
    Journal, JournalError, JournalOptions, LogOptions, Prover, Reader, TransparencyLog, VerifyOptions, verify,
};
use tempfile::TempDir;

use crate::{
    Failed, because,
    figure::{Goal, Report, median},
};

/// About what a station's record takes on the average.
const ENTRY_BYTES: usize = 600;
/// Records a second on one core.
const VERIFIED: f64 = 400_000.0;
/// Milliseconds in which a person or a machine gets a proof.
const PROVEN: f64 = 10.0;
/// The tree may cost the acknowledgements so much.
const BESIDE: f64 = 1.15;
/// Records of one acknowledgement, and how many writers wait for one at once.
const GROUP: usize = 64;
const WRITERS: usize = 4;
/// How often each is measured; the middle one counts.
const TIMES: usize = 5;
const ORIGIN: &str = "factory.example/bench";

/// Measures it with a journal of so many records.
pub(crate) fn measure(records: usize, report: &mut Report) -> Result<(), Failed> {
    let place = tempfile::tempdir().map_err(because("make a directory"))?;
    let directory = place.path().join("journal");
    let key = {
        let (journal, log, _) = TransparencyLog::open(&options(&directory), LogOptions::beside(&directory))
            .map_err(because("open a journal"))?;
        fill(&journal, records).map_err(because("fill a journal"))?;
        let key = log.key().clone();
        log.close().map_err(Failed::new)?;
        journal.close().map_err(because("close a journal"))?;
        key
    };
    let options = |tiles| VerifyOptions {
        journal: directory.clone(),
        tlog: directory.join("tlog"),
        key: key.clone(),
        hardware: None,
        witness: None,
        kept: None,
        tiles,
    };
    let mut verified = |tiles| {
        let options = options(tiles);
        let (seconds, found) = computed(|| verify(&options, &mut |_, _| {}));
        let found = found.map_err(because("verify a journal"))?;
        report.promise(found.is_unaltered() && found.covered == records as u64, || {
            format!("of {records} records {} are covered: {:?}", found.covered, found.findings)
        });
        Ok::<_, Failed>(records as f64 / seconds)
    };
    let rates = (0..TIMES).map(|_| verified(false)).collect::<Result<Vec<_>, _>>()?;
    let with_tiles = (0..TIMES).map(|_| verified(true)).collect::<Result<Vec<_>, _>>()?;
    let entries: Vec<Vec<u8>> = (0..records as u64).map(entry).collect();
    let hashed = || computed(|| entries.iter().fold(0, |sum, entry| sum ^ std::hint::black_box(sha256(entry))[0])).0;
    let hashed = median((0..TIMES).map(|_| records as f64 / hashed()).collect());
    report.figure("journal-verify", median(rates), VERIFIED, "/s", Goal::AtLeast(1.0));
    report.figure("journal-verify-tiles", median(with_tiles), VERIFIED, "/s", Goal::AtLeast(1.0));
    report.figure("journal-sha256", hashed, VERIFIED, "/s", Goal::Told);

    let index = records as u64 / 2;
    let entry = Reader::open(&directory).and_then(|reader| reader.entry(index)).map_err(because("read a record"))?;
    let entry = entry.ok_or_else(|| Failed::new(format!("record {index} is not there")))?;
    let proven = || {
        let (seconds, proof) = timed(|| Prover::open(&directory.join("tlog"), index)?.prove(index, &entry));
        proof.map_err(because("prove a record")).map(|_| seconds * 1e3)
    };
    let proven = (0..TIMES).map(|_| proven()).collect::<Result<Vec<_>, _>>()?;
    report.figure("journal-proof", median(proven), PROVEN, "ms", Goal::AtMost(1.0));
    beside(records / 5, report)
}

/// Appending with a log beside the journal, and without one, in turns: the disk is not the same from one to the next.
fn beside(records: usize, report: &mut Report) -> Result<(), Failed> {
    let (mut with, mut without, mut behind, mut caught_up) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let failed = because::<JournalError>("append to a journal");
        let place = TempDir::new().map_err(because("make a directory"))?;
        let directory = place.path().join("without");
        let (journal, _) = Journal::open(&options(&directory)).map_err(&failed)?;
        without.push(fill(&journal, records).map_err(&failed)?);
        journal.close().map_err(&failed)?;

        let directory = place.path().join("with");
        // Checkpoints as often as tiles are cut: more than a station makes.
        let log = LogOptions { interval: Duration::from_secs(1), ..LogOptions::beside(&directory) };
        let (journal, log, _) =
            TransparencyLog::open(&options(&directory), log).map_err(because("open a journal with its log"))?;
        with.push(fill(&journal, records).map_err(&failed)?);
        behind.push(1.0 - log.newest().0.size as f64 / records as f64);
        let (seconds, closed) = timed(|| log.close());
        closed.map_err(Failed::new)?;
        caught_up.push(seconds);
        journal.close().map_err(&failed)?;
    }
    let without = median(without);
    report.figure("journal-append-tree", median(with), without, "s", Goal::AtMost(BESIDE));
    // What the log gives way by: how much no checkpoint covered at the end, and what covering it took then.
    report.figure("journal-append-behind", median(behind), 1.0, "", Goal::Told);
    report.figure("journal-append-caught-up", median(caught_up), without, "s", Goal::Told);
    Ok(())
}

fn options(directory: &Path) -> JournalOptions {
    JournalOptions::new(directory, ORIGIN)
}

/// Appends so many records, each acknowledged when it is on the disk; the seconds it took.
fn fill(journal: &Journal, records: usize) -> Result<f64, JournalError> {
    let began = Instant::now();
    let share = records / WRITERS;
    thread::scope(|scope| {
        let write = |writer: usize| {
            let from = writer * share;
            let end = if writer + 1 == WRITERS { records } else { from + share };
            let mut numbers = from as u64..end as u64;
            loop {
                let group: Vec<Vec<u8>> = numbers.by_ref().take(GROUP).map(entry).collect();
                if group.is_empty() {
                    return Ok(());
                }
                journal.append(group)?.wait()?;
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or(Err(JournalError::CommitterEnded)))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn entry(number: u64) -> Vec<u8> {
    let mut entry = format!("record {number} ").into_bytes();
    entry.resize(ENTRY_BYTES, b'.');
    entry
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed().as_secs_f64(), done)
}

/// The seconds of one core that the work took: a machine that others share says nothing else about it.
fn computed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = core_time();
    let done = work();
    (core_time() - began, done)
}

/// This thread's time on a core, in seconds: the first field of schedstat (proc(5)), in nanoseconds.
fn core_time() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse::<f64>().ok()).map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}
