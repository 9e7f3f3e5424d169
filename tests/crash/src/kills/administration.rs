//! What a supervisor says to the CA, and what must stand of it whatever dies: an answered lot, an answered revocation in the
//! lists, and lists that verify.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use line::Line;
use proto::ca::v1::{
    AmendLotRequest, CloseLotRequest, Crl, GetCrlsRequest, GetLotRequest, Lot, OpenLotRequest, ReportLotRequest,
    RevokeRequest, ScrapDeviceRequest, administration_service_client::AdministrationServiceClient,
    lot_service_client::LotServiceClient, revoke_request,
};
use proto::station::v1::Issuance;
use tokio::time::{Instant, sleep};
use tonic::{Status, transport::Channel};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{PATIENCE, devices::run};
use crate::{Broken, said};

/// Between two looks at the lists.
const LOOK: Duration = Duration::from_millis(50);
/// Checks a lot's report with OpenSSL alone, as its readers do.
const VERIFY_REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/verify-lot-report.sh");

/// A supervisor's word to the CA; said again, it changes nothing more.
#[derive(Debug, Clone)]
pub(super) enum CaWord {
    Open(OpenLotRequest),
    Amend(AmendLotRequest),
    Close(CloseLotRequest),
    Scrap(ScrapDeviceRequest),
    Revoke(RevokeRequest),
}

/// What the CA answered.
#[derive(Debug)]
pub(super) enum CaAnswer {
    Lot(Box<Lot>),
    /// The certificates' serials.
    Revoked(Vec<String>),
}

impl CaWord {
    pub(super) fn open(lot: &str, profile: &str) -> Self {
        Self::Open(OpenLotRequest { lot: lot.into(), profile: profile.into(), quantity: 5 })
    }

    pub(super) fn amend(lot: &str) -> Self {
        let reason = "more were ordered".into();
        Self::Amend(AmendLotRequest { lot: lot.into(), quantity: 7, reason, ..Default::default() })
    }

    pub(super) fn close(lot: &str) -> Self {
        Self::Close(CloseLotRequest { lot: lot.into() })
    }

    pub(super) fn scrap(lot: &str, device_serial: &str) -> Self {
        let (lot, device_serial, reason) = (lot.into(), device_serial.into(), "dropped".into());
        Self::Scrap(ScrapDeviceRequest { lot, device_serial, reason, ..Default::default() })
    }

    pub(super) fn revoke(issuance: &str) -> Self {
        let target = Some(revoke_request::Target::Issuance(issuance.into()));
        Self::Revoke(RevokeRequest { target, reason: "keyCompromise".into(), ..Default::default() })
    }

    pub(super) fn words(&self) -> String {
        match self {
            Self::Open(request) => format!("the opening of the lot {} at the CA", request.lot),
            Self::Amend(request) => format!("the widening of the lot {} at the CA", request.lot),
            Self::Close(request) => format!("the closing of the lot {} at the CA", request.lot),
            Self::Scrap(request) => format!("the scrapping of {} in {}", request.device_serial, request.lot),
            Self::Revoke(request) => format!("the revocation of {:?}", request.target),
        }
    }

    pub(super) async fn say(self, channel: Channel) -> Result<CaAnswer, Status> {
        let mut lots = LotServiceClient::new(channel.clone());
        let lot = match self {
            Self::Open(request) => lots.open_lot(request).await,
            Self::Amend(request) => lots.amend_lot(request).await,
            Self::Close(request) => lots.close_lot(request).await,
            Self::Scrap(request) => lots.scrap_device(request).await,
            Self::Revoke(request) => {
                let answer = AdministrationServiceClient::new(channel).revoke(request).await?.into_inner();
                return Ok(CaAnswer::Revoked(answer.revoked.into_iter().map(|one| one.certificate_serial).collect()));
            }
        };
        Ok(CaAnswer::Lot(Box::new(lot?.into_inner())))
    }
}

/// Everything that the CA answered a supervisor.
#[derive(Debug, Default)]
pub(super) struct Answered {
    lots: BTreeMap<String, Lot>,
    /// Serials, as [`plain`] writes them.
    revoked: BTreeSet<String>,
}

impl Answered {
    pub(super) fn take(&mut self, answer: CaAnswer) {
        match answer {
            CaAnswer::Lot(lot) => drop(self.lots.insert(lot.lot.clone(), *lot)),
            CaAnswer::Revoked(serials) => serials.iter().for_each(|serial| self.revoked(serial)),
        }
    }

    pub(super) fn revoked(&mut self, certificate_serial: &str) {
        self.revoked.insert(plain(certificate_serial));
    }

    /// A lot as it stands after an issuance: only its places may be others.
    pub(super) fn used(&mut self, now: Lot) -> Result<(), Broken> {
        match self.lots.get_mut(&now.lot) {
            Some(before) if *before == (Lot { used: before.used, ..now.clone() }) => {
                before.used = now.used;
                Ok(())
            }
            before => Err(format!("a lot was answered as {before:?} and is {now:?}")),
        }
    }

    /// Every lot is as it was answered, and every revocation comes to stand in a list.
    pub(super) async fn hold(&self, line: &Line) -> Result<(), Broken> {
        for before in self.lots.values() {
            let now = lot(line, &before.lot).await?;
            if now != *before {
                return Err(format!("lost: a lot was answered as {before:?} and is {now:?}"));
            }
        }
        for serial in &self.revoked {
            await_revoked(line, serial).await?;
        }
        Ok(())
    }

    /// What stands in the files that a CA published which does not run: they verify, and list what is revoked.
    pub(super) fn hold_published(&self, directory: &Path) -> Result<(), Broken> {
        let mut listed = BTreeSet::new();
        for list in ["device-ca", "device-identity"] {
            let file = directory.join("crl").join(format!("{list}.crl"));
            let mut openssl = Command::new("openssl");
            openssl.args(["crl", "-inform", "DER", "-noout", "-in"]).arg(&file).arg("-CAfile");
            openssl.arg(directory.join("pki/product").join(format!("{list}.pem")));
            run(openssl)?;
            listed.append(&mut serials(&fs::read(&file).map_err(said(file.display().to_string()))?)?);
        }
        match self.revoked.difference(&listed).next() {
            None => Ok(()),
            Some(serial) => Err(format!("lost: {serial} is revoked and in no list that was published")),
        }
    }
}

/// One lot of the CA's.
pub(super) async fn lot(line: &Line, lot: &str) -> Result<Lot, Broken> {
    let channel = line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
    let answer = LotServiceClient::new(channel).get_lot(GetLotRequest { lot: lot.to_owned() }).await;
    answer.map(tonic::Response::into_inner).map_err(said(format!("the lot {lot} at the CA")))
}

async fn crls(line: &Line) -> Result<Vec<Crl>, Broken> {
    let channel = line.authority_as("supervisor-1").map_err(|error| service::in_full(&error))?;
    let answer = AdministrationServiceClient::new(channel).get_crls(GetCrlsRequest::default()).await;
    answer.map(|answer| answer.into_inner().crls).map_err(said("the CA's lists"))
}

/// The lists that stand, each with its number.
pub(super) async fn lists(line: &Line) -> Result<BTreeMap<String, u64>, Broken> {
    Ok(crls(line).await?.into_iter().map(|crl| (crl.list, crl.number)).collect())
}

/// Waits until each list is a newer one than before.
pub(super) async fn await_newer(line: &Line, before: &BTreeMap<String, u64>) -> Result<(), Broken> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = lists(line).await?;
        if before.iter().all(|(list, number)| now.get(list).is_some_and(|now| now > number)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the lists were {before:?} and are {now:?} after {PATIENCE:?}"));
        }
        sleep(LOOK).await;
    }
}

/// Waits until a list has the certificate.
pub(super) async fn await_revoked(line: &Line, certificate_serial: &str) -> Result<(), Broken> {
    let (serial, deadline) = (plain(certificate_serial), Instant::now() + PATIENCE);
    loop {
        let crls = crls(line).await?;
        for crl in &crls {
            if serials(&crl.der)?.contains(&serial) {
                return Ok(());
            }
        }
        if Instant::now() > deadline {
            return Err(format!("lost: {serial} is revoked, and in no list after {PATIENCE:?}"));
        }
        sleep(LOOK).await;
    }
}

fn serials(crl: &[u8]) -> Result<BTreeSet<String>, Broken> {
    let (_, crl) = CertificateRevocationList::from_der(crl).map_err(said("a list"))?;
    Ok(crl.iter_revoked_certificates().map(|one| plain(&one.raw_serial_as_string())).collect())
}

/// A serial without colons, leading zeros and capitals.
fn plain(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).collect();
    digits.trim_start_matches('0').to_lowercase()
}

/// The signed report of a lot.
pub(super) async fn report(channel: Channel, lot: String) -> Result<String, Broken> {
    let asked = format!("the report of the lot {lot}");
    let parts = LotServiceClient::new(channel).report_lot(ReportLotRequest { lot }).await;
    let mut parts = parts.map_err(said(asked.clone()))?.into_inner();
    let mut report = String::new();
    while let Some(part) = parts.message().await.map_err(said(asked.clone()))? {
        report.push_str(&part.part);
    }
    Ok(report)
}

/// The report verifies to the root, and has the certificate.
pub(super) fn verify_report(line: &Line, report: &str, issued: &Issuance) -> Result<(), Broken> {
    let directory = tempfile::tempdir().map_err(said("a directory for a report"))?;
    let file = directory.path().join("report.jws");
    fs::write(&file, report).map_err(said("a report"))?;
    let mut verify = Command::new("sh");
    verify.arg(VERIFY_REPORT).arg(&file).arg(line.directory().join("pki/product/root.pem"));
    let told = String::from_utf8_lossy(&run(verify)?).to_lowercase();
    let id = issued.name.trim_start_matches("issuances/");
    match told.contains(id) && told.contains(&plain(&issued.certificate_serial)) {
        true => Ok(()),
        false => Err(format!("the report does not have the certificate {} of {id}: {told}", issued.certificate_serial)),
    }
}
