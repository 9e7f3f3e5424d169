//! One gate before every RPC of a server: who may call what is a table, and what the table does not name nobody may call.
//!
//! A handler finds who called as the [`Caller`] of its request ([`caller`]), and cannot be reached without.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::http::{self, Response},
};
use tower::{Layer, Service};

use crate::{
    roles::{Caller, Callers, Role},
    status,
    tls::Peer,
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

/// The layer: `server().layer(Gate::new(callers, RULES))`.
#[derive(Debug, Clone)]
pub struct Gate<D> {
    door: D,
    rules: &'static [Rule],
}

impl<D> Gate<D> {
    /// A gate with these rules.
    pub fn new(door: D, rules: &'static [Rule]) -> Self {
        Self { door, rules }
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
    fn admit<B>(&self, request: &mut http::Request<B>) -> Result<(), Status> {
        let called = request.uri().path().trim_start_matches('/').split_once('/');
        let (service, method) = called.unwrap_or_default();
        if OPEN.contains(&service) {
            return Ok(());
        }
        let Some(rule) = self.rules.iter().find(|rule| (rule.service, rule.method) == (service, method)) else {
            return Err(Status::new(Code::Unimplemented, "there is no such call here"));
        };
        let allowed = [rule.roles, rule.with_pin].concat();
        let caller = self.door.admit(request.extensions().get::<Peer>(), &allowed)?;
        request.extensions_mut().insert(caller);
        Ok(())
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
        if let Err(status) = self.gate.admit(&mut request) {
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let answering = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_TIME, answering).await {
                Ok(answer) => answer,
                Err(_) => {
                    let message = format!("no answer within {} s; ask again", ANSWER_TIME.as_secs());
                    Ok(status::refused(Code::DeadlineExceeded, "ANSWER_LATE", message).into_http())
                }
            }
        })
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
