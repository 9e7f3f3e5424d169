//! Who a TPM is, and whether it can be worked with.

use issuance::{DeviceIdentity, Fault, FaultKind};
use tss_esapi::{
    Context,
    constants::{CapabilityType, PropertyTag},
    structures::CapabilityData,
};

use super::{
    fault, key,
    link::{self, Link},
    nv,
};
use crate::der;

/// Where EK certificates stand (TCG EK Credential Profile, 2.2.1.4 and 2.2.1.5).
const EK_CERTIFICATES: [u32; 6] = [0x01C0_0002, 0x01C0_0016, 0x01C0_000A, 0x01C0_0018, 0x01C0_001C, 0x01C0_001E];

pub(super) fn identify(link: &mut Link) -> Result<DeviceIdentity, Fault> {
    let claimed = link.parts()?.1.ek.certificate.clone();
    let context = link.context();
    check_lockout(context)?;
    let manufacturer = property(context, PropertyTag::Manufacturer)?.unwrap_or_default().to_be_bytes();
    let versions = [PropertyTag::FirmwareVersion1, PropertyTag::FirmwareVersion2];
    let mut firmware = Vec::new();
    for version in versions {
        let value = property(context, version)?.unwrap_or_default();
        firmware.extend([(value >> 16).to_string(), (value & 0xFFFF).to_string()]);
    }
    // It was read before the link was guarded.
    if ek_certificate(context)? != claimed {
        let act = "the TPM's EK certificate is another one than its link said before";
        return Err(Fault::new(FaultKind::AnswerAltered, act));
    }
    Ok(DeviceIdentity::Tpm {
        ek_certificate: claimed,
        srk_name: key::srk_name(context)?,
        manufacturer: String::from_utf8_lossy(&manufacturer).trim_matches(['\0', ' ']).to_owned(),
        firmware: firmware.join("."),
    })
}

/// Asked anew at each visit: tss-esapi's `get_tpm_property` would answer from its cache.
fn check_lockout(context: &mut Context) -> Result<(), Fault> {
    /// TPMA_PERMANENT, inLockout (TPM 2.0 part 2, 8.6).
    const IN_LOCKOUT: u32 = 1 << 9;
    let permanent = property(context, PropertyTag::Permanent)?.unwrap_or_default();
    let failed = property(context, PropertyTag::LockoutCounter)?.unwrap_or_default();
    let most = property(context, PropertyTag::MaxAuthFail)?.unwrap_or(u32::MAX);
    // A maximum of 0 locks always (part 1, 19.8.3), and then the bit is set.
    if permanent & IN_LOCKOUT == 0 && (failed < most || most == 0) {
        return Ok(());
    }
    let interval = property(context, PropertyTag::LockoutInterval)?.unwrap_or_default();
    Err(Fault::new(
        FaultKind::DictionaryAttackLockout,
        format!(
            "the TPM is locked after {failed} failed authorisations (at most {most}): it forgives one in {interval} s of \
             being powered"
        ),
    ))
}

/// A property as it is now; `None` when this TPM has none such.
pub(super) fn property(context: &mut Context, tag: PropertyTag) -> Result<Option<u32>, Fault> {
    let act = "could not read the TPM's properties";
    match context.get_capability(CapabilityType::TpmProperties, tag.into(), 1).map_err(fault::during(act))? {
        (CapabilityData::TpmProperties(found), _) => Ok(found.find(tag).map(|property| property.value())),
        _ => Err(Fault::new(FaultKind::Mismatch, act)),
    }
}

/// The first EK certificate there is, without the padding that some makers leave after it.
pub(super) fn ek_certificate(context: &mut Context) -> Result<Option<Vec<u8>>, Fault> {
    for index in EK_CERTIFICATES {
        if !link::is_there(context, index)? {
            continue;
        }
        let Some(padded) = nv::read(context, index)? else { continue };
        return match der::leading_sequence(&padded) {
            Some(certificate) => Ok(Some(certificate.to_vec())),
            // Absent is not corrupt.
            None => Err(Fault::new(
                FaultKind::Mismatch,
                format!("the NV index {index:#010x}, where an EK certificate belongs, holds no DER certificate"),
            )),
        };
    }
    Ok(None)
}
