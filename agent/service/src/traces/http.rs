//! Requests over HTTP, as OpenTelemetry's conventions for HTTP spans name them. Whoever calls a page has no trace of its own.

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, Status, TraceContextExt as _},
};

use super::Span;

/// A request that came in: `route` is what the path is matched by, such as `/issuances/{issuance}`.
#[must_use]
pub fn http_served(method: &str, route: &str) -> Span {
    let span = Span::of_kind(SpanKind::Server, || format!("{method} {route}").into(), Context::new);
    span.note(|| [("http.request.method", method.to_owned()), ("http.route", route.to_owned())]);
    span
}

/// Says of a request what it was answered.
pub fn http_answered(span: &Span, status: u16) {
    let Some(context) = span.context() else { return };
    context.span().set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    if status >= 500 {
        context.span().set_attribute(KeyValue::new("error.type", status.to_string()));
        context.span().set_status(Status::error(""));
    }
}
