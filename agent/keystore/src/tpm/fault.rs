//! What a response code of the TPM or of its software stack means (TPM 2.0 part 2, 6.6; TSS 2.0 overview, 4.3).

use std::error::Error as _;

use issuance::{Fault, FaultKind};
use tss_esapi::Error;

/// TPM_RC_INITIALIZE: nobody has sent TPM2_Startup.
pub(super) const INITIALIZE: u32 = 0x100;

/// Makes an error of tss-esapi, met while `act`, a fault.
pub(super) fn during(act: impl Into<String>) -> impl FnOnce(Error) -> Fault {
    let act = act.into();
    move |error| {
        let kind = match error {
            Error::Tss2Error(_) => code_of(error).map_or(FaultKind::Mismatch, kind_of),
            Error::WrapperError(_) => FaultKind::Mismatch,
        };
        let cause = match code_of(error) {
            Some(code) => format!("{error} ({code:#x})"),
            None => error.to_string(),
        };
        Fault::caused(kind, act, cause)
    }
}

/// Makes a response code of the C library, met while `act`, a fault.
pub(super) fn of_code(act: impl Into<String>, code: u32) -> Fault {
    Fault::caused(kind_of(code), act, format!("response code {code:#x}"))
}

/// Whether the same command may work in a while.
pub(super) fn is_busy(error: Error) -> bool {
    code_of(error).map(kind_of) == Some(FaultKind::DeviceBusy)
}

/// The whole response code. tss-esapi's own `kind()` leaves the layer out, and so takes an error of the software stack for
/// one of the TPM; the code itself is only in the text of the error's source.
pub(super) fn code_of(error: Error) -> Option<u32> {
    let Error::Tss2Error(response) = error else { return None };
    let text = response.source()?.to_string();
    u32::from_str_radix(text.rsplit_once("0x")?.1, 16).ok()
}

/// The fault of a response code.
fn kind_of(code: u32) -> FaultKind {
    let (layer, response) = (code >> 16 & 0xFF, code & 0xFFFF);
    match layer {
        // The TPM itself, and a resource manager that speaks for it (TSS2_RESMGR_TPM_RC_LAYER, TSS2_RESMGR_RC_LAYER).
        0 | 11 | 12 => kind_of_response(response),
        // ESAPI and SAPI: what they could not read was cut off or garbled on its way (TSS2_BASE_RC_*).
        7..=9 => match response {
            // BAD_SEQUENCE, NO_CONNECTION, IO_ERROR, MALFORMED_RESPONSE, INSUFFICIENT_RESPONSE
            7 | 8 | 10 | 17 | 19 => FaultKind::LinkLost,
            // RSP_AUTH_FAILED: its HMAC is not that of the TPM at the other end of the session.
            27 => FaultKind::AnswerAltered,
            _ => FaultKind::Mismatch,
        },
        // The TCTI.
        10 => FaultKind::LinkLost,
        _ => FaultKind::Mismatch,
    }
}

fn kind_of_response(response: u32) -> FaultKind {
    use FaultKind::{
        DeviceBusy, DictionaryAttackLockout, HardwareFailure, LocationOccupied, Misconfigured, Mismatch, NotFound,
        NotSameDevice, SessionLost, StorageFull, Unsupported,
    };
    // Format one: which parameter, handle or session it was is left out.
    if response & 0x80 != 0 {
        return match response & 0xBF {
            // ASYMMETRIC, ATTRIBUTES, HASH, VALUE, KEY_SIZE, KDF, SCHEME, SIZE, SYMMETRIC, CURVE
            0x81 | 0x82 | 0x83 | 0x84 | 0x87 | 0x8C | 0x92 | 0x95 | 0x96 | 0xA6 => Unsupported,
            // HIERARCHY, AUTH_FAIL, BAD_AUTH: the owner hierarchy is closed to us.
            0x85 | 0x8E | 0xA2 => Misconfigured,
            0x8B => NotFound,
            // INTEGRITY: wrapped by a parent that this TPM no longer has, or never had.
            0x9F => NotSameDevice,
            _ => Mismatch,
        };
    }
    match response {
        // FAILURE
        0x101 => HardwareFailure,
        // INITIALIZE, REBOOT: it was reset under our hands.
        INITIALIZE | 0x130 => FaultKind::LinkLost,
        // DISABLED, AUTH_TYPE, AUTH_MISSING, AUTH_UNAVAILABLE
        0x120 | 0x124 | 0x125 | 0x12F => Misconfigured,
        // COMMAND_CODE, NV_RANGE, NV_SIZE
        0x143 | 0x146 | 0x147 => Unsupported,
        // NV_LOCKED, NV_AUTHORIZATION, NV_UNINITIALIZED, NV_DEFINED
        0x148..=0x14A | 0x14C => LocationOccupied,
        // NV_SPACE
        0x14B => StorageFull,
        // TOO_MANY_CONTEXTS, CONTEXT_GAP, OBJECT_MEMORY, SESSION_MEMORY, MEMORY, SESSION_HANDLES, OBJECT_HANDLES
        0x12E | 0x901..=0x906 => SessionLost,
        // YIELDED, CANCELED, TESTING
        0x908..=0x90A => DeviceBusy,
        // REFERENCE_H0 to REFERENCE_S6
        0x910..=0x91E => SessionLost,
        // NV_RATE, RETRY, NV_UNAVAILABLE
        0x920 | 0x922 | 0x923 => DeviceBusy,
        // LOCKOUT
        0x921 => DictionaryAttackLockout,
        _ => Mismatch,
    }
}

#[cfg(test)]
mod tests {
    use tss_esapi::constants::response_code::Tss2ResponseCode;

    use super::*;

    fn error(code: u32) -> Error {
        Error::Tss2Error(Tss2ResponseCode::from(code))
    }

    /// The code that went in comes out, of either format and any layer: it is read from tss-esapi's text.
    #[test]
    fn the_whole_code_is_recovered() {
        for code in [0x100, 0x14B, 0x922, 0x1DF, 0x18B, 0x7_0001, 0xA_000A, 0xC_0922] {
            assert_eq!(code_of(error(code)), Some(code));
        }
    }

    /// Every failure that HARDWARE.md lists becomes the fault that leads to what it says.
    #[test]
    fn codes_become_faults() {
        use FaultKind::*;
        for (code, kind) in [
            (0x922, DeviceBusy),
            (0x908, DeviceBusy),
            (0x90A, DeviceBusy),
            (0x920, DeviceBusy),
            (0x923, DeviceBusy),
            (0xC_0922, DeviceBusy),
            (0x902, SessionLost),
            (0x905, SessionLost),
            (0x918, SessionLost),
            (0x921, DictionaryAttackLockout),
            (0x14B, StorageFull),
            (0x14C, LocationOccupied),
            (0x1DF, NotSameDevice),
            (0x101, HardwareFailure),
            (0x18B, NotFound),
            (0x2C4, Unsupported),
            (0x9A2, Misconfigured),
            (0xA_000A, LinkLost),
            (0xA_0008, LinkLost),
            (0x8_0011, LinkLost),
            (0x7_001B, AnswerAltered),
            // An ESAPI error of the same number as TPM_RC_FAILURE is not the TPM's.
            (0x7_0001, Mismatch),
        ] {
            assert_eq!(during("could not")(error(code)).kind, kind, "{code:#x}");
        }
    }
}
