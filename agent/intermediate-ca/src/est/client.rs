//! Who is enrolling.

use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use issuance::public_key::sha256;
use service::tls::Shown;
use tracing::warn;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{EstClient, EstLabel, EstMark, Front, Problem};
use crate::{
    callers::{self, EST},
    register::Held,
};

/// An authenticated client.
#[derive(Debug)]
pub(super) enum Who<'a> {
    /// One of `[[est.client]]`.
    Listed(&'a EstClient),
    /// A device with a certificate of this CA.
    Device(Held),
}

impl Who<'_> {
    /// For records.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Listed(client) => client.name(),
            Self::Device(held) => format!("{EST}device/{}", held.device_serial),
        }
    }
}

/// Who asks, by the certificate and the password that came along. Where both came, both must hold, and the certificate
/// counts.
pub(super) async fn authenticate<'a>(
    front: &'a Front,
    label: &EstLabel,
    headers: &HeaderMap,
) -> Result<Who<'a>, Problem> {
    let by_password = by_password(front, headers)?;
    let by_certificate = match &front.shown {
        Some(shown) => by_certificate(front, shown).await?,
        None => None,
    };
    let who = match (by_certificate, by_password, &front.shown) {
        (Some(who), _, _) => who,
        (None, Some(client), _) => Who::Listed(client),
        (None, None, Some(shown)) => {
            let text = format!(
                "the certificate {:?} may not enrol here: add an [[est.client]] for it to the CA's configuration",
                shown.peer.common_name
            );
            return Err(forbidden(text));
        }
        (None, None, None) => {
            return Err(Problem::unauthorised("show a client certificate, or a user and a password by Basic"));
        }
    };
    match &who {
        Who::Listed(client) => {
            let name = client.name();
            if let Some(disabled) = front.authority.disabled_caller(&name) {
                return Err(forbidden(format!("CALLER_DISABLED: {}", callers::refusal(&name, &disabled))));
            }
            if !client.labels.contains(&label.name) {
                return Err(forbidden(format!("{name} may not use this label: ask for one of its own")));
            }
        }
        Who::Device(held) if !label.offers.iter().any(|offer| offer.profile.as_str() == held.profile) => {
            let text = format!(
                "the certificate that was shown is of the profile {}, which this label does not offer",
                held.profile
            );
            return Err(forbidden(text));
        }
        Who::Device(_) => {}
    }
    Ok(who)
}

pub(super) fn forbidden(text: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, text)
}

/// A certificate of this CA is a device's and nothing else, whatever name it has: no device can pass for a listed client.
async fn by_certificate<'a>(front: &'a Front, shown: &Shown) -> Result<Option<Who<'a>>, Problem> {
    let (_, parsed) = X509Certificate::from_der(&shown.certificate)
        .map_err(|_| forbidden("the client certificate cannot be read: have it issued again"))?;
    // Also of an issuer that rollover has replaced: the register knows them all.
    let held = front.authority.planned_with_serial(parsed.raw_serial()).await?;
    match held.filter(|held| held.certificate_sha256 == Some(shown.peer.fingerprint_sha256)) {
        Some(held) if held.revoked => {
            return Err(forbidden("the client certificate was revoked: it enrols nothing more"));
        }
        Some(held) => return Ok(Some(Who::Device(held))),
        None if front.authority.is_issuer(parsed.issuer().as_raw()) => {
            return Err(forbidden("the client certificate names this CA as its issuer, and it was not issued here"));
        }
        None => {}
    }
    let fits = |client: &&EstClient| matches!(&client.mark, EstMark::Certificate(mark) if mark.fits(&shown.peer));
    Ok(front.settings.clients.iter().find(fits).map(Who::Listed))
}

/// Basic (RFC 7617); `None` when nothing was sent.
fn by_password<'a>(front: &'a Front, headers: &HeaderMap) -> Result<Option<&'a EstClient>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let wrong = || Problem::unauthorised("user or password is wrong");
    let text = value.to_str().map_err(|_| wrong())?;
    let (scheme, credentials) = text.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(Problem::unauthorised("only Basic is known here: send user and password, or a client certificate"));
    }
    let credentials = STANDARD.decode(credentials.trim()).map_err(|_| wrong())?;
    let at = credentials.iter().position(|octet| *octet == b':').ok_or_else(wrong)?;
    let (user, password) = (&credentials[..at], sha256(&credentials[at + 1..]));
    let (address, now) = (front.address, Instant::now());
    front.attempts.admit(address, user, now).map_err(|wait| {
        let text =
            "too many wrong passwords came from this address: wait, and send the right one, or a client certificate";
        Problem::after(StatusCode::TOO_MANY_REQUESTS, wait, text)
    })?;
    let fits = |client: &&EstClient| match &client.mark {
        EstMark::Password { user: known, sha256 } => {
            known.as_bytes() == user && verify_slices_are_equal(sha256, &password).is_ok()
        }
        EstMark::Certificate(_) => false,
    };
    match front.settings.clients.iter().find(fits) {
        Some(client) => {
            front.attempts.right(address, user);
            Ok(Some(client))
        }
        None => {
            front.attempts.wrong(address, user, now);
            // Whatever was typed, it is no longer than a user of ours.
            let user: String = String::from_utf8_lossy(user).chars().take(64).collect();
            warn!(%address, ?user, "EST was sent a wrong user or password");
            Err(wrong())
        }
    }
}
