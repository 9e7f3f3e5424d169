//! `ca.v1.AdministrationService`: what supervisors, administrators and auditors ask.

use std::{collections::BTreeMap, time::Duration};

use issuance::{DeviceSerial, IssuanceId, ProfileName, Timestamp, public_key::hex};
use proto::ca::v1::{self as wire, administration_service_server::AdministrationService, revoke_request};
use service::{gate, roles::Caller, status};
use tonic::{Code, Request, Response, Status};
use tracing::{info, warn};

use crate::{
    authority::{Authority, Problem},
    callers::{CallerSaid, Disabled, Door},
    grpc::unavailable,
    pki::CaCertificate,
    publication::Crl,
    revocation::{NotRevoked, Revocation, RevocationReason, Revoked, Target},
    rules::DECIDERS,
};

/// How long a call waits for its CRL: a signature takes milliseconds, and a token that is away is not waited for.
const CRL_WITHIN: Duration = Duration::from_secs(10);

/// A reason is read by people.
const REASON_MAX: usize = 500;

/// The service of one authority.
pub(crate) struct Administration {
    pub(crate) authority: Authority,
    pub(crate) callers: Door,
    /// The names of EST's clients.
    pub(crate) est_clients: Vec<String>,
}

#[tonic::async_trait]
impl AdministrationService for Administration {
    async fn revoke(&self, request: Request<wire::RevokeRequest>) -> Result<Response<wire::RevokeResponse>, Status> {
        let caller = gate::caller(&request)?;
        let revocation = revocation(request.into_inner())?;
        let target = revocation.target.to_string();
        let revoked =
            self.authority.revoke(&caller.name, revocation).await.map_err(unavailable)?.map_err(not_revoked)?;
        for one in revoked.iter().filter(|one| !one.before) {
            let (serial, device) = (hex(&one.certificate_serial), &one.device_serial);
            warn!(certificate_serial = serial, device, reason = %one.reason, by = caller.name, "revoked");
        }
        let (crls, pending) = match self.authority.fresh_crls(false, CRL_WITHIN).await {
            Ok(crls) => (
                crls.iter()
                    .filter(|crl| revoked.iter().any(|one| one.issuer == crl.issuer))
                    .map(|crl| outline(crl))
                    .collect(),
                String::new(),
            ),
            Err(problem) => (Vec::new(), service::in_full(&problem)),
        };
        info!(target, revoked = revoked.len(), pending, "revocation answered");
        Ok(Response::new(wire::RevokeResponse {
            revoked: revoked.into_iter().map(certificate).collect(),
            crls,
            pending,
        }))
    }

    async fn get_crls(
        &self,
        request: Request<wire::GetCrlsRequest>,
    ) -> Result<Response<wire::GetCrlsResponse>, Status> {
        let renew = request.get_ref().renew;
        let caller = gate::caller(&request)?;
        if renew {
            caller.must_be(DECIDERS)?;
        }
        if self.authority.crl_names().next().is_none() {
            let message = "this CA makes no CRLs: its configuration has no [crl]";
            return Err(status::refused(Code::FailedPrecondition, "NO_CRLS", message));
        }
        let crls = if renew {
            let fresh = self.authority.fresh_crls(true, CRL_WITHIN).await;
            fresh.map_err(|problem| status::retry_later("CRL_PENDING", service::in_full(&problem), CRL_WITHIN))?
        } else {
            self.authority.crls()
        };
        let crls = crls.iter().map(|crl| wire::Crl { der: crl.der.clone(), ..outline(crl) }).collect();
        Ok(Response::new(wire::GetCrlsResponse { crls }))
    }

    async fn disable_caller(
        &self,
        request: Request<wire::DisableCallerRequest>,
    ) -> Result<Response<wire::Caller>, Status> {
        let by = gate::caller(&request)?;
        let wire::DisableCallerRequest { name, reason } = request.into_inner();
        if name == by.name {
            let message = "nobody disables themselves: ask another supervisor or administrator";
            return Err(status::refused(Code::FailedPrecondition, "OWN_NAME", message));
        }
        self.tell(by, name, reason, true).await
    }

    async fn enable_caller(
        &self,
        request: Request<wire::EnableCallerRequest>,
    ) -> Result<Response<wire::Caller>, Status> {
        let by = gate::caller(&request)?;
        let wire::EnableCallerRequest { name, reason } = request.into_inner();
        self.tell(by, name, reason, false).await
    }

    async fn list_callers(
        &self,
        _: Request<wire::ListCallersRequest>,
    ) -> Result<Response<wire::ListCallersResponse>, Status> {
        let disabled = self.authority.disabled_callers();
        let known = self.known();
        let gone = disabled.keys().filter(|name| !known.contains_key(*name));
        let callers = known
            .iter()
            .map(|(name, role)| (name, role.clone()))
            .chain(gone.map(|name| (name, String::new())))
            .map(|(name, role)| described(name.clone(), role, disabled.get(name)))
            .collect();
        Ok(Response::new(wire::ListCallersResponse { callers }))
    }

    async fn get_status(&self, _: Request<wire::GetStatusRequest>) -> Result<Response<wire::AuthorityStatus>, Status> {
        let problems = self.authority.problems();
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let validity = |one: &CaCertificate| wire::CaValidity {
            name: one.name.to_string(),
            not_before: time(one.not_before),
            not_after: time(one.not_after),
        };
        Ok(Response::new(wire::AuthorityStatus {
            name: self.authority.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serving: !problems.iter().any(|problem| problem.red),
            problems: problems
                .into_iter()
                .map(|Problem { reason, message, red }| wire::Problem { reason: reason.to_owned(), message, red })
                .collect(),
            authorities: self.authority.standing().into_iter().map(validity).collect(),
            crls: self.authority.crls().iter().map(|crl| outline(crl)).collect(),
        }))
    }
}

impl Administration {
    /// Everybody whom the configuration knows, with their role.
    fn known(&self) -> BTreeMap<String, String> {
        let callers = self.callers.callers.iter().map(|caller| (caller.name, caller.role.to_string()));
        callers.chain(self.est_clients.iter().map(|name| (name.clone(), "est".to_owned()))).collect()
    }

    async fn tell(
        &self,
        by: Caller,
        name: String,
        reason: String,
        disable: bool,
    ) -> Result<Response<wire::Caller>, Status> {
        let reason_fits =
            !reason.trim().is_empty() && reason.chars().count() <= REASON_MAX && !reason.chars().any(char::is_control);
        if !reason_fits {
            let message = format!("say why in 1 to {REASON_MAX} printable characters");
            return Err(status::invalid_argument("reason", message));
        }
        let known = self.known();
        let role = match known.get(&name) {
            Some(role) => role.clone(),
            None if !disable && self.authority.disabled_caller(&name).is_some() => String::new(),
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let message = format!("there is no caller of that name: there are {}", names.join(", "));
                return Err(status::refused(Code::NotFound, "UNKNOWN_CALLER", message));
            }
        };
        let said = CallerSaid { name: name.clone(), disable, reason, by: by.name.clone() };
        let disabled = self.authority.tell_caller(said).await.map_err(unavailable)?;
        warn!(caller = name, disabled = disabled.is_some(), by = by.name, "a caller was disabled or enabled");
        Ok(Response::new(described(name, role, disabled.as_ref())))
    }
}

fn described(name: String, role: String, disabled: Option<&Disabled>) -> wire::Caller {
    wire::Caller {
        name,
        role,
        disabled: disabled.is_some(),
        disabled_at: disabled.map(|disabled| timestamp(disabled.at)),
        disabled_by: disabled.map(|disabled| disabled.by.clone()).unwrap_or_default(),
        reason: disabled.map(|disabled| disabled.reason.clone()).unwrap_or_default(),
    }
}

/// Every field that is wrong, at once.
fn revocation(request: wire::RevokeRequest) -> Result<Revocation, Status> {
    let wire::RevokeRequest { target, profile, reason } = request;
    let mut wrong: Vec<(String, String)> = Vec::new();
    let mut note = |field: &str, problem: String| wrong.push((field.to_owned(), problem));
    let reason = RevocationReason::parse(&reason).map_err(|error| note("reason", error.to_string())).ok();
    let named = (!profile.is_empty()).then(|| ProfileName::parse(&profile));
    let named = named.transpose().map_err(|error| note("profile", error.to_string()));
    let target = match target {
        Some(revoke_request::Target::CertificateSerial(text)) => {
            Target::certificate(&text).map_err(|problem| note("certificate_serial", problem.to_owned())).ok()
        }
        Some(revoke_request::Target::Issuance(text)) => {
            let id = IssuanceId::parse(&text);
            if id.is_none() {
                note("issuance", "is no UUID: send the issuance's id as 36 characters".to_owned());
            }
            id.map(Target::Issuance)
        }
        Some(revoke_request::Target::DeviceSerial(text)) => {
            let serial = DeviceSerial::parse(&text).map_err(|error| note("device_serial", error.to_string())).ok();
            serial.map(|serial| Target::Device { serial, profile: named.clone().unwrap_or_default() })
        }
        None => {
            note("target", "is missing: give a certificate_serial, an issuance or a device_serial".to_owned());
            None
        }
    };
    if !profile.is_empty() && !matches!(target, None | Some(Target::Device { .. })) {
        note("profile", "goes with a device_serial only: leave it out".to_owned());
    }
    match (target, reason) {
        (Some(target), Some(reason)) if wrong.is_empty() => Ok(Revocation { target, reason }),
        _ => Err(status::invalid_arguments(wrong)),
    }
}

fn not_revoked(error: NotRevoked) -> Status {
    let (code, reason) = match &error {
        NotRevoked::Unknown(_) => (Code::NotFound, "UNKNOWN_CERTIFICATE"),
        NotRevoked::OtherReason { .. } => (Code::FailedPrecondition, "REVOKED_FOR_ANOTHER_REASON"),
    };
    status::refused(code, reason, error.to_string())
}

fn certificate(revoked: Revoked) -> wire::RevokedCertificate {
    wire::RevokedCertificate {
        issuer: revoked.issuer,
        certificate_serial: hex(&revoked.certificate_serial),
        issuance: revoked.issuance.to_string(),
        device_serial: revoked.device_serial,
        profile: revoked.profile,
        reason: revoked.reason.as_str().to_owned(),
        revoked_at: Some(timestamp(revoked.at)),
        revoked_by: revoked.by,
        before: revoked.before,
    }
}

/// A CRL without its bytes.
fn outline(crl: &Crl) -> wire::Crl {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    wire::Crl {
        list: crl.list.clone(),
        issuer: crl.issuer.clone(),
        number: crl.number,
        this_update: time(crl.this_update),
        next_update: time(crl.next_update),
        revoked: crl.revoked as u64,
        der: Vec::new(),
    }
}

fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.0.rem_euclid(1_000)).unwrap_or(0) * 1_000_000;
    prost_types::Timestamp { seconds: time.0.div_euclid(1_000), nanos }
}
