//! Calls, as OpenTelemetry's conventions for RPC spans name them, with the context in the metadata (W3C Trace Context).

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanKind, Status as SpanStatus, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response},
    transport::{self, channel::ResponseFuture},
};
use tower::Service;

use super::Span;

struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Written<'a>(&'a mut HeaderMap);

impl Injector for Written<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

/// The name, and the attributes, of a call of `service`'s `method`.
fn describe(span: &Span, service: &str, method: &str) {
    span.note(|| {
        [("rpc.system", "grpc".to_owned()), ("rpc.service", service.to_owned()), ("rpc.method", method.to_owned())]
    });
}

/// A call that came in, as a part of what its caller does.
pub(crate) fn served(headers: &HeaderMap, service: &'static str, method: &'static str) -> Span {
    let caller = || TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(headers));
    let span = Span::of_kind(SpanKind::Server, || format!("{service}/{method}").into(), caller);
    describe(&span, service, method);
    span
}

/// Says of a call what it came to.
pub(crate) fn answered(span: &Span, headers: &HeaderMap) {
    let Some(context) = span.context() else { return };
    // A refusal is in the headers; of what is not, the body follows.
    let code = Status::from_header_map(headers).map_or(Code::Ok, |status| status.code());
    note_code(context, code, is_our_fault(code));
}

fn note_code(context: &Context, code: Code, is_error: bool) {
    context.span().set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
    if is_error {
        context.span().set_attribute(KeyValue::new("error.type", i32::from(code).to_string()));
        context.span().set_status(SpanStatus::error(code.description()));
    }
}

/// To a server the others are its callers' mistakes, or nobody's (OpenTelemetry, semantic conventions for gRPC).
fn is_our_fault(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

/// A channel whose calls are spans, and hand their context on.
#[derive(Debug, Clone)]
pub struct Channel(transport::Channel);

impl From<transport::Channel> for Channel {
    fn from(channel: transport::Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Calling;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.0, task)
    }

    fn call(&mut self, mut request: Request<Body>) -> Calling {
        let path = request.uri().path().trim_start_matches('/');
        let span = Span::of_kind(SpanKind::Client, || Cow::Owned(path.to_owned()), Context::current);
        if let Some(context) = span.context() {
            if let Some((service, method)) = path.split_once('/') {
                describe(&span, service, method);
            }
            TraceContextPropagator::new().inject_context(context, &mut Written(request.headers_mut()));
        }
        Calling { answer: Service::call(&mut self.0, request), span }
    }
}

/// A call that is under way.
#[derive(Debug)]
pub struct Calling {
    answer: ResponseFuture,
    span: Span,
}

impl Future for Calling {
    type Output = Result<Response<Body>, transport::Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(task);
        if let (Poll::Ready(answer), Some(context)) = (&answer, self.span.context()) {
            let code = match answer {
                Ok(answer) => Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code()),
                // Nobody was reached, or the connection was lost.
                Err(_) => Code::Unavailable,
            };
            note_code(context, code, code != Code::Ok);
        }
        answer
    }
}
