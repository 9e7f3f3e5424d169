//! A supervisor's act at this screen: the station verifies badge and PIN; here they only pass through.

use axum::{
    Form,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use proto::station::v1::{
    CancelIssuanceRequest, ReleaseIssuanceRequest, ReworkIssuanceRequest, ScrapDeviceRequest, Supervisor,
};
use serde::Deserialize;
use tonic::Status;
use tracing::{info, warn};

use super::{
    Page,
    pages::{back, within},
};
use crate::{
    page::{Act, REASONS},
    scan::Notice,
    words::Language,
};

/// What the form sends. No `Debug`: it holds a PIN.
#[derive(Deserialize)]
pub(super) struct Decided {
    #[serde(default)]
    token: String,
    #[serde(default)]
    badge: String,
    #[serde(default)]
    pin: String,
    #[serde(default)]
    act: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    fixture: String,
}

pub(super) async fn decide(
    State(page): State<Page>,
    headers: HeaderMap,
    Path(issuance): Path<String>,
    Form(decided): Form<Decided>,
) -> Response {
    if page.sender(&headers, &decided.token).is_none() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let language = page.language(&headers);
    let Some(act) = Act::parse(&decided.act) else { return StatusCode::BAD_REQUEST.into_response() };
    let notice = if decided.badge.is_empty() || decided.pin.is_empty() {
        Notice::refused(language, "badge-missing", &decided.badge)
    } else {
        match perform(&page, &issuance, act, &decided).await {
            Ok(()) => {
                info!(issuance, act = act.key(), badge = decided.badge, "a supervisor decided");
                let act = language.say(act.key());
                Notice::done(language.with("decided", &[("act", act.into())]), &decided.badge)
            }
            Err(status) => {
                warn!(code = ?status.code(), words = status.message(), issuance, "a supervisor's act was refused");
                Notice::of_status(language, &decided.badge, &status)
            }
        }
    };
    back(&page, &format!("issuances/{issuance}"), notice)
}

async fn perform(page: &Page, issuance: &str, act: Act, decided: &Decided) -> Result<(), Status> {
    let mut client = page.client.clone();
    let name = format!("issuances/{issuance}");
    // The record is for auditors, in their language.
    let reason = REASONS.iter().find(|known| **known == decided.reason).unwrap_or(&REASONS[0]);
    let reason = Language::English.say(reason);
    let badge = String::new();
    let supervisor = Some(Supervisor { badge: decided.badge.clone(), pin: decided.pin.clone() });
    match act {
        Act::Release | Act::Hardware => {
            let new_hardware = act == Act::Hardware;
            client.release_issuance(within(ReleaseIssuanceRequest { name, badge, supervisor, new_hardware })).await?;
        }
        Act::Cancel => {
            client.cancel_issuance(within(CancelIssuanceRequest { name, reason, badge, supervisor })).await?;
        }
        Act::Rework | Act::ReworkKey | Act::Swap => {
            let (new_key, new_hardware) = (act == Act::ReworkKey, act == Act::Swap);
            let fixture = decided.fixture.trim().to_owned();
            let asked = ReworkIssuanceRequest { name, reason, badge, fixture, new_key, supervisor, new_hardware };
            client.rework_issuance(within(asked)).await?;
        }
        Act::Scrap => {
            client.scrap_device(within(ScrapDeviceRequest { name, reason, badge, supervisor })).await?;
        }
    }
    Ok(())
}
