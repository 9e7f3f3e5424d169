//! Requests as no browser sends them, on a socket of their own.

use std::time::Duration;

use service::{http::Limits, shutdown::Shutdown};
use station_ui::{
    guard::Hosts,
    server::{self, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{fake::Fake, visitor::SOON};

/// A page that gives a request's headers half a second, and bears four connections.
struct Served {
    address: String,
    shutdown: Shutdown,
}

impl Served {
    async fn of(fake: &Fake) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let hosts = Hosts::new(address, &[]);
        let routes = server::routes(fake.client(), hosts, Settings::default(), shutdown.clone()).unwrap();
        let limits =
            Limits { connections: 4, headers: Duration::from_millis(500), connection: Duration::from_secs(60) };
        tokio::spawn(server::serve_within(listener, routes, shutdown.clone(), limits));
        Self { address: address.to_string(), shutdown }
    }

    async fn open(&self, sent: &str) -> TcpStream {
        let mut stream = timeout(SOON, TcpStream::connect(&self.address)).await.unwrap().unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes back until the other end closes.
    async fn ask(&self, sent: &str) -> String {
        let mut stream = self.open(sent).await;
        let mut said = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut said)).await.expect("the connection ends");
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

/// Four connections that send their headers a letter at a time, which is all that there are: the page closes them, and answers
/// the fifth.
#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_do_not_keep_others_out() {
    let fake = Fake::start().await;
    let served = Served::of(&fake).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(served.open("GET / HTTP/1.1\r\nHost: loc").await);
    }
    let host = &served.address;
    let said = served.ask(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("ok"), "{said}");
    for mut stream in slow {
        let mut said = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut said)).await.expect("it was closed");
        assert!(!String::from_utf8_lossy(&said).contains(" 200 "));
    }
}

/// HTTP/1.0 with and without a name, two names, a name in the target, a form of another kind, garbage: each gets an answer or an
/// end, nothing is started, and the page goes on.
#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_are_answered_and_start_nothing() {
    let fake = Fake::start().await;
    let served = Served::of(&fake).await;
    let host = &served.address;
    let form = "scanned=SN-1";
    let post = |headers: &str, body: &str| {
        let length = body.len();
        format!("POST /scan HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    let own = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (sent, expected) in [
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "421"),
        (format!("GET /healthz HTTP/1.0\r\nHost: {host}\r\n\r\n"), "200"),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), "421"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), "421"),
        (post(&format!("Host: {host}\r\n{kind}"), form), "403"),
        (post(&format!("Host: {host}\r\nOrigin: http://evil.example\r\n{kind}"), form), "403"),
        (post(&format!("{own}{kind}"), form), "403"),
        (post(&format!("{own}Content-Type: application/json\r\n"), "{}"), "415"),
        (post(&format!("{own}{kind}"), "token=%FF%FE&scanned=%00"), "4"),
        (format!("PUT / HTTP/1.1\r\n{own}Connection: close\r\n\r\n"), "405"),
        (format!("GET /issuances/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), "404"),
        ("\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), "400"),
    ] {
        let said = served.ask(&sent).await;
        let status = said.split(' ').nth(1).unwrap_or_default();
        assert!(status.starts_with(expected), "{sent:?}: {said}");
    }
    assert!(fake.script(|script| script.started.is_empty() && script.decided.is_empty()));
}
