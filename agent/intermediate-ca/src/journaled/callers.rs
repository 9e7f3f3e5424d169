//! Who is disabled, in the register.

use std::collections::BTreeMap;

use super::{JournaledRegister, Stage, broken};
use crate::{
    callers::{CallerSaid, Disabled},
    records::{CallerDisabled, CallerEnabled, DISABLED, Event},
    register::RegisterError,
};

/// Rows of one look: nobody disables more.
const PAGE: usize = 256;

impl JournaledRegister {
    /// Everybody who is disabled.
    pub(crate) fn disabled_callers(&self) -> Result<BTreeMap<String, Disabled>, RegisterError> {
        let (mut all, mut after) = (BTreeMap::new(), None::<Vec<u8>>);
        loop {
            let rows = self.projections.scan(DISABLED, &[], after.as_deref(), false, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(all) };
            after = Some(last.clone());
            for (name, row) in &rows {
                let read = String::from_utf8(name.clone()).ok().zip(Disabled::decode(row));
                let (name, row) = read.ok_or_else(|| broken("a disabled caller's row cannot be read"))?;
                all.insert(name, row);
            }
        }
    }

    /// What is so already is not recorded again. Also behind the newest record: a wrong clock must not keep a thief in.
    pub(super) fn say_of_caller(&self, said: CallerSaid) -> Result<Option<Disabled>, RegisterError> {
        let CallerSaid { name, disable, reason, by } = said;
        let mut stage = Stage::new(self)?;
        if stage.get(DISABLED, name.as_bytes())?.is_some() != disable {
            let event = match disable {
                true => Event::CallerDisabled(CallerDisabled { name: name.clone(), reason, authenticated_by: by }),
                false => Event::CallerEnabled(CallerEnabled { name: name.clone(), reason, authenticated_by: by }),
            };
            stage.add(None, event)?;
        }
        let row = stage.get(DISABLED, name.as_bytes())?;
        stage.sync()?;
        row.map(|row| Disabled::decode(&row).ok_or_else(|| broken("a disabled caller's row cannot be read")))
            .transpose()
    }
}
