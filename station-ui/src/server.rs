//! The routes, and the server's life.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Form, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE},
    },
    middleware,
    response::{IntoResponse, Redirect, Response, Sse},
    routing::{get, post},
};
use serde::Deserialize;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    board::Link,
    browsers::Browsers,
    feed::{self, Client, now},
    guard::{self, Hosts, NoRandomness, Tokens, Visitor},
    page::{self, Visit},
    scan::{self, Notice, Notices},
};

/// A scan is a line of text; this is a hundred of the longest.
const BODY_MOST: usize = 16 * 1024;
/// The frame, and what stands in it.
const STYLE: &str = concat!(include_str!("../assets/page.css"), "\n", include_str!("../assets/tiles.css"));
/// What is open when the page stops gets this long to end; an operator's browser reconnects anyway.
const END_WITHIN: Duration = Duration::from_millis(700);

/// All that a request may need.
#[derive(Debug, Clone)]
struct Page {
    client: Client,
    browsers: Browsers,
    tokens: Tokens,
    notices: Notices,
}

/// The page's routes behind the guard, for a station behind `client`, asked for under the names in `hosts`. Streams
/// end when a shutdown is requested.
///
/// # Errors
/// The operating system gave no random bytes.
pub fn routes(client: Client, hosts: Hosts, shutdown: Shutdown) -> Result<Router, NoRandomness> {
    let boards = feed::follow(client.clone());
    let page =
        Page { client, browsers: Browsers::new(boards, shutdown), tokens: Tokens::new()?, notices: Notices::default() };
    Ok(Router::new()
        .route("/", get(show))
        .route("/scan", post(start))
        .route("/events", get(events))
        .route("/healthz", get(health))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", include_str!("../assets/page.js"))))
        .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("../assets/icon.svg"))))
        .layer(DefaultBodyLimit::max(BODY_MOST))
        .layer(middleware::from_fn_with_state(hosts, guard::admit))
        .with_state(page))
}

/// Binds.
///
/// # Errors
/// The address is in use, or not one of this machine's; the message names it.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// The page could not take its address.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {address}; choose another address as `listen`, or stop what listens there")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Serves until a shutdown is requested, and ends within a second of that.
///
/// # Errors
/// The listener broke.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: Shutdown) -> io::Result<()> {
    let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.requested());
    tokio::select! {
        served = served.into_future() => served,
        () = async { shutdown.requested().await; tokio::time::sleep(END_WITHIN).await } => {
            info!("what was still open is closed");
            Ok(())
        }
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    notice: Option<String>,
}

async fn show(State(page): State<Page>, headers: HeaderMap, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let notice = asked.ok().and_then(|Query(asked)| asked.notice).and_then(|name| page.notices.find(&name));
    render(&page, &headers, StatusCode::OK, notice.as_ref())
}

/// The whole page for this browser, which is given a cookie when it has none.
fn render(page: &Page, headers: &HeaderMap, status: StatusCode, notice: Option<&Notice>) -> Response {
    let known = Visitor::of(headers);
    let Ok(visitor) = known.clone().map_or_else(Visitor::new, Ok) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let token = page.tokens.token(&visitor);
    let html = page::whole(&page.browsers.board(), Visit { token: &token, notice, now: now() });
    let mut response = (status, html).into_response();
    if known.is_none()
        && let Ok(cookie) = HeaderValue::from_str(&visitor.cookie())
    {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn start(
    State(page): State<Page>,
    headers: HeaderMap,
    form: Result<Form<scan::Form>, FormRejection>,
) -> Response {
    let Form(form) = match form {
        Ok(form) => form,
        Err(rejected) => return rejected.into_response(),
    };
    let live = !form.live.is_empty();
    if !Visitor::of(&headers).is_some_and(|visitor| page.tokens.accept(&visitor, &form.token)) {
        warn!("a scan without this page's token was refused");
        let notice = Notice::expired(&form);
        return if live {
            (StatusCode::FORBIDDEN, page::notice(&notice)).into_response()
        } else {
            render(&page, &headers, StatusCode::FORBIDDEN, Some(&notice))
        };
    }
    let notice = scan::scan(page.client.clone(), &page.browsers.board(), &form).await;
    if live {
        return page::notice(&notice).into_response();
    }
    match page.notices.keep(notice.clone()) {
        Some(name) => Redirect::to(&format!("/?notice={name}")).into_response(),
        None => render(&page, &headers, StatusCode::OK, Some(&notice)),
    }
}

async fn events(State(page): State<Page>, headers: HeaderMap) -> Response {
    // Without a cookie there is no form whose token could be renewed.
    let token = Visitor::of(&headers).map(|visitor| page.tokens.token(&visitor)).unwrap_or_default();
    match page.browsers.stream(token) {
        Some(stream) => Sse::new(stream).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The page is well when it answers; whether its station does is said, and is not the page's illness.
async fn health(State(page): State<Page>) -> Response {
    let station = match page.browsers.board().link {
        Link::Live => "connected",
        Link::Searching { .. } | Link::Lost { .. } => "not connected",
    };
    format!("ok\nstation: {station}\n").into_response()
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    // Asked for anew with each page: it is small, near, and must fit the page after an update.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text)
}
