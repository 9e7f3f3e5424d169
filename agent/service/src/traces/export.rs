//! What ended, on its way to the collector: a bounded queue, and one task that empties it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

/// Spans that wait: those of some fifty issuances at once, at about 1 KiB each. OpenTelemetry's own default.
const QUEUE_MOST: usize = 2048;

/// Spans in one message: OpenTelemetry's own default.
const BATCH_MOST: usize = 512;

/// What ended is gathered this long, so that an issuance is a message or two.
const GATHER: Duration = Duration::from_millis(500);

/// A collector that has not taken a batch by then, also when asked again, does not get it: those behind it wait.
pub(super) const EXPORT_WITHIN: Duration = Duration::from_secs(10);

/// At the end of a process the collector gets this long for what is left.
const END_WITHIN: Duration = Duration::from_secs(1);

/// An outage of the collector is a line in the log, and so is a slow one: figures are the metrics' business.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// What became of the spans. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    exported: Counter,
    dropped: Family<[(&'static str, &'static str); 1], Counter>,
    said: Arc<Mutex<Option<Instant>>>,
}

impl Counts {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("spans_exported", "Spans of traces that the collector took", self.exported.clone());
        registry.register("spans_dropped", "Spans of traces that it did not get", self.dropped.clone());
    }

    fn dropped(&self, reason: &'static str, spans: usize, words: &str) {
        self.dropped.get_or_create(&[("reason", reason)]).inc_by(spans as u64);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
            *said = Some(Instant::now());
            drop(said);
            warn!(
                reason,
                words, "spans of traces are dropped, and nothing else is; the metric spans_dropped counts them"
            );
        }
    }
}

/// Where spans come from that ended.
#[derive(Debug)]
pub(super) struct Ended {
    spans: mpsc::Sender<SpanData>,
    counts: Counts,
}

/// Where they wait.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Receiver<SpanData>,
    counts: Counts,
}

impl Queue {
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

pub(super) fn queue() -> (Ended, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE_MOST);
    let counts = Counts::default();
    (Ended { spans: sender, counts: counts.clone() }, Queue { spans: receiver, counts })
}

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    /// On whatever thread did the work: it never waits.
    fn on_end(&self, span: SpanData) {
        match self.spans.try_send(span) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counts.dropped("queue_full", 1, "the collector is slower than what happens here");
            }
            // The process ends.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The export, under way.
#[derive(Debug)]
pub struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    pub(super) fn start(queue: Queue, exporter: impl SpanExporter + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(export(queue, exporter, stopped)) }
    }

    /// Exports what is left, within a second; what the collector does not take by then is lost.
    pub async fn end(self) {
        let Self { stop, mut task } = self;
        let _ = stop.send(());
        if timeout(END_WITHIN, &mut task).await.is_err() {
            task.abort();
            debug!("the last spans of traces were not exported");
        }
    }
}

async fn export(mut queue: Queue, exporter: impl SpanExporter, mut stop: oneshot::Receiver<()>) {
    let mut stopping = false;
    while !stopping {
        let mut batch = Vec::with_capacity(BATCH_MOST);
        let gathered = async {
            queue.spans.recv_many(&mut batch, BATCH_MOST).await;
            if batch.len() < BATCH_MOST {
                sleep(GATHER).await;
            }
        };
        tokio::select! {
            _ = &mut stop => {
                stopping = true;
                queue.spans.close();
            }
            () = gathered => {}
        }
        loop {
            while batch.len() < BATCH_MOST
                && let Ok(span) = queue.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                break;
            }
            send(&exporter, std::mem::take(&mut batch), &queue.counts).await;
        }
    }
}

async fn send(exporter: &impl SpanExporter, batch: Vec<SpanData>, counts: &Counts) {
    let spans = batch.len();
    match timeout(EXPORT_WITHIN, exporter.export(batch)).await {
        Ok(Ok(())) => {
            counts.exported.inc_by(spans as u64);
        }
        Ok(Err(error)) => counts.dropped("not_taken", spans, &crate::in_full(&error)),
        Err(_) => counts.dropped("not_taken", spans, "the collector does not answer"),
    }
}
