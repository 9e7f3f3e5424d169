//! What the page tells Prometheus: whom it serves, how fast, and whether it has its station.

use std::{fmt, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use service::traces::{self, Span};

use crate::{board::Link, browsers::Browsers};

/// What a page is made of, and what goes on while nobody does anything.
const UNTRACED: [&str; 5] = ["/events", "/healthz", "/icon.svg", "/page.css", "/script/{name}"];

type Labels = [(&'static str, String); 3];

/// How long requests took until their answer began. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Family<Labels, Histogram, fn() -> Histogram>);

/// Names what `registry` tells.
pub(crate) fn register(registry: &mut Registry, browsers: Browsers) -> Requests {
    // 1 ms to 8 s.
    let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
    let requests = Family::new_with_constructor(histogram);
    let help = "From a request to the beginning of its answer";
    registry.register_with_unit("http_server_request_duration", help, Unit::Seconds, requests.clone());
    registry.register_collector(Box::new(Page(browsers)));
    Requests(requests)
}

/// Measures a request, and makes it a span: the page's calls to its station are parts of it.
pub(crate) async fn observe(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let came = Instant::now();
    let method = request.method().to_string();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = if UNTRACED.contains(&route.as_str()) { Span::default() } else { traces::http_served(&method, &route) };
    let answer = span.clone().follow(next.run(request)).await;
    let status = answer.status().as_u16();
    traces::http_answered(&span, status);
    let labels =
        [("http_request_method", method), ("http_route", route), ("http_response_status_code", status.to_string())];
    requests.0.get_or_create(&labels).observe(came.elapsed().as_secs_f64());
    answer
}

struct Page(Browsers);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(browsers) = self;
        let gauges = [
            ("link_up", "1 while the station's events come in", i64::from(browsers.board().link == Link::Live)),
            ("browsers", "Screens that are told what changes", i64::try_from(browsers.count()).unwrap_or(i64::MAX)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
