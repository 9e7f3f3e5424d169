//! The check with the golden device, scanned by whoever begins a shift.

use axum::{
    Form,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use proto::station::v1::{DeviceVerification, GetStationRequest, VerifyDeviceRequest};
use serde::Deserialize;
use tracing::{info, warn};

use super::{
    Asked, Page,
    pages::{back, within},
};
use crate::{
    board::Shift,
    feed::now,
    guard::Visitor,
    page::{self, Place},
    scan::{self, Notice, Scanned},
    words::Language,
};

pub(super) async fn show(
    State(page): State<Page>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let language = page.language(&headers);
    let notice = asked.ok().and_then(|Query(asked)| asked.notice).and_then(|name| page.notices.find(&name));
    let station = page.client.clone().get_station(within(GetStationRequest {})).await;
    super::framed(&page, &headers, Place::Golden, false, notice.as_ref(), |_| {
        let station = station?.into_inner();
        let check = station.golden_check.as_ref();
        let lasts = i64::try_from(page.shift.as_millis()).unwrap_or(i64::MAX);
        let operator = |badge: &str| page.operators.shown(badge);
        Ok(page::golden(check, Shift::of(check, lasts, now()), notice.as_ref(), operator, language))
    })
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Golden {
    #[serde(default)]
    token: String,
    #[serde(default)]
    scanned: String,
    #[serde(default)]
    fixture: String,
}

pub(super) async fn check(State(page): State<Page>, headers: HeaderMap, Form(form): Form<Golden>) -> Response {
    let Some(visitor) = page.sender(&headers, &form.token) else { return StatusCode::FORBIDDEN.into_response() };
    let language = page.language(&headers);
    let notice = match page.prefixes.tell(&form.scanned) {
        Scanned::Device(serial) => verify(&page, &visitor, &form, serial, language).await,
        // A badge and a fixture are what they are everywhere.
        Scanned::Badge(_) | Scanned::Fixture(_) => {
            let Golden { token, scanned, fixture } = form;
            let form = scan::Form { token, scanned, fixture, lot: String::new(), live: String::new() };
            page.scan(&visitor, language, &form).await
        }
    };
    back(&page, "golden", notice)
}

async fn verify(page: &Page, visitor: &Visitor, form: &Golden, serial: &str, language: Language) -> Notice {
    let badge = page.operators.at_work(visitor);
    if page.operators.required() && badge.is_empty() {
        return Notice::refused(language, "sign-in-first", serial);
    }
    if serial.is_empty() {
        return Notice::refused(language, "golden-not-done", serial);
    }
    let (fixture, device_serial) = (form.fixture.trim().to_owned(), serial.to_owned());
    let asked = VerifyDeviceRequest { fixture, device_serial, badge, golden: true };
    match page.client.clone().verify_device(within(asked)).await {
        Ok(found) => told(language, serial, &found.into_inner()),
        Err(status) => {
            warn!(code = ?status.code(), words = status.message(), serial, "the golden device was not checked");
            Notice::of_status(language, serial, &status)
        }
    }
}

/// What a check came to: what did not hold first is what to set right.
fn told(language: Language, serial: &str, found: &DeviceVerification) -> Notice {
    info!(serial, fixture = found.fixture, verified = found.verified, "the golden device was checked");
    if found.verified {
        return Notice::done(language.say("golden-checked"), serial);
    }
    let Some(wrong) = found.checks.iter().find(|check| !check.holds) else {
        return Notice::refused(language, "golden-failed", serial);
    };
    let about = [("device_serial", serial.into())];
    let words = language.find(&format!("fault-{}", wrong.reason), &about);
    let (detail, said) = match words {
        Some(words) => (words, format!("{}: {}", wrong.reason, wrong.message)),
        None => (wrong.message.clone(), wrong.reason.clone()),
    };
    Notice { detail, said, ..Notice::refused(language, "golden-failed", serial) }
}
