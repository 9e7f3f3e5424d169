//! Which requests are from this page at all: Host, Origin, and a token that only this page's own forms carry. And the
//! headers that keep the browser from doing anything else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aws_lc_rs::{constant_time, hmac, rand};
use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

/// Nothing but our own files, our own forms and our own stream; never inside another page.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                          form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The cookie that the token belongs to. No `__Host-` prefix: that needs TLS, and the page is plain HTTP on loopback.
const COOKIE_NAME: &str = "station-ui";
const COOKIE_OCTETS: usize = 16;

/// From a request's headers until its answer begins; beyond what the station is given for one.
const ANSWER_MOST: Duration = Duration::from_secs(30);

/// The names under which this page may be asked for.
///
/// A page that answers to any name can be read by any web site whose name is made to point here (DNS rebinding).
#[derive(Debug, Clone)]
pub struct Hosts(Arc<Vec<String>>);

impl Hosts {
    /// Loopback, the bound address, and the configured `names`, each with the bound port.
    #[must_use]
    pub fn new(bound: SocketAddr, names: &[String]) -> Self {
        let port = bound.port();
        let mut hosts = Vec::new();
        let standing = ["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        let address = match bound {
            SocketAddr::V4(four) => four.ip().to_string(),
            SocketAddr::V6(six) => format!("[{}]", six.ip()),
        };
        for name in standing.into_iter().chain([address]).chain(names.iter().cloned()) {
            let name = name.to_ascii_lowercase();
            // A browser leaves the default port out.
            if port == 80 {
                hosts.push(name.clone());
            }
            hosts.push(format!("{name}:{port}"));
        }
        Self(Arc::new(hosts))
    }

    fn allows(&self, host: &str) -> bool {
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// The layer over every route.
pub async fn admit(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&hosts, request.method(), request.headers()) {
        Some((status, words)) => (status, words).into_response(),
        // Who sends a form a letter a minute waits no longer than an operator would.
        None => match timeout(ANSWER_MOST, next.run(request)).await {
            Ok(answer) => answer,
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "This request took too long.\n").into_response(),
        },
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with it, browsers send `Origin: null` with our own forms.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), serial=(), usb=()"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not from this page, or none.
fn refusal(hosts: &Hosts, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(first)
    };
    let Some(host) = one(HOST).filter(|host| hosts.allows(host)) else {
        return Some((StatusCode::MISDIRECTED_REQUEST, "This page is not known under that name.\n"));
    };
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = headers.get(ORIGIN).map(HeaderValue::as_bytes);
    let own_origin = |origin: &[u8]| {
        origin
            .strip_prefix(b"http://")
            .or_else(|| origin.strip_prefix(b"https://"))
            .is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_bytes()))
    };
    let foreign = (StatusCode::FORBIDDEN, "This request comes from another page.\n");
    if *method == Method::GET || *method == Method::HEAD {
        return None;
    }
    if origin.is_some_and(|origin| !own_origin(origin)) || site.is_some_and(|site| site != b"same-origin") {
        return Some(foreign);
    }
    // Every browser of this decade sends one of the two with a POST.
    if origin.is_none() && site.is_none() { Some(foreign) } else { None }
}

/// Makes and checks the tokens of this process's forms.
///
/// A token is the cookie under a key that nobody outside this process has: a foreign page can make a browser send the
/// cookie, but can neither read it nor make the token.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<hmac::Key>);

/// The source of randomness failed.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// What a browser is known by: not who it is, only that it is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Visitor(String);

impl Tokens {
    /// With a fresh key.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key))))
    }

    /// The token for this visitor's forms.
    #[must_use]
    pub fn token(&self, visitor: &Visitor) -> String {
        hexadecimal(hmac::sign(&self.0, visitor.0.as_bytes()).as_ref())
    }

    /// Whether `token` was made here for this visitor.
    #[must_use]
    pub fn accept(&self, visitor: &Visitor, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.token(visitor).as_bytes(), token.as_bytes()).is_ok()
    }
}

impl Visitor {
    /// One that was not here before.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut octets = [0; COOKIE_OCTETS];
        rand::fill(&mut octets).map_err(|_| NoRandomness)?;
        Ok(Self(hexadecimal(&octets)))
    }

    /// The one whose cookie came with the request.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let ours =
            |value: &&str| value.len() == COOKIE_OCTETS * 2 && value.bytes().all(|octet| octet.is_ascii_hexdigit());
        cookies(headers, COOKIE_NAME).find(ours).map(|value| Self(value.to_owned()))
    }

    /// The value of `Set-Cookie`.
    #[must_use]
    pub fn cookie(&self) -> String {
        format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Strict", self.0)
    }
}

/// The values of the cookies of that name, in the order in which they came.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(named, _)| *named == name)
        .map(|(_, value)| value)
}

fn hexadecimal(octets: &[u8]) -> String {
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// Asks with each Host, and expects only the own names with the own port to be let in.
    #[test]
    fn only_own_names_are_answered() {
        let hosts = Hosts::new("127.0.0.1:8080".parse().unwrap(), &["Station-1.local".to_owned()]);
        for own in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "station-1.LOCAL:8080"] {
            assert_eq!(refusal(&hosts, &Method::GET, &headers(&[("host", own)])), None, "{own}");
        }
        for foreign in ["evil.example:8080", "localhost", "localhost:80", "127.0.0.1.evil.example:8080", ""] {
            let (status, _) = refusal(&hosts, &Method::GET, &headers(&[("host", foreign)])).expect(foreign);
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
        }
        assert!(refusal(&hosts, &Method::GET, &HeaderMap::new()).is_some(), "no Host at all");
    }

    /// Posts as a foreign page would and as our own does.
    #[test]
    fn only_own_pages_may_post() {
        let hosts = Hosts::new("127.0.0.1:8080".parse().unwrap(), &[]);
        let post = |pairs: &[(&'static str, &str)]| {
            let mut all = headers(pairs);
            all.insert(HOST, HeaderValue::from_static("localhost:8080"));
            refusal(&hosts, &Method::POST, &all)
        };
        assert_eq!(post(&[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(post(&[("origin", "http://localhost:8080")]), None);
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "http://localhost:8081"), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "none")],
            &[],
        ] {
            assert_eq!(post(foreign).expect("refused").0, StatusCode::FORBIDDEN, "{foreign:?}");
        }
    }

    /// A token serves its own visitor and its own process alone.
    #[test]
    fn a_token_belongs_to_one_visitor_and_one_process() {
        let (tokens, visitor) = (Tokens::new().unwrap(), Visitor::new().unwrap());
        let token = tokens.token(&visitor);
        assert!(tokens.accept(&visitor, &token));
        assert!(!tokens.accept(&Visitor::new().unwrap(), &token));
        assert!(!Tokens::new().unwrap().accept(&visitor, &token));
        assert!(!tokens.accept(&visitor, ""));
        let cookie = visitor.cookie();
        let sent = cookie.split(';').next().unwrap();
        assert_eq!(Visitor::of(&headers(&[("cookie", &format!("a=b; {sent}"))])), Some(visitor));
        assert_eq!(Visitor::of(&headers(&[("cookie", "station-ui=short")])), None);
    }
}
