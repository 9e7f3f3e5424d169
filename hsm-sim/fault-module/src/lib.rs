//! A PKCS#11 module that stands before another one, tells a test of every call, and does with it what the test says.
//!
//! The environment of the process that loads it names both:
//!
//! - `FAULT_MODULE_WRAPS`: the module that does the work.
//! - `FAULT_MODULE_CONTROL`: the Unix socket of the test, `hsm_sim::FaultModule`.
//!
//! Before each call this module writes the function's name and a line feed to the socket, and reads one line:
//!
//! | Answer | Does |
//! |---|---|
//! | `pass` | calls the function |
//! | `return N` | returns the CK_RV `N` (decimal), the function not called |
//! | `after N` | calls the function, and returns `N` all the same |
//! | `flags N` | calls the function, and adds these flags when it is C_GetTokenInfo |
//! | `abort` | ends the process as a crashing library would |
//! | `abort-after` | calls the function, then ends the process |
//!
//! An answer that is late is a call that takes long, and one that never comes is a call that hangs. `load` is told once,
//! when a process has loaded the module. A test that is gone, or an environment that names nothing, is CKR_GENERAL_ERROR.
//!
//! Never packaged: nothing that is shipped knows this crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod control;
mod wrapped;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK};

/// Gives the list of this module's functions (PKCS#11 v2.40, 5.4): the only symbol that a loader looks up.
///
/// # Safety
///
/// `list` is null or may be written through.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match wrapped::functions() {
        Some(functions) => {
            // SAFETY: the caller's promise. The functions live as long as the process; nobody writes to them.
            unsafe { *list = std::ptr::from_ref(functions).cast_mut() };
            CKR_OK
        }
        None => CKR_GENERAL_ERROR,
    }
}
