//! What was found of a certificate on its device, to and from protobuf.

use issuance::{
    FixtureName,
    record::{DeviceChecked, Refuted},
};
use proto::journal::v1 as wire;

use super::{EntryError, array, name};

pub(super) fn to_wire(checked: &DeviceChecked) -> wire::DeviceChecked {
    let refuted = |refuted: &Refuted| {
        let Refuted { question, reason, message } = refuted.clone();
        wire::Refuted { question, reason, message }
    };
    wire::DeviceChecked {
        fixture: checked.fixture.to_string(),
        refuted: checked.refuted.iter().map(refuted).collect(),
        certificate_sha256: checked.certificate_sha256.map(Vec::from).unwrap_or_default(),
        nonce: checked.nonce.clone(),
        signature: checked.signature.clone(),
        claimed_by: checked.claimed_by.clone(),
        authenticated_by: checked.authenticated_by.clone(),
        golden: checked.golden,
    }
}

pub(super) fn from_wire(wire: wire::DeviceChecked) -> Result<DeviceChecked, EntryError> {
    let refuted = |wire::Refuted { question, reason, message }| Refuted { question, reason, message };
    Ok(DeviceChecked {
        fixture: name("fixture", &wire.fixture, FixtureName::parse)?,
        refuted: wire.refuted.into_iter().map(refuted).collect(),
        certificate_sha256: match wire.certificate_sha256.as_slice() {
            [] => None,
            bytes => Some(array("certificate_sha256", bytes)?),
        },
        nonce: wire.nonce,
        signature: wire.signature,
        claimed_by: wire.claimed_by,
        authenticated_by: wire.authenticated_by,
        golden: wire.golden,
    })
}
