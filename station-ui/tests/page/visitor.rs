//! A browser without a screen: asks the page's routes directly, keeps its cookie and token.

use std::{pin::Pin, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream, to_bytes},
    http::{HeaderMap, Request, Response, StatusCode, header::COOKIE},
};
use service::shutdown::Shutdown;
use station_ui::{
    feed::Client,
    guard::Hosts,
    server::{self, Settings},
};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

/// Nothing here takes as long; what does is a failure.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// The address that the page believes it listens on.
pub(crate) const HOST: &str = "127.0.0.1:8080";
/// Its origin.
pub(crate) const ORIGIN: &str = "http://127.0.0.1:8080";

/// One browser at one page.
pub(crate) struct Visitor {
    routes: Router,
    pub(crate) cookie: String,
    pub(crate) token: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Visitor {
    /// Opens a page that is connected to its station.
    pub(crate) async fn new(client: Client) -> Self {
        Self::with(client, Settings::default()).await
    }

    /// The same, at a line with these settings.
    pub(crate) async fn with(client: Client, settings: Settings) -> Self {
        let hosts = Hosts::new(HOST.parse().unwrap(), &[]);
        let routes = server::routes(client, hosts, settings, Shutdown::new()).unwrap();
        let mut visitor = Self { routes, cookie: String::new(), token: String::new() };
        let mut events = visitor.events().await;
        events.until(r#"data-link="live""#).await;
        visitor.open().await;
        visitor
    }

    /// Loads the page and keeps its cookie and token.
    pub(crate) async fn open(&mut self) -> String {
        let answer = self.get("/").await;
        assert_eq!(answer.status, StatusCode::OK);
        if let Some(cookie) = answer.headers.get("set-cookie") {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        let (_, token) = answer.text.split_once(r#"name="token" value=""#).expect("a token");
        token.split('"').next().unwrap().clone_into(&mut self.token);
        answer.text
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).header("host", HOST).header(COOKIE, &self.cookie).body(Body::empty()).unwrap())
            .await
    }

    /// Posts the form as a browser would that has no script; `fields` are already form-encoded.
    pub(crate) async fn post(&self, fields: &str) -> Answer {
        self.post_as(&[("origin", ORIGIN), ("sec-fetch-site", "same-origin")], &self.token, fields).await
    }

    /// Posts another form of the page.
    pub(crate) async fn submit(&self, path: &str, token: &str, fields: &str) -> Answer {
        self.post_to(path, &[("origin", ORIGIN), ("sec-fetch-site", "same-origin")], token, fields).await
    }

    /// The same, from this page.
    pub(crate) async fn submit_from(&self, path: &str, from: &str, fields: &str) -> Answer {
        let headers = [("origin", ORIGIN), ("sec-fetch-site", "same-origin"), ("referer", from)];
        self.post_to(path, &headers, &self.token, fields).await
    }

    pub(crate) async fn post_as(&self, headers: &[(&str, &str)], token: &str, fields: &str) -> Answer {
        self.post_to("/scan", headers, token, fields).await
    }

    async fn post_to(&self, path: &str, headers: &[(&str, &str)], token: &str, fields: &str) -> Answer {
        let mut request = Request::post(path)
            .header("host", HOST)
            .header(COOKIE, &self.cookie)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(format!("token={token}&{fields}"))).unwrap()).await
    }

    /// Posts a scan and follows the redirect; the page with its notice.
    pub(crate) async fn scan(&self, fields: &str) -> String {
        let answer = self.post(fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        self.get(answer.headers["location"].to_str().unwrap()).await.text
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.answer(request).await;
        let (head, body) = response.into_parts();
        let octets = timeout(SOON, to_bytes(body, 1 << 20)).await.expect("in time").unwrap();
        Answer { status: head.status, headers: head.headers, text: String::from_utf8(octets.to_vec()).unwrap() }
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        timeout(SOON, self.routes.clone().oneshot(request)).await.expect("in time").unwrap()
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self) -> Events {
        let request =
            Request::get("/events").header("host", HOST).header(COOKIE, &self.cookie).body(Body::empty()).unwrap();
        let response = self.answer(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { stream: Box::pin(response.into_body().into_data_stream()), text: String::new() }
    }
}

/// An open stream of events.
pub(crate) struct Events {
    stream: Pin<Box<BodyDataStream>>,
    text: String,
}

impl Events {
    /// Reads until `expected` came; returns what came up to it, and goes on after it.
    pub(crate) async fn until(&mut self, expected: &str) -> String {
        let read = async {
            loop {
                if let Some(at) = self.text.find(expected) {
                    let rest = self.text.split_off(at + expected.len());
                    return std::mem::replace(&mut self.text, rest);
                }
                let octets = self.stream.next().await.expect("the stream goes on").unwrap();
                self.text.push_str(std::str::from_utf8(&octets).unwrap());
            }
        };
        match timeout(SOON, read).await {
            Ok(text) => text,
            Err(_) => panic!("`{expected}` did not come"),
        }
    }
}
