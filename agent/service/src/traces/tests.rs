use std::future::pending;

use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::SpanData,
};
use tokio::time::{Instant, timeout};

use super::{export::Queue, *};
use crate::configuration::{File, Mistakes};

fn read(text: &str) -> Result<Option<Settings>, Mistakes> {
    let file = File::parse("/etc/x.toml".as_ref(), text.to_owned()).unwrap();
    let settings = Settings::from_table(&file.root());
    file.finish().map(|()| settings)
}

/// Without the table there are no traces; a collector is reached over TLS, or without it on this machine alone; what is wrong is
/// told, with what to write, and each slip once.
#[test]
fn a_collector_elsewhere_needs_tls() {
    assert!(read("").unwrap().is_none());
    for here in ["http://127.0.0.1:4317", "http://[::1]:4317/", "http://localhost:1"] {
        let settings = read(&format!("[traces]\nendpoint = \"{here}\"")).unwrap().unwrap();
        assert_eq!((settings.endpoint(), settings.files().is_none(), settings.ratio), (here, true, 1.0));
    }
    let tls = "certificate = \"a.pem\"\nkey = \"a.key\"\ntrust = \"b.pem\"\nsampled_percent = 25\n";
    let there = read(&format!("[traces]\nendpoint = \"https://c.example:4317\"\n{tls}")).unwrap().unwrap();
    assert_eq!((there.files().is_some(), there.ratio), (true, 0.25));
    for (wrong, words) in [
        ("", "is missing"),
        ("endpoint = \"collector:4317\"", "does not begin with https://"),
        ("endpoint = \"https://c.example\"", "names no port"),
        ("endpoint = \"http://c.example:4317\"", "not on this machine"),
        ("endpoint = \"http://127.0.0.1.example:4317\"", "not on this machine"),
        ("endpoint = \"http://10.0.0.1:4317\"\ntrust = \"x\"", "not on this machine"),
        ("endpoint = \"http://127.0.0.1\"", "names no port"),
        ("endpoint = \"http://127.0.0.1:4317/v1/traces\"", "more than a host and a port"),
        ("endpoint = \"http://127.0.0.1:4317\"\ntrust = \"x\"", "is for TLS"),
        ("endpoint = \"http://127.0.0.1:4317\"\nsampled_percent = 0", "1"),
        ("endpoint = \"http://127.0.0.1:4317\"\nendpiont = \"x\"", "endpoint"),
        ("endpoint = \"https://c.example:4317\"\nkey = \"a\"\ntrust = \"b\"", "certificate"),
    ] {
        let told = read(&format!("[traces]\n{wrong}")).unwrap_err();
        assert!(told.0.len() == 1 && told.to_string().contains(words), "{wrong}: {told}");
    }
}

/// What a collector does with each batch.
#[derive(Debug, Clone, Copy)]
enum Collector {
    Takes,
    Refuses,
    Hangs,
}

impl opentelemetry_sdk::trace::SpanExporter for Collector {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        match self {
            Self::Takes => Ok(()),
            Self::Refuses => Err(OTelSdkError::InternalFailure("refused".into())),
            Self::Hangs => pending().await,
        }
    }
}

const PROCESS: Service<'static> = Service { name: "a-program", version: "1", instance: "one" };

fn spans() -> (SdkTracer, Queue) {
    let (ended, queue) = export::queue();
    (provider(1.0, resource(&PROCESS), ended).tracer("test"), queue)
}

fn figures(counts: &Counts) -> String {
    let mut registry = Registry::default();
    counts.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

fn end(tracer: &SdkTracer, spans: usize) {
    for _ in 0..spans {
        tracer.start("a span").end();
    }
}

/// Nobody takes anything: what ends finds a place or is dropped and counted, and whoever ends it does not wait.
#[test]
fn a_full_queue_drops_and_counts() {
    let (tracer, queue) = spans();
    let counts = queue.counts().clone();
    end(&tracer, 2048 + 7);
    let told = figures(&counts);
    assert!(told.contains("spans_dropped_total{reason=\"queue_full\"} 7"), "{told}");
}

/// A batch that the collector took, refused or did not answer for is counted as what it was, and the next one has its turn. In
/// the test's own time.
#[tokio::test(start_paused = true)]
async fn each_batch_is_counted() {
    for (collector, line) in [
        (Collector::Takes, "spans_exported_total 3"),
        (Collector::Refuses, "spans_dropped_total{reason=\"not_taken\"} 3"),
        (Collector::Hangs, "spans_dropped_total{reason=\"not_taken\"} 3"),
    ] {
        let (tracer, queue) = spans();
        let counts = queue.counts().clone();
        let exporting = Exporting::start(queue, collector);
        end(&tracer, 3);
        let told = async {
            while !figures(&counts).contains(line) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), told).await.unwrap_or_else(|_| panic!("{collector:?}: {}", figures(&counts)));
        exporting.end().await;
    }
}

/// What ended just before the end is exported still; a collector that hangs is given a second of it, and no more.
#[tokio::test(start_paused = true)]
async fn the_end_is_bounded() {
    for (collector, exported, most) in [(Collector::Takes, 1, 1), (Collector::Hangs, 0, 1)] {
        let (tracer, queue) = spans();
        let counts = queue.counts().clone();
        let exporting = Exporting::start(queue, collector);
        end(&tracer, 1);
        let began = Instant::now();
        exporting.end().await;
        assert!(began.elapsed() <= Duration::from_secs(most), "{collector:?}: {:?}", began.elapsed());
        assert!(figures(&counts).contains(&format!("spans_exported_total {exported}")), "{}", figures(&counts));
    }
}

/// Who calls decides whether a trace is sampled; of those that begin here the configured part is.
#[test]
fn the_callers_word_goes_first() {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId},
    };
    let (ended, _queue) = export::queue();
    let tracer = provider(0.0, resource(&PROCESS), ended).tracer("test");
    assert!(!tracer.start("by itself").is_recording());
    for flags in [TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED] {
        let caller = SpanContext::new(TraceId::from(1), SpanId::from(2), flags, true, Default::default());
        let context = Context::new().with_remote_span_context(caller);
        assert_eq!(tracer.start_with_context("called", &context).is_recording(), flags.is_sampled());
    }
}
