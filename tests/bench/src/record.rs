//! What it costs that the record is verifiable: verifying a journal, proving a record and a whole certificate of it, and
//! appending with the tree beside it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use issuance::public_key::sha256;
use journal::{
    Journal, JournalError, JournalOptions, LogOptions, Prover, Reader, TransparencyLog, VerifyOptions, verify,
};
use prost::Message as _;
use proto::journal::v1::{CaRecord, CertificatePlanned, CertificateSigned, ca_record::Event};
use tempfile::TempDir;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

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
/// Milliseconds in which an auditor has a certificate's proof file, found by its serial in the whole journal.
const FOUND: f64 = 1000.0;
/// The tree may cost the acknowledgements so much.
const BESIDE: f64 = 1.15;
/// Records of one acknowledgement, and how many writers wait for one at once.
const GROUP: usize = 64;
const WRITERS: usize = 4;
/// How often each is measured; the middle one counts.
const TIMES: usize = 5;
const ORIGIN: &str = "factory.example/bench";

/// Measures it with a journal of so many records.
pub(crate) fn measure(binaries: &Path, records: usize, report: &mut Report) -> Result<(), Failed> {
    let place = tempfile::tempdir().map_err(because("make a directory"))?;
    let directory = place.path().join("journal");
    let key = {
        let (journal, log, _) = TransparencyLog::open(&options(&directory), LogOptions::beside(&directory))
            .map_err(because("open a journal"))?;
        fill(&journal, records / 2).map_err(because("fill a journal"))?;
        let issuance = journal.append(issuance()?).map_err(because("append to a journal"))?;
        issuance.wait().map_err(because("append to a journal"))?;
        fill(&journal, records - records / 2 - ISSUANCE).map_err(because("fill a journal"))?;
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

    let index = records as u64 / 3;
    let entry = Reader::open(&directory).and_then(|reader| reader.entry(index)).map_err(because("read a record"))?;
    let entry = entry.ok_or_else(|| Failed::new(format!("record {index} is not there")))?;
    let proven = || {
        let (seconds, proof) = timed(|| Prover::open(&directory.join("tlog"), index)?.prove(index, &entry));
        proof.map_err(because("prove a record")).map(|_| seconds * 1e3)
    };
    let proven = (0..TIMES).map(|_| proven()).collect::<Result<Vec<_>, _>>()?;
    report.figure("journal-proof", median(proven), PROVEN, "ms", Goal::AtMost(1.0));
    let found = (0..TIMES).map(|_| prove(binaries, &directory)).collect::<Result<Vec<_>, _>>()?;
    report.figure("journal-prove-record", median(found), FOUND, "ms", Goal::AtMost(1.0));
    beside(records / 5, report)
}

/// Records of one issuance in a CA's journal.
const ISSUANCE: usize = 2;
const SERIAL: [u8; 16] = [0x5A; 16];

/// What a CA records of one certificate.
fn issuance() -> Result<Vec<Vec<u8>>, Failed> {
    let failed = because::<rcgen::Error>("make a certificate");
    let mut params = rcgen::CertificateParams::default();
    params.serial_number = Some(SERIAL.to_vec().into());
    let key = rcgen::KeyPair::generate().map_err(&failed)?;
    let certificate = params.self_signed(&key).map_err(&failed)?;
    let (_, parsed) = X509Certificate::from_der(certificate.der()).map_err(because("read a certificate"))?;
    let planned = CertificatePlanned {
        device_serial: "SN-1".into(),
        tbs_certificate: parsed.tbs_certificate.as_ref().to_vec(),
        certificate_serial: SERIAL.to_vec(),
        ..CertificatePlanned::default()
    };
    let signature = parsed.signature_value.data.to_vec();
    let signed = CertificateSigned { certificate_serial: SERIAL.to_vec(), signature };
    let record = |event| CaRecord { time_ms: 1, issuance: vec![7; 16], event: Some(event) }.encode_to_vec();
    Ok(vec![record(Event::CertificatePlanned(planned)), record(Event::CertificateSigned(signed))])
}

/// What an auditor types; milliseconds of the whole command.
fn prove(binaries: &Path, journal: &Path) -> Result<f64, Failed> {
    let serial: String = SERIAL.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut command = Command::new(binaries.join("intermediate-ca"));
    command
        .args(["journal", "prove", &serial, "--journal"])
        .arg(journal)
        .arg("--out")
        .arg(journal.with_extension("proof"));
    let (seconds, ran) = timed(|| command.stdout(Stdio::null()).status());
    match ran.map_err(because("run intermediate-ca"))?.success() {
        true => Ok(seconds * 1e3),
        false => Err(Failed::new("intermediate-ca did not prove a certificate")),
    }
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
