//! A client of one HTTPS server that others wrote, over HTTP/1.1: TLS 1.2 and up, its certificate pinned as everywhere here.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::codegen::http::{Request, Response, header};

use super::{
    TlsError, TlsFiles,
    channel::Server,
    http::HTTP_VERSIONS,
    material::Material,
    reload::{LOOK_EVERY, Reloading},
};

/// Until the TCP and TLS handshakes are done.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Until the whole answer is there: whoever takes a message has to write it down.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Nothing of it is read: beyond that the connection is given up instead of being used again.
const BODY_MOST: usize = 64 * 1024;

/// What a server said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The status.
    pub status: u16,
    /// `Retry-After` in seconds (RFC 9110 §10.2.3); a date is not understood.
    pub retry_after: Option<Duration>,
}

/// One server, and a connection to it that is kept while it lasts.
pub struct HttpsClient {
    server: Server,
    config: Reloading<ClientConfig>,
    kept: Option<SendRequest<Body>>,
}

impl HttpsClient {
    /// Reads the files; connects at the first request. `url` is `https://host:port/path`.
    ///
    /// # Errors
    /// A URL that is not one, or a file that cannot be used.
    pub fn new(url: &str, files: &TlsFiles) -> Result<Self, TlsError> {
        let server = Server::with_path(url)?;
        let config =
            Reloading::new(files, LOOK_EVERY, |files| Material::read(files)?.http_client_config(HTTP_VERSIONS))?;
        Ok(Self { server, config, kept: None })
    }

    /// Posts a body. A connection that was kept and ended meanwhile is made anew, so what is posted may arrive twice.
    ///
    /// # Errors
    /// The server was not reached, or did not answer in time; in words.
    pub async fn post(&mut self, headers: &[(&'static str, String)], body: &[u8]) -> Result<Said, String> {
        if let Some(kept) = self.kept.take().filter(|kept| !kept.is_closed())
            && let Ok(said) = self.send(kept, headers, body).await
        {
            return Ok(said);
        }
        let fresh = self.connected().await?;
        self.send(fresh, headers, body).await
    }

    /// Whether it can be connected to.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn reach(&mut self) -> Result<(), String> {
        self.kept = Some(self.connected().await?);
        Ok(())
    }

    async fn connected(&self) -> Result<SendRequest<Body>, String> {
        let connected = timeout(CONNECT_WITHIN, self.connect()).await;
        connected.map_err(|_| format!("no connection within {} s", CONNECT_WITHIN.as_secs()))?
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let stream = self.server.connect(&self.config).await.map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| crate::in_full(&error))?;
        // It ends with the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(
        &mut self,
        mut sender: SendRequest<Body>,
        headers: &[(&'static str, String)],
        body: &[u8],
    ) -> Result<Said, String> {
        let uri = self.server.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).header(header::HOST, uri.authority().map_or("", |host| host.as_str()));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body.to_vec())).map_err(|error| crate::in_full(&error))?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|error| crate::in_full(&error))?;
            let said = said(&answer);
            let whole = to_bytes(Body::new(answer.into_body()), BODY_MOST).await.is_ok();
            Ok::<_, String>((said, whole))
        };
        let answered = timeout(ANSWER_WITHIN, answered).await;
        let (said, whole) = answered.map_err(|_| format!("no answer within {} s", ANSWER_WITHIN.as_secs()))??;
        self.kept = whole.then_some(sender);
        Ok(said)
    }
}

fn said<B>(answer: &Response<B>) -> Said {
    let after = answer.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
    Said { status: answer.status().as_u16(), retry_after: after.map(Duration::from_secs) }
}

/// Checks a URL as [`HttpsClient::new`] would, for configuration readers.
///
/// # Errors
/// Names the URL and what was wrong.
pub fn check_url(url: &str) -> Result<(), TlsError> {
    Server::with_path(url).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status, and seconds until it may be asked again; what is no number of seconds is none.
    #[test]
    fn an_answer_is_read() {
        for (after, read) in [("7", Some(7)), (" 0 ", Some(0)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)] {
            let answer = Response::builder().status(503).header(header::RETRY_AFTER, after).body(()).unwrap();
            assert_eq!(said(&answer), Said { status: 503, retry_after: read.map(Duration::from_secs) }, "{after}");
        }
        assert_eq!(said(&Response::new(())), Said { status: 200, retry_after: None });
    }

    /// A path may follow, and nothing else than of any other endpoint is missing.
    #[test]
    fn a_url_is_checked() {
        assert!(check_url("https://mes.example:8443/station-events?line=1").is_ok());
        for wrong in ["http://mes.example:8443/", "https://mes.example/hook", "mes.example:8443", "https://a@b:1/"] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
    }
}
