//! What was found of a certificate on its device, to and from protobuf.

use issuance::{
    DeviceSerial, FixtureName,
    record::{DeviceChecked, Refuted},
};
use proto::journal::v1 as wire;

use super::{EntryError, array, name};

/// A check with the golden device that came to nothing which an issuance's record could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenCheckFailed {
    /// Where.
    pub fixture: FixtureName,
    /// The device that it should have been, when somebody said.
    pub device_serial: Option<DeviceSerial>,
    /// As which the journal knows the hardware.
    pub known_as: Option<DeviceSerial>,
    /// The fingerprint of the hardware; `None` when it did not say who it is.
    pub hardware: Option<[u8; 32]>,
    /// What did not hold.
    pub refuted: Vec<Refuted>,
    /// Who asked, as a pseudonym.
    pub claimed_by: String,
    /// The client certificate that asked.
    pub authenticated_by: String,
}

fn refuted_to_wire(refuted: &[Refuted]) -> Vec<wire::Refuted> {
    let one = |Refuted { question, reason, message }| wire::Refuted { question, reason, message };
    refuted.iter().cloned().map(one).collect()
}

fn refuted_from_wire(refuted: Vec<wire::Refuted>) -> Vec<Refuted> {
    let one = |wire::Refuted { question, reason, message }| Refuted { question, reason, message };
    refuted.into_iter().map(one).collect()
}

fn octets_of(field: &'static str, octets: &[u8]) -> Result<Option<[u8; 32]>, EntryError> {
    if octets.is_empty() { Ok(None) } else { array(field, octets).map(Some) }
}

pub(super) fn failed_to_wire(failed: &GoldenCheckFailed) -> wire::GoldenCheckFailed {
    let serial = |serial: &Option<DeviceSerial>| serial.as_ref().map(ToString::to_string).unwrap_or_default();
    wire::GoldenCheckFailed {
        fixture: failed.fixture.to_string(),
        device_serial: serial(&failed.device_serial),
        known_as: serial(&failed.known_as),
        hardware: failed.hardware.map(Vec::from).unwrap_or_default(),
        refuted: refuted_to_wire(&failed.refuted),
        claimed_by: failed.claimed_by.clone(),
        authenticated_by: failed.authenticated_by.clone(),
    }
}

pub(super) fn failed_from_wire(wire: wire::GoldenCheckFailed) -> Result<GoldenCheckFailed, EntryError> {
    let serial = |field, text: &str| match text {
        "" => Ok(None),
        text => name(field, text, DeviceSerial::parse).map(Some),
    };
    Ok(GoldenCheckFailed {
        fixture: name("fixture", &wire.fixture, FixtureName::parse)?,
        device_serial: serial("device_serial", &wire.device_serial)?,
        known_as: serial("known_as", &wire.known_as)?,
        hardware: octets_of("hardware", &wire.hardware)?,
        refuted: refuted_from_wire(wire.refuted),
        claimed_by: wire.claimed_by,
        authenticated_by: wire.authenticated_by,
    })
}

pub(super) fn to_wire(checked: &DeviceChecked) -> wire::DeviceChecked {
    wire::DeviceChecked {
        fixture: checked.fixture.to_string(),
        refuted: refuted_to_wire(&checked.refuted),
        certificate_sha256: checked.certificate_sha256.map(Vec::from).unwrap_or_default(),
        nonce: checked.nonce.clone(),
        signature: checked.signature.clone(),
        claimed_by: checked.claimed_by.clone(),
        authenticated_by: checked.authenticated_by.clone(),
        golden: checked.golden,
    }
}

pub(super) fn from_wire(wire: wire::DeviceChecked) -> Result<DeviceChecked, EntryError> {
    Ok(DeviceChecked {
        fixture: name("fixture", &wire.fixture, FixtureName::parse)?,
        refuted: refuted_from_wire(wire.refuted),
        certificate_sha256: octets_of("certificate_sha256", &wire.certificate_sha256)?,
        nonce: wire.nonce,
        signature: wire.signature,
        claimed_by: wire.claimed_by,
        authenticated_by: wire.authenticated_by,
        golden: wire.golden,
    })
}
