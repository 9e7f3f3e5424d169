//! The fields that requests share, each parsed at the door: what is wrong is told with the field's name.

use issuance::{IssuanceId, LotName};
use service::status;
use tonic::Status;

/// A reason is read by people.
const REASON_MOST: usize = 500;
/// AIP-158's habit; a page of more would be slow to make and to read.
const PAGE_MOST: i32 = 1000;
/// When the caller does not say.
const PAGE_DEFAULT: i32 = 100;

pub(super) fn issuance_name(name: &str) -> Result<IssuanceId, Status> {
    name.strip_prefix("issuances/").and_then(IssuanceId::parse).ok_or_else(|| {
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

pub(super) fn page_size(asked: i32) -> Result<usize, Status> {
    match asked {
        0 => Ok(PAGE_DEFAULT as usize),
        1..=PAGE_MOST => Ok(asked as usize),
        _ => Err(status::invalid_argument("page_size", format!("{asked} is no page size: give 1 to {PAGE_MOST}"))),
    }
}

pub(super) fn page_token(token: &str) -> Result<Option<u64>, Status> {
    match token {
        "" => Ok(None),
        // `parse` takes a sign as well.
        _ => token.parse().ok().filter(|_| token.bytes().all(|octet| octet.is_ascii_digit())).map(Some).ok_or_else(
            || status::invalid_argument("page_token", "this is no token of an earlier answer: start without one"),
        ),
    }
}
