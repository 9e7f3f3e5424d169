//! One connection to a TPM: opened, made clean, closed in order.

use std::str::FromStr as _;

use issuance::{DeviceIdentity, Fault, FaultKind};
use tss_esapi::{
    Context, TctiNameConf,
    constants::{CapabilityType, StartupType},
    handles::{ObjectHandle, TpmHandle},
    interface_types::session_handles::AuthSession,
    structures::CapabilityData,
};

use super::{
    endorsement::Keys,
    fault::{self, INITIALIZE, code_of},
    key,
    relay::Relay,
    session,
    tcti::Tcti,
};

// TPM 2.0 part 2, table 28: the first handle of each kind.
const TRANSIENT_FIRST: u32 = 0x8000_0000;
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;
/// More handles than any TPM has slots for: TPM2_GetCapability answers with at most this many.
const EVERY: u32 = 64;

/// A connection. Fields are dropped in this order: the context still speaks over the relay while it is closed.
#[derive(Debug)]
pub(super) struct Link {
    context: Context,
    /// What guards it.
    session: Option<AuthSession>,
    /// Of the TPM at the other end of the session, or of the one that was there the last time.
    keys: Option<Keys>,
    _relay: Option<Relay>,
}

impl Link {
    /// Connects, starts the TPM when nobody has, and flushes what an earlier owner left loaded. When nothing answers, the
    /// device is absent; from then on, a link that ends is lost. `keys` are those that a connection before it met.
    pub(super) fn connect(tcti: &Tcti, keys: &mut Option<Keys>) -> Result<Self, Fault> {
        const ACT: &str = "could not connect to the TPM";
        let (known, relay) = way(tcti, ACT)?;
        // Whatever keeps a TCTI from opening, there is no TPM that answers.
        let context = Context::new(known).map_err(|error| Fault::caused(FaultKind::DeviceAbsent, ACT, error))?;
        let mut link = Self { context, session: None, keys: None, _relay: relay };
        link.start().map_err(|fault| match fault.kind {
            FaultKind::LinkLost => Fault { kind: FaultKind::DeviceAbsent, ..fault },
            _ => fault,
        })?;
        link.sweep()?;
        link.keys = keys.take();
        Ok(link)
    }

    pub(super) fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Makes sure, once, that the TPM of this visit is there, and has what follows run in a session that only it can be at
    /// the other end of.
    pub(super) fn guard(&mut self, visited: Option<&DeviceIdentity>) -> Result<(), Fault> {
        if self.session.is_some() {
            return Ok(());
        }
        let (keys, mut held) = Keys::find(&mut self.context, visited, self.keys.take())?;
        self.keys = Some(keys);
        self.session = Some(session::guard(&mut held)?);
        drop(held);
        // A session that was not put to the test guards nothing.
        self.test(visited).inspect_err(|_| self.end_session())
    }

    fn test(&mut self, visited: Option<&DeviceIdentity>) -> Result<(), Fault> {
        // The first answer in it shows that the EK's TPM is there. Nothing here needs an authorisation: an HMAC that the TPM
        // does not accept was not made for the session that it began.
        handles(&mut self.context, TRANSIENT_FIRST, 1).map_err(|fault| match fault.kind {
            FaultKind::Misconfigured => Fault { kind: FaultKind::AnswerAltered, ..fault },
            _ => fault,
        })?;
        // Where no certificate says which EK it is, the storage root key tells TPMs apart.
        if let Some(DeviceIdentity::Tpm { ek_certificate: None, srk_name, .. }) = visited
            && key::srk_name(&mut self.context)? != *srk_name
        {
            return Err(Fault::new(FaultKind::NotSameDevice, "another TPM is there than was identified"));
        }
        Ok(())
    }

    fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.context.clear_sessions();
            session::end(&mut self.context, session);
        }
    }

    /// The guarded connection, and the keys of the TPM at its other end.
    pub(super) fn parts(&mut self) -> Result<(&mut Context, &mut Keys), Fault> {
        match (&mut self.keys, self.session) {
            (Some(keys), Some(_)) => Ok((&mut self.context, keys)),
            _ => Err(Fault::new(FaultKind::Mismatch, "the link to the TPM is not guarded")),
        }
    }

    /// The keys that were met, for the next connection.
    pub(super) fn take_keys(&mut self) -> Option<Keys> {
        self.keys.take()
    }

    /// Closes in order. A TPM that loses its power without TPM2_Shutdown may count that as an attack.
    pub(super) fn close(mut self) {
        self.end_session();
        if let Err(error) = self.context.execute_without_session(|context| context.shutdown(StartupType::Clear)) {
            tracing::debug!(%error, "TPM2_Shutdown failed");
        }
    }

    fn start(&mut self) -> Result<(), Fault> {
        let ask = |context: &mut Context| context.get_capability(CapabilityType::Handles, TRANSIENT_FIRST, 1);
        match ask(&mut self.context) {
            Err(error) if code_of(error) == Some(INITIALIZE) => {
                self.context.startup(StartupType::Clear).map_err(fault::during("could not start the TPM"))
            }
            Err(error) => Err(fault::during("could not speak with the TPM")(error)),
            Ok(_) => Ok(()),
        }
    }

    /// Flushes every transient object and loaded session. Behind a resource manager there is nothing to see.
    fn sweep(&mut self) -> Result<(), Fault> {
        for first in [TRANSIENT_FIRST, LOADED_SESSION_FIRST] {
            for handle in handles(&mut self.context, first, EVERY)? {
                let act = || format!("could not flush {:#010x}, left loaded by an earlier owner", u32::from(handle));
                let held = self.context.tr_from_tpm_public(handle).map_err(|error| fault::during(act())(error))?;
                match self.context.flush_context(held) {
                    Ok(()) => tracing::info!(handle = u32::from(handle), "flushed what an earlier owner left"),
                    // tss-esapi flushes a policy session and then says that it should not have.
                    Err(tss_esapi::Error::WrapperError(_)) => {}
                    Err(error) => return Err(fault::during(act())(error)),
                }
            }
        }
        Ok(())
    }
}

/// The way to a TPM as the C library knows it, with what must live as long as it is used.
pub(super) fn way(tcti: &Tcti, act: &str) -> Result<(TctiNameConf, Option<Relay>), Fault> {
    match tcti {
        Tcti::Known(known) => Ok((known.clone(), None)),
        Tcti::SwtpmUnix(path) => {
            let relay = Relay::start(path).map_err(|error| {
                Fault::caused(FaultKind::DeviceAbsent, format!("{act} at {}", path.display()), error)
            })?;
            let known = TctiNameConf::from_str(&relay.tcti()).map_err(fault::during(act))?;
            Ok((known, Some(relay)))
        }
    }
}

/// The handles in use from `first` on, at most `most`, all of `first`'s kind.
pub(super) fn handles(context: &mut Context, first: u32, most: u32) -> Result<Vec<TpmHandle>, Fault> {
    let act = "could not list the TPM's handles";
    match context.get_capability(CapabilityType::Handles, first, most).map_err(fault::during(act))? {
        (CapabilityData::Handles(handles), _) => Ok(handles.into_inner()),
        _ => Err(Fault::new(FaultKind::Mismatch, act)),
    }
}

/// Whether a persistent object or an NV index stands at `handle`. Only the TPM's own list says that one is absent.
pub(super) fn is_there(context: &mut Context, handle: u32) -> Result<bool, Fault> {
    Ok(handles(context, handle, 1)?.first().is_some_and(|found| u32::from(*found) == handle))
}

/// An object of the TPM that is let go of when this is dropped.
pub(super) struct Held<'c> {
    context: &'c mut Context,
    handle: ObjectHandle,
    transient: bool,
}

impl<'c> Held<'c> {
    /// Holds a transient object, to be flushed.
    pub(super) fn transient(context: &'c mut Context, handle: ObjectHandle) -> Self {
        Self { context, handle, transient: true }
    }

    /// Holds what stands at a persistent handle or NV index, which stays there.
    pub(super) fn standing(context: &'c mut Context, handle: TpmHandle) -> Result<Self, tss_esapi::Error> {
        let handle = context.tr_from_tpm_public(handle)?;
        Ok(Self { context, handle, transient: false })
    }

    pub(super) fn handle(&self) -> ObjectHandle {
        self.handle
    }

    pub(super) fn context(&mut self) -> &mut Context {
        self.context
    }

    /// Its name (TPM 2.0 part 1, 16), which says what it is.
    pub(super) fn name(&mut self) -> Result<Vec<u8>, Fault> {
        let name = self.context.tr_get_name(self.handle).map_err(fault::during("could not read an object's name"))?;
        Ok(name.value().to_vec())
    }

    /// For what was removed from the TPM by a command: there is nothing left to let go of.
    pub(super) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let let_go = match self.transient {
            true => self.context.flush_context(self.handle),
            false => self.context.tr_close(&mut self.handle),
        };
        if let Err(error) = let_go {
            // The next connection's sweep flushes it.
            tracing::debug!(%error, "could not let go of a TPM object");
        }
    }
}
