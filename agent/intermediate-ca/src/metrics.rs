//! What the CA tells Prometheus. How it stands is read when it is asked; what it did is counted since its start.

use std::{collections::BTreeMap, fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use service::metrics;

use crate::authority::{Authority, Outcome};

/// A registry of all of it.
#[must_use]
pub(crate) fn registry(authority: &Authority) -> Registry {
    let mut registry = metrics::registry("ca", env!("CARGO_PKG_VERSION"));
    let Counts { requests, calls, visits, signatures } = authority.counts();
    registry.register("requests", "Certification requests by what they were answered", requests.clone());
    let help = "From a batch's arrival to its answer";
    registry.register_with_unit("batch_duration", help, Unit::Seconds, calls.clone());
    let help = "From asking the token to its verified signatures";
    registry.register_with_unit("signing_duration", help, Unit::Seconds, visits.clone());
    registry.register("signatures", "Signatures of the token that verified", signatures.clone());
    registry.register_collector(Box::new(Standing(authority.clone())));
    registry
}

type Labels = [(&'static str, &'static str); 1];

/// What was done since the start. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    requests: Family<Labels, Counter>,
    calls: Histogram,
    visits: Histogram,
    signatures: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        // 1 ms to 16 s.
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self { requests: Family::default(), calls: histogram(), visits: histogram(), signatures: Counter::default() }
    }
}

impl Counts {
    /// A batch was answered.
    pub(crate) fn answered(&self, outcomes: &[Outcome], took: Duration) {
        for outcome in outcomes {
            self.requests.get_or_create(&[("outcome", outcome.as_str())]).inc();
        }
        self.calls.observe(took.as_secs_f64());
    }

    /// So many messages were signed for one batch.
    pub(crate) fn signed(&self, signatures: usize, took: Duration) {
        self.signatures.inc_by(signatures as u64);
        self.visits.observe(took.as_secs_f64());
    }
}

struct Standing(Authority);

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(authority) = self;
        let problems = authority.problems();
        let (at_work, waiting) = authority.load();
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let gauges = [
            ("serving", "1 while health is green", i64::from(problems.iter().all(|problem| !problem.red))),
            ("requests_at_work", "Certification requests that are worked on", number(at_work)),
            ("requests_waiting", "Certification requests whose turn has not come", number(waiting)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let records = ConstCounter::new(authority.records());
        let help = "Records on the disk";
        records.encode(encoder.encode_descriptor("journal_records", help, None, records.metric_type())?)?;
        let reasons = problems.iter().map(|problem| (problem.reason, i64::from(problem.red) + 1));
        family(&mut encoder, "problem", "1 for what will be wrong, 2 for what is", "reason", reasons)?;
        let standing = authority.standing();
        let ends = standing.iter().map(|one| (one.name.as_str(), one.not_after));
        family(&mut encoder, "certificate_not_after_timestamp", "When the CA's own certificates end", "ca", ends)?;
        let crls = authority.crls();
        let ends = crls.iter().map(|crl| (crl.list.as_str(), crl.next_update));
        family(&mut encoder, "crl_next_update_timestamp", "When the published CRLs end", "list", ends)
    }
}

/// One gauge for each value of a label; the largest of those that come twice.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, i64)>,
) -> Result<(), fmt::Error> {
    let mut each: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, value) in values {
        let most = each.entry(key).or_insert(value);
        *most = value.max(*most);
    }
    let unit = name.ends_with("timestamp").then_some(Unit::Seconds);
    let kind = ConstGauge::new(0_i64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
    for (key, value) in each {
        ConstGauge::new(value).encode(family.encode_family(&[(label, key)])?)?;
    }
    Ok(())
}
