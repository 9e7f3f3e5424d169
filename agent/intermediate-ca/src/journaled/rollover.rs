//! What the register knows of rollovers: certificates of later generations, and which generations stand.

use std::collections::BTreeSet;

use issuance::{IssuanceId, Timestamp};
use journal::{Journal, Projections};
use x509_parser::{certificate::TbsCertificate, prelude::FromDer};

use super::{JournaledRegister, Stage, broken};
use crate::{
    generation::Generations,
    profile::CaName,
    records::{self, CaProjection, Event, GENERATIONS, PLANNED, PlannedRow, REVOKED, ROLLOVER, ca_certificate_key},
    register::RegisterError,
};

/// Plans of one look.
const PAGE: usize = 1_024;

/// A certificate of a CA, as far as the journal knows it.
pub(crate) struct CaCertificateRecord {
    pub(crate) tbs_certificate: Vec<u8>,
    /// `None` until it is signed.
    pub(crate) signature: Option<Vec<u8>>,
}

/// Certificates that are valid still.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) count: u64,
    /// The last of their ends, seconds since 1970.
    pub(crate) last_end: i64,
}

/// Which generations stand.
pub(crate) fn generations(projections: &Projections<CaProjection>) -> Result<Generations, RegisterError> {
    match projections.get(ROLLOVER, GENERATIONS)? {
        Some(row) => Generations::decode(&row).ok_or_else(|| broken("the row of the generations cannot be read")),
        None => Ok(Generations::FIRST),
    }
}

/// What the journal knows of a CA's certificate.
pub(crate) fn ca_certificate(
    journal: &Journal,
    projections: &Projections<CaProjection>,
    name: &CaName,
) -> Result<Option<CaCertificateRecord>, RegisterError> {
    let event = |is_signed| {
        let Some(row) = projections.get(ROLLOVER, &ca_certificate_key(name.as_str(), is_signed))? else {
            return Ok(None);
        };
        let index = records::number(&row).ok_or_else(|| broken("the row of a CA's certificate cannot be read"))?;
        let entries = journal.read(index..index + 1)?;
        let entry = entries.first().ok_or_else(|| broken(format!("the journal has no entry {index}")))?;
        let (_, event) = records::decode(entry).map_err(|problem| broken(format!("entry {index}: {problem}")))?;
        Ok::<_, RegisterError>(Some(event))
    };
    let tbs_certificate = match event(false)? {
        Some(Event::CaCertificatePlanned(planned)) => planned.tbs_certificate,
        Some(_) => return Err(broken(format!("the plan of {name} is none"))),
        None => return Ok(None),
    };
    let signature = match event(true)? {
        Some(Event::CaCertificateSigned(signed)) => Some(signed.signature),
        Some(_) => return Err(broken(format!("the signature of {name} is none"))),
        None => None,
    };
    Ok(Some(CaCertificateRecord { tbs_certificate, signature }))
}

impl JournaledRegister {
    pub(crate) fn generations(&self) -> Result<Generations, RegisterError> {
        generations(&self.projections)
    }

    pub(crate) fn ca_certificate(&self, name: &CaName) -> Result<Option<CaCertificateRecord>, RegisterError> {
        ca_certificate(&self.journal, &self.projections, name)
    }

    /// Records a line of a rollover. When it returns, it is on the disk.
    pub(crate) fn record_rollover(&mut self, event: Event) -> Result<(), RegisterError> {
        self.guard(|register| {
            let mut stage = Stage::new(register)?;
            stage.add(None, event)?;
            stage.sync()
        })
    }

    /// What these issuers issued, and is neither revoked nor over.
    pub(crate) fn standing_under(&self, issuers: &BTreeSet<String>, now: Timestamp) -> Result<Standing, RegisterError> {
        let (mut standing, mut after) = (Standing::default(), None::<Vec<u8>>);
        loop {
            let rows = self.projections.scan(PLANNED, &[], after.as_deref(), false, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(standing) };
            after = Some(last.clone());
            for (id, row) in &rows {
                let row = PlannedRow::decode(row).ok_or_else(|| broken("a planned row cannot be read"))?;
                if IssuanceId::from_slice(id).is_none() || self.projections.get(REVOKED, id)?.is_some() {
                    continue;
                }
                let planned = self.read_planned(row.index)?;
                if !issuers.contains(&planned.issuer) {
                    continue;
                }
                let Ok((_, tbs)) = TbsCertificate::from_der(&planned.tbs_certificate) else {
                    return Err(broken(format!("entry {} has no TBSCertificate", row.index)));
                };
                let end = tbs.validity.not_after.timestamp();
                if end > now.seconds() {
                    standing.count += 1;
                    standing.last_end = standing.last_end.max(end);
                }
            }
        }
    }
}
