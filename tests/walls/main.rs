//! The walls of the house, held against what cargo builds: who may know whom, and that nothing simulated is shipped.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

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
    ("interop", &["hsm-sim", "issuance", "line", "proto", "service"]),
    ("line", &["hsm-sim", "proto", "service"]),
    ("bench", &["hsm-sim", "issuance", "journal", "line", "proto", "service", "station"]),
    ("crash", &["hsm-sim", "journal", "line", "proto", "service"]),
    ("fuzz", &["intermediate-ca", "issuance", "journal", "keystore", "proto", "service", "station", "station-ui"]),
    ("simulation", &["issuance", "journal", "service", "station"]),
    ("tests", &["keystore"]),
];

/// What a factory runs. None of it may contain a simulated device, also not behind a feature.
const SHIPPED: &[&str] = &["intermediate-ca", "station", "station-ui"];
/// What only tests and the demo may know.
const SIMULATED: &[&str] =
    &["bench", "crash", "fault-module", "fuzz", "hsm-sim", "interop", "line", "simulation", "tests"];
/// Crates that would bring I/O, time or hardware into the heart.
const OUTSIDE_OF_THE_HEART: &[&str] = &["tokio", "tonic", "cryptoki", "tss-esapi", "sled", "rustix"];

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(format!("{ROOT}/Cargo.toml"))
        // What other platforms need is not downloaded.
        .other_options(["--locked", "--offline", "--filter-platform", "host-tuple"].map(str::to_owned))
        .exec()
        .unwrap()
}

/// Member → the members it depends on, by kind.
fn members() -> BTreeMap<String, Vec<(String, DependencyKind)>> {
    metadata()
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

/// The feature that lets a test kill a process at a named point.
const CRASH_POINTS: &str = "crash-points";

/// Crash points are for the harness that asks for them: no feature and no dependency turns them on, what has them has a
/// name of its own, and nothing that is installed knows of them.
#[test]
fn nobody_turns_crash_points_on() {
    for package in metadata().workspace_packages() {
        let name = &package.name;
        for (feature, turned_on) in &package.features {
            let due: &[&str] = if name.as_str() == "service" { &[] } else { &["service/crash-points"] };
            match feature.as_str() {
                CRASH_POINTS => assert_eq!(turned_on, due, "{name}"),
                other => assert!(!turned_on.iter().any(|on| on.contains(CRASH_POINTS)), "{name}, feature {other}"),
            }
        }
        for dependency in &package.dependencies {
            let on = dependency.features.iter().any(|feature| feature.contains(CRASH_POINTS));
            assert!(!on, "{name} turns on the crash points of {}", dependency.name);
        }
        for target in package.targets.iter().filter(|target| target.is_bin()) {
            let needs = target.required_features.iter().any(|feature| feature == CRASH_POINTS);
            assert_eq!(needs, target.name.ends_with(CRASH_POINTS), "{name}, binary {}", target.name);
        }
    }
    for file in files_under(&Path::new(ROOT).join("deploy")) {
        let text = fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(CRASH_POINTS), "{} knows crash points", file.display());
    }
}

/// The list of crash points, which the harness goes through, has every point in the source and no other.
#[test]
fn every_crash_point_is_in_the_list() {
    let sources = files_under(&Path::new(ROOT).join("agent"));
    let texts = sources.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")).map(fs::read_to_string);
    let points: BTreeSet<String> = texts
        .flat_map(|text| {
            let text = text.unwrap();
            let literals =
                text.match_indices("crash::point(").map(|(at, _)| text[at..].split('"').nth(1).map(str::to_owned));
            literals.map(Option::unwrap).collect::<Vec<_>>()
        })
        .collect();
    // A name with a hole in it is one place in the code for many points.
    let fits = |point: &str, name: &str| match (point.split_once('{'), point.rsplit_once('}')) {
        (Some((before, _)), Some((_, after))) => name.starts_with(before) && name.ends_with(after),
        _ => point == name,
    };
    let names = service::crash::NAMES;
    assert!(names.is_sorted() && names.len() == names.iter().collect::<BTreeSet<_>>().len(), "in order, each once");
    for point in &points {
        assert!(names.iter().any(|name| fits(point, name)), "{point} is not in service::crash::NAMES");
    }
    for name in names {
        assert!(points.iter().any(|point| fits(point, name)), "{name} is nowhere in the source");
    }
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(files_under(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}
