//! Return values of PKCS#11 that tests speak of (PKCS#11 v3.1, 5.1), and flags of a token (3.2).

/// CKR_GENERAL_ERROR: the module cannot say what is wrong.
pub const GENERAL_ERROR: u64 = 0x05;
/// CKR_FUNCTION_FAILED: this call did not work; another one may.
pub const FUNCTION_FAILED: u64 = 0x06;
/// CKR_DEVICE_ERROR: something is wrong with the token or the slot.
pub const DEVICE_ERROR: u64 = 0x30;
/// CKR_DEVICE_MEMORY: the token is full.
pub const DEVICE_MEMORY: u64 = 0x31;
/// CKR_DEVICE_REMOVED: the token went away during the call.
pub const DEVICE_REMOVED: u64 = 0x32;
/// CKR_OBJECT_HANDLE_INVALID: no object has this handle (any more).
pub const OBJECT_HANDLE_INVALID: u64 = 0x82;
/// CKR_KEY_HANDLE_INVALID.
pub const KEY_HANDLE_INVALID: u64 = 0x60;
/// CKR_MECHANISM_INVALID.
pub const MECHANISM_INVALID: u64 = 0x70;
/// CKR_PIN_INCORRECT: this is not the PIN, and a try is gone.
pub const PIN_INCORRECT: u64 = 0xA0;
/// CKR_PIN_LOCKED: the PIN takes no more tries.
pub const PIN_LOCKED: u64 = 0xA4;
/// CKR_SESSION_CLOSED: the session was closed during the call.
pub const SESSION_CLOSED: u64 = 0xB0;
/// CKR_SESSION_COUNT: the token has no session left.
pub const SESSION_COUNT: u64 = 0xB1;
/// CKR_SESSION_HANDLE_INVALID: no session has this handle (any more).
pub const SESSION_HANDLE_INVALID: u64 = 0xB3;
/// CKR_TOKEN_NOT_PRESENT: the slot is empty.
pub const TOKEN_NOT_PRESENT: u64 = 0xE0;
/// CKR_CRYPTOKI_NOT_INITIALIZED: nobody has called C_Initialize.
pub const CRYPTOKI_NOT_INITIALIZED: u64 = 0x190;

/// CKF_USER_PIN_COUNT_LOW: a wrong PIN was tried since the last right one.
pub const USER_PIN_COUNT_LOW: u64 = 0x1_0000;
/// CKF_USER_PIN_FINAL_TRY: one more wrong PIN locks it.
pub const USER_PIN_FINAL_TRY: u64 = 0x2_0000;
/// CKF_USER_PIN_LOCKED.
pub const USER_PIN_LOCKED: u64 = 0x4_0000;
