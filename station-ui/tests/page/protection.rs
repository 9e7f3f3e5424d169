//! Who may ask for what, and what the browser is told to refuse.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use crate::{
    fake::Fake,
    visitor::{HOST, ORIGIN, Visitor},
};

/// Every route under a foreign name; expects no answer but a refusal.
#[tokio::test]
async fn a_foreign_name_is_refused_on_every_route() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    for path in ["/", "/events", "/healthz", "/page.css", "/script/page.js", "/icon.svg", "/nothing"] {
        for host in ["evil.example", "evil.example:8080", "127.0.0.1", "127.0.0.1:8080.evil.example"] {
            let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
            assert_eq!(visitor.ask(request).await.status, StatusCode::MISDIRECTED_REQUEST, "{path} at {host}");
        }
        let nameless = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(visitor.ask(nameless).await.status, StatusCode::MISDIRECTED_REQUEST, "{path}");
    }
}

/// Posts without the token, with another visitor's, and without the cookie; expects no start.
#[tokio::test]
async fn a_form_without_this_pages_token_starts_nothing() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let other = Visitor::new(fake.client()).await;
    let own = [("origin", ORIGIN), ("sec-fetch-site", "same-origin")];
    for token in ["", "0", other.token.as_str()] {
        let answer = visitor.post_as(&own, token, "scanned=SN-1").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.text.contains("Scan it again") && answer.text.contains("SN-1"), "what was scanned is shown");
    }
    let request = Request::post("/scan")
        .header("host", HOST)
        .header("origin", ORIGIN)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("token={}&scanned=SN-1", visitor.token)));
    assert_eq!(visitor.ask(request.unwrap()).await.status, StatusCode::FORBIDDEN);
    assert!(fake.script(|script| script.started.is_empty()));
}

/// Every other form without the token; expects nothing to change.
#[tokio::test]
async fn no_form_works_without_this_pages_token() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    for (path, fields) in [("/acknowledge", "fixture=fixture-1"), ("/language", "language=de"), ("/sign-out", "")] {
        let answer = visitor.submit(path, "0", fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        assert_eq!(visitor.submit(path, &visitor.token, fields).await.status, StatusCode::SEE_OTHER, "{path}");
    }
}

/// Posts with a good token from foreign origins; expects no start.
#[tokio::test]
async fn a_foreign_origin_starts_nothing() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    for foreign in [
        &[("origin", "http://evil.example")][..],
        &[("origin", "null")],
        &[("origin", ORIGIN), ("sec-fetch-site", "cross-site")],
        &[],
    ] {
        let answer = visitor.post_as(foreign, &visitor.token, "scanned=SN-1").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{foreign:?}");
    }
    assert!(fake.script(|script| script.started.is_empty()));
}

/// Every route's headers; expects the policy, and a page that needs nothing the policy forbids.
#[tokio::test]
async fn every_answer_carries_the_policy_and_the_page_keeps_it() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    for path in ["/", "/healthz", "/page.css", "/script/page.js", "/icon.svg", "/nothing"] {
        let answer = visitor.get(path).await;
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let policy = header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{rule} at {path}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy").as_deref(), Some("same-origin"), "{path}");
        assert!(header("cache-control").is_some(), "{path}");
    }
    let answer = visitor.get("/").await;
    for forbidden in ["style=", "<style", "onclick", "onload", "javascript:", "http:", "https:"] {
        assert!(!answer.text.contains(forbidden), "{forbidden}");
    }
    assert_eq!(answer.text.matches("<script").count(), 1);
    assert!(answer.text.contains(r#"<script src="/script/page.js" type="module"></script>"#));
}

/// The cookie is out of reach for scripts and for other sites, and is given once.
#[tokio::test]
async fn the_cookie_is_strict() {
    let fake = Fake::start().await;
    let mut visitor = Visitor::new(fake.client()).await;
    let cookie = std::mem::take(&mut visitor.cookie);
    let fresh = visitor.get("/").await;
    let set = fresh.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    visitor.cookie = cookie;
    assert!(!visitor.get("/").await.headers.contains_key("set-cookie"));
}

/// A form of a megabyte is refused before it is read.
#[tokio::test]
async fn a_large_body_is_refused() {
    let fake = Fake::start().await;
    let visitor = Visitor::new(fake.client()).await;
    let answer = visitor.post(&format!("scanned={}", "A".repeat(1 << 20))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(fake.script(|script| script.started.is_empty()));
}
