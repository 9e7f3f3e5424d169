//! Numbers of the TPM 2.0 that tests speak of (part 2, 6.5.2 and 6.6.3).

/// TPM_RC: what a response says.
pub mod response {
    /// TPM_RC_FAILURE: the TPM is in failure mode.
    pub const FAILURE: u32 = 0x101;
    /// TPM_RC_NV_SPACE: no room for another index or persistent object.
    pub const NV_SPACE: u32 = 0x14B;
    /// TPM_RC_OBJECT_MEMORY: no transient slot is free.
    pub const OBJECT_MEMORY: u32 = 0x902;
    /// TPM_RC_SESSION_MEMORY: no session slot is free.
    pub const SESSION_MEMORY: u32 = 0x903;
    /// TPM_RC_SESSION_HANDLES: no session handle is free.
    pub const SESSION_HANDLES: u32 = 0x905;
    /// TPM_RC_YIELDED: the TPM put the command aside; send it again.
    pub const YIELDED: u32 = 0x908;
    /// TPM_RC_TESTING: the TPM tests itself.
    pub const TESTING: u32 = 0x90A;
    /// TPM_RC_NV_RATE: too many writes in too short a time.
    pub const NV_RATE: u32 = 0x920;
    /// TPM_RC_LOCKOUT: locked after wrong authorisations.
    pub const LOCKOUT: u32 = 0x921;
    /// TPM_RC_RETRY: the TPM could not start the command.
    pub const RETRY: u32 = 0x922;
    /// TPM_RC_NV_UNAVAILABLE: the TPM's storage does not answer it now.
    pub const NV_UNAVAILABLE: u32 = 0x923;
}

/// TPM_CC: what a command is.
pub mod command {
    /// TPM2_EvictControl: makes an object persistent, or not.
    pub const EVICT_CONTROL: u32 = 0x120;
    /// TPM2_NV_DefineSpace.
    pub const NV_DEFINE_SPACE: u32 = 0x12A;
    /// TPM2_CreatePrimary.
    pub const CREATE_PRIMARY: u32 = 0x131;
    /// TPM2_NV_Write.
    pub const NV_WRITE: u32 = 0x137;
    /// TPM2_Shutdown.
    pub const SHUTDOWN: u32 = 0x145;
    /// TPM2_ActivateCredential.
    pub const ACTIVATE_CREDENTIAL: u32 = 0x147;
    /// TPM2_Certify.
    pub const CERTIFY: u32 = 0x148;
    /// TPM2_NV_Read.
    pub const NV_READ: u32 = 0x14E;
    /// TPM2_Create.
    pub const CREATE: u32 = 0x153;
    /// TPM2_Load.
    pub const LOAD: u32 = 0x157;
    /// TPM2_Sign.
    pub const SIGN: u32 = 0x15D;
    /// TPM2_ContextLoad.
    pub const CONTEXT_LOAD: u32 = 0x161;
    /// TPM2_ContextSave.
    pub const CONTEXT_SAVE: u32 = 0x162;
    /// TPM2_FlushContext.
    pub const FLUSH_CONTEXT: u32 = 0x165;
    /// TPM2_NV_ReadPublic.
    pub const NV_READ_PUBLIC: u32 = 0x169;
    /// TPM2_ReadPublic.
    pub const READ_PUBLIC: u32 = 0x173;
    /// TPM2_StartAuthSession.
    pub const START_AUTH_SESSION: u32 = 0x176;
    /// TPM2_GetCapability.
    pub const GET_CAPABILITY: u32 = 0x17A;
}
