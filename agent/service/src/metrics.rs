//! Metrics as Prometheus reads them (OpenMetrics text), over plain HTTP: off unless `[metrics]` gives an address.
//!
//! They say how much and how fast, never which device: no serial, no name of a caller, no secret.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tokio::net::TcpListener;

use crate::{
    configuration::Table,
    http::{self, Limits},
    traces,
};

/// A scraper or two, each some times a minute.
const LIMITS: Limits = Limits { connections: 8, headers: Duration::from_secs(5), connection: Duration::from_secs(60) };

/// Reads `[metrics] address`, such as `127.0.0.1:9464`; without the table there are none.
pub fn address(root: &Table<'_>) -> Option<SocketAddr> {
    let table = root.optional_table("metrics")?;
    table.parsed("address", |text| text.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:9464"))
}

/// What every process tells, under its prefix: which version it is, and what became of the spans of its traces.
#[must_use]
pub fn registry(prefix: &str, version: &'static str) -> Registry {
    let mut registry = Registry::with_prefix(prefix);
    registry.register("build", "Which version it is", Info::new([("version", version)]));
    traces::register(&mut registry);
    registry
}

/// Where metrics are served, bound.
#[derive(Debug)]
pub struct Served(TcpListener);

impl Served {
    /// Binds.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        http::bind(address).await.map(Self)
    }

    /// The address that was bound, with the port that port 0 became.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers `GET /metrics` until `shutdown`.
    pub async fn serve(self, registry: Registry, shutdown: impl Future<Output = ()>) {
        let routes = Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry));
        let carry = move |stream, address| http::answer(stream, address, routes.clone(), LIMITS);
        http::accept(self.0, LIMITS, carry, shutdown).await;
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}
