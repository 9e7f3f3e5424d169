//! One gate before every RPC of a server: who may call what is a table, and what the table does not name nobody may call.
//!
//! A handler finds who called as the [`Caller`] of its request ([`caller`]), and cannot be reached without.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::http::{self, Response},
};
use tower::{Layer, Service};

use crate::{
    limits::{Limits, Rates},
    roles::{Caller, Callers, Role},
    status,
    tls::Peer,
    traces,
};

/// Until the answer begins; a stream may go on after it. Beyond the time that any call of ours may block.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// They say nothing of the factory, so every certificate of the control plane may ask them.
const OPEN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// An RPC, and the roles that may call it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The service with its package.
    pub service: &'static str,
    /// The method.
    pub method: &'static str,
    /// Who may call it.
    pub roles: &'static [Role],
    /// Who else may, when a supervisor's PIN comes with the call: the handler sees to that.
    pub with_pin: &'static [Role],
}

/// Says who a peer is.
pub trait Door: Clone + Send + Sync + 'static {
    /// Who is calling, when their role is one of `allowed`.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `PERMISSION_DENIED`, with what to do.
    fn admit(&self, peer: Option<&Peer>, allowed: &[Role]) -> Result<Caller, Status>;
}

impl Door for Callers {
    fn admit(&self, peer: Option<&Peer>, allowed: &[Role]) -> Result<Caller, Status> {
        self.authorise(peer, allowed)
    }
}

/// The layer: `server().layer(Gate::new(callers, RULES, &limits))`.
#[derive(Debug, Clone)]
pub struct Gate<D> {
    door: D,
    rules: &'static [Rule],
    rates: Rates,
}

impl<D> Gate<D> {
    /// A gate with these rules, for so many calls of each client certificate.
    pub fn new(door: D, rules: &'static [Rule], limits: &Limits) -> Self {
        Self { door, rules, rates: Rates::new(limits) }
    }
}

impl<D: Clone, S> Layer<S> for Gate<D> {
    type Service = Gated<D, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated { gate: self.clone(), inner }
    }
}

/// What is behind the gate.
#[derive(Debug, Clone)]
pub struct Gated<D, S> {
    gate: Gate<D>,
    inner: S,
}

impl<D: Door> Gate<D> {
    /// By which rule; none for what is open to everybody.
    fn admit<B>(&self, request: &mut http::Request<B>) -> Result<Option<&'static Rule>, Status> {
        // What is refused costs us as well: it is counted first.
        if let Some(peer) = request.extensions().get::<Peer>() {
            self.rates.count(peer.fingerprint_sha256, Instant::now()).map_err(|after| too_often(peer, after))?;
        }
        let called = request.uri().path().trim_start_matches('/').split_once('/');
        let (service, method) = called.unwrap_or_default();
        if OPEN.contains(&service) {
            return Ok(None);
        }
        let Some(rule) = self.rules.iter().find(|rule| (rule.service, rule.method) == (service, method)) else {
            return Err(status::refused(Code::Unimplemented, "NO_SUCH_CALL", "there is no such call here"));
        };
        let allowed = [rule.roles, rule.with_pin].concat();
        let caller = self.door.admit(request.extensions().get::<Peer>(), &allowed)?;
        request.extensions_mut().insert(caller);
        Ok(Some(rule))
    }
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<D, S, B> Service<http::Request<B>> for Gated<D, S>
where
    D: Door,
    S: Service<http::Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let rule = match self.gate.admit(&mut request) {
            Ok(rule) => rule,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        let span = rule.map(|rule| traces::served(request.headers(), rule.service, rule.method)).unwrap_or_default();
        let own = deadline(request.headers());
        let time = own.map_or(ANSWER_TIME, |own| own.min(ANSWER_TIME));
        // From now on, and not from when it is first looked at: tonic's own end of the same time says CANCELLED.
        let late = tokio::time::sleep(time);
        let answering = self.inner.call(request);
        Box::pin(span.clone().follow(async move {
            let answer = tokio::select! {
                biased;
                answer = answering => answer.map(explained),
                () = late => {
                    let message = match own {
                        Some(own) if own < ANSWER_TIME => format!("no answer within the {own:?} that the call was given; ask again"),
                        _ => format!("no answer within {} s; ask again", ANSWER_TIME.as_secs()),
                    };
                    Ok(status::refused(Code::DeadlineExceeded, "ANSWER_LATE", message).into_http())
                }
            };
            if let Ok(answer) = &answer {
                traces::answered(&span, answer.headers());
            }
            answer
        }))
    }
}

fn too_often(peer: &Peer, after: Duration) -> Status {
    let message =
        "this client certificate calls more often than [limits] calls_per_second lets it; ask again after the delay";
    status::too_often(&format!("client:{}", peer.common_name), message, after)
}

/// The time that the caller gives the call: `grpc-timeout`, at most eight digits and a unit (gRPC over HTTP2, "Requests").
/// One that is not understood is none.
fn deadline(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number =
        digits.parse::<u64>().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// What tonic says by itself, of messages that it cannot read, gets a reason as every other answer has.
fn explained(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            status::explained(&status).into_http()
        }
        _ => answer,
    }
}

/// Who called: the gate has let them through.
///
/// # Errors
/// `INTERNAL` when there is no gate.
pub fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| status::refused(Code::Internal, "NO_GATE", "the server has no gate; tell its makers"))
}

/// The rules as a Markdown table: a row for each RPC, a column for each role.
pub fn table(rules: &[Rule]) -> String {
    let roles = Role::ALL.map(Role::as_str);
    let mut text = format!("| RPC | {} |\n|---|{}\n", roles.join(" | "), ":-:|".repeat(roles.len()));
    for rule in rules {
        let may = Role::ALL.map(|role| match () {
            () if rule.roles.contains(&role) => "yes",
            () if rule.with_pin.contains(&role) => "PIN",
            () => "",
        });
        text += &format!("| `{}/{}` | {} |\n", rule.service, rule.method, may.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every unit, and what is no time.
    #[test]
    fn deadlines_are_read() {
        let read = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline(&headers)
        };
        for (text, millis) in
            [("2H", 7_200_000), ("3M", 180_000), ("4S", 4_000), ("50m", 50), ("0n", 0), ("99999999u", 99_999)]
        {
            assert_eq!(read(text).map(|time| time.as_millis()), Some(millis), "{text}");
        }
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for text in ["", "m", "5", "-5m", "+5m", "5s", "123456789m", "5 m", "S5"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(deadline(&http::HeaderMap::new()), None);
    }

    /// What tonic answers by itself comes with a reason, and what already has one stays as it is.
    #[test]
    fn every_refusal_has_a_reason() {
        let ours = status::refused(Code::FailedPrecondition, "LOT_CLOSED", "the lot is closed").into_http::<Body>();
        let kept = Status::from_header_map(explained(ours).headers()).unwrap();
        assert_eq!((kept.code(), status::reason(&kept).as_deref()), (Code::FailedPrecondition, Some("LOT_CLOSED")));
        let plain = Status::internal("Missing request message.").into_http::<Body>();
        let told = Status::from_header_map(explained(plain).headers()).unwrap();
        assert_eq!((told.code(), status::reason(&told).as_deref()), (Code::InvalidArgument, Some("MALFORMED_MESSAGE")));
        let whole = explained(Response::new(Body::empty()));
        assert!(whole.headers().is_empty());
    }
}
