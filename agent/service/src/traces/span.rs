//! A span, and what it was begun for.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::pin,
    time::SystemTime,
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SdkTracer};

use super::tracer;

/// The issuance's id: what station and CA record and log.
pub const ISSUANCE: &str = "station_agent.issuance";
/// The id that the request came with.
pub const REQUEST_ID: &str = "station_agent.request_id";
/// The lot.
pub const LOT: &str = "station_agent.lot";
/// The fixture.
pub const FIXTURE: &str = "station_agent.fixture";
/// What was answered, in a word.
pub const OUTCOME: &str = "station_agent.outcome";
/// How many certification requests a batch holds.
pub const SUBMISSIONS: &str = "station_agent.submissions";

/// What a span is begun for: another span, here or in another process, or nothing that is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cause(pub(super) Option<SpanContext>);

impl Cause {
    /// The span that is under way here.
    #[must_use]
    pub fn here() -> Self {
        Span::here().cause()
    }

    /// Whether it is unknown, as it always is while traces are off.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.is_none()
    }

    fn context(&self) -> Context {
        match &self.0 {
            Some(cause) => Context::new().with_remote_span_context(cause.clone()),
            None => Context::new(),
        }
    }

    fn link(&self) -> Option<Link> {
        self.0.clone().map(Link::with_context)
    }
}

/// Something that is under way, until the last clone is dropped. Nothing at all while traces are off.
#[derive(Debug, Clone, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// The span that is under way here.
    #[must_use]
    pub fn here() -> Self {
        Self(tracer().map(|_| Context::current()).filter(Context::has_active_span))
    }

    /// A part of what is under way here.
    #[must_use]
    pub fn begin(name: &'static str) -> Self {
        Self::build(|tracer| (tracer.span_builder(name), Context::current()))
    }

    /// A part of what `cause` began; by itself when that is unknown.
    #[must_use]
    pub fn of(name: &'static str, cause: &Cause) -> Self {
        Self::build(|tracer| (tracer.span_builder(name), cause.context()))
    }

    /// Done for all of these: a part of the only one, else by itself with a link to each.
    #[must_use]
    pub fn for_all<'a>(name: &'static str, causes: impl ExactSizeIterator<Item = &'a Cause>) -> Self {
        Self::build(|tracer| match causes.len() {
            1 => (tracer.span_builder(name), causes.map(Cause::context).next().unwrap_or_default()),
            _ => (tracer.span_builder(name).with_links(causes.filter_map(Cause::link).collect()), Context::new()),
        })
    }

    /// A part of what `cause` began that lasted from `since` until now, linked to what ended it.
    #[must_use]
    pub fn past(name: &'static str, cause: &Cause, since: SystemTime, ended_by: &Self) -> Self {
        Self::build(|tracer| {
            let links = ended_by.cause().link().into_iter().collect();
            (tracer.span_builder(name).with_start_time(since).with_links(links), cause.context())
        })
    }

    /// Nothing that is to be exported, and neither is what is done for it, here and elsewhere: what goes on all the time.
    #[must_use]
    pub fn unsampled() -> Self {
        let context = |_: &SdkTracer| {
            let ids = RandomIdGenerator::default();
            let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
            let none = SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE);
            Context::new().with_remote_span_context(none)
        };
        Self(tracer().map(context))
    }

    /// Of another kind than a part of our own work.
    pub(super) fn of_kind(
        kind: SpanKind,
        name: impl FnOnce() -> Cow<'static, str>,
        parent: impl FnOnce() -> Context,
    ) -> Self {
        Self::build(|tracer| (tracer.span_builder(name()).with_kind(kind), parent()))
    }

    fn build(described: impl FnOnce(&SdkTracer) -> (SpanBuilder, Context)) -> Self {
        Self(tracer().map(|tracer| {
            let (builder, parent) = described(tracer);
            let span = tracer.build_with_context(builder, &parent);
            parent.with_span(span)
        }))
    }

    /// As what is to be done because of it names it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause(self.0.as_ref().map(|context| context.span().span_context().clone()))
    }

    pub(super) fn context(&self) -> Option<&Context> {
        self.0.as_ref()
    }

    /// Adds attributes; they are made only when somebody will see them.
    pub fn note<V: Into<Value>, const N: usize>(&self, attributes: impl FnOnce() -> [(&'static str, V); N]) {
        if let Some(context) = self.0.as_ref().filter(|context| context.span().is_recording()) {
            context.span().set_attributes(attributes().map(|(key, value)| KeyValue::new(key, value)));
        }
    }

    /// It did not come to what it was begun for. `reason` is stable (`error.type`).
    pub fn fail(&self, reason: &'static str) {
        self.note(|| [("error.type", reason)]);
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(reason));
        }
    }

    /// Does something as a part of it, on this thread.
    pub fn within<T>(&self, done: impl FnOnce() -> T) -> T {
        let _here = self.0.as_ref().map(|context| context.clone().attach());
        done()
    }

    /// Does something as a part of it, and ends it with that.
    pub async fn follow<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|task| self.within(|| future.as_mut().poll(task))).await
    }
}
