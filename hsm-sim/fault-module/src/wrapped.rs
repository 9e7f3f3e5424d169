//! The functions of the wrapped module, each asked about before it is called.

use std::{
    env, mem, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
};

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_RV, CK_SLOT_ID, CK_TOKEN_INFO, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_OK, Pkcs11,
};

use crate::control;

const WRAPS: &str = "FAULT_MODULE_WRAPS";

/// The list that is given out; `None` when there is no module to wrap or no test to ask.
pub(crate) fn functions() -> Option<&'static CK_FUNCTION_LIST> {
    static FUNCTIONS: OnceLock<Option<CK_FUNCTION_LIST>> = OnceLock::new();
    FUNCTIONS
        .get_or_init(|| match load() {
            Ok(functions) => Some(functions),
            Err(problem) => {
                eprintln!("fault module: {problem}");
                None
            }
        })
        .as_ref()
}

fn load() -> Result<CK_FUNCTION_LIST, String> {
    let path = env::var_os(WRAPS).ok_or_else(|| format!("{WRAPS} is not set"))?;
    let mut list = ptr::null_mut();
    let mut told = Err(());
    let code = control::judge("load", || {
        // SAFETY: a PKCS#11 module runs no code of its own when it is loaded, and fills the pointer it is given.
        let given = unsafe { Pkcs11::new(&path).map(|library| (library.C_GetFunctionList(&mut list), library)) };
        match given {
            Ok((code, library)) => {
                // Its functions are called until the process ends.
                mem::forget(library);
                told = Ok(());
                code
            }
            Err(_) => CKR_GENERAL_ERROR,
        }
    });
    if told.is_err() || code != CKR_OK || list.is_null() {
        return Err(format!("could not load {} ({code:#x})", path.display()));
    }
    // SAFETY: the module said CKR_OK, so that this is its list, which lives as long as the module (PKCS#11 v2.40, 5.4).
    Ok(wrap(unsafe { &*list }))
}

/// A function of the list that takes so many arguments, whatever they are: the list's field says it.
macro_rules! wrapper {
    ($name:ident: $($argument:ident $kind:ident),*) => {
        unsafe extern "C" fn $name<const FUNCTION: usize, $($kind),*>($($argument: $kind),*) -> CK_RV {
            let address = REAL[FUNCTION].load(Ordering::Acquire);
            if address.is_null() {
                return CKR_FUNCTION_NOT_SUPPORTED;
            }
            // SAFETY: `wrap` took this address from the field of the list in which it put this function, so that the
            // types are the same.
            let real = unsafe { mem::transmute::<*mut (), unsafe extern "C" fn($($kind),*) -> CK_RV>(address) };
            // SAFETY: the arguments are the caller's own, as it promised them to the module.
            control::judge(NAMES[FUNCTION], move || unsafe { real($($argument),*) })
        }
    };
}

wrapper! { one: a A }
wrapper! { two: a A, b B }
wrapper! { three: a A, b B, c C }
wrapper! { four: a A, b B, c C, d D }
wrapper! { five: a A, b B, c C, d D, e E }
wrapper! { six: a A, b B, c C, d D, e E, f F }
wrapper! { eight: a A, b B, c C, d D, e E, f F, g G, h H }

/// C_GetTokenInfo, whose answer may get more flags.
unsafe extern "C" fn token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    const FUNCTION: usize = Function::C_GetTokenInfo as usize;
    let address = REAL[FUNCTION].load(Ordering::Acquire);
    // SAFETY: as for every wrapper; `wrap` puts this one in its place only where the module has the function.
    let real =
        unsafe { mem::transmute::<*mut (), unsafe extern "C" fn(CK_SLOT_ID, *mut CK_TOKEN_INFO) -> CK_RV>(address) };
    // SAFETY: the arguments are the caller's own; where the module said CKR_OK, it has filled `info`.
    control::judge_flags(NAMES[FUNCTION], || unsafe { real(slot, info) }, |flags| unsafe { (*info).flags |= flags })
}

macro_rules! wrapper_of {
    (one $function:expr) => {
        one::<{ $function }, _>
    };
    (two $function:expr) => {
        two::<{ $function }, _, _>
    };
    (three $function:expr) => {
        three::<{ $function }, _, _, _>
    };
    (four $function:expr) => {
        four::<{ $function }, _, _, _, _>
    };
    (five $function:expr) => {
        five::<{ $function }, _, _, _, _, _>
    };
    (six $function:expr) => {
        six::<{ $function }, _, _, _, _, _, _>
    };
    (eight $function:expr) => {
        eight::<{ $function }, _, _, _, _, _, _, _, _>
    };
}

macro_rules! functions {
    ($($arity:ident { $($name:ident)* })*) => {
        #[allow(non_camel_case_types, clippy::enum_variant_names, reason = "named as the standard names them")]
        enum Function { $($($name,)*)* }

        const NAMES: &[&str] = &[$($(stringify!($name),)*)*];

        /// Where the wrapped module has each.
        static REAL: [AtomicPtr<()>; NAMES.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; NAMES.len()];

        /// The list of the wrapped module, with ours in place of each function that it has.
        fn wrap(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            let mut list = *real;
            list.C_GetFunctionList = Some(crate::C_GetFunctionList);
            $($(
                if let Some(function) = real.$name {
                    REAL[Function::$name as usize].store(function as *mut (), Ordering::Release);
                    list.$name = Some(wrapper_of!($arity Function::$name as usize));
                }
            )*)*
            list.C_GetTokenInfo = real.C_GetTokenInfo.and(Some(token_info));
            list
        }
    };
}

// CK_FUNCTION_LIST of PKCS#11 v2.40 without C_GetFunctionList, by the number of their arguments.
functions! {
    one {
        C_Initialize C_Finalize C_GetInfo C_CloseSession C_CloseAllSessions C_Logout C_FindObjectsFinal
        C_GetFunctionStatus C_CancelFunction
    }
    two {
        C_GetSlotInfo C_GetTokenInfo C_GetSessionInfo C_DestroyObject C_DigestInit C_DigestKey
    }
    three {
        C_GetSlotList C_GetMechanismList C_GetMechanismInfo C_InitPIN C_GetOperationState C_GetObjectSize
        C_FindObjectsInit C_EncryptInit C_EncryptFinal C_DecryptInit C_DecryptFinal C_DigestUpdate C_DigestFinal
        C_SignInit C_SignUpdate C_SignFinal C_SignRecoverInit C_VerifyInit C_VerifyUpdate C_VerifyFinal
        C_VerifyRecoverInit C_SeedRandom C_GenerateRandom C_WaitForSlotEvent
    }
    four {
        C_InitToken C_Login C_CreateObject C_GetAttributeValue C_SetAttributeValue C_FindObjects
    }
    five {
        C_SetPIN C_OpenSession C_SetOperationState C_CopyObject C_Encrypt C_EncryptUpdate C_Decrypt C_DecryptUpdate
        C_Digest C_Sign C_SignRecover C_Verify C_VerifyRecover C_DigestEncryptUpdate C_DecryptDigestUpdate
        C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey
    }
    six {
        C_WrapKey C_DeriveKey
    }
    eight {
        C_GenerateKeyPair C_UnwrapKey
    }
}
