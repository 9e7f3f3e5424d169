//! What a line does when one of its processes does not: told with the log, and nothing left behind.
//!
//! The processes are shell scripts here, so that they fail as the test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use line::{Line, LineError, Options};
use tempfile::TempDir;

/// A line of scripts: each gets what the shell makes of its text, with the subcommand as `$1`.
fn line_of(scripts: &[(&str, &str)]) -> (TempDir, Options) {
    let root = tempfile::tempdir().unwrap();
    let binaries = root.path().join("binaries");
    fs::create_dir(&binaries).unwrap();
    for (name, script) in scripts {
        let file = binaries.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let directory = Some(root.path().join("line"));
    let options = Options { directory, binaries: Some(binaries), tpms: 1, tokens: 1, ..Default::default() };
    (root, options)
}

/// The hardware that the line's link names is gone, and no process works in the line's directory.
fn assert_nothing_left(directory: &Path) {
    let hardware = fs::read_link(directory.join("hardware")).unwrap();
    assert!(!hardware.exists(), "{} is left", hardware.display());
    let ours = [directory.to_string_lossy().into_owned(), hardware.to_string_lossy().into_owned()];
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        assert!(!ours.iter().any(|path| command.contains(path)), "still runs: {command}");
    }
}

/// A binary that is not there is an error that says how to make it.
#[tokio::test]
async fn a_missing_binary_says_what_to_build() {
    let (_root, options) = line_of(&[("station-ui", "")]);
    let error = Line::start(options).await.unwrap_err();
    assert!(matches!(error, LineError::NotBuilt { program: "station-agent", .. }), "{error}");
    assert!(error.to_string().contains("cargo build"), "{error}");
}

/// When `init` fails, its last words and its log's path are told, and the devices are gone.
#[tokio::test]
async fn a_failed_init_is_told() {
    let (_root, options) =
        line_of(&[("station-ui", ""), ("station-agent", ""), ("intermediate-ca", "echo the token is full; exit 3")]);
    let directory = options.directory.clone().unwrap();
    let error = Line::start(options).await.unwrap_err().to_string();
    assert!(error.contains("the token is full") && error.contains("logs/intermediate-ca.log"), "{error}");
    assert_nothing_left(&directory);
}

/// When a process ends while it is awaited, that is told at once, and the processes started before it are stopped with
/// what they had started themselves.
#[tokio::test]
async fn an_early_end_is_told() {
    let (root, options) = line_of(&[
        ("station-ui", ""),
        ("station-agent", "sleep 300 & echo $! > \"$(dirname \"$3\")/worker\"; echo no journal; exit 4"),
        ("intermediate-ca", "[ \"$1\" = init ] || sleep 300"),
    ]);
    let directory = options.directory.clone().unwrap();
    let error = Line::start(Options { ca: false, ..options }).await.unwrap_err().to_string();
    assert!(error.contains("no journal") && error.contains("logs/station-agent.log"), "{error}");
    let worker = fs::read_to_string(root.path().join("line/worker")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", worker.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the worker runs: {state}");
    assert_nothing_left(&directory);
}
