//! The fields that requests share, each parsed at the door: what is wrong is told with the field's name.

use issuance::{IssuanceId, LotName};
use service::status;
use tonic::Status;

/// A reason is read by people.
const REASON_MOST: usize = 500;

pub(super) fn issuance_name(name: &str) -> Result<IssuanceId, Status> {
    // One spelling alone: a name is compared by whoever keeps it.
    let parse = |text: &str| IssuanceId::parse(text).filter(|id| id.to_string() == text);
    name.strip_prefix("issuances/").and_then(parse).ok_or_else(|| {
        status::invalid_argument("name", format!("{:?} is no issuance: write issuances/<uuid>", begin(name)))
    })
}

pub(super) fn lot_name(name: &str) -> Result<LotName, Status> {
    let lot = name
        .strip_prefix("lots/")
        .ok_or_else(|| status::invalid_argument("name", format!("{:?} is no lot: write lots/<lot>", begin(name))))?;
    status::parsed("name", lot, LotName::parse)
}

/// As much of a name as is told back: a client refuses what does not fit its headers.
fn begin(name: &str) -> String {
    name.chars().take(64).collect()
}

pub(super) fn short(field: &str, text: &str) -> Result<(), Status> {
    too_long(text).map_or(Ok(()), |problem| Err(status::invalid_argument(field, problem)))
}

/// What is wrong with an identifier of the caller's own.
pub(super) fn too_long(text: &str) -> Option<String> {
    let unfit = text.len() > 64 || text.chars().any(char::is_control);
    unfit.then(|| "give at most 64 printable characters".to_owned())
}

pub(super) fn stated(reason: &str) -> Result<(), Status> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_MOST || reason.chars().any(char::is_control) {
        let message = format!("say why in 1 to {REASON_MOST} printable characters");
        return Err(status::invalid_argument("reason", message));
    }
    Ok(())
}
