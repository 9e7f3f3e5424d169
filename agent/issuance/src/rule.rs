//! What a supervisor may decide on an issuance, whatever its device and its CA do.

use crate::{
    FaultKind, Issuance, Record, State,
    submission::{self, Terms},
};

/// A supervisor's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Let a quarantined issuance go on: what the CA refused is asked again, everything else goes on where it stands. What
    /// is in doubt is submitted again, and may get a second certificate.
    Release {
        /// Whether the hardware in the fixture is this device from now on. For one that was set aside for its hardware, and
        /// before anything was done to that.
        new_hardware: bool,
    },
    /// End it. Its device may be started anew; what the CA may still answer is recorded and not used.
    Cancel {
        /// Why, for the record.
        reason: String,
    },
    /// Scrap its device: it ends for good, completed or not. The CA has revoked what was issued to it.
    Scrap {
        /// Why, for the record.
        reason: String,
    },
}

/// A ruling on what it cannot be given on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RulingRefused {
    /// Only what is set aside or in doubt can be let go on.
    #[error("only an issuance that is quarantined or in doubt can be released")]
    NotQuarantined,
    /// It is done, or was cancelled before.
    #[error("it is completed or cancelled already: nothing is left to cancel")]
    Ended,
    /// Other hardware is no matter of this issuance, or comes too late for it.
    #[error(
        "only what was set aside as NOT_SAME_DEVICE before its device was identified is released with new hardware: cancel \
         it, and rework the device with new hardware"
    )]
    NotHardware,
}

impl Issuance {
    /// The record that a ruling makes. `claimed_by` is the supervisor's pseudonym, `authenticated_by` the client certificate,
    /// `authority` the CA that is asked now.
    pub fn rule(
        &self,
        ruling: Ruling,
        claimed_by: String,
        authenticated_by: String,
        (authority, terms): (&str, Terms),
    ) -> Result<Record, RulingRefused> {
        let ended = matches!(self.state, State::Cancelled(..));
        match (ruling, &self.state) {
            (Ruling::Release { new_hardware: true }, State::Quarantined(inner, stop))
                if **inner != State::Requested || stop.reason != FaultKind::NotSameDevice.reason() =>
            {
                Err(RulingRefused::NotHardware)
            }
            (Ruling::Release { new_hardware }, State::Quarantined(..)) => {
                Ok(Record::Released { claimed_by, authenticated_by, new_hardware })
            }
            (Ruling::Release { new_hardware: false }, state)
                if !ended && matches!(state.underlying(), State::InDoubt(..)) =>
            {
                Ok(submission::resubmitted(authority, terms, claimed_by, authenticated_by))
            }
            (Ruling::Release { .. }, _) => Err(RulingRefused::NotQuarantined),
            (Ruling::Cancel { .. }, State::Completed(..) | State::Cancelled(..)) => Err(RulingRefused::Ended),
            (Ruling::Cancel { reason }, _) => {
                Ok(Record::Cancelled { scrapped: false, reason, claimed_by, authenticated_by })
            }
            (Ruling::Scrap { .. }, _) if self.scrapped => Err(RulingRefused::Ended),
            (Ruling::Scrap { reason }, _) => {
                Ok(Record::Cancelled { scrapped: true, reason, claimed_by, authenticated_by })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        record::Stop,
        simulated::{World, requested},
    };

    const AT: Timestamp = Timestamp(0);

    fn apply(issuance: &Issuance, record: &Record) -> Issuance {
        issuance.clone().apply(record, AT)
    }

    fn quarantined(issuance: &Issuance) -> Issuance {
        let stop = Stop { reason: "R".into(), message: "m".into(), next_action: "n".into() };
        apply(issuance, &Record::Quarantined(stop))
    }

    fn rule(issuance: &Issuance, ruling: Ruling) -> Result<Issuance, RulingRefused> {
        let record = issuance.rule(ruling, "badge".into(), "supervisor-1".into(), ("ca-1", Terms::default()))?;
        Ok(apply(issuance, &record))
    }

    /// Every state of a whole issuance, quarantined and released, goes on after a scan exactly where it stood; what the CA
    /// refused is asked again with the same bytes.
    #[test]
    fn a_released_issuance_goes_on_where_it_stood() {
        let resumed = Record::Resumed {
            fixture: requested().request.fixture,
            claimed_by: String::new(),
            authenticated_by: String::new(),
        };
        let mut issuance = requested();
        for record in World::new().run(requested()).1 {
            let released = rule(&quarantined(&issuance), Ruling::Release { new_hardware: false });
            let after = apply(&released.unwrap(), &resumed);
            assert_eq!(after.state, issuance.state);
            if matches!(issuance.state, State::Submitted(_)) {
                let refused = apply(&issuance, &Record::Refused { reason: "R".into(), message: "m".into() });
                let again = apply(&rule(&refused, Ruling::Release { new_hardware: false }).unwrap(), &resumed);
                let State::RequestSigned(request) = &again.state else { panic!("{}", again.state) };
                assert_eq!(Some(request), issuance.state.awaits_answer());
            }
            issuance = apply(&issuance, &record);
        }
        assert!(matches!(issuance.state, State::Completed(..)));
    }

    /// A device is scrapped in every state, once, and ends; nothing moves it afterwards.
    #[test]
    fn a_scrapped_device_has_ended() {
        let scrap = || Ruling::Scrap { reason: "broken".into() };
        let mut issuance = requested();
        for record in World::new().run(requested()).1 {
            issuance = apply(&issuance, &record);
            for before in
                [issuance.clone(), rule(&issuance, Ruling::Cancel { reason: "r".into() }).unwrap_or(issuance.clone())]
            {
                let scrapped = rule(&before, scrap()).unwrap();
                assert!(scrapped.scrapped && matches!(scrapped.state, State::Cancelled(..)), "{}", before.state);
                assert_eq!(rule(&scrapped, scrap()), Err(RulingRefused::Ended));
                assert_eq!(scrapped.state.was_issued(), before.state.was_issued());
            }
        }
        assert!(matches!(issuance.state, State::Completed(..)), "the last one was scrapped, too");
    }

    /// New hardware is a word on what was set aside for its hardware and on nothing else, before anything was done to it.
    #[test]
    fn new_hardware_is_said_before_anything_is_done_to_it() {
        let said = || Ruling::Release { new_hardware: true };
        let stop = |reason: &str| Stop { reason: reason.into(), message: "m".into(), next_action: "n".into() };
        let aside = apply(&requested(), &Record::Quarantined(stop("NOT_SAME_DEVICE")));
        assert!(rule(&aside, said()).unwrap().new_hardware);
        assert!(!rule(&aside, Ruling::Release { new_hardware: false }).unwrap().new_hardware);
        let other = apply(&requested(), &Record::Quarantined(stop("MISMATCH")));
        assert_eq!(rule(&other, said()), Err(RulingRefused::NotHardware));
        assert_eq!(rule(&requested(), said()), Err(RulingRefused::NotQuarantined));
        let mut begun = requested();
        for record in World::new().run(requested()).1.into_iter().take(2) {
            begun = apply(&begun, &record);
            let aside = apply(&begun, &Record::Quarantined(stop("NOT_SAME_DEVICE")));
            assert_eq!(rule(&aside, said()), Err(RulingRefused::NotHardware), "{}", begun.state);
        }
    }

    /// In every state but the last an issuance can be cancelled, once; nothing moves it afterwards, and a late certificate
    /// is kept.
    #[test]
    fn a_cancelled_issuance_stays_so() {
        let cancel = || Ruling::Cancel { reason: "scrapped".into() };
        let mut issuance = requested();
        for record in World::new().run(requested()).1 {
            for before in [issuance.clone(), quarantined(&issuance)] {
                let cancelled = rule(&before, cancel()).unwrap();
                assert!(matches!(cancelled.state, State::Cancelled(..)));
                assert_eq!(rule(&cancelled, cancel()), Err(RulingRefused::Ended));
                assert_eq!(
                    rule(&cancelled, Ruling::Release { new_hardware: false }),
                    Err(RulingRefused::NotQuarantined)
                );
                let later = apply(&cancelled, &record);
                assert!(matches!(later.state, State::Cancelled(..)));
                let late = matches!(record, Record::Issued { .. });
                assert_eq!(late, later.state.issued().is_some() && cancelled.state.issued().is_none());
            }
            assert_eq!(rule(&issuance, Ruling::Release { new_hardware: false }), Err(RulingRefused::NotQuarantined));
            issuance = apply(&issuance, &record);
        }
        assert_eq!(rule(&issuance, cancel()), Err(RulingRefused::Ended));
    }
}
