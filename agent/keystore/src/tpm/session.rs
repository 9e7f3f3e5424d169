//! What guards a link: an HMAC session whose salt only the verified EK's TPM can read (TPM 2.0 part 1, 19.6.9). Every
//! command of a visit that takes a session runs in it, also those that need no authorisation, and the first parameter of
//! each is encrypted where it can be: whoever stands between station and TPM neither alters nor reads it unnoticed.
//!
//! Outside stay those commands that take no session (TPM2_FlushContext, TPM2_Startup), what comes before the session (the
//! handles that are swept, the EK and its certificate, which are held against each other), what ends it (TPM2_Shutdown), and
//! TPM2_NV_WriteLock, which tss-esapi 7.7 has not: that it did its work is read over the guarded link. A second authorisation of a command is an empty password: a session serves once in a command, and its
//! HMAC covers the whole of it.

use issuance::Fault;
use tss_esapi::{
    Context, Error, WrapperErrorKind,
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{KeyHandle, SessionHandle},
    interface_types::{algorithm::HashingAlgorithm, session_handles::AuthSession},
    structures::SymmetricDefinition,
};

use super::{fault, link::Held};

/// Starts a session salted to `ek` and has every command of this connection run in it.
pub(super) fn guard(ek: &mut Held<'_>) -> Result<AuthSession, Fault> {
    const ACT: &str = "could not begin a session that is salted to the endorsement key";
    let key = KeyHandle::from(ek.handle());
    let session = start(ek.context(), Some(key), SessionType::Hmac).map_err(fault::during(ACT))?;
    let (attributes, mask) =
        SessionAttributesBuilder::new().with_audit(true).with_decrypt(true).with_encrypt(true).build();
    ek.context().tr_sess_set_attributes(session, attributes, mask).map_err(fault::during(ACT))?;
    ek.context().set_sessions((Some(session), None, None));
    Ok(session)
}

/// A session, to be ended by [`end`].
pub(super) fn start(
    context: &mut Context,
    salted_to: Option<KeyHandle>,
    kind: SessionType,
) -> Result<AuthSession, Error> {
    let session = context.execute_without_session(|context| {
        let (cipher, hash) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
        context.start_auth_session(salted_to, None, None, kind, cipher, hash)
    })?;
    session.ok_or(Error::WrapperError(WrapperErrorKind::WrongValueFromTpm))
}

/// Ends a session. One that cannot be is swept by the next connection.
pub(super) fn end(context: &mut Context, session: AuthSession) {
    if let Err(error) = context.flush_context(SessionHandle::from(session).into()) {
        tracing::debug!(%error, "could not end a session");
    }
}

/// What authorises a command with an empty authorisation: the link's session, and before there is one an empty password.
pub(super) fn authorisation(context: &Context) -> AuthSession {
    context.sessions().0.unwrap_or(AuthSession::Password)
}

/// Runs a command whose one authorisation is empty.
pub(super) fn authorised<T>(context: &mut Context, command: impl FnOnce(&mut Context) -> T) -> T {
    let session = authorisation(context);
    context.execute_with_session(Some(session), command)
}
