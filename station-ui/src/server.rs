//! The routes, and the server's life.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Form, Router,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, HOST, REFERER, SET_COOKIE},
    },
    middleware,
    response::{IntoResponse, Redirect, Response, Sse},
    routing::{get, post},
};
use maud::{Markup, html};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use service::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use tokio::net::TcpListener;
use tonic::Status;
use tracing::{info, warn};

use crate::{
    board::Link,
    browsers::Browsers,
    feed::{self, Acknowledge, Client, now},
    guard::{self, Hosts, NoRandomness, Tokens, Visitor},
    history::History,
    metrics,
    operators::{self, Operators},
    page::{self, Visit},
    scan::{self, Notice, Notices, Place, Prefixes},
    words::Language,
};

mod golden;
mod pages;
mod supervise;

/// A scan is a line of text; this is a hundred of the longest.
const BODY_MOST: usize = 16 * 1024;
/// The frame, and what stands in it.
const STYLE: &str = concat!(
    include_str!("../assets/page.css"),
    "\n",
    include_str!("../assets/tiles.css"),
    "\n",
    include_str!("../assets/document.css")
);
/// A browser has a few connections, and there are at most 64 of them; its headers come at once, and its stream lasts a day.
const LIMITS: Limits =
    Limits { connections: 512, headers: Duration::from_secs(10), connection: Duration::from_secs(24 * 3600) };
/// What is open when the page stops gets this long to end; an operator's browser reconnects anyway.
const END_WITHIN: Duration = Duration::from_millis(700);

/// Three shifts a day.
pub const SHIFT_DEFAULT: Duration = Duration::from_secs(8 * 3600);

/// An operator waits this long for a page's answer at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where a browser keeps the operator's choice of a language: a year, since lines run long.
const LANGUAGE_COOKIE: &str = "station-ui-language";
/// The script's modules, by their names.
const SCRIPTS: [(&str, &str); 10] = [
    ("page.js", include_str!("../assets/script/page.js")),
    ("clocks.js", include_str!("../assets/script/clocks.js")),
    ("parts.js", include_str!("../assets/script/parts.js")),
    ("stream.js", include_str!("../assets/script/stream.js")),
    ("scan.js", include_str!("../assets/script/scan.js")),
    ("focus.js", include_str!("../assets/script/focus.js")),
    ("sound.js", include_str!("../assets/script/sound.js")),
    ("language.js", include_str!("../assets/script/language.js")),
    ("renew.js", include_str!("../assets/script/renew.js")),
    ("supervise.js", include_str!("../assets/script/supervise.js")),
];

/// How the page behaves at this line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For a browser that asks for none of the page's languages.
    pub language: Language,
    /// What codes begin with.
    pub prefixes: Prefixes,
    /// Badges.
    pub operators: operators::Settings,
    /// How long a check with the golden device counts.
    pub shift: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (language, prefixes, operators) = Default::default();
        Self { language, prefixes, operators, shift: SHIFT_DEFAULT }
    }
}

/// All that a request may need.
#[derive(Debug, Clone)]
struct Page {
    client: Client,
    browsers: Browsers,
    acknowledge: Acknowledge,
    tokens: Tokens,
    notices: Notices,
    operators: Operators,
    prefixes: Prefixes,
    language: Language,
    history: History,
    shift: Duration,
}

impl Page {
    /// The language of this browser's operator: chosen here, else asked for, else the line's.
    fn language(&self, headers: &HeaderMap) -> Language {
        let chosen = guard::cookies(headers, LANGUAGE_COOKIE).find_map(Language::parse);
        let asked = || Language::accepted(headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?);
        chosen.or_else(asked).unwrap_or(self.language)
    }

    /// The browser that sent a form with this page's token.
    fn sender(&self, headers: &HeaderMap, token: &str) -> Option<Visitor> {
        Visitor::of(headers).filter(|visitor| self.tokens.accept(visitor, token))
    }

    /// What a scan came to, of whatever kind it is.
    async fn scan(&self, visitor: &Visitor, language: Language, form: &scan::Form) -> Notice {
        let place = Place {
            board: &self.browsers.board(),
            language,
            prefixes: &self.prefixes,
            operators: &self.operators,
            visitor,
            acknowledge: &self.acknowledge,
        };
        scan::scan(self.client.clone(), &place, form).await
    }
}

/// The page's routes behind the guard, for a station behind `client`, asked for under the names in `hosts`. Streams
/// end when a shutdown is requested.
///
/// # Errors
/// The operating system gave no random bytes.
pub fn routes(client: Client, hosts: Hosts, settings: Settings, shutdown: Shutdown) -> Result<Router, NoRandomness> {
    routes_told(client, hosts, settings, shutdown, &mut Registry::default())
}

/// The same, and what the page tells Prometheus is in `registry`.
///
/// # Errors
/// As [`routes`].
pub fn routes_told(
    client: Client,
    hosts: Hosts,
    settings: Settings,
    shutdown: Shutdown,
    registry: &mut Registry,
) -> Result<Router, NoRandomness> {
    let (boards, acknowledge) = feed::follow(client.clone(), settings.shift);
    let page = Page {
        client,
        history: History::follow(boards.clone()),
        browsers: Browsers::new(boards, shutdown),
        acknowledge,
        tokens: Tokens::new()?,
        notices: Notices::default(),
        operators: Operators::new(settings.operators),
        prefixes: settings.prefixes,
        language: settings.language,
        shift: settings.shift,
    };
    let requests = metrics::register(registry, page.browsers.clone());
    Ok(Router::new()
        .route("/", get(show))
        .route("/scan", post(start))
        .route("/acknowledge", post(acknowledged))
        .route("/lots", get(pages::lots))
        .route("/find", get(pages::find))
        .route("/station", get(pages::station))
        .route("/golden", get(golden::show).post(golden::check))
        .route("/issuances/{issuance}", get(pages::story).post(supervise::decide))
        .route("/issuances/{issuance}/{file}", get(pages::file))
        .route("/language", post(choose_language))
        .route("/sign-out", post(sign_out))
        .route("/events", get(events))
        .route("/healthz", get(health))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/script/{name}", get(script))
        .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("../assets/icon.svg"))))
        .layer(DefaultBodyLimit::max(BODY_MOST))
        .layer(middleware::from_fn_with_state(hosts, guard::admit))
        .layer(middleware::from_fn_with_state(requests, metrics::observe))
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
pub async fn serve(listener: TcpListener, routes: Router, shutdown: Shutdown) {
    serve_within(listener, routes, shutdown, LIMITS).await;
}

/// The same, with other limits.
pub async fn serve_within(listener: TcpListener, routes: Router, shutdown: Shutdown, limits: Limits) {
    let carry = |stream, address| http::answer(stream, address, routes.clone(), limits);
    tokio::select! {
        () = http::accept(listener, limits, carry, shutdown.requested()) => {}
        () = async { shutdown.requested().await; tokio::time::sleep(END_WITHIN).await } => {
            info!("what was still open is closed");
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
    let language = page.language(headers);
    let operator = page.operators.shown(&page.operators.badge(&visitor));
    let visit = Visit { token: &token, language, operator: &operator, notice, now: now() };
    let html = page::whole(&page.browsers.board(), visit);
    with_cookie((status, html).into_response(), known.is_none().then_some(&visitor))
}

/// A page besides the board, around what the station said or did not say.
fn framed(
    page: &Page,
    headers: &HeaderMap,
    place: page::Place,
    renewed: bool,
    notice: Option<&Notice>,
    content: impl FnOnce(&str) -> Result<Markup, Status>,
) -> Response {
    let known = Visitor::of(headers);
    let Ok(visitor) = known.clone().map_or_else(Visitor::new, Ok) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let (token, language) = (page.tokens.token(&visitor), page.language(headers));
    let operator = page.operators.shown(&page.operators.badge(&visitor));
    let (status, content) = match content(&token) {
        Ok(content) => (StatusCode::OK, content),
        Err(status) => (pages::code(&status), page::not_available(language)),
    };
    let visit = Visit { token: &token, language, operator: &operator, notice, now: now() };
    let html = page::page(&page.browsers.board(), visit, place, renewed, &content);
    with_cookie((status, html).into_response(), known.is_none().then_some(&visitor))
}

/// A browser that has no cookie yet is given one.
fn with_cookie(mut response: Response, new: Option<&Visitor>) -> Response {
    if let Some(cookie) = new.and_then(|visitor| HeaderValue::from_str(&visitor.cookie()).ok()) {
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
    let language = page.language(&headers);
    let Some(visitor) = page.sender(&headers, &form.token) else {
        warn!("a scan without this page's token was refused");
        let notice = Notice::expired(&form, language);
        return if live {
            (StatusCode::FORBIDDEN, page::notice(&notice, language)).into_response()
        } else {
            render(&page, &headers, StatusCode::FORBIDDEN, Some(&notice))
        };
    };
    let notice = page.scan(&visitor, language, &form).await;
    if live {
        let operator = page.operators.shown(&page.operators.badge(&visitor));
        let parts = [page::notice(&notice, language), page::operator(&operator, language)];
        return html! { @for part in parts { (part) } }.into_response();
    }
    match page.notices.keep(notice.clone()) {
        Some(name) => Redirect::to(&format!("/?notice={name}")).into_response(),
        None => render(&page, &headers, StatusCode::OK, Some(&notice)),
    }
}

/// A form besides the scan's: its token, and what it says.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    token: String,
    #[serde(default)]
    fixture: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    live: String,
}

/// An operator has seen a failure.
async fn acknowledged(State(page): State<Page>, headers: HeaderMap, Form(said): Form<Said>) -> Response {
    if page.sender(&headers, &said.token).is_none() {
        return StatusCode::FORBIDDEN.into_response();
    }
    // With the station away nothing is taken; the tile stays as it is, to be tapped again.
    let _ = page.acknowledge.try_send(said.fixture);
    if said.live.is_empty() { Redirect::to("/").into_response() } else { StatusCode::NO_CONTENT.into_response() }
}

async fn choose_language(State(page): State<Page>, headers: HeaderMap, Form(said): Form<Said>) -> Response {
    if page.sender(&headers, &said.token).is_none() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(language) = Language::parse(&said.language) else { return StatusCode::BAD_REQUEST.into_response() };
    let tag = language.tag();
    let cookie = format!("{LANGUAGE_COOKIE}={tag}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict");
    ([(SET_COOKIE, cookie)], Redirect::to(came_from(&headers))).into_response()
}

/// The page of ours that a form was sent from; the board, where that is not told.
fn came_from(headers: &HeaderMap) -> &str {
    const PLACES: [&str; 5] = ["/lots", "/find", "/golden", "/station", "/issuances/"];
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let path = text(REFERER).zip(text(HOST)).and_then(|(from, host)| from.split_once("://")?.1.strip_prefix(host));
    path.filter(|path| PLACES.iter().any(|place| path.starts_with(place))).unwrap_or("/")
}

async fn sign_out(State(page): State<Page>, headers: HeaderMap, Form(said): Form<Said>) -> Response {
    let Some(visitor) = page.sender(&headers, &said.token) else { return StatusCode::FORBIDDEN.into_response() };
    page.operators.sign_out(&visitor);
    Redirect::to(came_from(&headers)).into_response()
}

async fn events(State(page): State<Page>, headers: HeaderMap) -> Response {
    // Without a cookie there is no form whose token could be renewed.
    let token = Visitor::of(&headers).map(|visitor| page.tokens.token(&visitor)).unwrap_or_default();
    match page.browsers.stream(token, page.language(&headers)) {
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

async fn script(Path(name): Path<String>) -> Response {
    match SCRIPTS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => asset("text/javascript; charset=utf-8", text).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    // Asked for anew with each page: it is small, near, and must fit the page after an update.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text)
}
