//! Named points at which a test kills this process, between two lines of intent, flush, act and outcome.
//!
//! Without the feature `crash-points`, which nothing that is shipped turns on, a point is nothing. With it, a process whose
//! environment has `STATION_CRASH_POINT=<name>` or `<name>@<n>` ends with SIGKILL when it reaches the point for the first,
//! or the nth, time: no unwinding, no flush, as if its power had gone.
//!
//! - `<who>.<record>.decided`, `.appended`, `.synced`: the record is made, queued for the disk, on the disk.
//! - `<who>.<act>.intended`, `.done`: all that must stand before the act stands; the act is done and not recorded.

use std::fmt::Display;

/// The environment variable that names the point.
pub const VARIABLE: &str = "STATION_CRASH_POINT";

/// All points.
pub const NAMES: &[&str] = &[
    "ca.answer.intended",
    "ca.caller.appended",
    "ca.caller.decided",
    "ca.caller.synced",
    "ca.ceremony.import.done",
    "ca.ceremony.import.intended",
    "ca.ceremony.request.done",
    "ca.ceremony.request.intended",
    "ca.ceremony.request.synced",
    "ca.crl-planned.appended",
    "ca.crl-planned.decided",
    "ca.crl-planned.synced",
    "ca.crl-signed.appended",
    "ca.crl-signed.decided",
    "ca.crl-signed.synced",
    "ca.crl.sign.done",
    "ca.crl.sign.intended",
    "ca.crl.write.done",
    "ca.crl.write.synced",
    "ca.init.generate.done",
    "ca.init.generate.intended",
    "ca.init.sign.done",
    "ca.init.sign.intended",
    "ca.init.write.done",
    "ca.init.write.synced",
    "ca.lot-ended.appended",
    "ca.lot-ended.decided",
    "ca.lot-ended.synced",
    "ca.lot-report.done",
    "ca.lot-report.intended",
    "ca.lot-reported.appended",
    "ca.lot-reported.decided",
    "ca.lot-reported.synced",
    "ca.lot-set.appended",
    "ca.lot-set.decided",
    "ca.lot-set.synced",
    "ca.planned.appended",
    "ca.planned.decided",
    "ca.planned.synced",
    "ca.propose.done",
    "ca.refused.appended",
    "ca.refused.decided",
    "ca.refused.synced",
    "ca.revoked.appended",
    "ca.revoked.decided",
    "ca.revoked.synced",
    "ca.rollover-planned.appended",
    "ca.rollover-planned.decided",
    "ca.rollover-planned.synced",
    "ca.rollover-signed.appended",
    "ca.rollover-signed.decided",
    "ca.rollover-signed.synced",
    "ca.rollover-stepped.appended",
    "ca.rollover-stepped.decided",
    "ca.rollover-stepped.synced",
    "ca.rollover.generate.done",
    "ca.rollover.generate.intended",
    "ca.rollover.sign.done",
    "ca.rollover.sign.intended",
    "ca.rollover.write.done",
    "ca.scrapped.appended",
    "ca.scrapped.decided",
    "ca.scrapped.synced",
    "ca.sign.done",
    "ca.sign.intended",
    "ca.signed.appended",
    "ca.signed.decided",
    "ca.signed.synced",
    "ca.start.journal-open",
    "ca.start.rows-open",
    "ca.start.sign.done",
    "ca.start.sign.intended",
    "ca.stop.journal-closed",
    "ca.stop.rows-closed",
    "ca.stop.serving-ended",
    "ca.verified.appended",
    "ca.verified.decided",
    "ca.verified.synced",
    "station.activate.done",
    "station.activate.intended",
    "station.attest.done",
    "station.attest.intended",
    "station.await-answer.synced",
    "station.cancelled.appended",
    "station.cancelled.decided",
    "station.confirmation.done",
    "station.confirmation.intended",
    "station.confirmed.appended",
    "station.confirmed.decided",
    "station.device-checked.appended",
    "station.device-checked.decided",
    "station.device-identified.appended",
    "station.device-identified.decided",
    "station.failed.appended",
    "station.failed.decided",
    "station.files.done",
    "station.files.intended",
    "station.files.synced",
    "station.find-key.done",
    "station.find-key.intended",
    "station.generate-key.done",
    "station.generate-key.intended",
    "station.generate-key.synced",
    "station.golden-check-failed.appended",
    "station.golden-check-failed.decided",
    "station.identify.done",
    "station.identify.intended",
    "station.in-doubt.appended",
    "station.in-doubt.decided",
    "station.issued.appended",
    "station.issued.decided",
    "station.key-generated.appended",
    "station.key-generated.decided",
    "station.key-generation-started.appended",
    "station.key-generation-started.decided",
    "station.lot-closed.appended",
    "station.lot-closed.decided",
    "station.lot-opened.appended",
    "station.lot-opened.decided",
    "station.lot.synced",
    "station.not-taken.appended",
    "station.not-taken.decided",
    "station.prove-residency.done",
    "station.prove-residency.intended",
    "station.quarantined.appended",
    "station.quarantined.decided",
    "station.refused.appended",
    "station.refused.decided",
    "station.released.appended",
    "station.released.decided",
    "station.remove-key.done",
    "station.remove-key.intended",
    "station.request-repeated.appended",
    "station.request-repeated.decided",
    "station.request-signed.appended",
    "station.request-signed.decided",
    "station.requested.appended",
    "station.requested.decided",
    "station.residency-proven.appended",
    "station.residency-proven.decided",
    "station.rest.synced",
    "station.resubmitted.appended",
    "station.resubmitted.decided",
    "station.resumed.appended",
    "station.resumed.decided",
    "station.rework.synced",
    "station.ruling.synced",
    "station.scan.synced",
    "station.scrap.done",
    "station.scrap.intended",
    "station.sealed.appended",
    "station.sealed.decided",
    "station.send-started.appended",
    "station.send-started.decided",
    "station.sign-request.done",
    "station.sign-request.intended",
    "station.start.journal-open",
    "station.start.rows-open",
    "station.start.serving",
    "station.stop.fixtures-ended",
    "station.stop.journal-closed",
    "station.stop.rows-closed",
    "station.stop.serving-ended",
    "station.stop.synced",
    "station.submission.done",
    "station.submission.intended",
    "station.submission.recorded",
    "station.submitted.appended",
    "station.submitted.decided",
    "station.surplus.appended",
    "station.surplus.decided",
    "station.verified.appended",
    "station.verified.decided",
    "station.verify.done",
    "station.verify.intended",
    "station.write-started.appended",
    "station.write-started.decided",
    "station.write.done",
    "station.write.intended",
    "station.write.synced",
    "station.written.appended",
    "station.written.decided",
];

/// Passes the point, unless the process is to end there.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: impl Display) {}

/// Passes the point, unless the process is to end there.
#[cfg(feature = "crash-points")]
pub fn point(name: impl Display) {
    armed::pass(&name.to_string());
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::{
        env, process,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        thread,
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::{NAMES, VARIABLE};

    /// Where this process ends.
    struct Chosen {
        name: String,
        /// At which time it is reached, from 1.
        time: u64,
        reached: AtomicU64,
    }

    pub(super) fn pass(name: &str) {
        static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
        require_listed(name);
        let Some(chosen) = CHOSEN.get_or_init(|| env::var(VARIABLE).ok().map(|text| choose(&text))) else { return };
        if chosen.name == name && chosen.reached.fetch_add(1, Ordering::Relaxed) + 1 == chosen.time {
            let _ = kill_process(getpid(), Signal::KILL);
            // The signal is on its way; this thread does nothing more.
            loop {
                thread::park();
            }
        }
    }

    fn choose(text: &str) -> Chosen {
        let (name, time) = text.split_once('@').unwrap_or((text, "1"));
        require_listed(name);
        Chosen { name: name.to_owned(), time: time.parse().unwrap_or(1), reached: AtomicU64::new(0) }
    }

    /// Whoever goes through the list must not miss one.
    fn require_listed(name: &str) {
        if NAMES.binary_search(&name).is_err() {
            eprintln!("the crash point {name} is not in service::crash::NAMES, in its order");
            process::abort();
        }
    }
}
