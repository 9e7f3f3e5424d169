//! The walls of the house, held against what cargo builds: who may know whom, and that nothing simulated is shipped.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each member and the members it may know outside its tests. A member that is missing here fails the test.
const WALLS: &[(&str, &[&str])] = &[
    ("issuance", &[]),
    ("journal", &[]),
    ("proto", &[]),
    ("service", &[]),
    ("keystore", &["issuance"]),
    ("intermediate-ca", &["issuance", "journal", "keystore", "proto", "service"]),
    ("station", &["intermediate-ca", "issuance", "journal", "keystore", "proto", "service"]),
    ("station-ui", &["proto", "service"]),
    ("hsm-sim", &[]),
    ("fault-module", &[]),
    ("line", &["hsm-sim", "proto", "service"]),
    ("crash", &["journal"]),
    ("simulation", &["issuance", "journal", "station"]),
    ("tests", &["keystore"]),
];

/// What a factory runs. None of it may contain a simulated device, also not behind a feature.
const SHIPPED: &[&str] = &["intermediate-ca", "station", "station-ui"];
/// What only tests and the demo may know.
const SIMULATED: &[&str] = &["crash", "fault-module", "hsm-sim", "line", "simulation", "tests"];
/// Crates that would bring I/O, time or hardware into the heart.
const OUTSIDE_OF_THE_HEART: &[&str] = &["tokio", "tonic", "cryptoki", "tss-esapi", "sled", "rustix"];

/// Member → the members it depends on, by kind.
fn members() -> BTreeMap<String, Vec<(String, DependencyKind)>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .unwrap();
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let dependencies =
                package.dependencies.iter().map(|dependency| (dependency.name.clone(), dependency.kind)).collect();
            (package.name.to_string(), dependencies)
        })
        .collect()
}

/// No member knows a member that the design does not let it know; development dependencies of tests are free.
#[test]
fn who_may_know_whom() {
    let members = members();
    let walls: BTreeMap<&str, &[&str]> = WALLS.iter().copied().collect();
    let known: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(known, walls.keys().copied().collect(), "every member stands in WALLS, and nothing else");
    for (member, dependencies) in &members {
        for (dependency, kind) in dependencies {
            if *kind != DependencyKind::Development && known.contains(dependency.as_str()) {
                assert!(
                    walls[member.as_str()].contains(&dependency.as_str()),
                    "{member} may not know {dependency}: see agent/ARCHITECTURE.md"
                );
            }
        }
    }
}

/// What is shipped does not reach a simulated device over any path of dependencies.
#[test]
fn nothing_simulated_is_shipped() {
    let members = members();
    for shipped in SHIPPED {
        let mut reached = BTreeSet::new();
        let mut next = vec![(*shipped).to_owned()];
        while let Some(member) = next.pop() {
            assert!(!SIMULATED.contains(&member.as_str()), "{shipped} reaches {member}");
            if reached.insert(member.clone())
                && let Some(dependencies) = members.get(&member)
            {
                next.extend(
                    dependencies
                        .iter()
                        .filter(|(_, kind)| *kind != DependencyKind::Development)
                        .map(|(name, _)| name.clone()),
                );
            }
        }
    }
}

/// The heart has no I/O, no async and no hardware: it names none of the crates that would bring them.
#[test]
fn the_heart_stays_pure() {
    let members = members();
    for (dependency, _) in &members["issuance"] {
        assert!(!OUTSIDE_OF_THE_HEART.contains(&dependency.as_str()), "issuance names {dependency}");
    }
}
