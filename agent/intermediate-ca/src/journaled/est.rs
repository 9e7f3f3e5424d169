//! What EST asks of the register: whose certificate it was shown, and who holds a name.

use issuance::{CommonName, IssuanceId, ProfileName};

use super::{JournaledRegister, Stage, broken};
use crate::{
    records::{NAMES, REVOKED, SERIALS, name_key},
    register::{Held, RegisterError},
};

impl JournaledRegister {
    pub(super) fn held_by_serial(&self, certificate_serial: &[u8]) -> Result<Option<Held>, RegisterError> {
        self.held(SERIALS, certificate_serial)
    }

    pub(super) fn held_by_name(
        &self,
        profile: &ProfileName,
        common_name: &CommonName,
    ) -> Result<Option<Held>, RegisterError> {
        self.held(NAMES, &name_key(profile.as_str(), common_name))
    }

    fn held(&self, tree: &'static str, key: &[u8]) -> Result<Option<Held>, RegisterError> {
        let stage = Stage::new(self)?;
        let Some(row) = stage.get(tree, key)? else { return Ok(None) };
        let issuance = IssuanceId::from_slice(&row).ok_or_else(|| broken("a row has no issuance id"))?;
        let planned = self.planned_before(&stage, issuance)?;
        let planned = planned.ok_or_else(|| broken(format!("the issuance {issuance} has no plan")))?;
        let certificate_sha256 = self.certificate_sha256(&stage, issuance, &planned)?;
        let revoked = stage.get(REVOKED, issuance.as_bytes())?.is_some();
        Ok(Some(Held {
            issuance,
            device_serial: planned.device_serial,
            profile: planned.profile,
            lot: planned.lot,
            common_name: planned.common_name,
            certificate_sha256,
            revoked,
        }))
    }
}
