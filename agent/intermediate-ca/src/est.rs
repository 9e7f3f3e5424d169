//! Enrolment over Secure Transport (RFC 7030, RFC 8951): `/.well-known/est[/label]/` with `cacerts`, `simpleenroll`,
//! `simplereenroll` and `csrattrs`.
//!
//! A label offers profiles, at most one of each purpose; what a request asks for (CA:TRUE, serverAuth) picks one of them.
//! Two kinds of client enrol:
//!
//! - **Listed** ones (`[[est.client]]`), by a bootstrap certificate or by Basic, for any device of their labels: once for
//!   each CN, since a CN is given once.
//! - **Devices** that show a certificate of this CA, for themselves: under the CN and the device serial of that
//!   certificate. They renew it, superseding the one that has the name; that they show the new one is taken as the proof
//!   that it is on the device, and revokes the one before. They may also enrol under the label's other profiles, as clients
//!   do that first get an identity and with it their device CA's certificate.
//!
//! Every submission goes the way of `ca.v1`: plan, record, sign, record. Its issuance id is a UUIDv8 (RFC 9562 §5.8) of
//! SHA-256 over the client's name and the request, so that the same request has the same certificate however often it is
//! sent. The device serial is what stands for `{serial}` in the profile's `common_name`, or else the whole CN.
//!
//! Not here: `fullcmc`, `serverkeygen`, and the link of request and TLS connection by `challengePassword` (RFC 7030 §3.5).

mod attempts;
mod client;
mod encoding;
mod enrolment;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use issuance::{KeyAlgorithm, ProfileName, Purpose, profile::NameTemplate};
use service::{
    http::{self, Limits},
    roles::Mark,
    tls::{HttpAcceptor, Shown, TlsFiles},
};
use tokio::net::TcpListener;
use tracing::info;

use self::attempts::Attempts;
pub use self::encoding::from_base64;
use crate::{authority::Authority, register::Unavailable};

/// A line of some dozens of devices at once; further ones wait in the kernel's queue. A connection lives for an enrolment or
/// two, whatever the HSM needs for them.
const LIMITS: Limits =
    Limits { connections: 256, headers: Duration::from_secs(10), connection: Duration::from_secs(120) };

/// Whoever starts the CA again looks at it first.
const RECORDING_BACK: Duration = Duration::from_secs(10);

/// RFC 8615.
const PATH: &str = "/.well-known/est";

/// The type of every answer with certificates, as clients compare it.
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

/// `[est]`.
#[derive(Debug, Clone)]
pub struct EstSettings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server's certificate and key, and the issuers of the certificates that clients may show: the bootstrap CA, and
    /// the CA of the devices that renew.
    pub files: TlsFiles,
    /// What is offered.
    pub labels: Vec<EstLabel>,
    /// Who may enrol besides the devices that have a certificate.
    pub clients: Vec<EstClient>,
}

/// `[[est.label]]`: a path, and what is enrolled there.
#[derive(Debug, Clone)]
pub struct EstLabel {
    /// The path's segment; empty for the path without one.
    pub name: String,
    /// At most one of each purpose.
    pub offers: Vec<EstOffer>,
}

/// A profile of a label.
#[derive(Debug, Clone)]
pub struct EstOffer {
    /// Its name.
    pub profile: ProfileName,
    /// What it is for.
    pub purpose: Purpose,
    /// How its CNs are made of device serials; `None`: they are device serials.
    pub common_name: Option<NameTemplate>,
    /// The keys that it takes.
    pub keys: Vec<KeyAlgorithm>,
    /// The lot under which the label issues.
    pub lot: Option<String>,
}

/// `[[est.client]]`.
#[derive(Debug, Clone)]
pub struct EstClient {
    /// How it is known.
    pub mark: EstMark,
    /// The labels that it may use.
    pub labels: Vec<String>,
    /// The lots under which it enrols: profile, lot. They come before the label's.
    pub lots: Vec<(String, String)>,
}

/// What an EST client is known by.
#[derive(Clone)]
pub enum EstMark {
    /// Its certificate.
    Certificate(Mark),
    /// Basic (RFC 7617).
    Password {
        /// The user.
        user: String,
        /// SHA-256 of the password.
        sha256: [u8; 32],
    },
}

/// Without the password's hash.
impl std::fmt::Debug for EstMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate(mark) => mark.fmt(f),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
        }
    }
}

impl EstClient {
    /// Its name in records and in `caller disable`: `est/` and the user, or the certificate's mark.
    #[must_use]
    pub fn name(&self) -> String {
        let own = match &self.mark {
            EstMark::Certificate(mark) => mark.name(),
            EstMark::Password { user, .. } => user.clone(),
        };
        format!("{}{own}", crate::callers::EST)
    }
}

/// What one connection is answered from.
#[derive(Clone)]
struct Front {
    authority: Authority,
    settings: Arc<EstSettings>,
    /// The certificate that came with the connection.
    shown: Option<Arc<Shown>>,
    /// Where it came from.
    address: IpAddr,
    /// Of all connections.
    attempts: Arc<Attempts>,
}

/// Serves until `shutdown`.
pub(crate) async fn serve(
    socket: TcpListener,
    acceptor: HttpAcceptor,
    authority: Authority,
    settings: Arc<EstSettings>,
    shutdown: impl Future<Output = ()>,
) {
    let acceptor = Arc::new(acceptor);
    let attempts = Arc::new(Attempts::default());
    let carry = move |stream, address: SocketAddr| {
        let (acceptor, authority, settings) = (acceptor.clone(), authority.clone(), settings.clone());
        let attempts = attempts.clone();
        async move {
            let Some((stream, shown)) = acceptor.accept(stream, address).await else { return };
            let shown = shown.map(Arc::new);
            let front = Front { authority, settings, shown, address: address.ip(), attempts };
            let routes = Router::new().fallback(answer).with_state(front);
            http::answer(stream, address, routes, LIMITS).await;
        }
    };
    http::accept(socket, LIMITS, carry, shutdown).await;
}

/// Something else than 200: its status, and a line for people.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    text: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), header: None }
    }

    fn unauthorised(text: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Basic realm=\"EST\", charset=\"UTF-8\"");
        Self { header: Some((header::WWW_AUTHENTICATE, challenge)), ..Self::new(StatusCode::UNAUTHORIZED, text) }
    }

    fn later(after: Duration, text: impl Into<String>) -> Self {
        Self::after(StatusCode::SERVICE_UNAVAILABLE, after, text)
    }

    fn after(status: StatusCode, after: Duration, text: impl Into<String>) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        let after = HeaderValue::from(seconds.max(1));
        Self { header: Some((header::RETRY_AFTER, after)), ..Self::new(status, text) }
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::later(RECORDING_BACK, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], self.text + "\n").into_response();
        response.headers_mut().extend(self.header);
        response
    }
}

async fn answer(State(front): State<Front>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match route(&front, request).await {
        Ok(response) => response,
        Err(problem) => {
            // A path is the client's: escaped, and no longer than one of ours.
            let path: String = path.chars().take(120).collect();
            info!(%method, ?path, status = problem.status.as_u16(), problem = problem.text, "EST refused");
            problem.into_response()
        }
    }
}

async fn route(front: &Front, request: Request) -> Result<Response, Problem> {
    let unknown = |what: String| {
        let paths = front.settings.labels.iter().map(|label| match label.name.as_str() {
            "" => format!("{PATH}/"),
            name => format!("{PATH}/{name}/"),
        });
        let paths: Vec<String> = paths.collect();
        let text = format!(
            "{what}: there are cacerts, simpleenroll, simplereenroll and csrattrs under {}",
            paths.join(" and ")
        );
        Problem::new(StatusCode::NOT_FOUND, text)
    };
    let path = request.uri().path().to_owned();
    let rest = path.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.ok_or_else(|| unknown("this is no path of EST's".to_owned()))?;
    let (name, operation) = rest.rsplit_once('/').unwrap_or(("", rest));
    let label = front.settings.labels.iter().find(|label| label.name == name);
    let label = match (label, name) {
        (Some(label), _) => label,
        (None, "") => return Err(unknown("this server has no EST without a label".to_owned())),
        (None, _) => return Err(unknown("there is no such label".to_owned())),
    };
    let (reads, enrols) = ([Method::GET, Method::HEAD], [Method::POST]);
    match operation {
        "cacerts" => {
            expect(&request, &reads)?;
            Ok(certificates(&ca_certificates(front, label)))
        }
        "csrattrs" => {
            expect(&request, &reads)?;
            let keys = label.offers.iter().flat_map(|offer| offer.keys.iter().copied());
            Ok(encoded("application/csrattrs", &encoding::csr_attributes(keys)))
        }
        "simpleenroll" | "simplereenroll" => {
            expect(&request, &enrols)?;
            let certificate = enrolment::enrol(front, label, operation == "simplereenroll", request).await?;
            // Exactly one: clients take the first, and a SET OF has no first.
            Ok(certificates(&[certificate]))
        }
        _ => Err(unknown("there is no such operation".to_owned())),
    }
}

fn expect(request: &Request<Body>, methods: &[Method]) -> Result<(), Problem> {
    if methods.contains(request.method()) {
        return Ok(());
    }
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let text = format!("{} is not for this path: send {allowed}", request.method());
    let header = HeaderValue::from_str(&allowed).ok().map(|allowed| (header::ALLOW, allowed));
    Err(Problem { header, ..Problem::new(StatusCode::METHOD_NOT_ALLOWED, text) })
}

/// The roots to trust, and who issues under the label's profiles.
fn ca_certificates(front: &Front, label: &EstLabel) -> Vec<Vec<u8>> {
    let mut all = front.authority.bundle();
    for issuer in front.authority.profile_issuers() {
        if label.offers.iter().any(|offer| offer.profile == issuer.profile) {
            all.extend(issuer.chain);
        }
    }
    all.sort();
    all.dedup();
    all
}

fn certificates(certificates: &[Vec<u8>]) -> Response {
    encoded(CERTS_ONLY, &encoding::certs_only(certificates))
}

/// Base64 in one line: RFC 8951 allows no other encoding, and some clients no line feeds.
fn encoded(kind: &'static str, der: &[u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // Nothing to RFC 8951; strongSwan decodes by it.
        (HeaderName::from_static("content-transfer-encoding"), HeaderValue::from_static("base64")),
    ];
    (headers, encoding::to_base64(der)).into_response()
}
