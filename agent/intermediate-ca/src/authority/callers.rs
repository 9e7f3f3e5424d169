//! Disabling callers, and what EST asks.

use std::collections::BTreeMap;

use issuance::{CommonName, ProfileName};

use super::Authority;
use crate::{
    callers::{CallerSaid, Disabled},
    register::{Held, Unavailable},
};

impl Authority {
    /// Disables or enables a caller; answers once it is recorded and in force.
    pub(crate) async fn tell_caller(&self, said: CallerSaid) -> Result<Option<Disabled>, Unavailable> {
        let disabled = self.inner.disabled.clone();
        // In force by the register's thread: of two that come at once, the later record wins here too.
        let tell = move |register: &mut dyn crate::register::Register| {
            let name = said.name.clone();
            let row = register.tell_caller(said)?;
            disabled.set(name, row.clone());
            Ok(row)
        };
        self.inner.register.act(tell).await
    }

    /// Whether a caller is disabled.
    pub(crate) fn disabled_caller(&self, name: &str) -> Option<Disabled> {
        self.inner.disabled.get(name)
    }

    /// Everybody who is disabled.
    pub(crate) fn disabled_callers(&self) -> BTreeMap<String, Disabled> {
        self.inner.disabled.all()
    }

    /// What is known of a certificate that this CA planned, by its certificate serial.
    pub(crate) async fn planned_with_serial(&self, certificate_serial: &[u8]) -> Result<Option<Held>, Unavailable> {
        let serial = certificate_serial.to_vec();
        self.inner.register.act(move |register| register.planned_with_serial(&serial)).await
    }

    /// The newest issuance that holds a CN under a profile.
    pub(crate) async fn holder_of(
        &self,
        profile: &ProfileName,
        common_name: &CommonName,
    ) -> Result<Option<Held>, Unavailable> {
        let (profile, common_name) = (profile.clone(), common_name.clone());
        self.inner.register.act(move |register| register.holder_of(&profile, &common_name)).await
    }

    /// Whether one of this CA's issuers has that subject, DER.
    pub(crate) fn is_issuer(&self, subject: &[u8]) -> bool {
        self.inner.rules.has_issuer(subject)
    }
}
