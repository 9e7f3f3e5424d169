//! TPM2_NV_WriteLock (TPM 2.0 part 3, 31.11). tss-esapi 7.7 has no method for it and keeps its ESYS context to itself, so this
//! one command goes through the C library's own functions, over a connection that lasts as long as the command.

#![expect(unsafe_code, reason = "calls of tpm2-tss; each pointer is made here and lives until its finaliser")]

use std::{ffi::CString, ptr};

use issuance::{Fault, FaultKind};
use tss_esapi::tss2_esys::{
    ESYS_CONTEXT, ESYS_TR_NONE, ESYS_TR_PASSWORD, ESYS_TR_RH_OWNER, Esys_Finalize, Esys_Initialize, Esys_NV_WriteLock,
    Esys_TR_Close, Esys_TR_FromTPMPublic, TSS2_RC, TSS2_TCTI_CONTEXT, Tss2_TctiLdr_Finalize, Tss2_TctiLdr_Initialize,
};

use super::{fault, link, tcti::Tcti};

/// Locks an NV index for writing, for as long as it is defined. Nobody else of this process may be connected to the TPM.
pub(super) fn write_lock(tcti: &Tcti, index: u32) -> Result<(), Fault> {
    let act = || format!("could not lock the NV index {index:#010x} against writing");
    let (known, _relay) = link::way(tcti, &act())?;
    let known = CString::try_from(known).map_err(|error| fault::during(act())(error))?;
    Connection::open(&known)
        .and_then(|mut connection| connection.write_lock(index))
        .map_err(|code| fault::of_code(act(), code))
}

/// A connection of the C library. Closed on drop.
struct Connection {
    tcti: *mut TSS2_TCTI_CONTEXT,
    esys: *mut ESYS_CONTEXT,
}

impl Connection {
    fn open(known: &CString) -> Result<Self, TSS2_RC> {
        let mut connection = Self { tcti: ptr::null_mut(), esys: ptr::null_mut() };
        // SAFETY: the string and both places outlive the calls; what they make is finalised once, by this value's drop.
        success(unsafe { Tss2_TctiLdr_Initialize(known.as_ptr(), &mut connection.tcti) })?;
        // SAFETY: as above; the TCTI was made by the line before, and is finalised after the context that uses it.
        success(unsafe { Esys_Initialize(&mut connection.esys, connection.tcti, ptr::null_mut()) })?;
        Ok(connection)
    }

    fn write_lock(&mut self, index: u32) -> Result<(), TSS2_RC> {
        const NONE: u32 = ESYS_TR_NONE;
        let mut object = NONE;
        // SAFETY: the context is open, and the place for the object outlives the call.
        success(unsafe { Esys_TR_FromTPMPublic(self.esys, index, NONE, NONE, NONE, &mut object) })?;
        // SAFETY: the context is open, and the object is of it.
        let locked = unsafe { Esys_NV_WriteLock(self.esys, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD, NONE, NONE) };
        // SAFETY: as above. That it could not be closed changes nothing: the context is closed next.
        let _ = unsafe { Esys_TR_Close(self.esys, &mut object) };
        success(locked)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: both take a null pointer for nothing to do, and set the pointer to null.
        unsafe {
            Esys_Finalize(&mut self.esys);
            Tss2_TctiLdr_Finalize(&mut self.tcti);
        }
    }
}

fn success(code: TSS2_RC) -> Result<(), TSS2_RC> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// What it is when the TPM took the command, and the index is not locked.
pub(super) fn not_locked(index: u32) -> Fault {
    Fault::new(
        FaultKind::Mismatch,
        format!("the NV index {index:#010x} was locked against writing, and does not say so"),
    )
}
