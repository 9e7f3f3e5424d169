//! The CRLs, as the authority's callers see them.

use std::{sync::Arc, time::Duration};

use super::{Authority, Inner};
use crate::{
    crl::{CrlSettings, List},
    pki::CaCertificate,
    publication::{Crl, CrlError, Tools},
};

impl Authority {
    /// Keeps the CRLs fresh for as long as it is polled: on schedule, and at once when something was revoked. Whoever
    /// serves an authority runs this beside it; without `[crl]` it does nothing.
    pub async fn keep_crls(&self) {
        match &self.inner.crls {
            Some(crls) => crls.keep(self.inner.tools()).await,
            None => std::future::pending().await,
        }
    }

    /// One round of [`Authority::keep_crls`], at a time that a test chooses; how many lists failed.
    #[cfg(test)]
    pub(crate) async fn renew_crls(&self) -> usize {
        match &self.inner.crls {
            Some(crls) => crls.renew(&self.inner.tools()).await,
            None => 0,
        }
    }

    /// The names of the CRLs' lists; none without `[crl]`.
    pub fn crl_names(&self) -> impl Iterator<Item = &str> {
        self.inner.crls.iter().flat_map(|crls| crls.names())
    }

    /// The CRLs that stand, by their lists' names.
    #[must_use]
    pub fn crls(&self) -> Vec<Arc<Crl>> {
        let crls = self.inner.crls.as_ref();
        crls.map(|crls| crls.shelf().borrow().values().cloned().collect()).unwrap_or_default()
    }

    /// The CRLs once they hold every revocation that was answered before this call; `force` has them made anew in any
    /// case. [`Authority::keep_crls`] must be running.
    ///
    /// # Errors
    /// [`CrlError::Late`]; what was revoked stays revoked, and the lists are tried on.
    pub async fn fresh_crls(&self, force: bool, within: Duration) -> Result<Vec<Arc<Crl>>, CrlError> {
        let Some(crls) = &self.inner.crls else { return Ok(Vec::new()) };
        if force {
            crls.wish();
        }
        crls.fulfilled(within).await
    }
}

impl Inner {
    fn tools(&self) -> Tools<'_> {
        Tools { register: &self.register, hsm: &self.hsm, clock: &self.clock }
    }
}

/// Each issuer's complete list, and its partitions.
pub(super) fn lists(settings: &CrlSettings, issuers: &[CaCertificate]) -> Vec<List> {
    let complete =
        issuers.iter().map(|issuer| List { name: issuer.name.clone(), issuer: issuer.clone(), partition: None });
    let partitions = settings.partitions.iter().filter_map(|part| {
        let issuer = issuers.iter().find(|issuer| issuer.name == part.issuer)?.clone();
        Some(List { name: part.name.clone(), issuer, partition: Some(part.clone()) })
    });
    complete.chain(partitions).collect()
}
