//! The CRLs over plain HTTP (RFC 5280 §4.2.1.13, RFC 2585 §3): `GET /crl/<list>.crl` is DER, `….crl.pem` is PEM.
//!
//! Without TLS: a list is signed, and fetching it must not need the very certificates that it judges.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use issuance::public_key::hex;
use service::http::{self, Limits};
use tokio::net::TcpListener;

use crate::{authority::Authority, publication::Crl};

/// Brokers and gateways that look once a minute or less; a list goes out in milliseconds.
const LIMITS: Limits = Limits { connections: 64, headers: Duration::from_secs(5), connection: Duration::from_secs(30) };

/// A cache in between may hold a list back for this long after a revocation; most clients look less often.
const CACHE: &str = "public, max-age=60";

/// Serves until `shutdown`.
pub(crate) async fn serve(socket: TcpListener, authority: Authority, shutdown: impl Future<Output = ()>) {
    let routes = routes(authority);
    let carry = move |stream, address| http::answer(stream, address, routes.clone(), LIMITS);
    http::accept(socket, LIMITS, carry, shutdown).await;
}

/// `GET` and, by axum's rule, `HEAD`; anything else is 405.
pub(crate) fn routes(authority: Authority) -> Router {
    Router::new().route("/crl/{file}", get(list)).with_state(authority)
}

async fn list(State(authority): State<Authority>, Path(file): Path<String>, asked: HeaderMap) -> Response {
    let name = file.strip_suffix(".pem").unwrap_or(&file);
    let Some(name) = name.strip_suffix(".crl").filter(|name| authority.crl_names().any(|known| known == *name)) else {
        let known: Vec<String> = authority.crl_names().map(|name| format!("/crl/{name}.crl\n")).collect();
        return (
            StatusCode::NOT_FOUND,
            format!("there is no such list; these are, also as .crl.pem:\n{}", known.concat()),
        )
            .into_response();
    };
    match authority.crls().into_iter().find(|crl| crl.list == name) {
        Some(crl) => answer(&crl, file.ends_with(".pem"), &asked),
        None => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "the first list is being made\n")
            .into_response(),
    }
}

fn answer(crl: &Arc<Crl>, as_pem: bool, asked: &HeaderMap) -> Response {
    let (kind, body) = match as_pem {
        false => ("application/pkix-crl", Bytes::copy_from_slice(&crl.der)),
        true => ("application/x-pem-file", Bytes::copy_from_slice(crl.pem.as_bytes())),
    };
    // The signature is part of it: two lists of one number never share a tag.
    let tag = format!("\"{}-{}\"", crl.number, hex(&issuance::public_key::sha256(&body)[..8]));
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(crl.made).unwrap_or(0));
    let mut headers = HeaderMap::new();
    let mut put = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::ETAG, &tag);
    put(header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    put(header::CACHE_CONTROL, CACHE);
    if is_known(asked, &tag, modified) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    (headers, body).into_response()
}

/// RFC 9110 §13.2.2: If-Modified-Since counts only without If-None-Match.
fn is_known(asked: &HeaderMap, tag: &str, modified: SystemTime) -> bool {
    let text = |name| asked.get(name).and_then(|value| value.to_str().ok());
    match text(header::IF_NONE_MATCH) {
        Some(tags) => tags.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag),
        None => text(header::IF_MODIFIED_SINCE)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .is_some_and(|since| modified <= since),
    }
}
