//! What the register does for revocation.

use issuance::{IssuanceId, Timestamp};

use super::{JournaledRegister, Stage, broken};
use crate::{
    records::{
        self, CRLS, CertificatePlanned, DEVICES, Event, PLANNED, PlannedRow, REVOCATIONS, REVOKED, RevocationRow,
        SERIALS, revocation_key,
    },
    refusal::{Reason, Refusal},
    register::{CrlBasis, CrlEvent, RegisterError},
    revocation::{NotRevoked, Revocation, RevocationReason, Revoked, Target},
};

/// Rows of one look: a device has a handful, an issuer's list some thousands.
const PAGE: usize = 256;

/// Records a revocation.
pub(super) fn revoke(
    stage: &mut Stage<'_>,
    issuance: IssuanceId,
    planned: CertificatePlanned,
    reason: RevocationReason,
    by: &str,
) -> Result<Revoked, RegisterError> {
    let revoked = Revoked {
        issuer: planned.issuer,
        certificate_serial: planned.certificate_serial,
        issuance,
        device_serial: planned.device_serial,
        profile: planned.profile,
        reason,
        at: stage.time,
        by: by.to_owned(),
        before: false,
    };
    stage.add(Some(issuance), records::revoked(&revoked))?;
    Ok(revoked)
}

impl JournaledRegister {
    /// Also behind the newest record: that a clock is wrong must not keep a stolen key valid. The revocation's time is
    /// then the newest record's.
    pub(super) fn revoke_all(
        &self,
        by: &str,
        revocation: &Revocation,
    ) -> Result<Result<Vec<Revoked>, NotRevoked>, RegisterError> {
        let Revocation { target, reason } = revocation;
        let mut stage = Stage::new(self)?;
        let mut all = Vec::new();
        for issuance in self.issuances_of(target)? {
            let row = stage.get(PLANNED, issuance.as_bytes())?.as_deref().and_then(PlannedRow::decode);
            let row = row.ok_or_else(|| broken(format!("the issuance {issuance} has no plan")))?;
            let planned = self.read_planned(row.index)?;
            if let Target::Device { profile: Some(profile), .. } = target
                && planned.profile != profile.as_str()
            {
                continue;
            }
            if let Some(index) = stage.get(REVOKED, issuance.as_bytes())? {
                let index = records::number(&index).ok_or_else(|| broken("a revoked row cannot be read"))?;
                let revoked = self.read_revoked(issuance, index)?;
                // A device's certificates may have ended one by one, each for its reason.
                if revoked.reason != *reason && !matches!(target, Target::Device { .. }) {
                    return Ok(Err(NotRevoked::OtherReason { target: target.clone(), recorded: revoked.reason }));
                }
                all.push(revoked);
                continue;
            }
            let revoked = revoke(&mut stage, issuance, planned, *reason, by)?;
            all.push(revoked);
        }
        if all.is_empty() {
            return Ok(Err(NotRevoked::Unknown(target.clone())));
        }
        stage.sync()?;
        Ok(Ok(all))
    }

    fn issuances_of(&self, target: &Target) -> Result<Vec<IssuanceId>, RegisterError> {
        let id = |octets: &[u8]| IssuanceId::from_slice(octets).ok_or_else(|| broken("a row has no issuance id"));
        match target {
            Target::Certificate(serial) => {
                self.projections.get(SERIALS, serial)?.iter().map(|octets| id(octets)).collect()
            }
            Target::Issuance(issuance) => {
                let is_known = self.projections.get(PLANNED, issuance.as_bytes())?.is_some();
                Ok(is_known.then_some(*issuance).into_iter().collect())
            }
            Target::Device { serial, .. } => {
                let prefix = records::device_prefix(serial.as_str());
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let rows = self.projections.scan(DEVICES, &prefix, after.as_deref(), false, PAGE)?;
                    for (key, _) in &rows {
                        found.push(id(key.get(prefix.len()..).unwrap_or_default())?);
                    }
                    match rows.into_iter().next_back() {
                        Some((key, _)) => after = Some(key),
                        None => return Ok(found),
                    }
                }
            }
        }
    }

    pub(super) fn basis_of(&self, list: &str, issuer: &str) -> Result<CrlBasis, RegisterError> {
        let number = self.projections.get(CRLS, list.as_bytes())?;
        let number = number.map(|row| records::number(&row).ok_or_else(|| broken("a CRL's number has no 8 octets")));
        let prefix = revocation_key(issuer, &[]);
        let (mut revoked, mut after) = (Vec::new(), None);
        loop {
            let rows = self.projections.scan(REVOCATIONS, &prefix, after.as_deref(), false, PAGE)?;
            for (key, row) in &rows {
                let row = RevocationRow::decode(row).ok_or_else(|| broken("a revocation's row cannot be read"))?;
                revoked.push((key.get(prefix.len()..).unwrap_or_default().to_vec(), row));
            }
            match rows.into_iter().next_back() {
                Some((key, _)) => after = Some(key),
                None => break,
            }
        }
        Ok(CrlBasis { last_number: number.transpose()?.unwrap_or(0), clock: self.clock_wrong()?, revoked })
    }

    pub(super) fn record(&self, event: CrlEvent) -> Result<(), RegisterError> {
        let mut stage = Stage::new(self)?;
        let event = match event {
            CrlEvent::Planned(planned) => {
                let last = stage.get(CRLS, planned.list.as_bytes())?.as_deref().and_then(records::number);
                if last.is_some_and(|last| last >= planned.number) {
                    return Err(broken(format!(
                        "the CRL number {} of {} was used before",
                        planned.number, planned.list
                    )));
                }
                Event::CrlPlanned(planned)
            }
            CrlEvent::Signed(signed) => Event::CrlSigned(signed),
        };
        stage.add(None, event)?;
        stage.sync()
    }

    fn read_revoked(&self, issuance: IssuanceId, index: u64) -> Result<Revoked, RegisterError> {
        let (record, event) = self.read_record(index)?;
        let Event::Revoked(revoked) = event else { return Err(broken(format!("entry {index} is no revocation"))) };
        Ok(Revoked {
            issuer: revoked.issuer,
            certificate_serial: revoked.certificate_serial,
            issuance,
            device_serial: revoked.device_serial,
            profile: revoked.profile,
            reason: RevocationReason::parse(&revoked.reason)
                .map_err(|error| broken(format!("entry {index}: {error}")))?,
            at: Timestamp(record.time_ms),
            by: revoked.authenticated_by,
            before: true,
        })
    }
}

/// A revoked certificate is handed out no more: whoever asks again would ship a device that nobody accepts.
pub(super) fn no_longer(issuance: IssuanceId) -> Refusal {
    let message = format!("the certificate of the issuance {issuance} was revoked: start a new issuance");
    Refusal::new(Reason::Revoked, message)
}
