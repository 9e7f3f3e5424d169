//! Rework: an issuance that stands in for an earlier one of the same device and profile. The earlier certificate stays
//! valid until the new one is confirmed from its device; then it is revoked, and whatever it had superseded before.

use issuance::{IssuanceId, ProfileName, public_key::hex};

use super::{JournaledRegister, Stage, broken, revocation::revoke};
use crate::{
    certificate,
    plan::Plan,
    records::{
        self, CertificatePlanned, Event, IssuanceVerified, PLANNED, PlannedRow, REVOKED, SIGNED, SUPERSEDED, VERIFIED,
    },
    refusal::{Reason, Refusal},
    register::{Confirmation, RegisterError},
    revocation::RevocationReason,
};

/// What a plan stands in for.
pub(super) struct Superseded {
    pub(super) issuance: IssuanceId,
    pub(super) generation: u32,
}

impl JournaledRegister {
    /// The nearest of the plan's ancestors that this CA planned a certificate for; `None` when it knows none of them.
    pub(super) fn superseded(
        &self,
        stage: &Stage<'_>,
        plan: &Plan,
    ) -> Result<Result<Option<Superseded>, Refusal>, RegisterError> {
        for issuance in plan.supersedes.iter().copied() {
            let Some(before) = self.planned_before(stage, issuance)? else { continue };
            if !is_of(&before, &plan.profile, plan.device_serial.as_str()) {
                let message = format!(
                    "the issuance {issuance} is for the device {} under the profile {}: a certificate is superseded by \
                     one for the same device and profile",
                    before.device_serial, before.profile
                );
                return Ok(Err(Refusal::new(Reason::SupersedesOther, message)));
            }
            if let Some(by) = stage.get(SUPERSEDED, issuance.as_bytes())? {
                let by = IssuanceId::from_slice(&by).ok_or_else(|| broken("a superseded row cannot be read"))?;
                let message = format!("the issuance {issuance} was superseded by {by}: supersede that one");
                return Ok(Err(Refusal::new(Reason::AlreadySuperseded, message)));
            }
            return Ok(Ok(Some(Superseded { issuance, generation: before.generation.max(1) })));
        }
        Ok(Ok(None))
    }

    /// Records what stations verified on devices, and revokes what those certificates supersede.
    pub(super) fn confirm_all(
        &self,
        by: &str,
        confirmations: &[Confirmation],
    ) -> Result<Vec<Result<(), Refusal>>, RegisterError> {
        let mut stage = Stage::new(self)?;
        let answers = confirmations.iter().map(|confirmation| self.confirm_one(&mut stage, by, confirmation));
        let answers = answers.collect::<Result<_, _>>()?;
        stage.sync()?;
        Ok(answers)
    }

    fn confirm_one(
        &self,
        stage: &mut Stage<'_>,
        by: &str,
        confirmation: &Confirmation,
    ) -> Result<Result<(), Refusal>, RegisterError> {
        let Confirmation { issuance, certificate_sha256 } = confirmation;
        let refuse = |message| Ok(Err(Refusal::new(Reason::ConfirmationMismatch, message)));
        let Some(planned) = self.planned_before(stage, *issuance)? else {
            return refuse(format!("this CA issued nothing for the issuance {issuance}: ask the CA that did"));
        };
        let Some(issued) = self.certificate_sha256(stage, *issuance, &planned)? else {
            return refuse(format!(
                "the issuance {issuance} has no certificate yet: none can be verified on its device"
            ));
        };
        if issued != *certificate_sha256 {
            // Not told what it is: whoever names it has read the certificate, which may be sealed for a TPM.
            return refuse(format!(
                "a certificate with SHA-256 {} was read from the device, and it is not that of the issuance {issuance}",
                hex(certificate_sha256)
            ));
        }
        if stage.get(VERIFIED, issuance.as_bytes())?.is_none() {
            let verified = IssuanceVerified { certificate_sha256: issued.to_vec(), authenticated_by: by.to_owned() };
            stage.add(Some(*issuance), Event::IssuanceVerified(verified))?;
        }
        // Also when it was verified before: the end of that group may not have reached the disk.
        self.revoke_superseded(stage, by, &planned)?;
        Ok(Ok(()))
    }

    /// Every ancestor that is not revoked yet, from the nearest on.
    fn revoke_superseded(
        &self,
        stage: &mut Stage<'_>,
        by: &str,
        from: &CertificatePlanned,
    ) -> Result<(), RegisterError> {
        let mut before = IssuanceId::from_slice(&from.supersedes);
        while let Some(issuance) = before {
            let planned = self.planned_before(stage, issuance)?;
            let planned = planned.ok_or_else(|| broken(format!("the superseded issuance {issuance} has no plan")))?;
            before = IssuanceId::from_slice(&planned.supersedes);
            self.revoke_one(stage, issuance, planned, RevocationReason::Superseded, by)?;
        }
        Ok(())
    }

    /// Revokes, unless it is revoked already.
    pub(super) fn revoke_one(
        &self,
        stage: &mut Stage<'_>,
        issuance: IssuanceId,
        planned: CertificatePlanned,
        reason: RevocationReason,
        by: &str,
    ) -> Result<(), RegisterError> {
        if stage.get(REVOKED, issuance.as_bytes())?.is_some() {
            return Ok(());
        }
        revoke(stage, issuance, planned, reason, by).map(drop)
    }

    /// SHA-256 of the certificate as it was answered; `None` before it is signed.
    pub(super) fn certificate_sha256(
        &self,
        stage: &Stage<'_>,
        issuance: IssuanceId,
        planned: &CertificatePlanned,
    ) -> Result<Option<[u8; 32]>, RegisterError> {
        let Some(index) = stage.get(SIGNED, issuance.as_bytes())? else { return Ok(None) };
        let index = records::number(&index).ok_or_else(|| broken("a signed row cannot be read"))?;
        let Event::CertificateSigned(signed) = self.read(index)? else {
            return Err(broken(format!("entry {index} is no signature")));
        };
        let certificate = certificate::assemble(&planned.tbs_certificate, &signed.signature);
        let certificate = certificate.map_err(|error| broken(format!("entry {index}: {error}")))?;
        Ok(Some(issuance::public_key::sha256(&certificate)))
    }

    /// The plan of an issuance, on the disk or earlier in this stage.
    pub(super) fn planned_before(
        &self,
        stage: &Stage<'_>,
        issuance: IssuanceId,
    ) -> Result<Option<CertificatePlanned>, RegisterError> {
        let Some(row) = stage.get(PLANNED, issuance.as_bytes())? else { return Ok(None) };
        let row = PlannedRow::decode(&row).ok_or_else(|| broken("a planned row cannot be read"))?;
        match stage.event(row.index)? {
            Some(Event::CertificatePlanned(planned)) => Ok(Some(planned)),
            Some(_) => Err(broken(format!("entry {} is not a plan", row.index))),
            None => self.read_planned(row.index).map(Some),
        }
    }
}

fn is_of(planned: &CertificatePlanned, profile: &ProfileName, device_serial: &str) -> bool {
    planned.profile == profile.as_str() && planned.device_serial == device_serial
}
