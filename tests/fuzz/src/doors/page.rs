//! The operators' page: what any browser, or anything that calls itself one, may send.

use std::cell::RefCell;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderValue, Method, Request, StatusCode},
};
use proto::station::v1::station_service_client::StationServiceClient;
use service::shutdown::Shutdown;
use station_ui::{
    guard::{Hosts, POLICY, Visitor, cookies},
    scan::{Prefixes, Scanned},
    server::{Settings, routes},
    words::Language,
};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;
use tower::ServiceExt as _;

use crate::{Door, input::Parts};

pub(super) const PAGE: Door = Door {
    name: "page",
    property: "every answer carries the policy; another host's name is misdirected; nothing is changed by what does not bear this \
               page's token from this page's origin; no request makes an inner error, and no text comes back as markup",
    enter,
    seeds,
    taken: 14,
    octets_most: 2048,
};

/// What the seeds send as the cookie.
const COOKIE: &str = "00112233445566778899aabbccddeeff";
/// Stands for the token that belongs to it.
const TOKEN: &str = "TOKEN";
/// No answer of this page is longer.
const ANSWER_MOST: usize = 4 << 20;

struct Page {
    runtime: Runtime,
    routes: Router,
    token: String,
}

thread_local! {
    // Its requests to a station end at a port that nobody listens at.
    static OPEN: RefCell<Page> = RefCell::new(Page::open());
}

impl Page {
    fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let routes = runtime.block_on(async {
            let client = StationServiceClient::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy().into());
            let hosts = Hosts::new(([127, 0, 0, 1], 8080).into(), &["page.example".to_owned()]);
            routes(client, hosts, Settings::default(), Shutdown::new()).expect("random octets")
        });
        let mut page = Self { runtime, routes, token: String::new() };
        let request =
            Request::get("/").header("host", "localhost:8080").header("cookie", format!("station-ui={COOKIE}"));
        let (_, html) = page.ask(request.body(Body::empty()).expect("a request"));
        let token = html.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        page.token = token.expect("a form with a token").to_owned();
        page
    }

    fn ask(&self, request: Request<Body>) -> (axum::http::response::Parts, String) {
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.expect("it always answers");
            let (head, body) = answer.into_parts();
            // A stream of events has no end.
            let is_endless =
                head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
            let text = if is_endless {
                Vec::new()
            } else {
                to_bytes(body, ANSWER_MOST).await.expect("a short answer").to_vec()
            };
            (head, String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// The first octet: GET, HEAD, POST or another method. Then the path with its query, lines of headers, and the body.
fn enter(octets: &[u8]) -> bool {
    let mut parts = Parts::new(octets);
    let method = match parts.octet() % 4 {
        0 => Method::GET,
        1 => Method::POST,
        2 => Method::HEAD,
        _ => Method::PUT,
    };
    let (path, headers) = (parts.text(), parts.sized());
    let body = parts.rest();
    pure(&path);
    OPEN.with_borrow(|page| {
        let token = |octets: &[u8]| String::from_utf8_lossy(octets).replace(TOKEN, &page.token).into_bytes();
        let mut request = Request::builder().method(method.clone()).uri(path.as_str());
        let mut hosts = Vec::new();
        for line in headers.split(|octet| *octet == b'\n').take(16) {
            let mut halves = line.splitn(2, |octet| *octet == b':');
            let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
            let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) else { continue };
            if name.eq_ignore_ascii_case(b"host") {
                hosts.push(value.as_bytes().to_ascii_lowercase());
            }
            request = request.header(name, value);
        }
        let Ok(request) = request.body(Body::from(token(body))) else { return false };
        let headers = request.headers().clone();
        visitor(&headers);
        let (head, text) = page.ask(request);
        assert_eq!(head.headers.get("content-security-policy").map(HeaderValue::as_bytes), Some(POLICY.as_bytes()));
        let ours = ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "page.example:8080"];
        let is_ours = matches!(hosts.as_slice(), [host] if ours.iter().any(|name| name.as_bytes() == host));
        assert_eq!(is_ours, head.status != StatusCode::MISDIRECTED_REQUEST, "{hosts:?}");
        // The station is away, which is said; an error of the page's own is one.
        assert_ne!(head.status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
        let has_token = body.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        let is_changed = method == Method::POST && (head.status.is_success() || head.status.is_redirection());
        if is_changed {
            assert!(has_token, "taken without the token: {path}");
            let foreign = |name: &str, own: &[&[u8]]| {
                headers.get(name).is_some_and(|value| !own.iter().any(|own| value.as_bytes().eq_ignore_ascii_case(own)))
            };
            assert!(!foreign("sec-fetch-site", &[b"same-origin"]), "taken from another page");
            let origin = headers.get("origin").map(|value| value.as_bytes().to_ascii_lowercase());
            assert!(
                origin.is_none_or(|origin| hosts.iter().any(|host| origin.ends_with(host))),
                "taken from another page"
            );
        }
        // Markup is this page's alone: what was sent is text.
        assert!(!text.contains("<fuzz"), "markup came back: {text}");
        head.status.is_success() || head.status.is_redirection()
    })
}

fn visitor(headers: &axum::http::HeaderMap) {
    if let Some(visitor) = Visitor::of(headers) {
        let cookie = visitor.cookie();
        let value = cookie.strip_prefix("station-ui=").and_then(|rest| rest.split(';').next()).expect("a cookie");
        assert!(value.len() == 32 && value.bytes().all(|octet| octet.is_ascii_hexdigit()));
        assert!(cookies(headers, "station-ui").any(|given| given == value));
    }
}

/// What needs no page: prefixes of scans, and languages.
fn pure(text: &str) {
    let prefixes = Prefixes::default();
    match prefixes.tell(text) {
        Scanned::Badge(badge) => assert!(text.trim().starts_with("badge:") && badge == badge.trim()),
        Scanned::Fixture(fixture) => assert!(text.trim().starts_with("fixture:") && fixture == fixture.trim()),
        Scanned::Device(serial) => {
            assert_eq!(serial, text.trim());
            assert!(!serial.starts_with("badge:") && !serial.starts_with("fixture:"));
        }
    }
    if let Some(language) = Language::parse(text) {
        assert_eq!(Language::parse(language.tag()), Some(language));
    }
    let _ = Language::accepted(text);
}

fn seeds() -> Vec<Vec<u8>> {
    let own = format!(
        "host: localhost:8080\norigin: http://localhost:8080\ncookie: a=b; station-ui={COOKIE}\ncontent-type: \
         application/x-www-form-urlencoded\naccept-language: de-DE,de;q=0.9"
    );
    let request = |method: u8, path: &str, headers: &str, body: &str| {
        [&[method], crate::input::sized(path).as_slice(), &crate::input::sized(headers), body.as_bytes()].concat()
    };
    let get = |path: &str| request(0, path, &own, "");
    let post = |path: &str, body: &str| request(1, path, &own, &format!("token={TOKEN}&{body}"));
    let paths = [
        "/",
        "/?notice=1",
        "/lots?lot=LOT-1",
        "/find?asked=SN-1",
        "/station",
        "/golden",
        "/healthz",
        "/script/page.js",
    ];
    let issuance = "/issuances/01234567-89ab-7def-8123-456789abcdef";
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| get(path)).collect();
    seeds.extend([
        get(issuance),
        get(&format!("{issuance}/certificate.pem")),
        get("/find?asked=%3Cfuzz%3E"),
        post("/scan", "scanned=SN-1&lot=LOT-1&fixture=fixture-1"),
        post("/scan", "scanned=badge%3AB-1&live=1"),
        post("/scan", "scanned=fixture%3Afixture-1"),
        post("/scan", "scanned=%3Cfuzz%3E&live=1"),
        post("/acknowledge", "fixture=fixture-1"),
        post("/language", "language=de"),
        post("/sign-out", ""),
        post("/golden", "fixture=fixture-1"),
        post(issuance, "act=release&badge=B-1&pin=123456&reason=r"),
        request(1, "/scan", &own, "scanned=SN-1"),
        request(1, "/scan", "host: evil.example\n", &format!("token={TOKEN}")),
        request(1, "/sign-out", "host: localhost:8080\nsec-fetch-site: cross-site", &format!("token={TOKEN}")),
    ]);
    seeds
}
