//! What a CK_RV means (PKCS#11 v3.1, 5.1).

use cryptoki::error::{Error, RvError};
use issuance::{Fault, FaultKind};

/// Why something in a session did not work: the module's error as it is, because it decides about healing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The module said so.
    Module { act: String, error: Error },
    /// We say so.
    Ours(Fault),
}

impl Failure {
    /// Whether all may be well after C_Finalize, C_Initialize and a new login.
    pub(super) fn is_of_a_lost_session(&self) -> bool {
        let Self::Module { error: Error::Pkcs11(code, _), .. } = self else { return false };
        matches!(
            code,
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::UserNotLoggedIn
                | RvError::CryptokiNotInitialized
                | RvError::TokenNotPresent
                | RvError::SlotIdInvalid
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::GeneralError
                | RvError::FunctionFailed
        )
    }

    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Module { act, error } => during(act)(error),
            Self::Ours(fault) => fault,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Ours(fault)
    }
}

/// Keeps an error of the module, met while `act`, for healing.
pub(super) fn failed(act: impl Into<String>) -> impl FnOnce(Error) -> Failure {
    let act = act.into();
    move |error| Failure::Module { act, error }
}

/// Makes an error of the module, met while `act`, a fault.
pub(super) fn during(act: impl Into<String>) -> impl FnOnce(Error) -> Fault {
    let act = act.into();
    move |error| {
        let kind = match &error {
            Error::Pkcs11(code, _) => kind_of(*code),
            Error::LibraryLoading(_)
            | Error::MissingSymbol(_)
            | Error::NullFunctionPointer
            | Error::NotSupported
            | Error::NulError(_)
            | Error::PinNotSet => FaultKind::Misconfigured,
            Error::TryFromInt(_)
            | Error::TryFromSlice(_)
            | Error::ParseInt(_)
            | Error::Utf8(_)
            | Error::InvalidValue => FaultKind::Mismatch,
        };
        let cause = match &error {
            // The library's texts are paragraphs of the standard: the name of the code says as much.
            Error::Pkcs11(code, function) => format!("{function:?} said {code:?}"),
            other => other.to_string(),
        };
        Fault::caused(kind, act, cause)
    }
}

fn kind_of(code: RvError) -> FaultKind {
    match code {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::ObjectHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::UserNotLoggedIn
        | RvError::CryptokiNotInitialized => FaultKind::SessionLost,
        RvError::DeviceRemoved | RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid => {
            FaultKind::LinkLost
        }
        RvError::DeviceError | RvError::GeneralError | RvError::FunctionFailed | RvError::FipsSelfTestFailed => {
            FaultKind::HardwareFailure
        }
        RvError::DeviceMemory => FaultKind::StorageFull,
        RvError::SessionCount
        | RvError::HostMemory
        | RvError::OperationActive
        | RvError::FunctionCanceled
        | RvError::Cancel => FaultKind::DeviceBusy,
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired => {
            FaultKind::PinRejected
        }
        RvError::PinLocked => FaultKind::PinLocked,
        RvError::UserPinNotInitialized
        | RvError::TokenWriteProtected
        | RvError::SessionReadOnly
        | RvError::CryptokiAlreadyInitialized
        | RvError::UserAnotherAlreadyLoggedIn
        | RvError::UserTooManyTypes
        | RvError::CantLock
        | RvError::NeedToCreateThreads
        | RvError::LibraryLoadFailed => FaultKind::Misconfigured,
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::KeySizeRange
        | RvError::KeyTypeInconsistent
        | RvError::KeyFunctionNotPermitted
        | RvError::CurveNotSupported
        | RvError::DomainParamsInvalid
        | RvError::FunctionNotSupported
        | RvError::ActionProhibited
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::AttributeReadOnly
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent => FaultKind::Unsupported,
        // What is left are answers that do not fit the question.
        _ => FaultKind::Mismatch,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    /// Every failure that HARDWARE.md lists becomes the fault that leads to what it says, and heals or does not.
    #[test]
    fn codes_become_faults() {
        for (code, kind, heals) in [
            (RvError::SessionHandleInvalid, FaultKind::SessionLost, true),
            (RvError::SessionClosed, FaultKind::SessionLost, true),
            (RvError::ObjectHandleInvalid, FaultKind::SessionLost, true),
            (RvError::CryptokiNotInitialized, FaultKind::SessionLost, true),
            (RvError::TokenNotPresent, FaultKind::LinkLost, true),
            (RvError::DeviceRemoved, FaultKind::LinkLost, true),
            (RvError::DeviceError, FaultKind::HardwareFailure, true),
            (RvError::DeviceMemory, FaultKind::StorageFull, false),
            (RvError::SessionCount, FaultKind::DeviceBusy, false),
            (RvError::PinIncorrect, FaultKind::PinRejected, false),
            (RvError::PinLenRange, FaultKind::PinRejected, false),
            (RvError::PinLocked, FaultKind::PinLocked, false),
            (RvError::MechanismInvalid, FaultKind::Unsupported, false),
        ] {
            let failure = failed("could not")(Error::Pkcs11(code, Function::Sign));
            assert_eq!(failure.is_of_a_lost_session(), heals, "{code:?}");
            assert_eq!(failure.into_fault().kind, kind, "{code:?}");
        }
    }

    /// The cause is the code's name, not a paragraph of the standard.
    #[test]
    fn causes_are_short() {
        let fault = during("could not sign")(Error::Pkcs11(RvError::DeviceMemory, Function::Sign));
        assert_eq!(fault.to_string(), "could not sign: Sign said DeviceMemory");
    }
}
