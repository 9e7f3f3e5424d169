//! Who may call what at the CA: least first. `deploy/roles.md` shows it as a table.

use service::{
    gate::Rule,
    roles::Role::{self, Administrator, Auditor, Mes, Station, Supervisor},
};

const CA: &str = "ca.v1.CertificateAuthorityService";
const LOTS: &str = "ca.v1.LotService";
const ADMINISTRATION: &str = "ca.v1.AdministrationService";

const STATIONS: &[Role] = &[Station];
/// Who may look at what was revoked and who is disabled.
const OVERSEERS: &[Role] = &[Supervisor, Auditor, Administrator];
/// Who may revoke, and disable callers.
pub(crate) const DECIDERS: &[Role] = &[Supervisor, Administrator];
/// Who may look at lots.
const READERS: &[Role] = &[Supervisor, Mes, Auditor, Administrator, Station];
/// Who may open and close lots.
const PLANNERS: &[Role] = &[Supervisor, Mes];
/// Who may bring what the brand owner signed.
const BEARERS: &[Role] = &[Supervisor, Mes, Station];
/// Who may widen lots and open them again.
pub(crate) const SUPERVISORS: &[Role] = &[Supervisor];
/// Who may have a report signed. A station passes it on to whom its own rules let have it.
const REPORTERS: &[Role] = &[Supervisor, Mes, Auditor, Administrator, Station];

/// Every RPC of the CA, in the order of its protos.
pub const RULES: &[Rule] = &[
    rule(CA, "IssueBatch", STATIONS),
    rule(CA, "ConfirmBatch", STATIONS),
    rule(CA, "GetAuthority", STATIONS),
    rule(CA, "CosignCheckpoint", STATIONS),
    rule(LOTS, "OpenLot", PLANNERS),
    rule(LOTS, "AuthoriseLot", BEARERS),
    rule(LOTS, "CloseLot", PLANNERS),
    rule(LOTS, "AmendLot", SUPERVISORS),
    // A station verifies a supervisor's badge and PIN itself.
    Rule { service: LOTS, method: "ScrapDevice", roles: SUPERVISORS, with_pin: STATIONS },
    rule(LOTS, "GetLot", READERS),
    rule(LOTS, "ListLots", READERS),
    rule(LOTS, "ReportLot", REPORTERS),
    rule(ADMINISTRATION, "Revoke", DECIDERS),
    // With `renew` it signs: that is for those who decide.
    rule(ADMINISTRATION, "GetCrls", OVERSEERS),
    rule(ADMINISTRATION, "DisableCaller", DECIDERS),
    rule(ADMINISTRATION, "EnableCaller", DECIDERS),
    rule(ADMINISTRATION, "ListCallers", OVERSEERS),
    rule(ADMINISTRATION, "GetStatus", OVERSEERS),
];

const fn rule(service: &'static str, method: &'static str, roles: &'static [Role]) -> Rule {
    Rule { service, method, roles, with_pin: &[] }
}
