//! The station's own sender, `station::submission`, under a simulated clock, and the desk where answers are recorded.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use issuance::{Input, IssuanceId, profile::KeystoreKind, submission::Repeats};
use journal::Appended;
use station::{
    configuration::QueueSettings,
    fixtures::Fixtures,
    ledger::{Ledger, LedgerRefused},
    submission::{Answered, run_with},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    ca::{DAY, MoodyCa},
    desk::AUTHORITY,
    events::Stopped,
    floor::{Killed, Shared, look},
    world::World,
};

/// How the queue is sent.
pub(crate) fn settings(bound: usize, batch: usize, in_flight: usize) -> QueueSettings {
    QueueSettings {
        bound,
        batch,
        in_flight,
        timeout: Duration::from_secs(30),
        retry_first: Duration::from_millis(200),
        retry_most: Duration::from_secs(600),
    }
}

/// Where answers are recorded and passed on, as `station::station` has it.
#[derive(Clone)]
pub(crate) struct AnswerDesk {
    ledger: Arc<Ledger>,
    fixtures: Arc<Fixtures>,
    floor: Shared,
}

impl Answered for AnswerDesk {
    fn answered(&self, issuance: IssuanceId) {
        if look(&self.floor).pass().is_err() {
            return;
        }
        if let Ok(Some((issuance, _))) = self.ledger.get(issuance) {
            self.fixtures.go_on(&issuance.fixture, issuance.id);
        }
    }

    fn record(&self, issuance: IssuanceId, input: Input) -> bool {
        if look(&self.floor).pass().is_err() {
            return false;
        }
        self.decide(issuance, input).is_ok() && look(&self.floor).pass().is_ok()
    }

    async fn sending(&self, issuances: &[IssuanceId]) -> bool {
        let mut last = None;
        for issuance in issuances {
            if look(&self.floor).pass().is_err() {
                return false;
            }
            match self.decide(*issuance, Input::Sending) {
                Ok(appended) => last = appended.or(last),
                Err(Stopped) => return false,
            }
        }
        let Some(last) = last else { return true };
        let synced = last.synced().await.is_ok();
        look(&self.floor).stuck |= !synced;
        synced && look(&self.floor).pass().is_ok()
    }
}

impl AnswerDesk {
    fn decide(&self, issuance: IssuanceId, input: Input) -> Result<Option<Appended>, Stopped> {
        let Ok(Some((before, _))) = self.ledger.get(issuance) else {
            look(&self.floor).wrong.push("what is answered is not in the journal".to_owned());
            return Err(Stopped);
        };
        match self.ledger.decide(issuance, &before.fixture, KeystoreKind::Pkcs11, AUTHORITY, input) {
            Ok((_, appended)) => Ok(appended),
            Err(LedgerRefused::Precondition { .. }) => Ok(None),
            Err(LedgerRefused::Journal(_)) => {
                look(&self.floor).stuck = true;
                Err(Stopped)
            }
            Err(LedgerRefused::Clock(_)) if self.ledger.clock().now().is_err() => Err(Stopped),
            Err(refused) => {
                look(&self.floor).wrong.push(format!("an answer is not recorded: {}", service::in_full(&refused)));
                Err(Stopped)
            }
        }
    }
}

impl World {
    fn answer_desk(&self) -> AnswerDesk {
        let place = self.place();
        AnswerDesk {
            ledger: Arc::clone(&place.ledger),
            fixtures: Arc::clone(&place.fixtures),
            floor: Arc::clone(&self.floor),
        }
    }

    /// The station's sender begins; it goes on while time passes.
    pub(crate) fn start_sending(&mut self) {
        let settings = settings(self.queue_bound, self.batch, self.in_flight);
        let ca = MoodyCa {
            floor: Arc::clone(&self.floor),
            authority: Arc::clone(&self.authority),
            ledger: Arc::clone(self.ledger()),
            settings,
            mints_again: self.terms.repeats == Repeats::New,
            told: Mutex::default(),
        };
        let (ledger, desk) = (Arc::clone(self.ledger()), Arc::new(self.answer_desk()));
        let (shutdown, floor) = (self.place().shutdown.clone(), Arc::clone(&self.floor));
        let jitter = move || look(&floor).chance.below(1000) as f64 / 1000.0;
        let (link, _) = watch::channel(station::submission::Link::default());
        let sending = run_with(ledger, ca, desk, settings, link, shutdown, jitter);
        self.place_mut().sending = Some(Box::pin(sending));
    }

    /// The sender is asked to stop and does.
    pub(crate) fn stop_sending(&mut self) -> Result<(), String> {
        self.place().shutdown.request();
        let Some(mut sending) = self.place_mut().sending.take() else { return Ok(()) };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = &mut sending => Ok(()),
                () = sleep(DAY) => Err("the sender does not stop".to_owned()),
            }
        })
    }

    /// Time passes: the sender does what it does in it.
    pub(crate) fn time_passes(&mut self, for_long: Duration) -> Result<String, String> {
        let Some(mut sending) = self.place_mut().sending.take() else { return Err("nobody sends".to_owned()) };
        let ended = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = &mut sending => true,
                () = sleep(for_long) => false,
            }
        });
        self.place_mut().sending = Some(sending);
        if ended {
            return Err("the sender ended by itself".to_owned());
        }
        self.outcome.simulated += for_long;
        Ok(format!("{for_long:?} pass, {} wait for the CA", self.ledger().queue().0))
    }

    /// As long as somebody looks away, or as the CA is.
    pub(crate) fn some_time(&mut self) -> Duration {
        let now = self.runtime.block_on(async { Instant::now() });
        let away = look(&self.floor).ca.away_until.map_or(Duration::ZERO, |until| until - now.min(until));
        match self.chance.below(10) {
            0..=3 => Duration::from_millis(1 + self.chance.below(100) as u64),
            4..=6 => Duration::from_secs(1 + self.chance.below(10) as u64),
            7 => Duration::from_secs(60 * (1 + self.chance.below(10) as u64)),
            _ if away > DAY => away / 4,
            _ => away + Duration::from_secs(1),
        }
    }

    /// An answer arrives that the station did not wait for any more.
    pub(crate) fn late_answer(&mut self) -> Result<String, String> {
        let late = look(&self.floor).ca.late.len();
        if late == 0 {
            return Ok("no answer is late".to_owned());
        }
        let (id, answer) = look(&self.floor).ca.late.swap_remove(self.chance.below(late));
        let line = format!("a late answer for {}", self.name(id));
        let Ok(input) = answer.into_input() else { return Ok(line) };
        let desk = self.answer_desk();
        if desk.record(id, input) {
            desk.answered(id);
        }
        Ok(line)
    }

    /// A boundary between two lines.
    pub(crate) fn pass(&self) -> Result<(), Stopped> {
        look(&self.floor).pass().map_err(|Killed| Stopped)
    }
}
