//! What the station tells Prometheus: read when it is asked, so that nothing is counted twice.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use service::{clock::Moment, metrics};

use crate::{board::Board, events::Standing, fixtures::Fixtures, ledger::Ledger};

/// A registry of all of it.
#[must_use]
pub fn registry(ledger: Arc<Ledger>, fixtures: Arc<Fixtures>, board: Arc<Board>, told: Option<Standing>) -> Registry {
    let mut registry = metrics::registry("station", env!("CARGO_PKG_VERSION"));
    registry.register_collector(Box::new(Station { ledger, fixtures, board, told }));
    registry
}

struct Station {
    ledger: Arc<Ledger>,
    fixtures: Arc<Fixtures>,
    board: Arc<Board>,
    /// The web hook's, when there is one.
    told: Option<Standing>,
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").finish_non_exhaustive()
    }
}

impl Collector for Station {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (length, oldest) = self.ledger.queue();
        let age = oldest.map_or(0, |oldest| (Moment::read().day - oldest.0).max(0) / 1000);
        let link = self.board.link();
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let gauges = [
            ("halted", "1 while the station accepts nothing", None, i64::from(self.board.halted().is_some())),
            ("link_up", "1 while the last attempt reached the CA", None, i64::from(link.up == Some(true))),
            ("queue_length", "Submissions without an answer", None, number(length)),
            ("queue_bound", "At this length new issuances are refused", None, number(self.ledger.queue_bound())),
            ("queue_oldest_age", "Since when the oldest submission waits", Some(Unit::Seconds), age),
            ("in_doubt", "Issuances in which a supervisor decides", None, number(self.ledger.in_doubt())),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        if let Some(told) = &self.told {
            let waiting = self.ledger.journal().synced().saturating_sub(told.confirmed());
            let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
            let up = i64::from(told.trouble().is_none());
            let help = "1 while the receiver of events takes them";
            for (name, help, value) in
                [("webhook_up", help, up), ("webhook_records_waiting", "Records that it was not told of yet", waiting)]
            {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        let records = ConstCounter::new(self.ledger.journal().synced());
        records.encode(encoder.encode_descriptor(
            "journal_records",
            "Records on the disk",
            None,
            records.metric_type(),
        )?)?;
        let busy = ConstGauge::new(0_i64);
        let mut each =
            encoder.encode_descriptor("fixture_busy", "1 while a device is worked on", None, busy.metric_type())?;
        for fixture in self.fixtures.all() {
            let busy = ConstGauge::new(i64::from(fixture.status().0));
            busy.encode(each.encode_family(&[("fixture", fixture.name.as_str())])?)?;
        }
        Ok(())
    }
}
