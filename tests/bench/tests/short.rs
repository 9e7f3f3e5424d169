//! The short form, with the binaries that `cargo build --workspace --bins` put beside each other.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Every figure is measured, every promise held: runs the short form and reads what it prints.
#[test]
fn the_short_form_measures_everything() {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let output = Command::new(bench).arg("--short").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for name in [
        "journal-verify",
        "journal-verify-tiles",
        "journal-sha256",
        "journal-proof",
        "journal-append-tree",
        "journal-show",
        "journal-prove",
        "ready-status-completed",
        "ready-start-completed",
        "ready-status-by-age",
        "ready-start-by-age",
        "ready-status-waiting",
        "ready-start-waiting",
        "memory-per-waiting",
        "drain-answer-status",
        "drain-answer-list",
        "drain-answer-start",
        "drain-rate",
        "issuance-wall",
        "fixtures-rate",
        "openssl-ca",
        "openssl-ca-cpu",
        "ca-rate-openssl",
        "ca-cpu-1",
        "ca-cpu-16",
        "ca-cpu-256",
        "ca-rate-1",
        "ca-rate-16",
        "ca-rate-256",
        "ca-answer-1",
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("bench {name} value=")));
        let line = line.unwrap_or_else(|| panic!("no figure {name}: {said}"));
        let words: Vec<&str> = line.split(' ').collect();
        let ratio: f64 = words.iter().find_map(|word| word.strip_prefix("ratio=")).unwrap().parse().unwrap();
        assert!(ratio.is_finite() && ratio > 0.0, "{line}");
        assert!(words.iter().any(|word| word.starts_with("limit=")), "{line}");
        assert!(words.iter().any(|word| word.starts_with("goal=")), "{line}");
    }
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("bench: ") && last.ends_with(" 0 broken"), "{last}");
}
