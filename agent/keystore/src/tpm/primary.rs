//! Primary keys of the endorsement hierarchy: a TPM makes the same one again from its seed, which takes it long, and takes
//! back at once what it saved before (TPM 2.0 part 1, 30: TPM2_ContextSave, TPM2_ContextLoad).

use issuance::{Fault, FaultKind};
use tss_esapi::{
    Context, handles::ObjectHandle, interface_types::resource_handles::Hierarchy, structures::Public,
    traits::Marshall as _, utils::TpmsContext,
};

use super::{fault, link::Held, session::authorised};

/// A primary key that was met, and how to have it again.
#[derive(Debug)]
pub(super) struct Primary {
    /// Its public area as the TPM gave it when it made the key, TPMT_PUBLIC.
    pub(super) public_area: Vec<u8>,
    template: Public,
    /// Encrypted by the TPM for itself, until it is reset. What tpm2-tss knows of the key is kept beside it here, and never
    /// asked of a TPM again: a salt is encrypted to the public area above, whoever answers now. `None`: it gave none.
    saved: Option<TpmsContext>,
    /// What to say when it cannot be had.
    act: &'static str,
}

impl Primary {
    /// Has the TPM make it.
    pub(super) fn make<'c>(
        context: &'c mut Context,
        template: Public,
        act: &'static str,
    ) -> Result<(Self, Held<'c>), Fault> {
        let wanted = template.clone();
        let created = authorised(context, |context| {
            context.create_primary(Hierarchy::Endorsement, wanted, None, None, None, None)
        });
        let created = created.map_err(fault::during(act))?;
        let mut held = Held::transient(context, created.key_handle.into());
        let public_area = created.out_public.marshall().map_err(fault::during(act))?;
        let object = held.handle();
        let saved = held.context().context_save(object);
        let saved = saved.inspect_err(|error| tracing::debug!(%error, "the TPM does not save a key")).ok();
        Ok((Self { public_area, template, saved, act }, held))
    }

    /// The same one, loaded again. A TPM that makes another one is another TPM.
    pub(super) fn load<'c>(&mut self, context: &'c mut Context) -> Result<Held<'c>, Fault> {
        if let Some(object) = self.take_back(context)? {
            return Ok(Held::transient(context, object));
        }
        let (made, held) = Self::make(context, self.template.clone(), self.act)?;
        if made.public_area != self.public_area {
            return Err(Fault::new(FaultKind::NotSameDevice, format!("{}: it is another one than before", self.act)));
        }
        *self = made;
        Ok(held)
    }

    /// The key as it was saved, loaded. `None`: this TPM, or this TPM since its reset, does not know it.
    pub(super) fn take_back(&self, context: &mut Context) -> Result<Option<ObjectHandle>, Fault> {
        let Some(saved) = &self.saved else { return Ok(None) };
        match context.context_load(saved.clone()).map_err(fault::during(self.act)) {
            Ok(object) => Ok(Some(object)),
            Err(fault) => match fault.kind {
                FaultKind::LinkLost | FaultKind::DeviceBusy | FaultKind::SessionLost | FaultKind::HardwareFailure => {
                    Err(fault)
                }
                _ => Ok(None),
            },
        }
    }
}
