//! Who may call what: least first. `deploy/roles.md` shows it as a table.

use service::{
    gate::Rule,
    roles::Role::{self, Administrator, Auditor, Kiosk, Mes, Operator, Supervisor},
};

const SERVICE: &str = "station.v1.StationService";

/// Everyone who may look.
const READERS: &[Role] = &[Kiosk, Operator, Supervisor, Mes, Auditor, Administrator];
/// Who may start issuances.
const STARTERS: &[Role] = &[Kiosk, Operator, Supervisor, Mes];
/// Who may open and close lots.
const PLANNERS: &[Role] = &[Supervisor, Mes];
/// Who may have the CA sign a report, as at the CA.
const REPORTERS: &[Role] = &[Supervisor, Mes, Auditor, Administrator];
/// Who may have a device looked at: whoever has one in hand, and who checks on them.
const CHECKERS: &[Role] = &[Kiosk, Operator, Supervisor, Mes, Auditor];
/// Who may decide on what was set aside.
pub(super) const SUPERVISORS: &[Role] = &[Supervisor];
/// Whose screens a supervisor may use, with a PIN.
const SCREENS: &[Role] = &[Kiosk, Operator];

/// Every RPC of the station, in the order of its proto.
pub const RULES: &[Rule] = &[
    rule("StartIssuance", STARTERS),
    // A page scans one device after another: who starts many is the MES.
    rule("BatchStartIssuances", &[Supervisor, Mes]),
    supervised("ReleaseIssuance"),
    supervised("CancelIssuance"),
    supervised("ReworkIssuance"),
    supervised("ScrapDevice"),
    rule("GetIssuance", READERS),
    rule("ListIssuances", READERS),
    rule("Watch", READERS),
    rule("VerifyDevice", CHECKERS),
    rule("OpenLot", PLANNERS),
    rule("AuthoriseLot", PLANNERS),
    rule("CloseLot", PLANNERS),
    rule("GetLot", READERS),
    rule("ListLots", READERS),
    rule("ReportLot", REPORTERS),
    rule("GetStation", READERS),
    rule("GetHealth", READERS),
    rule("GetIssuanceStory", READERS),
    rule("GetIssuanceProof", READERS),
];

const fn rule(method: &'static str, roles: &'static [Role]) -> Rule {
    Rule { service: SERVICE, method, roles, with_pin: &[] }
}

const fn supervised(method: &'static str) -> Rule {
    Rule { service: SERVICE, method, roles: SUPERVISORS, with_pin: SCREENS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use service::gate;

    /// Every RPC of these packages, as `service/method`.
    fn rpcs(package: &str) -> Vec<String> {
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
        let services = files.iter().filter(|file| file.package() == package).flat_map(|file| &file.service);
        let methods = services.flat_map(|service| service.method.iter().map(move |method| (service, method)));
        methods.map(|(service, method)| format!("{package}.{}/{}", service.name(), method.name())).collect()
    }

    /// Every RPC has one rule, in the proto's order, and every rule is of an RPC: of the station's and of the CA's alike.
    #[test]
    fn every_rpc_has_a_rule() {
        for (package, rules) in [("station.v1", RULES), ("ca.v1", intermediate_ca::RULES)] {
            let ruled: Vec<String> = rules.iter().map(|rule| format!("{}/{}", rule.service, rule.method)).collect();
            assert_eq!(ruled, rpcs(package), "{package}");
            assert!(rules.iter().all(|rule| !rule.roles.is_empty()), "nobody may call one of {package}");
        }
    }

    /// The table in `deploy/roles.md` is the one that is enforced. `STATION_WRITE=1` writes it.
    #[test]
    fn the_table_for_people_is_the_one_that_is_enforced() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/roles.md");
        let written = std::fs::read_to_string(path).unwrap();
        let (head, _) = written.split_once("\n## ").unwrap();
        let tables = [("At a station", RULES), ("At the CA", intermediate_ca::RULES)];
        let tables = tables.map(|(title, rules)| format!("\n## {title}\n\n{}", gate::table(rules)));
        let due = format!("{head}{}", tables.concat());
        if std::env::var_os("STATION_WRITE").is_some() {
            std::fs::write(path, &due).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == due,
            "run this test with STATION_WRITE=1 to write deploy/roles.md"
        );
    }
}
