//! Traces over OTLP (gRPC), by the conventions of OpenTelemetry: off unless `[traces]` names a collector.
//!
//! One trace goes from whoever called (W3C Trace Context in the call's metadata) through the station to the CA: [`Span`]s are
//! begun by [`Gate`](crate::gate::Gate) for each call that comes in, by [`Channel`] for each that goes out, and by whoever does a
//! step in between. They say which step of which issuance took how long, and hold no secret, no badge and no key.
//!
//! While it is off, a span is nothing and costs one look at a static. While it is on, a collector that is slow, hangs or is away
//! costs nothing either: what ended waits in a bounded queue, and what finds no place there is dropped and counted.
//!
//! The crates' own batch processor is not used, since it waits for ever for a collector that hangs and counts for itself alone;
//! nor are the spans of `tracing`, which would go through the log's filter on every call whether or not anybody asked for them.

mod export;
mod http;
mod rpc;
mod span;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::OnceLock, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _, SpanProcessor},
};
use prometheus_client::registry::Registry;
use tonic::transport::{Endpoint, Uri};
use tracing::info;

use self::export::Counts;
pub(crate) use self::rpc::{answered, served};
pub use self::{
    export::Exporting,
    http::{http_answered, http_served},
    rpc::Channel,
    span::{Cause, FIXTURE, ISSUANCE, LOT, OUTCOME, REQUEST_ID, SUBMISSIONS, Span},
};
use crate::{
    configuration::Table,
    tls::{self, TlsError, TlsFiles},
};

/// A collector on this network connects in milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// As many requests as a batch to the CA holds: each may be linked to.
const LINKS_MOST: u32 = 256;

/// `[traces]`.
#[derive(Debug, Clone)]
pub struct Settings {
    endpoint: String,
    /// `None`: without TLS, on this machine.
    files: Option<TlsFiles>,
    /// Of the traces that begin here.
    ratio: f64,
}

impl Settings {
    /// Reads `[traces]`; without the table there are none. What is wrong is collected there.
    pub fn from_table(root: &Table<'_>) -> Option<Self> {
        let table = root.optional_table("traces")?;
        let percent = table.integer_or("sampled_percent", 1..=100, 100);
        let Some(endpoint) = table.parsed("endpoint", parse_endpoint) else {
            // Which keys belong here hangs on it.
            table.overlook_rest();
            return None;
        };
        let files = if endpoint.starts_with("https:") {
            Some(TlsFiles::from_table(&table)?)
        } else {
            for key in ["certificate", "key", "trust"] {
                if table.optional_path(key).is_some() {
                    table.mistake(key, "is for TLS, and the endpoint is without: leave it out, or write https://");
                }
            }
            None
        };
        Some(Self { endpoint, files, ratio: f64::from(u8::try_from(percent).unwrap_or(100)) / 100.0 })
    }

    /// The collector.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What TLS to the collector needs, when it is not on this machine.
    #[must_use]
    pub fn files(&self) -> Option<&TlsFiles> {
        self.files.as_ref()
    }
}

/// `https://host:port`, or without TLS on this machine alone: what spans say is nobody else's business.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let Some(plain) = text.strip_prefix("http://") else {
        return match tls::check_endpoint(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(TlsError::Endpoint { problem, .. }) => Err(format!("{problem}; write https://host:4317")),
            Err(error) => Err(error.to_string()),
        };
    };
    let uri: Uri = text.parse().map_err(|_| "is not a URL; write http://127.0.0.1:4317".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match () {
        () if !here => {
            Err("is without TLS and not on this machine; write https://host:4317, with certificate, key and \
                            trust"
                .into())
        }
        () if uri.port_u16().is_none() => Err("names no port; OTLP over gRPC has 4317".into()),
        () if !matches!(uri.path(), "" | "/") || uri.query().is_some() || plain.contains('@') => {
            Err("has more than a host and a port; write http://127.0.0.1:4317".into())
        }
        () => Ok(text.to_owned()),
    }
}

/// Who makes the spans, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// `service.name`: the program.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// `service.instance.id`: which of them, such as the station's name.
    pub instance: &'a str,
}

struct On {
    tracer: SdkTracer,
    counts: Counts,
}

/// Set once, when the process has a collector.
static ON: OnceLock<On> = OnceLock::new();

fn tracer() -> Option<&'static SdkTracer> {
    ON.get().map(|on| &on.tracer)
}

/// Makes spans from now on, and sends them to the collector; whether one is there is not asked. To be called once in a process,
/// within a tokio runtime.
///
/// # Errors
/// The files for TLS cannot be used.
pub fn begin(settings: &Settings, service: &Service<'_>) -> Result<Exporting, BeginError> {
    let resource = resource(service);
    let mut exporter = exporter(settings)?;
    exporter.set_resource(&resource);
    let (ended, queue) = export::queue();
    let (provider, counts) = (provider(settings.ratio, resource, ended), queue.counts().clone());
    // A second one would have to be a mistake in `main`: the first goes on.
    let _ = ON.set(On { tracer: provider.tracer(service.name), counts });
    info!(collector = settings.endpoint, "traces are exported");
    Ok(Exporting::start(queue, exporter))
}

/// Why no traces can be exported.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The files for TLS cannot be used.
    #[error("could not set up TLS to the collector of traces")]
    Tls(#[from] TlsError),
    /// What the environment says of OTLP, such as `OTEL_EXPORTER_OTLP_COMPRESSION`.
    #[error("could not set up the export of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// Adds how many spans were exported and dropped, when spans are made.
pub fn register(registry: &mut Registry) {
    if let Some(on) = ON.get() {
        on.counts.register(registry);
    }
}

fn resource(service: &Service<'_>) -> Resource {
    let attributes = [
        KeyValue::new("service.version", service.version),
        KeyValue::new("service.instance.id", service.instance.to_owned()),
    ];
    Resource::builder().with_service_name(service.name).with_attributes(attributes).build()
}

fn provider(ratio: f64, resource: Resource, ended: impl SpanProcessor + 'static) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_resource(resource)
        // Who called decides, where somebody did.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_max_links_per_span(LINKS_MOST)
        .with_span_processor(ended)
        .build()
}

fn exporter(settings: &Settings) -> Result<SpanExporter, BeginError> {
    let channel = match &settings.files {
        Some(files) => tls::channel(&settings.endpoint, files, CONNECT_WITHIN)?,
        // It was parsed as one before.
        None => Endpoint::from_shared(settings.endpoint.clone())
            .map_err(|_| TlsError::Endpoint { endpoint: settings.endpoint.clone(), problem: "is not a URL".into() })?
            .connect_timeout(CONNECT_WITHIN)
            .connect_lazy(),
    };
    let exporter = SpanExporter::builder().with_tonic().with_channel(channel).with_timeout(export::EXPORT_WITHIN);
    Ok(exporter.build()?)
}
