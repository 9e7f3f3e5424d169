//! The module and its token.

use std::{collections::BTreeSet, num::NonZeroUsize, path::Path};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Library},
    error::{Error, RvError},
    session::UserType,
    slot::{Slot, TokenInfo},
};
use issuance::{DeviceIdentity, Fault, FaultKind};
use secrecy::SecretString;

use super::{
    fault::during,
    sessions::{self, Sessions},
};

/// A loaded module, initialised for as long as this lives.
#[derive(Debug)]
pub(super) struct Module {
    library: Library,
}

impl Module {
    /// Loads a module and initialises it.
    pub(super) fn load(path: &Path) -> Result<Self, Fault> {
        let library =
            Library::new(path).map_err(during(format!("could not load the PKCS#11 module {}", path.display())))?;
        let module = Self { library };
        module.initialise()?;
        Ok(module)
    }

    /// A fresh look at the slots: SoftHSM shows new tokens only then, and a module whose token was gone comes back only
    /// then. No session of this module may live.
    pub(super) fn initialise_again(&mut self) -> Result<(), Fault> {
        self.finalise();
        self.initialise()
    }

    fn initialise(&self) -> Result<(), Fault> {
        self.library
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(during("could not initialise the PKCS#11 module"))
    }

    fn finalise(&self) {
        match self.library.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => tracing::warn!(%error, "C_Finalize failed"),
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.finalise();
    }
}

/// A token that is logged in to.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) sessions: Sessions,
    info: TokenInfo,
}

impl Token {
    pub(super) fn serial_number(&self) -> &str {
        self.info.serial_number()
    }

    pub(super) fn identity(&self) -> DeviceIdentity {
        DeviceIdentity::Token {
            label: self.info.label().to_owned(),
            serial_number: self.info.serial_number().to_owned(),
            manufacturer: self.info.manufacturer_id().to_owned(),
            model: self.info.model().to_owned(),
            firmware: self.info.firmware_version().to_string(),
        }
    }
}

/// The PIN, and what is known of it.
pub(super) struct Login<'l> {
    pub(super) pin: &'l SecretString,
    /// The serial numbers of the tokens that rejected it.
    pub(super) rejected: &'l mut BTreeSet<String>,
    /// Whether an earlier login ended without an answer.
    pub(super) in_doubt: bool,
}

/// Finds the token by its label and logs in, unless it is another one than was visited, or that could cost it its PIN. With
/// one session; more are opened once they are of use, up to `sessions` and to what the token allows.
pub(super) fn open(
    module: &Module,
    label: &str,
    visited: &Option<String>,
    sessions: NonZeroUsize,
    login: Login<'_>,
) -> Result<Token, Fault> {
    let (slot, info) = find(module, label)?;
    let serial_number = info.serial_number();
    if let Some(visited) = visited.as_ref().filter(|visited| *visited != serial_number) {
        return Err(Fault::new(
            FaultKind::NotSameDevice,
            format!("the token {label:?} has the serial number {serial_number}, and {visited} was visited"),
        ));
    }
    check_pin(&info, label, &login)?;
    let session = module
        .library
        .open_rw_session(slot)
        .map_err(during(format!("could not open a session with the token {label:?}")))?;
    if info.login_required() {
        match session.login(UserType::User, Some(login.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => {
                let fault = during(format!("could not log in to the token {label:?}"))(error);
                if let FaultKind::PinRejected | FaultKind::PinLocked = fault.kind {
                    login.rejected.insert(serial_number.to_owned());
                }
                return Err(fault);
            }
        }
    }
    let most = sessions::allowed(sessions, info.max_session_count(), info.max_rw_session_count());
    Ok(Token { sessions: Sessions::new(module.library.clone(), slot, session, most), info })
}

fn find(module: &Module, label: &str) -> Result<(Slot, TokenInfo), Fault> {
    let slots = module.library.get_slots_with_token().map_err(during("could not list the PKCS#11 slots"))?;
    let mut found = Vec::new();
    let mut unreadable = None;
    for slot in slots {
        match module.library.get_token_info(slot) {
            Ok(info) if info.token_initialized() && info.label() == label => found.push((slot, info)),
            Ok(_) => {}
            // Another slot's broken token is not in our way, if ours is there.
            Err(error) => unreadable = Some(error),
        }
    }
    match (found.len(), found.pop(), unreadable) {
        (1, Some(only), _) => Ok(only),
        (0, _, Some(error)) => {
            Err(during(format!("found no token {label:?}, and one of the slots could not be read"))(error))
        }
        (0, ..) | (_, None, _) => Err(Fault::new(FaultKind::DeviceAbsent, format!("no token has the label {label:?}"))),
        (count, ..) => Err(Fault::new(
            FaultKind::Misconfigured,
            format!("{count} tokens have the label {label:?}: give each one of its own"),
        )),
    }
}

/// Looks before a login whether one more wrong PIN would lock the token, or whether it refused this PIN before.
fn check_pin(info: &TokenInfo, label: &str, login: &Login<'_>) -> Result<(), Fault> {
    let refuse = |kind, why: &str| Err(Fault::new(kind, format!("did not log in to the token {label:?}: {why}")));
    if info.user_pin_locked() {
        return refuse(FaultKind::PinLocked, "its PIN is locked (CKF_USER_PIN_LOCKED)");
    }
    if info.user_pin_final_try() {
        return refuse(FaultKind::PinLocked, "a wrong PIN would lock it (CKF_USER_PIN_FINAL_TRY)");
    }
    if login.rejected.contains(info.serial_number()) {
        return refuse(FaultKind::PinRejected, "it rejected this PIN before, and it is not tried again");
    }
    if login.in_doubt && info.user_pin_count_low() {
        return refuse(
            FaultKind::PinRejected,
            "the login before this one never ended, and the token counts a wrong PIN since (CKF_USER_PIN_COUNT_LOW)",
        );
    }
    Ok(())
}
